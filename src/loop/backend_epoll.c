/* Level-triggered epoll, an eventfd for wake-ups from other threads and, for a loop that is run
 * inside another one, a timerfd that makes its descriptor readable when a timer is due. */
#include "loop/backend.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_PER_TURN = 512,
    UNIX_OFFSET_AGE_MS = 1000, /* how late a step of the wall clock may be noticed */
};

static uint64_t clock_ms(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void read_clocks(struct mdg_loop *loop)
{
    loop->now_ms = clock_ms(CLOCK_MONOTONIC);
    if (loop->unix_read_ms == 0 || loop->now_ms - loop->unix_read_ms >= UNIX_OFFSET_AGE_MS) {
        loop->unix_read_ms = loop->now_ms;
        loop->unix_offset_ms = clock_ms(CLOCK_REALTIME) - loop->now_ms;
    }
    loop->unix_ms = loop->now_ms + loop->unix_offset_ms;
}

static void on_wake(struct mdg_source *src, uint32_t events)
{
    struct mdg_loop *loop = MDG_CONTAINER_OF(src, struct mdg_loop, wake_source);
    uint64_t count;
    (void)events;
    ssize_t n = read(loop->event_fd, &count, sizeof count);
    (void)n; /* nothing to read: another turn has done it */
}

static void on_timer_fd(struct mdg_source *src, uint32_t events)
{
    struct mdg_loop *loop = MDG_CONTAINER_OF(src, struct mdg_loop, timer_source);
    uint64_t count;
    (void)events;
    ssize_t n = read(loop->timer_fd, &count, sizeof count);
    (void)n;
    loop->armed_ms = 0;
}

static int watch(struct mdg_loop *loop, struct mdg_source *src, int fd, uint32_t events, bool again)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};
    if (epoll_ctl(loop->epoll_fd, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    return 0;
}

static void unwatch(struct mdg_loop *loop, int fd)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void close_all(struct mdg_loop *loop)
{
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    if (loop->event_fd >= 0)
        close(loop->event_fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
}

static int open_fds(struct mdg_loop *loop, bool with_timer)
{
    static const struct mdg_source_ops wake_ops = {on_wake}, timer_ops = {on_timer_fd};
    loop->wake_source.ops = &wake_ops;
    loop->timer_source.ops = &timer_ops;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->event_fd < 0)
        return -errno;
    int err = watch(loop, &loop->wake_source, loop->event_fd, EPOLLIN, false);
    if (err < 0 || !with_timer)
        return err;
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        return -errno;
    return watch(loop, &loop->timer_source, loop->timer_fd, EPOLLIN, false);
}

static int open_epoll(struct mdg_loop *loop, const struct mdg_loop_config *config)
{
    loop->epoll_fd = loop->event_fd = loop->timer_fd = -1;
    int err = open_fds(loop, config->timer_fd);
    if (err < 0)
        close_all(loop);
    return err;
}

static int wait_epoll(struct mdg_loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, timeout_ms);
    int err = n < 0 ? -errno : 0;
    read_clocks(loop);
    if (n < 0)
        return err == -EINTR ? 0 : err;
    for (int i = 0; i < n; i++) {
        struct mdg_source *src = events[i].data.ptr;
        src->ops->ready(src, events[i].events);
    }
    return n;
}

static void wake(struct mdg_loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->event_fd, &one, sizeof one);
    (void)n; /* full: it is readable already */
}

static void arm(struct mdg_loop *loop)
{
    if (loop->timer_fd < 0)
        return;
    int wait_ms = mdg_loop_wait_ms(loop);
    uint64_t due_ms = wait_ms < 0 ? 0 : loop->now_ms + (uint64_t)wait_ms;
    if (wait_ms == 0)
        due_ms = 1; /* long past: readable at once */
    if (due_ms == loop->armed_ms)
        return;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(due_ms / 1000),
                                           .tv_nsec = (long)(due_ms % 1000) * 1000000}};
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
        loop->armed_ms = due_ms;
}

static void random_bytes(struct mdg_loop *loop, void *out, size_t len)
{
    uint8_t *to = out;
    while (len > 0) {
        if (loop->random_left == 0) {
            ssize_t got = getrandom(loop->random, sizeof loop->random, 0);
            if (got <= 0)
                continue; /* EINTR: up to 256 bytes are never cut short otherwise (getrandom(2)) */
            loop->random_left = (size_t)got;
        }
        size_t n = mdg_min_size(len, loop->random_left);
        loop->random_left -= n;
        memcpy(to, loop->random + loop->random_left, n);
        memset(loop->random + loop->random_left, 0, n);
        to += n;
        len -= n;
    }
}

const struct mdg_loop_backend mdg_backend_epoll = {
    .name = "epoll",
    .open = open_epoll,
    .close = close_all,
    .wait = wait_epoll,
    .read_clocks = read_clocks,
    .random = random_bytes,
    .wake = wake,
    .arm = arm,
    .watch = watch,
    .unwatch = unwatch,
};
