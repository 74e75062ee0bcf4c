/* Queues: each message goes to one consumer, waits while there is none, and comes back when its
 * consumer goes away without having acknowledged it.
 *
 * A queue lives on one worker, its owner, chosen by a hash of the name; subscribers and publishers
 * on any worker reach it by operations that travel between the workers (struct mdg_queue_op). An
 * operation to one's own worker takes the same way without a thread in between, so there is one
 * path through this file whatever the number of workers.
 *
 * As in the hub, nothing calls back from inside a call: mdg_queues_turn does the upcalls. */
#ifndef MDG_QUEUE_H
#define MDG_QUEUE_H

#include "base/base.h"
#include "base/map.h"
#include "hub/msg.h"
#include "hub/queue_store.h"

struct mdg_queues;
struct mdg_queue_sub;
struct mdg_queue_op;
struct mdg_queue_ticket;

struct mdg_queues_config {
    unsigned worker, worker_count;
    uint32_t queues_max;      /* on this worker; attack: a client that invents queues */
    uint32_t messages_max;    /* in one queue, unacknowledged ones included */
    size_t bytes_max;         /* in one queue */
    size_t bytes_total_max;   /* of all queues of this worker */
    uint32_t prefetch_max;    /* messages that one subscription may hold unacknowledged */
    uint32_t tries_max;       /* deliveries before a message counts as undeliverable; 0: no limit */
    uint32_t idle_s;          /* an empty queue without subscribers is forgotten after this long */
    struct mdg_slice dead_to; /* queue for undeliverable messages; empty: they are dropped.
                                 Borrowed for the life of the object */
    struct mdg_queue_store store; /* ops NULL: in memory only */
    /* Hands an operation to another worker's mdg_queues_accept. It must not fail: op->node is
     * room for the poster's link. */
    void (*post)(void *arg, unsigned worker, struct mdg_queue_op *op);
    void *post_arg;
};

enum mdg_settle {
    MDG_SETTLE_ACK,     /* done: it is forgotten */
    MDG_SETTLE_REQUEUE, /* not done: it goes to somebody again (after tries_max: dead) */
    MDG_SETTLE_DEAD,    /* never again: to the dead-letter queue */
};

enum {
    MDG_QUEUE_KEEP = 1u,       /* survives a restart where there is a store */
    MDG_QUEUE_AUTO_DELETE = 2u /* goes away with its last subscriber */
};

/* A message that a subscription holds, or is to take. */
struct mdg_delivery {
    uint64_t tag; /* 1, 2, 3, ... in this subscription: names it in mdg_queue_settle */
    struct mdg_content *content;
    bool redelivered;
};

struct mdg_queue_sub_ops {
    /* 0: taken. MDG_E_FULL: keep it until mdg_queue_resume; later ones wait behind it. Must not
     * unsubscribe. */
    int (*deliver)(struct mdg_queue_sub *sub, const struct mdg_delivery *d);
};

/* One subscription, in the subscriber's memory. */
struct mdg_queue_sub {
    const struct mdg_queue_sub_ops *ops;
    struct mdg_queues *queues;
    uint64_t id;                /* names the worker in its top 8 bits */
    struct mdg_queue_op *leave; /* made beforehand, so that going away cannot fail */
    struct mdg_list waiting;    /* deliveries that could not be taken yet */
    uint8_t owner;
    bool blocked;
};

/* Answers that somebody waits for; the list head is the waiter's. */
typedef void (*mdg_queue_done_fn)(void *arg, uint64_t cookie, int err);
struct mdg_queue_waiter {
    mdg_queue_done_fn done;
    void *arg;
    struct mdg_list tickets; /* mdg_list_init before use */
};

int mdg_queues_new(const struct mdg_queues_config *config, const uint64_t seed[2],
                   struct mdg_queues **out) MDG_NODISCARD;
/* Subscriptions must be gone, no operation of another worker may arrive any more, and the store
 * must not answer any more. */
void mdg_queues_free(struct mdg_queues *q);
/* fn is called when a turn has become necessary. */
void mdg_queues_on_pending(struct mdg_queues *q, void (*fn)(void *arg), void *arg);
/* Does what is due. True: it stopped at its budget, call again soon. */
bool mdg_queues_turn(struct mdg_queues *q);
/* Forgets idle queues. Every second or so. */
void mdg_queues_tick(struct mdg_queues *q, uint64_t now_ms);

/* Publishes to a queue, whatever channel the content names. Takes the reference over in every case.
 * With a waiter, done(cookie) follows when it is in the queue, and on the disk if it is to be kept:
 * MDG_E_FULL (the queue is), MDG_E_TOO_BIG (too many queues), MDG_E_NO_MEMORY. */
