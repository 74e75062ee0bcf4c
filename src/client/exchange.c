/* One request, its response, and the connection under them. */
#include "client/exchange.h"
#include "client/client.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    REQUEST_MAX = 24576, /* a target, a cursor and the user's headers */
    BODY_MAX = 64 << 20,
    END_MS = 5000 /* for the answer to what was sent last, when a client is closed */
};

static const struct mdg_http_limits limits = {
    .head_bytes_max = 32768, .target_bytes_max = 8192, .fields_max = MDG_HTTP_FIELDS_MAX};

static const struct mdg_stream_user stream_user;

static void on_connected(void *arg, int err, struct mdg_stream *s)
{
    struct mdg_client_exchange *x = arg;
    struct madang_client *c = x->client;
    x->connect = NULL;
    x->stream = s;
    if (err < 0) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_client_connect_error(c, err));
        return;
    }
    if (c->state == MDG_CLIENT_CONNECTING)
        c->state = MDG_CLIENT_OPENING;
    err = x->user->ask(x);
    if (err < 0)
        mdg_client_lost(c, err);
}

static void drop_stream(struct mdg_client_exchange *x)
{
    if (x->stream)
        mdg_client_drop_stream(x->stream);
    x->stream = NULL;
}

int mdg_client_exchange_ask(struct mdg_client_exchange *x)
{
    assert(!x->busy);
    if (x->stream && mdg_stream_closing(x->stream))
        drop_stream(x);
    int rc = x->stream
                 ? x->user->ask(x)
                 : mdg_client_connect(x->client, &stream_user, x, on_connected, x, &x->connect);
    x->busy = rc == 0;
    return rc;
}

static void write_line(struct mdg_writer *w, const char *name, const char *value)
{
    mdg_write_str(w, name);
    mdg_write_str(w, value);
    mdg_write_str(w, "\r\n");
}

static int send_request(struct mdg_client_exchange *x, const char *target, const char *more,
                        const char *lines, struct mdg_slice body)
{
    const struct madang_client *c = x->client;
    char request[REQUEST_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, request, sizeof request);
    mdg_write_str(&w, x->method == MDG_HTTP_POST ? "POST " : "GET ");
    mdg_write_str(&w, target);
    mdg_write_str(&w, more);
    write_line(&w, " HTTP/1.1\r\nHost: ", c->url.host_header);
    mdg_write_str(&w, lines);
    if (c->options.origin)
        write_line(&w, "Origin: ", c->options.origin);
    mdg_client_http_extra(&w, c);
    mdg_write_str(&w, "\r\n");
    if (!mdg_writer_fits(&w))
        return MDG_E_TOO_BIG;
    mdg_http_head_init(&x->head, MDG_HTTP_RESPONSE);
    x->in_body = false;
    struct mdg_slice parts[2] = {mdg_slice(request, w.len), body};
    return mdg_stream_write(x->stream, parts, body.len ? 2 : 1);
}

int mdg_client_exchange_write(struct mdg_client_exchange *x, const char *target, const char *more,
                              const char *type, struct mdg_slice body)
{
    char lines[128];
    snprintf(lines, sizeof lines, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body.len);
    x->method = MDG_HTTP_POST;
    return send_request(x, target, more, lines, body);
}

int mdg_client_exchange_get(struct mdg_client_exchange *x, const char *target, const char *more,
                            const char *line)
{
    x->method = MDG_HTTP_GET;
    return send_request(x, target, more, line, mdg_slice(NULL, 0));
}

bool mdg_client_exchange_refused(struct mdg_client_exchange *x, const uint8_t *head)
{
    char text[160];
    struct mdg_slice reason = mdg_http_span_slice(head, x->head.reason);
    snprintf(text, sizeof text, "the server answered %u %.*s", x->head.status,
             (int)mdg_min_size(reason.len, 100), (const char *)reason.data);
    mdg_client_down(x->client, MDG_CLOSE_ABNORMAL, text);
    return false;
}

bool mdg_client_exchange_ignore(struct mdg_client_exchange *x, struct mdg_slice piece)
{
    (void)x, (void)piece;
    return true;
}

void mdg_client_exchange_end(struct mdg_client_exchange *x)
{
    if (x->connect)
        mdg_connect_cancel(x->connect);
    x->connect = NULL;
    drop_stream(x);
}

/* A server that answers before it has read everything wants no more of it: RFC 9112 9.3 lets the
 * next request follow only behind the whole of this one. */
