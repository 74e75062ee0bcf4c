/* Listening, and finding out from the first bytes what a new connection speaks. */
#include "server/ports.h"
#include "codec/proxy.h"
#include "net/listener.h"
#include "net/net.h"
#include "net/sniff.h"
#include "net/stream.h"
#include "net/tls.h"
#include "server/udp.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FIRST_BYTES_TIMEOUT_S = 10, /* for the rest of a first line or TLS record (slowloris) */
    REFUSED_LINGER_S = 2,       /* for the peer of a refusal to read it (RFC 9112 9.6) */
};

/* One listener of one worker; the arg of its upcalls and of streams that nobody owns yet. */
struct mdg_port_slot {
    struct mdg_worker *worker;
    const struct mdg_bind *bind;
};

static bool is_trusted(const struct madang *server, const struct mdg_addr *peer)
{
    for (size_t i = 0; i < server->trusted_count; i++) {
        if (mdg_cidr_has(&server->trusted[i], peer))
            return true;
    }
    return false;
}

static bool from_trusted_proxy(struct mdg_stream *s, struct mdg_port_slot *port)
{
    struct mdg_addr peer;
    if (port->worker->server->trusted_count == 0)
        return false;
    return port->bind->is_unix ||
           (mdg_stream_peer(s, &peer) == 0 && is_trusted(port->worker->server, &peer));
}

static int hand_over(struct mdg_port_slot *port, struct mdg_stream *s, enum mdg_sniffed what,
                     bool greet)
{
    struct mdg_worker *w = port->worker;
    mdg_stream_set_timeout(s, 0);
    switch (what) {
    case MDG_SNIFF_HTTP:
        return mdg_http_server_accept(w->http, s);
    case MDG_SNIFF_STOMP:
        return w->server->accept_stomp ? w->server->accept_stomp(w, s, false) : MDG_E_UNSUPPORTED;
    case MDG_SNIFF_LINE:
        return w->server->accept_line ? w->server->accept_line(w, s, greet) : MDG_E_UNSUPPORTED;
    case MDG_SNIFF_TLS:
        return w->server->tls ? mdg_tls_accept(s, w->server->tls) : MDG_E_UNSUPPORTED;
    case MDG_SNIFF_PROXY:
    case MDG_SNIFF_MORE:
        break;
    }
    return MDG_E_PROTO;
}

/* The PROXY header says who is behind the proxy. Returns its length, 0: more is needed. */
static int64_t take_proxy_header(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_proxy header;
    int64_t len = mdg_proxy_parse(mdg_slice(in.data, in.len), &header);
    if (len > 0 && (header.family == MDG_PROXY_IP4 || header.family == MDG_PROXY_IP6)) {
        size_t ip_len = header.family == MDG_PROXY_IP4 ? 4 : 16;
        struct mdg_addr peer, local;
        mdg_addr_from_bytes(&peer, header.source.ip, ip_len, header.source.port);
        mdg_addr_from_bytes(&local, header.destination.ip, ip_len, header.destination.port);
        int err = mdg_stream_set_peer(s, &peer, &local);
        if (err < 0)
            return err;
    }
    return len;
}

/* A server of an application's own that offers neither lines nor STOMP speaks HTTP alone. */
static bool is_offered(const struct madang *server, enum mdg_sniffed what)
{
    if (what == MDG_SNIFF_LINE)
        return server->accept_line != NULL;
    return what != MDG_SNIFF_STOMP || server->accept_stomp != NULL;
}

static bool allowed_here(const struct mdg_port_slot *port, enum mdg_sniffed what)
{
    switch (port->bind->kind) {
    case MDG_BIND_ALL:
        return is_offered(port->worker->server, what);
    case MDG_BIND_HTTP:
        return what == MDG_SNIFF_HTTP;
    case MDG_BIND_HTTPS:
        return what == MDG_SNIFF_HTTP || what == MDG_SNIFF_TLS;
    case MDG_BIND_LINE:
    case MDG_BIND_STOMP:
    case MDG_BIND_UDP:
        break;
    }
    return false;
}

