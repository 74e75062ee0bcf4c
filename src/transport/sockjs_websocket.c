/* The websocket transports: SockJS's frames inside of WebSocket messages, and the raw one that has
 * no framing at all and hands the WebSocket itself to the owner. */
#include "transport/sockjs_session.h"
#include <stdlib.h>

struct websocket {
    struct mdg_link link; /* what the owner sees */
    struct mdg_link *ws;  /* NULL once it is gone */
    struct mdg_sockjs *service;
    struct mdg_timer heartbeat;
    struct mdg_defer end;
    uint64_t sent_ms;
    bool closing;
};

static const struct mdg_carrier carrier;

static struct websocket *websocket_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct websocket, link);
}

/* A frame that is no message, in a WebSocket message of its own. */
static int send_text(struct websocket *n, struct mdg_slice frame)
{
    const struct mdg_unit_meta meta = {0};
    return n->ws ? mdg_link_send_unit(n->ws, frame, &meta) : MDG_E_CLOSED;
}

/* Pings are the WebSocket carrier's; this is for clients that cannot see them. */
static void on_heartbeat(struct mdg_timer *t, void *arg)
{
    struct websocket *n = arg;
    uint64_t wanted_ms = n->service->config->heartbeat_ms;
    uint64_t silent_ms = mdg_loop_now_ms(n->service->loop) - n->sent_ms;
    if (silent_ms >= wanted_ms && !n->closing) {
        /* a full queue shows more life than a heartbeat would */
        if (send_text(n, MDG_SLICE_LIT("h")) == 0)
            n->sent_ms = mdg_loop_now_ms(n->service->loop);
        silent_ms = 0;
    }
    mdg_timer_start(n->service->loop, t, wanted_ms - silent_ms);
}

static int on_input(struct mdg_link *ws, struct mdg_input in, bool binary)
{
    (void)binary;
    struct websocket *n = ws->user_arg;
    if (n->closing || in.len == 0)
        return 0; /* empty messages are ignored (protocol, "test_empty_frame") */
    struct mdg_sockjs_messages m;
    if (mdg_sockjs_messages(mdg_slice(in.data, in.len), true, &m) < 0)
        return MDG_E_PROTO;
    struct mdg_input message;
    while (!n->closing && mdg_sockjs_next_message(&m, &message)) {
        int err = n->link.user->on_input(&n->link, message, false);
        if (err < 0)
            return err;
    }
    return 0;
}

static void on_writable(struct mdg_link *ws)
{
    struct websocket *n = ws->user_arg;
    if (!n->closing)
        n->link.user->on_writable(&n->link);
}

