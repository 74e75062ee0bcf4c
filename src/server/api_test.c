/* The public interface, used as an embedder uses it: in his own loop, from other threads, with
 * handlers that misbehave. The clients are plain sockets on the same thread. */
#include "base/base.h"
#include "madang/madang.h"
#include "tests/support/dial.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

struct log {
    char text[4096];
    size_t len;
    uint64_t held;
    /* Written by a worker, read by the test and its threads. */
    _Atomic madang_peer last;
    _Atomic(struct madang *) server;
    atomic_int done;
};

static void note(struct log *log, const char *fmt, ...) MDG_PRINTF(2, 3);
static void note(struct log *log, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(log->text + log->len, sizeof log->text - log->len, fmt, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof log->text - log->len);
    log->len += (size_t)n;
}

static char state_dir[] = "/tmp/madang-api-XXXXXX";

static struct madang *new_server_with(bool embedded, const char *name, const char *value)
{
    struct madang_config *config;
    struct madang *server;
    assert_int_equal(madang_config_new(&config), 0);
    assert_int_equal(madang_config_set(config, "listen", "127.0.0.1:0"), 0);
    assert_int_equal(madang_config_set(config, "state_dir", state_dir), 0);
    assert_int_equal(madang_config_set(config, "log_level", "error"), 0);
    assert_int_equal(madang_config_set(config, "workers", embedded ? "1" : "2"), 0);
    assert_int_equal(madang_config_set(config, "embedded", embedded ? "on" : "off"), 0);
    if (name)
        assert_int_equal(madang_config_set(config, name, value), 0);
    assert_int_equal(madang_new(config, &server), 0);
    madang_config_free(config);
    return server;
}

static struct madang *new_server(bool embedded)
{
    return new_server_with(embedded, NULL, NULL);
}

/* ---- a client ---- */

static int dial(struct madang *server)
{
    return mdg_test_dial(madang_port(server));
}

static void put(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Turns the server until the socket has bytes; their number, 0 at the end. */
static size_t get(struct madang *server, bool embedded, int fd, void *out, size_t size)
{
    for (int waited = 0; waited < PATIENCE_MS; waited += 2) {
        struct pollfd p = {fd, POLLIN, 0};
        if (embedded)
            assert_int_equal(madang_step(server, 0), 0);
        if (poll(&p, 1, 2) == 1) {
            ssize_t n = recv(fd, out, size, 0);
            return n > 0 ? (size_t)n : 0;
        }
    }
    fail_msg("nothing came");
    return 0;
}

static void turn(struct madang *server, int times)
{
    for (int i = 0; i < times; i++)
        assert_int_equal(madang_step(server, 1), 0);
}

static void ask_upgrade(int fd, const char *path)
{
    char request[512];
    int n =
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                 path);
    put(fd, request, (size_t)n);
}

static int open_ws(struct madang *server, bool embedded, const char *path)
{
    char answer[1024];
    int fd = dial(server);
    ask_upgrade(fd, path);
    size_t n = get(server, embedded, fd, answer, sizeof answer - 1);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "101 Switching Protocols"));
    return fd;
}

/* A masked frame (key 0: the bytes stay as they are) of at most 125 bytes. */
static void put_frame(int fd, uint8_t first, const char *text)
{
    uint8_t frame[6 + 125] = {first, (uint8_t)(0x80 | strlen(text))};
    memcpy(frame + 6, text, strlen(text));
    put(fd, frame, 6 + strlen(text));
}

static void expect_frame(struct madang *server, bool embedded, int fd, uint8_t first,
                         const char *text)
{
    uint8_t frame[256];
    size_t want = 2 + strlen(text), have = 0;
    while (have < want) {
        size_t n = get(server, embedded, fd, frame + have, want - have);
        assert_true(n > 0);
        have += n;
    }
    assert_int_equal(frame[0], first);
    assert_int_equal(frame[1], strlen(text));
    assert_memory_equal(frame + 2, text, strlen(text));
}

/* ---- handlers ---- */

static void on_open(struct madang *server, madang_peer peer, void *arg)
{
    struct log *log = arg;
    log->server = server;
    log->last = peer;
    note(log, "open;");
}

static void on_message(struct madang *server, madang_peer peer, const void *data, size_t len,
                       bool binary, void *arg)
{
    struct log *log = arg;
    note(log, "%s(%.*s);", binary ? "binary" : "text", (int)len, (const char *)data);
    if (len == 4 && memcmp(data, "join", 4) == 0)
        assert_int_equal(madang_join(server, peer, "r"), 0);
    else if (len == 5 && memcmp(data, "close", 5) == 0)
        assert_int_equal(madang_close(server, peer, 3001, "enough"), 0);
    else if (len == 3 && memcmp(data, "all", 3) == 0)
        assert_int_equal(madang_publish(server, "r", "to all", 6, false, peer), 0);
    else
        assert_int_equal(madang_send(server, peer, data, len, binary), 0);
}

