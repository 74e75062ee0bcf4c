/* One session and one member for each binding: a session is small, and none of them counts against
 * the limits of a client. */
#include "hub/durable.h"
#include "base/map.h"
#include "hub/pattern.h"
#include <stdlib.h>

struct mdg_durables {
    struct mdg_hub *hub;
    struct mdg_queues *queues;
    struct mdg_principal *who;
    struct mdg_map bindings; /* by queue */
    struct mdg_queue_waiter waiter;
    uint64_t lost;
};

struct binding {
    struct mdg_durables *all;
    struct mdg_session session;
    struct mdg_member *member;
    uint32_t queue_len;
    uint8_t queue[];
};

static struct mdg_slice queue_of(const struct binding *b)
{
    return mdg_slice(b->queue, b->queue_len);
}

static void joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct binding *b = m->cookie;
    (void)info;
    if (err < 0)
        b->member = NULL; /* out of memory: messages are lost until the binding is made again */
    mdg_queues_bound(b->all->queues, queue_of(b), err);
}

static int deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct binding *b = m->cookie;
    for (size_t i = 0; i < n; i++) {
        struct mdg_content *content = msgs[i]->content;
        if (content->kind == MDG_MSG_PRESENCE)
            continue;
        if (mdg_queue_publish(b->all->queues, queue_of(b), mdg_content_ref(content), MDG_QUEUE_KEEP,
                              &b->all->waiter, 0) < 0)
            b->all->lost++;
    }
    return (int)n;
}

static int gap(struct mdg_member *m, uint64_t from_seq, uint64_t to_seq)
{
    struct binding *b = m->cookie;
    b->all->lost += to_seq - from_seq + 1;
    return 0;
}

static void kick(struct mdg_session *s, int reason)
{
    (void)s;
    (void)reason; /* its member is never full, its principal never expires */
}

static const struct mdg_session_ops ops = {
    .joined = joined, .deliver = deliver, .gap = gap, .kick = kick};

static void published(void *arg, uint64_t cookie, int err)
{
    struct mdg_durables *d = arg;
    (void)cookie;
    d->lost += err < 0;
}

static void free_binding(struct binding *b)
{
    mdg_session_fini(&b->session);
    free(b);
}

static struct binding *new_binding(struct mdg_durables *d, struct mdg_slice queue)
{
    struct binding *b = calloc(1, sizeof *b + queue.len);
    if (!b)
        return NULL;
    b->all = d;
    b->queue_len = (uint32_t)queue.len;
    memcpy(b->queue, queue.data, queue.len);
    mdg_session_init(&b->session, d->hub, &ops, d->who);
    if (mdg_map_put(&d->bindings, queue_of(b), b) == 0)
        return b;
    free_binding(b);
    return NULL;
}

static int bound(void *arg, struct mdg_slice queue, struct mdg_slice source)
{
    struct mdg_durables *d = arg;
    struct binding *b = mdg_map_get(&d->bindings, queue); /* whose join failed */
    if (!b)
        b = new_binding(d, queue);
    if (!b)
        return MDG_E_NO_MEMORY;
    struct mdg_join_options options = {.hidden = true, .cookie = b};
    return mdg_pattern_is(source)
               ? mdg_hub_join_pattern(d->hub, &b->session, source, &options, &b->member)
               : mdg_hub_join(d->hub, &b->session, source, &options, &b->member);
}

static void unbound(void *arg, struct mdg_slice queue)
{
    struct mdg_durables *d = arg;
    struct binding *b = mdg_map_remove(&d->bindings, queue);
    if (b)
        free_binding(b);
}

int mdg_durables_new(struct mdg_hub *hub, struct mdg_queues *queues, const uint64_t seed[2],
                     struct mdg_durables **out)
{
    struct mdg_durables *d = calloc(1, sizeof *d);
    if (!d)
        return MDG_E_NO_MEMORY;
    d->who = mdg_principal_new(MDG_SLICE_LIT("durable"), false, MDG_RIGHT_SUBSCRIBE, 0);
    if (!d->who) {
        free(d);
        return MDG_E_NO_MEMORY;
    }
    d->hub = hub;
    d->queues = queues;
    d->waiter = (struct mdg_queue_waiter){.done = published, .arg = d};
    mdg_list_init(&d->waiter.tickets);
    mdg_map_init(&d->bindings, seed);
    struct mdg_queue_binder binder = {bound, unbound, d};
    mdg_queues_set_binder(queues, &binder);
    *out = d;
    return 0;
}

void mdg_durables_free(struct mdg_durables *d)
{
    if (!d)
        return;
    struct mdg_queue_binder none = {NULL, NULL, NULL};
    size_t at = 0;
    mdg_queues_set_binder(d->queues, &none);
    mdg_queue_waiter_fini(&d->waiter);
    for (struct binding *b; (b = mdg_map_next(&d->bindings, &at)) != NULL;)
        free_binding(b);
    mdg_map_fini(&d->bindings);
    mdg_principal_unref(d->who);
    free(d);
}

uint64_t mdg_durables_lost(const struct mdg_durables *d)
{
    return d->lost;
}
