/* Out of memory at every place: a call fails or a connection ends, and nothing is left behind. */
#include "net/connect.h"
#include "net/listener.h"
#include "net/sim.h"
#include "net/tls.h"
#include "tests/support/net_peer.h"
#include "tests/support/torture.h"
#include <stdio.h>
#include <unistd.h>

enum { BIG = 40000 };

/* Only what cannot fail may be asserted here. */
struct scene {
    enum mdg_uring_use uring;
    enum mdg_loop_kind kind;
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_accounts *accounts;
    struct mdg_tls_context *server_tls, *client_tls;
    unsigned open;
    uint8_t bytes[BIG];
};

static int64_t echo(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_slice part = mdg_slice(in.data, in.len / 2 + 1);
    if (mdg_stream_write(s, &part, 1) < 0)
        return MDG_E_NO_MEMORY;
    return (int64_t)part.len; /* the rest is kept and comes again */
}

static void gone(struct mdg_stream *s, int reason)
{
    struct scene *sc = s->user_arg;
    (void)reason;
    sc->open--;
}

static const struct mdg_stream_user echo_user = {.name = "echo", .on_data = echo, .on_close = gone};

static int64_t swallow(struct mdg_stream *s, struct mdg_input in)
{
    (void)s;
    return (int64_t)in.len;
}

static const struct mdg_stream_user swallow_user = {
    .name = "swallow", .on_data = swallow, .on_close = gone};

static void on_accept(struct mdg_listener *l, struct mdg_stream *s, void *arg)
{
    struct scene *sc = arg;
    (void)l;
    sc->open++;
    mdg_stream_adopt(s, &echo_user, sc);
}

static const struct mdg_listener_user door_user = {on_accept, NULL};

static void on_connected(void *arg, int err, struct mdg_stream *s)
{
    struct scene *sc = arg;
    if (err < 0)
        return;
    sc->open++;
    struct mdg_slice part = MDG_SLICE_LIT("over the wire");
    if (mdg_stream_write(s, &part, 1) < 0)
        mdg_stream_close(s, 0);
}

static void turns(struct scene *sc, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(mdg_loop_step(sc->loop, sc->kind == MDG_LOOP_SIM ? -1 : 0) >= 0);
}

static void talk(struct scene *sc, struct mdg_stream *a)
{
    struct mdg_slice parts[2] = {MDG_SLICE_LIT("small"), mdg_slice(sc->bytes, BIG)};
    int err = mdg_stream_write(a, parts, 1);
    if (err == 0)
        err = mdg_stream_write(a, parts, 2);
    for (int i = 0; i < 40 && err == 0; i++) {
        struct mdg_chunk c = {mdg_blob_copy(parts[0]), 0, 5};
        err = c.blob ? mdg_stream_send(a, &c, 1) : MDG_E_NO_MEMORY;
        mdg_blob_unref(c.blob);
    }
    if (err < 0)
        mdg_stream_close(a, err);
}

static void play_pair(struct scene *sc)
{
    struct mdg_stream *a, *b;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return;
    if (mdg_stream_from_fd(sc->net, fds[0], &swallow_user, sc, &a) < 0) {
        close(fds[0]);
        close(fds[1]);
        return;
    }
    sc->open++;
    if (mdg_stream_from_fd(sc->net, fds[1], &echo_user, sc, &b) < 0) {
        close(fds[1]);
        return;
    }
    sc->open++;
    struct mdg_addr who;
    if (mdg_addr_parse(&who, MDG_SLICE_LIT("10.1.2.3:4")) == 0 &&
        mdg_stream_set_peer(b, &who, &who) < 0)
        mdg_stream_close(b, 0);
    talk(sc, a);
    turns(sc, 6);
}

static void play_listener(struct scene *sc)
{
    struct mdg_listener_config config = {0};
    struct mdg_listener *l;
    struct mdg_connect *c;
    assert_int_equal(mdg_addr_parse(&config.addr, MDG_SLICE_LIT("127.0.0.1:0")), 0);
    if (mdg_listener_new(sc->net, &config, &door_user, sc, &l) < 0)
        return;
    struct mdg_connect_config to = {.host = MDG_SLICE_LIT("127.0.0.1"),
                                    .port = mdg_addr_port(mdg_listener_addr(l))};
    if (mdg_connect_start(sc->net, &to, &swallow_user, sc, on_connected, sc, &c) == 0)
        turns(sc, 8);
    mdg_listener_close(l);
}

