/* Socket.IO: namespaces, events, acknowledgements, rooms, recovery, over any link that carries text
 * and binary units (Engine.IO). https://github.com/socketio/socket.io-protocol
 *
 * A connection (client) holds a socket for each namespace that it is connected to. A socket is a
 * session of the hub, and its rooms are hub rooms: see doc/protocols.md for how they are named. */
#ifndef MDG_DIALECT_SIO_H
#define MDG_DIALECT_SIO_H

#include "base/base.h"
#include "codec/sio.h"
#include "hub/hub.h"
#include "loop/timer.h"
#include "transport/handshake.h"
#include "transport/link.h"

struct mdg_sio_client;
struct mdg_sio_kept_handshake;
struct mdg_sio_socket;
struct mdg_sio_worker;

enum {
    MDG_SIO_SID_CHARS = 20,
    MDG_SIO_PID_CHARS = 20,
    MDG_SIO_RING_MAX = 1024, /* largest number of deliveries that a socket may remember */
};

struct mdg_sio_options {
    struct mdg_sio_limits limits;
    uint32_t connect_timeout_ms;   /* from the connection to the first namespace (45 s) */
    uint32_t attachment_bytes_max; /* of one packet's attachments together */
    uint32_t namespaces_per_client_max;
    uint32_t acks_per_socket_max; /* that wait for an answer */
    uint32_t namespaces_max;      /* of one worker; attack: dynamic ones */
    bool keep_handshake;          /* path, query, address, time */
    bool keep_headers;            /* and the headers: some hundred bytes a client */
    bool foreign_args;            /* see the hook of that name */
    bool outgoing;                /* hooks->on_outgoing wants to be called */
    bool recovery;
    bool recover_without_offset; /* a pid alone is enough: the server knows the position */
    uint32_t recovery_ms;        /* how long a session without connection is kept (2 min) */
    uint32_t recovery_ring;      /* deliveries remembered, at most MDG_SIO_RING_MAX */
    bool keep;                   /* hooks->keep wants to be called */
    uint64_t sid_key[2];    /* random, the same for all workers: a sid proves its session's id */
    uint64_t offset_key[2]; /* the same for all workers and, with a store, after a restart */
};

/* What the client sent, or what an acknowledgement brought. Borrowed. */
struct mdg_sio_args {
    struct mdg_slice event; /* plain text; empty for an acknowledgement */
    struct mdg_slice args;  /* a JSON array without the event's name */
    struct mdg_chunk *attachments;
    size_t attachment_count;
    bool wants_ack;
    uint64_t ack_id;
};

/* err: 0; MDG_E_TIMEOUT; MDG_E_CLOSED: the socket went away. args NULL when err < 0. Once. */
typedef void (*mdg_sio_ack_fn)(void *arg, struct mdg_sio_socket *s, int err,
                               const struct mdg_sio_args *args);

