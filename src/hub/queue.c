/* The side of subscribers and publishers: operations go out, deliveries and answers come in. */
#include "hub/queue_impl.h"
#include <stdlib.h>

enum { TURN_BUDGET = 4096 /* operations; the loop gets its turn in between */ };

struct mdg_queue_op *mdg_queue_op_new(const struct mdg_queues *q, enum mdg_queue_op_kind kind,
                                      struct mdg_slice name, struct mdg_slice source)
{
    struct mdg_queue_op *op = malloc(sizeof *op + name.len + source.len);
    if (!op)
        return NULL;
    *op = (struct mdg_queue_op){.kind = (uint8_t)kind,
                                .from = (uint8_t)q->config.worker,
                                .name_len = (uint32_t)name.len,
                                .source_len = (uint32_t)source.len};
    mdg_list_init(&op->items);
    if (name.len)
        memcpy(op->name, name.data, name.len);
    if (source.len)
        memcpy(op->name + name.len, source.data, source.len);
    return op;
}

void mdg_queue_op_free(struct mdg_queue_op *op)
{
    if (!op)
        return;
    assert(mdg_list_empty(&op->items));
    mdg_content_unref(op->content);
    mdg_queue_unit_unref(op->unit);
    free(op);
}

void mdg_queue_op_drop(struct mdg_queue_op *op)
{
    if (op->ticket) {
        mdg_list_remove(&op->ticket->in_waiter);
        free(op->ticket);
    }
    mdg_queue_op_free(op);
}

void mdg_queue_drop_ops(struct mdg_list *ops)
{
    MDG_LIST_FOR(node, next, ops)
    {
        mdg_list_remove(node);
        mdg_queue_op_drop(MDG_CONTAINER_OF(node, struct mdg_queue_op, link));
    }
}

unsigned mdg_queue_owner(const struct mdg_queues *q, struct mdg_slice queue)
{
    /* The same on every worker, hence no secret seed: an attacker gains an uneven load at most. */
    static const uint64_t seed[2] = {0x6d6164616e672121u, 0x7175657565732121u};
    if (q->config.worker_count <= 1)
        return q->config.worker;
    return (unsigned)(mdg_siphash(seed, queue) % q->config.worker_count);
}

void mdg_queues_accept(struct mdg_queues *q, struct mdg_queue_op *op)
{
    mdg_list_push(&q->inbox, &op->link);
    if (q->pending)
        q->pending(q->pending_arg);
}

void mdg_queue_post(struct mdg_queues *q, unsigned worker, struct mdg_queue_op *op)
{
    if (worker == q->config.worker)
        mdg_queues_accept(q, op);
    else
        q->config.post(q->config.post_arg, worker, op);
}

int mdg_queues_new(const struct mdg_queues_config *config, const uint64_t seed[2],
                   struct mdg_queues **out)
{
    struct mdg_queues *q = calloc(1, sizeof *q);
    if (!q)
        return MDG_E_NO_MEMORY;
    assert(config->worker_count <= 1 || config->post);
    assert(config->prefetch_max > 0);
    q->config = *config;
    mdg_list_init(&q->inbox);
    mdg_map_init(&q->subs, seed);
    q->next_sub = 1;
    mdg_queue_owner_init(q, seed);
    *out = q;
    return 0;
}

void mdg_queues_free(struct mdg_queues *q)
{
    if (!q)
        return;
    mdg_queue_owner_fini(q); /* may send operations: dead letters */
    mdg_queue_drop_ops(&q->inbox);
    assert(q->subs.len == 0);
    mdg_map_fini(&q->subs);
    free(q);
}

void mdg_queues_on_pending(struct mdg_queues *q, void (*fn)(void *arg), void *arg)
{
    q->pending = fn;
    q->pending_arg = arg;
}

/* Adds a ticket to the operation where somebody waits. */
static int add_ticket(struct mdg_queue_op *op, struct mdg_queue_waiter *waiter, uint64_t cookie)
{
    if (!waiter)
        return 0;
    op->ticket = malloc(sizeof *op->ticket);
    if (!op->ticket)
        return MDG_E_NO_MEMORY;
    op->ticket->waiter = waiter;
    op->ticket->cookie = cookie;
    mdg_list_push(&waiter->tickets, &op->ticket->in_waiter);
    return 0;
}

