/* The worker where a queue lives: order, credit, fairness, redelivery, dead letters, the disk.
 *
 * A message is in exactly one list: `ready` of its queue (in order of id, also after it came back),
 * `unsettled` of a consumer (in order of tag), or `dying` while the dead-letter queue takes it or
 * the disk forgets it. */
#include "hub/queue_impl.h"
#include <stdlib.h>

enum { ANSWERED_LATER = 1 };
enum binding { UNBOUND, BINDING /* the binder has been asked */, BOUND };

struct queue {
    struct mdg_list ready, dying;
    struct mdg_list consumers;
    struct mdg_list able; /* consumers with credit, the one that waited longest first */
    struct mdg_list in_dirty;
    uint64_t next_id, idle_since_ms;
    uint32_t messages;
    uint8_t binding; /* enum binding */
    bool auto_delete;
    struct mdg_list binds; /* operations that are answered once it is bound */
    size_t bytes;
    uint32_t name_len;
    uint8_t name[];
};

struct consumer {
    uint64_t id;
    struct queue *queue; /* NULL: the queue was deleted */
    struct mdg_list in_queue, in_able;
    struct mdg_list unsettled;
    uint32_t prefetch, held;
    uint64_t next_tag;
};

struct item {
    struct mdg_list link;
    struct queue *queue; /* NULL: deleted while it was dying */
    struct mdg_content *content;
    uint64_t id, tag;
    uint64_t last_sub;     /* it came back because this subscription ended; 0: it did not */
    struct mdg_list in_op; /* of a unit: it waits for the disk with this operation */
    uint32_t tries;
    bool kept;   /* the store has it */
    bool held;   /* published in a unit: nobody gets it, nor what comes after it, before it is on
                    the disk */
    bool erased; /* acknowledged in a unit: its removal was noted */
};

static struct item *item_of(struct mdg_list *node)
{
    return MDG_CONTAINER_OF(node, struct item, link);
}

static struct mdg_slice name_of(const struct queue *k)
{
    return mdg_slice(k->name, k->name_len);
}

static void dead_answered(void *arg, uint64_t cookie, int err);

void mdg_queue_owner_init(struct mdg_queues *q, const uint64_t seed[2])
{
    mdg_map_init(&q->queues, seed);
    mdg_map_init(&q->consumers, seed);
    mdg_list_init(&q->dirty);
    mdg_list_init(&q->unsynced);
    mdg_list_init(&q->syncs);
    q->dead_waiter = (struct mdg_queue_waiter){.done = dead_answered, .arg = q};
    mdg_list_init(&q->dead_waiter.tickets);
}

static void mark_dirty(struct mdg_queues *q, struct queue *k)
{
    if (k->in_dirty.next == &k->in_dirty)
        mdg_list_push(&q->dirty, &k->in_dirty);
}

static int find_or_make(struct mdg_queues *q, struct mdg_slice name, struct queue **out)
{
    *out = mdg_map_get(&q->queues, name);
    if (*out)
        return 0;
    struct queue *k = malloc(sizeof *k + name.len);
    if (!k)
        return MDG_E_NO_MEMORY;
    *k = (struct queue){.next_id = 1, .idle_since_ms = q->now_ms, .name_len = (uint32_t)name.len};
    memcpy(k->name, name.data, name.len);
    mdg_list_init(&k->ready);
    mdg_list_init(&k->dying);
    mdg_list_init(&k->consumers);
    mdg_list_init(&k->able);
    mdg_list_init(&k->in_dirty);
    mdg_list_init(&k->binds);
    int err = mdg_map_put(&q->queues, name_of(k), k);
    if (err < 0) {
        free(k);
        return err;
    }
    *out = k;
    return 0;
}

static int find_or_make_bounded(struct mdg_queues *q, struct mdg_slice name, struct queue **out)
{
    *out = mdg_map_get(&q->queues, name);
    if (!*out && q->queues.len >= q->config.queues_max)
        return MDG_E_TOO_BIG;
    return *out ? 0 : find_or_make(q, name, out);
}

/* The message no longer counts in its queue, nor on the disk. */
static void leave_queue(struct mdg_queues *q, struct item *i)
{
    struct queue *k = i->queue;
    mdg_list_remove(&i->link);
    if (!k)
        return;
    if (i->kept && !i->erased && q->config.store.ops &&
        q->config.store.ops->remove(q->config.store.store, name_of(k), i->id) == 0)
        q->noted = true;
    k->messages--;
    k->bytes -= i->content->bytes;
    q->counts.messages--;
    q->counts.bytes -= i->content->bytes;
    k->idle_since_ms = q->now_ms;
    i->queue = NULL;
}

