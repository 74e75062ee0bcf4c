/* A client's HTTP: the WebSocket handshake, and event streams (text/event-stream or JSON lines). */
#include "client/client.h"
#include "codec/ws_handshake.h"
#include "transport/ws_conn.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    REQUEST_MAX = 16384,
    PROTOCOLS_MAX = MDG_WS_PROTOCOLS_MAX,
    EVENT_MAX = 1 << 20,
    OUT_MAX = 4 << 20,
    CLOSE_S = 5,
    PING_S = 30,
    PONG_S = 20,
    COMPRESS_MIN = 64,
    MESSAGE_MAX = 64 << 20
};

static const struct mdg_http_limits limits = {
    .head_bytes_max = 32768, .target_bytes_max = 8192, .fields_max = MDG_HTTP_FIELDS_MAX};

void mdg_client_http_free(struct madang_client *c)
{
    if (!c->http)
        return;
    free(c->http->sse_memory);
    mdg_buf_fini(&c->http->line);
    free(c->http);
    c->http = NULL;
}

static size_t split_protocols(const char *list, struct mdg_slice out[PROTOCOLS_MAX])
{
    struct mdg_slice rest = mdg_slice_str(list ? list : "");
    size_t n = 0;
    while (rest.len && n < PROTOCOLS_MAX) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (item.len)
            out[n++] = item;
    }
    return n;
}

static void ws_config(const struct madang_client *c, struct mdg_slice protocols[PROTOCOLS_MAX],
                      struct mdg_ws_client_config *out)
{
    *out = (struct mdg_ws_client_config){
        .host = mdg_slice_str(c->url.host_header),
        .target = mdg_slice_str(c->url.target),
        .origin = mdg_slice_str(c->options.origin),
        .protocols = protocols,
        .protocol_count = split_protocols(c->options.subprotocols, protocols),
        .deflate = {c->options.compress, false, false, 15, 15},
    };
}

/* The user's own header lines; a line break would forge others. */
void mdg_client_http_extra(struct mdg_writer *w, const struct madang_client *c)
{
    for (const char *const *h = c->options.headers; h && *h; h++) {
        if (strpbrk(*h, "\r\n") || !strchr(*h, ':'))
            continue;
        mdg_write_str(w, *h);
        mdg_write_str(w, "\r\n");
    }
}

static void write_get(struct mdg_writer *w, const struct madang_client *c)
{
    mdg_write_str(w, "GET ");
    mdg_write_str(w, c->url.target);
    mdg_write_str(w, " HTTP/1.1\r\nHost: ");
    mdg_write_str(w, c->url.host_header);
    mdg_write_str(w, "\r\nAccept: text/event-stream, application/json\r\n"
                     "Cache-Control: no-store\r\n");
    if (*mdg_client_position(c)) {
        mdg_write_str(w, "Last-Event-ID: ");
        mdg_write_str(w, mdg_client_position(c));
        mdg_write_str(w, "\r\n");
    }
    if (c->options.origin) {
        mdg_write_str(w, "Origin: ");
        mdg_write_str(w, c->options.origin);
        mdg_write_str(w, "\r\n");
    }
    mdg_client_http_extra(w, c);
    mdg_write_str(w, "\r\n");
}

static void write_upgrade(struct mdg_writer *w, const struct madang_client *c)
{
    struct mdg_slice protocols[PROTOCOLS_MAX];
    struct mdg_ws_client_config config;
    uint8_t random[16];
    char extra[REQUEST_MAX / 2];
    struct mdg_writer lines;
    mdg_writer_init(&lines, extra, sizeof extra);
    mdg_client_http_extra(&lines, c);
    ws_config(c, protocols, &config);
    config.extra = mdg_slice(extra, mdg_writer_fits(&lines) ? lines.len : 0);
    mdg_loop_random(c->clients->loop, random, sizeof random);
    mdg_ws_client_key(c->http->key, random);
    mdg_ws_write_request(w, &config, c->http->key);
}

static int ask(struct madang_client *c)
{
    char request[REQUEST_MAX];
    struct mdg_writer w;
    c->http = calloc(1, sizeof *c->http);
    if (!c->http)
        return MDG_E_NO_MEMORY;
    mdg_http_head_init(&c->http->head, MDG_HTTP_RESPONSE);
    mdg_buf_init(&c->http->line, EVENT_MAX);
    mdg_writer_init(&w, request, sizeof request);
    if (c->url.kind == MDG_CLIENT_WS)
        write_upgrade(&w, c);
    else
        write_get(&w, c);
    if (!mdg_writer_fits(&w))
        return MDG_E_TOO_BIG;
    struct mdg_slice all = mdg_slice(request, w.len);
    return mdg_stream_write(c->stream, &all, 1);
}

