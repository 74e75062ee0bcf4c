/* Decompression of anything, in pieces, into little room; and a round trip of the same bytes. */
#include "codec/deflate.h"
#include "fuzz/fuzz.h"

static void inflate_rubbish(const uint8_t *data, size_t size, size_t piece)
{
    struct mdg_inflate f = {0};
    uint8_t out[64];
    size_t total = 0;
    int rc = 0;
    if (mdg_inflate_open(&f, 10, false) < 0)
        return;
    while (size > 0 && rc >= 0 && total < 65536) {
        size_t n = piece && piece < size ? piece : size, made = 0;
        uint8_t *block = mdg_fuzz_piece(data, n);
        struct mdg_slice part = mdg_slice(block, n);
        do {
            rc = mdg_inflate_piece(&f, &part, n == size, out, sizeof out, &made);
            total += made;
        } while (rc == 1 && total < 65536);
        free(block);
        data += n;
        size -= n;
    }
    mdg_inflate_close(&f);
}

static void round_trip(const uint8_t *data, size_t size, uint8_t bits)
{
    z_stream z = {0};
    struct mdg_inflate f = {0};
    uint8_t *wire = malloc(mdg_deflate_bound(size)), *back = malloc(size + 1);
    if (!wire || !back || mdg_deflate_open(&z, bits, 6, 1) < 0 ||
        mdg_inflate_open(&f, bits, true) < 0)
        abort();
    for (int round = 0; round < 2; round++) {
        size_t made = 0;
        int64_t n =
            mdg_deflate_message(&z, mdg_slice(data, size), true, wire, mdg_deflate_bound(size));
        if (n < 0)
            abort();
        struct mdg_slice part = mdg_slice(wire, (size_t)n);
        if (mdg_inflate_piece(&f, &part, true, back, size + 1, &made) != 0 || made != size ||
            memcmp(back, data, size) != 0)
            abort();
    }
    mdg_deflate_close(&z);
    mdg_inflate_close(&f);
    free(wire);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    inflate_rubbish(data + 2, size - 2, data[0]);
    round_trip(data + 2, size - 2, (uint8_t)(8 + data[1] % 8));
    return 0;
}
