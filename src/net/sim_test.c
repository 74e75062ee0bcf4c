/* The simulation: streams behave like sockets under every fault, and a seed repeats a run. */
#include "net/sim.h"
#include "net/tls.h"
#include "tests/support/net_peer.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct world {
    struct test_net net;
    struct mdg_sim *sim;
};

static struct world *open_world(struct mdg_sim_config config)
{
    struct world *w = calloc(1, sizeof *w);
    struct mdg_loop_config loop = {.kind = MDG_LOOP_SIM, .sim_seed = config.seed};
    test_net_open_with(&w->net, &loop, NULL);
    assert_int_equal(mdg_sim_new(w->net.net, &config, &w->sim), 0);
    return w;
}

static void close_world(struct world *w)
{
    mdg_net_free(w->net.net);
    mdg_sim_free(w->sim);
    mdg_loop_free(w->net.loop);
    free(w);
}

static void pair(struct world *w, struct test_peer *a, struct test_peer *b)
{
    assert_int_equal(
        mdg_sim_pair(w->sim, &test_peer_user, a, &test_peer_user, b, &a->stream, &b->stream), 0);
}

static void run(struct world *w)
{
    assert_int_equal(mdg_loop_run(w->net.loop), 0);
}

static void say(struct test_peer *p, const char *text)
{
    struct mdg_slice part = mdg_slice_str(text);
    assert_int_equal(mdg_stream_write(p->stream, &part, 1), 0);
}

static void bytes_arrive_whole_whatever_the_cuts_and_delays(void **state)
{
    (void)state;
    enum { BIG = 300000 };
    uint8_t *bytes = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 300);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = open_world((struct mdg_sim_config){.seed = seed,
                                                             .delay_max_ms = (uint32_t)seed * 3,
                                                             .piece_max = (uint32_t)seed * 400,
                                                             .window_bytes = 5000});
        struct test_peer a = {0}, b = {.echo = true};
        pair(w, &a, &b);
        mdg_stream_set_out_max(b.stream, BIG);
        struct mdg_chunk c = mdg_chunk_all(mdg_blob_copy(mdg_slice(bytes, BIG)));
        assert_int_equal(mdg_stream_send(a.stream, &c, 1), 0);
        run(w);
        assert_int_equal(a.got_len, BIG);
        assert_memory_equal(a.got, bytes, BIG);
        mdg_stream_finish(a.stream, 4, 60);
        run(w);
        assert_int_equal(b.eofs, 1);
        mdg_stream_close(b.stream, 5);
        run(w);
        assert_int_equal(a.close_reason, 4);
        assert_int_equal(b.close_reason, 5);
        close_world(w);
        test_peer_free(&a);
        test_peer_free(&b);
    }
    free(bytes);
}

static void trace(uint64_t seed, char *out, size_t max)
{
    struct world *w =
        open_world((struct mdg_sim_config){.seed = seed, .delay_max_ms = 20, .piece_max = 5});
    struct test_peer a = {0}, b = {0};
    pair(w, &a, &b);
    say(&a, "a message that is cut into some pieces");
    uint64_t start = mdg_loop_now_ms(w->net.loop);
    out[0] = 0;
    while (b.got_len < 38) {
        size_t before = b.got_len;
        assert_true(mdg_loop_step(w->net.loop, -1) >= 0);
        if (b.got_len > before)
            snprintf(out + strlen(out), max - strlen(out), "%u:%zu ",
                     (unsigned)(mdg_loop_now_ms(w->net.loop) - start), b.got_len);
    }
    test_net_drain(&w->net);
    close_world(w);
    test_peer_free(&b);
}

static void a_seed_repeats_the_run_and_another_one_does_not(void **state)
{
    (void)state;
    char one[1024], again[1024], other[1024];
    trace(1, one, sizeof one);
    trace(1, again, sizeof again);
    trace(2, other, sizeof other);
    assert_string_equal(one, again);
    assert_string_not_equal(one, other);
}

