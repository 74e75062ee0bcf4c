/* SockJS by requests: one connection receives (xhr_streaming, asked again whenever a response is
 * over), another one sends (xhr_send, one at a time: order is kept, and what is said meanwhile goes
 * with the next). */
#include "base/utf8.h"
#include "client/client.h"
#include "codec/sockjs.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    SESSION_LEN = 16,
    REQUEST_MAX = 16384,
    FRAME_MAX = 64 << 20,
    BATCH_MAX = 64 << 10, /* of messages that wait for the one request; servers limit its body */
    END_MS = 5000         /* for the answer to the last xhr_send, when it is closed */
};

static const struct mdg_http_limits limits = {
    .head_bytes_max = 32768, .target_bytes_max = 8192, .fields_max = MDG_HTTP_FIELDS_MAX};

/* A connection and the request that is under way on it. */
struct exchange {
    struct madang_client *client;
    struct mdg_connect *connect;
    struct mdg_stream *stream;
    struct mdg_http_head head;
    struct mdg_http_body body;
    bool busy;    /* a request waits for the end of its response */
    bool in_body; /* the head is done */
    bool keep;    /* and the connection may serve once more */
    bool by_end;  /* the body ends with the connection */
};

struct mdg_client_xhr {
    struct exchange receive, send;
    struct mdg_buf frame;   /* the line that is being received */
    struct mdg_buf waiting; /* messages as a JSON array without its end */
    bool heard;             /* this response held a frame */
};

static const struct mdg_stream_user receive_user, send_user;

static void lost(struct madang_client *c, int reason)
{
    mdg_client_down(c, MDG_CLOSE_ABNORMAL,
                    reason < 0 ? mdg_strerror(reason) : "the server closed the connection");
}

/* Requests. */

static void write_head(struct mdg_writer *w, const struct madang_client *c, const char *what,
                       size_t body_len)
{
    char length[32];
    snprintf(length, sizeof length, "%zu", body_len);
    mdg_write_str(w, "POST ");
    mdg_write_str(w, c->url.target);
    mdg_write_str(w, what);
    mdg_write_str(w, " HTTP/1.1\r\nHost: ");
    mdg_write_str(w, c->url.host_header);
    mdg_write_str(w, "\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: ");
    mdg_write_str(w, length);
    mdg_write_str(w, "\r\n");
    if (c->options.origin) {
        mdg_write_str(w, "Origin: ");
        mdg_write_str(w, c->options.origin);
        mdg_write_str(w, "\r\n");
    }
    mdg_client_http_extra(w, c);
    mdg_write_str(w, "\r\n");
}

static int ask(struct exchange *x, const char *what, struct mdg_slice body)
{
    char request[REQUEST_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, request, sizeof request);
    write_head(&w, x->client, what, body.len);
    if (!mdg_writer_fits(&w))
        return MDG_E_TOO_BIG;
    mdg_http_head_init(&x->head, MDG_HTTP_RESPONSE);
    x->in_body = false;
    x->busy = true;
    struct mdg_slice parts[2] = {mdg_slice(request, w.len), body};
    return mdg_stream_write(x->stream, parts, body.len ? 2 : 1);
}

static int ask_for_frames(struct mdg_client_xhr *x)
{
    x->heard = false;
    return ask(&x->receive, "/xhr_streaming", mdg_slice(NULL, 0));
}

static int send_waiting(struct mdg_client_xhr *x)
{
    int rc = mdg_buf_append(&x->waiting, MDG_SLICE_LIT("]"));
    if (rc == 0)
        rc = ask(&x->send, "/xhr_send", mdg_buf_slice(&x->waiting));
    mdg_buf_consume(&x->waiting, x->waiting.len);
    return rc;
}

static void on_connected(void *arg, int err, struct mdg_stream *s)
{
    struct exchange *x = arg;
    struct madang_client *c = x->client;
    x->connect = NULL;
    x->stream = s;
    if (err == 0)
        err = x == &c->xhr->receive ? ask_for_frames(c->xhr) : send_waiting(c->xhr);
    if (err < 0)
        lost(c, err);
}

/* The next request, on this connection or on a new one. */
static int ask_again(struct exchange *x)
{
    struct madang_client *c = x->client;
    bool receives = x == &c->xhr->receive;
    if (x->stream)
        return receives ? ask_for_frames(c->xhr) : send_waiting(c->xhr);
    if (x->connect)
        return 0;
    x->busy = true;
    return mdg_client_connect(c, receives ? &receive_user : &send_user, c, on_connected, x,
                              &x->connect);
}

