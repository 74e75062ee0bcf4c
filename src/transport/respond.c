/* The response's side of an exchange: heads, whole and streamed bodies, refusals, the upgrade. A
 * whole response is always taken, however full the queue: the next request waits instead. */
#include "transport/http_impl.h"
#include <stdlib.h>

enum { CHUNKS_ON_STACK = 15, HEAD_BYTES_MAX = 64 * 1024 };

static const char *date_of(struct mdg_http_server *server)
{
    uint64_t now_s = mdg_loop_unix_ms(server->loop) / 1000;
    if (now_s != server->date_s) {
        struct mdg_writer w;
        mdg_writer_init(&w, server->date, sizeof server->date);
        mdg_http_write_date(&w, (int64_t)now_s);
        server->date_s = now_s;
    }
    return server->date;
}

static void write_common(struct mdg_writer *w, struct mdg_http_server *server, unsigned status)
{
    mdg_http_write_status(w, status);
    mdg_http_write_field(w, MDG_SLICE_LIT("Date"), mdg_slice(date_of(server), MDG_HTTP_DATE_LEN));
    if (server->config->server_name)
        mdg_http_write_field(w, MDG_SLICE_LIT("Server"),
                             mdg_slice_str(server->config->server_name));
}

static void write_connection(struct mdg_writer *w, const struct mdg_exchange *x)
{
    if (!(x->flags & X_KEEP_ALIVE))
        mdg_write_str(w, "Connection: close\r\n");
    else if (x->minor == 0)
        mdg_write_str(w, "Connection: keep-alive\r\n");
}

/* content_length: UINT64_MAX for none. */
static void write_head(struct mdg_writer *w, const struct mdg_exchange *x, unsigned status,
                       const struct mdg_header *h, size_t nh, uint64_t content_length)
{
    write_common(w, x->conn->server, status);
    for (size_t i = 0; i < nh; i++)
        mdg_http_write_field(w, h[i].name, h[i].value);
    if (x->extra)
        mdg_write_bytes(w, x->extra->data, x->extra->len);
    if (status == 101) {
        mdg_write_str(w, "\r\n");
        return;
    }
    if (content_length != UINT64_MAX) {
        mdg_write_str(w, "Content-Length: ");
        mdg_write_dec(w, content_length);
        mdg_write_str(w, "\r\n");
    }
    if (x->flags & X_CHUNKED)
        mdg_write_str(w, "Transfer-Encoding: chunked\r\n");
    write_connection(w, x);
    mdg_write_str(w, "\r\n");
}

/* `room` bytes more for a small body that is sent along. NULL: *err says why. */
static struct mdg_blob *new_head(const struct mdg_exchange *x, unsigned status,
                                 const struct mdg_header *h, size_t nh, uint64_t content_length,
                                 struct mdg_slice body, int *err)
{
    *err = MDG_E_SYNTAX;
    for (size_t i = 0; i < nh; i++)
        if (!mdg_http_field_valid(h[i].name, h[i].value))
            return NULL;
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    write_head(&w, x, status, h, nh, content_length);
    *err = MDG_E_TOO_BIG;
    if (w.len > HEAD_BYTES_MAX || body.len > UINT32_MAX - w.len)
        return NULL;
    *err = MDG_E_NO_MEMORY;
    struct mdg_blob *blob = mdg_blob_new((uint32_t)(w.len + body.len));
    if (!blob)
        return NULL;
    mdg_writer_init(&w, blob->data, blob->len);
    write_head(&w, x, status, h, nh, content_length);
    mdg_write_slice(&w, body);
    assert(w.len == blob->len);
    *err = 0;
    return blob;
}

/* Past the limit of the queue: this much was promised, or is the last. */
static int send_anyway(struct mdg_http_conn *c, struct mdg_chunk *chunks, size_t n)
{
    mdg_stream_set_out_max(c->stream, UINT32_MAX);
    int err = mdg_stream_send(c->stream, chunks, n);
    mdg_stream_set_out_max(c->stream,
                           (uint32_t)mdg_min_size(c->server->config->out_bytes_max, UINT32_MAX));
    return err;
}

