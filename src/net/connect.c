/* Outgoing connections, step by step: name -> address -> socket -> proxy's tunnel -> TLS -> owner.
 */
#include "net/connect.h"
#include "base/base64.h"
#include "base/writer.h"
#include "net/internal.h"
#include "net/resolve.h"
#include "net/tls.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    TIMEOUT_DEFAULT_MS = 10000,
    ATTEMPT_MIN_MS = 250,  /* RFC 8305 8: the recommended delay between attempts */
    CREDENTIALS_MAX = 512, /* of a proxy */
    PROXY_HEAD_MAX = 8192, /* a proxy's answer: beyond it is no answer to CONNECT */
    REQUEST_MAX = 2048,
};

struct mdg_connect {
    struct mdg_source source; /* while the socket connects */
    struct mdg_net *net;
    const struct mdg_stream_user *user;
    void *user_arg;
    mdg_connected_fn done;
    void *arg;
    struct mdg_timer deadline, attempt;
    uint64_t due_ms;
    struct mdg_resolve *resolve;
    struct mdg_addr addrs[MDG_RESOLVE_ADDRS_MAX];
    size_t addrs_len, addrs_next;
    int fd, last_err;
    bool over;
    struct mdg_stream *stream; /* while it is ours: proxy, TLS */
    struct mdg_tls_context *tls;
    struct mdg_defer freeing;
    uint16_t port, proxy_port;
    char *host, *proxy_host, *proxy_credentials, *server_name; /* NULL: none */
};

static void try_next(struct mdg_connect *c);

static void free_connect(struct mdg_loop *loop, void *arg)
{
    struct mdg_connect *c = arg;
    (void)loop;
    free(c->host);
    free(c->proxy_host);
    free(c->proxy_credentials);
    free(c->server_name);
    mdg_tls_context_unref(c->tls);
    free(c);
}

static void close_socket(struct mdg_connect *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Nothing of it happens any more; the memory stays to the end of the turn, because an event of its
 * socket may be waiting in the same turn. */
static void retire(struct mdg_connect *c)
{
    c->over = true;
    mdg_timer_stop(c->net->loop, &c->deadline);
    mdg_timer_stop(c->net->loop, &c->attempt);
    close_socket(c);
    if (c->resolve)
        mdg_resolve_cancel(c->resolve);
    if (c->stream) {
        mdg_stream_disown(c->stream);
        mdg_stream_close(c->stream, 0);
    }
    mdg_loop_dispose(c->net->loop, &c->freeing);
}

static void fail(struct mdg_connect *c, int err)
{
    assert(err < 0);
    if (c->over)
        return;
    retire(c);
    c->done(c->arg, err, NULL);
}

static void succeed(struct mdg_connect *c)
{
    struct mdg_stream *s = c->stream;
    c->stream = NULL;
    retire(c);
    mdg_stream_adopt(s, c->user, c->user_arg);
    c->done(c->arg, 0, s);
}

static void on_secure(void *arg, int err)
{
    struct mdg_connect *c = arg;
    if (err == 0 && !c->over)
        succeed(c);
}

static void secure(struct mdg_connect *c)
{
    if (!c->tls) {
        succeed(c);
        return;
    }
    const char *name = c->server_name ? c->server_name : c->host;
    int err = mdg_tls_connect(c->stream, c->tls, mdg_slice_str(name), on_secure, c);
    if (err < 0)
        fail(c, err);
}

/* RFC 9110 9.3.6: any 2xx opens the tunnel, which begins after the head. */
static int64_t on_proxy_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_connect *c = s->user_arg;
    const uint8_t *end = memmem(in.data, in.len, "\r\n\r\n", 4);
    if (!end)
        return in.len > PROXY_HEAD_MAX ? MDG_E_PROTO : 0;
    if (in.len < 12 || memcmp(in.data, "HTTP/1.", 7) != 0 || in.data[8] != ' ')
        return MDG_E_PROTO;
    if (in.data[9] != '2')
        return MDG_E_DENIED;
    int64_t used = end + 4 - in.data;
    secure(c);
    return used;
}

