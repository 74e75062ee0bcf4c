/* The pairing heap of timers (Fredman, Sedgewick, Sleator, Tarjan: "The pairing heap", 1986): every
 * operation works on pointers inside the timers, nothing is allocated. */
#include "loop/timer.h"

static struct mdg_timer *meld(struct mdg_timer *a, struct mdg_timer *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (b->due_ms < a->due_ms) {
        struct mdg_timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next)
        b->next->prev = &b->next;
    a->child = b;
    b->prev = &a->child;
    return a;
}

static void set_root(struct mdg_timers *h, struct mdg_timer *t)
{
    h->root = t;
    if (t) {
        t->next = NULL;
        t->prev = &h->root;
    }
}

/* Two passes over the siblings, without recursion: pairs from left to right, which leaves them in
 * reverse order, then all of those into one. */
static struct mdg_timer *meld_siblings(struct mdg_timer *first)
{
    struct mdg_timer *pairs = NULL;
    while (first) {
        struct mdg_timer *a = first;
        struct mdg_timer *b = a->next;
        first = b ? b->next : NULL;
        a->next = NULL;
        if (b)
            b->next = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct mdg_timer *whole = NULL;
    while (pairs) {
        struct mdg_timer *rest = pairs->next;
        pairs->next = NULL;
        whole = meld(whole, pairs);
        pairs = rest;
    }
    return whole;
}

void mdg_timers_insert(struct mdg_timers *h, struct mdg_timer *t)
{
    assert(!t->prev);
    t->child = t->next = NULL;
    set_root(h, meld(h->root, t));
}

void mdg_timers_remove(struct mdg_timers *h, struct mdg_timer *t)
{
    assert(t->prev);
    bool was_root = h->root == t;
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    struct mdg_timer *children = meld_siblings(t->child);
    set_root(h, was_root ? children : meld(h->root, children));
    t->child = t->next = NULL;
    t->prev = NULL;
}

struct mdg_timer *mdg_timers_pop(struct mdg_timers *h, uint64_t now_ms)
{
    struct mdg_timer *t = h->root;
    if (!t || t->due_ms > now_ms)
        return NULL;
    mdg_timers_remove(h, t);
    return t;
}
