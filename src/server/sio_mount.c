/* Endpoints: options, mounting, what each worker makes of them, handshakes, raw Engine.IO. */
#include "base/base64.h"
#include "base/map.h"
#include "server/room_store.h"
#include "server/sio.h"
#include "store/store.h"
#include <stdlib.h>
#include <sys/random.h>

void madang_sio_options_init(struct madang_sio_options *options)
{
    *options = (struct madang_sio_options){
        .ping_interval_ms = 25000,
        .ping_timeout_ms = 20000,
        .upgrade_timeout_ms = 10000,
        .connect_timeout_ms = 45000,
        .max_payload = 1000000,
        .max_attachments = 1000,
        .max_sessions = 1000000,
        .allow_eio3 = true,
        .polling = true,
        .websocket = true,
        .allow_upgrades = true,
        .per_message_deflate = true,
        .keep_handshake = true,
        .recovery_ms = 120000,
        .recovery_ring = 256,
        .recover_without_offset = true,
    };
}

/* ---- hooks of the carrier ---- */

static int on_handshake(void *arg, struct mdg_exchange *x, struct mdg_eio_held *held,
                        struct mdg_slice *message)
{
    struct mdg_sio_place *p = arg;
    struct madang_request request = {.worker = p->worker, .exchange = x};
    (void)message;
    struct mdg_handle *h = mdg_handle_new(&p->worker->held, held, p);
    if (!h)
        return MDG_E_NO_MEMORY;
    mdg_eio_held_set_user(held, h);
    int answer =
        p->io->options.allow_request(p->io->server, &request, mdg_handle_id(h), p->io->options.arg);
    mdg_request_texts_free(&request);
    if (answer == MADANG_LATER)
        return MDG_EIO_LATER;
    mdg_handle_free(&p->worker->held, h);
    return answer == 0 ? 0 : MDG_E_DENIED;
}

static int on_handshake_all(void *arg, struct mdg_exchange *x, struct mdg_eio_held *held,
                            struct mdg_slice *message)
{
    struct mdg_sio_place *p = arg;
    return p->io->options.allow_request ? on_handshake(arg, x, held, message) : 0;
}

/* The client went away: the handle that stands for its handshake finds nothing any more. */
static void on_dropped(void *arg, struct mdg_eio_held *held)
{
    struct mdg_sio_place *p = arg;
    mdg_handle_free(&p->worker->held, mdg_eio_held_user(held));
}

static void on_headers(void *arg, struct mdg_exchange *x, bool initial)
{
    struct mdg_sio_place *p = arg;
    struct madang_request request = {.worker = p->worker, .exchange = x};
    if (!p->io->options.on_headers)
        return;
    p->io->options.on_headers(p->io->server, &request, initial, p->io->options.arg);
    mdg_request_texts_free(&request);
}

static struct mdg_http_server *home(void *arg, unsigned worker)
{
    struct mdg_sio_place *p = arg;
    struct madang *server = p->io->server;
    return worker < server->worker_count ? server->workers[worker].http : NULL;
}

static int open_sio(void *arg, struct mdg_link *l, const struct mdg_handshake *hs)
{
    struct mdg_sio_place *p = arg;
    return mdg_sio_open(p->sio, l, hs, mdg_eio_version(l) == 3 ? 4 : 5);
}

static const struct mdg_eio_hooks sio_hooks = {
    .on_handshake = on_handshake_all,
    .on_dropped = on_dropped,
    .on_headers = on_headers,
    .on_open = open_sio,
    .home = home,
};

/* ---- raw Engine.IO: the same peers as WebSocket's ---- */

static int raw_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    return mdg_api_on_input(l->user_arg, in, binary);
}

static void raw_writable(struct mdg_link *l)
{
    mdg_api_on_writable(l->user_arg);
}

static void raw_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    mdg_api_on_close(l->user_arg, code, reason);
}

static const struct mdg_link_user raw_user = {raw_input, raw_writable, raw_close};

static int open_raw(void *arg, struct mdg_link *l, const struct mdg_handshake *hs)
{
    struct mdg_sio_place *p = arg;
    struct mdg_ws_mount *m = p->io->raw;
    if (p->io->open_raw)
        return p->io->open_raw(p->worker, l, hs);
    struct mdg_handle *h = mdg_handle_new(&p->worker->clients, l, m);
    if (!h)
        return MDG_E_NO_MEMORY;
    l->user = &raw_user;
    l->user_arg = h;
    if (m->handlers.on_open)
        m->handlers.on_open(p->io->server, mdg_handle_id(h), m->arg);
    return 0;
}

