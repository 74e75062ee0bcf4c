/* The files of the web chat, bundled and gzipped when madang is built (ui/build.mjs), served from
 * memory. The list is empty when the build had no npm packages: then there is no page. */
#ifndef MDG_UI_ASSETS_H
#define MDG_UI_ASSETS_H

#include "base/base.h"

struct mdg_ui_asset {
    const char *path;             /* of the request: "/chat", "/chat/page-....js" */
    const char *type;             /* Content-Type */
    const char *etag;             /* with its quotes */
    struct mdg_slice bytes, gzip; /* the same content twice */
    bool immutable;               /* its name has its digest: may be cached for ever */
};

extern const struct mdg_ui_asset mdg_ui_assets[];
extern const size_t mdg_ui_asset_count;

/* The Content-Security-Policy of the page: its own files only, nothing inline, in no frame. */
extern const char mdg_ui_csp[];

#endif
