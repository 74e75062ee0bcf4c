/* madang.h: the public interface of libmadang, a real-time messaging server for every kind of
 * socket: TCP, UDP, HTTP, WebSocket, Socket.IO, SockJS, STOMP, all in the same rooms.
 *
 *     struct madang_config *config;
 *     struct madang *server;
 *     madang_config_new(&config);
 *     madang_config_set(config, "listen", "127.0.0.1:8080");
 *     madang_new(config, &server);
 *     madang_ws(server, "/echo", &handlers, NULL);
 *     madang_run(server);
 *
 * Results: 0 or a positive number is success, a negative number an error: a negated errno value
 * (-1 to -999) or one of enum madang_error. madang_strerror gives a sentence for each. A function
 * that returns an error has changed nothing and calls nothing back.
 *
 * Threads: a server runs one or more workers, each with its own thread. Every handler runs on the
 * worker that owns the connection, and no two handlers of one connection run at the same time.
 * Functions marked [any thread] may be called from everywhere; the others only before madang_start,
 * or from a handler on the connection that it was called for.
 *
 * Memory: what is handed to a handler is borrowed until it returns. What is handed to a function is
 * copied before it returns, unless its text says otherwise. */
#ifndef MADANG_H
#define MADANG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MADANG_VERSION "0.1.0"
#define MADANG_API __attribute__((visibility("default")))

struct madang;
struct madang_config;
struct madang_request;

/* A connection, as a value: valid to use at any time and from any thread, also after the connection
 * went away (then functions say MADANG_E_GONE, or do nothing). 0 is nobody. */
typedef uint64_t madang_peer;

enum madang_error {
    MADANG_E_PROTO = -1000,       /* the peer broke the protocol */
    MADANG_E_TOO_BIG = -1001,     /* a limit was exceeded */
    MADANG_E_FULL = -1002,        /* the peer's queue is full: wait for on_writable */
    MADANG_E_GONE = -1003,        /* the connection is closing or gone */
    MADANG_E_DENIED = -1004,      /* refused by a rule */
    MADANG_E_SYNTAX = -1006,      /* a name, value or text is not well-formed */
    MADANG_E_NO_MEMORY = -1007,   /* out of memory */
    MADANG_E_NOT_FOUND = -1008,   /* no such parameter, room or object */
    MADANG_E_EXISTS = -1009,      /* there is one already */
    MADANG_E_TIMEOUT = -1010,     /* the time is over */
    MADANG_E_UNSUPPORTED = -1011, /* not possible in this state or build */
};

/* A sentence in English. Never NULL, never freed. [any thread] */
MADANG_API const char *madang_strerror(int err);
/* "0.1.0" of the library that is linked. [any thread] */
MADANG_API const char *madang_version(void);

/* ---- Configuration: parameters by name, as the configuration file has them (madang.conf(5)) ----
 */

/* The defaults. MADANG_E_NO_MEMORY. */
MADANG_API int madang_config_new(struct madang_config **out);
MADANG_API void madang_config_free(struct madang_config *config); /* NULL is fine */
/* Sets one parameter from text. Lists ("listen", "allowed_origins") grow with each call; their
 * first call replaces the default. MADANG_E_NOT_FOUND (no such parameter), MADANG_E_SYNTAX (not of
 * its type), MADANG_E_TOO_BIG (outside its bounds); madang_config_error then says it in words. */
MADANG_API int madang_config_set(struct madang_config *config, const char *name, const char *value);
/* What was wrong with the last value, as a sentence that names the parameter and what it takes.
 * Borrowed until the next call on this configuration. */
MADANG_API const char *madang_config_error(const struct madang_config *config);

/* One parameter's description, for help texts and manuals. */
struct madang_param {
    const char *name, *type, *value, *min, *max, *unit, *text; /* value: the default */
};
/* The i-th parameter, 0 to n-1; NULL behind the last. [any thread] */
MADANG_API const struct madang_param *madang_param(size_t i);

/* ---- The server ---- */

/* Makes a server; nothing is bound yet. The configuration may be freed afterwards. */
MADANG_API int madang_new(const struct madang_config *config, struct madang **out);
/* Stops it if it runs, and frees it. Not from a handler. NULL is fine. */
MADANG_API void madang_free(struct madang *server);
/* Binds the listeners and starts the workers' threads. On error, madang_error_text says which
 * listener or file it was and what to do. */
