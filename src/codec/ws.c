/* The frame decoder and encoder. A frame is judged as soon as the byte that damns it is there: the
 * first byte of a head is checked before the second has come. */
#include "codec/ws.h"
#include "base/mask.h"
#include "base/utf8.h"

enum state {
    AT_HEAD = 0, /* between frames */
    IN_DATA,     /* inside a data frame's payload */
    CLOSED,      /* a close frame came: the rest is ignored */
    DEAD
};

enum flag {
    DEFLATE = 1 << 0, /* RSV1 is allowed */
    RSV1 = 1 << 1,    /* the message that is under way is compressed */
    FIN = 1 << 2,     /* the data frame that is under way ends its message */
    FIRST = 1 << 3    /* no event was given for this message yet */
};

/* Unmasking and checking go block by block, so that the second pass finds its bytes in L1. */
enum { BLOCK = 8192 };

void mdg_ws_dec_init(struct mdg_ws_dec *d, bool deflate)
{
    *d = (struct mdg_ws_dec){.budget = MDG_WS_IDLE_FRAMES_MAX, .flags = deflate ? DEFLATE : 0};
}

void mdg_ws_dec_refill(struct mdg_ws_dec *d, unsigned frames)
{
    unsigned room = MDG_WS_IDLE_FRAMES_MAX - d->budget;
    d->budget = (uint16_t)(d->budget + (frames < room ? frames : room));
}

bool mdg_ws_dec_final(const struct mdg_ws_dec *d)
{
    return (d->flags & FIN) != 0;
}

bool mdg_ws_dec_compressed(const struct mdg_ws_dec *d)
{
    return d->op != 0 && (d->flags & RSV1) != 0;
}

static int die(struct mdg_ws_dec *d, enum mdg_ws_fail why)
{
    d->state = DEAD;
    d->fail = (uint8_t)why;
    return why == MDG_WS_FAIL_TOO_BIG ? MDG_E_TOO_BIG : MDG_E_PROTO;
}

struct head {
    uint8_t op, size; /* size of the head itself */
    bool fin, rsv1;
    uint64_t len;
    uint32_t key;
};

/* What the first byte alone can do wrong. */
static enum mdg_ws_fail check_first(const struct mdg_ws_dec *d, uint8_t b)
{
    uint8_t op = b & 0x0f;
    bool fin = b & 0x80, control = op & 0x08;
    if ((op > MDG_WS_BINARY && op < MDG_WS_CLOSE) || op > MDG_WS_PONG)
        return MDG_WS_FAIL_OPCODE;
    /* RSV1 marks the first frame of a compressed message only (RFC 7692 6). */
    bool rsv1_allowed = (d->flags & DEFLATE) && !control && op != MDG_WS_CONT;
    if ((b & 0x30) || ((b & 0x40) && !rsv1_allowed))
        return MDG_WS_FAIL_RESERVED_BITS;
    if (control)
        return fin ? MDG_WS_OK : MDG_WS_FAIL_CONTROL_SPLIT;
    if (op == MDG_WS_CONT)
        return d->op ? MDG_WS_OK : MDG_WS_FAIL_CONT_ALONE;
    return d->op ? MDG_WS_FAIL_INTERLEAVED : MDG_WS_OK;
}

static enum mdg_ws_fail check_second(bool client, uint8_t first, uint8_t b)
{
    if (((b & 0x80) != 0) == client)
        return client ? MDG_WS_FAIL_MASKED : MDG_WS_FAIL_UNMASKED;
    if ((first & 0x08) && (b & 0x7f) > MDG_WS_CONTROL_MAX)
        return MDG_WS_FAIL_CONTROL_LONG;
    return MDG_WS_OK;
}

/* The length behind a second byte of 126 or 127: 0 when it is not all there yet. */
static size_t read_length(const uint8_t *at, size_t have, uint8_t code, uint64_t *len)
{
    size_t width = code == 126 ? 2 : 8;
    if (have < width)
        return 0;
    *len = 0;
    for (size_t i = 0; i < width; i++)
        *len = *len << 8 | at[i];
    return width;
}

