/* Which handler serves which path: HTTP routes and WebSocket endpoints, of the library's user and
 * our own. Filled before the workers start, constant afterwards. */
#ifndef MDG_ROUTES_H
#define MDG_ROUTES_H

#include "base/base.h"

enum mdg_route_kind {
    MDG_ROUTE_HTTP,
    MDG_ROUTE_WS,
};

struct mdg_route {
    enum mdg_route_kind kind;
    char *method;  /* "GET" or "*"; WebSocket: "GET" */
    char *pattern; /* "/a/{x}" or with a last segment "*" */
    void *mount;   /* what is mounted there: struct mdg_http_mount, struct mdg_ws_mount */
};

struct mdg_routes {
    struct mdg_route *items;
    size_t len;
};

enum { MDG_ROUTE_PARAMS_MAX = 8 };

struct mdg_route_param {
    struct mdg_slice name, value; /* name borrowed from the pattern, value from the path */
};

struct mdg_route_match {
    const struct mdg_route *route; /* NULL: none */
    bool other_methods;            /* the path is known, but not with this method: 405 */
    struct mdg_route_param params[MDG_ROUTE_PARAMS_MAX];
    size_t param_count;
};

/* MDG_E_SYNTAX (pattern), MDG_E_EXISTS (same kind, method and pattern), MDG_E_NO_MEMORY. */
int mdg_routes_add(struct mdg_routes *r, enum mdg_route_kind kind, const char *method,
                   const char *pattern, void *mount) MDG_NODISCARD;
/* The most exact match: literal before parameter before "*", segment by segment; a route for the
 * method itself before one for "*". HEAD is served by GET routes. */
void mdg_routes_find(const struct mdg_routes *r, enum mdg_route_kind kind, struct mdg_slice method,
                     struct mdg_slice path, struct mdg_route_match *out);
/* "GET, HEAD, POST": the methods of the HTTP routes that match the path, for Allow. */
void mdg_routes_allow(const struct mdg_routes *r, struct mdg_slice path, char *out, size_t size);
void mdg_routes_fini(struct mdg_routes *r); /* not the mounts */

#endif
