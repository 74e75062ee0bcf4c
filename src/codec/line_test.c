#include "codec/line.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"

static void say_line(struct mdg_test_out *out, const struct mdg_line_event *ev)
{
    if (ev->type == MDG_LINE_TOO_LONG) {
        mdg_test_say(out, "<too long>");
        return;
    }
    mdg_test_say(out, "<");
    for (size_t i = 0; i < ev->text.len; i++) {
        uint8_t c = ev->text.data[i];
        mdg_test_say(out, c >= ' ' && c < 127 ? "%c" : "\\%02x", c);
    }
    mdg_test_say(out, ">");
}

static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    struct mdg_line_dec d;
    struct mdg_line_event ev;
    mdg_line_dec_init(&d, *(const uint32_t *)arg);
    struct mdg_input in = {NULL, 0};
    for (;;) {
        struct mdg_input more = mdg_test_next_piece(pieces, in.len);
        if (!more.data)
            break;
        in = more;
        while (mdg_line_dec_next(&d, &in, &ev) == 1)
            say_line(out, &ev);
        assert_true(in.len <= d.line_max + 2);
    }
    mdg_test_say(out, "end");
    if (mdg_line_dec_end(&d, &in, &ev) == 1)
        say_line(out, &ev);
}

static void check(uint32_t line_max, struct mdg_slice input, const char *expected)
{
    mdg_test_every_cut(decode, &line_max, input, expected);
}

static void lines_end_with_lf_or_crlf(void **state)
{
    (void)state;
    check(100, MDG_SLICE_LIT("one\ntwo\r\n\n\r\nthree\n"), "<one><two><><><three>end");
    check(100, MDG_SLICE_LIT("a\rb\r\r\n"), "<a\\0db>end");
    check(100, MDG_SLICE_LIT("cr nul\r\0\nx\n"), "<cr nul><x>end");
}

static void half_close_yields_the_line_without_its_end(void **state)
{
    (void)state;
    check(100, MDG_SLICE_LIT("one\ntwo"), "<one>end<two>");
    check(100, MDG_SLICE_LIT("one\n"), "<one>end");
}

static void a_line_at_the_limit_passes_and_one_over_it_is_skipped(void **state)
{
    (void)state;
    check(4, MDG_SLICE_LIT("1234\r\n12345\nok\n"), "<1234><too long><ok>end");
    check(4, MDG_SLICE_LIT("123456789012345678901234567890"), "<too long>end");
    check(4, MDG_SLICE_LIT("12345\n123456\n"), "<too long><too long>end");
}

static void telnet_negotiation_vanishes(void **state)
{
    (void)state;
    check(100, MDG_SLICE_LIT("\xff\xfd\x03he\xff\xfb\x18llo\xff\xf1\n"), "<hello>end");
    /* NAWS with a width of 10: a LF inside a subnegotiation ends no line (RFC 1073) */
    check(100,
          MDG_SLICE_LIT("a\xff\xfa\x1f\x00\n\x00\n\xff\xff\xff\xf0"
                        "b\nc\n"),
          "<ab><c>end");
    check(3,
          MDG_SLICE_LIT("\xff\xf1\xff\xf1\xff\xf1"
                        "abc\xff\xf1\n"),
          "<abc>end");
    check(3,
          MDG_SLICE_LIT("a\xff\xf1"
                        "b\xff\xf1"
                        "c\xff\xf1"
                        "d\xff\xf1\nx\n"),
          "<too long><x>end");
}

static void other_bytes_are_left_to_the_dialect(void **state)
{
    (void)state;
    check(100, MDG_SLICE_LIT("\xc3\x28 \x01\n\xeb\xa7\x88\n"), "<\\c3( \\01><\\eb\\a7\\88>end");
}

static void check_command(const char *line, const char *word, const char *argument)
{
    struct mdg_line_command command;
    struct mdg_slice text;
    assert_true(mdg_line_command(mdg_slice_str(line), &command, &text));
    assert_true(mdg_slice_eq(command.word, mdg_slice_str(word)));
    assert_true(mdg_slice_eq(command.argument, mdg_slice_str(argument)));
}

static void commands_begin_with_one_slash(void **state)
{
    (void)state;
    check_command("/join lobby", "join", "lobby");
    check_command("/nick  \t ann b ", "nick", "ann b");
    check_command("/quit", "quit", "");
    check_command("/", "", "");
    struct mdg_line_command command;
    struct mdg_slice text;
    assert_false(mdg_line_command(MDG_SLICE_LIT("hi /join"), &command, &text));
    assert_true(mdg_slice_eq(text, MDG_SLICE_LIT("hi /join")));
    assert_false(mdg_line_command(MDG_SLICE_LIT("//join"), &command, &text));
    assert_true(mdg_slice_eq(text, MDG_SLICE_LIT("/join")));
    assert_false(mdg_line_command(MDG_SLICE_LIT(""), &command, &text));
}

static void words_part_at_blanks(void **state)
{
    (void)state;
    struct mdg_slice rest, word = mdg_line_word(MDG_SLICE_LIT(" lobby \t e:7 "), &rest);
    assert_true(mdg_slice_eq(word, MDG_SLICE_LIT("lobby")));
    assert_true(mdg_slice_eq(rest, MDG_SLICE_LIT("e:7")));
    word = mdg_line_word(mdg_slice(NULL, 0), &rest);
    assert_int_equal(word.len + rest.len, 0);
}

static void knows_a_request_line(void **state)
{
    (void)state;
    assert_true(mdg_line_is_http(MDG_SLICE_LIT("POST /x HTTP/1.1")));
    assert_true(mdg_line_is_http(MDG_SLICE_LIT("GET / HTTP/1.0")));
    assert_true(mdg_line_is_http(MDG_SLICE_LIT("foo /x HTTP/2.0 ")));
    assert_true(mdg_line_is_http(MDG_SLICE_LIT("GET chat HTTP/1.1")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT("I like HTTP/1.1")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT("who speaks HTTP/1.1 here")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT("GET well soon")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT("I like HTTP/1.x")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT(" HTTP/1.1")));
    assert_false(mdg_line_is_http(MDG_SLICE_LIT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_lf_or_crlf),
        cmocka_unit_test(half_close_yields_the_line_without_its_end),
        cmocka_unit_test(a_line_at_the_limit_passes_and_one_over_it_is_skipped),
        cmocka_unit_test(telnet_negotiation_vanishes),
        cmocka_unit_test(other_bytes_are_left_to_the_dialect),
        cmocka_unit_test(commands_begin_with_one_slash),
        cmocka_unit_test(words_part_at_blanks),
        cmocka_unit_test(knows_a_request_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