/* 1: *h is filled. 0: more bytes are needed. Nothing is consumed. */
static int read_head(struct mdg_ws_dec *d, bool client, const struct mdg_input *in, struct head *h)
{
    const uint8_t *p = in->data;
    enum mdg_ws_fail bad = check_first(d, p[0]);
    if (bad == MDG_WS_OK && in->len >= 2)
        bad = check_second(client, p[0], p[1]);
    if (bad != MDG_WS_OK)
        return die(d, bad);
    if (in->len < 2)
        return 0;
    h->op = p[0] & 0x0f;
    h->fin = p[0] & 0x80;
    h->rsv1 = p[0] & 0x40;
    h->len = p[1] & 0x7f;
    size_t at = 2;
    if (h->len >= 126) {
        uint8_t code = (uint8_t)h->len;
        size_t width = read_length(p + at, in->len - at, code, &h->len);
        if (width == 0)
            return 0;
        /* Shortest form, and the top bit of 64 is zero (RFC 6455 5.2). */
        if (h->len < (code == 126 ? 126u : 65536u) || h->len >> 63)
            return die(d, MDG_WS_FAIL_LENGTH);
        at += width;
    }
    h->key = 0;
    if (!client) {
        if (in->len < at + 4)
            return 0;
        memcpy(&h->key, p + at, 4);
        at += 4;
    }
    h->size = (uint8_t)at;
    return 1;
}

static void consume(struct mdg_input *in, size_t n)
{
    in->data += n;
    in->len -= n;
}

static bool spend(struct mdg_ws_dec *d)
{
    if (d->budget == 0)
        return false;
    d->budget--;
    return true;
}

/* RFC 6455 5.5.1: nothing, or a code and a reason. */
static int read_close(struct mdg_ws_dec *d, struct mdg_ws_event *ev)
{
    struct mdg_input *b = &ev->bytes;
    ev->close_code = 1005;
    d->state = CLOSED;
    if (b->len == 0)
        return 1;
    if (b->len == 1)
        return die(d, MDG_WS_FAIL_CLOSE_LENGTH);
    ev->close_code = (uint16_t)(b->data[0] << 8 | b->data[1]);
    consume(b, 2);
    if (!mdg_ws_code_valid(ev->close_code))
        return die(d, MDG_WS_FAIL_CLOSE_CODE);
    if (!mdg_utf8_valid(mdg_slice(b->data, b->len)))
        return die(d, MDG_WS_FAIL_CLOSE_UTF8);
    return 1;
}

static int read_control(struct mdg_ws_dec *d, const struct head *h, struct mdg_input *in,
                        struct mdg_ws_event *ev)
{
    if (in->len < h->size + h->len)
        return 0;
    if (!spend(d))
        return die(d, MDG_WS_FAIL_FLOOD);
    uint32_t key = h->key;
    uint8_t *payload = in->data + h->size;
    mdg_mask(payload, (size_t)h->len, &key);
    consume(in, h->size + (size_t)h->len);
    *ev = (struct mdg_ws_event){.type = MDG_WS_EVENT_CONTROL,
                                .op = (enum mdg_ws_op)h->op,
                                .bytes = {payload, (size_t)h->len},
                                .first = true,
                                .last = true};
    return h->op == MDG_WS_CLOSE ? read_close(d, ev) : 1;
}

