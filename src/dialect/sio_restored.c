/* The ring of a socket that was found in the store. The rooms' logs fill it room by room, and what
 * was in no log comes from its own records: before a client may go on from it, it is put into the
 * order in which everything was delivered. */
#include "dialect/sio_impl.h"
#include <stdlib.h>

/* When it was delivered before the restart; what came later or is not known: UINT32_MAX. */
static uint32_t rank_of(const struct sio_recovery *r, uint64_t offset)
{
    for (uint32_t i = 0; i < r->order_len; i++) {
        if (r->order[i] == offset)
            return i;
    }
    return UINT32_MAX;
}

/* What was delivered in a known order stays in it; the rest follows by time, but the order within a
 * room is its own, whatever the clocks of the publishers said. */
static bool comes_before(const struct sio_recovery *r, const struct sio_delivery *a,
                         const struct sio_delivery *b)
{
    uint32_t rank_a = rank_of(r, a->offset), rank_b = rank_of(r, b->offset);
    if (rank_a != rank_b)
        return rank_a < rank_b;
    return !mdg_slice_eq(a->content->channel, b->content->channel) &&
           a->content->unix_ms < b->content->unix_ms;
}

static void sort_rooms(struct sio_recovery *r)
{
    for (uint32_t i = 1; i < r->len; i++) {
        struct sio_delivery d = *sio_ring_at(r, i);
        uint32_t j = i;
        while (j > 0 && comes_before(r, &d, sio_ring_at(r, j - 1))) {
            *sio_ring_at(r, j) = *sio_ring_at(r, j - 1);
            j--;
        }
        *sio_ring_at(r, j) = d;
    }
}

/* Behind its predecessor; when that is not in the ring any more, it is the oldest itself. */
static uint32_t place_of(const struct sio_delivery *ring, uint32_t len, uint64_t after)
{
    for (uint32_t i = len; after && i > 0; i--) {
        if (ring[i - 1].offset == after)
            return i;
    }
    return 0;
}

static int insert_kept(struct sio_recovery *r)
{
    uint32_t cap = r->len + r->kept_len, len = r->len;
    if (r->kept_len == 0)
        return 0;
    struct sio_delivery *ring = malloc(cap * sizeof *ring);
    if (!ring)
        return MDG_E_NO_MEMORY;
    for (uint32_t i = 0; i < len; i++)
        ring[i] = *sio_ring_at(r, i);
    for (uint32_t i = 0, next = 0; i < r->kept_len; i++) {
        uint32_t at = place_of(ring, len, r->kept[i].after);
        at = at > next ? at : next; /* among themselves they have the order of their numbers */
        memmove(ring + at + 1, ring + at, (len - at) * sizeof *ring);
        ring[at] = r->kept[i].delivery;
        next = at + 1;
        len++;
    }
    free(r->ring);
    r->ring = ring;
    r->at = 0;
    r->cap = r->len = cap;
    r->kept_len = 0; /* their contents are the ring's now */
    return 0;
}

void sio_restored_sort(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    sort_rooms(r);
    if (insert_kept(r) < 0)
        sio_recovery_hole(s);
    r->restored = false;
}

bool sio_restored_find(const struct sio_recovery *r, uint64_t offset, uint32_t *from)
{
    uint32_t rank = rank_of(r, offset);
    if (rank == UINT32_MAX)
        return false;
    for (*from = 0; *from < r->len; (*from)++) {
        if (rank_of(r, sio_ring_at(r, *from)->offset) > rank)
            break;
    }
    return true;
}

void sio_restored_drop(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    for (uint32_t i = 0; i < r->kept_len; i++) {
        sio_forget_event(s, r->kept[i].delivery.number);
        mdg_content_unref(r->kept[i].delivery.content);
    }
    free(r->kept);
    free(r->order);
    r->kept = NULL;
    r->order = NULL;
    r->kept_len = r->order_len = 0;
}