static void on_our_close(struct mdg_stream *s, int reason)
{
    struct mdg_connect *c = s->user_arg;
    c->stream = NULL;
    fail(c, reason ? reason : -ECONNRESET);
}

static const struct mdg_stream_user connect_user = {
    .name = "connect",
    .read_max = PROXY_HEAD_MAX,
    .on_data = on_proxy_data,
    .on_close = on_our_close,
};

static void write_authority(struct mdg_writer *w, const struct mdg_connect *c)
{
    bool brackets = strchr(c->host, ':') != NULL;
    mdg_write_str(w, brackets ? "[" : "");
    mdg_write_str(w, c->host);
    mdg_write_str(w, brackets ? "]:" : ":");
    mdg_write_dec(w, c->port);
}

static void ask_proxy(struct mdg_connect *c)
{
    char text[REQUEST_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_str(&w, "CONNECT ");
    write_authority(&w, c);
    mdg_write_str(&w, " HTTP/1.1\r\nHost: ");
    write_authority(&w, c);
    if (c->proxy_credentials) { /* RFC 7617 2 */
        struct mdg_slice plain = mdg_slice_str(c->proxy_credentials);
        mdg_write_str(&w, "\r\nProxy-Authorization: Basic ");
        mdg_write_base64(&w, plain);
    }
    mdg_write_str(&w, "\r\n\r\n");
    struct mdg_slice request = mdg_slice(text, w.len);
    int err = mdg_writer_fits(&w) ? mdg_stream_write(c->stream, &request, 1) : MDG_E_TOO_BIG;
    if (err < 0)
        fail(c, err);
}

static void connected(struct mdg_connect *c)
{
    mdg_timer_stop(c->net->loop, &c->attempt);
    mdg_loop_unwatch(c->net->loop, c->fd);
    int err = mdg_stream_from_fd(c->net, c->fd, &connect_user, c, &c->stream);
    if (err < 0) {
        fail(c, err);
        return;
    }
    c->fd = -1;
    if (c->proxy_host)
        ask_proxy(c);
    else
        secure(c);
}

static void attempt_failed(struct mdg_connect *c, int err)
{
    c->last_err = err;
    close_socket(c);
    mdg_timer_stop(c->net->loop, &c->attempt);
    try_next(c);
}

static void on_ready(struct mdg_source *src, uint32_t events)
{
    struct mdg_connect *c = MDG_CONTAINER_OF(src, struct mdg_connect, source);
    int err = 0;
    socklen_t len = sizeof err;
    (void)events;
    if (c->over || c->fd < 0)
        return;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err)
        attempt_failed(c, -err);
    else
        connected(c);
}

static int open_socket(struct mdg_connect *c, const struct mdg_addr *to)
{
    int on = 1;
    c->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    if (to->any.sa_family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, &to->any, to->len) < 0 && errno != EINPROGRESS)
        return -errno;
    return mdg_loop_watch(c->net->loop, &c->source, c->fd, EPOLLOUT);
}

/* The time that is left is shared among the addresses that are left. */
static uint64_t attempt_ms(const struct mdg_connect *c)
{
    uint64_t now = mdg_loop_now_ms(c->net->loop), left = c->due_ms > now ? c->due_ms - now : 0;
    uint64_t share = left / (c->addrs_len - c->addrs_next + 1);
    return share < ATTEMPT_MIN_MS ? ATTEMPT_MIN_MS : share;
}

static void try_next(struct mdg_connect *c)
{
    while (c->addrs_next < c->addrs_len) {
        uint64_t ms = attempt_ms(c);
        int err = open_socket(c, &c->addrs[c->addrs_next++]);
        if (err == 0) {
            mdg_timer_start(c->net->loop, &c->attempt, ms);
            return;
        }
        c->last_err = err;
        close_socket(c);
    }
    fail(c, c->last_err ? c->last_err : MDG_E_NOT_FOUND);
}

/* The first call starts, later ones are attempts that took too long. */
static void on_attempt(struct mdg_timer *t, void *arg)
{
    struct mdg_connect *c = arg;
    (void)t;
    if (c->addrs_next > 0)
        c->last_err = MDG_E_TIMEOUT;
    close_socket(c);
    try_next(c);
}

