#include "codec/sse.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>

static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    size_t cap = *(const size_t *)arg;
    uint8_t memory[4096];
    struct mdg_sse_dec d;
    mdg_sse_dec_init(&d, memory, cap);
    for (;;) {
        struct mdg_input in = mdg_test_next_piece(pieces, 0);
        if (!in.data)
            return;
        struct mdg_sse_event ev;
        int got;
        while ((got = mdg_sse_dec_next(&d, &in, &ev)) == 1) {
            mdg_test_say(out, "[%.*s|%.*s|%.*s|", (int)ev.id.len, (const char *)ev.id.data,
                         (int)ev.event.len, (const char *)ev.event.data, (int)ev.data.len,
                         (const char *)ev.data.data);
            if (ev.retry_ms != UINT64_MAX)
                mdg_test_say(out, "%llu", (unsigned long long)ev.retry_ms);
            mdg_test_say(out, "]");
        }
        if (got < 0) {
            mdg_test_say(out, "!%d", got);
            assert_int_equal(mdg_sse_dec_next(&d, &in, &ev), got);
            return;
        }
        assert_int_equal(in.len, 0);
    }
}

static void check(const char *input, const char *expected)
{
    size_t cap = 4096;
    mdg_test_every_cut(decode, &cap, mdg_slice_str(input), expected);
}

static void the_examples_of_the_standard(void **state)
{
    (void)state;
    /* WHATWG HTML 9.2.6, in the order of the text */
    check("data: YHOO\ndata: +2\ndata: 10\n\n", "[||YHOO\n+2\n10|]");
    check(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
          "event\n",
          "[1||first event|][||second event|]");
    check("data\n\ndata\ndata\n\ndata:", "[|||][||\n|]");
    check("data:test\n\ndata: test\n\n", "[||test|][||test|]");
}

static void every_line_ending(void **state)
{
    (void)state;
    check("data: a\r\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n", "[||a\nb|][||c|][||d|]");
    check("data: a\r\n\n", "[||a|]");
}

static void type_belongs_to_one_event_and_id_stays(void **state)
{
    (void)state;
    check("event: x\n\ndata: a\n\n", "[||a|]");
    check("event: x\nid: 7\ndata: a\n\ndata: b\n\n", "[7|x|a|][7||b|]");
}

static void retry_takes_digits_only(void **state)
{
    (void)state;
    check("retry: 250\ndata: a\n\nretry: 2x\ndata: b\n\n", "[||a|250][||b|]");
}

static void an_id_with_nul_is_ignored(void **state)
{
    (void)state;
    size_t cap = 4096;
    mdg_test_every_cut(decode, &cap, MDG_SLICE_LIT("id: 1\nid: 2\0x\ndata: a\n\n"), "[1||a|]");
}

static void a_byte_order_mark_is_skipped_once(void **state)
{
    (void)state;
    check("\xEF\xBB\xBF"
          "data: a\n\n\xEF\xBB\xBF"
          "data: b\n\n",
          "[||a|]");
    check("\xEF\xBB"
          "data: b\n\ndata: c\n\n",
          "[||c|]");
}

static void an_event_over_the_limit_kills_the_decoder(void **state)
{
    (void)state;
    size_t cap = 12;
    mdg_test_every_cut(decode, &cap, MDG_SLICE_LIT("data: 123456\n\ndata: 1234567\n\n"), NULL);
    char line[MDG_SSE_ID_MAX + 32];
    int n = snprintf(line, sizeof line, "id: %0*d\ndata: a\n\n", MDG_SSE_ID_MAX + 1, 0);
    cap = 4096;
    mdg_test_every_cut(decode, &cap, mdg_slice(line, (size_t)n), "!-1001");
}

static void check_event(const char *id, const char *event, const char *data, const char *expected)
{
    char text[256];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    assert_int_equal(
        mdg_sse_write_event(&w, mdg_slice_str(id), mdg_slice_str(event), mdg_slice_str(data)), 0);
    assert_true(mdg_writer_fits(&w));
    assert_int_equal(w.len, strlen(expected));
    assert_memory_equal(text, expected, w.len);
}

static void writes_one_data_line_for_each_line(void **state)
{
    (void)state;
    check_event("", "", "hi", "data: hi\n\n");
    check_event("e:7", "chat", "", "id: e:7\nevent: chat\ndata: \n\n");
    check_event("", "", "a\r\nb\rc\n\nd\n",
                "data: a\ndata: b\ndata: c\ndata: \ndata: d\ndata: \n\n");
}

static void refuses_line_breaks_in_id_and_type(void **state)
{
    (void)state;
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    struct mdg_slice none = mdg_slice(NULL, 0), bad = MDG_SLICE_LIT("a\ndata: forged");
    assert_int_equal(mdg_sse_write_event(&w, bad, none, none), MDG_E_SYNTAX);
    assert_int_equal(mdg_sse_write_event(&w, none, MDG_SLICE_LIT("a\rb"), none), MDG_E_SYNTAX);
    assert_int_equal(w.len, 0);
}

static void comments_and_retry_are_no_events(void **state)
{
    (void)state;
    char text[64];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sse_write_comment(&w, MDG_SLICE_LIT("beat"));
    mdg_sse_write_retry(&w, 1500);
    mdg_sse_write_data(&w, MDG_SLICE_LIT("x"));
    size_t cap = 64;
    mdg_test_every_cut(decode, &cap, mdg_slice(text, w.len), "[||x|1500]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_standard),
        cmocka_unit_test(every_line_ending),
        cmocka_unit_test(type_belongs_to_one_event_and_id_stays),
        cmocka_unit_test(retry_takes_digits_only),
        cmocka_unit_test(an_id_with_nul_is_ignored),
        cmocka_unit_test(a_byte_order_mark_is_skipped_once),
        cmocka_unit_test(an_event_over_the_limit_kills_the_decoder),
        cmocka_unit_test(writes_one_data_line_for_each_line),
        cmocka_unit_test(refuses_line_breaks_in_id_and_type),
        cmocka_unit_test(comments_and_retry_are_no_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
