/* What the two files of the UDP carrier share. */
#ifndef MDG_UDP_PEER_H
#define MDG_UDP_PEER_H

#include "base/buf.h"
#include "base/map.h"
#include "codec/udp.h"
#include "loop/loop.h"
#include "transport/udp.h"

enum {
    MDG_UDP_RING = 64,               /* units kept for a second sending; as wide as an ACK's bits */
    MDG_UDP_RING_BYTES = 128 * 1024, /* of them */
    MDG_UDP_TRIES_MAX = 8,           /* sendings of a unit, whoever asks: a NACK is short */
    MDG_UDP_RETRY_MS = 250,          /* doubled with each try */
    MDG_UDP_RETRY_MAX_MS = 4000,
    MDG_UDP_DOUBLE_HI_MS = 2000 /* the network may bring the code that was typed twice */
};

struct mdg_udp_sent {
    struct mdg_chunk chunk; /* blob NULL: free, or acknowledged */
    uint32_t seq;
    uint8_t flags, tries;
    uint64_t due_ms; /* of the next sending, where an acknowledgement is wanted */
};

struct mdg_udp_peer {
    struct mdg_link link;
    struct mdg_udp_hall *hall;
    struct mdg_addr addr;
    struct mdg_list in_hall;
    struct mdg_account *account; /* of its address */
    struct mdg_udp_sent *ring;   /* MDG_UDP_RING of them, by seq; NULL until something is sent */
    size_t ring_bytes;
    uint64_t heard_ms, opened_ms;
    uint64_t nonce;               /* of the HELLO that opened it: another one is another client's */
    struct mdg_udp_window window; /* of what the client sent */
    uint32_t next_seq;            /* of ours; starts at 1 */
    struct mdg_buf lines;         /* a person's, said in this turn */
    struct mdg_defer turn_over, end;
    uint16_t close_code;
    uint8_t key_len;
    bool person, wants_acks, paused, refused, closing;
    bool lost; /* nobody is at its address: nothing is sent until it is heard again */
    uint8_t key[MDG_ADDR_KEY_MAX], token[MDG_UDP_TOKEN_LEN];
};

struct mdg_udp_hall {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_udp *socket;
    const struct mdg_udp_options *options;
    const struct mdg_udp_visitors *visitors;
    void *arg;
    struct mdg_map by_addr, by_token;
    struct mdg_list peers;
    struct mdg_timer sweep;
    uint64_t secret[2];
    uint64_t swept_ms;     /* when idle peers were looked for last */
    uint32_t answers_left; /* to unproven addresses, in this second */
    bool closed;
};

extern const struct mdg_carrier mdg_udp_carrier;
extern const struct mdg_framing mdg_udp_framing, mdg_udp_line_framing;
extern const struct mdg_link_user mdg_udp_nobody;

/* Sends a packet that has no unit. Lost when the socket is full: it is UDP. */
void mdg_udp_say(struct mdg_udp_hall *hall, const struct mdg_addr *to,
                 const struct mdg_udp_packet *p);
/* A datagram of a peer that came in. */
void mdg_udp_peer_take(struct mdg_udp_peer *peer, struct mdg_udp_packet *p);
/* Sends again what waited too long for its acknowledgement. */
void mdg_udp_peer_retry(struct mdg_udp_peer *peer, uint64_t now_ms);
/* After its hall is set. */
void mdg_udp_peer_begin(struct mdg_udp_peer *peer);
/* The socket has room again. */
void mdg_udp_peer_writable(struct mdg_udp_peer *peer);
/* Its address and token are free at once; on_close and the end come later in this turn. */
void mdg_udp_peer_end(struct mdg_udp_peer *peer, int code);

#endif
