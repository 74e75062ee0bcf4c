/* The owner of a room: gives out seqs, passes messages to the workers that have members, and
 * answers questions about the room. */
#include "hub/impl.h"
#include <stdlib.h>

static bool has_bit(const uint64_t *bits, unsigned at)
{
    return bits[at / 64] >> (at % 64) & 1;
}

static void set_bit(uint64_t *bits, unsigned at, bool on)
{
    if (on)
        bits[at / 64] |= (uint64_t)1 << (at % 64);
    else
        bits[at / 64] &= ~((uint64_t)1 << (at % 64));
}

/* That worker missed something: it gets the whole log again as soon as there is memory. */
static void mark_lost(struct mdg_hub *h, struct mdg_room *r, unsigned worker)
{
    if (has_bit(r->lost, worker))
        return;
    set_bit(r->lost, worker, true);
    if (r->lost_count++ == 0)
        h->lost_rooms++;
}

static void append_to(struct mdg_hub *h, struct mdg_channel *c, unsigned worker,
                      struct mdg_content *content, uint64_t seq)
{
    if (has_bit(c->room->lost, worker))
        return;
    struct mdg_op *op = mdg_op_new(h, OP_APPEND, mdg_slice(NULL, 0));
    if (!op) {
        mark_lost(h, c->room, worker);
        return;
    }
    op->content = mdg_content_ref(content);
    op->at = (struct mdg_position){c->epoch, seq};
    mdg_op_send(h, worker, op);
}

void mdg_owner_feed(struct mdg_hub *h, struct mdg_channel *c, unsigned worker)
{
    struct mdg_room *r = mdg_room_get(h, c);
    if (!r || has_bit(r->subscribers, worker))
        return;
    struct mdg_op *op = mdg_op_new(h, OP_SNAPSHOT, mdg_channel_name(c));
    if (!op) {
        mdg_room_drop_if_unused(h, c);
        return;
    }
    op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    set_bit(r->subscribers, worker, true);
    r->subscriber_count++;
    mdg_op_send(h, worker, op);
}

static void distribute_to_workers(struct mdg_hub *h, struct mdg_channel *c,
                                  struct mdg_content *content, uint64_t seq)
{
    if (!c->room || c->room->subscriber_count == 0)
        return;
    for (unsigned i = 0; i < h->workers; i++) {
        if (has_bit(c->room->subscribers, i))
            append_to(h, c, i, content, seq);
    }
}

/* Volatile messages: to whoever is there now. */
void mdg_owner_distribute(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content,
                          uint64_t seq)
{
    distribute_to_workers(h, c, content, seq);
    if (c->member_count == 0 && !mdg_wildcards_any(h))
        return;
    struct mdg_msg *m = mdg_msg_new(content, c->epoch, seq);
    if (!m)
        return;
    mdg_content_ref(content);
    mdg_fanout_add(h, c, m);
    mdg_msg_unref(m);
}

static int append(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content)
{
    int err = mdg_channel_log_reserve(h, c);
    struct mdg_msg *m = err < 0 ? NULL : mdg_msg_new(content, c->epoch, c->next_seq);
    if (!m)
        return MDG_E_NO_MEMORY;
    mdg_content_ref(content);
    mdg_interests_feed(h, c);
    c->next_seq++;
    mdg_channel_log_push(h, c, m);
    mdg_fanout_add(h, c, m);
    distribute_to_workers(h, c, content, m->seq);
    mdg_msg_unref(m);
    return 0;
}

void mdg_owner_append_safe(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content)
{
    uint64_t seq = c->next_seq;
    mdg_interests_feed(h, c);
    mdg_replica_push(h, c, content, seq);
    distribute_to_workers(h, c, content, seq);
}

static void publish(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c;
    op->err = mdg_channel_get(h, op->content->channel, &c);
    bool keep = h->keeper && h->config.channel.log_count_max > 0 &&
                !(op->content->flags & MDG_MSG_VOLATILE);
    if (op->err == 0 && keep) {
        op->err = mdg_keep(h, c, op);
        if (op->err == 0)
            return; /* answered when it is safe */
    } else if (op->err == 0 && !(op->content->flags & MDG_MSG_VOLATILE))
        op->err = append(h, c, op->content);
    else if (op->err == 0) {
        mdg_interests_feed(h, c);
        mdg_owner_distribute(h, c, op->content, 0);
    }
    if (op->err == 0)
        op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    mdg_op_answer(h, op);
}

