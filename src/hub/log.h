/* The recent messages of one room, in memory: what history, resume and slow members read. A ring
 * indexed by seq; it holds consecutive seqs of one epoch. Bounded by count, bytes and age. */
#ifndef MDG_LOG_H
#define MDG_LOG_H

#include "base/base.h"
#include "hub/msg.h"

struct mdg_log {
    struct mdg_msg **ring;
    uint32_t cap;         /* of the ring: zero or a power of two */
    bool touched;         /* appended to since the last round of the hub's clock hand */
    uint64_t first, next; /* seqs: the oldest kept (== next when empty), the next to come */
    size_t bytes;
    uint32_t in_flight;   /* messages that a store is writing: not in the log yet */
    uint64_t flying_next; /* while there are any: the seq of the next to be written */
    struct mdg_list in_hub;
    struct mdg_channel *channel;
};

void mdg_log_init(struct mdg_log *log, struct mdg_channel *channel, uint64_t next_seq);
void mdg_log_fini(struct mdg_log *log);
/* Room for one more message, within count_max by dropping the oldest. MDG_E_NO_MEMORY. */
int mdg_log_reserve(struct mdg_log *log, uint32_t count_max) MDG_NODISCARD;
/* Appends the message that has seq == next, with a reference of its own. After reserve. */
void mdg_log_push(struct mdg_log *log, struct mdg_msg *m);
void mdg_log_drop_first(struct mdg_log *log);
/* Forgets everything; the next message will be `next_seq`. */
void mdg_log_reset(struct mdg_log *log, uint64_t next_seq);

static inline uint64_t mdg_log_count(const struct mdg_log *log)
{
    return log->next - log->first;
}

/* first <= seq < next */
static inline struct mdg_msg *mdg_log_at(const struct mdg_log *log, uint64_t seq)
{
    assert(seq >= log->first && seq < log->next);
    return log->ring[seq & (log->cap - 1)];
}

#endif
