/* Socket addresses in text and as keys. */
#include "net/addr.h"
#include <arpa/inet.h>
#include <errno.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0,    0,
                                      0, 0, 0, 0, 0xff, 0xff}; /* RFC 4291 2.5.5.2 */

static bool parse_v4(struct mdg_addr *a, const char *text)
{
    if (inet_pton(AF_INET, text, &a->in4.sin_addr) != 1)
        return false;
    a->in4.sin_family = AF_INET;
    a->len = sizeof a->in4;
    return true;
}

static bool parse_v6(struct mdg_addr *a, const char *text)
{
    if (inet_pton(AF_INET6, text, &a->in6.sin6_addr) != 1)
        return false;
    a->in6.sin6_family = AF_INET6;
    a->len = sizeof a->in6;
    return true;
}

int mdg_addr_parse_ip(struct mdg_addr *a, struct mdg_slice host, uint16_t port)
{
    char text[INET6_ADDRSTRLEN];
    bool bracketed = host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
    if (bracketed)
        host = mdg_slice(host.data + 1, host.len - 2);
    if (host.len == 0 || host.len >= sizeof text || memchr(host.data, 0, host.len))
        return MDG_E_SYNTAX;
    memcpy(text, host.data, host.len);
    text[host.len] = 0;
    memset(a, 0, sizeof *a);
    if (!parse_v6(a, text) && (bracketed || !parse_v4(a, text)))
        return MDG_E_SYNTAX;
    mdg_addr_set_port(a, port);
    return 0;
}

static void any_address(struct mdg_addr *a)
{
    memset(a, 0, sizeof *a);
    a->in6.sin6_family = AF_INET6;
    a->in6.sin6_addr = in6addr_any;
    a->len = sizeof a->in6;
}

int mdg_addr_parse(struct mdg_addr *a, struct mdg_slice text)
{
    size_t colon = text.len;
    uint64_t port;
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return MDG_E_SYNTAX;
    int err = mdg_slice_u64(mdg_slice(text.data + colon, text.len - colon), &port);
    if (err < 0 || port > UINT16_MAX)
        return MDG_E_SYNTAX;
    struct mdg_slice host = mdg_slice(text.data, colon - 1);
    if (host.len == 0 || mdg_slice_eq(host, MDG_SLICE_LIT("*"))) {
        any_address(a);
        mdg_addr_set_port(a, (uint16_t)port);
        return 0;
    }
    /* "::1:80" is an address, not an address and a port: brackets are needed (RFC 3986 3.2.2). */
    if (host.data[0] != '[' && memchr(host.data, ':', host.len))
        return MDG_E_SYNTAX;
    return mdg_addr_parse_ip(a, host, (uint16_t)port);
}

int mdg_addr_unix(struct mdg_addr *a, struct mdg_slice path)
{
    memset(a, 0, sizeof *a);
    if (path.len == 0 || path.len >= sizeof a->un.sun_path)
        return MDG_E_TOO_BIG;
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path.data, path.len);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    if (path.data[0] ==
        '@') { /* unix(7): an abstract name begins with a zero byte and has no end */
        a->un.sun_path[0] = 0;
        a->len--;
    }
    return 0;
}

void mdg_addr_from_bytes(struct mdg_addr *a, const uint8_t *ip, size_t ip_len, uint16_t port)
{
    assert(ip_len == 4 || ip_len == 16);
    memset(a, 0, sizeof *a);
    if (ip_len == 4) {
        a->in4.sin_family = AF_INET;
        memcpy(&a->in4.sin_addr, ip, 4);
        a->len = sizeof a->in4;
    } else {
        a->in6.sin6_family = AF_INET6;
        memcpy(&a->in6.sin6_addr, ip, 16);
        a->len = sizeof a->in6;
    }
    mdg_addr_set_port(a, port);
}

void mdg_addr_from_sockaddr(struct mdg_addr *a, const struct sockaddr *sa, socklen_t len)
{
    a->len = len < sizeof a->un ? len : (socklen_t)sizeof a->un;
    if (a->len)
        memcpy(&a->any, sa, a->len);
    if (a->len < sizeof a->un) /* a unix path ends with a zero */
        ((uint8_t *)&a->any)[a->len] = 0;
}

