/* WebSocket connections on real sockets: what the peer sends and sees, what the user of the link
 * hears. The peer is written out with the codec's encoder and the client role of its decoder. */
#include "base/mask.h"
#include "tests/support/net_peer.h"
#include "transport/ws_conn.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct fixture {
    struct test_net net;
    struct mdg_ws_worker *worker;
};

/* The user of a link. */
struct heard {
    struct mdg_link *link;
    bool echo, discard_echo_errors, compress;
    unsigned units, closes, writables;
    int close_code, answer; /* answer: what on_input returns */
    char reason[128];
    uint8_t last[64];
    size_t last_len, bytes;
    bool binary;
    const uint8_t *at; /* where the last unit lay */
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct heard *h = l->user_arg;
    struct mdg_unit_meta meta = {.binary = binary, .compress = h->compress};
    h->units++;
    h->bytes += in.len;
    h->binary = binary;
    h->last_len = mdg_min_size(in.len, sizeof h->last);
    if (in.len)
        memcpy(h->last, in.data, h->last_len);
    h->at = in.data;
    if (h->echo) {
        int rc = mdg_link_send_unit(l, mdg_slice(in.data, in.len), &meta);
        if (rc < 0 && !h->discard_echo_errors)
            fail_msg("echo: %d", rc);
    }
    return h->answer;
}

static void on_writable(struct mdg_link *l)
{
    ((struct heard *)l->user_arg)->writables++;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct heard *h = l->user_arg;
    h->closes++;
    h->close_code = code;
    memcpy(h->reason, reason.len ? (const char *)reason.data : "", reason.len);
    h->reason[reason.len] = '\0';
}

static const struct mdg_link_user user = {on_input, on_writable, on_close};

static const struct mdg_ws_options plain = {.message_bytes_max = 64 << 20,
                                            .out_bytes_max = 1 << 20,
                                            .close_timeout_s = 1,
                                            .window_bits = 15};

static int open_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    test_net_open(&f->net, MDG_URING_OFF);
    assert_int_equal(mdg_ws_worker_new(f->net.loop, &f->worker), 0);
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    test_net_drain(&f->net);
    assert_int_equal(mdg_ws_worker_count(f->worker), 0);
    mdg_ws_worker_free(f->worker);
    test_net_close(&f->net);
    free(f);
    return 0;
}

/* A connection after its handshake; returns the peer's descriptor. */
static int connect_ws(struct fixture *f, const struct mdg_ws_options *o,
                      const struct mdg_ws_deflate *deflate, struct heard *h)
{
    static const struct mdg_ws_deflate none;
    struct mdg_ws_endpoint *e;
    struct mdg_ws_conn *c;
    struct mdg_stream *s;
    int fds[2], size = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    assert_int_equal(mdg_ws_endpoint_get(f->worker, o, false, deflate ? deflate : &none, &e), 0);
    assert_int_equal(mdg_ws_conn_new(e, &user, h, &c), 0);
    assert_int_equal(mdg_stream_from_fd(f->net.net, fds[0], &mdg_ws_stream_user, c, &s), 0);
    mdg_ws_conn_start(c, s);
    h->link = &c->link;
    return fds[1];
}

static size_t frame(uint8_t *out, uint8_t first, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    uint32_t key;
    size_t head =
        mdg_ws_enc_head(out, (enum mdg_ws_op)(first & 15), first & 0x80, first & 0x40, len, mask);
    if (len)
        memcpy(out + head, payload, len);
    memcpy(&key, mask, 4);
    mdg_mask(out + head, len, &key);
    return head + len;
}

static void put_bytes(struct fixture *f, int fd, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
        test_net_turn(&f->net);
    }
}

static void put_frame(struct fixture *f, int fd, uint8_t first, const void *payload, size_t len)
{
    uint8_t *wire = malloc(len + MDG_WS_HEAD_MAX);
    assert_non_null(wire);
    put_bytes(f, fd, wire, frame(wire, first, payload, len));
    free(wire);
}

/* What the peer receives, a word an event, up to the end of the connection or `want` events. */
struct seen {
    struct mdg_ws_dec d;
    uint8_t in[1 << 18];
    size_t have, message, bytes;
    unsigned events, messages;
    char text[600];
    bool eof;
    uint8_t *whole; /* the bytes of all messages, if not NULL */
    size_t whole_cap;
};

