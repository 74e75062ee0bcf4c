/* Table-driven, three bytes to four characters a step. */
#include "base/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void put_group(struct mdg_writer *w, const char *alphabet, uint32_t bits, size_t chars)
{
    char c[4] = {alphabet[bits >> 18 & 63], alphabet[bits >> 12 & 63], alphabet[bits >> 6 & 63],
                 alphabet[bits & 63]};
    mdg_write_bytes(w, c, chars);
}

/* Returns the number of bytes in the last, incomplete group (0, 1, 2). */
static size_t encode(struct mdg_writer *w, const char *alphabet, struct mdg_slice in)
{
    size_t i = 0;
    for (; in.len - i >= 3; i += 3) {
        uint32_t bits = (uint32_t)in.data[i] << 16 | (uint32_t)in.data[i + 1] << 8 | in.data[i + 2];
        put_group(w, alphabet, bits, 4);
    }
    size_t left = in.len - i;
    if (left == 0)
        return 0;
    uint32_t bits = (uint32_t)in.data[i] << 16;
    if (left == 2)
        bits |= (uint32_t)in.data[i + 1] << 8;
    put_group(w, alphabet, bits, left + 1);
    return left;
}

void mdg_write_base64(struct mdg_writer *w, struct mdg_slice bytes)
{
    size_t left = encode(w, standard, bytes);
    if (left)
        mdg_write_bytes(w, "==", 3 - left);
}

void mdg_write_base64url(struct mdg_writer *w, struct mdg_slice bytes)
{
    (void)encode(w, url, bytes);
}

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

/* Without padding; the length may not be one more than a multiple of four. */
static int strip_padding(struct mdg_slice *in)
{
    size_t padding = 0;
    while (padding < 2 && in->len > padding && in->data[in->len - 1 - padding] == '=')
        padding++;
    if (padding && in->len % 4 != 0)
        return MDG_E_SYNTAX;
    in->len -= padding;
    return in->len % 4 == 1 ? MDG_E_SYNTAX : 0;
}

int64_t mdg_base64_decode(struct mdg_slice in, uint8_t *out, size_t cap)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t len = 0;
    if (strip_padding(&in) < 0)
        return MDG_E_SYNTAX;
    if (in.len / 4 * 3 + (in.len % 4 ? in.len % 4 - 1 : 0) > cap)
        return MDG_E_NO_SPACE;
    for (size_t i = 0; i < in.len; i++) {
        int v = value_of(in.data[i]);
        if (v < 0)
            return MDG_E_SYNTAX;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[len++] = (uint8_t)(bits >> have);
        }
    }
    if (bits & ((1u << have) - 1))
        return MDG_E_SYNTAX;
    return (int64_t)len;
}