/* What a listener takes without looking; MDG_SNIFF_MORE: the first bytes decide. */
static enum mdg_sniffed only_kind(const struct mdg_port_slot *port)
{
    return port->bind->kind == MDG_BIND_LINE    ? MDG_SNIFF_LINE
           : port->bind->kind == MDG_BIND_STOMP ? MDG_SNIFF_STOMP
                                                : MDG_SNIFF_MORE;
}

/* http:// typed where https:// was meant: the one mistake at a port for TLS alone that deserves a
 * sentence (RFC 9110 15.5.1). The request is not read: it may hold a password, and it has crossed
 * the network in the clear already. */
static int refuse_plain_http(struct mdg_stream *s)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                 "Content-Type: text/plain; charset=utf-8\r\n"
                                 "Content-Length: 48\r\n"
                                 "Connection: close\r\n"
                                 "\r\n"
                                 "This port speaks TLS: use an https:// address.\r\n";
    struct mdg_slice part = {(const uint8_t *)answer, sizeof answer - 1};
    int err = mdg_stream_write(s, &part, 1);
    if (err == 0)
        mdg_stream_finish(s, MDG_E_PROTO, REFUSED_LINGER_S);
    return err;
}

static int64_t on_first_bytes(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_port_slot *port = s->user_arg;
    enum mdg_sniffed only = only_kind(port);
    int64_t used = 0;
    enum mdg_sniffed what = mdg_sniff(mdg_slice(in.data, in.len));
    if (what == MDG_SNIFF_PROXY && from_trusted_proxy(s, port)) {
        used = take_proxy_header(s, in);
        if (used <= 0)
            return used;
        what = mdg_sniff(mdg_slice(in.data + used, in.len - (size_t)used));
        if ((size_t)used == in.len)
            what = MDG_SNIFF_MORE;
    } else if (what == MDG_SNIFF_PROXY) {
        what = MDG_SNIFF_LINE; /* from anyone else it is just text */
    }
    if (only != MDG_SNIFF_MORE && (used || what != MDG_SNIFF_MORE)) {
        int err = hand_over(port, s, only, true);
        return err < 0 ? err : used;
    }
    if (what == MDG_SNIFF_MORE) {
        mdg_stream_set_timeout(s, FIRST_BYTES_TIMEOUT_S);
        return used;
    }
    /* Text on an HTTP port deserves the HTTP parser's 400. */
    if (!allowed_here(port, what) && what != MDG_SNIFF_TLS)
        what = port->bind->kind == MDG_BIND_HTTPS && !mdg_stream_secure(s) ? MDG_SNIFF_MORE
                                                                           : MDG_SNIFF_HTTP;
    /* A port for TLS alone takes nothing before it; TLS inside of TLS is nonsense. */
    if (what == MDG_SNIFF_TLS && mdg_stream_secure(s))
        return MDG_E_PROTO;
    bool needs_tls = port->bind->kind == MDG_BIND_HTTPS && !mdg_stream_secure(s);
    if (needs_tls && what != MDG_SNIFF_TLS && what != MDG_SNIFF_HTTP)
        return MDG_E_PROTO;
    int err = needs_tls && what == MDG_SNIFF_HTTP ? refuse_plain_http(s)
                                                  : hand_over(port, s, what, false);
    return err < 0 ? err : used;
}

/* A client that says nothing may be a person with a terminal. Behind a proxy it is a spare
 * connection of the proxy's, and a greeting would poison it. */
static void on_silence(struct mdg_stream *s)
{
    struct mdg_port_slot *port = s->user_arg;
    bool waits_for_a_person = port->bind->kind == MDG_BIND_ALL && !mdg_stream_secure(s) &&
                              !from_trusted_proxy(s, port) && (!s->aux || port->bind->is_unix);
    enum mdg_sniffed only = only_kind(port);
    if (only == MDG_SNIFF_MORE && waits_for_a_person)
        only = MDG_SNIFF_LINE;
    if (only == MDG_SNIFF_MORE || hand_over(port, s, only, true) < 0)
        mdg_stream_close(s, MDG_E_TIMEOUT);
}

