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
    char token_header[2048], room_text[512];
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
        {"quiet", no_argument, NULL, 'q'},                                                         \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }

#define CONNECTION_HELP                                                                            \
    "  -H, --header LINE       \"Name: value\" of the request; may be repeated\n"                  \
    "  --token TOKEN           as \"Authorization: Bearer\"\n"                                     \
    "  --subprotocol LIST      WebSocket sub-protocols, by preference\n"                           \
    "  --origin ORIGIN\n"                                                                          \
    "  --ca FILE, -k           trusted certificates (PEM); or check none\n"                        \
    "  --proxy URL, --no-proxy http://HOST:PORT (CONNECT); default: https_proxy, no_proxy\n"       \
    "  --compress              offer permessage-deflate\n"                                         \
    "  --timeout SECONDS       for connecting (10)\n"                                              \
    "  -q, --quiet             nothing but messages\n"

/* EXIT_OK when it was one of these, else EXIT_USAGE after a message. 'h' is the command's. */
int connection_option(struct connection *c, int option, const char *value);
/* A number from min to max, or a message that names the option. */
int number_option(const char *name, const char *text, long min, long max, long *out);
/* stomp://, stomp+ws:// and their TLS forms. */
bool is_stomp(const char *url);
/* The destination of a room on a STOMP broker: "/topic/ROOM", or ROOM itself when it begins with a
 * slash. Kept in `room_text`. EXIT_OK, or EXIT_USAGE after a message. */
int stomp_destination(struct connection *c, const char *room);
/* "NAME: why" for a URL that cannot be used. Returns EXIT_USAGE. */
int url_error(const char *url, int err);
/* "* connected" and the like, on standard error, unless quiet. */
void note(const struct connection *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* on_down, in words. */
void note_down(const struct connection *c, int code, const char *reason, int64_t retry_ms);

#endif
