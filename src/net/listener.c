/* Accepting: a loop of accept4 up to a budget. When descriptors or memory run out, the listener is
 * unwatched and tried again as soon as a connection ends, or after a moment. */
#include "net/listener.h"
#include "net/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG_DEFAULT = 4096,
    ACCEPTS_DEFAULT = 64,
    UNIX_MODE_DEFAULT = 0660,
    RETRY_MS = 200,
    REFUSED_NOTICE_MS = 1000,
    KEEPALIVE_PROBES = 3,
};

struct mdg_listener {
    struct mdg_source source;
    struct mdg_net *net;
    const struct mdg_listener_user *user;
    void *arg;
    int fd;
    bool is_unix, owns_path, paused, starved, closed;
    uint32_t accepts_per_turn;
    uint64_t refused_told_ms;
    struct mdg_addr addr;
    struct mdg_timer retry;
    struct mdg_list starved_link;
    struct mdg_defer freeing;
};

static void notice(struct mdg_listener *l, enum mdg_listener_notice n, int err)
{
    if (l->user->on_notice)
        l->user->on_notice(l, n, err, l->arg);
}

static void watch(struct mdg_listener *l)
{
    bool on = !l->paused && !l->starved;
    /* It was added before; changing the events of a descriptor that is watched cannot fail. */
    if (mdg_loop_rewatch(l->net->loop, &l->source, l->fd, on ? (uint32_t)EPOLLIN : 0) < 0)
        notice(l, MDG_LISTENER_PAUSED, -errno);
}

static void starve(struct mdg_listener *l, int err)
{
    mdg_timer_start(l->net->loop, &l->retry, RETRY_MS);
    if (l->starved)
        return;
    l->starved = true;
    l->net->counters.accept_pauses++;
    mdg_list_push(&l->net->starved, &l->starved_link);
    watch(l);
    notice(l, MDG_LISTENER_PAUSED, err);
}

static void refuse(struct mdg_listener *l, int fd, int err)
{
    uint64_t now = mdg_loop_now_ms(l->net->loop);
    close(fd);
    if (err != MDG_E_DENIED) {
        l->net->counters.refused_memory++;
        return;
    }
    l->net->counters.refused_account++;
    if (l->refused_told_ms == 0 || now - l->refused_told_ms >= REFUSED_NOTICE_MS) {
        l->refused_told_ms = now;
        notice(l, MDG_LISTENER_REFUSED, err);
    }
}

static void welcome(struct mdg_listener *l, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct mdg_net *net = l->net;
    struct mdg_account *account = NULL;
    mdg_addr_from_sockaddr(&net->accepted_from, sa, len);
    net->accepted_generation = 0;
    if (net->accounts && !l->is_unix) {
        int err = mdg_account_get(net->accounts, &net->accepted_from, &account);
        if (err < 0) {
            refuse(l, fd, err);
            return;
        }
    }
    struct mdg_stream *s = mdg_stream_new(net, l->is_unix ? &net->un : &net->tcp, fd, NULL, NULL);
    if (!s) {
        mdg_account_put(account);
        refuse(l, fd, MDG_E_NO_MEMORY);
        return;
    }
    s->account = account;
    net->counters.accepted++;
    net->accepted_generation = s->generation;
    l->user->on_accept(l, s, l->arg);
    if (!(s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_PAUSED | MDG_STREAM_LINGER)))
        mdg_stream_read(s); /* the first bytes are often there already */
}

/* False: stop for this turn. */
static bool accept_one(struct mdg_listener *l)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (l->starved) {
            l->starved = false;
            mdg_list_remove(&l->starved_link);
            mdg_timer_stop(l->net->loop, &l->retry);
            watch(l);
            notice(l, MDG_LISTENER_RESUMED, 0);
        }
        welcome(l, fd, (struct sockaddr *)&sa, len);
        return !l->closed && !l->paused;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        starve(l, -errno);
        return false;
    case EAGAIN:
        if (l->starved) { /* nobody waits any more: look again when somebody does */
            l->starved = false;
            mdg_list_remove(&l->starved_link);
            watch(l);
            notice(l, MDG_LISTENER_RESUMED, 0);
        }
        return false;
    case EINTR:
    case ECONNABORTED: /* accept(2): errors of the connection, not of the listener */
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        starve(l, -errno);
        return false;
    }
}

static void accept_some(struct mdg_listener *l)
{
    for (uint32_t i = 0; i < l->accepts_per_turn && accept_one(l); i++)
        ;
}

static void on_ready(struct mdg_source *src, uint32_t events)
{
    struct mdg_listener *l = MDG_CONTAINER_OF(src, struct mdg_listener, source);
    (void)events;
    if (!l->closed && !l->paused)
        accept_some(l);
}

static void on_retry(struct mdg_timer *t, void *arg)
{
    struct mdg_listener *l = arg;
    (void)t;
    if (!l->paused)
        accept_some(l);
}

/* A connection has ended: its descriptor may be what was missing. Not at once, because this is the
 * free phase, where nothing is called that could make new streams. */
void mdg_listeners_retry(struct mdg_net *net)
{
    MDG_LIST_FOR(node, next, &net->starved)
    mdg_timer_start(net->loop, &MDG_CONTAINER_OF(node, struct mdg_listener, starved_link)->retry,
                    0);
}

