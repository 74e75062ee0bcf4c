/* Which protocol speaks on a shared port, from the first bytes. A pure function: call it with
 * everything received so far until it decides. */
#ifndef MDG_SNIFF_H
#define MDG_SNIFF_H

#include "base/base.h"

enum mdg_sniffed {
    MDG_SNIFF_MORE,  /* not decided yet: needs more bytes */
    MDG_SNIFF_TLS,   /* a TLS record with a handshake: 0x16 0x03 (RFC 8446 5.1) */
    MDG_SNIFF_PROXY, /* "PROXY " or the version 2 signature (PROXY protocol 2.1, 2.2) */
    MDG_SNIFF_HTTP,  /* a method, a space, then '/', '*', "http" or, for CONNECT, an authority */
    MDG_SNIFF_STOMP, /* "STOMP" or "CONNECT" and an end of line */
    MDG_SNIFF_LINE,  /* anything else: text lines */
};

/* Decides after at most MDG_SNIFF_MAX bytes. */
enum { MDG_SNIFF_MAX = 64 };
enum mdg_sniffed mdg_sniff(struct mdg_slice first);

#endif