static void response_over(struct mdg_client_exchange *x)
{
    x->busy = false;
    if (!x->keep || (x->stream && x->stream->out_bytes))
        drop_stream(x);
    x->user->over(x);
}

/* 0: more is needed. Below: the client is down. Else how long the head was. */
static int64_t read_head(struct mdg_client_exchange *x, struct mdg_input in)
{
    int n = mdg_http_head_parse(&x->head, &limits, in.data, in.len);
    if (n == 0)
        return 0;
    if (n < 0) {
        mdg_client_down(x->client, MDG_CLOSE_ABNORMAL, "the answer is not HTTP");
        return n;
    }
    /* RFC 9110 15.2: another one follows, but behind a 101 that nobody asked for. */
    if (x->head.status / 100 == 1 && x->head.status != 101) {
        mdg_http_head_init(&x->head, MDG_HTTP_RESPONSE);
        return n;
    }
    enum mdg_http_framing framing = mdg_http_response_framing(&x->head, x->method);
    x->in_body = true;
    x->by_end = framing == MDG_HTTP_BODY_CLOSE;
    x->keep = x->head.keep_alive && !x->by_end;
    mdg_http_body_init(&x->body, framing, x->head.content_length, UINT64_MAX);
    return x->user->head(x, in.data) ? n : MDG_E_CLOSED;
}

static void read_body(struct mdg_client_exchange *x, struct mdg_input in)
{
    struct mdg_slice piece;
    for (;;) {
        int what = mdg_http_body_next(&x->body, &in, &piece);
        if (what == MDG_HTTP_BODY_MORE)
            return;
        if (what == MDG_HTTP_BODY_DATA) {
            if (!x->user->piece(x, piece))
                return;
            continue;
        }
        if (what < 0 || in.len)
            mdg_client_lost(x->client, MDG_E_PROTO);
        else
            response_over(x);
        return;
    }
}

/* Bytes used; all of them when the stream is no longer the client's or the response is over. */
static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_client_exchange *x = s->user_arg;
    size_t total = in.len;
    if (!x->busy) {
        mdg_client_lost(x->client, MDG_E_PROTO); /* an answer that nobody asked for */
        return (int64_t)total;
    }
    if (!x->in_body) {
        int64_t n = read_head(x, in);
        if (n < 0)
            return (int64_t)total;
        if (n == 0 || !x->in_body)
            return n;
        in.data += n;
        in.len -= (size_t)n;
    }
    read_body(x, in);
    return (int64_t)total;
}

static void on_close(struct mdg_stream *s, int reason)
{
    struct mdg_client_exchange *x = s->user_arg;
    x->stream = NULL;
    x->keep = false;
    if (!x->busy) /* kept for the next request, which makes a new one */
        return;
    if (x->in_body && x->by_end && reason == 0)
        response_over(x);
    else
        mdg_client_lost(x->client, reason);
}

static const struct mdg_stream_user stream_user = {
    .name = "client", .on_data = on_data, .on_close = on_close};

void mdg_client_pair_init(struct madang_client *c, struct mdg_client_pair *pair,
                          const struct mdg_client_exchange_user *receive,
                          const struct mdg_client_exchange_user *send)
{
    size_t most = c->options.message_bytes_max ? c->options.message_bytes_max : BODY_MAX;
    pair->receive.client = pair->send.client = c;
    pair->receive.user = receive;
    pair->send.user = send;
    mdg_buf_init(&pair->in, most);
    mdg_buf_init(&pair->waiting, BODY_MAX);
    c->pair = pair;
}

int mdg_client_pair_push(struct madang_client *c)
{
    return c->pair->send.busy ? 0 : mdg_client_exchange_ask(&c->pair->send);
}

void mdg_client_pair_sent(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    int rc = c->pair->waiting.len ? mdg_client_exchange_ask(x) : 0;
    if (rc < 0)
        mdg_client_lost(c, rc);
    else
        mdg_client_sent(c);
}

size_t mdg_client_pair_queued(const struct madang_client *c)
{
    return c->pair ? c->pair->waiting.len + c->pair->send.busy : 0;
}

uint32_t mdg_client_pair_end_ms(const struct madang_client *c)
{
    return c->pair && c->pair->send.busy ? END_MS : 0;
}

void mdg_client_pair_free(struct madang_client *c)
{
    struct mdg_client_pair *pair = c->pair;
    if (!pair)
        return;
    mdg_client_exchange_end(&pair->receive);
    mdg_client_exchange_end(&pair->send);
    mdg_buf_fini(&pair->in);
    mdg_buf_fini(&pair->waiting);
    free(pair);
    c->pair = NULL;
}
