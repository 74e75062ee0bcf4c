/* WebSocket frames: the examples of RFC 6455 5.7, and every rule of section 5 and 7.4 by a case
 * that keeps it and one that breaks it, fed whole, a byte at a time and cut at every place. */
#include "base/mask.h"
#include "base/utf8.h"
#include "codec/ws.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct role {
    struct mdg_ws_config config;
    bool deflate;
};

static void say_event(struct mdg_test_out *out, const struct mdg_ws_event *ev, size_t total)
{
    static const char *const names[16] = {[MDG_WS_TEXT] = "text",
                                          [MDG_WS_BINARY] = "binary",
                                          [MDG_WS_CLOSE] = "close",
                                          [MDG_WS_PING] = "ping",
                                          [MDG_WS_PONG] = "pong"};
    mdg_test_say(out, "%s%s", out->len ? " " : "", names[ev->op]);
    if (ev->op == MDG_WS_CLOSE)
        mdg_test_say(out, "/%u", ev->close_code);
    if (ev->rsv1)
        mdg_test_say(out, "/z");
    mdg_test_say(out, ":%zu", total);
}

/* What the decoder says, one word an event; pieces of one message count as one. */
static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    struct role *role = arg;
    struct mdg_ws_dec d;
    struct mdg_ws_event ev;
    struct mdg_input in = {NULL, 0};
    size_t total = 0;
    uint32_t sum = 0;
    bool begun = false;
    mdg_ws_dec_init(&d, role->deflate);
    for (;;) {
        assert_true(in.len <= MDG_WS_KEEP_MAX);
        in = mdg_test_next_piece(pieces, in.len);
        if (!in.data)
            return;
        int rc;
        while ((rc = mdg_ws_dec_next(&d, &role->config, &in, &ev)) == 1) {
            if (ev.type == MDG_WS_EVENT_CONTROL) {
                say_event(out, &ev, ev.bytes.len);
                if (ev.bytes.len)
                    mdg_test_say(out, "=%.*s", (int)mdg_min_size(20, ev.bytes.len),
                                 (const char *)ev.bytes.data);
                continue;
            }
            assert_int_equal(ev.first, !begun);
            begun = !ev.last;
            total += ev.bytes.len;
            for (size_t i = 0; i < ev.bytes.len; i++)
                sum = sum * 31 + ev.bytes.data[i];
            if (ev.last) {
                say_event(out, &ev, total);
                if (sum)
                    mdg_test_say(out, "=%x", sum);
                total = sum = 0;
            }
        }
        if (rc < 0) {
            enum mdg_ws_fail why = mdg_ws_dec_failure(&d);
            assert_int_equal(rc, why == MDG_WS_FAIL_TOO_BIG ? MDG_E_TOO_BIG : MDG_E_PROTO);
            assert_int_equal(mdg_ws_dec_next(&d, &role->config, &in, &ev), rc);
            mdg_test_say(out, "%s!%u", out->len ? " " : "", mdg_ws_fail_code(why));
            return;
        }
    }
}

static struct role server = {{false, 1 << 20}, false}, client = {{true, 1 << 20}, false};
static struct role squeezing = {{false, 1 << 20}, true}, small = {{false, 10}, false};

/* A script of frames for the tests: what goes on the wire, built with the encoder. */
struct wire {
    uint8_t bytes[1 << 18];
    size_t len;
    bool masked;
};

static void put(struct wire *w, const void *bytes, size_t len)
{
    assert_true(w->len + len <= sizeof w->bytes);
    if (len)
        memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
}

static void put_frame(struct wire *w, enum mdg_ws_op op, bool fin, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t head[MDG_WS_HEAD_MAX];
    put(w, head, mdg_ws_enc_head(head, op, fin, false, len, w->masked ? mask : NULL));
    put(w, payload, len);
    uint32_t key;
    memcpy(&key, mask, 4);
    if (w->masked)
        mdg_mask(w->bytes + w->len - len, len, &key);
}

static uint32_t sum_of(const void *bytes, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + ((const uint8_t *)bytes)[i];
    return sum;
}

