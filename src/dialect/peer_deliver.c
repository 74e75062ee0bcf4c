/* "Encode at most once": the framed form of a message for one wire format is made when the first
 * peer needs it and shared by all the others. When a burst comes, its frames are joined in one
 * blob, so that each delivery stays one chunk. */
#include "dialect/peer_impl.h"
#include <stdlib.h>

enum {
    BURST_BYTES_MAX = 64 * 1024,   /* joined by copying; what is larger goes as many chunks */
    CHUNKS_AT_ONCE = 64,           /* in one call of the carrier's send */
    UNIT_HEADROOM = 512,           /* first guess for what a framing adds */
    PRIVATE_BYTES_MAX = 16 * 1024, /* of a head for one member alone */
};

void mdg_wire_drop_burst(struct mdg_wire *w)
{
    for (size_t i = 0; i < w->burst_len; i++)
        mdg_msg_unref(w->burst[i]);
    w->burst_len = 0;
    mdg_blob_unref(w->joined);
    w->joined = NULL;
}

/* The number of this wire format; there are a few dozen at most, all for good. */
static uint8_t find_slot(struct mdg_peers *ps, const struct mdg_dialect *dialect,
                         const struct mdg_framing *framing)
{
    for (uint8_t i = 0; framing && i < MDG_MSG_SLOTS_PEER; i++) {
        struct mdg_wire *w = &ps->wires[i];
        if (!w->dialect)
            *w = (struct mdg_wire){.dialect = dialect, .framing = framing};
        if (w->dialect == dialect && w->framing == framing)
            return i;
    }
    return MDG_PEER_NO_SLOT;
}

void mdg_peer_find_wire(struct mdg_peer *p)
{
    p->session.user_slot = find_slot(p->shared, mdg_dialect_of(p), p->link->framing);
}

/* A session that moves between polls and streams changes its link's framing. */
static void follow_framing(struct mdg_peer *p)
{
    const struct mdg_framing *known = p->session.user_slot == MDG_PEER_NO_SLOT
                                          ? NULL
                                          : p->shared->wires[p->session.user_slot].framing;
    if (MDG_UNLIKELY(known != p->link->framing))
        mdg_peer_find_wire(p);
}

/* Collects framed units in peers->framed, and where each of them ends. */
struct frame_sink {
    struct mdg_unit_sink sink;
    struct mdg_peers *shared;
    const struct mdg_framing *framing;
    bool private_head; /* head is left out, it is made for each member */
    bool binary, compress;
    uint32_t body_len;
    size_t count;
    uint32_t ends[MDG_MSG_PARTS_MAX];
};

/* Writes into `to` with as much room as it turns out to need. */
static int frame_into(struct mdg_buf *to, const struct mdg_framing *f, struct mdg_slice unit,
                      const struct mdg_unit_meta *meta, bool private_head)
{
    size_t room = unit.len + UNIT_HEADROOM;
    for (int tries = 0; tries < 2; tries++) {
        struct mdg_writer w;
        int err = mdg_buf_reserve(to, room);
        if (err < 0)
            return err;
        mdg_writer_init(&w, to->data + to->len, to->cap - to->len);
        if (!private_head) {
            err = mdg_frame(f, &w, unit, meta);
        } else {
            if (f->escape)
                f->escape(f, &w, unit);
            else
                mdg_write_slice(&w, unit);
            if (f->tail)
                f->tail(f, &w, meta);
        }
        if (err < 0)
            return err;
        if (mdg_writer_fits(&w)) {
            to->len += w.len;
            return 0;
        }
        room = w.len;
    }
    return MDG_E_TOO_BIG;
}

