/* An HTTP server made of one struct a request, for the tests of the SockJS sessions: what is
 * answered is kept as text, faults and slow clients are one field away, time is virtual. */
#ifndef MDG_SOCKJS_FAKE_H
#define MDG_SOCKJS_FAKE_H

#include "loop/loop.h"
#include "tests/support/unit.h"
#include "transport/http.h"
#include "transport/ws.h"
#include <stdio.h>
#include <stdlib.h>

struct mdg_exchange {
    struct mdg_handshake hs;
    struct mdg_handshake_header headers[8];
    const struct mdg_http_handler *handler;
    void *arg;
    unsigned status;  /* 0: not answered */
    bool begun, over; /* streamed; ended, killed or answered whole */
    bool killed, old; /* old: HTTP/1.0 */
    bool full;        /* the client does not read */
    bool hung_up;     /* and nobody has been told yet */
    char head[2048], body[16384];
    size_t head_len, body_len;
};

/* Requests. */

static inline struct mdg_exchange *fake_request(const char *method, const char *path)
{
    struct mdg_exchange *x = calloc(1, sizeof *x);
    assert_non_null(x);
    const char *query = strchr(path, '?');
    x->hs.method = mdg_slice_str(method);
    x->hs.path = mdg_slice(path, query ? (size_t)(query - path) : strlen(path));
    x->hs.query = mdg_slice_str(query ? query + 1 : "");
    x->hs.headers = x->headers;
    return x;
}

static inline void fake_header(struct mdg_exchange *x, const char *name, const char *value)
{
    assert_true(x->hs.header_count < MDG_ARRAY_LEN(x->headers));
    x->headers[x->hs.header_count++] =
        (struct mdg_handshake_header){mdg_slice_str(name), mdg_slice_str(value)};
}

static inline void fake_serve(struct mdg_exchange *x, const struct mdg_http_handler *handler,
                              void *service, const char *body)
{
    x->handler = handler;
    assert_int_equal(handler->on_request(x, service), 0);
    if (!x->over && x->handler->on_body)
        assert_int_equal(x->handler->on_body(x, mdg_slice_str(body), true), 0);
}

static inline void fake_abort(struct mdg_exchange *x)
{
    assert_false(x->over);
    x->over = true;
    if (x->handler->on_abort)
        x->handler->on_abort(x);
}

/* The seam. */

static void put(char *to, size_t *len, size_t cap, struct mdg_slice s)
{
    assert_true(*len + s.len < cap);
    if (s.len)
        memcpy(to + *len, s.data, s.len);
    *len += s.len;
    to[*len] = '\0';
}

static void put_head(struct mdg_exchange *x, unsigned status, const struct mdg_header *h, size_t nh)
{
    assert_int_equal(x->status, 0);
    x->status = status;
    for (size_t i = 0; i < nh; i++) {
        put(x->head, &x->head_len, sizeof x->head, h[i].name);
        put(x->head, &x->head_len, sizeof x->head, MDG_SLICE_LIT(": "));
        put(x->head, &x->head_len, sizeof x->head, h[i].value);
        put(x->head, &x->head_len, sizeof x->head, MDG_SLICE_LIT("\n"));
    }
}

/* Each piece is followed by '|', so that a test sees the chunks. */
static void put_body(struct mdg_exchange *x, struct mdg_chunk *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put(x->body, &x->body_len, sizeof x->body, mdg_chunk_slice(&c[i]));
        mdg_blob_unref(c[i].blob);
        c[i].blob = NULL;
    }
    if (x->begun)
        put(x->body, &x->body_len, sizeof x->body, MDG_SLICE_LIT("|"));
}

enum mdg_http_method mdg_exchange_method(const struct mdg_exchange *x)
{
    if (mdg_slice_eq(x->hs.method, MDG_SLICE_LIT("OPTIONS")))
        return MDG_HTTP_OPTIONS;
    if (mdg_slice_eq(x->hs.method, MDG_SLICE_LIT("HEAD")))
        return MDG_HTTP_HEAD;
    return mdg_slice_eq(x->hs.method, MDG_SLICE_LIT("POST")) ? MDG_HTTP_POST : MDG_HTTP_GET;
}

const struct mdg_handshake *mdg_exchange_handshake(const struct mdg_exchange *x)
{
    return &x->hs;
}

struct mdg_slice mdg_exchange_header(const struct mdg_exchange *x, const char *lower_name)
{
    return mdg_handshake_header(&x->hs, lower_name);
}

struct mdg_slice mdg_exchange_cookie(const struct mdg_exchange *x, const char *name)
{
    struct mdg_slice all = mdg_exchange_header(x, "cookie");
    size_t n = strlen(name);
    if (all.len > n && memcmp(all.data, name, n) == 0 && all.data[n] == '=')
        return mdg_slice(all.data + n + 1, all.len - n - 1);
    return mdg_slice(NULL, 0);
}

