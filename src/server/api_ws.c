/* WebSocket endpoints of the application: handles, handlers, handshakes that are held. */
#include "server/api_ws.h"
#include "net/stream.h"
#include <stdio.h>
#include <stdlib.h>

/* A handle's tag is the mount, or, once the application has attached something to the peer, its
 * extra (marked in the lowest bit): an idle peer costs nothing here but its handle. */
static struct mdg_api_peer *peer_of(const struct mdg_handle *h)
{
    uintptr_t tag = (uintptr_t)h->tag;
    return tag & 1 ? (struct mdg_api_peer *)(tag - 1) : NULL;
}

static const struct mdg_ws_mount *mount_of(const struct mdg_handle *h)
{
    const struct mdg_api_peer *peer = peer_of(h);
    return peer ? peer->mount : h->tag;
}

struct mdg_api_peer *mdg_api_peer(struct mdg_handle *h, bool make)
{
    struct mdg_api_peer *peer = peer_of(h);
    if (peer || !make)
        return peer;
    peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->mount = h->tag;
    peer->handle = h;
    peer->worker = mdg_handle_owner(h);
    h->tag = (void *)((uintptr_t)peer | 1);
    return peer;
}

static struct madang *server_of(const struct mdg_handle *h)
{
    return ((struct mdg_worker *)mdg_handle_owner(h))->server;
}

int mdg_api_on_input(struct mdg_handle *h, struct mdg_input in, bool binary)
{
    const struct mdg_ws_mount *m = mount_of(h);
    if (m->handlers.on_message)
        m->handlers.on_message(server_of(h), mdg_handle_id(h), in.data, in.len, binary, m->arg);
    return 0;
}

void mdg_api_on_writable(struct mdg_handle *h)
{
    const struct mdg_ws_mount *m = mount_of(h);
    if (m->handlers.on_writable)
        m->handlers.on_writable(server_of(h), mdg_handle_id(h), m->arg);
}

