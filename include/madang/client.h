/* madang/client.h: the client side of libmadang: WebSocket, Socket.IO, Engine.IO, SockJS, STOMP,
 * text lines over TCP, TLS, unix sockets and UDP, event streams and polls over HTTP, with
 * reconnecting, back-off and buffering while away.
 *
 *     struct madang_clients *clients;
 *     struct madang_client *client;
 *     struct madang_client_options options = {.url = "ws://127.0.0.1:8080/ws/chat",
 *                                             .reconnect = true};
 *     madang_clients_new(&clients);
 *     madang_client_open(clients, &options, &handlers, NULL, &client);
 *     madang_clients_run(clients);
 *
 * Everything here belongs to one thread: the one that steps or runs the clients. Results are those
 * of madang/madang.h. */
#ifndef MADANG_CLIENT_H
#define MADANG_CLIENT_H

#include <madang/madang.h>

#ifdef __cplusplus
extern "C" {
#endif

struct madang_clients; /* a loop and its connections */
struct madang_client;  /* one of them */

struct madang_client_options {
    /* ws://, wss:// (WebSocket); tcp://HOST:PORT, tls://HOST:PORT, unix:PATH (text lines);
     * udp://HOST:PORT (a datagram is a message); sio://HOST:PORT/NAMESPACE, sios:// (Socket.IO) and
     * eio://HOST:PORT/PATH, eios:// (Engine.IO alone) over WebSocket, sio+poll://, sio+polls://,
     * eio+poll://, eio+polls:// by requests alone; sockjs://HOST:PORT/PREFIX, sockjss:// (SockJS by
     * its websocket transport) and sockjs+xhr://, sockjs+xhrs:// (by xhr_streaming and xhr_send);
     * stomp://HOST:PORT/topic/NAME, stomps:// and stomp+ws://HOST:PORT/PATH#/topic/NAME,
     * stomp+wss:// (bodies of a STOMP broker's messages at that destination; what is sent goes
     * there); http://, https://, sse://, sses:// (an event stream or JSON lines, whatever the
     * server says it is; messages only come); poll://HOST:PORT/poll?room=NAME, polls:// (madang's
     * polls, one after another, and POST /publish for what is sent; of any other server the
     * bodies). */
    const char *url;
    const char *subprotocols; /* WebSocket: comma-separated, by preference; NULL: none */
    /* Of HTTP and WebSocket: "Name: value", NULL-ended; NULL: none. With STOMP they go into
     * CONNECT: "login: guest", "passcode: guest", "host: /". */
    const char *const *headers;
    const char *destination; /* STOMP: another one than the URL's; NULL: the URL's */
    bool send_only;          /* STOMP and poll: does not ask for messages */
    const char *path;        /* Socket.IO: the endpoint's; NULL: /socket.io/ */
    const char *auth;        /* Socket.IO: a JSON object for CONNECT; NULL: none */
    const char *event;       /* Socket.IO: what madang_client_send emits; NULL: "message" */
    /* Begins behind this message, as madang_client_position named it: event streams, poll, and
     * STOMP topics of madang. NULL: as the server does. A reconnection goes on by itself. */
    const char *position;
    const char *origin;  /* NULL: no such header */
    const char *ca_file; /* PEM; NULL: the system's */
    bool insecure;       /* certificates are not checked */
    /* "http://HOST:PORT" asked for a tunnel (CONNECT); "": none; NULL: what https_proxy,
     * http_proxy, all_proxy and no_proxy say (ws, wss, http and https only). */
    const char *proxy;
    bool compress;                               /* WebSocket: offer permessage-deflate */
    bool reconnect;                              /* when the connection is lost or cannot be made */
    uint32_t reconnect_min_ms, reconnect_max_ms; /* back-off doubles; 0: 500 ms, 30 s */
    uint32_t attempts_max;       /* failures in a row until it is given up; 0: no end */
    uint32_t connect_timeout_ms; /* until the connection is usable; 0: 10 s */
    uint32_t ping_interval_s;    /* WebSocket: of silence before a ping; 0: 30 s */
    size_t message_bytes_max;    /* 0: 64 MiB (lines: 64 KiB) */
    size_t buffer_bytes_max;     /* waiting to be sent, also while away; 0: 1 MiB */
};

/* An event of Socket.IO: ["name",args...] as JSON, in which {"base64":"..."} is an attachment. It
 * is borrowed, and not NUL-ended. */
struct madang_client_event {
    const char *json;
    size_t len;
    bool wants_answer; /* madang_client_answer with this id */
    uint64_t id;
};

struct madang_client_handlers {
    /* Usable. subprotocol: what the server chose, "" for none. Called again after a reconnection.
     */
    void (*on_open)(struct madang_client *client, const char *subprotocol, void *arg);
    /* A message, a line, a datagram or an event's data; of Socket.IO the event as JSON, unless
     * there is on_event. Borrowed; text is valid UTF-8. */
    void (*on_message)(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg);
    /* What was buffered has gone out. */
    void (*on_drained)(struct madang_client *client, void *arg);
    /* A message that was buffered cannot be sent after all: err as of madang_client_send. Its
     * answer will not come. May be NULL. */
    void (*on_unsent)(struct madang_client *client, int err, void *arg);
    /* The connection is lost, was closed, or could not be made: `reason` says why. code as RFC 6455
     * 7.4 (1006: lost without a word). retry_ms: when it is tried again; below 0: never, and the
     * client is gone when this returns. */
    void (*on_down)(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg);
    /* Socket.IO; may be NULL. */
    void (*on_event)(struct madang_client *client, const struct madang_client_event *event,
                     void *arg);
};

/* The acknowledgement of an event: err 0 and the array of its arguments as JSON, or MADANG_E_GONE
 * when the connection was lost before. How long to wait is the caller's choice. */
typedef void (*madang_client_answer_fn)(struct madang_client *client, int err, const char *json,
                                        size_t len, void *arg);

/* What URLs can begin with ("ws", "wss", ..., "unix"), NULL-ended. */
MADANG_API const char *const *madang_client_schemes(void);

MADANG_API int madang_clients_new(struct madang_clients **out);
/* Ends what is open, without on_down. Not from a handler. NULL is fine. */
MADANG_API void madang_clients_free(struct madang_clients *clients);
/* Until no client is left. */
MADANG_API int madang_clients_run(struct madang_clients *clients);
/* In someone else's loop: the descriptor is readable when there is work, timers included. */
MADANG_API int madang_clients_fd(const struct madang_clients *clients);
/* One turn; timeout_ms as poll(2). How many clients there still are. */
MADANG_API int madang_clients_step(struct madang_clients *clients, int timeout_ms);

/* Starts connecting; nothing is called from inside. The options' texts are copied; handlers must
 * live as long as the client. MADANG_E_SYNTAX: the URL, the proxy's, or a line break in a text
 * that goes into a request; MADANG_E_UNSUPPORTED: its scheme; MADANG_E_NO_MEMORY; -errno: the CA
 * file. */
MADANG_API int madang_client_open(struct madang_clients *clients,
                                  const struct madang_client_options *options,
                                  const struct madang_client_handlers *handlers, void *arg,
                                  struct madang_client **out);
/* Sends, or buffers while the connection is not usable. With Socket.IO the text, or the bytes as an
 * attachment, are the argument of options.event. MADANG_E_FULL: more than buffer_bytes_max waits;
 * MADANG_E_GONE: closing; MADANG_E_UNSUPPORTED: binary as a line, anything on an event stream. */
MADANG_API int madang_client_send(struct madang_client *client, const void *data, size_t len,
                                  bool binary);
/* Socket.IO: emits ["name",args...]. answer: is called once, unless this fails; NULL: no
 * acknowledgement is asked for. Errors as madang_client_send, MADANG_E_SYNTAX: not such an array,
 * or a name that belongs to the libraries. */
MADANG_API int madang_client_emit(struct madang_client *client, const char *json, size_t len,
                                  madang_client_answer_fn answer, void *arg);
/* Answers an event that wants it, with a JSON array of arguments. MADANG_E_SYNTAX; MADANG_E_GONE:
 * the connection that it came on is lost. */
MADANG_API int madang_client_answer(struct madang_client *client, uint64_t id, const char *json,
                                    size_t len);
/* Socket.IO, from on_open on: the server has given us the session that was lost, with its rooms,
 * and what was missed follows. */
MADANG_API bool madang_client_recovered(const struct madang_client *client);
/* Where the last message stands, as the server named it (see options.position); "" when nobody
 * said. Until the client's next step. */
MADANG_API const char *madang_client_position(const struct madang_client *client);
/* Bytes that wait to be sent; with STOMP also one for each message that has no receipt yet. */
MADANG_API size_t madang_client_queued(const struct madang_client *client);
/* Sends what is buffered, says goodbye, and does not come back: on_down follows. Idempotent. */
MADANG_API void madang_client_close(struct madang_client *client, int code, const char *reason);

#ifdef __cplusplus
}
#endif

#endif
