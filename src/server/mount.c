/* Mounting everything, and what the parts share. */
#include "server/mount.h"
#include "dialect/peer.h"
#include "server/room_http.h"

int madang_mount_all(struct madang *server)
{
    static int (*const parts[])(struct madang *) = {
        mdg_mount_ops,    mdg_mount_ui,    mdg_mount_chat, mdg_mount_echo,
        mdg_mount_stomp,  mdg_mount_push,  mdg_mount_poll, mdg_mount_publish,
        mdg_mount_sockjs, mdg_mount_lines, mdg_mount_sio,
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(parts); i++) {
        int err = parts[i](server);
        if (err < 0)
            return mdg_server_fail(server, err, "cannot mount the built-in endpoints: %s",
                                   mdg_strerror(err));
    }
    return 0;
}

int mdg_authenticate(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_principal **out)
{
    int err = mdg_auth_handshake(&w->server->auth, mdg_exchange_handshake(x), out);
    if (err == 0)
        return 0;
    if (err == MDG_E_EXPIRED)
        mdg_exchange_respond_error(x, 401, "expired", "the credential has expired: sign in again");
    else if (err == MDG_E_EXISTS)
        mdg_exchange_respond_error(x, 409, "name_taken",
                                   "somebody else has this name now: sign in with another one");
    else if (err == MDG_E_DENIED)
        mdg_exchange_respond_error(x, 401, "denied", "this credential is not valid here");
    else
        mdg_exchange_respond_error(x, 503, "unavailable", mdg_strerror(err));
    return err;
}

int mdg_open_ws_peer(struct mdg_worker *w, struct mdg_exchange *x, const struct mdg_ws_options *o,
                     const struct mdg_dialect *dialect, struct mdg_principal *who,
                     struct mdg_slice subprotocol)
{
    struct mdg_peer *peer;
    struct mdg_link *link;
    struct mdg_handshake hs = {
        .carrier = "ws", .subprotocol = subprotocol, .unix_ms = mdg_loop_unix_ms(w->loop)};
    int err = mdg_peer_new(w->peers, dialect, who, &peer);
    if (err < 0)
        return err;
    /* The request's memory goes with the exchange: what the dialect sees of it is little. */
    hs.secure = mdg_exchange_handshake(x)->secure;
    err = mdg_ws_accept(w->ws, x, o, &mdg_peer_link_user, peer, &link);
    if (err < 0) {
        mdg_peer_free(peer);
        return err;
    }
    mdg_peer_attach(peer, link, &hs);
    return 0;
}
