/* HTTP heads and bodies: what is understood, what is refused and why, in every cut. */
#include "codec/http.h"
#include "codec/http_body.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

static const struct mdg_http_limits limits = {4096, 200, 20};

static void say_slice(struct mdg_test_out *out, struct mdg_slice s)
{
    mdg_test_say(out, "%.*s", (int)s.len, s.len ? (const char *)s.data : "");
}

static void say_span(struct mdg_test_out *out, const char *what, const uint8_t *head,
                     struct mdg_http_span s)
{
    mdg_test_say(out, " %s=", what);
    say_slice(out, mdg_http_span_slice(head, s));
}

static void say_head(struct mdg_test_out *out, const struct mdg_http_head *h, const uint8_t *data)
{
    static const char *const framings[] = {"", " length", " chunked", " to-the-end"};
    if (h->kind == MDG_HTTP_REQUEST) {
        say_slice(out, mdg_http_span_slice(data, h->method_span));
        say_span(out, "path", data, h->path);
        if (h->has_query)
            say_span(out, "query", data, h->query);
        if (h->host.len)
            say_span(out, "host", data, h->host);
    } else {
        mdg_test_say(out, "%u", h->status);
        say_span(out, "reason", data, h->reason);
    }
    for (unsigned i = 0; i < h->field_count; i++) {
        mdg_test_say(out, " [");
        say_slice(out, mdg_http_span_slice(data, h->fields[i].name));
        mdg_test_say(out, "|");
        say_slice(out, mdg_http_span_slice(data, h->fields[i].value));
        mdg_test_say(out, "]");
    }
    mdg_test_say(out, "%s%s%s%s", framings[h->framing], h->keep_alive ? "" : " close",
                 h->upgrade ? " upgrade" : "", h->expect_continue ? " continue" : "");
}

/* False once the body is over, well or not. */
static bool decode_some(struct mdg_http_body *b, struct mdg_input *in,
                        struct mdg_test_pieces *pieces, struct mdg_test_out *out)
{
    struct mdg_slice data;
    int event = mdg_http_body_next(b, in, &data);
    if (event == MDG_HTTP_BODY_DATA) {
        say_slice(out, data); /* without marks: pieces differ by the cut */
    } else if (event == MDG_HTTP_BODY_MORE) {
        *in = mdg_test_next_piece(pieces, 0);
        if (!in->data)
            mdg_test_say(out, " more");
        return in->data != NULL;
    } else if (event == MDG_HTTP_BODY_END) {
        size_t left = in->len;
        while ((*in = mdg_test_next_piece(pieces, 0)).data)
            left += in->len;
        mdg_test_say(out, " end left=%zu", left);
        return false;
    } else {
        mdg_test_say(out, " FAIL %s", mdg_http_fail_label(b->fail));
        return false;
    }
    return true;
}

/* A head and its body; arg: the kind. */
static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    struct mdg_http_head *h = malloc(sizeof *h);
    assert_non_null(h);
    mdg_http_head_init(h, *(enum mdg_http_kind *)arg);
    size_t keep = 0;
    int n = 0;
    while (n == 0) {
        struct mdg_input in = mdg_test_next_piece(pieces, keep);
        if (!in.data)
            break;
        n = mdg_http_head_parse(h, &limits, in.data, in.len);
        keep = in.len;
        if (n > 0) {
            say_head(out, h, in.data);
            struct mdg_http_body b;
            enum mdg_http_framing f = h->kind == MDG_HTTP_REQUEST
                                          ? (enum mdg_http_framing)h->framing
                                          : mdg_http_response_framing(h, MDG_HTTP_GET);
            mdg_http_body_init(&b, f, h->content_length, 64);
            mdg_test_say(out, " {");
            struct mdg_input rest = {in.data + n, in.len - (size_t)n};
            while (decode_some(&b, &rest, pieces, out))
                ;
            mdg_test_say(out, "}");
        }
    }
    if (n < 0)
        mdg_test_say(out, "FAIL %u %s", mdg_http_fail_status(h->fail),
                     mdg_http_fail_label(h->fail));
    else if (n == 0)
        mdg_test_say(out, "MORE");
    free(h);
}

