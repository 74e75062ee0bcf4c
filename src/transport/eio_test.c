/* Engine.IO sessions over real sockets: what the reference server answers, and every mistake that
 * other servers made (PITFALLS 1-11). The owner above is an echo. */
#include "base/mask.h"
#include "codec/ws.h"
#include "tests/support/net_peer.h"
#include "transport/eio.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { CLIENTS = 4 };

struct fixture {
    struct test_net net;
    struct mdg_http_server *http;
    struct mdg_ws_worker *ws;
    struct mdg_eio_worker *eio;
    struct mdg_eio_options options;
    int fds[CLIENTS];
    char in[CLIENTS][16384];
    size_t in_len[CLIENTS];
    struct mdg_link *link; /* the newest session */
    const char *body;      /* of the last response */
    unsigned opens, closes, inputs;
    char reason[64], last[256];
    bool hold, deny;
    struct mdg_eio_held *held;
    unsigned dropped;
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct fixture *f = l->user_arg;
    const struct mdg_unit_meta meta = {.binary = binary};
    snprintf(f->last, sizeof f->last, "%s%.*s", binary ? "b:" : "", (int)in.len, (char *)in.data);
    f->inputs++;
    if (in.len == 3 && memcmp(in.data, "bad", 3) == 0)
        return MDG_E_PROTO;
    if (in.len == 3 && memcmp(in.data, "bye", 3) == 0)
        mdg_link_close(l, 1000, mdg_slice(NULL, 0));
    else
        assert_int_equal(mdg_link_send_unit(l, mdg_slice(in.data, in.len), &meta), 0);
    return 0;
}

static void on_writable(struct mdg_link *l)
{
    (void)l;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct fixture *f = l->user_arg;
    (void)code;
    f->closes++;
    f->link = NULL;
    snprintf(f->reason, sizeof f->reason, "%.*s", (int)reason.len, (const char *)reason.data);
}

static const struct mdg_link_user echo = {on_input, on_writable, on_close};

static int on_open(void *arg, struct mdg_link *l, const struct mdg_handshake *hs)
{
    struct fixture *f = arg;
    assert_non_null(hs->path.data);
    l->user = &echo;
    l->user_arg = f;
    f->link = l;
    f->opens++;
    return 0;
}

static int on_handshake(void *arg, struct mdg_exchange *x, struct mdg_eio_held *held,
                        struct mdg_slice *message)
{
    struct fixture *f = arg;
    (void)x;
    f->held = held;
    if (f->deny)
        *message = MDG_SLICE_LIT("not today");
    return f->deny ? -1 : f->hold ? MDG_EIO_LATER : 0;
}

static void on_dropped(void *arg, struct mdg_eio_held *held)
{
    struct fixture *f = arg;
    assert_ptr_equal(held, f->held);
    f->dropped++;
}

static const struct mdg_eio_hooks hooks = {
    .on_handshake = on_handshake, .on_dropped = on_dropped, .on_open = on_open};

static const struct mdg_http_handler *route(void *router, struct mdg_exchange *x, void **arg)
{
    struct fixture *f = router;
    (void)x;
    *arg = f->eio;
    return &mdg_eio_handler;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    uint64_t seed;
    assert_non_null(f);
    test_net_open(&f->net, MDG_URING_OFF);
    f->options = (struct mdg_eio_options){.ping_interval_ms = 25000,
                                          .ping_timeout_ms = 20000,
                                          .upgrade_timeout_ms = 10000,
                                          .close_timeout_ms = 200,
                                          .max_payload = 1000,
                                          .out_bytes_max = 600,
                                          .sessions_max = 8,
                                          .allow_eio3 = true,
                                          .polling = true,
                                          .websocket = true,
                                          .upgrades = true,
                                          .cors = true,
                                          .ws = {.out_bytes_max = 1 << 20, .close_timeout_s = 1}};
    assert_int_equal(mdg_ws_worker_new(f->net.loop, &f->ws), 0);
    assert_int_equal(mdg_http_server_new(f->net.net, NULL, route, f, &f->http), 0);
    assert_int_equal(mdg_eio_worker_new(f->net.loop, f->ws, 3, &f->options, &hooks, f, &f->eio), 0);
    mdg_loop_random(f->net.loop, &seed, sizeof seed);
    for (int i = 0; i < CLIENTS; i++)
        f->fds[i] = -1;
    *state = f;
    return 0;
}

