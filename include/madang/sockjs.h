/* SockJS services (protocol 0.3.3): connections of browsers and networks in which WebSocket does
 * not get through. The handlers and peers are those of madang.h; madang_send, madang_close,
 * madang_join and the rest work on them.
 *
 *     madang_sockjs(server, "/echo", NULL, &handlers, NULL);      // before madang_start
 */
#ifndef MADANG_SOCKJS_H
#define MADANG_SOCKJS_H

#include <madang/madang.h>

#ifdef __cplusplus
extern "C" {
#endif

struct madang_sockjs_options {
    /* A streamed response ends after so many bytes, because the browser keeps all of it; the client
     * comes again. 131072. */
    uint32_t response_limit;
    uint32_t heartbeat_ms;  /* of silence before a heartbeat frame. 25000 */
    uint32_t disconnect_ms; /* without a request before a session is over. 5000 */
    bool websocket;         /* offer the websocket transports. true */
    bool jsessionid;        /* set that cookie, for load balancers that pin clients by it. false */
    /* Where the page of the iframe transports loads the client library from. */
    const char *sockjs_url;
    /* Origins whose pages may connect, as the parameter "allowed_origins": one, or "*". NULL: that
     * parameter. */
    const char *allowed_origin;
};

/* Fills in the defaults that are named above. */
MADANG_API void madang_sockjs_defaults(struct madang_sockjs_options *options);
/* Mounts a service at a prefix such as "/echo": that path and everything below it, unless a route
 * or endpoint names a path there exactly. options may be NULL. Messages are text; sending binary is
 * MADANG_E_UNSUPPORTED, and binary messages of rooms arrive as base64. on_handshake is called for a
 * session's first request and cannot answer MADANG_LATER. MADANG_E_SYNTAX (prefix),
 * MADANG_E_EXISTS, MADANG_E_UNSUPPORTED once started, MADANG_E_NO_MEMORY. */
MADANG_API int madang_sockjs(struct madang *server, const char *prefix,
                             const struct madang_sockjs_options *options,
                             const struct madang_ws_handlers *handlers, void *arg);

#ifdef __cplusplus
}
#endif

#endif