static void on_close(struct madang *server, madang_peer peer, int code, const char *reason,
                     size_t reason_len, void *arg)
{
    struct log *log = arg;
    note(log, "close %d %.*s;", code, (int)reason_len, reason);
    /* A handler that goes on as if nothing had happened. */
    assert_int_equal(madang_publish(server, "r", "one left", 8, false, peer), 0);
    (void)madang_send(server, peer, "late", 4, false);
    (void)madang_close(server, peer, 1000, NULL);
    (void)madang_join(server, peer, "r");
    madang_set_user(server, peer, NULL);
    atomic_fetch_add(&log->done, 1);
}

static const struct madang_ws_handlers handlers = {
    .on_open = on_open, .on_message = on_message, .on_close = on_close};

static void messages_pass_inside_someone_elses_loop(void **state)
{
    (void)state;
    struct log log = {0};
    struct madang *server = new_server(true);
    assert_int_equal(madang_ws(server, "/ws", &handlers, &log), 0);
    assert_int_equal(madang_ws(server, "/ws", &handlers, &log), MADANG_E_EXISTS);
    assert_int_equal(madang_ws(server, "ws", &handlers, &log), MADANG_E_SYNTAX);
    assert_int_equal(madang_start(server), 0);
    assert_int_equal(madang_ws(server, "/late", &handlers, &log), MADANG_E_UNSUPPORTED);
    assert_true(madang_fd(server) >= 0);
    int fd = open_ws(server, true, "/ws");
    put_frame(fd, 0x81, "hello");
    expect_frame(server, true, fd, 0x81, "hello");
    put_frame(fd, 0x82, "bytes");
    expect_frame(server, true, fd, 0x82, "bytes");
    int thing;
    madang_set_user(server, log.last, &thing);
    assert_ptr_equal(madang_user(server, log.last), &thing);
    put_frame(fd, 0x81, "close");
    expect_frame(server, true, fd, 0x88,
                 "\x0b\xb9"
                 "enough");
    put_frame(fd, 0x88, "\x0b\xb9");
    uint8_t byte;
    assert_int_equal(get(server, true, fd, &byte, 1), 0);
    close(fd);
    turn(server, 3);
    assert_string_equal(log.text, "open;text(hello);binary(bytes);text(close);close 3001 ;");
    assert_int_equal(madang_send(server, log.last, "x", 1, false), MADANG_E_GONE);
    assert_int_equal(madang_close(server, log.last, 1000, NULL), MADANG_E_GONE);
    assert_int_equal(madang_close(server, log.last, 1006, NULL), MADANG_E_SYNTAX);
    assert_null(madang_user(server, log.last));
    madang_free(server);
}

static void members_of_a_room_hear_each_other_and_of_who_left(void **state)
{
    (void)state;
    struct log log = {0};
    struct madang *server = new_server(true);
    assert_int_equal(madang_ws(server, "/ws", &handlers, &log), 0);
    assert_int_equal(madang_start(server), 0);
    int a = open_ws(server, true, "/ws"), b = open_ws(server, true, "/ws");
    put_frame(a, 0x81, "join");
    put_frame(b, 0x81, "join");
    turn(server, 5);
    put_frame(a, 0x81, "all");
    expect_frame(server, true, b, 0x81, "to all");
    close(a); /* vanishes without a word */
    expect_frame(server, true, b, 0x81, "one left");
    close(b);
    turn(server, 5);
    madang_free(server);
}

static int hold(struct madang *server, struct madang_request *request, void *arg)
{
    struct log *log = arg;
    (void)server;
    note(log, "%s %s %s;", madang_request_method(request), madang_request_path(request),
         madang_request_header(request, "host"));
    const char *query = madang_request_query(request);
    if (query && strcmp(query, "no") == 0)
        return 418;
    log->held = madang_request_hold(request);
    return MADANG_LATER;
}

static void a_handshake_may_be_answered_later_or_refused(void **state)
{
    (void)state;
    struct log log = {0};
    struct madang_ws_handlers with_hold = handlers;
    char answer[1024];
    with_hold.on_handshake = hold;
    struct madang *server = new_server(true);
    assert_int_equal(madang_ws(server, "/ws", &with_hold, &log), 0);
    assert_int_equal(madang_start(server), 0);

    int refused = dial(server);
    ask_upgrade(refused, "/ws?no");
    size_t n = get(server, true, refused, answer, sizeof answer - 1);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 418"));
    close(refused);

    int later = dial(server);
    ask_upgrade(later, "/ws");
    turn(server, 5);
    assert_true(log.held != 0);
    uint64_t held = log.held;
    assert_int_equal(madang_accept(server, held), 0);
    n = get(server, true, later, answer, sizeof answer - 1);
    assert_true(n > 12 && memcmp(answer, "HTTP/1.1 101", 12) == 0);
    put_frame(later, 0x81, "hello");
    expect_frame(server, true, later, 0x81, "hello");
    close(later);

    int impatient = dial(server);
    ask_upgrade(impatient, "/ws");
    turn(server, 5);
    close(impatient);
    turn(server, 5);
    /* Gone before the answer: nothing happens. */
    (void)madang_refuse(server, log.held, 403);
    turn(server, 5);
    madang_free(server);
}

