/* WebSocket masking (RFC 6455 5.3): XOR with a key of four bytes, in place, in pieces. */
#ifndef MDG_MASK_H
#define MDG_MASK_H

#include "base/base.h"
#include "base/cpu.h"

/* The key for the byte behind `n` masked ones. The key is kept as its four bytes lie in memory. */
static inline uint32_t mdg_mask_rotate(uint32_t key, size_t n)
{
    unsigned bits = (unsigned)(n & 3) * 8;
    if (bits == 0)
        return key;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return key >> bits | key << (32 - bits);
#else
    return key << bits | key >> (32 - bits);
#endif
}

/* 16 to 32 bytes, as most small messages have: two pieces of 16 that may overlap, so both are read
 * before either is written. Returns all result bits or-ed together. */
static inline uint64_t mdg_mask_both_ends(uint8_t *data, size_t len, uint32_t key)
{
    uint32_t end_key = mdg_mask_rotate(key, len);
    uint64_t wide = (uint64_t)key << 32 | key, end_wide = (uint64_t)end_key << 32 | end_key;
    uint64_t start[2], end[2];
    memcpy(start, data, sizeof start);
    memcpy(end, data + len - sizeof end, sizeof end);
    start[0] ^= wide;
    start[1] ^= wide;
    end[0] ^= end_wide;
    end[1] ^= end_wide;
    memcpy(data, start, sizeof start);
    memcpy(data + len - sizeof end, end, sizeof end);
    return start[0] | start[1] | end[0] | end[1];
}

/* Masks or unmasks; *key is rotated for the next piece. Returns whether the result is all ASCII,
 * which costs nothing to learn here and saves the UTF-8 check. */
static inline bool mdg_mask(uint8_t *data, size_t len, uint32_t *key)
{
    uint64_t seen = 0;
    if (len > 32) {
        seen = mdg_cpu_kernels.mask(data, len, *key);
    } else if (len >= 16) {
        seen = mdg_mask_both_ends(data, len, *key);
    } else {
        uint64_t wide = (uint64_t)*key << 32 | *key, word;
        size_t i = 0;
        for (; i + 8 <= len; i += 8) {
            memcpy(&word, data + i, 8);
            word ^= wide;
            seen |= word;
            memcpy(data + i, &word, 8);
        }
        uint8_t bytes[4];
        memcpy(bytes, key, 4);
        for (; i < len; i++) {
            data[i] ^= bytes[i & 3];
            seen |= data[i];
        }
    }
    *key = mdg_mask_rotate(*key, len);
    return (seen & 0x8080808080808080u) == 0;
}

#endif
