/* Out of memory at every place: the message or the connection is lost, nothing else, and nothing is
 * left behind. */
#include "tests/support/torture.h"
#include "transport/http_world.h"
#include "transport/poll.h"
#include "transport/push.h"
#include "transport/static.h"

struct scene {
    struct http_world http;
    struct mdg_http_server *other;
    struct mdg_exchange *held;
    struct mdg_link *link;
    struct mdg_stream *upgraded;
};

static const struct mdg_http_config config = {
    .head_bytes_max = 8192,
    .target_bytes_max = 1024,
    .header_count_max = 50,
    .body_bytes_max = 100000,
    .head_timeout_s = 5,
    .body_timeout_s = 5,
    .idle_timeout_s = 5,
    .out_bytes_max = 65536,
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l, (void)in, (void)binary;
    return 0;
}

static void on_link_writable(struct mdg_link *l)
{
    (void)l;
}

static void on_link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct scene *s = l->user_arg;
    (void)code, (void)reason;
    s->link = NULL;
}

static const struct mdg_link_user link_user = {on_input, on_link_writable, on_link_close};

static void on_abort(struct mdg_exchange *x)
{
    struct scene *s = mdg_exchange_arg(x);
    s->held = NULL;
}

static void answer_stream(struct mdg_exchange *x)
{
    if (mdg_exchange_begin(x, 200, NULL, 0) < 0) {
        mdg_exchange_kill(x);
        return;
    }
    for (int i = 0; i < 3; i++) {
        struct mdg_blob *blob = mdg_blob_copy(MDG_SLICE_LIT("piece"));
        struct mdg_chunk c = {blob, 0, 5};
        if (blob && mdg_exchange_write(x, &c, 1) < 0)
            mdg_blob_unref(c.blob);
    }
    mdg_exchange_end(x);
}

static void answer_poll(struct mdg_exchange *x)
{
    struct mdg_blob *unit = mdg_blob_copy(MDG_SLICE_LIT("1"));
    struct mdg_chunk units[2] = {{unit, 0, 1}, {unit, 0, 1}};
    struct mdg_poll_answer a = {MDG_SLICE_LIT("c"), MDG_SLICE_LIT(""), units, unit ? 2 : 0};
    mdg_poll_respond(x, &a, mdg_slice(NULL, 0));
    mdg_blob_unref(unit);
}

static void answer_file(struct mdg_exchange *x)
{
    static const struct mdg_static_file file = {
        .type = "text/plain", .etag = "\"e\"", .bytes = {(const uint8_t *)"file", 4}};
    if (mdg_exchange_add_header(x, MDG_SLICE_LIT("X"), MDG_SLICE_LIT("y")) < 0)
        mdg_exchange_kill(x);
    else
        mdg_static_respond(x, &file);
}

static void nobody_hears(struct mdg_stream *s, int reason)
{
    struct scene *scene = s->user_arg;
    (void)reason;
    scene->upgraded = NULL;
}

static void upgrade(struct scene *s, struct mdg_exchange *x)
{
    static const struct mdg_stream_user user = {
        .name = "upgraded", .on_data = nobody_data, .on_close = nobody_hears};
    if (mdg_exchange_upgrade(x, NULL, 0, &s->upgraded) < 0)
        mdg_exchange_kill(x);
    else
        mdg_stream_adopt(s->upgraded, &user, s);
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    static const struct mdg_push_options options = {.heartbeat_s = 5, .retry_ms = 1};
    struct scene *s = arg;
    mdg_exchange_set_arg(x, s);
    mdg_exchange_handshake(x);
    switch (mdg_exchange_path(x).data[1]) {
    case 's':
        answer_stream(x);
        return 0;
    case 'p':
        answer_poll(x);
        return 0;
    case 'f':
        answer_file(x);
        return 0;
    case 'u':
        upgrade(s, x);
        return 0;
    case 'm':
        return mdg_exchange_move(x, s->other);
    case 'e':
        return mdg_sse_open(x, &options, &link_user, s, &s->link);
    default:
        s->held = x;
        return 0;
    }
}

