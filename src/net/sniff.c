/* Telling protocols apart by their first bytes, as many as it takes and no more. Text that merely
 * begins like a request ("GET well soon") is text. */
#include "net/sniff.h"

enum match { NO, MORE, YES };

/* Whether the bytes begin with `word`, or may yet do so. */
static enum match begins(struct mdg_slice s, struct mdg_slice word)
{
    size_t n = mdg_min_size(s.len, word.len);
    if (n > 0 && memcmp(s.data, word.data, n) != 0)
        return NO;
    return s.len >= word.len ? YES : MORE;
}

static enum match begins_any(struct mdg_slice s, const struct mdg_slice *words, size_t n)
{
    enum match best = NO;
    for (size_t i = 0; i < n; i++) {
        enum match m = begins(s, words[i]);
        if (m > best)
            best = m;
    }
    return best;
}

static struct mdg_slice after(struct mdg_slice s, size_t n)
{
    return mdg_slice(s.data + n, s.len - n);
}

/* RFC 8446 5.1: ContentType handshake, then the legacy record version 3.x. */
static enum match is_tls(struct mdg_slice s)
{
    static const struct mdg_slice head = {(const uint8_t *)"\x16\x03", 2};
    return begins(s, head);
}

/* PROXY protocol 2.1 and 2.2. */
static enum match is_proxy(struct mdg_slice s)
{
    static const struct mdg_slice heads[] = {
        {(const uint8_t *)"PROXY TCP4 ", 11},
        {(const uint8_t *)"PROXY TCP6 ", 11},
        {(const uint8_t *)"PROXY UNKNOWN", 13},
        {(const uint8_t *)"\r\n\r\n\0\r\nQUIT\n", 12},
    };
    return begins_any(s, heads, MDG_ARRAY_LEN(heads));
}

/* STOMP 1.2 "STOMP Frames": the command stands alone in its line, which ends with LF or CR LF. */
static enum match is_stomp(struct mdg_slice s)
{
    static const struct mdg_slice heads[] = {
        {(const uint8_t *)"STOMP\n", 6},
        {(const uint8_t *)"STOMP\r\n", 7},
        {(const uint8_t *)"CONNECT\n", 8},
        {(const uint8_t *)"CONNECT\r\n", 9},
    };
    return begins_any(s, heads, MDG_ARRAY_LEN(heads));
}

static bool is_host_byte(uint8_t c)
{
    return (c >= '0' && c <= '9') || (mdg_ascii_lower(c) >= 'a' && mdg_ascii_lower(c) <= 'z') ||
           c == '.' || c == '-' || c == '_' || c == '[' || c == ']' || c == ':';
}

/* RFC 9112 3.2.3: host ":" port. A word without a port is not an authority here. */
static enum match is_authority(struct mdg_slice s)
{
    size_t i = 0, room = MDG_SNIFF_MAX - sizeof "CONNECT";
    while (i < s.len && i < room && is_host_byte(s.data[i]))
        i++;
    if (i == room)
        return YES;
    if (i == s.len)
        return MORE;
    bool has_port = s.data[i] == ' ' && i > 2 && s.data[i - 1] >= '0' && s.data[i - 1] <= '9' &&
                    memchr(s.data, ':', i) != NULL;
    return has_port ? YES : NO;
}

/* RFC 9112 3.2: origin-form, absolute-form, asterisk-form. */
static enum match is_target(struct mdg_slice s)
{
    static const struct mdg_slice heads[] = {
        {(const uint8_t *)"/", 1},
        {(const uint8_t *)"* ", 2},
        {(const uint8_t *)"http://", 7},
        {(const uint8_t *)"https://", 8},
    };
    return begins_any(s, heads, MDG_ARRAY_LEN(heads));
}

/* RFC 9110 9.3 and RFC 5789. */
static enum match is_http(struct mdg_slice s)
{
    static const struct mdg_slice methods[] = {
        {(const uint8_t *)"GET ", 4},     {(const uint8_t *)"POST ", 5},
        {(const uint8_t *)"OPTIONS ", 8}, {(const uint8_t *)"HEAD ", 5},
        {(const uint8_t *)"PUT ", 4},     {(const uint8_t *)"DELETE ", 7},
        {(const uint8_t *)"PATCH ", 6},   {(const uint8_t *)"TRACE ", 6},
        {(const uint8_t *)"CONNECT ", 8},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(methods); i++) {
        enum match m = begins(s, methods[i]);
        if (m == MORE)
            return MORE; /* no method is the beginning of another one */
        if (m == YES)
            return i == MDG_ARRAY_LEN(methods) - 1 ? is_authority(after(s, methods[i].len))
                                                   : is_target(after(s, methods[i].len));
    }
    return NO;
}

enum mdg_sniffed mdg_sniff(struct mdg_slice first)
{
    static const struct {
        enum match (*is)(struct mdg_slice s);
        enum mdg_sniffed what;
    } kinds[] = {
        {is_http, MDG_SNIFF_HTTP},
        {is_tls, MDG_SNIFF_TLS},
        {is_stomp, MDG_SNIFF_STOMP},
        {is_proxy, MDG_SNIFF_PROXY},
    };
    enum mdg_sniffed result = MDG_SNIFF_LINE;
    if (first.len == 0)
        return MDG_SNIFF_MORE;
    for (size_t i = 0; i < MDG_ARRAY_LEN(kinds); i++) {
        enum match m = kinds[i].is(first);
        if (m == YES)
            return kinds[i].what;
        if (m == MORE)
            result = MDG_SNIFF_MORE;
    }
    assert(result != MDG_SNIFF_MORE || first.len < MDG_SNIFF_MAX);
    return result;
}
