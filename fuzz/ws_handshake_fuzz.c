/* Header lists of the opening handshake: whatever they hold, the answer is a status, and what was
 * agreed can be written and is understood by our own client side. */
#include "codec/ws_extension.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mdg_slice known[] = {{(const uint8_t *)"chat", 4}};
    static const struct mdg_ws_offer_config config = {
        known, 1, {.enabled = true, .server_bits = 15, .client_bits = 15}};
    struct mdg_ws_request r;
    uint8_t *block = mdg_fuzz_piece(data, size);
    struct mdg_slice rest = mdg_slice(block, size);
    mdg_ws_request_init(&r, &config, MDG_SLICE_LIT("GET"), 1);
    /* The headers that every good request has, so that the lists are reached. */
    mdg_ws_request_header(&r, MDG_SLICE_LIT("Upgrade"), MDG_SLICE_LIT("websocket"));
    mdg_ws_request_header(&r, MDG_SLICE_LIT("Connection"), MDG_SLICE_LIT("Upgrade"));
    mdg_ws_request_header(&r, MDG_SLICE_LIT("Sec-WebSocket-Version"), MDG_SLICE_LIT("13"));
    mdg_ws_request_header(&r, MDG_SLICE_LIT("Sec-WebSocket-Key"),
                          MDG_SLICE_LIT("dGhlIHNhbXBsZSBub25jZQ=="));
    if (size && block[0] == ';') {
        mdg_ws_request_header(&r, MDG_SLICE_LIT("Sec-WebSocket-Extensions"), rest);
        rest.len = 0;
    }
    while (rest.len) {
        struct mdg_slice value = mdg_slice_split(&rest, '\n');
        struct mdg_slice name = mdg_slice_split(&value, ':');
        mdg_ws_request_header(&r, name, value);
    }
    if (mdg_ws_request_check(&r) == 101 && r.deflate.on) {
        char text[200];
        struct mdg_writer w;
        struct mdg_ws_deflate_policy policy = {true, false, false, 15, 15};
        struct mdg_ws_deflate back = {0};
        mdg_writer_init(&w, text, sizeof text);
        mdg_ws_write_deflate(&w, &r.deflate);
        if (!mdg_writer_fits(&w) ||
            mdg_ws_deflate_accept(mdg_slice(text, w.len), &policy, &back) < 0 ||
            back.server_bits != r.deflate.server_bits || back.client_bits != r.deflate.client_bits)
            abort();
    }
    free(block);
    return 0;
}
