/* A datagram socket as udp.c and those who carry its datagrams see it. */
#ifndef MDG_UDP_INTERNAL_H
#define MDG_UDP_INTERNAL_H

#include "net/internal.h"
#include "net/udp.h"

enum { MDG_UDP_CHUNKS_MAX = 8 };

struct mdg_datagram {
    struct sockaddr_in6 to; /* large enough for either family */
    uint8_t to_len, chunks; /* to_len 0: the connected peer */
};

/* What carries the datagrams: the kernel, or the simulation. A net has one of them. */
struct mdg_udp_wire {
    /* Sets u->addr. -errno, MDG_E_NO_MEMORY; then nothing stays open. */
    int (*open)(struct mdg_udp *u, const struct mdg_udp_config *config);
    /* Sends what is queued; what stays in the queue waits for room. */
    void (*flush)(struct mdg_udp *u);
    void (*close)(struct mdg_udp *u);
};

extern const struct mdg_udp_wire mdg_udp_kernel;

struct mdg_udp {
    struct mdg_source source;
    struct mdg_net *net;
    const struct mdg_udp_user *user;
    void *arg;
    struct mdg_list link; /* dirty or closing */
    int fd, reason;
    bool closing, dirty, wants_out, refused;
    uint32_t recv_max, out_max;
    struct mdg_addr addr;
    struct mdg_datagram *queue; /* in order; their chunks stand in `chunks`, in order too */
    struct mdg_chunk *chunks;
    size_t len, cap, chunks_len, chunks_cap;
};

/* Drops the first n datagrams of the queue. */
void mdg_udp_drop(struct mdg_udp *u, size_t n);
/* Nobody is at that address any more. */
void mdg_udp_unreachable(struct mdg_udp *u, const struct mdg_addr *peer);

#endif
