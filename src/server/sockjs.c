/* SockJS services of the application and of `madang serve`. The id of a session names the worker on
 * which it lives, by a hash whose seed is the server's: nobody can pile sessions onto one worker.
 */
#include "server/sockjs.h"
#include "base/map.h"
#include "dialect/plain.h"
#include "madang/sockjs.h"
#include "server/api_ws.h"
#include "server/mount.h"
#include "server/origin.h"
#include <stdlib.h>

enum {
    SESSIONS_MAX = 1000000, /* of one service on one worker; each costs half a KiB at least */
    WAITING_BYTES_MAX = 1 << 20,
};

static const char default_url[] = "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js";

/* ---- what both kinds of service share ---- */

/* A cookie that the browser adds by itself is no proof that the page meant it: a POST that relies
 * on one must say where it comes from. */
bool mdg_sockjs_origin_ok(struct mdg_exchange *x, void *arg)
{
    const struct mdg_sockjs_here *here = arg;
    const struct mdg_strings *own = &here->mount->origins;
    const struct mdg_strings *all = &here->worker->server->params.allowed_origins;
    const struct mdg_strings *allowed = own->len ? own : all;
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    if (mdg_exchange_method(x) == MDG_HTTP_POST && mdg_auth_cookie_of(hs).data)
        return mdg_origin_allowed_with_cookie(allowed, hs);
    return mdg_origin_allowed(allowed, hs);
}

struct mdg_http_server *mdg_sockjs_home(struct mdg_slice session, void *arg)
{
    const struct mdg_sockjs_here *here = arg;
    struct madang *server = here->worker->server;
    if (server->worker_count < 2)
        return NULL;
    uint64_t hash = mdg_siphash(server->sockjs_seed, session);
    struct mdg_worker *w = &server->workers[hash % server->worker_count];
    return w == here->worker ? NULL : w->http;
}

/* ---- our own: peers of a dialect ---- */

static int admit_peer(struct mdg_exchange *x, void *arg, void **visitor)
{
    struct mdg_sockjs_here *here = arg;
    struct mdg_principal *who;
    int err = mdg_auth_handshake(&here->worker->server->auth, mdg_exchange_handshake(x), &who);
    if (err == 0)
        *visitor = who;
    if (err == MDG_E_EXPIRED || err == MDG_E_DENIED)
        return 401;
    return err == MDG_E_EXISTS ? 409 : err < 0 ? 503 : 0;
}

static int open_peer(struct mdg_link *l, void *visitor, void *arg)
{
    struct mdg_sockjs_here *here = arg;
    struct mdg_principal *who = visitor;
    struct mdg_peer *peer;
    struct mdg_handshake hs = {.carrier = "sockjs",
                               .unix_ms = mdg_loop_unix_ms(here->worker->loop)};
    int err = mdg_peer_new(here->worker->peers, here->mount->dialect, who, &peer);
    mdg_principal_unref(who);
    if (err < 0)
        return err;
    l->user = &mdg_peer_link_user;
    l->user_arg = peer;
    mdg_peer_attach(peer, l, &hs);
    return 0;
}

static void drop_peer(void *visitor, void *arg)
{
    (void)arg;
    mdg_principal_unref(visitor);
}

static const struct mdg_sockjs_user peer_user = {
    .origin_ok = mdg_sockjs_origin_ok,
    .on_handshake = admit_peer,
    .on_open = open_peer,
    .on_drop = drop_peer,
    .home = mdg_sockjs_home,
};

/* ---- the application's ---- */

static int admit_client(struct mdg_exchange *x, void *arg, void **visitor)
{
    struct mdg_sockjs_here *here = arg;
    struct mdg_ws_mount *m = here->mount->ws;
    (void)visitor;
    if (!m->handlers.on_handshake)
        return 0;
    struct madang_request request = {.worker = here->worker, .exchange = x};
    int answer = m->handlers.on_handshake(here->worker->server, &request, m->arg);
    mdg_request_texts_free(&request);
    if (request.held)
        mdg_handle_free(&here->worker->held, request.held);
    if (answer == 0)
        return 0;
    return answer >= 400 && answer <= 599 ? answer : 500;
}

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    return mdg_api_on_input(l->user_arg, in, binary);
}

static void on_writable(struct mdg_link *l)
{
    mdg_api_on_writable(l->user_arg);
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    mdg_api_on_close(l->user_arg, code, reason);
}

static const struct mdg_link_user client_link_user = {on_input, on_writable, on_close};

static int open_client(struct mdg_link *l, void *visitor, void *arg)
{
    struct mdg_sockjs_here *here = arg;
    struct mdg_worker *w = here->worker;
    struct mdg_ws_mount *m = here->mount->ws;
    (void)visitor;
    struct mdg_handle *h = mdg_handle_new(&w->clients, l, m);
    if (!h)
        return MDG_E_NO_MEMORY;
    l->user = &client_link_user;
    l->user_arg = h;
    if (m->handlers.on_open)
        m->handlers.on_open(w->server, mdg_handle_id(h), m->arg);
    return 0;
}

