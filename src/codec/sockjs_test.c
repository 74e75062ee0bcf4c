#include "codec/sockjs.h"
#include "tests/support/unit.h"
#include <stdlib.h>

static void check_url(const char *path, enum mdg_sockjs_endpoint endpoint, const char *session)
{
    struct mdg_sockjs_url url = mdg_sockjs_url(mdg_slice_str(path));
    assert_int_equal(url.endpoint, endpoint);
    assert_true(mdg_slice_eq(url.session, mdg_slice_str(session)));
}

static void knows_every_url(void **state)
{
    (void)state;
    check_url("", MDG_SOCKJS_GREETING, "");
    check_url("/", MDG_SOCKJS_GREETING, "");
    check_url("/info", MDG_SOCKJS_INFO, "");
    check_url("/info/", MDG_SOCKJS_INFO, "");
    check_url("/websocket", MDG_SOCKJS_RAW_WEBSOCKET, "");
    check_url("/000/abc/websocket", MDG_SOCKJS_WEBSOCKET, "abc");
    check_url("/000/abc/xhr", MDG_SOCKJS_XHR, "abc");
    check_url("/000/abc/xhr/", MDG_SOCKJS_XHR, "abc");
    check_url("/_/_/xhr_send", MDG_SOCKJS_XHR_SEND, "_");
    check_url("/1/x/xhr_streaming", MDG_SOCKJS_XHR_STREAMING, "x");
    check_url("/a/b/eventsource", MDG_SOCKJS_EVENTSOURCE, "b");
    check_url("/a/b/htmlfile", MDG_SOCKJS_HTMLFILE, "b");
    check_url("/a/b/jsonp", MDG_SOCKJS_JSONP, "b");
    check_url("/a/b/jsonp_send", MDG_SOCKJS_JSONP_SEND, "b");
    check_url("/abcdefgh_i-j%20/abcdefg_i-j%20/xhr", MDG_SOCKJS_XHR, "abcdefg_i-j%20");
}

static void iframe_pages_may_have_a_version(void **state)
{
    (void)state;
    static const char *const good[] = {"/iframe.html", "/iframe-a.html", "/iframe-.html",
                                       "/iframe-0.1.2.html", "/iframe-0.1.2abc-dirty.2144.html"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(good); i++)
        check_url(good[i], MDG_SOCKJS_IFRAME, "");
    static const char *const bad[] = {"/iframe.htm",    "/iframe",       "/IFRAME.HTML",
                                      "/IFRAME",        "/iframe.HTML",  "/iframe.xml",
                                      "/iframe-/.html", "/iframe-A.html"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        check_url(bad[i], MDG_SOCKJS_NOT_FOUND, "");
}

static void refuses_dots_empty_parts_and_other_depths(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/a",        "/a.html",    "//",         "///",      "/a/a",    "/a/a/",    "///xhr",
        "/a./a/xhr", "/a/a./xhr",  "/./././xhr", "//xhr",    "////xhr", "/a//xhr",  "//a/xhr",
        "/a/a/xhrr", "/a/a/xhr//", "/a/a/b/xhr", "/a/a/XHR", "a/a/xhr", "/a/a/ xhr"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        check_url(bad[i], MDG_SOCKJS_NOT_FOUND, "");
}

static void bounds_the_session_id(void **state)
{
    (void)state;
    char path[MDG_SOCKJS_SESSION_MAX + 32] = "/0/";
    memset(path + 3, 'x', MDG_SOCKJS_SESSION_MAX);
    memcpy(path + 3 + MDG_SOCKJS_SESSION_MAX, "/xhr", 5);
    assert_int_equal(mdg_sockjs_url(mdg_slice_str(path)).endpoint, MDG_SOCKJS_XHR);
    memcpy(path + 3 + MDG_SOCKJS_SESSION_MAX, "x/xhr", 6);
    assert_int_equal(mdg_sockjs_url(mdg_slice_str(path)).endpoint, MDG_SOCKJS_NOT_FOUND);
}

static void check_callback(const char *encoded, const char *expected)
{
    uint8_t out[MDG_SOCKJS_CALLBACK_MAX];
    int len = mdg_sockjs_callback(mdg_slice_str(encoded), out);
    if (!expected) {
        assert_int_equal(len, MDG_E_SYNTAX);
        return;
    }
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, (size_t)len);
}