static void forget_item(struct mdg_queues *q, struct item *i)
{
    leave_queue(q, i);
    mdg_list_remove(&i->in_op);
    mdg_content_unref(i->content);
    free(i);
}

static void forget_items(struct mdg_queues *q, struct mdg_list *items)
{
    MDG_LIST_FOR(node, next, items)
    forget_item(q, item_of(node));
}

static void set_able(struct consumer *c)
{
    bool able = c->queue && c->held < c->prefetch;
    bool listed = c->in_able.next != &c->in_able;
    if (able && !listed)
        mdg_list_push(&c->queue->able, &c->in_able);
    else if (!able)
        mdg_list_remove(&c->in_able);
}

/* Dead letters. The message stays with its old queue until the new one has it (on the disk, where
 * there is one), so that a crash in between loses nothing. */

static void dead_answered(void *arg, uint64_t cookie, int err)
{
    (void)err; /* refused (say, full): it is lost, as a message without a dead-letter queue is */
    forget_item(arg, (struct item *)(uintptr_t)cookie);
}

/* The item is in no list. */
static void bury(struct mdg_queues *q, struct item *i, struct mdg_slice why)
{
    struct mdg_slice dead_to = q->config.dead_to;
    q->counts.dead++;
    mdg_list_init(&i->link);
    if (dead_to.len == 0 || mdg_slice_eq(dead_to, name_of(i->queue))) {
        forget_item(q, i);
        return;
    }
    struct mdg_content *c = mdg_queue_dead_letter(i->content, dead_to, why);
    mdg_list_push(&i->queue->dying, &i->link);
    if (!c || mdg_queue_publish(q, dead_to, c, i->kept ? MDG_QUEUE_KEEP : 0, &q->dead_waiter,
                                (uint64_t)(uintptr_t)i) < 0)
        forget_item(q, i);
}

/* Back among the ready ones, before those that came after it. Messages come back oldest last, so
 * the search from the front is short. */
static void requeue(struct mdg_queues *q, struct item *i)
{
    struct queue *k = i->queue;
    if (q->config.tries_max && i->tries >= q->config.tries_max &&
        !mdg_slice_eq(q->config.dead_to, name_of(k))) {
        bury(q, i, MDG_SLICE_LIT("delivered too often"));
        return;
    }
    struct mdg_list *at = k->ready.next;
    while (at != &k->ready && item_of(at)->id < i->id)
        at = at->next;
    mdg_list_push(at, &i->link); /* before `at`: a list head is any node */
    mark_dirty(q, k);
}

/* Acknowledged in a unit: it comes back if the unit cannot be written. */
static void erase(struct mdg_queues *q, struct item *i, struct mdg_queue_op *op)
{
    const struct mdg_queue_store *store = &q->config.store;
    i->erased = i->kept && store->ops->remove(store->store, name_of(i->queue), i->id) == 0;
    mdg_list_push(&i->queue->dying, &i->link);
    mdg_list_push(&op->items, &i->in_op);
}

/* op: of a unit, or NULL. */
static void dispose(struct mdg_queues *q, struct item *i, enum mdg_settle how,
                    struct mdg_queue_op *op)
{
    mdg_list_remove(&i->link);
    if (how == MDG_SETTLE_ACK && op)
        erase(q, i, op);
    else if (how == MDG_SETTLE_ACK)
        forget_item(q, i);
    else if (how == MDG_SETTLE_DEAD)
        bury(q, i, MDG_SLICE_LIT("rejected"));
    else
        requeue(q, i);
}

static void settle_item(struct mdg_queues *q, struct consumer *c, struct item *i,
                        enum mdg_settle how, struct mdg_queue_op *op)
{
    c->held--;
    dispose(q, i, how, op);
}

/* What came back stands near the front, for it is old: the search is bounded. */
static int settle_late(struct mdg_queues *q, struct mdg_queue_op *op)
{
    enum { STEPS_MAX = 4096 };
    struct queue *k = mdg_map_get(&q->queues, mdg_queue_op_name(op));
    bool found = false;
    int steps = 0;
    if (!k)
        return MDG_E_NOT_FOUND;
    MDG_LIST_FOR(node, next, &k->ready)
    {
        struct item *i = item_of(node);
        if (++steps > STEPS_MAX)
            break;
        if (i->last_sub != op->sub || (op->cumulative ? i->tag > op->number : i->tag != op->number))
            continue;
        found = true;
        i->last_sub = 0;
        dispose(q, i, (enum mdg_settle)op->how, op->unit ? op : NULL);
    }
    return found ? 0 : MDG_E_NOT_FOUND;
}