static void hang_up(struct fixture *f, int client)
{
    if (f->fds[client] >= 0)
        close(f->fds[client]);
    f->fds[client] = -1;
    f->in_len[client] = 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < CLIENTS; i++)
        hang_up(f, i);
    mdg_http_server_free(f->http);
    test_net_drain(&f->net);
    size_t everybody = SIZE_MAX;
    mdg_eio_worker_close_some(f->eio, 1001, &everybody);
    TEST_NET_UNTIL(&f->net, mdg_eio_worker_count(f->eio) == 0);
    test_net_turn(&f->net);
    mdg_eio_worker_free(f->eio);
    mdg_ws_worker_free(f->ws);
    test_net_close(&f->net);
    free(f);
    return 0;
}

static void pull(struct fixture *f, int client)
{
    test_net_turn(&f->net);
    ssize_t n = read(f->fds[client], f->in[client] + f->in_len[client],
                     sizeof f->in[client] - f->in_len[client] - 1);
    if (n > 0)
        f->in_len[client] += (size_t)n;
    f->in[client][f->in_len[client]] = '\0';
}

/* Sends bytes on the client's connection, which is made if there is none. */
static void put(struct fixture *f, int client, const void *bytes, size_t len)
{
    if (f->fds[client] < 0) {
        int fds[2];
        struct mdg_stream *s;
        static struct test_peer nobody;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                         0);
        assert_int_equal(mdg_stream_from_fd(f->net.net, fds[0], &test_plain_user, &nobody, &s), 0);
        assert_int_equal(mdg_http_server_accept(f->http, s), 0);
        f->fds[client] = fds[1];
        f->in_len[client] = 0;
    }
    assert_int_equal(write(f->fds[client], bytes, len), len);
    for (int i = 0; i < 4; i++)
        test_net_turn(&f->net);
}

static void request(struct fixture *f, int client, const char *method, const char *query,
                    const char *headers, const void *body, size_t len)
{
    char text[4096];
    int n = snprintf(text, sizeof text,
                     "%s /engine.io/?%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n",
                     method, query, headers, len);
    assert_true(n > 0 && (size_t)n + len < sizeof text);
    if (len)
        memcpy(text + n, body, len);
    f->in_len[client] = 0;
    put(f, client, text, (size_t)n + len);
}

/* The whole response that has arrived or arrives: status; *body ends with NUL. */
static int response(struct fixture *f, int client, const char **body)
{
    char *end = NULL, *length;
    size_t want = 0;
    for (int turns = 0; turns < 400; turns++) {
        pull(f, client);
        end = strstr(f->in[client], "\r\n\r\n");
        length = strstr(f->in[client], "Content-Length: ");
        want = length ? strtoul(length + 16, NULL, 10) : 0;
        if (end && f->in_len[client] >= (size_t)(end - f->in[client]) + 4 + want)
            break;
        if (turns > 20)
            assert_true(mdg_loop_step(f->net.loop, 5) >= 0);
        end = NULL;
    }
    assert_non_null(end);
    f->body = end + 4;
    if (body)
        *body = end + 4;
    return (int)strtol(f->in[client] + 9, NULL, 10);
}

static bool quiet(struct fixture *f, int client)
{
    for (int i = 0; i < 5; i++)
        pull(f, client);
    return f->in_len[client] == 0;
}

static const char *get(struct fixture *f, int client, const char *query, int status)
{
    request(f, client, "GET", query, "", NULL, 0);
    assert_int_equal(response(f, client, NULL), status);
    return f->body;
}

