/* The opening handshake: the example of RFC 6455 1.2, each check of 4.2.1 by a request that fails
 * it, sub-protocol choice, permessage-deflate's parameters both ways. */
#include "codec/ws_handshake.h"
#include "tests/support/unit.h"
#include <stdio.h>

static const struct mdg_slice known[] = {{(const uint8_t *)"superchat", 9},
                                         {(const uint8_t *)"chat", 4}};
static const struct mdg_ws_offer_config config = {
    known, 2, {.enabled = true, .server_bits = 15, .client_bits = 15}};

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define VERSION "Sec-WebSocket-Version: 13\n"
#define UPGRADE "Upgrade: websocket\nConnection: Upgrade\n"

static void feed(const char *lines, void (*fn)(void *, struct mdg_slice, struct mdg_slice),
                 void *arg)
{
    struct mdg_slice rest = mdg_slice_str(lines);
    while (rest.len) {
        struct mdg_slice value = mdg_slice_split(&rest, '\n');
        struct mdg_slice name = mdg_slice_split(&value, ':');
        fn(arg, name, mdg_slice_trim(value));
    }
}

static void to_request(void *arg, struct mdg_slice name, struct mdg_slice value)
{
    mdg_ws_request_header(arg, name, value);
}

static void to_answer(void *arg, struct mdg_slice name, struct mdg_slice value)
{
    mdg_ws_answer_header(arg, name, value);
}

static struct mdg_ws_request request(const struct mdg_ws_offer_config *c, const char *method,
                                     unsigned minor, const char *lines, unsigned status)
{
    struct mdg_ws_request r;
    mdg_ws_request_init(&r, c, mdg_slice_str(method), minor);
    feed(lines, to_request, &r);
    unsigned got = mdg_ws_request_check(&r);
    if (got != status)
        fail_msg("%u, not %u (%s):\n%s", got, status, r.problem ? r.problem : "", lines);
    if (status != 101)
        assert_non_null(r.problem);
    return r;
}

static void the_example_of_rfc_6455_section_1_2(void **state)
{
    (void)state;
    struct mdg_ws_request r =
        request(&config, "GET", 1,
                "Host: server.example.com\n" UPGRADE KEY "Origin: http://example.com\n"
                "Sec-WebSocket-Protocol: chat, superchat\n" VERSION,
                101);
    uint8_t accept[MDG_WS_ACCEPT_LEN];
    mdg_ws_accept_key(accept, r.key);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28);
    assert_true(mdg_slice_eq(r.protocol, known[0])); /* the server's preference, not the client's */
    assert_false(r.deflate.on);
}

static void every_check_has_its_status(void **state)
{
    (void)state;
    request(&config, "GET", 1, UPGRADE KEY VERSION, 101);
    request(&config, "GET", 1,
            "UPGRADE: h2c, WebSocket\nconnection: keep-alive, UPGRADE\n" KEY VERSION, 101);
    request(&config, "GET", 1,
            "Upgrade: h2c\nUpgrade: websocket\nConnection: keep-alive\nConnection: upgrade\n" KEY
                VERSION,
            101);
    request(&config, "POST", 1, UPGRADE KEY VERSION, 405);
    request(&config, "get", 1, UPGRADE KEY VERSION, 405);
    request(&config, "GET", 0, UPGRADE KEY VERSION, 400);
    request(&config, "GET", 1, "Accept: */*\n", 426);
    request(&config, "GET", 1, "Connection: Upgrade\n" KEY VERSION, 400);
    request(&config, "GET", 1, "Upgrade: h2c\nConnection: Upgrade\n" KEY VERSION, 400);
    request(&config, "GET", 1, "Upgrade: websocketx\nConnection: Upgrade\n" KEY VERSION, 400);
    request(&config, "GET", 1, "Upgrade: websocket\n" KEY VERSION, 400);
    request(&config, "GET", 1, "Upgrade: websocket\nConnection: close\n" KEY VERSION, 400);
    request(&config, "GET", 1, UPGRADE KEY, 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION VERSION, 400);
    request(&config, "GET", 1, UPGRADE KEY "Sec-WebSocket-Version: 8\n", 426);
    request(&config, "GET", 1, UPGRADE KEY "Sec-WebSocket-Version: 13, 8\n", 426);
    request(&config, "GET", 1, UPGRADE KEY "Sec-WebSocket-Version: 013\n", 426);
    request(&config, "GET", 1, UPGRADE VERSION, 400);
    request(&config, "GET", 1, UPGRADE VERSION KEY KEY, 400);
    request(&config, "GET", 1, UPGRADE VERSION "Sec-WebSocket-Key: \n", 400);
    request(&config, "GET", 1, UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n", 400);
    request(&config, "GET", 1, UPGRADE VERSION "Sec-WebSocket-Key: SGVsbG8sIHdvcmxkIQ==\n", 400);
    request(&config, "GET", 1, UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\n",
            400);
    request(&config, "GET", 1, UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNh!XBsZSBub25jZQ==\n",
            400);
}

static void protocols_are_different_tokens(void **state)
{
    (void)state;
#define P "Sec-WebSocket-Protocol: "
    struct mdg_ws_request r = request(&config, "GET", 1, UPGRADE KEY VERSION P "chat\n", 101);
    assert_true(mdg_slice_eq(r.protocol, known[1]));
    r = request(&config, "GET", 1, UPGRADE KEY VERSION P "chat\n" P "x,superchat\n", 101);
    assert_true(mdg_slice_eq(r.protocol, known[0]));
    r = request(&config, "GET", 1, UPGRADE KEY VERSION P "Chat\n", 101);
    assert_int_equal(r.protocol.len, 0);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "chat,,x\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "chat,chat\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "chat\n" P "chat\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "a b\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "a@b\n", 400);
    request(&config, "GET", 1, UPGRADE KEY VERSION P "a\n" P "b\n" P "c\n" P "d\n" P "e\n", 400);
}

