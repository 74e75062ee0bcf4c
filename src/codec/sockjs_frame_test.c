#include "codec/sockjs.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

/* head + message in an array + tail, as a carrier builds it */
static size_t wrap(char *out, size_t cap, enum mdg_sockjs_wrap place, struct mdg_slice message)
{
    struct mdg_writer w;
    mdg_writer_init(&w, out, cap - 1);
    mdg_sockjs_write_head(&w, place, MDG_SLICE_LIT("callback"));
    mdg_sockjs_write_escaped(&w, place, MDG_SLICE_LIT("a[\""));
    mdg_sockjs_write_message(&w, place, message);
    mdg_sockjs_write_escaped(&w, place, MDG_SLICE_LIT("\"]"));
    mdg_sockjs_write_tail(&w, place);
    assert_true(mdg_writer_fits(&w));
    out[w.len] = '\0';
    return w.len;
}

static void check(enum mdg_sockjs_wrap place, const char *message, const char *expected)
{
    char text[512];
    wrap(text, sizeof text, place, mdg_slice_str(message));
    assert_string_equal(text, expected);
}

static void every_transport_wraps_in_its_way(void **state)
{
    (void)state;
    check(MDG_SOCKJS_PLAIN, "x", "a[\"x\"]");
    check(MDG_SOCKJS_NEWLINE, "x", "a[\"x\"]\n");
    check(MDG_SOCKJS_EVENT, "x", "data: a[\"x\"]\r\n\r\n");
    check(MDG_SOCKJS_SCRIPT, "x", "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n");
    check(MDG_SOCKJS_CALLBACK, "x", "/**/callback(\"a[\\\"x\\\"]\");\r\n");
}

static void escapes_as_json_and_then_for_the_place(void **state)
{
    (void)state;
    check(MDG_SOCKJS_PLAIN, "\"\\/\b\f\n\r\t\x01\x7f",
          "a[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\"]");
    check(MDG_SOCKJS_EVENT, "100%\n", "data: a[\"100%25\\n\"]\r\n\r\n");
    check(MDG_SOCKJS_CALLBACK, "\"\n", "/**/callback(\"a[\\\"\\\\\\\"\\\\n\\\"]\");\r\n");
    check(MDG_SOCKJS_SCRIPT, "</script>",
          "<script>\np(\"a[\\\"\\u003c/script>\\\"]\");\n</script>\r\n");
}

