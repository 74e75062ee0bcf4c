/* Paths stay below their root and are fixed points; queries and cookies end. */
#include "codec/url.h"
#include "fuzz/fuzz.h"

static void check_path(const uint8_t *path, size_t len)
{
    if (len == 0 || path[0] != '/')
        abort();
    for (size_t i = 0; i + 1 < len; i++) {
        if (path[i] != '/')
            continue;
        const uint8_t *segment = path + i + 1;
        const uint8_t *slash = memchr(segment, '/', len - i - 1);
        size_t n = slash ? (size_t)(slash - segment) : len - i - 1;
        bool dots = (n == 1 || n == 2) && segment[0] == '.' && segment[n - 1] == '.';
        if (dots || (n == 0 && slash))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *in = mdg_fuzz_piece(data, size), *out = mdg_fuzz_piece(data, size);
    struct mdg_slice s = mdg_slice(in, size), name, value;
    int64_t n = mdg_url_path(s, out, size);
    if (n >= 0)
        check_path(out, (size_t)n);
    if (mdg_url_decode(s, true, out, size) == MDG_E_NO_SPACE)
        abort(); /* decoding never grows */
    for (struct mdg_slice rest = s; mdg_url_query_next(&rest, &name, &value);)
        if (mdg_url_query_get(s, name, out, size) == MDG_E_NO_SPACE)
            abort();
    for (struct mdg_slice rest = s; mdg_cookie_next(&rest, &name, &value);)
        if (!mdg_cookie_find(s, name).data)
            abort();
    free(in);
    free(out);
    return 0;
}
