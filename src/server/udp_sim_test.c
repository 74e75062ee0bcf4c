/* Programs that come in by datagram, on a network that loses, doubles, delays and reorders, in one
 * room: the hall, madang.v1 and the hub on a simulated loop. Each client is what doc/protocols.md
 * asks of one, and not more. A failure repeats from its seed. */
#include "codec/udp.h"
#include "dialect/peer.h"
#include "dialect/plain.h"
#include "net/sim.h"
#include "tests/support/net_peer.h"
#include "transport/udp.h"
#include <stdio.h>

enum {
    CLIENTS = 4,
    MESSAGES = 60, /* of each client */
    UNIT_MAX = 1200,
    IN_FLIGHT_MAX = 64, /* as wide as the server's window of what it has heard */
    KEPT = 1024,        /* units of the server that came early, by number */
    REPEAT_MS = 100,
    JOIN_AGAIN_MS = 3000,
    HISTORY = 6,
    SEEDS = 12
};

struct world {
    struct test_net net;
    struct mdg_sim *sim;
    struct mdg_hub *hub;
    struct mdg_peers *peers;
    struct mdg_udp_hall *hall;
    struct mdg_udp_options options;
    struct mdg_principal *guest;
    struct mdg_defer hub_turn;
    struct mdg_timer tick;
    unsigned opened;
};

struct unit {
    char text[UNIT_MAX];
    bool there;
};

struct client {
    struct world *w;
    struct mdg_udp *socket;
    struct mdg_timer repeat;
    unsigned number;
    bool wants_acks, inside, in_room, talks;
    uint64_t cookie, nonce;
    uint8_t token[MDG_UDP_TOKEN_LEN];
    uint32_t next_seq;                 /* of its own units */
    struct unit flying[IN_FLIGHT_MAX]; /* not acknowledged, by number */
    uint32_t expected, newest;         /* of the server's */
    struct unit early[KEPT];           /* came before their turn */
    struct mdg_udp_window window;      /* of what the server sent */
    unsigned said, acked;              /* publications */
    bool acked_by_room[MESSAGES];      /* madang.v1's ack */
    char epoch[17];
    uint64_t room_seq, room_newest, known[CLIENTS * MESSAGES + 1],
        joined_ms;                      /* the last message's */
    uint64_t order[CLIENTS * MESSAGES]; /* sender * MESSAGES + number, as they came */
    unsigned heard, joins, resume_join, sessions, repeats, gones;
};

/* ---- The server's side ---- */

static void run_hub(struct mdg_loop *loop, void *arg)
{
    struct world *w = arg;
    mdg_hub_set_time(w->hub, mdg_loop_now_ms(loop), mdg_loop_unix_ms(loop));
    if (mdg_hub_turn(w->hub))
        mdg_loop_defer(loop, &w->hub_turn);
    mdg_peers_flush(w->peers);
}

static void on_pending(void *arg)
{
    struct world *w = arg;
    mdg_loop_defer(w->net.loop, &w->hub_turn);
}

static void on_tick(struct mdg_timer *t, void *arg)
{
    struct world *w = arg;
    mdg_hub_tick(w->hub);
    mdg_timer_start(w->net.loop, t, 100);
}

static int on_open(struct mdg_link *l, bool person, const struct mdg_handshake *hs, void *arg)
{
    struct world *w = arg;
    struct mdg_peer *peer;
    assert_false(person);
    int err = mdg_peer_new(w->peers, &mdg_plain_dialect, w->guest, &peer);
    if (err < 0)
        return err;
    w->opened++;
    l->user = &mdg_peer_link_user;
    l->user_arg = peer;
    mdg_peer_attach(peer, l, hs);
    return 0;
}

static const struct mdg_udp_visitors visitors = {on_open};

