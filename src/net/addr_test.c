/* Addresses: what is read, what is refused, how they print, what they are counted by. */
#include "net/addr.h"
#include "tests/support/unit.h"

static const char *text_of(const struct mdg_addr *a)
{
    static char text[MDG_ADDR_TEXT_MAX + 1];
    struct mdg_writer w;
    mdg_writer_init(&w, text, MDG_ADDR_TEXT_MAX);
    mdg_addr_write(&w, a);
    assert_true(mdg_writer_fits(&w));
    text[w.len] = 0;
    return text;
}

static void addresses_with_ports_are_read_and_printed(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"1.2.3.4:80", "1.2.3.4:80"},
        {"[::1]:8080", "[::1]:8080"},
        {":0", "[::]:0"},
        {"*:65535", "[::]:65535"},
        {"[2001:db8::a]:1", "[2001:db8::a]:1"},
        {"[::ffff:1.2.3.4]:5", "1.2.3.4:5"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        struct mdg_addr a;
        assert_int_equal(mdg_addr_parse(&a, mdg_slice_str(cases[i][0])), 0);
        assert_string_equal(text_of(&a), cases[i][1]);
    }
}

static void malformed_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",        "80",          "1.2.3.4",       "1.2.3.4:",
                                        "1.2.3:1", "::1:80",      "1.2.3.4:65536", "1.2.3.4:-1",
                                        "[::1:80", "[1.2.3.4]:1", "localhost:80",  "1.2.3.4:8x"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        struct mdg_addr a;
        assert_int_equal(mdg_addr_parse(&a, mdg_slice_str(cases[i])), MDG_E_SYNTAX);
    }
}

static void unix_paths_fit_or_are_refused(void **state)
{
    (void)state;
    struct mdg_addr a;
    uint8_t longest[108];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(mdg_addr_unix(&a, MDG_SLICE_LIT("/tmp/s")), 0);
    assert_string_equal(text_of(&a), "unix:/tmp/s");
    assert_int_equal(mdg_addr_unix(&a, MDG_SLICE_LIT("@abs")), 0);
    assert_string_equal(text_of(&a), "unix:@abs");
    assert_int_equal(mdg_addr_unix(&a, mdg_slice(longest, 107)), 0);
    assert_int_equal(mdg_addr_unix(&a, mdg_slice(longest, 108)), MDG_E_TOO_BIG);
    assert_int_equal(mdg_addr_unix(&a, MDG_SLICE_LIT("")), MDG_E_TOO_BIG);
    a.len = sizeof(sa_family_t);
    assert_string_equal(text_of(&a), "unix:");
}

static void clients_are_counted_by_ipv4_address_and_ipv6_network(void **state)
{
    (void)state;
    struct mdg_addr a, b;
    uint8_t x[MDG_ADDR_KEY_MAX], y[MDG_ADDR_KEY_MAX];
    assert_int_equal(mdg_addr_parse(&a, MDG_SLICE_LIT("1.2.3.4:80")), 0);
    assert_int_equal(mdg_addr_parse(&b, MDG_SLICE_LIT("[::ffff:1.2.3.4]:81")), 0);
    assert_int_equal(mdg_addr_client_key(&a, x), 16);
    assert_int_equal(mdg_addr_client_key(&b, y), 16);
    assert_memory_equal(x, y, 16);
    assert_false(mdg_addr_eq(&a, &b));
    mdg_addr_set_port(&b, 80);
    assert_true(mdg_addr_eq(&a, &b));
    assert_int_equal(mdg_addr_parse(&a, MDG_SLICE_LIT("[2001:db8:0:1::5]:80")), 0);
    assert_int_equal(mdg_addr_parse(&b, MDG_SLICE_LIT("[2001:db8:0:1:ffff::6]:80")), 0);
    assert_int_equal(mdg_addr_client_key(&a, x), 8);
    assert_int_equal(mdg_addr_client_key(&b, y), 8);
    assert_memory_equal(x, y, 8);
    assert_int_equal(mdg_addr_key(&a, x), 18);
    assert_int_equal(mdg_addr_unix(&a, MDG_SLICE_LIT("@abs")), 0);
    assert_int_equal(mdg_addr_client_key(&a, x), 0);
}

static bool cidr_has(const char *network, const char *ip)
{
    struct mdg_cidr c;
    struct mdg_addr a;
    assert_int_equal(mdg_cidr_parse(&c, mdg_slice_str(network)), 0);
    assert_int_equal(mdg_addr_parse_ip(&a, mdg_slice_str(ip), 1), 0);
    return mdg_cidr_has(&c, &a);
}

static void networks_hold_their_addresses_and_no_others(void **state)
{
    (void)state;
    assert_true(cidr_has("10.0.0.0/8", "10.255.0.1"));
    assert_false(cidr_has("10.0.0.0/8", "11.0.0.1"));
    assert_true(cidr_has("10.1.128.0/17", "::ffff:10.1.200.1"));
    assert_false(cidr_has("10.1.128.0/17", "10.1.127.255"));
    assert_true(cidr_has("127.0.0.1", "127.0.0.1"));
    assert_false(cidr_has("127.0.0.1", "127.0.0.2"));
    assert_true(cidr_has("0.0.0.0/0", "9.9.9.9"));
    assert_false(cidr_has("0.0.0.0/0", "2001:db8::1"));
    assert_true(cidr_has("fd00::/8", "fdff::1"));
    assert_false(cidr_has("fd00::/8", "fe00::1"));
    struct mdg_cidr c;
    assert_int_equal(mdg_cidr_parse(&c, MDG_SLICE_LIT("10.0.0.0/33")), MDG_E_SYNTAX);
    assert_int_equal(mdg_cidr_parse(&c, MDG_SLICE_LIT("10.0.0.0/")), MDG_E_SYNTAX);
    assert_int_equal(mdg_cidr_parse(&c, MDG_SLICE_LIT("ten/8")), MDG_E_SYNTAX);
}

static void loopback_is_told_from_the_rest(void **state)
{
    (void)state;
    struct mdg_addr a;
    static const char *const inside[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
    static const char *const outside[] = {"128.0.0.1", "::2", "2001:db8::1"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(inside); i++) {
        assert_int_equal(mdg_addr_parse_ip(&a, mdg_slice_str(inside[i]), 0), 0);
        assert_true(mdg_addr_is_loopback(&a));
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(outside); i++) {
        assert_int_equal(mdg_addr_parse_ip(&a, mdg_slice_str(outside[i]), 0), 0);
        assert_false(mdg_addr_is_loopback(&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_with_ports_are_read_and_printed),
        cmocka_unit_test(malformed_addresses_are_refused),
        cmocka_unit_test(unix_paths_fit_or_are_refused),
        cmocka_unit_test(clients_are_counted_by_ipv4_address_and_ipv6_network),
        cmocka_unit_test(networks_hold_their_addresses_and_no_others),
        cmocka_unit_test(loopback_is_told_from_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