static int on_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct scene *s = mdg_exchange_arg(x);
    (void)piece;
    if (last && s->held) {
        s->held = NULL;
        mdg_exchange_respond_error(x, 404, "a", "b");
    }
    return 0;
}

static const struct mdg_http_handler *route(void *router, struct mdg_exchange *x, void **arg)
{
    static const struct mdg_http_handler handler = {
        .on_request = on_request, .on_body = on_body, .on_abort = on_abort};
    (void)x;
    *arg = router;
    return &handler;
}

static const struct mdg_http_handler *elsewhere(void *router, struct mdg_exchange *x, void **arg)
{
    (void)router, (void)arg;
    answer_file(x);
    return NULL;
}

/* The client's end, or -1. */
static int join(struct scene *s)
{
    int pair[2];
    struct mdg_stream *stream;
    static const struct mdg_stream_user nobody = {
        .name = "nobody", .on_data = nobody_data, .on_close = nobody_close};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    if (mdg_stream_from_fd(s->http.net, pair[0], &nobody, s, &stream) < 0) {
        close(pair[0]);
        close(pair[1]);
        return -1;
    }
    if (mdg_http_server_accept(s->http.server, stream) < 0)
        mdg_stream_close(stream, MDG_E_NO_MEMORY);
    return pair[1];
}

static void talk(struct scene *s, const char *first, const char *second)
{
    s->http.fd = join(s);
    for (int i = 0; i < 2 && s->http.fd >= 0; i++) {
        const char *text = i == 0 ? first : second;
        s->http.len = 0;
        if (send(s->http.fd, text, strlen(text), MSG_NOSIGNAL) < 0)
            break; /* closed already */
        settle(&s->http);
    }
    if (s->link) {
        struct mdg_unit_meta meta = {0};
        int err = mdg_link_send_unit(s->link, MDG_SLICE_LIT("unit"), &meta);
        assert_true(err == 0 || err == MDG_E_NO_MEMORY || err == MDG_E_CLOSED);
        mdg_link_close(s->link, MDG_CLOSE_NORMAL, MDG_SLICE_LIT(""));
    }
    if (s->http.fd >= 0)
        close(s->http.fd);
    s->http.fd = -1;
    settle(&s->http);
    assert_null(s->link);
    assert_null(s->held);
    assert_null(s->upgraded);
}

#define END " HTTP/1.1\r\nHost: a\r\n\r\n"

static void scene(void *arg)
{
    struct scene *s = arg;
    memset(s, 0, sizeof *s);
    s->http.fd = -1;
    mdg_test_torture_pause();
    assert_int_equal(mdg_loop_new(NULL, &s->http.loop), 0);
    assert_int_equal(mdg_net_new(s->http.loop, NULL, &s->http.net), 0);
    mdg_test_torture_resume();
    int err = mdg_http_server_new(s->http.net, &config, route, s, &s->http.server);
    if (err == 0)
        err = mdg_http_server_new(s->http.net, &config, elsewhere, NULL, &s->other);
    if (err == 0) {
        talk(s, "GET /f HTTP/1.1\r\nHo", "st: a\r\n\r\nGET /s" END "GET /p" END);
        talk(s, "POST /h HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
             "bc\r\n0\r\n\r\n");
        talk(s, "POST /h HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
             "abc");
        talk(s, "GET /e" END, "");
        talk(s, "GET /u" END, "more");
        talk(s, "GET /m" END "GET /f" END, "bad\r\n\r\n");
    }
    mdg_test_torture_pause();
    mdg_http_server_free(s->http.server);
    mdg_http_server_free(s->other);
    turns(&s->http);
    mdg_net_free(s->http.net);
    mdg_loop_free(s->http.loop);
}

static void nothing_is_left_behind_when_memory_runs_out(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    assert_non_null(s);
    mdg_test_torture(scene, s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_behind_when_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
