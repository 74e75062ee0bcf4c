/* The threads of one process as each other's brokers: chains of operations go from hub to hub
 * through lock-free mailboxes and the post queue of the receiver's loop. */
#ifndef MDG_WORKERS_H
#define MDG_WORKERS_H

#include "hub/broker.h"
#include "loop/loop.h"

struct mdg_workers;

/* seed: 16 random bytes; decides which worker owns a room. MDG_E_NO_MEMORY. */
int mdg_workers_new(unsigned count, const uint64_t seed[2], struct mdg_workers **out) MDG_NODISCARD;
/* Makes the hub part of the group; before its worker's thread starts, and for every worker before
 * the first thread starts. With one worker it does nothing. MDG_E_NO_MEMORY. */
int mdg_workers_attach(struct mdg_workers *ws, unsigned worker, struct mdg_loop *loop,
                       struct mdg_hub *hub) MDG_NODISCARD;
/* After all loops, then all hubs were freed (a loop runs what is still posted when it goes). NULL
 * is allowed. */
void mdg_workers_free(struct mdg_workers *ws);
/* Chains that were posted so far, to any worker. Any thread. */
uint64_t mdg_workers_posts(const struct mdg_workers *ws);

#endif
