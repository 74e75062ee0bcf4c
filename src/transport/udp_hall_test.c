/* Programs and people who come in by datagram, on simulated sockets: minutes of silence take no
 * time, and senders' addresses may be forged. */
#include "codec/udp.h"
#include "loop/loop.h"
#include "net/net.h"
#include "net/sim.h"
#include "tests/support/unit.h"
#include "transport/udp.h"
#include <stdio.h>
#include <stdlib.h>

enum { PER_HOST = 4, HEARD_MAX = 128 };

struct fixture {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_sim *sim;
    struct mdg_accounts *accounts;
    struct mdg_udp_options options;
    struct mdg_udp_hall *hall;
    struct mdg_link *link; /* of the last who came in */
    bool person;
    unsigned opened, closed, writable, places;
    struct mdg_udp *sockets[8]; /* of clients */
    int code;
    char got[4096];
    size_t len;
};

struct client {
    struct fixture *f;
    struct mdg_udp *socket;
    struct {
        uint8_t bytes[400];
        size_t len;
    } heard[HEARD_MAX];
    unsigned came, taken, place;
    size_t came_bytes;
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
    const uint64_t seed[2] = {1, 2};
    f->options = (struct mdg_udp_options){.datagram_bytes_max = 300,
                                          .peers_max = 3,
                                          .idle_s = 10,
                                          .typist_idle_s = 1000,
                                          .unproven_per_s = 20};
    struct mdg_udp_config socket_config = {.recv_max = 4096};
    struct mdg_loop_config loop_config = {.kind = MDG_LOOP_SIM, .sim_seed = 1};
    struct mdg_sim_config sim_config = {.seed = 1};
    f->accounts = mdg_accounts_new(PER_HOST, seed);
    struct mdg_net_config net_config = {.accounts = f->accounts};
    assert_int_equal(mdg_addr_parse_ip(&socket_config.addr, MDG_SLICE_LIT("127.0.0.1"), 1), 0);
    assert_int_equal(mdg_loop_new(&loop_config, &f->loop), 0);
    assert_int_equal(mdg_net_new(f->loop, &net_config, &f->net), 0);
    assert_int_equal(mdg_sim_new(f->net, &sim_config, &f->sim), 0);
    assert_int_equal(mdg_udp_hall_new(f->net, &socket_config, &f->options, &visitors, f, &f->hall),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->places; i++)
        mdg_udp_close(f->sockets[i], 0);
    mdg_udp_hall_free(f->hall);
    assert_int_equal(f->opened, f->closed);
    assert_true(mdg_loop_step(f->loop, 0) >= 0);
    mdg_net_free(f->net);
    mdg_sim_free(f->sim);
    mdg_accounts_free(f->accounts);
    mdg_loop_free(f->loop);
    free(f);
    return 0;
}

static void on_heard(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in)
{
    struct client *c = mdg_udp_arg(u);
    (void)from;
    assert_true(c->came - c->taken < HEARD_MAX && in.len < sizeof c->heard->bytes);
    c->heard[c->came % HEARD_MAX].len = in.len;
    memcpy(c->heard[c->came % HEARD_MAX].bytes, in.data, in.len);
    c->came++;
    c->came_bytes += in.len;
}

static void on_client_closed(struct mdg_udp *u, int reason)
{
    struct client *c = mdg_udp_arg(u);
    (void)reason;
    c->f->sockets[c->place] = NULL;
}

static const struct mdg_udp_user client_user = {.on_datagram = on_heard,
                                                .on_close = on_client_closed};

static void open_on(struct fixture *f, struct client *c, const char *host, uint16_t port)
{
    struct mdg_udp_config at = {0};
    assert_int_equal(mdg_addr_parse_ip(&at.addr, mdg_slice_str(host), port), 0);
    memset(c, 0, sizeof *c);
    c->f = f;
    assert_int_equal(mdg_udp_new(f->net, &at, &client_user, c, &c->socket), 0);
    c->place = f->places++;
    assert_true(c->place < MDG_ARRAY_LEN(f->sockets));
    f->sockets[c->place] = c->socket;
}

static void open_at(struct fixture *f, struct client *c, uint16_t port)
{
    open_on(f, c, "127.0.0.1", port);
}

static void open_client(struct fixture *f, struct client *c)
{
    open_at(f, c, 0);
}

static void close_client(struct client *c)
{
    mdg_udp_close(c->socket, 0);
    assert_true(mdg_loop_step(c->f->loop, 0) >= 0);
}