static void put_utf8(struct mdg_writer *w, uint32_t c)
{
    if (c < 0x800) {
        mdg_write_u8(w, (uint8_t)(0xC0 | c >> 6));
    } else {
        mdg_write_u8(w, (uint8_t)(0xE0 | c >> 12));
        mdg_write_u8(w, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
    }
    mdg_write_u8(w, (uint8_t)(0x80 | (c & 0x3F)));
}

/* Protocol, "JSON Unicode Encoding":
 * [\x00-\x1f\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff] */
static void escapes_exactly_the_unsafe_characters(void **state)
{
    (void)state;
    for (uint32_t c = 0x80; c < 0x10000; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        bool unsafe = (c >= 0x200C && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) ||
                      (c >= 0x2060 && c <= 0x206F) || c >= 0xFFF0;
        uint8_t raw[4];
        struct mdg_writer w;
        mdg_writer_init(&w, raw, sizeof raw);
        put_utf8(&w, c);
        char expected[16], text[64];
        if (unsafe)
            snprintf(expected, sizeof expected, "a[\"\\u%04x\"]", (unsigned)c);
        else
            snprintf(expected, sizeof expected, "a[\"%.*s\"]", (int)w.len, (const char *)raw);
        wrap(text, sizeof text, MDG_SOCKJS_PLAIN, mdg_slice(raw, w.len));
        assert_string_equal(text, expected);
    }
}

static void characters_beyond_the_basic_plane_become_pairs(void **state)
{
    (void)state;
    check(MDG_SOCKJS_PLAIN, "\xf0\x9f\x98\x80", "a[\"\\ud83d\\ude00\"]");
    check(MDG_SOCKJS_PLAIN, "\xf4\x8f\xbf\xbf", "a[\"\\udbff\\udfff\"]");
    check(MDG_SOCKJS_CALLBACK, "\xf0\x9f\x98\x80",
          "/**/callback(\"a[\\\"\\\\ud83d\\\\ude00\\\"]\");\r\n");
}

static void bytes_that_are_no_utf8_become_a_replacement(void **state)
{
    (void)state;
    check(MDG_SOCKJS_PLAIN, "\x80", "a[\"\\ufffd\"]");
    check(MDG_SOCKJS_PLAIN, "a\xe2\x80", "a[\"a\\ufffd\\ufffd\"]");
    check(MDG_SOCKJS_PLAIN, "\xed\xa0\x80", "a[\"\\ufffd\\ufffd\\ufffd\"]");
    check(MDG_SOCKJS_PLAIN, "\xc0\xaf", "a[\"\\ufffd\\ufffd\"]");
}

/* Pieces on the stack must not show, wherever they end. */
static void long_messages_come_through_every_wrap(void **state)
{
    (void)state;
    enum { LEN = 3000 };
    static const char *const units[] = {"x",        "\"",           "\n",
                                        "\xc3\xa9", "\xe2\x80\xa8", "\xf0\x9f\x98\x80"};
    char *message = malloc(LEN + 8), *text = malloc(LEN * 16), *back = malloc(LEN * 8);
    assert_true(message && text && back);
    for (size_t u = 0; u < MDG_ARRAY_LEN(units); u++) {
        size_t len = 0;
        message[len++] = 'a';
        while (len < LEN)
            len += (size_t)snprintf(message + len, 8, "%s", units[u]);
        size_t n = wrap(text, LEN * 16, MDG_SOCKJS_CALLBACK, mdg_slice(message, len));
        /* the argument of the call is a JSON string; inside it is the frame */
        struct mdg_slice argument = {(uint8_t *)text + 13, n - 13 - 4}, value;
        assert_int_equal(mdg_json_check(argument, 0, &value), 0);
        int64_t frame = mdg_json_unescape(value, (uint8_t *)back, LEN * 8);
        assert_true(frame > 0);
        struct mdg_sockjs_messages m;
        unsigned code;
        struct mdg_slice reason;
        struct mdg_input got, in = {(uint8_t *)back, (size_t)frame};
        assert_int_equal(mdg_sockjs_frame(in, &m, &code, &reason), 'a');
        assert_true(mdg_sockjs_next_message(&m, &got));
        assert_int_equal(got.len, len);
        assert_memory_equal(got.data, message, len);
    }
    free(message);
    free(text);
    free(back);
}

static void close_frames_carry_code_and_reason(void **state)
{
    (void)state;
    char text[64];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_close(&w, 2010, MDG_SLICE_LIT("Another connection still open"));
    assert_true(mdg_slice_eq(mdg_slice(text, w.len),
                             MDG_SLICE_LIT("c[2010,\"Another connection still open\"]")));
}

static void preludes_are_as_long_as_browsers_want(void **state)
{
    (void)state;
    char text[4096];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_prelude(&w, MDG_SOCKJS_NEWLINE, mdg_slice(NULL, 0));
    assert_int_equal(w.len, 2049);
    assert_int_equal(text[0], 'h');
    assert_int_equal(text[2047], 'h');
    assert_int_equal(text[2048], '\n');
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_prelude(&w, MDG_SOCKJS_EVENT, mdg_slice(NULL, 0));
    assert_true(mdg_slice_eq(mdg_slice(text, w.len), MDG_SLICE_LIT("\r\n")));
    mdg_writer_init(&w, text, sizeof text - 1);
    mdg_sockjs_write_prelude(&w, MDG_SOCKJS_SCRIPT, MDG_SLICE_LIT("cb"));
    text[w.len] = '\0';
    assert_true(w.len > 1024);
    assert_non_null(strstr(text, "    var c = parent.cb;\n    c.start();\n"));
    assert_non_null(strstr(text, "  </script> "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transport_wraps_in_its_way),
        cmocka_unit_test(escapes_as_json_and_then_for_the_place),
        cmocka_unit_test(escapes_exactly_the_unsafe_characters),
        cmocka_unit_test(characters_beyond_the_basic_plane_become_pairs),
        cmocka_unit_test(bytes_that_are_no_utf8_become_a_replacement),
        cmocka_unit_test(long_messages_come_through_every_wrap),
        cmocka_unit_test(close_frames_carry_code_and_reason),
        cmocka_unit_test(preludes_are_as_long_as_browsers_want),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
