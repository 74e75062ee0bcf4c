/* ACK and NACK, with the headers of each version, and which deliveries are still open.
 *
 * 1.2 names a delivery by the `ack` header of its MESSAGE, "NUMBER-TAG". 1.0 and 1.1 name it by
 * `message-id`, whose end is "@@NUMBER-TAG" for that reason. 1.1 wants `subscription` too; clients
 * of brokers that do not need it leave it out, and neither do we need it. */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

enum {
    WINDOW_MIN = 64,
    ENDED_MAX = 8, /* of one connection; the oldest is forgotten */
};

static uint64_t *word_of(const struct mdg_stomp_window *w, uint64_t tag, uint64_t *mask)
{
    uint64_t at = tag & (w->cap - 1);
    *mask = (uint64_t)1 << (at & 63);
    return &w->bits[at >> 6];
}

static int window_grow(struct mdg_stomp_window *w)
{
    struct mdg_stomp_window bigger = *w;
    bigger.cap = w->cap ? w->cap * 2 : WINDOW_MIN;
    bigger.bits = calloc(bigger.cap / 64, sizeof *bigger.bits);
    if (!bigger.bits)
        return MDG_E_NO_MEMORY;
    for (uint64_t tag = w->base; tag < w->next; tag++) {
        uint64_t mask, *from = word_of(w, tag, &mask);
        bool closed = *from & mask;
        uint64_t *to = word_of(&bigger, tag, &mask);
        if (closed)
            *to |= mask;
    }
    free(w->bits);
    *w = bigger;
    return 0;
}

int mdg_stomp_window_open(struct mdg_stomp_window *w, uint64_t tag)
{
    if (w->base == w->next)
        w->base = w->next = tag;
    assert(tag == w->next);
    if (w->next - w->base >= w->cap) {
        int err = window_grow(w);
        if (err < 0)
            return err;
    }
    uint64_t mask, *word = word_of(w, tag, &mask);
    *word &= ~mask;
    w->next++;
    return 0;
}

bool mdg_stomp_window_has(const struct mdg_stomp_window *w, uint64_t tag)
{
    if (tag < w->base || tag >= w->next)
        return false;
    uint64_t mask, *word = word_of(w, tag, &mask);
    return (*word & mask) == 0;
}

void mdg_stomp_window_close(struct mdg_stomp_window *w, uint64_t tag)
{
    uint64_t mask, *word = word_of(w, tag, &mask);
    *word |= mask;
    while (w->base < w->next && !mdg_stomp_window_has(w, w->base))
        w->base++;
}

size_t mdg_stomp_credit(const struct mdg_stomp_sub *s)
{
    if (s->ack == MDG_STOMP_AUTO || s->prefetch == 0)
        return SIZE_MAX;
    uint64_t open = s->window.next - s->window.base;
    return open >= s->prefetch ? 0 : (size_t)(s->prefetch - open);
}

/* ---- who was given it ---- */

static struct mdg_stomp_sub *sub_by_number(const struct mdg_stomp *c, uint64_t number)
{
    MDG_LIST_FOR(node, next, &c->subs)
    {
        struct mdg_stomp_sub *s = MDG_CONTAINER_OF(node, struct mdg_stomp_sub, in_conn);
        if (s->number == number)
            return s;
    }
    return NULL;
}

static struct mdg_stomp_ended *ended_by_number(const struct mdg_stomp *c, uint64_t number)
{
    MDG_LIST_FOR(node, next, &c->ended)
    {
        struct mdg_stomp_ended *e = MDG_CONTAINER_OF(node, struct mdg_stomp_ended, in_conn);
        if (e->number == number)
            return e;
    }
    return NULL;
}

static void free_ended(struct mdg_stomp *c, struct mdg_stomp_ended *e)
{
    mdg_list_remove(&e->in_conn);
    c->ended_count--;
    free(e->window.bits);
    free(e);
}

void mdg_stomp_drop_ended(struct mdg_stomp *c)
{
    MDG_LIST_FOR(node, next, &c->ended)
    free_ended(c, MDG_CONTAINER_OF(node, struct mdg_stomp_ended, in_conn));
}

void mdg_stomp_keep_ended(struct mdg_stomp_sub *s)
{
    struct mdg_stomp *c = s->conn;
    struct mdg_slice key = mdg_stomp_sub_key(s);
    if (!s->is_queue || s->window.base == s->window.next)
        return;
    struct mdg_stomp_ended *e = malloc(sizeof *e + key.len);
    if (!e)
        return;
    *e = (struct mdg_stomp_ended){.window = s->window,
                                  .number = s->number,
                                  .queue_sub = s->queue_sub.id,
                                  .cumulative = s->ack == MDG_STOMP_CLIENT,
                                  .key_len = (uint16_t)key.len};
    memcpy(e->key, key.data, key.len);
    s->window = (struct mdg_stomp_window){.bits = NULL};
    mdg_list_push(&c->ended, &e->in_conn);
    if (++c->ended_count > ENDED_MAX)
        free_ended(c, MDG_CONTAINER_OF(mdg_list_first(&c->ended), struct mdg_stomp_ended, in_conn));
}

