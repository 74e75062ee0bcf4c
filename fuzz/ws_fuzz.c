/* The frame decoder: byte 1 chooses role and extension; the rest is the wire, in pieces. Whatever
 * comes, pieces of every size must tell the same story as the whole. */
#include "base/utf8.h"
#include "codec/ws.h"
#include "fuzz/fuzz.h"

struct story {
    uint64_t hash;
    int end;
};

static void tell(struct story *s, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
}

static void check(const struct mdg_ws_event *ev, const struct mdg_input *in)
{
    if (ev->bytes.data + ev->bytes.len > in->data)
        abort();
    if (ev->type == MDG_WS_EVENT_CONTROL && ev->bytes.len > MDG_WS_CONTROL_MAX)
        abort();
    if (ev->type == MDG_WS_EVENT_DATA && ev->bytes.len == 0 && !ev->last)
        abort();
}

static struct story run(const uint8_t *data, size_t size, size_t piece, uint8_t how)
{
    struct mdg_ws_config config = {.client = how & 1, .message_max = 4096};
    struct mdg_ws_dec d;
    struct mdg_ws_event ev;
    struct story s = {0xcbf29ce484222325u, 0}, message = s;
    uint8_t kept[MDG_WS_KEEP_MAX];
    size_t keep = 0;
    mdg_ws_dec_init(&d, how & 2);
    while (size > 0 && s.end == 0) {
        size_t n = piece && piece < size ? piece : size;
        uint8_t *block = malloc(keep + n);
        if (!block)
            abort();
        memcpy(block, kept, keep);
        memcpy(block + keep, data, n);
        struct mdg_input in = {block, keep + n};
        int rc;
        while ((rc = mdg_ws_dec_next(&d, &config, &in, &ev)) == 1) {
            check(&ev, &in);
            uint8_t tag[4] = {(uint8_t)ev.op, ev.rsv1, (uint8_t)(ev.close_code >> 8),
                              (uint8_t)ev.close_code};
            if (ev.type == MDG_WS_EVENT_CONTROL) {
                tell(&s, tag, 4);
                tell(&s, ev.bytes.data, ev.bytes.len);
                continue;
            }
            tell(&message, ev.bytes.data, ev.bytes.len);
            if (ev.last) {
                tell(&s, tag, 4);
                tell(&s, &message.hash, sizeof message.hash);
                message.hash = 0xcbf29ce484222325u;
            }
        }
        if (rc < 0)
            s.end = (int)mdg_ws_dec_failure(&d);
        if (rc == 0 && in.len > sizeof kept)
            abort();
        keep = rc == 0 ? in.len : 0;
        memcpy(kept, in.data, keep);
        free(block);
        data += n;
        size -= n;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct story whole = run(data + 2, size - 2, 0, data[1]);
    struct story cut = run(data + 2, size - 2, data[0], data[1]);
    if (whole.hash != cut.hash || whole.end != cut.end)
        abort();
    return 0;
}
