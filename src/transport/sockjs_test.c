/* Sessions in every state, with requests that come, go and vanish. */
#include "transport/sockjs.h"
#include "transport/sockjs_fake.h"

struct fixture {
    struct mdg_loop *loop;
    struct mdg_sockjs *service;
    struct mdg_sockjs_config config;
    struct mdg_link *link; /* of the last session */
    bool echo, close_at_once, refuse_open;
    int status; /* of on_handshake */
    unsigned opened, closed, dropped, writable;
    int close_code;
    char got[1024];
    size_t got_len;
    struct mdg_http_server *home;
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct fixture *f = l->user_arg;
    assert_false(binary);
    put(f->got, &f->got_len, sizeof f->got, mdg_slice(in.data, in.len));
    put(f->got, &f->got_len, sizeof f->got, MDG_SLICE_LIT(";"));
    if (in.len == 4 && memcmp(in.data, "fail", 4) == 0)
        return MDG_E_PROTO;
    if (f->echo)
        assert_int_equal(mdg_link_send_unit(l, mdg_slice(in.data, in.len), NULL), 0);
    return 0;
}

static void on_writable(struct mdg_link *l)
{
    ((struct fixture *)l->user_arg)->writable++;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct fixture *f = l->user_arg;
    (void)reason;
    f->closed++;
    f->close_code = code;
    f->link = NULL;
}

static const struct mdg_link_user link_user = {on_input, on_writable, on_close};

static int on_handshake(struct mdg_exchange *x, void *arg, void **visitor)
{
    struct fixture *f = arg;
    (void)x;
    *visitor = f;
    return f->status;
}

static int on_open(struct mdg_link *l, void *visitor, void *arg)
{
    struct fixture *f = arg;
    assert_ptr_equal(visitor, f);
    if (f->refuse_open)
        return MDG_E_DENIED;
    f->opened++;
    f->link = l;
    l->user = &link_user;
    l->user_arg = f;
    if (f->close_at_once)
        mdg_link_close(l, 3000, MDG_SLICE_LIT("Go away!"));
    return 0;
}

static void on_drop(void *visitor, void *arg)
{
    struct fixture *f = arg;
    assert_ptr_equal(visitor, f);
    f->dropped++;
}

static struct mdg_http_server *home(struct mdg_slice session, void *arg)
{
    struct fixture *f = arg;
    return mdg_slice_starts(session, MDG_SLICE_LIT("far")) ? f->home : NULL;
}

static bool origin_ok(struct mdg_exchange *x, void *arg)
{
    (void)arg;
    struct mdg_slice origin = mdg_exchange_header(x, "origin");
    return !origin.data || mdg_slice_eq(origin, MDG_SLICE_LIT("http://ours"));
}

static const struct mdg_sockjs_user service_user = {origin_ok, on_handshake, on_open, on_drop,
                                                    home};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->config = (struct mdg_sockjs_config){
        .prefix = MDG_SLICE_LIT("/echo"),
        .response_bytes_max = 128,
        .heartbeat_ms = 25000,
        .disconnect_ms = 5000,
        .sessions_max = 10,
        .waiting_bytes_max = 64,
        .body_bytes_max = 256,
        .any_origin = true,
        .sockjs_url = MDG_SLICE_LIT("/sockjs.min.js"),
    };
    f->echo = true;
    struct mdg_loop_config loop = {.kind = MDG_LOOP_SIM};
    assert_int_equal(mdg_loop_new(&loop, &f->loop), 0);
    assert_int_equal(mdg_sockjs_new(f->loop, NULL, &f->config, &service_user, f, &f->service), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mdg_sockjs_free(f->service);
    assert_int_equal(f->opened, f->closed);
    assert_true(mdg_loop_step(f->loop, 0) >= 0);
    mdg_loop_free(f->loop);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    assert_true(mdg_loop_step(f->loop, 0) >= 0);
}

/* Virtual time goes by in the longest steps that timers allow. */
static void pass(struct fixture *f, uint64_t ms)
{
    uint64_t until = mdg_loop_now_ms(f->loop) + ms;
    while (mdg_loop_now_ms(f->loop) < until)
        assert_true(mdg_loop_step(f->loop, (int)(until - mdg_loop_now_ms(f->loop))) >= 0);
    turn(f);
}

