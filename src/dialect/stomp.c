/* One STOMP connection: bytes to frames, frames to the parts of the dialect, errors, the end. */
#include "dialect/stomp_impl.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PIECE_BYTES = 256 * 1024, /* appended to an incomplete frame at a time */
    CONTROL_BYTES_MAX = 1 << 20,
    SCRATCH_BYTES_MAX = 16 << 20,
    LINGER_MS = 10000,       /* for the last answers to a peer that reads slowly */
    EARLY_BODY_BYTES = 1024, /* attack: who has not logged in may not make us keep a long body */
};

void mdg_stomp_config_init(struct mdg_stomp_config *config)
{
    *config = (struct mdg_stomp_config){
        .limits = {.line_bytes_max = 8192,
                   .header_count_max = MDG_STOMP_HEADERS_CAP,
                   .header_bytes_max = 65536,
                   .body_bytes_max = 1 << 20},
        .connect_timeout_ms = 30000,
        .subscriptions_max = 256,
        .subscription_bytes_max = 256,
        .destination_bytes_max = 512,
        .transactions_max = 16,
        .transaction_ops_max = 1000,
        .transaction_bytes_max = 16 << 20,
        .heartbeat_min_ms = 1000,
        .heartbeat_can_ms = 10000,
        .heartbeat_want_ms = 10000,
        .prefetch_auto = 256,
        .slashes = true,
        .room_headers = true,
        .unknown = MDG_STOMP_REFUSED,
        .server_name = MDG_SLICE_LIT("madang"),
    };
}

static int send_now(struct mdg_stomp *c, struct mdg_slice frames)
{
    const struct mdg_unit_meta meta = {.binary = false};
    c->said = true;
    return mdg_link_send_unit(c->link, frames, &meta);
}

/* Answers wait behind a full link, bounded, and nothing more is read meanwhile: a peer that asks
 * without listening is the attack. STOMP is a stream of bytes: they go out as one unit later. */
void mdg_stomp_say(struct mdg_stomp *c, struct mdg_slice frame)
{
    if (c->phase == MDG_STOMP_FINISHED)
        return;
    int err = c->control.len ? MDG_E_FULL : send_now(c, frame);
    if (err != MDG_E_FULL)
        return; /* sent; or closed, or out of memory: the carrier closes by itself */
    if (c->control.len == 0)
        c->link->carrier->pause(c->link, true);
    if (mdg_buf_append(&c->control, frame) < 0) {
        c->phase = MDG_STOMP_FINISHED;
        mdg_stomp_give_back(c);
        mdg_link_close(c->link, MDG_CLOSE_SLOW, MDG_SLICE_LIT("slow"));
        mdg_stomp_stop_timers(c);
    }
}

static void give_up(struct mdg_timer *t, void *arg)
{
    struct mdg_stomp *c = arg;
    (void)t;
    mdg_link_close(c->link, MDG_CLOSE_SLOW, MDG_SLICE_LIT("slow"));
}

void mdg_stomp_finish(struct mdg_stomp *c, int code, const char *reason)
{
    if (c->phase == MDG_STOMP_FINISHED)
        return;
    c->phase = MDG_STOMP_FINISHED;
    mdg_stomp_stop_timers(c);
    mdg_stomp_give_back(c);
    if (c->control.len == 0) {
        mdg_link_close(c->link, code, mdg_slice_str(reason));
        return;
    }
    c->close_code = (uint16_t)code; /* once the answers have gone out */
    mdg_timer_init(&c->timer_in, give_up, c);
    mdg_timer_start(c->server->loop, &c->timer_in, LINGER_MS);
}

static void on_writable(struct mdg_link *l)
{
    struct mdg_stomp *c = l->user_arg;
    if (c->control.len) {
        if (send_now(c, mdg_buf_slice(&c->control)) == MDG_E_FULL)
            return;
        mdg_buf_fini(&c->control);
        l->carrier->pause(l, c->hold != NULL);
        if (c->close_code)
            mdg_link_close(l, c->close_code, mdg_slice(NULL, 0));
    }
    if (c->phase != MDG_STOMP_FINISHED)
        mdg_stomp_resume_subs(c);
}

void mdg_stomp_fail(struct mdg_stomp *c, const struct mdg_stomp_frame *f, const char *message,
                    const char *fmt, ...)
{
    char body[512];
    uint8_t frame[2048];
    struct mdg_writer w;
    va_list args;
    if (c->phase == MDG_STOMP_FINISHED)
        return;
    va_start(args, fmt);
    int n = vsnprintf(body, sizeof body, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : mdg_min_size((size_t)n, sizeof body - 1);
    enum mdg_stomp_version version = (enum mdg_stomp_version)c->dec.version;
    struct mdg_slice receipt = f ? mdg_stomp_find(f, "receipt") : mdg_slice(NULL, 0);
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_ERROR);
    mdg_stomp_write_text(&w, version, "message", message);
    if (receipt.data && receipt.len <= 512)
        mdg_stomp_write_header(&w, version, MDG_SLICE_LIT("receipt-id"), receipt);
    mdg_stomp_write_text(&w, version, "content-type", "text/plain");
    mdg_stomp_write_text(&w, version, "version", "1.0,1.1,1.2");
    mdg_stomp_write_body(&w, mdg_slice(body, len));
    if (mdg_writer_fits(&w))
        mdg_stomp_say(c, mdg_slice(frame, w.len));
    mdg_stomp_finish(c, MDG_CLOSE_PROTOCOL, message);
}

