/* STOMP frames: every cut gives the same frames, escapes follow the version, limits hold. */
#include "codec/stomp.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

static const struct mdg_stomp_limits limits = {
    .line_bytes_max = 64, .header_count_max = 4, .header_bytes_max = 160, .body_bytes_max = 100};

static void say_slice(struct mdg_test_out *out, struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < 0x20 || s.data[i] == '|')
            mdg_test_say(out, "<%02x>", s.data[i]);
        else
            mdg_test_say(out, "%c", s.data[i]);
    }
}

static void say_frame(struct mdg_test_out *out, const struct mdg_stomp_frame *f)
{
    say_slice(out, f->command_name);
    for (uint32_t i = 0; i < f->header_count; i++) {
        mdg_test_say(out, " ");
        say_slice(out, f->headers[i].name);
        mdg_test_say(out, "=");
        say_slice(out, f->headers[i].value);
    }
    mdg_test_say(out, " [");
    say_slice(out, f->body);
    mdg_test_say(out, "]|");
}

/* arg: the version. After a CONNECTED frame this peer speaks it, as a client would. */
static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    struct mdg_stomp_dec dec = {.version = *(const uint8_t *)arg};
    struct mdg_stomp_frame *frame = malloc(sizeof *frame);
    assert_non_null(frame);
    size_t keep = 0;
    for (;;) {
        struct mdg_input in = mdg_test_next_piece(pieces, keep);
        if (!in.data)
            break;
        int n;
        while ((n = mdg_stomp_dec_next(&dec, &limits, &in, frame)) > 0)
            say_frame(out, frame);
        if (n < 0) {
            mdg_test_say(out, "! %s", mdg_stomp_fail_text((enum mdg_stomp_fail)dec.fail));
            assert_int_equal(mdg_stomp_dec_next(&dec, &limits, &in, frame), n);
            break;
        }
        keep = in.len;
    }
    free(frame);
}

static void check(uint8_t version, struct mdg_slice input, const char *expected)
{
    mdg_test_every_cut(decode, &version, input, expected);
}
#define CHECK(version, input, expected) check((version), MDG_SLICE_LIT(input), (expected))

static void frames_follow_each_other_with_heartbeats_between(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2,
          "\n\r\nSEND\ndestination:/queue/a\n\nhello\0\n\n\nACK\nid:7\n\n\0BEGIN\n\n\0",
          "SEND destination=/queue/a [hello]|ACK id=7 []|BEGIN []|");
    CHECK(MDG_STOMP_1_0, "\0\0SEND\n\nx\0\n\0SEND\n\ny\0", "SEND [x]|SEND [y]|");
    CHECK(MDG_STOMP_ANY, "\rSEND\n\n\0", "! unexpected characters between frames");
}

static void content_length_wins_over_nuls_and_the_first_one_holds(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2, "SEND\ncontent-length:5\ncontent-length:1\n\na\0b\0c\0\nACK\nid:1\n\n\0",
          "SEND content-length=5 content-length=1 [a<00>b<00>c]|ACK id=1 []|");
    CHECK(MDG_STOMP_1_1, "SEND\ncontent-length:2\n\nabc\0",
          "! no NUL where content-length says that the body ends");
    CHECK(MDG_STOMP_1_1, "SEND\ncontent-length:-1\n\n\0", "! content-length is not a number");
    CHECK(MDG_STOMP_1_1, "SEND\ncontent-length:\n\n\0", "! content-length is not a number");
    CHECK(MDG_STOMP_1_2, "SEND\ncontent-length:0\n\n\0", "SEND content-length=0 []|");
}

static void escapes_are_those_of_the_version(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2, "SEND\na\\cb:x\\ny\\\\z\\r\n\n\0", "SEND a:b=x<0a>y\\z<0d> []|");
    CHECK(MDG_STOMP_1_1, "SEND\na\\cb:x\\ny\\\\z\n\n\0", "SEND a:b=x<0a>y\\z []|");
    CHECK(MDG_STOMP_1_1, "SEND\na:x\\r\n\n\0", "! a header holds an undefined escape sequence");
    CHECK(MDG_STOMP_1_2, "SEND\na:x\\t\n\n\0", "! a header holds an undefined escape sequence");
    CHECK(MDG_STOMP_1_2, "SEND\na:x\\\n\n\0", "! a header holds an undefined escape sequence");
    CHECK(MDG_STOMP_1_0, "SEND\na:x\\n\\q\n\n\0", "SEND a=x\\n\\q []|");
    /* None in CONNECT and CONNECTED, whatever the version. */
    CHECK(MDG_STOMP_1_2, "CONNECTED\na:x\\q\n\n\0", "CONNECTED a=x\\q []|");
    CHECK(MDG_STOMP_ANY, "CONNECT\npasscode:a\\nb\n\n\0", "CONNECT passcode=a\\nb []|");
    /* An escape is undone once: the backslash that comes out does not start another. */
    CHECK(MDG_STOMP_1_2, "SEND\na:\\\\n\n\n\0", "SEND a=\\n []|");
}

