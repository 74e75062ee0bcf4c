/* The chat page and its files, from memory. */
#include "server/mount.h"
#include "server/ui_assets.h"
#include "transport/static.h"

static int on_asset(struct mdg_exchange *x, void *arg)
{
    const struct mdg_ui_asset *asset = mdg_mounted(arg)->mount->arg;
    const struct mdg_header headers[] = {
        {MDG_SLICE_LIT("Content-Security-Policy"), mdg_slice_str(mdg_ui_csp)},
        {MDG_SLICE_LIT("Referrer-Policy"), MDG_SLICE_LIT("no-referrer")},
    };
    struct mdg_static_file file = {
        .type = asset->type,
        .etag = asset->etag,
        .bytes = asset->bytes,
        .gzip = asset->gzip,
        .immutable = asset->immutable,
        .headers = headers,
        .header_count = MDG_ARRAY_LEN(headers),
    };
    mdg_static_respond(x, &file);
    return 0;
}

static const struct mdg_http_handler asset_handler = {.on_request = on_asset};

static int on_root(struct mdg_exchange *x, void *arg)
{
    const struct mdg_header to_chat = {MDG_SLICE_LIT("Location"), MDG_SLICE_LIT("/chat")};
    (void)arg;
    return mdg_exchange_respond(x, 302, &to_chat, 1, NULL, 0);
}

static const struct mdg_http_handler root_handler = {.on_request = on_root};

int mdg_mount_ui(struct madang *server)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < mdg_ui_asset_count; i++) {
        /* The mount hands its argument back and does not change it. */
        void *asset = (void *)(uintptr_t)&mdg_ui_assets[i];
        err = mdg_server_mount(server, "GET", mdg_ui_assets[i].path, &asset_handler, asset);
    }
    if (err == 0 && mdg_ui_asset_count > 0)
        err = mdg_server_mount(server, "GET", "/", &root_handler, NULL);
    return err;
}
