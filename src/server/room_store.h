/* Rooms that survive a restart: the store behind every worker's hub (parameter "store"). */
#ifndef MDG_ROOM_STORE_H
#define MDG_ROOM_STORE_H

#include "base/base.h"

struct madang;
struct mdg_room_store;
struct mdg_store;

/* Opens the file and gives every hub its rooms back; after the hubs know of each other, before a
 * thread or a listener starts. Nothing without the parameter. Errors have their words. */
int mdg_room_store_open(struct madang *server) MDG_NODISCARD;
/* For other facts that must survive (store/store.h); NULL without the parameter. */
struct mdg_store *mdg_room_store_facts(const struct madang *server);
/* When no worker's thread runs any more, before the loops go: writes what waits. */
void mdg_room_store_stop(struct mdg_room_store *rs);
/* After the loops, before the hubs. */
void mdg_room_store_free(struct mdg_room_store *rs);

#endif
