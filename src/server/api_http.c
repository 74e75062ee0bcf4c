/* HTTP routes of the application. */
#include "madang/socketio.h"
#include "server/api_ws.h"
#include <stdlib.h>

enum { RESPONSE_HEADERS_MAX = 64 };

struct mdg_api_route {
    struct madang_http_handlers handlers;
    void *arg;
};

void mdg_request_texts_free(struct madang_request *request)
{
    for (size_t i = 0; i < request->text_count; i++)
        free(request->texts[i]);
    request->text_count = 0;
}

/* The exchange may outlive the request by what is left of a body. */
static void end_request(struct mdg_exchange *x, struct madang_request *request)
{
    if (x)
        mdg_exchange_set_arg(x, NULL);
    mdg_request_texts_free(request);
    free(request);
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_mounted *mounted = arg;
    struct madang_request *request = calloc(1, sizeof *request);
    if (!request)
        return MDG_E_NO_MEMORY;
    request->worker = mounted->worker;
    request->exchange = x;
    request->route = mounted->mount->arg;
    request->match = mounted->match;
    mdg_exchange_set_arg(x, request);
    const struct mdg_api_route *route = request->route;
    if (!route->handlers.on_request)
        return 0;
    int err = route->handlers.on_request(mounted->worker->server, request, route->arg);
    /* Still there: it was not answered, and the server answers 500 now. */
    if (err < 0 && mdg_exchange_arg(x))
        end_request(x, request);
    return err;
}

static int on_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct madang_request *request = mdg_exchange_arg(x);
    const struct mdg_api_route *route = request ? request->route : NULL;
    if (!route || !route->handlers.on_body)
        return 0; /* answered already, or not wanted */
    return route->handlers.on_body(request->worker->server, request, piece.data, piece.len, last,
                                   route->arg);
}

static void on_writable(struct mdg_exchange *x)
{
    struct madang_request *request = mdg_exchange_arg(x);
    const struct mdg_api_route *route = request ? request->route : NULL;
    if (route && route->handlers.on_writable)
        route->handlers.on_writable(request->worker->server, request, route->arg);
}

static void on_abort(struct mdg_exchange *x)
{
    struct madang_request *request = mdg_exchange_arg(x);
    if (!request)
        return;
    const struct mdg_api_route *route = request->route;
    if (route->handlers.on_abort)
        route->handlers.on_abort(request->worker->server, request, route->arg);
    end_request(NULL, request);
}

static const struct mdg_http_handler api_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_abort = on_abort,
};

static void free_route(struct mdg_http_mount *m)
{
    free(m->arg);
}

void mdg_http_mount_free(struct mdg_http_mount *m)
{
    if (m->free)
        m->free(m);
    free(m);
}

int madang_http(struct madang *server, const char *method, const char *pattern,
                const struct madang_http_handlers *handlers, void *arg)
{
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    struct mdg_api_route *route = malloc(sizeof *route);
    struct mdg_http_mount *m = calloc(1, sizeof *m);
    int err = MDG_E_NO_MEMORY;
    if (route && m) {
        *route = (struct mdg_api_route){*handlers, arg};
        *m = (struct mdg_http_mount){.handler = &api_handler, .arg = route, .free = free_route};
        err = mdg_routes_add(&server->routes, MDG_ROUTE_HTTP, method, pattern, m);
    }
    if (err < 0) {
        free(route);
        free(m);
    }
    return err;
}

/* ---- what the request says ---- */

/* A copy with a NUL that lives as long as the request. */
static const char *keep(struct madang_request *request, struct mdg_slice s)
{
    if (!s.data || request->text_count == MDG_REQUEST_TEXTS_MAX)
        return NULL;
    char *text = strndup((const char *)s.data, s.len);
    if (text)
        request->texts[request->text_count++] = text;
    return text;
}

const char *madang_request_method(struct madang_request *request)
{
    return keep(request, mdg_exchange_handshake(request->exchange)->method);
}

const char *madang_request_path(struct madang_request *request)
{
    return keep(request, mdg_exchange_path(request->exchange));
}

