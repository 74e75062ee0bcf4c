/* Event streams, JSON lines and poll answers, as a client sees them. */
#include "transport/http_world.h"
#include "transport/poll.h"
#include "transport/push.h"

struct world {
    struct http_world http; /* first: the helpers take it */
    struct mdg_http_config config;
    struct mdg_link *link;
    int closed, code, writable;
    char last_id[32];
};

static int no_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l;
    (void)in;
    (void)binary;
    return MDG_E_UNSUPPORTED;
}

static void writable(struct mdg_link *l)
{
    struct world *w = l->user_arg;
    w->writable++;
}

static void closed(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct world *w = l->user_arg;
    (void)reason;
    w->closed++;
    w->code = code;
    w->link = NULL;
}

static const struct mdg_link_user link_user = {
    .on_input = no_input, .on_writable = writable, .on_close = closed};

static int open_push(struct mdg_exchange *x, void *arg)
{
    struct world *w = arg;
    struct mdg_push_options options = {.heartbeat_s = 1, .retry_ms = 2000};
    bool sse = mdg_slice_eq(mdg_exchange_path(x), MDG_SLICE_LIT("/sse"));
    struct mdg_slice id = mdg_sse_last_id(x, (uint8_t *)w->last_id, sizeof w->last_id - 1);
    w->last_id[id.len] = '\0';
    int err = (sse ? mdg_sse_open : mdg_lines_open)(x, &options, &link_user, w, &w->link);
    if (err == MDG_E_UNSUPPORTED)
        mdg_exchange_method_not_allowed(x, "GET");
    return 0;
}

static int answer_poll(struct mdg_exchange *x, void *arg)
{
    struct mdg_chunk units[2] = {mdg_chunk_all(mdg_blob_copy(MDG_SLICE_LIT("{\"a\":1}"))),
                                 mdg_chunk_all(mdg_blob_copy(MDG_SLICE_LIT("xx[2]xx")))};
    units[1].off = 2;
    units[1].len = 3;
    bool none = mdg_exchange_query(x, "none").data != NULL;
    struct mdg_poll_answer a = {MDG_SLICE_LIT("00ff:12"), MDG_SLICE_LIT("\"recovered\":true"),
                                units, none ? 0 : 2};
    (void)arg;
    mdg_poll_respond(x, &a, mdg_exchange_header(x, "if-none-match"));
    mdg_blob_unref(units[0].blob);
    mdg_blob_unref(units[1].blob);
    return 0;
}

static const struct mdg_http_handler *route(void *router, struct mdg_exchange *x, void **arg)
{
    static const struct mdg_http_handler push = {.on_request = open_push};
    static const struct mdg_http_handler poll = {.on_request = answer_poll};
    *arg = router;
    return mdg_slice_eq(mdg_exchange_path(x), MDG_SLICE_LIT("/poll")) ? &poll : &push;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->config = (struct mdg_http_config){
        .head_bytes_max = 8192,
        .target_bytes_max = 1024,
        .header_count_max = 50,
        .head_timeout_s = 5,
        .body_timeout_s = 5,
        .idle_timeout_s = 5,
        .out_bytes_max = 4096,
    };
    http_world_init(&w->http, &w->config, route, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    http_world_fini(&w->http);
    assert_null(w->link); /* every link that was opened was closed */
    free(w);
    return 0;
}

static int send_unit(struct world *w, const char *text, const char *id, const char *event)
{
    struct mdg_unit_meta meta = {mdg_slice_str(id), mdg_slice_str(event), false, false};
    int err = mdg_link_send_unit(w->link, mdg_slice_str(text), &meta);
    return err;
}

#define HEAD(type)                                                                                 \
    "HTTP/1.1 200 OK\r\nContent-Type: " type "\r\nCache-Control: no-store, no-transform\r\n"       \
    "X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static void events_have_their_fields_and_one_chunk_each(void **state)
{
    struct world *w = *state;
    say(&w->http, "GET /sse HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 00ff:7\r\n\r\n");
    expect(&w->http, HEAD("text/event-stream") CHUNKED "d\r\nretry: 2000\n\n\r\n");
    assert_string_equal(w->last_id, "00ff:7");
    assert_int_equal(send_unit(w, "{\"x\":1}", "00ff:8", "message"), 0);
    assert_int_equal(send_unit(w, "a\nb", "", "joined"), 0);
    assert_int_equal(send_unit(w, "c", "forged\ndata: x", "e\rvent"), 0);
    settle(&w->http);
    expect(&w->http, "1a\r\nid: 00ff:8\ndata: {\"x\":1}\n\n\r\n"
                     "1f\r\nevent: joined\ndata: a\ndata: b\n\n\r\n"
                     "9\r\ndata: c\n\n\r\n");
    struct mdg_unit_meta binary = {.binary = true};
    assert_int_equal(mdg_link_send_unit(w->link, MDG_SLICE_LIT("x"), &binary), MDG_E_UNSUPPORTED);
    mdg_link_close(w->link, MDG_CLOSE_GOING_AWAY, MDG_SLICE_LIT("bye"));
    assert_int_equal(w->closed, 0); /* no upcall inside a downcall */
    assert_int_equal(send_unit(w, "late", "", ""), MDG_E_CLOSED);
    mdg_link_close(w->link, MDG_CLOSE_NORMAL, MDG_SLICE_LIT(""));
    settle(&w->http);
    expect(&w->http, "0\r\n\r\n");
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->code, MDG_CLOSE_GOING_AWAY);
    say(&w->http, GET("/sse?lastEventId=00ff%3A9"));
    assert_string_equal(w->last_id, "00ff:9");
}

