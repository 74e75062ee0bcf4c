/* A UDP socket. A turn's datagrams are received with recvmmsg and answered with sendmmsg. */
#ifndef MDG_UDP_H
#define MDG_UDP_H

#include "base/base.h"
#include "base/blob.h"
#include "net/addr.h"

struct mdg_net;
struct mdg_loop;
struct mdg_udp;

enum { MDG_UDP_PAYLOAD_MAX = 65507 }; /* RFC 768 over IPv4: 65,535 - 20 - 8 */

struct mdg_udp_user {
    /* One datagram, of 0 bytes perhaps; the bytes may be rewritten in place. */
    void (*on_datagram)(struct mdg_udp *u, const struct mdg_addr *from, struct mdg_input in);
    /* Room again after a refused send. May be NULL. */
    void (*on_writable)(struct mdg_udp *u);
    /* The host at that address says itself that no socket is there (ICMP port unreachable). Not on
     * a connected socket, which has one peer and is not told. May be NULL. */
    void (*on_unreachable)(struct mdg_udp *u, const struct mdg_addr *peer);
    /* The last call; reason as in streams. */
    void (*on_close)(struct mdg_udp *u, int reason);
};

struct mdg_udp_config {
    struct mdg_addr addr; /* to bind to; len 0: an ephemeral port of the peer's family (client) */
    struct mdg_addr peer; /* len > 0: connected; other senders are not heard */
    int inherited_fd;     /* 0 or below: none */
    bool reuse_port;
    uint32_t recv_max; /* longest datagram that is wanted; longer ones are dropped. 0: 2048 */
    uint32_t out_max;  /* datagrams queued while the socket is full; beyond: MDG_E_FULL. 0: 1024 */
};

int mdg_udp_new(struct mdg_net *net, const struct mdg_udp_config *config,
                const struct mdg_udp_user *user, void *user_arg,
                struct mdg_udp **out) MDG_NODISCARD;
void mdg_udp_close(struct mdg_udp *u, int reason); /* asynchronous, idempotent; NULL is allowed */
void *mdg_udp_arg(const struct mdg_udp *u);
struct mdg_loop *mdg_udp_loop(const struct mdg_udp *u);
const struct mdg_addr *mdg_udp_addr(const struct mdg_udp *u); /* the bound address */

/* One datagram made of n chunks, sent at the end of the turn; references move on 0 as in
 * mdg_stream_send. `to` is NULL on a connected socket. MDG_E_FULL, MDG_E_TOO_BIG (over
 * MDG_UDP_PAYLOAD_MAX, or more than 8 chunks), MDG_E_CLOSED, MDG_E_NO_MEMORY. */
int mdg_udp_send(struct mdg_udp *u, const struct mdg_addr *to, struct mdg_chunk *chunks,
                 size_t n) MDG_NODISCARD;
/* The same for bytes that the caller keeps: they are copied. */
int mdg_udp_write(struct mdg_udp *u, const struct mdg_addr *to, const struct mdg_slice *parts,
                  size_t n) MDG_NODISCARD;

#endif
