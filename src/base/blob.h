/* Immutable reference-counted bytes: the only data that threads share. A chunk is a range of a
 * blob; an output queue is a row of chunks, so that one encoding serves a thousand peers. */
#ifndef MDG_BLOB_H
#define MDG_BLOB_H

#include "base/base.h"
#include <stdatomic.h>

struct mdg_blob {
    atomic_uint refs;
    uint32_t len; /* bytes */
    uint8_t data[];
};

/* One reference, contents uninitialised until the creator fills them. NULL: out of memory. */
struct mdg_blob *mdg_blob_new(uint32_t len) MDG_NODISCARD;
/* A blob that holds a copy of the bytes. NULL: out of memory, or longer than 4 GiB. */
struct mdg_blob *mdg_blob_copy(struct mdg_slice bytes) MDG_NODISCARD;
/* Changes the length of a blob that nobody else refers to; the first bytes stay. *b may move.
 * MDG_E_NO_MEMORY: as it was. */
int mdg_blob_resize(struct mdg_blob **b, uint32_t len) MDG_NODISCARD;
void mdg_blob_free(struct mdg_blob *b); /* internal: use mdg_blob_unref */

static inline struct mdg_blob *mdg_blob_ref(struct mdg_blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

/* Any thread. NULL is allowed. The last reference frees. */
static inline void mdg_blob_unref(struct mdg_blob *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        mdg_blob_free(b);
}

static inline struct mdg_slice mdg_blob_slice(const struct mdg_blob *b)
{
    return b ? mdg_slice(b->data, b->len) : mdg_slice(NULL, 0);
}

/* A range of a blob in an output queue. Holds one reference. */
struct mdg_chunk {
    struct mdg_blob *blob;
    uint32_t off, len;
};

/* Takes over the caller's reference. */
static inline struct mdg_chunk mdg_chunk_all(struct mdg_blob *b)
{
    return (struct mdg_chunk){b, 0, b->len};
}

static inline struct mdg_slice mdg_chunk_slice(const struct mdg_chunk *c)
{
    return mdg_slice(c->blob->data + c->off, c->len);
}

#endif
