/* The request's side of an exchange: its head lives in one block that the exchange owns, so that a
 * handler may answer later; most answer at once, and the block serves the next request. */
#include "codec/url.h"
#include "net/addr.h"
#include "transport/http_impl.h"
#include <stdlib.h>

enum { SPARE_BYTES_MAX = 4096, BLOCK_BYTES_MIN = 1536 };

static struct mdg_http_request *take_block(struct mdg_http_server *server, size_t need)
{
    struct mdg_http_request *r = server->spare;
    if (r && r->cap >= need) {
        server->spare = NULL;
        return r;
    }
    size_t cap = mdg_max_size(need, BLOCK_BYTES_MIN);
    r = malloc(cap);
    if (r)
        r->cap = cap;
    return r;
}

void mdg_http_request_free(struct mdg_http_server *server, struct mdg_http_request *r)
{
    if (r && !server->spare && r->cap <= SPARE_BYTES_MAX)
        server->spare = r;
    else
        free(r);
}

struct mdg_http_request *mdg_http_request_new(struct mdg_http_server *server,
                                              const struct mdg_http_head *h, const uint8_t *head,
                                              size_t head_len)
{
    size_t fields = h->field_count;
    size_t headers_len = fields * sizeof(struct mdg_handshake_header);
    struct mdg_http_request *r =
        take_block(server, sizeof *r + headers_len + head_len + h->path.len);
    if (!r)
        return NULL;
    uint8_t *copy = (uint8_t *)r->headers + headers_len, *path = copy + head_len;
    memcpy(copy, head, head_len);
    for (size_t i = 0; i < fields; i++)
        r->headers[i] = (struct mdg_handshake_header){
            mdg_http_span_slice(copy, h->fields[i].name),
            mdg_http_span_slice(copy, h->fields[i].value),
        };
    r->hs = (struct mdg_handshake){
        .carrier = "http",
        .unix_ms = mdg_loop_unix_ms(server->loop),
        .method = mdg_http_span_slice(copy, h->method_span),
        .path = mdg_http_span_slice(copy, h->path),
        .query = mdg_http_span_slice(copy, h->query),
        .headers = r->headers,
        .header_count = fields,
    };
    r->has_address = false;
    r->path = mdg_slice(NULL, 0);
    int64_t n = mdg_url_path(r->hs.path, path, h->path.len);
    if (n >= 0)
        r->path = mdg_slice(path, (size_t)n);
    return r;
}

enum mdg_http_method mdg_exchange_method(const struct mdg_exchange *x)
{
    return (enum mdg_http_method)x->method;
}

unsigned mdg_exchange_minor_version(const struct mdg_exchange *x)
{
    return x->minor;
}

bool mdg_exchange_has_body(const struct mdg_exchange *x)
{
    return !(x->flags & X_BODY_DONE);
}

struct mdg_stream *mdg_exchange_stream(const struct mdg_exchange *x)
{
    return x->conn->stream;
}

struct mdg_loop *mdg_exchange_loop(const struct mdg_exchange *x)
{
    return x->conn->server->loop;
}

static bool is_trusted(const struct mdg_http_config *config, const struct mdg_addr *peer)
{
    for (size_t i = 0; i < config->trusted_proxy_count; i++)
        if (mdg_cidr_has(&config->trusted_proxies[i], peer))
            return true;
    return false;
}

/* Goes through one line from its right end. True: *found is who spoke to the first trusted proxy;
 * false: all of them are trusted, an earlier line goes on. */
static bool find_client(const struct mdg_http_config *config, struct mdg_slice list,
                        struct mdg_slice *found)
{
    while (list.len) {
        size_t at = list.len;
        while (at > 0 && list.data[at - 1] != ',')
            at--;
        struct mdg_slice item = mdg_slice_trim(mdg_slice(list.data + at, list.len - at));
        struct mdg_addr addr;
        if (mdg_addr_parse_ip(&addr, item, 0) < 0 || item.len >= ADDRESS_MAX)
            return true;
        *found = item;
        if (!is_trusted(config, &addr))
            return true;
        list.len = at ? at - 1 : 0;
    }
    return false;
}

/* The last address that a trusted proxy did not add itself: X-Forwarded-For grows to the right, be
 * it by a line of its own, and whatever stands left of it the client may have made up. */
static struct mdg_slice forwarded_for(const struct mdg_http_config *config,
                                      const struct mdg_handshake *hs)
{
    struct mdg_slice found = mdg_slice(NULL, 0);
    for (size_t i = hs->header_count; i > 0; i--) {
        const struct mdg_handshake_header *h = &hs->headers[i - 1];
        if (mdg_slice_eq_nocase(h->name, MDG_SLICE_LIT("x-forwarded-for")) &&
            find_client(config, h->value, &found))
            break;
    }
    return found;
}

/* The proxy's own line is the last one. */
static struct mdg_slice forwarded_proto(const struct mdg_handshake *hs)
{
    struct mdg_slice found = mdg_slice(NULL, 0);
    for (size_t i = 0; i < hs->header_count; i++) {
        if (mdg_slice_eq_nocase(hs->headers[i].name, MDG_SLICE_LIT("x-forwarded-proto")))
            found = hs->headers[i].value;
    }
    return found;
}

