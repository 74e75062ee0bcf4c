/* STOMP decoder: any bytes in any pieces give the same frames as the whole, no read goes past the
 * piece, and what a frame says survives encoding and decoding again. Byte 1 chooses the version. */
#include "codec/stomp.h"
#include "fuzz/fuzz.h"

static const struct mdg_stomp_limits limits = {
    .line_bytes_max = 200, .header_count_max = 16, .header_bytes_max = 800, .body_bytes_max = 2000};

/* A number that depends on everything that the decoder said. */
static uint64_t mix(uint64_t h, struct mdg_slice s)
{
    h = (h ^ s.len) * 1099511628211u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.data[i]) * 1099511628211u;
    return h;
}

static void check_roundtrip(const struct mdg_stomp_frame *f, enum mdg_stomp_version version)
{
    static uint8_t out[8192];
    struct mdg_writer w;
    if (version < MDG_STOMP_1_1 || f->command != MDG_STOMP_SEND)
        return;
    mdg_writer_init(&w, out, sizeof out);
    mdg_stomp_write_command(&w, f->command);
    uint32_t written = 0;
    for (uint32_t i = 0; i < f->header_count; i++) {
        if (mdg_slice_eq(f->headers[i].name, MDG_SLICE_LIT("content-length")))
            continue;
        /* 1.1 cannot escape a carriage return, which then ends the line. */
        if (version == MDG_STOMP_1_1)
            return;
        mdg_stomp_write_header(&w, version, f->headers[i].name, f->headers[i].value);
        written++;
    }
    if (written == MDG_STOMP_HEADERS_CAP)
        return;
    mdg_stomp_write_body(&w, f->body);
    assert(mdg_writer_fits(&w));
    struct mdg_stomp_limits wide = limits;
    wide.line_bytes_max = wide.header_bytes_max = sizeof out;
    wide.header_count_max = MDG_STOMP_HEADERS_CAP;
    struct mdg_stomp_dec dec = {.version = (uint8_t)version};
    struct mdg_stomp_frame again;
    struct mdg_input in = {out, w.len};
    int n = mdg_stomp_dec_next(&dec, &wide, &in, &again);
    assert(n == 1 && in.len == 0);
    assert(mdg_slice_eq(again.body, f->body));
    assert(again.header_count == written + 1);
}

static uint64_t run(const uint8_t *data, size_t size, size_t each, uint8_t version)
{
    struct mdg_stomp_dec dec = {.version = version};
    struct mdg_stomp_frame frame;
    uint64_t h = 14695981039346656037u;
    size_t from = 0, end = 0;
    while (end < size) {
        end = each ? mdg_min_size(end + each, size) : size;
        uint8_t *block = mdg_fuzz_piece(data + from, end - from);
        struct mdg_input in = {block, end - from};
        int n;
        while ((n = mdg_stomp_dec_next(&dec, &limits, &in, &frame)) > 0) {
            h = mix(h, frame.command_name);
            for (uint32_t i = 0; i < frame.header_count; i++)
                h = mix(mix(h, frame.headers[i].name), frame.headers[i].value);
            h = mix(h, frame.body);
            check_roundtrip(&frame, (enum mdg_stomp_version)version);
        }
        from = end - in.len;
        free(block);
        if (n < 0)
            return h ^ dec.fail;
    }
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t versions[] = {MDG_STOMP_ANY, MDG_STOMP_1_0, MDG_STOMP_1_1, MDG_STOMP_1_2};
    if (size < 2)
        return 0;
    uint8_t version = versions[data[1] % sizeof versions];
    uint64_t whole = run(data + 2, size - 2, 0, version);
    uint64_t cut = run(data + 2, size - 2, (size_t)data[0] + 1, version);
    assert(whole == cut);
    return 0;
}