static void turn(struct fixture *f, int ms)
{
    uint64_t end = mdg_loop_now_ms(f->loop) + (uint64_t)ms;
    do {
        assert_true(mdg_loop_step(f->loop, 1) >= 0);
    } while (mdg_loop_now_ms(f->loop) < end);
}

/* Waits for the next datagram; false: none came. */
static bool hear(struct fixture *f, struct client *c, int ms)
{
    uint64_t end = mdg_loop_now_ms(f->loop) + (uint64_t)ms;
    while (c->came == c->taken && mdg_loop_now_ms(f->loop) < end)
        assert_true(mdg_loop_step(f->loop, 1) >= 0);
    if (c->came == c->taken)
        return false;
    c->last_len = c->heard[c->taken % HEARD_MAX].len;
    memcpy(c->buffer, c->heard[c->taken++ % HEARD_MAX].bytes, c->last_len);
    c->buffer[c->last_len] = 0;
    assert_int_equal(mdg_udp_decode((struct mdg_input){c->buffer, c->last_len}, &c->last), 0);
    return true;
}

static void send_bytes(struct client *c, const void *bytes, size_t len)
{
    struct mdg_slice part = {bytes, len};
    assert_int_equal(mdg_udp_write(c->socket, mdg_udp_hall_addr(c->f->hall), &part, 1), 0);
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
                               .nonce = 77 + c->place,
                               .cookie = c->cookie};
    memcpy(p.token, c->token, sizeof p.token);
    send_packet(c, &p, "");
}

static void come_in(struct fixture *f, struct client *c, uint8_t flags)
{
    say_hello(c, flags);
    assert_true(hear(f, c, 500));
    assert_int_equal(c->last.type, MDG_UDP_COOKIE);
    assert_int_equal(c->last.nonce, 77 + c->place);
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
    struct client c;
    open_client(f, &c);
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
    close_client(&c);
}

static void strangers_get_little_and_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
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
    close_client(&c);
}

static void duplicates_are_removed_and_acknowledged_again(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
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
    close_client(&c);
}

static void what_was_lost_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
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
    close_client(&c);
}

static void acknowledged_delivery_repeats_until_it_is_heard(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
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
    close_client(&c);
}

static void a_session_moves_with_its_token(void **state)
{
    struct fixture *f = *state;
    struct client c, d;
    open_client(f, &c);
    open_client(f, &d);
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
    close_client(&c);
    close_client(&d);
}

/* All that this host may have. */
static void fill_host(struct fixture *f, const char *host, struct mdg_account *out[PER_HOST])
{
    struct mdg_addr addr;
    assert_int_equal(mdg_addr_parse_ip(&addr, mdg_slice_str(host), 1), 0);
    for (int i = 0; i < PER_HOST; i++)
        (void)!mdg_net_count_peer(f->net, &addr, &out[i]); /* NULL where it is full */
}

static void empty_host(struct mdg_account *out[PER_HOST])
{
    for (int i = 0; i < PER_HOST; i++)
        mdg_account_put(out[i]);
}

static void a_session_moves_to_another_port_of_a_full_host_but_not_to_another_host(void **state)
{
    struct fixture *f = *state;
    struct client c, d, far;
    struct mdg_account *near_ones[PER_HOST], *far_ones[PER_HOST];
    open_client(f, &c);
    open_client(f, &d);
    open_on(f, &far, "127.0.0.2", 0);
    come_in(f, &c, 0);
    fill_host(f, "127.0.0.1", near_ones);
    fill_host(f, "127.0.0.2", far_ones);
    memcpy(d.token, c.token, sizeof d.token);
    memcpy(far.token, c.token, sizeof far.token);
    come_in(f, &d, 0);
    say_hello(&far, 0);
    assert_true(hear(f, &far, 500));
    assert_int_equal(far.last.type, MDG_UDP_COOKIE);
    far.cookie = far.last.cookie;
    say_hello(&far, 0);
    assert_false(hear(f, &far, 500));
    assert_false(hear(f, &d, 20)); /* nor is anybody else told of it */
    say(f, "still here");
    assert_true(hear(f, &d, 500));
    assert_memory_equal(d.last.body.data, "still here", 10);
    assert_int_equal(f->opened, 1);
    empty_host(near_ones);
    empty_host(far_ones);
    close_client(&c);
    close_client(&d);
    close_client(&far);
}

