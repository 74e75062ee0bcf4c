/* A connected datagram socket: each datagram is a message, both ways. */
#include "base/utf8.h"
#include "client/client.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { DATAGRAM_MAX = 65536, PER_TURN_MAX = 64 };

struct mdg_client_udp {
    struct mdg_source source;
    struct madang_client *client;
    struct mdg_defer free_later;
    int fd;
};

static void on_ready(struct mdg_source *source, uint32_t events)
{
    struct mdg_client_udp *u = MDG_CONTAINER_OF(source, struct mdg_client_udp, source);
    struct madang_client *c = u->client;
    uint8_t data[DATAGRAM_MAX];
    (void)events;
    for (int i = 0; i < PER_TURN_MAX && c && c->udp == u; i++) {
        ssize_t n = recv(u->fd, data, sizeof data, 0);
        if (n < 0 && errno == ECONNREFUSED) {
            mdg_client_down(c, MDG_CLOSE_ABNORMAL, "nobody listens there");
            return;
        }
        if (n < 0)
            return;
        struct mdg_slice all = mdg_slice(data, (size_t)n);
        mdg_client_message(c, all, !mdg_utf8_valid(all));
    }
}

static const struct mdg_source_ops ops = {on_ready};

static void opened(struct mdg_loop *loop, void *arg)
{
    struct mdg_client_udp *u = arg;
    (void)loop;
    if (u->client)
        mdg_client_carried(u->client, "");
}

static int start(struct madang_client *c)
{
    struct mdg_addr addr;
    const char *host = strcmp(c->url.host, "localhost") == 0 ? "127.0.0.1" : c->url.host;
    if (mdg_addr_parse_ip(&addr, mdg_slice_str(host), c->url.port) < 0)
        return MDG_E_UNSUPPORTED;
    struct mdg_client_udp *u = calloc(1, sizeof *u);
    if (!u)
        return MDG_E_NO_MEMORY;
    u->source.ops = &ops;
    u->client = c;
    u->fd = socket(addr.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = u->fd < 0 || connect(u->fd, &addr.any, addr.len) < 0 ? -errno : 0;
    if (rc == 0)
        rc = mdg_loop_watch(c->clients->loop, &u->source, u->fd, EPOLLIN);
    if (rc < 0) {
        if (u->fd >= 0)
            close(u->fd);
        free(u);
        return rc;
    }
    c->udp = u;
    u->free_later = (struct mdg_defer){.fn = opened, .arg = u};
    mdg_loop_defer(c->clients->loop, &u->free_later);
    return 0;
}

static int send_datagram(struct madang_client *c, struct mdg_slice data, bool binary)
{
    (void)binary;
    if (send(c->udp->fd, data.data, data.len, MSG_NOSIGNAL) >= 0)
        return 0;
    /* A datagram that the kernel has no room for is lost, as it may be anywhere on its way. */
    return errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED ? 0 : -errno;
}

static void free_udp(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

static void end(struct madang_client *c)
{
    struct mdg_client_udp *u = c->udp;
    if (!u)
        return;
    mdg_defer_cancel(&u->free_later);
    close(u->fd);
    u->client = NULL;
    c->udp = NULL;
    u->free_later = (struct mdg_defer){.fn = free_udp, .arg = u};
    mdg_loop_dispose(c->clients->loop, &u->free_later);
}

const struct mdg_client_carrier mdg_client_carrier_udp = {
    .start = start, .send = send_datagram, .free = end};
