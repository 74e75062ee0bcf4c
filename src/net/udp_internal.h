/* A datagram socket as udp.c and the simulation see it. */
#ifndef MDG_UDP_INTERNAL_H
#define MDG_UDP_INTERNAL_H

#include "net/internal.h"
#include "net/udp.h"

enum { MDG_UDP_CHUNKS_MAX = 8 };

struct mdg_datagram {
    struct sockaddr_in6 to; /* large enough for either family */
    uint8_t to_len, chunks; /* to_len 0: the connected peer */
};

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
    /* The simulation's; NULL on a real socket. */
    void (*sim_flush)(struct mdg_udp *u);
    void (*sim_close)(struct mdg_udp *u);
    void *sim;
};

struct mdg_udp *mdg_udp_make(struct mdg_net *net, const struct mdg_udp_config *config,
                             const struct mdg_udp_user *user, void *user_arg) MDG_NODISCARD;
void mdg_udp_drop(struct mdg_udp *u, size_t n);

#endif
