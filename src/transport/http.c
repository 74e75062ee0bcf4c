/* Connections: bytes in, one exchange at a time, what follows waits. A connection between two
 * requests holds no buffer and no exchange; one whose head is cut holds the parser's state. */
#include "transport/http_impl.h"
#include <stdlib.h>

static const struct mdg_http_config defaults = {
    .head_bytes_max = 32768,
    .target_bytes_max = 8192,
    .header_count_max = 100,
    .body_bytes_max = 1 << 20,
    .head_timeout_s = 10,
    .body_timeout_s = 20,
    .idle_timeout_s = 75,
    .out_bytes_max = 1 << 20,
};

static int64_t on_data(struct mdg_stream *s, struct mdg_input in);
static void on_eof(struct mdg_stream *s);
static void on_writable(struct mdg_stream *s);
static void on_timeout(struct mdg_stream *s);
static void on_close(struct mdg_stream *s, int reason);

static const struct mdg_stream_user stream_user = {
    .name = "http",
    .read_max = 64 * 1024,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_writable = on_writable,
    .on_timeout = on_timeout,
    .on_close = on_close,
};

uint32_t mdg_http_now_s(const struct mdg_http_server *server)
{
    return (uint32_t)(mdg_loop_now_ms(server->loop) / 1000);
}

static void free_exchange(struct mdg_exchange *x)
{
    struct mdg_http_server *server = x->conn->server;
    if (x->flags & X_LISTED)
        mdg_list_remove(&x->link);
    mdg_http_request_free(server, x->req);
    mdg_http_free_lines(x);
    x->conn->x = NULL;
    server->counters.exchanges--;
    mdg_pool_put(&server->exchanges, x);
}

static void free_server(struct mdg_http_server *server)
{
    mdg_defer_cancel(&server->ended_defer);
    mdg_pool_fini(&server->conns);
    mdg_pool_fini(&server->exchanges);
    mdg_blob_unref(server->crlf);
    mdg_blob_unref(server->last_chunk);
    free(server->spare);
    free(server);
}

static void free_server_if_done(struct mdg_http_server *server)
{
    if (server->freeing && server->lent == 0 && mdg_list_empty(&server->all))
        free_server(server);
}

static void free_conn(struct mdg_http_conn *c)
{
    struct mdg_http_server *server = c->server;
    if (c->x)
        free_exchange(c->x);
    mdg_list_remove(&c->link);
    free(c->partial);
    server->counters.connections--;
    mdg_pool_put(&server->conns, c);
    free_server_if_done(server);
}

/* The last response is on its way: close without destroying it by a reset (RFC 9112 9.6). */
static void end_conn(struct mdg_http_conn *c)
{
    if (c->flags & CONN_ENDING)
        return;
    c->flags |= CONN_ENDING;
    uint32_t linger_s = c->server->draining ? LINGER_DRAINING_S : LINGER_S;
    mdg_stream_finish(c->stream, 0, linger_s + c->stream->out_bytes / SLOW_OUT_BYTES_PER_S);
}

static bool is_over(const struct mdg_http_conn *c)
{
    return (c->flags & (CONN_GONE | CONN_ENDING)) || mdg_stream_closing(c->stream);
}

/* Responses pile up because the client sends requests without reading: wait until they are gone.
 * A refused write is what makes the stream tell. */
static void wait_for_room(struct mdg_http_conn *c)
{
    uint32_t out_max = c->stream->out_max;
    struct mdg_slice byte = MDG_SLICE_LIT(" ");
    if (c->stream->out_bytes <= out_max / 2)
        return;
    mdg_stream_set_out_max(c->stream, 1);
    if (mdg_stream_write(c->stream, &byte, 1) == MDG_E_FULL) {
        c->flags |= CONN_FULL;
        mdg_stream_pause_read(c->stream, true);
    }
    mdg_stream_set_out_max(c->stream, out_max);
}