static void free_websocket(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

static void on_close(struct mdg_link *ws, int code, struct mdg_slice reason)
{
    struct websocket *n = ws->user_arg;
    n->ws = NULL;
    n->closing = true;
    mdg_timer_stop(n->service->loop, &n->heartbeat);
    if (n->link.user)
        n->link.user->on_close(&n->link, code, reason);
    n->end = (struct mdg_defer){.fn = free_websocket, .arg = n};
    mdg_loop_dispose(n->service->loop, &n->end);
}

static const struct mdg_link_user user = {on_input, on_writable, on_close};

static int link_send(struct mdg_link *l, struct mdg_chunk *framed, size_t count)
{
    struct websocket *n = websocket_of(l);
    if (!n->ws || n->closing)
        return MDG_E_CLOSED;
    n->sent_ms = mdg_loop_now_ms(n->service->loop);
    return mdg_link_send(n->ws, framed, count);
}

static int link_send_unit(struct mdg_link *l, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    if (meta && meta->binary)
        return MDG_E_UNSUPPORTED;
    struct mdg_blob *blob = mdg_sockjs_frame_blob(l->framing, unit);
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    int err = link_send(l, &chunk, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

static void link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct websocket *n = websocket_of(l);
    if (!n->ws || n->closing)
        return;
    if (code == MDG_CLOSE_NORMAL && reason.len == 0)
        reason = MDG_SLICE_LIT("Normal closure");
    uint8_t frame[1024];
    struct mdg_writer w;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_sockjs_write_close(&w, (unsigned)code, reason);
    int err = mdg_writer_fits(&w) ? send_text(n, mdg_slice(frame, w.len)) : MDG_E_TOO_BIG;
    n->closing = true;
    /* the frame has said it all; where there was no room for it, the WebSocket's close does */
    if (err)
        mdg_link_close(n->ws, code, reason);
    else
        mdg_link_close(n->ws, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

static void link_pause(struct mdg_link *l, bool paused)
{
    struct websocket *n = websocket_of(l);
    if (n->ws)
        n->ws->carrier->pause(n->ws, paused);
}

static size_t link_queued(const struct mdg_link *l)
{
    const struct websocket *n = websocket_of(l);
    return n->ws ? n->ws->carrier->queued(n->ws) : 0;
}

static const struct mdg_carrier carrier = {
    .name = "sockjs",
    .send = link_send,
    .send_unit = link_send_unit,
    .close = link_close,
    .pause = link_pause,
    .queued = link_queued,
};

/* Nobody listens between the upgrade and on_open. */
static int ignore_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l;
    (void)in;
    (void)binary;
    return 0;
}

static void ignore_writable(struct mdg_link *l)
{
    (void)l;
}

static void ignore_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l;
    (void)code;
    (void)reason;
}

static const struct mdg_link_user nobody = {ignore_input, ignore_writable, ignore_close};

static int accept_raw(struct mdg_sockjs *s, struct mdg_exchange *x, void *visitor)
{
    struct mdg_link *ws;
    int err = mdg_ws_accept(s->ws, x, s->config->ws_options, &nobody, NULL, &ws);
    if (err)
        return err;
    if (s->user->on_open(ws, visitor, s->arg) < 0)
        mdg_link_close(ws, MDG_CLOSE_INTERNAL, mdg_slice(NULL, 0));
    return 0;
}

static int accept_framed(struct mdg_sockjs *s, struct mdg_exchange *x, void *visitor)
{
    struct websocket *n = calloc(1, sizeof *n);
    if (!n)
        return MDG_E_NO_MEMORY;
    n->service = s;
    n->link = (struct mdg_link){&carrier, &mdg_sockjs_framing_websocket, &nobody, NULL};
    int err = mdg_ws_accept(s->ws, x, s->config->ws_options, &user, n, &n->ws);
    if (err) {
        free(n);
        return err;
    }
    n->sent_ms = mdg_loop_now_ms(s->loop);
    mdg_timer_init(&n->heartbeat, on_heartbeat, n);
    mdg_timer_start(s->loop, &n->heartbeat, s->config->heartbeat_ms);
    err = send_text(n, MDG_SLICE_LIT("o"));
    if (s->user->on_open(&n->link, visitor, s->arg) < 0 || err < 0)
        mdg_link_close(&n->link, MDG_CLOSE_INTERNAL, mdg_slice(NULL, 0));
    return 0;
}

static void drop_visitor(struct mdg_sockjs *s, void *visitor)
{
    if (visitor && s->user->on_drop)
        s->user->on_drop(visitor, s->arg);
}

int mdg_sockjs_websocket(struct mdg_sockjs *s, struct mdg_exchange *x, bool raw)
{
    if (!mdg_ws_wanted(x)) {
        mdg_exchange_respond_text(x, 400, "text/plain; charset=UTF-8",
                                  MDG_SLICE_LIT("Not a valid websocket request"));
        return 0;
    }
    struct mdg_slice subprotocol;
    if (mdg_ws_check(x, s->config->ws_options, &subprotocol) < 0)
        return 0;
    void *visitor = NULL;
    int err = s->user->on_handshake ? s->user->on_handshake(x, s->arg, &visitor) : 0;
    if (err > 0) {
        mdg_exchange_respond_text(x, (unsigned)err, NULL, mdg_slice(NULL, 0));
        return 0;
    }
    if (err == 0)
        err = raw ? accept_raw(s, x, visitor) : accept_framed(s, x, visitor);
    if (err < 0)
        drop_visitor(s, visitor);
    return err;
}