static struct world *open_world(const struct mdg_sim_config *weather)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    struct mdg_loop_config loop = {.kind = MDG_LOOP_SIM, .sim_seed = weather->seed};
    struct mdg_hub_config hub;
    struct mdg_peers_config peers;
    struct mdg_udp_config at = {0};
    const uint64_t seed[2] = {weather->seed, 1};
    test_net_open_with(&w->net, &loop, NULL);
    assert_int_equal(mdg_sim_new(w->net.net, weather, &w->sim), 0);
    mdg_hub_config_init(&hub);
    hub.channel.log_count_max = 10000;
    assert_int_equal(mdg_hub_new(&hub, 0, seed, &w->hub), 0);
    mdg_peers_config_init(&peers);
    assert_int_equal(mdg_peers_new(w->hub, &peers, &w->peers), 0);
    w->guest = mdg_principal_new(MDG_SLICE_LIT("guest-1"), true, MDG_RIGHTS_USER, 0);
    w->hub_turn = (struct mdg_defer){.fn = run_hub, .arg = w};
    mdg_hub_on_pending(w->hub, on_pending, w);
    mdg_timer_init(&w->tick, on_tick, w);
    mdg_timer_start(w->net.loop, &w->tick, 100);
    w->options = (struct mdg_udp_options){.datagram_bytes_max = 1200,
                                          .peers_max = 100,
                                          .idle_s = 10,
                                          .typist_idle_s = 10,
                                          .unproven_per_s = 1000};
    assert_int_equal(mdg_addr_parse(&at.addr, MDG_SLICE_LIT("127.0.0.1:1")), 0);
    at.recv_max = MDG_UDP_PAYLOAD_MAX;
    assert_int_equal(mdg_udp_hall_new(w->net.net, &at, &w->options, &visitors, w, &w->hall), 0);
    return w;
}

static void close_world(struct world *w)
{
    mdg_udp_hall_free(w->hall);
    test_net_turn(&w->net);
    test_net_turn(&w->net);
    mdg_timer_stop(w->net.loop, &w->tick);
    mdg_defer_cancel(&w->hub_turn);
    mdg_peers_free(w->peers);
    mdg_hub_free(w->hub);
    mdg_principal_unref(w->guest);
    mdg_net_free(w->net.net);
    mdg_sim_free(w->sim);
    mdg_loop_free(w->net.loop);
    free(w);
}

/* ---- A client: what it sends ---- */

static void on_datagram(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in);
static void on_socket_close(struct mdg_udp *u, int reason);
static const struct mdg_udp_user client_user = {.on_datagram = on_datagram,
                                                .on_close = on_socket_close};

static void send_packet(struct client *c, const struct mdg_udp_packet *p, const char *unit)
{
    uint8_t wire[64 + UNIT_MAX];
    struct mdg_writer writer;
    mdg_writer_init(&writer, wire, sizeof wire);
    mdg_udp_encode(&writer, p);
    mdg_write_str(&writer, unit);
    assert_true(mdg_writer_fits(&writer));
    struct mdg_slice part = {wire, writer.len};
    assert_int_equal(mdg_udp_write(c->socket, mdg_udp_hall_addr(c->w->hall), &part, 1), 0);
}

static void send_hello(struct client *c)
{
    struct mdg_udp_packet p = {.type = MDG_UDP_HELLO,
                               .version = MDG_UDP_VERSION,
                               .flags = c->wants_acks ? MDG_UDP_WANT_ACK : 0,
                               .nonce = c->nonce,
                               .cookie = c->cookie};
    memcpy(p.token, c->token, sizeof p.token);
    send_packet(c, &p, "");
}

static void send_flying(struct client *c, uint32_t seq)
{
    struct mdg_udp_packet p = {.type = MDG_UDP_DATA, .flags = MDG_UDP_WANT_ACK, .seq = seq};
    send_packet(c, &p, c->flying[seq % IN_FLIGHT_MAX].text);
}

static bool may_say(const struct client *c)
{
    return c->inside && !c->flying[c->next_seq % IN_FLIGHT_MAX].there;
}