static int begin_data(struct mdg_ws_dec *d, const struct mdg_ws_config *config,
                      const struct head *h)
{
    if (h->op != MDG_WS_CONT) {
        d->op = h->op;
        d->total = 0;
        d->utf8 = MDG_UTF8_START;
        d->flags = (uint8_t)((d->flags & DEFLATE) | FIRST | (h->rsv1 ? RSV1 : 0));
    }
    /* An empty fragment carries nothing; an empty message is one. */
    if (h->len == 0 && (h->op == MDG_WS_CONT || !h->fin) && !spend(d))
        return die(d, MDG_WS_FAIL_FLOOD);
    /* Announced length counts before a byte of it has come, and nothing is allocated for it. What
     * does not compress grows by five bytes a stored block (RFC 1951 3.2.4). */
    uint64_t max = config->message_max;
    if (d->flags & RSV1)
        max += max / 1024 + 64;
    if (max > UINT32_MAX)
        max = UINT32_MAX;
    if (h->len > max - mdg_min_size(d->total, max))
        return die(d, MDG_WS_FAIL_TOO_BIG);
    d->total += (uint32_t)h->len;
    d->left = (uint32_t)h->len;
    d->key = h->key;
    d->flags = (uint8_t)((d->flags & ~FIN) | (h->fin ? FIN : 0));
    d->state = IN_DATA;
    return 0;
}

static bool check_text(struct mdg_ws_dec *d, const uint8_t *data, size_t len, bool ascii)
{
    if (!ascii || d->utf8 != MDG_UTF8_START)
        d->utf8 = mdg_utf8_next(d->utf8, data, len);
    return d->utf8 != MDG_UTF8_BAD;
}

static bool unmask_and_check(struct mdg_ws_dec *d, uint8_t *data, size_t len, bool masked)
{
    bool check = d->op == MDG_WS_TEXT && !(d->flags & RSV1);
    if (!check) {
        if (masked)
            mdg_mask(data, len, &d->key);
        return true;
    }
    for (size_t at = 0; at < len; at += BLOCK) {
        size_t n = mdg_min_size(len - at, BLOCK);
        bool ascii = masked && mdg_mask(data + at, n, &d->key);
        if (!check_text(d, data + at, n, ascii))
            return false;
    }
    return true;
}

/* 1: an event. 0: nothing to tell (an empty fragment, or no bytes here). */
static int read_data(struct mdg_ws_dec *d, const struct mdg_ws_config *config, struct mdg_input *in,
                     struct mdg_ws_event *ev)
{
    size_t n = mdg_min_size(d->left, in->len);
    if (n == 0 && d->left > 0)
        return 0;
    if (!unmask_and_check(d, in->data, n, !config->client))
        return die(d, MDG_WS_FAIL_UTF8);
    d->left -= (uint32_t)n;
    bool last = d->left == 0 && (d->flags & FIN);
    if (last && d->utf8 != MDG_UTF8_START)
        return die(d, MDG_WS_FAIL_UTF8);
    *ev = (struct mdg_ws_event){.type = MDG_WS_EVENT_DATA,
                                .op = (enum mdg_ws_op)d->op,
                                .bytes = {in->data, n},
                                .first = d->flags & FIRST,
                                .last = last,
                                .rsv1 = d->flags & RSV1};
    consume(in, n);
    if (d->left == 0)
        d->state = AT_HEAD;
    if (last)
        d->op = 0;
    if (n == 0 && !last)
        return 0;
    d->flags &= (uint8_t)~FIRST;
    return 1;
}

/* The frame that nearly every frame is: between messages, masked, final, uncompressed text or
 * binary, shorter than 126 bytes and all here. Says the same as the long way. */
static bool read_short(struct mdg_ws_dec *d, const struct mdg_ws_config *config,
                       struct mdg_input *in, struct mdg_ws_event *ev)
{
    uint8_t *p = in->data;
    if (in->len < 6 || (p[0] != 0x81 && p[0] != 0x82) || p[1] < 0x80 || p[1] >= 0x80 + 126)
        return false;
    size_t len = p[1] & 0x7f;
    if (d->state != AT_HEAD || d->op != 0 || config->client || in->len - 6 < len ||
        len > config->message_max)
        return false;
    uint8_t op = p[0] & 0x0f;
    uint32_t key;
    memcpy(&key, p + 2, 4);
    bool ascii = mdg_mask(p + 6, len, &key);
    if (!ascii && op == MDG_WS_TEXT &&
        mdg_utf8_next(MDG_UTF8_START, p + 6, len) != MDG_UTF8_START) {
        memcpy(&key, p + 2, 4);
        mdg_mask(p + 6, len, &key); /* as it was: the long way finds the same, and says so */
        return false;
    }
    ev->type = MDG_WS_EVENT_DATA;
    ev->op = (enum mdg_ws_op)op;
    ev->bytes = (struct mdg_input){p + 6, len};
    ev->first = ev->last = true;
    ev->rsv1 = false;
    ev->close_code = 0;
    consume(in, 6 + len);
    return true;
}