static void silence_and_good_byes_end_sessions(void **state)
{
    struct fixture *f = *state;
    struct client c, d, e;
    open_client(f, &c);
    open_client(f, &d);
    open_client(f, &e);
    come_in(f, &c, 0);
    send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_BYE, .code = 1000}, "");
    turn(f, 30);
    assert_int_equal(f->closed, 1);
    come_in(f, &d, 0);
    turn(f, 11100);
    assert_int_equal(f->closed, 2);
    assert_int_equal(f->code, MDG_CLOSE_ABNORMAL);
    assert_int_equal(mdg_udp_hall_count(f->hall), 0);
    come_in(f, &e, 0);
    mdg_udp_hall_close(f->hall, MDG_CLOSE_GOING_AWAY, MDG_SLICE_LIT("stop"));
    assert_true(hear(f, &e, 500));
    assert_int_equal(e.last.type, MDG_UDP_BYE);
    assert_int_equal(e.last.code, MDG_CLOSE_GOING_AWAY);
    close_client(&c);
    close_client(&d);
    close_client(&e);
}

static void the_hall_has_room_for_so_many(void **state)
{
    struct fixture *f = *state;
    struct client c[4];
    for (int i = 0; i < 4; i++)
        open_client(f, &c[i]);
    for (int i = 0; i < 3; i++)
        come_in(f, &c[i], 0);
    say_hello(&c[3], 0);
    assert_true(hear(f, &c[3], 500));
    c[3].cookie = c[3].last.cookie;
    say_hello(&c[3], 0);
    assert_false(hear(f, &c[3], 50));
    assert_int_equal(f->opened, 3);
    for (int i = 0; i < 4; i++)
        close_client(&c[i]);
}

/* A flood in the name of somebody else: whatever it is made of, he gets less than three times the
 * IP bytes of it, in one short answer a datagram, and not more than so many of them a second. */
static void a_forged_sender_is_sent_little(void **state)
{
    struct fixture *f = *state;
    struct client victim;
    size_t sent = 0, ip_udp = 28;
    open_client(f, &victim);
    f->options.unproven_per_s = 50;
    turn(f, 1100); /* the allowance is per second */
    for (unsigned i = 0; i < 600; i++) {
        uint8_t bytes[64] = {(uint8_t)(i % 17), MDG_UDP_VERSION};
        size_t len = i < 200 ? i % 3 : i % sizeof bytes;
        sent += len + ip_udp;
        assert_int_equal(mdg_sim_forge(f->sim, mdg_udp_addr(victim.socket),
                                       mdg_udp_hall_addr(f->hall), mdg_slice(bytes, len)),
                         0);
        unsigned before = victim.came;
        size_t bytes_before = victim.came_bytes;
        turn(f, 2);
        assert_true(victim.came - before <= 1);
        assert_true(victim.came_bytes - bytes_before <= MDG_UDP_UNPROVEN_MAX);
        if (victim.came > before)
            assert_true(victim.came_bytes - bytes_before + ip_udp <= 3 * (len + ip_udp));
        victim.taken = victim.came;
    }
    assert_true(victim.came_bytes + victim.came * ip_udp <= 3 * sent);
    assert_in_range(victim.came, 50, 100); /* within 1.2 s */
    assert_int_equal(f->opened, 0);
    close_client(&victim);
}

/* A NACK of nine bytes asks for up to 64 units: not for ever, and not more often than they would be
 * repeated by themselves. */
static void units_are_sent_again_only_so_often(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
    come_in(f, &c, 0);
    say(f, "one");
    say(f, "two");
    turn(f, 10);
    c.taken = c.came;
    for (int i = 0; i < 20; i++) {
        send_packet(&c, &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 1, .to = 2}, "");
        turn(f, 10);
    }
    assert_int_equal(c.came - c.taken, 7 * 2 + 13); /* seven times more, then GONE */
    while (hear(f, &c, 10))
        ;
    assert_int_equal(c.last.type, MDG_UDP_GONE);
    assert_true(c.last.seq == 1 && c.last.to == 2);
    close_client(&c);
}

/* Ports are used again: the next one there is not taken for the last. */
static void a_newcomer_at_a_used_address_gets_a_session_of_his_own(void **state)
{
    struct fixture *f = *state;
    struct client old, new;
    open_client(f, &old);
    uint16_t port = mdg_addr_port(mdg_udp_addr(old.socket));
    come_in(f, &old, 0);
    for (uint32_t seq = 1; seq <= 100; seq++)
        send_packet(&old, &(struct mdg_udp_packet){.type = MDG_UDP_DATA, .seq = seq}, "x");
    close_client(&old);
    open_at(f, &new, port);
    come_in(f, &new, 0);
    assert_int_equal(f->opened, 2);
    assert_int_equal(f->closed, 1);
    assert_memory_not_equal(new.token, old.token, sizeof new.token);
    f->len = 0;
    send_packet(&new, &(struct mdg_udp_packet){.type = MDG_UDP_DATA, .seq = 1}, "first");
    turn(f, 10);
    assert_string_equal(f->got, "<first>");
    close_client(&new);
}

