/* Giving messages to members: the loop on which a messaging server spends its life.
 *
 * Members outside, messages inside: a member's memory is touched once for the whole batch. At ten
 * thousand members that memory is not in the cache, so members some places ahead are fetched while
 * one is served. */
#include "hub/impl.h"
#include <stdlib.h>

enum { AHEAD_SESSION = 4, AHEAD_MEMBER = 10, CACHE_LINE = 64 };

void mdg_fanout_free(struct mdg_channel *c)
{
    struct mdg_fanout *f = c->fanout;
    if (!f)
        return;
    for (uint32_t i = 0; i < f->len; i++)
        mdg_msg_unref(f->msgs[i]);
    free(f->msgs);
    free(f);
    c->fanout = NULL;
}

static struct mdg_fanout *fanout_with_room(struct mdg_channel *c)
{
    struct mdg_fanout *f = c->fanout;
    if (!f)
        f = c->fanout = calloc(1, sizeof *f);
    if (!f || f->len >= PENDING_MSGS_MAX)
        return NULL;
    if (f->len == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 4;
        struct mdg_msg **msgs = realloc(f->msgs, cap * sizeof(struct mdg_msg *));
        if (!msgs)
            return NULL;
        f->msgs = msgs;
        f->cap = cap;
    }
    return f;
}

void mdg_fanout_add(struct mdg_hub *h, struct mdg_channel *c, struct mdg_msg *m)
{
    if (c->member_count == 0 && !mdg_wildcards_any(h))
        return;
    struct mdg_fanout *f = c->flags & CHANNEL_LAGGING ? NULL : fanout_with_room(c);
    if (f)
        f->msgs[f->len++] = mdg_msg_ref(m);
    else
        c->flags |= CHANNEL_LAGGING;
    mdg_channel_mark_dirty(h, c);
}

bool mdg_msg_has_filter(const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    return c->except_session_count || c->except_channel_count || c->union_channel_count;
}

static bool in_channel(const struct mdg_session *s, struct mdg_slice name)
{
    return mdg_session_member(s, name) != NULL;
}

/* Whether this member is one whom the publisher meant. */
static bool wanted(const struct mdg_member *m, const struct mdg_msg *msg)
{
    const struct mdg_content *c = msg->content;
    for (size_t i = 0; i < c->except_session_count; i++) {
        if (c->except_sessions[i] == m->session->id)
            return false;
    }
    for (size_t i = 0; i < c->except_channel_count; i++) {
        if (in_channel(m->session, c->except_channels[i]))
            return false;
    }
    /* Of several rooms, the first that the session is in delivers. */
    for (size_t i = 0; i < c->union_channel_count; i++) {
        if (mdg_slice_eq(c->union_channels[i], c->channel))
            return true;
        if (in_channel(m->session, c->union_channels[i]))
            return false;
    }
    return true;
}

/* The cursor after the first `taken` messages of a list; end_seq when nothing logged is left. */
static uint64_t cursor_after(struct mdg_msg *const *msgs, size_t n, size_t taken, uint64_t end_seq)
{
    for (size_t i = taken; i < n; i++) {
        if (msgs[i]->seq)
            return msgs[i]->seq;
    }
    return end_seq;
}

bool mdg_member_deliver(struct mdg_hub *h, struct mdg_member *m, struct mdg_msg *const *msgs,
                        size_t n, bool filtered, uint64_t end_seq)
{
    struct mdg_msg *const *list = msgs;
    size_t count = n;
    assert(n <= ROUND_MSGS_MAX);
    if (filtered) {
        count = 0;
        for (size_t i = 0; i < n; i++) {
            if (!mdg_msg_has_filter(msgs[i]) || wanted(m, msgs[i]))
                h->scratch[count++] = msgs[i];
        }
        list = h->scratch;
    }
    int taken = 0;
    if (count > 0) {
        h->current = m;
        struct mdg_member *face = MDG_LIKELY(m->kind == MEMBER_OF_ROOM) ? m : mdg_member_face(m);
        taken = m->session->ops->deliver(face, list, count);
        if (MDG_UNLIKELY(h->current != m))
            return false;
        if (MDG_UNLIKELY(m->kind == MEMBER_SPILL))
            mdg_member_unface(m);
    }
    if (MDG_LIKELY(taken == (int)count)) {
        m->next_seq = end_seq;
        return true;
    }
    if (taken < 0) {
        mdg_member_kick(h, m, taken);
        return false;
    }
    m->next_seq = cursor_after(list, count, (size_t)taken, end_seq);
    m->behind = true;
    if (m->kind == MEMBER_SPILL) {
        mdg_member_face(m)->behind = true;
        mdg_member_unface(m);
    }
    return false;
}

/* How many of the waiting messages this round takes, and what it means for cursors. */
static void start_round(struct mdg_fanout *f)
{
    size_t bytes = 0;
    f->at = f->active = 0;
    f->first_seq = f->end_seq = 0;
    f->filtered = false;
    while (f->active < f->len && f->active < ROUND_MSGS_MAX && bytes < ROUND_BYTES_MAX) {
        const struct mdg_msg *m = f->msgs[f->active++];
        bytes += m->content->bytes;
        f->filtered |= mdg_msg_has_filter(m);
        if (m->seq) {
            f->end_seq = m->seq + 1;
            if (!f->first_seq)
                f->first_seq = m->seq;
        }
    }
}

