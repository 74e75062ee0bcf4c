/* HTTP/1.1 message heads (RFC 9112), both roles: a strict incremental parser that leaves spans
 * into the input and decides how the body is framed.
 *
 * The caller keeps the bytes of one head contiguous and calls again with more of them; finished
 * lines are not read twice. Strict means: whatever another server or proxy might read differently
 * is refused (bare CR or LF, folding, a space before the colon, a second Host or Content-Length,
 * Content-Length beside Transfer-Encoding ...), each with a reason of its own. */
#ifndef MDG_CODEC_HTTP_H
#define MDG_CODEC_HTTP_H

#include "base/base.h"

enum {
    MDG_HTTP_FIELDS_MAX = 128,       /* upper bound of mdg_http_limits.fields_max */
    MDG_HTTP_HEAD_BYTES_MAX = 65535, /* upper bound of head_bytes_max: spans are 16 bits */
    MDG_HTTP_METHOD_LEN_MAX = 32,    /* longer than any registered method */
};

enum mdg_http_fail {
    MDG_HTTP_FAIL_NONE,
#define MDG_HTTP_FAIL(name, status, text) MDG_HTTP_FAIL_##name,
#include "codec/http_fail.def"
#undef MDG_HTTP_FAIL
    MDG_HTTP_FAIL_COUNT
};

unsigned mdg_http_fail_status(enum mdg_http_fail fail);   /* the status of the refusal */
const char *mdg_http_fail_text(enum mdg_http_fail fail);  /* one sentence, plain ASCII */
const char *mdg_http_fail_label(enum mdg_http_fail fail); /* "bare_lf": for logs and metrics */

/* Against header bombs: every number has its own status (431, 414). */
struct mdg_http_limits {
    uint32_t head_bytes_max;   /* start line and headers, <= MDG_HTTP_HEAD_BYTES_MAX */
    uint32_t target_bytes_max; /* request target, < head_bytes_max */
    uint16_t fields_max;       /* header lines, <= MDG_HTTP_FIELDS_MAX */
};

enum mdg_http_kind { MDG_HTTP_REQUEST, MDG_HTTP_RESPONSE };

enum mdg_http_method {
    MDG_HTTP_OTHER, /* any other token: head.method_span holds it */
    MDG_HTTP_GET,
    MDG_HTTP_HEAD,
    MDG_HTTP_POST,
    MDG_HTTP_PUT,
    MDG_HTTP_DELETE,
    MDG_HTTP_CONNECT,
    MDG_HTTP_OPTIONS,
    MDG_HTTP_TRACE,
    MDG_HTTP_PATCH,
    MDG_HTTP_METHOD_COUNT
};

/* RFC 9112 3.2. */
enum mdg_http_form {
    MDG_HTTP_ORIGIN,    /* /path?query */
    MDG_HTTP_ABSOLUTE,  /* http://authority/path?query */
    MDG_HTTP_AUTHORITY, /* host:port, CONNECT only */
    MDG_HTTP_ASTERISK   /* *, OPTIONS only */
};

enum mdg_http_framing {
    MDG_HTTP_BODY_NONE,
    MDG_HTTP_BODY_LENGTH,  /* head.content_length bytes */
    MDG_HTTP_BODY_CHUNKED, /* RFC 9112 7.1 */
    MDG_HTTP_BODY_CLOSE    /* responses only: until the connection ends */
};

/* A range of the head's bytes, valid wherever the caller has moved them. */
struct mdg_http_span {
    uint16_t off, len;
};

struct mdg_http_field {
    struct mdg_http_span name, value; /* value without surrounding white space */
};

/* Parser state and result in one; plain data without pointers. */
struct mdg_http_head {
    uint8_t kind;    /* enum mdg_http_kind */
    uint8_t state;   /* private */
    uint8_t fail;    /* enum mdg_http_fail */
    uint8_t method;  /* requests: enum mdg_http_method */
    uint8_t form;    /* requests: enum mdg_http_form */
    uint8_t minor;   /* HTTP/1.minor: 0 or 1 */
    uint8_t framing; /* enum mdg_http_framing; of a response: see mdg_http_response_framing */
    bool keep_alive; /* what the version and the Connection header say */
    bool upgrade;    /* "Connection: upgrade" beside an Upgrade header */
    bool expect_continue;
    bool has_length, has_coding, has_upgrade, token_close, token_keep_alive, token_upgrade;
    uint16_t status; /* responses */
    uint16_t at;     /* private: where the first unread line begins */
    uint16_t field_count;
    struct mdg_http_span method_span, target, reason;
    struct mdg_http_span path, query; /* requests; path begins with '/', query has no '?' */
    bool has_query;
    struct mdg_http_span host; /* target authority if absolute or CONNECT, else Host's value */
    uint64_t content_length;
    struct mdg_http_field fields[MDG_HTTP_FIELDS_MAX];
};

/* Cheap: leaves the field table as it is. */
void mdg_http_head_init(struct mdg_http_head *h, enum mdg_http_kind kind);
/* Reads the head that begins at data[0]. The caller offers the same bytes again, wherever they
 * lie now, with more behind them. >0: complete, that many bytes long (blank line included; empty
 * lines before a request line too, RFC 9112 2.2). 0: feed more. MDG_E_PROTO: dead, h->fail says
 * why; MDG_HTTP_FAIL_* of status 414 and 431 are limits. */
int mdg_http_head_parse(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                        const uint8_t *data, size_t len) MDG_NODISCARD;
/* How the body of a response is framed, given the request's method (RFC 9112 6.3). */
enum mdg_http_framing mdg_http_response_framing(const struct mdg_http_head *h,
                                                enum mdg_http_method method);

static inline struct mdg_slice mdg_http_span_slice(const uint8_t *head, struct mdg_http_span s)
{
    return mdg_slice(head + s.off, s.len);
}

/* The value of the first field of this name, given in lower case; data NULL when there is none.
 * head: where the bytes of the head lie now. */
struct mdg_slice mdg_http_head_find(const struct mdg_http_head *h, const uint8_t *head,
                                    struct mdg_slice lower_name);
/* Whether a comma-separated list in any field of this name holds the token, in any case. */
bool mdg_http_head_has_token(const struct mdg_http_head *h, const uint8_t *head,
                             struct mdg_slice lower_name, struct mdg_slice token);
/* Next element of a comma-separated list (RFC 9110 5.6.1), trimmed, empty elements skipped; data
 * NULL at the end. Commas in quoted strings do not separate. */
struct mdg_slice mdg_http_list_next(struct mdg_slice *rest);
/* host[:port] as in a Host header: RFC 3986 3.2.2 without user information, not empty. */
bool mdg_http_authority_valid(struct mdg_slice authority);
bool mdg_http_token_valid(struct mdg_slice s); /* RFC 9110 5.6.2, not empty */
enum mdg_http_method mdg_http_method_of(struct mdg_slice name);
const char *mdg_http_method_name(enum mdg_http_method m); /* "" for OTHER */

#endif
