/* The table of rooms, their members' slots, their logs, and when a room is forgotten. */
#include "base/utf8.h"
#include "hub/impl.h"
#include <stdlib.h>

enum { LOGS_PER_TICK = 256, IDLE_PER_TICK = 1024 };

bool mdg_channel_name_ok(const struct mdg_hub *h, struct mdg_slice name)
{
    if (name.len == 0 || name.len > h->config.channel_name_bytes_max)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        bool c1 = name.data[i] == 0xc2 && i + 1 < name.len && name.data[i + 1] < 0xa0;
        if (name.data[i] < 0x20 || name.data[i] == 0x7f || c1) /* controls: U+0000.., U+0080.. */
            return false;
    }
    return mdg_utf8_valid(name);
}

struct mdg_slice mdg_channel_name(const struct mdg_channel *c)
{
    return mdg_slice(c->name, c->name_len);
}

uint64_t mdg_hub_new_epoch(struct mdg_hub *h)
{
    uint64_t parts[3] = {++h->epochs, h->unix_ms, h->worker};
    uint64_t epoch = mdg_siphash(h->seed, mdg_slice(parts, sizeof parts));
    return epoch ? epoch : 1;
}

static uint32_t hash_name(const struct mdg_hub *h, struct mdg_slice name)
{
    return (uint32_t)mdg_siphash(h->seed, name);
}

static struct mdg_channel *find_hashed(const struct mdg_hub *h, struct mdg_slice name,
                                       uint32_t hash)
{
    struct mdg_channel *c = h->channels[hash & h->channel_mask];
    while (c && (c->hash != hash || !mdg_slice_eq(mdg_channel_name(c), name)))
        c = c->hash_next;
    return c;
}

struct mdg_channel *mdg_channel_find(const struct mdg_hub *h, struct mdg_slice name)
{
    return find_hashed(h, name, hash_name(h, name));
}

/* When memory is short the chains just get longer. */
static void grow_table(struct mdg_hub *h)
{
    uint32_t mask = h->channel_mask * 2 + 1;
    struct mdg_channel **table = calloc((size_t)mask + 1, sizeof *table);
    if (!table)
        return;
    for (size_t i = 0; i <= h->channel_mask; i++) {
        for (struct mdg_channel *c = h->channels[i], *next; c; c = next) {
            next = c->hash_next;
            c->hash_next = table[c->hash & mask];
            table[c->hash & mask] = c;
        }
    }
    free(h->channels);
    h->channels = table;
    h->channel_mask = mask;
}

/* Makes room for a new one by forgetting the room that has been idle for longest; one with messages
 * only when there is no other. */
static bool evict_idle(struct mdg_hub *h)
{
    struct mdg_list *oldest = mdg_list_first(&h->idle);
    if (!oldest)
        oldest = mdg_list_first(&h->idle_kept);
    if (!oldest)
        return false;
    struct mdg_channel *c = MDG_CONTAINER_OF(oldest, struct mdg_channel, link);
    mdg_replica_unsubscribe(h, c);
    mdg_channel_free(h, c);
    return true;
}

int mdg_channel_get(struct mdg_hub *h, struct mdg_slice name, struct mdg_channel **out)
{
    uint32_t hash = hash_name(h, name);
    struct mdg_channel *c = find_hashed(h, name, hash);
    if (c) {
        *out = c;
        return 0;
    }
    if (h->channel_count >= h->config.channels_max && !evict_idle(h))
        return MDG_E_TOO_BIG;
    c = malloc(sizeof *c + name.len);
    if (!c)
        return MDG_E_NO_MEMORY;
    *c = (struct mdg_channel){.hash = hash, .name_len = (uint16_t)name.len};
    memcpy(c->name, name.data, name.len);
    mdg_list_init(&c->link);
    if (mdg_hub_owner(h, name) == h->worker) {
        c->flags = CHANNEL_OWNER | CHANNEL_SYNCED;
        c->epoch = mdg_hub_new_epoch(h);
        c->next_seq = 1;
    }
    if (h->channel_count > h->channel_mask)
        grow_table(h);
    c->hash_next = h->channels[hash & h->channel_mask];
    h->channels[hash & h->channel_mask] = c;
    h->channel_count++;
    mdg_channel_settle(h, c);
    *out = c;
    return 0;
}