struct message {
    struct mdg_slice bytes;
    const char *expected;
};
#define M(bytes, expected)                                                                         \
    {                                                                                              \
        {(const uint8_t *)(bytes), sizeof(bytes) - 1}, (expected)                                  \
    }
#define H "Host: a\r\n"

static void expect_all(const struct message *m, size_t n, enum mdg_http_kind kind)
{
    for (size_t i = 0; i < n; i++)
        mdg_test_every_cut(decode, &kind, m[i].bytes, m[i].expected);
}

static void requests_are_understood(void **state)
{
    (void)state;
    static const struct message good[] = {
        M("GET / HTTP/1.1\r\n" H "\r\n", "GET path=/ host=a [Host|a] { end left=0}"),
        M("\r\nGET /a?b=c?d HTTP/1.1\r\nhOsT:a:80 \t\r\nX:\r\nY: \r\nZ:\t1 2\t\r\n\r\nGET",
          "GET path=/a query=b=c?d host=a:80 [hOsT|a:80] [X|] [Y|] [Z|1 2] { end left=3}"),
        M("GET / HTTP/1.0\r\n\r\n", "GET path=/ close { end left=0}"),
        M("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
          "GET path=/ [Connection|keep-alive] { end left=0}"),
        M("GET / HTTP/1.1\r\n" H "Connection: foo, Close\r\n\r\n",
          "GET path=/ host=a [Host|a] [Connection|foo, Close] close { end left=0}"),
        M("BREW /pot HTTP/1.1\r\n" H "\r\n", "BREW path=/pot host=a [Host|a] { end left=0}"),
        M("POST /p HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcd",
          "POST path=/p host=a [Host|a] [Content-Length|3] length {abc end left=1}"),
        M("POST /p HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\nabcd",
          "POST path=/p host=a [Host|a] [Content-Length|0] { end left=4}"),
        M("POST /p HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"
          "3\r\nabc\r\n0a;x=y;z;q=\"a\\\";b\"\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET",
          "POST path=/p host=a [Host|a] [Transfer-Encoding|Chunked] chunked "
          "{abc0123456789 end left=3}"),
        M("GET HTTP://b:8080/x?y HTTP/1.1\r\n" H "\r\n",
          "GET path=/x query=y host=b:8080 [Host|a] { end left=0}"),
        M("GET http://b HTTP/1.1\r\n" H "\r\n", "GET path=/ host=b [Host|a] { end left=0}"),
        M("GET https://[::1]?q HTTP/1.1\r\n" H "\r\n",
          "GET path=/ query=q host=[::1] [Host|a] { end left=0}"),
        M("OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS path=* host=a [Host|a] { end left=0}"),
        M("CONNECT b:443 HTTP/1.1\r\n" H "\r\n", "CONNECT path= host=b:443 [Host|a] { end left=0}"),
        M("GET /c HTTP/1.1\r\n" H "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\nxy",
          "GET path=/c host=a [Host|a] [Upgrade|websocket] [Connection|keep-alive, Upgrade] upgrade"
          " { end left=2}"),
        M("PUT /c HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
          "PUT path=/c host=a [Host|a] [Expect|100-Continue] [Content-Length|1] length continue"
          " { more}"),
        M("GET /\xec HTTP/1.1\r\n" H "\r\n", "FAIL 400 TARGET"),
        M("GET / HTTP/1.1\r\n" H "X: \xec\x95\x88\r\n\r\n",
          "GET path=/ host=a [Host|a] [X|\xec\x95\x88] { end left=0}"),
        M("GET / HTTP/1.1\r\nHo", "MORE"),
    };
    expect_all(good, MDG_ARRAY_LEN(good), MDG_HTTP_REQUEST);
}

