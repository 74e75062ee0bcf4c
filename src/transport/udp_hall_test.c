/* Programs and people who come in by datagram, over loopback sockets. */
#include "codec/udp.h"
#include "loop/loop.h"
#include "net/net.h"
#include "tests/support/unit.h"
#include "transport/udp.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_udp_options options;
    struct mdg_udp_hall *hall;
    struct mdg_link *link; /* of the last who came in */
    bool person;
    unsigned opened, closed, writable;
    int code;
    char got[4096];
    size_t len;
};

struct client {
    int fd;
    uint64_t cookie;
    uint8_t token[MDG_UDP_TOKEN_LEN];
    uint8_t buffer[4096];
    struct mdg_udp_packet last;
    size_t last_len;
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct fixture *f = l->user_arg;
    (void)binary;
    int n = snprintf(f->got + f->len, sizeof f->got - f->len, "<%.*s>", (int)in.len,
                     in.data ? (const char *)in.data : "");
    assert_true(n > 0);
    f->len += (size_t)n;
    return 0;
}

static void on_writable(struct mdg_link *l)
{
    ((struct fixture *)l->user_arg)->writable++;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct fixture *f = l->user_arg;
    (void)reason;
    f->closed++;
    f->code = code;
}

static const struct mdg_link_user link_user = {on_input, on_writable, on_close};

static int on_open(struct mdg_link *l, bool person, const struct mdg_handshake *hs, void *arg)
{
    struct fixture *f = arg;
    assert_true(mdg_slice_eq(hs->address, MDG_SLICE_LIT("127.0.0.1")));
    f->opened++;
    f->person = person;
    f->link = l;
    l->user = &link_user;
    l->user_arg = f;
    return 0;
}

static const struct mdg_udp_visitors visitors = {on_open};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->options = (struct mdg_udp_options){.datagram_bytes_max = 300,
                                          .peers_max = 3,
                                          .idle_s = 1,
                                          .typist_idle_s = 1000,
                                          .unproven_per_s = 20};
    struct mdg_udp_config socket_config = {.recv_max = 4096};
    assert_int_equal(mdg_addr_parse_ip(&socket_config.addr, MDG_SLICE_LIT("127.0.0.1"), 0), 0);
    assert_int_equal(mdg_loop_new(NULL, &f->loop), 0);
    assert_int_equal(mdg_net_new(f->loop, NULL, &f->net), 0);
    assert_int_equal(mdg_udp_hall_new(f->net, &socket_config, &f->options, &visitors, f, &f->hall),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mdg_udp_hall_free(f->hall);
    assert_int_equal(f->opened, f->closed);
    assert_true(mdg_loop_step(f->loop, 0) >= 0);
    mdg_net_free(f->net);
    mdg_loop_free(f->loop);
    free(f);
    return 0;
}

static struct client connect_client(struct fixture *f)
{
    struct client c = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const struct mdg_addr *to = mdg_udp_hall_addr(f->hall);
    assert_true(c.fd >= 0);
    assert_int_equal(connect(c.fd, &to->any, to->len), 0);
    return c;
}

static void turn(struct fixture *f, int ms)
{
    uint64_t until = mdg_loop_now_ms(f->loop) + (uint64_t)ms;
    do
        assert_true(mdg_loop_step(f->loop, ms ? 10 : 0) >= 0);
    while (mdg_loop_now_ms(f->loop) < until);
}

/* The next datagram; false: none within the time. */
static bool hear(struct fixture *f, struct client *c, int ms)
{
    for (int waited = 0;; waited += 5) {
        turn(f, 0);
        ssize_t n = recv(c->fd, c->buffer, sizeof c->buffer - 1, MSG_DONTWAIT);
        if (n >= 0) {
            c->buffer[n] = '\0';
            c->last_len = (size_t)n;
            assert_int_equal(mdg_udp_decode((struct mdg_input){c->buffer, (size_t)n}, &c->last), 0);
            return true;
        }
        if (waited >= ms)
            return false;
        turn(f, 5);
    }
}

static void send_bytes(struct client *c, const void *bytes, size_t len)
{
    assert_int_equal(send(c->fd, bytes, len, 0), (ssize_t)len);
}

static void send_packet(struct client *c, const struct mdg_udp_packet *p, const char *unit)
{
    uint8_t wire[2048];
    struct mdg_writer w;
    mdg_writer_init(&w, wire, sizeof wire);
    mdg_udp_encode(&w, p);
    mdg_write_str(&w, unit);
    send_bytes(c, wire, w.len);
}

static void say_hello(struct client *c, uint8_t flags)
{
    struct mdg_udp_packet p = {.type = MDG_UDP_HELLO,
                               .version = MDG_UDP_VERSION,
                               .flags = flags,
                               .nonce = 77,
                               .cookie = c->cookie};
    memcpy(p.token, c->token, sizeof p.token);
    send_packet(c, &p, "");
}

