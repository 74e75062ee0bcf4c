/* What a store of queues does, so that queue.c can survive a restart without knowing SQL. Every
 * change is noted in order and made to last together: `sync` says when. */
#ifndef MDG_QUEUE_STORE_H
#define MDG_QUEUE_STORE_H

#include "base/base.h"
#include "hub/msg.h"
#include <stdatomic.h>

/* One message as it comes back. The reference to the content is the callee's. */
typedef void (*mdg_queue_load_fn)(void *arg, struct mdg_slice queue, uint64_t id,
                                  struct mdg_content *content);
/* A durable subscription as it comes back: `queue` collects what is published to `source`. */
typedef void (*mdg_queue_bound_fn)(void *arg, struct mdg_slice queue, struct mdg_slice source);

/* Changes that reach the disk together or not at all, noted by several workers. */
struct mdg_queue_unit {
    atomic_uint refs;
    atomic_uint parts; /* how many there are; 0: not known yet */
    atomic_int err;    /* negative: none of it may be written */
    unsigned seen;     /* the store's */
};

/* NULL: out of memory. */
struct mdg_queue_unit *mdg_queue_unit_new(void) MDG_NODISCARD;
struct mdg_queue_unit *mdg_queue_unit_ref(struct mdg_queue_unit *unit);
void mdg_queue_unit_unref(struct mdg_queue_unit *unit); /* NULL is allowed */
/* Before its last part was noted. The first error stays. */
void mdg_queue_unit_fail(struct mdg_queue_unit *unit, int err);

/* All functions belong to the thread of one worker. */
struct mdg_queue_store_ops {
    /* Notes. MDG_E_NO_MEMORY, MDG_E_FULL (the disk does not keep up). */
    int (*put)(void *store, struct mdg_slice queue, uint64_t id, struct mdg_content *content);
    int (*remove)(void *store, struct mdg_slice queue, uint64_t id);
    int (*bind)(void *store, struct mdg_slice queue, struct mdg_slice source);
    int (*forget)(void *store, struct mdg_slice queue); /* its messages and its binding */
    /* What is noted in between is a part of the unit, also when it is nothing. */
    void (*enter)(void *store, struct mdg_queue_unit *unit);
    void (*leave)(void *store);
    /* fn(arg, err) is called later, exactly once, from the worker's loop, when everything noted so
     * far is on the disk (0) or could not be written. */
    int (*sync)(void *store, void (*fn)(void *arg, int err), void *arg);
    /* Everything that is stored, in order of id within a queue; before the first note. */
    int (*load)(void *store, mdg_queue_load_fn message, mdg_queue_bound_fn bound, void *arg);
};

struct mdg_queue_store {
    const struct mdg_queue_store_ops *ops;
    void *store;
};

#endif