/* The deliveries under that number; NULL: there is no such subscription. */
static struct mdg_stomp_window *window_by_number(const struct mdg_stomp *c, uint64_t number)
{
    struct mdg_stomp_sub *s = sub_by_number(c, number);
    struct mdg_stomp_ended *e = s ? NULL : ended_by_number(c, number);
    return s ? &s->window : e ? &e->window : NULL;
}

static void close_up_to(struct mdg_stomp_window *w, uint64_t tag, bool cumulative)
{
    for (uint64_t t = cumulative ? w->base : tag; t <= tag; t++) {
        if (mdg_stomp_window_has(w, t))
            mdg_stomp_window_close(w, t);
    }
}

static int settle_ended(struct mdg_stomp *c, struct mdg_stomp_ended *e, uint64_t tag,
                        enum mdg_settle how, struct mdg_stomp_pending *p)
{
    int err = mdg_queue_settle_late(c->server->queues, mdg_slice(e->key, e->key_len), e->queue_sub,
                                    tag, how, e->cumulative, &c->waiter, (uint64_t)(uintptr_t)p);
    close_up_to(&e->window, tag, e->cumulative);
    if (e->window.base == e->window.next)
        free_ended(c, e);
    return err;
}

int mdg_stomp_settle(struct mdg_stomp *c, uint64_t number, uint64_t tag, enum mdg_settle how,
                     struct mdg_stomp_pending *p)
{
    const struct mdg_stomp_window *w = window_by_number(c, number);
    struct mdg_stomp_sub *s = sub_by_number(c, number);
    if (!w || !mdg_stomp_window_has(w, tag)) {
        mdg_stomp_pend_done(p, 0);
        return 0;
    }
    if (!s)
        return settle_ended(c, ended_by_number(c, number), tag, how, p);
    bool cumulative = s->ack == MDG_STOMP_CLIENT;
    close_up_to(&s->window, tag, cumulative);
    if (s->is_queue)
        return mdg_queue_settle(&s->queue_sub, tag, how, cumulative, &c->waiter,
                                (uint64_t)(uintptr_t)p);
    /* A message on a topic went to everybody: there is nothing to give back to. */
    mdg_hub_resume(s->member);
    mdg_stomp_pend_done(p, 0);
    return 0;
}

/* ---- the frames ---- */

/* "NUMBER-TAG" */
static bool parse_name(struct mdg_slice text, uint64_t *number, uint64_t *tag)
{
    struct mdg_slice first = mdg_slice_split(&text, '-');
    return text.data && mdg_slice_u64(first, number) == 0 && mdg_slice_u64(text, tag) == 0;
}

static struct mdg_slice after_last_at(struct mdg_slice id)
{
    for (size_t i = id.len; i >= 2; i--) {
        if (id.data[i - 1] == '@' && id.data[i - 2] == '@')
            return mdg_slice(id.data + i, id.len - i);
    }
    return mdg_slice(NULL, 0);
}

static void missing(struct mdg_stomp *c, const struct mdg_stomp_frame *f, const char *header)
{
    mdg_stomp_fail(c, f, "Missing header", "%s must include the '%s' header\n",
                   mdg_stomp_command_text(f->command), header);
}

static bool find_delivery(struct mdg_stomp *c, const struct mdg_stomp_frame *f, uint64_t *number,
                          uint64_t *tag)
{
    bool by_id = c->dec.version == MDG_STOMP_1_2;
    struct mdg_slice name = mdg_stomp_find(f, by_id ? "id" : "message-id");
    struct mdg_slice sub = mdg_stomp_find(f, "subscription");
    if (!name.data) {
        missing(c, f, by_id ? "id" : "message-id");
        return false;
    }
    struct mdg_slice end = by_id ? name : after_last_at(name);
    const struct mdg_stomp_window *w =
        parse_name(end, number, tag) ? window_by_number(c, *number) : NULL;
    const struct mdg_stomp_sub *s = w ? sub_by_number(c, *number) : NULL;
    bool other = s && !by_id && sub.data && s->has_id && !mdg_slice_eq(sub, mdg_stomp_sub_id(s));
    if (w && !other && mdg_stomp_window_has(w, *tag))
        return true;
    mdg_stomp_fail(c, f, "Message not found", "No message '%.*s' waits for %s\n",
                   (int)mdg_min_size(name.len, 200), (const char *)name.data,
                   mdg_stomp_command_text(f->command));
    return false;
}

static enum mdg_settle settle_of(const struct mdg_stomp_frame *f)
{
    if (f->command == MDG_STOMP_ACK)
        return MDG_SETTLE_ACK;
    struct mdg_slice requeue = mdg_stomp_find(f, "requeue");
    return mdg_slice_eq_nocase(requeue, MDG_SLICE_LIT("false")) ? MDG_SETTLE_DEAD
                                                                : MDG_SETTLE_REQUEUE;
}

void mdg_stomp_on_ack(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    uint64_t number, tag;
    if (!find_delivery(c, f, &number, &tag))
        return;
    if (mdg_stomp_find(f, "transaction").data) {
        (void)mdg_stomp_tx_settle(c, f, number, tag, settle_of(f));
        return;
    }
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    int err = p ? mdg_stomp_settle(c, number, tag, settle_of(f), p) : 0;
    if (err < 0)
        mdg_stomp_pend_done(p, err);
}
