/* What the files of the WebSocket carrier share: ws.c (endpoints, upgrade), ws_conn.c (receiving,
 * closing), ws_send.c (framing, compression). Used by the client side too. */
#ifndef MDG_TRANSPORT_WS_CONN_H
#define MDG_TRANSPORT_WS_CONN_H

#include "base/blob.h"
#include "base/pool.h"
#include "codec/deflate.h"
#include "codec/ws.h"
#include "codec/ws_handshake.h"
#include "net/stream.h"
#include "transport/ws.h"

struct mdg_ws_framing;

/* Options and agreed extension parameters, which most connections have in common with many others:
 * one pointer a connection instead of these fields. Made on first use, kept until the end. */
struct mdg_ws_endpoint {
    struct mdg_ws_endpoint *next;
    struct mdg_ws_worker *worker;
    const struct mdg_ws_options *options;
    struct mdg_ws_deflate deflate;
    const struct mdg_framing *framing; /* NULL: each peer has its own compressor */
    struct mdg_ws_config codec;
};

/* The unit that an upcall is looking at. Sent back as it is, it needs no copy: there is room for
 * the frame's head right in front of it. */
struct mdg_ws_unit {
    struct mdg_ws_conn *conn; /* NULL: none */
    uint8_t *start;
    size_t len;
    size_t room;           /* bytes in front of it that nobody needs */
    struct mdg_blob *blob; /* that holds it; NULL: it lies in the stream's input */
    bool sent;             /* as it lies; a second time it is copied */
    uint8_t echo;          /* opcode: a short one that goes back once the upcall has returned */
};

/* Short echoes of one input, moved together in front of what is not read yet: they are written in
 * one piece, when something else is to be written or the input is used up. */
struct mdg_ws_run {
    struct mdg_ws_conn *conn; /* NULL: none */
    uint8_t *start, *end;
};

enum { MDG_WS_SPARES = 8 };

struct mdg_ws_worker {
    struct mdg_loop *loop;
    struct mdg_pool conns;
    struct mdg_ws_endpoint *endpoints;
    struct mdg_ws_framing *framings;
    struct mdg_net *net;    /* of the connections; NULL: there was none yet */
    struct mdg_ws_unit now; /* what the on_input on the stack looks at */
    struct mdg_ws_run run;
    /* Buffers for the next long messages. One of them may still be on its way out, by reference,
     * and can be used again once that is sent. */
    struct mdg_blob *spares[MDG_WS_SPARES];
    struct mdg_inflate_box *inflaters; /* idle ones, for messages without context takeover */
    unsigned inflater_count;
    uint8_t *scratch; /* compression output */
    size_t scratch_cap;
};

enum mdg_ws_conn_flag {
    MDG_WS_CLOSE_SENT = 1 << 0,
    MDG_WS_OVER = 1 << 1,        /* the user heard on_close: nothing but the stream's end is left */
    MDG_WS_PINGED = 1 << 2,      /* a ping is out; anything that comes answers it */
    MDG_WS_USER_PAUSED = 1 << 3, /* the user does not want to be given more */
    MDG_WS_OUT_PAUSED = 1 << 4   /* what the peer asked for is queued: it has to read first */
};

/* What a connection needs only while something is under way. */
struct mdg_ws_aux {
    struct mdg_blob *message; /* of a message whose bytes come in several reads */
    uint32_t len;             /* bytes of it so far */
    uint32_t out_seen;        /* queued bytes when a paused peer was last looked at */
    struct mdg_inflate_box *inflate;
    z_stream *deflate; /* with context takeover */
    uint8_t utf8;      /* of inflated text */
};

struct mdg_inflate_box {
    struct mdg_inflate inflate;
    struct mdg_inflate_box *next;
};

struct mdg_ws_conn {
    struct mdg_link link;
    struct mdg_stream *stream;
    struct mdg_ws_endpoint *endpoint;
    struct mdg_ws_aux *aux; /* NULL: nothing is under way */
    struct mdg_ws_dec dec;
    uint32_t flags; /* enum mdg_ws_conn_flag */
};

static_assert(sizeof(struct mdg_ws_conn) == 80, "an idle WebSocket costs this and its stream");

extern const struct mdg_carrier mdg_ws_carrier;
extern const struct mdg_stream_user mdg_ws_stream_user;

