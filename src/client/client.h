/* What the files of the client side share. client.c leads a client through its life; the others
 * bring it to the point where messages pass. */
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

struct mdg_client_waiting { /* a message to be sent */
    struct mdg_client_waiting *next;
    size_t len;
    bool binary;
    uint8_t data[];
};

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
int mdg_client_sockjs_input(struct madang_client *c, struct mdg_input in) MDG_NODISCARD;
int mdg_client_sockjs_send(struct madang_client *c, struct mdg_slice data) MDG_NODISCARD;

/* A new id, 16 characters long. */
void mdg_client_sockjs_session(struct madang_client *c, char *id);

struct mdg_client_udp;   /* udp.c */
struct mdg_client_stomp; /* stomp.c */
struct mdg_client_xhr;   /* xhr.c */

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
    bool use_proxy, closing, drained_owed;
    uint8_t state;
    struct mdg_connect *connect;
    struct mdg_stream *stream; /* ours until a link has it */
    struct mdg_link *link;
    struct mdg_client_http *http;
    struct mdg_client_udp *udp;
    struct mdg_client_xhr *xhr;
    struct mdg_client_stomp *stomp;
    const char *const *stomp_headers; /* of CONNECT; the request of HTTP gets none */
    struct mdg_tls_context *tls;
    struct mdg_timer timer; /* the deadline of connecting, the next attempt, or the end */
    struct mdg_defer free_later;
    struct mdg_client_waiting *queue, **queue_end;
    size_t queued;
    unsigned failures;
    uint32_t retry_ms; /* as an event stream asked; 0: it did not */
    int sockjs_code;   /* of a close frame; 0: none came */
    char sockjs_reason[124];
    int end_code;
    char end_reason[124];
    char last_id[MDG_SSE_ID_MAX];
};

/* client.c */
extern const struct mdg_link_user mdg_client_link_user;
void mdg_client_opened(struct madang_client *c, const char *subprotocol);
void mdg_client_down(struct madang_client *c, int code, const char *reason);
void mdg_client_message(struct madang_client *c, struct mdg_slice data, bool binary);
/* A connection to where the client goes, through its proxy; as mdg_connect_start. */
int mdg_client_connect(struct madang_client *c, const struct mdg_stream_user *user, void *user_arg,
                       mdg_connected_fn done, void *arg, struct mdg_connect **out) MDG_NODISCARD;
/* Closes it; nobody hears of its end. */
void mdg_client_drop_stream(struct mdg_stream *s);
/* There is room for what waits to be sent, or all of it is gone. */
void mdg_client_sent(struct madang_client *c);

/* http.c: WebSocket's handshake and event streams. */
extern const struct mdg_stream_user mdg_client_http_user;
/* The stream is there: writes the request. MDG_E_NO_MEMORY and errors of the stream. */
int mdg_client_http_start(struct madang_client *c) MDG_NODISCARD;
void mdg_client_http_free(struct madang_client *c);
/* The user's own header lines. */
void mdg_client_http_extra(struct mdg_writer *w, const struct madang_client *c);

/* xhr.c: SockJS without WebSocket. */
/* The stream is there: asks for a new session's frames. */
int mdg_client_xhr_start(struct madang_client *c) MDG_NODISCARD;
void mdg_client_xhr_free(struct madang_client *c);
/* MDG_E_FULL: mdg_client_sent follows. */
int mdg_client_xhr_send(struct madang_client *c, struct mdg_slice data) MDG_NODISCARD;
size_t mdg_client_xhr_queued(const struct madang_client *c);
/* How long what was sent may still take, at its close. 0: it is there. */
uint32_t mdg_client_xhr_end_ms(const struct madang_client *c);

/* stomp.c */
/* The link or the stream is there: says CONNECT. mdg_client_opened follows. */
int mdg_client_stomp_start(struct madang_client *c) MDG_NODISCARD;
void mdg_client_stomp_free(struct madang_client *c);
int mdg_client_stomp_input(struct madang_client *c, struct mdg_input in) MDG_NODISCARD;
int mdg_client_stomp_send(struct madang_client *c, struct mdg_slice data,
                          bool binary) MDG_NODISCARD;
/* What was sent and has no receipt yet. */
uint64_t mdg_client_stomp_open_receipts(const struct madang_client *c);

/* udp.c */
int mdg_client_udp_start(struct madang_client *c) MDG_NODISCARD;
int mdg_client_udp_send(struct madang_client *c, struct mdg_slice data) MDG_NODISCARD;
void mdg_client_udp_free(struct madang_client *c);

#endif
