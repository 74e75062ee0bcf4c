/* Origins are compared as text after folding the case and cutting off the scheme's own port. The
 * scheme is part of an origin (RFC 6454 4), but what comes to us in plain may have been https to a
 * proxy in front; the other way round it is another site. */
#include "server/origin.h"

/* Cuts the scheme off: "https://a.b:443" gives "a.b:443" and its default port. */
static struct mdg_slice authority_of(struct mdg_slice origin, const char **default_port)
{
    static const struct {
        const char *scheme, *port;
    } known[] = {{"https://", ":443"}, {"http://", ":80"}};
    for (size_t i = 0; i < MDG_ARRAY_LEN(known); i++) {
        struct mdg_slice scheme = mdg_slice_str(known[i].scheme);
        if (origin.len > scheme.len &&
            mdg_slice_eq_nocase(mdg_slice(origin.data, scheme.len), scheme)) {
            *default_port = known[i].port;
            return mdg_slice(origin.data + scheme.len, origin.len - scheme.len);
        }
    }
    return mdg_slice(NULL, 0);
}

static struct mdg_slice without_port(struct mdg_slice authority, const char *port)
{
    struct mdg_slice suffix = mdg_slice_str(port);
    if (authority.len > suffix.len &&
        mdg_slice_eq(mdg_slice(authority.data + authority.len - suffix.len, suffix.len), suffix))
        authority.len -= suffix.len;
    return authority;
}

/* An http page on our own host is whoever sits on the line: it may not speak for a user over TLS.
 */
static bool is_own(struct mdg_slice origin, const struct mdg_handshake *hs)
{
    const char *port;
    struct mdg_slice host = mdg_handshake_header(hs, "host");
    struct mdg_slice authority = authority_of(origin, &port);
    if (!authority.data || host.len == 0 || (hs->secure && strcmp(port, ":80") == 0))
        return false;
    return mdg_slice_eq_nocase(without_port(authority, port), without_port(host, port));
}

static bool is_listed(const struct mdg_strings *allowed, struct mdg_slice origin)
{
    for (size_t i = 0; i < allowed->len; i++) {
        struct mdg_slice item = mdg_slice_str(allowed->items[i]);
        if (mdg_slice_eq(item, MDG_SLICE_LIT("*")) || mdg_slice_eq_nocase(item, origin))
            return true;
    }
    return false;
}

bool mdg_origin_allowed(const struct mdg_strings *allowed, const struct mdg_handshake *hs)
{
    struct mdg_slice origin = mdg_handshake_header(hs, "origin");
    if (!origin.data)
        return true;
    return is_own(origin, hs) || is_listed(allowed, origin);
}

bool mdg_origin_allowed_with_cookie(const struct mdg_strings *allowed,
                                    const struct mdg_handshake *hs)
{
    return mdg_handshake_header(hs, "origin").data && mdg_origin_allowed(allowed, hs);
}

bool mdg_origin_is_foreign(const struct mdg_strings *allowed, const struct mdg_handshake *hs)
{
    struct mdg_slice origin = mdg_handshake_header(hs, "origin");
    return origin.data && !is_own(origin, hs) && is_listed(allowed, origin);
}
