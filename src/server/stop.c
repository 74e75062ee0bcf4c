/* How a worker stops. Nobody comes in any more; those who are here are told, a part of them every
 * step, because they all connect again at once to whichever server is next: attack by one's own
 * clients, who all want a handshake, a room and its history in the same moment. */
#include "dialect/peer.h"
#include "net/net.h"
#include "server/ports.h"
#include "server/sockjs.h"
#include "server/udp.h"

enum {
    STEP_MS = 100,
    STEP_MIN = 100, /* of all workers: any server takes a thousand handshakes a second */
    GRACE_CHECK_MS = 20,
};

/* Once a worker's connections have ended it goes on turning, so that messages from others still
 * find it, until all of them have ended. */
static void stop_if_all_ended(struct mdg_worker *w)
{
    struct madang *server = w->server;
    if (atomic_fetch_sub(&server->workers_alive, 1) != 1)
        return;
    atomic_store(&server->state, MDG_SERVER_STOPPED);
    for (unsigned i = 0; i < server->worker_count; i++)
        mdg_loop_stop(server->workers[i].loop);
}

static void on_grace(struct mdg_timer *t, void *arg)
{
    struct mdg_worker *w = arg;
    bool empty = mdg_net_counters(w->net)->streams == 0;
    bool over = mdg_loop_now_ms(w->loop) >= w->grace_until_ms;
    if (!empty && over) {
        mdg_net_close_all(w->net, MDG_E_TIMEOUT);
        w->grace_until_ms = UINT64_MAX;
    }
    if (empty)
        stop_if_all_ended(w);
    else
        mdg_timer_start(w->loop, t, GRACE_CHECK_MS);
}

/* Each carrier's own goodbye to as many as *left says, which is counted down. */
static void say_goodbye(struct mdg_worker *w, size_t *left)
{
    const struct mdg_slice reason = MDG_SLICE_LIT("the server stops");
    struct madang *server = w->server;
    for (size_t i = 0; i < server->shutdown_hook_count; i++)
        server->shutdown_hooks[i](w, left, server->shutdown_args[i]);
    mdg_worker_close_sockjs(w, left);
    mdg_peers_close_some(w->peers, MDG_CLOSE_GOING_AWAY, reason, left);
    mdg_ws_worker_close_some(w->ws, MDG_CLOSE_GOING_AWAY, reason, left);
}

/* HTTP lasts until now: who polls does so until it is told to go. */
static void finish(struct mdg_worker *w)
{
    size_t everybody = SIZE_MAX;
    w->stopping = true;
    mdg_http_server_drain(w->http);
    say_goodbye(w, &everybody);
    mdg_udp_stop(w);
    w->grace_until_ms = mdg_loop_now_ms(w->loop) + w->server->params.shutdown_grace_s * 1000;
    mdg_timer_init(&w->grace, on_grace, w);
    mdg_timer_start(w->loop, &w->grace, 0);
}

static void on_step(struct mdg_timer *t, void *arg)
{
    struct mdg_worker *w = arg;
    size_t left = w->drain_step;
    bool over = mdg_loop_now_ms(w->loop) >= w->drain_until_ms;
    if (!over)
        say_goodbye(w, &left);
    if (over || left > 0)
        finish(w);
    else
        mdg_timer_start(w->loop, t, STEP_MS);
}

/* So many a step that all are told within the time; a few hundred take no longer than they must. */
static size_t step_of(const struct mdg_worker *w, uint64_t drain_ms)
{
    size_t streams = mdg_net_counters(w->net)->streams;
    size_t peers = mdg_peers_stats(w->peers)->peers; /* some have no stream: datagrams, polls */
    size_t all = streams > peers ? streams : peers;
    size_t least = (STEP_MIN + w->server->worker_count - 1) / w->server->worker_count;
    size_t even = all / (size_t)(drain_ms / STEP_MS) + 1;
    return even > least ? even : least;
}

static void begin_stop(struct mdg_loop *loop, void *arg)
{
    struct mdg_worker *w = arg;
    uint64_t drain_ms = w->server->params.shutdown_drain_s * 1000;
    if (w->stopping || w->draining)
        return;
    w->draining = true;
    mdg_ports_close(w);
    if (drain_ms == 0) {
        finish(w);
        return;
    }
    w->drain_step = step_of(w, drain_ms);
    w->drain_until_ms = mdg_loop_now_ms(loop) + drain_ms;
    mdg_timer_init(&w->grace, on_step, w);
    on_step(&w->grace, w);
}

void mdg_worker_stop(struct mdg_worker *w)
{
    /* Out of memory while stopping: the hard way is better than not at all. */
    if (mdg_loop_post(w->loop, begin_stop, w) < 0)
        mdg_loop_stop(w->loop);
}
