/* Fixed-size objects in slabs: no header per object, memory reused last in first out. One pool per
 * kind of object and worker; not for use by two threads. */
#ifndef MDG_POOL_H
#define MDG_POOL_H

#include "base/base.h"

struct mdg_pool_slab;

struct mdg_pool {
    size_t item_size; /* bytes, a multiple of 8 */
    size_t items_per_slab;
    size_t used, used_max; /* objects out now; the bound (0: none) */
    void *free_items;
    struct mdg_pool_slab *slabs;
};

/* item_size is rounded up to 8 bytes; used_max bounds the number of live objects. */
void mdg_pool_init(struct mdg_pool *p, size_t item_size, size_t used_max);
/* Frees every slab, live objects included. */
void mdg_pool_fini(struct mdg_pool *p);
/* Zeroed memory, aligned to 8. NULL: out of memory or used_max reached. */
void *mdg_pool_get(struct mdg_pool *p) MDG_NODISCARD;
void mdg_pool_put(struct mdg_pool *p, void *item); /* NULL is allowed */

/* Pools for small objects of several kinds: one for each size, in steps of 8 bytes. What malloc
 * would add to each (8 bytes and the rounding up to 16) is a tenth of an idle connection. */
enum { MDG_SMALL_STEP = 8, MDG_SMALL_CLASSES = 32 };

struct mdg_small {
    struct mdg_pool classes[MDG_SMALL_CLASSES]; /* 8, 16, ... 256 bytes */
};

void mdg_small_init(struct mdg_small *s);
void mdg_small_fini(struct mdg_small *s); /* frees every slab, live objects included */
/* Zeroed memory, aligned to 8; more than 256 bytes come from the heap. NULL: out of memory. */
void *mdg_small_get(struct mdg_small *s, size_t size) MDG_NODISCARD;
/* size: as asked for. NULL is allowed. */
void mdg_small_put(struct mdg_small *s, void *item, size_t size);

#endif
