#include "codec/proxy.h"

enum { V2_HEAD = 16, IP4_LEN = 12, IP6_LEN = 36, UNIX_LEN = 216 };

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static bool read_ip4(struct mdg_slice s, uint8_t out[4])
{
    for (unsigned i = 0; i < 4; i++) {
        struct mdg_slice part = mdg_slice_split(&s, '.');
        uint64_t value;
        bool zero_first = part.len > 1 && part.data[0] == '0';
        if (part.len > 3 || zero_first || mdg_slice_u64(part, &value) < 0 || value > 255)
            return false;
        out[i] = (uint8_t)value;
    }
    return s.data == NULL;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 1 to 4 digits of one group of an IPv6 address. */
static bool read_group(struct mdg_slice s, uint8_t out[2])
{
    unsigned value = 0;
    if (s.len == 0 || s.len > 4)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        int digit = hex_value(s.data[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return true;
}

/* RFC 4291 2.2: groups, at most one "::", perhaps a dotted tail. */
static bool read_ip6(struct mdg_slice s, uint8_t out[16])
{
    size_t len = 0, gap = SIZE_MAX;
    if (s.len >= 2 && s.data[0] == ':' && s.data[1] == ':') {
        gap = 0;
        s = mdg_slice(s.data + 2, s.len - 2);
    }
    while (s.len) {
        struct mdg_slice rest = s, part = mdg_slice_split(&rest, ':');
        if (rest.data == NULL && memchr(part.data, '.', part.len)) {
            if (len > 12 || !read_ip4(part, out + len))
                return false;
            len += 4;
            break;
        }
        if (len == 16 || !read_group(part, out + len))
            return false;
        len += 2;
        if (rest.data && rest.len == 0)
            return false; /* ends with a single colon */
        if (rest.data && rest.data[0] == ':') {
            if (gap != SIZE_MAX)
                return false;
            gap = len;
            rest = mdg_slice(rest.data + 1, rest.len - 1);
        }
        s = rest;
    }
    if (gap == SIZE_MAX)
        return len == 16;
    if (len == 16)
        return false;
    memmove(out + 16 - (len - gap), out + gap, len - gap);
    memset(out + gap, 0, 16 - len);
    return true;
}

static bool read_port(struct mdg_slice s, uint16_t *out)
{
    uint64_t value;
    if (s.len > 5 || (s.len > 1 && s.data[0] == '0') || mdg_slice_u64(s, &value) < 0 ||
        value > 65535)
        return false;
    *out = (uint16_t)value;
    return true;
}

/* The line without "PROXY " and CR LF. */
static bool read_v1_fields(struct mdg_slice line, struct mdg_proxy *out)
{
    struct mdg_slice family = mdg_slice_split(&line, ' ');
    if (mdg_slice_eq(family, MDG_SLICE_LIT("UNKNOWN")))
        return true; /* the rest of the line must be ignored: section 2.1 */
    bool ip4 = mdg_slice_eq(family, MDG_SLICE_LIT("TCP4"));
    if (!ip4 && !mdg_slice_eq(family, MDG_SLICE_LIT("TCP6")))
        return false;
    struct mdg_slice from = mdg_slice_split(&line, ' '), to = mdg_slice_split(&line, ' ');
    struct mdg_slice from_port = mdg_slice_split(&line, ' ');
    bool good = ip4 ? read_ip4(from, out->source.ip) && read_ip4(to, out->destination.ip)
                    : read_ip6(from, out->source.ip) && read_ip6(to, out->destination.ip);
    if (!good || !read_port(from_port, &out->source.port) ||
        !read_port(line, &out->destination.port))
        return false;
    out->family = ip4 ? MDG_PROXY_IP4 : MDG_PROXY_IP6;
    return true;
}

static int parse_v1(struct mdg_slice in, struct mdg_proxy *out)
{
    static const char prefix[] = "PROXY ";
    size_t known = mdg_min_size(in.len, sizeof prefix - 1);
    if (memcmp(in.data, prefix, known) != 0)
        return MDG_E_PROTO;
    if (in.len > MDG_PROXY_V1_BYTES_MAX)
        in.len = MDG_PROXY_V1_BYTES_MAX;
    const uint8_t *cr = memchr(in.data, '\r', in.len);
    size_t end = cr ? (size_t)(cr - in.data) : in.len;
    if (memchr(in.data, '\n', end))
        return MDG_E_PROTO;
    if (end + 2 > MDG_PROXY_V1_BYTES_MAX)
        return MDG_E_PROTO;
    if (!cr || end + 1 == in.len)
        return 0;
    if (in.data[end + 1] != '\n' || known < sizeof prefix - 1)
        return MDG_E_PROTO;
    if (!read_v1_fields(mdg_slice(in.data + known, end - known), out)) {
        memset(out, 0, sizeof *out);
        return MDG_E_PROTO;
    }
    return (int)(end + 2);
}

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void read_v2_addresses(const uint8_t *at, size_t ip_len, struct mdg_proxy *out)
{
    memcpy(out->source.ip, at, ip_len);
    memcpy(out->destination.ip, at + ip_len, ip_len);
    out->source.port = read_u16(at + 2 * ip_len);
    out->destination.port = read_u16(at + 2 * ip_len + 2);
}

static int parse_v2(struct mdg_slice in, struct mdg_proxy *out)
{
    if (in.len < V2_HEAD)
        return in.len > 12 && in.data[12] != 0x20 && in.data[12] != 0x21 ? MDG_E_PROTO : 0;
    uint8_t command = in.data[12] & 15, family = in.data[13] >> 4, protocol = in.data[13] & 15;
    size_t len = read_u16(in.data + 14);
    if (in.data[12] >> 4 != 2 || command > 1 || family > 3 || protocol > 2)
        return MDG_E_PROTO;
    if (V2_HEAD + len > MDG_PROXY_BYTES_MAX)
        return MDG_E_TOO_BIG;
    size_t need = command == 0  ? 0
                  : family == 1 ? IP4_LEN
                  : family == 2 ? IP6_LEN
                  : family == 3 ? UNIX_LEN
                                : 0;
    if (len < need)
        return MDG_E_PROTO;
    if (in.len < V2_HEAD + len)
        return 0;
    if (need == IP4_LEN)
        read_v2_addresses(in.data + V2_HEAD, 4, out);
    else if (need == IP6_LEN)
        read_v2_addresses(in.data + V2_HEAD, 16, out);
    out->family = need ? (enum mdg_proxy_family)family : MDG_PROXY_UNKNOWN;
    return (int)(V2_HEAD + len);
}

int mdg_proxy_parse(struct mdg_slice in, struct mdg_proxy *out)
{
    memset(out, 0, sizeof *out);
    if (in.len == 0)
        return 0;
    if (in.data[0] != v2_signature[0])
        return parse_v1(in, out);
    size_t known = mdg_min_size(in.len, sizeof v2_signature);
    if (memcmp(in.data, v2_signature, known) != 0)
        return MDG_E_PROTO;
    return parse_v2(in, out);
}
