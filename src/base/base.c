/* Slice helpers and error texts: what every layer needs and no header should inline. */
#include "base/base.h"

const char *mdg_strerror(int err)
{
    switch (err) {
#define MDG_ERROR(name, value, text)                                                               \
    case value:                                                                                    \
        return text;
#include "base/errors.def"
#undef MDG_ERROR
    default:
        break;
    }
    return err < 0 && err > -1000 ? strerror(-err) : "no error";
}

bool mdg_slice_eq_nocase(struct mdg_slice a, struct mdg_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (mdg_ascii_lower(a.data[i]) != mdg_ascii_lower(b.data[i]))
            return false;
    }
    return true;
}

int mdg_slice_cmp(struct mdg_slice a, struct mdg_slice b)
{
    size_t shorter = mdg_min_size(a.len, b.len);
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool mdg_slice_starts(struct mdg_slice s, struct mdg_slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct mdg_slice mdg_slice_trim(struct mdg_slice s)
{
    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

struct mdg_slice mdg_slice_split(struct mdg_slice *rest, uint8_t sep)
{
    struct mdg_slice whole = *rest;
    const uint8_t *at = whole.len ? memchr(whole.data, sep, whole.len) : NULL;
    if (!at) {
        *rest = (struct mdg_slice){NULL, 0};
        return whole;
    }
    size_t before = (size_t)(at - whole.data);
    *rest = mdg_slice(at + 1, whole.len - before - 1);
    return mdg_slice(whole.data, before);
}

int mdg_slice_u64(struct mdg_slice s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return MDG_E_SYNTAX;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return MDG_E_SYNTAX;
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return MDG_E_TOO_BIG;
        value = value * 10 + digit;
    }
    *out = value;
    return 0;
}