static void end_round(struct mdg_fanout *f)
{
    for (uint32_t i = 0; i < f->active; i++) {
        mdg_msg_drop_encodings(f->msgs[i]);
        mdg_msg_unref(f->msgs[i]);
    }
    f->len -= f->active;
    memmove(f->msgs, f->msgs + f->active, f->len * sizeof(struct mdg_msg *));
    f->active = 0;
}

/* A member that waits has a policy: with "kick" it must not fall off the log. */
static void look_at_stuck(struct mdg_hub *h, struct mdg_channel *c, struct mdg_member *m)
{
    if (h->config.channel.slow == MDG_SLOW_KICK && m->next_seq < mdg_channel_first_seq(c))
        mdg_member_kick(h, m, MDG_E_FULL);
}

/* The member's place is not at the start of the batch: newcomers skip what was before them. */
static void give_rest(struct mdg_hub *h, struct mdg_member *m, const struct mdg_fanout *f)
{
    uint32_t skip = 0;
    if (m->next_seq < f->first_seq) {
        mdg_member_work(h, m); /* a hole: the log knows more, or a gap is told */
        return;
    }
    for (uint32_t i = 0; i < f->active; i++) {
        if (f->msgs[i]->seq && f->msgs[i]->seq < m->next_seq)
            skip = i + 1;
    }
    uint64_t end = f->end_seq > m->next_seq ? f->end_seq : m->next_seq;
    if (skip < f->active &&
        !mdg_member_deliver(h, m, f->msgs + skip, f->active - skip, f->filtered, end) &&
        h->current == m && m->state == MEMBER_LIVE)
        m->state = MEMBER_STUCK;
}

static void give(struct mdg_hub *h, struct mdg_member *m, const struct mdg_fanout *f)
{
    if (MDG_UNLIKELY(f->first_seq && m->next_seq != f->first_seq)) {
        give_rest(h, m, f);
        return;
    }
    uint64_t end = f->end_seq ? f->end_seq : m->next_seq;
    if (MDG_UNLIKELY(!mdg_member_deliver(h, m, f->msgs, f->active, f->filtered, end)) &&
        h->current == m && m->state == MEMBER_LIVE)
        m->state = MEMBER_STUCK;
}

static void prefetch(struct mdg_member *const *slots, uint32_t i, uint32_t count)
{
    if (i + AHEAD_MEMBER < count && slots[i + AHEAD_MEMBER])
        __builtin_prefetch(slots[i + AHEAD_MEMBER]);
    if (i + AHEAD_SESSION < count && slots[i + AHEAD_SESSION]) {
        const uint8_t *session = (const uint8_t *)slots[i + AHEAD_SESSION]->session;
        __builtin_prefetch(session);
        __builtin_prefetch(session + CACHE_LINE);
    }
}

/* False: the turn's budget is spent, the round goes on in the next one. */
static bool run_round(struct mdg_hub *h, struct mdg_channel *c)
{
    struct mdg_fanout *f = c->fanout;
    if (f->active == 0)
        start_round(f);
    for (; f->at < c->slot_count; f->at++) {
        struct mdg_member *const *slots = mdg_channel_slots(c);
        struct mdg_member *m = slots[f->at];
        if (h->budget < f->active)
            return false;
        prefetch(slots, f->at, c->slot_count);
        if (!m)
            continue;
        if (MDG_LIKELY(m->state == MEMBER_LIVE)) {
            h->budget -= f->active;
            give(h, m, f);
        } else if (m->state == MEMBER_STUCK || m->state == MEMBER_STUCK_PAST) {
            look_at_stuck(h, c, m);
        }
    }
    if (MDG_UNLIKELY(mdg_wildcards_any(h)))
        mdg_wildcards_give(h, c);
    end_round(f);
    return true;
}

/* Messages that found no memory on their way to the fan-out are in the log. */
static void catch_up_all(struct mdg_hub *h, struct mdg_channel *c)
{
    c->flags &= (uint16_t)~CHANNEL_LAGGING;
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct mdg_member *m = mdg_channel_slots(c)[i];
        if (m && m->state == MEMBER_LIVE && m->next_seq < c->next_seq)
            mdg_member_work(h, m);
    }
}

static bool run_channel(struct mdg_hub *h, struct mdg_channel *c)
{
    while (c->fanout && c->fanout->len > 0) {
        if (!run_round(h, c))
            return false;
    }
    mdg_fanout_free(c);
    mdg_channel_compact(c); /* before the first that leaves again */
    mdg_spills_sweep(h, c);
    if (c->flags & CHANNEL_LAGGING)
        catch_up_all(h, c);
    return true;
}

bool mdg_fanout_run(struct mdg_hub *h)
{
    /* A batch larger than what is left of the budget still goes out when it is the first. */
    while (!mdg_list_empty(&h->dirty)) {
        struct mdg_channel *c =
            MDG_CONTAINER_OF(mdg_list_first(&h->dirty), struct mdg_channel, link);
        bool complete = run_channel(h, c);
        mdg_list_remove(&c->link);
        c->flags &= (uint16_t)~CHANNEL_DIRTY;
        if (!complete) {
            mdg_channel_mark_dirty(h, c);
            return true;
        }
        mdg_channel_settle(h, c);
    }
    return false;
}