/* The exchange is complete in both directions. */
static void next_request(struct mdg_http_conn *c)
{
    struct mdg_exchange *x = c->x;
    bool keep = (x->flags & X_KEEP_ALIVE) && !c->server->draining;
    free_exchange(x);
    if (mdg_stream_closing(c->stream))
        return;
    if (!keep) {
        end_conn(c);
        return;
    }
    c->waiting = UINT32_MAX;
    mdg_stream_set_timeout(c->stream, c->server->config->idle_timeout_s);
    wait_for_room(c);
    if (c->flags & (CONN_IN_DATA | CONN_FULL))
        return;
    if (c->unread == 0 && (c->flags & CONN_EOF)) {
        end_conn(c);
    } else if (c->flags & CONN_PAUSED) {
        c->flags &= (uint16_t)~CONN_PAUSED;
        mdg_stream_pause_read(c->stream, false);
    } else if (c->unread) {
        mdg_stream_adopt(c->stream, &stream_user, c); /* offers them again */
    }
}

static void start_body_clock(struct mdg_exchange *x)
{
    x->body_began_s = mdg_http_now_s(x->conn->server);
    mdg_stream_set_timeout(x->conn->stream, x->conn->server->config->body_timeout_s);
}

/* The response has ended; is the request's body over too? */
static void after_response(struct mdg_exchange *x)
{
    struct mdg_http_conn *c = x->conn;
    if (c->flags & CONN_GONE) {
        if (!(c->flags & CONN_IN_DATA))
            free_conn(c);
        return;
    }
    if (x->flags & X_BODY_DONE || !(x->flags & X_KEEP_ALIVE)) {
        next_request(c);
        return;
    }
    x->body.bytes_max = x->body.total + DISCARD_BYTES_MAX;
    x->flags &= (uint16_t)~X_EXPECT;
    mdg_exchange_pause_body(x, false);
    start_body_clock(x);
}

static void run_ended(struct mdg_loop *loop, void *arg)
{
    struct mdg_http_server *server = arg;
    struct mdg_list now;
    (void)loop;
    mdg_list_init(&now);
    mdg_list_take(&now, &server->ended);
    struct mdg_list *node;
    while ((node = mdg_list_first(&now))) {
        struct mdg_exchange *x = MDG_CONTAINER_OF(node, struct mdg_exchange, link);
        mdg_list_remove(node);
        x->flags &= (uint16_t)~X_LISTED;
        after_response(x);
    }
}

void mdg_http_ended(struct mdg_exchange *x)
{
    struct mdg_http_conn *c = x->conn;
    assert(!(x->flags & X_ENDED));
    x->flags |= X_ENDED;
    if (c->flags & CONN_IN_DATA)
        return; /* on_data sees it when the handler returns */
    x->flags |= X_LISTED;
    mdg_list_push(&c->server->ended, &x->link);
    mdg_loop_defer(c->server->loop, &c->server->ended_defer);
}

/* The request cannot be served to its end: answered if that is still possible, and closed. */
static void fail_exchange(struct mdg_exchange *x, unsigned status, const char *text)
{
    struct mdg_http_conn *c = x->conn;
    bool heard = (x->flags & (X_ACCEPTED | X_ENDED)) == X_ACCEPTED;
    bool begun = (x->flags & X_BEGUN) != 0;
    if (!(x->flags & X_ENDED)) {
        x->flags |= X_ENDED;
        if (begun)
            mdg_stream_close(c->stream, MDG_E_PROTO); /* a cut response must look cut */
        else
            mdg_http_refuse(c, status, text);
    }
    if (heard && x->handler && x->handler->on_abort)
        x->handler->on_abort(x);
    free_exchange(x);
    if (!mdg_stream_closing(c->stream))
        end_conn(c);
}

static void fail_handler(struct mdg_exchange *x)
{
    x->flags &= (uint16_t)~X_ACCEPTED; /* it said so itself */
    fail_exchange(x, 500, "The server could not handle the request.");
}

