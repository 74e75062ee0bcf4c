/* A datagram from anybody; what is understood must come out the same when it is written again. */
#include "codec/udp.h"
#include "fuzz/fuzz.h"

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *datagram = mdg_fuzz_piece(data, size);
    struct mdg_udp_packet p;
    if (mdg_udp_decode((struct mdg_input){datagram, size}, &p) == 0) {
        must(p.body.len <= size);
        if (p.type != MDG_UDP_TEXT) {
            uint8_t wire[256];
            struct mdg_writer w;
            mdg_writer_init(&w, wire, sizeof wire);
            mdg_udp_encode(&w, &p);
            must(mdg_writer_fits(&w) && w.len <= size);
            if (p.type != MDG_UDP_HELLO)
                must(memcmp(wire, data, w.len) == 0);
        }
        struct mdg_udp_window win = {.newest = (uint32_t)p.cookie, .seen = p.nonce};
        mdg_udp_window_take(&win, p.seq);
        mdg_udp_window_ack(&win, &p);
        must(mdg_udp_acked(&p, win.newest) || !(win.seen & 1));
    }
    free(datagram);
    return 0;
}