static void play_sim(struct scene *sc)
{
    struct mdg_sim_config config = {.seed = 1, .piece_max = 3000, .delay_max_ms = 3};
    struct mdg_sim *sim;
    struct mdg_stream *a, *b;
    if (mdg_sim_new(sc->net, &config, &sim) < 0)
        return;
    if (mdg_sim_pair(sim, &swallow_user, sc, &echo_user, sc, &a, &b) == 0) {
        sc->open += 2;
        if (sc->server_tls &&
            (mdg_tls_accept(b, sc->server_tls) < 0 ||
             mdg_tls_connect(a, sc->client_tls, MDG_SLICE_LIT("localhost"), NULL, NULL) < 0)) {
            mdg_stream_close(a, 0);
            mdg_stream_close(b, 0);
        }
        talk(sc, a);
        turns(sc, 60);
    }
    mdg_net_free(sc->net);
    sc->net = NULL;
    mdg_sim_free(sim);
}

static void play(void *arg)
{
    struct scene *sc = arg;
    struct mdg_loop_config loop = {.kind = sc->kind};
    static const uint64_t seed[2] = {1, 2};
    sc->net = NULL;
    sc->open = 0;
    sc->accounts = mdg_accounts_new(100, seed);
    struct mdg_net_config config = {.uring = sc->uring, .accounts = sc->accounts};
    if (!sc->accounts || mdg_loop_new(&loop, &sc->loop) < 0) {
        mdg_accounts_free(sc->accounts);
        return;
    }
    if (mdg_net_new(sc->loop, &config, &sc->net) == 0) {
        if (sc->kind == MDG_LOOP_SIM) {
            play_sim(sc);
        } else {
            play_pair(sc);
            play_listener(sc);
        }
        mdg_net_free(sc->net);
    }
    assert_int_equal(sc->open, 0);
    mdg_loop_free(sc->loop);
    mdg_accounts_free(sc->accounts);
}

static void sockets_survive_every_failed_allocation(void **state)
{
    (void)state;
    struct scene *sc = calloc(1, sizeof *sc);
    sc->uring = MDG_URING_OFF;
    mdg_test_torture(play, sc);
    free(sc);
}

static void the_simulation_and_tls_survive_too(void **state)
{
    (void)state;
    char cert[64], key[64], errbuf[200];
    snprintf(cert, sizeof cert, "/tmp/mdg-torture-%d.pem", (int)getpid());
    snprintf(key, sizeof key, "/tmp/mdg-torture-%d.key", (int)getpid());
    assert_int_equal(mdg_tls_dev_cert(cert, key, NULL), 0);
    struct mdg_tls_cert_files files = {cert, key};
    struct mdg_tls_config server = {.certs = &files, .certs_len = 1};
    struct mdg_tls_config client = {.client = true, .verify = true, .ca_path = cert};
    struct scene *sc = calloc(1, sizeof *sc);
    sc->kind = MDG_LOOP_SIM;
    mdg_test_torture(play, sc);
    assert_int_equal(mdg_tls_context_new(&server, &sc->server_tls, errbuf, sizeof errbuf), 0);
    assert_int_equal(mdg_tls_context_new(&client, &sc->client_tls, errbuf, sizeof errbuf), 0);
    mdg_test_torture(play, sc);
    mdg_tls_context_unref(sc->server_tls);
    mdg_tls_context_unref(sc->client_tls);
    free(sc);
    unlink(cert);
    unlink(key);
}

struct context_files {
    struct mdg_tls_config config;
};

static void make_context(void *arg)
{
    const struct context_files *f = arg;
    struct mdg_tls_context *t = NULL;
    char errbuf[200];
    if (mdg_tls_context_new(&f->config, &t, errbuf, sizeof errbuf) == 0)
        (void)!mdg_tls_context_reload(t, errbuf, sizeof errbuf);
    mdg_tls_context_unref(t);
}

static void a_tls_context_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    struct context_files f = {{.client = true}};
    mdg_test_torture(make_context, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_survive_every_failed_allocation),
        cmocka_unit_test(the_simulation_and_tls_survive_too),
        cmocka_unit_test(a_tls_context_is_made_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
