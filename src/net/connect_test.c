/* Outgoing connections: addresses, names, refusals, the proxy's tunnel, TLS through it, time. */
#include "net/connect.h"
#include "net/listener.h"
#include "net/tls.h"
#include "tests/support/net_peer.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* A server on a listener: echoes, or plays an HTTP proxy that tunnels to itself. */
struct place {
    struct test_net net;
    struct mdg_listener *listener;
    struct test_peer server, client;
    struct mdg_tls_context *tls;
    const char *proxy_answer; /* NULL: no proxy */
    bool tls_at_once;
    int calls, err;
};

static int64_t proxy_data(struct mdg_stream *s, struct mdg_input in)
{
    struct place *p = s->user_arg;
    const uint8_t *end = memmem(in.data, in.len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    test_peer_keep(&p->server, in.data, (size_t)(end - in.data));
    struct mdg_slice answer = mdg_slice_str(p->proxy_answer);
    if (answer.len && mdg_stream_write(s, &answer, 1) < 0)
        return MDG_E_FULL;
    if (p->tls && mdg_tls_accept(s, p->tls) < 0)
        return MDG_E_NO_MEMORY;
    mdg_stream_adopt(s, &test_plain_user, &p->server);
    return end + 4 - in.data;
}

static void proxy_close(struct mdg_stream *s, int reason)
{
    (void)reason;
    ((struct place *)s->user_arg)->server.stream = NULL;
}

static const struct mdg_stream_user proxy_user = {
    .name = "proxy", .on_data = proxy_data, .on_close = proxy_close};

static void on_accept(struct mdg_listener *l, struct mdg_stream *s, void *arg)
{
    struct place *p = arg;
    (void)l;
    p->server.stream = s;
    p->server.echo = true;
    if (p->proxy_answer)
        mdg_stream_adopt(s, &proxy_user, p);
    else
        mdg_stream_adopt(s, &test_plain_user, &p->server);
}

static const struct mdg_listener_user place_user = {on_accept, NULL};

static void on_done(void *arg, int err, struct mdg_stream *s)
{
    struct place *p = arg;
    p->calls++;
    p->err = err;
    p->client.stream = s;
    assert_true((err == 0) == (s != NULL));
}

static struct place *open_place(const struct mdg_addr *at)
{
    struct place *p = calloc(1, sizeof *p);
    struct mdg_listener_config config = {0};
    test_net_open(&p->net, MDG_URING_OFF);
    if (at)
        config.addr = *at;
    else
        assert_int_equal(mdg_addr_parse(&config.addr, MDG_SLICE_LIT("127.0.0.1:0")), 0);
    assert_int_equal(mdg_listener_new(p->net.net, &config, &place_user, p, &p->listener), 0);
    return p;
}

static void close_place(struct place *p)
{
    mdg_listener_close(p->listener);
    test_net_drain(&p->net);
    test_net_turn(&p->net);
    test_net_close(&p->net);
    test_peer_free(&p->server);
    test_peer_free(&p->client);
    free(p);
}

static struct mdg_connect *start(struct place *p, struct mdg_connect_config config)
{
    struct mdg_connect *c = NULL;
    if (!config.port)
        config.port = mdg_addr_port(mdg_listener_addr(p->listener));
    assert_int_equal(
        mdg_connect_start(p->net.net, &config, &test_plain_user, &p->client, on_done, p, &c), 0);
    assert_int_equal(p->calls, 0); /* never from inside */
    return c;
}

static void expect_echo(struct place *p)
{
    TEST_NET_UNTIL(&p->net, p->calls == 1);
    assert_int_equal(p->err, 0);
    struct mdg_slice hello = MDG_SLICE_LIT("hello");
    assert_int_equal(mdg_stream_write(p->client.stream, &hello, 1), 0);
    TEST_NET_UNTIL(&p->net, p->client.got_len == 5);
    assert_memory_equal(p->client.got, "hello", 5);
}

static void by_address_by_name_and_by_path(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int i = 0; i < 2; i++) {
        struct place *p = open_place(NULL);
        start(p, (struct mdg_connect_config){.host = mdg_slice_str(hosts[i])});
        expect_echo(p);
        close_place(p);
    }
    struct mdg_addr at;
    char path[64];
    snprintf(path, sizeof path, "/tmp/mdg-connect-%d.sock", (int)getpid());
    assert_int_equal(mdg_addr_unix(&at, mdg_slice_str(path)), 0);
    struct place *p = open_place(&at);
    start(p, (struct mdg_connect_config){.unix_path = mdg_slice_str(path), .port = 1});
    expect_echo(p);
    close_place(p);
}