/* Neither silence nor a trickle: each piece buys time at SLOW_BYTES_PER_S. False: too late. */
static bool body_in_time(struct mdg_exchange *x)
{
    uint32_t grace = x->conn->server->config->body_timeout_s;
    uint64_t due = x->body_began_s + grace + x->body.total / SLOW_BYTES_PER_S;
    uint64_t now = mdg_http_now_s(x->conn->server);
    if (now > due)
        return false;
    uint64_t left = due - now + 1;
    mdg_stream_set_timeout(x->conn->stream, left < grace ? (uint32_t)left : grace);
    return true;
}

/* Gives a piece to the handler. False: the exchange is gone. */
static bool give_piece(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    if (last && !(x->flags & X_BODY_DONE)) {
        x->flags |= X_BODY_DONE;
        mdg_stream_set_timeout(x->conn->stream, 0); /* from here on the handler's own */
    }
    if (x->flags & X_ENDED || !x->handler || !x->handler->on_body)
        return true;
    if (x->handler->on_body(x, piece, last) >= 0)
        return true;
    fail_handler(x);
    return false;
}

/* Reads what it can of the body. Returns with *in empty, the body over, paused, or the exchange
 * gone. */
static void read_body(struct mdg_http_conn *c, struct mdg_input *in)
{
    struct mdg_exchange *x = c->x;
    while (!(x->flags & (X_BODY_DONE | X_BODY_PAUSED))) {
        struct mdg_slice piece;
        int event = mdg_http_body_next(&x->body, in, &piece);
        if (event < 0) {
            c->server->counters.refused++;
            fail_exchange(x, mdg_http_fail_status(x->body.fail), mdg_http_fail_text(x->body.fail));
            return;
        }
        if (event == MDG_HTTP_BODY_MORE)
            break;
        if (!give_piece(x, piece, event == MDG_HTTP_BODY_END || mdg_http_body_done(&x->body)))
            return;
        if ((x->flags & X_ENDED) && !(x->flags & (X_KEEP_ALIVE | X_BODY_DONE))) {
            after_response(x);
            return;
        }
    }
    if ((x->flags & (X_BODY_DONE | X_ENDED)) == (X_BODY_DONE | X_ENDED))
        after_response(x);
    else if (!(x->flags & X_BODY_DONE) && !(x->flags & X_BODY_PAUSED) && !body_in_time(x))
        fail_exchange(x, 408, "The request body came too slowly.");
}

static void send_continue(struct mdg_exchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct mdg_slice part = MDG_SLICE_LIT(text);
    if (!(x->flags & X_EXPECT))
        return;
    x->flags &= (uint16_t)~X_EXPECT;
    if (mdg_stream_write(x->conn->stream, &part, 1) < 0)
        mdg_stream_close(x->conn->stream, MDG_E_NO_MEMORY);
}

void mdg_exchange_pause_body(struct mdg_exchange *x, bool paused)
{
    bool is = (x->flags & X_BODY_PAUSED) != 0;
    if (paused == is || x->flags & X_BODY_DONE)
        return;
    x->flags ^= X_BODY_PAUSED;
    mdg_stream_pause_read(x->conn->stream, paused);
    if (paused) {
        mdg_stream_set_timeout(x->conn->stream, 0); /* it is not the peer who is slow */
        return;
    }
    x->body_began_s = mdg_http_now_s(x->conn->server);
    x->body.bytes_max -= x->body.total; /* the clock starts anew, so does its count */
    x->body.total = 0;
    mdg_stream_set_timeout(x->conn->stream, x->conn->server->config->body_timeout_s);
    send_continue(x);
}

/* Requests that need no route. True: answered. */
static bool answer_itself(struct mdg_exchange *x, const struct mdg_http_head *h)
{
    if (h->form == MDG_HTTP_ASTERISK) {
        struct mdg_header allow = {MDG_SLICE_LIT("Allow"),
                                   MDG_SLICE_LIT("GET, HEAD, POST, OPTIONS")};
        if (mdg_exchange_respond(x, 204, &allow, 1, NULL, 0) < 0)
            mdg_exchange_kill(x);
        return true;
    }
    if (h->form == MDG_HTTP_AUTHORITY) { /* we are no proxy */
        x->flags &= (uint16_t)~X_KEEP_ALIVE;
        mdg_exchange_method_not_allowed(x, "GET, HEAD, POST, OPTIONS");
        return true;
    }
    if (!x->req->path.data) {
        mdg_exchange_respond_text(x, 400, "text/plain; charset=utf-8",
                                  MDG_SLICE_LIT("The path is not valid.\n"));
        return true;
    }
    return false;
}

