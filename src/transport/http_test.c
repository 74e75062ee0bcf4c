/* HTTP connections over a socket pair on the real loop: what a client sends on one side, and what
 * it gets. */
#include "loop/loop.h"
#include "net/net.h"
#include "net/stream.h"
#include "tests/support/unit.h"
#include "transport/http_world.h"

struct world {
    struct http_world http; /* first: the helpers take either */
    struct mdg_http_server *other;
    struct mdg_http_config config;
    /* what the handlers saw */
    struct mdg_exchange *held;
    struct mdg_stream *upgraded;
    char log[4096], upgraded_bytes[64];
    size_t log_len;
    unsigned aborts, requests;
};

static void note(struct world *w, const char *text, struct mdg_slice s)
{
    int n = snprintf(w->log + w->log_len, sizeof w->log - w->log_len, "%s%.*s ", text, (int)s.len,
                     s.len ? (const char *)s.data : "");
    assert_true(n > 0 && (size_t)n < sizeof w->log - w->log_len);
    w->log_len += (size_t)n;
}

static int hello(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    w->requests++;
    note(w, "", mdg_exchange_path(x));
    mdg_exchange_respond_text(x, 200, "text/plain", MDG_SLICE_LIT("hello"));
    return 0;
}

static int hold(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    w->requests++;
    w->held = x;
    mdg_exchange_set_arg(x, w);
    return 0;
}

static int hold_until_eof(struct mdg_exchange *x, void *arg)
{
    mdg_exchange_abort_on_eof(x);
    return hold(x, arg);
}

static int log_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct world *w = mdg_exchange_arg(x);
    note(w, last ? "last:" : "piece:", piece);
    if (last)
        mdg_exchange_respond_text(x, 200, NULL, MDG_SLICE_LIT("done"));
    return 0;
}

static void aborted(struct mdg_exchange *x)
{
    struct world *w = mdg_exchange_arg(x);
    w->aborts++;
    w->held = NULL;
}

static int refuse_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    (void)x;
    (void)piece;
    (void)last;
    return MDG_E_DENIED;
}

static int give_up(struct mdg_exchange *x, void *arg)
{
    (void)x;
    (void)arg;
    return MDG_E_DENIED;
}

static int stream_three(struct mdg_exchange *x, void *arg)
{
    struct mdg_header type = {MDG_SLICE_LIT("Content-Type"), MDG_SLICE_LIT("text/x")};
    (void)arg;
    assert_int_equal(mdg_exchange_begin(x, 200, &type, 1), 0);
    for (int i = 0; i < 3; i++) {
        struct mdg_chunk c = mdg_chunk_all(mdg_blob_copy(MDG_SLICE_LIT("0123456789abcdef!")));
        assert_int_equal(mdg_exchange_write(x, &c, 1), 0);
        assert_null(c.blob);
    }
    mdg_exchange_end(x);
    return 0;
}

static int64_t upgraded_data(struct mdg_stream *s, struct mdg_input in)
{
    struct world *w = s->user_arg;
    assert_true(in.len < sizeof w->upgraded_bytes);
    memcpy(w->upgraded_bytes, in.data, in.len);
    w->upgraded_bytes[in.len] = '\0';
    return (int64_t)in.len;
}

static void upgraded_close(struct mdg_stream *s, int reason)
{
    struct world *w = s->user_arg;
    (void)reason;
    w->upgraded = NULL;
}

static const struct mdg_stream_user upgraded_user = {
    .name = "upgraded", .on_data = upgraded_data, .on_close = upgraded_close};

static int upgrade(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    struct mdg_header h = {MDG_SLICE_LIT("Upgrade"), MDG_SLICE_LIT("x")};
    int err = mdg_exchange_upgrade(x, &h, 1, &w->upgraded);
    if (err < 0)
        mdg_exchange_respond_error(x, 426, "upgrade", "no");
    else
        mdg_stream_adopt(w->upgraded, &upgraded_user, w);
    return 0;
}

static int move_away(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    if (mdg_exchange_move(x, w->other) < 0)
        mdg_exchange_respond_text(x, 503, NULL, mdg_slice(NULL, 0));
    return 0;
}

static int small_body(struct mdg_exchange *x, void *arg)
{
    mdg_exchange_set_body_max(x, 10);
    return hold(x, arg);
}

