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

/* The second in which it expires names the bucket; the wheel turns once a minute. */
static void watch_expiry(struct mdg_session *s)
{
    uint64_t expires = s->principal->expires_unix_ms;
    mdg_list_remove(&s->expiry);
    if (expires)
        mdg_list_push(&s->hub->expiry[expires / 1000 % EXPIRY_BUCKETS], &s->expiry);
}

void mdg_session_init(struct mdg_session *s, struct mdg_hub *h, const struct mdg_session_ops *ops,
                      struct mdg_principal *who)
{
    *s = (struct mdg_session){.ops = ops, .hub = h, .principal = mdg_principal_ref(who)};
    s->id = (uint64_t)h->worker << 56 | ++h->serial;
    mdg_list_init(&s->members);
    mdg_list_init(&s->expiry);
    if (++h->session_count > h->session_mask)
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
    while (!mdg_list_empty(&s->members))
        mdg_hub_leave(MDG_CONTAINER_OF(mdg_list_first(&s->members), struct mdg_member, in_session));
    struct mdg_session **at = &h->sessions[s->id & h->session_mask];
    while (*at != s)
        at = &(*at)->id_next;
    *at = s->id_next;
    h->session_count--;
    mdg_list_remove(&s->expiry);
    mdg_principal_unref(s->principal);
    s->principal = NULL;
    s->hub = NULL;
}

void mdg_session_set_principal(struct mdg_session *s, struct mdg_principal *who)
{
    struct mdg_principal *old = s->principal;
    s->principal = mdg_principal_ref(who);
    watch_expiry(s);
    if (!mdg_principal_same_user(old, who)) {
        MDG_LIST_FOR(it, next, &s->members)
        mdg_member_rename(s->hub, MDG_CONTAINER_OF(it, struct mdg_member, in_session));
    }
    mdg_principal_unref(old);
}

struct mdg_member *mdg_session_member(const struct mdg_session *s, struct mdg_slice channel)
{
    const struct mdg_channel *c = mdg_channel_find(s->hub, channel);
    for (struct mdg_list *it = s->members.next; c && it != &s->members; it = it->next) {
        struct mdg_member *m = MDG_CONTAINER_OF(it, struct mdg_member, in_session);
        if (m->channel == c)
            return m;
    }
    return NULL;
}

static void expire_bucket(struct mdg_hub *h, struct mdg_list *bucket)
{
    struct mdg_list waiting;
    mdg_list_init(&waiting);
    mdg_list_take(&waiting, bucket);
    while (!mdg_list_empty(&waiting)) {
        struct mdg_list *at = mdg_list_first(&waiting);
        struct mdg_session *s = MDG_CONTAINER_OF(at, struct mdg_session, expiry);
        mdg_list_remove(at);
        if (s->principal->expires_unix_ms <= h->unix_ms)
            s->ops->kick(s, MDG_E_EXPIRED);
        else
            mdg_list_push(bucket, at);
    }
}

void mdg_sessions_tick(struct mdg_hub *h)
{
    uint64_t now_s = h->unix_ms / 1000;
    if (h->expiry_s == 0 || h->expiry_s > now_s || now_s - h->expiry_s > EXPIRY_BUCKETS)
        h->expiry_s = now_s < EXPIRY_BUCKETS ? 0 : now_s - EXPIRY_BUCKETS;
    /* The present second's bucket again at every tick: its sessions expire in the middle of it. */
    for (uint64_t second = h->expiry_s; second <= now_s; second++)
        expire_bucket(h, &h->expiry[second % EXPIRY_BUCKETS]);
    h->expiry_s = now_s;
}