static struct seen *new_seen(bool deflate)
{
    struct seen *s = calloc(1, sizeof *s);
    assert_non_null(s);
    mdg_ws_dec_init(&s->d, deflate);
    return s;
}

static void say(struct seen *s, const struct mdg_ws_event *ev)
{
    size_t at = strlen(s->text);
    const char *name = ev->op == MDG_WS_TEXT     ? "text"
                       : ev->op == MDG_WS_BINARY ? "binary"
                       : ev->op == MDG_WS_PING   ? "ping"
                       : ev->op == MDG_WS_PONG   ? "pong"
                                                 : "close";
    if (at > sizeof s->text - 40)
        return;
    at += (size_t)snprintf(s->text + at, sizeof s->text - at, "%s%s%s", at ? " " : "", name,
                           ev->rsv1 ? "/z" : "");
    if (ev->op == MDG_WS_CLOSE)
        snprintf(s->text + at, sizeof s->text - at, ":%u", ev->close_code);
    else
        snprintf(s->text + at, sizeof s->text - at, ":%zu", s->message);
}

static void look(struct seen *s, int fd)
{
    static const struct mdg_ws_config client = {true, UINT32_MAX / 2};
    struct mdg_ws_event ev;
    ssize_t n = read(fd, s->in + s->have, sizeof s->in - s->have);
    if (n <= 0) {
        s->eof |= n == 0 || errno == ECONNRESET;
        return;
    }
    struct mdg_input in = {s->in, s->have + (size_t)n};
    int rc;
    while ((rc = mdg_ws_dec_next(&s->d, &client, &in, &ev)) == 1) {
        s->message += ev.bytes.len;
        if (ev.type == MDG_WS_EVENT_DATA) {
            if (s->whole) {
                assert_true(s->bytes + ev.bytes.len <= s->whole_cap);
                memcpy(s->whole + s->bytes, ev.bytes.data, ev.bytes.len);
            }
            s->bytes += ev.bytes.len;
        }
        if (ev.last) {
            s->events++;
            s->messages += ev.type == MDG_WS_EVENT_DATA;
            say(s, &ev);
            s->message = 0;
        }
    }
    assert_int_equal(rc, 0);
    memmove(s->in, in.data, in.len);
    s->have = in.len;
}

#define LOOK_UNTIL(f, s, fd, condition) TEST_NET_UNTIL(&(f)->net, (look(s, fd), (condition)))

static void units_of_every_cut_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    uint8_t wire[600], *end = wire;
    end += frame(end, 0x81, "hello", 5);
    end += frame(end, 0x02, "frag", 4);
    end += frame(end, 0x89, "in between", 10);
    end += frame(end, 0x00, "", 0);
    end += frame(end, 0x80, "mented", 6);
    end += frame(end, 0x81, "", 0);
    end += frame(end, 0x8a, "nobody asked", 12);
    end += frame(end, 0x81, "\xea\xb0\x80", 3);
    size_t len = (size_t)(end - wire);
    for (size_t cut = 0; cut <= len; cut++) {
        struct heard h = {.echo = true};
        struct seen *s = new_seen(false);
        int fd = connect_ws(f, &plain, NULL, &h);
        put_bytes(f, fd, wire, cut);
        test_net_turn(&f->net);
        put_bytes(f, fd, wire + cut, len - cut);
        LOOK_UNTIL(f, s, fd, s->events == 5);
        /* A pong may overtake the message it was asked in, nothing else changes its place. */
        assert_string_equal(s->text, "text:5 pong:10 binary:10 text:0 text:3");
        assert_int_equal(h.units, 4);
        assert_null(mdg_ws_of(h.link)->aux);
        close(fd);
        TEST_NET_UNTIL(&f->net, h.closes == 1);
        assert_int_equal(h.close_code, 1006);
        free(s);
    }
}

