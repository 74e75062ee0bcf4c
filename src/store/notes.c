/* Facts: entries that the store makes itself and frees when they are written. */
#include "store/impl.h"
#include <stdlib.h>

static void finish(struct mdg_keep_entry *e)
{
    struct note *n = note_of(e);
    if (n->fn)
        n->fn(n->arg, e->err);
    free(n);
}

static void drop(struct mdg_keep_entry *e)
{
    free(note_of(e));
}

static struct note *new_note(unsigned worker, enum note_kind kind, struct mdg_slice first,
                             struct mdg_slice second, struct mdg_slice third)
{
    const struct mdg_slice texts[3] = {first, second, third};
    if (first.len > UINT32_MAX || second.len > UINT32_MAX || third.len > UINT32_MAX)
        return NULL;
    struct note *n = calloc(1, sizeof *n + first.len + second.len + third.len);
    if (!n)
        return NULL;
    n->entry.kind = (uint8_t)kind;
    n->entry.worker = (uint8_t)worker;
    n->entry.complete = finish;
    n->entry.drop = drop;
    n->first_len = (uint32_t)first.len;
    n->second_len = (uint32_t)second.len;
    n->third_len = (uint32_t)third.len;
    uint8_t *at = n->text;
    for (size_t i = 0; i < 3; i++) {
        if (texts[i].len)
            memcpy(at, texts[i].data, texts[i].len);
        at += texts[i].len;
    }
    return n;
}

static int give(struct mdg_store *s, struct note *n)
{
    if (!n)
        return MDG_E_NO_MEMORY;
    size_t bytes = sizeof *n + n->first_len + n->second_len + n->third_len;
    int err = mdg_store_give(s, &n->entry, bytes);
    if (err < 0)
        drop(&n->entry);
    return err;
}

static const struct mdg_slice none;

int mdg_store_put(struct mdg_store *s, unsigned worker, struct mdg_slice space,
                  struct mdg_slice key, struct mdg_slice value)
{
    return give(s, new_note(worker, NOTE_FACT_PUT, space, key, value));
}

int mdg_store_delete(struct mdg_store *s, unsigned worker, struct mdg_slice space,
                     struct mdg_slice key)
{
    return give(s, new_note(worker, NOTE_FACT_DELETE, space, key, none));
}

int mdg_store_sync(struct mdg_store *s, unsigned worker, void (*fn)(void *arg, int err), void *arg)
{
    struct note *n = new_note(worker, NOTE_SYNC, none, none, none);
    if (n) {
        n->fn = fn;
        n->arg = arg;
    }
    return give(s, n);
}