static void say(struct client *c, const char *text)
{
    struct unit *u = &c->flying[c->next_seq % IN_FLIGHT_MAX];
    assert_false(u->there);
    snprintf(u->text, sizeof u->text, "%s", text);
    u->there = true;
    send_flying(c, c->next_seq++);
}

static void join(struct client *c)
{
    char text[UNIT_MAX], resume[80] = "";
    if (c->epoch[0])
        snprintf(resume, sizeof resume, ",\"resume\":{\"epoch\":\"%s\",\"seq\":%llu}", c->epoch,
                 (unsigned long long)c->room_seq);
    snprintf(text, sizeof text, "{\"type\":\"join\",\"room\":\"r\",\"id\":%u,\"history\":0%s}",
             ++c->joins, resume);
    if (c->epoch[0] && !c->resume_join)
        c->resume_join = c->joins;
    c->joined_ms = mdg_loop_now_ms(c->w->net.loop);
    say(c, text);
}

/* What the room's log has behind a hole, as much as fits into a datagram. */
static void ask_history(struct client *c)
{
    char text[UNIT_MAX];
    snprintf(text, sizeof text,
             "{\"type\":\"history\",\"room\":\"r\",\"before\":%llu,\"limit\":%d}",
             (unsigned long long)c->room_seq + HISTORY + 1, HISTORY);
    say(c, text);
}

/* A publication whose ack did not come may have happened: its key tells. */
static void publish(struct client *c, unsigned n)
{
    char text[UNIT_MAX];
    snprintf(text, sizeof text, "{\"type\":\"publish\",\"room\":\"r\",\"id\":%u,\"text\":\"%u.\"}",
             n, c->number * MESSAGES + n);
    say(c, text);
}

static void new_numbers(struct client *c)
{
    memset(c->flying, 0, sizeof c->flying);
    memset(c->early, 0, sizeof c->early);
    memset(&c->window, 0, sizeof c->window);
    c->next_seq = c->expected = 1;
    c->newest = 0;
    c->in_room = false;
}

static void new_address(struct client *c)
{
    struct mdg_udp_config at = {0};
    assert_int_equal(mdg_addr_parse(&at.addr, MDG_SLICE_LIT("127.0.0.1:0")), 0);
    mdg_udp_close(c->socket, 0);
    assert_int_equal(mdg_udp_new(c->w->net.net, &at, &client_user, c, &c->socket), 0);
}

/* Says HELLO from a new address: what is still on its way to the old one would be taken for the new
 * session's. */
static void hello_again(struct client *c)
{
    new_address(c);
    c->inside = false;
    mdg_loop_random(c->w->net.loop, &c->nonce, sizeof c->nonce);
    send_hello(c);
}

/* The server does not know the session any more. */
static void start_over(struct client *c)
{
    new_numbers(c);
    memset(c->token, 0, sizeof c->token);
    hello_again(c);
}

/* ---- A client: what it hears ---- */

static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* In the order of the room, whatever the order in which they come. */
static void on_message(struct client *c, const char *text)
{
    uint64_t seq = number_after(text, "\"seq\":");
    assert_true(seq <= CLIENTS * MESSAGES);
    if (seq > c->room_newest)
        c->room_newest = seq;
    if (seq <= c->room_seq)
        c->repeats++; /* live, and from the log */
    else
        c->known[seq] = 1 + number_after(text, "\"text\":\"");
    for (; c->room_seq < c->room_newest && c->known[c->room_seq + 1]; c->room_seq++)
        c->order[c->heard++] = c->known[c->room_seq + 1] - 1;
}

static void on_history(struct client *c, const char *text)
{
    while ((text = strstr(text, "{\"type\":\"message\""))) {
        on_message(c, text);
        text++;
    }
}

