/* What every carrier knows of its peer when it arrives: the one thing that authentication, hooks
 * and dialects look at, whatever the socket. Borrowed: valid during the call that hands it over. */
#ifndef MDG_HANDSHAKE_H
#define MDG_HANDSHAKE_H

#include "base/base.h"

struct mdg_handshake_header {
    struct mdg_slice name, value; /* name as the peer wrote it */
};

struct mdg_handshake {
    const char *carrier;          /* "ws", "sse", "tcp", "udp", ... */
    struct mdg_slice address;     /* of the peer, without port; behind PROXY, the real one */
    uint16_t port;                /* of the peer */
    bool secure;                  /* TLS here, or told so by a trusted proxy */
    uint64_t unix_ms;             /* when it arrived */
    struct mdg_slice method;      /* empty outside HTTP */
    struct mdg_slice path, query; /* percent-encoded as sent, without '?'; empty outside HTTP */
    struct mdg_slice subprotocol; /* the WebSocket sub-protocol that was chosen; may be empty */
    const struct mdg_handshake_header *headers; /* of the HTTP request, in order */
    size_t header_count;
    /* Credentials that the protocol itself carries (STOMP login and passcode, a line command, a
     * UDP hello, Socket.IO auth); empty if it has none. */
    struct mdg_slice login, passcode, token;
};

/* The first header of that name (any case), or an empty slice with data NULL. */
static inline struct mdg_slice mdg_handshake_header(const struct mdg_handshake *hs,
                                                    const char *name)
{
    struct mdg_slice wanted = mdg_slice_str(name);
    for (size_t i = 0; i < hs->header_count; i++) {
        if (mdg_slice_eq_nocase(hs->headers[i].name, wanted))
            return hs->headers[i].value;
    }
    return mdg_slice(NULL, 0);
}

#endif