static const char *post(struct fixture *f, int client, const char *query, const char *text,
                        int status)
{
    request(f, client, "POST", query, "Content-Type: text/plain;charset=UTF-8\r\n", text,
            strlen(text));
    assert_int_equal(response(f, client, NULL), status);
    return f->body;
}

/* A polling session; its query goes on with "&sid=...". */
static void open_polling(struct fixture *f, const char *eio, char query[160])
{
    char sid[64], first[64];
    snprintf(first, sizeof first, "EIO=%s&transport=polling", eio);
    const char *body = get(f, 0, first, 200);
    const char *at = strstr(body, "\"sid\":\"");
    assert_non_null(at);
    snprintf(sid, sizeof sid, "%.20s", at + 7);
    snprintf(query, 160, "%s&sid=%s", first, sid);
}

static void ws_open(struct fixture *f, int client, const char *query)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "GET /engine.io/?%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
                     "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                     "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     query);
    f->in_len[client] = 0;
    put(f, client, text, (size_t)n);
}

/* The frames behind the 101, as text: "payload" or "<hex>" or "close" separated by spaces. */
static const char *ws_seen(struct fixture *f, int client)
{
    static char out[1024];
    size_t len = 0;
    for (int i = 0; i < 6; i++)
        pull(f, client);
    uint8_t *at = (uint8_t *)strstr(f->in[client], "\r\n\r\n");
    out[0] = '\0';
    if (!at)
        return f->in_len[client] ? f->in[client] : out;
    at += 4;
    uint8_t *end = (uint8_t *)f->in[client] + f->in_len[client];
    while (end - at >= 2) {
        size_t n = at[1] & 127, head = 2;
        if (n == 126) {
            n = (size_t)at[2] << 8 | at[3];
            head = 4;
        }
        int op = at[0] & 15;
        if (op == 8)
            len += (size_t)snprintf(out + len, sizeof out - len, "close ");
        for (size_t i = 0; op != 8 && i < n; i++)
            len += (size_t)snprintf(out + len, sizeof out - len, op == 1 ? "%c" : "<%02x>",
                                    at[head + i]);
        if (op != 8)
            len += (size_t)snprintf(out + len, sizeof out - len, " ");
        at += head + n;
    }
    return out;
}

static void ws_put(struct fixture *f, int client, enum mdg_ws_op op, const char *data, size_t len)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t wire[2048];
    uint32_t key;
    size_t head = mdg_ws_enc_head(wire, op, true, false, len, mask);
    memcpy(wire + head, data, len);
    memcpy(&key, mask, 4);
    mdg_mask(wire + head, len, &key);
    put(f, client, wire, head + len);
}