static int big(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    w->requests++;
    struct mdg_blob *b = mdg_blob_new(40000);
    assert_non_null(b);
    memset(b->data, 'b', b->len);
    struct mdg_chunk c = mdg_chunk_all(b);
    return mdg_exchange_respond(x, 200, NULL, 0, &c, 1);
}

static int cors(struct mdg_exchange *x, void *arg)
{
    (void)arg;
    if (!mdg_exchange_cors(x, "GET, POST"))
        mdg_exchange_respond_text(x, 200, NULL, MDG_SLICE_LIT("ok"));
    return 0;
}

static int split_response(struct mdg_exchange *x, void *arg)
{
    struct mdg_header h = {MDG_SLICE_LIT("X"), MDG_SLICE_LIT("a\r\nSet-Cookie: b")};
    (void)arg;
    assert_int_equal(mdg_exchange_respond(x, 200, &h, 1, NULL, 0), MDG_E_SYNTAX);
    assert_int_equal(mdg_exchange_add_header(x, h.name, h.value), MDG_E_SYNTAX);
    mdg_exchange_respond_text(x, 204, NULL, mdg_slice(NULL, 0));
    return 0;
}

static int who(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    note(w, "", hs->query);
    note(w, "", mdg_exchange_query(x, "b"));
    note(w, "", mdg_exchange_cookie(x, "k"));
    note(w, "", mdg_exchange_header(x, "x-y"));
    note(w, hs->secure ? "secure" : "plain", mdg_slice(NULL, 0));
    mdg_exchange_respond_text(x, 200, NULL, mdg_slice(NULL, 0));
    return 0;
}

static const struct {
    const char *path;
    struct mdg_http_handler handler;
} routes[] = {
    {"/hello", {.on_request = hello}},
    {"/hold", {.on_request = hold, .on_abort = aborted}},
    {"/poll", {.on_request = hold_until_eof, .on_abort = aborted}},
    {"/body", {.on_request = hold, .on_body = log_body, .on_abort = aborted}},
    {"/small", {.on_request = small_body, .on_body = log_body, .on_abort = aborted}},
    {"/refuse", {.on_request = hold, .on_body = refuse_body, .on_abort = aborted}},
    {"/fail", {.on_request = give_up, .on_abort = aborted}},
    {"/stream", {.on_request = stream_three}},
    {"/up", {.on_request = upgrade}},
    {"/move", {.on_request = move_away}},
    {"/big", {.on_request = big}},
    {"/cors", {.on_request = cors}},
    {"/split", {.on_request = split_response}},
    {"/who", {.on_request = who}},
};

static const struct mdg_http_handler *route(void *router, struct mdg_exchange *x, void **arg)
{
    *arg = router;
    for (size_t i = 0; i < MDG_ARRAY_LEN(routes); i++)
        if (mdg_slice_eq(mdg_exchange_path(x), mdg_slice_str(routes[i].path)))
            return &routes[i].handler;
    return NULL;
}

