/* What cat, pub, sub and bench have in common: the options of a connection, and words for people.
 */
#ifndef MADANG_CMD_CLIENT_OPTIONS_H
#define MADANG_CMD_CLIENT_OPTIONS_H

#include "cmd.h"
#include <getopt.h>
#include <madang/client.h>

enum { HEADERS_MAX = 32 };

struct connection {
    struct madang_client_options options;
    const char *headers[HEADERS_MAX + 1];
    char token_header[2048], room_text[512], url_text[4096];
    size_t header_count;
    bool quiet; /* says nothing of coming and going */
};

/* For getopt_long: these, then the command's own. */
#define CONNECTION_OPTIONS                                                                         \
    {"header", required_argument, NULL, 'H'}, {"token", required_argument, NULL, 1000},            \
        {"subprotocol", required_argument, NULL, 1001}, {"origin", required_argument, NULL, 1002}, \
        {"ca", required_argument, NULL, 1003}, {"insecure", no_argument, NULL, 'k'},               \
        {"proxy", required_argument, NULL, 1004}, {"no-proxy", no_argument, NULL, 1005},           \
        {"compress", no_argument, NULL, 1006}, {"timeout", required_argument, NULL, 1007},         \
        {"auth", required_argument, NULL, 1008}, {"path", required_argument, NULL, 1009},          \
        {"quiet", no_argument, NULL, 'q'},                                                         \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }

#define ADDRESS_HELP                                                                               \
    "URL: ws://HOST:PORT/PATH        WebSocket; sse:// event stream; poll://\n"                    \
    "     tcp://HOST:PORT            text lines; udp://HOST:PORT; unix:PATH\n"                     \
    "     sio://HOST:PORT/NAMESPACE  Socket.IO; eio://HOST:PORT/PATH: Engine.IO\n"                 \
    "     stomp://HOST:PORT/topic/X  STOMP; stomp+ws://HOST:PORT/PATH#/topic/X\n"                  \
    "     sockjs://HOST:PORT/PREFIX  SockJS; sockjs+xhr, sio+poll, eio+poll: by HTTP\n"            \
    "     with TLS: wss sses polls tls sios eios stomps stomp+wss sockjss (...s)\n"

#define CONNECTION_HELP                                                                            \
    "  -H, --header 'NAME: VALUE'  of the request; STOMP: of CONNECT (login, ...)\n"               \
    "  --token T, --origin O       bearer token; Origin of the request\n"                          \
    "  --subprotocol LIST, --compress      of WebSocket\n"                                         \
    "  --auth JSON, --path PATH    Socket.IO: for CONNECT; instead of /socket.io/\n"               \
    "  --ca FILE, -k, --insecure   trusted certificates (PEM); or check none\n"                    \
    "  --proxy URL, --no-proxy     CONNECT proxy; default: https_proxy, no_proxy\n"                \
    "  --timeout S, -q, --quiet    for connecting (10 s); nothing but messages\n"

/* EXIT_OK when it was one of these, else EXIT_USAGE after a message. 'h' is the command's. */
int connection_option(struct connection *c, int option, const char *value);
/* A number from min to max, or a message that names the option. */
int number_option(const char *name, const char *text, long min, long max, long *out);
/* The scheme begins with that: "stomp" is stomp, stomps, stomp+ws and stomp+wss. */
bool url_of(const char *url, const char *family);
/* EXIT_OK, or EXIT_USAGE after saying that the address has no scheme, or not the one for an option.
 */
int connection_check(const struct connection *c, const char *url);
/* "NAME: why" for a URL that cannot be used. Returns EXIT_USAGE. */
int url_error(const char *url, int err);
/* "* connected" and the like, on standard error, unless quiet. */
void note(const struct connection *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A message that could not be sent. */
void note_unsent(const struct connection *c, int err);
/* on_down, in words. */
void note_down(const struct connection *c, int code, const char *reason, int64_t retry_ms);

#endif