int mdg_ws_dec_next(struct mdg_ws_dec *d, const struct mdg_ws_config *config, struct mdg_input *in,
                    struct mdg_ws_event *ev)
{
    if (MDG_LIKELY(read_short(d, config, in, ev)))
        return 1;
    for (;;) {
        if (d->state == IN_DATA) {
            int rc = read_data(d, config, in, ev);
            if (rc != 0 || d->state == IN_DATA)
                return rc;
        }
        if (MDG_UNLIKELY(d->state == DEAD))
            return d->fail == MDG_WS_FAIL_TOO_BIG ? MDG_E_TOO_BIG : MDG_E_PROTO;
        if (MDG_UNLIKELY(d->state == CLOSED))
            consume(in, in->len);
        if (in->len == 0)
            return 0;
        struct head h;
        int rc = read_head(d, config->client, in, &h);
        if (rc <= 0)
            return rc;
        if (h.op & 0x08)
            return read_control(d, &h, in, ev);
        rc = begin_data(d, config, &h);
        if (rc < 0)
            return rc;
        consume(in, h.size);
    }
}

static const struct {
    uint16_t code;
    const char *text;
} failures[] = {
    {1000, "no failure"},
#define MDG_WS_FAIL(name, code, text) {code, text},
#include "codec/ws_fail.def"
#undef MDG_WS_FAIL
};

uint16_t mdg_ws_fail_code(enum mdg_ws_fail fail)
{
    assert((size_t)fail < MDG_ARRAY_LEN(failures));
    return failures[fail].code;
}

const char *mdg_ws_fail_text(enum mdg_ws_fail fail)
{
    assert((size_t)fail < MDG_ARRAY_LEN(failures));
    return failures[fail].text;
}

bool mdg_ws_code_valid(uint16_t code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    /* 1004 is reserved, 1005, 1006 and 1015 must never be on the wire; 1012 to 1014 came by way
     * of the registry ("WebSocket Close Code Number Registry"). */
    return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

size_t mdg_ws_enc_head(uint8_t out[MDG_WS_HEAD_MAX], enum mdg_ws_op op, bool fin, bool rsv1,
                       uint64_t len, const uint8_t *mask)
{
    uint8_t masked = mask ? 0x80 : 0;
    size_t at = 2;
    out[0] = (uint8_t)((fin ? 0x80 : 0) | (rsv1 ? 0x40 : 0) | (uint8_t)op);
    if (len < 126) {
        out[1] = (uint8_t)(masked | len);
    } else if (len < 65536) {
        out[1] = masked | 126;
        out[at++] = (uint8_t)(len >> 8);
        out[at++] = (uint8_t)len;
    } else {
        out[1] = masked | 127;
        for (unsigned shift = 64; shift > 0; shift -= 8)
            out[at++] = (uint8_t)(len >> (shift - 8));
    }
    if (mask) {
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

size_t mdg_ws_enc_close(uint8_t out[MDG_WS_CONTROL_MAX], uint16_t code, struct mdg_slice reason)
{
    if (code == 1005)
        return 0;
    if (reason.len > MDG_WS_CONTROL_MAX - 2)
        reason.len = MDG_WS_CONTROL_MAX - 2;
    reason.len = mdg_utf8_prefix(reason);
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    if (reason.len)
        memcpy(out + 2, reason.data, reason.len);
    return 2 + reason.len;
}
