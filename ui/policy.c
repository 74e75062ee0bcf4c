/* What a browser lets the chat page do: a message that slipped through as HTML would run nothing
 * and reach nobody. 'self' covers WebSocket to the same origin (CSP 3, "scheme-part matches"). */
#include "server/ui_assets.h"

const char mdg_ui_csp[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                          "img-src 'self'; connect-src 'self'; base-uri 'none'; "
                          "form-action 'self'; frame-ancestors 'none'";