static void one_byte_at_a_time_is_enough(void **state)
{
    struct fixture *f = *state;
    struct heard h = {.echo = true};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, &plain, NULL, &h);
    uint8_t wire[400], text[300];
    memset(text, 'x', sizeof text);
    size_t len = frame(wire, 0x81, text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        put_bytes(f, fd, wire + i, 1);
        test_net_turn(&f->net);
    }
    LOOK_UNTIL(f, s, fd, s->events == 1);
    assert_string_equal(s->text, "text:300");
    assert_null(mdg_ws_of(h.link)->aux);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1);
    free(s);
}

static void a_head_alone_and_its_payload_later_are_echoed_without_a_scratch(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1024, 5000, 70000};
    for (size_t i = 0; i < MDG_ARRAY_LEN(sizes); i++) {
        struct heard h = {.echo = true};
        struct seen *s = new_seen(false);
        int fd = connect_ws(f, &plain, NULL, &h);
        uint8_t *data = calloc(1, sizes[i]), *wire = malloc(sizes[i] + MDG_WS_HEAD_MAX);
        assert_true(data && wire);
        size_t len = frame(wire, 0x82, data, sizes[i]), head = len - sizes[i];
        put_bytes(f, fd, wire, head);
        test_net_turn(&f->net);
        put_bytes(f, fd, wire + head, sizes[i]);
        LOOK_UNTIL(f, s, fd, s->messages == 1);
        assert_int_equal(s->bytes, sizes[i]);
        close(fd);
        TEST_NET_UNTIL(&f->net, h.closes == 1);
        free(data);
        free(wire);
        free(s);
    }
}

static void long_messages_pass_in_pieces_and_unharmed(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1000, 4096, 70000, 300000, 1 << 20, 5000000, (1 << 20) + 7};
    for (size_t i = 0; i < MDG_ARRAY_LEN(sizes); i++) {
        size_t len = sizes[i];
        struct heard h = {.echo = true};
        struct seen *s = new_seen(false);
        int fd = connect_ws(f, &plain, NULL, &h);
        uint8_t *data = malloc(len);
        s->whole = malloc(3 * len);
        s->whole_cap = 3 * len;
        assert_true(data && s->whole);
        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)(k * 2654435761u >> 13);
        uint8_t *wire = malloc(3 * len + 100), *end = wire;
        assert_non_null(wire);
        end += frame(end, 0x82, data, len); /* one frame; two fragments; many */
        end += frame(end, 0x02, data, len / 3);
        end += frame(end, 0x80, data + len / 3, len - len / 3);
        end += frame(end, 0x02, data, len / 2);
        end += frame(end, 0x00, data + len / 2, 5);
        end += frame(end, 0x80, data + len / 2 + 5, len - len / 2 - 5);
        for (uint8_t *at = wire; at < end || s->messages < 3;) {
            ssize_t n = at < end ? write(fd, at, (size_t)(end - at)) : 0;
            at += n > 0 ? n : 0;
            test_net_turn(&f->net);
            look(s, fd);
        }
        assert_int_equal(s->bytes, 3 * len);
        for (size_t k = 0; k < 3; k++)
            assert_memory_equal(s->whole + k * len, data, len);
        close(fd);
        TEST_NET_UNTIL(&f->net, h.closes == 1);
        free(s->whole);
        free(data);
        free(wire);
        free(s);
    }
}

static void announced_bytes_cost_nothing_before_they_come(void **state)
{
    struct fixture *f = *state;
    struct heard h = {0};
    int fd = connect_ws(f, &plain, NULL, &h);
    uint8_t head[MDG_WS_HEAD_MAX + 3000] = {0};
    static const uint8_t mask[4] = {0, 0, 0, 0};
    size_t len = mdg_ws_enc_head(head, MDG_WS_BINARY, true, false, 60 << 20, mask);
    put_bytes(f, fd, head, len);
    test_net_turn(&f->net);
    assert_null(mdg_ws_of(h.link)->aux);
    put_bytes(f, fd, head + len, 3000);
    test_net_turn(&f->net);
    assert_true(mdg_ws_of(h.link)->aux->message->len <= 16384);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1);
    assert_int_equal(h.units, 0);
}

