/* Sending: heads, shared frames, compression. */
#include "base/mask.h"
#include "base/move.h"
#include "loop/loop.h"
#include "transport/ws_conn.h"
#include <stdlib.h>

enum {
    SCRATCH_KEPT = 1024 * 1024, /* larger compression output is freed after its message */
    LEVEL = 6,
    MEM_LEVEL = 8,
    RUN_MAX = 4096 /* longer echoes go from where they lie; shorter ones are cheaper for the kernel
                    * to copy when they are together */
};

/* Frames that a whole room shares, compressed: one for each window size and threshold in use. */
struct mdg_ws_framing {
    struct mdg_framing framing;
    struct mdg_ws_framing *next;
    struct mdg_ws_worker *worker;
    z_stream *deflate; /* made with the first message */
    uint32_t bytes_min;
    uint8_t bits;
};

static enum mdg_ws_op op_of(const struct mdg_unit_meta *meta)
{
    return meta->binary ? MDG_WS_BINARY : MDG_WS_TEXT;
}

static void write_plain_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                             const struct mdg_unit_meta *meta)
{
    (void)f;
    uint8_t head[MDG_WS_HEAD_MAX];
    mdg_write_bytes(w, head, mdg_ws_enc_head(head, op_of(meta), true, false, body_len, NULL));
}

const struct mdg_framing mdg_ws_framing_plain = {
    .name = "ws", .joinable = true, .head = write_plain_head};

static z_stream *new_deflate(uint8_t bits)
{
    z_stream *z = calloc(1, sizeof *z);
    if (z && mdg_deflate_open(z, bits, LEVEL, MEM_LEVEL) < 0) {
        free(z);
        z = NULL;
    }
    return z;
}

static void free_deflate(z_stream *z)
{
    if (z)
        mdg_deflate_close(z);
    free(z);
}

static void free_scratch(struct mdg_ws_worker *w)
{
    free(w->scratch);
    w->scratch = NULL;
    w->scratch_cap = 0;
}

/* Compresses into the worker's scratch. The length, or MDG_E_NO_MEMORY. */
static int64_t squeeze(struct mdg_ws_worker *w, z_stream **z, uint8_t bits, bool fresh,
                       struct mdg_slice unit)
{
    size_t need = mdg_deflate_bound(unit.len);
    if (!*z)
        *z = new_deflate(bits);
    if (!*z)
        return MDG_E_NO_MEMORY;
    if (w->scratch_cap < need) {
        free_scratch(w);
        w->scratch = malloc(need);
        if (!w->scratch)
            return MDG_E_NO_MEMORY;
        w->scratch_cap = need;
    }
    return mdg_deflate_message(*z, unit, fresh, w->scratch, w->scratch_cap);
}

static void tidy_scratch(struct mdg_ws_worker *w)
{
    if (w->scratch_cap > SCRATCH_KEPT)
        free_scratch(w);
}

static int write_squeezed(const struct mdg_framing *f, struct mdg_writer *out,
                          struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    struct mdg_ws_framing *own = f->arg;
    uint8_t head[MDG_WS_HEAD_MAX];
    int64_t len = -1;
    if (meta->compress && unit.len >= own->bytes_min) {
        len = squeeze(own->worker, &own->deflate, own->bits, true, unit);
        if (len == MDG_E_NO_MEMORY)
            return MDG_E_NO_MEMORY;
    }
    if (len >= 0 && (size_t)len < unit.len) {
        mdg_write_bytes(out, head,
                        mdg_ws_enc_head(head, op_of(meta), true, true, (uint64_t)len, NULL));
        mdg_write_bytes(out, own->worker->scratch, (size_t)len);
    } else { /* without context, a message may as well go as it is */
        write_plain_head(f, out, unit.len, meta);
        mdg_write_slice(out, unit);
    }
    tidy_scratch(own->worker);
    return 0;
}

const struct mdg_framing *mdg_ws_framing_get(struct mdg_ws_worker *w, uint8_t bits,
                                             uint32_t bytes_min)
{
    struct mdg_ws_framing *f;
    for (f = w->framings; f; f = f->next) {
        if (f->bits == bits && f->bytes_min == bytes_min)
            return &f->framing;
    }
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->framing = (struct mdg_framing){
        .name = "ws+deflate", .joinable = true, .whole = write_squeezed, .arg = f};
    f->worker = w;
    f->bits = bits;
    f->bytes_min = bytes_min;
    f->next = w->framings;
    w->framings = f;
    return &f->framing;
}

