/* What the files of the Engine.IO carrier share. Not for anyone else. */
#ifndef MDG_TRANSPORT_EIO_SESSION_H
#define MDG_TRANSPORT_EIO_SESSION_H

#include "base/buf.h"
#include "base/map.h"
#include "codec/eio.h"
#include "loop/loop.h"
#include "transport/eio.h"

enum {
    EIO_SID_BYTES = 15, /* random, but the first, which names the worker */
    EIO_SID_CHARS = 20,
    EIO_FRAMINGS_MAX = 8, /* kinds of WebSocket framing in use in one worker, times two versions */
};

/* "4" or a 04 byte in front of what some WebSocket framing wraps. */
struct eio_framing {
    struct mdg_framing framing;
    const struct mdg_framing *below;
};

struct mdg_eio_worker {
    struct mdg_loop *loop;
    struct mdg_ws_worker *ws;
    const struct mdg_eio_options *options;
    const struct mdg_eio_hooks *hooks;
    void *arg;
    unsigned number;
    struct mdg_ws_options ws_options;
    struct mdg_map sessions; /* by sid */
    struct mdg_list list;
    struct mdg_list held;
    struct mdg_blob *separator;                          /* \x1e */
    struct mdg_blob *noop, *close, *noop3, *close3, *ok; /* small answers */
    struct eio_framing framings[EIO_FRAMINGS_MAX];
    size_t framing_count;
};

/* The polling side of a session; gone once it is on WebSocket. */
struct eio_poll {
    struct mdg_exchange *get, *post;
    struct mdg_exchange *handled; /* the POST whose packets are being handed up */
    struct mdg_buf body;          /* of the POST */
    struct mdg_chunk *queue;
    size_t queue_len, queue_cap, queue_bytes;
    bool refused; /* on_writable is owed */
};

struct eio_probe {
    struct mdg_eio_session *session; /* NULL: the session went away */
    struct mdg_link *ws;
    struct mdg_timer timer;
    bool pinged;
};

enum eio_state { EIO_OPEN, EIO_CLOSING, EIO_ENDED };

struct mdg_eio_session {
    struct mdg_link link; /* first: the owner above holds this */
    struct mdg_eio_worker *w;
    struct mdg_link *ws;     /* not NULL: the transport is WebSocket */
    struct eio_poll *poll;   /* not NULL: it is polling, or not decided yet */
    struct eio_probe *probe; /* an upgrade under way */
    struct mdg_timer timer;  /* heartbeat; while closing, its end */
    struct mdg_defer later;  /* flush a poll, tell the end */
    struct mdg_list in_worker;
    const char *reason; /* why it ended: the published name */
    int16_t code;
    uint8_t version, state;
    bool ping_sent, base64, upgraded;
    char sid[EIO_SID_CHARS];
};

static inline struct mdg_eio_session *eio_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct mdg_eio_session, link);
}

static inline struct mdg_slice eio_sid(const struct mdg_eio_session *s)
{
    return mdg_slice(s->sid, sizeof s->sid);
}

/* eio_frame.c */
const struct mdg_framing *eio_framing_poll(unsigned version, bool base64);
/* NULL: this WebSocket connection cannot share frames. */
const struct mdg_framing *eio_framing_ws(struct mdg_eio_worker *w, const struct mdg_framing *below,
                                         unsigned version);

/* eio_session.c */
int eio_session_new(struct mdg_eio_worker *w, unsigned version, bool base64,
                    struct mdg_eio_session **out) MDG_NODISCARD;
/* The handshake's answer was sent: the heartbeat begins. */
void eio_session_start(struct mdg_eio_session *s);
/* Its heartbeat is over due: descriptors are served before timers, and a request that comes in the
 * same turn must not find it alive. */
bool eio_session_is_late(const struct mdg_eio_session *s);
/* Ends it: transports are let go now, on_close follows within the turn. */
void eio_session_end(struct mdg_eio_session *s, int code, const char *reason);
/* Without waiting for the end of the turn. */
void eio_session_destroy(struct mdg_eio_session *s);
/* A decoded packet from whatever transport. May end the session. */
void eio_session_packet(struct mdg_eio_session *s, const struct mdg_eio_packet *p);
int eio_session_send_packet(struct mdg_eio_session *s, enum mdg_eio_type type,
                            struct mdg_slice data) MDG_NODISCARD;
/* What follows OPEN in the handshake. */
void eio_session_write_open(const struct mdg_eio_session *s, struct mdg_writer *w);
void eio_session_wake(struct mdg_eio_session *s); /* work for the end of the turn */

/* eio_poll.c */
int eio_poll_new(struct mdg_eio_session *s) MDG_NODISCARD;
bool eio_poll_is_parked(const struct mdg_eio_session *s);
/* Answers what is open (the GET with a close or a noop packet) and frees. */
void eio_poll_drop(struct mdg_eio_session *s, bool say_close);
/* Takes the references over on 0. limited: refuse beyond the queue's bound. */
int eio_poll_push(struct mdg_eio_session *s, struct mdg_chunk *chunks, size_t n,
                  bool limited) MDG_NODISCARD;
void eio_poll_flush(struct mdg_eio_session *s); /* answers a parked GET if there is something */
void eio_poll_noop(struct mdg_eio_session *s);  /* answers a parked GET now, whatever there is */
void eio_poll_on_get(struct mdg_eio_session *s, struct mdg_exchange *x);
void eio_poll_on_post(struct mdg_eio_session *s, struct mdg_exchange *x);
/* The first answer: the OPEN packet alone. */
int eio_poll_answer_open(struct mdg_eio_session *s, struct mdg_exchange *x) MDG_NODISCARD;

/* eio_ws.c */
/* A session's first transport. */
int eio_ws_begin(struct mdg_eio_session *s, struct mdg_exchange *x) MDG_NODISCARD;
void eio_ws_probe(struct mdg_eio_session *s, struct mdg_exchange *x);
void eio_ws_drop(struct mdg_eio_session *s, int code); /* closes connection and probe */

/* eio.c */
void eio_add_headers(struct mdg_eio_worker *w, struct mdg_exchange *x, bool initial);
void eio_refuse(struct mdg_eio_worker *w, struct mdg_exchange *x, enum mdg_eio_refusal why,
                struct mdg_slice message);

#endif
