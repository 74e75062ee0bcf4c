/* Session and link in one object, and "encode at most once": the framed form of a message for one
 * wire format is made when the first peer needs it and shared by all the others. When a burst
 * comes, its frames are joined in one blob, so that each delivery stays one chunk. */
#include "dialect/peer.h"
#include <stdlib.h>

enum {
    NO_SLOT = MDG_MSG_SLOTS_PEER,
    BURST_MSGS_MAX = 64,
    BURST_BYTES_MAX = 64 * 1024,   /* joined by copying; what is larger goes as many chunks */
    CHUNKS_AT_ONCE = 64,           /* in one call of the carrier's send */
    UNIT_HEADROOM = 512,           /* first guess for what a framing adds */
    WORK_BYTES_MAX = 256 << 20,    /* of one encoded message; messages have a smaller limit */
    WORK_BYTES_KEPT = 1 << 20,     /* after a turn a larger scratch is given back */
    PRIVATE_BYTES_MAX = 16 * 1024, /* of a head for one member alone */
};

struct wire {
    const struct mdg_dialect *dialect;
    const struct mdg_framing *framing;
    /* The frames of the last burst, joined. The messages are held, so that a pointer means the
     * same message for as long as this is kept. */
    struct mdg_msg *burst[BURST_MSGS_MAX];
    size_t burst_len;
    struct mdg_blob *joined;
};

struct mdg_peers {
    struct mdg_hub *hub;
    struct mdg_peers_config config;
    struct mdg_peers_stats stats;
    struct mdg_buf framed, work, scratch;
    struct mdg_list peers;
    struct wire wires[MDG_MSG_SLOTS_PEER];
};

enum peer_flag { PEER_FULL = 1, PEER_CLOSING = 2, PEER_ATTACHED = 4, PEER_PAUSED = 8 };

struct mdg_peer {
    struct mdg_session session; /* first: the hub fetches its cache line ahead */
    struct mdg_link *link;
    struct mdg_peers *shared;
    const struct mdg_dialect *dialect;
    uint8_t slot, flags;
    uint32_t tokens; /* publications that it may make now, in thousandths */
    uint64_t tokens_ms;
    struct mdg_buf *waiting; /* units for this peer alone that found the link full */
    struct mdg_list in_shared;
    _Alignas(16) uint8_t state[];
};

void mdg_peers_config_init(struct mdg_peers_config *config)
{
    *config = (struct mdg_peers_config){
        .default_room = MDG_SLICE_LIT("lobby"),
        .message_bytes_max = 64 * 1024,
        .requests_max = 1024,
        .publish_rate = 0,
        .publish_burst = 100,
        .control_bytes_max = 256 * 1024,
        .history_max = 200,
    };
}

int mdg_peers_new(struct mdg_hub *hub, const struct mdg_peers_config *config,
                  struct mdg_peers **out)
{
    struct mdg_peers *ps = calloc(1, sizeof *ps);
    if (!ps)
        return MDG_E_NO_MEMORY;
    ps->hub = hub;
    ps->config = *config;
    mdg_buf_init(&ps->framed, WORK_BYTES_MAX);
    mdg_buf_init(&ps->work, WORK_BYTES_MAX);
    mdg_buf_init(&ps->scratch, WORK_BYTES_MAX);
    mdg_list_init(&ps->peers);
    *out = ps;
    return 0;
}

static void drop_burst(struct wire *w)
{
    for (size_t i = 0; i < w->burst_len; i++)
        mdg_msg_unref(w->burst[i]);
    w->burst_len = 0;
    mdg_blob_unref(w->joined);
    w->joined = NULL;
}

static void shrink(struct mdg_buf *b)
{
    b->len = 0;
    if (b->cap > WORK_BYTES_KEPT)
        mdg_buf_fini(b);
}

void mdg_peers_flush(struct mdg_peers *ps)
{
    for (size_t i = 0; i < MDG_MSG_SLOTS_PEER && ps->wires[i].dialect; i++)
        drop_burst(&ps->wires[i]);
    shrink(&ps->framed);
    shrink(&ps->work);
    shrink(&ps->scratch);
}

void mdg_peers_free(struct mdg_peers *ps)
{
    if (!ps)
        return;
    assert(mdg_list_empty(&ps->peers));
    mdg_peers_flush(ps);
    mdg_buf_fini(&ps->framed);
    mdg_buf_fini(&ps->work);
    mdg_buf_fini(&ps->scratch);
    free(ps);
}

const struct mdg_peers_stats *mdg_peers_stats(const struct mdg_peers *ps)
{
    return &ps->stats;
}

