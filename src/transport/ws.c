/* WebSocket connections of one worker: what they share, where they come from and go to. */
#include "transport/ws.h"
#include "loop/loop.h"
#include "net/net.h"
#include "transport/ws_conn.h"
#include <stdlib.h>

int mdg_ws_worker_new(struct mdg_loop *loop, struct mdg_ws_worker **out)
{
    struct mdg_ws_worker *w = calloc(1, sizeof *w);
    if (!w)
        return MDG_E_NO_MEMORY;
    w->loop = loop;
    mdg_pool_init(&w->conns, sizeof(struct mdg_ws_conn), 0);
    *out = w;
    return 0;
}

void mdg_ws_worker_free(struct mdg_ws_worker *w)
{
    if (!w)
        return;
    assert(w->conns.used == 0);
    while (w->endpoints) {
        struct mdg_ws_endpoint *next = w->endpoints->next;
        free(w->endpoints);
        w->endpoints = next;
    }
    mdg_ws_worker_free_framings(w);
    mdg_ws_worker_free_messages(w);
    mdg_pool_fini(&w->conns);
    free(w);
}

struct goodbye {
    struct mdg_ws_worker *worker;
    int code;
    struct mdg_slice reason;
    size_t *left;
};

static void say_goodbye(struct mdg_stream *s, void *arg)
{
    const struct goodbye *g = arg;
    struct mdg_ws_conn *c = s->user_arg;
    if (*g->left == 0 || s->user != &mdg_ws_stream_user || c->endpoint->worker != g->worker ||
        mdg_ws_is(c, MDG_WS_CLOSE_SENT | MDG_WS_OVER))
        return;
    --*g->left;
    mdg_link_close(&c->link, g->code, g->reason);
}

/* The net knows its streams; a list of our own would cost every idle connection a pointer. */
void mdg_ws_worker_close_some(struct mdg_ws_worker *w, int code, struct mdg_slice reason,
                              size_t *left)
{
    struct goodbye g = {w, code, reason, left};
    if (w->net)
        mdg_net_each(w->net, say_goodbye, &g);
}

size_t mdg_ws_worker_count(const struct mdg_ws_worker *w)
{
    return w->conns.used;
}

static bool same_deflate(const struct mdg_ws_deflate *a, const struct mdg_ws_deflate *b)
{
    return a->on == b->on && a->server_fresh == b->server_fresh &&
           a->client_fresh == b->client_fresh && a->server_bits == b->server_bits &&
           a->client_bits == b->client_bits;
}

static const struct mdg_framing *choose_framing(struct mdg_ws_worker *w,
                                                const struct mdg_ws_endpoint *e)
{
    if (e->codec.client)
        return NULL; /* every frame is masked with a key of its own */
    if (!e->deflate.on)
        return &mdg_ws_framing_plain;
    if (!e->deflate.server_fresh)
        return NULL;
    return mdg_ws_framing_get(w, e->deflate.server_bits, e->options->compress_bytes_min);
}

int mdg_ws_endpoint_get(struct mdg_ws_worker *w, const struct mdg_ws_options *options, bool client,
                        const struct mdg_ws_deflate *deflate, struct mdg_ws_endpoint **out)
{
    struct mdg_ws_endpoint *e;
    for (e = w->endpoints; e; e = e->next) {
        if (e->options == options && e->codec.client == client &&
            same_deflate(&e->deflate, deflate)) {
            *out = e;
            return 0;
        }
    }
    e = calloc(1, sizeof *e);
    if (!e)
        return MDG_E_NO_MEMORY;
    e->worker = w;
    e->options = options;
    e->deflate = *deflate;
    e->codec.client = client;
    e->codec.message_max = options->message_bytes_max < UINT32_MAX / 2
                               ? (uint32_t)options->message_bytes_max
                               : UINT32_MAX / 2;
    e->framing = choose_framing(w, e);
    if (!e->framing && deflate->on && deflate->server_fresh && !client) {
        free(e);
        return MDG_E_NO_MEMORY;
    }
    e->next = w->endpoints;
    w->endpoints = e;
    *out = e;
    return 0;
}

int mdg_ws_conn_new(struct mdg_ws_endpoint *e, const struct mdg_link_user *user, void *user_arg,
                    struct mdg_ws_conn **out)
{
    struct mdg_ws_worker *w = e->worker;
    struct mdg_ws_conn *c = mdg_pool_get(&w->conns);
    if (!c)
        return MDG_E_NO_MEMORY;
    c->link = (struct mdg_link){&mdg_ws_carrier, e->framing, user, user_arg};
    c->endpoint = e;
    mdg_ws_dec_init(&c->dec, e->deflate.on);
    *out = c;
    return 0;
}

void mdg_ws_conn_start(struct mdg_ws_conn *c, struct mdg_stream *s)
{
    const struct mdg_ws_options *o = c->endpoint->options;
    c->stream = s;
    c->endpoint->worker->net = mdg_stream_net(s);
    mdg_stream_set_out_max(s, o->out_bytes_max);
    mdg_stream_set_timeout(s, o->ping_interval_s);
    mdg_stream_adopt(s, &mdg_ws_stream_user, c);
}

void mdg_ws_conn_free(struct mdg_ws_conn *c)
{
    struct mdg_ws_worker *w = c->endpoint->worker;
    mdg_ws_aux_drop(c);
    mdg_pool_put(&w->conns, c);
}
