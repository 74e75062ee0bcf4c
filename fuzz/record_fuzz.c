/* A record from a damaged file: refused, or a message that gives the same bytes again. */
#include "fuzz/fuzz.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = mdg_fuzz_piece(data, size);
    struct mdg_content *c;
    if (mdg_record_read(mdg_slice(exact, size), &c) == 0) {
        struct mdg_writer w;
        uint8_t *again = malloc(size ? size : 1);
        mdg_writer_init(&w, again, size);
        mdg_record_write(&w, c);
        if (!again || !mdg_writer_fits(&w))
            abort();
        free(again);
        mdg_content_unref(c);
    }
    free(exact);
    return 0;
}