static void on_unit(struct client *c, const char *text)
{
    if (strstr(text, "\"type\":\"joined\"")) {
        bool resumed = c->resume_join && number_after(text, "\"id\":") >= c->resume_join;
        assert_true(!resumed || strstr(text, "\"recovered\":true"));
        snprintf(c->epoch, sizeof c->epoch, "%.16s", strstr(text, "\"epoch\":\"") + 9);
        c->in_room = true;
    } else if (strstr(text, "\"type\":\"history\"")) {
        on_history(c, text);
    } else if (strstr(text, "\"type\":\"message\"")) {
        on_message(c, text);
    } else if (strstr(text, "\"type\":\"ack\"")) {
        uint64_t n = number_after(text, "\"id\":");
        assert_true(n < MESSAGES && !c->acked_by_room[n]);
        c->acked_by_room[n] = true;
        c->acked++;
    } else {
        assert_null(strstr(text, "\"type\":\"error\""));
    }
}

static void take_in_order(struct client *c)
{
    for (struct unit *u; (u = &c->early[c->expected % KEPT])->there; c->expected++) {
        u->there = false;
        on_unit(c, u->text);
    }
}

static void on_data(struct client *c, const struct mdg_udp_packet *p)
{
    if (p->flags & MDG_UDP_WANT_ACK) {
        struct mdg_udp_packet ack = {.type = MDG_UDP_ACK};
        mdg_udp_window_take(&c->window, p->seq);
        mdg_udp_window_ack(&c->window, &ack);
        send_packet(c, &ack, "");
    }
    if (mdg_udp_after(c->expected, p->seq))
        return; /* a second time */
    assert_true(p->seq - c->expected < KEPT);
    struct unit *u = &c->early[p->seq % KEPT];
    assert_true(p->body.len < sizeof u->text);
    memcpy(u->text, p->body.data, p->body.len);
    u->text[p->body.len] = '\0';
    u->there = true;
    if (mdg_udp_after(p->seq, c->newest))
        c->newest = p->seq;
    take_in_order(c);
}

/* The server cannot send these again: the room's log has them. */
static void on_gone(struct client *c, const struct mdg_udp_packet *p)
{
    bool ours = !mdg_udp_after(p->seq, c->expected) && !mdg_udp_after(c->expected, p->to);
    if (!ours || c->wants_acks)
        return;
    c->gones++;
    c->expected = p->to + 1;
    take_in_order(c);
}

static void on_ack(struct client *c, const struct mdg_udp_packet *p)
{
    for (uint32_t seq = c->next_seq - 1; seq && c->next_seq - seq <= IN_FLIGHT_MAX; seq--) {
        if (mdg_udp_acked(p, seq))
            c->flying[seq % IN_FLIGHT_MAX].there = false;
    }
}

static void on_welcome(struct client *c, const struct mdg_udp_packet *p)
{
    if (p->nonce != c->nonce || c->inside)
        return;
    c->inside = true;
    if (memcmp(c->token, p->token, sizeof c->token) == 0)
        return; /* goes on */
    memcpy(c->token, p->token, sizeof c->token);
    new_numbers(c); /* another token is another session */
    c->sessions++;
    join(c);
}

static void on_datagram(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in)
{
    struct client *c = mdg_udp_arg(u);
    struct mdg_udp_packet p;
    (void)from;
    if (u != c->socket)
        return; /* what still comes to an address that it left */
    assert_int_equal(mdg_udp_decode(in, &p), 0);
    if (p.type == MDG_UDP_COOKIE && p.nonce == c->nonce) {
        c->cookie = p.cookie;
        send_hello(c);
    } else if (p.type == MDG_UDP_WELCOME) {
        on_welcome(c, &p);
    } else if (p.type == MDG_UDP_DATA && c->inside) {
        on_data(c, &p);
    } else if (p.type == MDG_UDP_ACK) {
        on_ack(c, &p);
    } else if (p.type == MDG_UDP_GONE) {
        on_gone(c, &p);
    } else if ((p.type == MDG_UDP_UNKNOWN || p.type == MDG_UDP_BYE) && c->inside) {
        start_over(c);
    }
}

