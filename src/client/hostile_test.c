/* Servers that do what no server should: the client ends, or goes on, but it neither waits for ever
 * nor asks without end. Real sockets on the loopback, in one thread. */
#include "base/base.h"
#include "madang/client.h"
#include "tests/support/unit.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 32, PIECE = 16384, LOOK_MS = 300, PATIENCE_MS = 5000 };

struct server;

struct connection {
    int fd;
    bool deaf; /* nothing more is read */
};

struct server {
    int fd;
    unsigned port, heard; /* pieces of what clients said */
    struct connection connections[CONNECTIONS_MAX];
    size_t count;
    void (*take)(struct server *s, struct connection *c, const char *text);
    const char *nonsense;
    bool greeted;
    bool second; /* what the test waits for */
};

struct fixture {
    struct server server;
    struct madang_clients *clients;
    struct madang_client *client;
    unsigned opens, downs, messages;
    bool open;
    char reason[128];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    int small = 65536;
    assert_non_null(f);
    f->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(f->server.fd >= 0);
    assert_int_equal(setsockopt(f->server.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(bind(f->server.fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(f->server.fd, CONNECTIONS_MAX), 0);
    assert_int_equal(getsockname(f->server.fd, (struct sockaddr *)&addr, &len), 0);
    f->server.port = ntohs(addr.sin_port);
    assert_int_equal(madang_clients_new(&f->clients), 0);
    *state = f;
    return 0;
}

static void hang_up(struct server *s)
{
    for (size_t i = 0; i < s->count; i++)
        close(s->connections[i].fd);
    s->count = 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    madang_clients_free(f->clients);
    hang_up(&f->server);
    close(f->server.fd);
    free(f);
    return 0;
}

static void say(const struct connection *c, const char *text, size_t len)
{
    assert_int_equal(send(c->fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A response with this body. */
static void respond(const struct connection *c, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    say(c, text, (size_t)n);
}

static void hear(struct server *s, struct connection *c)
{
    char text[PIECE + 1];
    ssize_t n = c->deaf ? -1 : recv(c->fd, text, PIECE, MSG_DONTWAIT);
    if (n <= 0)
        return;
    text[n] = '\0';
    s->heard++;
    s->take(s, c, text);
}

static void turn(struct fixture *f)
{
    struct server *s = &f->server;
    int fd =
        s->count < CONNECTIONS_MAX ? accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd >= 0)
        s->connections[s->count++] = (struct connection){.fd = fd};
    for (size_t i = 0; i < s->count; i++)
        hear(s, &s->connections[i]);
    assert_true(madang_clients_step(f->clients, 1) >= 0);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void look(struct fixture *f, uint64_t ms)
{
    for (uint64_t end = now_ms() + ms; now_ms() < end;)
        turn(f);
}

static void wait_for(struct fixture *f, const bool *what)
{
    for (uint64_t end = now_ms() + PATIENCE_MS; !*what && now_ms() < end;)
        turn(f);
    assert_true(*what);
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct fixture *f = arg;
    (void)client;
    (void)subprotocol;
    f->opens++;
    f->open = true;
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct fixture *f = arg;
    (void)client;
    (void)data;
    (void)len;
    (void)binary;
    f->messages++;
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct fixture *f = arg;
    (void)client;
    (void)code;
    assert_true(retry_ms < 0);
    f->downs++;
    f->client = NULL;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
}

static void open_client(struct fixture *f, const char *scheme, const char *target,
                        void (*take)(struct server *s, struct connection *c, const char *text))
{
    static const struct madang_client_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_down = on_down};
    char url[256];
    snprintf(url, sizeof url, "%s://127.0.0.1:%u%s", scheme, f->server.port, target);
    const struct madang_client_options options = {
        .url = url, .proxy = "", .buffer_bytes_max = 64 << 20};
    f->server.take = take;
    assert_int_equal(madang_client_open(f->clients, &options, &handlers, f, &f->client), 0);
}

/* ---- polls ---- */

static void answer_nothing_at_once(struct server *s, struct connection *c, const char *text)
{
    (void)s;
    (void)text;
    respond(c, "{\"cursor\":\"c1\",\"messages\":[]}");
}

static void a_poll_that_does_not_wait_is_not_asked_without_end(void **state)
{
    struct fixture *f = *state;
    open_client(f, "poll", "/poll?room=a", answer_nothing_at_once);
    look(f, LOOK_MS);
    assert_int_equal(f->opens, 1);
    assert_int_equal(f->downs, 0);
    assert_in_range(f->server.heard, 2, 3);
}

static void answer_a_message_at_once(struct server *s, struct connection *c, const char *text)
{
    (void)text;
    respond(c, s->heard <= 10 ? "{\"cursor\":\"c1\",\"messages\":[{\"n\":1}]}"
                              : "{\"cursor\":\"c1\",\"messages\":[]}");
}

static void a_poll_that_brings_something_is_asked_again_at_once(void **state)
{
    struct fixture *f = *state;
    open_client(f, "poll", "/poll?room=a", answer_a_message_at_once);
    look(f, LOOK_MS);
    assert_int_equal(f->messages, 10);
}

/* ---- Engine.IO by polls ---- */

static void greet_and_say_nothing(struct server *s, struct connection *c, const char *text)
{
    (void)text;
    respond(c, s->heard == 1
                   ? "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000}"
                   : "");
}

static void an_answer_without_a_packet_ends_a_session(void **state)
{
    struct fixture *f = *state;
    open_client(f, "eio+poll", "/", greet_and_say_nothing);
    look(f, LOOK_MS);
    assert_int_equal(f->opens, 1);
    assert_int_equal(f->downs, 1);
    assert_int_equal(f->server.heard, 2);
}

static void take_little(struct server *s, struct connection *c, const char *text)
{
    static const char open[] =
        "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,"
        "\"maxPayload\":100}";
    if (strncmp(text, "POST", 4) == 0) {
        respond(c, "ok");
        s->second |= strstr(text, "42[\"message\",\"later\"]") != NULL;
    } else if (!strstr(text, "sid=")) {
        respond(c, open);
    } else if (!s->greeted) {
        s->greeted = true;
        respond(c, "40{\"sid\":\"y\"}");
    }
}

/* Its packet would be on the way already, and wait for it for ever. */
static void an_attachment_that_is_too_long_for_the_server_is_not_begun(void **state)
{
    struct fixture *f = *state;
    char bytes[200] = "";
    open_client(f, "sio+poll", "/", take_little);
    wait_for(f, &f->open);
    assert_int_equal(madang_client_send(f->client, bytes, sizeof bytes, true), MADANG_E_TOO_BIG);
    assert_int_equal(madang_client_send(f->client, "later", 5, false), 0);
    wait_for(f, &f->server.second);
    assert_int_equal(f->downs, 0);
}

/* ---- SockJS by requests ---- */

static void answer_before_all_is_there(struct server *s, struct connection *c, const char *text)
{
    static const char streaming[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no\n\r\n";
    static const char taken[] = "HTTP/1.1 204 No Content\r\n\r\n";
    if (strstr(text, "/xhr_streaming")) {
        say(c, streaming, sizeof streaming - 1);
    } else if (strstr(text, "/xhr_send")) {
        c->deaf = !strstr(text, "second");
        s->second |= !c->deaf;
        say(c, taken, sizeof taken - 1);
    }
}

/* The rest of that request is still to be sent: nothing may be sent behind it. */
static void what_is_said_after_an_early_answer_arrives(void **state)
{
    enum { MUCH = 32 << 20 };
    struct fixture *f = *state;
    char *much = malloc(MUCH);
    assert_non_null(much);
    memset(much, 'x', MUCH);
    open_client(f, "sockjs+xhr", "/echo", answer_before_all_is_there);
    wait_for(f, &f->open);
    assert_int_equal(madang_client_send(f->client, much, MUCH, false), 0);
    look(f, LOOK_MS);
    assert_int_equal(madang_client_send(f->client, "second", 6, false), 0);
    wait_for(f, &f->server.second);
    assert_int_equal(f->downs, 0);
    free(much);
}

/* ---- STOMP ---- */

static void give_receipts_for_nothing(struct server *s, struct connection *c, const char *text)
{
    static const char connected[] = "CONNECTED\nversion:1.2\n\n";
    static const char receipts[] = "RECEIPT\nreceipt-id:subscribed\n\n\0"
                                   "RECEIPT\nreceipt-id:subscribed\n\n\0"
                                   "RECEIPT\nreceipt-id:1\n\n\0"
                                   "RECEIPT\nreceipt-id:2\n\n";
    (void)s;
    if (strstr(text, "CONNECT"))
        say(c, connected, sizeof connected);
    if (strstr(text, "SUBSCRIBE"))
        say(c, receipts, sizeof receipts);
}

static void receipts_that_nobody_asked_for_count_for_nothing(void **state)
{
    struct fixture *f = *state;
    open_client(f, "stomp", "/topic/a", give_receipts_for_nothing);
    look(f, LOOK_MS);
    assert_int_equal(f->opens, 1);
    assert_int_equal(madang_client_queued(f->client), 0);
    assert_int_equal(madang_client_send(f->client, "hello", 5, false), 0);
    assert_in_range(madang_client_queued(f->client), 1, 1000);
}

/* ---- every kind of client ---- */

static const char *const nonsense[] = {
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc",
    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
     "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n\x81\x7f\xff"),
    "HTTP/1.1 204 No Content\r\n\r\n0{\"sid\":\"\\u0000\"}",
    "CONNECTED\nversion:9.9\n\ncontent",
    "\x16\x03\x01\xff\xff\x01\xff\xff",
};

static void answer_nonsense(struct server *s, struct connection *c, const char *text)
{
    (void)text;
    say(c, s->nonsense, strlen(s->nonsense));
}

static void nonsense_ends_every_client_of_http(void **state)
{
    static const char *const schemes[] = {"ws",         "http",     "poll",  "sockjs",
                                          "sockjs+xhr", "stomp+ws", "sio",   "eio",
                                          "sio+poll",   "eio+poll", "stomp", "tcp"};
    struct fixture *f = *state;
    for (size_t i = 0; i < MDG_ARRAY_LEN(schemes) * MDG_ARRAY_LEN(nonsense); i++) {
        const char *scheme = schemes[i / MDG_ARRAY_LEN(nonsense)];
        bool text = strcmp(scheme, "tcp") == 0 || strcmp(scheme, "stomp") == 0;
        f->server.nonsense = nonsense[i % MDG_ARRAY_LEN(nonsense)];
        f->server.heard = f->downs = 0;
        open_client(f, scheme, strcmp(scheme, "poll") == 0 ? "/poll" : "/x", answer_nonsense);
        for (uint64_t end = now_ms() + LOOK_MS / 10; f->downs == 0 && now_ms() < end;)
            turn(f);
        if (!text && f->downs == 0)
            fail_msg("%s lives on after %s", scheme, f->server.nonsense);
        assert_in_range(f->server.heard, 0, 3);
        if (f->client)
            madang_client_close(f->client, 1000, "");
        hang_up(&f->server);
        for (uint64_t end = now_ms() + PATIENCE_MS; f->client && now_ms() < end;)
            turn(f);
        assert_null(f->client);
    }
}

/* ---- what the caller was given by somebody else ---- */

static void line_breaks_forge_no_header_lines(void **state)
{
    static const struct madang_client_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_down = on_down};
    static const char forged[] = "/x HTTP/1.1\r\nCookie: mine";
    const struct madang_client_options options[] = {
        {.url = "sio+poll://127.0.0.1", .path = forged},
        {.url = "poll://127.0.0.1/poll", .position = forged},
        {.url = "sse://127.0.0.1/sse", .origin = forged},
        {.url = "ws://127.0.0.1/", .subprotocols = forged},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < MDG_ARRAY_LEN(options); i++)
        assert_int_equal(madang_client_open(f->clients, &options[i], &handlers, f, &f->client),
                         MADANG_E_SYNTAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_poll_that_does_not_wait_is_not_asked_without_end),
        TEST(a_poll_that_brings_something_is_asked_again_at_once),
        TEST(an_answer_without_a_packet_ends_a_session),
        TEST(an_attachment_that_is_too_long_for_the_server_is_not_begun),
        TEST(what_is_said_after_an_early_answer_arrives),
        TEST(receipts_that_nobody_asked_for_count_for_nothing),
        TEST(nonsense_ends_every_client_of_http),
        TEST(line_breaks_forge_no_header_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