/* Removes the file of a unix socket when nobody listens behind it. */
static int remove_stale(const struct mdg_addr *a)
{
    struct stat st;
    if (a->un.sun_path[0] == 0 || lstat(a->un.sun_path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = connect(fd, &a->any, a->len) < 0 ? -errno : 0;
    close(fd);
    if (err != -ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(a->un.sun_path) < 0 ? -errno : 0;
}

/* RFC 9293 3.8.4: who vanished without a word (a cable, a laptop that sleeps) is found, also in
 * protocols that have no heartbeat. Inherited by every connection. */
static int set_keepalive(int fd, uint32_t idle_s)
{
    int on = 1, idle = (int)idle_s, probes = KEEPALIVE_PROBES;
    int interval = idle_s > KEEPALIVE_PROBES ? idle / KEEPALIVE_PROBES : 1;
    if (idle_s == 0)
        return 0;
    if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

static int set_options(int fd, const struct mdg_listener_config *c)
{
    int on = 1, v6_only = c->v6_only;
    if (c->addr.any.sa_family == AF_UNIX)
        return remove_stale(&c->addr);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (c->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    if (c->addr.any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0)
        return -errno;
    /* Inherited by every connection, which saves a call for each (tcp(7)). */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return -errno;
    return set_keepalive(fd, c->keepalive_s);
}

static int bind_and_listen(struct mdg_listener *l, const struct mdg_listener_config *c)
{
    int err = set_options(l->fd, c);
    if (err < 0)
        return err;
    if (bind(l->fd, &c->addr.any, c->addr.len) < 0)
        return -errno;
    if (l->is_unix && c->addr.un.sun_path[0]) {
        l->owns_path = true;
        if (chmod(c->addr.un.sun_path, c->unix_mode ? c->unix_mode : UNIX_MODE_DEFAULT) < 0)
            return -errno;
    }
    return listen(l->fd, c->backlog ? c->backlog : BACKLOG_DEFAULT) < 0 ? -errno : 0;
}

static int open_socket(struct mdg_listener *l, const struct mdg_listener_config *c)
{
    if (c->inherited_fd > 0) {
        int on = 1, flags = fcntl(c->inherited_fd, F_GETFL);
        if (flags < 0 || fcntl(c->inherited_fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
        fcntl(c->inherited_fd, F_SETFD, FD_CLOEXEC);
        setsockopt(c->inherited_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not on unix */
        (void)!set_keepalive(c->inherited_fd, c->keepalive_s);
        l->fd = c->inherited_fd;
        return 0;
    }
    l->is_unix = c->addr.any.sa_family == AF_UNIX;
    l->fd = socket(c->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return -errno;
    return bind_and_listen(l, c);
}

static int open_listener(struct mdg_listener *l, const struct mdg_listener_config *c)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int err = open_socket(l, c);
    if (err < 0)
        return err;
    if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    mdg_addr_from_sockaddr(&l->addr, (struct sockaddr *)&sa, len);
    l->is_unix = l->addr.any.sa_family == AF_UNIX;
    return mdg_loop_watch(l->net->loop, &l->source, l->fd, EPOLLIN);
}

static void close_socket(struct mdg_listener *l)
{
    if (l->fd >= 0) {
        /* Explicitly: a successor process may hold the same socket, and epoll watches sockets. */
        mdg_loop_unwatch(l->net->loop, l->fd);
        close(l->fd);
    }
    l->fd = -1;
    if (l->owns_path)
        unlink(l->addr.un.sun_path);
}

static void free_listener(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

int mdg_listener_new(struct mdg_net *net, const struct mdg_listener_config *config,
                     const struct mdg_listener_user *user, void *arg, struct mdg_listener **out)
{
    static const struct mdg_source_ops ops = {on_ready};
    struct mdg_listener *l = calloc(1, sizeof *l);
    if (!l)
        return MDG_E_NO_MEMORY;
    l->source.ops = &ops;
    l->net = net;
    l->user = user;
    l->arg = arg;
    l->fd = -1;
    l->addr = config->addr;
    l->accepts_per_turn = config->accepts_per_turn ? config->accepts_per_turn : ACCEPTS_DEFAULT;
    mdg_list_init(&l->starved_link);
    mdg_timer_init(&l->retry, on_retry, l);
    l->freeing = (struct mdg_defer){.fn = free_listener, .arg = l};
    int err = open_listener(l, config);
    if (err < 0) {
        if (config->inherited_fd > 0)
            l->fd = -1;
        close_socket(l);
        free(l);
        return err;
    }
    *out = l;
    return 0;
}

void mdg_listener_close(struct mdg_listener *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    close_socket(l);
    mdg_list_remove(&l->starved_link);
    mdg_timer_stop(l->net->loop, &l->retry);
    mdg_loop_dispose(l->net->loop, &l->freeing);
}

const struct mdg_addr *mdg_listener_addr(const struct mdg_listener *l)
{
    return &l->addr;
}

void mdg_listener_pause(struct mdg_listener *l, bool paused)
{
    if (l->closed || l->paused == paused)
        return;
    l->paused = paused;
    watch(l);
}

int mdg_listener_fd(const struct mdg_listener *l)
{
    return l->fd;
}
