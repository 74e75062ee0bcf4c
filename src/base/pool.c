/* Slabs of 64 KiB, cut into equal items. Free items form a list through their first word. */
#include "base/pool.h"
#include <stdlib.h>

enum { SLAB_BYTES = 64 * 1024, ITEM_ALIGN = 16 };

struct mdg_pool_slab {
    struct mdg_pool_slab *next;
    size_t items_cut; /* items are cut on demand, so that untouched pages stay untouched */
    _Alignas(ITEM_ALIGN) uint8_t items[];
};

void mdg_pool_init(struct mdg_pool *p, size_t item_size, size_t used_max)
{
    assert(item_size > 0);
    size_t rounded = (item_size + ITEM_ALIGN - 1) & ~(size_t)(ITEM_ALIGN - 1);
    size_t room = SLAB_BYTES - sizeof(struct mdg_pool_slab);
    *p = (struct mdg_pool){
        .item_size = rounded,
        .items_per_slab = mdg_max_size(room / rounded, 1),
        .used_max = used_max,
    };
}

void mdg_pool_fini(struct mdg_pool *p)
{
    struct mdg_pool_slab *slab = p->slabs;
    while (slab) {
        struct mdg_pool_slab *next = slab->next;
        free(slab);
        slab = next;
    }
    mdg_pool_init(p, p->item_size, p->used_max);
}

static void *cut_item(struct mdg_pool *p)
{
    if (!p->slabs || p->slabs->items_cut == p->items_per_slab) {
        struct mdg_pool_slab *slab =
            aligned_alloc(ITEM_ALIGN, sizeof *slab + p->items_per_slab * p->item_size);
        if (!slab)
            return NULL;
        slab->next = p->slabs;
        slab->items_cut = 0;
        p->slabs = slab;
    }
    return p->slabs->items + p->slabs->items_cut++ * p->item_size;
}

void *mdg_pool_get(struct mdg_pool *p)
{
    if (p->used_max && p->used == p->used_max)
        return NULL;
    void *item = p->free_items;
    if (item)
        memcpy(&p->free_items, item, sizeof p->free_items);
    else
        item = cut_item(p);
    if (!item)
        return NULL;
    p->used++;
    memset(item, 0, p->item_size);
    return item;
}

void mdg_pool_put(struct mdg_pool *p, void *item)
{
    if (!item)
        return;
    assert(p->used > 0);
    memcpy(item, &p->free_items, sizeof p->free_items);
    p->free_items = item;
    p->used--;
}