static void type_hi(struct fixture *f, struct client *c, const char *first)
{
    send_bytes(c, first, strlen(first));
    assert_true(hear(f, c, 500));
    char *code = strstr((char *)c->buffer, "/hi ");
    assert_non_null(code);
    send_bytes(c, code, strlen(code));
    turn(f, 10);
}

static void a_person_at_a_used_address_begins_with_hi(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
    come_in(f, &c, 0); /* a program had it */
    type_hi(f, &c, "hello?\n");
    assert_true(f->opened == 2 && f->closed == 1 && f->person);
    char code[32];
    snprintf(code, sizeof code, "%s", strstr((char *)c.buffer, "/hi "));
    send_bytes(&c, code, strlen(code)); /* doubled by the network */
    turn(f, 10);
    assert_true(f->opened == 2 && f->closed == 1);
    turn(f, 3000);
    type_hi(f, &c, "/hi\n"); /* the next person there */
    assert_true(f->opened == 3 && f->closed == 2 && f->person);
    send_bytes(&c, "/hi 123456789abc\n", 17); /* nobody is thrown out by a wrong one */
    turn(f, 10);
    assert_true(f->opened == 3 && f->closed == 2);
    c.taken = c.came;
    c.cookie = 0;
    come_in(f, &c, 0); /* and a program again */
    assert_true(f->opened == 4 && f->closed == 3 && !f->person);
    close_client(&c);
}

static void a_person_whose_port_is_closed_has_left(void **state)
{
    struct fixture *f = *state;
    struct client c;
    open_client(f, &c);
    type_hi(f, &c, "x");
    assert_int_equal(f->opened, 1);
    close_client(&c);
    say(f, "are you there?");
    turn(f, 10);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->code, MDG_CLOSE_ABNORMAL);
}

/* It may be on its way to another address; until then nothing is sent to where it was. */
static void a_program_whose_port_is_closed_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct client c, other, d;
    open_client(f, &c);
    come_in(f, &c, 0);
    uint16_t port = mdg_addr_port(mdg_udp_addr(c.socket));
    close_client(&c);
    say(f, "one");
    turn(f, 10);
    assert_int_equal(f->closed, 0);
    open_at(f, &other, port);
    say(f, "two");
    assert_false(hear(f, &other, 50));
    close_client(&other);
    open_client(f, &d);
    memcpy(d.token, c.token, sizeof d.token);
    come_in(f, &d, 0);
    assert_int_equal(f->opened, 1);
    say(f, "three");
    assert_true(hear(f, &d, 500));
    assert_int_equal(d.last.seq, 3);
    send_packet(&d, &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 1, .to = 2}, "");
    for (uint32_t seq = 1; seq <= 2; seq++) {
        assert_true(hear(f, &d, 500));
        assert_int_equal(d.last.seq, seq);
    }
    close_client(&d);
}

/* As for connections: other addresses still get in when one has all it may have. */
static void an_address_has_so_many_sessions(void **state)
{
    struct fixture *f = *state;
    struct client c[6];
    f->options.peers_max = 100;
    for (int i = 0; i < 4; i++) {
        open_client(f, &c[i]);
        come_in(f, &c[i], 0);
    }
    open_client(f, &c[4]);
    say_hello(&c[4], 0);
    assert_true(hear(f, &c[4], 500));
    c[4].cookie = c[4].last.cookie;
    say_hello(&c[4], 0);
    assert_false(hear(f, &c[4], 50));
    send_packet(&c[0], &(struct mdg_udp_packet){.type = MDG_UDP_BYE, .code = 1000}, "");
    turn(f, 10);
    say_hello(&c[4], 0);
    assert_true(hear(f, &c[4], 500));
    assert_int_equal(c[4].last.type, MDG_UDP_WELCOME);
    for (int i = 0; i < 5; i++)
        close_client(&c[i]);
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
        TEST(a_session_moves_to_another_port_of_a_full_host_but_not_to_another_host),
        TEST(silence_and_good_byes_end_sessions),
        TEST(the_hall_has_room_for_so_many),
        TEST(a_forged_sender_is_sent_little),
        TEST(units_are_sent_again_only_so_often),
        TEST(a_newcomer_at_a_used_address_gets_a_session_of_his_own),
        TEST(a_person_at_a_used_address_begins_with_hi),
        TEST(a_person_whose_port_is_closed_has_left),
        TEST(a_program_whose_port_is_closed_is_waited_for),
        TEST(an_address_has_so_many_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
