/* The socket and the door: who may come in, who has been silent for too long. */
#include "transport/udp.h"
#include "codec/line.h"
#include "net/net.h"
#include "transport/udp_peer.h"
#include <stdlib.h>

enum { SWEEP_MS = 100, IDLE_SWEEP_MS = 1000 };

/* ---- The door ---- */

static bool may_answer(struct mdg_udp_hall *hall)
{
    if (hall->answers_left == 0)
        return false;
    hall->answers_left--;
    return true;
}

static void challenge_person(struct mdg_udp_hall *hall, const struct mdg_addr *from,
                             struct mdg_slice key)
{
    uint8_t text[MDG_UDP_UNPROVEN_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_str(&w, "To come in, type: /hi ");
    mdg_udp_write_typed(&w, mdg_udp_cookie(hall->secret, key, mdg_loop_now_ms(hall->loop)));
    mdg_write_u8(&w, '\n');
    assert(mdg_writer_fits(&w));
    struct mdg_slice part = {text, w.len};
    (void)!mdg_udp_write(hall->socket, from, &part, 1);
}

static int put_peer(struct mdg_udp_hall *hall, struct mdg_udp_peer *peer)
{
    int err = mdg_map_put(&hall->by_addr, mdg_slice(peer->key, peer->key_len), peer);
    if (err < 0 || peer->person)
        return err;
    mdg_loop_random(hall->loop, peer->token, sizeof peer->token);
    err = mdg_map_put(&hall->by_token, mdg_slice(peer->token, sizeof peer->token), peer);
    if (err < 0)
        mdg_map_remove(&hall->by_addr, mdg_slice(peer->key, peer->key_len));
    return err;
}

static struct mdg_udp_peer *new_peer(struct mdg_udp_hall *hall, const struct mdg_addr *from,
                                     struct mdg_slice key, bool person)
{
    if (hall->closed || hall->by_addr.len >= hall->options->peers_max)
        return NULL;
    struct mdg_udp_peer *peer = calloc(1, sizeof *peer);
    if (!peer || mdg_net_count_peer(hall->net, from, &peer->account) < 0) {
        free(peer);
        return NULL;
    }
    peer->link = (struct mdg_link){
        &mdg_udp_carrier, person ? &mdg_udp_line_framing : &mdg_udp_framing, &mdg_udp_nobody, NULL};
    peer->hall = hall;
    peer->addr = *from;
    peer->person = person;
    mdg_udp_peer_begin(peer);
    peer->next_seq = 1;
    peer->heard_ms = peer->opened_ms = mdg_loop_now_ms(hall->loop);
    peer->key_len = (uint8_t)key.len;
    memcpy(peer->key, key.data, key.len);
    if (put_peer(hall, peer) < 0) {
        mdg_account_put(peer->account);
        free(peer);
        return NULL;
    }
    if (mdg_list_empty(&hall->peers))
        mdg_timer_start(hall->loop, &hall->sweep, SWEEP_MS);
    mdg_list_push(&hall->peers, &peer->in_hall);
    return peer;
}

static void open_peer(struct mdg_udp_peer *peer)
{
    struct mdg_udp_hall *hall = peer->hall;
    char address[MDG_ADDR_TEXT_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, address, sizeof address);
    mdg_addr_write_ip(&w, &peer->addr);
    struct mdg_handshake hs = {.carrier = "udp",
                               .address = {(uint8_t *)address, w.len},
                               .port = mdg_addr_port(&peer->addr),
                               .unix_ms = mdg_loop_unix_ms(hall->loop)};
    if (hall->visitors->on_open(&peer->link, peer->person, &hs, hall->arg) < 0)
        mdg_udp_peer_end(peer, MDG_CLOSE_POLICY);
}

static void welcome(struct mdg_udp_peer *peer, uint64_t nonce)
{
    struct mdg_udp_packet p = {
        .type = MDG_UDP_WELCOME, .nonce = nonce, .flags = peer->wants_acks ? MDG_UDP_WANT_ACK : 0};
    memcpy(p.token, peer->token, sizeof p.token);
    mdg_udp_say(peer->hall, &peer->addr, &p);
}

static bool is_same_client(const struct mdg_addr *a, const struct mdg_addr *b)
{
    uint8_t a_bytes[MDG_ADDR_KEY_MAX], b_bytes[MDG_ADDR_KEY_MAX];
    struct mdg_slice a_key = mdg_slice(a_bytes, mdg_addr_client_key(a, a_bytes));
    return mdg_slice_eq(a_key, mdg_slice(b_bytes, mdg_addr_client_key(b, b_bytes)));
}

/* From another port it is the same one; from another host it counts there. */
static bool move_account(struct mdg_udp_peer *peer, const struct mdg_addr *to)
{
    struct mdg_account *account;
    if (is_same_client(&peer->addr, to))
        return true;
    if (mdg_net_count_peer(peer->hall->net, to, &account) < 0)
        return false;
    mdg_account_put(peer->account);
    peer->account = account;
    return true;
}

/* The session's client has another address now (a NAT forgot it, a phone changed networks). It
 * stays where it was when that host has as many as it may. */
static void move_peer(struct mdg_udp_peer *peer, const struct mdg_addr *to, struct mdg_slice key)
{
    struct mdg_map *map = &peer->hall->by_addr;
    if (!move_account(peer, to))
        return;
    mdg_map_remove(map, mdg_slice(peer->key, peer->key_len));
    peer->addr = *to;
    peer->key_len = (uint8_t)key.len;
    memcpy(peer->key, key.data, key.len);
    if (mdg_map_put(map, mdg_slice(peer->key, peer->key_len), peer) < 0)
        mdg_udp_peer_end(peer, MDG_CLOSE_ABNORMAL);
}

static void ask_for_cookie(struct mdg_udp_hall *hall, const struct mdg_addr *from,
                           struct mdg_slice key, uint64_t nonce)
{
    struct mdg_udp_packet p = {.type = MDG_UDP_COOKIE,
                               .nonce = nonce,
                               .cookie =
                                   mdg_udp_cookie(hall->secret, key, mdg_loop_now_ms(hall->loop))};
    mdg_udp_say(hall, from, &p);
}

/* The session that a proven HELLO means, at this address from now on: the one of its token, or the
 * one that it opened itself before (its WELCOME was lost). Whoever else had the address is gone; a
 * port is used again soon, and a newcomer must not find himself in a stranger's session. NULL: a
 * newcomer. */
static struct mdg_udp_peer *session_of(struct mdg_udp_hall *hall, const struct mdg_addr *from,
                                       struct mdg_slice key, const struct mdg_udp_packet *p)
{
    struct mdg_udp_peer *known = mdg_map_get(&hall->by_token, mdg_slice(p->token, sizeof p->token));
    struct mdg_udp_peer *here = mdg_map_get(&hall->by_addr, key);
    bool own = here && !here->person && here->nonce == p->nonce;
    if (!known && own)
        known = here;
    if (here && here != known)
        mdg_udp_peer_end(here, MDG_CLOSE_NORMAL);
    if (known && known != here)
        move_peer(known, from, key);
    return known;
}

static void hello(struct mdg_udp_hall *hall, const struct mdg_addr *from, struct mdg_slice key,
                  const struct mdg_udp_packet *p)
{
    uint64_t now_ms = mdg_loop_now_ms(hall->loop);
    if (!mdg_udp_cookie_ok(hall->secret, key, now_ms, p->cookie)) {
        if (mdg_map_get(&hall->by_addr, key) || may_answer(hall))
            ask_for_cookie(hall, from, key, p->nonce);
        return;
    }
    struct mdg_udp_peer *peer = session_of(hall, from, key, p);
    bool fresh = !peer;
    if (fresh)
        peer = new_peer(hall, from, key, false);
    if (!peer || peer->closing || !mdg_addr_eq(&peer->addr, from))
        return;
    peer->heard_ms = now_ms;
    peer->lost = false;
    peer->nonce = p->nonce;
    peer->wants_acks = p->flags & MDG_UDP_WANT_ACK;
    welcome(peer, p->nonce);
    if (fresh)
        open_peer(peer);
}

/* What a person types who has not come in yet, or who has an address that was somebody else's. */
static void knock(struct mdg_udp_hall *hall, const struct mdg_addr *from, struct mdg_slice key,
                  struct mdg_slice code)
{
    uint64_t now_ms = mdg_loop_now_ms(hall->loop);
    struct mdg_udp_peer *here = mdg_map_get(&hall->by_addr, key);
    if (!mdg_udp_typed_ok(hall->secret, key, now_ms, code)) {
        if (may_answer(hall))
            challenge_person(hall, from, key);
        return;
    }
    if (here && here->person && now_ms - here->opened_ms < MDG_UDP_DOUBLE_HI_MS)
        return;
    if (here)
        mdg_udp_peer_end(here, MDG_CLOSE_NORMAL);
    struct mdg_udp_peer *peer = new_peer(hall, from, key, true);
    if (peer)
        open_peer(peer);
}

/* "/hi" and perhaps the code behind it. */
static bool is_knock(struct mdg_input in, struct mdg_slice *code)
{
    struct mdg_line_command command;
    struct mdg_slice text;
    if (!mdg_line_command(mdg_slice(in.data, in.len), &command, &text) ||
        !mdg_slice_eq_nocase(command.word, MDG_SLICE_LIT("hi")))
        return false;
    *code = command.argument;
    return true;
}

static void on_datagram(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in)
{
    struct mdg_udp_hall *hall = mdg_udp_arg(u);
    uint8_t bytes[MDG_ADDR_KEY_MAX];
    struct mdg_slice key = {bytes, mdg_addr_key(from, bytes)}, code = {0};
    struct mdg_udp_packet p;
    if (mdg_udp_decode(in, &p) < 0 || key.len == 0)
        return;
    struct mdg_udp_peer *peer = mdg_map_get(&hall->by_addr, key);
    bool text = p.type == MDG_UDP_TEXT;
    if (p.type == MDG_UDP_HELLO)
        hello(hall, from, key, &p);
    else if (text && (is_knock(p.body, &code) || !peer || !peer->person))
        knock(hall, from, key, code);
    else if (peer)
        mdg_udp_peer_take(peer, &p);
    else if (p.type != MDG_UDP_BYE && p.type != MDG_UDP_UNKNOWN && may_answer(hall))
        mdg_udp_say(hall, from, &(struct mdg_udp_packet){.type = MDG_UDP_UNKNOWN});
}

/* A person's nc has ended without a word. A program may be on its way to another address, with its
 * token. */
static void on_unreachable(struct mdg_udp *u, const struct mdg_addr *addr)
{
    struct mdg_udp_hall *hall = mdg_udp_arg(u);
    uint8_t bytes[MDG_ADDR_KEY_MAX];
    struct mdg_slice key = {bytes, mdg_addr_key(addr, bytes)};
    struct mdg_udp_peer *peer = mdg_map_get(&hall->by_addr, key);
    if (peer && peer->person)
        mdg_udp_peer_end(peer, MDG_CLOSE_ABNORMAL);
    else if (peer)
        peer->lost = true;
}

static void on_writable(struct mdg_udp *u)
{
    struct mdg_udp_hall *hall = mdg_udp_arg(u);
    MDG_LIST_FOR(it, next, &hall->peers)
    {
        struct mdg_udp_peer *peer = MDG_CONTAINER_OF(it, struct mdg_udp_peer, in_hall);
        mdg_udp_peer_writable(peer);
    }
}

static void free_hall(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

static void on_close(struct mdg_udp *u, int reason)
{
    struct mdg_udp_hall *hall = mdg_udp_arg(u);
    (void)reason;
    free_hall(hall->loop, hall);
}

static const struct mdg_udp_user socket_user = {on_datagram, on_writable, on_unreachable, on_close};

/* ---- Time ---- */

static void sweep_idle(struct mdg_udp_hall *hall, struct mdg_udp_peer *peer, uint64_t now_ms)
{
    uint64_t limit_s = peer->person ? hall->options->typist_idle_s : hall->options->idle_s;
    if (peer->closing || now_ms - peer->heard_ms < limit_s * 1000)
        return;
    mdg_udp_peer_end(peer, MDG_CLOSE_ABNORMAL);
}

static void on_sweep(struct mdg_timer *t, void *arg)
{
    struct mdg_udp_hall *hall = arg;
    uint64_t now_ms = mdg_loop_now_ms(hall->loop);
    bool idle_too = now_ms - hall->swept_ms >= IDLE_SWEEP_MS;
    if (idle_too) {
        hall->swept_ms = now_ms;
        hall->answers_left = hall->options->unproven_per_s;
    }
    MDG_LIST_FOR(it, next, &hall->peers)
    {
        struct mdg_udp_peer *peer = MDG_CONTAINER_OF(it, struct mdg_udp_peer, in_hall);
        if (peer->wants_acks && peer->ring_bytes > 0)
            mdg_udp_peer_retry(peer, now_ms);
        if (idle_too)
            sweep_idle(hall, peer, now_ms);
    }
    mdg_timer_start(hall->loop, t, mdg_list_empty(&hall->peers) ? IDLE_SWEEP_MS : SWEEP_MS);
}

/* ---- Life ---- */

int mdg_udp_hall_new(struct mdg_net *net, const struct mdg_udp_config *socket,
                     const struct mdg_udp_options *options, const struct mdg_udp_visitors *visitors,
                     void *arg, struct mdg_udp_hall **out)
{
    assert(options->datagram_bytes_max >= 256 &&
           options->datagram_bytes_max <= MDG_UDP_PAYLOAD_MAX);
    struct mdg_udp_hall *hall = calloc(1, sizeof *hall);
    if (!hall)
        return MDG_E_NO_MEMORY;
    uint64_t seed[2];
    hall->loop = mdg_net_loop(net);
    hall->net = net;
    hall->options = options;
    hall->visitors = visitors;
    hall->arg = arg;
    hall->answers_left = options->unproven_per_s;
    mdg_loop_random(hall->loop, seed, sizeof seed);
    mdg_loop_random(hall->loop, hall->secret, sizeof hall->secret);
    mdg_map_init(&hall->by_addr, seed);
    mdg_map_init(&hall->by_token, seed);
    mdg_list_init(&hall->peers);
    mdg_timer_init(&hall->sweep, on_sweep, hall);
    int err = mdg_udp_new(net, socket, &socket_user, hall, &hall->socket);
    if (err < 0) {
        free(hall);
        return err;
    }
    mdg_timer_start(hall->loop, &hall->sweep, IDLE_SWEEP_MS);
    *out = hall;
    return 0;
}

const struct mdg_addr *mdg_udp_hall_addr(const struct mdg_udp_hall *hall)
{
    return mdg_udp_addr(hall->socket);
}

size_t mdg_udp_hall_count(const struct mdg_udp_hall *hall)
{
    return hall->by_addr.len;
}

void mdg_udp_hall_close(struct mdg_udp_hall *hall, int code, struct mdg_slice reason)
{
    hall->closed = true;
    MDG_LIST_FOR(it, next, &hall->peers)
    mdg_link_close(&MDG_CONTAINER_OF(it, struct mdg_udp_peer, in_hall)->link, code, reason);
}

void mdg_udp_hall_free(struct mdg_udp_hall *hall)
{
    if (!hall)
        return;
    hall->closed = true;
    MDG_LIST_FOR(it, next, &hall->peers)
    {
        struct mdg_udp_peer *peer = MDG_CONTAINER_OF(it, struct mdg_udp_peer, in_hall);
        mdg_udp_peer_end(peer, MDG_CLOSE_GOING_AWAY);
        mdg_defer_cancel(&peer->end);
        peer->end.fn(hall->loop, peer);
    }
    mdg_timer_stop(hall->loop, &hall->sweep);
    mdg_map_fini(&hall->by_addr);
    mdg_map_fini(&hall->by_token);
    mdg_udp_close(hall->socket, 0);
}
