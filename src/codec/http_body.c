/* The chunked grammar, a byte at a time outside of chunk data. Stricter than RFC 9112: no white
 * space around extensions, since that is where other parsers disagree. */
#include "codec/http_body.h"

enum body_state {
    OVER = 0,      /* mdg_http_body_done relies on the zero */
    DEAD,          /* refused */
    FIXED,         /* inside a body of known length */
    UNTIL_CLOSE,   /* everything belongs to the body */
    SIZE,          /* in the digits of a chunk size */
    EXT_NAME,      /* in the name of a chunk extension */
    EXT_VALUE,     /* in its value */
    EXT_QUOTED,    /* in its quoted value */
    EXT_ESCAPED,   /* behind a backslash there */
    EXT_END,       /* behind the closing quote */
    SIZE_LF,       /* CR of a chunk line seen */
    CHUNK,         /* inside chunk data */
    CHUNK_CR,      /* behind it */
    CHUNK_LF,      /* its CR seen */
    TRAILER,       /* at the beginning of a trailer line, or of the blank one */
    TRAILER_NAME,  /* in a trailer's name */
    TRAILER_VALUE, /* in its value */
    TRAILER_LF,    /* CR of a trailer line seen */
    LAST_LF        /* CR of the blank line seen */
};

void mdg_http_body_init(struct mdg_http_body *b, enum mdg_http_framing framing, uint64_t length,
                        uint64_t bytes_max)
{
    memset(b, 0, sizeof *b);
    b->bytes_max = bytes_max;
    if (framing == MDG_HTTP_BODY_LENGTH) {
        b->left = length;
        b->state = length ? FIXED : OVER;
    } else if (framing == MDG_HTTP_BODY_CHUNKED) {
        b->state = SIZE;
    } else if (framing == MDG_HTTP_BODY_CLOSE) {
        b->state = UNTIL_CLOSE;
    }
}

static int refuse(struct mdg_http_body *b, enum mdg_http_fail why)
{
    b->fail = (uint8_t)why;
    b->state = DEAD;
    return MDG_E_PROTO;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_token(uint8_t c)
{
    return mdg_http_token_valid(mdg_slice(&c, 1));
}

static bool is_text(uint8_t c)
{
    return (c >= ' ' || c == '\t') && c != 0x7f;
}

static int size_byte(struct mdg_http_body *b, uint8_t c)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (b->digits == 15)
            return refuse(b, MDG_HTTP_FAIL_CHUNK_SIZE); /* 2^60 overflows nothing */
        b->digits++;
        b->left = b->left << 4 | (unsigned)digit;
        return 0;
    }
    if (b->digits == 0)
        return refuse(b, MDG_HTTP_FAIL_CHUNK_SIZE);
    if (c == '\r')
        b->state = SIZE_LF;
    else if (c == ';')
        b->state = EXT_NAME;
    else
        return refuse(b, c == '\n' ? MDG_HTTP_FAIL_CHUNK_LF : MDG_HTTP_FAIL_CHUNK_SIZE);
    b->digits = 0; /* now: whether the extension's name or value has begun */
    return 0;
}

static int ext_byte(struct mdg_http_body *b, uint8_t c)
{
    if (b->state == EXT_QUOTED || b->state == EXT_ESCAPED) {
        if (!is_text(c) || c >= 0x80)
            return refuse(b, MDG_HTTP_FAIL_CHUNK_EXT);
        if (b->state == EXT_ESCAPED)
            b->state = EXT_QUOTED;
        else if (c == '\\')
            b->state = EXT_ESCAPED;
        else if (c == '"')
            b->state = EXT_END;
        return 0;
    }
    if (b->state != EXT_END && is_token(c)) {
        b->digits = 1;
        return 0;
    }
    if (b->state == EXT_VALUE && c == '"' && !b->digits) {
        b->state = EXT_QUOTED;
        b->digits = 1;
        return 0;
    }
    if (!b->digits || (c != '\r' && c != ';' && !(c == '=' && b->state == EXT_NAME)))
        return refuse(b, c == '\n' ? MDG_HTTP_FAIL_CHUNK_LF : MDG_HTTP_FAIL_CHUNK_EXT);
    b->state = c == '\r' ? SIZE_LF : c == ';' ? EXT_NAME : EXT_VALUE;
    b->digits = 0;
    return 0;
}

/* RFC 9110 6.5.1: fields that frame or route a message mean nothing in a trailer, yet a parser that
 * reads a trailer as it reads a head would obey them. */
static const char *const forbidden_trailers[] = {"transfer-encoding", "content-length", "host",
                                                 "connection",        "upgrade",        "expect"};

/* The trailer's name so far, as a set of forbidden names that it may still become. */
static void trailer_name_byte(struct mdg_http_body *b, uint8_t c)
{
    for (unsigned i = 0; i < MDG_ARRAY_LEN(forbidden_trailers); i++) {
        size_t len = strlen(forbidden_trailers[i]);
        if (b->digits >= len || (uint8_t)forbidden_trailers[i][b->digits] != mdg_ascii_lower(c))
            b->forbidden &= (uint8_t) ~(1u << i);
    }
    if (b->digits < UINT8_MAX)
        b->digits++;
}

