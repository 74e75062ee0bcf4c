/* Byte 0 chooses version and kind; the rest is a payload, then a form. What decodes must encode
 * and decode again to the same packet. */
#include "codec/eio.h"
#include "fuzz/fuzz.h"

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void reads_back(unsigned version, bool binary, const struct mdg_eio_packet *p)
{
    size_t cap = p->data.len * 2 + 64;
    uint8_t *room = malloc(cap);
    struct mdg_slice data = mdg_slice(p->data.data, p->data.len);
    struct mdg_writer w;
    struct mdg_eio_payload again;
    struct mdg_eio_packet q;
    must(room != NULL);
    mdg_writer_init(&w, room, cap);
    if (version == 4)
        mdg_eio4_write_in_payload(&w, p->type, p->binary, data);
    else if (binary)
        mdg_eio3_write_in_binary(&w, p->type, p->binary, data);
    else
        mdg_eio3_write_in_text(&w, p->type, p->binary, data);
    must(mdg_writer_fits(&w));
    mdg_eio_payload_init(&again, version, binary, (struct mdg_input){room, w.len});
    must(mdg_eio_payload_next(&again, &q) == 1);
    must(q.type == p->type && q.binary == p->binary);
    must(mdg_slice_eq(mdg_slice(q.data.data, q.data.len), data));
    must(mdg_eio_payload_next(&again, &q) == 0);
    free(room);
}

static bool valid_lead_bytes(struct mdg_input in)
{
    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] >= 0x80)
            return false; /* the carrier checks UTF-8; here ASCII is enough */
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned version = data[0] & 1 ? 3 : 4;
    bool binary = (data[0] & 2) != 0 && version == 3;
    uint8_t *body = mdg_fuzz_piece(data + 1, size - 1);
    struct mdg_eio_payload p;
    struct mdg_eio_packet packet;
    struct mdg_input form;
    mdg_eio_payload_init(&p, version, binary, (struct mdg_input){body, size - 1});
    while (mdg_eio_payload_next(&p, &packet) > 0) {
        if (packet.binary || binary || valid_lead_bytes(packet.data))
            reads_back(version, binary, &packet);
    }
    (void)!mdg_eio_dec_jsonp((struct mdg_input){body, size - 1}, &form);
    struct mdg_eio_open open;
    (void)!mdg_eio_dec_open(mdg_slice(body, size - 1), &open);
    free(body);
    return 0;
}
