/* WebSocket endpoints of one worker: the upgrade, and where connections come from and go to. */
#include "transport/ws.h"
#include "loop/loop.h"
#include "transport/ws_conn.h"
#include <stdlib.h>

enum {
    PROTOCOLS_MAX = MDG_WS_PROTOCOLS_MAX,
    EXTENSION_MAX = 160 /* the longest answer with all four parameters is 145 bytes */
};

int mdg_ws_worker_new(struct mdg_loop *loop, struct mdg_ws_worker **out)
{
    struct mdg_ws_worker *w = calloc(1, sizeof *w);
    if (!w)
        return MDG_E_NO_MEMORY;
    w->loop = loop;
    mdg_pool_init(&w->conns, sizeof(struct mdg_ws_conn), MDG_WS_ROW_MAX);
    *out = w;
    return 0;
}

void mdg_ws_worker_free(struct mdg_ws_worker *w)
{
    if (!w)
        return;
    assert(w->row_len == 0);
    while (w->endpoints) {
        struct mdg_ws_endpoint *next = w->endpoints->next;
        free(w->endpoints);
        w->endpoints = next;
    }
    mdg_ws_worker_free_framings(w);
    mdg_ws_worker_free_messages(w);
    mdg_pool_fini(&w->conns);
    free(w->row);
    free(w);
}

void mdg_ws_worker_close_all(struct mdg_ws_worker *w, int code, struct mdg_slice reason)
{
    for (uint32_t i = 0; i < w->row_len; i++)
        mdg_link_close(&w->row[i]->link, code, reason);
}

size_t mdg_ws_worker_count(const struct mdg_ws_worker *w)
{
    return w->row_len;
}

static bool same_deflate(const struct mdg_ws_deflate *a, const struct mdg_ws_deflate *b)
{
    return a->on == b->on && a->server_fresh == b->server_fresh &&
           a->client_fresh == b->client_fresh && a->server_bits == b->server_bits &&
           a->client_bits == b->client_bits;
}

static const struct mdg_framing *choose_framing(struct mdg_ws_worker *w,
                                                const struct mdg_ws_endpoint *e)
{
    if (e->codec.client)
        return NULL; /* every frame is masked with a key of its own */
    if (!e->deflate.on)
        return &mdg_ws_framing_plain;
    if (!e->deflate.server_fresh)
        return NULL;
    return mdg_ws_framing_get(w, e->deflate.server_bits, e->options->compress_bytes_min);
}

int mdg_ws_endpoint_get(struct mdg_ws_worker *w, const struct mdg_ws_options *options, bool client,
                        const struct mdg_ws_deflate *deflate, struct mdg_ws_endpoint **out)
{
    struct mdg_ws_endpoint *e;
    for (e = w->endpoints; e; e = e->next) {
        if (e->options == options && e->codec.client == client &&
            same_deflate(&e->deflate, deflate)) {
            *out = e;
            return 0;
        }
    }
    e = calloc(1, sizeof *e);
    if (!e)
        return MDG_E_NO_MEMORY;
    e->worker = w;
    e->options = options;
    e->deflate = *deflate;
    e->codec.client = client;
    e->codec.message_max = options->message_bytes_max < UINT32_MAX / 2
                               ? (uint32_t)options->message_bytes_max
                               : UINT32_MAX / 2;
    e->framing = choose_framing(w, e);
    if (!e->framing && deflate->on && deflate->server_fresh && !client) {
        free(e);
        return MDG_E_NO_MEMORY;
    }
    e->next = w->endpoints;
    w->endpoints = e;
    *out = e;
    return 0;
}

static int row_push(struct mdg_ws_worker *w, struct mdg_ws_conn *c)
{
    if (w->row_len == w->row_cap) {
        uint32_t cap = w->row_cap ? w->row_cap * 2 : 64;
        struct mdg_ws_conn **row = realloc(w->row, cap * sizeof *row);
        if (!row)
            return MDG_E_NO_MEMORY;
        w->row = row;
        w->row_cap = cap;
    }
    c->row_flags = w->row_len << 8;
    w->row[w->row_len++] = c;
    return 0;
}

int mdg_ws_conn_new(struct mdg_ws_endpoint *e, const struct mdg_link_user *user, void *user_arg,
                    struct mdg_ws_conn **out)
{
    struct mdg_ws_worker *w = e->worker;
    struct mdg_ws_conn *c = mdg_pool_get(&w->conns);
    if (!c || row_push(w, c) < 0) {
        mdg_pool_put(&w->conns, c);
        return MDG_E_NO_MEMORY;
    }
    c->link = (struct mdg_link){&mdg_ws_carrier, e->framing, user, user_arg};
    c->endpoint = e;
    mdg_ws_dec_init(&c->dec, e->deflate.on);
    *out = c;
    return 0;
}

void mdg_ws_conn_start(struct mdg_ws_conn *c, struct mdg_stream *s)
{
    const struct mdg_ws_options *o = c->endpoint->options;
    c->stream = s;
    mdg_stream_set_out_max(s, o->out_bytes_max);
    mdg_stream_set_timeout(s, o->ping_interval_s);
    mdg_stream_adopt(s, &mdg_ws_stream_user, c);
}

void mdg_ws_conn_free(struct mdg_ws_conn *c)
{
    struct mdg_ws_worker *w = c->endpoint->worker;
    uint32_t place = c->row_flags >> 8;
    struct mdg_ws_conn *last = w->row[--w->row_len];
    w->row[place] = last;
    last->row_flags = place << 8 | (last->row_flags & 0xff);
    mdg_ws_aux_drop(c);
    mdg_pool_put(&w->conns, c);
}