static int settle(struct mdg_queues *q, struct mdg_queue_op *op)
{
    struct mdg_queue_op *of_unit = op->unit ? op : NULL;
    struct consumer *c = mdg_map_get(&q->consumers, mdg_slice(&op->sub, sizeof op->sub));
    bool found = false;
    if (!c && op->name_len)
        return settle_late(q, op);
    if (!c || !c->queue)
        return MDG_E_NOT_FOUND;
    /* From the newest, so that what is requeued comes back oldest last; a single acknowledgement
     * is usually of the oldest, and is looked for from there. */
    if (op->cumulative) {
        for (struct mdg_list *node = c->unsettled.prev, *prev; node != &c->unsettled; node = prev) {
            prev = node->prev;
            if (item_of(node)->tag > op->number)
                continue;
            settle_item(q, c, item_of(node), (enum mdg_settle)op->how, of_unit);
            found = true;
        }
    } else {
        MDG_LIST_FOR(node, next, &c->unsettled)
        {
            if (item_of(node)->tag < op->number)
                continue;
            found = item_of(node)->tag == op->number;
            if (found)
                settle_item(q, c, item_of(node), (enum mdg_settle)op->how, of_unit);
            break;
        }
    }
    set_able(c);
    mark_dirty(q, c->queue);
    return found ? 0 : MDG_E_NOT_FOUND;
}

static int add_item(struct mdg_queues *q, struct queue *k, uint64_t id, struct mdg_content *content,
                    struct item **out)
{
    struct item *i = calloc(1, sizeof *i);
    if (!i)
        return MDG_E_NO_MEMORY;
    i->queue = k;
    i->id = id;
    i->content = content;
    mdg_list_init(&i->in_op);
    mdg_list_push(&k->ready, &i->link);
    k->messages++;
    k->bytes += content->bytes;
    q->counts.messages++;
    q->counts.bytes += content->bytes;
    mark_dirty(q, k);
    *out = i;
    return 0;
}

static bool is_full(const struct mdg_queues *q, const struct queue *k, size_t more)
{
    /* An empty queue takes one message of any allowed size. */
    return k->messages >= q->config.messages_max ||
           k->bytes + more > mdg_max_size(q->config.bytes_max, more) ||
           q->counts.bytes + more > q->config.bytes_total_max;
}

static int publish(struct mdg_queues *q, struct mdg_queue_op *op)
{
    struct queue *k;
    struct item *i = NULL;
    int err = find_or_make_bounded(q, mdg_queue_op_name(op), &k);
    if (err == 0 && is_full(q, k, op->content->bytes))
        err = MDG_E_FULL;
    if (err == 0)
        err = add_item(q, k, k->next_id, op->content, &i);
    if (err < 0)
        return err;
    op->content = NULL;
    k->next_id++;
    q->counts.published++;
    i->held = op->unit != NULL;
    if (i->held)
        mdg_list_push(&op->items, &i->in_op);
    if (!(op->flags & MDG_QUEUE_KEEP) || !q->config.store.ops)
        return 0;
    err = q->config.store.ops->put(q->config.store.store, name_of(k), i->id, i->content);
    if (err < 0) {
        forget_item(q, i);
        return err;
    }
    i->kept = true;
    q->noted = true;
    return 0;
}

static int attach(struct mdg_queues *q, const struct mdg_queue_op *op)
{
    struct queue *k;
    int err = find_or_make_bounded(q, mdg_queue_op_name(op), &k);
    struct consumer *c = err < 0 ? NULL : calloc(1, sizeof *c);
    if (!c)
        return err < 0 ? err : MDG_E_NO_MEMORY;
    c->id = op->sub;
    c->queue = k;
    c->prefetch = (uint32_t)op->number;
    c->next_tag = 1;
    mdg_list_init(&c->unsettled);
    mdg_list_init(&c->in_able);
    err = mdg_map_put(&q->consumers, mdg_slice(&c->id, sizeof c->id), c);
    if (err < 0) {
        free(c);
        return err;
    }
    if (op->flags & MDG_QUEUE_AUTO_DELETE)
        k->auto_delete = true;
    mdg_list_push(&k->consumers, &c->in_queue);
    set_able(c);
    mark_dirty(q, k);
    return 0;
}