static void on_nothing(struct mdg_stream *s, int reason)
{
    (void)s, (void)reason; /* nothing was allocated for it */
}

static const struct mdg_stream_user first_bytes_user = {
    .name = "sniff",
    .on_data = on_first_bytes,
    .on_timeout = on_silence,
    .on_close = on_nothing,
};

static void begin(struct mdg_port_slot *port, struct mdg_stream *s)
{
    struct mdg_worker *w = port->worker;
    enum mdg_sniffed only = only_kind(port);
    if (only != MDG_SNIFF_MORE && !from_trusted_proxy(s, port)) {
        if (hand_over(port, s, only, true) < 0)
            mdg_stream_close(s, MDG_E_UNSUPPORTED);
        return;
    }
    mdg_stream_set_timeout(s, (uint32_t)w->server->params.greet_delay_s);
}

static void on_accept(struct mdg_listener *l, struct mdg_stream *s, void *arg)
{
    struct mdg_port_slot *port = arg;
    (void)l;
    mdg_stream_adopt(s, &first_bytes_user, port);
    if (atomic_load_explicit(&port->worker->server->memory_full, memory_order_relaxed)) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    if (port->worker->server->worker_count > 1 &&
        mdg_spread(port->worker, s, (size_t)(port - port->worker->ports)))
        return;
    begin(port, s);
}

struct mdg_port_slot *mdg_port_of(struct mdg_worker *w, size_t index)
{
    return index < w->listener_count ? &w->ports[index] : NULL;
}

struct mdg_worker *mdg_port_worker(const struct mdg_port_slot *port)
{
    return port->worker;
}

int mdg_port_attach(struct mdg_port_slot *port, struct mdg_moved *m, struct mdg_stream **out)
{
    int err = mdg_stream_attach(port->worker->net, m, &first_bytes_user, port, out);
    if (err == 0)
        begin(port, *out);
    return err;
}

static void on_notice(struct mdg_listener *l, enum mdg_listener_notice n, int err, void *arg)
{
    const struct mdg_port_slot *port = arg;
    const struct mdg_logger *log = &port->worker->server->log;
    (void)l;
    switch (n) {
    case MDG_LISTENER_PAUSED:
        mdg_log(log, MDG_LOG_WARN, "accepting paused", "why", mdg_strerror(err), "hint",
                "raise the limit of open files (ulimit -n, LimitNOFILE=)", NULL);
        break;
    case MDG_LISTENER_RESUMED:
        mdg_log(log, MDG_LOG_INFO, "accepting again", NULL);
        break;
    case MDG_LISTENER_REFUSED:
        mdg_log(log, MDG_LOG_WARN, "connections refused", "why",
                "too many from one address (connections_per_address_max)", NULL);
        break;
    }
}

static const struct mdg_listener_user listener_user = {
    .on_accept = on_accept,
    .on_notice = on_notice,
};

/* With SO_REUSEPORT a second server on the same port would share it silently: a plain bind first
 * finds out that the port is taken. */
static int probe_port(const struct mdg_addr *addr)
{
    int one = 1, err = 0;
    if (mdg_addr_port(addr) == 0)
        return 0;
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &addr->any, addr->len) != 0)
        err = -errno;
    close(fd);
    return err;
}

static int fail_bind(struct madang *server, const struct mdg_bind *b, int err)
{
    char text[MDG_ADDR_TEXT_MAX + 1];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text - 1);
    mdg_addr_write(&w, &b->addr);
    text[mdg_min_size(w.len, sizeof text - 1)] = '\0';
    const char *hint = err == -EADDRINUSE ? "; another program listens there: choose another port "
                                            "with --listen HOST:PORT"
                       : err == -EACCES   ? "; ports below 1024 need CAP_NET_BIND_SERVICE (or "
                                            "choose a higher one)"
                       : err == -EADDRNOTAVAIL ? "; this machine does not have that address"
                                               : "";
    return mdg_server_fail(server, err, "cannot listen on %s: %s%s", text, mdg_strerror(err), hint);
}