/* The upgrade. */

struct upgrade {
    struct mdg_ws_request request;
    struct mdg_ws_offer_config config;
    struct mdg_slice protocols[PROTOCOLS_MAX];
};

static void read_request(struct upgrade *u, const struct mdg_exchange *x,
                         const struct mdg_ws_options *o)
{
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    u->config = (struct mdg_ws_offer_config){
        .protocols = u->protocols,
        .deflate = {.enabled = o->compress,
                    .server_fresh = !o->context_takeover,
                    .client_fresh = !o->context_takeover,
                    .server_bits = o->window_bits,
                    .client_bits = o->window_bits},
    };
    for (const char *const *p = o->subprotocols; p && *p; p++) {
        assert(u->config.protocol_count < PROTOCOLS_MAX);
        u->protocols[u->config.protocol_count++] = mdg_slice_str(*p);
    }
    mdg_ws_request_init(&u->request, &u->config, hs->method, mdg_exchange_minor_version(x));
    for (size_t i = 0; i < hs->header_count; i++)
        mdg_ws_request_header(&u->request, hs->headers[i].name, hs->headers[i].value);
}

static void refuse(struct mdg_exchange *x, unsigned status, const char *problem)
{
    int rc = 0;
    if (status == 405) {
        mdg_exchange_method_not_allowed(x, "GET");
        return;
    }
    /* RFC 6455 4.4; RFC 9110 15.5.22. */
    rc = mdg_exchange_add_header(x, MDG_SLICE_LIT("Sec-WebSocket-Version"), MDG_SLICE_LIT("13"));
    if (rc == 0 && status == 426) {
        rc = mdg_exchange_add_header(x, MDG_SLICE_LIT("Upgrade"), MDG_SLICE_LIT("websocket"));
        if (rc == 0)
            rc = mdg_exchange_add_header(x, MDG_SLICE_LIT("Connection"), MDG_SLICE_LIT("Upgrade"));
    }
    if (rc < 0)
        mdg_exchange_kill(x);
    else
        mdg_exchange_respond_text(x, status, "text/plain; charset=utf-8", mdg_slice_str(problem));
}

bool mdg_ws_wanted(const struct mdg_exchange *x)
{
    struct mdg_slice rest = mdg_exchange_header(x, "upgrade");
    if (mdg_exchange_method(x) != MDG_HTTP_GET)
        return false;
    while (rest.data) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (mdg_slice_eq_nocase(item, MDG_SLICE_LIT("websocket")))
            return true;
    }
    return false;
}

int mdg_ws_check(struct mdg_exchange *x, const struct mdg_ws_options *options,
                 struct mdg_slice *subprotocol)
{
    struct upgrade u;
    read_request(&u, x, options);
    unsigned status = mdg_ws_request_check(&u.request);
    if (status == 101 && options->subprotocol_required && u.request.protocol.len == 0) {
        status = 400;
        u.request.problem = "None of the offered sub-protocols is spoken here.";
    }
    if (status != 101) {
        refuse(x, status, u.request.problem);
        return MDG_E_PROTO;
    }
    *subprotocol = u.request.protocol;
    return 0;
}

static size_t answer(const struct mdg_ws_request *r, uint8_t accept[MDG_WS_ACCEPT_LEN],
                     char extension[EXTENSION_MAX], struct mdg_header out[5])
{
    size_t n = 0;
    mdg_ws_accept_key(accept, r->key);
    out[n++] = (struct mdg_header){MDG_SLICE_LIT("Upgrade"), MDG_SLICE_LIT("websocket")};
    out[n++] = (struct mdg_header){MDG_SLICE_LIT("Connection"), MDG_SLICE_LIT("Upgrade")};
    out[n++] = (struct mdg_header){MDG_SLICE_LIT("Sec-WebSocket-Accept"),
                                   mdg_slice(accept, MDG_WS_ACCEPT_LEN)};
    if (r->protocol.len)
        out[n++] = (struct mdg_header){MDG_SLICE_LIT("Sec-WebSocket-Protocol"), r->protocol};
    if (r->deflate.on) {
        struct mdg_writer w;
        mdg_writer_init(&w, extension, EXTENSION_MAX);
        mdg_ws_write_deflate(&w, &r->deflate);
        assert(mdg_writer_fits(&w));
        out[n++] = (struct mdg_header){MDG_SLICE_LIT("Sec-WebSocket-Extensions"),
                                       mdg_slice(extension, w.len)};
    }
    return n;
}

int mdg_ws_accept(struct mdg_ws_worker *w, struct mdg_exchange *x,
                  const struct mdg_ws_options *options, const struct mdg_link_user *user,
                  void *user_arg, struct mdg_link **out)
{
    struct upgrade u;
    struct mdg_ws_endpoint *e;
    struct mdg_ws_conn *c;
    struct mdg_stream *s;
    struct mdg_header headers[5];
    uint8_t accept[MDG_WS_ACCEPT_LEN];
    char extension[EXTENSION_MAX];
    read_request(&u, x, options);
    if (mdg_ws_request_check(&u.request) != 101)
        return MDG_E_PROTO;
    int rc = mdg_ws_endpoint_get(w, options, false, &u.request.deflate, &e);
    if (rc == 0)
        rc = mdg_ws_conn_new(e, user, user_arg, &c);
    if (rc < 0)
        return rc;
    size_t n = answer(&u.request, accept, extension, headers);
    rc = mdg_exchange_upgrade(x, headers, n, &s);
    if (rc < 0) {
        mdg_ws_conn_free(c);
        return rc;
    }
    mdg_ws_conn_start(c, s);
    *out = &c->link;
    return 0;
}
