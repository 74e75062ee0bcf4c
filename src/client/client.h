/* What the files of the client side share. open.c makes a client, client.c leads it through its
 * life, send.c keeps what is to be sent; the others bring it to the point where messages pass. */
#ifndef MDG_CLIENT_H
#define MDG_CLIENT_H

#include "base/base.h"
#include "base/buf.h"
#include "client/url.h"
#include "codec/http.h"
#include "codec/http_body.h"
#include "codec/sse.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "madang/client.h"
#include "net/connect.h"
#include "net/net.h"
#include "net/stream.h"
#include "net/tls.h"
#include "transport/link.h"
#include "transport/ws.h"

enum mdg_client_state {
    MDG_CLIENT_CONNECTING, /* the stream is being made */
    MDG_CLIENT_OPENING,    /* the handshake of HTTP or WebSocket */
    MDG_CLIENT_OPEN,
    MDG_CLIENT_WAITING, /* until the next attempt */
    MDG_CLIENT_ENDING,  /* on_down comes from the timer */
    MDG_CLIENT_ENDED
};

enum { MDG_CLIENT_SIO_ID_MAX = 128 /* servers' are 20 characters long */ };

/* What is to be sent. */
struct mdg_client_out {
    struct mdg_slice data;
    bool binary;
    bool event;   /* of Socket.IO: an array that begins with its name */
    uint64_t ack; /* whose acknowledgement is waited for; 0: none */
};

struct mdg_client_waiting {
    struct mdg_client_waiting *next;
    struct mdg_client_out out; /* its bytes follow */
};

/* How bytes come and go; one for each enum mdg_client_kind. NULL: nothing to be done. */
struct mdg_client_carrier {
    int (*prepare)(struct madang_client *c);   /* once, before the first attempt */
    int (*start)(struct madang_client *c);     /* instead of connecting a stream */
    int (*connected)(struct madang_client *c); /* c->stream is there; mdg_client_carried follows */
    /* NULL: by c->link. MDG_E_FULL: mdg_client_sent follows. */
    int (*send)(struct madang_client *c, struct mdg_slice data, bool binary);
    size_t (*queued)(const struct madang_client *c);
    /* How long what was sent may still take, at its close. 0: it is there. */
    uint32_t (*end_ms)(const struct madang_client *c);
    void (*free)(struct madang_client *c);
};

/* What messages are wrapped in; one for each enum mdg_client_layer. */
struct mdg_client_protocol {
    int (*prepare)(struct madang_client *c);
    int (*start)(struct madang_client *c); /* the carrier is usable; mdg_client_opened follows */
    int (*input)(struct madang_client *c, struct mdg_input in, bool binary);
    int (*send)(struct madang_client *c, const struct mdg_client_out *out);
    /* There is room: what could not go with the last message goes now. MDG_E_FULL */
    int (*pay)(struct madang_client *c);
    size_t (*queued)(const struct madang_client *c);
    /* How long what was said needs before a goodbye may follow it. */
    uint32_t (*linger_ms)(const struct madang_client *c);
    void (*goodbye)(struct madang_client *c);
    void (*free)(struct madang_client *c);
};

extern const struct mdg_client_carrier mdg_client_carrier_ws, mdg_client_carrier_http,
    mdg_client_carrier_lines, mdg_client_carrier_bytes, mdg_client_carrier_udp,
    mdg_client_carrier_poll, mdg_client_carrier_xhr, mdg_client_carrier_eio_poll;
extern const struct mdg_client_protocol mdg_client_protocol_sockjs, mdg_client_protocol_stomp,
    mdg_client_protocol_eio, mdg_client_protocol_sio;

/* The response whose head is read, and an event stream's body. */
struct mdg_client_http {
    struct mdg_http_head head;
    uint8_t key[24]; /* WebSocket */
    bool streaming;  /* the head is done */
    bool events;     /* text/event-stream; else lines */
    struct mdg_http_body body;
    struct mdg_sse_dec sse;
    uint8_t *sse_memory;
    struct mdg_buf line;
};