static void post_back(struct madang *server, void *arg)
{
    (void)server;
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void *publisher(void *arg)
{
    struct log *log = arg;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(madang_publish(log->server, "r", "x", 1, false, 0), 0);
        assert_int_equal(madang_post(log->server, log->last, post_back, &log->done), 0);
    }
    return NULL;
}

static void other_threads_may_publish_post_and_close(void **state)
{
    (void)state;
    struct log *log = calloc(1, sizeof *log);
    pthread_t threads[2];
    uint8_t bytes[1024];
    struct madang_ws_handlers quiet = {.on_open = on_open};
    assert_non_null(log);
    struct madang *server = new_server(false);
    assert_int_equal(madang_ws(server, "/ws", &quiet, log), 0);
    assert_int_equal(madang_start(server), 0);
    int fd = open_ws(server, false, "/ws");
    assert_int_equal(madang_join(server, log->last, "r"), 0);
    usleep(50000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publisher, log), 0);
    size_t have = 0;
    while (have < 200 * 3)
        have += get(server, false, fd, bytes, sizeof bytes);
    assert_int_equal(have, 200 * 3);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(madang_after(server, 10, post_back, &log->done), 0);
    for (int i = 0; i < PATIENCE_MS && atomic_load(&log->done) < 201; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&log->done), 201);
    assert_int_equal(madang_after(server, 1000000, post_back, &log->done), 0);
    assert_int_equal(madang_close(server, log->last, 1000, "bye"), 0);
    expect_frame(server, false, fd, 0x88,
                 "\x03\xe8"
                 "bye");
    close(fd);
    madang_free(server);
    free(log);
}

static int stream_answer(struct madang *server, struct madang_request *request, void *arg)
{
    struct madang_header header = {"Content-Type", "text/plain"};
    (void)server, (void)arg;
    const char *name = madang_request_param(request, "name");
    assert_string_equal(name, "ann");
    assert_int_equal(madang_respond_begin(request, 200, &header, 1), 0);
    assert_int_equal(madang_respond_write(request, name, 3), 0);
    assert_int_equal(madang_respond_write(request, "!", 1), 0);
    return madang_respond_end(request);
}

static int fail_it(struct madang *server, struct madang_request *request, void *arg)
{
    (void)server, (void)request, (void)arg;
    return MADANG_E_NO_MEMORY;
}

