/* Embedded files: validators, compression, ranges, cache headers. */
#include "transport/http_world.h"
#include "transport/static.h"

#define LIT(text)                                                                                  \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

static const struct mdg_header policy = {LIT("Content-Security-Policy"), LIT("default-src 'self'")};
static const struct mdg_static_file page = {
    .type = "text/html; charset=utf-8",
    .etag = "\"t1\"",
    .bytes = LIT("<p>plain</p>"),
    .gzip = LIT("packed"),
    .headers = &policy,
    .header_count = 1,
};
static const struct mdg_static_file script = {
    .type = "text/javascript",
    .etag = "\"t2\"",
    .bytes = LIT("x()"),
    .immutable = true,
};

static int serve(struct mdg_exchange *x, void *arg)
{
    bool is_page = mdg_slice_eq(mdg_exchange_path(x), MDG_SLICE_LIT("/page"));
    (void)arg;
    mdg_static_respond(x, is_page ? &page : &script);
    return 0;
}

static const struct mdg_http_handler *route(void *router, struct mdg_exchange *x, void **arg)
{
    static const struct mdg_http_handler handler = {.on_request = serve};
    (void)router;
    (void)x;
    (void)arg;
    return &handler;
}

static int setup(void **state)
{
    struct http_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    http_world_init(w, NULL, route, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    http_world_fini(*state);
    free(*state);
    return 0;
}

#define CACHED "Cache-Control: no-cache\r\nVary: Accept-Encoding\r\n"
#define TYPED                                                                                      \
    "Accept-Ranges: bytes\r\nContent-Type: text/html; charset=utf-8\r\nX-Content-Type-Options: "   \
    "nosniff\r\n"
#define POLICY "Content-Security-Policy: default-src 'self'\r\n"
#define ASK(more) "GET /page HTTP/1.1\r\nHost: a\r\n" more "\r\n"

static void files_come_plain_or_packed(void **state)
{
    struct http_world *w = *state;
    say(w, ASK(""));
    expect(w, "HTTP/1.1 200 OK\r\nETag: \"t1\"\r\n" CACHED TYPED POLICY
              "Content-Length: 12\r\n\r\n<p>plain</p>");
    say(w, ASK("Accept-Encoding: br, GZIP;q=0.5\r\n"));
    expect(w, "HTTP/1.1 200 OK\r\nETag: \"t1-gzip\"\r\n" CACHED TYPED
              "Content-Encoding: gzip\r\n" POLICY "Content-Length: 6\r\n\r\npacked");
    say(w, "HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(w,
           "HTTP/1.1 200 OK\r\nETag: \"t1\"\r\n" CACHED TYPED POLICY "Content-Length: 12\r\n\r\n");
    say(w, GET("/script"));
    expect(w, "HTTP/1.1 200 OK\r\nETag: \"t2\"\r\n"
              "Cache-Control: public, max-age=31536000, immutable\r\n"
              "Accept-Ranges: bytes\r\nContent-Type: text/javascript\r\nX-Content-Type-Options: "
              "nosniff\r\n"
              "Content-Length: 3\r\n\r\nx()");
    say(w, "POST /page HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_memory_equal(w->got, "HTTP/1.1 405 ", 13);
    assert_non_null(strstr(w->got, "Allow: GET, HEAD\r\n"));
}

static void what_the_client_has_is_not_sent_again(void **state)
{
    struct http_world *w = *state;
    static const char not_modified[] =
        "HTTP/1.1 304 Not Modified\r\nETag: \"t1\"\r\n" CACHED POLICY "\r\n";
    say(w, ASK("If-None-Match: \"t1\"\r\n"));
    expect(w, not_modified);
    say(w, ASK("If-None-Match: \"a,b\", W/\"t1-gzip\"\r\n"));
    expect(w, not_modified);
    say(w, ASK("If-None-Match: *\r\n"));
    expect(w, not_modified);
    say(w, ASK("If-None-Match: \"t2\"\r\n"));
    assert_memory_equal(w->got, "HTTP/1.1 200 ", 13);
}

static void expect_status(struct http_world *w, const char *request, unsigned status)
{
    unsigned got;
    say(w, request);
    assert_int_equal(sscanf(w->got, "HTTP/1.1 %u ", &got), 1);
    assert_int_equal(got, status);
    w->len = 0;
}

static void a_part_is_sent_to_who_asks_for_it(void **state)
{
    struct http_world *w = *state;
    say(w, ASK("Range: bytes=3-7\r\n"));
    expect(w, "HTTP/1.1 206 Partial Content\r\nETag: \"t1\"\r\n" CACHED TYPED
              "Content-Range: bytes 3-7/12\r\n" POLICY "Content-Length: 5\r\n\r\nplain");
    say(w, ASK("Range: bytes=-2\r\nAccept-Encoding: gzip\r\n"));
    expect(w, "HTTP/1.1 206 Partial Content\r\nETag: \"t1-gzip\"\r\n" CACHED TYPED
              "Content-Encoding: gzip\r\nContent-Range: bytes 4-5/6\r\n" POLICY
              "Content-Length: 2\r\n\r\ned");
    say(w, ASK("Range: bytes=12-\r\n"));
    expect(w, "HTTP/1.1 416 Range Not Satisfiable\r\nETag: \"t1\"\r\n" CACHED
              "Content-Range: bytes */12\r\n" POLICY "Content-Length: 0\r\n\r\n");
    static const char *const whole[] = {
        "Range: bytes=0-1,3-4\r\n",
        "Range: lines=0-1\r\n",
        "Range: bytes=2-1\r\n",
        "Range: bytes=0-1\r\nIf-Range: \"t2\"\r\n",
        "Range: bytes=0-1\r\nIf-Range: W/\"t1\"\r\n",
        "Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(whole); i++) {
        char request[256];
        snprintf(request, sizeof request, "GET /page HTTP/1.1\r\nHost: a\r\n%s\r\n", whole[i]);
        expect_status(w, request, 200);
    }
    expect_status(w, ASK("Range: bytes=0-1\r\nIf-Range: \"t1\"\r\n"), 206);
    expect_status(w, ASK("Range: bytes=0-1\r\nIf-None-Match: \"t1\"\r\n"), 304);
    expect_status(w, "HEAD /page HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n", 200);
}

static void ranges_are_of_the_bytes_that_there_are(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum mdg_http_range kind;
        uint64_t first, last;
    } cases[] = {
        {"bytes=0-0", MDG_HTTP_RANGE_PART, 0, 0},
        {"Bytes=0-", MDG_HTTP_RANGE_PART, 0, 9},
        {"bytes=9-99", MDG_HTTP_RANGE_PART, 9, 9},
        {"bytes=0-99999999999999999999", MDG_HTTP_RANGE_PART, 0, 9},
        {"bytes=-1", MDG_HTTP_RANGE_PART, 9, 9},
        {"bytes=-99", MDG_HTTP_RANGE_PART, 0, 9},
        {"bytes=-0", MDG_HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=10-", MDG_HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=99999999999999999999-", MDG_HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=-", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=1", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=+1-2", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=1-2x", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=1-2-3", MDG_HTTP_RANGE_NONE, 0, 0},
        {"bytes=--1", MDG_HTTP_RANGE_NONE, 0, 0},
    };
    uint64_t first, last;
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        enum mdg_http_range kind =
            mdg_http_range(mdg_slice_str(cases[i].header), 10, &first, &last);
        assert_int_equal(kind, cases[i].kind);
        if (kind == MDG_HTTP_RANGE_PART)
            assert_true(first == cases[i].first && last == cases[i].last);
    }
    assert_int_equal(mdg_http_range(MDG_SLICE_LIT("bytes=0-"), 0, &first, &last),
                     MDG_HTTP_RANGE_BEYOND);
    assert_int_equal(mdg_http_range(MDG_SLICE_LIT("bytes=-5"), 0, &first, &last),
                     MDG_HTTP_RANGE_BEYOND);
}

static void other_bytes_than_asked_for_are_not_sent(void **state)
{
    struct http_world *w = *state;
    expect_status(w, ASK("If-Match: \"t2\"\r\n"), 412);
    expect_status(w, ASK("If-Match: W/\"t1\"\r\n"), 412);
    expect_status(w, ASK("If-Match: \"t2\", \"t1\"\r\n"), 200);
    expect_status(w, ASK("If-Match: *\r\n"), 200);
}

static void codings_are_chosen_by_their_quality(void **state)
{
    (void)state;
    struct mdg_slice gzip = MDG_SLICE_LIT("gzip");
    assert_true(mdg_http_accepts_coding(MDG_SLICE_LIT("gzip"), gzip));
    assert_true(mdg_http_accepts_coding(MDG_SLICE_LIT("br;q=1.0, *;q=0.1"), gzip));
    assert_false(mdg_http_accepts_coding(MDG_SLICE_LIT("gzip;q=0, *"), gzip));
    assert_false(mdg_http_accepts_coding(MDG_SLICE_LIT("gzip ; q=0.000"), gzip));
    assert_false(mdg_http_accepts_coding(MDG_SLICE_LIT("identity"), gzip));
    assert_false(mdg_http_accepts_coding(mdg_slice(NULL, 0), gzip));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_come_plain_or_packed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_client_has_is_not_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_is_sent_to_who_asks_for_it, setup, teardown),
        cmocka_unit_test(ranges_are_of_the_bytes_that_there_are),
        cmocka_unit_test_setup_teardown(other_bytes_than_asked_for_are_not_sent, setup, teardown),
        cmocka_unit_test(codings_are_chosen_by_their_quality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
