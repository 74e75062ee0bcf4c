/* Engine.IO packets and payloads: the examples of the protocol documents, both versions, both
 * directions, and what a hostile peer sends. */
#include "codec/eio.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct how {
    unsigned version;
    bool binary;
};

/* Collects the pieces as a carrier collects a body, then says every packet. */
static void decode_payload(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    const struct how *how = arg;
    struct mdg_eio_payload p;
    struct mdg_eio_packet packet;
    struct mdg_input in, last = {NULL, 0};
    size_t keep = 0;
    while ((in = mdg_test_next_piece(pieces, keep)).data) {
        last = in;
        keep = in.len;
    }
    mdg_eio_payload_init(&p, how->version, how->binary, last);
    int rc;
    while ((rc = mdg_eio_payload_next(&p, &packet)) > 0) {
        mdg_test_say(out, "%d%s:", packet.type, packet.binary ? "b" : "");
        for (size_t i = 0; i < packet.data.len; i++) {
            uint8_t c = packet.data.data[i];
            mdg_test_say(out, c >= 0x20 && c < 0x7f && !packet.binary ? "%c" : "<%02x>", c);
        }
        mdg_test_say(out, " ");
    }
    if (rc < 0)
        mdg_test_say(out, "error %d", rc);
}

static void says(unsigned version, bool binary, const void *bytes, size_t len, const char *expected)
{
    struct how how = {version, binary};
    mdg_test_every_cut(decode_payload, &how, mdg_slice(bytes, len), expected);
}

#define SAYS4(text, expected) says(4, false, text, sizeof(text) - 1, expected)
#define SAYS3(text, expected) says(3, false, text, sizeof(text) - 1, expected)
#define SAYS3B(text, expected) says(3, true, text, sizeof(text) - 1, expected)

static void v4_payloads_split_at_the_separator(void **state)
{
    (void)state;
    SAYS4("4hello\x1e"
          "2\x1e"
          "4world",
          "4:hello 2: 4:world ");
    SAYS4("4hello\x1e"
          "bAQIDBA==",
          "4:hello 4b:<01><02><03><04> ");
    SAYS4("4", "4: ");
    SAYS4("4\xe2\x82\xac", "4:<e2><82><ac> ");
    SAYS4("b", "4b: ");
}

static void v4_payloads_with_a_hole_or_a_wrong_type_are_broken(void **state)
{
    (void)state;
    SAYS4("", "error -1000");
    SAYS4("4a\x1e", "4:a error -1000");
    SAYS4("4a\x1e\x1e"
          "4b",
          "4:a error -1000");
    SAYS4("7a", "error -1000");
    SAYS4("abc", "error -1000");
    SAYS4("b@@@@", "error -1000");
    SAYS4("bAQIDB", "error -1000");
}

static void v3_lengths_count_utf16_code_units(void **state)
{
    (void)state;
    SAYS3("6:4hello2:4\xe2\x82\xac", "4:hello 4:<e2><82><ac> ");
    SAYS3("3:4\xf0\x9f\x98\x80"
          "1:2",
          "4:<f0><9f><98><80> 2: ");
    SAYS3("10:b4AQIDBA==", "4b:<01><02><03><04> ");
    SAYS3("", "");
    SAYS3("0:1:6", "6: ");
}

static void v3_lengths_that_lie_are_refused(void **state)
{
    (void)state;
    SAYS3("6:4hell", "error -1000");
    SAYS3("2:4\xf0\x9f\x98\x80", "error -1000"); /* half of a surrogate pair */
    SAYS3("abc", "error -1000");
    SAYS3(":4", "error -1000");
    SAYS3("1", "error -1000");
    SAYS3("-1:4", "error -1000");
    SAYS3("99999999999999999999:4", "error -1000");
    SAYS3("1:2x", "2: error -1000");
}

static void v3_binary_payloads_have_a_kind_digits_and_ff(void **state)
{
    (void)state;
    SAYS3B("\x00\x06\xff"
           "4hello\x01\x05\xff\x04\x01\x02\x03\x04",
           "4:hello 4b:<01><02><03><04> ");
    SAYS3B("\x00\x01\x02\xff"
           "4hello worl",
           "error -1000");
    SAYS3B("\x00\x01\x02\xff"
           "4hello world",
           "4:hello world ");
    SAYS3B("\x02\x01\xff"
           "4",
           "error -1000");
    SAYS3B("\x00\xff"
           "4",
           "error -1000");
    SAYS3B("\x00\x01\x0a"
           "4",
           "error -1000");
    SAYS3B("\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff", "error -1000");
    SAYS3B("\x01\x01\xff\x07", "error -1000");
}

static void single_packets_differ_by_version_only_in_binary(void **state)
{
    (void)state;
    struct mdg_eio_packet p;
    uint8_t text[] = "2probe", raw[] = {4, 1, 2}, b64[] = "bAQID", b64v3[] = "b4AQID";
    assert_int_equal(mdg_eio_dec_packet(4, (struct mdg_input){text, 6}, false, &p), 0);
    assert_int_equal(p.type, MDG_EIO_PING);
    assert_int_equal(p.data.len, 5);
    assert_int_equal(mdg_eio_dec_packet(4, (struct mdg_input){raw, 3}, true, &p), 0);
    assert_true(p.binary && p.type == MDG_EIO_MESSAGE && p.data.len == 3);
    assert_int_equal(mdg_eio_dec_packet(3, (struct mdg_input){raw, 3}, true, &p), 0);
    assert_true(p.binary && p.type == MDG_EIO_MESSAGE && p.data.len == 2);
    assert_int_equal(mdg_eio_dec_packet(3, (struct mdg_input){raw, 0}, true, &p), MDG_E_PROTO);
    assert_int_equal(mdg_eio_dec_packet(4, (struct mdg_input){b64, 5}, false, &p), 0);
    assert_true(p.binary && p.data.len == 3 && p.data.data[0] == 1);
    assert_int_equal(mdg_eio_dec_packet(3, (struct mdg_input){b64v3, 6}, false, &p), 0);
    assert_true(p.binary && p.data.len == 3 && p.data.data[2] == 3);
    assert_int_equal(mdg_eio_dec_packet(4, (struct mdg_input){text, 0}, false, &p), MDG_E_PROTO);
}