/* Finds the handler and gives it the request. False: the exchange is gone. */
static bool dispatch(struct mdg_exchange *x, const struct mdg_http_head *h)
{
    struct mdg_http_server *server = x->conn->server;
    void *arg = NULL;
    if (answer_itself(x, h))
        return true;
    const struct mdg_http_handler *handler = server->route(server->router, x, &arg);
    if (x->flags & X_ENDED)
        return true;
    if (!handler) {
        mdg_exchange_respond_text(x, 404, "text/plain; charset=utf-8",
                                  MDG_SLICE_LIT("Not found.\n"));
        return true;
    }
    if (!x->handler)
        x->handler = handler;
    x->flags |= X_ACCEPTED;
    if (handler->on_request(x, arg) >= 0 || x->flags & X_ENDED)
        return true;
    fail_handler(x);
    return false;
}

static bool has_no_body(const struct mdg_http_head *h)
{
    return h->framing == MDG_HTTP_BODY_NONE ||
           (h->framing == MDG_HTTP_BODY_LENGTH && h->content_length == 0);
}

static struct mdg_exchange *new_exchange(struct mdg_http_conn *c, const struct mdg_http_head *h,
                                         const uint8_t *head, size_t head_len)
{
    struct mdg_http_server *server = c->server;
    struct mdg_exchange *x = mdg_pool_get(&server->exchanges);
    struct mdg_http_request *req = x ? mdg_http_request_new(server, h, head, head_len) : NULL;
    if (!req) {
        mdg_pool_put(&server->exchanges, x);
        return NULL;
    }
    x->conn = c;
    x->req = req;
    x->method = h->method;
    x->minor = h->minor;
    x->flags =
        (uint16_t)((h->keep_alive ? X_KEEP_ALIVE : 0) | (h->expect_continue ? X_EXPECT : 0) |
                   (h->method == MDG_HTTP_HEAD ? X_HEAD : 0) | (has_no_body(h) ? X_BODY_DONE : 0));
    mdg_http_body_init(&x->body, (enum mdg_http_framing)h->framing, h->content_length,
                       server->config->body_bytes_max);
    c->x = x;
    c->requests++;
    server->counters.exchanges++;
    server->counters.requests++;
    return x;
}

/* A whole head has been read. */
static void start_exchange(struct mdg_http_conn *c, const struct mdg_http_head *h,
                           const uint8_t *head, size_t head_len)
{
    struct mdg_exchange *x = new_exchange(c, h, head, head_len);
    if (!x) {
        mdg_http_refuse(c, 503, "The server is out of memory.");
        end_conn(c);
        return;
    }
    mdg_stream_set_timeout(c->stream, 0);
    bool bodiless = (x->flags & X_BODY_DONE) != 0;
    if (!dispatch(x, h))
        return;
    if (x->flags & X_ENDED) {
        after_response(x);
        return;
    }
    if (bodiless) {
        if (give_piece(x, mdg_slice(NULL, 0), true) && x->flags & X_ENDED)
            after_response(x);
        return;
    }
    bool too_big = h->framing == MDG_HTTP_BODY_LENGTH && h->content_length > x->body.bytes_max;
    if (too_big) {
        c->server->counters.refused++;
        fail_exchange(x, 413, mdg_http_fail_text(MDG_HTTP_FAIL_BODY_BIG));
        return;
    }
    if (x->flags & X_BODY_PAUSED)
        return;
    start_body_clock(x);
    send_continue(x);
}

