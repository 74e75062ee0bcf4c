#include "codec/url.h"

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One decoded byte from in.data[*at], which moves on; MDG_E_SYNTAX. */
static int decode_byte(struct mdg_slice in, size_t *at)
{
    uint8_t c = in.data[*at];
    if (c != '%') {
        *at += 1;
        return c;
    }
    if (in.len - *at < 3)
        return MDG_E_SYNTAX;
    int high = hex_value(in.data[*at + 1]), low = hex_value(in.data[*at + 2]);
    if (high < 0 || low < 0)
        return MDG_E_SYNTAX;
    *at += 3;
    return high << 4 | low;
}

int64_t mdg_url_decode(struct mdg_slice in, bool plus, uint8_t *out, size_t cap)
{
    size_t len = 0;
    for (size_t at = 0; at < in.len;) {
        bool space = plus && in.data[at] == '+';
        int c = decode_byte(in, &at);
        if (c < 0)
            return c;
        if (len == cap)
            return MDG_E_NO_SPACE;
        out[len++] = space ? ' ' : (uint8_t)c;
    }
    return (int64_t)len;
}

/* Drops the last segment of "/a/b/" (or "/a/b/.."): the length of "/a/". */
static size_t step_up(const uint8_t *path, size_t len)
{
    assert(len > 1 && path[len - 1] == '/');
    len--;
    while (path[len - 1] != '/')
        len--;
    return len;
}

/* A segment has ended behind `start`: keeps it, drops it or steps up. */
static int64_t end_segment(const uint8_t *path, size_t start, size_t len)
{
    assert(start > 0 && path[start - 1] == '/');
    size_t n = len - start;
    if (n == 1 && path[start] == '.')
        return (int64_t)start;
    if (n != 2 || path[start] != '.' || path[start + 1] != '.')
        return (int64_t)len;
    if (start == 1)
        return MDG_E_DENIED;
    return (int64_t)step_up(path, start);
}

int64_t mdg_url_path(struct mdg_slice in, uint8_t *out, size_t cap)
{
    if (in.len == 0 || in.data[0] != '/')
        return MDG_E_SYNTAX;
    if (cap == 0)
        return MDG_E_NO_SPACE;
    size_t len = 1, start = 1; /* start: of the segment being written */
    out[0] = '/';
    for (size_t at = 1; at < in.len;) {
        int c = decode_byte(in, &at);
        if (c < 0)
            return c;
        if (c < ' ' || c == 0x7f || c == '\\')
            return MDG_E_SYNTAX;
        if (c == '/' && len == start)
            continue; /* an empty segment */
        if (len == cap)
            return MDG_E_NO_SPACE;
        if (c != '/') {
            out[len++] = (uint8_t)c;
            continue;
        }
        int64_t kept = end_segment(out, start, len);
        if (kept < 0)
            return kept;
        if ((size_t)kept == len) {
            out[len++] = '/';
            kept++;
        }
        len = start = (size_t)kept;
    }
    return end_segment(out, start, len);
}

void mdg_url_write_encoded(struct mdg_writer *w, struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i], low = c | 0x20;
        if ((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
            c == '_' || c == '~') {
            mdg_write_u8(w, c);
        } else {
            mdg_write_u8(w, '%');
            mdg_write_u8(w, (uint8_t) "0123456789ABCDEF"[c >> 4]);
            mdg_write_u8(w, (uint8_t) "0123456789ABCDEF"[c & 15]);
        }
    }
}

bool mdg_url_query_next(struct mdg_slice *rest, struct mdg_slice *name, struct mdg_slice *value)
{
    while (rest->data) {
        struct mdg_slice item = mdg_slice_split(rest, '&');
        if (item.len == 0)
            continue;
        *value = item;
        *name = mdg_slice_split(value, '=');
        return true;
    }
    return false;
}

/* Compares an encoded name with a plain one without storing it. */
static bool name_is(struct mdg_slice encoded, struct mdg_slice plain)
{
    size_t at = 0;
    for (size_t i = 0; i < plain.len; i++) {
        if (at == encoded.len)
            return false;
        bool space = encoded.data[at] == '+';
        int c = decode_byte(encoded, &at);
        if (c < 0 || (space ? ' ' : c) != plain.data[i])
            return false;
    }
    return at == encoded.len;
}

int64_t mdg_url_query_get(struct mdg_slice query, struct mdg_slice name, uint8_t *out, size_t cap)
{
    struct mdg_slice item, value;
    while (mdg_url_query_next(&query, &item, &value))
        if (name_is(item, name))
            return mdg_url_decode(value, true, out, cap);
    return MDG_E_NOT_FOUND;
}

bool mdg_cookie_next(struct mdg_slice *rest, struct mdg_slice *name, struct mdg_slice *value)
{
    while (rest->data) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(rest, ';'));
        if (item.len == 0 || !memchr(item.data, '=', item.len))
            continue;
        *value = item;
        *name = mdg_slice_trim(mdg_slice_split(value, '='));
        *value = mdg_slice_trim(*value);
        if (value->len >= 2 && value->data[0] == '"' && value->data[value->len - 1] == '"')
            *value = mdg_slice(value->data + 1, value->len - 2);
        return true;
    }
    return false;
}

struct mdg_slice mdg_cookie_find(struct mdg_slice header, struct mdg_slice name)
{
    struct mdg_slice item, value;
    while (mdg_cookie_next(&header, &item, &value))
        if (mdg_slice_eq(item, name))
            return value.data ? value : MDG_SLICE_LIT("");
    return (struct mdg_slice){NULL, 0};
}
