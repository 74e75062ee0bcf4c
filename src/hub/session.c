/* Sessions: their table by id, their expiry, and what comes to one session alone. */
#include "hub/impl.h"
#include <stdlib.h>

struct mdg_session *mdg_session_find(const struct mdg_hub *h, uint64_t id)
{
    struct mdg_session *s = h->sessions[id & h->session_mask];
    while (s && s->id != id)
        s = s->id_next;
    return s;
}

static void grow_table(struct mdg_hub *h)
{
    uint32_t mask = h->session_mask * 2 + 1;
    struct mdg_session **table = calloc((size_t)mask + 1, sizeof *table);
    if (!table)
        return;
    for (size_t i = 0; i <= h->session_mask; i++) {
        for (struct mdg_session *s = h->sessions[i], *next; s; s = next) {
            next = s->id_next;
            s->id_next = table[s->id & mask];
            table[s->id & mask] = s;
        }
    }
    free(h->sessions);
    h->sessions = table;
    h->session_mask = mask;
}

static void watch_at(struct mdg_expiry *e)
{
    const struct mdg_session *s = e->session;
    uint64_t second = s->principal->expires_unix_ms / 1000;
    mdg_list_remove(&e->link);
    mdg_list_push(&s->hub->expiry[second % EXPIRY_BUCKETS], &e->link);
}

static void forget_expiry(struct mdg_session *s)
{
    if (!s->expiry)
        return;
    mdg_list_remove(&s->expiry->link);
    free(s->expiry);
    s->expiry = NULL;
}

/* The second in which it expires names the bucket; the wheel turns once a minute. Without memory
 * for its place there, every session is looked at in each tick until there is. */
static void watch_expiry(struct mdg_session *s)
{
    if (!s->principal->expires_unix_ms) {
        forget_expiry(s);
        return;
    }
    if (!s->expiry) {
        s->expiry = malloc(sizeof *s->expiry);
        if (!s->expiry) {
            s->hub->expiry_lost = true;
            return;
        }
        mdg_list_init(&s->expiry->link);
        s->expiry->session = s;
    }
    watch_at(s->expiry);
}

void mdg_session_init(struct mdg_session *s, struct mdg_hub *h, const struct mdg_session_ops *ops,
                      struct mdg_principal *who)
{
    *s = (struct mdg_session){.ops = ops, .hub = h, .principal = mdg_principal_ref(who)};
    s->id = (uint64_t)h->worker << 56 | ++h->serial;
    if (++h->session_count > CHAIN_LEN * (h->session_mask + 1))
        grow_table(h);
    s->id_next = h->sessions[s->id & h->session_mask];
    h->sessions[s->id & h->session_mask] = s;
    watch_expiry(s);
}

void mdg_session_fini(struct mdg_session *s)
{
    struct mdg_hub *h = s->hub;
    if (!h)
        return;
    while (s->last)
        mdg_hub_leave(mdg_session_first(s));
    struct mdg_session **at = &h->sessions[s->id & h->session_mask];
    while (*at != s)
        at = &(*at)->id_next;
    *at = s->id_next;
    h->session_count--;
    forget_expiry(s);
    mdg_principal_unref(s->principal);
    s->principal = NULL;
    s->hub = NULL;
}

void mdg_hub_each_session(struct mdg_hub *h, void (*fn)(struct mdg_session *s, void *arg),
                          void *arg)
{
    for (size_t i = 0; i <= h->session_mask; i++) {
        for (struct mdg_session *s = h->sessions[i], *next; s; s = next) {
            next = s->id_next;
            fn(s, arg);
        }
    }
}

void mdg_session_set_principal(struct mdg_session *s, struct mdg_principal *who)
{
    struct mdg_principal *old = s->principal;
    s->principal = mdg_principal_ref(who);
    watch_expiry(s);
    if (!mdg_principal_same_user(old, who)) {
        for (struct mdg_member *m = mdg_session_first(s); m; m = mdg_session_next(s, m))
            mdg_member_rename(s->hub, m);
    }
    mdg_principal_unref(old);
}

struct mdg_member *mdg_session_member(const struct mdg_session *s, struct mdg_slice channel)
{
    const struct mdg_channel *c = mdg_channel_find(s->hub, channel);
    struct mdg_member *m = c ? mdg_session_first(s) : NULL;
    while (m && m->channel != c)
        m = mdg_session_next(s, m);
    return m;
}

static bool is_ousted(const struct mdg_session *s, struct mdg_slice name, uint64_t owner)
{
    const struct mdg_principal *who = s->principal;
    return who->home && who->owner == owner && mdg_slice_eq_nocase(mdg_principal_name(who), name);
}

/* The one with the lowest id behind `id` in this bucket. */
static struct mdg_session *next_ousted(const struct mdg_hub *h, size_t at, uint64_t id,
                                       struct mdg_slice name, uint64_t owner)
{
    struct mdg_session *next = NULL;
    for (struct mdg_session *s = h->sessions[at]; s; s = s->id_next) {
        if (s->id > id && (!next || s->id < next->id) && is_ousted(s, name, owner))
            next = s;
    }
    return next;
}

/* A kick may take any session out of the chain: so the way through it goes by ids. There are about
 * two in a bucket; attack: somebody who keeps those of his sessions that meet in one. */
static void oust_bucket(struct mdg_hub *h, size_t at, struct mdg_slice name, uint64_t owner)
{
    uint64_t id = 0;
    struct mdg_session *s;
    while ((s = next_ousted(h, at, id, name, owner))) {
        id = s->id;
        s->ops->kick(s, MDG_E_EXISTS);
    }
}

void mdg_hub_oust(struct mdg_hub *h, struct mdg_slice name, uint64_t owner)
{
    for (size_t at = 0; at <= h->session_mask; at++)
        oust_bucket(h, at, name, owner);
}

static void expire_bucket(struct mdg_hub *h, struct mdg_list *bucket)
{
    struct mdg_list waiting;
    mdg_list_init(&waiting);
    mdg_list_take(&waiting, bucket);
    while (!mdg_list_empty(&waiting)) {
        struct mdg_list *at = mdg_list_first(&waiting);
        struct mdg_session *s = MDG_CONTAINER_OF(at, struct mdg_expiry, link)->session;
        mdg_list_remove(at);
        if (s->principal->expires_unix_ms <= h->unix_ms)
            s->ops->kick(s, MDG_E_EXPIRED);
        else
            mdg_list_push(bucket, at);
    }
}

static void watch_if_lost(struct mdg_session *s, void *arg)
{
    (void)arg;
    if (s->principal->expires_unix_ms && !s->expiry)
        watch_expiry(s);
}

/* Rare (memory was short), so every session is looked at. */
static void find_lost(struct mdg_hub *h)
{
    h->expiry_lost = false;
    mdg_hub_each_session(h, watch_if_lost, NULL);
}

void mdg_sessions_tick(struct mdg_hub *h)
{
    uint64_t now_s = h->unix_ms / 1000;
    if (h->expiry_lost)
        find_lost(h);
    if (h->expiry_s == 0 || h->expiry_s > now_s || now_s - h->expiry_s > EXPIRY_BUCKETS)
        h->expiry_s = now_s < EXPIRY_BUCKETS ? 0 : now_s - EXPIRY_BUCKETS;
    /* The present second's bucket again at every tick: its sessions expire in the middle of it. */
    for (uint64_t second = h->expiry_s; second <= now_s; second++)
        expire_bucket(h, &h->expiry[second % EXPIRY_BUCKETS]);
    h->expiry_s = now_s;
}
