/* GET /sse and GET /stream: a response that goes on for as long as somebody reads it. */
#include "server/room_http.h"
#include "transport/push.h"

enum { RETRY_MS = 2000 };

typedef int (*open_fn)(struct mdg_exchange *x, const struct mdg_push_options *options,
                       const struct mdg_link_user *user, void *user_arg, struct mdg_link **out);

/* From here on errors end the link: the response has begun. */
static void join_rooms(struct mdg_peer *peer, const struct mdg_room_query *q)
{
    for (size_t i = 0; i < q->room_count; i++) {
        const struct mdg_position *after = q->after[i].epoch ? &q->after[i] : NULL;
        if (mdg_plain_join(peer, q->rooms[i], q->history, after) < 0)
            mdg_peer_close(peer, MDG_CLOSE_INTERNAL, MDG_SLICE_LIT("could not join"));
    }
}

static int open_peer(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_principal *who,
                     open_fn open, const struct mdg_room_query *q)
{
    static const struct mdg_push_options options = {.heartbeat_s = MDG_HEARTBEAT_S,
                                                    .retry_ms = RETRY_MS};
    struct mdg_handshake hs = *mdg_exchange_handshake(x);
    struct mdg_peer *peer;
    struct mdg_link *link;
    if (!(who->rights & MDG_RIGHT_SUBSCRIBE))
        return MDG_E_DENIED;
    int err = mdg_peer_new(w->peers, &mdg_plain_dialect, who, &peer);
    if (err < 0)
        return err;
    err = open(x, &options, &mdg_peer_link_user, peer, &link);
    if (err < 0) {
        mdg_peer_free(peer);
        return err;
    }
    hs.carrier = link->carrier->name;
    mdg_peer_attach(peer, link, &hs);
    join_rooms(peer, q);
    return 0;
}

/* RFC 9110 9.3.2: the head that GET would have, and nothing behind it. */
static int respond_head(struct mdg_exchange *x, const char *content_type)
{
    const struct mdg_header h[] = {
        {MDG_SLICE_LIT("Content-Type"), mdg_slice_str(content_type)},
        {MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store, no-transform")},
    };
    int err = mdg_exchange_begin(x, 200, h, MDG_ARRAY_LEN(h));
    mdg_exchange_end(x);
    return err;
}

static int on_push(struct mdg_exchange *x, struct mdg_worker *w, open_fn open,
                   const char *content_type)
{
    struct mdg_room_query q;
    struct mdg_principal *who;
    uint8_t last_id[1024];
    if (mdg_exchange_has_body(x)) { /* its meaning is undefined (RFC 9110 9.3.1) */
        mdg_exchange_respond_error(x, 400, "bad_request", "this request takes no body");
        return 0;
    }
    struct mdg_slice token = mdg_sse_last_id(x, last_id, sizeof last_id);
    if (!mdg_room_query_read(w, x, MDG_PLAIN_ROOMS_MAX, token, &q))
        return 0;
    if (mdg_authenticate(w, x, &who) < 0)
        return 0;
    int err = mdg_exchange_method(x) == MDG_HTTP_HEAD ? respond_head(x, content_type)
                                                      : open_peer(w, x, who, open, &q);
    mdg_principal_unref(who);
    if (err < 0)
        mdg_room_respond_error(x, err);
    return 0;
}

static int on_sse(struct mdg_exchange *x, void *arg)
{
    return on_push(x, mdg_mounted(arg)->worker, mdg_sse_open, "text/event-stream");
}

static int on_stream(struct mdg_exchange *x, void *arg)
{
    return on_push(x, mdg_mounted(arg)->worker, mdg_lines_open, "application/x-ndjson");
}

int mdg_mount_push(struct madang *server)
{
    static const struct mdg_http_handler sse = {.on_request = on_sse};
    static const struct mdg_http_handler stream = {.on_request = on_stream};
    int err = mdg_server_mount(server, "GET", "/sse", &sse, NULL);
    return err < 0 ? err : mdg_server_mount(server, "GET", "/stream", &stream, NULL);
}