void mdg_stomp_fail_code(struct mdg_stomp *c, const struct mdg_stomp_frame *f, int err)
{
    if (err == MDG_E_FULL)
        mdg_stomp_fail(c, f, "Queue full", "The destination holds as much as it may.\n");
    else if (err == MDG_E_DENIED)
        mdg_stomp_fail(c, f, "Access refused", "You may not do this here.\n");
    else
        mdg_stomp_fail(c, f, mdg_strerror(err), "The frame could not be processed: %s.\n",
                       mdg_strerror(err));
}

static void unknown_command(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    mdg_stomp_fail(c, f, "Bad command", "Could not interpret command \"%.*s\"\n",
                   (int)mdg_min_size(f->command_name.len, 100), (const char *)f->command_name.data);
}

static void on_frame(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    if (f->command == MDG_STOMP_CONNECT || f->command == MDG_STOMP_STOMP) {
        mdg_stomp_on_connect(c, f);
        return;
    }
    if (c->phase == MDG_STOMP_WAITS) {
        if (f->command == MDG_STOMP_UNKNOWN)
            unknown_command(c, f);
        else
            mdg_stomp_fail(c, f, "Illegal command",
                           "You must log in using CONNECT before you send %s\n",
                           mdg_stomp_command_text(f->command));
        return;
    }
    switch (f->command) {
    case MDG_STOMP_SEND:
        mdg_stomp_on_send(c, f);
        break;
    case MDG_STOMP_SUBSCRIBE:
        mdg_stomp_on_subscribe(c, f);
        break;
    case MDG_STOMP_UNSUBSCRIBE:
        mdg_stomp_on_unsubscribe(c, f);
        break;
    case MDG_STOMP_ACK:
    case MDG_STOMP_NACK:
        mdg_stomp_on_ack(c, f);
        break;
    case MDG_STOMP_BEGIN:
        mdg_stomp_on_begin(c, f);
        break;
    case MDG_STOMP_COMMIT:
        mdg_stomp_on_commit(c, f);
        break;
    case MDG_STOMP_ABORT:
        mdg_stomp_on_abort(c, f);
        break;
    case MDG_STOMP_DISCONNECT:
        mdg_stomp_on_disconnect(c, f);
        break;
    case MDG_STOMP_CONNECT:
    case MDG_STOMP_STOMP:
    case MDG_STOMP_UNKNOWN:
    case MDG_STOMP_CONNECTED:
    case MDG_STOMP_MESSAGE:
    case MDG_STOMP_RECEIPT:
    case MDG_STOMP_ERROR:
        unknown_command(c, f);
        break;
    }
}

/* Decodes what is whole. <0: the peer broke the protocol and was told so. */
static void decode(struct mdg_stomp *c, struct mdg_input *in)
{
    struct mdg_stomp_frame f;
    struct mdg_stomp_limits early = c->server->config->limits;
    early.body_bytes_max = mdg_min_size(early.body_bytes_max, EARLY_BODY_BYTES);
    while (c->phase == MDG_STOMP_WAITS || c->phase == MDG_STOMP_READY) {
        if (c->hold)
            return;
        const struct mdg_stomp_limits *limits =
            c->phase == MDG_STOMP_WAITS ? &early : &c->server->config->limits;
        int n = mdg_stomp_dec_next(&c->dec, limits, in, &f);
        if (n < 0)
            mdg_stomp_fail(c, NULL, n == MDG_E_TOO_BIG ? "Frame too big" : "Bad frame",
                           "The frame was refused: %s.\n",
                           mdg_stomp_fail_text((enum mdg_stomp_fail)c->dec.fail));
        if (n <= 0)
            return;
        on_frame(c, &f);
    }
    in->len = 0; /* after DISCONNECT or an error nothing more is read */
}

static void decode_kept(struct mdg_stomp *c)
{
    struct mdg_input in = {c->in.data, c->in.len};
    decode(c, &in);
    if (in.len == 0)
        mdg_buf_fini(&c->in); /* an idle connection holds no buffer */
    else if (in.len < c->in.len)
        mdg_buf_consume(&c->in, c->in.len - in.len);
}

/* Bytes behind an incomplete frame: it is decoded from our own buffer. */
static int append_and_decode(struct mdg_stomp *c, struct mdg_slice piece)
{
    int err = mdg_buf_append(&c->in, piece);
    if (err == 0)
        decode_kept(c);
    return err;
}

static void go_on(struct mdg_timer *t, void *arg)
{
    struct mdg_stomp *c = arg;
    (void)t;
    decode_kept(c);
    if (!c->hold && c->control.len == 0 && c->phase != MDG_STOMP_FINISHED)
        c->link->carrier->pause(c->link, false);
}