static void ws_text(struct fixture *f, int client, const char *text)
{
    ws_put(f, client, MDG_WS_TEXT, text, strlen(text));
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* ---- */

static void bad_requests_are_answered_as_the_reference_does(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(get(f, 0, "EIO=4", 400), "{\"code\":0,\"message\":\"Transport unknown\"}");
    assert_string_equal(get(f, 0, "EIO=4&transport=abc", 400),
                        "{\"code\":0,\"message\":\"Transport unknown\"}");
    assert_string_equal(get(f, 0, "EIO=4&transport=polling&sid=abc", 400),
                        "{\"code\":1,\"message\":\"Session ID unknown\"}");
    assert_string_equal(post(f, 0, "EIO=4&transport=polling", "4x", 400),
                        "{\"code\":2,\"message\":\"Bad handshake method\"}");
    assert_string_equal(get(f, 0, "EIO=4&transport=websocket", 400),
                        "{\"code\":3,\"message\":\"Bad request\"}");
    assert_string_equal(get(f, 0, "EIO=5&transport=polling", 400),
                        "{\"code\":5,\"message\":\"Unsupported protocol version\"}");
    assert_string_equal(get(f, 0, "transport=polling", 400),
                        "{\"code\":5,\"message\":\"Unsupported protocol version\"}");
    assert_true(has(f->in[0], "Access-Control-Allow-Origin: *"));
    f->deny = true;
    assert_string_equal(get(f, 0, "EIO=4&transport=polling", 403),
                        "{\"code\":4,\"message\":\"not today\"}");
    assert_int_equal(f->opens, 0);
}

static void messages_go_back_and_forth_by_polling(void **state)
{
    struct fixture *f = *state;
    char q[160];
    open_polling(f, "4", q);
    assert_true(has(f->in[0], "\"upgrades\":[\"websocket\"],\"pingInterval\":25000,"
                              "\"pingTimeout\":20000,\"maxPayload\":1000}"));
    assert_string_equal(post(f, 0, q,
                             "4hello\x1e"
                             "4you\x1e"
                             "bAQIDBA==",
                             200),
                        "ok");
    assert_true(has(f->in[0], "text/html"));
    assert_string_equal(get(f, 0, q, 200), "4hello\x1e"
                                           "4you\x1e"
                                           "bAQIDBA==");
    assert_true(has(f->in[0], "Cache-Control: no-store"));
    assert_true(has(f->in[0], "text/plain; charset=UTF-8"));
    /* PITFALLS 3: the separator stands in the answer of a poll that was parked, too. */
    request(f, 1, "GET", q, "", NULL, 0);
    assert_true(quiet(f, 1));
    post(f, 0, q,
         "4a\x1e"
         "4b",
         200);
    const char *body;
    assert_int_equal(response(f, 1, &body), 200);
    assert_string_equal(body, "4a\x1e"
                              "4b");
}

static void an_answer_holds_no_more_than_max_payload(void **state)
{
    struct fixture *f = *state;
    char q[160], big[500];
    open_polling(f, "4", q);
    memset(big, 'x', sizeof big);
    big[0] = '4';
    big[sizeof big - 1] = '\0';
    f->options.out_bytes_max = 100000;
    post(f, 0, q, big, 200);
    post(f, 0, q, big, 200);
    post(f, 0, q, big, 200);
    assert_int_equal(strlen(get(f, 0, q, 200)), 999);
    assert_int_equal(strlen(get(f, 0, q, 200)), 499);
}

static void what_is_too_big_is_refused_with_a_reason(void **state)
{
    struct fixture *f = *state;
    char q[160], big[1200];
    open_polling(f, "4", q);
    memset(big, '4', sizeof big);
    big[1100] = '\0';
    assert_string_equal(post(f, 0, q, big, 413), "");
    assert_int_equal(f->inputs, 0);
    hang_up(f, 0);
    ws_open(f, 1, "EIO=4&transport=websocket");
    ws_put(f, 1, MDG_WS_TEXT, big, 1100);
    assert_true(has(ws_seen(f, 1), "close"));
    assert_memory_equal(f->in[1] + f->in_len[1] - 4, "\x88\x02\x03\xf1", 4); /* 1009, no text */
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    assert_string_equal(f->reason, "transport error");
}

static void a_second_poll_ends_the_session_and_is_answered(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160];
    open_polling(f, "4", q);
    request(f, 1, "GET", q, "", NULL, 0);
    request(f, 2, "GET", q, "", NULL, 0);
    assert_int_equal(response(f, 2, &body), 400);
    assert_int_equal(response(f, 1, &body), 200);
    assert_string_equal(body, "1");
    assert_int_equal(f->closes, 1);
    assert_string_equal(f->reason, "transport error");
    get(f, 0, q, 400);
}

static void a_second_post_ends_the_session_and_is_answered(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160], text[400];
    open_polling(f, "4", q);
    int n = snprintf(text, sizeof text,
                     "POST /engine.io/?%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n4he", q);
    put(f, 1, text, (size_t)n);
    request(f, 2, "POST", q, "", "4x", 2);
    assert_int_equal(response(f, 2, &body), 400);
    assert_int_equal(response(f, 1, &body), 400);
    assert_int_equal(f->closes, 1);
}

static void octet_stream_is_not_for_protocol_4(void **state)
{
    struct fixture *f = *state;
    char q[160];
    open_polling(f, "4", q);
    request(f, 1, "POST", q, "Content-Type: application/octet-stream\r\n", "4x", 2);
    assert_int_equal(response(f, 1, NULL), 400);
    assert_int_equal(f->closes, 1);
}

