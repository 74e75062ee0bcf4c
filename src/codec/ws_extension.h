/* Sec-WebSocket-Extensions (RFC 6455 9.1) as far as permessage-deflate needs it (RFC 7692 7.1). */
#ifndef MDG_WS_EXTENSION_H
#define MDG_WS_EXTENSION_H

#include "base/base.h"
#include "base/writer.h"
#include "codec/ws_handshake.h"

/* RFC 9110 5.6.2. */
bool mdg_ws_is_token(struct mdg_slice s);
/* Server: takes the first offer in the header that can be served, unless *out is on already. 0, or
 * MDG_E_SYNTAX when the header is malformed (an offer with unknown or wrong parameters is merely
 * declined). */
int mdg_ws_deflate_choose(struct mdg_slice header, const struct mdg_ws_deflate_policy *policy,
                          struct mdg_ws_deflate *out) MDG_NODISCARD;
/* Client: the server's answer to our offer. 0, MDG_E_SYNTAX, MDG_E_PROTO. */
int mdg_ws_deflate_accept(struct mdg_slice header, const struct mdg_ws_deflate_policy *policy,
                          struct mdg_ws_deflate *out) MDG_NODISCARD;
void mdg_ws_write_deflate_offer(struct mdg_writer *w, const struct mdg_ws_deflate_policy *policy);

#endif
