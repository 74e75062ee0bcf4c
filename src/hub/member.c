/* Joining, leaving, resuming; and members that read from the log instead of the live flow. */
#include "hub/impl.h"
#include <stdlib.h>

/* What the member needs while its join is under way. All or nothing. */
static int new_join(struct mdg_hub *h, struct mdg_session *s, struct mdg_slice channel,
                    const struct mdg_join_options *options, struct mdg_op **out)
{
    struct mdg_op *op = mdg_op_new(h, OP_JOIN, channel);
    if (!op)
        return MDG_E_NO_MEMORY;
    if (options)
        op->options = *options;
    op->hidden = op->options.hidden;
    op->who = mdg_principal_ref(s->principal);
    if (!op->hidden && mdg_hub_owner(h, channel) != h->worker) {
        op->leave = calloc(1, sizeof *op->leave);
        if (!op->leave) {
            mdg_op_free(op);
            return MDG_E_NO_MEMORY;
        }
    }
    *out = op;
    return 0;
}

/* A replica asks its owner for the log and all that comes, once. */
static int subscribe(struct mdg_hub *h, struct mdg_channel *c)
{
    if (c->flags & (CHANNEL_OWNER | CHANNEL_SUBSCRIBED))
        return 0;
    struct mdg_op *op = mdg_op_new(h, OP_SUBSCRIBE, mdg_channel_name(c));
    if (!op)
        return MDG_E_NO_MEMORY;
    c->flags |= CHANNEL_SUBSCRIBED;
    mdg_op_send(h, mdg_hub_owner(h, mdg_channel_name(c)), op);
    return 0;
}

static int add_member(struct mdg_hub *h, struct mdg_slice channel, struct mdg_member *m)
{
    struct mdg_channel *c;
    int err = mdg_channel_get(h, channel, &c);
    if (err == 0)
        err = subscribe(h, c);
    if (err == 0)
        err = mdg_channel_add_member(c, m);
    if (err == 0)
        mdg_channel_settle(h, c);
    return err;
}

int mdg_hub_join(struct mdg_hub *h, struct mdg_session *s, struct mdg_slice channel,
                 const struct mdg_join_options *options, struct mdg_member **out)
{
    if (!(s->principal->rights & MDG_RIGHT_SUBSCRIBE))
        return MDG_E_DENIED;
    if (!mdg_channel_name_ok(h, channel))
        return MDG_E_SYNTAX;
    if (s->member_count >= h->config.memberships_per_session_max)
        return MDG_E_TOO_BIG;
    struct mdg_op *op;
    int err = new_join(h, s, channel, options, &op);
    if (err < 0)
        return err;
    struct mdg_member *m = mdg_pool_get(&h->members);
    err = m ? add_member(h, channel, m) : MDG_E_NO_MEMORY;
    if (err < 0) {
        mdg_pool_put(&h->members, m);
        mdg_op_free(op);
        return err;
    }
    m->session = s;
    m->cookie = op->options.cookie;
    m->hidden = op->hidden;
    m->state = MEMBER_JOINING;
    m->presence = op;
    op->member = m;
    mdg_ring_push(&s->last, m);
    s->member_count++;
    mdg_op_send(h, mdg_hub_owner(h, channel), op);
    *out = m;
    return 0;
}

uint64_t mdg_member_epoch(const struct mdg_member *m)
{
    return m->channel && m->state != MEMBER_JOINING ? m->channel->epoch : 0;
}

static bool is_remote(const struct mdg_member *m)
{
    return !(m->channel->flags & CHANNEL_OWNER);
}

/* The owner's entry is the only thing that a leave must name. */
static void send_leave(struct mdg_hub *h, struct mdg_leave *leave, unsigned owner)
{
    struct mdg_op *op = (struct mdg_op *)(void *)leave;
    assert(leave->small && leave->kind == OP_LEAVE);
    mdg_op_send(h, owner, op);
}