typedef void (*write_fn)(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                         struct mdg_slice data);

static void written(write_fn fn, bool binary, const char *data, size_t len, const char *expected,
                    size_t expected_len)
{
    uint8_t room[64];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    fn(&w, MDG_EIO_MESSAGE, binary, mdg_slice(data, len));
    assert_true(mdg_slice_eq(mdg_slice(room, w.len), mdg_slice(expected, expected_len)));
}

static void encoders_write_what_decoders_read(void **state)
{
    (void)state;
    written(mdg_eio4_write_in_payload, false, "hi", 2, "4hi", 3);
    written(mdg_eio4_write_in_payload, true, "\1\2\3\4", 4, "bAQIDBA==", 9);
    written(mdg_eio3_write_in_text, false, "\xe2\x82\xac", 3, "2:4\xe2\x82\xac", 6);
    written(mdg_eio3_write_in_text, true, "\1\2\3\4", 4, "10:b4AQIDBA==", 13);
    written(mdg_eio3_write_in_binary, false, "hello worl", 10,
            "\0\1\1\xff"
            "4hello worl",
            15);
    written(mdg_eio3_write_in_binary, true, "\1\2\3\4", 4, "\1\5\xff\4\1\2\3\4", 8);
}

static void the_handshake_reads_back(void **state)
{
    (void)state;
    uint8_t room[256];
    struct mdg_writer w;
    struct mdg_eio_open o = {MDG_SLICE_LIT("abc"), true, 25000, 20000, 1000000}, back;
    mdg_writer_init(&w, room, sizeof room);
    mdg_eio_write_open(&w, &o);
    assert_true(mdg_slice_eq(
        mdg_slice(room, w.len),
        MDG_SLICE_LIT("{\"sid\":\"abc\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,"
                      "\"pingTimeout\":20000,\"maxPayload\":1000000}")));
    assert_int_equal(mdg_eio_dec_open(mdg_slice(room, w.len), &back), 0);
    assert_true(mdg_slice_eq(back.sid, o.sid) && back.upgrade_websocket);
    assert_int_equal(back.max_payload, 1000000);
    assert_int_equal(mdg_eio_dec_open(MDG_SLICE_LIT("{\"sid\":\"\"}"), &back), MDG_E_PROTO);
    assert_int_equal(mdg_eio_dec_open(MDG_SLICE_LIT("[]"), &back), MDG_E_PROTO);
}

static void jsonp_keeps_digits_and_escapes_for_scripts(void **state)
{
    (void)state;
    uint8_t room[128];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    mdg_eio_write_jsonp(&w, MDG_SLICE_LIT("1);alert(2"), MDG_SLICE_LIT("4\"\xe2\x80\xa8"));
    assert_true(
        mdg_slice_eq(mdg_slice(room, w.len), MDG_SLICE_LIT("___eio[12](\"4\\\"\\u2028\");")));
}

static void jsonp_bodies_are_forms_with_doubled_newlines(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"d=6%3A4hello", "6:4hello"}, {"x=1&d=4a+b%20c", "4a b c"},        {"d=4a%5Cnb", "4a\nb"},
        {"d=4a%5C%5Cnb", "4a\\nb"},   {"d=%E2%82%AC&e=2", "\xe2\x82\xac"}, {"d=", ""},
    };
    static const char *const bad[] = {"", "e=1", "d=%4", "d=%zz", "dd=1"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        char *body = strdup(cases[i][0]);
        struct mdg_input payload;
        assert_non_null(body);
        assert_int_equal(
            mdg_eio_dec_jsonp((struct mdg_input){(uint8_t *)body, strlen(body)}, &payload), 0);
        assert_true(mdg_slice_eq(mdg_slice(payload.data, payload.len), mdg_slice_str(cases[i][1])));
        free(body);
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        char *body = strdup(bad[i]);
        struct mdg_input payload;
        assert_non_null(body);
        assert_int_equal(
            mdg_eio_dec_jsonp((struct mdg_input){(uint8_t *)body, strlen(body)}, &payload),
            MDG_E_PROTO);
        free(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v4_payloads_split_at_the_separator),
        cmocka_unit_test(v4_payloads_with_a_hole_or_a_wrong_type_are_broken),
        cmocka_unit_test(v3_lengths_count_utf16_code_units),
        cmocka_unit_test(v3_lengths_that_lie_are_refused),
        cmocka_unit_test(v3_binary_payloads_have_a_kind_digits_and_ff),
        cmocka_unit_test(single_packets_differ_by_version_only_in_binary),
        cmocka_unit_test(encoders_write_what_decoders_read),
        cmocka_unit_test(the_handshake_reads_back),
        cmocka_unit_test(jsonp_keeps_digits_and_escapes_for_scripts),
        cmocka_unit_test(jsonp_bodies_are_forms_with_doubled_newlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
