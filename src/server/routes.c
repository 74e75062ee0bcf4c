/* A linear search: a server has a few dozen routes, and a request costs a system call anyway. */
#include "server/routes.h"
#include <stdio.h>
#include <stdlib.h>

/* How exactly a pattern matched, as digits from the left: 3 literal, 2 parameter, 1 rest. */
static bool match_pattern(const char *pattern, struct mdg_slice path, struct mdg_route_match *m,
                          uint64_t *score)
{
    struct mdg_slice p = mdg_slice_str(pattern);
    *score = 0;
    m->param_count = 0;
    mdg_slice_split(&p, '/'); /* both begin with '/': nothing before it */
    mdg_slice_split(&path, '/');
    while (p.data) {
        struct mdg_slice want = mdg_slice_split(&p, '/');
        if (mdg_slice_eq(want, MDG_SLICE_LIT("*")) && !p.data) {
            *score = *score * 4 + 1;
            return path.data != NULL;
        }
        if (!path.data)
            return false;
        struct mdg_slice have = mdg_slice_split(&path, '/');
        if (want.len > 2 && want.data[0] == '{') {
            if (have.len == 0 || m->param_count == MDG_ROUTE_PARAMS_MAX)
                return false;
            m->params[m->param_count++] =
                (struct mdg_route_param){mdg_slice(want.data + 1, want.len - 2), have};
            *score = *score * 4 + 2;
        } else if (mdg_slice_eq(want, have)) {
            *score = *score * 4 + 3;
        } else {
            return false;
        }
    }
    return !path.data;
}

static bool pattern_ok(const char *pattern)
{
    struct mdg_slice rest = mdg_slice_str(pattern);
    size_t segments = 0, params = 0;
    if (*pattern != '/' || rest.len > 1024)
        return false;
    while (rest.data) {
        struct mdg_slice segment = mdg_slice_split(&rest, '/');
        bool star = segment.len && memchr(segment.data, '*', segment.len);
        bool brace = segment.len && segment.data[0] == '{';
        if (star && (segment.len != 1 || rest.data))
            return false;
        if (brace && (segment.len < 3 || segment.data[segment.len - 1] != '}'))
            return false;
        params += brace;
        /* The score has two bits a segment. */
        if (++segments > 30 || params > MDG_ROUTE_PARAMS_MAX)
            return false;
    }
    return true;
}

int mdg_routes_add(struct mdg_routes *r, enum mdg_route_kind kind, const char *method,
                   const char *pattern, void *mount)
{
    if (!pattern_ok(pattern) || !*method)
        return MDG_E_SYNTAX;
    for (size_t i = 0; i < r->len; i++) {
        if (r->items[i].kind == kind && strcmp(r->items[i].method, method) == 0 &&
            strcmp(r->items[i].pattern, pattern) == 0)
            return MDG_E_EXISTS;
    }
    struct mdg_route *items = realloc(r->items, (r->len + 1) * sizeof *items);
    if (!items)
        return MDG_E_NO_MEMORY;
    r->items = items;
    struct mdg_route route = {kind, strdup(method), strdup(pattern), mount};
    if (!route.method || !route.pattern) {
        free(route.method);
        free(route.pattern);
        return MDG_E_NO_MEMORY;
    }
    r->items[r->len++] = route;
    return 0;
}

static bool method_matches(const char *have, struct mdg_slice method)
{
    struct mdg_slice name = mdg_slice_str(have);
    if (mdg_slice_eq(name, method) || strcmp(have, "*") == 0)
        return true;
    return strcmp(have, "GET") == 0 && mdg_slice_eq(method, MDG_SLICE_LIT("HEAD"));
}

void mdg_routes_find(const struct mdg_routes *r, enum mdg_route_kind kind, struct mdg_slice method,
                     struct mdg_slice path, struct mdg_route_match *out)
{
    struct mdg_route_match try;
    uint64_t best = 0, score;
    *out = (struct mdg_route_match){0};
    bool others = false;
    for (size_t i = 0; i < r->len; i++) {
        const struct mdg_route *route = &r->items[i];
        if (route->kind != kind || !match_pattern(route->pattern, path, &try, &score))
            continue;
        if (!method_matches(route->method, method)) {
            others = true;
            continue;
        }
        score = score * 2 + (strcmp(route->method, "*") != 0);
        if (score > best) {
            best = score;
            try.route = route;
            *out = try;
        }
    }
    out->other_methods = others;
    if (!best)
        out->route = NULL;
}

void mdg_routes_allow(const struct mdg_routes *r, struct mdg_slice path, char *out, size_t size)
{
    struct mdg_route_match unused;
    uint64_t score;
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < r->len && len < size; i++) {
        const struct mdg_route *route = &r->items[i];
        if (route->kind != MDG_ROUTE_HTTP || !match_pattern(route->pattern, path, &unused, &score))
            continue;
        int n = snprintf(out + len, size - len, "%s%s%s", len ? ", " : "", route->method,
                         strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
        if (n < 0)
            break;
        len += (size_t)n;
    }
    if (len < size)
        snprintf(out + len, size - len, "%sOPTIONS", len ? ", " : "");
}

void mdg_routes_fini(struct mdg_routes *r)
{
    for (size_t i = 0; i < r->len; i++) {
        free(r->items[i].method);
        free(r->items[i].pattern);
    }
    free(r->items);
    *r = (struct mdg_routes){0};
}