/* What the server answers to these offers; "-": no extension. */
static void expect_answer(struct mdg_ws_deflate_policy policy, const char *offers, const char *want)
{
    struct mdg_ws_offer_config c = {NULL, 0, policy};
    char lines[600], got[200] = "-";
    snprintf(lines, sizeof lines, UPGRADE KEY VERSION "Sec-WebSocket-Extensions: %s\n", offers);
    struct mdg_ws_request r = request(&c, "GET", 1, lines, strcmp(want, "400") ? 101 : 400);
    if (strcmp(want, "400") == 0)
        return;
    struct mdg_writer w;
    mdg_writer_init(&w, got, sizeof got - 1);
    if (r.deflate.on) {
        mdg_ws_write_deflate(&w, &r.deflate);
        got[w.len] = '\0';
    }
    assert_string_equal(got, want);
}

static void deflate_is_negotiated_with_all_four_parameters(void **state)
{
    (void)state;
    struct mdg_ws_deflate_policy all = {true, false, false, 15, 15},
                                 room = {true, true, false, 15, 15},
                                 tight = {true, false, true, 11, 10}, off = {0};
    expect_answer(all, "permessage-deflate", "permessage-deflate");
    expect_answer(off, "permessage-deflate", "-");
    expect_answer(room, "permessage-deflate", "permessage-deflate; server_no_context_takeover");
    expect_answer(all, "permessage-deflate; client_max_window_bits", "permessage-deflate");
    expect_answer(all, "permessage-deflate; client_max_window_bits=9",
                  "permessage-deflate; client_max_window_bits=9");
    expect_answer(all, "permessage-deflate; server_max_window_bits=8",
                  "permessage-deflate; server_max_window_bits=8");
    expect_answer(all, "permessage-deflate; server_max_window_bits=15",
                  "permessage-deflate; server_max_window_bits=15");
    expect_answer(
        all, "permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits=\"12\"",
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12");
    expect_answer(all, "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
                  "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    expect_answer(tight, "permessage-deflate",
                  "permessage-deflate; client_no_context_takeover; server_max_window_bits=11");
    expect_answer(tight, "permessage-deflate; client_max_window_bits; server_max_window_bits=9",
                  "permessage-deflate; client_no_context_takeover; server_max_window_bits=9; "
                  "client_max_window_bits=10");
}

static void offers_that_cannot_be_served_are_declined_and_the_next_is_tried(void **state)
{
    (void)state;
    struct mdg_ws_deflate_policy all = {true, false, false, 15, 15};
    static const char *const bad[] = {
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=1x",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=0",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "unknown",
        "unknown=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=9",
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        char offers[300];
        snprintf(offers, sizeof offers, "permessage-deflate; %s", bad[i]);
        expect_answer(all, offers, "-");
        snprintf(offers, sizeof offers,
                 "x-other; a=\"b\", permessage-deflate; %s, permessage-deflate", bad[i]);
        expect_answer(all, offers, "permessage-deflate");
    }
    expect_answer(all, "permessage-deflate; server_max_window_bits=9, permessage-deflate",
                  "permessage-deflate; server_max_window_bits=9");
    expect_answer(all, "x-webkit-deflate-frame, permessage-bzip2", "-");
}

static void malformed_extension_headers_are_refused(void **state)
{
    (void)state;
    struct mdg_ws_deflate_policy all = {true, false, false, 15, 15};
    static const char *const bad[] = {"permessage-deflate;",
                                      "permessage-deflate; =1",
                                      "a=b",
                                      "permessage-deflate; x=",
                                      "permessage-deflate; x=\"",
                                      "\"a\"",
                                      "permessage-deflate; x=\"a b\"",
                                      "permessage-deflate x",
                                      "permessage-deflate; x=\"\"",
                                      "a;;b"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        expect_answer(all, bad[i], "400");
}

static int answer(const struct mdg_ws_client_config *c, unsigned status, const char *lines,
                  struct mdg_ws_answer *out)
{
    mdg_ws_answer_init(out, c, (const uint8_t *)"dGhlIHNhbXBsZSBub25jZQ==", status);
    feed(lines, to_answer, out);
    int rc = mdg_ws_answer_check(out);
    assert_int_equal(rc == 0, out->problem == NULL);
    return rc;
}

static void a_client_checks_the_answer(void **state)
{
    (void)state;
    struct mdg_ws_client_config c = {
        .protocols = known, .protocol_count = 2, .deflate = {true, false, false, 15, 12}};
    struct mdg_ws_answer a;
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"
#define E "Sec-WebSocket-Extensions: "
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT, &a), 0);
    assert_int_equal(answer(&c, 200, UPGRADE ACCEPT, &a), MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, ACCEPT "Connection: Upgrade\n", &a), MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, ACCEPT "Upgrade: websocket\n", &a), MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, UPGRADE, &a), MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, UPGRADE "Sec-WebSocket-Accept: x\n", &a), MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT P "chat\n", &a), 0);
    assert_true(mdg_slice_eq(a.protocol, known[1]));
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT P "other\n", &a), MDG_E_PROTO);
    assert_int_equal(
        answer(&c, 101,
               UPGRADE ACCEPT E
               "permessage-deflate; server_max_window_bits=9; client_max_window_bits=13\n",
               &a),
        0);
    assert_true(a.deflate.on && a.deflate.server_bits == 9 && a.deflate.client_bits == 12);
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT E "permessage-bzip2\n", &a), MDG_E_PROTO);
    assert_int_equal(
        answer(&c, 101, UPGRADE ACCEPT E "permessage-deflate, permessage-deflate\n", &a),
        MDG_E_PROTO);
    assert_int_equal(
        answer(&c, 101, UPGRADE ACCEPT E "permessage-deflate; client_max_window_bits\n", &a),
        MDG_E_PROTO);
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT E "permessage-deflate; foo\n", &a),
                     MDG_E_PROTO);
    c.deflate.enabled = false;
    assert_int_equal(answer(&c, 101, UPGRADE ACCEPT E "permessage-deflate\n", &a), MDG_E_PROTO);
}

