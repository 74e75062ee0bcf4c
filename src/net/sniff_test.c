/* Each protocol is recognised from any cut of its first bytes, and nothing else is taken for it. */
#include "net/sniff.h"
#include "tests/support/unit.h"

/* Decided at exactly `at` bytes, not decided before. */
static void expect(const char *bytes, size_t len, size_t at, enum mdg_sniffed what)
{
    for (size_t n = 0; n < at; n++)
        assert_int_equal(mdg_sniff(mdg_slice(bytes, n)), MDG_SNIFF_MORE);
    for (size_t n = at; n <= len; n++)
        assert_int_equal(mdg_sniff(mdg_slice(bytes, n)), what);
}

#define EXPECT(text, at, what) expect(text, sizeof(text) - 1, at, what)

static void requests_are_http(void **state)
{
    (void)state;
    EXPECT("GET / HTTP/1.1\r\n", 5, MDG_SNIFF_HTTP);
    EXPECT("OPTIONS * HTTP/1.1\r\n", 10, MDG_SNIFF_HTTP);
    EXPECT("GET http://a/ HTTP/1.1", 11, MDG_SNIFF_HTTP);
    EXPECT("POST /x", 6, MDG_SNIFF_HTTP);
    EXPECT("DELETE https://a", 15, MDG_SNIFF_HTTP);
    EXPECT("CONNECT example.com:443 HTTP/1.1", 24, MDG_SNIFF_HTTP);
    EXPECT("CONNECT [::1]:8 HTTP", 16, MDG_SNIFF_HTTP);
}

static void text_that_looks_a_little_like_a_request_is_text(void **state)
{
    (void)state;
    EXPECT("GET well soon\n", 5, MDG_SNIFF_LINE);
    EXPECT("get / HTTP/1.1", 1, MDG_SNIFF_LINE);
    EXPECT("GET *stars*\n", 6, MDG_SNIFF_LINE);
    EXPECT("GET httpd\n", 9, MDG_SNIFF_LINE);
    EXPECT("CONNECT me please\n", 11, MDG_SNIFF_LINE);
    EXPECT("CONNECTED\n", 8, MDG_SNIFF_LINE);
    EXPECT("POSTAL code\n", 5, MDG_SNIFF_LINE);
    EXPECT("hello\n", 1, MDG_SNIFF_LINE);
    EXPECT("\n", 1, MDG_SNIFF_LINE);
    EXPECT("\r\nhi", 3, MDG_SNIFF_LINE);
    EXPECT("PROXY war\n", 7, MDG_SNIFF_LINE);
    EXPECT("STOMPing\n", 6, MDG_SNIFF_LINE);
    EXPECT("\x16\x02", 2, MDG_SNIFF_LINE);
}

static void the_other_protocols_are_told_by_their_heads(void **state)
{
    (void)state;
    EXPECT("\x16\x03\x01\x02\x00\x01", 2, MDG_SNIFF_TLS);
    EXPECT("STOMP\naccept", 6, MDG_SNIFF_STOMP);
    EXPECT("STOMP\r\naccept", 7, MDG_SNIFF_STOMP);
    EXPECT("CONNECT\nx", 8, MDG_SNIFF_STOMP);
    EXPECT("CONNECT\r\nx", 9, MDG_SNIFF_STOMP);
    EXPECT("PROXY TCP4 1.2.3.4", 11, MDG_SNIFF_PROXY);
    EXPECT("PROXY TCP6 ::1", 11, MDG_SNIFF_PROXY);
    EXPECT("PROXY UNKNOWN\r\n", 13, MDG_SNIFF_PROXY);
    EXPECT("\r\n\r\n\0\r\nQUIT\n\x21", 12, MDG_SNIFF_PROXY);
}

static void it_always_decides_in_time(void **state)
{
    (void)state;
    uint8_t bytes[MDG_SNIFF_MAX];
    for (int c = 0; c < 256; c++) {
        memset(bytes, c, sizeof bytes);
        assert_int_not_equal(mdg_sniff(mdg_slice(bytes, sizeof bytes)), MDG_SNIFF_MORE);
        memcpy(bytes, "CONNECT ", 8);
        assert_int_not_equal(mdg_sniff(mdg_slice(bytes, sizeof bytes)), MDG_SNIFF_MORE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_http),
        cmocka_unit_test(text_that_looks_a_little_like_a_request_is_text),
        cmocka_unit_test(the_other_protocols_are_told_by_their_heads),
        cmocka_unit_test(it_always_decides_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