static struct mdg_exchange *start(struct fixture *f, const char *method, const char *path)
{
    struct mdg_exchange *x = fake_request(method, path);
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    return x;
}

static void check(struct fixture *f, const char *method, const char *path, const char *body,
                  unsigned status, const char *expected)
{
    struct mdg_exchange *x = fake_request(method, path);
    fake_serve(x, &mdg_sockjs_handler, f->service, body);
    turn(f);
    assert_true(x->over);
    assert_int_equal(x->status, status);
    assert_string_equal(x->body, expected);
    free(x);
}

static void polling_echoes(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"a\"]", 204, "");
    check(f, "POST", "/echo/999/a/xhr", "", 200, "a[\"a\"]\n");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"b\",\"c\"]", 204, "");
    check(f, "POST", "/echo/000/a/xhr_send", "[]", 204, "");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"d\"]", 204, "");
    check(f, "POST", "/echo/000/a/xhr", "", 200, "a[\"b\",\"c\",\"d\"]\n");
    assert_int_equal(f->opened, 1);
}

static void a_parked_poll_is_answered_once_for_a_turn(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    turn(f);
    assert_false(poll->over);
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("1"), NULL), 0);
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("2"), NULL), 0);
    turn(f);
    assert_string_equal(poll->body, "a[\"1\",\"2\"]\n");
    free(poll);
}

static void a_second_receiver_is_refused(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    check(f, "POST", "/echo/000/a/xhr", "", 200, "c[2010,\"Another connection still open\"]\n");
    struct mdg_exchange *stream = start(f, "GET", "/echo/000/a/eventsource");
    assert_string_equal(stream->body,
                        "\r\n|data: c[2010,\"Another connection still open\"]\r\n\r\n|");
    assert_true(stream->over);
    free(stream);
    assert_int_equal(f->closed, 0);
    fake_abort(poll);
    free(poll);
}

static void who_hung_up_is_no_receiver_any_more(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    poll->hung_up = true;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    assert_true(poll->killed);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->close_code, MDG_CLOSE_ABNORMAL);
    assert_int_equal(mdg_sockjs_count(f->service), 1);
    free(poll);
}

static void an_aborted_receiver_ends_the_session(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    fake_abort(poll);
    free(poll);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->close_code, MDG_CLOSE_ABNORMAL);
    check(f, "POST", "/echo/000/a/xhr_send", "[\"a\"]", 404, "");
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *stream = start(f, "POST", "/echo/000/a/xhr_streaming");
    fake_abort(stream);
    free(stream);
    assert_int_equal(f->closed, 2);
    assert_int_equal(mdg_sockjs_count(f->service), 0);
}

static void a_session_without_a_receiver_lives_five_seconds(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    pass(f, 4900);
    assert_int_equal(f->closed, 0);
    pass(f, 200);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->close_code, MDG_CLOSE_ABNORMAL);
    pass(f, 100000); /* no timer fires after the close */
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
}

static void heartbeats_keep_both_sides_alive(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    pass(f, 24900);
    assert_false(poll->over);
    pass(f, 200);
    assert_string_equal(poll->body, "h\n");
    free(poll);
    struct mdg_exchange *stream = start(f, "GET", "/echo/000/a/eventsource");
    pass(f, 20000);
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("x"), NULL), 0);
    pass(f, 20000);
    assert_string_equal(stream->body, "\r\n|data: a[\"x\"]\r\n\r\n|");
    pass(f, 6000);
    assert_string_equal(stream->body, "\r\n|data: a[\"x\"]\r\n\r\n|data: h\r\n\r\n|");
    fake_abort(stream);
    free(stream);
}

static void streams_end_after_enough_bytes(void **state)
{
    struct fixture *f = *state;
    struct mdg_exchange *x = start(f, "POST", "/echo/000/a/xhr_streaming");
    assert_int_equal(x->body_len, 2049 + 1 + 3);
    assert_memory_equal(x->body + 2048, "\n|o\n|", 5);
    for (int i = 0; i < 10; i++) {
        assert_false(x->over);
        assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("0123456"), NULL), 0);
    }
    assert_true(x->over); /* 2 + 10 x 13 >= 128, their chunks' heads not counted */
    free(x);
    assert_int_equal(f->closed, 0);
    check(f, "POST", "/echo/000/a/xhr_send", "[\"a\"]", 204, "");
    x = start(f, "POST", "/echo/000/a/xhr_streaming");
    assert_string_equal(x->body + 2048, "\n|a[\"a\"]\n|");
    fake_abort(x);
    free(x);
}

