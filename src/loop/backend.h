/* The seam between the loop and what it waits with. Private to src/loop. */
#ifndef MDG_LOOP_BACKEND_H
#define MDG_LOOP_BACKEND_H

#include "loop/loop.h"

struct mdg_loop_backend {
    const char *name;
    int (*open)(struct mdg_loop *loop, const struct mdg_loop_config *config);
    void (*close)(struct mdg_loop *loop);
    /* Waits, sets the clocks, calls ready() of what is ready. Number of sources, or -errno. */
    int (*wait)(struct mdg_loop *loop, int timeout_ms);
    void (*read_clocks)(struct mdg_loop *loop);
    void (*random)(struct mdg_loop *loop, void *out, size_t len);
    void (*wake)(struct mdg_loop *loop); /* any thread */
    void (*arm)(struct mdg_loop *loop);  /* end of a turn: timer_fd */
    int (*watch)(struct mdg_loop *loop, struct mdg_source *src, int fd, uint32_t events,
                 bool again);
    void (*unwatch)(struct mdg_loop *loop, int fd);
};

extern const struct mdg_loop_backend mdg_backend_epoll, mdg_backend_sim;

enum { MDG_LOOP_RANDOM_BYTES = 256 };

struct mdg_loop {
    const struct mdg_loop_backend *backend;
    enum mdg_loop_kind kind;
    struct mdg_timers timers;
    uint64_t now_ms, unix_ms;
    uint64_t unix_offset_ms, unix_read_ms; /* wall clock minus monotonic, and when that was read */
    uint8_t *hot;
    size_t hot_bytes;
    struct mdg_list deferred, disposed, phases;
    _Atomic(struct mdg_post *) posted; /* a stack: latest first */
    atomic_bool stop;
    bool in_turn;
    int epoll_fd, event_fd, timer_fd;
    struct mdg_source wake_source, timer_source;
    uint64_t armed_ms; /* what timer_fd is set to; 0: not set */
    uint8_t random[MDG_LOOP_RANDOM_BYTES];
    size_t random_left;
    uint64_t sim_state;
};

/* Runs what other threads posted. True: something ran. */
bool mdg_loop_run_posted(struct mdg_loop *loop);

#endif