const struct mdg_peers_config *mdg_peers_config(const struct mdg_peers *ps)
{
    return &ps->config;
}

struct mdg_hub *mdg_peers_hub(const struct mdg_peers *ps)
{
    return ps->hub;
}

void mdg_peers_close_all(struct mdg_peers *ps, int code, struct mdg_slice reason)
{
    MDG_LIST_FOR(it, next, &ps->peers)
    mdg_peer_close(MDG_CONTAINER_OF(it, struct mdg_peer, in_shared), code, reason);
}

int mdg_peer_new(struct mdg_peers *ps, const struct mdg_dialect *dialect, struct mdg_principal *who,
                 struct mdg_peer **out)
{
    struct mdg_peer *p = calloc(1, sizeof *p + dialect->state_bytes);
    if (!p)
        return MDG_E_NO_MEMORY;
    mdg_session_init(&p->session, ps->hub, dialect->session, who);
    p->shared = ps;
    p->dialect = dialect;
    p->slot = NO_SLOT;
    p->tokens = ps->config.publish_burst * 1000;
    p->tokens_ms = mdg_hub_now_ms(ps->hub);
    mdg_list_push(&ps->peers, &p->in_shared);
    ps->stats.peers++;
    *out = p;
    return 0;
}

void mdg_peer_free(struct mdg_peer *p)
{
    if (!p)
        return;
    mdg_hub_forget(p->shared->hub, p);
    mdg_session_fini(&p->session);
    mdg_list_remove(&p->in_shared);
    p->shared->stats.peers--;
    if (p->waiting) {
        mdg_buf_fini(p->waiting);
        free(p->waiting);
    }
    free(p);
}

/* The number of this wire format; there are a few dozen at most, all for good. */
static uint8_t find_slot(struct mdg_peers *ps, const struct mdg_dialect *dialect,
                         const struct mdg_framing *framing)
{
    for (uint8_t i = 0; framing && i < MDG_MSG_SLOTS_PEER; i++) {
        struct wire *w = &ps->wires[i];
        if (!w->dialect)
            *w = (struct wire){.dialect = dialect, .framing = framing};
        if (w->dialect == dialect && w->framing == framing)
            return i;
    }
    return NO_SLOT;
}

/* A session that moves between polls and streams changes its link's framing. */
static void follow_framing(struct mdg_peer *p)
{
    const struct mdg_framing *known = p->slot == NO_SLOT ? NULL : p->shared->wires[p->slot].framing;
    if (MDG_UNLIKELY(known != p->link->framing))
        p->slot = find_slot(p->shared, p->dialect, p->link->framing);
}

void mdg_peer_attach(struct mdg_peer *p, struct mdg_link *link, const struct mdg_handshake *hs)
{
    assert(!p->link);
    p->link = link;
    p->flags |= PEER_ATTACHED;
    p->slot = find_slot(p->shared, p->dialect, link->framing);
    int err = p->dialect->open(p, hs);
    if (err < 0)
        mdg_peer_close(p, mdg_peer_close_code(err), mdg_slice(NULL, 0));
}

void mdg_peer_become(struct mdg_peer *p, const struct mdg_dialect *dialect)
{
    static const struct mdg_handshake nothing_new = {0};
    assert(p->link && dialect->state_bytes <= p->dialect->state_bytes);
    if (p->dialect->close)
        p->dialect->close(p, MDG_CLOSE_NORMAL);
    mdg_hub_forget(p->shared->hub, p);
    MDG_LIST_FOR(it, next, &p->session.members)
    mdg_hub_leave(MDG_CONTAINER_OF(it, struct mdg_member, in_session));
    memset(p->state, 0, p->dialect->state_bytes);
    p->dialect = dialect;
    p->session.ops = dialect->session;
    p->slot = find_slot(p->shared, dialect, p->link->framing);
    int err = dialect->open(p, &nothing_new);
    if (err < 0)
        mdg_peer_close(p, mdg_peer_close_code(err), mdg_slice(NULL, 0));
}

struct mdg_session *mdg_peer_session(struct mdg_peer *p)
{
    return &p->session;
}

struct mdg_link *mdg_peer_link(struct mdg_peer *p)
{
    return p->link;
}

struct mdg_peers *mdg_peer_shared(struct mdg_peer *p)
{
    return p->shared;
}

const struct mdg_dialect *mdg_peer_dialect(const struct mdg_peer *p)
{
    return p->dialect;
}

void *mdg_peer_state(struct mdg_peer *p)
{
    return p->state;
}

struct mdg_peer *mdg_peer_of(struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct mdg_peer, session);
}

struct mdg_peer *mdg_peer_of_link(struct mdg_link *l)
{
    return l->user_arg;
}