static const struct mdg_eio_hooks raw_hooks = {
    .on_handshake = on_handshake_all,
    .on_dropped = on_dropped,
    .on_headers = on_headers,
    .on_open = open_raw,
    .home = home,
};

struct madang_request *madang_engineio_request(struct madang *server, madang_peer peer)
{
    struct mdg_worker *w = mdg_api_worker(server, peer);
    struct mdg_handle *h = w && mdg_api_is_here(w) ? mdg_handle_find(&w->clients, peer) : NULL;
    struct mdg_link *l = h ? h->what : NULL;
    struct mdg_sio_place *p = l && l->user == &raw_user ? mdg_eio_arg(l) : NULL;
    struct mdg_exchange *x = p ? mdg_eio_posting(l) : NULL;
    if (!x)
        return NULL;
    mdg_request_texts_free(&p->request);
    p->request = (struct madang_request){.worker = w, .exchange = x};
    return &p->request;
}

/* ---- one endpoint in one worker ---- */

static int make_place(struct mdg_sio_place *p, struct mdg_worker *w)
{
    struct madang_sio *io = p->io;
    p->worker = w;
    int err = io->raw ? 0
                      : mdg_sio_worker_new(w->loop, w->hub, w->index, &io->sio_options, io->hooks,
                                           p, &p->sio);
    if (err == 0)
        err = mdg_eio_worker_new(w->loop, w->ws, w->index, &io->eio_options,
                                 io->raw ? &raw_hooks : &sio_hooks, p, &p->eio);
    if (err < 0) {
        mdg_sio_worker_free(p->sio);
        p->sio = NULL;
    }
    return err;
}

struct mdg_sio_place *mdg_sio_place(struct madang_sio *io, struct mdg_worker *w)
{
    struct mdg_sio_place *p = &io->places[w->index];
    if (p->ended || (!p->eio && make_place(p, w) < 0))
        return NULL;
    return p;
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_mounted *mounted = mdg_mounted(arg);
    struct mdg_sio_place *p = mdg_sio_place(mounted->mount->arg, mounted->worker);
    return p ? mdg_eio_handler.on_request(x, p->eio) : MDG_E_NO_MEMORY;
}

static const struct mdg_http_handler entry = {.on_request = on_request};

static void on_shutdown(struct mdg_worker *w, size_t *left, void *arg)
{
    struct madang_sio *io = arg;
    struct mdg_sio_place *p = &io->places[w->index];
    if (p->eio)
        mdg_eio_worker_close_some(p->eio, MDG_CLOSE_GOING_AWAY, left);
}

/* ---- sockets that survive a restart ---- */

void mdg_sio_keep(void *arg, struct mdg_slice key, struct mdg_slice record)
{
    struct mdg_sio_place *p = arg;
    struct mdg_store *store = mdg_room_store_facts(p->io->server);
    struct mdg_slice space = mdg_slice_str(p->io->space);
    unsigned worker = p->worker ? p->worker->index : 0;
    /* A store that cannot take it costs one socket's recovery after a restart, nothing else. */
    if (store && record.len)
        (void)!mdg_store_put(store, worker, space, key, record);
    else if (store)
        (void)!mdg_store_delete(store, worker, space, key);
}

struct kept {
    struct mdg_slice *rows; /* key and record by turns */
    size_t len, cap;
};

static void collect(void *arg, struct mdg_slice key, struct mdg_slice value)
{
    struct kept *k = arg;
    const struct mdg_slice both[2] = {key, value};
    if (k->len == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 64;
        struct mdg_slice *more = realloc(k->rows, cap * sizeof *more);
        if (!more)
            return;
        k->rows = more;
        k->cap = cap;
    }
    for (size_t i = 0; i < 2; i++) {
        uint8_t *copy = malloc(both[i].len ? both[i].len : 1);
        if (copy && both[i].len)
            memcpy(copy, both[i].data, both[i].len);
        k->rows[k->len++] = mdg_slice(copy, copy ? both[i].len : 0);
    }
}

/* A key begins with the pid, which names the worker that made it; when there are fewer of them now,
 * its client begins anew. */
