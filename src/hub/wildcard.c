/* Members of patterns: one membership in every room whose name matches.
 *
 * The owner of a room learns of patterns on other workers (an *interest*) and, when a message is
 * published, feeds those workers as if they had members. On a member's own worker the batch of a
 * room goes to the matching members after the room's own. One that does not take all of it gets a
 * *spill*: an ordinary, unseen member of that one room, with a cursor into its log, that stands in
 * for it until it has caught up there. */
#include "hub/impl.h"
#include <stdlib.h>

enum {
    PATTERN_NODES_MAX = 100000, /* words in all patterns; attack: a client that invents patterns */
};

struct mdg_wildcard {
    struct mdg_member *member;
    struct mdg_pattern *pattern;
    struct mdg_list in_pattern; /* links of pattern->entries */
    struct mdg_member *spills;  /* ring of them: the last one */
    struct mdg_op *join;        /* under way until `joined` */
    struct mdg_op *off;         /* for the other workers, made beforehand */
};

/* Another worker's members of one pattern. */
struct interest {
    struct mdg_list in_pattern, in_hub;
    struct mdg_pattern *pattern;
    unsigned worker;
    uint32_t count;
};

static struct mdg_wildcard *wildcard_of(const struct mdg_member *m)
{
    assert(m->kind == MEMBER_OF_PATTERN);
    return m->presence;
}

struct mdg_member *mdg_member_face(struct mdg_member *m)
{
    if (m->kind != MEMBER_SPILL)
        return m;
    struct mdg_member *face = m->presence;
    face->channel = m->channel;
    return face;
}

void mdg_member_unface(struct mdg_member *m)
{
    if (m->kind == MEMBER_SPILL)
        ((struct mdg_member *)m->presence)->channel = NULL;
}

/* ---- Interests: what other workers want of the rooms that are owned here ---- */

static struct interest *find_interest(const struct mdg_pattern *p, unsigned worker)
{
    for (const struct mdg_list *it = p->entries.next; it != &p->entries; it = it->next) {
        struct interest *i = MDG_CONTAINER_OF(it, struct interest, in_pattern);
        if (i->worker == worker)
            return i;
    }
    return NULL;
}

static void drop_interest(struct mdg_hub *h, struct interest *i)
{
    mdg_list_remove(&i->in_pattern);
    mdg_list_remove(&i->in_hub);
    mdg_patterns_drop(h->interests, i->pattern);
    free(i);
}

static void add_interest(struct mdg_hub *h, struct mdg_pattern *p, unsigned worker)
{
    struct interest *i = find_interest(p, worker);
    if (i) {
        i->count++;
        mdg_patterns_drop(h->interests, p); /* one hold for each interest is enough */
        return;
    }
    i = malloc(sizeof *i);
    if (!i) {
        mdg_patterns_drop(h->interests, p);
        return;
    }
    *i = (struct interest){.pattern = p, .worker = worker, .count = 1};
    mdg_list_push(&p->entries, &i->in_pattern);
    mdg_list_push(&h->all_interests, &i->in_hub);
}

void mdg_interest_change(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_pattern *p;
    if (!h->interests && mdg_patterns_new(PATTERN_NODES_MAX, h->seed, &h->interests) < 0)
        return;
    if (mdg_patterns_hold(h->interests, mdg_op_name(op), &p) < 0)
        return;
    if (op->on) {
        add_interest(h, p, op->asker);
        return;
    }
    struct interest *i = find_interest(p, op->asker);
    mdg_patterns_drop(h->interests, p);
    if (i && --i->count == 0)
        drop_interest(h, i);
}

struct feeding {
    struct mdg_hub *hub;
    struct mdg_channel *channel;
};

static void feed_pattern(void *arg, struct mdg_pattern *p)
{
    const struct feeding *f = arg;
    for (struct mdg_list *it = p->entries.next; it != &p->entries; it = it->next)
        mdg_owner_feed(f->hub, f->channel,
                       MDG_CONTAINER_OF(it, struct interest, in_pattern)->worker);
}

void mdg_interests_feed(struct mdg_hub *h, struct mdg_channel *c)
{
    if (!h->interests || mdg_patterns_empty(h->interests))
        return;
    struct feeding f = {h, c};
    mdg_patterns_match(h->interests, mdg_channel_name(c), feed_pattern, &f);
}

/* ---- Joining and leaving ---- */

static void free_ops(struct mdg_op *chain)
{
    mdg_op_free_chain(chain);
}

