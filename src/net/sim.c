/* Streams and datagrams without a kernel. Each end of a pair is a transport of its own with the
 * bytes that are on their way to it; timers of the virtual clock let them arrive, in pieces and
 * with delays that a seeded generator picks. */
#include "net/sim.h"
#include "base/buf.h"
#include "net/udp_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum {
    WINDOW_DEFAULT = 64 * 1024,
    MILLION = 1000000,
    FIRST_PORT = 40000,
    REORDER_DELAYS = 4, /* a datagram that is overtaken waits this many times the longest delay */
};

struct mdg_sim {
    struct mdg_net *net;
    struct mdg_loop *loop; /* outlives the net: datagrams may still be on their way */
    struct mdg_sim_config config;
    uint64_t random;
    uint16_t next_port;
    struct mdg_list ends, sockets, flights; /* flights: datagrams on their way */
};

struct end {
    struct mdg_stream_class cls; /* first: a stream's class is its own end */
    struct mdg_list link;
    struct mdg_sim *sim;
    struct end *peer;
    struct mdg_stream *stream; /* NULL: closed */
    struct mdg_buf pipe;       /* bytes on their way to this end, then those that have arrived... */
    size_t arrived;            /* ...of which this many may be read */
    bool fin_sent, fin, reset, vanished;
    uint32_t events; /* watched */
    struct mdg_timer arrival, room;
};

struct socket {
    struct mdg_list link;
    struct mdg_udp *udp;
};

struct flight {
    struct mdg_list link;
    struct mdg_timer arrival;
    struct mdg_sim *sim;
    struct mdg_addr from, to;
    uint64_t due_ms;
    size_t len;
    uint8_t data[];
};

/* SplitMix64, as in the loop's back-end, but apart from it: what a test draws from the loop does
 * not change what happens on the wire. */
