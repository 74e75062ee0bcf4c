/* What "listen" says, taken apart: which protocols on which socket. */
#ifndef MDG_BINDS_H
#define MDG_BINDS_H

#include "base/base.h"
#include "net/addr.h"

enum mdg_bind_kind {
    MDG_BIND_ALL,  /* HOST:PORT or all://: every protocol, told apart by the first bytes; UDP too */
    MDG_BIND_HTTP, /* http://, ws:// */
    MDG_BIND_HTTPS, /* https://, wss:// */
    MDG_BIND_LINE,  /* tcp://: text lines, greeted at once */
    MDG_BIND_STOMP, /* stomp:// */
    MDG_BIND_UDP,   /* udp:// */
};

struct mdg_bind {
    enum mdg_bind_kind kind;
    bool udp_too; /* MDG_BIND_ALL on an IP address: the same port number for UDP */
    bool is_unix;
    int inherited_fd; /* 0: none; else a listening socket that was passed on (systemd) */
    struct mdg_addr addr;
};

/* "HOST:PORT", ":PORT", "PORT", "KIND://HOST:PORT", "unix:PATH", "KIND+unix:PATH". The host is an
 * IP address, "localhost" or "*". MDG_E_SYNTAX; why: a sentence. */
int mdg_bind_parse(struct mdg_bind *b, struct mdg_slice text, char *why,
                   size_t why_size) MDG_NODISCARD;
/* "http", "https", "tcp", ...: the scheme under which people reach it. */
const char *mdg_bind_scheme(const struct mdg_bind *b, bool tls);

#endif