void mdg_api_on_close(struct mdg_handle *h, int code, struct mdg_slice reason)
{
    struct mdg_worker *w = mdg_handle_owner(h);
    const struct mdg_ws_mount *m = mount_of(h);
    char text[126]; /* RFC 6455 5.5: at most 123 bytes */
    size_t len = mdg_min_size(reason.len, sizeof text - 1);
    if (len)
        memcpy(text, reason.data, len);
    text[len] = '\0';
    /* Inside the handler madang_user still works; everything else finds that the peer is gone. */
    w->ending = h;
    if (m->handlers.on_close)
        m->handlers.on_close(w->server, mdg_handle_id(h), code, text, len, m->arg);
    w->ending = NULL;
    free(peer_of(h));
    mdg_handle_free(&w->clients, h);
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

static const struct mdg_link_user api_link_user = {
    .on_input = on_input,
    .on_writable = on_writable,
    .on_close = on_close,
};

/* The connection becomes a peer of the application. On an error the exchange is still there. */
static int accept_now(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_ws_mount *m)
{
    struct mdg_link *link;
    struct mdg_handle *h = mdg_handle_new(&w->clients, m, m);
    if (!h)
        return MDG_E_NO_MEMORY;
    int err = mdg_ws_accept(w->ws, x, &m->options, &api_link_user, h, &link);
    if (err < 0) {
        mdg_handle_free(&w->clients, h);
        return err;
    }
    h->what = link;
    if (m->handlers.on_open)
        m->handlers.on_open(w->server, mdg_handle_id(h), m->arg);
    return 0;
}

static void refuse_now(struct mdg_exchange *x, int status)
{
    mdg_exchange_respond_error(x, (unsigned)status, "refused", "the handshake was refused");
}

/* A held handshake: what = exchange, tag = mount. */
static void on_held_abort(struct mdg_exchange *x)
{
    struct mdg_handle *h = mdg_exchange_arg(x);
    struct mdg_worker *w = mdg_handle_owner(h);
    mdg_handle_free(&w->held, h);
}

static int on_held(struct mdg_exchange *x, void *arg)
{
    mdg_exchange_set_arg(x, arg);
    return 0;
}

static const struct mdg_http_handler held_handler = {.on_request = on_held,
                                                     .on_abort = on_held_abort};

static int hold(struct mdg_worker *w, struct mdg_exchange *x, struct madang_request *request,
                struct mdg_ws_mount *m)
{
    (void)w;
    request->held->tag = m;
    mdg_exchange_set_arg(x, request->held);
    return 1;
}

uint64_t madang_request_hold(struct madang_request *request)
{
    if (!request->held)
        request->held =
            mdg_handle_new(&request->worker->held, request->exchange, request->exchange);
    return request->held ? mdg_handle_id(request->held) : 0;
}

static int on_upgrade(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_ws_mount *m,
                      struct mdg_slice subprotocol)
{
    (void)subprotocol; /* chosen again, the same way, when the link is made */
    if (!m->handlers.on_handshake)
        return accept_now(w, x, m);
    struct madang_request request = {.worker = w, .exchange = x};
    int answer = m->handlers.on_handshake(w->server, &request, m->arg);
    mdg_request_texts_free(&request);
    if (answer == MADANG_LATER && request.held)
        return hold(w, x, &request, m);
    if (request.held)
        mdg_handle_free(&w->held, request.held);
    if (answer == 0)
        return accept_now(w, x, m);
    refuse_now(x, answer >= 400 && answer <= 599 ? answer : 500);
    return 0;
}

struct answer {
    struct madang *server;
    uint64_t held;
    int status; /* 0: accept */
};

static int answer_here(struct mdg_worker *w, uint64_t held, int status)
{
    struct mdg_handle *h = mdg_handle_find(&w->held, held);
    if (!h)
        return MDG_E_CLOSED;
    struct mdg_exchange *x = h->what;
    struct mdg_ws_mount *m = h->tag;
    mdg_handle_free(&w->held, h);
    if (status)
        refuse_now(x, status);
    else if (accept_now(w, x, m) < 0)
        refuse_now(x, 500);
    return 0;
}

static void on_answer(struct mdg_loop *loop, void *arg)
{
    struct answer *a = arg;
    (void)loop;
    int gone = answer_here(&a->server->workers[mdg_handle_worker(a->held)], a->held, a->status);
    (void)gone; /* the client did not wait: nobody is left to tell */
    free(a);
}

static int answer(struct madang *server, uint64_t held, int status)
{
    struct mdg_worker *w = mdg_api_worker(server, held);
    if (!w)
        return MDG_E_CLOSED;
    struct answer *a = malloc(sizeof *a);
    if (!a)
        return MDG_E_NO_MEMORY;
    *a = (struct answer){server, held, status};
    /* Posted even from the worker itself: the answer may come from inside on_handshake. */
    int err = mdg_loop_post(w->loop, on_answer, a);
    if (err < 0)
        free(a);
    return err;
}

int madang_accept(struct madang *server, uint64_t held_request)
{
    return answer(server, held_request, 0);
}

int madang_refuse(struct madang *server, uint64_t held_request, int status)
{
    return answer(server, held_request, status >= 400 && status <= 599 ? status : 403);
}

int madang_ws(struct madang *server, const char *path, const struct madang_ws_handlers *handlers,
              void *arg)
{
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    struct mdg_ws_mount *m = calloc(1, sizeof *m);
    if (!m)
        return MDG_E_NO_MEMORY;
    m->options = server->ws_defaults;
    m->upgrade = on_upgrade;
    m->later = &held_handler;
    m->handlers = *handlers;
    m->arg = arg;
    int err = mdg_server_mount_ws(server, path, m);
    if (err < 0) {
        free(m);
        return err;
    }
    server->last_ws = m;
    return 0;
}

void mdg_ws_mount_free(struct mdg_ws_mount *m)
{
    for (size_t i = 0; m->subprotocols && m->subprotocols[i]; i++)
        free(m->subprotocols[i]);
    free(m->subprotocols);
    free(m);
}

int madang_ws_subprotocols(struct madang *server, const char *list)
{
    struct mdg_ws_mount *m = server->last_ws;
    struct mdg_slice rest = mdg_slice_str(list);
    size_t n = 0;
    if (!m || server->workers || m->subprotocols)
        return MDG_E_UNSUPPORTED;
    char **names = calloc(strlen(list) / 2 + 2, sizeof *names);
    if (!names)
        return MDG_E_NO_MEMORY;
    m->subprotocols = names;
    while (rest.data) {
        struct mdg_slice name = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (name.len == 0)
            continue;
        names[n] = strndup((const char *)name.data, name.len);
        if (!names[n++])
            return MDG_E_NO_MEMORY;
    }
    m->options.subprotocols = (const char *const *)names;
    return 0;
}

/* ---- what can be done with a peer ---- */

struct mdg_worker *mdg_api_worker(struct madang *server, uint64_t id)
{
    unsigned index = mdg_handle_worker(id);
    bool running = atomic_load_explicit(&server->state, memory_order_relaxed) != MDG_SERVER_NEW;
    return id && running && index < server->worker_count ? &server->workers[index] : NULL;
}

bool mdg_api_is_here(const struct mdg_worker *w)
{
    return (w->has_thread || w->is_embedded) && pthread_equal(w->thread, pthread_self());
}

/* An action on its way to the worker of its peer. */
struct action {
    struct madang *server;
    madang_peer peer;
    enum { ACT_SEND, ACT_CLOSE } kind;
    bool binary;
    int code;
    size_t len;
    uint8_t data[];
};

struct mdg_handle *mdg_api_find(struct mdg_worker *w, madang_peer peer)
{
    struct mdg_handle *h = mdg_handle_find(&w->clients, peer);
    return h == w->ending ? NULL : h;
}

static int send_here(struct mdg_worker *w, madang_peer peer, struct mdg_slice data, bool binary)
{
    struct mdg_handle *h = mdg_api_find(w, peer);
    if (!h)
        return MDG_E_CLOSED;
    struct mdg_unit_meta meta = {.binary = binary, .compress = true};
    return mdg_link_send_unit(h->what, data, &meta);
}

static int close_here(struct mdg_worker *w, madang_peer peer, int code, struct mdg_slice reason)
{
    struct mdg_handle *h = mdg_api_find(w, peer);
    if (!h)
        return MDG_E_CLOSED;
    mdg_link_close(h->what, code, reason);
    return 0;
}

static void on_action(struct mdg_loop *loop, void *arg)
{
    struct action *a = arg;
    struct mdg_worker *w = &a->server->workers[mdg_handle_worker(a->peer)];
    struct mdg_slice data = mdg_slice(a->data, a->len);
    (void)loop;
    if (a->kind == ACT_CLOSE) {
        int gone = close_here(w, a->peer, a->code, data);
        (void)gone;
    } else if (send_here(w, a->peer, data, a->binary) == MDG_E_FULL) {
        /* The sender cannot be told any more, and a message must not vanish without a word. */
        int gone = close_here(w, a->peer, MDG_CLOSE_SLOW, MDG_SLICE_LIT("too slow"));
        (void)gone;
    }
    free(a);
}

static int post_action(struct mdg_worker *w, const struct action *like, struct mdg_slice data)
{
    struct action *a = malloc(sizeof *a + data.len);
    if (!a)
        return MDG_E_NO_MEMORY;
    memcpy(a, like, sizeof *a);
    a->len = data.len;
    if (data.len)
        memcpy(a->data, data.data, data.len);
    int err = mdg_loop_post(w->loop, on_action, a);
    if (err < 0)
        free(a);
    return err;
}

int madang_send(struct madang *server, madang_peer peer, const void *data, size_t len, bool binary)
{
    struct mdg_worker *w = mdg_api_worker(server, peer);
    if (!w)
        return MDG_E_CLOSED;
    if (mdg_api_is_here(w))
        return send_here(w, peer, mdg_slice(data, len), binary);
    struct action a = {.server = server, .peer = peer, .kind = ACT_SEND, .binary = binary};
    return post_action(w, &a, mdg_slice(data, len));
}

int madang_close(struct madang *server, madang_peer peer, int code, const char *reason)
{
    struct mdg_slice text = mdg_slice_str(reason);
    struct mdg_worker *w = mdg_api_worker(server, peer);
    bool code_ok = (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
                   (code >= 3000 && code <= 4999);
    if (!code_ok || text.len > 123)
        return MDG_E_SYNTAX;
    if (!w)
        return MDG_E_CLOSED;
    if (mdg_api_is_here(w))
        return close_here(w, peer, code, text);
    struct action a = {.server = server, .peer = peer, .kind = ACT_CLOSE, .code = code};
    return post_action(w, &a, text);
}

static struct mdg_handle *find_here(struct madang *server, madang_peer peer)
{
    struct mdg_worker *w = mdg_api_worker(server, peer);
    return w && mdg_api_is_here(w) ? mdg_handle_find(&w->clients, peer) : NULL;
}

size_t madang_queued(struct madang *server, madang_peer peer)
{
    struct mdg_handle *h = find_here(server, peer);
    struct mdg_link *l = h ? h->what : NULL;
    return l ? l->carrier->queued(l) : 0;
}

void madang_set_user(struct madang *server, madang_peer peer, void *user)
{
    struct mdg_handle *h = find_here(server, peer);
    struct mdg_api_peer *extra = h ? mdg_api_peer(h, user != NULL) : NULL;
    if (extra)
        extra->user = user;
}

void *madang_user(struct madang *server, madang_peer peer)
{
    struct mdg_handle *h = find_here(server, peer);
    struct mdg_api_peer *extra = h ? mdg_api_peer(h, false) : NULL;
    return extra ? extra->user : NULL;
}