/* sockjs.c: the prefix becomes the URL of a session (XHR: without the transport). MDG_E_SYNTAX,
 * MDG_E_TOO_BIG. */
int mdg_client_sockjs_target(struct madang_client *c) MDG_NODISCARD;
/* A new id, 16 characters long. */
void mdg_client_sockjs_session(struct madang_client *c, char *id);

struct mdg_client_udp;   /* udp.c */
struct mdg_client_stomp; /* stomp.c */
struct mdg_client_pair;  /* exchange.c */
struct mdg_client_eio;   /* eio.c */
struct mdg_client_sio;   /* sio.c */

/* An acknowledgement that is waited for. */
struct mdg_client_ack {
    struct mdg_client_ack *next;
    uint64_t id;
    bool sent; /* its event is on the way, and is lost with the connection */
    madang_client_answer_fn fn;
    void *arg;
};

/* Equal options share one object, because endpoints are known by its address. */
struct mdg_client_ws_options {
    struct mdg_client_ws_options *next;
    struct mdg_ws_options ws;
};

struct madang_clients {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_ws_worker *ws;
    struct mdg_client_ws_options *ws_options;
    struct mdg_list all;
    struct mdg_tls_context *tls; /* of the last client: the next one mostly wants the same */
    char *tls_ca;
    bool tls_insecure;
    size_t count;
};

struct madang_client {
    struct mdg_list node;
    struct madang_clients *clients;
    const struct madang_client_handlers *handlers;
    void *arg;
    struct madang_client_options options; /* texts are ours */
    struct mdg_client_url url;
    struct mdg_client_proxy proxy;
    const struct mdg_client_carrier *carrier;
    const struct mdg_client_protocol *protocol;
    bool use_proxy, closing, drained_owed;
    uint8_t state;
    struct mdg_connect *connect;
    struct mdg_stream *stream; /* ours until a link has it */
    struct mdg_link *link;
    struct mdg_client_http *http;
    struct mdg_client_udp *udp;
    struct mdg_client_pair *pair;
    struct mdg_client_stomp *stomp;
    const char *const *stomp_headers; /* of CONNECT; the request of HTTP gets none */
    struct mdg_client_eio *eio;
    struct mdg_client_sio *sio;
    char *sio_namespace;
    /* Connection state recovery: JSON strings, or empty. */
    char sio_pid[MDG_CLIENT_SIO_ID_MAX], sio_offset[MDG_CLIENT_SIO_ID_MAX];
    bool sio_recovered;
    struct mdg_client_ack *acks;
    uint64_t last_ack;
    size_t ack_count;
    struct mdg_tls_context *tls;
    struct mdg_timer timer; /* the deadline of connecting, the next attempt, the goodbye, the end */
    struct mdg_defer free_later;
    struct mdg_client_waiting *queue, **queue_end;
    size_t queued;
    unsigned failures;
    uint32_t retry_ms; /* as an event stream asked; 0: it did not */
    int sockjs_code;   /* of a close frame; 0: none came */
    char sockjs_reason[124];
    int end_code;
    char end_reason[124];
    struct mdg_buf position; /* of the last message, as the server named it; a text */
};