static int take_unit(struct mdg_unit_sink *sink, struct mdg_slice unit,
                     const struct mdg_unit_meta *meta)
{
    struct frame_sink *s = MDG_CONTAINER_OF(sink, struct frame_sink, sink);
    struct mdg_buf *to = &s->shared->framed;
    if (s->count == MDG_MSG_PARTS_MAX)
        return MDG_E_TOO_BIG;
    size_t before = to->len;
    int err = frame_into(to, s->framing, unit, meta, s->private_head);
    if (err < 0)
        return err;
    if (s->private_head) {
        struct mdg_writer tail;
        mdg_writer_init(&tail, NULL, 0);
        if (s->framing->tail)
            s->framing->tail(s->framing, &tail, meta);
        s->body_len = (uint32_t)(to->len - before - tail.len);
        s->binary = meta->binary;
        s->compress = meta->compress;
    }
    s->ends[s->count++] = (uint32_t)to->len;
    return 0;
}

/* Joinable frames stand in one blob as one chunk; others in one blob as a chunk each. */
static struct mdg_encoding *wrap(const struct frame_sink *s)
{
    bool one = s->framing->joinable && s->count > 0;
    struct mdg_encoding *e = mdg_encoding_new((uint16_t)(one ? 1 : s->count));
    struct mdg_blob *blob = e && s->count ? mdg_blob_copy(mdg_buf_slice(&s->shared->framed)) : NULL;
    if (!e || (s->count && !blob)) {
        mdg_encoding_free(e);
        return NULL;
    }
    for (size_t i = 0; i < e->chunk_count; i++) {
        uint32_t start = i ? s->ends[i - 1] : 0;
        uint32_t end = one ? blob->len : s->ends[i];
        e->chunks[i] = (struct mdg_chunk){i ? mdg_blob_ref(blob) : blob, start, end - start};
    }
    e->binary = s->binary;
    e->compress = s->compress;
    e->body_len = s->body_len;
    return e;
}

static int make_encoding(struct mdg_peer *p, struct mdg_msg *m)
{
    struct frame_sink s;
    struct mdg_peers *ps = p->shared;
    s.sink = (struct mdg_unit_sink){take_unit, &ps->work};
    s.shared = ps;
    s.framing = p->link->framing;
    s.private_head = mdg_dialect_of(p)->private_head != NULL;
    s.binary = s.compress = false;
    s.body_len = 0;
    s.count = 0;
    ps->framed.len = ps->work.len = 0;
    int err = mdg_dialect_of(p)->encode(m, s.framing->text_only, &s.sink);
    if (err < 0)
        return err;
    struct mdg_encoding *e = wrap(&s);
    err = e ? mdg_msg_set_encoding(m, p->session.user_slot, e) : MDG_E_NO_MEMORY;
    if (err < 0)
        mdg_encoding_free(e);
    else
        ps->stats.encodings++;
    return err;
}

int mdg_peer_encoding(struct mdg_peer *p, struct mdg_msg *m, const struct mdg_encoding **out)
{
    *out = NULL;
    follow_framing(p);
    if (p->session.user_slot == MDG_PEER_NO_SLOT)
        return 0;
    *out = mdg_msg_encoding(m, p->session.user_slot);
    if (MDG_LIKELY(*out != NULL))
        return 0;
    int err = make_encoding(p, m);
    *out = err < 0 ? NULL : mdg_msg_encoding(m, p->session.user_slot);
    return err;
}

int mdg_peer_send_chunks(struct mdg_peer *p, const struct mdg_chunk *chunks, size_t n)
{
    struct mdg_chunk copy[CHUNKS_AT_ONCE];
    assert(n > 0);
    if (p->session.user_flags & (PEER_FULL | PEER_CLOSING))
        return p->session.user_flags & PEER_CLOSING ? MDG_E_CLOSED : MDG_E_FULL;
    struct mdg_chunk *list = n <= CHUNKS_AT_ONCE ? copy : malloc(n * sizeof *list);
    if (!list)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        list[i] = chunks[i];
        mdg_blob_ref(chunks[i].blob);
    }
    int err = mdg_link_send(p->link, list, n);
    if (err < 0) {
        for (size_t i = 0; i < n; i++)
            mdg_blob_unref(chunks[i].blob);
    }
    if (err == MDG_E_FULL)
        p->session.user_flags |= PEER_FULL;
    if (list != copy)
        free(list);
    return err;
}

