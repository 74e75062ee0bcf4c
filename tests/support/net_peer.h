/* For tests of what stands on the network layer: a loop with its net, connected pairs of streams,
 * and an owner that records what it is told. */
#ifndef MDG_TEST_NET_PEER_H
#define MDG_TEST_NET_PEER_H

#include "loop/loop.h"
#include "net/net.h"
#include "net/stream.h"
#include "tests/support/unit.h"
#include <stdlib.h>
#include <sys/socket.h>

struct test_net {
    struct mdg_loop *loop;
    struct mdg_net *net;
};

/* What an owner heard and how it behaves. */
struct test_peer {
    struct mdg_stream *stream; /* NULL after on_close */
    uint8_t *got;
    size_t got_len, got_cap;
    size_t take_max;           /* on_data consumes at most this much; 0: everything */
    size_t take_nothing_below; /* on_data waits for this many bytes */
    unsigned data_calls, sink_calls, eofs, writables, timeouts, closes;
    int close_reason;
    bool echo;
    bool pause_after_data;
    size_t sunk; /* bytes that on_sink told of */
};

static inline void test_peer_keep(struct test_peer *p, const uint8_t *data, size_t len)
{
    if (p->got_len + len > p->got_cap) {
        p->got_cap = (p->got_len + len) * 2;
        p->got = realloc(p->got, p->got_cap);
        assert_non_null(p->got);
    }
    memcpy(p->got + p->got_len, data, len);
    p->got_len += len;
}

static inline int64_t test_peer_data(struct mdg_stream *s, struct mdg_input in)
{
    struct test_peer *p = s->user_arg;
    size_t take = p->take_max ? mdg_min_size(p->take_max, in.len) : in.len;
    assert_true(in.len > 0);
    p->data_calls++;
    if (in.len < p->take_nothing_below)
        return 0;
    if (p->echo) {
        struct mdg_slice all = mdg_slice(in.data, take);
        assert_int_equal(mdg_stream_write(s, &all, 1), 0);
    }
    test_peer_keep(p, in.data, take);
    if (p->pause_after_data)
        mdg_stream_pause_read(s, true);
    return (int64_t)take;
}

static inline void test_peer_sink(struct mdg_stream *s, size_t n)
{
    struct test_peer *p = s->user_arg;
    p->sink_calls++;
    p->sunk += n;
}

static inline void test_peer_eof(struct mdg_stream *s)
{
    ((struct test_peer *)s->user_arg)->eofs++;
}

static inline void test_peer_writable(struct mdg_stream *s)
{
    ((struct test_peer *)s->user_arg)->writables++;
}

static inline void test_peer_timeout(struct mdg_stream *s)
{
    ((struct test_peer *)s->user_arg)->timeouts++;
}

static inline void test_peer_close(struct mdg_stream *s, int reason)
{
    struct test_peer *p = s->user_arg;
    p->closes++;
    p->close_reason = reason;
    p->stream = NULL;
}

/* Hears everything. */
static const struct mdg_stream_user test_peer_user = {
    .name = "test",
    .on_data = test_peer_data,
    .on_sink = test_peer_sink,
    .on_eof = test_peer_eof,
    .on_writable = test_peer_writable,
    .on_timeout = test_peer_timeout,
    .on_close = test_peer_close,
};

/* Leaves end and timeout to the defaults: both close. */
static const struct mdg_stream_user test_plain_user = {
    .name = "plain",
    .on_data = test_peer_data,
    .on_close = test_peer_close,
};

static inline void test_net_open_with(struct test_net *t, const struct mdg_loop_config *loop_config,
                                      const struct mdg_net_config *net_config)
{
    assert_int_equal(mdg_loop_new(loop_config, &t->loop), 0);
    assert_int_equal(mdg_net_new(t->loop, net_config, &t->net), 0);
}

static inline void test_net_open(struct test_net *t, enum mdg_uring_use uring)
{
    struct mdg_net_config config = {.uring = uring};
    test_net_open_with(t, NULL, &config);
}

static inline void test_net_close(struct test_net *t)
{
    mdg_net_free(t->net);
    mdg_loop_free(t->loop);
}

/* Before the peers of a test go out of scope: every stream ends now. */
static inline void test_net_drain(struct test_net *t)
{
    mdg_net_close_all(t->net, MDG_E_CLOSED);
    while (mdg_net_counters(t->net)->streams > 0)
        assert_true(mdg_loop_step(t->loop, 0) >= 0);
}

static inline void test_net_turn(struct test_net *t)
{
    assert_true(mdg_loop_step(t->loop, 0) >= 0);
}

/* Turns until the condition holds; fails after about 10 s. */
#define TEST_NET_UNTIL(t, condition)                                                               \
    do {                                                                                           \
        for (int turns_ = 0; !(condition); turns_++) {                                             \
            assert_true(turns_ < 2000);                                                            \
            assert_true(mdg_loop_step((t)->loop, turns_ < 1000 ? 0 : 10) >= 0);                    \
        }                                                                                          \
    } while (0)

static inline void test_peer_open(struct test_net *t, struct test_peer *p, int fd,
                                  const struct mdg_stream_user *user)
{
    assert_int_equal(mdg_stream_from_fd(t->net, fd, user, p, &p->stream), 0);
}

/* A stream and the raw descriptor at the other end of it. */
static inline int test_peer_pair(struct test_net *t, struct test_peer *p,
                                 const struct mdg_stream_user *user)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    test_peer_open(t, p, fds[0], user);
    return fds[1];
}

static inline void test_peer_free(struct test_peer *p)
{
    free(p->got);
    p->got = NULL;
}

#endif
