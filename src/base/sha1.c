/* The textbook form over a whole message; the block function is in cpu.c where the processor has
 * instructions for it. */
#include "base/sha1.h"
#include "base/cpu.h"

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t load(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

void mdg_sha1_portable(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[16], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 16; t++)
        w[t] = load(p + 4 * t);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t >= 16)
            w[t % 16] = rotate(w[(t + 13) % 16] ^ w[(t + 8) % 16] ^ w[(t + 2) % 16] ^ w[t % 16], 1);
        if (t < 20)
            f = (b & c) | (~b & d), k = 0x5a827999;
        else if (t < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (t < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = rotate(a, 5) + f + e + k + w[t % 16];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void mdg_sha1(uint8_t out[MDG_SHA1_LEN], struct mdg_slice in)
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint64_t bits = (uint64_t)in.len * 8;
    uint8_t tail[128] = {0};
    while (in.len >= 64) {
        mdg_cpu_kernels.sha1(h, in.data);
        in.data += 64;
        in.len -= 64;
    }
    if (in.len)
        memcpy(tail, in.data, in.len);
    tail[in.len] = 0x80;
    size_t end = in.len < 56 ? 64 : 128;
    store(tail + end - 8, (uint32_t)(bits >> 32));
    store(tail + end - 4, (uint32_t)bits);
    mdg_cpu_kernels.sha1(h, tail);
    if (end == 128)
        mdg_cpu_kernels.sha1(h, tail + 64);
    for (unsigned i = 0; i < 5; i++)
        store(out + 4 * i, h[i]);
}
