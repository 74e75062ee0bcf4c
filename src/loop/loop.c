/* The turn: wait -> ready -> posted -> timers -> deferred -> flush -> free, and the small services
 * that belong to it. What waits (epoll, the simulation) is behind struct mdg_loop_backend. */
#include "loop/loop.h"
#include "loop/backend.h"
#include <stdlib.h>

enum {
    HOT_BYTES_DEFAULT = 256 * 1024,
    /* Work that makes more of its own kind is cut off here and goes on in the next turn, so that
     * descriptors are not starved. */
    DEFERRED_ROUNDS_MAX = 16,
    TIMERS_PER_TURN_MAX = 10000,
};

int mdg_loop_new(const struct mdg_loop_config *config, struct mdg_loop **out)
{
    static const struct mdg_loop_config defaults;
    if (!config)
        config = &defaults;
    struct mdg_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return MDG_E_NO_MEMORY;
    loop->kind = config->kind;
    loop->backend = config->kind == MDG_LOOP_SIM ? &mdg_backend_sim : &mdg_backend_epoll;
    loop->hot_bytes = config->hot_bytes ? config->hot_bytes : HOT_BYTES_DEFAULT;
    mdg_list_init(&loop->deferred);
    mdg_list_init(&loop->disposed);
    mdg_list_init(&loop->phases);
    loop->hot = malloc(loop->hot_bytes);
    int err = loop->hot ? loop->backend->open(loop, config) : MDG_E_NO_MEMORY;
    if (err < 0) {
        free(loop->hot);
        free(loop);
        return err;
    }
    loop->backend->read_clocks(loop);
    *out = loop;
    return 0;
}

static void run_list(struct mdg_loop *loop, struct mdg_list *queue)
{
    struct mdg_list now;
    mdg_list_init(&now);
    mdg_list_take(&now, queue);
    struct mdg_list *node;
    while ((node = mdg_list_first(&now))) {
        struct mdg_defer *d = MDG_CONTAINER_OF(node, struct mdg_defer, link);
        mdg_list_remove(node);
        node->next = node->prev = NULL;
        d->fn(loop, d->arg);
    }
}

static void run_deferred(struct mdg_loop *loop)
{
    for (int i = 0; i < DEFERRED_ROUNDS_MAX && !mdg_list_empty(&loop->deferred); i++)
        run_list(loop, &loop->deferred);
}

static void run_timers(struct mdg_loop *loop)
{
    struct mdg_timer *t;
    for (int i = 0; i < TIMERS_PER_TURN_MAX && (t = mdg_timers_pop(&loop->timers, loop->now_ms));
         i++)
        t->fn(t, t->arg);
}

static void finish_turn(struct mdg_loop *loop)
{
    run_deferred(loop);
    MDG_LIST_FOR(node, next, &loop->phases)
    {
        struct mdg_phase *p = MDG_CONTAINER_OF(node, struct mdg_phase, link);
        if (p->flush)
            p->flush(p);
    }
    MDG_LIST_FOR(node, next, &loop->phases)
    {
        struct mdg_phase *p = MDG_CONTAINER_OF(node, struct mdg_phase, link);
        if (p->free)
            p->free(p);
    }
    run_list(loop, &loop->disposed);
}

void mdg_loop_free(struct mdg_loop *loop)
{
    if (!loop)
        return;
    assert(!loop->in_turn);
    for (int i = 0; i < DEFERRED_ROUNDS_MAX && mdg_loop_run_posted(loop); i++)
        ;
    finish_turn(loop);
    loop->backend->close(loop);
    free(loop->hot);
    free(loop);
}

static bool has_pending(const struct mdg_loop *loop)
{
    if (!mdg_list_empty(&loop->deferred) || !mdg_list_empty(&loop->disposed) ||
        atomic_load_explicit(&loop->posted, memory_order_relaxed))
        return true;
    MDG_LIST_FOR(node, next, &loop->phases)
    {
        struct mdg_phase *p = MDG_CONTAINER_OF(node, struct mdg_phase, link);
        if (p->pending && p->pending(p))
            return true;
    }
    return false;
}

int mdg_loop_wait_ms(const struct mdg_loop *loop)
{
    if (has_pending(loop) || atomic_load_explicit(&loop->stop, memory_order_relaxed))
        return 0;
    if (!loop->timers.root)
        return -1;
    uint64_t due = loop->timers.root->due_ms;
    if (due <= loop->now_ms)
        return 0;
    uint64_t left = due - loop->now_ms;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}