static uint64_t draw(struct mdg_sim *sim)
{
    uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool chance(struct mdg_sim *sim, uint32_t per_million)
{
    return per_million && draw(sim) % MILLION < per_million;
}

static uint64_t delay_ms(struct mdg_sim *sim)
{
    return sim->config.delay_max_ms ? draw(sim) % (sim->config.delay_max_ms + UINT64_C(1)) : 0;
}

static struct end *end_of(struct mdg_stream *s)
{
    return MDG_CONTAINER_OF(mdg_class(s), struct end, cls);
}

static void schedule(struct end *e, uint64_t ms)
{
    if (e->stream && !e->vanished && !mdg_timer_running(&e->arrival))
        mdg_timer_start(e->sim->loop, &e->arrival, ms);
}

static void reset_end(struct end *e)
{
    e->reset = true;
    mdg_buf_consume(&e->pipe, e->pipe.len);
    e->arrived = 0;
    schedule(e, 0);
}

/* More bytes have come, or the end, or a reset; an owner that reads little is called again. */
static void on_arrival(struct mdg_timer *t, void *arg)
{
    struct end *e = arg;
    struct mdg_sim *sim = e->sim;
    size_t waiting = e->pipe.len - e->arrived;
    (void)t;
    if (!e->reset && waiting && chance(sim, sim->config.reset_per_million)) {
        reset_end(e->peer);
        reset_end(e);
        mdg_timer_stop(sim->loop, &e->arrival);
    }
    if (waiting && !e->reset) {
        size_t most = sim->config.piece_max ? sim->config.piece_max : waiting;
        e->arrived += mdg_min_size(waiting, 1 + (size_t)(draw(sim) % most));
    }
    if (!e->reset && e->arrived < e->pipe.len)
        schedule(e, delay_ms(sim));
    if (e->arrived == e->pipe.len)
        e->fin = e->fin_sent;
    if (!e->stream || !(e->events & EPOLLIN))
        return;
    if (e->arrived || e->fin || e->reset)
        mdg_stream_ready(&e->stream->source, EPOLLIN | (e->reset ? EPOLLERR : 0u));
}

static void on_room(struct mdg_timer *t, void *arg)
{
    struct end *e = arg;
    (void)t;
    if (e->stream && (e->events & EPOLLOUT))
        mdg_stream_ready(&e->stream->source, EPOLLOUT);
}

static ssize_t sim_recv(struct mdg_stream *s, struct iovec *iov, int n)
{
    struct end *e = end_of(s);
    size_t total = 0;
    if (e->reset)
        return -ECONNRESET;
    if (e->arrived == 0)
        return e->fin ? 0 : -EAGAIN;
    for (int i = 0; i < n && e->arrived > 0; i++) {
        size_t part = mdg_min_size(iov[i].iov_len, e->arrived);
        memcpy(iov[i].iov_base, e->pipe.data, part);
        mdg_buf_consume(&e->pipe, part);
        e->arrived -= part;
        total += part;
    }
    if (e->arrived > 0 || e->fin_sent)
        schedule(e, 0); /* level-triggered */
    struct end *writer = e->peer;
    if ((writer->events & EPOLLOUT) && !mdg_timer_running(&writer->room))
        mdg_timer_start(e->sim->loop, &writer->room, delay_ms(e->sim));
    return (ssize_t)total;
}

static ssize_t sim_send(struct mdg_stream *s, struct iovec *iov, int n)
{
    struct end *e = end_of(s), *to = e->peer;
    size_t total = 0;
    if (e->reset)
        return -ECONNRESET;
    if (!to->stream && !e->vanished)
        return -EPIPE;
    for (int i = 0; i < n; i++) {
        size_t part = mdg_min_size(iov[i].iov_len, to->pipe.max - to->pipe.len);
        if (mdg_buf_append(&to->pipe, mdg_slice(iov[i].iov_base, part)) < 0)
            break;
        total += part;
    }
    if (total == 0)
        return -EAGAIN;
    schedule(to, delay_ms(e->sim));
    return (ssize_t)total;
}

static int sim_watch(struct mdg_stream *s, uint32_t events, bool again)
{
    struct end *e = end_of(s);
    (void)again;
    e->events = events;
    if ((events & EPOLLIN) && (e->arrived || e->fin || e->reset))
        schedule(e, 0);
    /* A writer that waits for room which is there already. */
    if ((events & EPOLLOUT) && e->peer->pipe.len < e->peer->pipe.max &&
        !mdg_timer_running(&e->room))
        mdg_timer_start(e->sim->loop, &e->room, 0);
    return 0;
}

static void sim_shut(struct mdg_stream *s)
{
    struct end *to = end_of(s)->peer;
    if (to->fin_sent)
        return;
    to->fin_sent = true;
    schedule(to, delay_ms(to->sim));
}

static void sim_close(struct mdg_stream *s)
{
    struct end *e = end_of(s);
    struct mdg_loop *loop = e->sim->loop;
    if (!e->stream)
        return;
    bool unread = e->pipe.len > 0;
    e->stream = NULL;
    mdg_timer_stop(loop, &e->arrival);
    mdg_timer_stop(loop, &e->room);
    if (unread && !e->vanished)
        reset_end(e->peer); /* RFC 9293 3.10.4: closing with unread data is a reset */
    else
        sim_shut(s);
}

static int sim_error(struct mdg_stream *s)
{
    return end_of(s)->reset ? -ECONNRESET : 0;
}

static const struct mdg_transport sim_transport = {
    .name = "sim",
    .recv = sim_recv,
    .send = sim_send,
    .watch = sim_watch,
    .shut = sim_shut,
    .close = sim_close,
    .error = sim_error,
};

static struct end *new_end(struct mdg_sim *sim)
{
    struct end *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->cls.source.ready = mdg_stream_ready;
    e->cls.transport = &sim_transport;
    e->cls.net = sim->net;
    e->sim = sim;
    mdg_buf_init(&e->pipe, sim->config.window_bytes);
    mdg_timer_init(&e->arrival, on_arrival, e);
    mdg_timer_init(&e->room, on_room, e);
    mdg_list_push(&sim->ends, &e->link);
    return e;
}

int mdg_sim_pair(struct mdg_sim *sim, const struct mdg_stream_user *user_a, void *arg_a,
                 const struct mdg_stream_user *user_b, void *arg_b, struct mdg_stream **a,
                 struct mdg_stream **b)
{
    struct end *x = new_end(sim), *y = new_end(sim);
    if (!x || !y)
        return MDG_E_NO_MEMORY; /* an end without a stream is freed with the simulation */
    x->peer = y;
    y->peer = x;
    x->stream = mdg_stream_new(sim->net, &x->cls, -1, user_a, arg_a);
    y->stream = mdg_stream_new(sim->net, &y->cls, -1, user_b, arg_b);
    if (!x->stream || !y->stream) {
        if (x->stream)
            mdg_stream_free(x->stream);
        if (y->stream)
            mdg_stream_free(y->stream);
        return MDG_E_NO_MEMORY;
    }
    *a = x->stream;
    *b = y->stream;
    return 0;
}

void mdg_sim_vanish(struct mdg_stream *s)
{
    struct end *e = end_of(s);
    e->vanished = e->peer->vanished = true;
    mdg_timer_stop(e->sim->loop, &e->arrival);
    mdg_timer_stop(e->sim->loop, &e->peer->arrival);
}

void mdg_sim_reset(struct mdg_stream *s)
{
    struct end *e = end_of(s);
    reset_end(e);
    reset_end(e->peer);
}

/* Datagrams. */

static void free_flight(struct flight *f)
{
    mdg_timer_stop(f->sim->loop, &f->arrival);
    mdg_list_remove(&f->link);
    free(f);
}

static struct mdg_udp *socket_at(struct mdg_sim *sim, const struct mdg_addr *addr)
{
    MDG_LIST_FOR(node, next, &sim->sockets)
    {
        struct mdg_udp *u = MDG_CONTAINER_OF(node, struct socket, link)->udp;
        if (!u->closing && mdg_addr_eq(&u->addr, addr))
            return u;
    }
    return NULL;
}

/* Of those that are due, the one that was sent first: timers of one moment fire in any order. */
static struct flight *first_due(const struct mdg_sim *sim)
{
    uint64_t now_ms = mdg_loop_now_ms(sim->loop);
    MDG_LIST_FOR(node, next, &sim->flights)
    {
        struct flight *f = MDG_CONTAINER_OF(node, struct flight, link);
        if (f->due_ms <= now_ms)
            return f;
    }
    return NULL;
}

static void on_landed(struct mdg_timer *t, void *arg)
{
    struct flight *fired = arg, *f = first_due(fired->sim);
    assert(f);
    if (f != fired)
        mdg_timer_start(fired->sim->loop, &fired->arrival, 0);
    struct mdg_udp *to = socket_at(f->sim, &f->to), *from = socket_at(f->sim, &f->from);
    (void)t;
    if (to && f->len <= to->recv_max)
        to->user->on_datagram(to, &f->from, (struct mdg_input){f->data, f->len});
    else if (!to && from)
        mdg_udp_unreachable(from, &f->to);
    free_flight(f);
}

static struct flight *new_flight(struct mdg_sim *sim, const struct mdg_addr *from,
                                 const struct mdg_addr *to, size_t len)
{
    struct flight *f = calloc(1, sizeof *f + len);
    if (!f)
        return NULL;
    f->sim = sim;
    f->from = *from;
    f->to = *to;
    f->len = len;
    uint64_t ms = delay_ms(sim);
    if (chance(sim, sim->config.reorder_per_million))
        ms += REORDER_DELAYS * (sim->config.delay_max_ms + UINT64_C(1));
    f->due_ms = mdg_loop_now_ms(sim->loop) + ms;
    mdg_timer_init(&f->arrival, on_landed, f);
    mdg_list_push(&sim->flights, &f->link);
    mdg_timer_start(sim->loop, &f->arrival, ms);
    return f;
}

static void launch(struct mdg_udp *u, const struct mdg_datagram *d, const struct mdg_chunk *chunks)
{
    struct mdg_addr to;
    size_t len = 0, at = 0;
    for (size_t i = 0; i < d->chunks; i++)
        len += chunks[i].len;
    mdg_addr_from_sockaddr(&to, (const struct sockaddr *)&d->to, d->to_len);
    struct flight *f = new_flight(u->net->sim, &u->addr, &to, len);
    for (size_t i = 0; f && i < d->chunks; i++) { /* NULL: lost */
        memcpy(f->data + at, chunks[i].blob->data + chunks[i].off, chunks[i].len);
        at += chunks[i].len;
    }
}

static void flush_udp(struct mdg_udp *u)
{
    struct mdg_sim *sim = u->net->sim;
    const struct mdg_chunk *chunks = u->chunks;
    for (size_t i = 0; i < u->len; i++) {
        const struct mdg_datagram *d = &u->queue[i];
        if (!chance(sim, sim->config.loss_per_million))
            launch(u, d, chunks);
        if (chance(sim, sim->config.dup_per_million))
            launch(u, d, chunks);
        chunks += d->chunks;
    }
    mdg_udp_drop(u, u->len);
}

static void close_udp(struct mdg_udp *u)
{
    MDG_LIST_FOR(node, next, &u->net->sim->sockets)
    {
        struct socket *so = MDG_CONTAINER_OF(node, struct socket, link);
        if (so->udp != u)
            continue;
        mdg_list_remove(node);
        free(so);
    }
}

static int open_udp(struct mdg_udp *u, const struct mdg_udp_config *config)
{
    struct mdg_sim *sim = u->net->sim;
    struct socket *so = calloc(1, sizeof *so);
    if (!so)
        return MDG_E_NO_MEMORY;
    u->addr = config->addr;
    if (mdg_addr_port(&u->addr) == 0)
        mdg_addr_set_port(&u->addr, sim->next_port++);
    so->udp = u;
    mdg_list_push(&sim->sockets, &so->link);
    return 0;
}

static const struct mdg_udp_wire udp_wire = {open_udp, flush_udp, close_udp};

int mdg_sim_forge(struct mdg_sim *sim, const struct mdg_addr *from, const struct mdg_addr *to,
                  struct mdg_slice bytes)
{
    struct flight *f = new_flight(sim, from, to, bytes.len);
    if (!f)
        return MDG_E_NO_MEMORY;
    if (bytes.len)
        memcpy(f->data, bytes.data, bytes.len);
    return 0;
}

void mdg_sim_weather(struct mdg_sim *sim, uint32_t loss_per_million, uint32_t dup_per_million,
                     uint32_t reorder_per_million)
{
    sim->config.loss_per_million = loss_per_million;
    sim->config.dup_per_million = dup_per_million;
    sim->config.reorder_per_million = reorder_per_million;
}

/* Life. */

int mdg_sim_new(struct mdg_net *net, const struct mdg_sim_config *config, struct mdg_sim **out)
{
    struct mdg_sim *sim = calloc(1, sizeof *sim);
    if (!sim)
        return MDG_E_NO_MEMORY;
    assert(mdg_loop_kind(net->loop) == MDG_LOOP_SIM);
    sim->net = net;
    sim->loop = net->loop;
    sim->config = *config;
    sim->random = config->seed;
    if (!sim->config.window_bytes)
        sim->config.window_bytes = WINDOW_DEFAULT;
    mdg_list_init(&sim->ends);
    mdg_list_init(&sim->sockets);
    mdg_list_init(&sim->flights);
    sim->next_port = FIRST_PORT;
    net->sim = sim;
    net->udp_wire = &udp_wire;
    *out = sim;
    return 0;
}

void mdg_sim_free(struct mdg_sim *sim)
{
    if (!sim)
        return;
    assert(mdg_list_empty(&sim->sockets));
    MDG_LIST_FOR(node, next, &sim->ends)
    {
        struct end *e = MDG_CONTAINER_OF(node, struct end, link);
        assert(!e->stream);
        mdg_buf_fini(&e->pipe);
        free(e);
    }
    MDG_LIST_FOR(node, next, &sim->flights)
    {
        free_flight(MDG_CONTAINER_OF(node, struct flight, link));
    }
    free(sim);
}