uint16_t mdg_addr_port(const struct mdg_addr *a)
{
    if (a->len == 0)
        return 0;
    if (a->any.sa_family == AF_INET)
        return ntohs(a->in4.sin_port);
    return a->any.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void mdg_addr_set_port(struct mdg_addr *a, uint16_t port)
{
    if (a->any.sa_family == AF_INET)
        a->in4.sin_port = htons(port);
    else if (a->any.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

/* The IP as 16 bytes, IPv4 mapped. False: not an IP address. */
static bool ip_bytes(const struct mdg_addr *a, uint8_t out[16])
{
    if (a->len && a->any.sa_family == AF_INET) {
        memcpy(out, v4_mapped, sizeof v4_mapped);
        memcpy(out + 12, &a->in4.sin_addr, 4);
        return true;
    }
    if (a->len && a->any.sa_family == AF_INET6) {
        memcpy(out, &a->in6.sin6_addr, 16);
        return true;
    }
    return false;
}

static bool is_v4(const uint8_t ip[16])
{
    return memcmp(ip, v4_mapped, sizeof v4_mapped) == 0;
}

static void write_unix(struct mdg_writer *w, const struct mdg_addr *a)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    mdg_write_str(w, "unix:");
    if (a->len <= head)
        return; /* an unnamed client socket */
    size_t len = a->len - head;
    if (a->un.sun_path[0] == 0) {
        mdg_write_u8(w, '@');
        mdg_write_bytes(w, a->un.sun_path + 1, len - 1);
    } else {
        mdg_write_bytes(w, a->un.sun_path, strnlen(a->un.sun_path, len));
    }
}

void mdg_addr_write_ip(struct mdg_writer *w, const struct mdg_addr *a)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    if (!ip_bytes(a, ip)) {
        write_unix(w, a);
        return;
    }
    if (is_v4(ip)) { /* by hand: inet_ntop goes through printf, and this is done per request */
        for (int i = 12; i < 16; i++) {
            mdg_write_dec(w, ip[i]);
            if (i < 15)
                mdg_write_u8(w, '.');
        }
        return;
    }
    inet_ntop(AF_INET6, ip, text, sizeof text);
    mdg_write_str(w, text);
}

void mdg_addr_write(struct mdg_writer *w, const struct mdg_addr *a)
{
    uint8_t ip[16];
    bool has_ip = ip_bytes(a, ip), brackets = has_ip && !is_v4(ip);
    if (brackets)
        mdg_write_u8(w, '[');
    mdg_addr_write_ip(w, a);
    if (brackets)
        mdg_write_u8(w, ']');
    if (has_ip) {
        mdg_write_u8(w, ':');
        mdg_write_dec(w, mdg_addr_port(a));
    }
}

size_t mdg_addr_key(const struct mdg_addr *a, uint8_t out[MDG_ADDR_KEY_MAX])
{
    uint16_t port = mdg_addr_port(a);
    if (!ip_bytes(a, out))
        return 0;
    out[16] = (uint8_t)(port >> 8);
    out[17] = (uint8_t)port;
    return 18;
}

size_t mdg_addr_client_key(const struct mdg_addr *a, uint8_t out[MDG_ADDR_KEY_MAX])
{
    if (!ip_bytes(a, out))
        return 0;
    return is_v4(out) ? 16 : 8; /* RFC 4291 2.5.4: the first 64 bits name the network */
}

bool mdg_addr_eq(const struct mdg_addr *a, const struct mdg_addr *b)
{
    uint8_t x[MDG_ADDR_KEY_MAX], y[MDG_ADDR_KEY_MAX];
    size_t x_len = mdg_addr_key(a, x), y_len = mdg_addr_key(b, y);
    if (x_len || y_len)
        return x_len == y_len && memcmp(x, y, x_len) == 0;
    return a->len == b->len && (a->len == 0 || memcmp(&a->any, &b->any, a->len) == 0);
}

bool mdg_addr_is_loopback(const struct mdg_addr *a)
{
    uint8_t ip[16];
    if (!ip_bytes(a, ip))
        return a->len && a->any.sa_family == AF_UNIX;
    return is_v4(ip) ? ip[12] == 127 : IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

int mdg_cidr_parse(struct mdg_cidr *c, struct mdg_slice text)
{
    struct mdg_slice bits = text, host = mdg_slice_split(&bits, '/');
    struct mdg_addr a;
    uint64_t n;
    if (mdg_addr_parse_ip(&a, host, 0) < 0 || !ip_bytes(&a, c->ip))
        return MDG_E_SYNTAX;
    uint64_t most = a.any.sa_family == AF_INET ? 32 : 128;
    n = most;
    if (bits.data && (mdg_slice_u64(bits, &n) < 0 || n > most))
        return MDG_E_SYNTAX;
    c->bits = (uint8_t)(most == 32 ? 96 + n : n);
    return 0;
}

bool mdg_cidr_has(const struct mdg_cidr *c, const struct mdg_addr *a)
{
    uint8_t ip[16];
    if (!ip_bytes(a, ip))
        return false;
    size_t whole = c->bits / 8;
    unsigned rest = c->bits % 8;
    if (memcmp(ip, c->ip, whole) != 0)
        return false;
    return rest == 0 || (ip[whole] ^ c->ip[whole]) >> (8 - rest) == 0;
}
