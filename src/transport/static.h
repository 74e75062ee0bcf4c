/* Files that the binary carries, over HTTP: validators, precompressed bodies, cache headers, single
 * ranges. */
#ifndef MDG_STATIC_H
#define MDG_STATIC_H

#include "base/base.h"
#include "transport/http.h"

struct mdg_static_file {
    const char *type;                 /* Content-Type */
    const char *etag;                 /* strong, with its quotes */
    struct mdg_slice bytes, gzip;     /* gzip may be empty */
    bool immutable;                   /* its name changes with its content: cached for ever */
    const struct mdg_header *headers; /* more of them (Content-Security-Policy) */
    size_t header_count;              /* at most MDG_STATIC_HEADERS_MAX */
};

enum { MDG_STATIC_HEADERS_MAX = 8 };

/* 200, 206 and 416 (Range, If-Range), 304 (If-None-Match), 412 (If-Match), 405 for anything but GET
 * and HEAD. Ends the exchange. */
void mdg_static_respond(struct mdg_exchange *x, const struct mdg_static_file *f);

/* Helpers of it that other responses want too. */
/* RFC 9110 13.1.2 with weak comparison: whether If-None-Match names this entity tag. */
bool mdg_http_none_match(struct mdg_slice if_none_match, struct mdg_slice etag);
enum mdg_http_range { MDG_HTTP_RANGE_NONE, MDG_HTTP_RANGE_PART, MDG_HTTP_RANGE_BEYOND };
/* RFC 9110 14.1.2: what of `len` bytes a Range header asks for, *last included. NONE: everything,
 * because it is no range of bytes, or several (14.2 lets a server ignore those). BEYOND: 416. */
enum mdg_http_range mdg_http_range(struct mdg_slice range, uint64_t len, uint64_t *first,
                                   uint64_t *last);
/* RFC 9110 12.5.3: whether Accept-Encoding takes this coding (q not 0). */
bool mdg_http_accepts_coding(struct mdg_slice accept_encoding, struct mdg_slice coding);

#endif
