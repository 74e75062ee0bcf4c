/* HTTP/1.1 message bodies: by length, chunked (RFC 9112 7.1) or until the connection closes. A pull
 * decoder that needs no contiguous input; trailer fields are checked and dropped. */
#ifndef MDG_CODEC_HTTP_BODY_H
#define MDG_CODEC_HTTP_BODY_H

#include "base/base.h"
#include "codec/http.h"

enum {
    /* Per body: bytes that frame chunks but carry nothing (extensions, leading zeros) could
     * otherwise flow for ever without meeting the body limit. */
    MDG_HTTP_CHUNK_EXT_MAX = 4096,
    MDG_HTTP_TRAILER_BYTES_MAX = 4096,
};

/* Plain data without pointers. */
struct mdg_http_body {
    uint64_t left;      /* bytes of this chunk, or of the body */
    uint64_t total;     /* body bytes given out so far */
    uint64_t bytes_max; /* MDG_HTTP_FAIL_BODY_BIG past it */
    uint16_t ext_bytes, trailer_bytes;
    uint8_t state, digits, forbidden, fail;
};

enum mdg_http_body_event {
    MDG_HTTP_BODY_MORE, /* all input consumed */
    MDG_HTTP_BODY_DATA, /* *data: a piece, borrowed from the input */
    MDG_HTTP_BODY_END /* the body is over; what is left of the input belongs to the next message */
};

void mdg_http_body_init(struct mdg_http_body *b, enum mdg_http_framing framing, uint64_t length,
                        uint64_t bytes_max);
/* An mdg_http_body_event, or MDG_E_PROTO with b->fail set. */
int mdg_http_body_next(struct mdg_http_body *b, struct mdg_input *in,
                       struct mdg_slice *data) MDG_NODISCARD;

static inline bool mdg_http_body_done(const struct mdg_http_body *b)
{
    return b->state == 0;
}

#endif
