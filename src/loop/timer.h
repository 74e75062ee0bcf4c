/* One-shot timers in the caller's memory: an intrusive pairing heap, so that starting a timer
 * cannot fail and the next deadline is exact. For thousands of coarse deadlines (idle
 * connections) use mdg_stream_set_timeout, which costs a field and no heap operation. */
#ifndef MDG_TIMER_H
#define MDG_TIMER_H

#include "base/base.h"

struct mdg_loop;
struct mdg_timer;

typedef void (*mdg_timer_fn)(struct mdg_timer *t, void *arg);

/* Zero-initialised memory, or mdg_timer_init, is a stopped timer. The fields are the loop's. */
struct mdg_timer {
    struct mdg_timer *child, *next, **prev; /* prev: the pointer that points at us; NULL: stopped */
    uint64_t due_ms;                        /* loop time */
    mdg_timer_fn fn;
    void *arg;
};

/* The heap of one loop. Exposed for the loop and for tests of the heap alone. */
struct mdg_timers {
    struct mdg_timer *root;
};

static inline void mdg_timer_init(struct mdg_timer *t, mdg_timer_fn fn, void *arg)
{
    *t = (struct mdg_timer){.fn = fn, .arg = arg};
}

/* Runs fn once, `delay_ms` after the loop's cached now; a running timer is moved. Never calls fn
 * at once: a delay of 0 means the timer phase of this turn or the next. */
void mdg_timer_start(struct mdg_loop *loop, struct mdg_timer *t, uint64_t delay_ms);
/* Does nothing to a stopped timer. After it fn is not called. Free the memory only when stopped. */
void mdg_timer_stop(struct mdg_loop *loop, struct mdg_timer *t);

static inline bool mdg_timer_running(const struct mdg_timer *t)
{
    return t->prev != NULL;
}

/* The loop time at which it runs, or ran last. */
static inline uint64_t mdg_timer_due_ms(const struct mdg_timer *t)
{
    return t->due_ms;
}

/* The heap itself. */
void mdg_timers_insert(struct mdg_timers *h, struct mdg_timer *t);
void mdg_timers_remove(struct mdg_timers *h, struct mdg_timer *t);
/* Takes out and returns the earliest timer that is due at now_ms, or NULL. */
struct mdg_timer *mdg_timers_pop(struct mdg_timers *h, uint64_t now_ms);

#endif
