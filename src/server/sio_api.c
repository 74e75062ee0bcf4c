/* Namespaces of the application: middleware, handlers, and how the dialect's upcalls reach them. */
#include "base/json.h"
#include "server/sio.h"
#include <stdlib.h>

int madang_sio_new(struct madang *server, const char *path,
                   const struct madang_sio_options *options, struct madang_sio **out)
{
    return mdg_sio_endpoint_new(server, path, options, false, out);
}

struct madang *madang_sio_server(struct madang_sio *io)
{
    return io->server;
}

struct madang_sio_namespace *madang_sio_of(struct madang_sio *io, const char *name)
{
    struct madang_sio_namespace **at = &io->namespaces;
    for (; *at; at = &(*at)->next) {
        if (strcmp((*at)->name, name) == 0)
            return *at;
    }
    struct madang_sio_namespace *ns = io->server->workers ? NULL : calloc(1, sizeof *ns);
    if (!ns)
        return NULL;
    ns->io = io;
    /* The original takes of("admin") for "/admin". */
    size_t len = strlen(name);
    ns->name = calloc(1, len + 2);
    if (!ns->name) {
        free(ns);
        return NULL;
    }
    memcpy(ns->name + (name[0] != '/'), name, len);
    if (name[0] != '/')
        ns->name[0] = '/';
    *at = ns;
    return ns;
}

int madang_sio_use(struct madang_sio_namespace *ns, madang_sio_middleware_fn fn, void *arg)
{
    size_t n = ns->middleware_count + 1;
    struct mdg_sio_middleware *more = realloc(ns->middleware, n * sizeof *more);
    if (!more)
        return MDG_E_NO_MEMORY;
    ns->middleware = more;
    ns->middleware[ns->middleware_count++] = (struct mdg_sio_middleware){fn, arg};
    return 0;
}

int madang_sio_on_connection(struct madang_sio_namespace *ns, madang_sio_connection_fn fn,
                             void *arg)
{
    ns->on_connection = fn;
    ns->connection_arg = arg;
    return 0;
}

int madang_sio_on_disconnect(struct madang_sio_namespace *ns, madang_sio_disconnect_fn fn,
                             void *arg)
{
    ns->on_disconnect = fn;
    ns->disconnect_arg = arg;
    return 0;
}

static int add_handler(struct mdg_sio_handler **list, const char *name, madang_sio_event_fn fn,
                       void *arg)
{
    struct mdg_sio_handler *h = calloc(1, sizeof *h);
    if (!h || !(h->name = strdup(name))) {
        free(h);
        return MDG_E_NO_MEMORY;
    }
    h->fn = fn;
    h->arg = arg;
    while (*list)
        list = &(*list)->next;
    *list = h;
    return 0;
}

int madang_sio_on(struct madang_sio_namespace *ns, const char *name, madang_sio_event_fn fn,
                  void *arg)
{
    return mdg_sio_event_reserved(mdg_slice_str(name)) ? MDG_E_SYNTAX
                                                       : add_handler(&ns->events, name, fn, arg);
}

int madang_sio_on_any(struct madang_sio_namespace *ns, madang_sio_event_fn fn, void *arg)
{
    return add_handler(&ns->any, "", fn, arg);
}

int madang_sio_on_any_outgoing(struct madang_sio_namespace *ns, madang_sio_event_fn fn, void *arg)
{
    ns->io->sio_options.outgoing = true;
    return add_handler(&ns->outgoing, "", fn, arg);
}

static void handlers_free(struct mdg_sio_handler *h)
{
    while (h) {
        struct mdg_sio_handler *next = h->next;
        free(h->name);
        free(h);
        h = next;
    }
}

void mdg_sio_namespaces_free(struct madang_sio *io)
{
    struct madang_sio_namespace *ns = io->namespaces;
    while (ns) {
        struct madang_sio_namespace *next = ns->next;
        handlers_free(ns->events);
        handlers_free(ns->any);
        handlers_free(ns->outgoing);
        free(ns->middleware);
        free(ns->name);
        free(ns);
        ns = next;
    }
}

/* ---- upcalls of the dialect; arg is the place ---- */

static struct madang_sio *io_of(void *arg)
{
    return ((struct mdg_sio_place *)arg)->io;
}

