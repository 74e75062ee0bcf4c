/* Socket.IO and Engine.IO endpoints of a server, as the files that implement madang/socketio.h
 * share them. */
#ifndef MDG_SERVER_SIO_H
#define MDG_SERVER_SIO_H

#include "dialect/sio.h"
#include "madang/socketio.h"
#include "server/api_ws.h"
#include "server/server.h"
#include "transport/eio.h"

/* An endpoint in one worker; made there on first use. */
struct mdg_sio_place {
    struct madang_sio *io;
    struct mdg_worker *worker;
    struct mdg_eio_worker *eio;    /* NULL: not made yet */
    struct mdg_sio_worker *sio;    /* NULL in a raw endpoint */
    bool ended;                    /* the server is taken apart: nothing is made any more */
    struct madang_request request; /* of madang_engineio_request */
};

struct mdg_sio_handler {
    char *name;
    madang_sio_event_fn fn;
    void *arg;
    struct mdg_sio_handler *next;
};

struct mdg_sio_middleware {
    madang_sio_middleware_fn fn;
    void *arg;
};

struct madang_sio_namespace {
    struct madang_sio *io;
    char *name; /* with * for a pattern */
    struct mdg_sio_middleware *middleware;
    size_t middleware_count;
    struct mdg_sio_handler *events, *any, *outgoing;
    madang_sio_connection_fn on_connection;
    madang_sio_disconnect_fn on_disconnect;
    void *connection_arg, *disconnect_arg;
    struct madang_sio_namespace *next;
};

/* One endpoint: Socket.IO, or Engine.IO alone (raw). */
struct madang_sio {
    struct madang *server;
    struct madang_sio_options options;
    struct mdg_eio_options eio_options;
    struct mdg_sio_options sio_options;
    struct mdg_sio_place *places; /* one a worker */
    struct madang_sio_namespace *namespaces;
    bool authenticate; /* clients are who their credentials say; else they are nobody's concern */
    const struct mdg_sio_hooks *hooks; /* the public API's, or those of the built-in rooms */
    struct mdg_ws_mount *raw;
    int (*open_raw)(struct mdg_worker *w, struct mdg_link *l, const struct mdg_handshake *hs);
    char *cookie;
    char *space; /* of the store, where this endpoint's sockets are kept */
};

/* What the application keeps with a socket; made when it is first needed. */
struct mdg_sio_kept {
    void *user;
    void (*free_fn)(void *user);
    size_t next_middleware;
};

/* sio_mount.c */
struct mdg_sio_place *mdg_sio_place(struct madang_sio *io, struct mdg_worker *w);
/* hooks->keep of every endpoint; arg is the place. */
void mdg_sio_keep(void *arg, struct mdg_slice key, struct mdg_slice record);
int mdg_sio_endpoint_new(struct madang *server, const char *path,
                         const struct madang_sio_options *options, bool raw,
                         struct madang_sio **out) MDG_NODISCARD;

/* sio_tunnel.c: on_elsewhere of every endpoint; arg is the place. */
int mdg_sio_tunnel(void *arg, unsigned worker, struct mdg_link *l, struct mdg_principal *who,
                   struct mdg_sio_kept_handshake *hs, struct mdg_slice unit);

/* sio_api.c */
extern const struct mdg_sio_hooks mdg_sio_api_hooks;
struct mdg_sio_kept *mdg_sio_kept(struct mdg_sio_socket *s, bool make);
/* Calls fn with the arguments in the public form. */
struct madang_event_room {
    struct madang_event event;
    struct madang_bytes few[8], *bytes;
    char name[128], *long_name;
};
int mdg_sio_event_make(struct madang_event_room *room, madang_socket socket,
                       const struct mdg_sio_args *args) MDG_NODISCARD;
void mdg_sio_event_free(struct madang_event_room *room);
void mdg_sio_namespaces_free(struct madang_sio *io);

/* sio_socket.c */
/* The socket if it lives on this very worker. */
struct mdg_sio_socket *mdg_sio_here(struct madang_sio *io, madang_socket socket);
/* Converts; the slices of attachments are put in room (NULL: too many). */
enum { MDG_SIO_ATTACHMENTS_MAX = 1024 };
int mdg_sio_emit_make(const struct madang_emit *emit, struct mdg_slice *room,
                      struct mdg_sio_emit *out) MDG_NODISCARD;

#endif