static void on_deadline(struct mdg_timer *t, void *arg)
{
    (void)t;
    fail(arg, MDG_E_TIMEOUT);
}

static void on_resolved(void *arg, int err, const struct mdg_addr *addrs, size_t n)
{
    struct mdg_connect *c = arg;
    c->resolve = NULL;
    if (err < 0) {
        fail(c, err);
        return;
    }
    memcpy(c->addrs, addrs, n * sizeof *addrs);
    c->addrs_len = n;
    try_next(c);
}

static bool copy_text(char **to, struct mdg_slice from)
{
    if (from.len == 0)
        return true;
    *to = malloc(from.len + 1);
    if (!*to)
        return false;
    memcpy(*to, from.data, from.len);
    (*to)[from.len] = 0;
    return true;
}

/* A host goes into a request line: no blanks or controls. */
static bool is_sane(struct mdg_slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (host.data[i] <= ' ' || host.data[i] == 0x7f)
            return false;
    }
    return true;
}

static int copy_config(struct mdg_connect *c, const struct mdg_connect_config *config)
{
    if (!is_sane(config->host))
        return MDG_E_SYNTAX;
    if (config->proxy_credentials.len > CREDENTIALS_MAX)
        return MDG_E_TOO_BIG;
    c->port = config->port;
    c->proxy_port = config->proxy_port;
    c->tls = config->tls;
    if (c->tls)
        mdg_tls_context_ref(c->tls);
    bool ok = copy_text(&c->host, config->host) && copy_text(&c->proxy_host, config->proxy_host) &&
              copy_text(&c->proxy_credentials, config->proxy_credentials) &&
              copy_text(&c->server_name, config->server_name);
    if (ok && !c->host)
        ok = copy_text(&c->host, MDG_SLICE_LIT("localhost")); /* of a unix socket */
    return ok ? 0 : MDG_E_NO_MEMORY;
}

static int find_address(struct mdg_connect *c, const struct mdg_connect_config *config)
{
    if (config->unix_path.len) {
        int err = mdg_addr_unix(&c->addrs[0], config->unix_path);
        c->addrs_len = 1;
        return err;
    }
    const char *host = c->proxy_host ? c->proxy_host : c->host;
    uint16_t port = c->proxy_host ? c->proxy_port : c->port;
    if (mdg_addr_parse_ip(&c->addrs[0], mdg_slice_str(host), port) == 0) {
        c->addrs_len = 1;
        return 0;
    }
    return mdg_resolve_start(c->net, mdg_slice_str(host), port, on_resolved, c, &c->resolve);
}

int mdg_connect_start(struct mdg_net *net, const struct mdg_connect_config *config,
                      const struct mdg_stream_user *user, void *user_arg, mdg_connected_fn done,
                      void *arg, struct mdg_connect **out)
{
    static const struct mdg_source_ops ops = {on_ready};
    struct mdg_connect *c = calloc(1, sizeof *c);
    if (!c)
        return MDG_E_NO_MEMORY;
    c->source.ops = &ops;
    c->net = net;
    c->user = user;
    c->user_arg = user_arg;
    c->done = done;
    c->arg = arg;
    c->fd = -1;
    c->freeing = (struct mdg_defer){.fn = free_connect, .arg = c};
    mdg_timer_init(&c->deadline, on_deadline, c);
    mdg_timer_init(&c->attempt, on_attempt, c);
    int err = copy_config(c, config);
    if (err == 0)
        err = find_address(c, config);
    if (err < 0) {
        free_connect(net->loop, c);
        return err;
    }
    uint32_t timeout_ms = config->timeout_ms ? config->timeout_ms : TIMEOUT_DEFAULT_MS;
    c->due_ms = mdg_loop_now_ms(net->loop) + timeout_ms;
    mdg_timer_start(net->loop, &c->deadline, timeout_ms);
    if (c->addrs_len)
        mdg_timer_start(net->loop, &c->attempt, 0);
    *out = c;
    return 0;
}

void mdg_connect_cancel(struct mdg_connect *c)
{
    if (c && !c->over)
        retire(c);
}