static void expect(struct role *role, const struct wire *w, const char *fmt, ...) MDG_PRINTF(3, 4);
static void expect(struct role *role, const struct wire *w, const char *fmt, ...)
{
    char want[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(want, sizeof want, fmt, args);
    va_end(args);
    mdg_test_every_cut(decode, role, mdg_slice(w->bytes, w->len), want);
}

static void expect_bytes(struct role *role, const void *bytes, size_t len, const char *want)
{
    mdg_test_every_cut(decode, role, mdg_slice(bytes, len), want);
}

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void examples_of_rfc_6455_section_5_7(void **state)
{
    (void)state;
    char want[64];
    snprintf(want, sizeof want, "text:5=%x", sum_of("Hello", 5));
    expect_bytes(&client, BYTES(0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f), want);
    expect_bytes(&server, BYTES(0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58),
                 want);
    expect_bytes(&client, BYTES(0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f), want);
    expect_bytes(&client, BYTES(0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f), "ping:5=Hello");
    expect_bytes(&server, BYTES(0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58),
                 "pong:5=Hello");
}

static void every_length_and_its_shortest_form(void **state)
{
    (void)state;
    static const size_t lengths[] = {0,   1,   124, 125,   126,   127,  128,
                                     255, 256, 300, 65535, 65536, 70000};
    static struct wire w;
    static uint8_t payload[70000];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < MDG_ARRAY_LEN(lengths); i++) {
        for (int masked = 0; masked < 2; masked++) {
            size_t n = lengths[i];
            w.len = 0;
            w.masked = masked;
            put_frame(&w, MDG_WS_BINARY, true, payload, n);
            assert_int_equal(w.len, n + (n < 126 ? 2u : n < 65536 ? 4u : 10u) + (masked ? 4u : 0u));
            if (n > 1000) /* every cut of the long ones would take minutes: cut the head only */
                continue;
            char sum[16] = "";
            if (n)
                snprintf(sum, sizeof sum, "=%x", sum_of(payload, n));
            expect(masked ? &server : &client, &w, "binary:%zu%s", n, sum);
        }
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(lengths); i++) {
        struct mdg_ws_dec d;
        struct mdg_ws_event ev;
        w.len = 0;
        w.masked = true;
        put_frame(&w, MDG_WS_BINARY, true, payload, lengths[i]);
        mdg_ws_dec_init(&d, false);
        struct mdg_input in = {w.bytes, w.len};
        assert_int_equal(mdg_ws_dec_next(&d, &server.config, &in, &ev), 1);
        assert_true(ev.first && ev.last && ev.bytes.len == lengths[i]);
        assert_memory_equal(ev.bytes.data, payload, lengths[i]);
        assert_int_equal(in.len, 0);
    }
}

