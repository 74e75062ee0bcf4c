/* Datagrams over loopback: batches both ways, limits, a peer that is not there. */
#include "net/udp.h"
#include "tests/support/net_peer.h"
#include <errno.h>
#include <stdio.h>

struct ear {
    struct mdg_udp *udp;
    unsigned heard, closes;
    size_t bytes;
    int reason;
    uint8_t last[70000];
    size_t last_len;
    bool echo;
    unsigned unreachable;
    struct mdg_addr gone, last_from;
};

static void on_datagram(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in)
{
    struct ear *e = mdg_udp_arg(u);
    e->heard++;
    e->last_from = *from;
    e->bytes += in.len;
    e->last_len = in.len;
    if (in.len)
        memcpy(e->last, in.data, in.len);
    if (e->echo) {
        struct mdg_slice parts[] = {MDG_SLICE_LIT("re:"), mdg_slice(in.data, in.len)};
        assert_int_equal(mdg_udp_write(u, from, parts, 2), 0);
    }
}

static void on_unreachable(struct mdg_udp *u, const struct mdg_addr *peer)
{
    struct ear *e = mdg_udp_arg(u);
    e->unreachable++;
    e->gone = *peer;
}

static void on_close(struct mdg_udp *u, int reason)
{
    struct ear *e = mdg_udp_arg(u);
    e->closes++;
    e->reason = reason;
}

static const struct mdg_udp_user ear_user = {
    .on_datagram = on_datagram, .on_unreachable = on_unreachable, .on_close = on_close};

static void open_ear(struct test_net *t, struct ear *e, const char *bind_to,
                     const struct mdg_addr *peer)
{
    struct mdg_udp_config config = {.recv_max = 1000};
    if (bind_to)
        assert_int_equal(mdg_addr_parse(&config.addr, mdg_slice_str(bind_to)), 0);
    if (peer)
        config.peer = *peer;
    assert_int_equal(mdg_udp_new(t->net, &config, &ear_user, e, &e->udp), 0);
}

static void close_ears(struct test_net *t, struct ear *a, struct ear *b)
{
    mdg_udp_close(a->udp, 1);
    mdg_udp_close(a->udp, 2);
    mdg_udp_close(b->udp, 3);
    TEST_NET_UNTIL(t, a->closes && b->closes);
    test_net_turn(t);
    assert_int_equal(a->closes, 1);
    assert_int_equal(a->reason, 1);
    free(a);
    free(b);
}

static void datagrams_are_answered_in_batches(void **state)
{
    (void)state;
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < 2; i++) {
        struct test_net t;
        struct ear *server = calloc(1, sizeof *server), *client = calloc(1, sizeof *client);
        test_net_open(&t, MDG_URING_OFF);
        server->echo = true;
        open_ear(&t, server, addresses[i], NULL);
        open_ear(&t, client, NULL, mdg_udp_addr(server->udp));
        for (int n = 0; n < 200; n++) {
            char text[16];
            snprintf(text, sizeof text, "%d", n);
            struct mdg_slice part = mdg_slice_str(text);
            assert_int_equal(mdg_udp_write(client->udp, NULL, &part, 1), 0);
        }
        TEST_NET_UNTIL(&t, client->heard == 200);
        assert_int_equal(server->heard, 200);
        assert_memory_equal(client->last, "re:199", 6);
        close_ears(&t, server, client);
        test_net_close(&t);
    }
}

static void shared_chunks_an_empty_datagram_and_limits(void **state)
{
    (void)state;
    struct test_net t;
    struct ear *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    test_net_open(&t, MDG_URING_OFF);
    open_ear(&t, a, "127.0.0.1:0", NULL);
    open_ear(&t, b, "127.0.0.1:0", NULL);
    struct mdg_blob *blob = mdg_blob_copy(MDG_SLICE_LIT("abc"));
    for (int i = 0; i < 3; i++) {
        struct mdg_chunk c[2] = {mdg_chunk_all(mdg_blob_ref(blob)), {mdg_blob_ref(blob), 1, 1}};
        assert_int_equal(mdg_udp_send(a->udp, mdg_udp_addr(b->udp), c, 2), 0);
        assert_null(c[0].blob);
    }
    assert_int_equal(mdg_udp_send(a->udp, mdg_udp_addr(b->udp), NULL, 0), 0);
    TEST_NET_UNTIL(&t, b->heard == 4);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(b->last_len, 0);
    assert_int_equal(atomic_load(&blob->refs), 1);
    mdg_blob_unref(blob);
    /* Longer than the receiver wants: dropped whole. Longer than UDP allows: refused. */
    static uint8_t bytes[70000];
    struct mdg_slice part = mdg_slice(bytes, 1001);
    assert_int_equal(mdg_udp_write(a->udp, mdg_udp_addr(b->udp), &part, 1), 0);
    part.len = 1000;
    assert_int_equal(mdg_udp_write(a->udp, mdg_udp_addr(b->udp), &part, 1), 0);
    part.len = 65508;
    assert_int_equal(mdg_udp_write(a->udp, mdg_udp_addr(b->udp), &part, 1), MDG_E_TOO_BIG);
    TEST_NET_UNTIL(&t, b->heard == 5);
    assert_int_equal(b->last_len, 1000);
    /* The queue is bounded within a turn. */
    int err = 0;
    part.len = 1;
    for (int i = 0; i < 2000 && err == 0; i++)
        err = mdg_udp_write(a->udp, mdg_udp_addr(b->udp), &part, 1);
    assert_int_equal(err, MDG_E_FULL);
    close_ears(&t, a, b);
    test_net_close(&t);
}