static void join(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c;
    op->err = mdg_channel_get(h, mdg_op_name(op), &c);
    if (op->err == 0 && !op->hidden)
        op->err = mdg_user_join(h, c, op->who, &op->entry);
    /* Without memory for the list the join holds; the newcomer is told the number alone. */
    if (op->err == 0 && mdg_room_list(h, c, op) < 0)
        op->counts_only = true;
    if (op->err == 0)
        op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    mdg_op_answer(h, op);
}

/* References to the messages from..to (exclusive) of the log. */
static int list_items(const struct mdg_channel *c, uint64_t from, uint64_t to, struct mdg_op *op)
{
    if (from >= to)
        return 0;
    op->items = malloc((size_t)(to - from) * sizeof *op->items);
    if (!op->items)
        return MDG_E_NO_MEMORY;
    for (uint64_t seq = from; seq < to; seq++) {
        struct mdg_msg *m = mdg_log_at(c->log, seq);
        op->items[op->item_count++] = (struct mdg_op_item){mdg_content_ref(m->content), seq};
    }
    return 0;
}

/* A snapshot: the position and as much of the log as memory allows. */
static void fill_snapshot(const struct mdg_channel *c, struct mdg_op *op)
{
    op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    if (list_items(c, mdg_channel_first_seq(c), c->next_seq, op) < 0)
        op->more = true;
}

static void subscribe(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = NULL;
    op->err = mdg_channel_get(h, mdg_op_name(op), &c);
    struct mdg_room *r = op->err < 0 ? NULL : mdg_room_get(h, c);
    if (op->err == 0 && !r)
        op->err = MDG_E_NO_MEMORY;
    if (op->err == 0) {
        if (!has_bit(r->subscribers, op->asker))
            r->subscriber_count++;
        set_bit(r->subscribers, op->asker, true);
        fill_snapshot(c, op);
    }
    mdg_op_answer(h, op);
}

static void unsubscribe(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = mdg_channel_find(h, mdg_op_name(op));
    struct mdg_room *r = c ? c->room : NULL;
    if (r && has_bit(r->subscribers, op->asker)) {
        set_bit(r->subscribers, op->asker, false);
        r->subscriber_count--;
        if (has_bit(r->lost, op->asker)) {
            set_bit(r->lost, op->asker, false);
            if (--r->lost_count == 0)
                h->lost_rooms--;
        }
        mdg_room_drop_if_unused(h, c);
    }
    mdg_op_free(op);
}

static void history(struct mdg_hub *h, struct mdg_op *op)
{
    const struct mdg_channel *c = mdg_channel_find(h, mdg_op_name(op));
    if (c) {
        uint64_t first = mdg_channel_first_seq(c), end = c->next_seq;
        if (op->number && op->number < end)
            end = op->number > first ? op->number : first;
        uint64_t from = end - first > op->limit ? end - op->limit : first;
        op->at.epoch = c->epoch;
        op->more = from > first;
        op->err = list_items(c, from, end, op);
    }
    mdg_op_answer(h, op);
}

static void since(struct mdg_hub *h, struct mdg_op *op)
{
    /* Made when it is not there: the epoch that is answered must be the one that goes on. */
    struct mdg_channel *c;
    op->err = mdg_channel_get(h, mdg_op_name(op), &c);
    if (op->err == 0) {
        uint64_t first = mdg_channel_first_seq(c), from = first;
        op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
        if (op->after.epoch == c->epoch && op->after.seq < c->next_seq) {
            op->recovered = op->after.seq + 1 >= first;
            if (op->recovered) {
                from = op->after.seq + 1;
            } else {
                op->missing_from = op->after.seq + 1;
                op->missing_to = first - 1;
            }
        }
        uint64_t end = c->next_seq - from > op->limit ? from + op->limit : c->next_seq;
        op->more = end < c->next_seq;
        op->err = list_items(c, from, end, op);
    }
    mdg_op_answer(h, op);
}

static void users(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = mdg_channel_find(h, mdg_op_name(op));
    if (c)
        op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    op->err = mdg_room_list(h, c, op);
    mdg_op_answer(h, op);
}

