/* madang/socketio.h: Socket.IO and Engine.IO servers in C, with the words of the original.
 *
 *     struct madang_sio_options options;
 *     struct madang_sio *io;
 *     madang_sio_options_init(&options);
 *     madang_sio_new(server, "/socket.io", &options, &io);
 *     struct madang_sio_namespace *chat = madang_sio_of(io, "/");
 *     madang_sio_on_connection(chat, on_connection, NULL);
 *     madang_sio_on(chat, "say", on_say, NULL);
 *
 * Everything is set up before madang_start; the handlers run on the worker that owns the socket.
 * Published clients of 3.x and 4.x connect, and with allow_eio3 those of 2.x too.
 *
 * Arguments are JSON text: a JSON array without the event's name. Binary values are attachments:
 * where one stands, the array holds {"_placeholder":true,"num":N}, N from 0. Text that comes in is
 * checked already; text that goes out is checked here (MADANG_E_SYNTAX).
 *
 * A madang_socket is a value. It may be kept; once the socket is gone functions say MADANG_E_GONE.
 * Unless marked [any thread], a function that takes a socket must be called on the socket's worker:
 * from one of its handlers, or from a function given to madang_socket_post. */
#ifndef MADANG_SOCKETIO_H
#define MADANG_SOCKETIO_H

#include "madang/madang.h"