void mdg_ws_worker_free_framings(struct mdg_ws_worker *w)
{
    while (w->framings) {
        struct mdg_ws_framing *next = w->framings->next;
        free_deflate(w->framings->deflate);
        free(w->framings);
        w->framings = next;
    }
    free_scratch(w);
}

/* A client masks each frame with a fresh key (RFC 6455 5.3), in a copy. */
static int write_masked(struct mdg_ws_conn *c, enum mdg_ws_op op, bool rsv1,
                        struct mdg_slice payload)
{
    uint8_t head[MDG_WS_HEAD_MAX], key[4];
    uint32_t rotating;
    if (payload.len > UINT32_MAX - MDG_WS_HEAD_MAX)
        return MDG_E_TOO_BIG;
    mdg_loop_random(c->endpoint->worker->loop, key, sizeof key);
    size_t head_len = mdg_ws_enc_head(head, op, true, rsv1, payload.len, key);
    struct mdg_blob *copy = mdg_blob_new((uint32_t)(head_len + payload.len));
    if (!copy)
        return MDG_E_NO_MEMORY;
    memcpy(copy->data, head, head_len);
    if (payload.len)
        memcpy(copy->data + head_len, payload.data, payload.len);
    memcpy(&rotating, key, sizeof rotating);
    mdg_mask(copy->data + head_len, payload.len, &rotating);
    struct mdg_chunk chunk = mdg_chunk_all(copy);
    int rc = mdg_stream_send(c->stream, &chunk, 1);
    mdg_blob_unref(chunk.blob);
    return rc;
}

static int write_frame(struct mdg_ws_conn *c, enum mdg_ws_op op, bool rsv1,
                       struct mdg_slice payload)
{
    if (c->endpoint->codec.client)
        return write_masked(c, op, rsv1, payload);
    uint8_t head[MDG_WS_HEAD_MAX];
    struct mdg_slice parts[2] = {
        mdg_slice(head, mdg_ws_enc_head(head, op, true, rsv1, payload.len, NULL)), payload};
    return mdg_stream_write(c->stream, parts, 2);
}

void mdg_ws_flush_run(struct mdg_ws_conn *c)
{
    struct mdg_ws_run *run = &c->endpoint->worker->run;
    uint32_t out_max = c->stream->out_max;
    if (run->conn != c)
        return;
    struct mdg_slice all = mdg_slice(run->start, (size_t)(run->end - run->start));
    run->conn = NULL;
    /* Room was seen to when each of them was taken. */
    mdg_stream_set_out_max(c->stream, UINT32_MAX);
    int rc = mdg_stream_write(c->stream, &all, 1);
    mdg_stream_set_out_max(c->stream, out_max);
    if (rc < 0)
        mdg_stream_close(c->stream, rc);
}

/* Before anything else is written: the short echoes, in the order in which they were sent. */
static void in_order(struct mdg_ws_conn *c)
{
    struct mdg_ws_unit *now = &c->endpoint->worker->now;
    mdg_ws_flush_run(c);
    if (now->conn != c || !now->echo)
        return;
    enum mdg_ws_op op = (enum mdg_ws_op)now->echo;
    now->echo = 0;
    int rc = write_frame(c, op, false, mdg_slice(now->start, now->len));
    if (rc < 0)
        mdg_stream_close(c->stream, rc);
}

uint32_t mdg_ws_queued(const struct mdg_ws_conn *c)
{
    const struct mdg_ws_worker *w = c->endpoint->worker;
    size_t run = w->run.conn == c ? (size_t)(w->run.end - w->run.start) : 0;
    return c->stream->out_bytes + (uint32_t)run;
}

void mdg_ws_after_upcall(struct mdg_ws_conn *c)
{
    struct mdg_ws_worker *w = c->endpoint->worker;
    struct mdg_ws_unit *now = &w->now;
    if (now->conn == c && now->echo && !mdg_ws_is(c, MDG_WS_OVER)) {
        uint8_t head[MDG_WS_HEAD_MAX];
        size_t head_len =
            mdg_ws_enc_head(head, (enum mdg_ws_op)now->echo, true, false, now->len, NULL);
        if (w->run.conn != c) {
            assert(!w->run.conn);
            w->run = (struct mdg_ws_run){c, now->start - head_len, now->start - head_len};
        }
        /* An answer's head is shorter than a question's: there is always room. */
        mdg_move(w->run.end + head_len, now->start, now->len);
        memcpy(w->run.end, head, head_len);
        w->run.end += head_len + now->len;
    }
    now->conn = NULL;
}

