/* The life of a session: packets in and out whatever the transport, the heartbeat in each
 * version's direction, the end. */
#include "transport/eio_session.h"
#include "base/base64.h"
#include <stdlib.h>

enum { LATE_POLL_MS = 100 };

static const struct mdg_carrier carrier;

static void on_timer(struct mdg_timer *t, void *arg);
static void on_later(struct mdg_loop *loop, void *arg);

static void make_sid(struct mdg_eio_worker *w, char sid[EIO_SID_CHARS])
{
    uint8_t bytes[EIO_SID_BYTES];
    struct mdg_writer out;
    mdg_loop_random(w->loop, bytes, sizeof bytes);
    bytes[0] = (uint8_t)w->number;
    mdg_writer_init(&out, sid, EIO_SID_CHARS);
    mdg_write_base64url(&out, mdg_slice(bytes, sizeof bytes));
    assert(out.len == EIO_SID_CHARS);
}

int eio_session_new(struct mdg_eio_worker *w, unsigned version, bool base64,
                    struct mdg_eio_session **out)
{
    if (w->sessions.len >= w->options->sessions_max)
        return MDG_E_FULL;
    struct mdg_eio_session *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    s->w = w;
    s->version = (uint8_t)version;
    s->base64 = base64;
    s->link.carrier = &carrier;
    s->link.framing = eio_framing_poll(version, base64);
    s->later.fn = on_later;
    s->later.arg = s;
    mdg_timer_init(&s->timer, on_timer, s);
    make_sid(w, s->sid);
    if (eio_poll_new(s) < 0)
        goto no_memory;
    if (mdg_map_put(&w->sessions, eio_sid(s), s) < 0) {
        eio_poll_drop(s, false);
        goto no_memory;
    }
    mdg_list_push(&w->list, &s->in_worker);
    *out = s;
    return 0;
no_memory:
    free(s);
    return MDG_E_NO_MEMORY;
}

void eio_session_start(struct mdg_eio_session *s)
{
    const struct mdg_eio_options *o = s->w->options;
    if (s->state != EIO_OPEN)
        return;
    mdg_timer_start(s->w->loop, &s->timer,
                    s->version == 3 ? (uint64_t)o->ping_interval_ms + o->ping_timeout_ms
                                    : o->ping_interval_ms);
}

void eio_session_wake(struct mdg_eio_session *s)
{
    mdg_loop_defer(s->w->loop, &s->later);
}

void eio_session_end(struct mdg_eio_session *s, int code, const char *reason)
{
    if (s->state == EIO_ENDED)
        return;
    s->state = EIO_ENDED;
    s->code = (int16_t)code;
    if (!s->reason)
        s->reason = reason;
    mdg_timer_stop(s->w->loop, &s->timer);
    (void)mdg_map_remove(&s->w->sessions, eio_sid(s));
    eio_poll_drop(s, code != MDG_CLOSE_NONE);
    eio_ws_drop(s, code == MDG_CLOSE_NONE || code == MDG_CLOSE_ABNORMAL ? MDG_CLOSE_NORMAL : code);
    eio_session_wake(s);
}

static void on_later(struct mdg_loop *loop, void *arg)
{
    struct mdg_eio_session *s = arg;
    (void)loop;
    if (s->state != EIO_ENDED) {
        eio_poll_flush(s);
        if (s->state != EIO_ENDED)
            return;
        mdg_defer_cancel(&s->later); /* the flush ended it: once is enough */
    }
    mdg_list_remove(&s->in_worker);
    if (s->link.user)
        s->link.user->on_close(&s->link, s->code, mdg_slice_str(s->reason));
    free(s);
}

void eio_session_destroy(struct mdg_eio_session *s)
{
    eio_session_end(s, MDG_CLOSE_GOING_AWAY, "server shutting down");
    mdg_defer_cancel(&s->later);
    on_later(s->w->loop, s);
}

/* The protocol's name for what the owner above could not take. */
static void end_for_error(struct mdg_eio_session *s, int err)
{
    int code = err == MDG_E_TOO_BIG     ? MDG_CLOSE_TOO_BIG
               : err == MDG_E_DENIED    ? MDG_CLOSE_POLICY
               : err == MDG_E_NO_MEMORY ? MDG_CLOSE_INTERNAL
                                        : MDG_CLOSE_PROTOCOL;
    eio_session_end(s, code, err == MDG_E_CLOSED ? "forced close" : "parse error");
}

static void on_ping(struct mdg_eio_session *s, const struct mdg_eio_packet *p)
{
    if (s->version != 3) { /* "invalid heartbeat direction" */
        eio_session_end(s, MDG_CLOSE_PROTOCOL, "transport error");
        return;
    }
    eio_session_start(s);
    if (eio_session_send_packet(s, MDG_EIO_PONG, mdg_slice(p->data.data, p->data.len)) < 0)
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
}