/* ---- Delivery ---- */

/* For links that share nothing: every unit is framed by the carrier. */
struct link_sink {
    struct mdg_unit_sink sink;
    struct mdg_peer *peer;
    const struct mdg_member *member;
    const struct mdg_msg *msg;
    bool started;
};

static int unit_to_link(struct mdg_unit_sink *sink, struct mdg_slice unit,
                        const struct mdg_unit_meta *meta)
{
    struct link_sink *s = MDG_CONTAINER_OF(sink, struct link_sink, sink);
    struct mdg_peer *p = s->peer;
    uint8_t head[PRIVATE_BYTES_MAX];
    if (mdg_dialect_of(p)->private_head) {
        struct mdg_writer w;
        struct mdg_buf *whole = &p->shared->framed;
        mdg_writer_init(&w, head, sizeof head);
        int err = mdg_dialect_of(p)->private_head(s->member, s->msg, &w);
        whole->len = 0;
        if (err == 0 && !mdg_writer_fits(&w))
            err = MDG_E_TOO_BIG;
        if (err == 0)
            err = mdg_buf_append(whole, mdg_slice(head, w.len));
        if (err == 0)
            err = mdg_buf_append(whole, unit);
        if (err < 0)
            return err;
        unit = mdg_buf_slice(whole);
    }
    /* The units of one message stay together: behind the first, the rest waits with it. */
    if (s->started) {
        mdg_peer_send_unit(p, unit, meta);
        return 0;
    }
    int err = mdg_peer_try_unit(p, unit, meta);
    s->started = err == 0;
    return err;
}

static int deliver_unshared(struct mdg_peer *p, const struct mdg_member *m, struct mdg_msg *msg)
{
    struct link_sink s = {
        .sink = {unit_to_link, &p->shared->work}, .peer = p, .member = m, .msg = msg};
    const struct mdg_framing *f = p->link->framing;
    p->shared->work.len = 0;
    p->shared->stats.encodings++;
    return mdg_dialect_of(p)->encode(msg, f && f->text_only, &s.sink);
}

/* head(total) + escape(private) in a small blob of this member, then what is shared. */
static int deliver_private(struct mdg_peer *p, const struct mdg_member *m, struct mdg_msg *msg,
                           const struct mdg_encoding *e)
{
    const struct mdg_framing *f = p->link->framing;
    uint8_t text[PRIVATE_BYTES_MAX];
    struct mdg_unit_meta meta = {.binary = e->binary, .compress = e->compress};
    struct mdg_writer w, dry;
    mdg_writer_init(&w, text, sizeof text);
    int err = mdg_dialect_of(p)->private_head(m, msg, &w);
    if (err < 0 || !mdg_writer_fits(&w))
        return err < 0 ? err : MDG_E_TOO_BIG;
    struct mdg_slice head = mdg_slice(text, w.len);
    size_t escaped = head.len;
    if (f->escape) {
        mdg_writer_init(&dry, NULL, 0);
        f->escape(f, &dry, head);
        escaped = dry.len;
    }
    mdg_writer_init(&dry, NULL, 0);
    if (f->head)
        f->head(f, &dry, escaped + e->body_len, &meta);
    struct mdg_blob *blob = mdg_blob_new((uint32_t)(dry.len + escaped));
    if (!blob)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, blob->data, blob->len);
    if (f->head)
        f->head(f, &w, escaped + e->body_len, &meta);
    if (f->escape)
        f->escape(f, &w, head);
    else
        mdg_write_slice(&w, head);
    assert(w.len == blob->len);
    struct mdg_chunk chunks[2] = {mdg_chunk_all(blob), e->chunks[0]};
    err = mdg_peer_send_chunks(p, chunks, 2);
    mdg_blob_unref(blob);
    return err;
}