static int send_op(struct mdg_queues *q, unsigned worker, struct mdg_queue_op *op,
                   struct mdg_queue_waiter *waiter, uint64_t cookie)
{
    int err = op ? add_ticket(op, waiter, cookie) : MDG_E_NO_MEMORY;
    if (err < 0) {
        mdg_queue_op_free(op);
        if (q->unit)
            mdg_queue_unit_fail(q->unit, err);
        return err;
    }
    mdg_queue_unit_join(q, op);
    mdg_queue_post(q, worker, op);
    return 0;
}

void mdg_queue_waiter_fini(struct mdg_queue_waiter *waiter)
{
    MDG_LIST_FOR(node, next, &waiter->tickets)
    {
        MDG_CONTAINER_OF(node, struct mdg_queue_ticket, in_waiter)->waiter = NULL;
        mdg_list_remove(node);
    }
}

void mdg_queue_answer(struct mdg_queues *q, struct mdg_queue_op *op, int err)
{
    mdg_content_unref(op->content);
    op->content = NULL;
    if (!op->ticket) {
        mdg_queue_op_free(op);
        return;
    }
    op->kind = MDG_QOP_DONE;
    op->err = err;
    mdg_queue_post(q, op->from, op);
}

static void take_answer(struct mdg_queue_op *op)
{
    struct mdg_queue_ticket *t = op->ticket;
    mdg_list_remove(&t->in_waiter);
    if (t->waiter)
        t->waiter->done(t->waiter->arg, t->cookie, op->err);
    free(t);
    mdg_queue_op_free(op);
}

int mdg_queue_publish(struct mdg_queues *q, struct mdg_slice queue, struct mdg_content *content,
                      unsigned flags, struct mdg_queue_waiter *waiter, uint64_t cookie)
{
    struct mdg_slice none = {NULL, 0};
    struct mdg_queue_op *op = mdg_queue_op_new(q, MDG_QOP_PUBLISH, queue, none);
    if (op) {
        op->content = content;
        op->flags = (uint8_t)flags;
    } else {
        mdg_content_unref(content);
    }
    return send_op(q, mdg_queue_owner(q, queue), op, waiter, cookie);
}

static struct mdg_slice sub_key(const struct mdg_queue_sub *sub)
{
    return mdg_slice(&sub->id, sizeof sub->id);
}

int mdg_queue_subscribe(struct mdg_queues *q, struct mdg_queue_sub *sub, struct mdg_slice queue,
                        uint32_t prefetch, unsigned flags, struct mdg_queue_waiter *waiter,
                        uint64_t cookie)
{
    struct mdg_slice none = {NULL, 0};
    struct mdg_queue_op *op = mdg_queue_op_new(q, MDG_QOP_ATTACH, queue, none);
    sub->leave = mdg_queue_op_new(q, MDG_QOP_DETACH, none, none);
    sub->queues = q;
    sub->id = (uint64_t)q->config.worker << 56 | q->next_sub;
    sub->owner = (uint8_t)mdg_queue_owner(q, queue);
    sub->blocked = false;
    mdg_list_init(&sub->waiting);
    int err = op && sub->leave ? mdg_map_put(&q->subs, sub_key(sub), sub) : MDG_E_NO_MEMORY;
    if (err < 0) {
        mdg_queue_op_free(op);
        mdg_queue_op_free(sub->leave);
        sub->leave = NULL;
        return err;
    }
    q->next_sub++;
    sub->leave->sub = op->sub = sub->id;
    op->number = prefetch && prefetch < q->config.prefetch_max ? prefetch : q->config.prefetch_max;
    op->flags = (uint8_t)flags;
    err = send_op(q, sub->owner, op, waiter, cookie);
    if (err < 0) {
        mdg_map_remove(&q->subs, sub_key(sub));
        mdg_queue_op_free(sub->leave);
        sub->leave = NULL;
    }
    return err;
}

void mdg_queue_unsubscribe(struct mdg_queue_sub *sub)
{
    if (!sub->leave)
        return;
    mdg_map_remove(&sub->queues->subs, sub_key(sub));
    mdg_queue_drop_ops(&sub->waiting);
    mdg_queue_post(sub->queues, sub->owner, sub->leave);
    sub->leave = NULL;
}