static void nobody_there_is_told_later(void **state)
{
    (void)state;
    struct place *p = open_place(NULL);
    uint16_t port = mdg_addr_port(mdg_listener_addr(p->listener));
    mdg_listener_close(p->listener);
    p->listener = NULL;
    start(p, (struct mdg_connect_config){.host = MDG_SLICE_LIT("127.0.0.1"), .port = port});
    TEST_NET_UNTIL(&p->net, p->calls == 1);
    assert_int_equal(p->err, -ECONNREFUSED);
    p->calls = 0;
    start(p, (struct mdg_connect_config){.unix_path = MDG_SLICE_LIT("/nonexistent/s"), .port = 1});
    TEST_NET_UNTIL(&p->net, p->calls == 1);
    assert_int_equal(p->err, -ENOENT);
    close_place(p);
}

static void a_host_that_would_split_the_request_is_refused(void **state)
{
    (void)state;
    struct place *p = open_place(NULL);
    struct mdg_connect_config config = {.host = MDG_SLICE_LIT("a\r\nX: y"), .port = 1};
    struct mdg_connect *c;
    assert_int_equal(
        mdg_connect_start(p->net.net, &config, &test_plain_user, &p->client, on_done, p, &c),
        MDG_E_SYNTAX);
    close_place(p);
}

static void the_proxy_opens_a_tunnel_or_refuses(void **state)
{
    (void)state;
    struct mdg_connect_config config = {
        .host = MDG_SLICE_LIT("chat.example"),
        .port = 443,
        .proxy_host = MDG_SLICE_LIT("127.0.0.1"),
        .proxy_credentials = MDG_SLICE_LIT("ann:secret"),
    };
    struct place *p = open_place(NULL);
    p->proxy_answer = "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
    config.proxy_port = mdg_addr_port(mdg_listener_addr(p->listener));
    start(p, config);
    expect_echo(p);
    static const char asked[] = "CONNECT chat.example:443 HTTP/1.1\r\nHost: chat.example:443\r\n"
                                "Proxy-Authorization: Basic YW5uOnNlY3JldA==";
    assert_true(p->server.got_len >= sizeof asked - 1);
    assert_memory_equal(p->server.got, asked, sizeof asked - 1);
    close_place(p);
    static const struct {
        const char *answer;
        int err;
    } refusals[] = {
        {"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", MDG_E_DENIED},
        {"SSH-2.0-OpenSSH_9.2 of some kind\r\n\r\n", MDG_E_PROTO},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(refusals); i++) {
        p = open_place(NULL);
        p->proxy_answer = refusals[i].answer;
        config.proxy_port = mdg_addr_port(mdg_listener_addr(p->listener));
        start(p, config);
        TEST_NET_UNTIL(&p->net, p->calls == 1);
        assert_int_equal(p->err, refusals[i].err);
        close_place(p);
    }
}

