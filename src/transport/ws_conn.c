/* Receiving: frames to units, control frames, both halves of the closing handshake, silence.
 *
 * A message that lies whole in the input goes up from where it lies; fragments are moved together
 * there first. What is not complete is gathered in a buffer, and the rest of a long frame is
 * received straight into it. */
#include "transport/ws_conn.h"
#include "loop/loop.h"
#include <stdlib.h>

enum {
    SINK_MIN = 1024,          /* less than this comes through the loop's buffer and is copied */
    CLOSE_AT_ONCE_MAX = 4096, /* queued bytes that one attempt to send can be trusted with */
    EVENTS_PER_TURN = 1024    /* attack: tens of thousands of requests in one piece; others wait */
};

/* The part of a message that lies in the present input. */
struct pending {
    const uint8_t *input; /* where the input begins: what is in front is not ours */
    uint8_t *start;
    size_t len;
    size_t room; /* in front of it */
};

static void over(struct mdg_ws_conn *c, int code, struct mdg_slice reason)
{
    mdg_ws_set(c, MDG_WS_OVER);
    c->link.user->on_close(&c->link, code, reason);
    mdg_ws_aux_drop(c);
}

static void send_close(struct mdg_ws_conn *c, int code, struct mdg_slice reason)
{
    uint8_t payload[MDG_WS_CONTROL_MAX];
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT))
        return;
    mdg_ws_set(c, MDG_WS_CLOSE_SENT);
    size_t len = mdg_ws_enc_close(payload, (uint16_t)code, reason);
    mdg_ws_send_control(c, MDG_WS_CLOSE, mdg_slice(payload, len), true);
}

/* RFC 6455 7.1.7: the peer is told why, the user hears it, and nothing more is read. The sentence
 * is optional (5.5.1), and Engine.IO's clients know the reference's close frames, which have none.
 */
static void fail(struct mdg_ws_conn *c, int code, const char *text)
{
    struct mdg_slice reason = mdg_slice_str(text);
    send_close(c, code, c->endpoint->options->codes_only ? mdg_slice(NULL, 0) : reason);
    mdg_stream_recv_into(c->stream, NULL, 0);
    mdg_stream_finish(c->stream, MDG_E_PROTO, c->endpoint->options->close_timeout_s);
    over(c, code, reason);
}

static void fail_by_error(struct mdg_ws_conn *c, int err)
{
    switch (err) {
    case MDG_E_PROTO:
        fail(c, MDG_CLOSE_PROTOCOL, "protocol error");
        break;
    case MDG_E_SYNTAX:
        fail(c, MDG_CLOSE_BAD_DATA, "invalid data");
        break;
    case MDG_E_TOO_BIG:
        fail(c, MDG_CLOSE_TOO_BIG, "the message is too big");
        break;
    case MDG_E_DENIED:
        fail(c, MDG_CLOSE_POLICY, "not allowed");
        break;
    case MDG_E_UNSUPPORTED:
        fail(c, MDG_CLOSE_UNSUPPORTED, "this kind of message is not accepted");
        break;
    case MDG_E_EXPIRED:
        fail(c, MDG_CLOSE_EXPIRED, "expired");
        break;
    case MDG_E_FULL:
        fail(c, MDG_CLOSE_TRY_LATER, "too busy");
        break;
    default:
        fail(c, MDG_CLOSE_INTERNAL, "internal error");
        break;
    }
}

static void arm(struct mdg_ws_conn *c)
{
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return;
    mdg_ws_unset(c, MDG_WS_PINGED);
    mdg_stream_set_timeout(c->stream, c->endpoint->options->ping_interval_s);
}

/* A peer that asks faster than it reads the answers is not read either, until it has. Only what
 * it made us say itself counts: what a room sends to it is the room's affair. */
static void hold_if_it_does_not_read(struct mdg_ws_conn *c, uint32_t queued_before)
{
    uint32_t queued = mdg_ws_queued(c);
    if (queued <= queued_before || queued <= c->stream->out_max / 2 || !mdg_ws_aux_get(c))
        return;
    mdg_ws_flush_run(c);
    c->aux->out_seen = queued;
    mdg_ws_set(c, MDG_WS_OUT_PAUSED);
    mdg_stream_pause_read(c->stream, true);
    mdg_stream_want_writable(c->stream);
}