static void an_invalid_packet_ends_the_session(void **state)
{
    struct fixture *f = *state;
    char q[160];
    open_polling(f, "4", q);
    post(f, 0, q, "abc", 400);
    assert_string_equal(f->reason, "parse error");
    get(f, 0, q, 400);
    open_polling(f, "4", q);
    post(f, 0, q, "4\xff\xfe", 400); /* not UTF-8 */
    open_polling(f, "4", q);
    post(f, 0, q, "4bad", 400); /* what the owner above refuses */
    assert_int_equal(f->closes, 3);
    open_polling(f, "4", q);
    post(f, 0, q, "2", 400); /* invalid heartbeat direction */
    assert_int_equal(f->closes, 4);
}

static void a_vanished_poll_ends_the_session(void **state)
{
    struct fixture *f = *state;
    char q[160];
    open_polling(f, "4", q);
    request(f, 1, "GET", q, "", NULL, 0);
    hang_up(f, 1);
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    get(f, 0, q, 400);
}

static void closing_from_either_side_answers_the_poll(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160];
    open_polling(f, "4", q);
    request(f, 1, "GET", q, "", NULL, 0);
    post(f, 0, q, "1", 200);
    assert_int_equal(response(f, 1, &body), 200);
    assert_string_equal(body, "6");
    assert_string_equal(f->reason, "transport close");
    get(f, 0, q, 400);
    open_polling(f, "4", q);
    request(f, 1, "GET", q, "", NULL, 0);
    post(f, 0, q, "4bye", 200);
    assert_int_equal(response(f, 1, &body), 200);
    assert_string_equal(body, "1");
    assert_int_equal(f->closes, 2);
    /* nobody polls any more: the close is over after its time */
    open_polling(f, "4", q);
    post(f, 0, q, "4bye", 200);
    assert_int_equal(f->closes, 2);
    TEST_NET_UNTIL(&f->net, f->closes == 3);
    assert_string_equal(f->reason, "forced close");
}

static void the_server_pings_in_protocol_4(void **state)
{
    struct fixture *f = *state;
    char q[160];
    f->options.ping_interval_ms = 50;
    f->options.ping_timeout_ms = 100;
    open_polling(f, "4", q);
    assert_string_equal(get(f, 0, q, 200), "2");
    post(f, 0, q, "3", 200);
    assert_string_equal(get(f, 0, q, 200), "2");
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    assert_string_equal(f->reason, "ping timeout");
    ws_open(f, 1, "EIO=4&transport=websocket");
    TEST_NET_UNTIL(&f->net, has(ws_seen(f, 1), " 2 "));
    TEST_NET_UNTIL(&f->net, f->closes == 2);
}

/* Descriptors are served before timers: what comes in the turn in which the heartbeat is over must
 * not find the session alive. */
static void a_request_behind_the_last_heartbeat_finds_nothing(void **state)
{
    struct fixture *f = *state;
    char q[160];
    f->options.ping_interval_ms = 30;
    f->options.ping_timeout_ms = 40;
    open_polling(f, "4", q);
    uint64_t until = mdg_loop_now_ms(f->net.loop) + 35;
    TEST_NET_UNTIL(&f->net, mdg_loop_now_ms(f->net.loop) > until);
    usleep(60000);
    assert_string_equal(get(f, 0, q, 400), "{\"code\":1,\"message\":\"Session ID unknown\"}");
    assert_string_equal(f->reason, "ping timeout");
}

static void the_client_pings_in_protocol_3(void **state)
{
    struct fixture *f = *state;
    char q[160];
    f->options.ping_interval_ms = 60;
    f->options.ping_timeout_ms = 60;
    open_polling(f, "3", q);
    assert_true(has(f->in[0], ":0{\"sid\""));
    post(f, 0, q, "1:2", 200);
    assert_string_equal(get(f, 0, q, 200), "1:3");
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    assert_string_equal(f->reason, "ping timeout");
}

