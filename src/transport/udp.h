/* Datagrams as a carrier: one socket, many peers (src/codec/udp.h has the format). An address
 * proves itself before it is sent anything but one short answer; a session moves to another address
 * with its token. A unit is a datagram: what does not fit is told, not cut. */
#ifndef MDG_TRANSPORT_UDP_H
#define MDG_TRANSPORT_UDP_H

#include "base/base.h"
#include "net/udp.h"
#include "transport/handshake.h"
#include "transport/link.h"

struct mdg_udp_hall;

struct mdg_udp_options {
    uint32_t datagram_bytes_max; /* sent; 1,200 pass everywhere (RFC 9000 14) */
    uint32_t peers_max;          /* attack: many addresses that prove themselves */
    uint32_t idle_s;             /* of silence before a program's session ends */
    uint32_t typist_idle_s;      /* before a person's does: nc sends no keep-alive */
    uint32_t unproven_per_s;     /* answers to addresses that proved nothing, all together */
};

struct mdg_udp_visitors {
    /* A peer has come in: set l->user and l->user_arg; sending is allowed at once. person: it types
     * lines; otherwise a program whose units are madang.v1. <0: it is turned away. */
    int (*on_open)(struct mdg_link *l, bool person, const struct mdg_handshake *hs, void *arg);
};

/* Binds. options and visitors must outlive the hall. -errno, MDG_E_NO_MEMORY. */
int mdg_udp_hall_new(struct mdg_net *net, const struct mdg_udp_config *socket,
                     const struct mdg_udp_options *options, const struct mdg_udp_visitors *visitors,
                     void *arg, struct mdg_udp_hall **out) MDG_NODISCARD;
const struct mdg_addr *mdg_udp_hall_addr(const struct mdg_udp_hall *hall);
size_t mdg_udp_hall_count(const struct mdg_udp_hall *hall);
/* Says good-bye to everyone; nobody comes in afterwards. */
void mdg_udp_hall_close(struct mdg_udp_hall *hall, int code, struct mdg_slice reason);
/* on_close for those who are left. Run the loop once more afterwards, before it is freed. */
void mdg_udp_hall_free(struct mdg_udp_hall *hall);

#endif