bool mdg_peer_closing(const struct mdg_peer *p)
{
    return p->flags & PEER_CLOSING;
}

struct mdg_buf *mdg_peer_scratch(struct mdg_peer *p)
{
    p->shared->scratch.len = 0;
    return &p->shared->scratch;
}

/* ---- The link's upcalls ---- */

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct mdg_peer *p = l->user_arg;
    return p->flags & PEER_CLOSING ? 0 : p->dialect->on_input(p, in, binary);
}

/* Units for this peer alone are kept as a length and the bytes. */
struct waiting_head {
    uint32_t len;
    bool binary, compress;
};

/* False: the link is full again. */
static bool send_waiting(struct mdg_peer *p)
{
    struct mdg_buf *b = p->waiting;
    while (b && b->len > 0) {
        struct waiting_head head;
        memcpy(&head, b->data, sizeof head);
        struct mdg_unit_meta meta = {.binary = head.binary, .compress = head.compress};
        int err = mdg_link_send_unit(p->link, mdg_slice(b->data + sizeof head, head.len), &meta);
        if (err == MDG_E_FULL)
            return false;
        mdg_buf_consume(b, sizeof head + head.len);
    }
    if (b) {
        mdg_buf_fini(b);
        free(b);
        p->waiting = NULL;
    }
    return true;
}

static void on_writable(struct mdg_link *l)
{
    struct mdg_peer *p = l->user_arg;
    if (!send_waiting(p))
        return;
    p->flags &= (uint8_t)~PEER_FULL;
    if (p->flags & PEER_PAUSED) {
        p->flags &= (uint8_t)~PEER_PAUSED;
        l->carrier->pause(l, false);
    }
    MDG_LIST_FOR(it, next, &p->session.members)
    {
        struct mdg_member *m = MDG_CONTAINER_OF(it, struct mdg_member, in_session);
        if (m->behind)
            mdg_hub_resume(m);
    }
    if (p->dialect->writable)
        p->dialect->writable(p);
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_peer *p = l->user_arg;
    (void)reason;
    p->flags |= PEER_CLOSING;
    if (p->dialect->close)
        p->dialect->close(p, code);
    mdg_peer_free(p);
}

const struct mdg_link_user mdg_peer_link_user = {on_input, on_writable, on_close};

/* ---- Units for one peer ---- */

int mdg_peer_try_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    static const struct mdg_unit_meta plain = {0};
    if (p->flags & PEER_CLOSING)
        return MDG_E_CLOSED;
    if (p->flags & PEER_FULL)
        return MDG_E_FULL;
    int err = mdg_link_send_unit(p->link, unit, meta ? meta : &plain);
    if (err == MDG_E_FULL)
        p->flags |= PEER_FULL;
    return err;
}

static int keep_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    struct waiting_head head = {.len = (uint32_t)unit.len,
                                .binary = meta && meta->binary,
                                .compress = meta && meta->compress};
    if (!p->waiting) {
        p->waiting = malloc(sizeof *p->waiting);
        if (!p->waiting)
            return MDG_E_NO_MEMORY;
        mdg_buf_init(p->waiting, p->shared->config.control_bytes_max);
    }
    int err = mdg_buf_reserve(p->waiting, sizeof head + unit.len);
    if (err < 0)
        return err;
    (void)!mdg_buf_append(p->waiting, mdg_slice(&head, sizeof head));
    return mdg_buf_append(p->waiting, unit);
}

void mdg_peer_send_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    int err = mdg_peer_try_unit(p, unit, meta);
    if (err == 0 || err == MDG_E_CLOSED)
        return;
    if (err == MDG_E_FULL)
        err = keep_unit(p, unit, meta);
    if (err < 0) {
        mdg_peer_close(p, MDG_CLOSE_SLOW, MDG_SLICE_LIT("too slow"));
        return;
    }
    if (!(p->flags & PEER_PAUSED) && !p->link->carrier->one_way) {
        p->flags |= PEER_PAUSED;
        p->link->carrier->pause(p->link, true);
    }
}

void mdg_peer_close(struct mdg_peer *p, int code, struct mdg_slice reason)
{
    if (p->flags & PEER_CLOSING)
        return;
    p->flags |= PEER_CLOSING;
    if (p->link)
        mdg_link_close(p->link, code, reason);
}