static void restore_one(struct madang_sio *io, struct mdg_slice key, struct mdg_slice record)
{
    uint8_t bytes[16];
    struct mdg_slice pid = mdg_slice(key.data, mdg_min_size(key.len, MDG_SIO_PID_CHARS));
    bool good = mdg_base64_decode(pid, bytes, sizeof bytes) > 0;
    if (!good || bytes[0] >= io->server->worker_count) {
        mdg_sio_keep(&io->places[0], key, mdg_slice(NULL, 0));
        return;
    }
    struct mdg_sio_place *p = mdg_sio_place(io, &io->server->workers[bytes[0]]);
    if (p)
        mdg_sio_restore(p->sio, key, record);
}

static int on_start(struct madang *server, void *arg)
{
    struct madang_sio *io = arg;
    struct mdg_store *store = mdg_room_store_facts(server);
    struct kept kept = {0};
    if (!store || io->raw || !io->sio_options.recovery)
        return 0;
    io->sio_options.keep = true;
    int err = mdg_store_each(store, mdg_slice_str(io->space), collect, &kept);
    for (size_t i = 0; i < kept.len; i += 2) {
        if (err == 0)
            restore_one(io, kept.rows[i], kept.rows[i + 1]);
        free((void *)(uintptr_t)kept.rows[i].data);
        free((void *)(uintptr_t)kept.rows[i + 1].data);
    }
    free(kept.rows);
    return err;
}

static void on_fini(struct mdg_worker *w, void *arg)
{
    struct madang_sio *io = arg;
    struct mdg_sio_place *p = &io->places[w->index];
    p->ended = true;
    mdg_sio_worker_stop(p->sio);
    mdg_eio_worker_free(p->eio);
    mdg_sio_worker_free(p->sio);
    mdg_request_texts_free(&p->request);
    p->eio = NULL;
    p->sio = NULL;
}

static void endpoint_free(void *arg)
{
    struct madang_sio *io = arg;
    mdg_sio_namespaces_free(io);
    if (io->raw)
        mdg_ws_mount_free(io->raw);
    free(io->cookie);
    free(io->space);
    free(io->places);
    free(io);
}

/* Offsets must mean the same after a restart: their key comes from the server's own. */
static void make_offset_key(struct madang_sio *io)
{
    uint64_t seed[2];
    static_assert(MDG_KEY_BYTES >= sizeof seed, "a key is long enough for a seed");
    memcpy(seed, io->server->auth.cookie_key.bytes, sizeof seed);
    io->sio_options.offset_key[0] = mdg_siphash(seed, MDG_SLICE_LIT("socket.io offsets 0"));
    io->sio_options.offset_key[1] = mdg_siphash(seed, MDG_SLICE_LIT("socket.io offsets 1"));
}

static void fill_options(struct madang_sio *io)
{
    const struct madang_sio_options *o = &io->options;
    io->eio_options = (struct mdg_eio_options){
        .ping_interval_ms = o->ping_interval_ms,
        .ping_timeout_ms = o->ping_timeout_ms,
        .upgrade_timeout_ms = o->upgrade_timeout_ms,
        .close_timeout_ms = 30000,
        .max_payload = o->max_payload,
        .out_bytes_max = (uint32_t)io->server->params.send_queue_bytes_max,
        .sessions_max = o->max_sessions,
        .allow_eio3 = o->allow_eio3,
        .polling = o->polling,
        .websocket = o->websocket,
        .upgrades = o->allow_upgrades,
        .cookie = io->cookie,
        .ws = io->server->ws_defaults,
    };
    io->eio_options.ws.compress = io->eio_options.ws.compress && o->per_message_deflate;
    io->sio_options = (struct mdg_sio_options){
        .limits = {.depth_max = 128,
                   .attachments_max = o->max_attachments,
                   .namespace_len_max = 200},
        .connect_timeout_ms = o->connect_timeout_ms,
        .attachment_bytes_max =
            (uint32_t)(o->max_payload > UINT32_MAX / 4 ? UINT32_MAX : o->max_payload * 4),
        .namespaces_per_client_max = 100,
        .acks_per_socket_max = 10000,
        .namespaces_max = 10000,
        .keep_handshake = o->keep_handshake || o->keep_headers,
        .keep_headers = o->keep_headers,
        .recovery = o->recovery,
        .recover_without_offset = o->recover_without_offset,
        .recovery_ms = o->recovery_ms,
        .recovery_ring = o->recovery_ring > MDG_SIO_RING_MAX ? MDG_SIO_RING_MAX : o->recovery_ring,
    };
}

