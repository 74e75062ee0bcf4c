/* Where a client wants to go: URLs of the kinds that the client side knows, and proxies. */
#ifndef MDG_CLIENT_URL_H
#define MDG_CLIENT_URL_H

#include "base/base.h"

/* How bytes come and go. */
enum mdg_client_kind {
    MDG_CLIENT_WS,
    MDG_CLIENT_LINES,
    MDG_CLIENT_BYTES, /* TCP without lines */
    MDG_CLIENT_UDP,
    MDG_CLIENT_HTTP,     /* an event stream, or JSON lines */
    MDG_CLIENT_POLL,     /* GET after GET */
    MDG_CLIENT_XHR,      /* SockJS by requests */
    MDG_CLIENT_EIO_POLL, /* Engine.IO by requests */
    MDG_CLIENT_KINDS
};

/* What the messages are wrapped in, whatever carries them. */
enum mdg_client_layer {
    MDG_CLIENT_NONE,
    MDG_CLIENT_SOCKJS,
    MDG_CLIENT_STOMP,
    MDG_CLIENT_EIO,
    MDG_CLIENT_SIO,
    MDG_CLIENT_LAYERS
};

enum {
    MDG_CLIENT_HOST_MAX = 256,    /* RFC 1035 2.3.4, with the end */
    MDG_CLIENT_TARGET_MAX = 4096, /* servers take about as much of a request line */
    MDG_CLIENT_PATH_MAX = 108     /* sun_path */
};

struct mdg_client_url {
    enum mdg_client_kind kind;
    enum mdg_client_layer layer;
    bool tls;
    uint16_t port;
    char host[MDG_CLIENT_HOST_MAX];            /* without brackets; "" for a unix socket */
    char host_header[MDG_CLIENT_HOST_MAX + 8]; /* with brackets, and the port unless it is usual */
    char target[MDG_CLIENT_TARGET_MAX];        /* path and query; "/" at least */
    char unix_path[MDG_CLIENT_PATH_MAX];
};

/* The names of all schemes, NULL-ended. */
extern const char *const mdg_client_schemes[];

/* MDG_E_SYNTAX, MDG_E_UNSUPPORTED (scheme), MDG_E_TOO_BIG. */
int mdg_client_url_parse(struct mdg_client_url *out, const char *text) MDG_NODISCARD;

struct mdg_client_proxy {
    char host[MDG_CLIENT_HOST_MAX];
    char credentials[256]; /* "user:password" or "" */
    uint16_t port;
};

/* "http://[user:password@]host[:port]" or "host:port". As above. */
int mdg_client_proxy_parse(struct mdg_client_proxy *out, const char *text) MDG_NODISCARD;
/* Does the list (no_proxy: comma-separated names and domains, "*") name the host? */
bool mdg_client_proxy_excepts(const char *list, const char *host);

#endif
