/* For tests of what speaks HTTP: a server on the real loop, and the client's end of a socket pair.
 * What a test sends is written whole; then the loop turns until nothing happens any more. */
#ifndef MDG_HTTP_WORLD_H
#define MDG_HTTP_WORLD_H

#include "loop/loop.h"
#include "net/net.h"
#include "net/stream.h"
#include "tests/support/unit.h"
#include "transport/http.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_world {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_http_server *server;
    int fd; /* the client's */
    bool eof;
    char got[1 << 20];
    size_t len;
};

static inline void turns(struct http_world *w)
{
    for (int i = 0; i < 6; i++)
        assert_true(mdg_loop_step(w->loop, 0) >= 0);
}

/* Lets the server work and takes what it sent. */
static inline void settle(struct http_world *w)
{
    for (int idle = 0; idle < 3;) {
        turns(w);
        ssize_t n = w->fd < 0 ? -1 : read(w->fd, w->got + w->len, sizeof w->got - 1 - w->len);
        idle = n > 0 ? 0 : idle + 1;
        if (n > 0)
            w->len += (size_t)n;
        w->eof |= n == 0;
    }
    w->got[w->len] = '\0';
}

static inline int64_t nobody_data(struct mdg_stream *s, struct mdg_input in)
{
    (void)s;
    (void)in;
    return 0;
}

static inline void nobody_close(struct mdg_stream *s, int reason)
{
    (void)s;
    (void)reason;
}

/* Hangs up the old connection, if there is one, and makes a new one. */
static inline void connect_client(struct http_world *w)
{
    int pair[2];
    struct mdg_stream *s;
    static const struct mdg_stream_user nobody = {
        .name = "nobody", .on_data = nobody_data, .on_close = nobody_close};
    if (w->fd >= 0)
        close(w->fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(mdg_stream_from_fd(w->net, pair[0], &nobody, w, &s), 0);
    assert_int_equal(mdg_http_server_accept(w->server, s), 0);
    w->fd = pair[1];
    w->len = 0;
    w->got[0] = '\0';
    w->eof = false;
}

static inline void send_bytes(struct http_world *w, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(w->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0) {
            assert_true(errno == EAGAIN || errno == EPIPE);
            if (errno == EPIPE)
                return;
            settle(w);
            continue;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static inline void say(struct http_world *w, const char *text)
{
    send_bytes(w, text, strlen(text));
    settle(w);
}

/* Compares what came since the last time, without Date lines. */
static inline void expect(struct http_world *w, const char *wanted)
{
    char *date;
    while ((date = strstr(w->got, "Date: "))) {
        char *end = strstr(date, "\r\n") + 2;
        memmove(date, end, strlen(end) + 1);
    }
    assert_string_equal(w->got, wanted);
    w->len = 0;
    w->got[0] = '\0';
}

static inline void http_world_init(struct http_world *w, const struct mdg_http_config *config,
                                   mdg_http_route_fn route, void *router)
{
    w->fd = -1;
    assert_int_equal(mdg_loop_new(NULL, &w->loop), 0);
    assert_int_equal(mdg_net_new(w->loop, NULL, &w->net), 0);
    assert_int_equal(mdg_http_server_new(w->net, config, route, router, &w->server), 0);
    connect_client(w);
}

static inline void http_world_fini(struct http_world *w)
{
    if (w->fd >= 0)
        close(w->fd);
    turns(w);
    mdg_http_server_free(w->server);
    turns(w);
    mdg_net_free(w->net);
    mdg_loop_free(w->loop);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

#endif