/* Responses. */

static void drop_stream(struct exchange *x)
{
    if (x->stream)
        mdg_client_drop_stream(x->stream);
    x->stream = NULL;
}

static void response_over(struct exchange *x)
{
    struct madang_client *c = x->client;
    struct mdg_client_xhr *xhr = c->xhr;
    int rc = 0;
    x->busy = false;
    if (!x->keep)
        drop_stream(x);
    if (x == &xhr->receive) {
        if (!xhr->heard || xhr->frame.len) { /* or it would be asked for ever */
            mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the server ended the stream within a frame");
            return;
        }
        rc = ask_again(x);
    } else if (xhr->waiting.len) {
        rc = ask_again(x);
    }
    if (rc < 0)
        lost(c, rc);
    else if (x == &xhr->send)
        mdg_client_sent(c);
}

static void take_frame(struct madang_client *c, struct mdg_input line)
{
    struct mdg_client_xhr *x = c->xhr;
    struct mdg_sockjs_messages m;
    struct mdg_slice reason = {NULL, 0};
    struct mdg_input message;
    unsigned code = 0;
    char text[124];
    x->heard = true;
    if (line.data[0] == 'h') /* the prelude too: a line of them */
        return;
    int type = mdg_sockjs_frame(line, &m, &code, &reason);
    if (type == 'o' && c->state == MDG_CLIENT_OPENING) {
        mdg_client_opened(c, "");
    } else if (type == 'a' || type == 'm') {
        while (c->xhr == x && mdg_sockjs_next_message(&m, &message))
            mdg_client_message(c, mdg_slice(message.data, message.len), false);
    } else if (type == 'c') {
        snprintf(text, sizeof text, "%.*s", (int)reason.len,
                 reason.len ? (const char *)reason.data : "");
        mdg_client_down(c, code ? (int)code : MDG_CLOSE_NORMAL,
                        text[0] ? text : "closed by the server");
    } else {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the server sent something malformed");
    }
}

/* False: the client has turned away. */
static bool read_frames(struct madang_client *c, struct mdg_slice piece)
{
    struct mdg_client_xhr *x = c->xhr;
    while (piece.len) {
        const uint8_t *end = memchr(piece.data, '\n', piece.len);
        size_t n = end ? (size_t)(end - piece.data) : piece.len;
        int rc = mdg_buf_append(&x->frame, mdg_slice(piece.data, n));
        if (rc < 0) {
            lost(c, rc);
            return false;
        }
        if (!end)
            return true;
        piece = mdg_slice(end + 1, piece.len - n - 1);
        if (x->frame.len)
            take_frame(c, (struct mdg_input){x->frame.data, x->frame.len});
        if (c->xhr != x)
            return false;
        mdg_buf_consume(&x->frame, x->frame.len);
    }
    return true;
}

/* False: it is refused, and the client is down. */
static bool take_head(struct exchange *x)
{
    struct madang_client *c = x->client;
    bool receives = x == &c->xhr->receive;
    char text[64];
    if (receives ? x->head.status != 200 : x->head.status != 204 && x->head.status != 200) {
        snprintf(text, sizeof text, "the server answered %u", x->head.status);
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, text);
        return false;
    }
    enum mdg_http_framing framing = mdg_http_response_framing(&x->head, MDG_HTTP_POST);
    x->in_body = true;
    x->by_end = framing == MDG_HTTP_BODY_CLOSE;
    x->keep = x->head.keep_alive && !x->by_end;
    mdg_http_body_init(&x->body, framing, x->head.content_length, UINT64_MAX);
    return true;
}

/* Bytes used; all of them when the stream is no longer the client's or the response is over. */
static int64_t read_response(struct exchange *x, struct mdg_input in)
{
    struct madang_client *c = x->client;
    struct mdg_client_xhr *xhr = c->xhr;
    size_t total = in.len;
    struct mdg_slice piece;
    if (!x->busy) {
        lost(c, MDG_E_PROTO); /* an answer that nobody asked for */
        return (int64_t)total;
    }
    if (!x->in_body) {
        int n = mdg_http_head_parse(&x->head, &limits, in.data, in.len);
        if (n == 0)
            return 0;
        if (n < 0) {
            mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the answer is not HTTP");
            return (int64_t)total;
        }
        if (x->head.status / 100 == 1) { /* RFC 9110 15.2: another one follows */
            mdg_http_head_init(&x->head, MDG_HTTP_RESPONSE);
            return n;
        }
        if (!take_head(x))
            return (int64_t)total;
        in.data += n;
        in.len -= (size_t)n;
    }
    for (;;) {
        int what = mdg_http_body_next(&x->body, &in, &piece);
        if (what == MDG_HTTP_BODY_MORE)
            return (int64_t)total;
        if (what == MDG_HTTP_BODY_DATA) {
            if (x == &xhr->receive && !read_frames(c, piece))
                return (int64_t)total;
            continue;
        }
        if (what < 0 || in.len)
            lost(c, MDG_E_PROTO);
        else
            response_over(x);
        return (int64_t)total;
    }
}