static void fail_case(struct fixture *f, const struct mdg_ws_options *o, const uint8_t *wire,
                      size_t len, int answer, int code)
{
    struct heard h = {.answer = answer};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, o, NULL, &h);
    put_bytes(f, fd, wire, len);
    char want[32];
    snprintf(want, sizeof want, "close:%d", code);
    LOOK_UNTIL(f, s, fd, s->eof);
    assert_string_equal(s->text, want);
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.close_code, code);
    assert_true(h.reason[0] != '\0');
    close(fd);
    TEST_NET_UNTIL(&f->net, mdg_ws_worker_count(f->worker) == 0);
    assert_int_equal(h.closes, 1);
    free(s);
}

static void the_peer_is_told_what_it_did_wrong(void **state)
{
    struct fixture *f = *state;
    static const struct mdg_ws_options small = {.message_bytes_max = 100,
                                                .out_bytes_max = 1 << 16,
                                                .close_timeout_s = 1,
                                                .window_bits = 15};
    uint8_t wire[4096], text[2000];
    memset(text, 'a', sizeof text);
    fail_case(f, &plain, wire, frame(wire, 0x83, "x", 1), 0, 1002);
    fail_case(f, &plain, wire, frame(wire, 0x81, "\xff", 1), 0, 1007);
    fail_case(f, &plain, wire, frame(wire, 0x88, "\x03\xe8\xff", 3), 0, 1007);
    fail_case(f, &plain, wire, frame(wire, 0x88, "\x03", 1), 0, 1002);
    fail_case(f, &small, wire, frame(wire, 0x81, text, 101), 0, 1009);
    size_t len = frame(wire, 0x01, text, 100);
    fail_case(f, &small, wire, len + frame(wire + len, 0x80, "x", 1), 0, 1009);
    /* What the user says of a unit. */
    fail_case(f, &plain, wire, frame(wire, 0x81, "x", 1), MDG_E_PROTO, 1002);
    fail_case(f, &plain, wire, frame(wire, 0x81, "x", 1), MDG_E_SYNTAX, 1007);
    fail_case(f, &plain, wire, frame(wire, 0x81, "x", 1), MDG_E_DENIED, 1008);
    fail_case(f, &plain, wire, frame(wire, 0x81, "x", 1), MDG_E_TOO_BIG, 1009);
    fail_case(f, &plain, wire, frame(wire, 0x81, "x", 1), MDG_E_NO_MEMORY, 1011);
    /* Junk behind the offence, and an offence inside a long frame that comes by the sink. */
    len = frame(wire, 0x83, "x", 1);
    memset(wire + len, 0xff, 2000);
    fail_case(f, &plain, wire, len + 2000, 0, 1002);
    uint8_t *bad = malloc(3000000);
    assert_non_null(bad);
    memset(bad, 'a', 3000000);
    bad[2000000] = 0xff;
    uint8_t *whole = malloc(3000100);
    assert_non_null(whole);
    len = frame(whole, 0x81, bad, 3000000);
    fail_case(f, &plain, whole, len, 0, 1007);
    free(bad);
    free(whole);
}

static void the_closing_handshake_from_the_peer(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *payload;
        size_t len;
        int code;
        const char *reason, *answer;
    } cases[] = {
        {"", 0, 1005, "", "close:1005"},
        {"\x03\xe8", 2, 1000, "", "close:1000"},
        {"\x03\xe9going", 7, 1001, "going", "close:1001"},
        {"\x0b\xb8", 2, 3000, "", "close:3000"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        for (int more = 0; more < 2; more++) {
            struct heard h = {.echo = true};
            struct seen *s = new_seen(false);
            int fd = connect_ws(f, &plain, NULL, &h);
            uint8_t wire[200];
            size_t len = frame(wire, 0x81, "last", 4);
            len += frame(wire + len, 0x88, cases[i].payload, cases[i].len);
            if (more) /* ignored */
                len += frame(wire + len, 0x81, "too late", 8);
            put_bytes(f, fd, wire, len);
            LOOK_UNTIL(f, s, fd, s->eof);
            char want[64];
            snprintf(want, sizeof want, "text:4 %s", cases[i].answer);
            assert_string_equal(s->text, want);
            assert_int_equal(h.closes, 1);
            assert_int_equal(h.close_code, cases[i].code);
            assert_string_equal(h.reason, cases[i].reason);
            assert_int_equal(h.units, 1);
            close(fd);
            TEST_NET_UNTIL(&f->net, mdg_ws_worker_count(f->worker) == 0);
            assert_int_equal(h.closes, 1);
            free(s);
        }
    }
}