static void a_reset_reaches_both_ends(void **state)
{
    (void)state;
    struct world *w = open_world((struct mdg_sim_config){.seed = 1});
    struct test_peer a = {0}, b = {0};
    pair(w, &a, &b);
    mdg_sim_reset(a.stream);
    run(w);
    assert_int_equal(a.close_reason, -ECONNRESET);
    assert_int_equal(b.close_reason, -ECONNRESET);
    close_world(w);
    /* By chance too. */
    w = open_world((struct mdg_sim_config){.seed = 1, .reset_per_million = 1000000});
    pair(w, &a, &b);
    say(&a, "x");
    run(w);
    assert_int_equal(a.closes + b.closes, 4);
    assert_int_equal(b.got_len, 0);
    close_world(w);
}

static void a_peer_that_vanishes_is_noticed_by_the_timeout_only(void **state)
{
    (void)state;
    struct world *w = open_world((struct mdg_sim_config){.seed = 1});
    struct test_peer a = {0}, b = {0};
    pair(w, &a, &b);
    mdg_stream_set_timeout(a.stream, 30);
    mdg_sim_vanish(b.stream);
    say(&a, "are you there?");
    uint64_t start = mdg_loop_now_ms(w->net.loop);
    run(w);
    assert_int_equal(a.timeouts, 1);
    assert_in_range(mdg_loop_now_ms(w->net.loop) - start, 30000, 32000);
    assert_int_equal(a.closes + b.closes, 0);
    assert_int_equal(b.got_len, 0);
    test_net_drain(&w->net);
    close_world(w);
}

static void a_reader_that_pauses_holds_the_writer_back(void **state)
{
    (void)state;
    struct world *w = open_world((struct mdg_sim_config){.seed = 3, .window_bytes = 1000});
    struct test_peer a = {0}, b = {0};
    uint8_t bytes[700] = {0};
    struct mdg_slice part = mdg_slice(bytes, sizeof bytes);
    pair(w, &a, &b);
    mdg_stream_set_out_max(a.stream, 2000);
    mdg_stream_pause_read(b.stream, true);
    int err = 0, accepted = 0;
    for (int i = 0; i < 20 && err == 0; i++) {
        err = mdg_stream_write(a.stream, &part, 1);
        accepted += err == 0;
        test_net_turn(&w->net);
    }
    assert_int_equal(err, MDG_E_FULL);
    assert_int_equal(accepted, 4); /* 1000 on the way, up to 2000 queued */
    mdg_stream_pause_read(b.stream, false);
    run(w);
    assert_int_equal(b.got_len, 2800);
    assert_int_equal(a.writables, 1);
    test_net_drain(&w->net);
    close_world(w);
    test_peer_free(&b);
}

static void thousands_of_pairs_and_an_hour_take_no_time(void **state)
{
    (void)state;
    enum { PAIRS = 2000 };
    struct world *w =
        open_world((struct mdg_sim_config){.seed = 9, .delay_max_ms = 200, .piece_max = 10});
    struct test_peer *a = calloc(PAIRS, sizeof *a), *b = calloc(PAIRS, sizeof *b);
    for (int i = 0; i < PAIRS; i++) {
        b[i].echo = true;
        pair(w, &a[i], &b[i]);
        mdg_stream_set_timeout(a[i].stream, 3600);
        say(&a[i], "hello, whoever you are");
    }
    run(w);
    for (int i = 0; i < PAIRS; i++) {
        assert_int_equal(a[i].got_len, 22);
        assert_int_equal(a[i].timeouts, 1);
    }
    test_net_drain(&w->net);
    close_world(w);
    for (int i = 0; i < PAIRS; i++) {
        test_peer_free(&a[i]);
        test_peer_free(&b[i]);
    }
    free(a);
    free(b);
}