static void settle_op(struct mdg_queues *q, struct mdg_queue_op *op, int err);

static void delete_queue(struct mdg_queues *q, struct queue *k)
{
    MDG_LIST_FOR(node, next, &k->binds)
    {
        mdg_list_remove(node);
        settle_op(q, MDG_CONTAINER_OF(node, struct mdg_queue_op, link), MDG_E_NOT_FOUND);
    }
    forget_items(q, &k->ready);
    MDG_LIST_FOR(node, next, &k->dying)
    leave_queue(q, item_of(node)); /* dead_answered frees it */
    MDG_LIST_FOR(node, next, &k->consumers)
    {
        struct consumer *c = MDG_CONTAINER_OF(node, struct consumer, in_queue);
        forget_items(q, &c->unsettled);
        mdg_list_remove(&c->in_able);
        mdg_list_remove(&c->in_queue);
        c->queue = NULL;
    }
    if (k->binding != UNBOUND) {
        q->binder.unbound(q->binder.arg, name_of(k));
        if (q->config.store.ops &&
            q->config.store.ops->forget(q->config.store.store, name_of(k)) == 0)
            q->noted = true;
    }
    mdg_list_remove(&k->in_dirty);
    mdg_map_remove(&q->queues, name_of(k));
    free(k);
}

static void detach(struct mdg_queues *q, const struct mdg_queue_op *op)
{
    struct consumer *c = mdg_map_remove(&q->consumers, mdg_slice(&op->sub, sizeof op->sub));
    if (!c)
        return; /* the attach had failed */
    struct queue *k = c->queue;
    if (k) {
        while (!mdg_list_empty(&c->unsettled)) {
            item_of(c->unsettled.prev)->last_sub = c->id;
            settle_item(q, c, item_of(c->unsettled.prev), MDG_SETTLE_REQUEUE, NULL);
        }
        mdg_list_remove(&c->in_able);
        mdg_list_remove(&c->in_queue);
        k->idle_since_ms = q->now_ms;
        if (k->auto_delete && mdg_list_empty(&k->consumers))
            delete_queue(q, k);
    }
    free(c);
}

/* op: whom to answer when it is done; NULL: it comes from the store. */
static int bind_queue(struct mdg_queues *q, struct mdg_slice name, struct mdg_slice source,
                      struct mdg_queue_op *op)
{
    struct queue *k;
    int err = q->binder.bound ? find_or_make(q, name, &k) : MDG_E_UNSUPPORTED;
    if (err < 0)
        return err;
    if (k->binding == BOUND)
        return 0;
    if (k->binding == UNBOUND) {
        err = q->binder.bound(q->binder.arg, name, source);
        if (err < 0)
            return err;
        k->binding = BINDING;
        if (op && q->config.store.ops) {
            err = q->config.store.ops->bind(q->config.store.store, name, source);
            q->noted = true;
        }
    }
    if (err < 0 || !op)
        return err;
    mdg_list_push(&k->binds, &op->link);
    return ANSWERED_LATER;
}

void mdg_queues_bound(struct mdg_queues *q, struct mdg_slice queue, int err)
{
    struct queue *k = mdg_map_get(&q->queues, queue);
    if (!k || k->binding != BINDING)
        return;
    k->binding = err < 0 ? UNBOUND : BOUND;
    MDG_LIST_FOR(node, next, &k->binds)
    {
        struct mdg_queue_op *op = MDG_CONTAINER_OF(node, struct mdg_queue_op, link);
        mdg_list_remove(node);
        if (err < 0 || !op->ticket || !q->config.store.ops) {
            settle_op(q, op, err);
            continue;
        }
        mdg_list_push(&q->unsynced, &op->link); /* the disk was told, and may not have it yet */
        q->noted = true;
    }
    if (q->noted && q->pending)
        q->pending(q->pending_arg);
}