static void protocol_3_payloads_come_in_both_forms(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160], b64[200];
    open_polling(f, "3", q);
    post(f, 0, q, "3:4\xf0\x9f\x98\x80", 200);
    assert_string_equal(get(f, 0, q, 200), "3:4\xf0\x9f\x98\x80");
    request(f, 0, "POST", q, "Content-Type: application/octet-stream\r\n",
            "\x01\x03\xff\x04\x01\x02", 6);
    assert_int_equal(response(f, 0, &body), 200);
    request(f, 0, "GET", q, "", NULL, 0);
    assert_int_equal(response(f, 0, &body), 200);
    assert_memory_equal(body, "\x01\x03\xff\x04\x01\x02", 6);
    assert_true(has(f->in[0], "application/octet-stream"));
    /* Text among binary takes the binary form: one answer brings both, in their order. */
    post(f, 0, q, "3:4\xc3\xa9x6:b4AQI=3:4ok", 200);
    request(f, 0, "GET", q, "", NULL, 0);
    assert_int_equal(response(f, 0, &body), 200);
    assert_memory_equal(body,
                        "\x00\x04\xff"
                        "4\xc3\xa9x"
                        "\x01\x03\xff\x04\x01\x02"
                        "\x00\x03\xff"
                        "4ok",
                        19);
    hang_up(f, 0);
    /* b64=1: binary comes as b4... */
    const char *open = get(f, 0, "EIO=3&transport=polling&b64=1", 200);
    snprintf(b64, sizeof b64, "EIO=3&transport=polling&b64=1&sid=%.20s", strstr(open, "sid") + 6);
    post(f, 0, b64, "10:b4AQIDBA==", 200);
    assert_string_equal(get(f, 0, b64, 200), "10:b4AQIDBA==");
    /* b64=0 is not b64 */
    open = get(f, 0, "EIO=3&transport=polling&b64=0", 200);
    snprintf(b64, sizeof b64, "EIO=3&transport=polling&b64=0&sid=%.20s", strstr(open, "sid") + 6);
    post(f, 0, b64, "10:b4AQIDBA==", 200);
    request(f, 0, "GET", b64, "", NULL, 0);
    assert_int_equal(response(f, 0, &body), 200);
    assert_memory_equal(body, "\x01\x05\xff\x04\x01\x02\x03\x04", 8);
}

static void jsonp_wraps_both_ways(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160];
    const char *open = get(f, 0, "EIO=4&transport=polling&j=7", 200);
    assert_true(has(f->in[0], "text/javascript; charset=UTF-8"));
    assert_true(has(open, "___eio[7](\"0{\\\"sid\\\":"));
    snprintf(q, sizeof q, "EIO=4&transport=polling&j=7&sid=%.20s", strstr(open, "sid") + 8);
    request(f, 0, "POST", q, "Content-Type: application/x-www-form-urlencoded\r\n", "d=4a%5Cnb%20c",
            13);
    assert_int_equal(response(f, 0, &body), 200);
    assert_string_equal(f->last, "a\nb c");
    assert_string_equal(get(f, 0, q, 200), "___eio[7](\"4a\\nb c\");");
}

static void websocket_alone_needs_no_polling(void **state)
{
    struct fixture *f = *state;
    ws_open(f, 1, "EIO=4&transport=websocket");
    const char *seen = ws_seen(f, 1);
    assert_true(has(seen, "0{\"sid\":\""));
    assert_true(has(seen, "\"upgrades\":[]"));
    ws_text(f, 1, "4hello");
    ws_put(f, 1, MDG_WS_BINARY, "\1\2\3", 3);
    seen = ws_seen(f, 1);
    assert_true(has(seen, " 4hello <01><02><03> "));
    ws_text(f, 1, "1");
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    assert_string_equal(f->reason, "transport close");
    /* protocol 3: the type stands in front of binary data */
    ws_open(f, 2, "EIO=3&transport=websocket");
    ws_put(f, 2, MDG_WS_BINARY, "\4\1\2", 3);
    ws_text(f, 2, "2");
    assert_true(has(ws_seen(f, 2), " <04><01><02> 3 "));
    ws_text(f, 2, "4bad");
    TEST_NET_UNTIL(&f->net, f->closes == 2);
}