static void lines_are_lines(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/stream"));
    expect(&w->http, HEAD("application/x-ndjson") CHUNKED);
    assert_int_equal(send_unit(w, "{\"x\":1}", "1", "e"), 0);
    settle(&w->http);
    expect(&w->http, "8\r\n{\"x\":1}\n\r\n");
    connect_client(&w->http);
    settle(&w->http);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->code, MDG_CLOSE_ABNORMAL);
    say(&w->http, "GET /stream HTTP/1.0\r\n\r\n");
    expect(&w->http, HEAD("application/x-ndjson") "Connection: close\r\n\r\n");
    assert_int_equal(send_unit(w, "{\"x\":1}", "1", "e"), 0);
    settle(&w->http);
    expect(&w->http, "{\"x\":1}\n");
    mdg_link_close(w->link, MDG_CLOSE_NORMAL, MDG_SLICE_LIT(""));
    settle(&w->http);
    assert_true(w->http.eof);
    connect_client(&w->http);
    say(&w->http, "POST /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_memory_equal(w->http.got, "HTTP/1.1 405 ", 13);
}

static void one_framing_serves_all(void **state)
{
    struct world *w = *state;
    char text[128];
    struct mdg_writer out;
    struct mdg_unit_meta meta = {.id = MDG_SLICE_LIT("5")};
    say(&w->http, GET("/sse"));
    expect(&w->http, HEAD("text/event-stream") CHUNKED "d\r\nretry: 2000\n\n\r\n");
    mdg_writer_init(&out, text, sizeof text);
    assert_int_equal(mdg_frame(w->link->framing, &out, MDG_SLICE_LIT("u"), &meta), 0);
    struct mdg_chunk c = mdg_chunk_all(mdg_blob_copy(mdg_slice(text, out.len)));
    assert_int_equal(mdg_link_send(w->link, &c, 1), 0);
    assert_null(c.blob);
    settle(&w->http);
    expect(&w->http, "f\r\nid: 5\ndata: u\n\n\r\n");
}

static void a_slow_reader_is_told_full_and_then_writable(void **state)
{
    struct world *w = *state;
    char unit[1001];
    memset(unit, 'u', 1000);
    unit[1000] = '\0';
    say(&w->http, GET("/stream"));
    int err = 0;
    for (int i = 0; i < 100000 && err == 0; i++) {
        err = send_unit(w, unit, "", "");
        if (i % 4 == 3)
            turns(&w->http);
    }
    assert_int_equal(err, MDG_E_FULL);
    assert_true(w->link->carrier->queued(w->link) > 0);
    assert_int_equal(w->writable, 0);
    for (int i = 0; i < 30 && !w->writable; i++) {
        w->http.len = 0;
        settle(&w->http);
    }
    assert_int_equal(w->writable, 1);
    assert_int_equal(send_unit(w, unit, "", ""), 0);
}

