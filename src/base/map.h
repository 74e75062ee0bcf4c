/* A hash map from bytes to a pointer. Open addressing, seeded (SipHash-1-3) so that a peer cannot
 * choose keys that collide. Keys are borrowed: they usually live inside the value's object. */
#ifndef MDG_MAP_H
#define MDG_MAP_H

#include "base/base.h"

struct mdg_map_slot {
    const uint8_t *key;
    void *value;   /* NULL: empty slot */
    uint32_t hash; /* its lower half; the map has fewer slots than it has values */
    uint32_t key_len;
};

static_assert(sizeof(struct mdg_map_slot) <= 24, "there are up to 2.7 slots for each entry");

struct mdg_map {
    struct mdg_map_slot *slots;
    size_t len, cap; /* cap is zero or a power of two */
    uint64_t seed[2];
};

/* seed: 16 random bytes of the caller's (the loop's generator). */
void mdg_map_init(struct mdg_map *m, const uint64_t seed[2]);
void mdg_map_fini(struct mdg_map *m); /* frees the table, not the values */
void *mdg_map_get(const struct mdg_map *m, struct mdg_slice key);
/* value must not be NULL; the key's bytes (less than 4 GiB) must stay valid while it is in the map.
 * MDG_E_EXISTS when the key is there already, MDG_E_NO_MEMORY (also with 2^31 slots). */
int mdg_map_put(struct mdg_map *m, struct mdg_slice key, void *value) MDG_NODISCARD;
/* Returns the value that was removed, or NULL. */
void *mdg_map_remove(struct mdg_map *m, struct mdg_slice key);
/* Iteration: start with *at = 0; NULL at the end. The map must not change in between. */
void *mdg_map_next(const struct mdg_map *m, size_t *at);
/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"). */
uint64_t mdg_siphash(const uint64_t seed[2], struct mdg_slice bytes);

#endif