/* Options that other clients have too are one object: endpoints are known by their address. */
static const struct mdg_ws_options *share_options(struct madang_clients *cs,
                                                  const struct madang_client_options *o)
{
    struct mdg_ws_options ws;
    memset(&ws, 0, sizeof ws);
    ws.message_bytes_max = o->message_bytes_max ? o->message_bytes_max : MESSAGE_MAX;
    ws.out_bytes_max = OUT_MAX;
    ws.ping_interval_s = o->ping_interval_s ? o->ping_interval_s : PING_S;
    ws.ping_timeout_s = PONG_S;
    ws.close_timeout_s = CLOSE_S;
    ws.compress_bytes_min = COMPRESS_MIN;
    ws.compress = o->compress;
    ws.context_takeover = true;
    ws.window_bits = 15;
    struct mdg_client_ws_options *it;
    for (it = cs->ws_options; it; it = it->next) {
        if (memcmp(&it->ws, &ws, sizeof ws) == 0)
            return &it->ws;
    }
    it = calloc(1, sizeof *it);
    if (!it)
        return NULL;
    memcpy(&it->ws, &ws, sizeof ws);
    it->next = cs->ws_options;
    cs->ws_options = it;
    return &it->ws;
}

static int become_websocket(struct madang_client *c, const struct mdg_ws_answer *answer)
{
    struct madang_clients *cs = c->clients;
    const struct mdg_ws_options *options = share_options(cs, &c->options);
    struct mdg_ws_endpoint *e;
    struct mdg_ws_conn *conn;
    if (!options)
        return MDG_E_NO_MEMORY;
    int rc = mdg_ws_endpoint_get(cs->ws, options, true, &answer->deflate, &e);
    if (rc == 0)
        rc = mdg_ws_conn_new(e, &mdg_client_link_user, c, &conn);
    if (rc < 0)
        return rc;
    mdg_ws_conn_start(conn, c->stream);
    c->stream = NULL;
    c->link = &conn->link;
    return 0;
}

static void refused(struct madang_client *c, const uint8_t *head)
{
    char text[200];
    struct mdg_slice reason = mdg_http_span_slice(head, c->http->head.reason);
    snprintf(text, sizeof text, "the server answered %u %.*s", c->http->head.status,
             (int)mdg_min_size(reason.len, 100), (const char *)reason.data);
    mdg_client_down(c, MDG_CLOSE_ABNORMAL, text);
}

static void check_upgrade(struct madang_client *c, const uint8_t *head)
{
    struct mdg_slice protocols[PROTOCOLS_MAX];
    struct mdg_ws_client_config config;
    struct mdg_ws_answer answer;
    char protocol[128];
    const struct mdg_http_head *h = &c->http->head;
    ws_config(c, protocols, &config);
    mdg_ws_answer_init(&answer, &config, c->http->key, h->status);
    for (unsigned i = 0; i < h->field_count; i++)
        mdg_ws_answer_header(&answer, mdg_http_span_slice(head, h->fields[i].name),
                             mdg_http_span_slice(head, h->fields[i].value));
    if (h->status != 101) {
        refused(c, head);
        return;
    }
    if (mdg_ws_answer_check(&answer) < 0) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, answer.problem);
        return;
    }
    snprintf(protocol, sizeof protocol, "%.*s", (int)answer.protocol.len,
             answer.protocol.len ? (const char *)answer.protocol.data : "");
    int rc = become_websocket(c, &answer);
    if (rc < 0) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_strerror(rc));
        return;
    }
    mdg_client_http_free(c);
    mdg_client_carried(c, protocol);
}