/* Reads a head, in pieces if need be. False: nothing more can be done with the input. */
static bool read_head(struct mdg_http_conn *c, struct mdg_input *in)
{
    struct mdg_http_server *server = c->server;
    struct mdg_http_head *h = c->partial ? c->partial : &server->scratch;
    if (!c->partial)
        mdg_http_head_init(h, MDG_HTTP_REQUEST);
    int n = mdg_http_head_parse(h, &server->limits, in->data, in->len);
    if (n < 0) {
        server->counters.refused++;
        mdg_http_refuse(c, mdg_http_fail_status(h->fail), mdg_http_fail_text(h->fail));
        end_conn(c);
        return false;
    }
    if (n == 0) {
        if (c->partial)
            return false;
        c->partial = malloc(sizeof *c->partial);
        if (!c->partial) {
            mdg_stream_close(c->stream, MDG_E_NO_MEMORY);
            return false;
        }
        memcpy(c->partial, h, sizeof *h);
        mdg_stream_set_timeout(c->stream, server->config->head_timeout_s);
        return false;
    }
    struct mdg_http_head *mine = c->partial;
    c->partial = NULL;
    const uint8_t *head = in->data;
    /* mdg_exchange_move leaves the head unread: `consumed` counts it only afterwards. */
    start_exchange(c, h, head, (size_t)n);
    free(mine);
    in->data += n;
    in->len -= (size_t)n;
    return true;
}

static void take_input(struct mdg_http_conn *c, struct mdg_input *in)
{
    size_t whole = in->len;
    while (in->len && !is_over(c) && !(c->flags & CONN_FULL)) {
        c->consumed = (uint32_t)(whole - in->len);
        if (!c->x) {
            if (!read_head(c, in))
                break;
        } else if (!(c->x->flags & (X_BODY_DONE | X_BODY_PAUSED))) {
            read_body(c, in);
        } else {
            break; /* one request at a time: pipelining in order */
        }
    }
}

static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_http_conn *c = s->user_arg;
    size_t whole = in.len;
    c->flags |= CONN_IN_DATA;
    take_input(c, &in);
    c->flags &= (uint16_t)~CONN_IN_DATA;
    c->waiting = UINT32_MAX;
    int64_t consumed = (int64_t)(whole - in.len);
    if (c->flags & CONN_GONE) {
        free_conn(c);
        return consumed;
    }
    c->unread = (uint32_t)in.len;
    bool waits = c->x && (c->x->flags & X_BODY_DONE);
    if (waits && in.len > PIPELINED_BYTES_MAX && !is_over(c)) {
        c->flags |= CONN_PAUSED;
        mdg_stream_pause_read(s, true);
    }
    if (!c->x && (c->flags & CONN_EOF) && !(c->flags & CONN_FULL) && !is_over(c))
        end_conn(c); /* what is left is no whole request and never will be */
    return consumed;
}

static void abort_exchange(struct mdg_exchange *x)
{
    bool heard = (x->flags & (X_ACCEPTED | X_ENDED)) == X_ACCEPTED;
    x->flags |= X_ENDED;
    if (heard && x->handler && x->handler->on_abort)
        x->handler->on_abort(x);
    free_exchange(x);
}

static void on_eof(struct mdg_stream *s)
{
    struct mdg_http_conn *c = s->user_arg;
    c->flags |= CONN_EOF;
    if (!c->x) {
        if (!(c->flags & CONN_FULL) || c->unread == 0)
            end_conn(c);
    } else if (!(c->x->flags & X_BODY_DONE)) {
        fail_exchange(c->x, 400, mdg_http_fail_text(MDG_HTTP_FAIL_BODY_SHORT));
    } else if (c->x->flags & X_ABORT_ON_EOF && !(c->x->flags & X_ENDED)) {
        abort_exchange(c->x);
        mdg_stream_close(s, 0);
    } /* else: its answer is still wanted (nc -N, shutdown(SHUT_WR)) */
}

