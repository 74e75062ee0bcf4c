/* Slabs of 64 KiB, cut into equal items. Free items form a list through their first word. */
#include "base/pool.h"
#include <stdlib.h>

/* AddressSanitizer sees an item that was given back as freed memory. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ITEMS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISON_ITEMS 1
#endif
#ifdef POISON_ITEMS
#include <sanitizer/asan_interface.h>
#define poison(item, size) __asan_poison_memory_region(item, size)
#define unpoison(item, size) __asan_unpoison_memory_region(item, size)
#else
#define poison(item, size) ((void)0)
#define unpoison(item, size) ((void)0)
#endif

/* Items of 64 bytes lie in one line of the processor's cache each. */
enum { SLAB_BYTES = 64 * 1024, ITEM_ALIGN = 8, LINE_BYTES = 64 };

struct mdg_pool_slab {
    struct mdg_pool_slab *next;
    size_t items_cut; /* items are cut on demand, so that untouched pages stay untouched */
    _Alignas(LINE_BYTES) uint8_t items[];
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
        unpoison(slab->items, p->items_per_slab * p->item_size);
        free(slab);
        slab = next;
    }
    mdg_pool_init(p, p->item_size, p->used_max);
}

static void *cut_item(struct mdg_pool *p)
{
    if (!p->slabs || p->slabs->items_cut == p->items_per_slab) {
        size_t bytes = sizeof(struct mdg_pool_slab) + p->items_per_slab * p->item_size;
        /* C11 7.22.3.1: a multiple of the alignment. */
        struct mdg_pool_slab *slab =
            aligned_alloc(LINE_BYTES, (bytes + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1));
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
    if (item) {
        unpoison(item, p->item_size);
        memcpy(&p->free_items, item, sizeof p->free_items);
    } else {
        item = cut_item(p);
    }
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
    poison(item, p->item_size);
}

static struct mdg_pool *class_of(struct mdg_small *s, size_t size)
{
    assert(size > 0);
    size_t index = (size - 1) / MDG_SMALL_STEP;
    return index < MDG_SMALL_CLASSES ? &s->classes[index] : NULL;
}

void mdg_small_init(struct mdg_small *s)
{
    for (size_t i = 0; i < MDG_SMALL_CLASSES; i++)
        mdg_pool_init(&s->classes[i], (i + 1) * MDG_SMALL_STEP, 0);
}

void mdg_small_fini(struct mdg_small *s)
{
    for (size_t i = 0; i < MDG_SMALL_CLASSES; i++)
        mdg_pool_fini(&s->classes[i]);
}

void *mdg_small_get(struct mdg_small *s, size_t size)
{
    struct mdg_pool *p = class_of(s, size);
    return p ? mdg_pool_get(p) : calloc(1, size);
}

void mdg_small_put(struct mdg_small *s, void *item, size_t size)
{
    struct mdg_pool *p = class_of(s, size);
    if (p)
        mdg_pool_put(p, item);
    else
        free(item);
}
