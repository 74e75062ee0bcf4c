/* The validator is one loop with a bit per open container; strings, where most bytes are, go 16
 * bytes at a time where SSE2 is there and one at a time elsewhere. */
#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* 0..15, or -1. */
static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = mdg_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at p, or -1. p + 4 <= end is the caller's promise. */
static int hex4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The first byte from p on that a string's scan must look at: a quote, a backslash, a control
 * character, or the end. */
static const uint8_t *skip_plain(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i last_control = _mm_set1_epi8(0x1f);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, last_control), v));
        unsigned bits = (unsigned)_mm_movemask_epi8(hit);
        if (bits)
            return p + __builtin_ctz(bits);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
        p++;
    return p;
}

/* p at the backslash. Behind the escape, or NULL. */
static const uint8_t *check_escape(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 2)
        return NULL;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        return end - p >= 6 && hex4(p + 2) >= 0 ? p + 6 : NULL;
    default:
        return NULL;
    }
}

/* p behind the opening quote. Behind the closing one, or NULL. */
static const uint8_t *check_string(const uint8_t *p, const uint8_t *end)
{
    for (;;) {
        p = skip_plain(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (*p != '\\')
            return NULL;
        p = check_escape(p, end);
        if (!p)
            return NULL;
    }
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

/* RFC 8259 6: no leading zero, digits on both sides of the point, digits in the exponent. */
static const uint8_t *check_number(const uint8_t *p, const uint8_t *end)
{
    if (*p == '-')
        p++;
    if (p == end || !is_digit(*p))
        return NULL;
    p = *p == '0' ? p + 1 : skip_digits(p, end);
    if (p < end && *p == '.') {
        const uint8_t *from = p + 1;
        p = skip_digits(from, end);
        if (p == from)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const uint8_t *from = p;
        p = skip_digits(from, end);
        if (p == from)
            return NULL;
    }
    return p;
}

static const uint8_t *check_word(const uint8_t *p, const uint8_t *end, const char *word, size_t len)
{
    return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

static const uint8_t *check_scalar(const uint8_t *p, const uint8_t *end)
{
    switch (*p) {
    case '"':
        return check_string(p + 1, end);
    case 't':
        return check_word(p, end, "true", 4);
    case 'f':
        return check_word(p, end, "false", 5);
    case 'n':
        return check_word(p, end, "null", 4);
    default:
        return *p == '-' || is_digit(*p) ? check_number(p, end) : NULL;
    }
}

/* p at a member's name: behind the colon and the blanks after it, or NULL. */
static const uint8_t *check_key(const uint8_t *p, const uint8_t *end)
{
    if (p == end || *p != '"')
        return NULL;
    p = check_string(p + 1, end);
    if (!p)
        return NULL;
    p = skip_blanks(p, end);
    if (p == end || *p != ':')
        return NULL;
    return skip_blanks(p + 1, end);
}

/* The open containers: one bit a level, set for an object. */
struct open {
    uint64_t bits[MDG_JSON_DEPTH_MAX / 64];
    unsigned depth;
};

static void push(struct open *o, bool object)
{
    uint64_t bit = UINT64_C(1) << (o->depth & 63);
    if (object)
        o->bits[o->depth / 64] |= bit;
    else
        o->bits[o->depth / 64] &= ~bit;
    o->depth++;
}

static bool in_object(const struct open *o)
{
    unsigned top = o->depth - 1;
    return o->bits[top / 64] >> (top & 63) & 1;
}

/* Behind a value: closes what closes here and steps over one comma. *p is then where the next
 * value starts, or, with depth 0, behind the outermost one. */
static int after_value(const uint8_t **at, const uint8_t *end, struct open *o)
{
    const uint8_t *p = *at;
    while (o->depth > 0) {
        bool object = in_object(o);
        p = skip_blanks(p, end);
        if (p == end)
            return MDG_E_SYNTAX;
        if (*p == ',') {
            p = skip_blanks(p + 1, end);
            if (object)
                p = check_key(p, end);
            *at = p;
            return p ? 0 : MDG_E_SYNTAX;
        }
        if (*p != (object ? '}' : ']'))
            return MDG_E_SYNTAX;
        o->depth--;
        p++;
    }
    *at = p;
    return 0;
}

/* p at '[' or '{'. Opens it: *empty tells that it closed at once. */
static int open_container(const uint8_t **at, const uint8_t *end, unsigned depth_max,
                          struct open *o, bool *empty)
{
    bool object = **at == '{';
    if (o->depth == depth_max)
        return MDG_E_TOO_BIG;
    const uint8_t *p = skip_blanks(*at + 1, end);
    *empty = p < end && *p == (object ? '}' : ']');
    if (*empty) {
        *at = p + 1;
        return 0;
    }
    push(o, object);
    if (object)
        p = check_key(p, end);
    *at = p;
    return p ? 0 : MDG_E_SYNTAX;
}

int mdg_json_check(struct mdg_slice text, unsigned depth_max, struct mdg_slice *value)
{
    assert(depth_max <= MDG_JSON_DEPTH_MAX);
    struct open open;
    open.depth = 0;
    if (text.len == 0)
        return MDG_E_SYNTAX;
    const uint8_t *end = text.data + text.len;
    const uint8_t *p = skip_blanks(text.data, end), *start = p;
    do {
        if (p == end)
            return MDG_E_SYNTAX;
        if (*p == '[' || *p == '{') {
            bool empty;
            int err = open_container(&p, end, depth_max, &open, &empty);
            if (err < 0)
                return err;
            if (!empty)
                continue;
        } else {
            p = check_scalar(p, end);
            if (!p)
                return MDG_E_SYNTAX;
        }
        int err = after_value(&p, end, &open);
        if (err < 0)
            return err;
    } while (open.depth > 0);
    if (skip_blanks(p, end) != end)
        return MDG_E_SYNTAX;
    if (value)
        *value = mdg_slice(start, (size_t)(p - start));
    return 0;
}

enum mdg_json_type mdg_json_type(struct mdg_slice value)
{
    if (value.len == 0)
        return MDG_JSON_NONE;
    switch (value.data[0]) {
    case '"':
        return MDG_JSON_STRING;
    case '{':
        return MDG_JSON_OBJECT;
    case '[':
        return MDG_JSON_ARRAY;
    case 't':
    case 'f':
        return MDG_JSON_BOOL;
    case 'n':
        return MDG_JSON_NULL;
    default:
        return MDG_JSON_NUMBER;
    }
}

/* From here on the text is well-formed; the ends are checked so that nonsense stays inside. */

static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
    for (;;) {
        p = skip_plain(p, end);
        if (p == end)
            return end;
        if (*p == '"')
            return p + 1;
        p += *p == '\\' && end - p >= 2 ? 2 : 1;
    }
}

static const uint8_t *skip_container(const uint8_t *p, const uint8_t *end)
{
    size_t depth = 0;
    while (p < end) {
        uint8_t c = *p++;
        if (c == '"') {
            p = skip_string(p, end);
        } else if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && --depth == 0) {
            break;
        }
    }
    return p;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
    if (*p == '"')
        return skip_string(p + 1, end);
    if (*p == '[' || *p == '{')
        return skip_container(p, end);
    while (p < end && *p != ',' && *p != ']' && *p != '}' && !is_blank(*p))
        p++;
    return p;
}

static bool begin(struct mdg_slice value, enum mdg_json_type type, struct mdg_json_iter *it)
{
    bool right = mdg_json_type(value) == type && value.len >= 2;
    it->at = right ? value.data + 1 : value.data;
    it->end = right ? value.data + value.len - 1 : value.data;
    return right;
}

bool mdg_json_array(struct mdg_slice value, struct mdg_json_iter *it)
{
    return begin(value, MDG_JSON_ARRAY, it);
}

bool mdg_json_object(struct mdg_slice value, struct mdg_json_iter *it)
{
    return begin(value, MDG_JSON_OBJECT, it);
}

bool mdg_json_element(struct mdg_json_iter *it, struct mdg_slice *value)
{
    const uint8_t *start = skip_blanks(it->at, it->end);
    if (start == it->end) {
        it->at = start;
        return false;
    }
    const uint8_t *p = skip_value(start, it->end);
    *value = mdg_slice(start, (size_t)(p - start));
    p = skip_blanks(p, it->end);
    it->at = p < it->end ? p + 1 : p; /* over the comma */
    return true;
}

bool mdg_json_member(struct mdg_json_iter *it, struct mdg_slice *key, struct mdg_slice *value)
{
    const uint8_t *start = skip_blanks(it->at, it->end);
    if (start == it->end) {
        it->at = start;
        return false;
    }
    const uint8_t *p = skip_value(start, it->end);
    *key = mdg_slice(start, (size_t)(p - start));
    p = skip_blanks(p, it->end);
    it->at = p < it->end ? p + 1 : p; /* over the colon */
    return mdg_json_element(it, value);
}

bool mdg_json_find(struct mdg_slice object, struct mdg_slice key, struct mdg_slice *value)
{
    struct mdg_json_iter it;
    struct mdg_slice k, v;
    bool found = false;
    if (!mdg_json_object(object, &it))
        return false;
    while (mdg_json_member(&it, &k, &v)) {
        if (!mdg_json_string_eq(k, key))
            continue;
        *value = v;
        found = true;
    }
    return found;
}

size_t mdg_json_count(struct mdg_slice value)
{
    struct mdg_json_iter it;
    struct mdg_slice k, v;
    size_t n = 0;
    if (mdg_json_array(value, &it)) {
        while (mdg_json_element(&it, &v))
            n++;
    } else if (mdg_json_object(value, &it)) {
        while (mdg_json_member(&it, &k, &v))
            n++;
    }
    return n;
}

struct mdg_slice mdg_json_inside(struct mdg_slice string, bool *escaped)
{
    *escaped = false;
    if (string.len < 2 || string.data[0] != '"')
        return mdg_slice(NULL, 0);
    struct mdg_slice in = mdg_slice(string.data + 1, string.len - 2);
    *escaped = in.len > 0 && memchr(in.data, '\\', in.len) != NULL;
    return in;
}

static size_t put_utf8(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* \uXXXX at p, with the second half of a pair if it follows (RFC 8259 7). */
static const uint8_t *read_unicode(const uint8_t *p, const uint8_t *end, uint32_t *c)
{
    int first = end - p >= 6 ? hex4(p + 2) : -1;
    if (first < 0) {
        *c = 0xfffd;
        return end;
    }
    p += 6;
    *c = (uint32_t)first;
    if (first < 0xd800 || first > 0xdfff)
        return p;
    int second = first < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2) : -1;
    if (second < 0xdc00 || second > 0xdfff) {
        *c = 0xfffd;
        return p;
    }
    *c = 0x10000 + (((uint32_t)first & 0x3ff) << 10 | ((uint32_t)second & 0x3ff));
    return p + 6;
}

/* p at a backslash. Writes the character, returns behind the escape. */
static const uint8_t *read_escape(const uint8_t *p, const uint8_t *end, uint8_t out[4], size_t *n)
{
    uint32_t c;
    *n = 1;
    switch (end - p >= 2 ? p[1] : 0) {
    case 'b':
        out[0] = '\b';
        return p + 2;
    case 'f':
        out[0] = '\f';
        return p + 2;
    case 'n':
        out[0] = '\n';
        return p + 2;
    case 'r':
        out[0] = '\r';
        return p + 2;
    case 't':
        out[0] = '\t';
        return p + 2;
    case 'u':
        p = read_unicode(p, end, &c);
        *n = put_utf8(out, c);
        return p;
    case 0:
        out[0] = '\\';
        return end;
    default:
        out[0] = p[1];
        return p + 2;
    }
}

int64_t mdg_json_unescape(struct mdg_slice string, uint8_t *out, size_t cap)
{
    bool escaped;
    struct mdg_slice in = mdg_json_inside(string, &escaped);
    if (!in.data)
        return MDG_E_SYNTAX;
    const uint8_t *p = in.data, *end = p + in.len;
    size_t len = 0;
    while (p < end) {
        const uint8_t *stop = escaped ? memchr(p, '\\', (size_t)(end - p)) : end;
        size_t plain = (size_t)((stop ? stop : end) - p);
        if (plain > cap - len)
            return MDG_E_NO_SPACE;
        memmove(out + len, p, plain);
        len += plain;
        p += plain;
        if (p == end)
            break;
        uint8_t c[4];
        size_t n;
        p = read_escape(p, end, c, &n);
        if (n > cap - len)
            return MDG_E_NO_SPACE;
        memcpy(out + len, c, n);
        len += n;
    }
    return (int64_t)len;
}

bool mdg_json_string_eq(struct mdg_slice string, struct mdg_slice text)
{
    bool escaped;
    struct mdg_slice in = mdg_json_inside(string, &escaped);
    if (!in.data)
        return false;
    if (!escaped)
        return mdg_slice_eq(in, text);
    const uint8_t *p = in.data, *end = p + in.len;
    size_t at = 0;
    while (p < end) {
        uint8_t c[4];
        size_t n = 1;
        if (*p == '\\')
            p = read_escape(p, end, c, &n);
        else
            c[0] = *p++;
        if (n > text.len - at || memcmp(text.data + at, c, n) != 0)
            return false;
        at += n;
    }
    return at == text.len;
}

int mdg_json_u64(struct mdg_slice value, uint64_t *out)
{
    return mdg_slice_u64(value, out);
}

int mdg_json_bool(struct mdg_slice value, bool *out)
{
    bool yes = mdg_slice_eq(value, MDG_SLICE_LIT("true"));
    if (!yes && !mdg_slice_eq(value, MDG_SLICE_LIT("false")))
        return MDG_E_SYNTAX;
    *out = yes;
    return 0;
}