static void deliver(struct mdg_ws_conn *c, struct mdg_input unit, size_t room,
                    struct mdg_blob *blob, bool binary)
{
    struct mdg_ws_worker *w = c->endpoint->worker;
    uint32_t queued = mdg_ws_queued(c), out_max = c->stream->out_max;
    /* An answer as long as the question always has room: reading stops after it, not before. */
    if (unit.len < UINT32_MAX - MDG_WS_HEAD_MAX - out_max)
        mdg_stream_set_out_max(c->stream, out_max + (uint32_t)unit.len + MDG_WS_HEAD_MAX);
    w->now = (struct mdg_ws_unit){c, unit.data, unit.len, room, blob, false, 0};
    int rc = c->link.user->on_input(&c->link, unit, binary);
    mdg_ws_after_upcall(c);
    mdg_stream_set_out_max(c->stream, out_max);
    if (mdg_ws_is(c, MDG_WS_OVER))
        return;
    if (rc < 0)
        fail_by_error(c, rc);
    else
        hold_if_it_does_not_read(c, queued);
}

static void deliver_gathered(struct mdg_ws_conn *c, bool binary)
{
    struct mdg_blob *blob = c->aux->message;
    struct mdg_input unit = {blob->data + MDG_WS_HEADROOM, c->aux->len};
    struct mdg_ws_worker *w = c->endpoint->worker;
    c->aux->message = NULL;
    c->aux->len = 0;
    deliver(c, unit, MDG_WS_HEADROOM, blob, binary);
    mdg_ws_message_release(w, blob);
    if (!mdg_ws_is(c, MDG_WS_OVER))
        mdg_ws_aux_tidy(c);
}

/* How long the message may become: known only with its last frame. */
static size_t expected(const struct mdg_ws_conn *c)
{
    return mdg_ws_dec_final(&c->dec) ? mdg_ws_dec_total(&c->dec) : c->endpoint->codec.message_max;
}

static void on_compressed(struct mdg_ws_conn *c, const struct mdg_ws_event *ev)
{
    int rc = mdg_ws_inflate(c, ev);
    if (rc == MDG_E_SYNTAX)
        fail(c, MDG_CLOSE_BAD_DATA, "not DEFLATE, or not UTF-8");
    else if (rc < 0)
        fail_by_error(c, rc);
    else if (ev->last)
        deliver_gathered(c, ev->op == MDG_WS_BINARY);
}

/* Bytes that the frame's own head took: room for the head of an echo. */
static size_t head_room(size_t len)
{
    return 6 + (len < 126 ? 0u : len < 65536 ? 2u : 8u);
}

static void on_piece(struct mdg_ws_conn *c, const struct mdg_ws_event *ev, struct pending *p)
{
    bool binary = ev->op == MDG_WS_BINARY;
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT))
        return;
    if (ev->rsv1) {
        on_compressed(c, ev);
        return;
    }
    if (mdg_ws_gathering(c)) {
        if (mdg_ws_message_append(c, ev->bytes.data, ev->bytes.len, expected(c)) < 0)
            fail_by_error(c, MDG_E_NO_MEMORY);
        else if (ev->last)
            deliver_gathered(c, binary);
        return;
    }
    if (!p->start) {
        p->start = ev->bytes.data;
        p->len = 0;
        /* A fragment's head may be shorter than that of the whole, and a head may have come in an
         * earlier input. */
        p->room = ev->first && ev->last && !c->endpoint->codec.client
                      ? mdg_min_size(head_room(ev->bytes.len), (size_t)(p->start - p->input))
                      : 0;
    } else {
        memmove(p->start + p->len, ev->bytes.data, ev->bytes.len);
    }
    p->len += ev->bytes.len;
    if (ev->last) {
        struct pending whole = *p;
        p->start = NULL;
        deliver(c, (struct mdg_input){whole.start, whole.len}, whole.room, NULL, binary);
    }
}

/* The peer's close frame: answered with its own code (RFC 6455 5.5.1). */
static void on_close_frame(struct mdg_ws_conn *c, const struct mdg_ws_event *ev, size_t behind)
{
    struct mdg_stream *s = c->stream;
    send_close(c, ev->close_code, mdg_slice(NULL, 0));
    /* The server closes the TCP connection (7.1.1), the client waits for that. finish waits for the
     * peer's end, which is needed only when a reset could destroy something. */
    if (c->endpoint->codec.client)
        mdg_stream_set_timeout(s, c->endpoint->options->close_timeout_s);
    else if (behind == 0 && s->out_bytes <= CLOSE_AT_ONCE_MAX && !(s->flags & MDG_STREAM_WANT_OUT))
        mdg_stream_close(s, 0);
    else
        mdg_stream_finish(s, 0, c->endpoint->options->close_timeout_s);
    over(c, ev->close_code, mdg_slice(ev->bytes.data, ev->bytes.len));
}

