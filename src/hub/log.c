/* A ring that doubles up to the maximum, so that a quiet room stays small. */
#include "hub/log.h"
#include <stdlib.h>

enum { FIRST_CAP = 4 };

void mdg_log_init(struct mdg_log *log, struct mdg_channel *channel, uint64_t next_seq)
{
    *log = (struct mdg_log){.first = next_seq, .next = next_seq, .channel = channel};
    mdg_list_init(&log->in_hub);
}

void mdg_log_fini(struct mdg_log *log)
{
    mdg_log_reset(log, log->next);
    free(log->ring);
    mdg_list_remove(&log->in_hub);
    *log = (struct mdg_log){0};
}

static int grow(struct mdg_log *log)
{
    uint32_t cap = log->cap ? log->cap * 2 : FIRST_CAP;
    struct mdg_msg **ring = malloc(cap * sizeof(struct mdg_msg *));
    if (!ring)
        return MDG_E_NO_MEMORY;
    for (uint64_t seq = log->first; seq < log->next; seq++)
        ring[seq & (cap - 1)] = log->ring[seq & (log->cap - 1)];
    free(log->ring);
    log->ring = ring;
    log->cap = cap;
    return 0;
}

int mdg_log_reserve(struct mdg_log *log, uint32_t count_max)
{
    assert(count_max > 0);
    while (mdg_log_count(log) >= count_max)
        mdg_log_drop_first(log);
    return mdg_log_count(log) == log->cap ? grow(log) : 0;
}

void mdg_log_push(struct mdg_log *log, struct mdg_msg *m)
{
    assert(m->seq == log->next && mdg_log_count(log) < log->cap);
    log->ring[m->seq & (log->cap - 1)] = mdg_msg_ref(m);
    log->next++;
    log->bytes += m->content->bytes + sizeof *m;
    log->touched = true;
}

void mdg_log_drop_first(struct mdg_log *log)
{
    struct mdg_msg *m = mdg_log_at(log, log->first);
    log->first++;
    log->bytes -= m->content->bytes + sizeof *m;
    mdg_msg_unref(m);
}

void mdg_log_reset(struct mdg_log *log, uint64_t next_seq)
{
    while (log->first < log->next)
        mdg_log_drop_first(log);
    log->first = log->next = next_seq;
}