static void come_in(struct fixture *f, struct client *c, uint8_t flags)
{
    say_hello(c, flags);
    assert_true(hear(f, c, 500));
    assert_int_equal(c->last.type, MDG_UDP_COOKIE);
    assert_int_equal(c->last.nonce, 77);
    assert_true(c->last_len <= MDG_UDP_UNPROVEN_MAX);
    c->cookie = c->last.cookie;
    say_hello(c, flags);
    assert_true(hear(f, c, 500));
    assert_int_equal(c->last.type, MDG_UDP_WELCOME);
    memcpy(c->token, c->last.token, sizeof c->token);
}

static void say(struct fixture *f, const char *unit)
{
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice_str(unit), NULL), 0);
}

static void a_person_types_a_code_and_is_in(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f);
    send_bytes(&c, "hi\n", 3);
    assert_true(hear(f, &c, 500));
    assert_true(c.last_len <= MDG_UDP_UNPROVEN_MAX);
    assert_int_equal(f->opened, 0);
    char *code = strstr((char *)c.buffer, "/hi ");
    assert_non_null(code);
    char typed[32];
    snprintf(typed, sizeof typed, "%s", code);
    send_bytes(&c, "/hi 000000000000\n", 17);
    assert_true(hear(f, &c, 500)); /* a wrong code: told once more */
    assert_int_equal(f->opened, 0);
    send_bytes(&c, typed, strlen(typed));
    turn(f, 50);
    assert_true(f->opened == 1 && f->person);
    send_bytes(&c, "one\r\ntwo\nthree", 14);
    turn(f, 50);
    assert_string_equal(f->got, "<one><two><three>");
    say(f, "a\nb");
    assert_true(hear(f, &c, 500));
    assert_string_equal((char *)c.buffer, "a b\n");
    mdg_link_close(f->link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
    mdg_link_close(f->link, MDG_CLOSE_POLICY, mdg_slice(NULL, 0));
    turn(f, 20);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->code, MDG_CLOSE_NORMAL);
    close(c.fd);
}

static void strangers_get_little_and_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f);
    unsigned answers = 0;
    for (int i = 0; i < 40; i++) {
        if (i % 2)
            send_bytes(&c, "x", 1);
        else
            send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_PING, .nonce = 1}, "");
    }
    while (hear(f, &c, 50)) {
        assert_true(c.last_len <= MDG_UDP_UNPROVEN_MAX);
        answers++;
    }
    assert_int_equal(answers, 20);
    assert_int_equal(mdg_udp_hall_count(f->hall), 0);
    close(c.fd);
}

static void duplicates_are_removed_and_acknowledged_again(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f);
    come_in(f, &c, 0);
    assert_true(f->opened == 1 && !f->person);
    struct mdg_udp_packet data = {.type = MDG_UDP_DATA, .seq = 1, .flags = MDG_UDP_WANT_ACK};
    send_packet(&c, &data, "one");
    send_packet(&c, &data, "one");
    data.seq = 3;
    send_packet(&c, &data, "three");
    for (int i = 0; i < 3; i++) {
        assert_true(hear(f, &c, 500));
        assert_int_equal(c.last.type, MDG_UDP_ACK);
    }
    assert_true(mdg_udp_acked(&c.last, 1) && mdg_udp_acked(&c.last, 3));
    assert_false(mdg_udp_acked(&c.last, 2));
    assert_string_equal(f->got, "<one><three>");
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_PING, .nonce = 5}, "");
    assert_true(hear(f, &c, 500));
    assert_int_equal(c.last.type, MDG_UDP_PONG);
    say_hello(&c, 0); /* its WELCOME may have been lost: once more, the same session */
    assert_true(hear(f, &c, 500));
    assert_int_equal(c.last.type, MDG_UDP_WELCOME);
    assert_memory_equal(c.last.token, c.token, sizeof c.token);
    assert_int_equal(f->opened, 1);
    close(c.fd);
}