static inline struct mdg_ws_conn *mdg_ws_of(struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct mdg_ws_conn, link);
}

static inline bool mdg_ws_is(const struct mdg_ws_conn *c, unsigned any_of)
{
    return (c->flags & any_of) != 0;
}

static inline void mdg_ws_set(struct mdg_ws_conn *c, unsigned flags)
{
    c->flags |= flags;
}

static inline void mdg_ws_unset(struct mdg_ws_conn *c, unsigned flags)
{
    c->flags &= ~flags;
}

/* ws.c */
int mdg_ws_endpoint_get(struct mdg_ws_worker *w, const struct mdg_ws_options *options, bool client,
                        const struct mdg_ws_deflate *deflate,
                        struct mdg_ws_endpoint **out) MDG_NODISCARD;
/* Two steps, so that nothing can fail once the peer was told: memory, then the stream, which is
 * adopted. MDG_E_NO_MEMORY. */
int mdg_ws_conn_new(struct mdg_ws_endpoint *e, const struct mdg_link_user *user, void *user_arg,
                    struct mdg_ws_conn **out) MDG_NODISCARD;
void mdg_ws_conn_start(struct mdg_ws_conn *c, struct mdg_stream *s);
void mdg_ws_conn_free(struct mdg_ws_conn *c);

/* ws_message.c: messages that do not lie whole in one read, and compressed ones. */
enum { MDG_WS_HEADROOM = 16 }; /* in front of a message in its buffer: the head of its echo */
static_assert((int)MDG_WS_HEADROOM >= (int)MDG_WS_HEAD_MAX, "see mdg_ws_unit");

/* NULL: out of memory. */
struct mdg_ws_aux *mdg_ws_aux_get(struct mdg_ws_conn *c);
/* Frees what nothing is left in. */
void mdg_ws_aux_tidy(struct mdg_ws_conn *c);
void mdg_ws_aux_drop(struct mdg_ws_conn *c);
/* Is a message's beginning in the buffer? */
static inline bool mdg_ws_gathering(const struct mdg_ws_conn *c)
{
    return c->aux && c->aux->message;
}
static inline uint8_t *mdg_ws_message_end(const struct mdg_ws_aux *aux)
{
    return aux->message->data + MDG_WS_HEADROOM + aux->len;
}
static inline size_t mdg_ws_message_room(const struct mdg_ws_aux *aux)
{
    return aux->message->len - MDG_WS_HEADROOM - aux->len;
}
/* Room for at least one byte and at best `more`. Memory grows with what came, not with what was
 * announced. MDG_E_NO_MEMORY. */
int mdg_ws_message_grow(struct mdg_ws_conn *c, size_t more) MDG_NODISCARD;
int mdg_ws_message_append(struct mdg_ws_conn *c, const uint8_t *data, size_t len,
                          size_t expected) MDG_NODISCARD;
/* Done with a buffer: kept for the next message, or freed. */
void mdg_ws_message_release(struct mdg_ws_worker *w, struct mdg_blob *blob);
/* A piece of a compressed message: what it becomes is appended. MDG_E_TOO_BIG, MDG_E_SYNTAX (not
 * DEFLATE, or text that is not UTF-8), MDG_E_NO_MEMORY. */
int mdg_ws_inflate(struct mdg_ws_conn *c, const struct mdg_ws_event *ev) MDG_NODISCARD;
void mdg_ws_worker_free_messages(struct mdg_ws_worker *w);

/* ws_send.c */
const struct mdg_framing *mdg_ws_framing_get(struct mdg_ws_worker *w, uint8_t bits,
                                             uint32_t bytes_min);
extern const struct mdg_framing mdg_ws_framing_plain;
void mdg_ws_worker_free_framings(struct mdg_ws_worker *w);
int mdg_ws_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n);
int mdg_ws_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta);
/* The upcall for `now` has returned. */
void mdg_ws_after_upcall(struct mdg_ws_conn *c);
/* Writes the run of short echoes, if it is this connection's. */
void mdg_ws_flush_run(struct mdg_ws_conn *c);
uint32_t mdg_ws_queued(const struct mdg_ws_conn *c);
/* A control frame; a full queue is no reason not to say goodbye (`force`). */
void mdg_ws_send_control(struct mdg_ws_conn *c, enum mdg_ws_op op, struct mdg_slice payload,
                         bool force);

#endif
