/* The simulation's back-end: a clock that jumps to the next timer instead of waiting, and a seeded
 * generator instead of the kernel's, so that a run repeats exactly. Minutes pass in milliseconds.
 */
#include "loop/backend.h"
#include <errno.h>

enum { SIM_START_MS = 1000000 };
#define SIM_START_UNIX_MS UINT64_C(1790000000000)

static int open_sim(struct mdg_loop *loop, const struct mdg_loop_config *config)
{
    loop->epoll_fd = loop->event_fd = loop->timer_fd = -1;
    loop->now_ms = SIM_START_MS;
    loop->sim_state = config->sim_seed;
    return 0;
}

static void close_sim(struct mdg_loop *loop)
{
    (void)loop;
}

static void read_clocks(struct mdg_loop *loop)
{
    loop->unix_ms = SIM_START_UNIX_MS + (loop->now_ms - SIM_START_MS);
}

static int wait_sim(struct mdg_loop *loop, int timeout_ms)
{
    if (timeout_ms > 0)
        loop->now_ms += (uint64_t)timeout_ms;
    read_clocks(loop);
    return 0;
}

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
static uint64_t next_random(struct mdg_loop *loop)
{
    uint64_t z = loop->sim_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void random_bytes(struct mdg_loop *loop, void *out, size_t len)
{
    uint8_t *to = out;
    while (len > 0) {
        uint64_t word = next_random(loop);
        size_t n = mdg_min_size(len, sizeof word);
        memcpy(to, &word, n);
        to += n;
        len -= n;
    }
}

static void wake(struct mdg_loop *loop)
{
    (void)loop; /* it never sleeps */
}

static int watch(struct mdg_loop *loop, struct mdg_source *src, int fd, uint32_t events, bool again)
{
    (void)loop, (void)src, (void)fd, (void)events, (void)again;
    return MDG_E_UNSUPPORTED;
}

static void unwatch(struct mdg_loop *loop, int fd)
{
    (void)loop, (void)fd;
}

const struct mdg_loop_backend mdg_backend_sim = {
    .name = "sim",
    .open = open_sim,
    .close = close_sim,
    .wait = wait_sim,
    .read_clocks = read_clocks,
    .random = random_bytes,
    .wake = wake,
    .watch = watch,
    .unwatch = unwatch,
};