static void on_writable(struct mdg_stream *s)
{
    struct mdg_http_conn *c = s->user_arg;
    if (c->flags & CONN_FULL) {
        c->flags &= (uint16_t) ~(CONN_FULL | CONN_PAUSED);
        mdg_stream_pause_read(s, false);
        if (c->flags & CONN_EOF && c->unread == 0 && !c->x)
            end_conn(c);
        return;
    }
    struct mdg_exchange *x = c->x;
    if (x && (x->flags & (X_BEGUN | X_ENDED)) == X_BEGUN && x->handler && x->handler->on_writable)
        x->handler->on_writable(x);
}

static void on_timeout(struct mdg_stream *s)
{
    struct mdg_http_conn *c = s->user_arg;
    struct mdg_exchange *x = c->x;
    if (x && x->flags & X_BODY_DONE) {
        if (!(x->flags & X_ENDED) && x->handler && x->handler->on_timeout)
            x->handler->on_timeout(x);
        return;
    }
    c->server->counters.timeouts++;
    if (x)
        fail_exchange(x, 408, "The request body did not come in time.");
    else if (c->partial) {
        mdg_http_refuse(c, 408, "The request did not come in time.");
        end_conn(c);
    } else if (s->out_bytes && s->out_bytes < c->waiting) {
        c->waiting = s->out_bytes; /* a long download that makes progress */
        mdg_stream_set_timeout(s, c->server->config->idle_timeout_s);
    } else {
        mdg_stream_close(s, MDG_E_TIMEOUT);
    }
}

static void on_close(struct mdg_stream *s, int reason)
{
    struct mdg_http_conn *c = s->user_arg;
    (void)reason;
    if (c->x)
        abort_exchange(c->x);
    free_conn(c);
}

int mdg_http_server_new(struct mdg_net *net, const struct mdg_http_config *config,
                        mdg_http_route_fn route, void *router, struct mdg_http_server **out)
{
    struct mdg_http_server *server = calloc(1, sizeof *server);
    if (!server)
        return MDG_E_NO_MEMORY;
    if (!config)
        config = &defaults;
    server->net = net;
    server->loop = mdg_net_loop(net);
    server->config = config;
    server->limits.head_bytes_max =
        (uint32_t)mdg_min_size(config->head_bytes_max, MDG_HTTP_HEAD_BYTES_MAX);
    server->limits.target_bytes_max =
        (uint32_t)mdg_min_size(config->target_bytes_max, server->limits.head_bytes_max - 1);
    server->limits.fields_max =
        (uint16_t)mdg_min_size(config->header_count_max, MDG_HTTP_FIELDS_MAX);
    server->route = route;
    server->router = router;
    mdg_pool_init(&server->conns, sizeof(struct mdg_http_conn), 0);
    mdg_pool_init(&server->exchanges, sizeof(struct mdg_exchange), 0);
    mdg_list_init(&server->all);
    mdg_list_init(&server->ended);
    server->ended_defer = (struct mdg_defer){.fn = run_ended, .arg = server};
    server->crlf = mdg_blob_copy(MDG_SLICE_LIT("\r\n"));
    server->last_chunk = mdg_blob_copy(MDG_SLICE_LIT("0\r\n\r\n"));
    if (!server->crlf || !server->last_chunk) {
        free_server(server);
        return MDG_E_NO_MEMORY;
    }
    *out = server;
    return 0;
}

void mdg_http_server_drain(struct mdg_http_server *server)
{
    server->draining = true;
    MDG_LIST_FOR(node, next, &server->all)
    {
        struct mdg_http_conn *c = MDG_CONTAINER_OF(node, struct mdg_http_conn, link);
        if (c->partial)
            mdg_http_refuse(c, 503, "The server is stopping.");
        if (!c->x)
            end_conn(c);
    }
}

void mdg_http_server_free(struct mdg_http_server *server)
{
    if (!server)
        return;
    server->draining = server->freeing = true;
    MDG_LIST_FOR(node, next, &server->all)
    {
        struct mdg_http_conn *c = MDG_CONTAINER_OF(node, struct mdg_http_conn, link);
        mdg_stream_close(c->stream, MDG_E_CLOSED);
    }
    free_server_if_done(server);
}

const struct mdg_http_counters *mdg_http_server_counters(const struct mdg_http_server *server)
{
    return &server->counters;
}