const char *madang_request_query(struct madang_request *request)
{
    return keep(request, mdg_exchange_handshake(request->exchange)->query);
}

const char *madang_request_header(struct madang_request *request, const char *name)
{
    return keep(request, mdg_handshake_header(mdg_exchange_handshake(request->exchange), name));
}

bool madang_request_header_at(struct madang_request *request, size_t i, const char **name,
                              const char **value)
{
    const struct mdg_handshake *hs = mdg_exchange_handshake(request->exchange);
    if (i >= hs->header_count)
        return false;
    *name = keep(request, hs->headers[i].name);
    *value = keep(request, hs->headers[i].value);
    return *name && *value;
}

const char *madang_request_param(struct madang_request *request, const char *name)
{
    for (size_t i = 0; i < request->match.param_count; i++) {
        if (mdg_slice_eq(request->match.params[i].name, mdg_slice_str(name)))
            return keep(request, request->match.params[i].value);
    }
    return NULL;
}

const char *madang_request_address(struct madang_request *request)
{
    return keep(request, mdg_exchange_handshake(request->exchange)->address);
}

bool madang_request_secure(struct madang_request *request)
{
    return mdg_exchange_handshake(request->exchange)->secure;
}

void madang_request_set_user(struct madang_request *request, void *user)
{
    request->user = user;
}

void *madang_request_user(struct madang_request *request)
{
    return request->user;
}

/* ---- the response ---- */

static int convert_headers(const struct madang_header *from, size_t n,
                           struct mdg_header to[RESPONSE_HEADERS_MAX])
{
    if (n > RESPONSE_HEADERS_MAX)
        return MDG_E_TOO_BIG;
    for (size_t i = 0; i < n; i++)
        to[i] = (struct mdg_header){mdg_slice_str(from[i].name), mdg_slice_str(from[i].value)};
    return 0;
}

/* Chunks of a blob are at most 4 GiB long; so is a body that is handed over whole. */
static int make_chunk(const void *data, size_t len, struct mdg_chunk *chunk)
{
    struct mdg_blob *blob = mdg_blob_copy(mdg_slice(data, len));
    if (!blob)
        return MDG_E_NO_MEMORY;
    *chunk = mdg_chunk_all(blob);
    return 0;
}

int madang_respond(struct madang_request *request, int status, const struct madang_header *headers,
                   size_t header_count, const void *body, size_t len)
{
    struct mdg_header converted[RESPONSE_HEADERS_MAX];
    struct mdg_chunk chunk = {0};
    if (!request->exchange)
        return MDG_E_CLOSED;
    int err = convert_headers(headers, header_count, converted);
    if (err == 0 && len)
        err = make_chunk(body, len, &chunk);
    struct mdg_exchange *x = request->exchange;
    mdg_exchange_set_arg(x, NULL); /* gone with the response, unless it fails */
    if (err == 0)
        err =
            mdg_exchange_respond(x, (unsigned)status, converted, header_count, &chunk, len ? 1 : 0);
    if (err < 0) {
        mdg_exchange_set_arg(x, request);
        mdg_blob_unref(chunk.blob);
        return err;
    }
    end_request(NULL, request);
    return 0;
}

int madang_respond_begin(struct madang_request *request, int status,
                         const struct madang_header *headers, size_t header_count)
{
    struct mdg_header converted[RESPONSE_HEADERS_MAX];
    int err = convert_headers(headers, header_count, converted);
    return err < 0
               ? err
               : mdg_exchange_begin(request->exchange, (unsigned)status, converted, header_count);
}

int madang_respond_write(struct madang_request *request, const void *data, size_t len)
{
    struct mdg_chunk chunk;
    if (len == 0)
        return 0;
    int err = make_chunk(data, len, &chunk);
    if (err == 0)
        err = mdg_exchange_write(request->exchange, &chunk, 1);
    else
        return err;
    if (err < 0)
        mdg_blob_unref(chunk.blob);
    return err;
}

int madang_respond_end(struct madang_request *request)
{
    struct mdg_exchange *x = request->exchange;
    end_request(x, request);
    mdg_exchange_end(x);
    return 0;
}