int mdg_loop_step(struct mdg_loop *loop, int timeout_ms)
{
    assert(!loop->in_turn);
    loop->in_turn = true;
    int wait_ms = mdg_loop_wait_ms(loop);
    if (timeout_ms >= 0 && (wait_ms < 0 || wait_ms > timeout_ms))
        wait_ms = timeout_ms;
    int ready = loop->backend->wait(loop, wait_ms);
    mdg_loop_run_posted(loop);
    run_timers(loop);
    finish_turn(loop);
    if (loop->backend->arm)
        loop->backend->arm(loop);
    loop->in_turn = false;
    return ready;
}

/* A simulation in which nothing is left to happen would wait for ever. */
static bool is_over(const struct mdg_loop *loop)
{
    return loop->kind == MDG_LOOP_SIM && mdg_loop_wait_ms(loop) < 0;
}

int mdg_loop_run(struct mdg_loop *loop)
{
    int err = 0;
    while (err >= 0 && !atomic_load_explicit(&loop->stop, memory_order_acquire) && !is_over(loop))
        err = mdg_loop_step(loop, -1);
    atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
    return err < 0 ? err : 0;
}

void mdg_loop_stop(struct mdg_loop *loop)
{
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    loop->backend->wake(loop);
}

int mdg_loop_fd(const struct mdg_loop *loop)
{
    return loop->epoll_fd;
}

uint64_t mdg_loop_now_ms(const struct mdg_loop *loop)
{
    return loop->now_ms;
}

uint64_t mdg_loop_unix_ms(const struct mdg_loop *loop)
{
    return loop->unix_ms;
}

void mdg_loop_update_now(struct mdg_loop *loop)
{
    loop->backend->read_clocks(loop);
}

void mdg_loop_random(struct mdg_loop *loop, void *out, size_t len)
{
    loop->backend->random(loop, out, len);
}

void mdg_timer_start(struct mdg_loop *loop, struct mdg_timer *t, uint64_t delay_ms)
{
    assert(t->fn);
    mdg_timer_stop(loop, t);
    t->due_ms = loop->now_ms + delay_ms;
    mdg_timers_insert(&loop->timers, t);
    mdg_loop_kick(loop);
}

void mdg_timer_stop(struct mdg_loop *loop, struct mdg_timer *t)
{
    if (mdg_timer_running(t))
        mdg_timers_remove(&loop->timers, t);
}

static void enqueue(struct mdg_list *queue, struct mdg_defer *d)
{
    assert(d->fn);
    if (!d->link.next)
        mdg_list_push(queue, &d->link);
}

void mdg_loop_defer(struct mdg_loop *loop, struct mdg_defer *d)
{
    enqueue(&loop->deferred, d);
    mdg_loop_kick(loop);
}

void mdg_loop_dispose(struct mdg_loop *loop, struct mdg_defer *d)
{
    enqueue(&loop->disposed, d);
    mdg_loop_kick(loop);
}

void mdg_loop_kick(struct mdg_loop *loop)
{
    if (!loop->in_turn && loop->timer_fd >= 0)
        loop->backend->wake(loop);
}

void mdg_defer_cancel(struct mdg_defer *d)
{
    if (!d->link.next)
        return;
    mdg_list_remove(&d->link);
    d->link.next = d->link.prev = NULL;
}

int mdg_loop_watch(struct mdg_loop *loop, struct mdg_source *src, int fd, uint32_t events)
{
    return loop->backend->watch(loop, src, fd, events, false);
}

int mdg_loop_rewatch(struct mdg_loop *loop, struct mdg_source *src, int fd, uint32_t events)
{
    return loop->backend->watch(loop, src, fd, events, true);
}

void mdg_loop_unwatch(struct mdg_loop *loop, int fd)
{
    loop->backend->unwatch(loop, fd);
}

void mdg_loop_add_phase(struct mdg_loop *loop, struct mdg_phase *p)
{
    mdg_list_push(&loop->phases, &p->link);
}

void mdg_loop_remove_phase(struct mdg_loop *loop, struct mdg_phase *p)
{
    (void)loop;
    mdg_list_remove(&p->link);
}

uint8_t *mdg_loop_hot(struct mdg_loop *loop, size_t *len)
{
    *len = loop->hot_bytes;
    return loop->hot;
}

enum mdg_loop_kind mdg_loop_kind(const struct mdg_loop *loop)
{
    return loop->kind;
}
