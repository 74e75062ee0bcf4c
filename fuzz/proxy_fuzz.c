/* PROXY headers: the answer of a prefix is "more" or the same as that of the whole. */
#include "codec/proxy.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mdg_proxy whole, part;
    uint8_t *block = mdg_fuzz_piece(data, size);
    int n = mdg_proxy_parse(mdg_slice(block, size), &whole);
    free(block);
    if (n > (int)size)
        abort();
    for (size_t len = 0; len < size && len < 300; len++) {
        block = mdg_fuzz_piece(data, len);
        int m = mdg_proxy_parse(mdg_slice(block, len), &part);
        free(block);
        if (m != 0 && m != n)
            abort();
    }
    return 0;
}
