/* Fixed-size objects in slabs: no header per object, memory reused last in first out. One pool per
 * kind of object and worker; not for use by two threads. */
#ifndef MDG_POOL_H
#define MDG_POOL_H

#include "base/base.h"

struct mdg_pool_slab;

struct mdg_pool {
    size_t item_size; /* bytes, a multiple of 16 */
    size_t items_per_slab;
    size_t used, used_max; /* objects out now; the bound (0: none) */
    void *free_items;
    struct mdg_pool_slab *slabs;
};

/* item_size is rounded up to 16 bytes; used_max bounds the number of live objects. */
void mdg_pool_init(struct mdg_pool *p, size_t item_size, size_t used_max);
/* Frees every slab, live objects included. */
void mdg_pool_fini(struct mdg_pool *p);
/* Zeroed memory, aligned to 16. NULL: out of memory or used_max reached. */
void *mdg_pool_get(struct mdg_pool *p) MDG_NODISCARD;
void mdg_pool_put(struct mdg_pool *p, void *item); /* NULL is allowed */

#endif
