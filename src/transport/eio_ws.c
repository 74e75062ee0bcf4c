/* WebSocket as a session's first transport, and as the one it changes to: a second connection
 * probes, the poll is let go, the queue follows. https://github.com/socketio/engine.io-protocol
 * "Upgrade" */
#include "transport/eio_session.h"
#include <stdlib.h>

/* A connection whose session went elsewhere or ended. */
static int stray_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l;
    (void)in;
    (void)binary;
    return 0;
}

static void stray_writable(struct mdg_link *l)
{
    (void)l;
}

static void stray_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l;
    (void)code;
    (void)reason;
}

static const struct mdg_link_user stray = {stray_input, stray_writable, stray_close};

static void let_go(struct mdg_link *ws, int code)
{
    ws->user = &stray;
    ws->user_arg = NULL;
    mdg_link_close(ws, code, mdg_slice(NULL, 0));
}

static int on_input(struct mdg_link *ws, struct mdg_input in, bool binary)
{
    struct mdg_eio_session *s = ws->user_arg;
    struct mdg_eio_packet packet;
    if (mdg_eio_dec_packet(s->version, in, binary, &packet) < 0)
        eio_session_end(s, MDG_CLOSE_PROTOCOL, "parse error");
    else
        eio_session_packet(s, &packet);
    return 0;
}

static void on_writable(struct mdg_link *ws)
{
    struct mdg_eio_session *s = ws->user_arg;
    if (s->state == EIO_OPEN && s->link.user->on_writable)
        s->link.user->on_writable(&s->link);
}

static void on_close(struct mdg_link *ws, int code, struct mdg_slice reason)
{
    struct mdg_eio_session *s = ws->user_arg;
    (void)reason;
    bool broke =
        code == MDG_CLOSE_PROTOCOL || code == MDG_CLOSE_BAD_DATA || code == MDG_CLOSE_TOO_BIG;
    s->ws = NULL;
    eio_session_end(s, code, broke ? "transport error" : "transport close");
}

static const struct mdg_link_user session_user = {on_input, on_writable, on_close};

/* One packet that waited for a poll goes out on the WebSocket instead. */
static int send_over(struct mdg_eio_session *s, const struct mdg_eio_packet *p)
{
    struct mdg_slice data = mdg_slice(p->data.data, p->data.len);
    const struct mdg_unit_meta meta = {.binary = p->binary};
    if (p->type != MDG_EIO_MESSAGE)
        return eio_session_send_packet(s, p->type, data);
    return mdg_link_send_unit(&s->link, data, &meta);
}

static int move_chunk(struct mdg_eio_session *s, const struct mdg_chunk *c)
{
    struct mdg_slice bytes = mdg_chunk_slice(c);
    struct mdg_eio_payload payload;
    struct mdg_eio_packet packet;
    struct mdg_buf copy; /* decoding works in place, the chunk is shared */
    int rc;
    mdg_buf_init(&copy, bytes.len + 1);
    if (mdg_buf_append(&copy, bytes) < 0)
        return MDG_E_NO_MEMORY;
    mdg_eio_payload_init(&payload, s->version, bytes.len && bytes.data[0] <= 1,
                         (struct mdg_input){copy.data, copy.len});
    while ((rc = mdg_eio_payload_next(&payload, &packet)) > 0) {
        rc = send_over(s, &packet);
        if (rc < 0)
            break;
    }
    mdg_buf_fini(&copy);
    return rc;
}

/* s->ws is set: from here on everything goes there. */
static int change_transport(struct mdg_eio_session *s)
{
    struct eio_poll *p = s->poll;
    int err = 0;
    s->link.framing = eio_framing_ws(s->w, s->ws->framing, s->version);
    for (size_t i = 0; err >= 0 && i < p->queue_len; i++)
        err = move_chunk(s, &p->queue[i]);
    bool owed = p->refused;
    eio_poll_drop(s, false);
    if (err >= 0 && owed && s->link.user->on_writable)
        s->link.user->on_writable(&s->link);
    return err;
}

