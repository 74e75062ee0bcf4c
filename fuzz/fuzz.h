/* What every fuzz target does with its input: byte 0 says how long the pieces are (0: all at
 * once), and each piece is copied to a heap block of its exact size, so that the address
 * sanitizer sees a read of one byte too many. */
#ifndef MDG_FUZZ_H
#define MDG_FUZZ_H

#include "base/base.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A heap block of exactly `len` bytes with a copy of the piece; the caller frees it. */
static inline uint8_t *mdg_fuzz_piece(const uint8_t *data, size_t len)
{
    uint8_t *block = malloc(len ? len : 1);
    if (!block)
        abort();
    if (len)
        memcpy(block, data, len);
    return block;
}

#endif
