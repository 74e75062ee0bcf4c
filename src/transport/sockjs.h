/* SockJS services as carriers: whatever transport a browser fell back to, the owner above sees one
 * link with whole messages. A service is mounted at a prefix; one object of it a worker.
 *
 * A session that is served by requests lives on one worker, which its id names (`home`); requests
 * that land elsewhere move there before anything is read of them. */
#ifndef MDG_TRANSPORT_SOCKJS_H
#define MDG_TRANSPORT_SOCKJS_H

#include "base/base.h"
#include "transport/http.h"
#include "transport/link.h"
#include "transport/ws.h"

struct mdg_sockjs;

/* Lives as long as the service. */
struct mdg_sockjs_config {
    struct mdg_slice prefix;     /* "/echo": begins with a slash, does not end with one */
    uint32_t response_bytes_max; /* a streamed response ends after so many: the browser keeps it
                                  * all in memory. 128 KiB */
    uint32_t heartbeat_ms;       /* of silence before an 'h'. 25,000 */
    uint32_t disconnect_ms;      /* without a receiver before the session is over. 5,000 */
    uint32_t sessions_max;       /* attack: a client that opens sessions and goes; 503 beyond */
    uint32_t waiting_bytes_max;  /* for a session between two polls, before MDG_E_FULL */
    uint32_t body_bytes_max;     /* of xhr_send and jsonp_send; 413 beyond */
    bool websocket;              /* offered at all */
    bool cookie;                 /* JSESSIONID for load balancers that look at it */
    bool any_origin;             /* pages from everywhere are welcome */
    struct mdg_slice sockjs_url; /* the client library that the iframe page loads */
    struct mdg_slice frame_ancestors;        /* of its Content-Security-Policy; empty: not sent */
    const struct mdg_ws_options *ws_options; /* of the websocket transports */
};

/* The owner of the sessions; a static table with its argument. */
struct mdg_sockjs_user {
    /* The page that sent this may talk to us. NULL: all may. */
    bool (*origin_ok)(struct mdg_exchange *x, void *arg);
    /* A session is about to open. 0 lets it in, and *visitor goes to on_open or on_drop; an HTTP
     * status of 400 to 599 refuses it. NULL: everyone. */
    int (*on_handshake)(struct mdg_exchange *x, void *arg, void **visitor);
    /* It is open: set l->user and l->user_arg. Sending and closing are allowed at once. <0: it is
     * closed with 1011. */
    int (*on_open)(struct mdg_link *l, void *visitor, void *arg);
    /* It did not open after all. May be NULL. */
    void (*on_drop)(void *visitor, void *arg);
    /* The server of the worker where this session lives; NULL: here. NULL: always here. */
    struct mdg_http_server *(*home)(struct mdg_slice session, void *arg);
};

/* ws may be NULL when config->websocket is off. config and user must outlive the service. */
int mdg_sockjs_new(struct mdg_loop *loop, struct mdg_ws_worker *ws,
                   const struct mdg_sockjs_config *config, const struct mdg_sockjs_user *user,
                   void *arg, struct mdg_sockjs **out) MDG_NODISCARD;
/* The path, as sent, is the prefix itself or below it. */
bool mdg_sockjs_owns(const struct mdg_sockjs *s, struct mdg_slice path);
/* Serves such requests; on_request takes the service as its argument. */
extern const struct mdg_http_handler mdg_sockjs_handler;
/* Closes as many as *left, which is counted down, of the sessions that are served by requests
 * (websockets: mdg_ws_worker_close_some). */
void mdg_sockjs_close_some(struct mdg_sockjs *s, int code, struct mdg_slice reason, size_t *left);
size_t mdg_sockjs_count(const struct mdg_sockjs *s); /* sessions, tombstones included */
/* Gives on_close (1001) to what is still open. After the HTTP server has ended its exchanges. */
void mdg_sockjs_free(struct mdg_sockjs *s);

#endif
