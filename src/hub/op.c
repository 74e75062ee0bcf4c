/* Operations: made, sent to a worker, answered, freed. */
#include "hub/impl.h"
#include <stdlib.h>

static_assert(offsetof(struct mdg_leave, small) == offsetof(struct mdg_op, small),
              "a leave begins like every operation");

struct mdg_op *mdg_op_new(struct mdg_hub *h, enum mdg_op_kind kind, struct mdg_slice name)
{
    struct mdg_op *op = calloc(1, sizeof *op + name.len);
    if (!op)
        return NULL;
    assert(name.len <= UINT16_MAX);
    op->kind = (uint8_t)kind;
    op->asker = (uint8_t)h->worker;
    op->open = 1;
    op->name_len = (uint16_t)name.len;
    if (name.len)
        memcpy(op->name, name.data, name.len);
    mdg_list_init(&op->in_asked);
    return op;
}

void mdg_op_free(struct mdg_op *op)
{
    if (!op)
        return;
    if (!op->small) {
        mdg_list_remove(&op->in_asked);
        mdg_content_unref(op->content);
        mdg_principal_unref(op->who);
        for (size_t i = 0; i < op->item_count; i++)
            mdg_content_unref(op->items[i].content);
        for (size_t i = 0; i < op->principal_count; i++)
            mdg_principal_unref(op->principals[i]);
        free(op->items);
        free(op->principals);
        free(op->rooms);
        free(op->names);
        free(op->leave);
        mdg_op_free_chain(op->merged);
    }
    free(op);
}

void mdg_op_free_chain(struct mdg_op *chain)
{
    while (chain) {
        struct mdg_op *next = chain->next;
        chain->next = NULL;
        mdg_op_free(chain);
        chain = next;
    }
}

struct mdg_op **mdg_op_parcel_link(struct mdg_op *chain)
{
    return &chain->next_parcel;
}

static void queue_push(struct mdg_ops_queue *q, struct mdg_op *op)
{
    op->next = NULL;
    if (q->last)
        q->last->next = op;
    else
        q->first = op;
    q->last = op;
}

void mdg_op_send(struct mdg_hub *h, unsigned to, struct mdg_op *op)
{
    assert(to < h->workers);
    queue_push(to == h->worker ? &h->inbox : &h->outbox[to], op);
    mdg_hub_wake(h);
}

void mdg_op_answer(struct mdg_hub *h, struct mdg_op *op)
{
    assert(!op->answer);
    op->answer = true;
    mdg_op_send(h, op->asker, op);
}

/* Objects are at least 16 bytes apart, so the low bits say nothing. */
static struct mdg_list *asked_bucket(struct mdg_hub *h, const void *arg)
{
    return &h->asked[((uintptr_t)arg >> 4) % ASKED_BUCKETS];
}

void mdg_op_asks(struct mdg_hub *h, struct mdg_op *op, void *arg)
{
    op->arg = arg;
    mdg_list_push(asked_bucket(h, arg), &op->in_asked);
}

static void forget_in(struct mdg_list *list, const void *arg)
{
    MDG_LIST_FOR(it, next, list)
    {
        struct mdg_op *op = MDG_CONTAINER_OF(it, struct mdg_op, in_asked);
        if (op->arg == arg)
            op->done.published = NULL;
    }
}

void mdg_hub_forget(struct mdg_hub *h, void *arg)
{
    forget_in(asked_bucket(h, arg), arg);
    forget_in(&h->parked, arg);
}
