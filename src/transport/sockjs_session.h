/* What the files of the SockJS carrier share. A session is fed by one request after another, its
 * receivers. Between two of them, and for polls, messages wait as JSON strings; while a chunked
 * stream is there they go straight to it, framed once for all sessions of that kind. */
#ifndef MDG_SOCKJS_SESSION_H
#define MDG_SOCKJS_SESSION_H

#include "base/map.h"
#include "codec/sockjs.h"
#include "loop/loop.h"
#include "transport/sockjs.h"

enum mdg_sockjs_state {
    MDG_SOCKJS_OPENING, /* the open frame is still to be sent */
    MDG_SOCKJS_OPEN,
    MDG_SOCKJS_CLOSING, /* close was called: on_close is to follow from the loop */
    MDG_SOCKJS_CLOSED,  /* a tombstone that serves its close frame until the time is over */
    MDG_SOCKJS_FREED    /* waits for the end of the turn */
};

struct mdg_sockjs_session {
    struct mdg_link link;
    struct mdg_sockjs *service;
    struct mdg_exchange *receiver; /* NULL: the client is between two requests */
    struct mdg_chunk *waiting;     /* messages as JSON strings, one a chunk */
    uint32_t waiting_count, waiting_cap;
    size_t waiting_bytes;
    struct mdg_blob *close_frame; /* unwrapped; from CLOSING on */
    struct mdg_list uploads;      /* requests that wait while the owner has paused us */
    struct mdg_timer timer;       /* heartbeat with a receiver, the end without one */
    struct mdg_defer work;
    uint64_t sent_ms; /* loop time of the last frame */
    uint32_t response_bytes;
    uint16_t close_code;
    uint8_t state; /* enum mdg_sockjs_state */
    uint8_t wrap;  /* enum mdg_sockjs_wrap of the receiver */
    uint8_t id_len;
    bool streaming : 1; /* the receiver takes more than one frame */
    bool paused : 1;
    bool refused : 1; /* on_writable is owed */
    uint8_t id[];
};

struct mdg_sockjs {
    struct mdg_loop *loop;
    struct mdg_ws_worker *ws;
    const struct mdg_sockjs_config *config;
    const struct mdg_sockjs_user *user;
    void *arg;
    struct mdg_map sessions; /* id -> struct mdg_sockjs_session */
    struct mdg_blob *iframe;
    struct mdg_blob *xhr_prelude; /* 2 KiB that every xhr_streaming response begins with */
    uint8_t etag[18];             /* "0123456789abcdef" with its quotes */
};

/* sockjs_session.c */
struct mdg_sockjs_session *mdg_sockjs_find(struct mdg_sockjs *s, struct mdg_slice id);
/* NULL: out of memory or too many. */
struct mdg_sockjs_session *mdg_sockjs_session_new(struct mdg_sockjs *s, struct mdg_slice id);
/* Without on_close: the session never opened, or had it already. */
void mdg_sockjs_session_end(struct mdg_sockjs_session *n);
/* The client is gone for good, in the middle of a response or for too long. */
void mdg_sockjs_session_lost(struct mdg_sockjs_session *n, int code);
/* The next message may come in, or the session closes as the error says. False: stop. */
bool mdg_sockjs_session_input(struct mdg_sockjs_session *n, struct mdg_input message);
/* Work that was put off: what waits is sent, on_close and on_writable are told. */
void mdg_sockjs_session_wake(struct mdg_sockjs_session *n);

/* sockjs_receiver.c: responses that carry frames */
extern const struct mdg_http_handler mdg_sockjs_receiver_handler;
int mdg_sockjs_receive(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url);
/* What waits goes to the receiver, then the close frame; it may be gone afterwards. */
void mdg_sockjs_flush(struct mdg_sockjs_session *n);
void mdg_sockjs_heartbeat(struct mdg_sockjs_session *n);
/* Counts a frame that went out; ends the response once it is long enough. */
void mdg_sockjs_sent(struct mdg_sockjs_session *n, size_t bytes);

/* sockjs_upload.c: xhr_send and jsonp_send */
int mdg_sockjs_upload(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url);
/* Requests that waited are served (not paused any more, or closed: 404). */
void mdg_sockjs_uploads_go_on(struct mdg_sockjs_session *n);

/* sockjs_websocket.c */
int mdg_sockjs_websocket(struct mdg_sockjs *s, struct mdg_exchange *x, bool raw);

/* sockjs_framing.c */
extern const struct mdg_framing mdg_sockjs_framing_waiting;   /* a JSON string */
extern const struct mdg_framing mdg_sockjs_framing_websocket; /* a WebSocket frame */
/* An HTTP chunk with one frame in it. */
const struct mdg_framing *mdg_sockjs_framing_stream(enum mdg_sockjs_wrap wrap);
/* A unit wrapped for this framing; NULL: out of memory. */
struct mdg_blob *mdg_sockjs_frame_blob(const struct mdg_framing *f, struct mdg_slice unit);

/* sockjs_head.c: headers that several kinds of response have */
enum mdg_sockjs_head_flag {
    MDG_SOCKJS_HEAD_COOKIE = 1 << 0, /* JSESSIONID, if the service wants it */
    MDG_SOCKJS_HEAD_CORS = 1 << 1,
    MDG_SOCKJS_HEAD_NO_CACHE = 1 << 2,
    MDG_SOCKJS_HEAD_CACHE = 1 << 3,     /* for a year */
    MDG_SOCKJS_HEAD_NULL_STAR = 1 << 4, /* CORS: the origin "null" is answered with "*" */
    MDG_SOCKJS_HEAD_STREAM = 1 << 5,    /* proxies must not buffer */
    MDG_SOCKJS_HEAD_NOSNIFF = 1 << 6
};
enum { MDG_SOCKJS_HEADERS_MAX = 12, MDG_SOCKJS_COOKIE_MAX = 128 };
struct mdg_sockjs_head {
    struct mdg_header h[MDG_SOCKJS_HEADERS_MAX];
    size_t n;
    uint8_t cookie[MDG_SOCKJS_COOKIE_MAX + 32], date[32];
};
void mdg_sockjs_head(struct mdg_sockjs_head *head, const struct mdg_sockjs *s,
                     const struct mdg_exchange *x, unsigned flags, const char *content_type);
void mdg_sockjs_head_add(struct mdg_sockjs_head *head, const char *name, struct mdg_slice value);
/* A whole response with a copied body. */
int mdg_sockjs_respond(struct mdg_exchange *x, unsigned status, const struct mdg_sockjs_head *head,
                       struct mdg_slice body) MDG_NODISCARD;
/* A page of another origin that may not talk to us is refused with 403. True: it was. */
bool mdg_sockjs_refuse_origin(struct mdg_sockjs *s, struct mdg_exchange *x);

#endif
