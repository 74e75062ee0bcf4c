/* What units mean. The only layer that knows both the hub and an application protocol.
 * May include base, codec, hub, loop/timer.h, transport/link.h and transport/handshake.h. */
#ifndef MDG_DIALECT_H
#define MDG_DIALECT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/writer.h"
#include "hub/hub.h"
#include "transport/handshake.h"
#include "transport/link.h"

struct mdg_peer;

/* Receives the units into which a dialect encodes one message, in order. */
struct mdg_unit_sink {
    int (*unit)(struct mdg_unit_sink *sink, struct mdg_slice unit,
                const struct mdg_unit_meta *meta);
    struct mdg_buf *work; /* scratch to build a unit in; empty at first, the dialect's to fill */
};

struct mdg_dialect {
    const char *name; /* "madang.v1", "bare", "lines", "socket.io", "stomp" */
    bool takes_bytes; /* on_input gets any piece of a byte stream, not whole units */
    int (*open)(struct mdg_peer *p, const struct mdg_handshake *hs);
    int (*on_input)(struct mdg_peer *p, struct mdg_input in, bool binary);
    void (*close)(struct mdg_peer *p, int code); /* the link is gone; the peer is freed after it */
    /* One message as 1..n units, the same for all peers with this dialect and framing. Pure.
     * Zero units: this message means nothing to this dialect (presence to a bare client).
     * text_only: encode binary payloads as text. */
    int (*encode)(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink);
    /* Not NULL: what stands in front of the (single) shared unit, for this member alone. */
    int (*private_head)(const struct mdg_member *member, const struct mdg_msg *m,
                        struct mdg_writer *w);
    /* Upcalls of the hub. `deliver` is mdg_peer_deliver unless the dialect has a reason. */
    struct mdg_session_ops session; /* of a peer: by their address it knows its dialect */
    size_t state_bytes; /* of the dialect's own, zeroed, behind each peer: mdg_peer_state */
    /* There is room again (members that were behind are resumed already). May be NULL. */
    void (*writable)(struct mdg_peer *p);
};

#endif
