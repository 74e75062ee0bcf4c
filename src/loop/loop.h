/* One event loop per worker thread. A turn has a fixed order:
 *
 *     wait -> ready descriptors -> posted functions -> timers -> deferred -> flush -> free
 *
 * Everything but mdg_loop_post, mdg_loop_post_node and mdg_loop_stop belongs to the loop's thread.
 * The back-end (epoll, or the simulation's virtual clock) is chosen when the loop is made; nothing
 * above src/net can tell which one runs. */
#ifndef MDG_LOOP_H
#define MDG_LOOP_H

#include "base/base.h"
#include "loop/timer.h"
#include <stdatomic.h>

struct mdg_loop;

enum mdg_loop_kind {
    MDG_LOOP_EPOLL, /* the real thing */
    MDG_LOOP_SIM,   /* virtual clock, seeded randomness, no descriptors */
};

struct mdg_loop_config {
    enum mdg_loop_kind kind;
    size_t hot_bytes;  /* the receive buffer that all connections share; 0: 256 KiB */
    uint64_t sim_seed; /* MDG_LOOP_SIM: the seed of mdg_loop_random */
    bool timer_fd;     /* mdg_loop_fd turns readable for timers too (to run in another loop) */
};

/* config NULL: defaults. *out is set on 0. -errno, MDG_E_NO_MEMORY. */
int mdg_loop_new(const struct mdg_loop_config *config, struct mdg_loop **out) MDG_NODISCARD;
/* Runs what is still posted, then frees. Not from inside a turn. NULL is allowed. */
void mdg_loop_free(struct mdg_loop *loop);

/* Turns until mdg_loop_stop. Returns 0 or -errno of a failed wait. */
int mdg_loop_run(struct mdg_loop *loop) MDG_NODISCARD;
/* One turn. Waits at most timeout_ms for something to do (0: not at all; <0: as long as the timers
 * allow). The number of sources that were ready, or -errno. */
int mdg_loop_step(struct mdg_loop *loop, int timeout_ms) MDG_NODISCARD;
/* Any thread. mdg_loop_run returns after its present turn. */
void mdg_loop_stop(struct mdg_loop *loop);
/* A descriptor that is readable when mdg_loop_step(loop, 0) has work (epoll fd); with
 * config.timer_fd also when a timer is due. -1 in a simulation. */
int mdg_loop_fd(const struct mdg_loop *loop);
/* How long a wait may last: 0 when work is pending, -1 when nothing is. */
int mdg_loop_wait_ms(const struct mdg_loop *loop);

/* Monotonic milliseconds, read once per turn (virtual in a simulation). */
uint64_t mdg_loop_now_ms(const struct mdg_loop *loop);
/* Wall clock, milliseconds since 1970, cached likewise. */
uint64_t mdg_loop_unix_ms(const struct mdg_loop *loop);
/* Reads both clocks again, for a callback that has worked long. */
void mdg_loop_update_now(struct mdg_loop *loop);
/* Cryptographic random bytes (buffered getrandom); repeatable from the seed in a simulation. */
void mdg_loop_random(struct mdg_loop *loop, void *out, size_t len);

/* Work from other threads. */

typedef void (*mdg_loop_fn)(struct mdg_loop *loop, void *arg);

/* In the caller's memory, or allocated by mdg_loop_post. A node may be posted again from its fn. */
struct mdg_post {
    struct mdg_post *next;
    void (*fn)(struct mdg_loop *loop, struct mdg_post *post);
};

/* Any thread. fn runs once on the loop's thread, in the order of posts from one thread.
 * MDG_E_NO_MEMORY. */
int mdg_loop_post(struct mdg_loop *loop, mdg_loop_fn fn, void *arg) MDG_NODISCARD;
/* Any thread, cannot fail. The node belongs to the loop until its fn is called. */
void mdg_loop_post_node(struct mdg_loop *loop, struct mdg_post *node);

/* Work for later in this turn. */

/* In the caller's memory; zero-initialised is idle. */
struct mdg_defer {
    struct mdg_list link; /* next NULL: idle */
    mdg_loop_fn fn;
    void *arg;
};

/* fn runs once after the timers, before output is flushed. A second call before that does nothing.
 * One that is deferred by a deferred function runs in the same turn, up to a bound, else the next.
 */
void mdg_loop_defer(struct mdg_loop *loop, struct mdg_defer *d);
/* fn runs once in the free phase, after on_close upcalls: to free what is referred to until then.
 */
void mdg_loop_dispose(struct mdg_loop *loop, struct mdg_defer *d);
/* Takes it out of either queue; nothing happens if it was in none. */
void mdg_defer_cancel(struct mdg_defer *d);

/* Below this line: what src/net builds on. */

/* Something that epoll watches. Streams begin with one; so do listeners and UDP sockets. */
struct mdg_source;
struct mdg_source_ops {
    void (*ready)(struct mdg_source *src, uint32_t events); /* EPOLLIN, EPOLLOUT, ... */
};
struct mdg_source {
    const struct mdg_source_ops *ops;
};

/* epoll_ctl with level-triggered events; the source must live to the end of the turn in which it is
 * unwatched. -errno; MDG_E_UNSUPPORTED in a simulation. */
int mdg_loop_watch(struct mdg_loop *loop, struct mdg_source *src, int fd,
                   uint32_t events) MDG_NODISCARD;
int mdg_loop_rewatch(struct mdg_loop *loop, struct mdg_source *src, int fd,
                     uint32_t events) MDG_NODISCARD;
/* Only for a descriptor that stays open: closing it is enough otherwise. */
void mdg_loop_unwatch(struct mdg_loop *loop, int fd);

/* A part of the loop that takes its share of every turn. */
struct mdg_phase {
    struct mdg_list link;
    void (*flush)(struct mdg_phase *p);         /* may be NULL */
    void (*free)(struct mdg_phase *p);          /* may be NULL */
    bool (*pending)(const struct mdg_phase *p); /* true: the next wait must not block */
};
void mdg_loop_add_phase(struct mdg_loop *loop, struct mdg_phase *p);
void mdg_loop_remove_phase(struct mdg_loop *loop, struct mdg_phase *p);
/* Work was made outside a turn: a loop that runs inside another one turns readable for it. */
void mdg_loop_kick(struct mdg_loop *loop);

/* The shared receive buffer: its bytes are garbage between two reads. */
uint8_t *mdg_loop_hot(struct mdg_loop *loop, size_t *len);
enum mdg_loop_kind mdg_loop_kind(const struct mdg_loop *loop);

#endif
