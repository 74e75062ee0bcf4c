/* What the two halves of the queues share: queue.c is the side of subscribers and publishers,
 * queue_owner.c the side of the worker where a queue lives. For these two files only. */
#ifndef MDG_QUEUE_IMPL_H
#define MDG_QUEUE_IMPL_H

#include "hub/queue.h"

enum mdg_queue_op_kind {
    MDG_QOP_PUBLISH,
    MDG_QOP_ATTACH,
    MDG_QOP_DETACH,
    MDG_QOP_SETTLE,
    MDG_QOP_DELETE,
    MDG_QOP_BIND,
    MDG_QOP_DELIVER, /* owner to subscriber */
    MDG_QOP_DONE,    /* owner to whoever waits: the operation itself comes back */
};

/* Stays with the worker that asked, so that its waiter can go away while the operation travels. */
struct mdg_queue_ticket {
    struct mdg_list in_waiter;
    struct mdg_queue_waiter *waiter; /* NULL: nobody waits any more */
    uint64_t cookie;
};

struct mdg_queues {
    struct mdg_queues_config config;
    struct mdg_queue_binder binder;
    struct mdg_list inbox;
    void (*pending)(void *arg);
    void *pending_arg;
    struct mdg_map subs; /* of this worker, by id */
    uint64_t next_sub;
    struct mdg_queue_unit *unit; /* what is being published and settled belongs to it */
    unsigned unit_parts;
    /* The owner's half. */
    struct mdg_map queues, consumers;
    struct mdg_list dirty;    /* queues that may have something to hand out */
    struct mdg_list unsynced; /* operations whose answer waits for the disk */
    struct mdg_list syncs;    /* asked for and not answered */
    bool noted;               /* something was noted since the last sync */
    uint64_t now_ms;
    struct mdg_queue_waiter dead_waiter; /* answers of the dead-letter queue */
    struct mdg_queues_counts counts;
};

struct mdg_queue_op *mdg_queue_op_new(const struct mdg_queues *q, enum mdg_queue_op_kind kind,
                                      struct mdg_slice name, struct mdg_slice source);
void mdg_queue_op_free(struct mdg_queue_op *op);
/* Frees every operation of the list, and its ticket: nobody will answer. */
void mdg_queue_drop_ops(struct mdg_list *ops);
/* The operation belongs to the unit that has begun, if one has. */
void mdg_queue_unit_join(struct mdg_queues *q, struct mdg_queue_op *op);
/* Sends an operation to a worker, this one too. */
void mdg_queue_post(struct mdg_queues *q, unsigned worker, struct mdg_queue_op *op);
unsigned mdg_queue_owner(const struct mdg_queues *q, struct mdg_slice queue);
/* The answer to an operation: it goes back, or is freed when nobody waits. */
void mdg_queue_answer(struct mdg_queues *q, struct mdg_queue_op *op, int err);

static inline struct mdg_slice mdg_queue_op_name(const struct mdg_queue_op *op)
{
    return mdg_slice(op->name, op->name_len);
}

static inline struct mdg_slice mdg_queue_op_source(const struct mdg_queue_op *op)
{
    return mdg_slice(op->name + op->name_len, op->source_len);
}

/* queue_dead.c */
/* The same message for another queue, with headers that say from where and why. NULL: out of
 * memory. */
struct mdg_content *mdg_queue_dead_letter(const struct mdg_content *old, struct mdg_slice dead_to,
                                          struct mdg_slice why) MDG_NODISCARD;

/* queue_owner.c */
void mdg_queue_owner_init(struct mdg_queues *q, const uint64_t seed[2]);
void mdg_queue_owner_fini(struct mdg_queues *q);
/* Takes the operation over. */
void mdg_queue_owner_do(struct mdg_queues *q, struct mdg_queue_op *op);
/* Hands messages out, at most `budget`; then asks for a sync if something was noted. */
void mdg_queue_owner_turn(struct mdg_queues *q, size_t *budget);

#endif