static void begin_stream(struct madang_client *c, const uint8_t *head)
{
    struct mdg_client_http *http = c->http;
    struct mdg_slice type = mdg_http_head_find(&http->head, head, MDG_SLICE_LIT("content-type"));
    if (http->head.status != 200) {
        refused(c, head);
        return;
    }
    http->streaming = true;
    http->events = mdg_slice_starts(type, MDG_SLICE_LIT("text/event-stream"));
    http->sse_memory = malloc(EVENT_MAX);
    if (!http->sse_memory) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_strerror(MDG_E_NO_MEMORY));
        return;
    }
    mdg_sse_dec_init(&http->sse, http->sse_memory, EVENT_MAX);
    mdg_http_body_init(&http->body, mdg_http_response_framing(&http->head, MDG_HTTP_GET),
                       http->head.content_length, UINT64_MAX);
    mdg_client_carried(c, "");
}

/* True while the client still has this stream. */
static bool read_events(struct madang_client *c, struct mdg_slice piece)
{
    struct mdg_stream *s = c->stream;
    struct mdg_sse_event ev;
    uint8_t *copy = malloc(piece.len ? piece.len : 1); /* the decoder wants it mutable */
    int rc = copy ? 1 : 0;
    if (copy && piece.len)
        memcpy(copy, piece.data, piece.len);
    struct mdg_input in = {copy, piece.len};
    while (rc == 1 && c->stream == s && (rc = mdg_sse_dec_next(&c->http->sse, &in, &ev)) == 1) {
        mdg_client_remember(c, ev.id);
        if (ev.retry_ms != UINT64_MAX)
            c->retry_ms = ev.retry_ms > 60000 ? 60000 : (uint32_t)ev.retry_ms;
        if (ev.data.len)
            mdg_client_message(c, ev.data, false);
    }
    free(copy);
    return rc >= 0 && copy && c->stream == s;
}

static bool read_lines(struct madang_client *c, struct mdg_slice piece)
{
    struct mdg_stream *s = c->stream;
    struct mdg_buf *line = &c->http->line;
    while (piece.len) {
        const uint8_t *end = memchr(piece.data, '\n', piece.len);
        size_t n = end ? (size_t)(end - piece.data) : piece.len;
        if (mdg_buf_append(line, mdg_slice(piece.data, n)) < 0)
            return false;
        piece = mdg_slice(piece.data + n + (end != NULL), piece.len - n - (end != NULL));
        if (!end)
            break;
        if (line->len)
            mdg_client_message(c, mdg_buf_slice(line), false);
        if (c->stream != s)
            return false;
        mdg_buf_consume(line, line->len);
    }
    return true;
}

/* True while the client still has this stream. */
static bool read_body(struct madang_client *c, struct mdg_input *in)
{
    struct mdg_stream *s = c->stream;
    struct mdg_slice piece;
    for (;;) {
        int what = mdg_http_body_next(&c->http->body, in, &piece);
        if (what == MDG_HTTP_BODY_MORE)
            return true;
        bool good = what == MDG_HTTP_BODY_DATA &&
                    (c->http->events ? read_events(c, piece) : read_lines(c, piece));
        if (c->stream != s)
            return false;
        if (!good) {
            mdg_client_down(c, MDG_CLOSE_ABNORMAL,
                            what == MDG_HTTP_BODY_END ? "the server ended the stream"
                                                      : "the server sent something malformed");
            return false;
        }
    }
}

static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct madang_client *c = s->user_arg;
    size_t total = in.len;
    if (!c->http->streaming) {
        int n = mdg_http_head_parse(&c->http->head, &limits, in.data, in.len);
        if (n == 0)
            return 0;
        if (n < 0) {
            mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the answer is not HTTP");
            return (int64_t)total;
        }
        const uint8_t *head = in.data;
        if (c->url.kind == MDG_CLIENT_WS) {
            check_upgrade(c, head);
            return n; /* what follows is the link's */
        }
        begin_stream(c, head);
        if (c->stream != s)
            return (int64_t)total;
        in.data += n;
        in.len -= (size_t)n;
    }
    return read_body(c, &in) ? (int64_t)(total - in.len) : (int64_t)total;
}

static void on_close(struct mdg_stream *s, int reason)
{
    struct madang_client *c = s->user_arg;
    c->stream = NULL;
    mdg_client_down(c, MDG_CLOSE_ABNORMAL,
                    reason < 0 ? mdg_strerror(reason) : "the server closed the connection");
}

const struct mdg_stream_user mdg_client_http_user = {
    .name = "client", .on_data = on_data, .on_close = on_close};

const struct mdg_client_carrier mdg_client_carrier_ws = {.connected = ask};
const struct mdg_client_carrier mdg_client_carrier_http = {.connected = ask};