static struct mdg_queue_op *new_settle(const struct mdg_queues *q, struct mdg_slice queue,
                                       uint64_t sub, uint64_t tag, enum mdg_settle how,
                                       bool cumulative)
{
    struct mdg_slice none = {NULL, 0};
    struct mdg_queue_op *op = mdg_queue_op_new(q, MDG_QOP_SETTLE, queue, none);
    if (op) {
        op->sub = sub;
        op->number = tag;
        op->how = (uint8_t)how;
        op->cumulative = cumulative;
    }
    return op;
}

int mdg_queue_settle(struct mdg_queue_sub *sub, uint64_t tag, enum mdg_settle how, bool cumulative,
                     struct mdg_queue_waiter *waiter, uint64_t cookie)
{
    struct mdg_slice none = {NULL, 0};
    return send_op(sub->queues, sub->owner,
                   new_settle(sub->queues, none, sub->id, tag, how, cumulative), waiter, cookie);
}

int mdg_queue_settle_late(struct mdg_queues *q, struct mdg_slice queue, uint64_t sub, uint64_t tag,
                          enum mdg_settle how, bool cumulative, struct mdg_queue_waiter *waiter,
                          uint64_t cookie)
{
    return send_op(q, mdg_queue_owner(q, queue), new_settle(q, queue, sub, tag, how, cumulative),
                   waiter, cookie);
}

int mdg_queue_delete(struct mdg_queues *q, struct mdg_slice queue, struct mdg_queue_waiter *waiter,
                     uint64_t cookie)
{
    struct mdg_slice none = {NULL, 0};
    return send_op(q, mdg_queue_owner(q, queue), mdg_queue_op_new(q, MDG_QOP_DELETE, queue, none),
                   waiter, cookie);
}

int mdg_queue_bind(struct mdg_queues *q, struct mdg_slice queue, struct mdg_slice source,
                   struct mdg_queue_waiter *waiter, uint64_t cookie)
{
    return send_op(q, mdg_queue_owner(q, queue), mdg_queue_op_new(q, MDG_QOP_BIND, queue, source),
                   waiter, cookie);
}

/* False: the subscriber has no room; the operation stays with it. */
static bool offer(struct mdg_queue_sub *sub, struct mdg_queue_op *op)
{
    struct mdg_delivery d = {op->number, op->content, op->err > 0};
    if (sub->ops->deliver(sub, &d) == MDG_E_FULL)
        return false;
    mdg_queue_op_free(op);
    return true;
}

static void take_delivery(struct mdg_queues *q, struct mdg_queue_op *op)
{
    struct mdg_queue_sub *sub = mdg_map_get(&q->subs, mdg_slice(&op->sub, sizeof op->sub));
    if (!sub) {
        mdg_queue_op_free(op); /* unsubscribed meanwhile: the owner requeues it */
        return;
    }
    if (sub->blocked || !offer(sub, op)) {
        sub->blocked = true;
        mdg_list_push(&sub->waiting, &op->link);
    }
}

/* The deliveries wait in the inbox again, in front, so that the upcalls come from the turn. */
void mdg_queue_resume(struct mdg_queue_sub *sub)
{
    if (!sub->leave || !sub->blocked)
        return;
    sub->blocked = false;
    struct mdg_list *inbox = &sub->queues->inbox;
    if (mdg_list_empty(&sub->waiting))
        return;
    struct mdg_list rest;
    mdg_list_init(&rest);
    mdg_list_take(&rest, inbox);
    mdg_list_take(inbox, &sub->waiting);
    MDG_LIST_FOR(node, next, &rest)
    mdg_list_push(inbox, (mdg_list_remove(node), node));
    if (sub->queues->pending)
        sub->queues->pending(sub->queues->pending_arg);
}

bool mdg_queues_turn(struct mdg_queues *q)
{
    size_t budget = TURN_BUDGET;
    do {
        struct mdg_list *node;
        while (budget && (node = mdg_list_first(&q->inbox)) != NULL) {
            struct mdg_queue_op *op = MDG_CONTAINER_OF(node, struct mdg_queue_op, link);
            mdg_list_remove(node);
            budget--;
            if (op->kind == MDG_QOP_DELIVER)
                take_delivery(q, op);
            else if (op->kind == MDG_QOP_DONE)
                take_answer(op);
            else
                mdg_queue_owner_do(q, op);
        }
        mdg_queue_owner_turn(q, &budget);
    } while (budget && !mdg_list_empty(&q->inbox));
    return budget == 0;
}

void mdg_queues_count(const struct mdg_queues *q, struct mdg_queues_counts *out)
{
    *out = q->counts;
    out->queues = q->queues.len;
}