static void free_log(struct mdg_hub *h, struct mdg_channel *c)
{
    if (!c->log)
        return;
    h->log_bytes -= c->log->bytes;
    mdg_log_fini(c->log);
    free(c->log);
    c->log = NULL;
}

void mdg_channel_free(struct mdg_hub *h, struct mdg_channel *c)
{
    assert(c->member_count == 0);
    struct mdg_channel **at = &h->channels[c->hash & h->channel_mask];
    while (*at != c)
        at = &(*at)->hash_next;
    *at = c->hash_next;
    h->channel_count--;
    mdg_list_remove(&c->link);
    free_log(h, c);
    mdg_fanout_free(c);
    mdg_room_free(h, c);
    if (c->member_cap)
        free(c->members.many);
    free(c);
}

static int grow_slots(struct mdg_channel *c)
{
    uint32_t cap = c->member_cap ? c->member_cap * 2 : 4;
    struct mdg_member **many = malloc(cap * sizeof(struct mdg_member *));
    if (!many)
        return MDG_E_NO_MEMORY;
    memcpy(many, mdg_channel_slots(c), c->slot_count * sizeof(struct mdg_member *));
    if (c->member_cap)
        free(c->members.many);
    c->members.many = many;
    c->member_cap = cap;
    return 0;
}

int mdg_channel_add_member(struct mdg_channel *c, struct mdg_member *m)
{
    uint32_t room = c->member_cap ? c->member_cap : 1;
    if (c->slot_count == room) {
        int err = grow_slots(c);
        if (err < 0)
            return err;
    }
    m->index = c->slot_count;
    m->channel = c;
    mdg_channel_slots(c)[c->slot_count++] = m;
    c->member_count++;
    return 0;
}

static void free_slots_if_empty(struct mdg_channel *c)
{
    if (c->slot_count == 0 && c->member_cap) {
        free(c->members.many);
        c->members.many = NULL;
        c->member_cap = 0;
    }
}

/* During a fan-out the slot stays empty, so that no other member moves to where it is missed. */
void mdg_channel_remove_member(struct mdg_hub *h, struct mdg_channel *c, struct mdg_member *m)
{
    struct mdg_member **slots = mdg_channel_slots(c);
    assert(slots[m->index] == m);
    c->member_count--;
    if (c->fanout) {
        slots[m->index] = NULL;
        c->flags |= CHANNEL_HOLES;
    } else {
        slots[m->index] = slots[--c->slot_count];
        slots[m->index]->index = m->index;
        free_slots_if_empty(c);
    }
    mdg_channel_settle(h, c);
}

/* Each hole takes the last member, so that only as many members are touched as there are holes. */
void mdg_channel_compact(struct mdg_channel *c)
{
    struct mdg_member **slots = mdg_channel_slots(c);
    if (!(c->flags & CHANNEL_HOLES))
        return;
    c->flags &= (uint16_t)~CHANNEL_HOLES;
    for (uint32_t i = 0; i < c->slot_count; i++) {
        while (c->slot_count > i && !slots[c->slot_count - 1])
            c->slot_count--;
        if (i < c->slot_count && !slots[i]) {
            slots[i] = slots[--c->slot_count];
            slots[i]->index = i;
        }
    }
    free_slots_if_empty(c);
}

void mdg_channel_mark_dirty(struct mdg_hub *h, struct mdg_channel *c)
{
    if (c->flags & CHANNEL_DIRTY)
        return;
    mdg_list_remove(&c->link);
    mdg_list_push(&h->dirty, &c->link);
    c->flags = (uint16_t)((c->flags & ~CHANNEL_IDLE) | CHANNEL_DIRTY);
    mdg_hub_wake(h);
}

void mdg_channel_settle(struct mdg_hub *h, struct mdg_channel *c)
{
    if (c->flags & CHANNEL_DIRTY)
        return;
    bool idle = c->member_count == 0 && !c->room && !(c->log && c->log->in_flight);
    mdg_list_remove(&c->link);
    c->flags &= (uint16_t)~CHANNEL_IDLE;
    if (!idle)
        return;
    c->flags |= CHANNEL_IDLE;
    c->idle_since_s = (uint32_t)(h->now_ms / 1000);
    bool kept = c->log && mdg_log_count(c->log) > 0;
    mdg_list_push(kept ? &h->idle_kept : &h->idle, &c->link);
}