/* client.c */
extern const struct mdg_link_user mdg_client_link_user;
/* The carrier is usable: the protocol begins. */
void mdg_client_carried(struct madang_client *c, const char *subprotocol);
void mdg_client_opened(struct madang_client *c, const char *subprotocol);
void mdg_client_down(struct madang_client *c, int code, const char *reason);
/* The same for an error, or 0: the other side closed. */
void mdg_client_lost(struct madang_client *c, int err);
/* The server refuses for a reason that would be the same the next time. */
void mdg_client_refused(struct madang_client *c, int code, const char *reason);
void mdg_client_message(struct madang_client *c, struct mdg_slice data, bool binary);
/* It is closing and all is sent: says goodbye, and ends. */
void mdg_client_say_goodbye(struct madang_client *c);
void mdg_client_on_timer(struct mdg_timer *t, void *arg);
/* Where the last message stands, for the next connection. Too long a text is forgotten. */
void mdg_client_remember(struct madang_client *c, struct mdg_slice position);
/* "" when there is none. */
const char *mdg_client_position(const struct madang_client *c);
/* A connection to where the client goes, through its proxy; as mdg_connect_start. */
int mdg_client_connect(struct madang_client *c, const struct mdg_stream_user *user, void *user_arg,
                       mdg_connected_fn done, void *arg, struct mdg_connect **out) MDG_NODISCARD;
/* What went wrong with it, in words. */
const char *mdg_client_connect_error(const struct madang_client *c, int err);
/* Closes it; nobody hears of its end. */
void mdg_client_drop_stream(struct mdg_stream *s);
/* There is room for what waits to be sent, or all of it is gone. */
void mdg_client_sent(struct madang_client *c);

/* send.c */
/* What waits goes out, as far as there is room. */
void mdg_client_flush(struct madang_client *c);
void mdg_client_queue_free(struct madang_client *c);
/* One unit, by the carrier. MDG_E_FULL: mdg_client_sent follows. */
int mdg_client_carry(struct madang_client *c, struct mdg_slice data, bool binary) MDG_NODISCARD;

/* open.c; a mdg_defer_fn. */
void mdg_client_free(struct mdg_loop *loop, void *arg);

/* http.c: WebSocket's handshake and event streams. */
extern const struct mdg_stream_user mdg_client_http_user;
void mdg_client_http_free(struct madang_client *c);
/* The user's own header lines. */
void mdg_client_http_extra(struct mdg_writer *w, const struct madang_client *c);

/* eio.c */
/* The URL becomes that of an endpoint: `path` and the query of Engine.IO behind the URL's own.
 * MDG_E_TOO_BIG. */
int mdg_client_eio_target(struct madang_client *c, const char *path) MDG_NODISCARD;
/* The protocol's start and input: packets of Engine.IO, with Socket.IO's inside or without. */
int mdg_client_eio_start(struct madang_client *c) MDG_NODISCARD;
int mdg_client_eio_input(struct madang_client *c, struct mdg_input in, bool binary) MDG_NODISCARD;
/* A message of Engine.IO. */
int mdg_client_eio_message(struct madang_client *c, struct mdg_slice data,
                           bool binary) MDG_NODISCARD;
/* eio_poll.c: a binary message of this length fits into what the server takes at once. */
bool mdg_client_eio_takes_bytes(const struct madang_client *c, size_t len);
void mdg_client_eio_goodbye(struct madang_client *c);
void mdg_client_eio_free(struct madang_client *c);

/* sio.c */
/* Engine.IO is open: asks for the namespace. */
int mdg_client_sio_connect(struct madang_client *c) MDG_NODISCARD;
int mdg_client_sio_packet(struct madang_client *c, struct mdg_input in, bool binary) MDG_NODISCARD;

/* ack.c */
/* MDG_E_FULL, MDG_E_NO_MEMORY. */
int mdg_client_ack_new(struct madang_client *c, madang_client_answer_fn fn, void *arg,
                       uint64_t *id) MDG_NODISCARD;
void mdg_client_ack_drop(struct madang_client *c, uint64_t id);
void mdg_client_ack_sent(struct madang_client *c, uint64_t id);
/* json: the array of the answer's arguments. */
void mdg_client_ack_answer(struct madang_client *c, uint64_t id, struct mdg_slice json);
/* The connection is lost: tells those who wait; all: also those whose event was not sent yet. */
void mdg_client_acks_lost(struct madang_client *c, bool all);
void mdg_client_acks_free(struct madang_client *c);

#endif
