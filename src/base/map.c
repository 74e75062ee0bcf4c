/* Linear probing with backward-shift deletion: no tombstones, so nothing degrades with time. */
#include "base/map.h"
#include <stdlib.h>

enum { FIRST_CAP = 8 };
static const size_t cap_max = (size_t)1 << 31; /* a hash has 32 bits */

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t mdg_siphash(const uint64_t seed[2], struct mdg_slice bytes)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    const uint8_t *p = bytes.data;
    size_t left = bytes.len;
    uint64_t word;
    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)bytes.len << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)p[i] << (8 * i);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void mdg_map_init(struct mdg_map *m, const uint64_t seed[2])
{
    *m = (struct mdg_map){.seed = {seed[0], seed[1]}};
}

void mdg_map_fini(struct mdg_map *m)
{
    free(m->slots);
    *m = (struct mdg_map){.seed = {m->seed[0], m->seed[1]}};
}

static uint32_t hash_of(const struct mdg_map *m, struct mdg_slice key)
{
    return (uint32_t)mdg_siphash(m->seed, key);
}

static struct mdg_slice key_of(const struct mdg_map_slot *slot)
{
    return mdg_slice(slot->key, slot->key_len);
}

/* The slot that holds the key, or the empty slot where it would go. cap > 0. */
static struct mdg_map_slot *find(const struct mdg_map *m, struct mdg_slice key, uint32_t hash)
{
    size_t mask = m->cap - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct mdg_map_slot *slot = &m->slots[i];
        if (!slot->value || (slot->hash == hash && mdg_slice_eq(key_of(slot), key)))
            return slot;
    }
}

void *mdg_map_get(const struct mdg_map *m, struct mdg_slice key)
{
    if (m->len == 0)
        return NULL;
    return find(m, key, hash_of(m, key))->value;
}

static int grow(struct mdg_map *m)
{
    size_t cap = m->cap ? m->cap * 2 : FIRST_CAP;
    struct mdg_map_slot *slots = cap <= cap_max ? calloc(cap, sizeof *slots) : NULL;
    if (!slots)
        return MDG_E_NO_MEMORY;
    struct mdg_map old = *m;
    m->slots = slots;
    m->cap = cap;
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].value)
            *find(m, key_of(&old.slots[i]), old.slots[i].hash) = old.slots[i];
    }
    free(old.slots);
    return 0;
}

int mdg_map_put(struct mdg_map *m, struct mdg_slice key, void *value)
{
    assert(value && key.len <= UINT32_MAX);
    /* At most three quarters full, so that probing ends and stays short. */
    if ((m->len + 1) * 4 > m->cap * 3) {
        int err = grow(m);
        if (err < 0)
            return err;
    }
    uint32_t hash = hash_of(m, key);
    struct mdg_map_slot *slot = find(m, key, hash);
    if (slot->value)
        return MDG_E_EXISTS;
    *slot = (struct mdg_map_slot){key.data, value, hash, (uint32_t)key.len};
    m->len++;
    return 0;
}

void *mdg_map_remove(struct mdg_map *m, struct mdg_slice key)
{
    if (m->len == 0)
        return NULL;
    struct mdg_map_slot *slot = find(m, key, hash_of(m, key));
    void *value = slot->value;
    if (!value)
        return NULL;
    size_t mask = m->cap - 1;
    size_t hole = (size_t)(slot - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        /* The entry may move back only if its home does not lie behind the hole. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct mdg_map_slot){NULL, NULL, 0, 0};
    m->len--;
    return value;
}

void *mdg_map_next(const struct mdg_map *m, size_t *at)
{
    while (*at < m->cap) {
        void *value = m->slots[(*at)++].value;
        if (value)
            return value;
    }
    return NULL;
}
