/* One peer as seen above its carrier: whole messages ("units") up and down, whatever moves them.
 * A carrier implements struct mdg_carrier and embeds struct mdg_link in its connection object; the
 * owner above (a dialect's peer, or the application) provides struct mdg_link_user.
 *
 * Downcalls never make upcalls. on_close is the last upcall, exactly once, and comes from the loop
 * also when the owner itself asked for the close. */
#ifndef MDG_LINK_H
#define MDG_LINK_H

#include "base/base.h"
#include "base/blob.h"
#include "base/writer.h"

struct mdg_link;

/* What a unit is, for those carriers that print it. All slices are opaque to the carrier. */
struct mdg_unit_meta {
    struct mdg_slice id, event; /* SSE's id: and event: */
    bool binary;
    bool compress; /* worth compressing, where the connection can */
};

/* How a carrier wraps a unit on the wire: head(length) + escape(unit) + tail. Pure, and the same
 * for every peer with the same framing pointer, so that one wrapped unit serves all of them. */
struct mdg_framing {
    const char *name; /* "ws", "ws+deflate", "sse", ... */
    /* Framed units may follow each other without anything between them; then several of them may
     * come as one chunk. Otherwise each chunk is exactly one unit (a poll joins them itself). */
    bool joinable;
    bool text_only; /* units with meta.binary cannot pass: the dialect encodes them as text */
    /* body_len: bytes of the escaped unit. NULL: no head. */
    void (*head)(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                 const struct mdg_unit_meta *meta);
    void (*escape)(const struct mdg_framing *f, struct mdg_writer *w,
                   struct mdg_slice unit); /* NULL: as it is */
    void (*tail)(const struct mdg_framing *f, struct mdg_writer *w,
                 const struct mdg_unit_meta *meta); /* NULL: none */
    /* Not NULL: used instead of the three above (compression changes the length). Returns 0 or
     * MDG_E_NO_MEMORY. */
    int (*whole)(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
                 const struct mdg_unit_meta *meta);
    void *arg; /* the carrier's, for `whole`: the worker's compressor */
};

/* Wraps one unit. The writer says how much was needed (mdg_writer_fits). */
int mdg_frame(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
              const struct mdg_unit_meta *meta) MDG_NODISCARD;

/* The same as a chunk of its own. MDG_E_NO_MEMORY. */
int mdg_frame_chunk(const struct mdg_framing *f, struct mdg_slice unit,
                    const struct mdg_unit_meta *meta, struct mdg_chunk *out) MDG_NODISCARD;

/* Why a link ends: WebSocket close codes (RFC 6455 7.4) serve as the common tongue; carriers
 * without codes close as their protocol does. */
enum mdg_close_code {
    MDG_CLOSE_NORMAL = 1000,
    MDG_CLOSE_GOING_AWAY = 1001,
    MDG_CLOSE_PROTOCOL = 1002,
    MDG_CLOSE_UNSUPPORTED = 1003,
    MDG_CLOSE_NONE = 1005,     /* the peer's close carried no code */
    MDG_CLOSE_ABNORMAL = 1006, /* the connection was lost */
    MDG_CLOSE_BAD_DATA = 1007,
    MDG_CLOSE_POLICY = 1008,
    MDG_CLOSE_TOO_BIG = 1009,
    MDG_CLOSE_INTERNAL = 1011,
    MDG_CLOSE_TRY_LATER = 1013,
    MDG_CLOSE_SLOW = 4008,    /* fell too far behind (madang) */
    MDG_CLOSE_EXPIRED = 4001, /* the credential expired (madang) */
    MDG_CLOSE_NAME = 4009,    /* the name went to somebody who proved that it is his (madang) */
};

struct mdg_carrier {
    const char *name; /* "ws", "sse", "stream", "poll", "eio", "sockjs", "tcp", "udp" */
    bool one_way;     /* on_input never comes (SSE, streaming) */
    /* Framed units: the references move to the carrier on 0. All or nothing. MDG_E_FULL: wait for
     * on_writable (an empty queue takes one unit of any size). MDG_E_CLOSED. */
    int (*send)(struct mdg_link *l, struct mdg_chunk *framed, size_t n);
    /* One unit for this peer alone; framed and copied by the carrier. Errors as send, and
     * MDG_E_UNSUPPORTED for a binary unit on a text-only carrier. */
    int (*send_unit)(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta);
    /* Idempotent. What was sent before still goes out, bounded in time. reason: UTF-8, at most 123
     * bytes, may be empty. */
    void (*close)(struct mdg_link *l, int code, struct mdg_slice reason);
    /* Stops and starts reading from the peer: back-pressure on a publisher. */
    void (*pause)(struct mdg_link *l, bool paused);
    /* Bytes that wait to be written. */
    size_t (*queued)(const struct mdg_link *l);
    /* Where the peer is, as its handshake said, for what is counted by address long after it. NULL:
     * those who ask of it come by other carriers. */
    void (*address)(const struct mdg_link *l, struct mdg_writer *w);
};

struct mdg_link_user {
    /* A unit, or any piece of the stream for a dialect that takes bytes. The bytes are the
     * callee's until it returns and may be rewritten in place. Text units are valid UTF-8 already
     * where the carrier checks that (ws); `binary` says that no such check was made.
     * Returns 0, or a negative error: the carrier closes as its protocol does for that error. */
    int (*on_input)(struct mdg_link *l, struct mdg_input in, bool binary);
    void (*on_writable)(struct mdg_link *l); /* after MDG_E_FULL, once there is room */
    /* code: enum mdg_close_code or the peer's own; reason may be empty. */
    void (*on_close)(struct mdg_link *l, int code, struct mdg_slice reason);
};

struct mdg_link {
    const struct mdg_carrier *carrier;
    /* NULL: nothing can be shared, every unit by send_unit. Read it at every send: a session that
     * moves between polls and streams (sockjs) changes it. */
    const struct mdg_framing *framing;
    const struct mdg_link_user *user;
    void *user_arg;
};

static inline int mdg_link_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    return l->carrier->send(l, framed, n);
}

static inline int mdg_link_send_unit(struct mdg_link *l, struct mdg_slice unit,
                                     const struct mdg_unit_meta *meta)
{
    return l->carrier->send_unit(l, unit, meta);
}

/* Empty where it is not known. */
static inline struct mdg_slice mdg_link_address(const struct mdg_link *l, uint8_t *text,
                                                size_t size)
{
    struct mdg_writer w;
    mdg_writer_init(&w, text, size);
    if (l->carrier->address)
        l->carrier->address(l, &w);
    return mdg_slice(text, mdg_writer_fits(&w) ? w.len : 0);
}

static inline void mdg_link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    l->carrier->close(l, code, reason);
}

#endif
