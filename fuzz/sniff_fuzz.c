/* Any first bytes: the answer is the same from any cut on once it is given, it comes in time, and
 * it looks at nothing beyond the input. */
#include "fuzz/fuzz.h"
#include "net/sniff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum mdg_sniffed before = MDG_SNIFF_MORE;
    for (size_t n = 0; n <= size && n <= MDG_SNIFF_MAX + 8; n++) {
        uint8_t *piece = mdg_fuzz_piece(data, n);
        enum mdg_sniffed now = mdg_sniff(mdg_slice(piece, n));
        free(piece);
        if (before != MDG_SNIFF_MORE && now != before)
            abort();
        if (now == MDG_SNIFF_MORE && n >= MDG_SNIFF_MAX)
            abort();
        before = now;
    }
    return 0;
}