static void http_routes_answer_whole_streamed_and_not_at_all(void **state)
{
    (void)state;
    static const struct madang_http_handlers streamed = {.on_request = stream_answer};
    static const struct madang_http_handlers failing = {.on_request = fail_it};
    struct madang *server = new_server(true);
    char answer[2048];
    assert_int_equal(madang_http(server, "GET", "/hello/{name}", &streamed, NULL), 0);
    assert_int_equal(madang_http(server, "GET", "/fail", &failing, NULL), 0);
    assert_int_equal(madang_start(server), 0);
    static const char *const cases[][2] = {
        {"GET /hello/ann HTTP/1.1\r\nHost: a\r\n\r\n", "3\r\nann\r\n1\r\n!\r\n0\r\n\r\n"},
        {"GET /hello/ann HTTP/1.0\r\n\r\n", "ann!"},
        {"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 500"},
        {"PUT /fail HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405"},
        {"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        int fd = dial(server);
        put(fd, cases[i][0], strlen(cases[i][0]));
        size_t have = 0;
        do {
            have += get(server, true, fd, answer + have, sizeof answer - 1 - have);
            answer[have] = '\0';
        } while (!strstr(answer, cases[i][1]));
        close(fd);
    }
    turn(server, 3);
    madang_free(server);
}

static int say_who(struct madang *server, struct madang_request *request, void *arg)
{
    char text[128];
    (void)server;
    (void)arg;
    int n = snprintf(text, sizeof text, "<%s %s>", madang_request_address(request),
                     madang_request_secure(request) ? "secure" : "plain");
    return madang_respond(request, 200, NULL, 0, text, (size_t)n);
}

/* What a client wrote itself stands in front of what its proxy added. */
static void only_what_the_trusted_proxy_added_is_believed(void **state)
{
    (void)state;
    static const struct madang_http_handlers who = {.on_request = say_who};
    static const char *const cases[][2] = {
        {"", "<127.0.0.1 plain>"},
        {"X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: https\r\n", "<203.0.113.1 secure>"},
        {"X-Forwarded-For: 198.51.100.9, 203.0.113.1\r\n", "<203.0.113.1 plain>"},
        {"X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 203.0.113.1\r\n",
         "<203.0.113.1 plain>"},
        {"X-Forwarded-For: 203.0.113.1\r\nX: y\r\nx-forwarded-for: 127.0.0.1\r\n",
         "<203.0.113.1 plain>"},
        {"X-Forwarded-For: 203.0.113.1, rubbish\r\n", "<127.0.0.1 plain>"},
        {"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "<127.0.0.1 plain>"},
    };
    static const char by_proxy_header[] =
        "PROXY TCP4 203.0.113.1 127.0.0.1 1234 80\r\nGET /who HTTP/1.1\r\nHost: a\r\n"
        "X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-Proto: https\r\n\r\n";
    for (int trusted = 0; trusted < 2; trusted++) {
        struct madang *server =
            new_server_with(true, trusted ? "trusted_proxies" : NULL, "127.0.0.0/8");
        assert_int_equal(madang_http(server, "GET", "/who", &who, NULL), 0);
        assert_int_equal(madang_start(server), 0);
        for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
            char text[512];
            int fd = dial(server);
            int n =
                snprintf(text, sizeof text, "GET /who HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i][0]);
            put(fd, text, (size_t)n);
            text[get(server, true, fd, text, sizeof text - 1)] = '\0';
            assert_non_null(strstr(text, trusted ? cases[i][1] : "<127.0.0.1 plain>"));
            close(fd);
        }
        if (trusted) {
            char text[512];
            int fd = dial(server);
            put(fd, by_proxy_header, sizeof by_proxy_header - 1);
            text[get(server, true, fd, text, sizeof text - 1)] = '\0';
            assert_non_null(strstr(text, "<203.0.113.1 secure>"));
            close(fd);
        }
        turn(server, 3);
        madang_free(server);
    }
}

static void wrong_addresses_and_files_are_explained(void **state)
{
    (void)state;
    struct madang_config *config;
    struct madang *server;
    assert_int_equal(madang_config_new(&config), 0);
    assert_int_equal(madang_config_set(config, "workers", "many"), MADANG_E_SYNTAX);
    assert_non_null(strstr(madang_config_error(config), "workers"));
    assert_int_equal(madang_config_set(config, "state_dir", state_dir), 0);
    assert_int_equal(madang_config_set(config, "listen", "nowhere:x"), 0);
    assert_true(madang_new(config, &server) < 0);
    assert_non_null(strstr(madang_error_text(server), "nowhere:x"));
    madang_free(server);
    madang_config_free(config);
    assert_string_equal(madang_param(0)->name, "listen");
}

static void build_and_free(void *arg)
{
    struct madang_config *config = NULL;
    struct madang *server = NULL;
    (void)arg;
    int err = madang_config_new(&config);
    if (err == 0)
        err = madang_config_set(config, "listen", "127.0.0.1:0");
    if (err == 0)
        err = madang_config_set(config, "state_dir", state_dir);
    if (err == 0)
        err = madang_config_set(config, "log_level", "error");
    if (err == 0)
        err = madang_config_set(config, "workers", "1");
    if (err == 0)
        err = madang_config_set(config, "embedded", "on");
    if (err == 0)
        err = madang_new(config, &server);
    if (err < 0 && server)
        assert_non_null(strstr(madang_error_text(server), "memory"));
    madang_config_free(config);
    if (err == 0)
        err = madang_mount_all(server);
    if (err == 0)
        err = madang_start(server);
    if (err == 0)
        err = madang_step(server, 0);
    madang_free(server);
}

/* Whichever allocation fails, starting says so and leaves nothing behind. */
static void a_start_without_memory_fails_cleanly(void **state)
{
    (void)state;
    mdg_test_torture(build_and_free, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_pass_inside_someone_elses_loop),
        cmocka_unit_test(members_of_a_room_hear_each_other_and_of_who_left),
        cmocka_unit_test(a_handshake_may_be_answered_later_or_refused),
        cmocka_unit_test(other_threads_may_publish_post_and_close),
        cmocka_unit_test(http_routes_answer_whole_streamed_and_not_at_all),
        cmocka_unit_test(only_what_the_trusted_proxy_added_is_believed),
        cmocka_unit_test(wrong_addresses_and_files_are_explained),
        cmocka_unit_test(a_start_without_memory_fails_cleanly),
    };
    assert_non_null(mkdtemp(state_dir));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
