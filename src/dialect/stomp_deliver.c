/* Giving messages to subscribers. Subscribers whose messages are the same get one block of memory;
 * for others what differs comes first in a frame and is made for each one. A large body is never
 * copied, it goes out as a reference to the one that came in. Small messages of one batch become
 * one block of bytes, which costs less than references. */
#include "base/base64.h"
#include "dialect/stomp_impl.h"
#include <stdlib.h>

enum {
    COPY_BYTES_MAX = 2048,  /* shorter bodies are copied behind their headers */
    FRAMING_BYTES_MAX = 64, /* head and tail of any framing without `whole` */
    SCRATCH_KEEP_BYTES = 256 * 1024,
};

/* Output under way: finished chunks, and bytes that will become the next one. */
struct batch {
    struct mdg_chunk chunks[MDG_STOMP_BATCH_MAX * 3];
    size_t count;
    struct mdg_buf *bytes; /* the worker's scratch memory */
    bool failed;
};

static void flush_bytes(struct batch *b)
{
    if (b->bytes->len == 0 || b->failed)
        return;
    struct mdg_blob *blob = mdg_blob_copy(mdg_buf_slice(b->bytes));
    b->bytes->len = 0;
    if (!blob) {
        b->failed = true;
        return;
    }
    b->chunks[b->count++] = mdg_chunk_all(blob);
}

static void drop_batch(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        mdg_blob_unref(b->chunks[i].blob);
    b->count = 0;
    b->bytes->len = 0;
}

/* Room for `len` bytes at the end of the scratch memory. */
static bool open_writer(struct batch *b, struct mdg_writer *w, size_t len)
{
    if (mdg_buf_reserve(b->bytes, len) < 0) {
        b->failed = true;
        return false;
    }
    mdg_writer_init(w, b->bytes->data + b->bytes->len, len);
    return true;
}

/* The unit as one piece of memory, framed: for framings that look at every byte. */
static void add_whole(struct batch *b, const struct mdg_framing *f, struct mdg_slice unit,
                      const struct mdg_unit_meta *meta)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    if (mdg_frame(f, &w, unit, meta) < 0) {
        b->failed = true;
        return;
    }
    size_t len = w.len;
    struct mdg_blob *blob = len <= UINT32_MAX ? mdg_blob_new((uint32_t)len) : NULL;
    if (!blob) {
        b->failed = true;
        return;
    }
    mdg_writer_init(&w, blob->data, len);
    if (mdg_frame(f, &w, unit, meta) < 0 || w.len != len) {
        mdg_blob_unref(blob);
        b->failed = true;
        return;
    }
    b->chunks[b->count++] = mdg_chunk_all(blob);
}

static void write_body(struct mdg_writer *w, struct mdg_slice body, bool base64)
{
    if (base64)
        mdg_write_base64(w, body);
    else
        mdg_write_slice(w, body);
    mdg_write_u8(w, 0);
}

/* One message as a unit of its own in contiguous memory; the caller frees it. */
static uint8_t *make_unit(const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o, bool base64,
                          size_t *len)
{
    struct mdg_slice body = mdg_chunk_slice(&o->content->parts[0]);
    size_t body_len = base64 ? mdg_base64_encoded_len(body.len) : body.len;
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_stomp_write_head(&w, s, o, body_len, base64);
    *len = w.len + body_len + 1;
    uint8_t *unit = malloc(*len);
    if (!unit)
        return NULL;
    mdg_writer_init(&w, unit, *len);
    mdg_stomp_write_head(&w, s, o, body_len, base64);
    write_body(&w, body, base64);
    assert(mdg_writer_fits(&w));
    return unit;
}

static void add_escaped(struct batch *b, const struct mdg_stomp_sub *s,
                        const struct mdg_stomp_out *o)
{
    const struct mdg_framing *f = s->conn->link->framing;
    bool binary = o->content->kind == MDG_MSG_BINARY;
    bool base64 = binary && f->text_only;
    struct mdg_unit_meta meta = {.binary = binary && !base64,
                                 .compress = (o->content->flags & MDG_MSG_COMPRESS) != 0};
    size_t len;
    uint8_t *unit = make_unit(s, o, base64, &len);
    if (!unit) {
        b->failed = true;
        return;
    }
    add_whole(b, f, mdg_slice(unit, len), &meta);
    free(unit);
}

