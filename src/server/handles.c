/* Places live in chunks that are aligned to their size, so that a place finds its chunk, and with
 * it its index and generation, by masking its address. */
#include "server/handles.h"
#include <stdlib.h>

enum {
    CHUNK_BYTES = 16384,
    PER_CHUNK = 816,
    PLACE_BITS = 10, /* of an index, which has 24: the other 14 are the chunk's number */
    CHUNKS_MAX = 1 << (24 - PLACE_BITS),
};

struct mdg_handle_chunk {
    struct mdg_handles *table;
    uint32_t first; /* index of its first place */
    uint32_t generations[PER_CHUNK];
    struct mdg_handle places[PER_CHUNK];
};

static_assert(sizeof(struct mdg_handle_chunk) <= CHUNK_BYTES - 32, "a chunk is found by masking");
static_assert(PER_CHUNK <= 1 << PLACE_BITS, "an index names every place");

static struct mdg_handle_chunk *chunk_of(const struct mdg_handle *h)
{
    return (struct mdg_handle_chunk *)((uintptr_t)h & ~(uintptr_t)(CHUNK_BYTES - 1));
}

void mdg_handles_init(struct mdg_handles *t, unsigned worker, void *owner)
{
    assert(worker < 256);
    *t = (struct mdg_handles){.worker = (uint8_t)worker, .owner = owner};
}

void mdg_handles_fini(struct mdg_handles *t)
{
    for (uint32_t i = 0; i < t->chunk_count; i++)
        free(t->chunks[i]);
    free(t->chunks);
    mdg_handles_init(t, t->worker, t->owner);
}

static bool add_chunk(struct mdg_handles *t)
{
    if (t->chunk_count == CHUNKS_MAX)
        return false;
    struct mdg_handle_chunk **chunks =
        realloc(t->chunks, (t->chunk_count + 1) * sizeof(struct mdg_handle_chunk *));
    if (!chunks)
        return false;
    t->chunks = chunks;
    /* A little less than the alignment, so that the allocator can put the next one behind it. */
    void *memory = NULL;
    if (posix_memalign(&memory, CHUNK_BYTES, sizeof(struct mdg_handle_chunk)) != 0)
        return false;
    struct mdg_handle_chunk *chunk = memory;
    memset(chunk, 0, sizeof *chunk);
    chunk->table = t;
    chunk->first = t->chunk_count << PLACE_BITS;
    for (int i = PER_CHUNK - 1; i >= 0; i--) {
        chunk->places[i].tag = t->free;
        t->free = &chunk->places[i];
    }
    t->chunks[t->chunk_count++] = chunk;
    return true;
}

struct mdg_handle *mdg_handle_new(struct mdg_handles *t, void *what, void *tag)
{
    assert(what);
    if (!t->free && !add_chunk(t))
        return NULL;
    struct mdg_handle *h = t->free;
    struct mdg_handle_chunk *chunk = chunk_of(h);
    t->free = h->tag;
    chunk->generations[h - chunk->places]++;
    *h = (struct mdg_handle){what, tag};
    return h;
}

void mdg_handle_free(struct mdg_handles *t, struct mdg_handle *h)
{
    assert(h->what);
    h->what = NULL;
    h->tag = t->free;
    t->free = h;
}

uint64_t mdg_handle_id(const struct mdg_handle *h)
{
    const struct mdg_handle_chunk *chunk = chunk_of(h);
    uint32_t at = (uint32_t)(h - chunk->places);
    /* The generation is at least 1 in use until it has wrapped round 2^32 times. */
    return (uint64_t)chunk->table->worker << 56 | (uint64_t)(chunk->first + at) << 32 |
           chunk->generations[at];
}

void *mdg_handle_owner(const struct mdg_handle *h)
{
    return chunk_of(h)->table->owner;
}

struct mdg_handle *mdg_handle_find(const struct mdg_handles *t, uint64_t id)
{
    uint32_t number = (uint32_t)(id >> (32 + PLACE_BITS)) & (CHUNKS_MAX - 1);
    uint32_t at = (uint32_t)(id >> 32) & ((1 << PLACE_BITS) - 1);
    if (mdg_handle_worker(id) != t->worker || number >= t->chunk_count || at >= PER_CHUNK)
        return NULL;
    struct mdg_handle_chunk *chunk = t->chunks[number];
    struct mdg_handle *h = &chunk->places[at];
    return h->what && chunk->generations[at] == (uint32_t)id ? h : NULL;
}