/* PITFALLS: each shape has its own reason, because tests and logs tell them apart. */
static void malformed_requests_are_refused_each_for_its_reason(void **state)
{
    (void)state;
    static const struct message bad[] = {
        M("GET /\r\n\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET\r\n\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET / \r\n", "FAIL 400 REQUEST_LINE"),
        M("GET  / HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET /  HTTP/1.1\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET /a b HTTP/1.1\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET / HTTP/1.1 \r\n", "FAIL 400 REQUEST_LINE"),
        M("GET / http/1.1\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET / HTTP/1.10\r\n", "FAIL 400 REQUEST_LINE"),
        M("GET / HTTP/11\r\n", "FAIL 400 REQUEST_LINE"),
        M(" GET / HTTP/1.1\r\n", "FAIL 400 METHOD"),
        M("G(T / HTTP/1.1\r\n", "FAIL 400 METHOD"),
        M("GET\t/ HTTP/1.1\r\n", "FAIL 400 METHOD"),
        M("\x16\x03\x01 / HTTP/1.1\r\n", "FAIL 400 METHOD"),
        M("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\n", "FAIL 501 METHOD_LONG"),
        M("GET a HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET /#f HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET /a\\..\\b HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET /\x01 HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET ftp://a/ HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET http:///x HTTP/1.1\r\n", "FAIL 400 TARGET"),
        M("GET http://u@a/ HTTP/1.1\r\n", "FAIL 400 USERINFO"),
        M("GET * HTTP/1.1\r\n", "FAIL 400 TARGET_FORM"),
        M("CONNECT / HTTP/1.1\r\n", "FAIL 400 TARGET_FORM"),
        M("CONNECT a HTTP/1.1\r\n", "FAIL 400 TARGET_FORM"),
        M("CONNECT a: HTTP/1.1\r\n", "FAIL 400 TARGET_FORM"),
        M("GET / HTTP/1.2\r\n", "FAIL 505 VERSION"),
        M("GET / HTTP/0.9\r\n", "FAIL 505 VERSION"),
        M("PRI * HTTP/2.0\r\n", "FAIL 505 VERSION"),
        M("GET / HTTP/1.1\n", "FAIL 400 BARE_LF"),
        M("GET / HTTP/1.1\r\r\n", "FAIL 400 BARE_CR"),
        M("GET / HTTP/1.1\r\n" H "\n", "FAIL 400 BARE_LF"),
        M("GET / HTTP/1.1\r\n" H "\rX", "FAIL 400 BARE_CR"),
        M("GET / HTTP/1.1\r\nHost: a\n", "FAIL 400 BARE_LF"),
        M("GET / HTTP/1.1\r\nHost: a\rb\r\n", "FAIL 400 BARE_CR"),
        M("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n", "FAIL 400 FOLD"),
        M("GET / HTTP/1.1\r\n X: a\r\n", "FAIL 400 FOLD"),
        M("GET / HTTP/1.1\r\nHost : a\r\n", "FAIL 400 SPACE_COLON"),
        M("GET / HTTP/1.1\r\nHost\r\n", "FAIL 400 NO_COLON"),
        M("GET / HTTP/1.1\r\n: a\r\n", "FAIL 400 NO_NAME"),
        M("GET / HTTP/1.1\r\nX\x80: a\r\n", "FAIL 400 NAME"),
        M("GET / HTTP/1.1\r\nX@: a\r\n", "FAIL 400 NAME"),
        M("GET / HTTP/1.1\r\nX: a\0b\r\n", "FAIL 400 VALUE"),
        M("GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaa\x7f\r\n", "FAIL 400 VALUE"),
        M("GET / HTTP/1.1\r\nTransfer-Encoding: \x0b"
          "chunked\r\n",
          "FAIL 400 VALUE"),
        M("GET / HTTP/1.1\r\n\r\n", "FAIL 400 HOST_NONE"),
        M("GET / HTTP/1.1\r\n" H H "\r\n", "FAIL 400 HOST_MANY"),
        M("GET / HTTP/1.1\r\nHost:\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "FAIL 400 HOST"),
        M("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "FAIL 400 HOST"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 1 \t\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length:\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n", "FAIL 400 LENGTH"),
        M("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "FAIL 400 LENGTH_MANY"),
        M("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
          "FAIL 400 LENGTH_CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
          "FAIL 400 LENGTH_CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
          "FAIL 400 CODING_MANY"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", "FAIL 501 CODING_UNKNOWN"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding:\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n", "FAIL 400 CODING"),
        M("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", "FAIL 400 CODING_OLD"),
        M("POST / HTTP/1.1\r\nExpect: 200-ok\r\n", "FAIL 417 EXPECT"),
    };
    expect_all(bad, MDG_ARRAY_LEN(bad), MDG_HTTP_REQUEST);
}

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_OUT "POST path=/ host=a [Host|a] [Transfer-Encoding|chunked] chunked "

static void malformed_chunks_and_trailers_are_refused(void **state)
{
    (void)state;
    static const struct message bad[] = {
        M(CHUNKED "\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "g\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "0x1\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED " 1\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "1 \r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "-1\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "0000000000000001\r\n", CHUNKED_OUT "{ FAIL CHUNK_SIZE}"),
        M(CHUNKED "fffffffffffffff\r\n", CHUNKED_OUT "{ FAIL BODY_BIG}"),
        M(CHUNKED "1\n", CHUNKED_OUT "{ FAIL CHUNK_LF}"),
        M(CHUNKED "1\r\r\n", CHUNKED_OUT "{ FAIL CHUNK_LF}"),
        M(CHUNKED "1;\r\n", CHUNKED_OUT "{ FAIL CHUNK_EXT}"),
        M(CHUNKED "1;a\n", CHUNKED_OUT "{ FAIL CHUNK_LF}"),
        M(CHUNKED "1;a=\r\n", CHUNKED_OUT "{ FAIL CHUNK_EXT}"),
        M(CHUNKED "1;a=\"\r\n", CHUNKED_OUT "{ FAIL CHUNK_EXT}"),
        M(CHUNKED "1;a=\"b\"c\r\n", CHUNKED_OUT "{ FAIL CHUNK_EXT}"),
        M(CHUNKED "1\r\nab\r\n", CHUNKED_OUT "{a FAIL CHUNK_END}"),
        M(CHUNKED "1\r\na\n", CHUNKED_OUT "{a FAIL CHUNK_END}"),
        M(CHUNKED "0\r\n X: y\r\n\r\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "0\r\nX : y\r\n\r\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "0\r\nX: y\n\r\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "0\r\nTransfer-encoding: chunked\r\n\r\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "0\r\nHOST: b\r\n\r\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "0\r\nHosts: b\r\nhos: c\r\n\r\n", CHUNKED_OUT "{ end left=0}"),
        M(CHUNKED "0\r\n\n", CHUNKED_OUT "{ FAIL TRAILER}"),
        M(CHUNKED "40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n"
                  "1\r\nx\r\n",
          CHUNKED_OUT
          "{0123456789012345678901234567890123456789012345678901234567890123 FAIL BODY_BIG}"),
    };
    expect_all(bad, MDG_ARRAY_LEN(bad), MDG_HTTP_REQUEST);
}

static void responses_are_understood_and_refused(void **state)
{
    (void)state;
    static const struct message all[] = {
        M("HTTP/1.1 200 OK\r\n\r\nabc", "200 reason=OK to-the-end {abc more}"),
        M("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nabc",
          "200 reason= [Content-Length|1] length {a end left=2}"),
        M("HTTP/1.0 404 \r\nTransfer-Encoding: chunked\r\n", "FAIL 400 CODING_OLD"),
        M("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nab",
          "101 reason=Switching Protocols [Connection|upgrade] [Upgrade|websocket] to-the-end"
          " upgrade { end left=2}"),
        M("HTTP/1.1 20 OK\r\n", "FAIL 502 STATUS_LINE"),
        M("HTTP/1.1 2000 OK\r\n", "FAIL 502 STATUS_LINE"),
        M("HTTP/1.1 600 X\r\n", "FAIL 502 STATUS_LINE"),
        M("HTTP/2.0 200 X\r\n", "FAIL 505 VERSION"),
        M("\r\nHTTP/1.1 200 OK\r\n", "FAIL 502 STATUS_LINE"),
        M("HTTP/1.1 200 O\x01\r\n", "FAIL 502 STATUS_LINE"),
        M("HTTP/1.1 200 OK\n", "FAIL 400 BARE_LF"),
    };
    expect_all(all, MDG_ARRAY_LEN(all), MDG_HTTP_RESPONSE);
}

static void every_limit_has_its_status_at_its_exact_size(void **state)
{
    (void)state;
    char text[8192];
    enum mdg_http_kind kind = MDG_HTTP_REQUEST;
    struct mdg_test_out *out = malloc(sizeof *out);
    assert_non_null(out);
    for (int over = 0; over < 2; over++) {
        int n = snprintf(text, sizeof text, "GET /%0*d HTTP/1.1\r\n" H "\r\n", 199 + over, 0);
        mdg_test_every_cut(decode, &kind, mdg_slice(text, (size_t)n),
                           over ? "FAIL 414 TARGET_LONG" : NULL);
        n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H);
        for (int i = 0; i < 19 + over; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "X:\r\n");
        n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
        mdg_test_every_cut(decode, &kind, mdg_slice(text, (size_t)n),
                           over ? "FAIL 431 FIELDS_MANY" : NULL);
        n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H "X: %0*d\r\n\r\n",
                     (int)(4096 - sizeof "GET / HTTP/1.1\r\n" H "X: \r\n\r\n" + 1) + over, 0);
        assert_int_equal(n, 4096 + over);
        mdg_test_every_cut(decode, &kind, mdg_slice(text, (size_t)n),
                           over ? "FAIL 431 HEAD_BIG" : NULL);
        memset(text, 0, sizeof text);
        for (n = 0; n < 4096 + over; n += 2)
            memcpy(text + n, "\r\n", 2);
        if (over)
            mdg_test_every_cut(decode, &kind, mdg_slice(text, (size_t)n), "FAIL 431 HEAD_BIG");
    }
    free(out);
}

static void fields_and_tokens_are_found_in_any_case(void **state)
{
    (void)state;
    static const uint8_t text[] = "GET / HTTP/1.1\r\nHost: a\r\nUPGRADE: h2c, WebSocket\r\n"
                                  "upgrade: \"x, y\", z\r\n\r\n";
    struct mdg_http_head h;
    mdg_http_head_init(&h, MDG_HTTP_REQUEST);
    assert_int_equal(mdg_http_head_parse(&h, &limits, text, sizeof text - 1), sizeof text - 1);
    assert_true(mdg_slice_eq(mdg_http_head_find(&h, text, MDG_SLICE_LIT("upgrade")),
                             MDG_SLICE_LIT("h2c, WebSocket")));
    assert_null(mdg_http_head_find(&h, text, MDG_SLICE_LIT("cookie")).data);
    struct mdg_slice upgrade = MDG_SLICE_LIT("upgrade");
    assert_true(mdg_http_head_has_token(&h, text, upgrade, MDG_SLICE_LIT("websocket")));
    assert_true(mdg_http_head_has_token(&h, text, upgrade, MDG_SLICE_LIT("Z")));
    assert_true(mdg_http_head_has_token(&h, text, upgrade, MDG_SLICE_LIT("\"x, y\"")));
    assert_false(mdg_http_head_has_token(&h, text, upgrade, MDG_SLICE_LIT("y")));
}

static void a_refused_head_stays_refused(void **state)
{
    (void)state;
    struct mdg_http_head h;
    mdg_http_head_init(&h, MDG_HTTP_REQUEST);
    assert_int_equal(mdg_http_head_parse(&h, &limits, (const uint8_t *)"GET\r\n", 5), MDG_E_PROTO);
    assert_int_equal(mdg_http_head_parse(&h, &limits, (const uint8_t *)"GET /", 5), MDG_E_PROTO);
    assert_int_equal(h.fail, MDG_HTTP_FAIL_REQUEST_LINE);
}

static void every_refusal_has_a_status_and_a_sentence(void **state)
{
    (void)state;
    for (unsigned i = 1; i < MDG_HTTP_FAIL_COUNT; i++) {
        assert_in_range(mdg_http_fail_status(i), 400, 505);
        assert_true(strlen(mdg_http_fail_text(i)) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_understood),
        cmocka_unit_test(malformed_requests_are_refused_each_for_its_reason),
        cmocka_unit_test(malformed_chunks_and_trailers_are_refused),
        cmocka_unit_test(responses_are_understood_and_refused),
        cmocka_unit_test(every_limit_has_its_status_at_its_exact_size),
        cmocka_unit_test(fields_and_tokens_are_found_in_any_case),
        cmocka_unit_test(a_refused_head_stays_refused),
        cmocka_unit_test(every_refusal_has_a_status_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
