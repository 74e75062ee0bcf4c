/* Spreading connections evenly over the workers. SO_REUSEPORT picks a listener by a hash of the
 * addresses: good on average, uneven for a burst or for few clients. A worker that is ahead of the
 * idlest one hands a fresh connection over before a byte of it was read. */
#include "net/net.h"
#include "net/stream.h"
#include "server/ports.h"
#include "server/server.h"
#include <stdlib.h>

enum {
    AHEAD_MIN = 2,     /* a difference that is not worth a hand-over */
    AHEAD_PERCENT = 2, /* nor is one that is small for this many connections */
};

struct hand_over {
    struct mdg_post post;
    struct mdg_port_slot *port; /* on the receiving worker */
    struct mdg_moved moved;
};

/* Connections of the worker, those included that are on their way to it. */
static uint64_t load_of(const struct mdg_worker *w)
{
    return atomic_load_explicit(&w->load, memory_order_relaxed);
}

void mdg_spread_count(struct mdg_worker *w)
{
    uint64_t incoming = atomic_load_explicit(&w->incoming, memory_order_relaxed);
    atomic_store_explicit(&w->load, mdg_net_counters(w->net)->streams + incoming,
                          memory_order_relaxed);
}

static void on_arrival(struct mdg_loop *loop, struct mdg_post *post)
{
    struct hand_over *h = MDG_CONTAINER_OF(post, struct hand_over, post);
    struct mdg_worker *w = mdg_port_worker(h->port);
    struct mdg_stream *s;
    (void)loop;
    atomic_fetch_sub_explicit(&w->incoming, 1, memory_order_relaxed);
    if (w->draining || w->stopping)
        mdg_moved_drop(&h->moved);
    else if (mdg_port_attach(h->port, &h->moved, &s) < 0)
        mdg_log(&w->server->log, MDG_LOG_WARN, "a connection was lost between workers", NULL);
    free(h);
}

bool mdg_spread(struct mdg_worker *here, struct mdg_stream *s, size_t port_index)
{
    struct madang *server = here->server;
    struct mdg_worker *idlest = here;
    mdg_spread_count(here);
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (load_of(&server->workers[i]) < load_of(idlest))
            idlest = &server->workers[i];
    }
    uint64_t most = load_of(here), least = load_of(idlest);
    if (most - least < AHEAD_MIN + most * AHEAD_PERCENT / 100)
        return false;
    struct mdg_port_slot *port = mdg_port_of(idlest, port_index);
    struct hand_over *h = port ? calloc(1, sizeof *h) : NULL;
    if (!h || mdg_stream_detach(s, 0, &h->moved) < 0) {
        free(h); /* it stays here */
        return false;
    }
    h->port = port;
    h->post.fn = on_arrival;
    atomic_fetch_add_explicit(&idlest->incoming, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&idlest->load, 1, memory_order_relaxed);
    mdg_loop_post_node(idlest->loop, &h->post);
    return true;
}
