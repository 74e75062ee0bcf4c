/* From an HTTP exchange to a WebSocket connection: RFC 6455 4.2. */
#include "transport/ws.h"
#include "transport/ws_conn.h"

enum {
    PROTOCOLS_MAX = MDG_WS_PROTOCOLS_MAX,
    EXTENSION_MAX = 160 /* the longest answer with all four parameters is 145 bytes */
};

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
    /* Its bytes would stand where the first frame is expected (RFC 9110 7.8). */
    if (status == 101 && mdg_exchange_has_body(x)) {
        status = 400;
        u.request.problem = "A request for a WebSocket has no body.";
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