/* "/socket.io" and "/socket.io/" alike; whatever comes behind the slash is the client's business.
 */
static int mount(struct madang_sio *io, const char *path)
{
    char pattern[512];
    struct mdg_writer w;
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    if (len == 0 || path[0] != '/')
        return MDG_E_SYNTAX;
    mdg_writer_init(&w, pattern, sizeof pattern - 1);
    mdg_write_bytes(&w, path, len);
    mdg_write_str(&w, "/*");
    if (!mdg_writer_fits(&w))
        return MDG_E_SYNTAX;
    pattern[w.len] = '\0';
    int err = mdg_server_mount(io->server, "*", pattern, &entry, io);
    if (err < 0)
        return err;
    pattern[w.len - 1] = '\0'; /* "/socket.io/" itself */
    err = mdg_server_mount(io->server, "*", pattern, &entry, io);
    return err == MDG_E_EXISTS || err == MDG_E_SYNTAX ? 0 : err;
}

int mdg_sio_endpoint_new(struct madang *server, const char *path,
                         const struct madang_sio_options *options, bool raw,
                         struct madang_sio **out)
{
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    struct madang_sio *io = calloc(1, sizeof *io);
    if (!io)
        return MDG_E_NO_MEMORY;
    io->server = server;
    io->options = *options;
    io->hooks = &mdg_sio_api_hooks;
    io->places = calloc(server->worker_count, sizeof *io->places);
    io->raw = raw ? calloc(1, sizeof *io->raw) : NULL;
    io->cookie = options->cookie ? strdup(options->cookie) : NULL;
    io->space = strdup(path);
    int err = io->places && io->space && (!raw || io->raw) && (!options->cookie || io->cookie)
                  ? 0
                  : MDG_E_NO_MEMORY;
    for (unsigned i = 0; err == 0 && i < server->worker_count; i++)
        io->places[i].io = io;
    if (err == 0) {
        fill_options(io);
        make_offset_key(io);
        ssize_t n = getrandom(io->sio_options.sid_key, sizeof io->sio_options.sid_key, 0);
        err = n == (ssize_t)sizeof io->sio_options.sid_key ? mount(io, path) : MDG_E_NO_MEMORY;
    }
    if (err < 0) {
        endpoint_free(io);
        return err;
    }
    mdg_server_on_shutdown(server, on_shutdown, io);
    mdg_server_on_start(server, on_start, io);
    mdg_server_on_fini(server, on_fini, endpoint_free, io);
    *out = io;
    return 0;
}

int madang_engineio(struct madang *server, const char *path,
                    const struct madang_sio_options *options,
                    const struct madang_ws_handlers *handlers, void *arg)
{
    struct madang_sio *io;
    int err = mdg_sio_endpoint_new(server, path, options, true, &io);
    if (err < 0)
        return err;
    io->raw->handlers = *handlers;
    io->raw->arg = arg;
    return 0;
}

/* ---- held handshakes ---- */

struct allow {
    struct madang *server;
    uint64_t held;
    bool allow;
};

static void on_allow(struct mdg_loop *loop, void *arg)
{
    struct allow *a = arg;
    struct mdg_worker *w = &a->server->workers[mdg_handle_worker(a->held)];
    struct mdg_handle *h = mdg_handle_find(&w->held, a->held);
    (void)loop;
    if (h) {
        struct mdg_eio_held *held = h->what;
        mdg_handle_free(&w->held, h);
        mdg_eio_resume(held, a->allow, mdg_slice(NULL, 0));
    }
    free(a);
}

int madang_sio_allow(struct madang *server, uint64_t held, bool allow)
{
    struct mdg_worker *w = mdg_api_worker(server, held);
    struct allow *a = w ? malloc(sizeof *a) : NULL;
    if (!a)
        return w ? MDG_E_NO_MEMORY : MDG_E_CLOSED;
    *a = (struct allow){server, held, allow};
    int err = mdg_loop_post(w->loop, on_allow, a);
    if (err < 0)
        free(a);
    return err;
}

int madang_request_add_header(struct madang_request *request, const char *name, const char *value)
{
    return mdg_exchange_add_header(request->exchange, mdg_slice_str(name), mdg_slice_str(value));
}
