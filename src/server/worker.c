/* One worker: a loop on a thread of its own, with its part of everything. */
#include "dialect/peer.h"
#include "loop/backend.h"
#include "net/net.h"
#include "net/stream.h"
#include "net/tls.h"
#include "server/api_ws.h"
#include "server/memory.h"
#include "server/ports.h"
#include "server/sockjs.h"
#include "server/stomp.h"
#include "server/udp.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TICK_MS = 100,         /* hub housekeeping */
    FANOUT_BUDGET = 20000, /* deliveries, about 50 ms of sending, before the loop gets its turn */
    TICKET_KEY_MS = 12 * 60 * 60 * 1000,
    LAST_WORDS_ROUNDS = 8, /* of workers that end and tell each other so */
};

static void run_hub(struct mdg_worker *w)
{
    if (!w->peers)
        return;
    mdg_hub_set_time(w->hub, mdg_loop_now_ms(w->loop), mdg_loop_unix_ms(w->loop));
    if (mdg_hub_turn(w->hub))
        mdg_timer_start(w->loop, &w->turn_again, 0);
    mdg_peers_flush(w->peers);
}

static void on_hub_turn(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    run_hub(arg);
}

static void on_turn_again(struct mdg_timer *t, void *arg)
{
    (void)t;
    run_hub(arg);
}

static void on_hub_pending(void *arg)
{
    struct mdg_worker *w = arg;
    mdg_loop_defer(w->loop, &w->hub_turn);
}

static void renew_ticket_key(struct mdg_worker *w)
{
    uint64_t now_ms = mdg_loop_now_ms(w->loop);
    if (w->index != 0 || !w->server->tls || now_ms < w->tickets_due_ms)
        return;
    /* The first is made with the context; one that cannot be made now is tried at the next tick. */
    if (w->tickets_due_ms == 0 || mdg_tls_context_rotate(w->server->tls) == 0)
        w->tickets_due_ms = now_ms + TICKET_KEY_MS;
}

static void on_tick(struct mdg_timer *t, void *arg)
{
    struct mdg_worker *w = arg;
    mdg_hub_set_time(w->hub, mdg_loop_now_ms(w->loop), mdg_loop_unix_ms(w->loop));
    mdg_hub_tick(w->hub);
    mdg_metrics_publish(w);
    mdg_spread_count(w);
    mdg_memory_tick(w);
    renew_ticket_key(w);
    mdg_timer_start(w->loop, t, TICK_MS);
}

static enum mdg_slow_policy slow_policy(const char *name)
{
    if (strcmp(name, "drop-old") == 0)
        return MDG_SLOW_DROP_OLD;
    return strcmp(name, "drop-new") == 0 ? MDG_SLOW_DROP_NEW : MDG_SLOW_KICK;
}

static struct mdg_hub_config hub_config(const struct mdg_params *p)
{
    return (struct mdg_hub_config){
        .channel =
            {
                .log_count_max = (uint32_t)p->room_log_count_max,
                .log_bytes_max = p->room_log_bytes_max,
                .log_age_max_s = (uint32_t)p->room_log_age_max_s,
                .presence_list_max = (uint32_t)p->presence_list_max,
                .presence_delay_ms = (uint32_t)p->presence_delay_ms,
                .idle_s = (uint32_t)p->room_idle_s,
                .slow = slow_policy(p->room_slow_policy),
            },
        .channels_max = (uint32_t)p->rooms_max,
        .memberships_per_session_max = (uint32_t)p->rooms_per_session_max,
        .log_bytes_total_max = p->log_bytes_total_max,
        .channel_name_bytes_max = (uint32_t)p->room_name_bytes_max,
        .fanout_budget = FANOUT_BUDGET,
    };
}

static enum mdg_uring_use uring_use(const char *choice)
{
    if (strcmp(choice, "on") == 0)
        return MDG_URING_ON;
    return strcmp(choice, "off") == 0 ? MDG_URING_OFF : MDG_URING_PROBE;
}

static int init_net(struct mdg_worker *w)
{
    const struct mdg_params *p = &w->server->params;
    struct mdg_loop_config loop_config = {.timer_fd = p->embedded};
    struct mdg_net_config net_config = {
        .uring = uring_use(p->io_uring),
        .streams_max = p->connections_max,
        .out_max = (uint32_t)p->send_queue_bytes_max,
        .accounts = w->server->accounts,
    };
    int err = mdg_loop_new(&loop_config, &w->loop);
    return err < 0 ? err : mdg_net_new(w->loop, &net_config, &w->net);
}

static int check_credential(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    struct mdg_worker *w = arg;
    /* A login without a passcode is a guest's choice of a name (/nick). */
    if (hs->login.len && !hs->passcode.data && !hs->token.data)
        return w->server->params.guests ? mdg_auth_guest(&w->server->auth, hs->login, out)
                                        : MDG_E_DENIED;
    return mdg_auth_handshake(&w->server->auth, hs, out);
}