static void on_control(struct mdg_ws_conn *c, const struct mdg_ws_event *ev, size_t behind)
{
    if (ev->op == MDG_WS_CLOSE)
        on_close_frame(c, ev, behind);
    else if (ev->op == MDG_WS_PING && !mdg_ws_is(c, MDG_WS_CLOSE_SENT))
        mdg_ws_send_control(c, MDG_WS_PONG, mdg_slice(ev->bytes.data, ev->bytes.len), false);
}

/* The rest of a long frame is received straight into its buffer. */
static void set_sink(struct mdg_ws_conn *c)
{
    size_t left = mdg_ws_dec_left(&c->dec);
    if (left < SINK_MIN || !mdg_ws_gathering(c) || mdg_ws_dec_compressed(&c->dec))
        return;
    if (mdg_ws_message_grow(c, left) < 0) {
        fail_by_error(c, MDG_E_NO_MEMORY);
        return;
    }
    mdg_stream_recv_into(c->stream, mdg_ws_message_end(c->aux),
                         mdg_min_size(left, mdg_ws_message_room(c->aux)));
}

/* The input goes away: what is pending of a message is copied. */
static void keep(struct mdg_ws_conn *c, const struct pending *p)
{
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT))
        return;
    if (p->start && mdg_ws_message_append(c, p->start, p->len, expected(c)) < 0) {
        fail_by_error(c, MDG_E_NO_MEMORY);
        return;
    }
    set_sink(c);
}

static void refill(struct mdg_ws_conn *c)
{
    uint8_t second = (uint8_t)(mdg_loop_now_ms(c->endpoint->worker->loop) / 1024);
    if (c->dec.owner == second)
        return;
    c->dec.owner = second;
    mdg_ws_dec_refill(&c->dec, MDG_WS_IDLE_FRAMES_MAX);
}

static void fail_by_decoder(struct mdg_ws_conn *c)
{
    enum mdg_ws_fail why = mdg_ws_dec_failure(&c->dec);
    fail(c, mdg_ws_fail_code(why), mdg_ws_fail_text(why));
}

static int64_t take_input(struct mdg_ws_conn *c, struct mdg_input in)
{
    struct mdg_ws_event ev;
    struct pending p = {.input = in.data};
    size_t total = in.len;
    int rc = 0;
    if (mdg_ws_is(c, MDG_WS_OVER))
        return (int64_t)total;
    refill(c);
    int events = 0;
    while (!mdg_ws_is(c, MDG_WS_USER_PAUSED | MDG_WS_OUT_PAUSED) && events++ < EVENTS_PER_TURN &&
           (rc = mdg_ws_dec_next(&c->dec, &c->endpoint->codec, &in, &ev)) == 1) {
        if (ev.type == MDG_WS_EVENT_DATA)
            on_piece(c, &ev, &p);
        else
            on_control(c, &ev, in.len);
        if (mdg_ws_is(c, MDG_WS_OVER))
            return (int64_t)total;
    }
    if (rc < 0) {
        fail_by_decoder(c);
        return (int64_t)total;
    }
    keep(c, &p);
    if (mdg_ws_is(c, MDG_WS_OVER))
        return (int64_t)total;
    arm(c);
    if (events > EVENTS_PER_TURN && in.len > 0)
        mdg_stream_yield(c->stream);
    return (int64_t)(total - in.len);
}

static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_ws_conn *c = s->user_arg;
    int64_t used = take_input(c, in);
    mdg_ws_flush_run(c);
    return used;
}

static void on_sink(struct mdg_stream *s, size_t n)
{
    struct mdg_ws_conn *c = s->user_arg;
    struct mdg_ws_event ev;
    assert(mdg_ws_gathering(c) && n <= mdg_ws_message_room(c->aux));
    struct mdg_input in = {mdg_ws_message_end(c->aux), n};
    int rc = mdg_ws_dec_next(&c->dec, &c->endpoint->codec, &in, &ev);
    if (rc < 0) {
        fail_by_decoder(c);
        return;
    }
    assert(rc == 1 && ev.bytes.len == n && in.len == 0);
    c->aux->len += (uint32_t)n;
    arm(c);
    if (ev.last && !mdg_ws_is(c, MDG_WS_CLOSE_SENT))
        deliver_gathered(c, ev.op == MDG_WS_BINARY);
    else if (mdg_ws_dec_left(&c->dec) > 0 && mdg_ws_message_room(c->aux) == 0)
        set_sink(c);
}

static void on_eof(struct mdg_stream *s)
{
    struct mdg_ws_conn *c = s->user_arg;
    /* Without a close frame the connection is lost (1006), but what was said before may still
     * reach a peer that has only finished speaking. */
    if (s->out_bytes > 0 && !mdg_ws_is(c, MDG_WS_OVER))
        mdg_stream_finish(s, 0, c->endpoint->options->close_timeout_s);
    else
        mdg_stream_close(s, 0);
}

