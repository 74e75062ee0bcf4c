/* Engine.IO as a carrier: a session that begins on long-polling (or JSONP) or on WebSocket and may
 * move from the one to the other, with heartbeats, protocol 4 and 3.
 * https://github.com/socketio/engine.io-protocol
 *
 * One mdg_eio_worker is one endpoint ("/socket.io/") in one worker. A session id names its worker,
 * and a request that comes to another one moves there with its connection. */
#ifndef MDG_TRANSPORT_EIO_H
#define MDG_TRANSPORT_EIO_H

#include "base/base.h"
#include "transport/http.h"
#include "transport/link.h"
#include "transport/ws.h"

struct mdg_eio_worker;
struct mdg_eio_held;

enum { MDG_EIO_LATER = 1 };

/* "code" of an error's JSON, as the reference server numbers them. */
enum mdg_eio_refusal {
    MDG_EIO_UNKNOWN_TRANSPORT,
    MDG_EIO_UNKNOWN_SID,
    MDG_EIO_BAD_HANDSHAKE_METHOD,
    MDG_EIO_BAD_REQUEST,
    MDG_EIO_FORBIDDEN,
    MDG_EIO_UNSUPPORTED_VERSION,
};

/* Lives as long as the worker. */
struct mdg_eio_options {
    uint32_t ping_interval_ms, ping_timeout_ms;
    uint32_t upgrade_timeout_ms; /* from the probe's connection to its last packet */
    uint32_t close_timeout_ms;   /* a polling client has this long to fetch the close packet */
    uint64_t max_payload;        /* bytes of a POST body, a WebSocket message, a poll's answer */
    uint32_t out_bytes_max;      /* queued for a client that does not poll, before MDG_E_FULL */
    uint32_t sessions_max;       /* attack: handshakes that nobody claims */
    bool allow_eio3, polling, websocket, upgrades;
    /* Every origin may read the answers; preflights are answered. Off where the router in front has
     * a rule of its own. With credentials the origin is named instead of the star. */
    bool cors, cors_credentials;
    const char *cookie;       /* name of a cookie with the sid for sticky proxies; NULL: none */
    struct mdg_ws_options ws; /* message_bytes_max and the heartbeat are set by the worker */
};

struct mdg_eio_hooks {
    /* The one Origin rule. NULL: every origin. A request that is refused gets 403. */
    bool (*origin_ok)(void *arg, const struct mdg_exchange *x);
    /* Before a session begins. 0: let in. MDG_EIO_LATER: mdg_eio_resume follows, unless *held was
     * taken back (dropped). <0: refused, with 403 and *message (or "Forbidden"). NULL: all. */
    int (*on_handshake)(void *arg, struct mdg_exchange *x, struct mdg_eio_held *held,
                        struct mdg_slice *message);
    /* The client of a held handshake went away: forget it. */
    void (*on_dropped)(void *arg, struct mdg_eio_held *held);
    /* May add headers to a response; initial: the session's first one. NULL: none. */
    void (*on_headers)(void *arg, struct mdg_exchange *x, bool initial);
    /* A new session. Sets l->user and l->user_arg; may send already. <0: 500. */
    int (*on_open)(void *arg, struct mdg_link *l, const struct mdg_handshake *hs);
    /* The HTTP server of another worker, or NULL. NULL: there is one worker. */
    struct mdg_http_server *(*home)(void *arg, unsigned worker);
};

/* worker: its number, 0..255. options, hooks and arg must outlive it. MDG_E_NO_MEMORY. */
int mdg_eio_worker_new(struct mdg_loop *loop, struct mdg_ws_worker *ws, unsigned worker,
                       const struct mdg_eio_options *options, const struct mdg_eio_hooks *hooks,
                       void *arg, struct mdg_eio_worker **out) MDG_NODISCARD;
/* After every session ended (mdg_eio_worker_close_some and a turn or more): those that are left
 * are cut off without a word. */
void mdg_eio_worker_free(struct mdg_eio_worker *w);
/* As many as *left, which is counted down. */
void mdg_eio_worker_close_some(struct mdg_eio_worker *w, int code, size_t *left);
size_t mdg_eio_worker_count(const struct mdg_eio_worker *w);

/* What serves the endpoint's path; its arg is the worker. */
extern const struct mdg_http_handler mdg_eio_handler;

/* Ends a handshake that was held. allow false: 403 with the message (empty: "Forbidden"). */
void mdg_eio_resume(struct mdg_eio_held *held, bool allow, struct mdg_slice message);

/* Whatever the application wants to find with it. */
void mdg_eio_held_set_user(struct mdg_eio_held *held, void *user);
void *mdg_eio_held_user(const struct mdg_eio_held *held);

/* Of a link whose carrier is Engine.IO. */
void *mdg_eio_arg(const struct mdg_link *l); /* the hooks' */
struct mdg_slice mdg_eio_sid(const struct mdg_link *l);
unsigned mdg_eio_version(const struct mdg_link *l);      /* 3 or 4 */
const char *mdg_eio_transport(const struct mdg_link *l); /* "polling" or "websocket" */
/* During on_input: the POST that brought it; NULL: it came otherwise. */
struct mdg_exchange *mdg_eio_posting(const struct mdg_link *l);

#endif