/* The head in front of the body's chunks, as one queue entry row. Takes `head` in any case, the
 * body only on success. */
static int send_with_head(struct mdg_http_conn *c, struct mdg_blob *head, struct mdg_chunk *body,
                          size_t nb)
{
    struct mdg_chunk small[CHUNKS_ON_STACK + 1], *all = small;
    if (nb > CHUNKS_ON_STACK)
        all = malloc((nb + 1) * sizeof *all);
    if (!all) {
        mdg_blob_unref(head);
        return MDG_E_NO_MEMORY;
    }
    all[0] = mdg_chunk_all(head);
    if (nb)
        memcpy(all + 1, body, nb * sizeof *body);
    int err = send_anyway(c, all, nb + 1);
    if (err < 0)
        mdg_blob_unref(head);
    for (size_t i = 0; err == 0 && i < nb; i++)
        body[i].blob = NULL;
    if (all != small)
        free(all);
    return err;
}

static void count(struct mdg_exchange *x, unsigned status)
{
    struct mdg_http_counters *counters = &x->conn->server->counters;
    counters->responses[status == 101 ? 0 : status / 100]++;
}

/* What of the request is still to come decides whether the connection can be kept. */
static void settle_keep_alive(struct mdg_exchange *x)
{
    const struct mdg_http_conn *c = x->conn;
    const struct mdg_http_config *config = c->server->config;
    bool last = config->requests_max && c->requests >= config->requests_max;
    /* A client that waits for 100 Continue may or may not send its body now (RFC 9110 10.1.1). */
    bool unread =
        !(x->flags & X_BODY_DONE) && ((x->flags & X_EXPECT) || x->body.left > DISCARD_BYTES_MAX);
    if (last || unread || c->server->draining || (c->flags & CONN_ENDING))
        x->flags &= (uint16_t)~X_KEEP_ALIVE;
}

static bool may_respond(const struct mdg_exchange *x)
{
    return !(x->flags & (X_ENDED | X_BEGUN)) && !mdg_stream_closing(x->conn->stream);
}

static bool has_no_body(unsigned status)
{
    return status < 200 || status == 204 || status == 304; /* RFC 9110 6.4.1 */
}

int mdg_exchange_respond(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                         size_t nh, struct mdg_chunk *body, size_t nb)
{
    int err;
    uint64_t length = 0;
    if (!may_respond(x))
        return MDG_E_CLOSED;
    assert(status >= 200 && status <= 599);
    settle_keep_alive(x);
    for (size_t i = 0; i < nb; i++)
        length += body[i].len;
    bool bodiless = has_no_body(status);
    struct mdg_blob *head =
        new_head(x, status, h, nh, bodiless ? UINT64_MAX : length, mdg_slice(NULL, 0), &err);
    if (!head)
        return err;
    bool drop = bodiless || (x->flags & X_HEAD);
    err = send_with_head(x->conn, head, body, drop ? 0 : nb);
    if (err < 0)
        return err;
    for (size_t i = 0; drop && i < nb; i++) {
        mdg_blob_unref(body[i].blob);
        body[i].blob = NULL;
    }
    count(x, status);
    mdg_http_ended(x);
    return 0;
}

int mdg_exchange_respond_copy(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                              size_t nh, struct mdg_slice body)
{
    int err;
    if (!may_respond(x))
        return MDG_E_CLOSED;
    settle_keep_alive(x);
    bool bodiless = has_no_body(status), drop = bodiless || (x->flags & X_HEAD);
    struct mdg_blob *all = new_head(x, status, h, nh, bodiless ? UINT64_MAX : body.len,
                                    drop ? mdg_slice(NULL, 0) : body, &err);
    if (!all)
        return err;
    err = send_with_head(x->conn, all, NULL, 0);
    if (err < 0)
        return err;
    count(x, status);
    mdg_http_ended(x);
    return 0;
}

static void respond_or_kill(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                            size_t nh, struct mdg_slice body)
{
    if (mdg_exchange_respond_copy(x, status, h, nh, body) < 0)
        mdg_exchange_kill(x);
}

