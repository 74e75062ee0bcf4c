/* Units of a madang.v1 client, whatever they are: byte 0 chooses the length of each. Two peers in
 * one room on a hub of one worker; the second one is a bare client. */
#include "dialect/kit_test.h"
#include "dialect/plain.h"
#include "fuzz/fuzz.h"
#include "hub/kit_test.h"

static void feed(struct wire_link *l, const uint8_t *data, size_t len)
{
    uint8_t *unit = mdg_fuzz_piece(data, len);
    (void)l->link.user->on_input(&l->link, (struct mdg_input){unit, len}, true);
    free(unit);
}

static void play(struct kit *k, struct wire_link links[2], const uint8_t *data, size_t size)
{
    size_t each = size ? data[0] : 0;
    const uint8_t *end = data + size;
    for (data += size > 0; data < end;) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *stop = newline ? newline : end;
        if (each && (size_t)(stop - data) > each)
            stop = data + each;
        feed(&links[0], data, (size_t)(stop - data));
        feed(&links[1], data, (size_t)(stop - data));
        kit_run(k);
        for (int i = 0; i < 2; i++) {
            links[i].len = 0;
            wire_drain(&links[i]);
        }
        data = stop + (stop == newline);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire_link links[2];
    struct kit k;
    struct mdg_peers *peers;
    struct mdg_peers_config config;
    struct mdg_principal *ann = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    mdg_peers_config_init(&config);
    config.message_bytes_max = 512;
    if (!ann || kit_init(&k, 1, 1, NULL) < 0 || mdg_peers_new(k.hubs[0], &config, &peers) < 0)
        abort();
    wire_open(peers, &mdg_plain_dialect, ann, &wire_lines, false, &links[0]);
    wire_open(peers, &mdg_bare_dialect, ann, &wire_lines, false, &links[1]);
    play(&k, links, data, size < 2048 ? size : 2048);
    wire_close(&links[0]);
    wire_close(&links[1]);
    kit_run(&k);
    mdg_peers_flush(peers);
    mdg_peers_free(peers);
    mdg_principal_unref(ann);
    kit_fini(&k);
    return 0;
}