static int new_conn(struct mdg_http_server *server, struct mdg_http_conn **out)
{
    struct mdg_http_conn *c = mdg_pool_get(&server->conns);
    if (!c)
        return MDG_E_NO_MEMORY;
    c->server = server;
    c->waiting = UINT32_MAX;
    mdg_list_push(&server->all, &c->link);
    server->counters.connections++;
    *out = c;
    return 0;
}

static void set_stream(struct mdg_http_conn *c, struct mdg_stream *s)
{
    const struct mdg_http_config *config = c->server->config;
    c->stream = s;
    mdg_stream_set_out_max(s, (uint32_t)mdg_min_size(config->out_bytes_max, UINT32_MAX));
    mdg_stream_set_timeout(s, config->idle_timeout_s);
}

int mdg_http_server_accept(struct mdg_http_server *server, struct mdg_stream *s)
{
    struct mdg_http_conn *c;
    if (server->draining)
        return MDG_E_CLOSED;
    int err = new_conn(server, &c);
    if (err < 0)
        return err;
    set_stream(c, s);
    mdg_stream_adopt(s, &stream_user, c);
    return 0;
}

struct mdg_stream *mdg_http_let_go(struct mdg_exchange *x)
{
    struct mdg_http_conn *c = x->conn;
    mdg_stream_set_timeout(c->stream, 0);
    c->flags |= CONN_GONE;
    mdg_http_ended(x);
    return c->stream;
}

int mdg_exchange_lend(struct mdg_exchange *x, struct mdg_http_loan *out)
{
    struct mdg_http_conn *c = x->conn;
    if ((x->flags & (X_BEGUN | X_ENDED | X_BODY_DONE | X_HEAD)) != (X_BEGUN | X_BODY_DONE))
        return MDG_E_CLOSED;
    *out = (struct mdg_http_loan){
        .server = c->server,
        .chunked = (x->flags & X_CHUNKED) != 0,
        .keep_alive = (x->flags & X_KEEP_ALIVE) != 0,
    };
    if (c->flags & CONN_PAUSED)
        mdg_stream_pause_read(c->stream, false);
    c->server->lent++;
    out->stream = mdg_http_let_go(x);
    return 0;
}

int mdg_http_loan_return(struct mdg_http_server *server, struct mdg_stream *s)
{
    int err = mdg_http_server_accept(server, s);
    if (err == 0)
        server->lent--;
    return err;
}

void mdg_http_loan_lost(struct mdg_http_server *server)
{
    assert(server->lent > 0);
    server->lent--;
    free_server_if_done(server);
}

/* A connection on its way to another worker. */
struct transit {
    struct mdg_post post;
    struct mdg_http_server *to;
    struct mdg_moved moved;
};

static void arrive(struct mdg_loop *loop, struct mdg_post *post)
{
    struct transit *t = MDG_CONTAINER_OF(post, struct transit, post);
    struct mdg_http_conn *c;
    struct mdg_stream *s;
    (void)loop;
    if (t->to->draining || new_conn(t->to, &c) < 0)
        mdg_moved_drop(&t->moved);
    else if (mdg_stream_attach(t->to->net, &t->moved, &stream_user, c, &s) < 0)
        free_conn(c);
    else
        set_stream(c, s);
    free(t);
}

int mdg_exchange_move(struct mdg_exchange *x, struct mdg_http_server *to)
{
    struct mdg_http_conn *c = x->conn;
    if (!(c->flags & CONN_IN_DATA) || x->flags & (X_ENDED | X_BEGUN) || x->body.total)
        return MDG_E_UNSUPPORTED;
    struct transit *t = malloc(sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    int err = mdg_stream_detach(c->stream, c->consumed, &t->moved);
    if (err < 0) {
        free(t);
        return err == MDG_E_FULL ? MDG_E_UNSUPPORTED : err;
    }
    t->to = to;
    t->post.fn = arrive;
    c->flags |= CONN_GONE;
    mdg_http_ended(x);
    mdg_loop_post_node(to->loop, &t->post);
    return 0;
}
