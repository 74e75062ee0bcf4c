/* Files that the binary carries, over HTTP: validators, precompressed bodies, cache headers. */
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

/* 200, 304 (If-None-Match), 405 for anything but GET and HEAD. Ends the exchange. */
void mdg_static_respond(struct mdg_exchange *x, const struct mdg_static_file *f);

/* Helpers of it that other responses want too. */
/* RFC 9110 13.1.2 with weak comparison: whether If-None-Match names this entity tag. */
bool mdg_http_none_match(struct mdg_slice if_none_match, struct mdg_slice etag);
/* RFC 9110 12.5.3: whether Accept-Encoding takes this coding (q not 0). */
bool mdg_http_accepts_coding(struct mdg_slice accept_encoding, struct mdg_slice coding);

#endif