static void the_closing_handshake_from_us(void **state)
{
    struct fixture *f = *state;
    struct heard h = {0};
    struct seen *s = new_seen(false);
    struct mdg_unit_meta meta = {0};
    int fd = connect_ws(f, &plain, NULL, &h);
    assert_int_equal(mdg_link_send_unit(h.link, MDG_SLICE_LIT("bye"), &meta), 0);
    mdg_link_close(h.link, 1001, MDG_SLICE_LIT("stopping"));
    mdg_link_close(h.link, 1000, MDG_SLICE_LIT("twice"));
    assert_int_equal(mdg_link_send_unit(h.link, MDG_SLICE_LIT("late"), &meta), MDG_E_CLOSED);
    assert_int_equal(h.closes, 0);
    LOOK_UNTIL(f, s, fd, s->events == 2);
    assert_string_equal(s->text, "text:3 close:1001");
    put_frame(f, fd, 0x81, "on its way", 10); /* not given to the user any more */
    put_frame(f, fd, 0x88, "\x03\xe9", 2);
    LOOK_UNTIL(f, s, fd, s->eof);
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.close_code, 1001);
    assert_int_equal(h.units, 0);
    close(fd);
    free(s);
}

static void a_flood_of_small_units_takes_many_turns_and_arrives_whole(void **state)
{
    struct fixture *f = *state;
    enum { UNITS = 6000 };
    struct heard h = {0};
    int fd = connect_ws(f, &plain, NULL, &h);
    uint8_t *wire = malloc(UNITS * 8);
    size_t len = 0;
    assert_non_null(wire);
    for (int i = 0; i < UNITS; i++)
        len += frame(wire + len, 0x81, "a", 1);
    assert_int_equal(write(fd, wire, len), len);
    test_net_turn(&f->net);
    assert_in_range(h.units, 1, UNITS / 2);
    TEST_NET_UNTIL(&f->net, h.units == UNITS);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1); /* it writes into h */
    free(wire);
}

static void a_peer_that_does_not_answer_the_close_is_left(void **state)
{
    struct fixture *f = *state;
    struct heard h = {0};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, &plain, NULL, &h);
    size_t left = 0;
    mdg_ws_worker_close_some(f->worker, 1001, MDG_SLICE_LIT("stopping"), &left);
    left = 2;
    mdg_ws_worker_close_some(f->worker, 1001, MDG_SLICE_LIT("stopping"), &left);
    assert_int_equal(left, 1);
    mdg_ws_worker_close_some(f->worker, 1001, MDG_SLICE_LIT("stopping"), &left);
    assert_int_equal(left, 1);
    LOOK_UNTIL(f, s, fd, s->eof);
    assert_string_equal(s->text, "close:1001");
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.close_code, 1006);
    close(fd);
    free(s);
}

static void silence_is_met_with_a_ping_and_then_given_up(void **state)
{
    struct fixture *f = *state;
    static const struct mdg_ws_options pinging = {.message_bytes_max = 100,
                                                  .out_bytes_max = 1 << 16,
                                                  .ping_interval_s = 1,
                                                  .ping_timeout_s = 1,
                                                  .close_timeout_s = 1,
                                                  .window_bits = 15};
    struct heard h = {0};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, &pinging, NULL, &h);
    LOOK_UNTIL(f, s, fd, s->events == 1);
    put_frame(f, fd, 0x8a, "", 0); /* alive */
    LOOK_UNTIL(f, s, fd, s->events == 2);
    assert_string_equal(s->text, "ping:0 ping:0");
    LOOK_UNTIL(f, s, fd, s->eof); /* no answer */
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.close_code, 1006);
    close(fd);
    free(s);
}