void mdg_exchange_respond_text(struct mdg_exchange *x, unsigned status, const char *content_type,
                               struct mdg_slice body)
{
    struct mdg_header h = {MDG_SLICE_LIT("Content-Type"), mdg_slice_str(content_type)};
    respond_or_kill(x, status, &h, content_type ? 1 : 0, body);
}

void mdg_exchange_respond_error(struct mdg_exchange *x, unsigned status, const char *code,
                                const char *message)
{
    uint8_t text[512];
    struct mdg_writer w;
    const struct mdg_header h[] = {
        {MDG_SLICE_LIT("Content-Type"), MDG_SLICE_LIT("application/json")},
        {MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store")},
    };
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_str(&w, "{\"code\":");
    mdg_write_json_string(&w, mdg_slice_str(code));
    mdg_write_str(&w, ",\"message\":");
    mdg_write_json_string(&w, mdg_slice_str(message));
    mdg_write_str(&w, "}\n");
    assert(mdg_writer_fits(&w));
    respond_or_kill(x, status, h, MDG_ARRAY_LEN(h), mdg_slice(text, w.len));
}

void mdg_exchange_method_not_allowed(struct mdg_exchange *x, const char *allow)
{
    const struct mdg_header h[] = {
        {MDG_SLICE_LIT("Allow"), mdg_slice_str(allow)},
        {MDG_SLICE_LIT("Content-Type"), MDG_SLICE_LIT("text/plain; charset=utf-8")},
    };
    respond_or_kill(x, 405, h, MDG_ARRAY_LEN(h), MDG_SLICE_LIT("Method not allowed.\n"));
}

int mdg_exchange_begin(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                       size_t nh)
{
    int err;
    if (!may_respond(x))
        return MDG_E_CLOSED;
    assert(status >= 200 && status <= 599 && !has_no_body(status));
    settle_keep_alive(x);
    uint16_t before = x->flags;
    if (x->minor >= 1)
        x->flags |= X_CHUNKED;
    else
        x->flags &= (uint16_t)~X_KEEP_ALIVE; /* its end is the end of the connection */
    struct mdg_blob *head = new_head(x, status, h, nh, UINT64_MAX, mdg_slice(NULL, 0), &err);
    if (head)
        err = send_with_head(x->conn, head, NULL, 0);
    if (err < 0) {
        x->flags = before;
        return err;
    }
    count(x, status);
    x->flags |= X_BEGUN;
    return 0;
}

static void drop_chunks(struct mdg_chunk *part, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mdg_blob_unref(part[i].blob);
        part[i].blob = NULL;
    }
}

int mdg_exchange_write_framed(struct mdg_exchange *x, struct mdg_chunk *part, size_t n)
{
    if (!(x->flags & X_BEGUN) || (x->flags & X_ENDED))
        return MDG_E_CLOSED;
    if (x->flags & X_HEAD) {
        drop_chunks(part, n);
        return 0;
    }
    return mdg_stream_send(x->conn->stream, part, n);
}

int mdg_exchange_write(struct mdg_exchange *x, struct mdg_chunk *part, size_t n)
{
    struct mdg_chunk small[CHUNKS_ON_STACK + 2], *all = small;
    uint64_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += part[i].len;
    if (!(x->flags & X_CHUNKED) || len == 0)
        return mdg_exchange_write_framed(x, part, n); /* an empty chunk would be the end */
    uint8_t text[MDG_HTTP_CHUNK_HEAD_MAX];
    struct mdg_blob *head = mdg_blob_copy(mdg_slice(text, mdg_http_chunk_head(text, len)));
    if (n > CHUNKS_ON_STACK)
        all = malloc((n + 2) * sizeof *all);
    int err = head && all ? 0 : MDG_E_NO_MEMORY;
    if (err == 0) {
        all[0] = mdg_chunk_all(head);
        memcpy(all + 1, part, n * sizeof *part);
        all[n + 1] = mdg_chunk_all(mdg_blob_ref(x->conn->server->crlf));
        err = mdg_exchange_write_framed(x, all, n + 2);
        if (err < 0)
            mdg_blob_unref(x->conn->server->crlf);
    }
    if (err < 0)
        mdg_blob_unref(head);
    for (size_t i = 0; err == 0 && i < n; i++)
        part[i].blob = NULL;
    if (all != small)
        free(all);
    return err;
}