static int init_peers(struct mdg_worker *w)
{
    const struct mdg_params *p = &w->server->params;
    struct mdg_peers_config config;
    mdg_peers_config_init(&config);
    config.default_room = mdg_slice_str(p->chat_room);
    config.message_bytes_max = (uint32_t)mdg_min_size(p->ws_message_bytes_max, UINT32_MAX);
    config.publish_rate = (uint32_t)p->messages_per_second_max;
    config.publish_burst = (uint32_t)p->messages_per_second_max * 2;
    config.history_max = (uint32_t)p->history_max;
    config.auth = check_credential;
    config.auth_arg = w;
    w->nobody = mdg_principal_new(MDG_SLICE_LIT("application"), false, MDG_RIGHTS_USER, 0);
    return w->nobody ? mdg_peers_new(w->hub, &config, &w->peers) : MDG_E_NO_MEMORY;
}

int mdg_worker_init(struct mdg_worker *w, struct madang *server, unsigned index)
{
    uint64_t seed[2];
    w->server = server;
    w->index = index;
    mdg_handles_init(&w->clients, index, w);
    mdg_handles_init(&w->held, index, w);
    int err = init_net(w);
    if (err < 0)
        return err;
    mdg_loop_random(w->loop, seed, sizeof seed);
    struct mdg_hub_config config = hub_config(&server->params);
    err = mdg_hub_new(&config, index, seed, &w->hub);
    if (err == 0)
        err = init_peers(w);
    if (err == 0)
        err = mdg_http_server_new(w->net, &server->http_config, mdg_dispatch, w, &w->http);
    if (err == 0)
        err = mdg_ws_worker_new(w->loop, &w->ws);
    if (err == 0 && server->stomp)
        err = mdg_stomp_part_new(w, &w->stomp);
    if (index == 0)
        mdg_loop_random(w->loop, server->sockjs_seed, sizeof server->sockjs_seed);
    if (err == 0)
        err = mdg_worker_init_sockjs(w);
    if (err < 0)
        return err;
    w->hub_turn = (struct mdg_defer){.fn = on_hub_turn, .arg = w};
    mdg_timer_init(&w->tick, on_tick, w);
    mdg_timer_init(&w->turn_again, on_turn_again, w);
    mdg_hub_on_pending(w->hub, on_hub_pending, w);
    mdg_timer_start(w->loop, &w->tick, TICK_MS);
    return 0;
}

static void *thread_main(void *arg)
{
    struct mdg_worker *w = arg;
    int err = mdg_loop_run(w->loop);
    if (err < 0)
        mdg_log(&w->server->log, MDG_LOG_ERROR, "worker stopped", "why", mdg_strerror(err), NULL);
    return NULL;
}

int mdg_worker_spawn(struct mdg_worker *w)
{
    /* Signals go to the thread that waits for them, not to whichever the kernel picks. */
    sigset_t all, before;
    char name[16];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return -err;
    w->has_thread = true;
    snprintf(name, sizeof name, "madang-%u", w->index);
    pthread_setname_np(w->thread, name);
    return 0;
}

struct mdg_worker *mdg_worker_here(struct madang *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct mdg_worker *w = &server->workers[i];
        if ((w->has_thread || w->is_embedded) && pthread_equal(w->thread, pthread_self()))
            return w;
    }
    return NULL;
}

void mdg_worker_join(struct mdg_worker *w)
{
    if (!w->has_thread)
        return;
    pthread_join(w->thread, NULL);
    w->has_thread = false;
}

static void run_once(struct mdg_worker *w)
{
    int ready = w->loop ? mdg_loop_step(w->loop, 0) : 0;
    (void)ready; /* an error cannot be mended any more */
}

void mdg_worker_end(struct mdg_worker *w)
{
    assert(!w->has_thread);
    w->stopping = true; /* a stop that is still posted finds nothing to do */
    if (w->loop) {      /* the turns below run timers too, and these look at what is being freed */
        mdg_timer_stop(w->loop, &w->tick);
        mdg_timer_stop(w->loop, &w->grace);
    }
    if (w->net)
        mdg_ports_close(w);
    for (size_t i = 0; w->server && i < w->server->fini_hook_count; i++)
        w->server->fini_hooks[i](w, w->server->fini_args[i]);
    if (w->http)
        mdg_http_server_free(w->http);
    mdg_udp_fini(w);
    run_once(w); /* sockets and peers that were closed go at the end of a turn */
    /* Closing the streams tells their owners, which are freed after it. */
    mdg_net_free(w->net);
    mdg_worker_fini_sockjs(w);
    run_once(w);
    if (w->ws)
        mdg_ws_worker_free(w->ws);
    mdg_polls_forget(&w->polls);
    mdg_stomp_part_free(w->stomp);
    w->stomp = NULL;
    if (w->peers)
        mdg_peers_free(w->peers);
    w->peers = NULL; /* the loop still runs what was posted to it, without a turn of the hub */
    mdg_api_work_free(w);
}

void mdg_workers_free_loops(struct mdg_worker *workers, unsigned count)
{
    for (int round = 0; round < LAST_WORDS_ROUNDS; round++) {
        for (unsigned i = 0; i < count; i++) {
            if (workers[i].loop)
                (void)mdg_loop_run_posted(workers[i].loop);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        mdg_loop_free(workers[i].loop);
        workers[i].loop = NULL;
    }
}

void mdg_worker_fini(struct mdg_worker *w)
{
    assert(!w->loop);
    if (w->hub)
        mdg_hub_free(w->hub);
    mdg_principal_unref(w->nobody);
    mdg_handles_fini(&w->clients);
    mdg_handles_fini(&w->held);
    free(w->listeners);
    free(w->ports);
    memset(w, 0, sizeof *w);
}
