/* Connections as values: a number that names a worker, a place in its table and a generation. A
 * number that outlived its connection finds nothing. 20 bytes a connection. */
#ifndef MDG_HANDLES_H
#define MDG_HANDLES_H

#include "base/base.h"

struct mdg_handle_chunk;

/* `what` is what the number stands for, `tag` something of the caller's. */
struct mdg_handle {
    void *what; /* NULL: a free place, and tag is the next one */
    void *tag;
};

struct mdg_handles {
    struct mdg_handle_chunk **chunks;
    uint32_t chunk_count;
    struct mdg_handle *free;
    void *owner; /* found again by mdg_handle_owner */
    uint8_t worker;
};

void mdg_handles_init(struct mdg_handles *t, unsigned worker, void *owner);
void mdg_handles_fini(struct mdg_handles *t);
/* A place; its address is fixed until mdg_handle_free. NULL: no memory, or 13 million in use. */
struct mdg_handle *mdg_handle_new(struct mdg_handles *t, void *what, void *tag) MDG_NODISCARD;
void mdg_handle_free(struct mdg_handles *t, struct mdg_handle *h);
/* The number; never 0. */
uint64_t mdg_handle_id(const struct mdg_handle *h);
void *mdg_handle_owner(const struct mdg_handle *h);
/* The place that the number stands for, or NULL when it is gone or another worker's. */
struct mdg_handle *mdg_handle_find(const struct mdg_handles *t, uint64_t id);

static inline unsigned mdg_handle_worker(uint64_t id)
{
    return (unsigned)(id >> 56);
}

#endif