static int perform(struct mdg_queues *q, struct mdg_queue_op *op)
{
    if (op->kind == MDG_QOP_PUBLISH)
        return publish(q, op);
    if (op->kind == MDG_QOP_ATTACH)
        return attach(q, op);
    if (op->kind == MDG_QOP_SETTLE)
        return settle(q, op);
    if (op->kind == MDG_QOP_BIND)
        return bind_queue(q, mdg_queue_op_name(op), mdg_queue_op_source(op), op);
    if (op->kind == MDG_QOP_DETACH) {
        detach(q, op);
        return 0;
    }
    struct queue *k = mdg_map_get(&q->queues, mdg_queue_op_name(op));
    if (!k)
        return MDG_E_NOT_FOUND;
    delete_queue(q, k);
    return 0;
}

/* What was done for a unit is seen once it is on the disk, or is undone. */
static void resolve_item(struct mdg_queues *q, struct item *i, bool written)
{
    bool published = i->held;
    mdg_list_remove(&i->in_op);
    i->held = false;
    if (!i->queue || published != written) {
        forget_item(q, i);
    } else if (published) {
        mark_dirty(q, i->queue);
    } else {
        mdg_list_remove(&i->link);
        i->erased = false;
        requeue(q, i);
    }
}

/* The operation's outcome is known. */
static void settle_op(struct mdg_queues *q, struct mdg_queue_op *op, int err)
{
    if (op->unit && err == 0)
        err = atomic_load(&op->unit->err);
    MDG_LIST_FOR(node, next, &op->items)
    resolve_item(q, MDG_CONTAINER_OF(node, struct item, in_op), err == 0);
    mdg_queue_answer(q, op, err);
}

static int perform_part(struct mdg_queues *q, struct mdg_queue_op *op)
{
    const struct mdg_queue_store *store = &q->config.store;
    store->ops->enter(store->store, op->unit);
    int err = perform(q, op);
    if (err < 0)
        mdg_queue_unit_fail(op->unit, err);
    store->ops->leave(store->store);
    q->noted = true;
    return err;
}

void mdg_queue_owner_do(struct mdg_queues *q, struct mdg_queue_op *op)
{
    bool was_noted = q->noted;
    q->noted = false;
    int err = op->unit ? perform_part(q, op) : perform(q, op);
    bool noted = q->noted;
    q->noted |= was_noted;
    if (err == ANSWERED_LATER)
        return;
    if (err == 0 && noted && (op->ticket || op->unit))
        mdg_list_push(&q->unsynced, &op->link); /* answered when the disk has it */
    else
        settle_op(q, op, err);
}

static bool hand_out(struct mdg_queues *q, struct queue *k)
{
    struct mdg_slice none = {NULL, 0};
    struct mdg_queue_op *op = mdg_queue_op_new(q, MDG_QOP_DELIVER, none, none);
    if (!op)
        return false;
    struct item *i = item_of(mdg_list_first(&k->ready));
    struct consumer *c = MDG_CONTAINER_OF(mdg_list_first(&k->able), struct consumer, in_able);
    mdg_list_remove(&i->link);
    mdg_list_remove(&c->in_able);
    mdg_list_push(&c->unsettled, &i->link);
    c->held++;
    set_able(c); /* to the end of the row */
    i->tag = c->next_tag++;
    i->last_sub = 0;
    op->err = i->tries > 0; /* redelivered */
    i->tries++;
    op->sub = c->id;
    op->number = i->tag;
    op->content = mdg_content_ref(i->content);
    q->counts.delivered++;
    q->counts.redelivered += op->err > 0;
    mdg_queue_post(q, (unsigned)(c->id >> 56), op);
    return true;
}

/* What waits for one answer of the disk. */
struct batch {
    struct mdg_list in_syncs;
    struct mdg_queues *q;
    struct mdg_list ops;
};

static void synced(void *arg, int err)
{
    struct batch *b = arg;
    mdg_list_remove(&b->in_syncs);
    MDG_LIST_FOR(node, next, &b->ops)
    {
        mdg_list_remove(node);
        settle_op(b->q, MDG_CONTAINER_OF(node, struct mdg_queue_op, link), err);
    }
    free(b);
}

static void ask_for_sync(struct mdg_queues *q)
{
    struct batch *b = malloc(sizeof *b);
    if (!b)
        return; /* tried again next turn */
    b->q = q;
    mdg_list_init(&b->ops);
    mdg_list_take(&b->ops, &q->unsynced);
    mdg_list_push(&q->syncs, &b->in_syncs);
    q->noted = false;
    int err = q->config.store.ops->sync(q->config.store.store, synced, b);
    if (err < 0)
        synced(b, err);
}