int mdg_channel_log_reserve(struct mdg_hub *h, struct mdg_channel *c)
{
    uint32_t count_max = h->config.channel.log_count_max;
    if (count_max == 0)
        return 0;
    if (!c->log) {
        struct mdg_log *log = malloc(sizeof *log);
        if (!log)
            return MDG_E_NO_MEMORY;
        mdg_log_init(log, c, c->next_seq);
        mdg_list_push(&h->logs, &log->in_hub);
        c->log = log;
    }
    h->log_bytes -= c->log->bytes;
    int err = mdg_log_reserve(c->log, count_max);
    h->log_bytes += c->log->bytes;
    return err;
}

static void drop_first(struct mdg_hub *h, struct mdg_log *log)
{
    h->log_bytes -= log->bytes;
    mdg_log_drop_first(log);
    h->log_bytes += log->bytes;
}

/* All logs together are bounded: the clock hand takes from rooms that were not written to lately
 * (attack: many rooms, a big message in each). */
static void make_room(struct mdg_hub *h)
{
    while (h->log_bytes > h->config.log_bytes_total_max && !mdg_list_empty(&h->logs)) {
        struct mdg_log *log = MDG_CONTAINER_OF(mdg_list_first(&h->logs), struct mdg_log, in_hub);
        mdg_list_remove(&log->in_hub);
        mdg_list_push(&h->logs, &log->in_hub);
        if (log->touched && mdg_log_count(log) > 0)
            log->touched = false;
        else if (mdg_log_count(log) > 0)
            drop_first(h, log);
        else if (log->in_flight == 0)
            free_log(h, log->channel);
    }
}

void mdg_channel_log_push(struct mdg_hub *h, struct mdg_channel *c, struct mdg_msg *m)
{
    if (!c->log)
        return;
    h->log_bytes -= c->log->bytes;
    mdg_log_push(c->log, m);
    h->log_bytes += c->log->bytes;
    while (c->log->bytes > h->config.channel.log_bytes_max && mdg_log_count(c->log) > 1)
        drop_first(h, c->log);
    make_room(h);
    if (c->flags & CHANNEL_IDLE) /* used just now, and it has messages */
        mdg_channel_settle(h, c);
}

void mdg_channel_log_reset(struct mdg_hub *h, struct mdg_channel *c, uint64_t next_seq)
{
    if (c->log) {
        h->log_bytes -= c->log->bytes;
        mdg_log_reset(c->log, next_seq);
    }
}

static void age_log(struct mdg_hub *h, struct mdg_log *log)
{
    uint64_t age_ms = (uint64_t)h->config.channel.log_age_max_s * 1000;
    while (mdg_log_count(log) > 0 &&
           mdg_log_at(log, log->first)->content->unix_ms + age_ms < h->unix_ms)
        drop_first(h, log);
}

static void age_logs(struct mdg_hub *h)
{
    if (h->config.channel.log_age_max_s == 0)
        return;
    struct mdg_list *stop = h->logs.prev;
    for (int n = 0; n < LOGS_PER_TICK && !mdg_list_empty(&h->logs); n++) {
        struct mdg_list *at = mdg_list_first(&h->logs);
        struct mdg_log *log = MDG_CONTAINER_OF(at, struct mdg_log, in_hub);
        mdg_list_remove(at);
        mdg_list_push(&h->logs, at);
        age_log(h, log);
        if (mdg_log_count(log) == 0 && log->channel->member_count == 0 && log->in_flight == 0)
            free_log(h, log->channel);
        if (at == stop)
            break;
    }
}

/* A replica goes when nobody here needs it; an owner's room when its messages are gone too. */
static void forget_idle(struct mdg_hub *h, struct mdg_list *idle)
{
    uint64_t now_s = h->now_ms / 1000;
    for (int n = 0; n < IDLE_PER_TICK; n++) {
        struct mdg_list *at = mdg_list_first(idle);
        if (!at)
            return;
        struct mdg_channel *c = MDG_CONTAINER_OF(at, struct mdg_channel, link);
        if (c->idle_since_s + h->config.channel.idle_s > now_s)
            return;
        if ((c->flags & CHANNEL_OWNER) && c->log && mdg_log_count(c->log) > 0) {
            mdg_channel_settle(h, c); /* looked at again in another idle_s */
            continue;
        }
        mdg_replica_unsubscribe(h, c);
        mdg_channel_free(h, c);
    }
}

void mdg_channels_tick(struct mdg_hub *h)
{
    age_logs(h);
    forget_idle(h, &h->idle);
    forget_idle(h, &h->idle_kept);
}