struct mdg_slice mdg_exchange_query(const struct mdg_exchange *x, const char *name)
{
    size_t n = strlen(name);
    if (x->hs.query.len > n && memcmp(x->hs.query.data, name, n) == 0 && x->hs.query.data[n] == '=')
        return mdg_slice(x->hs.query.data + n + 1, x->hs.query.len - n - 1);
    return mdg_slice(NULL, 0);
}

void mdg_exchange_forget_request(struct mdg_exchange *x)
{
    x->hs = (struct mdg_handshake){0};
}

void mdg_exchange_abort_on_eof(struct mdg_exchange *x)
{
    assert_false(x->over);
}

bool mdg_exchange_hung_up(const struct mdg_exchange *x)
{
    return x->hung_up;
}

void mdg_exchange_set_arg(struct mdg_exchange *x, void *arg)
{
    x->arg = arg;
}

void *mdg_exchange_arg(const struct mdg_exchange *x)
{
    return x->arg;
}

void mdg_exchange_set_handler(struct mdg_exchange *x, const struct mdg_http_handler *handler)
{
    x->handler = handler;
}

void mdg_exchange_set_body_max(struct mdg_exchange *x, uint64_t bytes)
{
    (void)x;
    assert_true(bytes > 0);
}

int mdg_exchange_respond(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                         size_t nh, struct mdg_chunk *body, size_t nb)
{
    assert_false(x->over);
    put_head(x, status, h, nh);
    put_body(x, body, nb);
    x->over = true;
    return 0;
}

void mdg_exchange_respond_text(struct mdg_exchange *x, unsigned status, const char *content_type,
                               struct mdg_slice body)
{
    assert_false(x->over);
    assert_true(content_type || body.len == 0);
    put_head(x, status, NULL, 0);
    put(x->body, &x->body_len, sizeof x->body, body);
    x->over = true;
}

int mdg_exchange_begin(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                       size_t nh)
{
    put_head(x, status, h, nh);
    x->begun = true;
    return 0;
}

int mdg_exchange_write(struct mdg_exchange *x, struct mdg_chunk *part, size_t n)
{
    assert_true(x->begun && !x->over);
    if (x->full)
        return MDG_E_FULL;
    put_body(x, part, n);
    return 0;
}

/* The chunk's size must be right; what is kept is its inside. */
int mdg_exchange_write_framed(struct mdg_exchange *x, struct mdg_chunk *part, size_t n)
{
    assert_true(x->begun && !x->over && !x->old);
    if (x->full)
        return MDG_E_FULL;
    for (size_t i = 0; i < n; i++) {
        char text[4096], *end;
        struct mdg_slice s = mdg_chunk_slice(&part[i]);
        assert_true(s.len < sizeof text);
        memcpy(text, s.data, s.len);
        text[s.len] = '\0';
        size_t size = strtoul(text, &end, 16);
        assert_memory_equal(end, "\r\n", 2);
        assert_int_equal(s.len, (size_t)(end - text) + 2 + size + 2);
        assert_memory_equal(text + s.len - 2, "\r\n", 2);
        put(x->body, &x->body_len, sizeof x->body, mdg_slice(end + 2, size));
        put(x->body, &x->body_len, sizeof x->body, MDG_SLICE_LIT("|"));
        mdg_blob_unref(part[i].blob);
        part[i].blob = NULL;
    }
    return 0;
}

bool mdg_exchange_chunked(const struct mdg_exchange *x)
{
    return x->begun && !x->old;
}

void mdg_exchange_end(struct mdg_exchange *x)
{
    assert_true(x->begun && !x->over);
    x->over = true;
}

void mdg_exchange_kill(struct mdg_exchange *x)
{
    assert_false(x->over);
    x->over = x->killed = true;
}

int mdg_exchange_move(struct mdg_exchange *x, struct mdg_http_server *to)
{
    assert_non_null(to);
    x->over = true;
    return 0;
}

/* WebSockets have tests of their own, with the real carrier. */
bool mdg_ws_wanted(const struct mdg_exchange *x)
{
    (void)x;
    return false;
}

int mdg_ws_check(struct mdg_exchange *x, const struct mdg_ws_options *options,
                 struct mdg_slice *subprotocol)
{
    (void)x;
    (void)options;
    (void)subprotocol;
    return MDG_E_UNSUPPORTED;
}

int mdg_ws_accept(struct mdg_ws_worker *w, struct mdg_exchange *x,
                  const struct mdg_ws_options *options, const struct mdg_link_user *user,
                  void *user_arg, struct mdg_link **out)
{
    (void)w;
    (void)x;
    (void)options;
    (void)user;
    (void)user_arg;
    (void)out;
    return MDG_E_UNSUPPORTED;
}

#endif
