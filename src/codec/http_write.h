/* Writing HTTP/1.1 heads: status lines, fields that cannot inject others, dates, chunk heads. */
#ifndef MDG_CODEC_HTTP_WRITE_H
#define MDG_CODEC_HTTP_WRITE_H

#include "base/base.h"
#include "base/writer.h"

enum {
    MDG_HTTP_DATE_LEN = 29,       /* "Sun, 06 Nov 1994 08:49:37 GMT" */
    MDG_HTTP_CHUNK_HEAD_MAX = 18, /* 16 hexadecimal digits, CR LF */
};

/* RFC 9110 15; "Status" for a code without a registered phrase. */
const char *mdg_http_reason(unsigned status);
/* "HTTP/1.1 200 OK\r\n" */
void mdg_http_write_status(struct mdg_writer *w, unsigned status);
/* "name: value\r\n" as it is: the caller knows both to be valid. */
void mdg_http_write_field(struct mdg_writer *w, struct mdg_slice name, struct mdg_slice value);
/* Whether the two can stand in a head: a token, and a value without controls. Anything that comes
 * from outside is checked with this, so that nobody splits a response (CWE-113). */
bool mdg_http_field_valid(struct mdg_slice name, struct mdg_slice value);
/* RFC 9110 5.6.7, exactly MDG_HTTP_DATE_LEN bytes. */
void mdg_http_write_date(struct mdg_writer *w, int64_t unix_s);
/* "1f\r\n": the caller adds the data and CR LF. len > 0. Returns the head's length. */
size_t mdg_http_chunk_head(uint8_t out[MDG_HTTP_CHUNK_HEAD_MAX], uint64_t len);

#endif
