/* What an application does with one socket, on that socket's worker. */
#include "server/sio.h"
#include <stdlib.h>

struct mdg_sio_socket *mdg_sio_here(struct madang_sio *io, madang_socket socket)
{
    unsigned index = (unsigned)(socket >> 56);
    struct madang *server = io->server;
    if (!socket || !server->workers || index >= server->worker_count ||
        !mdg_api_is_here(&server->workers[index]) || !io->places[index].sio)
        return NULL;
    return mdg_sio_find(io->places[index].sio, socket);
}

int mdg_sio_emit_make(const struct madang_emit *emit, struct mdg_slice *room,
                      struct mdg_sio_emit *out)
{
    if (emit->attachment_count > MDG_SIO_ATTACHMENTS_MAX)
        return MDG_E_TOO_BIG;
    for (size_t i = 0; i < emit->attachment_count; i++)
        room[i] = mdg_slice(emit->attachments[i].data, emit->attachments[i].len);
    *out = (struct mdg_sio_emit){
        .event = mdg_slice_str(emit->name),
        .args = mdg_slice_str(emit->args),
        .attachments = room,
        .attachment_count = emit->attachment_count,
        .is_volatile = (emit->flags & MADANG_VOLATILE) != 0,
        .compress = (emit->flags & MADANG_COMPRESS) != 0,
    };
    return 0;
}

static void tell_outgoing(struct madang_sio *io, struct mdg_sio_socket *s,
                          const struct madang_emit *emit)
{
    struct madang_sio_namespace *ns = mdg_sio_namespace_data(s);
    const struct madang_event event = {
        .name = emit->name,
        .args = emit->args ? emit->args : "[]",
        .args_len = emit->args ? strlen(emit->args) : 2,
        .attachments = emit->attachments,
        .attachment_count = emit->attachment_count,
        .ack = {.socket = mdg_sio_id(s)},
    };
    for (const struct mdg_sio_handler *h = ns->outgoing; h; h = h->next)
        h->fn(io, event.ack.socket, &event, h->arg);
}

int madang_socket_emit(struct madang_sio *io, madang_socket socket, const struct madang_emit *emit)
{
    struct mdg_slice room[MDG_SIO_ATTACHMENTS_MAX];
    struct mdg_sio_emit e;
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    if (!s)
        return MDG_E_CLOSED;
    int err = mdg_sio_emit_make(emit, room, &e);
    if (err < 0)
        return err;
    tell_outgoing(io, s, emit);
    s = mdg_sio_here(io, socket);
    return s ? mdg_sio_emit(s, &e) : MDG_E_CLOSED;
}

struct waiting {
    struct madang_sio *io;
    madang_socket socket;
    madang_sio_answer_fn fn;
    void *arg;
};

static void on_answer(void *arg, struct mdg_sio_socket *s, int err, const struct mdg_sio_args *args)
{
    struct waiting w = *(struct waiting *)arg;
    struct madang_event_room room;
    (void)s;
    free(arg);
    if (err == 0 && (err = mdg_sio_event_make(&room, w.socket, args)) == 0) {
        w.fn(w.io, w.socket, 0, &room.event, w.arg);
        mdg_sio_event_free(&room);
    } else {
        w.fn(w.io, w.socket, err, NULL, w.arg);
    }
}

int madang_socket_emit_ack(struct madang_sio *io, madang_socket socket,
                           const struct madang_emit *emit, uint32_t timeout_ms,
                           madang_sio_answer_fn fn, void *arg)
{
    struct mdg_slice room[MDG_SIO_ATTACHMENTS_MAX];
    struct mdg_sio_emit e;
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    if (!s)
        return MDG_E_CLOSED;
    int err = mdg_sio_emit_make(emit, room, &e);
    if (err < 0)
        return err;
    struct waiting *w = malloc(sizeof *w);
    if (!w)
        return MDG_E_NO_MEMORY;
    *w = (struct waiting){io, socket, fn, arg};
    err = mdg_sio_emit_ack(s, &e, timeout_ms, on_answer, w);
    if (err < 0)
        free(w);
    return err;
}