static void an_upgrade_carries_the_queue_over(void **state)
{
    struct fixture *f = *state;
    const char *body;
    char q[160], wq[160];
    open_polling(f, "4", q);
    snprintf(wq, sizeof wq, "EIO=4&transport=websocket&sid=%s", strstr(q, "sid=") + 4);
    request(f, 1, "GET", q, "", NULL, 0); /* a poll is parked */
    ws_open(f, 2, wq);
    assert_true(quiet(f, 1));
    ws_text(f, 2, "2probe");
    assert_string_equal(ws_seen(f, 2), "3probe ");
    assert_int_equal(response(f, 1, &body), 200);
    assert_string_equal(body, "6");
    /* PITFALLS 1: every poll until the upgrade is answered at once */
    assert_string_equal(get(f, 1, q, 200), "6");
    assert_string_equal(get(f, 1, q, 200), "6");
    post(f, 1, q,
         "4while\x1e"
         "bAQI=",
         200);
    ws_text(f, 2, "5");
    ws_text(f, 2, "4after");
    assert_string_equal(ws_seen(f, 2), "3probe 4while <01><02> 4after ");
    assert_string_equal(mdg_eio_transport(f->link), "websocket");
    /* PITFALLS 10: neither polling nor a second WebSocket afterwards */
    get(f, 1, q, 400);
    post(f, 1, q, "4x", 400);
    ws_open(f, 3, wq);
    assert_true(has(ws_seen(f, 3), "close"));
    ws_text(f, 2, "4still");
    assert_true(has(ws_seen(f, 2), "4still"));
    assert_int_equal(f->closes, 0);
}

static void a_failed_probe_leaves_polling_alive(void **state)
{
    struct fixture *f = *state;
    char q[160], wq[160];
    f->options.upgrade_timeout_ms = 50;
    open_polling(f, "4", q);
    snprintf(wq, sizeof wq, "EIO=4&transport=websocket&sid=%s", strstr(q, "sid=") + 4);
    ws_open(f, 1, wq);
    ws_text(f, 1, "4hello");
    assert_true(has(ws_seen(f, 1), "close"));
    assert_int_equal(f->inputs, 0);
    hang_up(f, 1);
    ws_open(f, 1, wq); /* says nothing: the upgrade's time is over */
    TEST_NET_UNTIL(&f->net, has(ws_seen(f, 1), "close"));
    hang_up(f, 1);
    ws_open(f, 1, wq);
    ws_text(f, 1, "2probe");
    hang_up(f, 1);
    post(f, 0, q, "4hello", 200);
    assert_string_equal(get(f, 0, q, 200), "4hello");
    assert_int_equal(f->closes, 0);
}

static void the_heartbeat_pauses_while_a_client_upgrades(void **state)
{
    struct fixture *f = *state;
    char q[160], wq[160];
    f->options.ping_interval_ms = 30;
    f->options.ping_timeout_ms = 30;
    open_polling(f, "4", q);
    snprintf(wq, sizeof wq, "EIO=4&transport=websocket&sid=%s", strstr(q, "sid=") + 4);
    ws_open(f, 1, wq);
    ws_text(f, 1, "2probe");
    assert_string_equal(ws_seen(f, 1), "3probe ");
    uint64_t until =
        mdg_loop_now_ms(f->net.loop) + 200; /* three times as long as it may be silent */
    TEST_NET_UNTIL(&f->net, mdg_loop_now_ms(f->net.loop) > until);
    assert_int_equal(f->closes, 0);
    ws_text(f, 1, "5");
    TEST_NET_UNTIL(&f->net, has(ws_seen(f, 1), " 2 ")); /* and goes on afterwards */
    TEST_NET_UNTIL(&f->net, f->closes == 1);
    assert_string_equal(f->reason, "ping timeout");
}