/* One message. MDG_E_FULL: not taken. Any other failure loses it for this peer alone. */
static int deliver_one(struct mdg_peer *p, const struct mdg_member *m, struct mdg_msg *msg)
{
    const struct mdg_framing *f = p->link->framing;
    const struct mdg_encoding *e;
    follow_framing(p);
    if (p->session.user_slot == MDG_PEER_NO_SLOT ||
        (mdg_dialect_of(p)->private_head && (f->whole || !f->joinable)))
        return deliver_unshared(p, m, msg);
    int err = mdg_peer_encoding(p, msg, &e);
    if (!e || e->chunk_count == 0)
        return err;
    if (mdg_dialect_of(p)->private_head)
        return deliver_private(p, m, msg, e);
    return mdg_peer_send_chunks(p, e->chunks, e->chunk_count);
}

static bool same_burst(const struct mdg_wire *w, struct mdg_msg *const *msgs, size_t n)
{
    return w->burst_len == n && memcmp(w->burst, msgs, n * sizeof(struct mdg_msg *)) == 0;
}

/* Joins the frames of the messages; without memory, or when they are large, joined stays NULL. */
static int make_burst(struct mdg_peer *p, struct mdg_wire *w, struct mdg_msg *const *msgs, size_t n)
{
    size_t total = 0, at = 0;
    const struct mdg_encoding *e;
    mdg_wire_drop_burst(w);
    for (size_t i = 0; i < n; i++) {
        int err = mdg_peer_encoding(p, msgs[i], &e);
        if (!e)
            return err < 0 ? err : MDG_E_UNSUPPORTED;
        total += e->chunk_count ? e->chunks[0].len : 0;
    }
    for (size_t i = 0; i < n; i++)
        w->burst[i] = mdg_msg_ref(msgs[i]);
    w->burst_len = n;
    if (total == 0 || total > BURST_BYTES_MAX)
        return 0;
    w->joined = mdg_blob_new((uint32_t)total);
    for (size_t i = 0; w->joined && i < n; i++) {
        e = mdg_msg_encoding(msgs[i], p->session.user_slot);
        if (e->chunk_count) {
            memcpy(w->joined->data + at, e->chunks[0].blob->data + e->chunks[0].off,
                   e->chunks[0].len);
            at += e->chunks[0].len;
        }
    }
    return 0;
}

static int deliver_burst(struct mdg_peer *p, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_wire *w = &p->shared->wires[p->session.user_slot];
    if (MDG_UNLIKELY(!same_burst(w, msgs, n))) {
        int err = make_burst(p, w, msgs, n);
        if (err < 0)
            return err;
    }
    if (!w->joined)
        return MDG_E_TOO_BIG;
    struct mdg_chunk chunk = mdg_chunk_all(w->joined);
    return mdg_peer_send_chunks(p, &chunk, 1);
}

int mdg_peer_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    assert(n > 0 && n <= INT32_MAX);
    if (p->session.user_flags & PEER_CLOSING)
        return (int)n;
    if (p->session.user_flags & PEER_FULL)
        return 0;
    follow_framing(p);
    if (n > 1 && n <= MDG_PEER_BURST_MSGS_MAX && p->session.user_slot != MDG_PEER_NO_SLOT &&
        p->link->framing->joinable && !mdg_dialect_of(p)->private_head &&
        deliver_burst(p, msgs, n) == 0) {
        p->shared->stats.deliveries += n;
        return (int)n;
    }
    /* One, or no room for all together: as many as fit. */
    p->session.user_flags &= (uint8_t)~PEER_FULL;
    for (size_t i = 0; i < n; i++) {
        if (deliver_one(p, m, msgs[i]) == MDG_E_FULL)
            return (int)i;
        p->shared->stats.deliveries++;
    }
    return (int)n;
}
