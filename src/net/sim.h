/* Streams and datagrams without a kernel, for tests: pairs in memory on a loop of kind
 * MDG_LOOP_SIM. Delivery is cut, delayed, reset, lost, reordered and doubled as a seeded generator
 * says, so that a failure repeats from its seed. */
#ifndef MDG_SIM_H
#define MDG_SIM_H

#include "base/base.h"
#include "net/stream.h"
#include "net/udp.h"

struct mdg_sim;

struct mdg_sim_config {
    uint64_t seed;
    uint32_t delay_max_ms; /* each delivery waits 0..this */
    uint32_t piece_max;    /* longest piece delivered at once; 0: no cuts */
    uint32_t window_bytes; /* a stream's "socket buffer": beyond it sends are short; 0: 64 KiB */
    uint32_t reset_per_million;                                      /* per delivery */
    uint32_t loss_per_million, dup_per_million, reorder_per_million; /* per datagram */
};

int mdg_sim_new(struct mdg_net *net, const struct mdg_sim_config *config,
                struct mdg_sim **out) MDG_NODISCARD;
/* After its streams and sockets are gone (mdg_net_free). */
void mdg_sim_free(struct mdg_sim *sim);
/* A connected pair; each end has its owner. */
int mdg_sim_pair(struct mdg_sim *sim, const struct mdg_stream_user *user_a, void *arg_a,
                 const struct mdg_stream_user *user_b, void *arg_b, struct mdg_stream **a,
                 struct mdg_stream **b) MDG_NODISCARD;
/* The peer vanishes: nothing arrives any more in either direction, no end is told. */
void mdg_sim_vanish(struct mdg_stream *s);
/* Both ends see ECONNRESET. */
void mdg_sim_reset(struct mdg_stream *s);
/* Datagrams: mdg_udp_new on this net makes simulated sockets from now on. config->addr only needs
 * to be unique (port 0: one is found); every datagram names its receiver. */
/* A datagram whose sender's address is a lie. MDG_E_NO_MEMORY. */
int mdg_sim_forge(struct mdg_sim *sim, const struct mdg_addr *from, const struct mdg_addr *to,
                  struct mdg_slice bytes) MDG_NODISCARD;
/* Changes what happens to datagrams from now on. */
void mdg_sim_weather(struct mdg_sim *sim, uint32_t loss_per_million, uint32_t dup_per_million,
                     uint32_t reorder_per_million);

#endif
