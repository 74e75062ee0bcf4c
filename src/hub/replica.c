/* What comes back to a worker: answers to its questions, and the flow of rooms that another worker
 * owns. Messages come from the owner in order, so a replica only appends. */
#include "hub/impl.h"
#include <stdlib.h>

void mdg_replica_push(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content,
                      uint64_t seq)
{
    struct mdg_msg *m = NULL;
    bool logged = mdg_channel_log_reserve(h, c) == 0;
    if (logged)
        m = mdg_msg_new(content, c->epoch, seq);
    if (!m) {
        /* Without memory the message is a gap for everyone here: the log starts behind it. */
        mdg_channel_log_reset(h, c, seq + 1);
        c->next_seq = seq + 1;
        c->flags |= CHANNEL_LAGGING;
        mdg_channel_mark_dirty(h, c);
        return;
    }
    mdg_content_ref(content);
    c->next_seq = seq + 1;
    mdg_channel_log_push(h, c, m);
    mdg_fanout_add(h, c, m);
    mdg_msg_unref(m);
}

/* A room that is not known here yet, or no more, but that a pattern here matches. */
static struct mdg_channel *start_feed(struct mdg_hub *h, struct mdg_slice name,
                                      struct mdg_position before)
{
    struct mdg_channel *c = NULL;
    if (!mdg_wildcards_match(h, name) || mdg_channel_get(h, name, &c) < 0)
        return NULL;
    c->flags |= CHANNEL_FED;
    if (!(c->flags & CHANNEL_SYNCED)) {
        c->flags |= CHANNEL_SYNCED;
        c->epoch = before.epoch;
        c->next_seq = before.seq + 1;
    }
    return c;
}

void mdg_replica_append(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = mdg_channel_find(h, op->content->channel);
    if ((!c || !(c->flags & CHANNEL_SYNCED)) && op->at.seq)
        c = start_feed(h, op->content->channel,
                       (struct mdg_position){op->at.epoch, op->at.seq - 1});
    if (c && (c->flags & CHANNEL_SYNCED) && c->epoch == op->at.epoch) {
        if (op->at.seq == 0) {
            struct mdg_msg *m = mdg_msg_new(op->content, c->epoch, 0);
            if (m) {
                op->content = NULL;
                mdg_fanout_add(h, c, m);
                mdg_msg_unref(m);
            }
        } else if (op->at.seq == c->next_seq) {
            mdg_replica_push(h, c, op->content, op->at.seq);
        }
    }
    mdg_op_free(op);
}

/* Old messages that this worker does not have: the log is filled again from the start. */
static void refill_log(struct mdg_hub *h, struct mdg_channel *c, const struct mdg_op *op)
{
    mdg_channel_log_reset(h, c, op->items[0].seq);
    uint64_t next_seq = c->next_seq;
    c->next_seq = op->items[0].seq;
    for (size_t i = 0; i < op->item_count && c->next_seq < next_seq; i++) {
        struct mdg_msg *m = NULL;
        if (mdg_channel_log_reserve(h, c) == 0)
            m = mdg_msg_new(op->items[i].content, op->at.epoch, c->next_seq);
        if (!m) {
            mdg_channel_log_reset(h, c, next_seq);
            break;
        }
        mdg_content_ref(op->items[i].content);
        c->next_seq++;
        mdg_channel_log_push(h, c, m);
        mdg_msg_unref(m);
    }
    c->next_seq = next_seq;
}

/* The state of the room as its owner has it: what is new here is delivered, what was missed and is
 * not in the owner's log either becomes a gap. */
static void take_snapshot(struct mdg_hub *h, struct mdg_channel *c, const struct mdg_op *op)
{
    uint64_t first = op->item_count ? op->items[0].seq : op->at.seq + 1;
    if (!(c->flags & CHANNEL_SYNCED) || c->epoch != op->at.epoch) {
        /* Nobody here was told of anything yet: all of it is history. */
        mdg_channel_log_reset(h, c, op->at.seq + 1);
        c->epoch = op->at.epoch;
        c->next_seq = op->at.seq + 1;
        c->flags |= CHANNEL_SYNCED;
    }
    if (first > c->next_seq) {
        mdg_channel_log_reset(h, c, first);
        c->next_seq = first;
    } else if (op->item_count && first < mdg_channel_first_seq(c)) {
        refill_log(h, c, op);
    }
    for (size_t i = 0; i < op->item_count; i++) {
        if (op->items[i].seq == c->next_seq)
            mdg_replica_push(h, c, op->items[i].content, op->items[i].seq);
    }
    if (c->next_seq <= op->at.seq) {
        mdg_channel_log_reset(h, c, op->at.seq + 1);
        c->next_seq = op->at.seq + 1;
        c->flags |= CHANNEL_LAGGING;
        mdg_channel_mark_dirty(h, c);
    }
}

void mdg_replica_snapshot(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = mdg_channel_find(h, mdg_op_name(op));
    if (!c && op->err == 0 && !op->answer)
        c = start_feed(h, mdg_op_name(op), op->at);
    if (c && op->err == 0)
        take_snapshot(h, c, op);
    else if (c)
        c->flags &= (uint16_t)~CHANNEL_SUBSCRIBED;
    mdg_op_free(op);
}