#ifdef __cplusplus
extern "C" {
#endif

struct madang_sio;
struct madang_sio_namespace;

/* socket: 0 is nobody. */
typedef uint64_t madang_socket;

struct madang_bytes {
    const void *data;
    size_t len;
};

/* ---- Options: those of the original's Server, with its defaults ---- */

struct madang_sio_options {
    uint32_t ping_interval_ms;   /* pingInterval: 25000 */
    uint32_t ping_timeout_ms;    /* pingTimeout: 20000 */
    uint32_t upgrade_timeout_ms; /* upgradeTimeout: 10000 */
    uint32_t connect_timeout_ms; /* connectTimeout: 45000 */
    uint64_t max_payload;        /* maxHttpBufferSize: 1000000 bytes */
    uint32_t max_attachments;    /* of one packet: 1000 */
    uint32_t max_sessions;       /* of one worker: 1000000 */
    bool allow_eio3;             /* allowEIO3: true */
    bool polling, websocket;     /* transports: both */
    bool allow_upgrades;         /* allowUpgrades: true */
    bool per_message_deflate;    /* perMessageDeflate: true */
    const char *cookie;          /* name of the cookie with the session's id; NULL: none */
    bool keep_handshake;         /* madang_socket_handshake works: true */
    bool keep_headers;           /* and has the headers: false (some hundred bytes a client) */
    /* connectionStateRecovery: false */
    bool recovery;
    uint32_t recovery_ms;        /* maxDisconnectionDuration: 120000 */
    uint32_t recovery_ring;      /* deliveries that a socket remembers: 256 */
    bool recover_without_offset; /* also a client that had received nothing yet: true */
    /* allowRequest: 0 lets the handshake in; MADANG_LATER holds it until madang_sio_allow; a
     * status of 400 to 599 refuses it with 403. NULL: everyone. */
    int (*allow_request)(struct madang *server, struct madang_request *request, uint64_t held,
                         void *arg);
    /* "initial_headers" and "headers": may call madang_request_add_header. */
    void (*on_headers)(struct madang *server, struct madang_request *request, bool initial,
                       void *arg);
    void *arg; /* of the two */
};

MADANG_API void madang_sio_options_init(struct madang_sio_options *options);
/* Ends a held handshake. MADANG_E_GONE when the client did not wait. [any thread] */
MADANG_API int madang_sio_allow(struct madang *server, uint64_t held, bool allow);
/* A header for the response to this request. */
MADANG_API int madang_request_add_header(struct madang_request *request, const char *name,
                                         const char *value);
/* The i-th header as it came; false behind the last. */
MADANG_API bool madang_request_header_at(struct madang_request *request, size_t i,
                                         const char **name, const char **value);

/* ---- Engine.IO alone: messages without events, on madang.h's peers ---- */

/* Mounts an Engine.IO endpoint ("/engine.io"). Its connections are madang_peers: madang_send,
 * madang_close, madang_user and rooms work as for WebSocket. on_handshake of the handlers is not
 * used (options->allow_request is). MADANG_E_EXISTS, MADANG_E_SYNTAX, MADANG_E_UNSUPPORTED once
 * started. */
MADANG_API int madang_engineio(struct madang *server, const char *path,
                               const struct madang_sio_options *options,
                               const struct madang_ws_handlers *handlers, void *arg);
/* Inside on_message: the POST request that brought the message, or NULL (WebSocket). */
MADANG_API struct madang_request *madang_engineio_request(struct madang *server, madang_peer peer);

/* ---- The server and its namespaces ---- */

/* new Server(...): mounts Socket.IO at a path ("/socket.io"). Errors as madang_engineio. */
MADANG_API int madang_sio_new(struct madang *server, const char *path,
                              const struct madang_sio_options *options, struct madang_sio **out);
/* io.of(name). A * in the name stands for any characters: a dynamic namespace. The same name gives
 * the same namespace. NULL: out of memory, or started already. Freed with the server. */
MADANG_API struct madang_sio_namespace *madang_sio_of(struct madang_sio *io, const char *name);
MADANG_API struct madang *madang_sio_server(struct madang_sio *io);

/* io.use((socket, next) => ...). Return 0 for next(); MADANG_LATER, and call madang_socket_next
 * later; or what madang_socket_refuse returned. */
typedef int (*madang_sio_middleware_fn)(struct madang_sio *io, madang_socket socket, void *arg);
MADANG_API int madang_sio_use(struct madang_sio_namespace *ns, madang_sio_middleware_fn fn,
                              void *arg);
/* next(): goes on behind the middleware that said MADANG_LATER. */
MADANG_API int madang_socket_next(struct madang_sio *io, madang_socket socket);
/* next(new Error(message)): the client gets connect_error. data: JSON text for err.data, or NULL.
 * Returns a negative number. */
MADANG_API int madang_socket_refuse(struct madang_sio *io, madang_socket socket,
                                    const char *message, const char *data);

/* io.on("connection", socket => ...) */
typedef void (*madang_sio_connection_fn)(struct madang_sio *io, madang_socket socket, void *arg);
MADANG_API int madang_sio_on_connection(struct madang_sio_namespace *ns,
                                        madang_sio_connection_fn fn, void *arg);
/* socket.on("disconnect", reason => ...) with the published reasons: "transport close", "ping
 * timeout", "client namespace disconnect" and so on. The rooms can still be read. */
typedef void (*madang_sio_disconnect_fn)(struct madang_sio *io, madang_socket socket,
                                         const char *reason, void *arg);
MADANG_API int madang_sio_on_disconnect(struct madang_sio_namespace *ns,
                                        madang_sio_disconnect_fn fn, void *arg);

/* ---- Events ---- */

/* The right to answer an event once. A value; it outlives the handler. */
struct madang_ack {
    madang_socket socket;
    uint64_t id;
    bool wanted; /* false: the client did not ask for an answer */
};

/* What came. Borrowed during the handler. */
struct madang_event {
    const char *name; /* of the event, ends with NUL; "" for an answer */
    const char *args; /* JSON array, not ended by NUL */
    size_t args_len;
    const struct madang_bytes *attachments;
    size_t attachment_count;
    struct madang_ack ack;
};

typedef void (*madang_sio_event_fn)(struct madang_sio *io, madang_socket socket,
                                    const struct madang_event *event, void *arg);
/* socket.on(name, ...) for every socket of the namespace. */
MADANG_API int madang_sio_on(struct madang_sio_namespace *ns, const char *name,
                             madang_sio_event_fn fn, void *arg);
/* socket.onAny, socket.onAnyOutgoing: before the handlers; for every event that goes out. */
MADANG_API int madang_sio_on_any(struct madang_sio_namespace *ns, madang_sio_event_fn fn,
                                 void *arg);
MADANG_API int madang_sio_on_any_outgoing(struct madang_sio_namespace *ns, madang_sio_event_fn fn,
                                          void *arg);

/* The i-th argument as JSON text; false: there are not so many. */
MADANG_API bool madang_event_arg(const struct madang_event *event, size_t i, const char **json,
                                 size_t *len);
/* The i-th argument, a string, unescaped and ended by NUL. The length, or MADANG_E_NOT_FOUND (not
 * a string), MADANG_E_TOO_BIG (longer than size - 1). */
MADANG_API int madang_event_text(const struct madang_event *event, size_t i, char *out,
                                 size_t size);
/* The i-th argument, an attachment; false: it is none. */
MADANG_API bool madang_event_binary(const struct madang_event *event, size_t i,
                                    struct madang_bytes *out);
/* The member `name` of the i-th argument, an object. */
MADANG_API bool madang_event_member(const struct madang_event *event, size_t i, const char *name,
                                    const char **json, size_t *len);

/* ---- One socket ---- */

/* What is sent: {.name = "say", .args = "[\"hi\"]"}. */
struct madang_emit {
    const char *name; /* of the event; not looked at in answers */
    const char *args; /* JSON array, ends with NUL; NULL: no arguments */
    const struct madang_bytes *attachments;
    size_t attachment_count;
    unsigned flags; /* MADANG_VOLATILE, MADANG_COMPRESS, and for broadcasts MADANG_LOCAL */
};

enum {
    MADANG_VOLATILE = 1, /* dropped for whoever is not ready */
    MADANG_LOCAL = 2,    /* the sockets of this worker only */
    MADANG_COMPRESS = 4, /* worth compressing, where the connection can */
};

/* socket.emit(name, ...). MADANG_E_FULL: the client is slow. */
MADANG_API int madang_socket_emit(struct madang_sio *io, madang_socket socket,
                                  const struct madang_emit *emit);
/* socket.timeout(ms).emit(name, ..., (err, answer) => ...). err: 0, MADANG_E_TIMEOUT or
 * MADANG_E_GONE; event NULL then. timeout_ms 0: no limit. Called once, or never if this returned an
 * error. */
typedef void (*madang_sio_answer_fn)(struct madang_sio *io, madang_socket socket, int err,
                                     const struct madang_event *answer, void *arg);
MADANG_API int madang_socket_emit_ack(struct madang_sio *io, madang_socket socket,
                                      const struct madang_emit *emit, uint32_t timeout_ms,
                                      madang_sio_answer_fn fn, void *arg);
/* callback(...): answers an event. Nothing happens if nobody waits for it. */
MADANG_API int madang_ack(struct madang_sio *io, struct madang_ack ack,
                          const struct madang_emit *answer);
/* socket.disconnect(close) */
MADANG_API int madang_socket_disconnect(struct madang_sio *io, madang_socket socket, bool close);
/* Runs fn on the socket's worker. MADANG_E_GONE when it is no socket. [any thread] */
MADANG_API int madang_socket_post(struct madang_sio *io, madang_socket socket,
                                  madang_sio_connection_fn fn, void *arg);

/* socket.join, socket.leave, socket.rooms.has. A room of "/" is the room of that name for every
 * other protocol too; one of the namespace "/x" is "/x:room" there. */
MADANG_API int madang_socket_join(struct madang_sio *io, madang_socket socket, const char *room);
MADANG_API int madang_socket_leave(struct madang_sio *io, madang_socket socket, const char *room);
MADANG_API bool madang_socket_in(struct madang_sio *io, madang_socket socket, const char *room);
/* The i-th of socket.rooms without the socket's own; false behind the last. */
MADANG_API bool madang_socket_room(struct madang_sio *io, madang_socket socket, size_t i, char *out,
                                   size_t size);

/* socket.id; "" once it is gone. Borrowed while the socket lives. */
MADANG_API const char *madang_socket_id(struct madang_sio *io, madang_socket socket);
/* Whom an id means; 0: nobody on this worker. */
MADANG_API madang_socket madang_socket_by_id(struct madang_sio *io, const char *id);
MADANG_API const char *madang_socket_namespace(struct madang_sio *io, madang_socket socket);
MADANG_API bool madang_socket_connected(struct madang_sio *io, madang_socket socket);
/* socket.recovered */
MADANG_API bool madang_socket_recovered(struct madang_sio *io, madang_socket socket);
/* socket.conn.transport.name: "polling" or "websocket" */
MADANG_API const char *madang_socket_transport(struct madang_sio *io, madang_socket socket);
/* socket.handshake.auth: a JSON object. Borrowed until the socket's next change. */
MADANG_API const char *madang_socket_auth(struct madang_sio *io, madang_socket socket);
/* socket.handshake as JSON: headers, time, address, xdomain, secure, issued, url, query, auth.
 * Returns its length; like snprintf, nothing useful is in out if that is not below size. */
MADANG_API size_t madang_socket_handshake(struct madang_sio *io, madang_socket socket, char *out,
                                          size_t size);
/* A parameter of the query, decoded; false: it is not there, or does not fit. */
MADANG_API bool madang_socket_query(struct madang_sio *io, madang_socket socket, const char *name,
                                    char *out, size_t size);
/* socket.data: one JSON value; recovery restores it. */
MADANG_API int madang_socket_set_data(struct madang_sio *io, madang_socket socket,
                                      const char *json);
MADANG_API const char *madang_socket_data(struct madang_sio *io, madang_socket socket);
/* A pointer of the application's. free_fn (may be NULL) is called when the socket is gone. */
MADANG_API void madang_socket_set_user(struct madang_sio *io, madang_socket socket, void *user,
                                       void (*free_fn)(void *user));
MADANG_API void *madang_socket_user(struct madang_sio *io, madang_socket socket);

/* ---- Broadcast ---- */

enum { MADANG_BROADCAST_ROOMS_MAX = 32 };

/* The original's BroadcastOperator. Made by the three functions below; the texts are borrowed. */
struct madang_broadcast {
    struct madang_sio *io;
    const char *ns;
    const char *rooms[MADANG_BROADCAST_ROOMS_MAX], *except[MADANG_BROADCAST_ROOMS_MAX];
    size_t room_count, except_count;
    madang_socket sender; /* who does not receive it; 0: nobody */
};

/* io.of(name), as in io.of(name).emit(...). */
MADANG_API struct madang_broadcast madang_sio_in(struct madang_sio *io, const char *ns);
/* socket.broadcast: everyone in its namespace but itself. */
MADANG_API struct madang_broadcast madang_socket_broadcast(struct madang_sio *io,
                                                           madang_socket socket);
/* .to(room), .except(room): names of rooms or ids of sockets. */
MADANG_API void madang_broadcast_to(struct madang_broadcast *to, const char *room);
MADANG_API void madang_broadcast_except(struct madang_broadcast *to, const char *room);
/* .emit(name, ...). [any thread] */
MADANG_API int madang_broadcast_emit(const struct madang_broadcast *to,
                                     const struct madang_emit *emit);

/* One client's answer. */
struct madang_answer {
    madang_socket socket;
    const char *args; /* JSON array, ends with NUL */
    size_t args_len;
    const struct madang_bytes *attachments;
    size_t attachment_count;
};
/* .timeout(ms).emit(name, ..., (err, answers) => ...). err 0: everyone has answered;
 * MADANG_E_TIMEOUT: `expected` clients were asked, these are the answers that came. timeout_ms 0:
 * 30 seconds. Members of other protocols hear the event as any other, and are not expected to
 * answer. */
typedef void (*madang_sio_answers_fn)(struct madang_sio *io, int err,
                                      const struct madang_answer *answers, size_t count,
                                      size_t expected, void *arg);
MADANG_API int madang_broadcast_emit_ack(const struct madang_broadcast *to,
                                         const struct madang_emit *emit, uint32_t timeout_ms,
                                         madang_sio_answers_fn fn, void *arg);

/* .fetchSockets(): fn is called once with all of them. */
struct madang_socket_info {
    madang_socket socket;
    const char *id;
    const char *data; /* socket.data as JSON */
};
typedef void (*madang_sio_sockets_fn)(struct madang_sio *io,
                                      const struct madang_socket_info *sockets, size_t count,
                                      void *arg);
MADANG_API int madang_broadcast_fetch_sockets(const struct madang_broadcast *to,
                                              madang_sio_sockets_fn fn, void *arg);
/* .socketsJoin, .socketsLeave, .disconnectSockets */
MADANG_API int madang_broadcast_sockets_join(const struct madang_broadcast *to, const char *room);
MADANG_API int madang_broadcast_sockets_leave(const struct madang_broadcast *to, const char *room);
MADANG_API int madang_broadcast_disconnect_sockets(const struct madang_broadcast *to, bool close);

#ifdef __cplusplus
}
#endif

#endif