void mdg_exchange_end(struct mdg_exchange *x)
{
    if (!(x->flags & X_BEGUN) || (x->flags & X_ENDED))
        return;
    if ((x->flags & (X_CHUNKED | X_HEAD)) == X_CHUNKED) {
        struct mdg_chunk last = mdg_chunk_all(mdg_blob_ref(x->conn->server->last_chunk));
        if (send_anyway(x->conn, &last, 1) < 0) {
            mdg_blob_unref(last.blob);
            x->flags &= (uint16_t)~X_KEEP_ALIVE;
        }
    }
    mdg_http_ended(x);
}

void mdg_exchange_kill(struct mdg_exchange *x)
{
    if (x->flags & X_ENDED)
        return;
    x->flags &= (uint16_t)~X_KEEP_ALIVE;
    mdg_stream_close(x->conn->stream, MDG_E_CLOSED);
    mdg_http_ended(x);
}

int mdg_exchange_upgrade(struct mdg_exchange *x, const struct mdg_header *h, size_t nh,
                         struct mdg_stream **out)
{
    int err;
    struct mdg_http_conn *c = x->conn;
    if (!may_respond(x))
        return MDG_E_CLOSED;
    if (!(x->flags & X_BODY_DONE) || x->minor == 0)
        return MDG_E_UNSUPPORTED;
    struct mdg_blob *head = new_head(x, 101, h, nh, UINT64_MAX, mdg_slice(NULL, 0), &err);
    if (!head)
        return err;
    err = send_with_head(c, head, NULL, 0);
    if (err < 0)
        return err;
    count(x, 101);
    *out = mdg_http_let_go(x);
    return 0;
}

bool mdg_exchange_cors(struct mdg_exchange *x, const char *methods)
{
    struct mdg_slice origin = mdg_exchange_header(x, "origin");
    if (!origin.data || may_respond(x) == false)
        return false;
    struct mdg_slice asked = mdg_exchange_header(x, "access-control-request-headers");
    bool preflight = x->method == MDG_HTTP_OPTIONS &&
                     mdg_exchange_header(x, "access-control-request-method").data;
    int err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Access-Control-Allow-Origin"), origin);
    if (err == 0)
        err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Access-Control-Allow-Credentials"),
                                      MDG_SLICE_LIT("true"));
    if (err == 0)
        err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Vary"), MDG_SLICE_LIT("Origin"));
    if (err == 0 && preflight)
        err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Access-Control-Allow-Methods"),
                                      mdg_slice_str(methods));
    if (err == 0 && preflight && asked.data)
        err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Access-Control-Allow-Headers"), asked);
    if (err == 0 && preflight)
        err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Access-Control-Max-Age"),
                                      MDG_SLICE_LIT("86400"));
    if (preflight || err < 0)
        respond_or_kill(x, err < 0 ? 500 : 204, NULL, 0, mdg_slice(NULL, 0));
    return preflight || err < 0;
}

void mdg_http_refuse(struct mdg_http_conn *c, unsigned status, const char *text)
{
    uint8_t room[1024];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    write_common(&w, c->server, status);
    mdg_write_str(&w, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    mdg_write_dec(&w, strlen(text) + 1);
    mdg_write_str(&w, "\r\nConnection: close\r\n\r\n");
    mdg_write_str(&w, text);
    mdg_write_str(&w, "\n");
    assert(mdg_writer_fits(&w));
    struct mdg_blob *blob = mdg_blob_copy(mdg_slice(room, w.len));
    c->server->counters.responses[status / 100]++;
    if (!blob || send_with_head(c, blob, NULL, 0) < 0)
        mdg_stream_close(c->stream, MDG_E_NO_MEMORY);
}