/* The client closes by a POST while its poll may still be on the way, on another connection or by
 * another worker: for a moment the session waits, so that this poll is answered as one that was
 * parked would have been. */
static void on_close_packet(struct mdg_eio_session *s)
{
    if (s->state == EIO_CLOSING) {
        eio_session_end(s, s->code, "transport close");
        return;
    }
    s->reason = "transport close";
    s->code = MDG_CLOSE_NONE;
    if (s->ws || !s->poll || eio_poll_is_parked(s) ||
        eio_session_send_packet(s, MDG_EIO_NOOP, mdg_slice(NULL, 0)) < 0) {
        eio_session_end(s, MDG_CLOSE_NONE, s->reason);
        return;
    }
    s->state = EIO_CLOSING;
    mdg_timer_start(s->w->loop, &s->timer, LATE_POLL_MS);
}

void eio_session_packet(struct mdg_eio_session *s, const struct mdg_eio_packet *p)
{
    int err;
    if (s->state == EIO_ENDED)
        return;
    switch (p->type) {
    case MDG_EIO_MESSAGE:
        if (s->state != EIO_OPEN)
            return;
        err = s->link.user->on_input(&s->link, p->data, p->binary);
        if (err < 0)
            end_for_error(s, err);
        return;
    case MDG_EIO_PING:
        on_ping(s, p);
        return;
    case MDG_EIO_PONG:
        if (s->version == 3) {
            eio_session_end(s, MDG_CLOSE_PROTOCOL, "transport error");
        } else if (s->ping_sent) {
            s->ping_sent = false;
            eio_session_start(s);
        }
        return;
    case MDG_EIO_CLOSE:
        on_close_packet(s);
        return;
    case MDG_EIO_OPEN:
    case MDG_EIO_UPGRADE:
    case MDG_EIO_NOOP:
        return; /* nothing to a server; the reference ignores them too */
    }
}

bool eio_session_is_late(const struct mdg_eio_session *s)
{
    return s->state == EIO_OPEN && !s->probe && (s->version == 3 || s->ping_sent) &&
           mdg_timer_running(&s->timer) &&
           mdg_timer_due_ms(&s->timer) <= mdg_loop_now_ms(s->w->loop);
}

static void heartbeat(struct mdg_eio_session *s)
{
    const struct mdg_eio_options *o = s->w->options;
    uint64_t late_ms =
        mdg_loop_now_ms(s->w->loop) - mdg_timer_due_ms(&s->timer); /* the client counts too */
    if (s->probe) { /* it pauses during an upgrade: the client is busy changing horses */
        mdg_timer_start(s->w->loop, &s->timer, o->ping_timeout_ms);
        return;
    }
    if (s->version == 3 || s->ping_sent) {
        eio_session_end(s, MDG_CLOSE_ABNORMAL, "ping timeout");
        return;
    }
    s->ping_sent = true;
    if (eio_session_send_packet(s, MDG_EIO_PING, mdg_slice(NULL, 0)) < 0) {
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
        return;
    }
    mdg_timer_start(s->w->loop, &s->timer,
                    late_ms < o->ping_timeout_ms / 2 ? o->ping_timeout_ms - late_ms
                                                     : o->ping_timeout_ms);
}

static void on_timer(struct mdg_timer *t, void *arg)
{
    struct mdg_eio_session *s = arg;
    (void)t;
    if (s->state == EIO_CLOSING)
        eio_session_end(s, s->code, "forced close");
    else
        heartbeat(s);
}

int eio_session_send_packet(struct mdg_eio_session *s, enum mdg_eio_type type,
                            struct mdg_slice data)
{
    uint8_t room[64];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    if (s->ws) {
        const struct mdg_unit_meta text = {.binary = false};
        mdg_eio_write_packet(&w, s->version, type, false, data);
        return mdg_writer_fits(&w) ? mdg_link_send_unit(s->ws, mdg_slice(room, w.len), &text)
                                   : MDG_E_TOO_BIG;
    }
    if (s->version == 3)
        mdg_eio3_write_in_text(&w, type, false, data);
    else
        mdg_eio4_write_in_payload(&w, type, false, data);
    if (!mdg_writer_fits(&w))
        return MDG_E_TOO_BIG;
    struct mdg_blob *blob = mdg_blob_copy(mdg_slice(room, w.len));
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    int err = eio_poll_push(s, &chunk, 1, false);
    if (err < 0)
        mdg_blob_unref(blob);
    return err;
}