static void a_server_takes_what_a_client_writes(void **state)
{
    (void)state;
    struct mdg_ws_client_config c = {.host = MDG_SLICE_LIT("localhost:1"),
                                     .target = MDG_SLICE_LIT("/x?y"),
                                     .origin = MDG_SLICE_LIT("http://localhost"),
                                     .extra = MDG_SLICE_LIT("A: b\r\n"),
                                     .protocols = known,
                                     .protocol_count = 2,
                                     .deflate = {true, true, true, 12, 9}};
    uint8_t key[MDG_WS_KEY_LEN];
    char text[1000];
    struct mdg_writer w;
    mdg_ws_client_key(key, (const uint8_t *)"the sample nonce");
    mdg_writer_init(&w, text, sizeof text - 1);
    mdg_ws_write_request(&w, &c, key);
    assert_true(mdg_writer_fits(&w));
    text[w.len] = '\0';
    assert_string_equal(text,
                        "GET /x?y HTTP/1.1\r\nHost: localhost:1\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\nOrigin: http://localhost\r\n"
                        "Sec-WebSocket-Protocol: superchat, chat\r\n"
                        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                        "client_no_context_takeover; server_max_window_bits=12; "
                        "client_max_window_bits=9\r\nA: b\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_rfc_6455_section_1_2),
        cmocka_unit_test(every_check_has_its_status),
        cmocka_unit_test(protocols_are_different_tokens),
        cmocka_unit_test(deflate_is_negotiated_with_all_four_parameters),
        cmocka_unit_test(offers_that_cannot_be_served_are_declined_and_the_next_is_tried),
        cmocka_unit_test(malformed_extension_headers_are_refused),
        cmocka_unit_test(a_client_checks_the_answer),
        cmocka_unit_test(a_server_takes_what_a_client_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