void mdg_queue_owner_turn(struct mdg_queues *q, size_t *budget)
{
    while (*budget && !mdg_list_empty(&q->dirty)) {
        struct queue *k = MDG_CONTAINER_OF(mdg_list_first(&q->dirty), struct queue, in_dirty);
        if (mdg_list_empty(&k->ready) || mdg_list_empty(&k->able) ||
            item_of(mdg_list_first(&k->ready))->held) {
            mdg_list_remove(&k->in_dirty);
            continue;
        }
        --*budget;
        if (!hand_out(q, k))
            break; /* out of memory: the queue stays dirty */
    }
    if (q->noted)
        ask_for_sync(q);
}

void mdg_queues_tick(struct mdg_queues *q, uint64_t now_ms)
{
    enum { A_TICK = 256 /* the map must not change while it is walked: the rest waits */ };
    struct queue *idle[A_TICK];
    size_t at = 0, n = 0;
    q->now_ms = now_ms;
    for (struct queue *k; n < A_TICK && (k = mdg_map_next(&q->queues, &at)) != NULL;) {
        if (k->messages == 0 && k->binding == UNBOUND && mdg_list_empty(&k->consumers) &&
            now_ms - k->idle_since_ms >= (uint64_t)q->config.idle_s * 1000)
            idle[n++] = k;
    }
    for (size_t i = 0; i < n; i++)
        delete_queue(q, idle[i]);
}

void mdg_queues_set_binder(struct mdg_queues *q, const struct mdg_queue_binder *binder)
{
    q->binder = *binder;
}

/* Limits are not asked: what the disk has was let in once, and its ids must stay taken. */
static void load_message(void *arg, struct mdg_slice queue, uint64_t id,
                         struct mdg_content *content)
{
    struct mdg_queues *q = arg;
    struct queue *k;
    struct item *i;
    if (mdg_queue_owner(q, queue) != q->config.worker || find_or_make(q, queue, &k) < 0 ||
        add_item(q, k, id, content, &i) < 0) {
        mdg_content_unref(content); /* another worker's; or out of memory: it stays on the disk */
        return;
    }
    i->tries = 1; /* nobody knows whether it was delivered before: "redelivered" is honest */
    i->kept = true;
    if (id >= k->next_id)
        k->next_id = id + 1;
}

static void load_binding(void *arg, struct mdg_slice queue, struct mdg_slice source)
{
    struct mdg_queues *q = arg;
    if (mdg_queue_owner(q, queue) == q->config.worker)
        (void)bind_queue(q, queue, source, NULL); /* out of memory: tried again when it is used */
}

int mdg_queues_load(struct mdg_queues *q)
{
    if (!q->config.store.ops)
        return 0;
    return q->config.store.ops->load(q->config.store.store, load_message, load_binding, q);
}

/* Nobody will hear of these operations any more. */
static void drop_unsynced(struct mdg_queues *q, struct mdg_list *ops)
{
    MDG_LIST_FOR(node, next, ops)
    {
        struct mdg_queue_op *op = MDG_CONTAINER_OF(node, struct mdg_queue_op, link);
        for (struct mdg_list *at; (at = mdg_list_first(&op->items)) != NULL;) {
            struct item *i = MDG_CONTAINER_OF(at, struct item, in_op);
            mdg_list_remove(at);
            if (!i->queue)
                forget_item(q, i);
        }
    }
    mdg_queue_drop_ops(ops);
}

void mdg_queue_owner_fini(struct mdg_queues *q)
{
    size_t at = 0;
    mdg_queue_waiter_fini(&q->dead_waiter);
    drop_unsynced(q, &q->unsynced);
    MDG_LIST_FOR(node, next, &q->syncs)
    {
        struct batch *b = MDG_CONTAINER_OF(node, struct batch, in_syncs);
        drop_unsynced(q, &b->ops);
        free(b);
    }
    /* The store keeps what it has: only memory is freed here. */
    q->config.store.ops = NULL;
    struct queue *k;
    while ((k = mdg_map_next(&q->queues, &at)) != NULL) {
        MDG_LIST_FOR(node, next, &k->dying)
        forget_item(q, item_of(node));
        k->binding = UNBOUND;
        drop_unsynced(q, &k->binds);
        delete_queue(q, k);
        at = 0;
    }
    mdg_map_fini(&q->queues);
    at = 0;
    for (struct consumer *c; (c = mdg_map_next(&q->consumers, &at)) != NULL;)
        free(c);
    mdg_map_fini(&q->consumers);
}