static void a_peer_that_never_reads_is_not_read_and_misses_nothing(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3000, LEN = 4000 };
    struct heard h = {.echo = true};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, &plain, NULL, &h);
    uint8_t *wire = malloc(LEN + 20), text[LEN];
    assert_non_null(wire);
    memset(text, 'q', LEN);
    size_t len = frame(wire, 0x81, text, LEN), at = 0;
    unsigned sent = 0;
    /* As much as goes in without reading: the server stops by itself. */
    for (int idle = 0; sent < COUNT && idle < 50;) {
        ssize_t n = write(fd, wire + at, len - at);
        idle = n > 0 ? 0 : idle + 1;
        at += n > 0 ? (size_t)n : 0;
        if (at == len) {
            at = 0;
            sent++;
        }
        test_net_turn(&f->net);
    }
    assert_true(sent < COUNT);
    assert_true(h.link->carrier->queued(h.link) <= (1 << 20) + (1 << 18));
    while (s->messages < COUNT) {
        if (sent < COUNT) {
            ssize_t n = write(fd, wire + at, len - at);
            at += n > 0 ? (size_t)n : 0;
            if (at == len) {
                at = 0;
                sent++;
            }
        }
        test_net_turn(&f->net);
        look(s, fd);
    }
    assert_int_equal(s->bytes, (size_t)COUNT * LEN);
    assert_int_equal(h.units, COUNT);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1);
    free(wire);
    free(s);
}

static void a_pause_holds_units_back_and_loses_none(void **state)
{
    struct fixture *f = *state;
    struct heard h = {0};
    int fd = connect_ws(f, &plain, NULL, &h);
    uint8_t wire[100];
    size_t len = frame(wire, 0x81, "one", 3);
    len += frame(wire + len, 0x81, "two", 3);
    h.link->carrier->pause(h.link, true);
    put_bytes(f, fd, wire, len);
    for (int i = 0; i < 10; i++)
        test_net_turn(&f->net);
    assert_int_equal(h.units, 0);
    h.link->carrier->pause(h.link, false);
    TEST_NET_UNTIL(&f->net, h.units == 2);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1);
}

/* A peer that compresses: its own deflater and inflater. */
static void expect_compressed_echo(struct fixture *f, const struct mdg_ws_deflate *agreed,
                                   size_t len, unsigned rounds)
{
    static const struct mdg_ws_options squeeze = {.message_bytes_max = 1 << 20,
                                                  .out_bytes_max = 1 << 22,
                                                  .close_timeout_s = 1,
                                                  .compress_bytes_min = 1,
                                                  .compress = true,
                                                  .window_bits = 15};
    struct heard h = {.echo = true, .compress = true};
    struct seen *s = new_seen(true);
    int fd = connect_ws(f, &squeeze, agreed, &h);
    z_stream z = {0};
    struct mdg_inflate in = {0};
    uint8_t *text = malloc(len + 1), *wire = malloc(mdg_deflate_bound(len) + 1),
            *back = malloc(len + 2);
    assert_true(text && wire && back);
    s->whole = malloc(mdg_deflate_bound(len) * rounds);
    s->whole_cap = mdg_deflate_bound(len) * rounds;
    assert_int_equal(mdg_deflate_open(&z, agreed->client_bits, 6, 8), 0);
    assert_int_equal(mdg_inflate_open(&in, agreed->server_bits, agreed->server_fresh), 0);
    for (unsigned r = 0; r < rounds; r++) {
        for (size_t i = 0; i < len; i++)
            text[i] = (uint8_t)('a' + (i * i / 7 + r / 2) % 23);
        int64_t n = mdg_deflate_message(&z, mdg_slice(text, len), agreed->client_fresh, wire,
                                        mdg_deflate_bound(len));
        assert_true(n > 0);
        size_t half = r % 2 ? (size_t)n / 2 : (size_t)n;
        put_frame(f, fd, half == (size_t)n ? 0xc1 : 0x41, wire, half);
        if (half < (size_t)n)
            put_frame(f, fd, 0x80, wire + half, (size_t)n - half);
        s->bytes = 0;
        LOOK_UNTIL(f, s, fd, s->messages == r + 1);
        struct mdg_slice piece = mdg_slice(s->whole, s->bytes);
        size_t made = s->bytes;
        if (strstr(s->text, "/z") != NULL || !agreed->server_fresh)
            assert_int_equal(mdg_inflate_piece(&in, &piece, true, back, len + 2, &made), 0);
        else
            memcpy(back, s->whole, made);
        assert_int_equal(made, len);
        assert_memory_equal(back, text, len);
    }
    assert_int_equal(h.units, rounds);
    mdg_deflate_close(&z);
    mdg_inflate_close(&in);
    close(fd);
    TEST_NET_UNTIL(&f->net, h.closes == 1);
    free(s->whole);
    free(text);
    free(wire);
    free(back);
    free(s);
}

