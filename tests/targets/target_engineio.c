/* Raw Engine.IO on /engine.io/ that sends every message back as it came. With --greet, what the
 * published client's own tests ask of their server. */
#include "tests/targets/target.h"
#include <ctype.h>

static void echo(struct madang *server, madang_peer peer, const void *data, size_t len, bool binary,
                 void *arg)
{
    (void)arg;
    if (madang_send(server, peer, data, len, binary) == MADANG_E_FULL)
        madang_close(server, peer, 1008, "read before you send more");
}

static bool is(const void *data, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(data, text, len) == 0;
}

static void say(struct madang *server, madang_peer peer, const char *text)
{
    (void)!madang_send(server, peer, text, strlen(text), false);
}

/* A header's text between quotes; good enough for what HTTP allows in one. */
static size_t put_json(char *out, size_t at, size_t size, const char *text, bool lower)
{
    if (at < size)
        out[at++] = '"';
    for (; *text && at + 2 < size; text++) {
        if (*text == '"' || *text == '\\')
            out[at++] = '\\';
        out[at++] = lower ? (char)tolower((unsigned char)*text) : *text;
    }
    if (at < size)
        out[at++] = '"';
    return at;
}

/* The headers of the POST that brought the message, as Node has them. */
static void send_headers(struct madang *server, madang_peer peer)
{
    char json[8192];
    const char *name, *value;
    size_t at = 0;
    struct madang_request *request = madang_engineio_request(server, peer);
    json[at++] = '{';
    for (size_t i = 0; request && madang_request_header_at(request, i, &name, &value); i++) {
        if (i > 0 && at < sizeof json)
            json[at++] = ',';
        at = put_json(json, at, sizeof json - 8, name, true);
        json[at++] = ':';
        at = put_json(json, at, sizeof json - 8, value, false);
    }
    json[at++] = '}';
    (void)!madang_send(server, peer, json, at, false);
}

static void greet(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    say(server, peer, "hi");
}

static void converse(struct madang *server, madang_peer peer, const void *data, size_t len,
                     bool binary, void *arg)
{
    static const uint8_t five[] = {0, 1, 2, 3, 4};
    if (binary)
        echo(server, peer, data, len, binary, arg);
    else if (is(data, len, "give binary"))
        (void)!madang_send(server, peer, five, sizeof five, true);
    else if (is(data, len, "give utf8"))
        say(server, peer, "пойду спать всем спокойной ночи");
    else if (is(data, len, "sendHeaders"))
        send_headers(server, peer);
    else
        echo(server, peer, data, len, binary, arg);
}

static int deny(struct madang *server, struct madang_request *request, uint64_t held, void *arg)
{
    const char *query = madang_request_query(request);
    (void)server;
    (void)held;
    (void)arg;
    return query && strstr(query, "deny") ? 403 : 0;
}

static void set_cookies(struct madang *server, struct madang_request *request, bool initial,
                        void *arg)
{
    (void)server;
    (void)arg;
    if (!initial)
        return;
    (void)!madang_request_add_header(request, "Set-Cookie", "1=1; path=/");
    (void)!madang_request_add_header(request, "Set-Cookie", "2=2; path=/");
}

int main(int argc, char **argv)
{
    struct target_options o = {0};
    struct madang_ws_handlers handlers = {.on_message = echo};
    madang_sio_options_init(&o.sio);
    target_parse(argc, argv, &o);
    if (o.greet) {
        handlers.on_open = greet;
        handlers.on_message = converse;
        o.sio.allow_request = deny;
        o.sio.on_headers = set_cookies;
    }
    struct madang *server = target_server(&o);
    target_must(madang_engineio(server, "/engine.io", &o.sio, &handlers, NULL));
    return target_run(server);
}