/* The fullest rooms first; a heap would be faster, but rooms that people look for are few. */
static int by_count(const void *a, const void *b)
{
    const struct mdg_room *const *x = a, *const *y = b;
    return (*x)->user_count < (*y)->user_count ? 1 : (*x)->user_count > (*y)->user_count ? -1 : 0;
}

static int list_rooms(struct mdg_hub *h, struct mdg_op *op)
{
    size_t count = 0, names = 0, at = 0;
    for (struct mdg_list *it = h->rooms.next; it != &h->rooms; it = it->next)
        count++;
    struct mdg_room **all = malloc((count + 1) * sizeof(struct mdg_room *));
    if (!all)
        return MDG_E_NO_MEMORY;
    count = 0;
    for (struct mdg_list *it = h->rooms.next; it != &h->rooms; it = it->next)
        all[count++] = MDG_CONTAINER_OF(it, struct mdg_room, in_hub);
    qsort(all, count, sizeof(struct mdg_room *), by_count);
    count = mdg_min_size(count, op->limit);
    for (size_t i = 0; i < count; i++)
        names += all[i]->channel->name_len;
    op->rooms = malloc((count + 1) * sizeof *op->rooms);
    op->names = malloc(names + 1);
    if (op->rooms && op->names && names <= UINT32_MAX) {
        for (size_t i = 0; i < count; i++) {
            const struct mdg_channel *c = all[i]->channel;
            op->rooms[i] = (struct mdg_op_room){all[i]->user_count, (uint32_t)at, c->name_len};
            memcpy(op->names + at, c->name, c->name_len);
            at += c->name_len;
        }
        op->room_count = count;
    }
    free(all);
    return op->room_count == count ? 0 : MDG_E_NO_MEMORY;
}

static void direct(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_session *s = mdg_session_find(h, op->number);
    struct mdg_msg *m = s && s->ops->direct ? mdg_msg_new(op->content, 0, 0) : NULL;
    if (m) {
        op->content = NULL;
        s->ops->direct(s, m);
        mdg_msg_unref(m);
    }
    mdg_op_free(op);
}

static void leave(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_leave *l = (struct mdg_leave *)(void *)op;
    assert(l->small);
    mdg_user_leave(h, l->entry);
    mdg_op_free(op);
}

void mdg_owner_handle(struct mdg_hub *h, struct mdg_op *op)
{
    switch ((enum mdg_op_kind)op->kind) {
    case OP_PUBLISH:
        publish(h, op);
        return;
    case OP_JOIN:
        join(h, op);
        return;
    case OP_SUBSCRIBE:
        subscribe(h, op);
        return;
    case OP_HISTORY:
        history(h, op);
        return;
    case OP_SINCE:
        since(h, op);
        return;
    case OP_USERS:
        users(h, op);
        return;
    case OP_ROOMS:
        op->err = list_rooms(h, op);
        mdg_op_answer(h, op);
        return;
    case OP_LEAVE:
        leave(h, op);
        return;
    case OP_UNSUBSCRIBE:
        unsubscribe(h, op);
        return;
    case OP_DIRECT:
        direct(h, op);
        return;
    case OP_STORED:
        mdg_kept(h, op);
        return;
    case OP_PATTERN:
        mdg_interest_change(h, op);
        break;
    case OP_APPEND:
    case OP_SNAPSHOT:
        break;
    }
    mdg_op_free(op);
}

static void resync(struct mdg_hub *h, struct mdg_channel *c, unsigned worker)
{
    struct mdg_op *op = mdg_op_new(h, OP_SNAPSHOT, mdg_channel_name(c));
    if (!op)
        return;
    fill_snapshot(c, op);
    if (op->more) {
        mdg_op_free(op);
        return;
    }
    set_bit(c->room->lost, worker, false);
    if (--c->room->lost_count == 0)
        h->lost_rooms--;
    mdg_op_send(h, worker, op);
}

/* Rare (memory was short), so every room is looked at. */
void mdg_owner_resync_lost(struct mdg_hub *h)
{
    for (size_t i = 0; i <= h->channel_mask; i++) {
        for (struct mdg_channel *c = h->channels[i]; c; c = c->hash_next) {
            for (unsigned w = 0; c->room && c->room->lost_count && w < h->workers; w++) {
                if (has_bit(c->room->lost, w))
                    resync(h, c, w);
            }
        }
    }
}