static const struct mdg_sockjs_user client_user = {
    .origin_ok = mdg_sockjs_origin_ok,
    .on_handshake = admit_client,
    .on_open = open_client,
    .home = mdg_sockjs_home,
};

/* ---- mounting ---- */

static bool prefix_ok(const char *prefix)
{
    struct mdg_slice p = mdg_slice_str(prefix);
    return p.len >= 2 && p.data[0] == '/' && p.data[p.len - 1] != '/' && !strpbrk(prefix, "?#%*{");
}

static void free_mount(struct mdg_sockjs_mount *m)
{
    if (!m)
        return;
    if (m->ws)
        mdg_ws_mount_free(m->ws);
    free(m->prefix);
    free(m->sockjs_url);
    free(m->frame_ancestors);
    for (size_t i = 0; i < m->origins.len; i++)
        free(m->origins.items[i]);
    free(m->origins.items);
    free(m);
}

/* The iframe page is a door of its own: what it says to its parent, it would say to any parent. */
static int limit_frames(struct mdg_sockjs_mount *m, const struct mdg_strings *origins)
{
    static const char self[] = "frame-ancestors 'self'";
    size_t size = sizeof self;
    for (size_t i = 0; i < origins->len; i++)
        size += strlen(origins->items[i]) + 1;
    m->frame_ancestors = malloc(size);
    if (!m->frame_ancestors)
        return MDG_E_NO_MEMORY;
    struct mdg_writer w;
    mdg_writer_init(&w, m->frame_ancestors, size);
    mdg_write_str(&w, self);
    for (size_t i = 0; i < origins->len; i++) {
        mdg_write_u8(&w, ' ');
        mdg_write_str(&w, origins->items[i]);
    }
    m->config.frame_ancestors = mdg_slice(m->frame_ancestors, w.len);
    return 0;
}

static int set_origin(struct mdg_sockjs_mount *m, const char *origin)
{
    const struct mdg_strings *origins = &m->server->params.allowed_origins;
    if (origin) {
        char *copy = strdup(origin);
        m->origins.items = calloc(1, sizeof *m->origins.items);
        if (!m->origins.items || !copy) {
            free(copy);
            return MDG_E_NO_MEMORY;
        }
        m->origins.items[m->origins.len++] = copy;
        origins = &m->origins;
    }
    for (size_t i = 0; i < origins->len; i++) {
        if (strcmp(origins->items[i], "*") == 0)
            m->config.any_origin = true;
    }
    return m->config.any_origin ? 0 : limit_frames(m, origins);
}

static int mount(struct madang *server, const char *prefix,
                 const struct madang_sockjs_options *options, struct mdg_sockjs_mount **out)
{
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    if (!prefix_ok(prefix) || options->response_limit == 0 || options->heartbeat_ms == 0 ||
        options->disconnect_ms == 0)
        return MDG_E_SYNTAX;
    for (struct mdg_sockjs_mount *m = server->sockjs; m; m = m->next) {
        if (strcmp(m->prefix, prefix) == 0)
            return MDG_E_EXISTS;
    }
    struct mdg_sockjs_mount *m = calloc(1, sizeof *m);
    if (!m)
        return MDG_E_NO_MEMORY;
    m->server = server;
    m->prefix = strdup(prefix);
    m->sockjs_url = strdup(options->sockjs_url ? options->sockjs_url : default_url);
    m->config = (struct mdg_sockjs_config){
        .response_bytes_max = options->response_limit,
        .heartbeat_ms = options->heartbeat_ms,
        .disconnect_ms = options->disconnect_ms,
        .sessions_max = SESSIONS_MAX,
        .waiting_bytes_max = WAITING_BYTES_MAX,
        .body_bytes_max = (uint32_t)mdg_min_size(server->params.http_body_bytes_max, UINT32_MAX),
        .websocket = options->websocket,
        .cookie = options->jsessionid,
        .prefix = mdg_slice_str(m->prefix),
        .sockjs_url = mdg_slice_str(m->sockjs_url),
        .ws_options = &server->ws_defaults,
    };
    if (!m->prefix || !m->sockjs_url || set_origin(m, options->allowed_origin) < 0) {
        free_mount(m);
        return MDG_E_NO_MEMORY;
    }
    m->next = server->sockjs;
    server->sockjs = m;
    *out = m;
    return 0;
}

void madang_sockjs_defaults(struct madang_sockjs_options *options)
{
    *options = (struct madang_sockjs_options){
        .response_limit = 128 * 1024,
        .heartbeat_ms = 25000,
        .disconnect_ms = 5000,
        .websocket = true,
    };
}