static void what_was_lost_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f);
    come_in(f, &c, 0);
    char unit[32];
    for (int i = 1; i <= 70; i++) {
        snprintf(unit, sizeof unit, "unit %d", i);
        say(f, unit);
    }
    for (uint32_t i = 1; i <= 70; i++) {
        assert_true(hear(f, &c, 500));
        assert_int_equal(c.last.seq, i);
    }
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 68, .to = 69}, "");
    for (uint32_t i = 68; i <= 69; i++) {
        assert_true(hear(f, &c, 500));
        snprintf(unit, sizeof unit, "unit %u", i);
        assert_int_equal(c.last.seq, i);
        assert_int_equal(c.last.flags, MDG_UDP_AGAIN);
        assert_memory_equal(c.last.body.data, unit, c.last.body.len);
    }
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 2, .to = 3}, "");
    assert_true(hear(f, &c, 500));
    assert_int_equal(c.last.type, MDG_UDP_GONE);
    assert_true(c.last.seq == 2 && c.last.to == 3);
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 71, .to = 99}, "");
    assert_false(hear(f, &c, 50)); /* nobody has seen the future */
    char big[400];
    memset(big, 'x', sizeof big);
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, sizeof big), NULL), 0);
    assert_true(hear(f, &c, 500));
    assert_int_equal(c.last.type, MDG_UDP_GONE);
    assert_true(c.last.seq == 71 && c.last.to == 71);
    close(c.fd);
}

static void acknowledged_delivery_repeats_until_it_is_heard(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f);
    f->options.idle_s = 100;
    come_in(f, &c, MDG_UDP_WANT_ACK);
    say(f, "once");
    assert_true(hear(f, &c, 500));
    assert_int_equal(c.last.flags, MDG_UDP_WANT_ACK);
    assert_true(hear(f, &c, 900)); /* nobody acknowledged */
    assert_int_equal(c.last.flags, MDG_UDP_WANT_ACK | MDG_UDP_AGAIN);
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_ACK, .seq = 1}, "");
    while (hear(f, &c, 50)) /* on a busy machine it may have been sent once more before */
        assert_int_equal(c.last.seq, 1);
    assert_false(hear(f, &c, 1200));
    for (int i = 0; i < 64; i++)
        say(f, "x");
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("x"), NULL), MDG_E_FULL);
    for (int i = 0; i < 64; i++)
        assert_true(hear(f, &c, 100));
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_ACK, .seq = 65}, "");
    turn(f, 50);
    assert_int_equal(f->writable, 1);
    say(f, "room again");
    close(c.fd);
}

static void a_session_moves_with_its_token(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f), d = connect_client(f);
    come_in(f, &c, 0);
    memcpy(d.token, c.token, sizeof d.token);
    send_packet(&d, &(struct mdg_udp_packet){.type = MDG_UDP_DATA, .seq = 1}, "stolen?");
    assert_true(hear(f, &d, 500));
    assert_int_equal(d.last.type, MDG_UDP_UNKNOWN);
    come_in(f, &d, 0);
    assert_memory_equal(d.token, c.token, sizeof d.token);
    assert_int_equal(f->opened, 1);
    say(f, "found you");
    assert_true(hear(f, &d, 500));
    assert_memory_equal(d.last.body.data, "found you", 9);
    assert_false(hear(f, &c, 20));
    close(c.fd);
    close(d.fd);
}

static void silence_and_good_byes_end_sessions(void **state)
{
    struct fixture *f = *state;
    struct client c = connect_client(f), d = connect_client(f), e = connect_client(f);
    come_in(f, &c, 0);
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_BYE, .code = 1000}, "");
    turn(f, 30);
    assert_int_equal(f->closed, 1);
    come_in(f, &d, 0);
    turn(f, 2300);
    assert_int_equal(f->closed, 2);
    assert_int_equal(f->code, MDG_CLOSE_ABNORMAL);
    assert_int_equal(mdg_udp_hall_count(f->hall), 0);
    come_in(f, &e, 0);
    mdg_udp_hall_close(f->hall, MDG_CLOSE_GOING_AWAY, MDG_SLICE_LIT("stop"));
    assert_true(hear(f, &e, 500));
    assert_int_equal(e.last.type, MDG_UDP_BYE);
    assert_int_equal(e.last.code, MDG_CLOSE_GOING_AWAY);
    close(c.fd);
    close(d.fd);
    close(e.fd);
}

static void the_hall_has_room_for_so_many(void **state)
{
    struct fixture *f = *state;
    struct client c[4];
    for (int i = 0; i < 4; i++)
        c[i] = connect_client(f);
    for (int i = 0; i < 3; i++)
        come_in(f, &c[i], 0);
    say_hello(&c[3], 0);
    assert_true(hear(f, &c[3], 500));
    c[3].cookie = c[3].last.cookie;
    say_hello(&c[3], 0);
    assert_false(hear(f, &c[3], 50));
    assert_int_equal(f->opened, 3);
    for (int i = 0; i < 4; i++)
        close(c[i].fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_person_types_a_code_and_is_in),
        TEST(strangers_get_little_and_not_for_ever),
        TEST(duplicates_are_removed_and_acknowledged_again),
        TEST(what_was_lost_is_asked_for_again),
        TEST(acknowledged_delivery_repeats_until_it_is_heard),
        TEST(a_session_moves_with_its_token),
        TEST(silence_and_good_byes_end_sessions),
        TEST(the_hall_has_room_for_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