int eio_ws_begin(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    uint8_t json[256];
    struct mdg_writer w;
    int err = mdg_ws_accept(s->w->ws, x, &s->w->ws_options, &session_user, s, &s->ws);
    if (err < 0)
        return err;
    mdg_writer_init(&w, json, sizeof json);
    mdg_write_u8(&w, '0');
    eio_session_write_open(s, &w);
    assert(mdg_writer_fits(&w));
    const struct mdg_unit_meta text = {.binary = false};
    if (mdg_link_send_unit(s->ws, mdg_slice(json, w.len), &text) < 0 || change_transport(s) < 0)
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
    return 0;
}

/* The probe: a WebSocket that is not the session's transport yet. */

static void probe_free(struct eio_probe *p, int close_code)
{
    struct mdg_eio_session *s = p->session;
    mdg_timer_stop(s->w->loop, &p->timer);
    s->probe = NULL;
    if (p->ws && close_code)
        let_go(p->ws, close_code);
    free(p);
}

static void probe_timeout(struct mdg_timer *t, void *arg)
{
    (void)t;
    probe_free(arg, MDG_CLOSE_NORMAL);
}

static void complete(struct eio_probe *p)
{
    struct mdg_eio_session *s = p->session;
    s->ws = p->ws;
    s->ws->user = &session_user;
    s->ws->user_arg = s;
    probe_free(p, 0);
    eio_poll_noop(s);
    bool closing = s->state == EIO_CLOSING;
    if (change_transport(s) < 0)
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
    else if (closing)
        eio_session_end(s, s->code, "forced close");
    else
        s->upgraded = true;
}

static int probe_input(struct mdg_link *ws, struct mdg_input in, bool binary)
{
    struct eio_probe *p = ws->user_arg;
    struct mdg_eio_packet packet;
    const struct mdg_unit_meta text = {.binary = false};
    bool good = mdg_eio_dec_packet(p->session->version, in, binary, &packet) == 0;
    if (good && packet.type == MDG_EIO_PING && !p->pinged &&
        mdg_slice_eq(mdg_slice(packet.data.data, packet.data.len), MDG_SLICE_LIT("probe")) &&
        mdg_link_send_unit(ws, MDG_SLICE_LIT("3probe"), &text) == 0) {
        p->pinged = true;
        eio_poll_flush(p->session); /* the client waits for its poll to come back */
        if (p->session->state != EIO_ENDED)
            eio_poll_noop(p->session);
    } else if (good && packet.type == MDG_EIO_UPGRADE && p->pinged) {
        complete(p);
    } else {
        probe_free(p, MDG_CLOSE_PROTOCOL); /* polling stays alive */
    }
    return 0;
}

static void probe_writable(struct mdg_link *ws)
{
    (void)ws;
}

static void probe_close(struct mdg_link *ws, int code, struct mdg_slice reason)
{
    struct eio_probe *p = ws->user_arg;
    (void)code;
    (void)reason;
    p->ws = NULL;
    probe_free(p, 0);
}

static const struct mdg_link_user probe_user = {probe_input, probe_writable, probe_close};

/* As the reference does: the connection is made, and closed at once. */
static void reject(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    struct mdg_link *ws;
    if (mdg_ws_accept(s->w->ws, x, &s->w->ws_options, &stray, NULL, &ws) < 0)
        eio_refuse(s->w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
    else
        mdg_link_close(ws, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

void eio_ws_probe(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    if (s->probe || s->ws || !s->w->options->upgrades || s->state != EIO_OPEN) {
        reject(s, x);
        return;
    }
    struct eio_probe *p = calloc(1, sizeof *p);
    if (!p || mdg_ws_accept(s->w->ws, x, &s->w->ws_options, &probe_user, p, &p->ws) < 0) {
        free(p);
        eio_refuse(s->w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
        return;
    }
    p->session = s;
    s->probe = p;
    mdg_timer_init(&p->timer, probe_timeout, p);
    mdg_timer_start(s->w->loop, &p->timer, s->w->options->upgrade_timeout_ms);
}

void eio_ws_drop(struct mdg_eio_session *s, int code)
{
    if (s->probe)
        probe_free(s->probe, MDG_CLOSE_NORMAL);
    if (s->ws)
        let_go(s->ws, code);
    s->ws = NULL;
}