int madang_ack(struct madang_sio *io, struct madang_ack ack, const struct madang_emit *answer)
{
    struct mdg_slice room[MDG_SIO_ATTACHMENTS_MAX];
    struct mdg_sio_emit e;
    struct mdg_sio_socket *s = mdg_sio_here(io, ack.socket);
    if (!ack.wanted)
        return 0;
    if (!s)
        return MDG_E_CLOSED;
    int err = mdg_sio_emit_make(answer, room, &e);
    return err < 0 ? err : mdg_sio_ack(s, ack.id, &e);
}

int madang_socket_disconnect(struct madang_sio *io, madang_socket socket, bool close)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    if (!s)
        return MDG_E_CLOSED;
    mdg_sio_disconnect(s, close);
    return 0;
}

struct posted {
    struct madang_sio *io;
    madang_socket socket;
    madang_sio_connection_fn fn;
    void *arg;
};

static void on_posted(struct mdg_loop *loop, void *arg)
{
    struct posted p = *(struct posted *)arg;
    (void)loop;
    free(arg);
    p.fn(p.io, p.socket, p.arg);
}

int madang_socket_post(struct madang_sio *io, madang_socket socket, madang_sio_connection_fn fn,
                       void *arg)
{
    struct mdg_worker *w = mdg_api_worker(io->server, socket);
    struct posted *p = w ? malloc(sizeof *p) : NULL;
    if (!p)
        return w ? MDG_E_NO_MEMORY : MDG_E_CLOSED;
    *p = (struct posted){io, socket, fn, arg};
    int err = mdg_loop_post(w->loop, on_posted, p);
    if (err < 0)
        free(p);
    return err;
}

int madang_socket_join(struct madang_sio *io, madang_socket socket, const char *room)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? mdg_sio_join(s, mdg_slice_str(room)) : MDG_E_CLOSED;
}

int madang_socket_leave(struct madang_sio *io, madang_socket socket, const char *room)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    if (!s)
        return MDG_E_CLOSED;
    mdg_sio_leave(s, mdg_slice_str(room));
    return 0;
}

bool madang_socket_in(struct madang_sio *io, madang_socket socket, const char *room)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s && mdg_sio_in(s, mdg_slice_str(room));
}

bool madang_socket_room(struct madang_sio *io, madang_socket socket, size_t i, char *out,
                        size_t size)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_slice room;
    if (!s || !mdg_sio_room(s, i, &room) || room.len >= size)
        return false;
    memcpy(out, room.data, room.len);
    out[room.len] = '\0';
    return true;
}

const char *madang_socket_id(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? (const char *)mdg_sio_sid(s).data : "";
}

madang_socket madang_socket_by_id(struct madang_sio *io, const char *id)
{
    struct mdg_worker *w = mdg_worker_here(io->server);
    struct mdg_sio_place *p = w ? &io->places[w->index] : NULL;
    struct mdg_sio_socket *s = p && p->sio ? mdg_sio_find_sid(p->sio, mdg_slice_str(id)) : NULL;
    return s ? mdg_sio_id(s) : 0;
}

const char *madang_socket_namespace(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? (const char *)mdg_sio_namespace(s).data : "";
}

bool madang_socket_connected(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s && mdg_sio_connected(s);
}

bool madang_socket_recovered(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s && mdg_sio_recovered(s);
}

const char *madang_socket_transport(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_link *l = s ? mdg_sio_link(s) : NULL;
    if (!l)
        return "";
    return strcmp(l->carrier->name, "eio") == 0 ? mdg_eio_transport(l) : "websocket";
}

const char *madang_socket_auth(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? (const char *)mdg_sio_auth(s).data : "{}";
}

int madang_socket_set_data(struct madang_sio *io, madang_socket socket, const char *json)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? mdg_sio_set_data(s, mdg_slice_str(json)) : MDG_E_CLOSED;
}

const char *madang_socket_data(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    return s ? (const char *)mdg_sio_data(s).data : "{}";
}

void madang_socket_set_user(struct madang_sio *io, madang_socket socket, void *user,
                            void (*free_fn)(void *user))
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_sio_kept *kept = s ? mdg_sio_kept(s, true) : NULL;
    if (kept) {
        kept->user = user;
        kept->free_fn = free_fn;
    } else if (free_fn) {
        free_fn(user); /* nobody else would */
    }
}

void *madang_socket_user(struct madang_sio *io, madang_socket socket)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    struct mdg_sio_kept *kept = s ? mdg_sio_kept(s, false) : NULL;
    return kept ? kept->user : NULL;
}
