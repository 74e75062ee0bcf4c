/* Request and response heads with their bodies: in pieces they read as in one go, spans stay
 * inside the head. The first byte also chooses the role. */
#include "codec/http.h"
#include "codec/http_body.h"
#include "fuzz/fuzz.h"

static const struct mdg_http_limits limits = {2048, 256, 16};

struct outcome {
    int head, event;
    unsigned fail, body_fail;
    uint64_t total, sum;
    size_t left;
};

static void check_span(struct mdg_http_span s, int head)
{
    if (s.off + s.len > head)
        abort();
}

static void check_spans(const struct mdg_http_head *h, int head)
{
    check_span(h->method_span, head);
    check_span(h->target, head);
    check_span(h->path, head);
    check_span(h->query, head);
    check_span(h->host, head);
    check_span(h->reason, head);
    for (unsigned i = 0; i < h->field_count; i++) {
        check_span(h->fields[i].name, head);
        check_span(h->fields[i].value, head);
    }
}

/* The body that begins at data[at], in pieces of `piece` bytes. */
static void read_body(const struct mdg_http_head *h, const uint8_t *data, size_t at, size_t size,
                      size_t piece, struct outcome *out)
{
    struct mdg_http_body b;
    mdg_http_body_init(&b, (enum mdg_http_framing)h->framing, h->content_length, 1000);
    do {
        size_t n = piece && piece < size - at ? piece : size - at;
        uint8_t *block = mdg_fuzz_piece(data + at, n);
        struct mdg_input in = {block, n};
        struct mdg_slice part;
        while ((out->event = mdg_http_body_next(&b, &in, &part)) == MDG_HTTP_BODY_DATA)
            for (size_t i = 0; i < part.len; i++)
                out->sum = out->sum * 31 + part.data[i];
        at += n - in.len;
        free(block);
    } while (out->event == MDG_HTTP_BODY_MORE && at < size);
    out->body_fail = b.fail;
    out->total = b.total;
    out->left = out->event == MDG_HTTP_BODY_END ? size - at : 0;
}

static void read_message(enum mdg_http_kind kind, const uint8_t *data, size_t size, size_t piece,
                         struct outcome *out)
{
    struct mdg_http_head h;
    mdg_http_head_init(&h, kind);
    memset(out, 0, sizeof *out);
    for (size_t have = 0; out->head == 0 && have < size;) {
        have = piece && piece < size - have ? have + piece : size;
        uint8_t *block = mdg_fuzz_piece(data, have);
        out->head = mdg_http_head_parse(&h, &limits, block, have);
        free(block);
    }
    out->fail = h.fail;
    if (out->head > 0) {
        check_spans(&h, out->head);
        read_body(&h, data, (size_t)out->head, size, piece, out);
    }
    /* A body's pieces may end in the data or behind it; both mean "go on". */
    if (out->event == MDG_HTTP_BODY_DATA)
        out->event = MDG_HTTP_BODY_MORE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum mdg_http_kind kind = data[0] & 1 ? MDG_HTTP_RESPONSE : MDG_HTTP_REQUEST;
    struct outcome whole, cut;
    read_message(kind, data + 1, size - 1, 0, &whole);
    read_message(kind, data + 1, size - 1, (size_t)data[0] / 2 + 1, &cut);
    bool same = whole.head == cut.head && whole.event == cut.event && whole.fail == cut.fail &&
                whole.body_fail == cut.body_fail && whole.total == cut.total &&
                whole.sum == cut.sum && whole.left == cut.left;
    if (!same)
        abort();
    return 0;
}