/* Upcalls to the application. All but `principal` may be NULL. */
struct mdg_sio_hooks {
    /* Who this is; a reference, or NULL: refused. */
    struct mdg_principal *(*principal)(void *arg, const struct mdg_handshake *hs);
    /* May a socket connect to this namespace? *data is what mdg_sio_namespace_data will give. */
    bool (*namespace_known)(void *arg, struct mdg_slice name, void **data);
    /* The middleware. Ends in mdg_sio_admit or mdg_sio_refuse, now or later. NULL: admitted. */
    void (*on_connect)(void *arg, struct mdg_sio_socket *s);
    void (*on_connection)(void *arg, struct mdg_sio_socket *s);
    void (*on_event)(void *arg, struct mdg_sio_socket *s, const struct mdg_sio_args *args);
    /* The rooms are still there (PITFALLS 19). The socket is gone after on_gone. */
    void (*on_disconnect)(void *arg, struct mdg_sio_socket *s, const char *reason);
    /* Frees what the application keeps with the socket. */
    void (*on_gone)(void *arg, struct mdg_sio_socket *s);
    /* A message of a room that was not published as Socket.IO arguments (text, JSON, binary of
     * other protocols, presence): writes the array behind the event's name, "message" or
     * "presence"; no attachments follow. Only with options->foreign_args; else the argument is the
     * text, value or bytes alone, and there is no word of presence. */
    void (*foreign_args)(void *arg, const struct mdg_msg *m, struct mdg_writer *w);
    /* A join of the application's own (mdg_hub_join on the socket's session with a cookie). */
    void (*on_joined)(void *arg, struct mdg_sio_socket *s, struct mdg_member *m, int err,
                      const struct mdg_joined *info);
    /* A message that is about to go out to this socket; only with options->outgoing. */
    void (*on_outgoing)(void *arg, struct mdg_sio_socket *s, const struct mdg_content *c);
    void (*random)(void *arg, void *out, size_t len);
    /* What a restarted server gives back to mdg_sio_restore, in the order of the keys: a socket
     * under its pid, and events that are in no room's log under longer keys that begin with it. An
     * empty record: forget it. Only with options->keep; else what recovery needs lives in memory
     * only. */
    void (*keep)(void *arg, struct mdg_slice key, struct mdg_slice record);
    /* The client names, by its pid, a socket that another worker remembers. On 0 the link is taken
     * over, with one reference to who and the handshake for mdg_sio_adopt there; `unit` is the
     * packet that said so. <0 (or NULL): the client goes on here. */
    int (*on_elsewhere)(void *arg, unsigned worker, struct mdg_link *l, struct mdg_principal *who,
                        struct mdg_sio_kept_handshake *hs, struct mdg_slice unit);
};

/* worker: its number, as session ids have it. options, hooks and arg must outlive it.
 * MDG_E_NO_MEMORY. */
int mdg_sio_worker_new(struct mdg_loop *loop, struct mdg_hub *hub, unsigned worker,
                       const struct mdg_sio_options *options, const struct mdg_sio_hooks *hooks,
                       void *arg, struct mdg_sio_worker **out) MDG_NODISCARD;
/* Nothing is given to hooks->keep any more. */
void mdg_sio_worker_stop(struct mdg_sio_worker *w); /* NULL is allowed */
/* After every client is gone. Frees sockets that wait for recovery. */
void mdg_sio_worker_free(struct mdg_sio_worker *w);
/* A new connection; protocol: 4 or 5. Sets l->user. <0: refuse it. */
int mdg_sio_open(struct mdg_sio_worker *w, struct mdg_link *l, const struct mdg_handshake *hs,
                 unsigned protocol) MDG_NODISCARD;

/* A connection that on_elsewhere gave away: takes who and hs over, in every case. */
int mdg_sio_adopt(struct mdg_sio_worker *w, struct mdg_link *l, struct mdg_principal *who,
                  struct mdg_sio_kept_handshake *hs) MDG_NODISCARD;
void mdg_sio_kept_handshake_free(struct mdg_sio_kept_handshake *hs); /* NULL is allowed */

/* What a server before this one kept, in its worker, before the first client, in the order of the
 * keys. Records that make no sense (any more) are dropped. */
void mdg_sio_restore(struct mdg_sio_worker *w, struct mdg_slice key, struct mdg_slice record);

/* The answer to on_connect. From anywhere on the worker, at any time; the id finds the socket. */
void mdg_sio_admit(struct mdg_sio_socket *s);
/* data: one JSON value, or empty. */
void mdg_sio_refuse(struct mdg_sio_socket *s, struct mdg_slice message, struct mdg_slice data);

