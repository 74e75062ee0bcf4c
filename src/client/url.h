/* Where a client wants to go: URLs of the kinds that the client side knows, and proxies. */
#ifndef MDG_CLIENT_URL_H
#define MDG_CLIENT_URL_H

#include "base/base.h"

enum mdg_client_kind {
    MDG_CLIENT_WS,
    MDG_CLIENT_LINES,
    MDG_CLIENT_UDP,
    MDG_CLIENT_HTTP,
    MDG_CLIENT_STOMP, /* over TCP */
    MDG_CLIENT_XHR,   /* SockJS by requests */
};

enum {
    MDG_CLIENT_HOST_MAX = 256,    /* RFC 1035 2.3.4, with the end */
    MDG_CLIENT_TARGET_MAX = 4096, /* servers take about as much of a request line */
    MDG_CLIENT_PATH_MAX = 108     /* sun_path */
};

struct mdg_client_url {
    enum mdg_client_kind kind;
    bool tls;
    bool sockjs; /* WS with SockJS inside, or XHR; the path is the service's prefix */
    bool stomp;  /* the messages are STOMP's, whatever carries them */
    uint16_t port;
    char host[MDG_CLIENT_HOST_MAX];            /* without brackets; "" for a unix socket */
    char host_header[MDG_CLIENT_HOST_MAX + 8]; /* with brackets, and the port unless it is usual */
    char target[MDG_CLIENT_TARGET_MAX];        /* path and query; "/" at least */
    char unix_path[MDG_CLIENT_PATH_MAX];
};

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