/* Takes back what presence was told of this member. */
static void end_presence(struct mdg_hub *h, struct mdg_member *m)
{
    void *presence = m->presence;
    m->presence = NULL;
    if (!presence)
        return;
    if (m->state == MEMBER_JOINING ||
        (is_remote(m) && ((struct mdg_op *)presence)->kind == OP_JOIN))
        ((struct mdg_op *)presence)->member = NULL; /* its answer finds nobody */
    else if (is_remote(m))
        send_leave(h, presence, mdg_hub_owner(h, mdg_channel_name(m->channel)));
    else
        mdg_user_leave(h, presence);
}

void mdg_ring_push(struct mdg_member **last, struct mdg_member *m)
{
    m->next = *last ? (*last)->next : m;
    if (*last)
        (*last)->next = m;
    *last = m;
}

/* Looks for the one before it: most sessions are in a room or two, and one that ends leaves its
 * rooms from the first on. */
void mdg_ring_remove(struct mdg_member **last, struct mdg_member *m)
{
    struct mdg_member *before = *last;
    while (before->next != m)
        before = before->next;
    before->next = m->next;
    if (*last == m)
        *last = before == m ? NULL : before;
    m->next = NULL;
}

void mdg_member_detach(struct mdg_hub *h, struct mdg_member *m, struct mdg_member **ring)
{
    mdg_ring_remove(ring, m);
    if (m->kind != MEMBER_SPILL)
        m->session->member_count--;
    if (h->current == m)
        h->current = NULL;
}

void mdg_member_free(struct mdg_hub *h, struct mdg_member *m)
{
    if (m->queued)
        m->state = MEMBER_GONE;
    else
        mdg_pool_put(&h->members, m);
}

void mdg_hub_leave(struct mdg_member *m)
{
    struct mdg_hub *h = m->session->hub;
    struct mdg_channel *c = m->channel;
    if (m->kind == MEMBER_OF_PATTERN) {
        mdg_wildcard_leave(h, m);
        return;
    }
    mdg_member_detach(h, m, &m->session->last);
    mdg_channel_remove_member(h, c, m);
    end_presence(h, m);
    mdg_member_free(h, m);
}

/* The answer of a join whose member left meanwhile: the owner forgets it again. */
static void undo_join(struct mdg_hub *h, struct mdg_op *op)
{
    if (op->err < 0 || !op->entry)
        return;
    if (!op->leave) {
        mdg_user_leave(h, op->entry);
        return;
    }
    struct mdg_leave *leave = op->leave;
    op->leave = NULL;
    *leave = (struct mdg_leave){.kind = OP_LEAVE, .small = true, .entry = op->entry};
    send_leave(h, leave, mdg_hub_owner(h, mdg_op_name(op)));
}

/* From the answer to the member: what its own leave will need. */
static void keep_presence(struct mdg_member *m, struct mdg_op *op)
{
    m->presence = op->entry;
    if (!op->leave)
        return;
    *op->leave = (struct mdg_leave){.kind = OP_LEAVE, .small = true, .entry = op->entry};
    m->presence = op->leave;
    op->leave = NULL;
}

/* The seq behind the room's last message when the owner took the join. What was published between
 * then and its answer (by the joiner itself, in the same turn) comes after it. */
static uint64_t joined_behind(const struct mdg_channel *c, const struct mdg_op *op)
{
    uint64_t behind = op->at.seq + 1, first = mdg_channel_first_seq(c);
    if (op->at.epoch != c->epoch || behind > c->next_seq)
        return c->next_seq;
    return behind < first ? first : behind;
}

/* Where the member starts, and what is told about a resume. */
static void place_cursor(const struct mdg_channel *c, struct mdg_member *m, const struct mdg_op *op,
                         struct mdg_joined *info)
{
    const struct mdg_join_options *o = &op->options;
    uint64_t first = mdg_channel_first_seq(c), behind = joined_behind(c, op), history = o->history;
    info->at = (struct mdg_position){c->epoch, behind - 1};
    info->asked_resume = o->resume;
    if (o->resume && o->from.epoch == c->epoch && o->from.seq < c->next_seq) {
        if (o->from.seq >= behind)
            info->at.seq = o->from.seq;
        info->recovered = o->from.seq + 1 >= first;
        m->next_seq = info->recovered ? o->from.seq + 1 : first;
        if (!info->recovered) {
            info->missing_from = o->from.seq + 1;
            info->missing_to = first - 1;
        }
        return;
    }
    m->next_seq = behind - first > history ? behind - history : first;
}

