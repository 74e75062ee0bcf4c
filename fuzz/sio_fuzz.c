/* Any text as a packet of either protocol. What is accepted must be written back to an equal
 * packet. */
#include "base/json.h"
#include "codec/sio.h"
#include "fuzz/fuzz.h"

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* With attachments in it an event is still one event, or one array of an acknowledgement. */
static void inline_attachments(const struct mdg_sio_packet *p)
{
    const struct mdg_slice parts[] = {MDG_SLICE_LIT("a"), {NULL, 0}};
    struct mdg_slice value;
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    must(mdg_sio_write_inline(&w, p->data, parts, 2, SIZE_MAX) == 0);
    uint8_t *room = malloc(w.len + 1);
    must(room != NULL);
    mdg_writer_init(&w, room, w.len);
    must(mdg_sio_write_inline(&w, p->data, parts, 2, SIZE_MAX) == 0);
    must(mdg_writer_fits(&w));
    must(mdg_json_check(mdg_slice(room, w.len), MDG_JSON_DEPTH_MAX, &value) == 0);
    must(mdg_json_count(value) == mdg_json_count(p->data));
    if (mdg_sio_is_event(p->type))
        must(mdg_sio_check_event(value, &value) == 0);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mdg_sio_limits limits = {32, 64, 256};
    if (size < 1)
        return 0;
    unsigned protocol = data[0] & 1 ? 4 : 5;
    uint8_t *text = mdg_fuzz_piece(data + 1, size - 1);
    struct mdg_sio_packet p, q;
    /* A bare number (an old ERROR's data) would be read as the packet's id. */
    if (mdg_sio_dec(mdg_slice(text, size - 1), protocol, &limits, &p) == 0 &&
        mdg_json_type(p.data) != MDG_JSON_NUMBER) {
        size_t cap = size + 64;
        uint8_t *room = malloc(cap);
        must(room != NULL);
        struct mdg_writer w;
        mdg_writer_init(&w, room, cap);
        if (mdg_sio_is_event(p.type))
            must(mdg_json_type(p.event) == MDG_JSON_STRING);
        must(mdg_sio_args(&p).len <= p.data.len);
        mdg_sio_write_head(&w, p.type, p.attachments, p.nsp, p.has_id ? &p.id : NULL);
        mdg_write_slice(&w, p.data);
        must(mdg_writer_fits(&w));
        must(mdg_sio_dec(mdg_slice(room, w.len), protocol, &limits, &q) == 0);
        must(q.type == p.type && q.id == p.id && q.has_id == p.has_id);
        must(q.attachments == p.attachments && mdg_slice_eq(q.nsp, p.nsp));
        must(mdg_slice_eq(q.data, p.data));
        free(room);
        if (mdg_sio_is_event(p.type) || mdg_sio_is_ack(p.type))
            inline_attachments(&p);
    }
    free(text);
    return 0;
}
