/* RFC 3986 as far as addresses of servers need it: no user information but a proxy's, no fragment.
 */
#include "client/url.h"
#include <stdio.h>

static const struct {
    const char *name;
    enum mdg_client_kind kind;
    enum mdg_client_layer layer;
    bool tls;
    uint16_t port;
} schemes[] = {
#define SCHEME(name, kind, layer, tls, port)                                                       \
    {name, MDG_CLIENT_##kind, MDG_CLIENT_##layer, tls, port},
#include "client/schemes.def"
#undef SCHEME
};

const char *const mdg_client_schemes[] = {
#define SCHEME(name, kind, layer, tls, port) name,
#include "client/schemes.def"
#undef SCHEME
    "unix", NULL};

static int copy(char *out, size_t cap, struct mdg_slice s)
{
    if (s.len >= cap)
        return MDG_E_TOO_BIG;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] <= ' ' || s.data[i] == 0x7f) /* nothing may slip into a request's lines */
            return MDG_E_SYNTAX;
    }
    if (s.len)
        memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return 0;
}

static int read_port(struct mdg_slice text, uint16_t *port)
{
    uint64_t n;
    if (mdg_slice_u64(text, &n) < 0 || n == 0 || n > 65535)
        return MDG_E_SYNTAX;
    *port = (uint16_t)n;
    return 0;
}

/* "host", "host:port", "[v6]:port"; *port keeps its value when there is none. */
static int read_authority(struct mdg_slice text, char host[MDG_CLIENT_HOST_MAX], uint16_t *port)
{
    struct mdg_slice name = text, rest = {NULL, 0};
    if (text.len && text.data[0] == '[') {
        const uint8_t *end = memchr(text.data, ']', text.len);
        if (!end)
            return MDG_E_SYNTAX;
        name = mdg_slice(text.data + 1, (size_t)(end - text.data) - 1);
        rest = mdg_slice(end + 1, text.len - name.len - 2);
        if (rest.len && rest.data[0] != ':')
            return MDG_E_SYNTAX;
    } else {
        const uint8_t *colon = text.len ? memchr(text.data, ':', text.len) : NULL;
        if (colon) {
            name.len = (size_t)(colon - text.data);
            rest = mdg_slice(colon, text.len - name.len);
        }
    }
    if (name.len == 0 || memchr(name.data, '@', name.len))
        return MDG_E_SYNTAX;
    if (rest.len && read_port(mdg_slice(rest.data + 1, rest.len - 1), port) < 0)
        return MDG_E_SYNTAX;
    return *port ? copy(host, MDG_CLIENT_HOST_MAX, name) : MDG_E_SYNTAX;
}

static int read_place(struct mdg_client_url *u, const char *text, uint16_t usual)
{
    size_t authority = strcspn(text, "/?#");
    size_t target = strcspn(text + authority, "#");
    u->port = usual;
    int err = read_authority(mdg_slice(text, authority), u->host, &u->port);
    if (err < 0)
        return err;
    u->target[0] = '/';
    bool rooted = text[authority] == '/';
    err = copy(u->target + !rooted, sizeof u->target - 1, mdg_slice(text + authority, target));
    if (err == 0 && u->target[0] == '\0')
        memcpy(u->target, "/", 2);
    bool v6 = strchr(u->host, ':') != NULL;
    char port[8] = "";
    if (u->port != usual)
        snprintf(port, sizeof port, ":%u", u->port);
    snprintf(u->host_header, sizeof u->host_header, "%s%s%s%s", v6 ? "[" : "", u->host,
             v6 ? "]" : "", port);
    return err;
}

int mdg_client_url_parse(struct mdg_client_url *u, const char *text)
{
    *u = (struct mdg_client_url){.kind = MDG_CLIENT_LINES};
    if (strncmp(text, "unix:", 5) == 0)
        return text[5] ? copy(u->unix_path, sizeof u->unix_path, mdg_slice_str(text + 5))
                       : MDG_E_SYNTAX;
    const char *place = strstr(text, "://");
    for (size_t i = 0; place && i < MDG_ARRAY_LEN(schemes); i++) {
        struct mdg_slice name = mdg_slice_str(schemes[i].name);
        if (mdg_slice_eq_nocase(mdg_slice(text, (size_t)(place - text)), name)) {
            u->kind = schemes[i].kind;
            u->layer = schemes[i].layer;
            u->tls = schemes[i].tls;
            return read_place(u, place + 3, schemes[i].port);
        }
    }
    return place ? MDG_E_UNSUPPORTED : MDG_E_SYNTAX;
}

int mdg_client_proxy_parse(struct mdg_client_proxy *out, const char *text)
{
    *out = (struct mdg_client_proxy){.port = 3128}; /* what curl assumes is 1080, squid is 3128 */
    if (strncmp(text, "http://", 7) == 0)
        text += 7;
    else if (strstr(text, "://"))
        return MDG_E_UNSUPPORTED;
    struct mdg_slice all = mdg_slice(text, strcspn(text, "/?#"));
    for (size_t i = all.len; i > 0; i--) {
        if (all.data[i - 1] != '@')
            continue;
        if (copy(out->credentials, sizeof out->credentials, mdg_slice(all.data, i - 1)) < 0)
            return MDG_E_SYNTAX;
        all = mdg_slice(all.data + i, all.len - i);
        break;
    }
    return read_authority(all, out->host, &out->port);
}

bool mdg_client_proxy_excepts(const char *list, const char *host)
{
    struct mdg_slice rest = mdg_slice_str(list), name = mdg_slice_str(host);
    while (rest.len) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (mdg_slice_eq(item, MDG_SLICE_LIT("*")))
            return true;
        if (item.len && item.data[0] == '.')
            item = mdg_slice(item.data + 1, item.len - 1);
        if (item.len == 0 || item.len > name.len)
            continue;
        size_t front = name.len - item.len;
        if (mdg_slice_eq_nocase(mdg_slice(name.data + front, item.len), item) &&
            (front == 0 || name.data[front - 1] == '.'))
            return true;
    }
    return false;
}
