/* The kernels whose best form depends on the processor, chosen once before main() runs. This is
 * the one table in the project that is not const: it never changes after start. */
#ifndef MDG_CPU_H
#define MDG_CPU_H

#include "base/base.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define MDG_CPU_X86 1
#else
#define MDG_CPU_X86 0
#endif

struct mdg_cpu {
    const char *name; /* "avx512", "avx2", "portable" */
    /* XORs data with the repeated key (its bytes in memory order). Returns the OR of all resulting
     * bytes in some byte of the result, so that bit 7 of any byte set means "not all ASCII". */
    uint64_t (*mask)(uint8_t *data, size_t len, uint32_t key);
    /* Length of a prefix that is whole, valid characters; the input begins at a character. The
     * rest (at most a block and a piece of a character, or what comes from the first bad block
     * on) is for the state machine in utf8.c to judge. */
    size_t (*utf8)(const uint8_t *data, size_t len);
    /* One block of 64 bytes (FIPS 180-4 6.1.2). */
    void (*sha1)(uint32_t h[5], const uint8_t *block);
};

/* sha1.c */
void mdg_sha1_portable(uint32_t h[5], const uint8_t *block);

extern struct mdg_cpu mdg_cpu_kernels;

/* Every variant that this processor can run, for tests and benchmarks; NULL past the last. */
const struct mdg_cpu *mdg_cpu_variant(size_t i);

#endif
