/* What peer.c (life and links) and peer_deliver.c (encodings and deliveries) share. */
#ifndef MDG_PEER_IMPL_H
#define MDG_PEER_IMPL_H

#include "base/pool.h"
#include "dialect/peer.h"

enum {
    MDG_PEER_NO_SLOT = MDG_MSG_SLOTS_PEER,
    MDG_PEER_BURST_MSGS_MAX = 64,
};

/* A dialect and a framing: messages have one encoding for each. */
struct mdg_wire {
    const struct mdg_dialect *dialect;
    const struct mdg_framing *framing;
    /* The frames of the last burst, joined. The messages are held, so that a pointer means the
     * same message for as long as this is kept. */
    struct mdg_msg *burst[MDG_PEER_BURST_MSGS_MAX];
    size_t burst_len;
    struct mdg_blob *joined;
};

struct mdg_peers {
    struct mdg_hub *hub;
    struct mdg_peers_config config;
    struct mdg_peers_stats stats;
    struct mdg_buf framed, work, scratch;
    struct mdg_small peers; /* their memory */
    struct mdg_wire wires[MDG_MSG_SLOTS_PEER];
};

enum mdg_peer_flag { PEER_FULL = 1, PEER_CLOSING = 2, PEER_ATTACHED = 4, PEER_PAUSED = 8 };

/* In the session's bytes: user_flags (enum mdg_peer_flag), user_slot (its wire format) and
 * user_words (of 8 bytes: how long the state is). Its ops are those of its dialect. */
struct mdg_peer {
    struct mdg_session session; /* first: the hub fetches its cache line ahead */
    struct mdg_link *link;
    struct mdg_peers *shared;
    struct mdg_buf *waiting; /* units for this peer alone that found the link full */
    uint32_t tokens;         /* publications that it may make now, in thousandths */
    uint32_t tokens_ms;      /* the hub's time when it got them, its lower half */
    uint64_t state[];        /* the dialect's */
};

static_assert(sizeof(struct mdg_peer) <= 96, "an idle SSE or TCP member costs 512 bytes in all");

static inline const struct mdg_dialect *mdg_dialect_of(const struct mdg_peer *p)
{
    return MDG_CONTAINER_OF(p->session.ops, const struct mdg_dialect, session);
}

/* peer_deliver.c */
void mdg_wire_drop_burst(struct mdg_wire *w);
/* The peer's wire format, by its dialect and the framing that its link has now. */
void mdg_peer_find_wire(struct mdg_peer *p);

#endif