/* A socket. Valid until on_gone. */
struct mdg_sio_socket *mdg_sio_find(const struct mdg_sio_worker *w, uint64_t id);
struct mdg_sio_socket *mdg_sio_find_sid(const struct mdg_sio_worker *w, struct mdg_slice sid);
uint64_t mdg_sio_id(const struct mdg_sio_socket *s); /* of its hub session; unique for ever */
struct mdg_slice mdg_sio_sid(const struct mdg_sio_socket *s); /* a NUL follows */
struct mdg_slice mdg_sio_namespace(const struct mdg_sio_socket *s);
void *mdg_sio_namespace_data(const struct mdg_sio_socket *s);
struct mdg_session *mdg_sio_session(struct mdg_sio_socket *s);
struct mdg_link *mdg_sio_link(const struct mdg_sio_socket *s); /* NULL while it has no connection */
bool mdg_sio_connected(const struct mdg_sio_socket *s);
bool mdg_sio_recovered(const struct mdg_sio_socket *s);
unsigned mdg_sio_protocol(const struct mdg_sio_socket *s);
struct mdg_slice mdg_sio_auth(const struct mdg_sio_socket *s); /* JSON object; {} if none */
/* NULL unless options keep it. */
const struct mdg_handshake *mdg_sio_handshake(const struct mdg_sio_socket *s);
void mdg_sio_set_user(struct mdg_sio_socket *s, void *user);
void *mdg_sio_user(const struct mdg_sio_socket *s);
/* socket.data: one JSON value that recovery restores. MDG_E_SYNTAX, MDG_E_NO_MEMORY. */
int mdg_sio_set_data(struct mdg_sio_socket *s, struct mdg_slice json) MDG_NODISCARD;
struct mdg_slice mdg_sio_data(const struct mdg_sio_socket *s);

/* What is emitted. args: a JSON array, placeholders included; attachments are borrowed. */
struct mdg_sio_emit {
    struct mdg_slice event, args;
    const struct mdg_slice *attachments;
    size_t attachment_count;
    bool is_volatile, compress;
    bool once;  /* has no offset and is not repeated by recovery */
    bool asked; /* mdg_sio_broadcast: for members of other protocols only; sockets are asked by
                 * mdg_sio_emit_ack */
};

/* To this socket alone. MDG_E_SYNTAX (event or args), MDG_E_FULL, MDG_E_CLOSED, MDG_E_NO_MEMORY. A
 * volatile event that finds no room is dropped: 0. */
int mdg_sio_emit(struct mdg_sio_socket *s, const struct mdg_sio_emit *e) MDG_NODISCARD;
/* timeout_ms 0: never. After an error done is not called. */
int mdg_sio_emit_ack(struct mdg_sio_socket *s, const struct mdg_sio_emit *e, uint32_t timeout_ms,
                     mdg_sio_ack_fn done, void *arg) MDG_NODISCARD;
/* Answers an event that wanted it. MDG_E_CLOSED when the connection is gone. */
int mdg_sio_ack(struct mdg_sio_socket *s, uint64_t ack_id,
                const struct mdg_sio_emit *e) MDG_NODISCARD;
/* "server namespace disconnect", or the whole connection with close. */
void mdg_sio_disconnect(struct mdg_sio_socket *s, bool close);

/* Rooms. The name is the application's; the hub's has the namespace in front (but not for "/"). */
int mdg_sio_join(struct mdg_sio_socket *s, struct mdg_slice room) MDG_NODISCARD;
void mdg_sio_leave(struct mdg_sio_socket *s, struct mdg_slice room);
bool mdg_sio_in(const struct mdg_sio_socket *s, struct mdg_slice room);
/* The i-th room, without the socket's own; false behind the last. */
bool mdg_sio_room(const struct mdg_sio_socket *s, size_t i, struct mdg_slice *room);
/* The hub's name for a room of a namespace; room empty: everyone in it. */
void mdg_sio_write_channel(struct mdg_writer *w, struct mdg_slice nsp, struct mdg_slice room);

/* Broadcast. */
enum { MDG_SIO_ROOMS_MAX = 64 };

struct mdg_sio_target {
    struct mdg_slice nsp;
    const struct mdg_slice *rooms, *except; /* names or sids; no rooms: everyone in the namespace */
    size_t room_count, except_count;
    uint64_t except_id; /* the sender, for socket.broadcast; 0: nobody */
    bool local;         /* this worker's sockets only */
};

int mdg_sio_broadcast(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                      const struct mdg_sio_emit *e) MDG_NODISCARD;
/* Calls fn for each socket of this worker that the target names; sockets may go away in fn. */
void mdg_sio_each(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                  void (*fn)(void *arg, struct mdg_sio_socket *s), void *arg);

#endif