/* An operation for each other worker, as a chain. */
static int new_ops(struct mdg_hub *h, struct mdg_slice pattern, bool on, struct mdg_op **out)
{
    struct mdg_op *chain = NULL;
    for (unsigned i = 1; i < h->workers && h->broker; i++) {
        struct mdg_op *op = mdg_op_new(h, OP_PATTERN, pattern);
        if (!op) {
            free_ops(chain);
            return MDG_E_NO_MEMORY;
        }
        op->on = on;
        op->next = chain;
        chain = op;
    }
    *out = chain;
    return 0;
}

static void send_ops(struct mdg_hub *h, struct mdg_op *chain)
{
    for (unsigned to = 0; to < h->workers && chain; to++) {
        if (to == h->worker)
            continue;
        struct mdg_op *next = chain->next;
        mdg_op_send(h, to, chain);
        chain = next;
    }
}

static int hold_pattern(struct mdg_hub *h, struct mdg_slice pattern, struct mdg_pattern **out)
{
    int err = 0;
    if (!h->patterns)
        err = mdg_patterns_new(PATTERN_NODES_MAX, h->seed, &h->patterns);
    return err < 0 ? err : mdg_patterns_hold(h->patterns, pattern, out);
}

/* Everything that can fail, before anything is seen. */
static int new_wildcard(struct mdg_hub *h, struct mdg_slice pattern, struct mdg_wildcard **out,
                        struct mdg_op **on)
{
    struct mdg_wildcard *w = calloc(1, sizeof *w);
    if (!w)
        return MDG_E_NO_MEMORY;
    int err = new_ops(h, pattern, true, on);
    if (err == 0) {
        err = new_ops(h, pattern, false, &w->off);
        w->join = mdg_op_new(h, OP_JOIN, mdg_slice(NULL, 0));
        w->member = mdg_pool_get(&h->members);
        if (err == 0 && (!w->join || !w->member))
            err = MDG_E_NO_MEMORY;
        if (err == 0)
            err = hold_pattern(h, pattern, &w->pattern);
        if (err == 0) {
            *out = w;
            return 0;
        }
        free_ops(*on);
        free_ops(w->off);
        mdg_op_free(w->join);
        mdg_pool_put(&h->members, w->member);
    }
    free(w);
    return err;
}

int mdg_hub_join_pattern(struct mdg_hub *h, struct mdg_session *s, struct mdg_slice pattern,
                         const struct mdg_join_options *options, struct mdg_member **out)
{
    struct mdg_wildcard *w = NULL;
    struct mdg_op *on = NULL;
    if (!(s->principal->rights & MDG_RIGHT_SUBSCRIBE))
        return MDG_E_DENIED;
    if (s->member_count >= h->config.memberships_per_session_max)
        return MDG_E_TOO_BIG;
    int err = new_wildcard(h, pattern, &w, &on);
    if (!w)
        return err;
    struct mdg_member *m = w->member;
    m->kind = MEMBER_OF_PATTERN;
    m->session = s;
    m->cookie = options ? options->cookie : NULL;
    m->hidden = true;
    m->state = MEMBER_JOINING;
    m->presence = w;
    mdg_list_push(&w->pattern->entries, &w->in_pattern);
    mdg_ring_push(&s->last, m);
    s->member_count++;
    send_ops(h, on);
    w->join->member = m;
    w->join->answer = true;
    mdg_op_send(h, h->worker, w->join);
    *out = m;
    return 0;
}

void mdg_spill_free(struct mdg_hub *h, struct mdg_member *m)
{
    assert(m->kind == MEMBER_SPILL);
    struct mdg_channel *c = m->channel;
    mdg_member_detach(h, m, &wildcard_of(m->presence)->spills);
    mdg_channel_remove_member(h, c, m);
    mdg_member_free(h, m);
}

void mdg_wildcard_leave(struct mdg_hub *h, struct mdg_member *m)
{
    struct mdg_wildcard *w = wildcard_of(m);
    while (w->spills)
        mdg_spill_free(h, mdg_ring_first(w->spills));
    for (size_t i = 0; i < h->matched_len; i++) {
        if (h->matched[i] == w)
            h->matched[i] = NULL;
    }
    if (m->state == MEMBER_JOINING)
        w->join->member = NULL; /* its answer finds nobody */
    mdg_member_detach(h, m, &m->session->last);
    mdg_list_remove(&w->in_pattern);
    mdg_patterns_drop(h->patterns, w->pattern);
    send_ops(h, w->off);
    free(w);
    mdg_member_free(h, m);
}

void mdg_wildcard_resume(struct mdg_member *m)
{
    struct mdg_wildcard *w = wildcard_of(m);
    struct mdg_member *spill = mdg_ring_first(w->spills);
    for (; spill; spill = mdg_ring_next(w->spills, spill)) {
        if (spill->behind)
            mdg_hub_resume(spill);
    }
}