static void http_1_0_streams_too(void **state)
{
    struct fixture *f = *state;
    struct mdg_exchange *x = fake_request("GET", "/echo/000/a/htmlfile?c=cb");
    x->old = true;
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("1"), NULL), 0);
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("2"), NULL), 0);
    turn(f);
    assert_non_null(strstr(x->body, "|<script>\np(\"o\");\n</script>\r\n|"
                                    "<script>\np(\"a[\\\"1\\\",\\\"2\\\"]\");\n</script>\r\n|"));
    fake_abort(x);
    free(x);
}

static void a_closed_session_serves_its_close_frame(void **state)
{
    struct fixture *f = *state;
    f->close_at_once = true;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->close_code, 3000);
    check(f, "POST", "/echo/000/a/xhr", "", 200, "c[3000,\"Go away!\"]\n");
    pass(f, 4000);
    check(f, "GET", "/echo/000/a/jsonp?c=x", "", 200, "/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"a\"]", 404, "");
    struct mdg_exchange *x = start(f, "POST", "/echo/000/a/xhr_streaming");
    assert_string_equal(x->body + 2048, "\n|c[3000,\"Go away!\"]\n|");
    assert_true(x->over);
    free(x);
    pass(f, 5100);
    assert_int_equal(mdg_sockjs_count(f->service), 0);
    x = start(f, "POST", "/echo/000/b/xhr_streaming");
    turn(f);
    assert_string_equal(x->body + 2048, "\n|o\n|c[3000,\"Go away!\"]\n|");
    assert_true(x->over);
    free(x);
}

static void what_was_sent_before_the_close_still_arrives(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("last"), NULL), 0);
    struct mdg_link *l = f->link;
    mdg_link_close(l, 3001, MDG_SLICE_LIT("x"));
    mdg_link_close(l, 3002, MDG_SLICE_LIT("y"));
    assert_int_equal(mdg_link_send_unit(l, MDG_SLICE_LIT("late"), NULL), MDG_E_CLOSED);
    check(f, "POST", "/echo/000/a/xhr", "", 200, "a[\"last\"]\n");
    check(f, "POST", "/echo/000/a/xhr", "", 200, "c[3001,\"x\"]\n");
    assert_int_equal(f->closed, 1);
}

static void a_slow_client_is_told_to_the_owner(void **state)
{
    struct fixture *f = *state;
    char big[60];
    memset(big, 'x', sizeof big);
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, sizeof big), NULL), 0);
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, sizeof big), NULL), MDG_E_FULL);
    assert_int_equal(f->writable, 0);
    struct mdg_exchange *poll = start(f, "POST", "/echo/000/a/xhr");
    assert_true(poll->over);
    free(poll);
    turn(f);
    assert_int_equal(f->writable, 1);
    struct mdg_exchange *stream = start(f, "POST", "/echo/000/a/xhr_streaming");
    stream->full = true;
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("1"), NULL), MDG_E_FULL);
    stream->full = false;
    stream->handler->on_writable(stream);
    assert_int_equal(f->writable, 2);
    assert_int_equal(mdg_link_send_unit(f->link, MDG_SLICE_LIT("1"), NULL), 0);
    fake_abort(stream);
    free(stream);
}

static void bad_uploads_are_named(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"x", 500, "Broken JSON encoding.");
    check(f, "POST", "/echo/000/a/xhr_send", "", 500, "Payload expected.");
    check(f, "POST", "/echo/000/a/xhr_send", "{}", 500, "Payload expected.");
    check(f, "POST", "/echo/000/nobody/xhr_send", "[\"x\"]", 404, "");
    char big[512];
    memset(big, ' ', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    check(f, "POST", "/echo/000/a/xhr_send", big, 413, "");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"ok\"]", 204, "");
    check(f, "POST", "/echo/000/a/xhr", "", 200, "a[\"ok\"]\n");
}

