/* Datagrams: a turn's worth is received with one recvmmsg into the hot buffer and what is to be
 * sent goes out with sendmmsg in the flush phase. A datagram that cannot be sent is lost, as it
 * might be further on; only a full socket makes the rest wait. */
#include "net/udp.h"
#include "net/udp_internal.h"
#include <errno.h>
#include <linux/errqueue.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    RECV_MAX_DEFAULT = 2048,
    OUT_MAX_DEFAULT = 1024,
    BATCH = 64,
    RECV_ROUNDS_MAX = 4, /* then the other descriptors have their turn */
    DRAINS_MAX = 4,      /* in a flush; attack: ICMP without end */
    ERRORS_MAX = 256,    /* taken at once; the queue's own bound is the socket's receive buffer */
};

static int grow(void **at, size_t *cap, size_t need, size_t item)
{
    if (need <= *cap)
        return 0;
    size_t bigger = mdg_max_size(*cap * 2, mdg_max_size(need, 32));
    void *p = realloc(*at, bigger * item);
    if (!p)
        return MDG_E_NO_MEMORY;
    *at = p;
    *cap = bigger;
    return 0;
}

static void mark(struct mdg_udp *u)
{
    if (u->dirty || u->wants_out)
        return;
    u->dirty = true;
    mdg_list_push(&u->net->udp_dirty, &u->link);
    mdg_loop_kick(u->net->loop);
}

static int check(struct mdg_udp *u, const struct mdg_addr *to, size_t n, size_t bytes)
{
    if (u->closing)
        return MDG_E_CLOSED;
    if (bytes > MDG_UDP_PAYLOAD_MAX || n > MDG_UDP_CHUNKS_MAX)
        return MDG_E_TOO_BIG;
    if (u->len >= u->out_max) {
        u->refused = true;
        return MDG_E_FULL;
    }
    assert(!to || (to->len > 0 && to->len <= sizeof(struct sockaddr_in6)));
    int err = grow((void **)&u->queue, &u->cap, u->len + 1, sizeof *u->queue);
    if (err < 0)
        return err;
    return grow((void **)&u->chunks, &u->chunks_cap, u->chunks_len + n, sizeof *u->chunks);
}

int mdg_udp_send(struct mdg_udp *u, const struct mdg_addr *to, struct mdg_chunk *chunks, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += chunks[i].len;
    int err = check(u, to, n, bytes);
    if (err < 0)
        return err;
    struct mdg_datagram *d = &u->queue[u->len++];
    d->chunks = (uint8_t)n;
    d->to_len = to ? (uint8_t)to->len : 0;
    if (to)
        memcpy(&d->to, &to->any, to->len);
    for (size_t i = 0; i < n; i++) {
        u->chunks[u->chunks_len++] = chunks[i];
        chunks[i].blob = NULL;
    }
    mark(u);
    return 0;
}

int mdg_udp_write(struct mdg_udp *u, const struct mdg_addr *to, const struct mdg_slice *parts,
                  size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += parts[i].len;
    if (bytes > MDG_UDP_PAYLOAD_MAX)
        return MDG_E_TOO_BIG;
    struct mdg_blob *blob = mdg_blob_new((uint32_t)bytes);
    if (!blob)
        return MDG_E_NO_MEMORY;
    uint8_t *at = blob->data;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    struct mdg_chunk whole = mdg_chunk_all(blob);
    int err = mdg_udp_send(u, to, &whole, 1);
    if (err < 0)
        mdg_blob_unref(blob);
    return err;
}

void mdg_udp_drop(struct mdg_udp *u, size_t n)
{
    size_t chunks = 0;
    for (size_t i = 0; i < n; i++)
        chunks += u->queue[i].chunks;
    for (size_t i = 0; i < chunks; i++)
        mdg_blob_unref(u->chunks[i].blob);
    u->len -= n;
    u->chunks_len -= chunks;
    if (u->len)
        memmove(u->queue, u->queue + n, u->len * sizeof *u->queue);
    if (u->chunks_len)
        memmove(u->chunks, u->chunks + chunks, u->chunks_len * sizeof *u->chunks);
}

/* ---- The kernel's sockets ---- */

/* Believed only where the host of that address says it itself: RFC 8085 5.2 wants what comes by
 * ICMP to be doubted, and whoever can forge that address could say good-bye in its name as well. */
static void take_error(struct mdg_udp *u, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        bool v4 = c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR;
        bool v6 = c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR;
        if (!v4 && !v6)
            continue;
        struct {
            struct sock_extended_err error;
            struct sockaddr_in6 offender; /* large enough for either family */
        } told;
        size_t len = mdg_min_size(c->cmsg_len - CMSG_LEN(0), sizeof told);
        memset(&told, 0, sizeof told);
        memcpy(&told, CMSG_DATA(c), len);
        struct mdg_addr peer, offender;
        mdg_addr_from_sockaddr(&peer, msg->msg_name, msg->msg_namelen);
        mdg_addr_from_sockaddr(&offender, (struct sockaddr *)&told.offender, sizeof told.offender);
        mdg_addr_set_port(&offender, mdg_addr_port(&peer));
        if (told.error.ee_errno == ECONNREFUSED && mdg_addr_eq(&peer, &offender))
            mdg_udp_unreachable(u, &peer);
    }
}