static struct madang_sio_namespace *ns_of(const struct mdg_sio_socket *s)
{
    return mdg_sio_namespace_data(s);
}

static struct mdg_principal *principal(void *arg, const struct mdg_handshake *hs)
{
    struct mdg_sio_place *p = arg;
    struct mdg_principal *who;
    if (!p->io->authenticate)
        return mdg_principal_ref(p->worker->nobody);
    return mdg_auth_handshake(&p->io->server->auth, hs, &who) == 0 ? who : NULL;
}

/* * stands for any characters, at most a few of them in a pattern. */
static bool matches(const char *pattern, struct mdg_slice name)
{
    const char *star = NULL;
    size_t at = 0, retry = 0;
    while (at < name.len) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = at;
        } else if (*pattern && (uint8_t)*pattern == name.data[at]) {
            pattern++;
            at++;
        } else if (star) {
            pattern = star;
            at = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool namespace_known(void *arg, struct mdg_slice name, void **data)
{
    struct madang_sio *io = io_of(arg);
    struct madang_sio_namespace *dynamic = NULL;
    for (struct madang_sio_namespace *ns = io->namespaces; ns; ns = ns->next) {
        if (mdg_slice_eq(mdg_slice_str(ns->name), name)) {
            *data = ns;
            return true;
        }
        if (!dynamic && strchr(ns->name, '*') && matches(ns->name, name))
            dynamic = ns;
    }
    *data = dynamic;
    return dynamic != NULL;
}

struct mdg_sio_kept *mdg_sio_kept(struct mdg_sio_socket *s, bool make)
{
    struct mdg_sio_kept *kept = mdg_sio_user(s);
    if (!kept && make) {
        kept = calloc(1, sizeof *kept);
        mdg_sio_set_user(s, kept);
    }
    return kept;
}

/* The chain, from the middleware that is next for this socket. */
static void run_middleware(struct mdg_sio_place *p, struct mdg_sio_socket *s)
{
    struct madang_sio_namespace *ns = ns_of(s);
    uint64_t id = mdg_sio_id(s);
    struct mdg_sio_kept *kept = ns->middleware_count ? mdg_sio_kept(s, true) : NULL;
    if (ns->middleware_count && !kept) {
        mdg_sio_refuse(s, MDG_SLICE_LIT("out of memory"), mdg_slice(NULL, 0));
        return;
    }
    while (kept && kept->next_middleware < ns->middleware_count) {
        struct mdg_sio_middleware *m = &ns->middleware[kept->next_middleware++];
        int answer = m->fn(p->io, id, m->arg);
        if (answer == MADANG_LATER || mdg_sio_find(p->sio, id) != s)
            return;
        if (answer < 0) {
            mdg_sio_refuse(s, MDG_SLICE_LIT("refused"), mdg_slice(NULL, 0));
            return;
        }
    }
    mdg_sio_admit(s);
}

static void on_connect(void *arg, struct mdg_sio_socket *s)
{
    run_middleware(arg, s);
}

int madang_socket_next(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_worker *w = mdg_worker_here(io->server);
    if (!s || !w)
        return MDG_E_CLOSED;
    run_middleware(mdg_sio_place(io, w), s);
    return 0;
}

int madang_socket_refuse(struct madang_sio *io, madang_socket socket, const char *message,
                         const char *data)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_slice json = mdg_slice_str(data);
    if (!s)
        return MDG_E_CLOSED;
    if (data && mdg_json_check(json, MDG_JSON_DEPTH_MAX, &json) < 0)
        json = mdg_slice(NULL, 0);
    mdg_sio_refuse(s, mdg_slice_str(message), json);
    return MDG_E_DENIED;
}

static void on_connection(void *arg, struct mdg_sio_socket *s)
{
    struct madang_sio_namespace *ns = ns_of(s);
    if (ns->on_connection)
        ns->on_connection(io_of(arg), mdg_sio_id(s), ns->connection_arg);
}

static void on_disconnect(void *arg, struct mdg_sio_socket *s, const char *reason)
{
    struct madang_sio_namespace *ns = ns_of(s);
    if (ns->on_disconnect)
        ns->on_disconnect(io_of(arg), mdg_sio_id(s), reason, ns->disconnect_arg);
}

