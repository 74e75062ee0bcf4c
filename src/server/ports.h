/* What the ports and the spreading of connections share. */
#ifndef MDG_PORTS_H
#define MDG_PORTS_H

#include "server/server.h"

struct mdg_moved;
struct mdg_port_slot;

/* The same port on another worker; NULL when it does not listen there (a unix socket). */
struct mdg_port_slot *mdg_port_of(struct mdg_worker *w, size_t index);
struct mdg_worker *mdg_port_worker(const struct mdg_port_slot *port);
/* A connection that was accepted by another worker goes on as if it had come here. */
int mdg_port_attach(struct mdg_port_slot *port, struct mdg_moved *m,
                    struct mdg_stream **out) MDG_NODISCARD;

/* spread.c: true when the connection, fresh from accept, went to a less busy worker. */
bool mdg_spread(struct mdg_worker *here, struct mdg_stream *s, size_t port_index) MDG_NODISCARD;
/* Tells the others how many connections this worker has. */
void mdg_spread_count(struct mdg_worker *w);

#endif
