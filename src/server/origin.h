/* The one Origin rule, for every route that a browser can reach: a page may talk to the server it
 * came from, and to others only where the operator lists it. */
#ifndef MDG_ORIGIN_H
#define MDG_ORIGIN_H

#include "base/base.h"
#include "server/params.h"
#include "transport/handshake.h"

/* True without an Origin header (not a browser), for our own origin (RFC 6454: scheme may differ
 * behind a proxy that ends TLS; host and port are the Host header's), and for listed ones. "null"
 * only with "*". */
bool mdg_origin_allowed(const struct mdg_strings *allowed, const struct mdg_handshake *hs);
/* The same for a request whose authority is a cookie that the browser adds by itself: without an
 * Origin header it is refused too (cross-site request forgery). */
bool mdg_origin_allowed_with_cookie(const struct mdg_strings *allowed,
                                    const struct mdg_handshake *hs);
/* True when the Origin is another one than our own, but listed: answers then carry CORS headers. */
bool mdg_origin_is_foreign(const struct mdg_strings *allowed, const struct mdg_handshake *hs);

#endif