static void lines_may_end_with_crlf(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_ANY, "CONNECT\r\naccept-version:1.2\r\nhost:h\r\n\r\n\0\r\n",
          "CONNECT accept-version=1.2 host=h []|");
    CHECK(MDG_STOMP_1_2, "SEND\r\na:b\r\n\r\nbody\r\n\0", "SEND a=b [body<0d><0a>]|");
    CHECK(MDG_STOMP_1_2, "SEND\na:b\rc\n\n\0", "! a header holds NUL or a bare carriage return");
    CHECK(MDG_STOMP_1_1, "SEND\na:b\rc\n\n\0", "SEND a=b<0d>c []|");
    CHECK(MDG_STOMP_1_2, "SEND\r\r\n\r\n\0", "! the command line is not a STOMP command");
}

static void spaces_are_part_of_the_value_but_in_1_0(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2, "SEND\na: b \n\n\0", "SEND a= b  []|");
    CHECK(MDG_STOMP_1_0, "SEND\na: b \n\n\0", "SEND a=b []|");
    CHECK(MDG_STOMP_1_2, "SEND\na:b:c\n\n\0", "SEND a=b:c []|");
    CHECK(MDG_STOMP_1_2, "SEND\na:\n\n\0", "SEND a= []|");
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2, "SEND\nnothing\n\n\0", "! a header line has no colon");
    CHECK(MDG_STOMP_1_2, "SEND\n:x\n\n\0", "! a header line has no name");
    CHECK(MDG_STOMP_1_2, "SEND\na:b\0", "! a header holds NUL or a bare carriage return");
    CHECK(MDG_STOMP_1_2, "SEND\0", "! the command line is not a STOMP command");
}

static void every_limit_has_its_own_name(void **state)
{
    (void)state;
    CHECK(MDG_STOMP_1_2, "SEND\na:1\nb:2\nc:3\nd:4\n\n\0", "SEND a=1 b=2 c=3 d=4 []|");
    CHECK(MDG_STOMP_1_2, "SEND\na:1\nb:2\nc:3\nd:4\ne:5\n\n\0", "! too many headers");
    CHECK(MDG_STOMP_1_2, "SEND\ncontent-length:101\n\n", "! the body is too long");
    CHECK(MDG_STOMP_1_2, "SEND\ncontent-length:99999999999999999999\n\n", "! the body is too long");
    char line[300];
    memset(line, 'x', sizeof line);
    memcpy(line, "SEND\na:", 7);
    check(MDG_STOMP_1_2, mdg_slice(line, sizeof line), "! a command or header line is too long");
    memcpy(line, "SEND\n\nb", 7);
    check(MDG_STOMP_1_2, mdg_slice(line, sizeof line), "! the body is too long");
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 4; i++) {
        line[5 + i * 60 + 1] = ':';
        line[5 + i * 60 + 59] = '\n';
    }
    memcpy(line, "SEND\n", 5);
    check(MDG_STOMP_1_2, mdg_slice(line, sizeof line), "! the headers are too long");
}

static void the_longest_line_passes_with_lf_and_crlf(void **state)
{
    (void)state;
    char line[80];
    memset(line, 'x', sizeof line);
    memcpy(line, "SEND\na:", 7);
    memcpy(line + 5 + 64, "\n\n", 3);
    char expected[100];
    snprintf(expected, sizeof expected, "SEND a=%.*s []|", 62, line + 7);
    check(MDG_STOMP_1_2, mdg_slice(line, 5 + 64 + 3), expected);
    memcpy(line + 5 + 64, "\r\n\n", 4);
    check(MDG_STOMP_1_2, mdg_slice(line, 5 + 64 + 4), expected);
}

static void commands_are_known_by_name_and_case(void **state)
{
    (void)state;
    struct mdg_stomp_dec dec = {0};
    struct mdg_stomp_frame frame;
    char bytes[] = "NACK\n\n\0nack\n\n\0DISCONNECT\nreceipt:1\nreceipt:2\n\n\0";
    struct mdg_input in = {(uint8_t *)bytes, sizeof bytes - 1};
    assert_int_equal(mdg_stomp_dec_next(&dec, &limits, &in, &frame), 1);
    assert_int_equal(frame.command, MDG_STOMP_NACK);
    assert_int_equal(mdg_stomp_dec_next(&dec, &limits, &in, &frame), 1);
    assert_int_equal(frame.command, MDG_STOMP_UNKNOWN);
    assert_int_equal(mdg_stomp_dec_next(&dec, &limits, &in, &frame), 1);
    assert_int_equal(frame.command, MDG_STOMP_DISCONNECT);
    assert_true(mdg_slice_eq(mdg_stomp_find(&frame, "receipt"), MDG_SLICE_LIT("1")));
    assert_null(mdg_stomp_find(&frame, "id").data);
    assert_true(mdg_stomp_is_first(&frame, 0));
    assert_false(mdg_stomp_is_first(&frame, 1));
}