int mdg_queue_publish(struct mdg_queues *q, struct mdg_slice queue, struct mdg_content *content,
                      unsigned flags, struct mdg_queue_waiter *waiter,
                      uint64_t cookie) MDG_NODISCARD;
/* sub->ops is set by the caller. prefetch 0: the maximum. Messages follow; with a waiter, done
 * comes before the first of them. */
int mdg_queue_subscribe(struct mdg_queues *q, struct mdg_queue_sub *sub, struct mdg_slice queue,
                        uint32_t prefetch, unsigned flags, struct mdg_queue_waiter *waiter,
                        uint64_t cookie) MDG_NODISCARD;
/* What it held goes to somebody else. No upcall for it comes after. */
void mdg_queue_unsubscribe(struct mdg_queue_sub *sub);
void mdg_queue_resume(struct mdg_queue_sub *sub);
/* cumulative: all deliveries up to this tag. done says when the disk knows. */
int mdg_queue_settle(struct mdg_queue_sub *sub, uint64_t tag, enum mdg_settle how, bool cumulative,
                     struct mdg_queue_waiter *waiter, uint64_t cookie) MDG_NODISCARD;
/* For a subscription to `queue` that has ended, by its id: what it held came back to the queue, and
 * counts as settled after all where nobody else has been given it. MDG_E_NOT_FOUND (in done). */
int mdg_queue_settle_late(struct mdg_queues *q, struct mdg_slice queue, uint64_t sub, uint64_t tag,
                          enum mdg_settle how, bool cumulative, struct mdg_queue_waiter *waiter,
                          uint64_t cookie) MDG_NODISCARD;
/* What is published and settled in between, in one go, reaches the disk as one: all of it or
 * nothing. Nobody is given a message of it before, and an error of one part is the error of all.
 * Without a store each stands for itself. MDG_E_NO_MEMORY: nothing has begun. */
int mdg_queue_unit_begin(struct mdg_queues *q) MDG_NODISCARD;
void mdg_queue_unit_end(struct mdg_queues *q);
/* The queue, its messages and its binding are forgotten (temporary queues, durable subscriptions
 * that were given up). */
int mdg_queue_delete(struct mdg_queues *q, struct mdg_slice queue, struct mdg_queue_waiter *waiter,
                     uint64_t cookie) MDG_NODISCARD;
/* Takes back every answer that the waiter waits for: done is not called any more. */
void mdg_queue_waiter_fini(struct mdg_queue_waiter *waiter);

/* Durable subscriptions: the owner of the queue is told to collect what is published to `source`.
 * bound is called on the owner's worker, once for each new binding and after a restart; unless it
 * returns an error, mdg_queues_bound follows, later, and only then is mdg_queue_bind answered: what
 * is published behind the answer is collected. unbound: when the queue is deleted. */
struct mdg_queue_binder {
    int (*bound)(void *arg, struct mdg_slice queue, struct mdg_slice source);
    void (*unbound)(void *arg, struct mdg_slice queue);
    void *arg;
};
void mdg_queues_set_binder(struct mdg_queues *q, const struct mdg_queue_binder *binder);
/* err < 0: it failed, and may be asked for again. */
void mdg_queues_bound(struct mdg_queues *q, struct mdg_slice queue, int err);
int mdg_queue_bind(struct mdg_queues *q, struct mdg_slice queue, struct mdg_slice source,
                   struct mdg_queue_waiter *waiter, uint64_t cookie) MDG_NODISCARD;
/* Reads the store. After set_binder, before anything else. */
int mdg_queues_load(struct mdg_queues *q) MDG_NODISCARD;

/* Between workers. */
struct mdg_queue_op {
    void *node[3]; /* the poster's */
    struct mdg_list link;
    struct mdg_content *content;
    struct mdg_queue_ticket *ticket; /* of the worker `from`; NULL: nobody waits */
    struct mdg_queue_unit *unit;     /* that it is a part of; NULL: it stands for itself */
    struct mdg_list items;           /* of the unit: messages that wait for the disk with it */
    uint64_t sub, number;            /* subscription; tag, or prefetch */
    int32_t err;
    uint8_t kind, from, flags, how;
    bool cumulative;
    uint32_t name_len, source_len;
    uint8_t name[]; /* queue, then the binding's source */
};
void mdg_queues_accept(struct mdg_queues *q, struct mdg_queue_op *op);
/* Frees an operation that can no longer be accepted (the workers have stopped). */
void mdg_queue_op_drop(struct mdg_queue_op *op);

struct mdg_queues_counts {
    uint64_t queues, messages, bytes, published, delivered, redelivered, dead;
};
void mdg_queues_count(const struct mdg_queues *q, struct mdg_queues_counts *out);

#endif
