/* A server's bytes in pieces; and what the encoder writes, the decoder reads back. */
#include "codec/sse.h"
#include "fuzz/fuzz.h"

enum { EVENT_MAX = 300 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Data with LF only comes back as it was. */
static void write_and_read(struct mdg_slice data)
{
    static uint8_t wire[16384], memory[8192];
    struct mdg_writer w;
    struct mdg_sse_dec d;
    struct mdg_sse_event ev;
    mdg_writer_init(&w, wire, sizeof wire);
    mdg_sse_write_data(&w, data);
    if (!mdg_writer_fits(&w) || data.len > sizeof memory / 2)
        return;
    mdg_sse_dec_init(&d, memory, sizeof memory);
    struct mdg_input in = {wire, w.len};
    must(mdg_sse_dec_next(&d, &in, &ev) == 1);
    if (data.len == 0 || !memchr(data.data, '\r', data.len))
        must(mdg_slice_eq(ev.data, data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t each = data[0] ? data[0] : size;
    uint8_t *memory = malloc(EVENT_MAX);
    if (!memory)
        abort();
    struct mdg_sse_dec d;
    mdg_sse_dec_init(&d, memory, EVENT_MAX);
    int got = 0;
    for (size_t at = 1; at < size && got >= 0; at += each) {
        size_t n = mdg_min_size(each, size - at);
        uint8_t *piece = mdg_fuzz_piece(data + at, n);
        struct mdg_input in = {piece, n};
        struct mdg_sse_event ev;
        while ((got = mdg_sse_dec_next(&d, &in, &ev)) == 1) {
            must(ev.data.len <= EVENT_MAX);
            if (at == 1)
                write_and_read(ev.data);
        }
        must(got < 0 || in.len == 0);
        free(piece);
    }
    free(memory);
    return 0;
}