static void what_is_encoded_is_what_is_decoded(void **state)
{
    (void)state;
    static const enum mdg_stomp_version versions[] = {MDG_STOMP_1_1, MDG_STOMP_1_2};
    for (size_t i = 0; i < 2; i++) {
        uint8_t out[256];
        struct mdg_writer w;
        mdg_writer_init(&w, out, sizeof out);
        mdg_stomp_write_command(&w, MDG_STOMP_MESSAGE);
        mdg_stomp_write_header(&w, versions[i], MDG_SLICE_LIT("a:\\"), MDG_SLICE_LIT("x\ny:\\\rz"));
        mdg_stomp_write_body(&w, MDG_SLICE_LIT("a\0b"));
        assert_true(mdg_writer_fits(&w));
        check((uint8_t)versions[i], mdg_slice(out, w.len),
              "MESSAGE a:\\=x<0a>y:\\<0d>z content-length=3 [a<00>b]|");
    }
}

static void a_1_0_header_cannot_smuggle_a_line(void **state)
{
    (void)state;
    uint8_t out[256];
    struct mdg_writer w;
    mdg_writer_init(&w, out, sizeof out);
    mdg_stomp_write_command(&w, MDG_STOMP_MESSAGE);
    mdg_stomp_write_text(&w, MDG_STOMP_1_0, "a", "x\nack:1");
    mdg_stomp_write_text(&w, MDG_STOMP_1_0, "b:c", "dropped");
    mdg_stomp_write_end(&w);
    check(MDG_STOMP_1_0, mdg_slice(out, w.len), "MESSAGE a=x ack:1 []|");
}

static void the_highest_common_version_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(mdg_stomp_pick_version(mdg_slice(NULL, 0)), MDG_STOMP_1_0);
    assert_int_equal(mdg_stomp_pick_version(MDG_SLICE_LIT("1.0,1.2,1.1")), MDG_STOMP_1_2);
    assert_int_equal(mdg_stomp_pick_version(MDG_SLICE_LIT("1.1, 2.0")), MDG_STOMP_1_1);
    assert_int_equal(mdg_stomp_pick_version(MDG_SLICE_LIT("100.1")), MDG_STOMP_ANY);
    assert_int_equal(mdg_stomp_pick_version(MDG_SLICE_LIT("")), MDG_STOMP_ANY);
}

static void heartbeats_are_the_longer_of_can_and_want(void **state)
{
    (void)state;
    struct mdg_stomp_heartbeat hb;
    assert_int_equal(mdg_stomp_heartbeat_parse(mdg_slice(NULL, 0), &hb), 0);
    assert_int_equal(hb.can_ms + hb.want_ms, 0);
    assert_int_equal(mdg_stomp_heartbeat_parse(MDG_SLICE_LIT("4000, 10000"), &hb), 0);
    assert_int_equal(hb.can_ms, 4000);
    assert_int_equal(hb.want_ms, 10000);
    assert_int_equal(mdg_stomp_heartbeat_interval(4000, 10000), 10000);
    assert_int_equal(mdg_stomp_heartbeat_interval(0, 10000), 0);
    assert_int_equal(mdg_stomp_heartbeat_interval(4000, 0), 0);
    assert_int_equal(mdg_stomp_heartbeat_parse(MDG_SLICE_LIT("1000"), &hb), MDG_E_SYNTAX);
    assert_int_equal(mdg_stomp_heartbeat_parse(MDG_SLICE_LIT("a,b"), &hb), MDG_E_SYNTAX);
    assert_int_equal(mdg_stomp_heartbeat_parse(MDG_SLICE_LIT("18446744073709551615,0"), &hb), 0);
    assert_int_equal(hb.can_ms, 86400000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_follow_each_other_with_heartbeats_between),
        cmocka_unit_test(content_length_wins_over_nuls_and_the_first_one_holds),
        cmocka_unit_test(escapes_are_those_of_the_version),
        cmocka_unit_test(lines_may_end_with_crlf),
        cmocka_unit_test(spaces_are_part_of_the_value_but_in_1_0),
        cmocka_unit_test(malformed_headers_are_refused),
        cmocka_unit_test(every_limit_has_its_own_name),
        cmocka_unit_test(the_longest_line_passes_with_lf_and_crlf),
        cmocka_unit_test(commands_are_known_by_name_and_case),
        cmocka_unit_test(what_is_encoded_is_what_is_decoded),
        cmocka_unit_test(a_1_0_header_cannot_smuggle_a_line),
        cmocka_unit_test(the_highest_common_version_is_chosen),
        cmocka_unit_test(heartbeats_are_the_longer_of_can_and_want),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