static void a_silent_proxy_costs_the_time_that_was_given(void **state)
{
    (void)state;
    struct place *p = open_place(NULL);
    p->proxy_answer = "";
    start(p, (struct mdg_connect_config){
                 .host = MDG_SLICE_LIT("chat.example"),
                 .port = 443,
                 .proxy_host = MDG_SLICE_LIT("127.0.0.1"),
                 .proxy_port = mdg_addr_port(mdg_listener_addr(p->listener)),
                 .timeout_ms = 100,
             });
    TEST_NET_UNTIL(&p->net, p->calls == 1);
    assert_int_equal(p->err, MDG_E_TIMEOUT);
    close_place(p);
}

static void tls_runs_through_the_tunnel(void **state)
{
    (void)state;
    char cert[64], key[64], errbuf[200];
    snprintf(cert, sizeof cert, "/tmp/mdg-connect-%d.pem", (int)getpid());
    snprintf(key, sizeof key, "/tmp/mdg-connect-%d.key", (int)getpid());
    assert_int_equal(mdg_tls_dev_cert(cert, key, "chat.example"), 0);
    struct mdg_tls_cert_files files = {cert, key};
    struct mdg_tls_config server = {.certs = &files, .certs_len = 1};
    struct mdg_tls_config client = {.client = true, .verify = true, .ca_path = cert};
    struct mdg_tls_context *tls;
    struct place *p = open_place(NULL);
    p->proxy_answer = "HTTP/1.0 200 Connection established\r\n\r\n";
    assert_int_equal(mdg_tls_context_new(&server, &p->tls, errbuf, sizeof errbuf), 0);
    assert_int_equal(mdg_tls_context_new(&client, &tls, errbuf, sizeof errbuf), 0);
    struct mdg_connect_config config = {
        .host = MDG_SLICE_LIT("chat.example"),
        .port = 443,
        .proxy_host = MDG_SLICE_LIT("127.0.0.1"),
        .proxy_port = mdg_addr_port(mdg_listener_addr(p->listener)),
        .tls = tls,
    };
    start(p, config);
    expect_echo(p);
    assert_true(mdg_stream_secure(p->client.stream));
    mdg_stream_close(p->client.stream, 0);
    p->calls = 0;
    config.host = MDG_SLICE_LIT("wrong.example");
    start(p, config);
    TEST_NET_UNTIL(&p->net, p->calls == 1);
    assert_int_equal(p->err, MDG_E_DENIED);
    mdg_tls_context_unref(tls);
    struct mdg_tls_context *server_tls = p->tls;
    close_place(p);
    mdg_tls_context_unref(server_tls);
    unlink(cert);
    unlink(key);
}

static void a_cancelled_connect_is_silent_at_every_stage(void **state)
{
    (void)state;
    for (int turns = 0; turns < 6; turns++) {
        struct place *p = open_place(NULL);
        p->proxy_answer = "HTTP/1.1 200 OK\r\n\r\n";
        struct mdg_connect *c =
            start(p, (struct mdg_connect_config){
                         .host = MDG_SLICE_LIT("chat.example"),
                         .port = 443,
                         .proxy_host =
                             turns % 2 ? MDG_SLICE_LIT("localhost") : MDG_SLICE_LIT("127.0.0.1"),
                         .proxy_port = mdg_addr_port(mdg_listener_addr(p->listener))});
        for (int i = 0; i < turns / 2 && !p->calls; i++)
            test_net_turn(&p->net);
        if (!p->calls)
            mdg_connect_cancel(c);
        int calls = p->calls;
        for (int i = 0; i < 5; i++)
            assert_true(mdg_loop_step(p->net.loop, 5) >= 0);
        assert_int_equal(p->calls, calls);
        close_place(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_address_by_name_and_by_path),
        cmocka_unit_test(nobody_there_is_told_later),
        cmocka_unit_test(a_host_that_would_split_the_request_is_refused),
        cmocka_unit_test(the_proxy_opens_a_tunnel_or_refuses),
        cmocka_unit_test(a_silent_proxy_costs_the_time_that_was_given),
        cmocka_unit_test(tls_runs_through_the_tunnel),
        cmocka_unit_test(a_cancelled_connect_is_silent_at_every_stage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
