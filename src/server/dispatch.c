/* From a request to its handler: path, method, Origin, in that order; upgrades first. */
#include "server/origin.h"
#include "server/server.h"
#include "server/sockjs.h"

static bool is_unsafe(enum mdg_http_method method)
{
    return method != MDG_HTTP_GET && method != MDG_HTTP_HEAD && method != MDG_HTTP_OPTIONS;
}

/* A page of another origin may not read or change anything here; a request that changes something
 * in the name of a cookie must say where it comes from. */
static bool origin_ok(const struct madang *server, struct mdg_exchange *x)
{
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    const struct mdg_strings *allowed = &server->params.allowed_origins;
    bool has_token = mdg_handshake_header(hs, "authorization").data != NULL;
    if (is_unsafe(mdg_exchange_method(x)) && !has_token && mdg_auth_cookie_of(hs).data)
        return mdg_origin_allowed_with_cookie(allowed, hs);
    return mdg_origin_allowed(allowed, hs);
}

static void refuse_origin(struct mdg_exchange *x)
{
    mdg_exchange_respond_error(x, 403, "origin_refused",
                               "this origin is not allowed; the server's operator can list it "
                               "with --allowed-origins");
}

static const struct mdg_http_handler *dispatch_ws(struct mdg_worker *w, struct mdg_exchange *x,
                                                  struct mdg_ws_mount *m, void **arg)
{
    struct mdg_slice subprotocol;
    if (!origin_ok(w->server, x)) {
        refuse_origin(x);
        return NULL;
    }
    if (mdg_ws_check(x, &m->options, &subprotocol) < 0)
        return NULL;
    int answer = m->upgrade(w, x, m, subprotocol);
    if (answer < 0)
        mdg_exchange_respond_error(x, 500, "internal", "the connection could not be set up");
    if (answer <= 0)
        return NULL;
    *arg = mdg_exchange_arg(x);
    return m->later;
}

/* The path is known, but not with this method; OPTIONS is answered with those that are. */
static void answer_without_route(struct mdg_exchange *x, const char *allow)
{
    struct mdg_header h = {MDG_SLICE_LIT("Allow"), mdg_slice_str(allow)};
    if (mdg_exchange_method(x) != MDG_HTTP_OPTIONS)
        mdg_exchange_method_not_allowed(x, allow);
    else if (mdg_exchange_respond(x, 204, &h, 1, NULL, 0) < 0)
        mdg_exchange_kill(x);
}

static const struct mdg_http_handler *dispatch_http(struct mdg_worker *w, struct mdg_exchange *x,
                                                    const struct mdg_route_match *match, void **arg)
{
    char allow[256];
    struct madang *server = w->server;
    if (!match->route && !match->other_methods)
        return NULL;
    if (!origin_ok(server, x)) {
        refuse_origin(x);
        return NULL;
    }
    if (!match->route) {
        mdg_routes_allow(&server->routes, mdg_exchange_path(x), allow, sizeof allow);
        if (mdg_origin_is_foreign(&server->params.allowed_origins, mdg_exchange_handshake(x)) &&
            mdg_exchange_cors(x, allow))
            return NULL;
        answer_without_route(x, allow);
        return NULL;
    }
    /* With credentials a star would be a method of that name (Fetch 3.2.3). */
    const char *method = match->route->method;
    if (mdg_origin_is_foreign(&server->params.allowed_origins, mdg_exchange_handshake(x)) &&
        mdg_exchange_cors(x, strcmp(method, "*") == 0 ? "GET, POST, PUT, DELETE" : method))
        return NULL;
    const struct mdg_http_mount *mount = match->route->mount;
    w->mounted = (struct mdg_mounted){w, mount, *match};
    *arg = &w->mounted;
    return mount->handler;
}

static bool is_exact(const struct mdg_route_match *match)
{
    return match->route && match->route->pattern[strlen(match->route->pattern) - 1] != '*';
}

const struct mdg_http_handler *mdg_dispatch(void *router, struct mdg_exchange *x, void **arg)
{
    struct mdg_worker *w = router;
    struct mdg_routes *routes = &w->server->routes;
    struct mdg_route_match ws, http;
    struct mdg_slice path = mdg_exchange_path(x), method = mdg_exchange_handshake(x)->method;
    mdg_routes_find(routes, MDG_ROUTE_WS, MDG_SLICE_LIT("GET"), path, &ws);
    mdg_routes_find(routes, MDG_ROUTE_HTTP, method, path, &http);
    /* A SockJS service takes what lies below its prefix; only an exact route goes before it. */
    if (!is_exact(&ws) && !is_exact(&http)) {
        const struct mdg_http_handler *handler =
            mdg_worker_find_sockjs(w, mdg_exchange_handshake(x)->path, arg);
        if (handler)
            return handler;
    }
    bool only_ws = ws.route && !http.route && !http.other_methods;
    if (ws.route && (only_ws || mdg_ws_wanted(x))) {
        return dispatch_ws(w, x, ws.route->mount, arg);
    }
    return dispatch_http(w, x, &http, arg);
}
