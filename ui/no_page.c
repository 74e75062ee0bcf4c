/* In place of the bundle when the build has no npm packages (tools/setup.sh brings them): a server
 * without the page. */
#include "server/ui_assets.h"

const struct mdg_ui_asset mdg_ui_assets[] = {{.path = NULL}};
const size_t mdg_ui_asset_count = 0;
