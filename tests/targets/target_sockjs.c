/* What suites from outside talk to: the services that sockjs-protocol and the client's own tests
 * expect, and the plain routes beside them.
 *
 *     target_sockjs --port P [--workers N] [--sockjs-url URL] [--response-limit BYTES] */
#include <madang/sockjs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESPONSE_LIMIT = 4096, TICK_MS = 1000, AMPLIFY_MAX = 18, SIMPLE_BYTES = 2048 };

static void echo(struct madang *server, madang_peer peer, const void *data, size_t len, bool binary,
                 void *arg)
{
    (void)arg;
    if (madang_send(server, peer, data, len, binary) == MADANG_E_FULL)
        madang_close(server, peer, 1008, "read before you send more");
}

static void go_away(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    madang_close(server, peer, 3000, "Go away!");
}

/* "tick!" each second. The ticks of a peer that has gone find nobody and stop. */
struct ticker {
    struct madang *server;
    madang_peer peer;
};

static void tick(struct madang *server, void *arg)
{
    struct ticker *t = arg;
    int err = madang_send(server, t->peer, "tick!", 5, false);
    if (err == MADANG_E_GONE || madang_after(server, TICK_MS, tick, t) < 0)
        free(t);
}

static void start_ticker(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    struct ticker *t = malloc(sizeof *t);
    if (!t)
        return;
    *t = (struct ticker){server, peer};
    if (madang_after(server, TICK_MS, tick, t) < 0)
        free(t);
}

/* A number n from 1 to 18 brings 2^n times 'x'; anything else counts as 1. */
static void amplify(struct madang *server, madang_peer peer, const void *data, size_t len,
                    bool binary, void *arg)
{
    (void)arg;
    (void)binary;
    char text[32] = "";
    memcpy(text, data, len < sizeof text - 1 ? len : sizeof text - 1);
    long n = strtol(text, NULL, 10);
    size_t count = (size_t)1 << (n >= 1 && n <= AMPLIFY_MAX ? n : 1);
    char *answer = malloc(count);
    if (!answer)
        return;
    memset(answer, 'x', count);
    madang_send(server, peer, answer, count, false);
    free(answer);
}

static void join_broadcast(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    if (madang_join(server, peer, "broadcast") < 0)
        madang_close(server, peer, 1011, NULL);
}

static void broadcast(struct madang *server, madang_peer peer, const void *data, size_t len,
                      bool binary, void *arg)
{
    (void)arg;
    (void)peer;
    madang_publish(server, "broadcast", data, len, binary, 0);
}

/* ---- plain routes ---- */

static const struct madang_header plain[] = {{"Content-Type", "text/plain; charset=UTF-8"}};
static const struct madang_header script[] = {
    {"Content-Type", "application/javascript; charset=UTF-8"}};

/* 2048 times 'a', a newline; then 'b' and a newline. */
static size_t simple_text(char text[SIMPLE_BYTES + 4])
{
    memset(text, 'a', SIMPLE_BYTES);
    memcpy(text + SIMPLE_BYTES, "\nb\n", 4);
    return SIMPLE_BYTES + 3;
}

static int simple(struct madang *server, struct madang_request *request, void *arg)
{
    (void)server;
    (void)arg;
    char text[SIMPLE_BYTES + 4];
    size_t len = simple_text(text);
    return madang_respond(request, 200, plain, 1, text, len);
}

/* A response that ends later; the request may be gone by then. */
struct later {
    struct madang_request *request; /* NULL: gone */
    const char *rest;
    bool streamed;
};

static void on_abort(struct madang *server, struct madang_request *request, void *arg)
{
    (void)server;
    (void)arg;
    struct later *l = madang_request_user(request);
    if (l)
        l->request = NULL;
}

static void finish(struct madang *server, void *arg)
{
    (void)server;
    struct later *l = arg;
    if (l->request) {
        madang_request_set_user(l->request, NULL);
        if (!l->streamed) {
            madang_respond(l->request, 200, script, 1, l->rest, strlen(l->rest));
        } else {
            madang_respond_write(l->request, l->rest, strlen(l->rest));
            madang_respond_end(l->request);
        }
    }
    free(l);
}

