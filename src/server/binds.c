/* Listen addresses are written by people: short forms are allowed, and errors say what is. */
#include "server/binds.h"
#include <stdio.h>

static const struct {
    const char *name;
    enum mdg_bind_kind kind;
} schemes[] = {
    {"all", MDG_BIND_ALL},     {"http", MDG_BIND_HTTP}, {"ws", MDG_BIND_HTTP},
    {"https", MDG_BIND_HTTPS}, {"wss", MDG_BIND_HTTPS}, {"tcp", MDG_BIND_LINE},
    {"stomp", MDG_BIND_STOMP}, {"udp", MDG_BIND_UDP},
};

static bool kind_of(struct mdg_slice scheme, enum mdg_bind_kind *kind)
{
    for (size_t i = 0; i < MDG_ARRAY_LEN(schemes); i++) {
        if (mdg_slice_eq_nocase(scheme, mdg_slice_str(schemes[i].name))) {
            *kind = schemes[i].kind;
            return true;
        }
    }
    return false;
}

static bool all_digits(struct mdg_slice s)
{
    uint64_t number;
    return mdg_slice_u64(s, &number) == 0;
}

/* The host and port part; "localhost" is the IPv4 loopback, so that a typed address and the default
 * are the same socket. */
static int parse_host(struct mdg_bind *b, struct mdg_slice text)
{
    char room[64];
    static const char local[] = "localhost:";
    struct mdg_slice prefix = mdg_slice(text.data, sizeof local - 1);
    while (text.len && text.data[text.len - 1] == '/')
        text.len--;
    int n = 0;
    if (all_digits(text))
        n = snprintf(room, sizeof room, "127.0.0.1:%.*s", (int)text.len, (const char *)text.data);
    else if (text.len > prefix.len &&
             mdg_slice_eq_nocase(prefix, mdg_slice(local, sizeof local - 1)))
        n = snprintf(room, sizeof room, "127.0.0.1:%.*s", (int)(text.len - prefix.len),
                     (const char *)text.data + prefix.len);
    if (n > 0)
        text = mdg_slice(room, (size_t)n);
    return mdg_addr_parse(&b->addr, text);
}

/* Cuts "PATH" out of "unix:PATH" and "KIND+unix:PATH". */
static bool parse_unix(struct mdg_bind *b, struct mdg_slice text, struct mdg_slice *path)
{
    struct mdg_slice rest = text, scheme = mdg_slice_split(&rest, ':');
    struct mdg_slice kind = mdg_slice_split(&scheme, '+');
    if (!rest.data || rest.len == 0)
        return false;
    while (rest.len > 1 && rest.data[0] == '/' && rest.data[1] == '/') {
        rest.data++; /* unix:///path */
        rest.len--;
    }
    *path = rest;
    if (!scheme.data)
        return mdg_slice_eq_nocase(kind, MDG_SLICE_LIT("unix"));
    return mdg_slice_eq_nocase(scheme, MDG_SLICE_LIT("unix")) && kind_of(kind, &b->kind) &&
           b->kind != MDG_BIND_UDP;
}

int mdg_bind_parse(struct mdg_bind *b, struct mdg_slice text, char *why, size_t why_size)
{
    struct mdg_slice path;
    *b = (struct mdg_bind){.kind = MDG_BIND_ALL};
    int err = MDG_E_SYNTAX;
    if (parse_unix(b, text, &path)) {
        b->is_unix = true;
        err = mdg_addr_unix(&b->addr, path);
    } else {
        const uint8_t *mark = text.len ? memmem(text.data, text.len, "://", 3) : NULL;
        struct mdg_slice host = text;
        if (mark) {
            size_t before = (size_t)(mark - text.data);
            host = mdg_slice(mark + 3, text.len - before - 3);
            err = kind_of(mdg_slice(text.data, before), &b->kind) ? 0 : MDG_E_SYNTAX;
        }
        if (!mark || err == 0)
            err = parse_host(b, host);
    }
    b->udp_too = b->kind == MDG_BIND_ALL && !b->is_unix;
    if (err < 0)
        snprintf(why, why_size,
                 "listen: '%.*s' is not an address; write 127.0.0.1:8080, [::1]:8080, *:8080, "
                 "KIND://HOST:PORT (http, https, tcp, udp, stomp) or unix:/path",
                 (int)mdg_min_size(text.len, 200), (const char *)text.data);
    return err;
}

const char *mdg_bind_scheme(const struct mdg_bind *b, bool tls)
{
    switch (b->kind) {
    case MDG_BIND_ALL:
    case MDG_BIND_HTTP:
        return tls && b->kind == MDG_BIND_ALL ? "https" : "http";
    case MDG_BIND_HTTPS:
        return "https";
    case MDG_BIND_LINE:
        return "tcp";
    case MDG_BIND_STOMP:
        return "stomp";
    case MDG_BIND_UDP:
        return "udp";
    }
    return "http";
}