void mdg_wildcards_fini(struct mdg_hub *h)
{
    while (!mdg_list_empty(&h->all_interests))
        drop_interest(h,
                      MDG_CONTAINER_OF(mdg_list_first(&h->all_interests), struct interest, in_hub));
    mdg_patterns_free(h->interests);
    mdg_patterns_free(h->patterns);
    free(h->matched);
}

/* ---- Delivery ---- */

static bool has_spill(const struct mdg_wildcard *w, const struct mdg_channel *c)
{
    const struct mdg_member *spill = mdg_ring_first(w->spills);
    while (spill && spill->channel != c)
        spill = mdg_ring_next(w->spills, spill);
    return spill != NULL;
}

/* The member reads on from the room's log. Without memory for that it is kicked. */
static void spill(struct mdg_hub *h, struct mdg_wildcard *w, struct mdg_channel *c,
                  uint64_t next_seq)
{
    struct mdg_member *m = mdg_pool_get(&h->members);
    if (!m || mdg_channel_add_member(c, m) < 0) {
        mdg_pool_put(&h->members, m);
        mdg_member_kick(h, w->member, MDG_E_NO_MEMORY);
        return;
    }
    m->kind = MEMBER_SPILL;
    m->session = w->member->session;
    m->cookie = w->member->cookie;
    m->hidden = true;
    m->state = MEMBER_STUCK;
    m->behind = true;
    m->next_seq = next_seq;
    m->presence = w->member;
    mdg_ring_push(&w->spills, m);
    c->flags |= CHANNEL_SPILLS;
}

static void give(struct mdg_hub *h, struct mdg_wildcard *w, struct mdg_channel *c)
{
    const struct mdg_fanout *f = c->fanout;
    struct mdg_member *m = w->member;
    if (m->state != MEMBER_LIVE || has_spill(w, c))
        return;
    h->current = m;
    m->channel = c;
    bool all = mdg_member_deliver(h, m, f->msgs, f->active, f->filtered, f->end_seq);
    if (h->current != m)
        return;
    m->channel = NULL;
    h->budget -= h->budget < f->active ? h->budget : f->active;
    if (!all && m->state == MEMBER_LIVE && m->next_seq != f->end_seq)
        spill(h, w, c, m->next_seq);
}

/* Collected first, because an upcall may leave and so change the patterns. */
static void collect(void *arg, struct mdg_pattern *p)
{
    struct mdg_hub *h = arg;
    for (struct mdg_list *it = p->entries.next; it != &p->entries; it = it->next) {
        if (h->matched_len == h->matched_cap) {
            size_t cap = h->matched_cap ? h->matched_cap * 2 : 16;
            struct mdg_wildcard **more = realloc(h->matched, cap * sizeof(struct mdg_wildcard *));
            if (!more)
                return;
            h->matched = more;
            h->matched_cap = cap;
        }
        h->matched[h->matched_len++] = MDG_CONTAINER_OF(it, struct mdg_wildcard, in_pattern);
    }
}

void mdg_wildcards_give(struct mdg_hub *h, struct mdg_channel *c)
{
    h->matched_len = 0;
    mdg_patterns_match(h->patterns, mdg_channel_name(c), collect, h);
    for (size_t i = 0; i < h->matched_len; i++) {
        if (h->matched[i])
            give(h, h->matched[i], c);
    }
    h->matched_len = 0;
}

static void note_match(void *arg, struct mdg_pattern *p)
{
    (void)p;
    *(bool *)arg = true;
}

bool mdg_wildcards_match(struct mdg_hub *h, struct mdg_slice name)
{
    bool found = false;
    if (mdg_wildcards_any(h))
        mdg_patterns_match(h->patterns, name, note_match, &found);
    return found;
}

void mdg_spills_sweep(struct mdg_hub *h, struct mdg_channel *c)
{
    bool left = false;
    if (!(c->flags & CHANNEL_SPILLS))
        return;
    for (uint32_t i = 0; i < c->slot_count;) {
        struct mdg_member *m = mdg_channel_slots(c)[i];
        bool caught_up = m && m->kind == MEMBER_SPILL && m->state == MEMBER_LIVE;
        left |= m && m->kind == MEMBER_SPILL && !caught_up;
        if (caught_up)
            mdg_spill_free(h, m); /* another one may have moved to this slot */
        else
            i++;
    }
    if (!left)
        c->flags &= (uint16_t)~CHANNEL_SPILLS;
}
