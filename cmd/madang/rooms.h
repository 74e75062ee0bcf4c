/* Rooms as pub and sub know them: JSON units of madang.v1 (doc/protocols.md), whatever carries
 * them. On Socket.IO they are the events of `madang serve` and their acknowledgements, which are
 * turned into units here. */
#ifndef MADANG_CMD_ROOMS_H
#define MADANG_CMD_ROOMS_H

#include "client_options.h"
#include <jansson.h>

enum speech {
    SPEECH_UNITS,  /* madang.v1 both ways */
    SPEECH_EVENTS, /* Socket.IO */
    SPEECH_BODIES, /* STOMP: the destination is the room */
    SPEECH_HTTP    /* the URL names the room; units come */
};

struct rooms {
    enum speech speech;
    const char *url;
    struct madang_client *client; /* NULL: gone */
    /* A unit of the server's; text is it as it came. */
    void (*on_unit)(struct rooms *r, const json_t *unit, const char *type, const char *text,
                    size_t len);
    /* The server listens: joins may be sent. */
    void (*on_ready)(struct rooms *r);
    bool came_in; /* UDP: the server has seen our cookie */
};

enum {
    ROOMS_HISTORY = -1, /* as the server does */
    ROOMS_PUBLISH = -2  /* not to read: an event stream, which only comes down, becomes a poll */
};

enum speech speech_of(const char *url);
/* The address of rooms at a server that was named without a path: http://HOST becomes
 * http://HOST/sse?room=NAME, and so on. `names` ends with NULL; history: ROOMS_*, or a number.
 * Sets url, and what else the connection needs. EXIT_OK, or EXIT_USAGE after a message. */
int rooms_address(struct connection *c, const char *url, const char *const *names, long history);

/* Where a madang server has them, by the scheme. NULL: at the root. */
const char *rooms_usual_path(const char *url);

/* The connection is usable: over text lines the server is asked for JSON, and then on_ready. */
void rooms_begin(struct rooms *r);
/* {"type":"join",...} or {"type":"publish",...}; gives it up. MADANG_E_* */
int rooms_send(struct rooms *r, json_t *unit);
/* From the handlers. */
void rooms_message(struct rooms *r, const void *data, size_t len);
void rooms_event(struct rooms *r, const struct madang_client_event *event);

/* "" when absent or not a string. */
const char *unit_text(const json_t *unit, const char *name);
/* What a message says, in words. */
void unit_print(const json_t *message);

/* "To come in, type: /hi COOKIE": what madang wants to see over UDP before it listens. The part to
 * be sent back, or NULL. */
const char *udp_cookie(const char *text, size_t len, size_t *cookie_len);

#endif