static void on_socket_close(struct mdg_udp *u, int reason)
{
    (void)u;
    (void)reason;
}

/* ---- A client: time ---- */

static void say_more(struct client *c)
{
    uint64_t now_ms = mdg_loop_now_ms(c->w->net.loop);
    if (!may_say(c))
        return;
    if (!c->in_room && now_ms - c->joined_ms > JOIN_AGAIN_MS) {
        join(c); /* the answer is among what is gone */
    } else if (c->in_room && c->room_newest > c->room_seq &&
               !mdg_udp_after(c->newest, c->expected)) {
        ask_history(c);
    } else if (c->in_room && c->talks && c->said < MESSAGES) {
        publish(c, c->said++);
    } else {
        say(c,
            "{\"type\":\"ping\"}"); /* its answer shows whether the end of something is missing */
    }
}

static void on_repeat(struct mdg_timer *t, void *arg)
{
    struct client *c = arg;
    if (!c->inside)
        send_hello(c);
    for (uint32_t i = 0; c->inside && i < IN_FLIGHT_MAX; i++) {
        uint32_t seq = c->next_seq - IN_FLIGHT_MAX + i;
        if (c->flying[seq % IN_FLIGHT_MAX].there)
            send_flying(c, seq);
    }
    if (c->inside && !c->wants_acks && mdg_udp_after(c->newest, c->expected))
        send_packet(
            c,
            &(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = c->expected, .to = c->newest - 1},
            "");
    say_more(c);
    mdg_timer_start(c->w->net.loop, t, REPEAT_MS);
}

static struct client *open_client(struct world *w, unsigned number, bool wants_acks)
{
    struct client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->w = w;
    c->number = number;
    c->wants_acks = wants_acks;
    mdg_timer_init(&c->repeat, on_repeat, c);
    mdg_timer_start(w->net.loop, &c->repeat, REPEAT_MS);
    start_over(c);
    return c;
}

static void close_client(struct client *c)
{
    mdg_timer_stop(c->w->net.loop, &c->repeat);
    mdg_udp_close(c->socket, 0);
    test_net_turn(&c->w->net);
    free(c);
}

/* ---- The tests ---- */

static void run_for(struct world *w, uint64_t ms)
{
    uint64_t end = mdg_loop_now_ms(w->net.loop) + ms;
    while (mdg_loop_now_ms(w->net.loop) < end)
        assert_true(mdg_loop_step(w->net.loop, 10) >= 0);
}

static uint64_t draw(struct world *w, uint64_t below)
{
    uint64_t random;
    mdg_loop_random(w->net.loop, &random, sizeof random);
    return random % below;
}

/* A session that was given up on may have published without the client's knowing, so a publication
 * is there if it was acknowledged, and at most as often as there were sessions. */
static void check_order(struct client *const clients[CLIENTS])
{
    const struct client *first = clients[0];
    unsigned times[CLIENTS * MESSAGES] = {0};
    for (unsigned i = 0; i < first->heard; i++) {
        assert_true(first->order[i] < CLIENTS * MESSAGES);
        times[first->order[i]]++;
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct client *c = clients[i];
        assert_int_equal(c->heard, first->heard);
        assert_memory_equal(c->order, first->order, first->heard * sizeof *first->order);
        for (unsigned n = 0; n < MESSAGES; n++) {
            unsigned came = times[c->number * MESSAGES + n];
            assert_true(came <= 1);
            assert_true(came == 1 || !c->acked_by_room[n]);
            assert_true(came == 1 || c->sessions > 1);
        }
    }
}

static bool all_have(struct client *const clients[CLIENTS])
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct client *c = clients[i];
        if (c->said < MESSAGES || c->heard != clients[0]->heard ||
            c->room_seq != clients[0]->room_seq || !c->in_room)
            return false;
    }
    return true;
}

struct totals {
    unsigned sessions, gones, repeats;
};