static void jsonp_takes_forms_and_text(void **state)
{
    struct fixture *f = *state;
    check(f, "GET", "/echo/000/a/jsonp?c=%63b", "", 200, "/**/cb(\"o\");\r\n");
    struct mdg_exchange *x = fake_request("POST", "/echo/000/a/jsonp_send");
    fake_header(x, "Content-Type", "application/x-www-form-urlencoded; charset=UTF-8");
    fake_serve(x, &mdg_sockjs_handler, f->service, "d=%5B%22x+%22%5D");
    assert_int_equal(x->status, 200);
    assert_string_equal(x->body, "ok");
    free(x);
    x = fake_request("POST", "/echo/000/a/jsonp_send");
    fake_header(x, "Content-Type", "application/x-www-form-urlencoded");
    fake_serve(x, &mdg_sockjs_handler, f->service, "p=p");
    assert_int_equal(x->status, 500);
    assert_string_equal(x->body, "Payload expected.");
    free(x);
    check(f, "POST", "/echo/000/a/jsonp_send", "[\"%61bc\"]", 200, "ok");
    check(f, "GET", "/echo/000/a/jsonp?callback=x", "", 200,
          "/**/x(\"a[\\\"x \\\",\\\"%61bc\\\"]\");\r\n");
    check(f, "GET", "/echo/000/a/jsonp", "", 500, "\"callback\" parameter required");
    check(f, "GET", "/echo/000/a/htmlfile?c=a%28", "", 500, "invalid \"callback\" parameter");
}

static void an_owner_that_refuses_closes(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    check(f, "POST", "/echo/000/a/xhr_send", "[\"1\",\"fail\",\"2\"]", 204, "");
    assert_string_equal(f->got, "1;fail;");
    assert_int_equal(f->close_code, MDG_CLOSE_PROTOCOL);
    f->status = 403;
    check(f, "POST", "/echo/000/b/xhr", "", 403, "");
    assert_int_equal(f->dropped, 1);
    f->status = 0;
    f->refuse_open = true;
    check(f, "POST", "/echo/000/c/xhr", "", 200, "o\n");
    check(f, "POST", "/echo/000/c/xhr", "", 200, "c[1011,\"\"]\n");
}

static void a_paused_owner_holds_the_uploads(void **state)
{
    struct fixture *f = *state;
    check(f, "POST", "/echo/000/a/xhr", "", 200, "o\n");
    struct mdg_link *l = f->link;
    l->carrier->pause(l, true);
    struct mdg_exchange *one = fake_request("POST", "/echo/000/a/xhr_send");
    fake_serve(one, &mdg_sockjs_handler, f->service, "[\"1\"]");
    struct mdg_exchange *two = fake_request("POST", "/echo/000/a/xhr_send");
    fake_serve(two, &mdg_sockjs_handler, f->service, "[\"2\"]");
    struct mdg_exchange *three = fake_request("POST", "/echo/000/a/xhr_send");
    fake_serve(three, &mdg_sockjs_handler, f->service, "[\"3\"]");
    turn(f);
    assert_false(one->over || two->over || three->over);
    fake_abort(two);
    l->carrier->pause(l, false);
    turn(f);
    assert_int_equal(one->status, 204);
    assert_int_equal(three->status, 204);
    assert_string_equal(f->got, "1;3;");
    l->carrier->pause(l, true);
    struct mdg_exchange *four = fake_request("POST", "/echo/000/a/xhr_send");
    fake_serve(four, &mdg_sockjs_handler, f->service, "[\"4\"]");
    pass(f, 6000);
    assert_int_equal(four->status, 404); /* the session ended meanwhile */
    free(one);
    free(two);
    free(three);
    free(four);
}

static void sessions_are_bounded(void **state)
{
    struct fixture *f = *state;
    char path[32];
    for (unsigned i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "/echo/0/s%u/xhr", i);
        check(f, "POST", path, "", 200, "o\n");
    }
    check(f, "POST", "/echo/0/more/xhr", "", 503, "");
    assert_int_equal(f->dropped, 1);
    pass(f, 6000);
    check(f, "POST", "/echo/0/more/xhr", "", 200, "o\n");
}

static void requests_move_to_the_worker_of_their_session(void **state)
{
    struct fixture *f = *state;
    f->home = (struct mdg_http_server *)f; /* any pointer: the fake does not look */
    struct mdg_exchange *x = start(f, "POST", "/echo/000/far/xhr");
    assert_true(x->over);
    assert_int_equal(x->status, 0);
    free(x);
    assert_int_equal(f->opened, 0);
    check(f, "POST", "/echo/000/near/xhr", "", 200, "o\n");
}