static void refuse(struct mdg_hub *h, struct mdg_member *m, int err)
{
    m->presence = NULL;
    m->state = MEMBER_DEAD;
    h->current = m;
    m->session->ops->joined(m, err, NULL);
    if (h->current == m)
        mdg_hub_leave(m);
}

void mdg_member_joined(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_member *m = op->member;
    if (!m) {
        undo_join(h, op);
        return;
    }
    if (m->kind == MEMBER_OF_PATTERN) {
        struct mdg_joined none = {.users = NULL};
        m->state = MEMBER_LIVE;
        m->session->ops->joined(m, 0, &none);
        return;
    }
    if (m->state != MEMBER_JOINING) { /* another name for a member that is there */
        if (op->err == 0)
            keep_presence(m, op);
        else
            m->presence = NULL;
        return;
    }
    struct mdg_channel *c = m->channel;
    if (op->err == 0 && !(c->flags & CHANNEL_SYNCED)) { /* the subscription failed */
        undo_join(h, op);
        op->err = MDG_E_NO_MEMORY;
    }
    if (op->err < 0) {
        refuse(h, m, op->err);
        return;
    }
    struct mdg_joined info = {.count = op->count, .user_count = op->principal_count};
    struct mdg_user *users = mdg_op_users(op);
    info.users = users;
    if (!users)
        info.user_count = 0;
    keep_presence(m, op);
    place_cursor(c, m, op, &info);
    m->state = MEMBER_LIVE;
    h->current = m;
    m->session->ops->joined(m, 0, &info);
    free(users);
    if (h->current != m)
        return;
    if (m->next_seq < c->next_seq && m->state == MEMBER_LIVE)
        mdg_member_work(h, m);
    if (!m->hidden && !mdg_principal_same_user(op->who, m->session->principal))
        mdg_member_rename(h, m);
}

void mdg_member_rename(struct mdg_hub *h, struct mdg_member *m)
{
    if (m->kind != MEMBER_OF_ROOM || m->hidden || !m->presence || m->state == MEMBER_JOINING)
        return; /* a join under way looks at the name once more when it is complete */
    if (!is_remote(m)) {
        struct mdg_user_entry *entry;
        if (mdg_user_join(h, m->channel, m->session->principal, &entry) == 0) {
            mdg_user_leave(h, m->presence);
            m->presence = entry;
        }
        return;
    }
    struct mdg_op *op;
    if (new_join(h, m->session, mdg_channel_name(m->channel), NULL, &op) < 0)
        return;
    end_presence(h, m);
    op->member = m;
    m->presence = op;
    mdg_op_send(h, mdg_hub_owner(h, mdg_op_name(op)), op);
}

/* To the end of the queue, if it does not stand there already. */
static void enqueue(struct mdg_hub *h, struct mdg_member *m)
{
    mdg_hub_wake(h);
    if (m->queued)
        return;
    m->queued = true;
    m->work_next = NULL;
    if (h->work_last)
        h->work_last->work_next = m;
    else
        h->work_first = m;
    h->work_last = m;
}

static struct mdg_member *dequeue(struct mdg_hub *h)
{
    struct mdg_member *m = h->work_first;
    h->work_first = m->work_next;
    if (!h->work_first)
        h->work_last = NULL;
    m->queued = false;
    return m;
}

void mdg_member_work(struct mdg_hub *h, struct mdg_member *m)
{
    m->state = MEMBER_SERVING;
    enqueue(h, m);
}

void mdg_member_kick(struct mdg_hub *h, struct mdg_member *m, int reason)
{
    m->state = MEMBER_DEAD;
    h->current = m;
    m->session->ops->kick(m->session, reason);
}

void mdg_hub_resume(struct mdg_member *m)
{
    m->behind = false;
    if (m->kind == MEMBER_OF_PATTERN)
        mdg_wildcard_resume(m);
    if (m->state != MEMBER_STUCK && m->state != MEMBER_STUCK_PAST)
        return;
    enqueue(m->session->hub, m);
}

