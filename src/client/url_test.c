/* Addresses that people type, good and bad. */
#include "client/url.h"
#include "tests/support/unit.h"
#include <stdio.h>

static void expect(const char *text, enum mdg_client_kind kind, bool tls, const char *host,
                   unsigned port, const char *header, const char *target)
{
    struct mdg_client_url u;
    assert_int_equal(mdg_client_url_parse(&u, text), 0);
    assert_int_equal(u.kind, kind);
    assert_int_equal(u.tls, tls);
    assert_string_equal(u.host, host);
    assert_int_equal(u.port, port);
    assert_string_equal(u.host_header, header);
    assert_string_equal(u.target, target);
}

static void urls_of_every_kind(void **state)
{
    (void)state;
    expect("ws://localhost", MDG_CLIENT_WS, false, "localhost", 80, "localhost", "/");
    expect("wss://a.example/x?y=1#z", MDG_CLIENT_WS, true, "a.example", 443, "a.example", "/x?y=1");
    expect("ws://h:8080?q", MDG_CLIENT_WS, false, "h", 8080, "h:8080", "/?q");
    expect("ws://[::1]:81/a", MDG_CLIENT_WS, false, "::1", 81, "[::1]:81", "/a");
    expect("https://h/sse?room=a", MDG_CLIENT_HTTP, true, "h", 443, "h", "/sse?room=a");
    expect("sse://h:81/sse", MDG_CLIENT_HTTP, false, "h", 81, "h:81", "/sse");
    expect("tcp://1.2.3.4:5", MDG_CLIENT_LINES, false, "1.2.3.4", 5, "1.2.3.4:5", "/");
    expect("tls://h:6", MDG_CLIENT_LINES, true, "h", 6, "h:6", "/");
    expect("udp://[::1]:9", MDG_CLIENT_UDP, false, "::1", 9, "[::1]:9", "/");
    expect("sockjs://h:7/echo", MDG_CLIENT_WS, false, "h", 7, "h:7", "/echo");
    expect("sockjss://h/echo", MDG_CLIENT_WS, true, "h", 443, "h", "/echo");
    expect("sockjs+xhr://h:7/echo", MDG_CLIENT_XHR, false, "h", 7, "h:7", "/echo");
    expect("sockjs+xhrs://h/echo", MDG_CLIENT_XHR, true, "h", 443, "h", "/echo");
    expect("poll://h:7/poll?room=a", MDG_CLIENT_POLL, false, "h", 7, "h:7", "/poll?room=a");
    expect("stomp://h/topic/a", MDG_CLIENT_BYTES, false, "h", 61613, "h", "/topic/a");
    expect("sio://h:7/chat", MDG_CLIENT_WS, false, "h", 7, "h:7", "/chat");
    expect("eio+polls://h", MDG_CLIENT_EIO_POLL, true, "h", 443, "h", "/");
    struct mdg_client_url u;
    for (const char *const *name = mdg_client_schemes; strcmp(*name, "unix") != 0; name++) {
        char text[64];
        snprintf(text, sizeof text, "%s://h:1/x", *name);
        assert_int_equal(mdg_client_url_parse(&u, text), 0);
    }
    assert_int_equal(mdg_client_url_parse(&u, "sockjs://h/echo"), 0);
    assert_int_equal(u.layer, MDG_CLIENT_SOCKJS);
    assert_int_equal(mdg_client_url_parse(&u, "WS://h/echo"), 0); /* RFC 3986 3.1 */
    assert_int_equal(u.layer, MDG_CLIENT_NONE);
    assert_int_equal(mdg_client_url_parse(&u, "unix:/run/madang.sock"), 0);
    assert_string_equal(u.unix_path, "/run/madang.sock");
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "localhost:80",    "ws://",       "ws://:80",
                                      "ws://h:0",   "ws://h:65536",    "ws://h:x",    "tcp://h",
                                      "ws://[::1",  "ws://[::1]x",     "ws://u@h/",   "unix:",
                                      "ws://h/a b", "ws://h/\r\nX: y", "ws://h h:80/"};
    struct mdg_client_url u;
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        if (mdg_client_url_parse(&u, bad[i]) != MDG_E_SYNTAX)
            fail_msg("%s was taken", bad[i]);
    }
    assert_int_equal(mdg_client_url_parse(&u, "gopher://h:70/"), MDG_E_UNSUPPORTED);
}

static void proxies_and_those_who_need_none(void **state)
{
    (void)state;
    struct mdg_client_proxy p;
    assert_int_equal(mdg_client_proxy_parse(&p, "http://me:pa@ss@proxy:8888/"), 0);
    assert_string_equal(p.host, "proxy");
    assert_string_equal(p.credentials, "me:pa@ss");
    assert_int_equal(p.port, 8888);
    assert_int_equal(mdg_client_proxy_parse(&p, "proxy:1"), 0);
    assert_string_equal(p.credentials, "");
    assert_int_equal(mdg_client_proxy_parse(&p, "socks5://h:1"), MDG_E_UNSUPPORTED);
    assert_true(mdg_client_proxy_excepts("a.example, b.example", "b.example"));
    assert_true(mdg_client_proxy_excepts(".example", "x.Example"));
    assert_true(mdg_client_proxy_excepts("example", "x.example"));
    assert_false(mdg_client_proxy_excepts("example", "xexample"));
    assert_false(mdg_client_proxy_excepts("", "h"));
    assert_true(mdg_client_proxy_excepts("*", "h"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_of_every_kind),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(proxies_and_those_who_need_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