static int respond_later(struct madang *server, struct madang_request *request, uint64_t delay_ms,
                         const char *rest, bool streamed)
{
    struct later *l = malloc(sizeof *l);
    if (!l)
        return MADANG_E_NO_MEMORY;
    *l = (struct later){request, rest, streamed};
    madang_request_set_user(request, l);
    int err = madang_after(server, delay_ms, finish, l);
    if (err < 0) {
        madang_request_set_user(request, NULL);
        free(l);
    }
    return err;
}

static int streaming(struct madang *server, struct madang_request *request, void *arg)
{
    (void)arg;
    char text[SIMPLE_BYTES + 4];
    simple_text(text);
    int err = madang_respond_begin(request, 200, plain, 1);
    if (err == 0)
        err = madang_respond_write(request, text, SIMPLE_BYTES + 1);
    return err < 0 ? err : respond_later(server, request, 250, "b\n", true);
}

static int slow_script(struct madang *server, struct madang_request *request, void *arg)
{
    (void)arg;
    return respond_later(server, request, 500, "var a = 1;\n", false);
}

/* ---- */

static int mount(struct madang *server, const char *sockjs_url, uint32_t response_limit)
{
    static const struct {
        const char *prefix;
        bool websocket, cookie;
        struct madang_ws_handlers handlers;
    } services[] = {
        {"/echo", true, false, {.on_message = echo}},
        {"/disabled_websocket_echo", false, false, {.on_message = echo}},
        {"/cookie_needed_echo", true, true, {.on_message = echo}},
        {"/close", true, false, {.on_open = go_away}},
        {"/ticker", true, false, {.on_open = start_ticker}},
        {"/amplify", true, false, {.on_message = amplify}},
        {"/broadcast", true, false, {.on_open = join_broadcast, .on_message = broadcast}},
    };
    struct madang_sockjs_options options;
    madang_sockjs_defaults(&options);
    options.response_limit = response_limit;
    options.allowed_origin = "*";
    options.sockjs_url = sockjs_url;
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        options.websocket = services[i].websocket;
        options.jsessionid = services[i].cookie;
        int err = madang_sockjs(server, services[i].prefix, &options, &services[i].handlers, NULL);
        if (err < 0)
            return err;
    }
    static const struct {
        const char *path;
        struct madang_http_handlers handlers;
    } routes[] = {
        {"/simple.txt", {.on_request = simple}},
        {"/streaming.txt", {.on_request = streaming, .on_abort = on_abort}},
        {"/slow-script.js", {.on_request = slow_script, .on_abort = on_abort}},
    };
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        int err = madang_http(server, "GET", routes[i].path, &routes[i].handlers, NULL);
        if (err < 0)
            return err;
    }
    return 0;
}

static int usage(void)
{
    fputs("usage: target_sockjs --port P [--workers N] [--sockjs-url URL] "
          "[--response-limit BYTES]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *port = "0", *workers = "1", *sockjs_url = NULL;
    uint32_t response_limit = RESPONSE_LIMIT;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 >= argc)
            return usage();
        if (strcmp(argv[i], "--port") == 0)
            port = argv[i + 1];
        else if (strcmp(argv[i], "--workers") == 0)
            workers = argv[i + 1];
        else if (strcmp(argv[i], "--sockjs-url") == 0)
            sockjs_url = argv[i + 1];
        else if (strcmp(argv[i], "--response-limit") == 0)
            response_limit = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else
            return usage();
    }
    char listen[64];
    struct madang_config *config;
    struct madang *server = NULL;
    snprintf(listen, sizeof listen, "127.0.0.1:%s", port);
    if (madang_config_new(&config) < 0)
        return 1;
    int err = madang_config_set(config, "listen", listen);
    if (err == 0)
        err = madang_config_set(config, "workers", workers);
    if (err == 0)
        err = madang_config_set(config, "signals", "true");
    if (err == 0)
        err = madang_config_set(config, "log_level", "warn");
    if (err == 0)
        err = madang_config_set(config, "allowed_origins", "*");
    if (err < 0)
        fprintf(stderr, "target_sockjs: %s\n", madang_config_error(config));
    if (err == 0)
        err = madang_new(config, &server);
    madang_config_free(config);
    if (err == 0)
        err = mount(server, sockjs_url, response_limit);
    if (err == 0)
        err = madang_start(server);
    if (err == 0) {
        printf("listening on %d\n", madang_port(server));
        fflush(stdout);
        err = madang_run(server);
    }
    if (err < 0)
        fprintf(stderr, "target_sockjs: %s\n", server ? madang_error_text(server) : "no memory");
    madang_free(server);
    return err < 0;
}