/* The common case: framing head, our head, body, NUL, framing tail; the body by reference when it
 * is long. */
static void add_plain(struct batch *b, const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    const struct mdg_framing *f = s->conn->link->framing;
    const struct mdg_chunk *part = &o->content->parts[0];
    const struct mdg_unit_meta meta = {.binary = o->content->kind == MDG_MSG_BINARY};
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_stomp_write_head(&w, s, o, part->len, false);
    size_t head_len = w.len;
    bool copied = part->len <= COPY_BYTES_MAX;
    if (!open_writer(b, &w, FRAMING_BYTES_MAX + head_len + (copied ? part->len : 0) + 1))
        return;
    if (f->head)
        f->head(f, &w, head_len + part->len + 1, &meta);
    mdg_stomp_write_head(&w, s, o, part->len, false);
    if (copied) {
        mdg_write_slice(&w, mdg_chunk_slice(part));
    } else {
        b->bytes->len += w.len;
        flush_bytes(b);
        if (b->failed)
            return;
        b->chunks[b->count++] = (struct mdg_chunk){mdg_blob_ref(part->blob), part->off, part->len};
        if (!open_writer(b, &w, FRAMING_BYTES_MAX + 1))
            return;
    }
    mdg_write_u8(&w, 0);
    if (f->tail)
        f->tail(f, &w, &meta);
    assert(mdg_writer_fits(&w));
    b->bytes->len += w.len;
    if (!f->joinable)
        flush_bytes(b);
}

/* Kept texts hold the content: one with attachments would stay for too long. */
bool mdg_stomp_is_short(const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    return o->at.seq > 0 && !s->is_pattern && o->content->parts[0].len <= COPY_BYTES_MAX &&
           o->content->part_count == 1;
}

/* Two pieces that are there already, and a few digits between them. */
int mdg_stomp_append_short(struct mdg_buf *to, struct mdg_stomp_sub *s,
                           const struct mdg_stomp_out *o)
{
    const struct mdg_framing *f = s->conn->link->framing;
    const struct mdg_unit_meta meta = {.binary = o->content->kind == MDG_MSG_BINARY};
    uint8_t own_text[128];
    struct mdg_writer own, w;
    struct mdg_slice front = mdg_stomp_front_of(s, o->content);
    struct mdg_slice rest = front.data ? mdg_stomp_rest_of(s, o) : front;
    if (!rest.data)
        return MDG_E_TOO_BIG;
    mdg_writer_init(&own, own_text, sizeof own_text);
    mdg_stomp_write_own(&own, s, o);
    assert(mdg_writer_fits(&own));
    size_t len = front.len + own.len + rest.len;
    int err = mdg_buf_reserve(to, FRAMING_BYTES_MAX + len);
    if (err < 0)
        return err;
    mdg_writer_init(&w, to->data + to->len, FRAMING_BYTES_MAX + len);
    if (f->head)
        f->head(f, &w, len, &meta);
    mdg_write_slice(&w, front);
    mdg_write_bytes(&w, own_text, own.len);
    mdg_write_slice(&w, rest);
    if (f->tail)
        f->tail(f, &w, &meta);
    assert(mdg_writer_fits(&w));
    to->len += w.len;
    return 0;
}

/* False: not that way. */
static bool add_short(struct batch *b, struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    if (!mdg_stomp_is_short(s, o) || mdg_stomp_append_short(b->bytes, s, o) < 0)
        return false;
    if (!s->conn->link->framing->joinable)
        flush_bytes(b);
    return true;
}

/* For carriers that share nothing. */
static int send_alone(const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    const struct mdg_unit_meta meta = {.binary = o->content->kind == MDG_MSG_BINARY};
    size_t len;
    uint8_t *unit = make_unit(s, o, false, &len);
    if (!unit)
        return MDG_E_NO_MEMORY;
    int err = mdg_link_send_unit(s->conn->link, mdg_slice(unit, len), &meta);
    free(unit);
    return err;
}