static bool trailer_forbidden(const struct mdg_http_body *b)
{
    for (unsigned i = 0; i < MDG_ARRAY_LEN(forbidden_trailers); i++)
        if (b->forbidden & 1u << i && b->digits == strlen(forbidden_trailers[i]))
            return true;
    return false;
}

static int trailer_byte(struct mdg_http_body *b, uint8_t c)
{
    if (b->state == TRAILER) {
        if (c == '\r')
            b->state = LAST_LF;
        else if (is_token(c))
            b->state = TRAILER_NAME;
        else
            return refuse(b, MDG_HTTP_FAIL_TRAILER);
        b->digits = 0;
        b->forbidden = UINT8_MAX;
        trailer_name_byte(b, c);
    } else if (b->state == TRAILER_NAME) {
        if (is_token(c))
            trailer_name_byte(b, c);
        else if (c == ':' && !trailer_forbidden(b))
            b->state = TRAILER_VALUE;
        else
            return refuse(b, MDG_HTTP_FAIL_TRAILER);
    } else if (c == '\r') {
        b->state = TRAILER_LF;
    } else if (!is_text(c)) {
        return refuse(b, MDG_HTTP_FAIL_TRAILER);
    }
    return 0;
}

/* The LF (or the CR) that must come here, and what it leads to. */
static int line_byte(struct mdg_http_body *b, uint8_t c)
{
    uint8_t want = b->state == CHUNK_CR ? '\r' : '\n';
    if (c != want)
        return refuse(b, b->state == SIZE_LF                            ? MDG_HTTP_FAIL_CHUNK_LF
                         : b->state == CHUNK_CR || b->state == CHUNK_LF ? MDG_HTTP_FAIL_CHUNK_END
                                                                        : MDG_HTTP_FAIL_TRAILER);
    if (b->state == SIZE_LF)
        b->state = b->left ? CHUNK : TRAILER;
    else if (b->state == CHUNK_CR)
        b->state = CHUNK_LF;
    else if (b->state == CHUNK_LF)
        b->state = SIZE;
    else
        b->state = b->state == TRAILER_LF ? TRAILER : OVER;
    b->digits = 0;
    return 0;
}

static int framing_byte(struct mdg_http_body *b, uint8_t c)
{
    switch ((enum body_state)b->state) {
    case SIZE: {
        int err = size_byte(b, c);
        if (!err && b->left > b->bytes_max - b->total)
            return refuse(b, MDG_HTTP_FAIL_BODY_BIG);
        return err;
    }
    case EXT_NAME:
    case EXT_VALUE:
    case EXT_QUOTED:
    case EXT_ESCAPED:
    case EXT_END:
        if (++b->ext_bytes > MDG_HTTP_CHUNK_EXT_MAX)
            return refuse(b, MDG_HTTP_FAIL_CHUNK_EXT);
        return ext_byte(b, c);
    case TRAILER:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        if (++b->trailer_bytes > MDG_HTTP_TRAILER_BYTES_MAX)
            return refuse(b, MDG_HTTP_FAIL_TRAILER_BIG);
        return trailer_byte(b, c);
    case SIZE_LF:
    case CHUNK_CR:
    case CHUNK_LF:
    case TRAILER_LF:
    case LAST_LF:
        return line_byte(b, c);
    case OVER:
    case DEAD:
    case FIXED:
    case UNTIL_CLOSE:
    case CHUNK:
        break;
    }
    return MDG_E_PROTO; /* unreachable: these states have no framing bytes */
}

static int give_data(struct mdg_http_body *b, struct mdg_input *in, struct mdg_slice *data)
{
    size_t n = in->len;
    if (b->state != UNTIL_CLOSE && n > b->left)
        n = (size_t)b->left;
    if (b->total == b->bytes_max) /* only UNTIL_CLOSE has not announced its length */
        return refuse(b, MDG_HTTP_FAIL_BODY_BIG);
    if (n > b->bytes_max - b->total)
        n = (size_t)(b->bytes_max - b->total);
    *data = mdg_slice(in->data, n);
    in->data += n;
    in->len -= n;
    b->total += n;
    if (b->state != UNTIL_CLOSE)
        b->left -= n;
    if (b->state == CHUNK && b->left == 0)
        b->state = CHUNK_CR;
    else if (b->state == FIXED && b->left == 0)
        b->state = OVER;
    return MDG_HTTP_BODY_DATA;
}

int mdg_http_body_next(struct mdg_http_body *b, struct mdg_input *in, struct mdg_slice *data)
{
    *data = mdg_slice(NULL, 0);
    if (b->state == DEAD)
        return MDG_E_PROTO;
    if (b->state == FIXED && b->left > b->bytes_max)
        return refuse(b, MDG_HTTP_FAIL_BODY_BIG);
    while (b->state != OVER) {
        if (in->len == 0)
            return MDG_HTTP_BODY_MORE;
        if (b->state == FIXED || b->state == CHUNK || b->state == UNTIL_CLOSE)
            return give_data(b, in, data);
        int err = framing_byte(b, in->data[0]);
        if (err < 0)
            return err;
        in->data++;
        in->len--;
    }
    return MDG_HTTP_BODY_END;
}
