/* The network part of a loop: its pools and lists, and its share of every turn. */
#include "net/net.h"
#include "loop/send_batch.h"
#include "net/internal.h"
#include "net/resolve.h"
#include "net/tls_internal.h"
#include "net/udp_internal.h"
#include <stdlib.h>

enum {
    OUT_MAX_DEFAULT = 1024 * 1024,
    UNREAD_MAX_DEFAULT = 128 * 1024,
};

static void close_one(struct mdg_stream *s)
{
    int reason = (int)s->due_s;
    mdg_tls_closed(s, reason);
    if (!(s->flags & MDG_STREAM_DETACHED))
        s->user->on_close(s, reason);
    mdg_stream_free(s);
}

/* What on_close upcalls close in turn is closed in the next turn, after its flush. */
static void free_closed(struct mdg_net *net)
{
    struct mdg_list now;
    mdg_list_init(&now);
    mdg_list_take(&now, &net->closing);
    bool any = !mdg_list_empty(&now);
    struct mdg_list *node;
    while ((node = mdg_list_first(&now)))
        close_one(MDG_CONTAINER_OF(node, struct mdg_stream, link));
    if (any && !mdg_list_empty(&net->starved))
        mdg_listeners_retry(net);
}

static void on_flush_phase(struct mdg_phase *p)
{
    struct mdg_net *net = MDG_CONTAINER_OF(p, struct mdg_net, phase);
    mdg_net_flush(net);
    mdg_udp_flush_all(net);
}

static void on_free_phase(struct mdg_phase *p)
{
    struct mdg_net *net = MDG_CONTAINER_OF(p, struct mdg_net, phase);
    free_closed(net);
    mdg_udp_free_closed(net);
}

static bool has_pending(const struct mdg_phase *p)
{
    const struct mdg_net *net = MDG_CONTAINER_OF(p, struct mdg_net, phase);
    return net->dirty.len > 0 || net->owed.len > 0 || !mdg_list_empty(&net->closing) ||
           !mdg_list_empty(&net->udp_dirty) || !mdg_list_empty(&net->udp_closing);
}

static int open_batch(struct mdg_net *net, enum mdg_uring_use use)
{
    const char *forced = getenv("MADANG_IO_URING");
    if (mdg_loop_kind(net->loop) == MDG_LOOP_SIM)
        return 0;
    if (forced && forced[0])
        use = forced[0] == '0' ? MDG_URING_OFF : MDG_URING_ON;
    if (use == MDG_URING_OFF)
        return 0;
    int err = mdg_send_batch_new(&net->batch);
    return err < 0 && use == MDG_URING_ON ? MDG_E_UNSUPPORTED : 0;
}

static void init_class(struct mdg_net *net, struct mdg_stream_class *cls,
                       const struct mdg_transport *transport)
{
    cls->source.ready = mdg_stream_ready;
    cls->transport = transport;
    cls->net = net;
}

int mdg_net_new(struct mdg_loop *loop, const struct mdg_net_config *config, struct mdg_net **out)
{
    static const struct mdg_net_config defaults;
    if (!config)
        config = &defaults;
    struct mdg_net *net = calloc(1, sizeof *net);
    if (!net)
        return MDG_E_NO_MEMORY;
    net->loop = loop;
    int err = open_batch(net, config->uring);
    if (err < 0) {
        free(net);
        return err;
    }
    net->hot = mdg_loop_hot(loop, &net->hot_bytes);
    net->out_max = config->out_max ? config->out_max : OUT_MAX_DEFAULT;
    net->unread_max = config->unread_max ? config->unread_max : UNREAD_MAX_DEFAULT;
    net->unread_max = (uint32_t)mdg_min_size(net->unread_max, net->hot_bytes / 2);
    net->accounts = config->accounts;
    net->flush_at = MDG_DIRTY_MAX;
    init_class(net, &net->tcp, &mdg_transport_tcp);
    init_class(net, &net->un, &mdg_transport_unix);
    mdg_pool_init(&net->streams, sizeof(struct mdg_stream), config->streams_max);
    mdg_pool_init(&net->auxes, sizeof(struct mdg_stream_aux), 0);
    mdg_small_init(&net->small);
    mdg_list_init(&net->closing);
    mdg_list_init(&net->starved);
    mdg_list_init(&net->udp_dirty);
    mdg_list_init(&net->udp_closing);
    net->udp_wire = &mdg_udp_kernel;
    mdg_wheel_init(net);
    mdg_timer_init(&net->yield_timer, mdg_net_run_yielded, net);
    net->reoffer_defer = (struct mdg_defer){.fn = mdg_net_run_reoffers, .arg = net};
    net->phase =
        (struct mdg_phase){.flush = on_flush_phase, .free = on_free_phase, .pending = has_pending};
    mdg_loop_add_phase(loop, &net->phase);
    *out = net;
    return 0;
}

void mdg_net_free(struct mdg_net *net)
{
    if (!net)
        return;
    mdg_net_close_all(net, MDG_E_CLOSED);
    while (!mdg_list_empty(&net->closing)) {
        mdg_net_flush(net);
        free_closed(net);
        mdg_net_close_all(net, MDG_E_CLOSED); /* made by an upcall */
    }
    mdg_udp_free_closed(net);
    assert(net->counters.streams == 0 && mdg_list_empty(&net->udp_dirty));
    mdg_resolve_close(net);
    mdg_loop_remove_phase(net->loop, &net->phase);
    mdg_timer_stop(net->loop, &net->wheel_timer);
    mdg_timer_stop(net->loop, &net->yield_timer);
    mdg_defer_cancel(&net->reoffer_defer);
    mdg_send_batch_free(net->batch);
    mdg_net_arena_free(net);
    mdg_tls_scratch_free(net);
    free(net->dirty.at);
    free(net->reoffer.at);
    free(net->yielded.at);
    free(net->owed.at);
    mdg_pool_fini(&net->streams);
    mdg_pool_fini(&net->auxes);
    mdg_small_fini(&net->small);
    free(net);
}

struct mdg_loop *mdg_net_loop(const struct mdg_net *net)
{
    return net->loop;
}

struct mdg_small *mdg_net_small(struct mdg_net *net)
{
    return &net->small;
}

const char *mdg_net_send_path(const struct mdg_net *net)
{
    return net->batch ? "io_uring" : "sendmsg";
}

const struct mdg_net_counters *mdg_net_counters(const struct mdg_net *net)
{
    return &net->counters;
}

struct closing {
    const struct mdg_stream_user *user; /* NULL: everybody's */
    int reason;
};

static void close_if_owned(struct mdg_stream *s, void *arg)
{
    const struct closing *c = arg;
    if (!c->user || s->user == c->user)
        mdg_stream_close(s, c->reason);
}

void mdg_net_close_all(struct mdg_net *net, int reason)
{
    mdg_net_close_owned(net, NULL, reason);
}

void mdg_net_close_owned(struct mdg_net *net, const struct mdg_stream_user *user, int reason)
{
    struct closing c = {user, reason};
    mdg_net_each(net, close_if_owned, &c);
}