/* All of them or none. */
static int send_all(struct mdg_stomp_sub *s, const struct mdg_stomp_out *o, size_t n)
{
    struct mdg_stomp *c = s->conn;
    const struct mdg_framing *f = c->link->framing;
    struct batch b;
    b.count = 0;
    b.failed = false;
    if (c->control.len)
        return MDG_E_FULL; /* answers go first */
    if (!f)
        return n == 1 ? send_alone(s, o) : MDG_E_FULL;
    b.bytes = &c->server->scratch;
    b.bytes->len = 0;
    for (size_t i = 0; i < n && !b.failed; i++) {
        /* A body by reference is several chunks, which only joinable framings allow. */
        if (f->escape || f->whole || (!f->joinable && o[i].content->parts[0].len > COPY_BYTES_MAX))
            add_escaped(&b, s, &o[i]);
        else if (!add_short(&b, s, &o[i]))
            add_plain(&b, s, &o[i]);
    }
    flush_bytes(&b);
    int err = b.failed ? MDG_E_NO_MEMORY : mdg_link_send(c->link, b.chunks, b.count);
    if (err < 0)
        drop_batch(&b);
    else
        c->said = true;
    if (b.bytes->cap > SCRATCH_KEEP_BYTES)
        mdg_buf_fini(b.bytes);
    return err;
}

/* As many as fit, from the front; or an error that ends the connection. */
static int send_some(struct mdg_stomp_sub *s, const struct mdg_stomp_out *o, size_t n)
{
    int err = send_all(s, o, n);
    if (err >= 0)
        return (int)n;
    if (err == MDG_E_FULL && n > 1) {
        for (size_t i = 0; i < n; i++) {
            err = send_all(s, &o[i], 1);
            if (err < 0) {
                s->blocked = err == MDG_E_FULL;
                return s->blocked ? (int)i : err;
            }
        }
        return (int)n;
    }
    s->blocked = err == MDG_E_FULL;
    return s->blocked ? 0 : err;
}

static void joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct mdg_stomp_sub *s = m->cookie;
    struct mdg_stomp_pending *p = s->joining;
    (void)info;
    s->joining = NULL;
    if (err < 0)
        s->member = NULL; /* the hub frees it */
    if (p)
        mdg_stomp_pend_done(p, err);
}

/* The same block of memory for everybody who gets these bytes. False: not that way, which may mean
 * that not all of them fit. */
static bool deliver_burst(struct mdg_stomp_sub *s, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_stomp *c = s->conn;
    const struct mdg_framing *f = c->link->framing;
    if (s->ack != MDG_STOMP_AUTO || s->is_pattern || n > MDG_STOMP_BATCH_MAX || c->control.len ||
        !f || !f->joinable || f->escape || f->whole)
        return false;
    struct mdg_blob *joined = mdg_stomp_burst_of(s, msgs, n);
    if (!joined)
        return false;
    struct mdg_chunk chunk = mdg_chunk_all(mdg_blob_ref(joined));
    if (mdg_link_send(c->link, &chunk, 1) < 0) {
        mdg_blob_unref(joined);
        return false;
    }
    c->said = true;
    return true;
}

static int deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_stomp_sub *s = m->cookie;
    struct mdg_stomp *c = s->conn;
    struct mdg_stomp_out out[MDG_STOMP_BATCH_MAX];
    size_t taken = 0, count = 0;
    size_t credit = mdg_min_size(mdg_stomp_credit(s), MDG_STOMP_BATCH_MAX);
    if (c->phase == MDG_STOMP_FINISHED || deliver_burst(s, msgs, n))
        return (int)n;
    size_t positions[MDG_STOMP_BATCH_MAX];
    for (; taken < n && count < credit; taken++) {
        const struct mdg_msg *msg = msgs[taken];
        if (msg->content->kind == MDG_MSG_PRESENCE)
            continue; /* STOMP has no word for it */
        positions[count] = taken;
        out[count] = (struct mdg_stomp_out){
            .content = msg->content, .at = {msg->epoch, msg->seq}, .tag = s->next_tag + count};
        count++;
    }
    if (count == 0)
        return (int)taken;
    int sent = send_some(s, out, count);
    if (sent < 0)
        return sent;
    for (int i = 0; i < sent && s->ack != MDG_STOMP_AUTO; i++) {
        if (mdg_stomp_window_open(&s->window, s->next_tag + (uint64_t)i) < 0)
            return MDG_E_NO_MEMORY;
    }
    s->next_tag += (uint64_t)sent;
    return (size_t)sent == count ? (int)taken : (int)positions[sent];
}