void mdg_stomp_hold(struct mdg_stomp *c, struct mdg_stomp_pending *p)
{
    c->hold = p;
    c->link->carrier->pause(c->link, true);
}

/* Not at once: whoever tells of the end is in the middle of something. */
void mdg_stomp_release(struct mdg_stomp *c, const struct mdg_stomp_pending *p)
{
    if (c->hold != p)
        return;
    c->hold = NULL; /* p is about to be freed */
    if (c->phase != MDG_STOMP_FINISHED)
        mdg_timer_start(c->server->loop, &c->timer_hold, 0);
}

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct mdg_stomp *c = l->user_arg;
    int err = 0;
    (void)binary;
    c->heard = true; /* "any data" counts as life (1.2 "Heart-beating") */
    while (c->in.len && in.len && err == 0 && c->phase != MDG_STOMP_FINISHED) {
        size_t n = mdg_min_size(in.len, PIECE_BYTES);
        err = append_and_decode(c, mdg_slice(in.data, n));
        in.data += n;
        in.len -= n;
    }
    if (err < 0 || in.len == 0 || c->phase == MDG_STOMP_FINISHED)
        return err;
    decode(c, &in);
    return in.len ? mdg_buf_append(&c->in, mdg_slice(in.data, in.len)) : 0;
}

void mdg_stomp_free(struct mdg_stomp *c)
{
    mdg_stomp_stop_timers(c);
    mdg_timer_stop(c->server->loop, &c->timer_hold);
    mdg_stomp_drop_txs(c);
    mdg_stomp_drop_pendings(c);
    mdg_stomp_drop_subs(c);
    mdg_stomp_drop_ended(c);
    if (c->in_session)
        mdg_session_fini(&c->session);
    mdg_principal_unref(c->who);
    mdg_list_remove(&c->in_server);
    c->server->count--;
    mdg_buf_fini(&c->in);
    mdg_buf_fini(&c->control);
    free(c->late);
    free(c->client_id);
    free(c->hs_bytes);
    free(c);
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_stomp *c = l->user_arg;
    (void)code;
    (void)reason;
    c->phase = MDG_STOMP_FINISHED;
    mdg_stomp_free(c);
}

const struct mdg_link_user mdg_stomp_link_user = {
    .on_input = on_input, .on_writable = on_writable, .on_close = on_close};

void mdg_stomp_server_init(struct mdg_stomp_server *server)
{
    mdg_list_init(&server->connections);
    mdg_buf_init(&server->scratch, SCRATCH_BYTES_MAX);
    server->count = 0;
}

void mdg_stomp_server_fini(struct mdg_stomp_server *server)
{
    assert(server->count == 0);
    mdg_stomp_drop_shared(server);
    mdg_buf_fini(&server->scratch);
}

int mdg_stomp_new(struct mdg_stomp_server *server, const struct mdg_handshake *hs,
                  struct mdg_stomp **out)
{
    static const char hex[] = "0123456789abcdef";
    struct mdg_stomp *c = calloc(1, sizeof *c);
    if (!c)
        return MDG_E_NO_MEMORY;
    c->server = server;
    if (mdg_stomp_keep_handshake(c, hs) < 0) {
        free(c);
        return MDG_E_NO_MEMORY;
    }
    /* All but the end of the largest frame, and one piece more. */
    mdg_buf_init(&c->in, (size_t)server->config->limits.header_bytes_max +
                             (size_t)server->config->limits.body_bytes_max + PIECE_BYTES + 2);
    mdg_buf_init(&c->control, CONTROL_BYTES_MAX);
    mdg_timer_init(&c->timer_hold, go_on, c);
    mdg_list_init(&c->subs);
    mdg_list_init(&c->ended);
    mdg_list_init(&c->txs);
    mdg_list_init(&c->pendings);
    c->waiter = (struct mdg_queue_waiter){.done = mdg_stomp_queue_done, .arg = c};
    mdg_list_init(&c->waiter.tickets);
    c->next_sub = 1;
    uint8_t bytes[sizeof c->session_id / 2];
    server->random(server->arg, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        c->session_id[2 * i] = (uint8_t)hex[bytes[i] >> 4];
        c->session_id[2 * i + 1] = (uint8_t)hex[bytes[i] & 15];
    }
    mdg_list_push(&server->connections, &c->in_server);
    server->count++;
    *out = c;
    return 0;
}

void mdg_stomp_attach(struct mdg_stomp *c, struct mdg_link *link)
{
    c->link = link;
    mdg_stomp_start_timers(c);
}

void mdg_stomp_close_some(struct mdg_stomp_server *server, const char *message, size_t *left)
{
    MDG_LIST_FOR(node, next, &server->connections)
    {
        struct mdg_stomp *c = MDG_CONTAINER_OF(node, struct mdg_stomp, in_server);
        if (*left == 0 || !c->link || c->phase == MDG_STOMP_FINISHED)
            continue;
        --*left;
        mdg_stomp_fail(c, NULL, message, "The server ends this connection.\n");
    }
}