/* Tells the gap up to (not including) next_seq and moves the cursor there. False: gone or full. */
static bool tell_gap(struct mdg_hub *h, struct mdg_member *m, uint64_t next_seq)
{
    h->current = m;
    int err = m->session->ops->gap(mdg_member_face(m), m->next_seq, next_seq - 1);
    if (h->current != m)
        return false;
    mdg_member_unface(m);
    if (err < 0) {
        m->behind = true;
        mdg_member_face(m)->behind = true;
        mdg_member_unface(m);
        return false;
    }
    m->next_seq = next_seq;
    return true;
}

/* The rules for one that fell behind. False: nothing more to do for it now. */
static bool apply_policy(struct mdg_hub *h, struct mdg_member *m, struct mdg_channel *c)
{
    enum mdg_slow_policy slow = h->config.channel.slow;
    uint64_t first = mdg_channel_first_seq(c);
    if (m->state == MEMBER_STUCK && slow == MDG_SLOW_DROP_NEW && m->next_seq < c->next_seq)
        return tell_gap(h, m, c->next_seq);
    if (m->next_seq >= first)
        return true;
    if (m->state == MEMBER_STUCK && slow == MDG_SLOW_KICK) {
        mdg_member_kick(h, m, MDG_E_FULL);
        return false;
    }
    return tell_gap(h, m, first);
}

/* One round of old messages. False when the member is complete, stuck or gone. */
static bool give_old(struct mdg_hub *h, struct mdg_member *m, struct mdg_channel *c)
{
    struct mdg_msg *msgs[ROUND_MSGS_MAX];
    size_t n = 0, bytes = 0;
    bool filtered = false;
    uint64_t seq = m->next_seq;
    while (seq < c->next_seq && n < ROUND_MSGS_MAX && bytes < ROUND_BYTES_MAX) {
        msgs[n] = mdg_msg_ref(mdg_log_at(c->log, seq++));
        filtered |= mdg_msg_has_filter(msgs[n]);
        bytes += msgs[n++]->content->bytes;
    }
    bool taken = n == 0 || mdg_member_deliver(h, m, msgs, n, filtered, seq);
    h->budget -= (uint32_t)mdg_min_size(h->budget, n);
    for (size_t i = 0; i < n; i++) {
        if (!c->fanout)
            mdg_msg_drop_encodings(msgs[i]);
        mdg_msg_unref(msgs[i]);
    }
    return taken && m->next_seq < c->next_seq;
}

static void serve(struct mdg_hub *h, struct mdg_member *m)
{
    struct mdg_channel *c = m->channel;
    bool past = m->state != MEMBER_STUCK;
    h->current = m;
    if (!apply_policy(h, m, c)) {
        if (h->current == m && m->state != MEMBER_DEAD)
            m->state = past ? MEMBER_STUCK_PAST : MEMBER_STUCK;
        return;
    }
    m->state = MEMBER_SERVING;
    bool more = give_old(h, m, c);
    if (h->current != m || m->state == MEMBER_DEAD)
        return;
    if (more)
        mdg_member_work(h, m);
    else if (m->behind)
        m->state = past ? MEMBER_STUCK_PAST : MEMBER_STUCK;
    else
        m->state = MEMBER_LIVE;
    if (m->kind == MEMBER_SPILL && m->state == MEMBER_LIVE && !c->fanout)
        mdg_spill_free(h, m);
}

bool mdg_members_serve(struct mdg_hub *h)
{
    while (h->work_first) {
        if (h->budget == 0)
            return true;
        struct mdg_member *m = dequeue(h);
        h->budget--;
        if (m->state == MEMBER_GONE)
            mdg_member_free(h, m);
        else if (m->state != MEMBER_DEAD)
            serve(h, m);
    }
    return false;
}

struct mdg_position mdg_member_position(const struct mdg_member *m)
{
    if (!m->channel || m->next_seq == 0)
        return (struct mdg_position){0, 0};
    return (struct mdg_position){m->channel->epoch, m->next_seq - 1};
}