/* What came back by ICMP. As long as something lies there the socket reports an error, and an error
 * is given to whoever sends or receives next, whose datagram has nothing to do with it. */
static bool drain_errors(struct mdg_udp *u)
{
    bool any = false;
    for (int i = 0; i < ERRORS_MAX && !u->closing; i++) {
        struct sockaddr_in6 to;
        union {
            struct cmsghdr align;
            uint8_t bytes[256];
        } control;
        struct msghdr msg = {.msg_name = &to,
                             .msg_namelen = sizeof to,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
        if (recvmsg(u->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            break;
        any = true;
        take_error(u, &msg);
    }
    return any;
}

/* One sendmmsg. The number of datagrams that were sent, or -errno. */
static int send_batch(struct mdg_udp *u)
{
    struct mmsghdr msgs[BATCH];
    struct iovec iov[BATCH * MDG_UDP_CHUNKS_MAX];
    size_t n = mdg_min_size(u->len, BATCH), used = 0;
    for (size_t i = 0; i < n; i++) {
        struct mdg_datagram *d = &u->queue[i];
        msgs[i].msg_hdr = (struct msghdr){.msg_name = d->to_len ? &d->to : NULL,
                                          .msg_namelen = d->to_len,
                                          .msg_iov = iov + used,
                                          .msg_iovlen = d->chunks};
        for (size_t c = 0; c < d->chunks; c++, used++) {
            struct mdg_slice bytes = mdg_chunk_slice(&u->chunks[used]);
            iov[used] = (struct iovec){(void *)(uintptr_t)bytes.data, bytes.len};
        }
    }
    int sent;
    do {
        sent = sendmmsg(u->fd, msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void watch(struct mdg_udp *u, bool out)
{
    u->wants_out = out;
    uint32_t events = (uint32_t)EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0);
    int err = mdg_loop_rewatch(u->net->loop, &u->source, u->fd, events);
    if (err < 0)
        mdg_udp_close(u, err);
}

static void flush_socket(struct mdg_udp *u)
{
    for (unsigned drained = 0; u->len > 0;) {
        int sent = send_batch(u);
        if (sent == -EAGAIN || sent == -ENOBUFS)
            break; /* the socket is full */
        if (sent < 0 && drained++ < DRAINS_MAX && drain_errors(u))
            continue;
        /* Another error is the first datagram's: it is lost. */
        mdg_udp_drop(u, sent > 0 ? (size_t)sent : 1);
    }
    if (!u->closing && (u->len > 0) != u->wants_out)
        watch(u, u->len > 0);
}

static void flush(struct mdg_udp *u)
{
    u->net->udp_wire->flush(u);
    if (u->closing || !u->refused || u->len > u->out_max / 4)
        return;
    u->refused = false;
    if (u->user->on_writable)
        u->user->on_writable(u);
}

void mdg_udp_flush_all(struct mdg_net *net)
{
    struct mdg_list now;
    mdg_list_init(&now);
    mdg_list_take(&now, &net->udp_dirty);
    struct mdg_list *node;
    while ((node = mdg_list_first(&now))) {
        struct mdg_udp *u = MDG_CONTAINER_OF(node, struct mdg_udp, link);
        mdg_list_remove(node);
        u->dirty = false;
        flush(u);
        if (u->closing)
            mdg_list_push(&net->udp_closing, &u->link);
    }
}

/* One recvmmsg into the hot buffer. False: nothing more waits. */
static bool receive_batch(struct mdg_udp *u)
{
    struct mmsghdr msgs[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_in6 from[BATCH];
    struct mdg_net *net = u->net;
    unsigned n = (unsigned)mdg_min_size(BATCH, net->hot_bytes / u->recv_max);
    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){net->hot + (size_t)i * u->recv_max, u->recv_max};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof from[i],
                                          .msg_iov = &iov[i],
                                          .msg_iovlen = 1};
    }
    int got = recvmmsg(u->fd, msgs, n, MSG_DONTWAIT, NULL);
    net->counters.reads++;
    for (int i = 0; i < got && !u->closing; i++) {
        struct mdg_addr addr;
        net->counters.in_bytes += msgs[i].msg_len;
        if (msgs[i].msg_hdr.msg_flags & MSG_TRUNC)
            continue; /* longer than is wanted: half of a message is no message */
        mdg_addr_from_sockaddr(&addr, (struct sockaddr *)&from[i], msgs[i].msg_hdr.msg_namelen);
        u->user->on_datagram(u, &addr, (struct mdg_input){iov[i].iov_base, msgs[i].msg_len});
    }
    /* An error such as ECONNREFUSED (an ICMP answer) belongs to one datagram: go on. */
    return got == (int)n || (got < 0 && errno != EAGAIN);
}

static void on_ready(struct mdg_source *src, uint32_t events)
{
    struct mdg_udp *u = MDG_CONTAINER_OF(src, struct mdg_udp, source);
    if (u->closing)
        return;
    if (events & EPOLLOUT) {
        u->wants_out = false; /* looked at again by the flush */
        mark(u);
        u->wants_out = true;
    }
    if (events & EPOLLERR)
        drain_errors(u);
    if (!(events & (EPOLLIN | EPOLLERR)))
        return;
    for (int i = 0; i < RECV_ROUNDS_MAX && !u->closing && receive_batch(u); i++)
        ;
}

static int bind_socket(struct mdg_udp *u, const struct mdg_udp_config *c, int family)
{
    int on = 1, off = 0;
    u->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (u->fd < 0)
        return -errno;
    if (c->reuse_port && setsockopt(u->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    if (family == AF_INET6 && setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
        return -errno;
    if (c->addr.len && bind(u->fd, &c->addr.any, c->addr.len) < 0)
        return -errno;
    if (c->peer.len && connect(u->fd, &c->peer.any, c->peer.len) < 0)
        return -errno;
    return 0;
}

/* A connected socket has one peer and reports its errors without this. */
static int want_errors(int fd, int family)
{
    int on = 1;
    if (setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof on) < 0)
        return -errno; /* on an IPv6 socket for those who come over IPv4 */
    if (family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_RECVERR, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

static int open_socket(struct mdg_udp *u, const struct mdg_udp_config *c)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int err = 0;
    if (c->inherited_fd > 0)
        u->fd = c->inherited_fd;
    else
        err = bind_socket(u, c, c->addr.len ? c->addr.any.sa_family : c->peer.any.sa_family);
    if (err < 0)
        return err;
    if (getsockname(u->fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    mdg_addr_from_sockaddr(&u->addr, (struct sockaddr *)&sa, len);
    if (!c->peer.len)
        err = want_errors(u->fd, sa.ss_family);
    return err < 0 ? err : mdg_loop_watch(u->net->loop, &u->source, u->fd, EPOLLIN);
}

static int open_kernel(struct mdg_udp *u, const struct mdg_udp_config *config)
{
    static const struct mdg_source_ops ops = {on_ready};
    u->source.ops = &ops;
    int err = open_socket(u, config);
    if (err < 0 && u->fd >= 0 && config->inherited_fd <= 0)
        close(u->fd);
    return err;
}

static void close_kernel(struct mdg_udp *u)
{
    mdg_loop_unwatch(u->net->loop, u->fd);
    close(u->fd);
}

const struct mdg_udp_wire mdg_udp_kernel = {open_kernel, flush_socket, close_kernel};

/* ---- Life ---- */

static struct mdg_udp *make(struct mdg_net *net, const struct mdg_udp_config *config,
                            const struct mdg_udp_user *user, void *user_arg)
{
    struct mdg_udp *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->net = net;
    u->user = user;
    u->arg = user_arg;
    u->fd = -1;
    u->recv_max = config->recv_max ? config->recv_max : RECV_MAX_DEFAULT;
    u->out_max = config->out_max ? config->out_max : OUT_MAX_DEFAULT;
    mdg_list_init(&u->link);
    return u;
}

static void free_udp(struct mdg_udp *u)
{
    mdg_udp_drop(u, u->len);
    free(u->queue);
    free(u->chunks);
    free(u);
}

int mdg_udp_new(struct mdg_net *net, const struct mdg_udp_config *config,
                const struct mdg_udp_user *user, void *user_arg, struct mdg_udp **out)
{
    if (config->recv_max > net->hot_bytes)
        return MDG_E_TOO_BIG;
    struct mdg_udp *u = make(net, config, user, user_arg);
    if (!u)
        return MDG_E_NO_MEMORY;
    int err = net->udp_wire->open(u, config);
    if (err < 0) {
        free_udp(u);
        return err;
    }
    *out = u;
    return 0;
}

void mdg_udp_close(struct mdg_udp *u, int reason)
{
    if (!u || u->closing)
        return;
    u->closing = true;
    u->reason = reason;
    if (!u->dirty) /* otherwise after its last flush */
        mdg_list_push(&u->net->udp_closing, &u->link);
    mdg_loop_kick(u->net->loop);
}

void mdg_udp_free_closed(struct mdg_net *net)
{
    struct mdg_list now;
    mdg_list_init(&now);
    mdg_list_take(&now, &net->udp_closing);
    struct mdg_list *node;
    while ((node = mdg_list_first(&now))) {
        struct mdg_udp *u = MDG_CONTAINER_OF(node, struct mdg_udp, link);
        mdg_list_remove(node);
        net->udp_wire->close(u);
        u->user->on_close(u, u->reason);
        free_udp(u);
    }
}

void mdg_udp_unreachable(struct mdg_udp *u, const struct mdg_addr *peer)
{
    if (!u->closing && u->user->on_unreachable)
        u->user->on_unreachable(u, peer);
}

void *mdg_udp_arg(const struct mdg_udp *u)
{
    return u->arg;
}

struct mdg_loop *mdg_udp_loop(const struct mdg_udp *u)
{
    return u->net->loop;
}

const struct mdg_addr *mdg_udp_addr(const struct mdg_udp *u)
{
    return &u->addr;
}