/* The unit is the one that an upcall is looking at: its head goes in front of it, where there is
 * room, and both are sent from where they lie. False: it has to be copied. */
static bool echo_in_place(struct mdg_ws_conn *c, struct mdg_slice unit, enum mdg_ws_op op, int *rc)
{
    struct mdg_ws_unit *now = &c->endpoint->worker->now;
    uint8_t head[MDG_WS_HEAD_MAX];
    size_t head_len = mdg_ws_enc_head(head, op, true, false, unit.len, NULL);
    if (now->sent || head_len > now->room)
        return false;
    if (unit.len < RUN_MAX) {
        if (now->blob || mdg_ws_queued(c) + unit.len + head_len > c->stream->out_max)
            return false;
        now->sent = true;
        now->echo = (uint8_t)op;
        *rc = 0;
        return true;
    }
    in_order(c);
    now->sent = true;
    uint8_t *start = now->start - head_len;
    memcpy(start, head, head_len);
    if (!now->blob) {
        struct mdg_slice whole = mdg_slice(start, head_len + unit.len);
        *rc = mdg_stream_write(c->stream, &whole, 1);
        return true;
    }
    struct mdg_chunk chunk = {mdg_blob_ref(now->blob), (uint32_t)(start - now->blob->data),
                              (uint32_t)(head_len + unit.len)};
    *rc = mdg_stream_send(c->stream, &chunk, 1);
    mdg_blob_unref(chunk.blob);
    return true;
}

int mdg_ws_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct mdg_ws_conn *c = mdg_ws_of(l);
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return MDG_E_CLOSED;
    in_order(c);
    return mdg_stream_send(c->stream, framed, n);
}

static int send_squeezed(struct mdg_ws_conn *c, struct mdg_slice unit, enum mdg_ws_op op)
{
    struct mdg_ws_endpoint *e = c->endpoint;
    struct mdg_ws_worker *w = e->worker;
    const struct mdg_ws_deflate *d = &e->deflate;
    bool fresh = e->codec.client ? d->client_fresh : d->server_fresh;
    uint8_t bits = e->codec.client ? d->client_bits : d->server_bits;
    z_stream **z;
    if (fresh && e->framing && e->framing->arg) {
        z = &((struct mdg_ws_framing *)e->framing->arg)->deflate;
    } else {
        if (!mdg_ws_aux_get(c))
            return MDG_E_NO_MEMORY;
        z = &c->aux->deflate;
    }
    /* A compressor that keeps its context must not run ahead of what the peer gets: see that there
     * is room before. */
    const struct mdg_stream *s = c->stream;
    if (!fresh && s->out_bytes > 0 && s->out_bytes + mdg_deflate_bound(unit.len) > s->out_max) {
        mdg_stream_want_writable(c->stream);
        return MDG_E_FULL;
    }
    int64_t len = squeeze(w, z, bits, fresh, unit);
    if (len < 0)
        return (int)len;
    int rc;
    if (fresh && (size_t)len >= unit.len)
        rc = write_frame(c, op, false, unit);
    else
        rc = write_frame(c, op, true, mdg_slice(w->scratch, (size_t)len));
    tidy_scratch(w);
    return rc;
}

int mdg_ws_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    struct mdg_ws_conn *c = mdg_ws_of(l);
    const struct mdg_ws_endpoint *e = c->endpoint;
    const struct mdg_ws_unit *now = &e->worker->now;
    if (mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return MDG_E_CLOSED;
    if (e->deflate.on && meta->compress && unit.len > 0 &&
        unit.len >= e->options->compress_bytes_min) {
        in_order(c);
        return send_squeezed(c, unit, op_of(meta));
    }
    int rc;
    if (now->conn == c && unit.data == now->start && unit.len == now->len && !e->codec.client &&
        echo_in_place(c, unit, op_of(meta), &rc))
        return rc;
    in_order(c);
    return write_frame(c, op_of(meta), false, unit);
}

void mdg_ws_send_control(struct mdg_ws_conn *c, enum mdg_ws_op op, struct mdg_slice payload,
                         bool force)
{
    uint32_t out_max = c->stream->out_max;
    in_order(c);
    if (force)
        mdg_stream_set_out_max(c->stream, UINT32_MAX);
    /* Out of memory, or full: the frame is dropped, and the timeouts deal with the peer. */
    int rc = write_frame(c, op, false, payload);
    (void)rc;
    if (force)
        mdg_stream_set_out_max(c->stream, out_max);
}