static int open_listener(struct mdg_worker *w, struct mdg_bind *b)
{
    struct mdg_port_slot *slot = &w->ports[w->listener_count];
    struct mdg_listener_config config = {
        .addr = b->addr,
        .reuse_port = w->server->worker_count > 1 && !b->is_unix,
        .keepalive_s = (uint32_t)w->server->params.tcp_keepalive_s,
    };
    *slot = (struct mdg_port_slot){w, b};
    if (b->inherited_fd) {
        /* One queue for all workers: each listens on a descriptor of its own for it. */
        config.inherited_fd = fcntl(b->inherited_fd, F_DUPFD_CLOEXEC, 3);
        if (config.inherited_fd < 0)
            return -errno;
    }
    int err =
        mdg_listener_new(w->net, &config, &listener_user, slot, &w->listeners[w->listener_count]);
    if (err < 0)
        return err;
    /* The first worker picks the port when none was given; the others share it. */
    b->addr = *mdg_listener_addr(w->listeners[w->listener_count++]);
    return 0;
}

/* Beside TCP it is a gift: without it the port still serves everyone else. */
static int open_udp(struct madang *server, struct mdg_bind *b)
{
    int err = mdg_udp_open(&server->workers[0], b);
    if (err < 0 && b->kind == MDG_BIND_UDP)
        return fail_bind(server, b, err);
    if (err < 0)
        mdg_log(&server->log, MDG_LOG_WARN, "no UDP on this port", "why", mdg_strerror(err), NULL);
    return 0;
}

static int open_bind(struct madang *server, struct mdg_bind *b)
{
    if (b->kind == MDG_BIND_UDP)
        return open_udp(server, b);
    int err = b->is_unix || b->inherited_fd ? 0 : probe_port(&b->addr);
    /* A unix socket has one listener; its worker serves all who come there. */
    unsigned workers = b->is_unix ? 1 : server->worker_count;
    for (unsigned i = 0; err == 0 && i < workers; i++)
        err = open_listener(&server->workers[i], b);
    if (err < 0)
        return fail_bind(server, b, err);
    return b->udp_too && server->udp ? open_udp(server, b) : 0;
}

static int make_address(struct madang *server, size_t i)
{
    char text[MDG_ADDR_TEXT_MAX + 32];
    struct mdg_writer w;
    const struct mdg_bind *b = &server->binds[i];
    mdg_writer_init(&w, text, sizeof text - 1);
    if (!b->is_unix) {
        mdg_write_str(&w, mdg_bind_scheme(b, server->tls != NULL));
        mdg_write_str(&w, "://");
    }
    mdg_addr_write(&w, &b->addr);
    text[mdg_min_size(w.len, sizeof text - 1)] = '\0';
    server->addresses[i] = strdup(text);
    return server->addresses[i] ? 0 : MDG_E_NO_MEMORY;
}

int mdg_ports_open(struct madang *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct mdg_worker *w = &server->workers[i];
        w->ports = calloc(server->bind_count, sizeof *w->ports);
        w->listeners = calloc(server->bind_count, sizeof(struct mdg_listener *));
        if (!w->ports || !w->listeners)
            return MDG_E_NO_MEMORY;
    }
    server->addresses = calloc(server->bind_count + 1, sizeof(char *));
    if (!server->addresses)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < server->bind_count; i++) {
        int err = open_bind(server, &server->binds[i]);
        if (err == 0)
            err = make_address(server, i);
        if (err < 0)
            return err;
    }
    return 0;
}

void mdg_ports_close(struct mdg_worker *w)
{
    for (size_t i = 0; i < w->listener_count; i++)
        mdg_listener_close(w->listeners[i]);
    w->listener_count = 0;
    /* Who has said nothing so far (browsers open spare connections) has nothing to lose. */
    mdg_net_close_owned(w->net, &first_bytes_user, MDG_E_CLOSED);
}