MADANG_API int madang_start(struct madang *server);
/* As madang_start, then waits until the server has stopped. With the parameter "signals" on,
 * SIGTERM and SIGINT stop it gracefully and SIGHUP reloads certificates. Returns 0 after a graceful
 * stop. */
MADANG_API int madang_run(struct madang *server);
/* Begins a graceful stop: no new connections, a closing handshake (1001) for everyone, spread over
 * at most "shutdown_drain_s" seconds when there are many, and at most "shutdown_grace_s" more for
 * connections to end. [any thread] */
MADANG_API void madang_stop(struct madang *server);
/* Words for the last error of madang_new, madang_start or madang_run. Never NULL. */
MADANG_API const char *madang_error_text(const struct madang *server);
/* The address that the i-th listener is bound to, as "http://127.0.0.1:8080"; NULL behind the last.
 * After madang_start. */
MADANG_API const char *madang_address(const struct madang *server, size_t i);
/* The port of the first TCP listener, after madang_start; 0 if there is none. */
MADANG_API int madang_port(const struct madang *server);

/* ---- Inside someone else's loop ----
 * With the parameter "embedded" on, madang_start does not make a thread for the first worker. Watch
 * madang_fd for reading, and call madang_step when it is readable or madang_timeout_ms is over. */
MADANG_API int madang_fd(const struct madang *server);
/* Milliseconds until madang_step wants to be called; -1: only when the descriptor is readable. */
MADANG_API int madang_timeout_ms(const struct madang *server);
/* One turn of the loop. timeout_ms as poll(2). 0, or MADANG_E_GONE once the server has stopped. */
MADANG_API int madang_step(struct madang *server, int timeout_ms);

/* ---- WebSocket endpoints ---- */

struct madang_ws_handlers {
    /* Before the upgrade; the request is all there to see. 0 lets it in; MADANG_LATER holds it
     * until madang_accept or madang_refuse; an HTTP status of 400 to 599 refuses it. NULL:
     * everyone. */
    int (*on_handshake)(struct madang *server, struct madang_request *request, void *arg);
    void (*on_open)(struct madang *server, madang_peer peer, void *arg);
    /* One whole message; text is valid UTF-8. */
    void (*on_message)(struct madang *server, madang_peer peer, const void *data, size_t len,
                       bool binary, void *arg);
    /* The queue has room again after MADANG_E_FULL. */
    void (*on_writable)(struct madang *server, madang_peer peer, void *arg);
    /* The last call for this peer, exactly once after on_open. code as RFC 6455 7.4 (1006: lost).
     */
    void (*on_close)(struct madang *server, madang_peer peer, int code, const char *reason,
                     size_t reason_len, void *arg);
};

enum { MADANG_LATER = 1 };

/* Mounts an endpoint at an absolute path ("/ws"); "/" is the root alone, a last segment "*" takes
 * everything below. The handlers are copied. MADANG_E_EXISTS, MADANG_E_SYNTAX,
 * MADANG_E_UNSUPPORTED once started. Origin rule, sizes and compression come from the
 * configuration. */
MADANG_API int madang_ws(struct madang *server, const char *path,
                         const struct madang_ws_handlers *handlers, void *arg);
/* The sub-protocols of the endpoint that was mounted last, by preference, comma-separated. */
MADANG_API int madang_ws_subprotocols(struct madang *server, const char *list);
/* Ends a handshake that was held with MADANG_LATER. The request is gone afterwards. [any thread] */
MADANG_API int madang_accept(struct madang *server, uint64_t held_request);
MADANG_API int madang_refuse(struct madang *server, uint64_t held_request, int status);
/* The handle of a request for the two functions above. */
MADANG_API uint64_t madang_request_hold(struct madang_request *request);

/* Queues one message. 0, MADANG_E_FULL (nothing queued), MADANG_E_GONE. From another thread than
 * the peer's it is handed over, and only MADANG_E_NO_MEMORY is known at once. [any thread] */
MADANG_API int madang_send(struct madang *server, madang_peer peer, const void *data, size_t len,
                           bool binary);
/* Starts the closing handshake; what was sent before still goes out. Idempotent. code 1000 to 1014
 * or 3000 to 4999; reason at most 123 bytes of UTF-8, NULL for none. [any thread] */
MADANG_API int madang_close(struct madang *server, madang_peer peer, int code, const char *reason);
/* Bytes that wait to be written to the peer. Only on its worker; 0 elsewhere. */
MADANG_API size_t madang_queued(struct madang *server, madang_peer peer);
/* A pointer of the application's, kept with the peer. Only on its worker. */
MADANG_API void madang_set_user(struct madang *server, madang_peer peer, void *user);
MADANG_API void *madang_user(struct madang *server, madang_peer peer);

