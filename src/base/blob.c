/* Allocation of blobs; counting is inline in the header because fan-out lives on it. */
#include "base/blob.h"
#include <stdlib.h>

struct mdg_blob *mdg_blob_new(uint32_t len)
{
    struct mdg_blob *b = malloc(sizeof *b + len);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->len = len;
    return b;
}

struct mdg_blob *mdg_blob_copy(struct mdg_slice bytes)
{
    if (bytes.len > UINT32_MAX)
        return NULL;
    struct mdg_blob *b = mdg_blob_new((uint32_t)bytes.len);
    if (b && bytes.len)
        memcpy(b->data, bytes.data, bytes.len);
    return b;
}

int mdg_blob_resize(struct mdg_blob **b, uint32_t len)
{
    assert(atomic_load_explicit(&(*b)->refs, memory_order_relaxed) == 1);
    struct mdg_blob *moved = realloc(*b, sizeof *moved + len);
    if (!moved)
        return MDG_E_NO_MEMORY;
    moved->len = len;
    *b = moved;
    return 0;
}

void mdg_blob_free(struct mdg_blob *b)
{
    free(b);
}
