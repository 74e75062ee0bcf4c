/* The way from one hub to the hubs of the other workers of this process. A hub collects what it has
 * to say to another one during a turn in a chain of operations and posts the chain at its end.
 *
 * An operation is one allocation that travels: a question comes back as its own answer, so that an
 * answer cannot fail for lack of memory. Whoever holds it may use it; nothing else is shared but
 * contents and principals, which are immutable. */
#ifndef MDG_BROKER_H
#define MDG_BROKER_H

#include "base/base.h"

struct mdg_hub;
struct mdg_op;

enum { MDG_WORKERS_MAX = 256 }; /* a session id names its worker in eight bits */

struct mdg_broker {
    unsigned workers; /* 1..MDG_WORKERS_MAX */
    uint64_t seed[2]; /* the same for all: decides which worker owns a room */
    /* Gives the chain to worker `to`, which calls mdg_hub_receive with it. Chains from one worker
     * to another arrive in the order of the posts. Cannot fail, makes no upcall. */
    void (*post)(struct mdg_broker *b, unsigned from, unsigned to, struct mdg_op *chain);
};

/* Before the first join. The broker must outlive the hub. */
int mdg_hub_set_broker(struct mdg_hub *h, struct mdg_broker *broker) MDG_NODISCARD;
/* On the worker's own thread. The upcalls come from the next mdg_hub_turn. */
void mdg_hub_receive(struct mdg_hub *h, struct mdg_op *chain);
/* For a broker's queues: the link that it may use while it holds a chain (of the first op). */
struct mdg_op **mdg_op_parcel_link(struct mdg_op *chain);
/* Frees a chain that nobody will receive any more. */
void mdg_op_free_chain(struct mdg_op *chain);

#endif