static void compressed_messages_pass_with_every_agreement(void **state)
{
    struct fixture *f = *state;
    static const size_t lens[] = {10, 1000, 100000};
    for (unsigned bits = 0; bits < 4; bits++) {
        struct mdg_ws_deflate agreed = {.on = true,
                                        .server_fresh = bits & 1,
                                        .client_fresh = bits & 2,
                                        .server_bits = 15,
                                        .client_bits = 15};
        for (size_t i = 0; i < MDG_ARRAY_LEN(lens); i++)
            expect_compressed_echo(f, &agreed, lens[i], 4);
        agreed.server_bits = 8;
        agreed.client_bits = 9;
        expect_compressed_echo(f, &agreed, 5000, 4);
    }
}

static void compressed_frames_are_checked_like_others(void **state)
{
    struct fixture *f = *state;
    static const struct mdg_ws_options squeeze = {.message_bytes_max = 100000,
                                                  .out_bytes_max = 1 << 20,
                                                  .close_timeout_s = 1,
                                                  .compress = true,
                                                  .window_bits = 15};
    static const struct mdg_ws_deflate agreed = {true, true, true, 15, 15, false, false};
    uint8_t *zeros = calloc(1, 100001), wire[2000], bad[] = {'a', 0xff};
    z_stream z = {0};
    assert_non_null(zeros);
    assert_int_equal(mdg_deflate_open(&z, 15, 9, 9), 0);
    for (int i = 0; i < 4; i++) {
        struct heard h = {0};
        struct seen *s = new_seen(true);
        int fd = connect_ws(f, &squeeze, &agreed, &h);
        struct mdg_slice in = i == 0   ? mdg_slice(zeros, 100001)
                              : i == 1 ? mdg_slice(zeros, 100000)
                                       : mdg_slice(bad, 2);
        int64_t n = mdg_deflate_message(&z, in, true, wire, sizeof wire);
        if (i == 0 || i == 1)
            n = mdg_deflate_message(&z, in, true, wire, sizeof wire);
        assert_true(n > 0);
        if (i == 3)
            memset(wire, 0xff, n > 0 ? (size_t)n : 0);
        put_frame(f, fd, 0xc1, wire, (size_t)n);
        if (i == 1) {
            TEST_NET_UNTIL(&f->net, h.units == 1);
            assert_int_equal(h.bytes, 100000);
        } else {
            LOOK_UNTIL(f, s, fd, s->eof);
            assert_string_equal(s->text, i == 0 ? "close:1009" : "close:1007");
            assert_int_equal(h.units, 0);
        }
        close(fd);
        TEST_NET_UNTIL(&f->net, mdg_ws_worker_count(f->worker) == 0);
        free(s);
    }
    mdg_deflate_close(&z);
    free(zeros);
}

static void one_wrapped_unit_serves_every_peer(void **state)
{
    struct fixture *f = *state;
    static const struct mdg_ws_options squeeze = {.message_bytes_max = 1000,
                                                  .out_bytes_max = 1 << 20,
                                                  .close_timeout_s = 1,
                                                  .compress_bytes_min = 100,
                                                  .compress = true,
                                                  .window_bits = 15};
    static const struct mdg_ws_deflate agreed = {true, true, true, 15, 15, false, false};
    struct heard h[3] = {{0}};
    int fd[3];
    struct seen *s = new_seen(true);
    fd[0] = connect_ws(f, &squeeze, NULL, &h[0]);
    fd[1] = connect_ws(f, &squeeze, &agreed, &h[1]);
    fd[2] = connect_ws(f, &squeeze, &agreed, &h[2]);
    assert_ptr_equal(h[0].link->framing, &mdg_ws_framing_plain);
    assert_ptr_equal(h[1].link->framing, h[2].link->framing);
    uint8_t text[500], room[600];
    struct mdg_writer w;
    struct mdg_unit_meta meta = {.compress = true};
    memset(text, 'w', sizeof text);
    mdg_writer_init(&w, room, sizeof room);
    assert_int_equal(mdg_frame(h[1].link->framing, &w, mdg_slice(text, sizeof text), &meta), 0);
    assert_int_equal(mdg_frame(h[1].link->framing, &w, mdg_slice(text, 20), &meta), 0);
    assert_true(mdg_writer_fits(&w) && w.len < 100);
    for (int i = 1; i < 3; i++) {
        struct mdg_chunk chunk = mdg_chunk_all(mdg_blob_copy(mdg_slice(room, w.len)));
        assert_int_equal(mdg_link_send(h[i].link, &chunk, 1), 0);
    }
    LOOK_UNTIL(f, s, fd[2], s->events == 2);
    assert_non_null(strstr(s->text, "text/z:"));
    assert_non_null(strstr(s->text, " text:20"));
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    TEST_NET_UNTIL(&f->net, mdg_ws_worker_count(f->worker) == 0);
    free(s);
}