static void silence_is_filled_with_heartbeats(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/sse"));
    for (int i = 0; i < 60 && !strstr(w->http.got, "\r\n3\r\n:\n\n\r\n"); i++) {
        assert_true(mdg_loop_step(w->http.loop, 50) >= 0);
        settle(&w->http);
    }
    assert_non_null(strstr(w->http.got, "\r\n3\r\n:\n\n\r\n"));
}

#define JSON                                                                                       \
    "ETag: \"00ff:12\"\r\nCache-Control: no-cache, no-transform\r\n"                               \
    "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"

static void polls_are_answered_with_a_cursor_that_validates(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/poll"));
    expect(&w->http, "HTTP/1.1 200 OK\r\n" JSON "Content-Length: 63\r\n\r\n"
                     "{\"cursor\":\"00ff:12\",\"recovered\":true,\"messages\":[{\"a\":1},[2]]}\n");
    say(&w->http, GET("/poll?none"));
    expect(&w->http, "HTTP/1.1 200 OK\r\n" JSON "Content-Length: 52\r\n\r\n"
                     "{\"cursor\":\"00ff:12\",\"recovered\":true,\"messages\":[]}\n");
    say(&w->http, "GET /poll HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"00ff:12\"\r\n\r\n");
    expect(&w->http, "HTTP/1.1 304 Not Modified\r\nETag: \"00ff:12\"\r\n"
                     "Cache-Control: no-cache, no-transform\r\n\r\n");
}

/* The connection itself is not needed while a response goes on, and is there again afterwards. */
static void what_was_asked_behind_a_stream_is_answered_when_it_ends(void **state)
{
    struct world *w = *state;
    say(&w->http, GET("/stream") "GET /poll?none HTTP/1.1\r\nHost: a\r\nIf-None-Match: "
                                 "\"00ff:12\"\r\n\r\n");
    expect(&w->http, HEAD("application/x-ndjson") CHUNKED);
    assert_int_equal(mdg_http_server_counters(w->http.server)->connections, 0);
    assert_int_equal(mdg_http_server_counters(w->http.server)->exchanges, 0);
    mdg_link_close(w->link, MDG_CLOSE_NORMAL, MDG_SLICE_LIT(""));
    settle(&w->http);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->code, MDG_CLOSE_NORMAL);
    assert_memory_equal(w->http.got, "0\r\n\r\nHTTP/1.1 304 ", 18);
    assert_int_equal(mdg_http_server_counters(w->http.server)->connections, 1);
    w->http.len = 0;
    say(&w->http, "GET /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    expect(&w->http, HEAD("application/x-ndjson") CHUNKED);
    mdg_http_server_drain(w->http.server);
    mdg_link_close(w->link, MDG_CLOSE_GOING_AWAY, MDG_SLICE_LIT(""));
    settle(&w->http);
    expect(&w->http, "0\r\n\r\n");
    settle(&w->http);
    assert_true(w->http.eof); /* and does not serve another one */
    assert_int_equal(w->code, MDG_CLOSE_GOING_AWAY);
}

static void a_client_that_reads_nothing_cannot_hold_an_end_up(void **state)
{
    struct world *w = *state;
    struct mdg_slice unit;
    char text[2000];
    memset(text, 'u', sizeof text);
    unit = mdg_slice(text, sizeof text);
    struct mdg_unit_meta meta = {.binary = false};
    say(&w->http, GET("/stream"));
    int err = 0;
    while (err == 0) {
        err = mdg_link_send_unit(w->link, unit, &meta);
        assert_true(mdg_loop_step(w->http.loop, 0) >= 0);
    }
    assert_int_equal(err, MDG_E_FULL);
    mdg_link_close(w->link, MDG_CLOSE_SLOW, MDG_SLICE_LIT(""));
    for (int i = 0; i < 100 && !w->closed; i++)
        assert_true(mdg_loop_step(w->http.loop, 50) >= 0);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->code, MDG_CLOSE_SLOW);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(events_have_their_fields_and_one_chunk_each),
        T(lines_are_lines),
        T(one_framing_serves_all),
        T(a_slow_reader_is_told_full_and_then_writable),
        T(silence_is_filled_with_heartbeats),
        T(what_was_asked_behind_a_stream_is_answered_when_it_ends),
        T(a_client_that_reads_nothing_cannot_hold_an_end_up),
        T(polls_are_answered_with_a_cursor_that_validates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