/* ---- Rooms ---- */

/* The peer becomes a member of the room and receives what is published there, as it was published
 * (text as text, binary as binary). [any thread] */
MADANG_API int madang_join(struct madang *server, madang_peer peer, const char *room);
MADANG_API int madang_leave(struct madang *server, madang_peer peer, const char *room);
/* To every member of the room, whatever its protocol, but not to `except` (0: no exception). The
 * order is the same for all. [any thread] */
MADANG_API int madang_publish(struct madang *server, const char *room, const void *data, size_t len,
                              bool binary, madang_peer except);
/* As madang_publish; done is called exactly once, on some worker, with 0 and the message's place in
 * the room's order, or with an error. [any thread] */
typedef void (*madang_published_fn)(void *arg, int err, uint64_t epoch, uint64_t seq);
MADANG_API int madang_publish_done(struct madang *server, const char *room, const void *data,
                                   size_t len, bool binary, madang_peer except,
                                   madang_published_fn done, void *arg);
/* Mounts everything that `madang serve` offers: the chat page, /ws/chat, and the other protocols,
 * as the configuration says. Before madang_start. */
MADANG_API int madang_mount_all(struct madang *server);

/* ---- HTTP routes ---- */

struct madang_http_handlers {
    /* The head has arrived; answer now or later. A negative return is answered with 500. */
    int (*on_request)(struct madang *server, struct madang_request *request, void *arg);
    /* A piece of the body, `last` with the final one (maybe empty). NULL: a body is thrown away. */
    int (*on_body)(struct madang *server, struct madang_request *request, const void *data,
                   size_t len, bool last, void *arg);
    void (*on_writable)(struct madang *server, struct madang_request *request, void *arg);
    /* The client went away before the response was complete; the request is gone afterwards. */
    void (*on_abort)(struct madang *server, struct madang_request *request, void *arg);
};

struct madang_header {
    const char *name, *value;
};

/* method: "GET", ..., or "*" for any. pattern: "/a/b"; "/a/{name}" takes one segment; a last
 * segment
 * "*" takes everything below. Exact paths win over patterns, longer ones over shorter. */
MADANG_API int madang_http(struct madang *server, const char *method, const char *pattern,
                           const struct madang_http_handlers *handlers, void *arg);

/* What the request says. Texts are borrowed while the request lives and end with NUL; NULL when
 * absent. */
MADANG_API const char *madang_request_method(struct madang_request *request);
MADANG_API const char *madang_request_path(struct madang_request *request);  /* decoded */
MADANG_API const char *madang_request_query(struct madang_request *request); /* as sent */
MADANG_API const char *madang_request_header(struct madang_request *request, const char *name);
MADANG_API const char *madang_request_param(struct madang_request *request, const char *name);
MADANG_API const char *madang_request_address(struct madang_request *request);
MADANG_API bool madang_request_secure(struct madang_request *request);
MADANG_API void madang_request_set_user(struct madang_request *request, void *user);
MADANG_API void *madang_request_user(struct madang_request *request);

/* A whole response. headers may be NULL. Ends the request. */
MADANG_API int madang_respond(struct madang_request *request, int status,
                              const struct madang_header *headers, size_t header_count,
                              const void *body, size_t len);
/* A streamed one: begin, write any number of times, end. write gives MADANG_E_FULL when the client
 * is slow: go on in on_writable. */
MADANG_API int madang_respond_begin(struct madang_request *request, int status,
                                    const struct madang_header *headers, size_t header_count);
MADANG_API int madang_respond_write(struct madang_request *request, const void *data, size_t len);
MADANG_API int madang_respond_end(struct madang_request *request);

/* ---- Work on a worker's thread ---- */

typedef void (*madang_fn)(struct madang *server, void *arg);
/* Runs fn(arg) soon on the worker that owns the peer, or on the first worker when peer is 0 or
 * gone. MADANG_E_NO_MEMORY; MADANG_E_GONE when the server has stopped. [any thread] */
MADANG_API int madang_post(struct madang *server, madang_peer peer, madang_fn fn, void *arg);
/* Runs fn(arg) once after that many milliseconds, on the first worker. [any thread] */
MADANG_API int madang_after(struct madang *server, uint64_t delay_ms, madang_fn fn, void *arg);

#ifdef __cplusplus
}
#endif

#endif