static void tls_does_not_mind_the_pieces(void **state)
{
    (void)state;
    char cert[64], key[64], errbuf[200];
    snprintf(cert, sizeof cert, "/tmp/mdg-sim-%d.pem", (int)getpid());
    snprintf(key, sizeof key, "/tmp/mdg-sim-%d.key", (int)getpid());
    assert_int_equal(mdg_tls_dev_cert(cert, key, NULL), 0);
    struct mdg_tls_cert_files files = {cert, key};
    struct mdg_tls_config server_config = {.certs = &files, .certs_len = 1};
    struct mdg_tls_config client_config = {.client = true, .verify = true, .ca_path = cert};
    struct mdg_tls_context *server, *client;
    assert_int_equal(mdg_tls_context_new(&server_config, &server, errbuf, sizeof errbuf), 0);
    assert_int_equal(mdg_tls_context_new(&client_config, &client, errbuf, sizeof errbuf), 0);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = open_world((struct mdg_sim_config){
            .seed = seed, .delay_max_ms = 9, .piece_max = (uint32_t)seed * 11});
        struct test_peer a = {0}, b = {.echo = true};
        pair(w, &a, &b);
        assert_int_equal(mdg_tls_accept(b.stream, server), 0);
        assert_int_equal(mdg_tls_connect(a.stream, client, MDG_SLICE_LIT("localhost"), NULL, NULL),
                         0);
        say(&a, "through the eye of a needle");
        run(w);
        assert_int_equal(a.got_len, 27);
        test_net_drain(&w->net);
        close_world(w);
        test_peer_free(&a);
        test_peer_free(&b);
    }
    mdg_tls_context_unref(server);
    mdg_tls_context_unref(client);
    unlink(cert);
    unlink(key);
}

struct ear {
    struct mdg_udp *udp;
    unsigned heard, backwards;
    int last;
};

static void on_datagram(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in)
{
    struct ear *e = mdg_udp_arg(u);
    int number;
    assert_int_equal(mdg_addr_port(from), 1);
    assert_int_equal(in.len, sizeof number);
    memcpy(&number, in.data, sizeof number);
    e->heard++;
    e->backwards += number < e->last;
    e->last = number;
}

static void on_udp_close(struct mdg_udp *u, int reason)
{
    (void)u, (void)reason;
}

static const struct mdg_udp_user ear_user = {.on_datagram = on_datagram, .on_close = on_udp_close};

static struct ear send_thousand(struct mdg_sim_config config)
{
    struct world *w = open_world(config);
    struct ear a = {0}, b = {0};
    struct mdg_udp_config at = {0};
    assert_int_equal(mdg_addr_parse(&at.addr, MDG_SLICE_LIT("127.0.0.1:1")), 0);
    assert_int_equal(mdg_udp_new(w->net.net, &at, &ear_user, &a, &a.udp), 0);
    mdg_addr_set_port(&at.addr, 2);
    assert_int_equal(mdg_udp_new(w->net.net, &at, &ear_user, &b, &b.udp), 0);
    for (int i = 0; i < 1000; i++) {
        struct mdg_slice part = mdg_slice(&i, sizeof i);
        assert_int_equal(mdg_udp_write(a.udp, mdg_udp_addr(b.udp), &part, 1), 0);
        test_net_turn(&w->net);
        assert_true(mdg_loop_step(w->net.loop, 1) >= 0); /* a millisecond passes */
    }
    run(w);
    mdg_udp_close(a.udp, 0);
    mdg_udp_close(b.udp, 0);
    run(w);
    close_world(w);
    return b;
}

static void datagrams_are_lost_doubled_and_overtaken_as_asked(void **state)
{
    (void)state;
    struct ear e = send_thousand((struct mdg_sim_config){.seed = 1});
    assert_int_equal(e.heard, 1000);
    assert_int_equal(e.backwards, 0);
    e = send_thousand((struct mdg_sim_config){.seed = 1, .loss_per_million = 300000});
    assert_in_range(e.heard, 600, 800);
    e = send_thousand((struct mdg_sim_config){.seed = 1, .dup_per_million = 300000});
    assert_in_range(e.heard, 1200, 1400);
    e = send_thousand(
        (struct mdg_sim_config){.seed = 1, .reorder_per_million = 100000, .delay_max_ms = 3});
    assert_int_equal(e.heard, 1000);
    assert_true(e.backwards > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_whole_whatever_the_cuts_and_delays),
        cmocka_unit_test(a_seed_repeats_the_run_and_another_one_does_not),
        cmocka_unit_test(a_reset_reaches_both_ends),
        cmocka_unit_test(a_peer_that_vanishes_is_noticed_by_the_timeout_only),
        cmocka_unit_test(a_reader_that_pauses_holds_the_writer_back),
        cmocka_unit_test(thousands_of_pairs_and_an_hour_take_no_time),
        cmocka_unit_test(tls_does_not_mind_the_pieces),
        cmocka_unit_test(datagrams_are_lost_doubled_and_overtaken_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