int madang_sockjs(struct madang *server, const char *prefix,
                  const struct madang_sockjs_options *options,
                  const struct madang_ws_handlers *handlers, void *arg)
{
    struct madang_sockjs_options defaults;
    struct mdg_sockjs_mount *m;
    struct mdg_ws_mount *ws = calloc(1, sizeof *ws);
    if (!ws)
        return MDG_E_NO_MEMORY;
    madang_sockjs_defaults(&defaults);
    int err = mount(server, prefix, options ? options : &defaults, &m);
    if (err < 0) {
        free(ws);
        return err;
    }
    ws->options = server->ws_defaults;
    ws->handlers = *handlers;
    ws->arg = arg;
    m->ws = ws;
    m->user = &client_user;
    return 0;
}

int mdg_server_mount_sockjs_for(struct madang *server, const char *prefix,
                                const struct mdg_sockjs_user *user)
{
    const struct mdg_params *p = &server->params;
    struct madang_sockjs_options options;
    struct mdg_sockjs_mount *m;
    madang_sockjs_defaults(&options);
    options.response_limit = (uint32_t)p->sockjs_response_bytes_max;
    options.heartbeat_ms = (uint32_t)p->sockjs_heartbeat_s * 1000;
    options.disconnect_ms = (uint32_t)p->sockjs_disconnect_ms;
    options.websocket = p->sockjs_websocket;
    options.jsessionid = p->sockjs_jsessionid;
    options.sockjs_url = p->sockjs_url[0] ? p->sockjs_url : NULL;
    int err = mount(server, prefix, &options, &m);
    if (err == 0)
        m->user = user;
    return err;
}

int mdg_server_mount_sockjs(struct madang *server, const char *prefix,
                            const struct mdg_dialect *dialect)
{
    int err = mdg_server_mount_sockjs_for(server, prefix, &peer_user);
    if (err == 0)
        server->sockjs->dialect = dialect; /* the newest is the first */
    return err;
}

int mdg_mount_sockjs(struct madang *server)
{
    struct mdg_slice rest = mdg_slice_str(server->params.sockjs_paths);
    char prefix[256];
    int err = 0;
    while (rest.data && err == 0) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (item.len == 0)
            continue;
        if (item.len >= sizeof prefix)
            return MDG_E_TOO_BIG;
        memcpy(prefix, item.data, item.len);
        prefix[item.len] = '\0';
        err = mdg_server_mount_sockjs(server, prefix, &mdg_plain_dialect);
    }
    return err;
}

/* ---- on the workers ---- */

int mdg_worker_init_sockjs(struct mdg_worker *w)
{
    size_t count = 0;
    for (struct mdg_sockjs_mount *m = w->server->sockjs; m; m = m->next)
        count++;
    if (count == 0)
        return 0;
    w->sockjs = calloc(count, sizeof *w->sockjs);
    if (!w->sockjs)
        return MDG_E_NO_MEMORY;
    for (struct mdg_sockjs_mount *m = w->server->sockjs; m; m = m->next) {
        struct mdg_sockjs_here *here = &w->sockjs[w->sockjs_count];
        here->worker = w;
        here->mount = m;
        int err = mdg_sockjs_new(w->loop, w->ws, &m->config, m->user, here, &here->service);
        if (err < 0)
            return err;
        w->sockjs_count++;
    }
    return 0;
}

/* Of two services one of which lies below the other, the deeper one. */
const struct mdg_http_handler *mdg_worker_find_sockjs(struct mdg_worker *w, struct mdg_slice path,
                                                      void **arg)
{
    const struct mdg_sockjs_here *found = NULL;
    for (size_t i = 0; i < w->sockjs_count; i++) {
        const struct mdg_sockjs_here *here = &w->sockjs[i];
        bool deeper = !found || here->mount->config.prefix.len > found->mount->config.prefix.len;
        if (deeper && mdg_sockjs_owns(here->service, path))
            found = here;
    }
    if (!found)
        return NULL;
    *arg = found->service;
    return &mdg_sockjs_handler;
}

void mdg_worker_close_sockjs(struct mdg_worker *w, size_t *left)
{
    for (size_t i = 0; i < w->sockjs_count; i++)
        mdg_sockjs_close_some(w->sockjs[i].service, MDG_CLOSE_GOING_AWAY,
                              MDG_SLICE_LIT("the server stops"), left);
}

void mdg_worker_fini_sockjs(struct mdg_worker *w)
{
    for (size_t i = 0; i < w->sockjs_count; i++)
        mdg_sockjs_free(w->sockjs[i].service);
    free(w->sockjs);
    w->sockjs = NULL;
    w->sockjs_count = 0;
}

void mdg_server_free_sockjs(struct madang *server)
{
    while (server->sockjs) {
        struct mdg_sockjs_mount *m = server->sockjs;
        server->sockjs = m->next;
        free_mount(m);
    }
}
