/* UDP as a part of the server's ports. */
#ifndef MDG_SERVER_UDP_H
#define MDG_SERVER_UDP_H

#include "server/server.h"

/* Listens at the bind's address, on this worker. Errors as mdg_udp_hall_new. */
int mdg_udp_open(struct mdg_worker *w, struct mdg_bind *b) MDG_NODISCARD;
void mdg_udp_stop(struct mdg_worker *w); /* says good-bye to everyone */
void mdg_udp_fini(struct mdg_worker *w); /* the loop must run once more afterwards */

#endif