static void pages_of_other_origins_are_refused(void **state)
{
    struct fixture *f = *state;
    f->config.any_origin = false;
    static const char *const paths[] = {"/echo/000/a/xhr", "/echo/000/a/xhr_send"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(paths); i++) {
        struct mdg_exchange *x = fake_request("POST", paths[i]);
        fake_header(x, "Origin", "http://theirs");
        fake_serve(x, &mdg_sockjs_handler, f->service, "");
        assert_int_equal(x->status, 403);
        free(x);
    }
    struct mdg_exchange *x = fake_request("GET", "/echo/000/a/jsonp?c=x");
    fake_header(x, "Sec-Fetch-Site", "cross-site"); /* a script tag on somebody's page */
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    assert_int_equal(x->status, 403);
    free(x);
    x = fake_request("POST", "/echo/000/a/xhr");
    fake_header(x, "Origin", "http://ours");
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    assert_string_equal(x->body, "o\n");
    free(x);
}

static void pages_and_headers_are_as_the_protocol_says(void **state)
{
    struct fixture *f = *state;
    check(f, "GET", "/echo", "", 200, "Welcome to SockJS!\n");
    check(f, "GET", "/echo/", "", 200, "Welcome to SockJS!\n");
    check(f, "GET", "/echo//", "", 404, "");
    check(f, "GET", "/echo/000/a/websocket", "", 404, ""); /* switched off */
    check(f, "GET", "/echo/000/a/xhr", "", 405, "");
    struct mdg_exchange *x = start(f, "GET", "/echo/iframe-1.6.1.html");
    assert_int_equal(x->status, 200);
    assert_non_null(strstr(x->head, "Cache-Control: public, max-age=31536000\nExpires: "));
    char *etag = strstr(x->head, "ETag: ");
    assert_non_null(etag);
    etag[strlen(etag) - 1] = '\0';
    struct mdg_exchange *again = fake_request("GET", "/echo/iframe.html");
    fake_header(again, "If-None-Match", etag + 6);
    fake_serve(again, &mdg_sockjs_handler, f->service, "");
    assert_int_equal(again->status, 304);
    assert_null(strstr(again->head, "Content-Type"));
    free(again);
    free(x);
    x = fake_request("OPTIONS", "/echo/abc/abc/xhr");
    fake_header(x, "Origin", "null");
    fake_header(x, "Access-Control-Request-Headers", "a, b, c");
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    assert_int_equal(x->status, 204);
    assert_non_null(strstr(x->head, "Access-Control-Allow-Origin: null\n"
                                    "Access-Control-Allow-Credentials: true\nVary: Origin\n"
                                    "Access-Control-Allow-Headers: a, b, c\n"));
    assert_non_null(strstr(x->head, "Access-Control-Allow-Methods: OPTIONS, POST\n"
                                    "Access-Control-Max-Age: 31536000\n"));
    free(x);
}

static void the_cookie_is_echoed_where_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    f->config.cookie = true;
    struct mdg_exchange *x = start(f, "POST", "/echo/000/a/xhr");
    assert_non_null(strstr(x->head, "Set-Cookie: JSESSIONID=dummy; path=/\n"));
    free(x);
    x = fake_request("POST", "/echo/000/b/xhr");
    fake_header(x, "Cookie", "JSESSIONID=abcdef");
    fake_serve(x, &mdg_sockjs_handler, f->service, "");
    assert_non_null(strstr(x->head, "Set-Cookie: JSESSIONID=abcdef; path=/\n"));
    free(x);
    x = start(f, "GET", "/echo/info");
    assert_null(strstr(x->head, "Set-Cookie"));
    assert_non_null(strstr(x->body, "\"cookie_needed\":true"));
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(polling_echoes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_parked_poll_is_answered_once_for_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_receiver_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(who_hung_up_is_no_receiver_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(an_aborted_receiver_ends_the_session, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_without_a_receiver_lives_five_seconds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(heartbeats_keep_both_sides_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_end_after_enough_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(http_1_0_streams_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_session_serves_its_close_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_sent_before_the_close_still_arrives, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_slow_client_is_told_to_the_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_uploads_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(jsonp_takes_forms_and_text, setup, teardown),
        cmocka_unit_test_setup_teardown(an_owner_that_refuses_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_paused_owner_holds_the_uploads, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_move_to_the_worker_of_their_session, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pages_of_other_origins_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_and_headers_are_as_the_protocol_says, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_cookie_is_echoed_where_it_is_wanted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