static void lengths_that_are_not_the_shortest_are_refused(void **state)
{
    (void)state;
    expect_bytes(&client, BYTES(0x82, 126, 0, 125), "!1002");
    expect_bytes(&client, BYTES(0x82, 126, 0, 0), "!1002");
    expect_bytes(&client, BYTES(0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), "!1002");
    expect_bytes(&client, BYTES(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0), "!1002");
    expect_bytes(&client, BYTES(0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
                 "!1009");
    expect_bytes(&server, BYTES(0x82, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 0, 1, 2, 3, 4), "!1009");
}

static void masks_are_wanted_from_clients_and_refused_from_servers(void **state)
{
    (void)state;
    expect_bytes(&server, BYTES(0x81, 0x01, 'a'), "!1002");
    expect_bytes(&server, BYTES(0x89, 0x00), "!1002");
    expect_bytes(&client, BYTES(0x81, 0x81, 1, 2, 3, 4, 5), "!1002");
    expect_bytes(&client, BYTES(0x88, 0x80, 1, 2, 3, 4), "!1002");
    expect_bytes(&server, BYTES(0x81, 0x81, 0, 0, 0, 0, 'a'), "text:1=61");
}

static void reserved_bits_and_opcodes_are_refused_at_their_byte(void **state)
{
    (void)state;
    for (unsigned rsv = 1; rsv < 8; rsv++) {
        for (unsigned op = 0; op < 16; op++) {
            uint8_t first = (uint8_t)(0x80 | rsv << 4 | op);
            if (rsv != 4 || (op != MDG_WS_TEXT && op != MDG_WS_BINARY))
                expect_bytes(&squeezing, &first, 1, "!1002");
            expect_bytes(&server, &first, 1, "!1002");
        }
    }
    static const uint8_t reserved[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
    for (size_t i = 0; i < sizeof reserved; i++) {
        uint8_t after_ping[3] = {0x89, 0, (uint8_t)(0x80 | reserved[i])};
        expect_bytes(&client, after_ping, 3, "ping:0 !1002");
    }
    expect_bytes(&squeezing, BYTES(0xc1, 0x81, 0, 0, 0, 0, 0xff), "text/z:1=ff");
    expect_bytes(&squeezing, BYTES(0x41, 0x81, 0, 0, 0, 0, 1, 0x80, 0x80, 0, 0, 0, 0),
                 "text/z:1=1");
    expect_bytes(&squeezing, BYTES(0x41, 0x81, 0, 0, 0, 0, 1, 0xc0), "!1002");
}

static void control_frames_are_whole_and_short_and_come_between_fragments(void **state)
{
    (void)state;
    static struct wire w;
    uint8_t full[125];
    memset(full, 'p', sizeof full);
    w.len = 0;
    w.masked = false;
    put_frame(&w, MDG_WS_TEXT, false, "fra", 3);
    put_frame(&w, MDG_WS_PING, true, full, 125);
    put_frame(&w, MDG_WS_CONT, false, "", 0);
    put_frame(&w, MDG_WS_PONG, true, "", 0);
    put_frame(&w, MDG_WS_CONT, true, "gment", 5);
    expect(&client, &w, "ping:125=pppppppppppppppppppp pong:0 text:8=%x", sum_of("fragment", 8));
    expect_bytes(&client, BYTES(0x09, 0x00), "!1002");
    expect_bytes(&client, BYTES(0x08, 0x00), "!1002");
    expect_bytes(&client, BYTES(0x0a, 0x00), "!1002");
    expect_bytes(&client, BYTES(0x89, 126, 0, 126), "!1002");
    expect_bytes(&client, BYTES(0x88, 127), "!1002");
}

static void fragments_follow_a_first_frame_and_end_before_the_next(void **state)
{
    (void)state;
    expect_bytes(&client, BYTES(0x80, 0x01, 'a'), "!1002");
    expect_bytes(&client, BYTES(0x00, 0x01, 'a'), "!1002");
    expect_bytes(&client, BYTES(0x01, 0x01, 'a', 0x81, 0x01, 'b'), "!1002");
    expect_bytes(&client, BYTES(0x02, 0x01, 'a', 0x01, 0x01, 'b'), "!1002");
    expect_bytes(&client, BYTES(0x81, 0x01, 'a', 0x80, 0x01, 'b'), "text:1=61 !1002");
    expect_bytes(&client, BYTES(0x01, 0x00, 0x00, 0x00, 0x80, 0x00), "text:0");
    expect_bytes(&client, BYTES(0x02, 0x01, 'a', 0x00, 0x00, 0x80, 0x01, 'b', 0x81, 0x00),
                 "binary:2=c21 text:0");
}

static void text_fails_at_the_first_impossible_byte(void **state)
{
    (void)state;
    /* Announced as 100 bytes; dead after these, with the frame far from complete. */
    expect_bytes(&client, BYTES(0x81, 100, 'a', 0xff), "!1007");
    expect_bytes(&client, BYTES(0x81, 100, 0xc0), "!1007");
    expect_bytes(&client, BYTES(0x81, 100, 0xed, 0xa0), "!1007");
    expect_bytes(&client, BYTES(0x81, 100, 0xf4, 0x90), "!1007");
    expect_bytes(&client, BYTES(0x81, 100, 0xe0, 0x80), "!1007");
    expect_bytes(&server, BYTES(0x81, 0x80 + 100, 1, 2, 3, 4, 'a' ^ 1, 0xf8 ^ 2), "!1007");
    /* Possible so far: not dead. */
    expect_bytes(&client, BYTES(0x81, 100, 0xf4, 0x8f, 0xbf), "");
    /* A character cut by the frame border, good and bad. */
    expect_bytes(&client, BYTES(0x01, 2, 0xea, 0xb0, 0x80, 1, 0x80), "text:3=3843a");
    expect_bytes(&client, BYTES(0x01, 2, 0xea, 0xb0, 0x80, 1, 'x'), "!1007");
    expect_bytes(&client, BYTES(0x01, 2, 0xea, 0xb0, 0x89, 0, 0x80, 0), "ping:0 !1007");
    expect_bytes(&client, BYTES(0x81, 2, 0xea, 0xb0), "!1007");
    /* Binary is not text. */
    expect_bytes(&client, BYTES(0x82, 2, 0xff, 0xff), "binary:2=1fe0");
    /* The state starts afresh with each message. */
    expect_bytes(&client, BYTES(0x82, 1, 0xe0, 0x81, 1, 'a'), "binary:1=e0 text:1=61");
}

static void long_text_is_checked_at_every_place(void **state)
{
    (void)state;
    enum { LEN = 20000 };
    static struct wire w;
    static uint8_t text[LEN];
    for (size_t at = 0; at < LEN; at += 61) {
        memset(text, 'x', LEN);
        text[at] = 0x80;
        w.len = 0;
        w.masked = true;
        put_frame(&w, MDG_WS_TEXT, true, text, LEN);
        struct mdg_ws_dec d;
        struct mdg_ws_event ev;
        mdg_ws_dec_init(&d, false);
        struct mdg_input in = {w.bytes, w.len};
        assert_int_equal(mdg_ws_dec_next(&d, &server.config, &in, &ev), MDG_E_PROTO);
        assert_int_equal(mdg_ws_dec_failure(&d), MDG_WS_FAIL_UTF8);
    }
}

static void close_frames_carry_nothing_or_a_code_that_may_be_sent(void **state)
{
    (void)state;
    expect_bytes(&client, BYTES(0x88, 0), "close/1005:0");
    expect_bytes(&client, BYTES(0x88, 1, 3), "!1002");
    expect_bytes(&client, BYTES(0x88, 5, 0x03, 0xe8, 'b', 'y', 'e'), "close/1000:3=bye");
    expect_bytes(&client, BYTES(0x88, 3, 0x03, 0xe8, 0xff), "!1007");
    expect_bytes(&client, BYTES(0x88, 4, 0x03, 0xe8, 0xea, 0xb0), "!1007");
    /* What follows a close is ignored (RFC 6455 5.5.1). */
    expect_bytes(&client, BYTES(0x88, 2, 0x03, 0xe8, 0xff, 0xff, 0x81), "close/1000:0");
    for (unsigned code = 0; code < 65536; code++) {
        bool want = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                    (code >= 3000 && code <= 4999);
        assert_int_equal(mdg_ws_code_valid((uint16_t)code), want);
    }
    static const uint16_t edges[] = {0,    999,  1004, 1005, 1006, 1015,
                                     1016, 1100, 2000, 2999, 5000, 65535};
    for (size_t i = 0; i < MDG_ARRAY_LEN(edges); i++)
        expect_bytes(&client, BYTES(0x88, 2, (uint8_t)(edges[i] >> 8), (uint8_t)edges[i]), "!1002");
}

static void a_message_is_bounded_over_all_its_fragments(void **state)
{
    (void)state;
    static struct wire w;
    w.masked = true;
    w.len = 0;
    put_frame(&w, MDG_WS_BINARY, true, "0123456789", 10);
    put_frame(&w, MDG_WS_BINARY, false, "01234", 5);
    put_frame(&w, MDG_WS_CONT, true, "56789", 5);
    expect(&small, &w, "binary:10=%x binary:10=%x", sum_of("0123456789", 10),
           sum_of("0123456789", 10));
    w.len = 0;
    put_frame(&w, MDG_WS_BINARY, false, "01234", 5);
    put_frame(&w, MDG_WS_CONT, true, "567890", 6);
    expect(&small, &w, "!1009");
}

static void there_is_no_limit_on_fragments_but_on_empty_ones(void **state)
{
    (void)state;
    struct mdg_ws_dec d;
    struct mdg_ws_event ev;
    mdg_ws_dec_init(&d, false);
    uint8_t first[3] = {0x02, 1, 'x'}, more[3] = {0x00, 1, 'x'}, empty[2] = {0x00, 0};
    struct mdg_input in = {first, 3};
    assert_int_equal(mdg_ws_dec_next(&d, &client.config, &in, &ev), 1);
    for (unsigned i = 0; i < 100000; i++) {
        in = (struct mdg_input){more, 3};
        assert_int_equal(mdg_ws_dec_next(&d, &client.config, &in, &ev), 1);
    }
    for (unsigned i = 0; i < MDG_WS_IDLE_FRAMES_MAX; i++) {
        in = (struct mdg_input){empty, 2};
        assert_int_equal(mdg_ws_dec_next(&d, &client.config, &in, &ev), 0);
    }
    struct mdg_ws_dec spent = d;
    in = (struct mdg_input){empty, 2};
    assert_int_equal(mdg_ws_dec_next(&d, &client.config, &in, &ev), MDG_E_PROTO);
    assert_int_equal(mdg_ws_fail_code(mdg_ws_dec_failure(&d)), 1008);
    mdg_ws_dec_refill(&spent, 1);
    in = (struct mdg_input){empty, 2};
    assert_int_equal(mdg_ws_dec_next(&spent, &client.config, &in, &ev), 0);
}

static void an_owner_can_receive_a_long_frame_into_its_own_buffer(void **state)
{
    (void)state;
    struct mdg_ws_dec d;
    struct mdg_ws_event ev;
    static uint8_t wire[10 + 4 + 100000], mine[100000];
    const uint8_t mask[4] = {9, 8, 7, 6};
    size_t head = mdg_ws_enc_head(wire, MDG_WS_BINARY, true, false, sizeof mine, mask);
    for (size_t i = 0; i < sizeof mine; i++)
        wire[head + i] = (uint8_t)(i ^ mask[i % 4]);
    mdg_ws_dec_init(&d, false);
    struct mdg_input in = {wire, head + 1000};
    assert_int_equal(mdg_ws_dec_next(&d, &server.config, &in, &ev), 1);
    assert_true(ev.first && !ev.last && mdg_ws_dec_final(&d));
    assert_int_equal(mdg_ws_dec_left(&d), sizeof mine - 1000);
    assert_int_equal(mdg_ws_dec_total(&d), sizeof mine);
    memcpy(mine, ev.bytes.data, ev.bytes.len);
    for (size_t at = 1000; at < sizeof mine; at += 9900) {
        memcpy(mine + at, wire + head + at, 9900);
        in = (struct mdg_input){mine + at, 9900};
        assert_int_equal(mdg_ws_dec_next(&d, &server.config, &in, &ev), 1);
        assert_ptr_equal(ev.bytes.data, mine + at);
        assert_int_equal(ev.last, at + 9900 == sizeof mine);
    }
    for (size_t i = 0; i < sizeof mine; i++)
        assert_int_equal(mine[i], (uint8_t)i);
}

static void a_close_reason_is_cut_at_a_character(void **state)
{
    (void)state;
    uint8_t out[MDG_WS_CONTROL_MAX];
    char reason[200];
    assert_int_equal(mdg_ws_enc_close(out, 1005, MDG_SLICE_LIT("x")), 0);
    assert_int_equal(mdg_ws_enc_close(out, 1001, MDG_SLICE_LIT("bye")), 5);
    assert_memory_equal(out,
                        "\x03\xe9"
                        "bye",
                        5);
    memset(reason, 'a', 122);
    memcpy(reason + 122, "\xea\xb0\x80", 3);
    assert_int_equal(mdg_ws_enc_close(out, 1000, mdg_slice(reason, 125)), 124);
    assert_int_equal(mdg_ws_enc_close(out, 1000, mdg_slice(NULL, 0)), 2);
}

static void every_failure_has_its_code_and_sentence(void **state)
{
    (void)state;
    assert_int_equal(mdg_ws_fail_code(MDG_WS_FAIL_FLOOD), 1008);
    for (int f = MDG_WS_FAIL_RESERVED_BITS; f <= MDG_WS_FAIL_TOO_BIG; f++) {
        assert_true(mdg_ws_code_valid(mdg_ws_fail_code((enum mdg_ws_fail)f)));
        assert_true(strlen(mdg_ws_fail_text((enum mdg_ws_fail)f)) <= 123);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_rfc_6455_section_5_7),
        cmocka_unit_test(every_length_and_its_shortest_form),
        cmocka_unit_test(lengths_that_are_not_the_shortest_are_refused),
        cmocka_unit_test(masks_are_wanted_from_clients_and_refused_from_servers),
        cmocka_unit_test(reserved_bits_and_opcodes_are_refused_at_their_byte),
        cmocka_unit_test(control_frames_are_whole_and_short_and_come_between_fragments),
        cmocka_unit_test(fragments_follow_a_first_frame_and_end_before_the_next),
        cmocka_unit_test(text_fails_at_the_first_impossible_byte),
        cmocka_unit_test(long_text_is_checked_at_every_place),
        cmocka_unit_test(close_frames_carry_nothing_or_a_code_that_may_be_sent),
        cmocka_unit_test(a_message_is_bounded_over_all_its_fragments),
        cmocka_unit_test(there_is_no_limit_on_fragments_but_on_empty_ones),
        cmocka_unit_test(an_owner_can_receive_a_long_frame_into_its_own_buffer),
        cmocka_unit_test(a_close_reason_is_cut_at_a_character),
        cmocka_unit_test(every_failure_has_its_code_and_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