static void callbacks_are_names(void **state)
{
    (void)state;
    check_callback("%63allback", "callback");
    check_callback("_jp.aZ09-x", "_jp.aZ09-x");
    check_callback("", "");
    static const char *const bad[] = {"%20", "*",   "abc(", "abc%28", "a%",
                                      "a%2", "a+b", "%00",  "a;"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        check_callback(bad[i], NULL);
    check_callback("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    check_callback("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL);
}

static void check_form(const char *text, const char *expected)
{
    uint8_t *body = malloc(strlen(text) + 1);
    assert_non_null(body);
    memcpy(body, text, strlen(text));
    struct mdg_input value, in = {body, strlen(text)};
    bool found = mdg_sockjs_form_field(in, MDG_SLICE_LIT("d"), &value);
    assert_int_equal(found, expected != NULL);
    if (expected)
        assert_true(mdg_slice_eq(mdg_slice(value.data, value.len), mdg_slice_str(expected)));
    free(body);
}

static void forms_are_decoded(void **state)
{
    (void)state;
    check_form("d=%5B%22x%22%5D", "[\"x\"]");
    check_form("i=1&d=a+b%2Bc&e=2", "a b+c");
    check_form("d=", "");
    check_form("d=%&x", "%");
    check_form("", NULL);
    check_form("p=p", NULL);
    check_form("dd=1&d", NULL);
}

static void check_messages(const char *text, bool single, const char *expected)
{
    size_t len = strlen(text);
    uint8_t *body = malloc(len ? len : 1);
    assert_non_null(body);
    memcpy(body, text, len);
    struct mdg_sockjs_messages m;
    char said[512];
    struct mdg_writer w;
    mdg_writer_init(&w, said, sizeof said);
    int err = mdg_sockjs_messages(mdg_slice(body, len), single, &m);
    if (err == MDG_E_NOT_FOUND)
        mdg_write_str(&w, "no payload");
    else if (err)
        mdg_write_str(&w, "broken");
    struct mdg_input message;
    while (err == 0 && mdg_sockjs_next_message(&m, &message)) {
        mdg_write_u8(&w, '<');
        mdg_write_bytes(&w, message.data, message.len);
        mdg_write_u8(&w, '>');
    }
    assert_true(mdg_slice_eq(mdg_slice(said, w.len), mdg_slice_str(expected)));
    free(body);
}

static void reads_arrays_of_messages(void **state)
{
    (void)state;
    check_messages("[\"a\"]", false, "<a>");
    check_messages(" [ \"a\" , \"\\u0041\\n\\\"\" ,\"\"] ", false, "<a><A\n\"><>");
    check_messages("[]", false, "");
    check_messages("[1,{\"a\":[2]},null]", false, "<1><{\"a\":[2]}><null>");
    check_messages("[\"\\ud83d\\ude00 \\ud800\"]", false, "<\xf0\x9f\x98\x80 \xef\xbf\xbd>");
    check_messages("", false, "no payload");
    check_messages("\"a\"", false, "no payload");
    check_messages("{\"a\":1}", false, "no payload");
    check_messages("[\"a", false, "broken");
    check_messages("[\"a\"]]", false, "broken");
    check_messages("[\"\xff\"]", false, "broken");
}

static void websocket_takes_a_message_without_an_array(void **state)
{
    (void)state;
    check_messages("\"a\\tb\"", true, "<a\tb>");
    check_messages("[\"a\"]", true, "<a>");
    check_messages("[\"a", true, "broken");
    check_messages("12", true, "<12>");
}

static void check_frame(const char *text, int type, unsigned code, const char *expected)
{
    size_t len = strlen(text);
    uint8_t *body = malloc(len ? len : 1);
    assert_non_null(body);
    memcpy(body, text, len);
    struct mdg_sockjs_messages m;
    struct mdg_slice reason = {NULL, 0};
    unsigned got = 0;
    assert_int_equal(mdg_sockjs_frame((struct mdg_input){body, len}, &m, &got, &reason), type);
    assert_int_equal(got, code);
    struct mdg_input message;
    if (type == 'a' || type == 'm') {
        assert_true(mdg_sockjs_next_message(&m, &message));
        reason = mdg_slice(message.data, message.len);
    }
    assert_true(mdg_slice_eq(reason, mdg_slice_str(expected)));
    free(body);
}

static void clients_read_frames(void **state)
{
    (void)state;
    check_frame("o", 'o', 0, "");
    check_frame("h", 'h', 0, "");
    check_frame("a[\"x\\n\"]", 'a', 0, "x\n");
    check_frame("m\"x\"", 'm', 0, "x");
    check_frame("c[3000,\"Go\\u0020away!\"]", 'c', 3000, "Go away!");
    check_frame("", MDG_E_SYNTAX, 0, "");
    check_frame("x", MDG_E_SYNTAX, 0, "");
    check_frame("a\"x\"", MDG_E_SYNTAX, 0, "");
    check_frame("m[\"x\"]", MDG_E_SYNTAX, 0, "");
    check_frame("c[3000]", MDG_E_SYNTAX, 0, "");
    check_frame("c[\"a\",\"b\"]", MDG_E_SYNTAX, 0, "");
    check_frame("c", MDG_E_SYNTAX, 0, "");
}

static void info_says_what_the_client_needs(void **state)
{
    (void)state;
    char text[256];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_info(&w, true, false, 4294967295u);
    assert_true(mdg_slice_eq(mdg_slice(text, w.len),
                             MDG_SLICE_LIT("{\"websocket\":true,\"origins\":[\"*:*\"],"
                                           "\"cookie_needed\":false,\"entropy\":4294967295}")));
}

static void the_iframe_page_cannot_be_broken_by_its_url(void **state)
{
    (void)state;
    char text[1024];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text - 1);
    mdg_sockjs_write_iframe(&w, MDG_SLICE_LIT("/s.js?a=1&b=\"><script>"));
    assert_true(mdg_writer_fits(&w));
    text[w.len] = '\0';
    assert_non_null(strstr(text, "src=\"/s.js?a=1&amp;b=&quot;>&lt;script>\"></script>\n"));
    assert_int_equal(memcmp(text, "<!DOCTYPE html>\n<html>\n<head>\n  <meta ", 38), 0);
    assert_string_equal(text + w.len - 15, "</body>\n</html>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_every_url),
        cmocka_unit_test(iframe_pages_may_have_a_version),
        cmocka_unit_test(refuses_dots_empty_parts_and_other_depths),
        cmocka_unit_test(bounds_the_session_id),
        cmocka_unit_test(callbacks_are_names),
        cmocka_unit_test(forms_are_decoded),
        cmocka_unit_test(reads_arrays_of_messages),
        cmocka_unit_test(websocket_takes_a_message_without_an_array),
        cmocka_unit_test(clients_read_frames),
        cmocka_unit_test(info_says_what_the_client_needs),
        cmocka_unit_test(the_iframe_page_cannot_be_broken_by_its_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