static void a_client_and_a_server_understand_each_other(void **state)
{
    struct fixture *f = *state;
    static const struct mdg_ws_deflate none;
    struct heard h[2] = {{.echo = true}, {0}};
    struct mdg_ws_endpoint *e;
    struct mdg_ws_conn *c;
    struct mdg_stream *s;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mdg_ws_endpoint_get(f->worker, &plain, i == 1, &none, &e), 0);
        assert_int_equal(mdg_ws_conn_new(e, &user, &h[i], &c), 0);
        assert_int_equal(mdg_stream_from_fd(f->net.net, fds[i], &mdg_ws_stream_user, c, &s), 0);
        mdg_ws_conn_start(c, s);
        h[i].link = &c->link;
    }
    uint8_t *big = malloc(700000);
    assert_non_null(big);
    memset(big, 'B', 700000);
    struct mdg_unit_meta meta = {0};
    assert_int_equal(mdg_link_send_unit(h[1].link, MDG_SLICE_LIT("hi"), &meta), 0);
    assert_int_equal(mdg_link_send_unit(h[1].link, mdg_slice(big, 700000), &meta), 0);
    TEST_NET_UNTIL(&f->net, h[1].units == 2);
    assert_int_equal(h[1].bytes, 700002);
    mdg_link_close(h[1].link, 1000, MDG_SLICE_LIT("done"));
    TEST_NET_UNTIL(&f->net, h[0].closes == 1 && h[1].closes == 1);
    assert_int_equal(h[0].close_code, 1000);
    assert_string_equal(h[0].reason, "done");
    assert_int_equal(h[1].close_code, 1000);
    TEST_NET_UNTIL(&f->net, mdg_ws_worker_count(f->worker) == 0);
    free(big);
}

static void a_half_closed_peer_still_gets_what_is_queued(void **state)
{
    struct fixture *f = *state;
    struct heard h = {.echo = true};
    struct seen *s = new_seen(false);
    int fd = connect_ws(f, &plain, NULL, &h);
    put_frame(f, fd, 0x81, "last words", 10);
    shutdown(fd, SHUT_WR);
    LOOK_UNTIL(f, s, fd, s->eof);
    assert_string_equal(s->text, "text:10");
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.close_code, 1006);
    close(fd);
    free(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        T(units_of_every_cut_come_back_as_they_were),
        T(one_byte_at_a_time_is_enough),
        T(a_head_alone_and_its_payload_later_are_echoed_without_a_scratch),
        T(long_messages_pass_in_pieces_and_unharmed),
        T(announced_bytes_cost_nothing_before_they_come),
        T(the_peer_is_told_what_it_did_wrong),
        T(the_closing_handshake_from_the_peer),
        T(the_closing_handshake_from_us),
        T(a_flood_of_small_units_takes_many_turns_and_arrives_whole),
        T(a_peer_that_does_not_answer_the_close_is_left),
        T(silence_is_met_with_a_ping_and_then_given_up),
        T(a_peer_that_never_reads_is_not_read_and_misses_nothing),
        T(a_pause_holds_units_back_and_loses_none),
        T(compressed_messages_pass_with_every_agreement),
        T(compressed_frames_are_checked_like_others),
        T(one_wrapped_unit_serves_every_peer),
        T(a_client_and_a_server_understand_each_other),
        T(a_half_closed_peer_still_gets_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
