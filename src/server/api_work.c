/* Work of the application on a worker's thread, now or later. */
#include "server/api_ws.h"
#include <stdlib.h>

struct work {
    struct madang *server;
    madang_fn fn;
    void *arg;
    uint64_t delay_ms;
    struct mdg_timer timer;
    struct work *next; /* of the delayed ones, so that a stop can free them */
};

static void run(struct mdg_loop *loop, void *arg)
{
    struct work work = *(struct work *)arg;
    (void)loop;
    free(arg);
    work.fn(work.server, work.arg);
}

static int post(struct madang *server, struct mdg_worker *w, mdg_loop_fn how, madang_fn fn,
                void *arg, uint64_t delay_ms)
{
    int state = atomic_load(&server->state);
    if (state == MDG_SERVER_NEW)
        return MDG_E_UNSUPPORTED;
    if (state == MDG_SERVER_STOPPED)
        return MDG_E_CLOSED;
    struct work *work = calloc(1, sizeof *work);
    if (!work)
        return MDG_E_NO_MEMORY;
    work->server = server;
    work->fn = fn;
    work->arg = arg;
    work->delay_ms = delay_ms;
    int err = mdg_loop_post(w->loop, how, work);
    if (err < 0)
        free(work);
    return err;
}

int madang_post(struct madang *server, madang_peer peer, madang_fn fn, void *arg)
{
    struct mdg_worker *w = mdg_api_worker(server, peer);
    return post(server, w ? w : server->workers, run, fn, arg, 0);
}

static void on_due(struct mdg_timer *t, void *arg)
{
    struct work *work = arg;
    struct mdg_worker *w = &work->server->workers[0];
    (void)t;
    for (struct work **at = &w->delayed; *at; at = &(*at)->next) {
        if (*at == work) {
            *at = work->next;
            break;
        }
    }
    run(w->loop, work);
}

static void start_timer(struct mdg_loop *loop, void *arg)
{
    struct work *work = arg;
    struct mdg_worker *w = &work->server->workers[0];
    work->next = w->delayed;
    w->delayed = work;
    mdg_timer_init(&work->timer, on_due, work);
    mdg_timer_start(loop, &work->timer, work->delay_ms);
}

int madang_after(struct madang *server, uint64_t delay_ms, madang_fn fn, void *arg)
{
    return post(server, server->workers, start_timer, fn, arg, delay_ms);
}

void mdg_api_work_free(struct mdg_worker *w)
{
    while (w->delayed) {
        struct work *work = w->delayed;
        w->delayed = work->next;
        mdg_timer_stop(w->loop, &work->timer);
        free(work);
    }
}