void eio_session_write_open(const struct mdg_eio_session *s, struct mdg_writer *w)
{
    const struct mdg_eio_options *o = s->w->options;
    const struct mdg_eio_open open = {
        .sid = eio_sid(s),
        .upgrade_websocket = !s->ws && s->poll && o->websocket && o->upgrades,
        .ping_interval_ms = o->ping_interval_ms,
        .ping_timeout_ms = o->ping_timeout_ms,
        .max_payload = o->max_payload,
    };
    mdg_eio_write_open(w, &open);
}

/* The carrier as its owner sees it. */

static int carrier_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct mdg_eio_session *s = eio_of(l);
    if (s->state != EIO_OPEN)
        return MDG_E_CLOSED;
    return s->ws ? mdg_link_send(s->ws, framed, n) : eio_poll_push(s, framed, n, true);
}

/* A WebSocket whose frames are its own (a compressor with context): packet by packet. */
static int send_unit_alone(struct mdg_eio_session *s, struct mdg_slice unit,
                           const struct mdg_unit_meta *meta)
{
    struct mdg_buf packet;
    struct mdg_writer w;
    mdg_buf_init(&packet, unit.len + 1);
    if (mdg_buf_reserve(&packet, unit.len + 1) < 0)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, packet.data, unit.len + 1);
    mdg_eio_write_packet(&w, s->version, MDG_EIO_MESSAGE, meta->binary, unit);
    int err = mdg_link_send_unit(s->ws, mdg_slice(packet.data, w.len), meta);
    mdg_buf_fini(&packet);
    return err;
}

static int carrier_send_unit(struct mdg_link *l, struct mdg_slice unit,
                             const struct mdg_unit_meta *meta)
{
    struct mdg_eio_session *s = eio_of(l);
    struct mdg_chunk chunk;
    if (s->state != EIO_OPEN)
        return MDG_E_CLOSED;
    if (!l->framing)
        return send_unit_alone(s, unit, meta);
    int err = mdg_frame_chunk(l->framing, unit, meta, &chunk);
    if (err < 0)
        return err;
    err = carrier_send(l, &chunk, 1);
    if (err < 0)
        mdg_blob_unref(chunk.blob);
    return err;
}

/* On polling, the close packet waits in the queue for the client to fetch it. */
static void carrier_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_eio_session *s = eio_of(l);
    if (s->state != EIO_OPEN)
        return;
    if (!s->reason)
        s->reason = "forced close";
    s->code = (int16_t)code;
    if (s->ws) /* the text with the code; ending the session would say the code alone */
        mdg_link_close(s->ws, code, reason);
    if (s->ws || !s->poll) {
        eio_session_end(s, code, "forced close");
        return;
    }
    s->state = EIO_CLOSING;
    if (eio_session_send_packet(s, MDG_EIO_CLOSE, mdg_slice(NULL, 0)) < 0) {
        eio_session_end(s, code, "forced close");
        return;
    }
    mdg_timer_start(s->w->loop, &s->timer, s->w->options->close_timeout_ms);
    eio_session_wake(s);
}

static void carrier_pause(struct mdg_link *l, bool paused)
{
    struct mdg_eio_session *s = eio_of(l);
    if (s->ws && s->state == EIO_OPEN)
        s->ws->carrier->pause(s->ws, paused);
    else if (s->poll && s->poll->post)
        mdg_exchange_pause_body(s->poll->post, paused);
}

static size_t carrier_queued(const struct mdg_link *l)
{
    const struct mdg_eio_session *s = eio_of(l);
    if (s->ws)
        return s->ws->carrier->queued(s->ws);
    return s->poll ? s->poll->queue_bytes : 0;
}

static const struct mdg_carrier carrier = {
    .name = "eio",
    .send = carrier_send,
    .send_unit = carrier_send_unit,
    .close = carrier_close,
    .pause = carrier_pause,
    .queued = carrier_queued,
};

void *mdg_eio_arg(const struct mdg_link *l)
{
    assert(l->carrier == &carrier);
    return eio_of(l)->w->arg;
}

struct mdg_slice mdg_eio_sid(const struct mdg_link *l)
{
    assert(l->carrier == &carrier);
    return eio_sid(eio_of(l));
}

unsigned mdg_eio_version(const struct mdg_link *l)
{
    assert(l->carrier == &carrier);
    return eio_of(l)->version;
}

struct mdg_exchange *mdg_eio_posting(const struct mdg_link *l)
{
    assert(l->carrier == &carrier);
    return eio_of(l)->poll ? eio_of(l)->poll->handled : NULL;
}

const char *mdg_eio_transport(const struct mdg_link *l)
{
    assert(l->carrier == &carrier);
    return eio_of(l)->ws ? "websocket" : "polling";
}