static void on_writable(struct mdg_stream *s)
{
    struct mdg_ws_conn *c = s->user_arg;
    if (mdg_ws_is(c, MDG_WS_OVER))
        return;
    if (mdg_ws_is(c, MDG_WS_OUT_PAUSED)) {
        mdg_ws_unset(c, MDG_WS_OUT_PAUSED);
        if (!mdg_ws_is(c, MDG_WS_USER_PAUSED))
            mdg_stream_pause_read(s, false);
        mdg_ws_aux_tidy(c);
    }
    if (!mdg_ws_is(c, MDG_WS_CLOSE_SENT) && c->link.user->on_writable)
        c->link.user->on_writable(&c->link);
}

/* A paused peer cannot answer a ping; it shows life by reading. */
static bool reads_on(struct mdg_ws_conn *c)
{
    uint32_t before = c->aux->out_seen;
    c->aux->out_seen = c->stream->out_bytes;
    return c->stream->out_bytes < before;
}

static void on_timeout(struct mdg_stream *s)
{
    struct mdg_ws_conn *c = s->user_arg;
    const struct mdg_ws_options *o = c->endpoint->options;
    if (mdg_ws_is(c, MDG_WS_OVER | MDG_WS_CLOSE_SENT | MDG_WS_PINGED)) {
        mdg_stream_close(s, MDG_E_TIMEOUT);
        return;
    }
    if (mdg_ws_is(c, MDG_WS_OUT_PAUSED)) {
        if (reads_on(c))
            mdg_stream_set_timeout(s, o->ping_timeout_s);
        else
            mdg_stream_close(s, MDG_E_TIMEOUT);
        return;
    }
    if (mdg_ws_is(c, MDG_WS_USER_PAUSED)) {
        mdg_stream_set_timeout(s, o->ping_interval_s);
        return;
    }
    mdg_ws_set(c, MDG_WS_PINGED);
    mdg_ws_send_control(c, MDG_WS_PING, mdg_slice(NULL, 0), false);
    mdg_stream_set_timeout(s, o->ping_timeout_s);
}

static void on_stream_close(struct mdg_stream *s, int reason)
{
    struct mdg_ws_conn *c = s->user_arg;
    (void)reason;
    if (!mdg_ws_is(c, MDG_WS_OVER)) {
        mdg_ws_set(c, MDG_WS_OVER);
        c->link.user->on_close(&c->link, MDG_CLOSE_ABNORMAL, mdg_slice(NULL, 0));
    }
    mdg_ws_conn_free(c);
}

const struct mdg_stream_user mdg_ws_stream_user = {
    .name = "ws",
    .on_data = on_data,
    .on_sink = on_sink,
    .on_eof = on_eof,
    .on_writable = on_writable,
    .on_timeout = on_timeout,
    .on_close = on_stream_close,
};

static void link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_ws_conn *c = mdg_ws_of(l);
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return;
    if (code == MDG_CLOSE_ABNORMAL) {
        mdg_stream_close(c->stream, MDG_E_CLOSED);
        return;
    }
    if (code != MDG_CLOSE_NONE && !mdg_ws_code_valid((uint16_t)code))
        code = MDG_CLOSE_INTERNAL;
    send_close(c, code, reason);
    /* The peer's half must be read, whatever held reading up. */
    mdg_ws_unset(c, MDG_WS_USER_PAUSED | MDG_WS_OUT_PAUSED);
    mdg_stream_pause_read(c->stream, false);
    mdg_stream_set_timeout(c->stream, c->endpoint->options->close_timeout_s);
}

static void link_pause(struct mdg_link *l, bool paused)
{
    struct mdg_ws_conn *c = mdg_ws_of(l);
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return;
    if (paused)
        mdg_ws_set(c, MDG_WS_USER_PAUSED);
    else
        mdg_ws_unset(c, MDG_WS_USER_PAUSED);
    if (!mdg_ws_is(c, MDG_WS_OUT_PAUSED))
        mdg_stream_pause_read(c->stream, paused);
}

static size_t link_queued(const struct mdg_link *l)
{
    return mdg_ws_queued((const struct mdg_ws_conn *)(const void *)l);
}

const struct mdg_carrier mdg_ws_carrier = {
    .name = "ws",
    .send = mdg_ws_send,
    .send_unit = mdg_ws_send_unit,
    .close = link_close,
    .pause = link_pause,
    .queued = link_queued,
};