int mdg_peer_close_code(int reason)
{
    switch (reason) {
    case MDG_E_FULL:
        return MDG_CLOSE_SLOW;
    case MDG_E_EXPIRED:
        return MDG_CLOSE_EXPIRED;
    case MDG_E_DENIED:
        return MDG_CLOSE_POLICY;
    case MDG_E_TOO_BIG:
        return MDG_CLOSE_TOO_BIG;
    case MDG_E_PROTO:
        return MDG_CLOSE_PROTOCOL;
    case MDG_E_SYNTAX:
        return MDG_CLOSE_BAD_DATA;
    case MDG_E_CLOSED:
        return MDG_CLOSE_GOING_AWAY;
    default:
        return MDG_CLOSE_INTERNAL;
    }
}

/* A bucket that fills with publish_rate a second. */
bool mdg_peer_may_publish(struct mdg_peer *p)
{
    const struct mdg_peers_config *config = &p->shared->config;
    uint64_t now_ms = mdg_hub_now_ms(p->shared->hub);
    if (config->publish_rate == 0)
        return true;
    uint64_t full = (uint64_t)config->publish_burst * 1000;
    uint64_t tokens = p->tokens + (now_ms - p->tokens_ms) * config->publish_rate;
    p->tokens_ms = now_ms;
    p->tokens = (uint32_t)mdg_min_size(tokens, full);
    if (p->tokens < 1000)
        return false;
    p->tokens -= 1000;
    return true;
}

/* ---- Encoding ---- */

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
    s.private_head = p->dialect->private_head != NULL;
    s.binary = s.compress = false;
    s.body_len = 0;
    s.count = 0;
    ps->framed.len = ps->work.len = 0;
    int err = p->dialect->encode(m, s.framing->text_only, &s.sink);
    if (err < 0)
        return err;
    struct mdg_encoding *e = wrap(&s);
    err = e ? mdg_msg_set_encoding(m, p->slot, e) : MDG_E_NO_MEMORY;
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
    if (p->slot == NO_SLOT)
        return 0;
    *out = mdg_msg_encoding(m, p->slot);
    if (MDG_LIKELY(*out != NULL))
        return 0;
    int err = make_encoding(p, m);
    *out = err < 0 ? NULL : mdg_msg_encoding(m, p->slot);
    return err;
}

int mdg_peer_send_chunks(struct mdg_peer *p, const struct mdg_chunk *chunks, size_t n)
{
    struct mdg_chunk copy[CHUNKS_AT_ONCE];
    assert(n > 0);
    if (p->flags & (PEER_FULL | PEER_CLOSING))
        return p->flags & PEER_CLOSING ? MDG_E_CLOSED : MDG_E_FULL;
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
        p->flags |= PEER_FULL;
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
    if (p->dialect->private_head) {
        struct mdg_writer w;
        struct mdg_buf *whole = &p->shared->framed;
        mdg_writer_init(&w, head, sizeof head);
        int err = p->dialect->private_head(s->member, s->msg, &w);
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
    return p->dialect->encode(msg, f && f->text_only, &s.sink);
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
    int err = p->dialect->private_head(m, msg, &w);
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
    if (p->slot == NO_SLOT || (p->dialect->private_head && (f->whole || !f->joinable)))
        return deliver_unshared(p, m, msg);
    int err = mdg_peer_encoding(p, msg, &e);
    if (!e || e->chunk_count == 0)
        return err;
    if (p->dialect->private_head)
        return deliver_private(p, m, msg, e);
    return mdg_peer_send_chunks(p, e->chunks, e->chunk_count);
}

static bool same_burst(const struct wire *w, struct mdg_msg *const *msgs, size_t n)
{
    return w->burst_len == n && memcmp(w->burst, msgs, n * sizeof(struct mdg_msg *)) == 0;
}

/* Joins the frames of the messages; without memory, or when they are large, joined stays NULL. */
static int make_burst(struct mdg_peer *p, struct wire *w, struct mdg_msg *const *msgs, size_t n)
{
    size_t total = 0, at = 0;
    const struct mdg_encoding *e;
    drop_burst(w);
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
        e = mdg_msg_encoding(msgs[i], p->slot);
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
    struct wire *w = &p->shared->wires[p->slot];
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
    if (p->flags & PEER_CLOSING)
        return (int)n;
    if (p->flags & PEER_FULL)
        return 0;
    follow_framing(p);
    if (n > 1 && n <= BURST_MSGS_MAX && p->slot != NO_SLOT && p->link->framing->joinable &&
        !p->dialect->private_head && deliver_burst(p, msgs, n) == 0) {
        p->shared->stats.deliveries += n;
        return (int)n;
    }
    /* One, or no room for all together: as many as fit. */
    p->flags &= (uint8_t)~PEER_FULL;
    for (size_t i = 0; i < n; i++) {
        if (deliver_one(p, m, msgs[i]) == MDG_E_FULL)
            return (int)i;
        p->shared->stats.deliveries++;
    }
    return (int)n;
}