static int64_t on_receive(struct mdg_stream *s, struct mdg_input in)
{
    struct madang_client *c = s->user_arg;
    return read_response(&c->xhr->receive, in);
}

static int64_t on_sent(struct mdg_stream *s, struct mdg_input in)
{
    struct madang_client *c = s->user_arg;
    return read_response(&c->xhr->send, in);
}

static void stream_over(struct exchange *x, int reason)
{
    x->stream = NULL;
    x->keep = false;
    if (!x->busy) /* kept for the next request, which makes a new one */
        return;
    if (x->in_body && x->by_end && reason == 0)
        response_over(x);
    else
        lost(x->client, reason);
}

static void on_receive_close(struct mdg_stream *s, int reason)
{
    struct madang_client *c = s->user_arg;
    stream_over(&c->xhr->receive, reason);
}

static void on_send_close(struct mdg_stream *s, int reason)
{
    struct madang_client *c = s->user_arg;
    stream_over(&c->xhr->send, reason);
}

static const struct mdg_stream_user receive_user = {
    .name = "client", .on_data = on_receive, .on_close = on_receive_close};
static const struct mdg_stream_user send_user = {
    .name = "client", .on_data = on_sent, .on_close = on_send_close};

/* For client.c. */

int mdg_client_xhr_start(struct madang_client *c)
{
    struct mdg_client_xhr *x = calloc(1, sizeof *x);
    if (!x)
        return MDG_E_NO_MEMORY;
    mdg_client_sockjs_session(c, c->url.target + strlen(c->url.target) - SESSION_LEN);
    x->receive.client = x->send.client = c;
    mdg_buf_init(&x->frame, FRAME_MAX);
    mdg_buf_init(&x->waiting, FRAME_MAX);
    c->xhr = x;
    x->receive.stream = c->stream;
    c->stream = NULL;
    mdg_stream_adopt(x->receive.stream, &receive_user, c);
    return ask_for_frames(x);
}

static void end_exchange(struct exchange *x)
{
    if (x->connect)
        mdg_connect_cancel(x->connect);
    x->connect = NULL;
    drop_stream(x);
}

void mdg_client_xhr_free(struct madang_client *c)
{
    struct mdg_client_xhr *x = c->xhr;
    if (!x)
        return;
    end_exchange(&x->receive);
    end_exchange(&x->send);
    mdg_buf_fini(&x->frame);
    mdg_buf_fini(&x->waiting);
    free(x);
    c->xhr = NULL;
}

uint32_t mdg_client_xhr_end_ms(const struct madang_client *c)
{
    return c->xhr && c->xhr->send.busy ? END_MS : 0;
}

size_t mdg_client_xhr_queued(const struct madang_client *c)
{
    return c->xhr->waiting.len + c->xhr->send.busy;
}

int mdg_client_xhr_send(struct madang_client *c, struct mdg_slice data)
{
    struct mdg_client_xhr *x = c->xhr;
    struct mdg_writer w;
    if (!mdg_utf8_valid(data))
        return MDG_E_UNSUPPORTED;
    if (x->waiting.len && x->waiting.len + data.len > BATCH_MAX)
        return MDG_E_FULL;
    mdg_writer_init(&w, NULL, 0);
    mdg_sockjs_write_message(&w, MDG_SOCKJS_PLAIN, data);
    size_t room = w.len + sizeof ",\"\"]";
    int rc = mdg_buf_reserve(&x->waiting, room);
    if (rc < 0)
        return rc;
    mdg_writer_init(&w, x->waiting.data + x->waiting.len, room);
    mdg_write_str(&w, x->waiting.len ? ",\"" : "[\"");
    mdg_sockjs_write_message(&w, MDG_SOCKJS_PLAIN, data);
    mdg_write_str(&w, "\"");
    x->waiting.len += w.len;
    return x->send.busy ? 0 : ask_again(&x->send);
}