static struct totals run_room(struct mdg_sim_config weather, bool moving)
{
    struct world *w = open_world(&weather);
    struct client *clients[CLIENTS];
    struct totals totals = {0};
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = open_client(w, i, i % 2);
        for (int n = 0; n < 400 && !clients[i]->in_room; n++)
            run_for(w, 100); /* everyone is there before the first word */
        assert_true(clients[i]->in_room);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i]->talks = true;
    for (int round = 0; round < 600 && !(round > 20 && all_have(clients)); round++) {
        run_for(w, 200);
        if (moving && draw(w, 8) == 0)
            hello_again(clients[draw(w, CLIENTS)]); /* its network changed */
    }
    mdg_sim_weather(w->sim, 0, 0, 0);
    run_for(w, 15000); /* the last words of all */
    if (!all_have(clients))
        print_error("seed %llu\n", (unsigned long long)weather.seed);
    assert_true(all_have(clients));
    check_order(clients);
    for (unsigned i = 0; i < CLIENTS; i++) {
        totals.sessions += clients[i]->sessions;
        totals.gones += clients[i]->gones;
        totals.repeats += clients[i]->repeats;
        close_client(clients[i]);
    }
    close_world(w);
    return totals;
}

static void in_fine_weather_nothing_is_sent_twice(void **state)
{
    (void)state;
    struct totals t = run_room((struct mdg_sim_config){.seed = 1, .delay_max_ms = 30}, false);
    assert_int_equal(t.sessions, CLIENTS);
    assert_int_equal(t.gones, 0);
    assert_int_equal(t.repeats, 0);
}

static void in_bad_weather_each_message_reaches_everyone_once_in_one_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_room((struct mdg_sim_config){.seed = seed,
                                         .delay_max_ms = 60,
                                         .loss_per_million = 200000,
                                         .dup_per_million = 100000,
                                         .reorder_per_million = 100000},
                 false);
}

static void clients_that_change_their_address_miss_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 100 + SEEDS; seed++)
        run_room((struct mdg_sim_config){.seed = seed,
                                         .delay_max_ms = 40,
                                         .loss_per_million = 100000,
                                         .dup_per_million = 50000,
                                         .reorder_per_million = 50000},
                 true);
}

/* Longer than the session lives and than the ring of units reaches: the log gives the rest. */
static void who_was_cut_off_for_long_goes_on_from_the_log(void **state)
{
    (void)state;
    struct mdg_sim_config weather = {.seed = 7, .delay_max_ms = 20};
    struct world *w = open_world(&weather);
    struct client *stays = open_client(w, 0, false), *leaves = open_client(w, 1, true);
    run_for(w, 1000);
    assert_true(stays->in_room && leaves->in_room);
    stays->talks = true;
    run_for(w, 1000);
    mdg_udp_close(leaves->socket, 0); /* no datagram gets through to it any more */
    mdg_timer_stop(w->net.loop, &leaves->repeat);
    run_for(w, 20000);
    assert_int_equal(stays->heard, MESSAGES);
    assert_true(leaves->heard < MESSAGES);
    assert_int_equal(mdg_udp_hall_count(w->hall), 1); /* its session has expired */
    leaves->socket = NULL;
    hello_again(leaves);
    mdg_timer_start(w->net.loop, &leaves->repeat, REPEAT_MS);
    run_for(w, 3000);
    assert_int_equal(leaves->sessions, 2);
    assert_int_equal(leaves->heard, MESSAGES);
    assert_memory_equal(leaves->order, stays->order, MESSAGES * sizeof *stays->order);
    close_client(stays);
    close_client(leaves);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_fine_weather_nothing_is_sent_twice),
        cmocka_unit_test(in_bad_weather_each_message_reaches_everyone_once_in_one_order),
        cmocka_unit_test(clients_that_change_their_address_miss_nothing),
        cmocka_unit_test(who_was_cut_off_for_long_goes_on_from_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