/* On the other server /move is an ordinary page. */
static const struct mdg_http_handler *other_route(void *router, struct mdg_exchange *x, void **arg)
{
    (void)x;
    *arg = router;
    return &routes[0].handler;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->config = (struct mdg_http_config){
        .head_bytes_max = 8192,
        .target_bytes_max = 1024,
        .header_count_max = 50,
        .body_bytes_max = 100000,
        .head_timeout_s = 1,
        .body_timeout_s = 1,
        .idle_timeout_s = 1,
        .out_bytes_max = 65536,
    };
    http_world_init(&w->http, &w->config, route, w);
    assert_int_equal(mdg_http_server_new(w->http.net, &w->config, other_route, w, &w->other), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    mdg_http_server_free(w->other);
    http_world_fini(&w->http);
    free(w);
    return 0;
}

#define OK "HTTP/1.1 200 OK\r\n"
#define TEXT "Content-Type: text/plain\r\n"
#define HELLO OK TEXT "Content-Length: 5\r\n\r\nhello"

static void requests_on_one_connection_are_answered(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/hello"));
    expect(&w->http, HELLO);
    say(&w->http, GET("/nothing"));
    expect(&w->http, "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
                     "Content-Length: 11\r\n\r\nNot found.\n");
    say(&w->http, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(&w->http, OK TEXT "Content-Length: 5\r\n\r\n");
    say(&w->http, "GET /x/../hell%6f?q HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(&w->http, HELLO);
    say(&w->http, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(&w->http, "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, OPTIONS\r\n\r\n");
    assert_false(w->http.eof);
    say(&w->http, "GET /../hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(w->http.got, "HTTP/1.1 400 "));
}

static void every_byte_may_come_alone(void **state)
{
    struct world *w = *state;
    static const char text[] =
        "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n" GET("/hello");
    for (size_t i = 0; i < sizeof text - 1; i++) {
        send_bytes(&w->http, text + i, 1);
        turns(&w->http);
    }
    settle(&w->http);
    expect(&w->http, OK "Content-Length: 4\r\n\r\ndone" HELLO);
    assert_string_equal(w->log, "piece:a piece:b piece:c last: /hello ");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/hold") GET("/hello") GET("/stream") "GET /hello HTTP/1.0\r\n\r\n");
    expect(&w->http, "");
    assert_int_equal(w->requests, 1);
    mdg_exchange_respond_text(w->held, 200, NULL, MDG_SLICE_LIT("first"));
    settle(&w->http);
    expect(&w->http, OK "Content-Length: 5\r\n\r\nfirst" HELLO OK
                        "Content-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "11\r\n0123456789abcdef!\r\n11\r\n0123456789abcdef!\r\n"
                        "11\r\n0123456789abcdef!\r\n0\r\n\r\n" OK TEXT
                        "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_true(w->http.eof);
}

static void http_1_0_ends_with_the_connection_unless_it_asks(void **state)
{
    struct world *w = *state;
    say(&w->http, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(&w->http, OK TEXT "Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello");
    assert_false(w->http.eof);
    say(&w->http, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(&w->http, OK "Content-Type: text/x\r\nConnection: close\r\n\r\n"
                        "0123456789abcdef!0123456789abcdef!0123456789abcdef!");
    assert_true(w->http.eof);
}

static void connection_close_is_honoured(void **state)
{
    struct world *w = *state;
    say(&w->http, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/hello"));
    expect(&w->http, OK TEXT "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_true(w->http.eof);
    assert_int_equal(w->requests, 1);
}

static void bodies_come_in_pieces_and_end(void **state)
{
    struct world *w = *state;
    say(&w->http, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    say(&w->http, "def" GET("/body"));
    expect(&w->http, OK "Content-Length: 4\r\n\r\ndone" OK "Content-Length: 4\r\n\r\ndone");
    assert_string_equal(w->log, "piece:abc last:def last: ");
}

static void continue_is_sent_when_the_body_is_wanted(void **state)
{
    struct world *w = *state;
    say(&w->http,
        "POST /body HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect(&w->http, "HTTP/1.1 100 Continue\r\n\r\n");
    say(&w->http, "abc");
    expect(&w->http, OK "Content-Length: 4\r\n\r\ndone");
    say(&w->http,
        "POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect(&w->http, OK TEXT "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_true(w->http.eof);
}

static void an_unwanted_body_is_skipped_when_it_is_small(void **state)
{
    struct world *w = *state;
    say(&w->http, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    expect(&w->http, HELLO);
    say(&w->http, "abc" GET("/hello"));
    expect(&w->http, HELLO);
    say(&w->http, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n");
    expect(&w->http, OK TEXT "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_true(w->http.eof);
}

static void a_body_over_the_limit_is_413(void **state)
{
    struct world *w = *state;
    say(&w->http, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n");
    assert_non_null(strstr(w->http.got, "HTTP/1.1 413 "));
    assert_int_equal(w->aborts, 1);
    assert_true(w->http.eof);
    connect_client(&w->http);
    say(&w->http, "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "5\r\n01234\r\n6\r\n012345\r\n0\r\n\r\n");
    assert_non_null(strstr(w->http.got, "HTTP/1.1 413 "));
    assert_int_equal(w->aborts, 2);
    assert_string_equal(w->log, "piece:01234 ");
}

static void a_paused_body_waits(void **state)
{
    struct world *w = *state;
    say(&w->http, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    mdg_exchange_pause_body(w->held, true);
    say(&w->http, "abc");
    say(&w->http, "def");
    assert_string_equal(w->log, "");
    mdg_exchange_pause_body(w->held, false);
    settle(&w->http);
    say(&w->http, "ghi");
    assert_string_equal(w->log, "piece:abcdef last:ghi ");
}

static void malformed_requests_never_reach_a_route(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *text, *status;
    } bad[] = {
        {"GET /hello HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /hello HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 "},
        {"GET /hello HTTP/3.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 "},
        {"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\n" GET("/hello"),
         "HTTP/1.1 400 "},
        {"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
         "HTTP/1.1 501 "},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", "HTTP/1.1 417 "},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        say(&w->http, bad[i].text);
        assert_memory_equal(w->http.got, bad[i].status, strlen(bad[i].status));
        assert_non_null(strstr(w->http.got, "Connection: close\r\n"));
        assert_null(strstr(w->http.got, "\nHTTP/"));
        assert_true(w->http.eof);
        connect_client(&w->http);
    }
    assert_int_equal(w->requests, 0);
}

static void a_bad_chunk_ends_an_exchange_that_is_under_way(void **state)
{
    struct world *w = *state;
    say(&w->http,
        "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n");
    assert_memory_equal(w->http.got, "HTTP/1.1 400 ", 13);
    assert_int_equal(w->aborts, 1);
    assert_true(w->http.eof);
}

static void handlers_that_fail_get_a_500(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/fail"));
    assert_memory_equal(w->http.got, "HTTP/1.1 500 ", 13);
    assert_true(w->http.eof);
    connect_client(&w->http);
    say(&w->http, "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_memory_equal(w->http.got, "HTTP/1.1 500 ", 13);
    assert_int_equal(w->aborts, 0);
}

static void a_peer_that_goes_away_aborts_once(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/hold"));
    close(w->http.fd);
    w->http.fd = -1;
    settle(&w->http);
    assert_int_equal(w->aborts, w->held ? 0 : 1);
    if (w->held) /* half-closed as far as we know: the answer finds nobody */
        mdg_exchange_respond_text(w->held, 200, NULL, mdg_slice(NULL, 0));
    settle(&w->http);
    connect_client(&w->http);
    say(&w->http, GET("/poll"));
    assert_non_null(w->held);
    unsigned before = w->aborts;
    shutdown(w->http.fd, SHUT_WR);
    settle(&w->http);
    assert_int_equal(w->aborts, before + 1);
    assert_true(w->http.eof);
}

static void a_half_closed_client_still_gets_its_answers(void **state)
{
    struct world *w = *state;
    send_bytes(&w->http, GET("/hold") GET("/hello"), sizeof(GET("/hold") GET("/hello")) - 1);
    shutdown(w->http.fd, SHUT_WR);
    settle(&w->http);
    assert_non_null(w->held);
    mdg_exchange_respond_text(w->held, 200, NULL, MDG_SLICE_LIT("x"));
    settle(&w->http);
    expect(&w->http, OK "Content-Length: 1\r\n\r\nx" HELLO);
    assert_true(w->http.eof);
    connect_client(&w->http);
    send_bytes(&w->http, "GET /he", 7);
    shutdown(w->http.fd, SHUT_WR);
    settle(&w->http);
    assert_true(w->http.eof);
}

static void an_upgrade_gives_the_stream_and_the_unread_bytes_away(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/hello") GET("/up") "surplus");
    expect(&w->http, HELLO "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    assert_string_equal(w->upgraded_bytes, "surplus");
    say(&w->http, "more");
    assert_string_equal(w->upgraded_bytes, "more");
    assert_int_equal(mdg_http_server_counters(w->http.server)->connections, 0);
    mdg_stream_close(w->upgraded, 0);
    settle(&w->http);
    assert_null(w->upgraded);
    connect_client(&w->http);
    say(&w->http, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    assert_memory_equal(w->http.got, "HTTP/1.1 426 ", 13);
}

static void a_connection_moves_before_its_request_is_handled(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/move") GET("/again"));
    expect(&w->http, HELLO HELLO);
    assert_string_equal(w->log, "/move /again ");
    assert_int_equal(mdg_http_server_counters(w->http.server)->connections, 0);
    assert_int_equal(mdg_http_server_counters(w->other)->connections, 1);
}

static void a_client_that_does_not_read_stops_being_served(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 200; i++)
        if (write(w->http.fd, GET("/big"), sizeof GET("/big") - 1) < 0)
            break;
    for (int i = 0; i < 50; i++)
        turns(&w->http);
    assert_true(w->requests > 2 && w->requests < 30);
    size_t bytes = 0;
    for (int idle = 0; idle < 3;) {
        w->http.len = 0;
        settle(&w->http);
        idle = w->http.len ? 0 : idle + 1;
        bytes += w->http.len;
    }
    assert_int_equal(w->requests, 200);
    assert_true(bytes > 200 * 40000);
}

static void cross_origin_requests_get_their_headers(void **state)
{
    struct world *w = *state;
    say(&w->http,
        "OPTIONS /cors HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n"
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-y\r\n\r\n");
    expect(&w->http,
           "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: http://b\r\n"
           "Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n"
           "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Allow-Headers: x-y\r\n"
           "Access-Control-Max-Age: 86400\r\n\r\n");
    say(&w->http, GET("/cors"));
    expect(&w->http, OK "Content-Length: 2\r\n\r\nok");
}

static void a_value_cannot_split_the_response(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/split"));
    expect(&w->http, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void the_request_says_what_it_was(void **state)
{
    struct world *w = *state;
    say(&w->http,
        "GET /who?a=1&b=%20x&c HTTP/1.1\r\nHost: a\r\nCookie: j=1; k=v\r\nX-Y: z\r\n\r\n");
    assert_string_equal(w->log, "a=1&b=%20x&c %20x v z plain ");
}

/* Turns of the real clock until the server closes; false after three seconds. */
static bool closes_in_time(struct world *w)
{
    for (int i = 0; i < 60 && !w->http.eof; i++) {
        assert_true(mdg_loop_step(w->http.loop, 50) >= 0);
        settle(&w->http);
    }
    return w->http.eof;
}

static void slow_clients_run_out_of_time(void **state)
{
    struct world *w = *state;
    say(&w->http, "GET /hello HTTP/1.1\r\nHo");
    assert_true(closes_in_time(w));
    assert_memory_equal(w->http.got, "HTTP/1.1 408 ", 13);
    connect_client(&w->http);
    say(&w->http, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na");
    assert_true(closes_in_time(w));
    assert_memory_equal(w->http.got, "HTTP/1.1 408 ", 13);
    assert_int_equal(w->aborts, 1);
    connect_client(&w->http);
    say(&w->http, GET("/hello"));
    expect(&w->http, HELLO);
    assert_true(closes_in_time(w));
    expect(&w->http, "");
}

static void draining_closes_what_is_idle_and_what_ends(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/hold"));
    mdg_http_server_drain(w->http.server);
    settle(&w->http);
    assert_false(w->http.eof);
    mdg_exchange_respond_text(w->held, 200, NULL, MDG_SLICE_LIT("x"));
    settle(&w->http);
    expect(&w->http, OK "Content-Length: 1\r\nConnection: close\r\n\r\nx");
    assert_true(w->http.eof);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(requests_on_one_connection_are_answered),
        T(every_byte_may_come_alone),
        T(pipelined_requests_are_answered_in_order),
        T(http_1_0_ends_with_the_connection_unless_it_asks),
        T(connection_close_is_honoured),
        T(bodies_come_in_pieces_and_end),
        T(continue_is_sent_when_the_body_is_wanted),
        T(an_unwanted_body_is_skipped_when_it_is_small),
        T(a_body_over_the_limit_is_413),
        T(a_paused_body_waits),
        T(malformed_requests_never_reach_a_route),
        T(a_bad_chunk_ends_an_exchange_that_is_under_way),
        T(handlers_that_fail_get_a_500),
        T(a_peer_that_goes_away_aborts_once),
        T(a_half_closed_client_still_gets_its_answers),
        T(an_upgrade_gives_the_stream_and_the_unread_bytes_away),
        T(a_connection_moves_before_its_request_is_handled),
        T(a_client_that_does_not_read_stops_being_served),
        T(cross_origin_requests_get_their_headers),
        T(a_value_cannot_split_the_response),
        T(the_request_says_what_it_was),
        T(slow_clients_run_out_of_time),
        T(draining_closes_what_is_idle_and_what_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