static void a_peer_that_is_not_there_hurts_nobody_else(void **state)
{
    (void)state;
    struct test_net t;
    struct ear *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b),
               *gone = calloc(1, sizeof *gone);
    test_net_open(&t, MDG_URING_OFF);
    open_ear(&t, a, "127.0.0.1:0", NULL);
    open_ear(&t, b, "127.0.0.1:0", NULL);
    open_ear(&t, gone, "127.0.0.1:0", NULL);
    struct mdg_addr nobody = *mdg_udp_addr(gone->udp);
    mdg_udp_close(gone->udp, 0);
    test_net_turn(&t);
    struct mdg_slice part = MDG_SLICE_LIT("x");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(mdg_udp_write(a->udp, &nobody, &part, 1), 0);
        assert_int_equal(mdg_udp_write(a->udp, mdg_udp_addr(b->udp), &part, 1), 0);
        test_net_turn(&t);
    }
    TEST_NET_UNTIL(&t, b->heard == 5);
    assert_int_equal(a->closes, 0);
    free(gone);
    close_ears(&t, a, b);
    test_net_close(&t);
}

/* By ICMP, from this very host: over IPv4, IPv6, and from a socket for both. Many at once leave
 * nobody else's datagram unsent. */
static void who_is_gone_is_told(void **state)
{
    (void)state;
    enum { GONE = 100 };
    static const char *const addresses[][2] = {
        {"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"[::]:0", "127.0.0.1:0"}};
    for (size_t i = 0; i < MDG_ARRAY_LEN(addresses); i++) {
        struct test_net t;
        struct ear *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
        struct ear *gone = calloc(GONE, sizeof *gone);
        struct mdg_addr nobody[GONE], server;
        struct mdg_slice part = MDG_SLICE_LIT("x");
        test_net_open(&t, MDG_URING_OFF);
        open_ear(&t, a, addresses[i][0], NULL);
        open_ear(&t, b, addresses[i][1], NULL);
        server = *mdg_udp_addr(b->udp);
        mdg_addr_set_port(&server, mdg_addr_port(mdg_udp_addr(a->udp)));
        a->echo = true;
        assert_int_equal(mdg_udp_write(b->udp, &server, &part, 1), 0);
        TEST_NET_UNTIL(&t, b->heard == 1);
        struct mdg_addr friend = a->last_from;
        for (int n = 0; n < GONE; n++) {
            open_ear(&t, &gone[n], addresses[i][1], NULL);
            assert_int_equal(mdg_udp_write(gone[n].udp, &server, &part, 1), 0);
            TEST_NET_UNTIL(&t, gone[n].heard == 1);
            nobody[n] = a->last_from;
            mdg_udp_close(gone[n].udp, 0);
        }
        test_net_turn(&t);
        a->echo = false;
        for (int n = 0; n < GONE; n++) {
            assert_int_equal(mdg_udp_write(a->udp, &nobody[n], &part, 1), 0);
            assert_int_equal(mdg_udp_write(a->udp, &friend, &part, 1), 0);
        }
        /* Not all of them, perhaps: the kernel limits how much ICMP it sends. */
        TEST_NET_UNTIL(&t, b->heard == 1 + GONE && a->unreachable > 0);
        assert_true(a->unreachable <= GONE);
        assert_int_equal(a->closes, 0);
        bool known = false;
        for (int n = 0; n < GONE; n++)
            known |= mdg_addr_eq(&a->gone, &nobody[n]);
        assert_true(known);
        free(gone);
        close_ears(&t, a, b);
        test_net_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagrams_are_answered_in_batches),
        cmocka_unit_test(shared_chunks_an_empty_datagram_and_limits),
        cmocka_unit_test(a_peer_that_is_not_there_hurts_nobody_else),
        cmocka_unit_test(who_is_gone_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