void mdg_replica_unsubscribe(struct mdg_hub *h, struct mdg_channel *c)
{
    if (!(c->flags & (CHANNEL_SUBSCRIBED | CHANNEL_FED)))
        return;
    struct mdg_op *op = mdg_op_new(h, OP_UNSUBSCRIBE, mdg_channel_name(c));
    if (op)
        mdg_op_send(h, mdg_hub_owner(h, mdg_channel_name(c)), op);
}

/* Contents become messages of this worker for the time of the upcall. */
static struct mdg_msg **make_msgs(const struct mdg_op *op)
{
    struct mdg_msg **msgs = calloc(op->item_count + 1, sizeof(struct mdg_msg *));
    for (size_t i = 0; msgs && i < op->item_count; i++) {
        msgs[i] = mdg_msg_new(op->items[i].content, op->at.epoch, op->items[i].seq);
        if (!msgs[i]) {
            while (i-- > 0)
                mdg_msg_unref(msgs[i]);
            free(msgs);
            return NULL;
        }
        mdg_content_ref(op->items[i].content);
    }
    return msgs;
}

static void free_msgs(struct mdg_msg **msgs, size_t count)
{
    for (size_t i = 0; msgs && i < count; i++)
        mdg_msg_unref(msgs[i]);
    free(msgs);
}

static void answer_history(struct mdg_op *op)
{
    struct mdg_msg **msgs = make_msgs(op);
    struct mdg_history info = {op->at.epoch, msgs, msgs ? op->item_count : 0, op->more};
    int err = op->err < 0 ? op->err : msgs ? 0 : MDG_E_NO_MEMORY;
    op->done.history(op->arg, err, &info);
    free_msgs(msgs, op->item_count);
}

static void answer_since(struct mdg_op *op)
{
    struct mdg_msg **msgs = make_msgs(op);
    struct mdg_since info = {op->at,           msgs,          op->item_count, op->recovered,
                             op->missing_from, op->missing_to};
    int err = op->err < 0 ? op->err : msgs ? 0 : MDG_E_NO_MEMORY;
    if (err < 0)
        info.count = 0;
    op->done.since(op->arg, err, &info);
    free_msgs(msgs, op->item_count);
}

static void answer_users(struct mdg_op *op)
{
    struct mdg_user *users = mdg_op_users(op);
    struct mdg_joined info = {.at = op->at, .count = op->count, .users = users};
    info.user_count = users ? op->principal_count : 0;
    op->done.users(op->arg, op->err, &info);
    free(users);
}

static int by_count(const void *a, const void *b)
{
    const struct mdg_room_info *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : mdg_slice_cmp(x->name, y->name);
}

static size_t copy_rooms(struct mdg_room_info *to, const struct mdg_op *op)
{
    for (size_t i = 0; i < op->room_count; i++)
        to[i] = (struct mdg_room_info){
            mdg_slice(op->names + op->rooms[i].name_off, op->rooms[i].name_len),
            op->rooms[i].count};
    return op->room_count;
}

static void answer_rooms(struct mdg_op *leader)
{
    size_t count = leader->room_count, at;
    for (struct mdg_op *op = leader->merged; op; op = op->next)
        count += op->room_count;
    struct mdg_room_info *rooms = malloc((count + 1) * sizeof *rooms);
    int err = leader->group_err < 0 ? leader->group_err : rooms ? 0 : MDG_E_NO_MEMORY;
    if (err == 0) {
        at = copy_rooms(rooms, leader);
        for (struct mdg_op *op = leader->merged; op; op = op->next)
            at += copy_rooms(rooms + at, op);
        qsort(rooms, count, sizeof *rooms, by_count);
        leader->done.rooms(leader->arg, 0, rooms, mdg_min_size(count, leader->limit));
    } else {
        leader->done.rooms(leader->arg, err, NULL, 0);
    }
    free(rooms);
}

static void fire(struct mdg_op *op)
{
    if (!op->done.published) /* nobody asked, or nobody is there any more */
        return;
    switch ((enum mdg_op_kind)op->kind) {
    case OP_PUBLISH:
        op->done.published(op->arg, op->group_err, op->at);
        break;
    case OP_HISTORY:
        answer_history(op);
        break;
    case OP_SINCE:
        answer_since(op);
        break;
    case OP_USERS:
        answer_users(op);
        break;
    case OP_ROOMS:
        answer_rooms(op);
        break;
    case OP_JOIN:
    case OP_SUBSCRIBE:
    case OP_LEAVE:
    case OP_UNSUBSCRIBE:
    case OP_PATTERN:
    case OP_DIRECT:
    case OP_STORED:
    case OP_APPEND:
    case OP_SNAPSHOT:
        assert(op->kind == OP_PUBLISH); /* not a question: nobody waits for it */
        break;
    }
}

/* Questions that have one answer together: the first of them collects, the last one fires it. */
static void gather(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_op *leader = op->leader ? op->leader : op;
    if (op->err < 0 && leader->group_err == 0)
        leader->group_err = op->err;
    if (op == leader) {
        mdg_list_remove(&op->in_asked);
        mdg_list_push(&h->parked, &op->in_asked);
    } else {
        op->next = leader->merged;
        leader->merged = op;
    }
    if (--leader->open > 0)
        return;
    fire(leader);
    mdg_op_free(leader);
}

void mdg_asker_handle(struct mdg_hub *h, struct mdg_op *op)
{
    if (op->kind == OP_JOIN) {
        mdg_member_joined(h, op);
        mdg_op_free(op);
    } else if (op->kind == OP_SUBSCRIBE) {
        mdg_replica_snapshot(h, op);
    } else {
        gather(h, op);
    }
}
