/* Heads, dates and chunks are written as RFC 9110 and 9112 have them. */
#include "codec/http_write.h"
#include "tests/support/unit.h"

static void dates_are_imf_fixdates(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_s;
        const char *text;
    } dates[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1709251199, "Thu, 29 Feb 2024 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {1767225599, "Wed, 31 Dec 2025 23:59:59 GMT"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(dates); i++) {
        char out[MDG_HTTP_DATE_LEN];
        struct mdg_writer w;
        mdg_writer_init(&w, out, sizeof out);
        mdg_http_write_date(&w, dates[i].unix_s);
        assert_int_equal(w.len, MDG_HTTP_DATE_LEN);
        assert_memory_equal(out, dates[i].text, sizeof out);
    }
}

static void chunk_heads_have_no_leading_zero(void **state)
{
    (void)state;
    static const struct {
        uint64_t len;
        const char *text;
    } heads[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {0xabcde, "abcde\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < MDG_ARRAY_LEN(heads); i++) {
        uint8_t out[MDG_HTTP_CHUNK_HEAD_MAX];
        size_t n = mdg_http_chunk_head(out, heads[i].len);
        assert_int_equal(n, strlen(heads[i].text));
        assert_memory_equal(out, heads[i].text, n);
    }
}

static void status_lines_and_fields(void **state)
{
    (void)state;
    char out[100];
    struct mdg_writer w;
    mdg_writer_init(&w, out, sizeof out);
    mdg_http_write_status(&w, 431);
    mdg_http_write_field(&w, MDG_SLICE_LIT("A"), MDG_SLICE_LIT("b c"));
    static const char want[] = "HTTP/1.1 431 Request Header Fields Too Large\r\nA: b c\r\n";
    assert_int_equal(w.len, sizeof want - 1);
    assert_memory_equal(out, want, w.len);
}

static void a_value_cannot_split_a_response(void **state)
{
    (void)state;
    assert_true(mdg_http_field_valid(MDG_SLICE_LIT("A-b"), MDG_SLICE_LIT("c\td \xec")));
    assert_false(mdg_http_field_valid(MDG_SLICE_LIT("A b"), MDG_SLICE_LIT("c")));
    assert_false(mdg_http_field_valid(MDG_SLICE_LIT(""), MDG_SLICE_LIT("c")));
    assert_false(mdg_http_field_valid(MDG_SLICE_LIT("A"), MDG_SLICE_LIT("c\r\nX: y")));
    assert_false(mdg_http_field_valid(MDG_SLICE_LIT("A"), MDG_SLICE_LIT("c\n")));
    assert_false(mdg_http_field_valid(MDG_SLICE_LIT("A"), MDG_SLICE_LIT("c\0")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_imf_fixdates),
        cmocka_unit_test(chunk_heads_have_no_leading_zero),
        cmocka_unit_test(status_lines_and_fields),
        cmocka_unit_test(a_value_cannot_split_a_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