static void a_websocket_get_without_upgrade_takes_nothing(void **state)
{
    struct fixture *f = *state;
    char q[160], wq[160];
    open_polling(f, "4", q);
    snprintf(wq, sizeof wq, "EIO=4&transport=websocket&sid=%s", strstr(q, "sid=") + 4);
    post(f, 0, q, "4hello", 200);
    get(f, 1, wq, 400); /* PITFALLS 2 */
    assert_string_equal(get(f, 0, q, 200), "4hello");
}

static void a_handshake_may_wait_and_may_vanish_meanwhile(void **state)
{
    struct fixture *f = *state;
    const char *body;
    f->hold = true;
    request(f, 0, "GET", "EIO=4&transport=polling", "", NULL, 0);
    assert_true(quiet(f, 0));
    mdg_eio_resume(f->held, true, mdg_slice(NULL, 0));
    assert_int_equal(response(f, 0, &body), 200);
    assert_int_equal(f->opens, 1);
    request(f, 1, "GET", "EIO=4&transport=polling", "", NULL, 0);
    hang_up(f, 1);
    TEST_NET_UNTIL(&f->net, f->dropped == 1);
    ws_open(f, 2, "EIO=4&transport=websocket");
    assert_true(quiet(f, 2));
    mdg_eio_resume(f->held, true, mdg_slice(NULL, 0));
    assert_true(has(ws_seen(f, 2), "0{\"sid\""));
}

static void sessions_are_bounded_and_unclaimed_ones_expire(void **state)
{
    struct fixture *f = *state;
    char q[160];
    f->options.ping_interval_ms = 60;
    f->options.ping_timeout_ms = 60;
    for (int i = 0; i < 8; i++)
        open_polling(f, "4", q);
    get(f, 1, "EIO=4&transport=polling", 503);
    assert_int_equal(mdg_eio_worker_count(f->eio), 8);
    TEST_NET_UNTIL(&f->net, f->closes == 8);
    assert_int_equal(mdg_eio_worker_count(f->eio), 0);
    get(f, 1, "EIO=4&transport=polling", 200);
}

static void a_full_queue_says_so_and_takes_one_unit_of_any_size(void **state)
{
    struct fixture *f = *state;
    char q[160];
    const struct mdg_unit_meta text = {.binary = false};
    char big[900];
    memset(big, 'x', sizeof big);
    open_polling(f, "4", q);
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, 800), &text), 0);
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, 1), &text), MDG_E_FULL);
    assert_int_equal(strlen(get(f, 0, q, 200)), 801);
    assert_int_equal(mdg_link_send_unit(f->link, mdg_slice(big, 1), &text), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bad_requests_are_answered_as_the_reference_does),
        TEST(messages_go_back_and_forth_by_polling),
        TEST(an_answer_holds_no_more_than_max_payload),
        TEST(what_is_too_big_is_refused_with_a_reason),
        TEST(a_second_poll_ends_the_session_and_is_answered),
        TEST(a_second_post_ends_the_session_and_is_answered),
        TEST(octet_stream_is_not_for_protocol_4),
        TEST(an_invalid_packet_ends_the_session),
        TEST(a_vanished_poll_ends_the_session),
        TEST(closing_from_either_side_answers_the_poll),
        TEST(the_server_pings_in_protocol_4),
        TEST(a_request_behind_the_last_heartbeat_finds_nothing),
        TEST(the_client_pings_in_protocol_3),
        TEST(protocol_3_payloads_come_in_both_forms),
        TEST(jsonp_wraps_both_ways),
        TEST(websocket_alone_needs_no_polling),
        TEST(an_upgrade_carries_the_queue_over),
        TEST(a_failed_probe_leaves_polling_alive),
        TEST(the_heartbeat_pauses_while_a_client_upgrades),
        TEST(a_websocket_get_without_upgrade_takes_nothing),
        TEST(a_handshake_may_wait_and_may_vanish_meanwhile),
        TEST(sessions_are_bounded_and_unclaimed_ones_expire),
        TEST(a_full_queue_says_so_and_takes_one_unit_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
