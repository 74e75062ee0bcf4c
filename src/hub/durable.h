/* Durable subscriptions: while the subscriber is away, a queue collects what the room hears. On the
 * worker that owns the queue a hidden member of the room puts each message into it. */
#ifndef MDG_DURABLE_H
#define MDG_DURABLE_H

#include "base/base.h"
#include "hub/hub.h"
#include "hub/queue.h"

struct mdg_durables;

/* Becomes the binder of the queues. All three live at least as long. */
int mdg_durables_new(struct mdg_hub *hub, struct mdg_queues *queues, const uint64_t seed[2],
                     struct mdg_durables **out) MDG_NODISCARD;
/* Before the hub and the queues are freed. */
void mdg_durables_free(struct mdg_durables *d); /* NULL is allowed */
/* Messages that could not be kept: the queue was full, or memory short. */
uint64_t mdg_durables_lost(const struct mdg_durables *d);

#endif
