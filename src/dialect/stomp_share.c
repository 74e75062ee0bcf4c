/* What subscribers of one worker have in common, made once: fronts of MESSAGE frames, rests of
 * them, and whole bursts for those whose messages say nothing of their own. */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

enum {
    REST_BYTES_MAX = 8192,
    BURST_BYTES_MAX = 64 * 1024, /* a longer one is made for each subscriber */
};

/* ---- fronts ---- */

struct mdg_stomp_front {
    unsigned refs;
    uint32_t len;
    uint8_t text[]; /* its own key in the map */
};

static struct mdg_slice text_of(const struct mdg_stomp_front *f)
{
    return mdg_slice(f->text, f->len);
}

static void unref_front(struct mdg_stomp_server *server, struct mdg_stomp_front *f)
{
    if (!f || --f->refs > 0)
        return;
    mdg_map_remove(&server->fronts, text_of(f));
    free(f);
}

/* Ids and destinations are the peers' choice, hence the seed. */
static void prepare_map(struct mdg_stomp_server *server)
{
    uint64_t seed[2];
    if (server->fronts.cap > 0)
        return;
    server->random(server->arg, seed, sizeof seed);
    mdg_map_init(&server->fronts, seed);
}

static struct mdg_stomp_front *new_front(const struct mdg_stomp_sub *s,
                                         const struct mdg_content *content)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_stomp_write_front(&w, s, content);
    struct mdg_stomp_front *f = malloc(sizeof *f + w.len);
    if (!f)
        return NULL;
    *f = (struct mdg_stomp_front){.len = (uint32_t)w.len};
    mdg_writer_init(&w, f->text, f->len);
    mdg_stomp_write_front(&w, s, content);
    return f;
}

struct mdg_slice mdg_stomp_front_of(struct mdg_stomp_sub *s, const struct mdg_content *content)
{
    struct mdg_stomp_server *server = s->conn->server;
    if (s->front)
        return text_of(s->front);
    struct mdg_stomp_front *own = new_front(s, content);
    if (!own)
        return mdg_slice(NULL, 0);
    prepare_map(server);
    struct mdg_stomp_front *known = mdg_map_get(&server->fronts, text_of(own));
    if (known || mdg_map_put(&server->fronts, text_of(own), own) < 0) {
        free(own);
        own = known;
    }
    if (!own)
        return mdg_slice(NULL, 0);
    own->refs++;
    s->front = own;
    return text_of(own);
}

void mdg_stomp_drop_front(struct mdg_stomp_sub *s)
{
    unref_front(s->conn->server, s->front);
    s->front = NULL;
}

/* ---- rests ---- */

static void free_rest(struct mdg_stomp_rest *t)
{
    mdg_content_unref(t->content);
    free(t->bytes);
    *t = (struct mdg_stomp_rest){.content = NULL};
}

static int make_rest(struct mdg_stomp_rest *t, const struct mdg_stomp_sub *s,
                     const struct mdg_stomp_out *o)
{
    struct mdg_slice body = mdg_chunk_slice(&o->content->parts[0]);
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_stomp_write_rest(&w, s, o, body.len, false);
    size_t len = w.len + body.len + 1;
    if (len > REST_BYTES_MAX)
        return MDG_E_TOO_BIG;
    free_rest(t);
    t->bytes = malloc(len);
    if (!t->bytes)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, t->bytes, len);
    mdg_stomp_write_rest(&w, s, o, body.len, false);
    mdg_write_slice(&w, body);
    mdg_write_u8(&w, 0);
    t->content = mdg_content_ref(o->content);
    t->at = o->at;
    t->version = s->conn->dec.version;
    t->len = (uint32_t)len;
    return 0;
}

struct mdg_slice mdg_stomp_rest_of(struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    uint8_t version = s->conn->dec.version;
    struct mdg_stomp_rest *t =
        &s->conn->server->rests[(o->at.seq ^ version * 21u) % MDG_STOMP_RESTS];
    bool same = t->content == o->content && t->version == version && t->at.seq == o->at.seq &&
                t->at.epoch == o->at.epoch;
    if (!same && make_rest(t, s, o) < 0)
        return mdg_slice(NULL, 0);
    return mdg_slice(t->bytes, t->len);
}

/* ---- bursts ---- */

static void drop_burst(struct mdg_stomp_server *server, struct mdg_stomp_burst *b)
{
    for (size_t i = 0; i < b->len; i++)
        mdg_msg_unref(b->msgs[i]);
    b->len = 0;
    mdg_blob_unref(b->joined);
    b->joined = NULL;
    unref_front(server, b->front);
    b->front = NULL;
}

/* Everything of a message that could make it something else than short and common. */
static bool joins(const struct mdg_stomp_sub *s, const struct mdg_msg *m)
{
    const struct mdg_stomp_out o = {.content = m->content, .at = {m->epoch, m->seq}};
    return m->content->kind != MDG_MSG_PRESENCE && mdg_stomp_is_common(s, &o) &&
           mdg_stomp_is_short(s, &o);
}

static struct mdg_blob *join(struct mdg_stomp_sub *s, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_buf *to = &s->conn->server->scratch;
    to->len = 0;
    for (size_t i = 0; i < n; i++) {
        const struct mdg_stomp_out o = {.content = msgs[i]->content,
                                        .at = {msgs[i]->epoch, msgs[i]->seq}};
        if (!joins(s, msgs[i]) || mdg_stomp_append_short(to, s, &o) < 0 ||
            to->len > BURST_BYTES_MAX)
            return NULL;
    }
    return mdg_blob_copy(mdg_buf_slice(to));
}

static struct mdg_stomp_burst *place_of(const struct mdg_stomp_sub *s)
{
    uintptr_t hash = (uintptr_t)s->front / 32 ^ (uintptr_t)s->conn->link->framing / 8;
    return &s->conn->server->bursts[(hash + s->conn->dec.version) % MDG_STOMP_BURSTS];
}

struct mdg_blob *mdg_stomp_burst_of(struct mdg_stomp_sub *s, struct mdg_msg *const *msgs, size_t n)
{
    const struct mdg_framing *f = s->conn->link->framing;
    uint8_t version = s->conn->dec.version;
    assert(n > 0 && n <= MDG_STOMP_BATCH_MAX);
    if (!mdg_stomp_front_of(s, msgs[0]->content).data || s->front->refs == 1)
        return NULL; /* nobody to share with */
    struct mdg_stomp_burst *b = place_of(s);
    if (b->front == s->front && b->framing == f && b->version == version && b->len == n &&
        memcmp(b->msgs, msgs, n * sizeof(struct mdg_msg *)) == 0)
        return b->joined;
    drop_burst(s->conn->server, b);
    b->joined = join(s, msgs, n);
    b->front = s->front;
    b->front->refs++;
    b->framing = f;
    b->version = version;
    b->len = n;
    for (size_t i = 0; i < n; i++)
        b->msgs[i] = mdg_msg_ref(msgs[i]);
    return b->joined;
}

void mdg_stomp_drop_shared(struct mdg_stomp_server *server)
{
    for (size_t i = 0; i < MDG_STOMP_RESTS; i++)
        free_rest(&server->rests[i]);
    for (size_t i = 0; i < MDG_STOMP_BURSTS; i++)
        drop_burst(server, &server->bursts[i]);
    assert(server->fronts.len == 0);
    mdg_map_fini(&server->fronts);
}