/* A hole in a room's order is told as a message without a body: never silently. */
static int gap(struct mdg_member *m, uint64_t from_seq, uint64_t to_seq)
{
    struct mdg_stomp_sub *s = m->cookie;
    uint8_t frame[2048];
    struct mdg_writer w;
    const struct mdg_unit_meta meta = {.binary = false};
    if (s->conn->phase == MDG_STOMP_FINISHED || !s->conn->server->config->room_headers)
        return 0;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_MESSAGE);
    if (s->has_id)
        mdg_stomp_write_header(&w, (enum mdg_stomp_version)s->conn->dec.version,
                               MDG_SLICE_LIT("subscription"), mdg_stomp_sub_id(s));
    mdg_stomp_write_header(&w, (enum mdg_stomp_version)s->conn->dec.version,
                           MDG_SLICE_LIT("destination"), mdg_stomp_sub_shown(s));
    mdg_write_str(&w, "message-id:gap-");
    mdg_stomp_write_number_pair(&w, from_seq, to_seq);
    mdg_write_u8(&w, '\n');
    mdg_stomp_write_number(&w, "gap-from", from_seq);
    mdg_stomp_write_number(&w, "gap-to", to_seq);
    mdg_stomp_write_end(&w);
    assert(mdg_writer_fits(&w));
    int err = mdg_link_send_unit(s->conn->link, mdg_slice(frame, w.len), &meta);
    s->blocked |= err == MDG_E_FULL;
    return err == MDG_E_FULL ? err : 0;
}

static void kick(struct mdg_session *session, int reason)
{
    struct mdg_stomp *c = MDG_CONTAINER_OF(session, struct mdg_stomp, session);
    if (reason == MDG_E_EXPIRED)
        mdg_stomp_fail(c, NULL, "Expired", "Your credentials have expired.\n");
    else if (reason == MDG_E_EXISTS)
        mdg_stomp_fail(c, NULL, "Name taken", "Somebody has proved that this name is theirs.\n");
    else
        mdg_stomp_fail(c, NULL, "Disconnected", "%s\n", mdg_strerror(reason));
}

const struct mdg_session_ops mdg_stomp_session_ops = {
    .joined = joined, .deliver = deliver, .gap = gap, .kick = kick};

static int deliver_from_queue(struct mdg_queue_sub *sub, const struct mdg_delivery *d)
{
    struct mdg_stomp_sub *s = MDG_CONTAINER_OF(sub, struct mdg_stomp_sub, queue_sub);
    struct mdg_stomp_out out = {
        .content = d->content, .tag = d->tag, .redelivered = d->redelivered};
    if (s->conn->phase == MDG_STOMP_FINISHED)
        return MDG_E_FULL; /* it goes back when the subscription ends, which is soon */
    if (s->ack != MDG_STOMP_AUTO && mdg_stomp_window_open(&s->window, d->tag) < 0)
        return MDG_E_FULL;
    int sent = send_some(s, &out, 1);
    if (sent > 0 && s->ack == MDG_STOMP_AUTO)
        return mdg_queue_settle(sub, d->tag, MDG_SETTLE_ACK, false, NULL, 0) < 0 ? MDG_E_FULL : 0;
    if (sent > 0)
        return 0;
    if (s->ack != MDG_STOMP_AUTO)
        s->window.next--; /* not delivered after all */
    return MDG_E_FULL;
}

const struct mdg_queue_sub_ops mdg_stomp_queue_ops = {.deliver = deliver_from_queue};
