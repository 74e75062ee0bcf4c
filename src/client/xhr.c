/* SockJS by requests: one connection receives (xhr_streaming, asked again whenever a response is
 * over), another one sends (xhr_send, one at a time: order is kept, and what is said meanwhile goes
 * with the next). */
#include "base/utf8.h"
#include "client/client.h"
#include "client/exchange.h"
#include "codec/sockjs.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    SESSION_LEN = 16,
    BATCH_MAX = 64 << 10 /* of messages that wait for the one request; servers limit its body */
};

struct xhr {
    struct mdg_client_pair pair; /* in: a frame; waiting: messages, an array without its end */
    bool heard;                  /* this response held a frame */
};

static struct xhr *xhr_of(const struct madang_client *c)
{
    return (struct xhr *)c->pair;
}

static const char content_type[] = "text/plain;charset=UTF-8";

static int ask_for_frames(struct mdg_client_exchange *x)
{
    xhr_of(x->client)->heard = false;
    return mdg_client_exchange_write(x, x->client->url.target, "/xhr_streaming", content_type,
                                     mdg_slice(NULL, 0));
}

static int send_waiting(struct mdg_client_exchange *x)
{
    struct mdg_buf *waiting = &x->client->pair->waiting;
    int rc = mdg_buf_append(waiting, MDG_SLICE_LIT("]"));
    if (rc == 0)
        rc = mdg_client_exchange_write(x, x->client->url.target, "/xhr_send", content_type,
                                       mdg_buf_slice(waiting));
    mdg_buf_consume(waiting, waiting->len);
    return rc;
}

static void received(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    if (!xhr_of(c)->heard || c->pair->in.len) { /* or it would be asked for ever */
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the server ended the stream within a frame");
        return;
    }
    int rc = mdg_client_exchange_ask(x);
    if (rc < 0)
        mdg_client_lost(c, rc);
}

static void take_frame(struct madang_client *c, struct mdg_input line)
{
    struct mdg_client_pair *x = c->pair;
    struct mdg_sockjs_messages m;
    struct mdg_slice reason = {NULL, 0};
    struct mdg_input message;
    unsigned code = 0;
    char text[124];
    xhr_of(c)->heard = true;
    if (line.data[0] == 'h') /* the prelude too: a line of them */
        return;
    int type = mdg_sockjs_frame(line, &m, &code, &reason);
    if (type == 'o' && c->state == MDG_CLIENT_OPENING) {
        mdg_client_opened(c, "");
    } else if (type == 'a' || type == 'm') {
        while (c->pair == x && mdg_sockjs_next_message(&m, &message))
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
static bool read_frames(struct mdg_client_exchange *exchange, struct mdg_slice piece)
{
    struct madang_client *c = exchange->client;
    struct mdg_client_pair *x = c->pair;
    while (piece.len) {
        const uint8_t *end = memchr(piece.data, '\n', piece.len);
        size_t n = end ? (size_t)(end - piece.data) : piece.len;
        int rc = mdg_buf_append(&x->in, mdg_slice(piece.data, n));
        if (rc < 0) {
            mdg_client_lost(c, rc);
            return false;
        }
        if (!end)
            return true;
        piece = mdg_slice(end + 1, piece.len - n - 1);
        if (x->in.len)
            take_frame(c, (struct mdg_input){x->in.data, x->in.len});
        if (c->pair != x)
            return false;
        mdg_buf_consume(&x->in, x->in.len);
    }
    return true;
}

static bool frames_begin(struct mdg_client_exchange *x, const uint8_t *head)
{
    return x->head.status == 200 || mdg_client_exchange_refused(x, head);
}

static bool taken(struct mdg_client_exchange *x, const uint8_t *head)
{
    return x->head.status == 204 || x->head.status == 200 || mdg_client_exchange_refused(x, head);
}

static const struct mdg_client_exchange_user receive_user = {ask_for_frames, frames_begin,
                                                             read_frames, received};
static const struct mdg_client_exchange_user send_user = {
    send_waiting, taken, mdg_client_exchange_ignore, mdg_client_pair_sent};

/* For client.c. */

static int start(struct madang_client *c)
{
    struct xhr *x = calloc(1, sizeof *x);
    if (!x)
        return MDG_E_NO_MEMORY;
    mdg_client_sockjs_session(c, c->url.target + strlen(c->url.target) - SESSION_LEN);
    mdg_client_pair_init(c, &x->pair, &receive_user, &send_user);
    return mdg_client_exchange_ask(&x->pair.receive);
}

static int send_message(struct madang_client *c, struct mdg_slice data, bool binary)
{
    struct mdg_client_pair *x = c->pair;
    struct mdg_writer w;
    (void)binary;
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
    return mdg_client_pair_push(c);
}

const struct mdg_client_carrier mdg_client_carrier_xhr = {
    .prepare = mdg_client_sockjs_target,
    .start = start,
    .send = send_message,
    .queued = mdg_client_pair_queued,
    .end_ms = mdg_client_pair_end_ms,
    .free = mdg_client_pair_free,
};