static void fill_address(const struct mdg_exchange *x, struct mdg_http_request *r)
{
    const struct mdg_http_config *config = x->conn->server->config;
    struct mdg_addr peer;
    r->has_address = true;
    r->hs.secure = mdg_stream_secure(x->conn->stream);
    if (mdg_stream_peer(x->conn->stream, &peer) < 0)
        return;
    struct mdg_writer w;
    mdg_writer_init(&w, r->address, sizeof r->address);
    mdg_addr_write_ip(&w, &peer);
    r->hs.address = mdg_slice(r->address, mdg_min_size(w.len, w.cap));
    r->hs.port = mdg_addr_port(&peer);
    /* A PROXY header was taken from a trusted proxy only; then the peer is its client. */
    bool trusted = config->trusted_proxy_count && is_trusted(config, &peer);
    struct mdg_slice real = trusted ? forwarded_for(config, &r->hs) : mdg_slice(NULL, 0);
    if (real.data) {
        r->hs.address = real;
        r->hs.port = 0;
    }
    struct mdg_slice scheme = trusted || mdg_stream_proxied(x->conn->stream)
                                  ? forwarded_proto(&r->hs)
                                  : mdg_slice(NULL, 0);
    if (scheme.data)
        r->hs.secure = mdg_slice_eq_nocase(scheme, MDG_SLICE_LIT("https"));
}

const struct mdg_handshake *mdg_exchange_handshake(const struct mdg_exchange *x)
{
    static const struct mdg_handshake nothing = {.carrier = "http"};
    if (!x->req)
        return &nothing;
    if (!x->req->has_address)
        fill_address(x, x->req);
    return &x->req->hs;
}

struct mdg_slice mdg_exchange_header(const struct mdg_exchange *x, const char *lower_name)
{
    if (!x->req)
        return mdg_slice(NULL, 0);
    return mdg_handshake_header(&x->req->hs, lower_name);
}

struct mdg_slice mdg_exchange_path(const struct mdg_exchange *x)
{
    return x->req ? x->req->path : mdg_slice(NULL, 0);
}

struct mdg_slice mdg_exchange_cookie(const struct mdg_exchange *x, const char *name)
{
    struct mdg_slice found = mdg_slice(NULL, 0), wanted = mdg_slice_str(name);
    for (size_t i = 0; x->req && i < x->req->hs.header_count && !found.data; i++)
        if (mdg_slice_eq_nocase(x->req->headers[i].name, MDG_SLICE_LIT("cookie")))
            found = mdg_cookie_find(x->req->headers[i].value, wanted);
    return found;
}

struct mdg_slice mdg_exchange_query(const struct mdg_exchange *x, const char *name)
{
    struct mdg_slice rest = x->req ? x->req->hs.query : mdg_slice(NULL, 0);
    struct mdg_slice wanted = mdg_slice_str(name), item, value;
    while (mdg_url_query_next(&rest, &item, &value))
        if (mdg_slice_eq(item, wanted))
            return value.data ? value : MDG_SLICE_LIT("");
    return mdg_slice(NULL, 0);
}

void mdg_exchange_forget_request(struct mdg_exchange *x)
{
    mdg_http_request_free(x->conn->server, x->req);
    x->req = NULL;
    if (mdg_exchange_responded(x))
        mdg_http_free_lines(x);
}

void mdg_exchange_abort_on_eof(struct mdg_exchange *x)
{
    x->flags |= X_ABORT_ON_EOF;
}

bool mdg_exchange_hung_up(const struct mdg_exchange *x)
{
    return mdg_stream_hung_up(x->conn->stream);
}

void mdg_exchange_set_timeout(struct mdg_exchange *x, uint32_t seconds)
{
    if ((x->flags & (X_BODY_DONE | X_ENDED)) == X_BODY_DONE)
        mdg_stream_set_timeout(x->conn->stream, seconds);
}

size_t mdg_exchange_queued(const struct mdg_exchange *x)
{
    return x->conn->stream->out_bytes;
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
    x->body.bytes_max = mdg_max_size(bytes, x->body.total);
}

bool mdg_exchange_responded(const struct mdg_exchange *x)
{
    return (x->flags & (X_ENDED | X_BEGUN)) != 0;
}

bool mdg_exchange_chunked(const struct mdg_exchange *x)
{
    return (x->flags & X_CHUNKED) != 0;
}

void mdg_http_free_lines(struct mdg_exchange *x)
{
    free(x->extra);
    x->extra = NULL;
}

static int reserve_lines(struct mdg_exchange *x, size_t more)
{
    size_t len = x->extra ? x->extra->len : 0;
    if (x->extra && len + more <= x->extra->cap)
        return 0;
    if (len + more > EXTRA_HEADERS_MAX)
        return MDG_E_TOO_BIG;
    size_t cap = mdg_min_size(mdg_max_size(2 * (len + more), 256), EXTRA_HEADERS_MAX);
    struct mdg_http_lines *bigger = realloc(x->extra, sizeof *bigger + cap);
    if (!bigger)
        return MDG_E_NO_MEMORY;
    bigger->len = (uint16_t)len;
    bigger->cap = (uint16_t)cap;
    x->extra = bigger;
    return 0;
}

int mdg_exchange_add_header(struct mdg_exchange *x, struct mdg_slice name, struct mdg_slice value)
{
    if (!mdg_http_field_valid(name, value))
        return MDG_E_SYNTAX;
    int err = reserve_lines(x, name.len + value.len + 4);
    if (err < 0)
        return err;
    struct mdg_writer w;
    mdg_writer_init(&w, x->extra->data + x->extra->len, (size_t)(x->extra->cap - x->extra->len));
    mdg_http_write_field(&w, name, value);
    x->extra->len = (uint16_t)(x->extra->len + w.len);
    return 0;
}