static void on_gone(void *arg, struct mdg_sio_socket *s)
{
    struct mdg_sio_kept *kept = mdg_sio_user(s);
    (void)arg;
    if (!kept)
        return;
    mdg_sio_set_user(s, NULL);
    if (kept->free_fn)
        kept->free_fn(kept->user);
    free(kept);
}

int mdg_sio_event_make(struct madang_event_room *room, madang_socket socket,
                       const struct mdg_sio_args *args)
{
    room->long_name = NULL;
    room->bytes = room->few;
    char *name = room->name;
    if (args->event.len >= sizeof room->name)
        name = room->long_name = malloc(args->event.len + 1);
    if (args->attachment_count > MDG_ARRAY_LEN(room->few))
        room->bytes = malloc(args->attachment_count * sizeof *room->bytes);
    if (!name || !room->bytes) {
        mdg_sio_event_free(room);
        return MDG_E_NO_MEMORY;
    }
    if (args->event.len)
        memcpy(name, args->event.data, args->event.len);
    name[args->event.len] = '\0';
    for (size_t i = 0; i < args->attachment_count; i++) {
        struct mdg_slice s = mdg_chunk_slice(&args->attachments[i]);
        room->bytes[i] = (struct madang_bytes){s.data, s.len};
    }
    room->event = (struct madang_event){
        .name = name,
        .args = (const char *)args->args.data,
        .args_len = args->args.len,
        .attachments = room->bytes,
        .attachment_count = args->attachment_count,
        .ack = {.socket = socket, .id = args->ack_id, .wanted = args->wants_ack},
    };
    return 0;
}

void mdg_sio_event_free(struct madang_event_room *room)
{
    free(room->long_name);
    if (room->bytes != room->few)
        free(room->bytes);
}

static void call_all(struct mdg_sio_place *p, const struct mdg_sio_handler *h, const char *name,
                     const struct madang_event *event)
{
    madang_socket socket = event->ack.socket;
    for (; h; h = h->next) {
        if (name && strcmp(h->name, name) != 0)
            continue;
        h->fn(p->io, socket, event, h->arg);
        if (!mdg_sio_find(p->sio, socket))
            return; /* the handler has sent it away */
    }
}

static void on_event(void *arg, struct mdg_sio_socket *s, const struct mdg_sio_args *args)
{
    struct mdg_sio_place *p = arg;
    struct madang_sio_namespace *ns = ns_of(s);
    struct madang_event_room room;
    if (mdg_sio_event_make(&room, mdg_sio_id(s), args) < 0)
        return;
    call_all(p, ns->any, NULL, &room.event);
    if (mdg_sio_find(p->sio, room.event.ack.socket))
        call_all(p, ns->events, room.event.name, &room.event);
    mdg_sio_event_free(&room);
}

static void on_outgoing(void *arg, struct mdg_sio_socket *s, const struct mdg_content *c)
{
    struct mdg_sio_place *p = arg;
    struct madang_sio_namespace *ns = ns_of(s);
    struct madang_event_room room;
    if (!ns->outgoing || c->kind != MDG_MSG_ARGS)
        return;
    struct mdg_sio_args args = {.event = c->event,
                                .args = mdg_chunk_slice(&c->parts[0]),
                                .attachments = c->parts + 1,
                                .attachment_count = c->part_count - 1u};
    if (mdg_sio_event_make(&room, mdg_sio_id(s), &args) < 0)
        return;
    call_all(p, ns->outgoing, NULL, &room.event);
    mdg_sio_event_free(&room);
}

static void random_bytes(void *arg, void *out, size_t len)
{
    mdg_loop_random(((struct mdg_sio_place *)arg)->worker->loop, out, len);
}

const struct mdg_sio_hooks mdg_sio_api_hooks = {
    .principal = principal,
    .namespace_known = namespace_known,
    .on_connect = on_connect,
    .on_connection = on_connection,
    .on_event = on_event,
    .on_disconnect = on_disconnect,
    .on_gone = on_gone,
    .on_outgoing = on_outgoing,
    .random = random_bytes,
    .keep = mdg_sio_keep,
    .on_elsewhere = mdg_sio_tunnel,
};
