/* Against llhttp, the parser of Node.js: a request that we accept, it accepts too, with the same
 * end and the same body. The other direction does not hold: llhttp takes a bare CR, folding and
 * more that we refuse. */
#include "codec/http.h"
#include "codec/http_body.h"
#include "fuzz/fuzz.h"
#include <llhttp.h>

static const struct mdg_http_limits limits = {8192, 2048, 64};

struct body_sum {
    uint64_t len, sum;
    bool complete;
};

static void add(struct body_sum *b, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        b->sum = b->sum * 31 + data[i];
    b->len += len;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
    add(p->data, (const uint8_t *)at, len);
    return 0;
}

static int on_complete(llhttp_t *p)
{
    ((struct body_sum *)p->data)->complete = true;
    return HPE_PAUSED;
}

/* Ours: whether the bytes begin with one whole request, and how long it is. */
static bool read_ours(const uint8_t *data, size_t size, struct mdg_http_head *h, size_t *len,
                      struct body_sum *sum)
{
    mdg_http_head_init(h, MDG_HTTP_REQUEST);
    int head = mdg_http_head_parse(h, &limits, data, size);
    /* llhttp knows a closed set of methods, and reads nothing behind an upgrade or CONNECT. */
    if (head <= 0 || h->method == MDG_HTTP_OTHER || h->method == MDG_HTTP_CONNECT || h->upgrade)
        return false;
    uint8_t *block = mdg_fuzz_piece(data + head, size - (size_t)head);
    struct mdg_input in = {block, size - (size_t)head};
    struct mdg_http_body b;
    mdg_http_body_init(&b, (enum mdg_http_framing)h->framing, h->content_length, 1 << 20);
    struct mdg_slice part;
    int event;
    while ((event = mdg_http_body_next(&b, &in, &part)) == MDG_HTTP_BODY_DATA)
        add(sum, part.data, part.len);
    *len = size - in.len;
    free(block);
    return event == MDG_HTTP_BODY_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mdg_http_head h;
    struct body_sum ours = {0}, theirs = {0};
    size_t len = 0;
    if (!read_ours(data, size, &h, &len, &ours))
        return 0;
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_body = on_body;
    settings.on_message_complete = on_complete;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &theirs;
    enum llhttp_errno err = llhttp_execute(&parser, (const char *)data, size);
    /* Two of its gaps in chunk extensions (RFC 9112 7.1.1): no second one behind one with a value,
     * and no escapes in a quoted value. */
    const uint8_t *at = (const uint8_t *)llhttp_get_error_pos(&parser);
    if (at > data &&
        ((err == HPE_INVALID_CHUNK_SIZE && at[-1] == ';') || (err == HPE_STRICT && at[-1] == '\\')))
        return 0;
    bool stopped = err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE;
    if (!stopped || !theirs.complete || theirs.len != ours.len || theirs.sum != ours.sum)
        abort();
    /* Its error position is the last byte of the message or the one behind it. */
    size_t end = (size_t)(at - data);
    if (end != len && end + 1 != len)
        abort();
    return 0;
}
