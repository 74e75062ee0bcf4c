/* People with nc: text lines on TCP and unix sockets. */
#include "dialect/raw.h"
#include "net/stream.h"
#include "server/mount.h"
#include "transport/tcp.h"
#include <stdlib.h>

enum { LINGER_S = 2 };

static struct mdg_slice address_of(const struct mdg_stream *s, char text[MDG_ADDR_TEXT_MAX],
                                   uint16_t *port)
{
    struct mdg_addr peer;
    struct mdg_writer w;
    *port = 0;
    if (mdg_stream_peer(s, &peer) < 0)
        return mdg_slice(NULL, 0);
    mdg_writer_init(&w, text, MDG_ADDR_TEXT_MAX);
    mdg_addr_write_ip(&w, &peer);
    *port = mdg_addr_port(&peer);
    return mdg_slice(text, mdg_min_size(w.len, MDG_ADDR_TEXT_MAX));
}

/* greet: nothing was heard of the client yet, so a person is waiting for a word. */
static int accept_line(struct mdg_worker *w, struct mdg_stream *s, bool greet)
{
    char address[MDG_ADDR_TEXT_MAX];
    struct mdg_handshake hs = {
        .carrier = "tcp", .secure = mdg_stream_secure(s), .unix_ms = mdg_loop_unix_ms(w->loop)};
    struct mdg_principal *who;
    struct mdg_peer *peer;
    struct mdg_link *link;
    hs.address = address_of(s, address, &hs.port);
    int err = mdg_auth_handshake(&w->server->auth, &hs, &who);
    if (err < 0)
        return err;
    err = mdg_peer_new(w->peers, greet ? &mdg_raw_dialect : &mdg_raw_quiet_dialect, who, &peer);
    mdg_principal_unref(who);
    if (err < 0)
        return err;
    err = mdg_tcp_line_accept(s, &w->server->tcp_config, &mdg_peer_link_user, peer, &link);
    if (err < 0) {
        mdg_peer_free(peer);
        return err;
    }
    mdg_peer_attach(peer, link, &hs);
    return 0;
}

int mdg_mount_lines(struct madang *server)
{
    server->tcp_config = (struct mdg_tcp_config){
        .line_bytes_max = (uint32_t)server->params.line_bytes_max,
        .out_bytes_max = (uint32_t)server->params.send_queue_bytes_max,
        .linger_s = LINGER_S,
    };
    server->accept_line = accept_line;
    server->udp = true;
    return 0;
}
