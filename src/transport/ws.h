/* WebSocket connections (RFC 6455, RFC 7692) as a carrier: one small object a connection, whole
 * messages up and down. An idle one costs at most 96 bytes here besides its stream. */
#ifndef MDG_TRANSPORT_WS_H
#define MDG_TRANSPORT_WS_H

#include "base/base.h"
#include "transport/http.h"
#include "transport/link.h"

struct mdg_ws_worker;

/* What an endpoint's connections have in common. Lives as long as any of them. */
struct mdg_ws_options {
    uint64_t message_bytes_max;  /* 1009 beyond it */
    uint32_t out_bytes_max;      /* queued before MDG_E_FULL */
    uint32_t ping_interval_s;    /* of silence before a ping; 0: never */
    uint32_t ping_timeout_s;     /* then the peer is given up (1006) */
    uint32_t close_timeout_s;    /* for the peer's half of the closing handshake */
    uint32_t compress_bytes_min; /* shorter messages go out as they are */
    bool compress;               /* permessage-deflate for those that offer it */
    bool context_takeover;       /* a compressor of its own for each connection */
    uint8_t window_bits;         /* 9 to 15: the largest that we agree to, both ways */
    bool codes_only;             /* a failed connection is told the code, without a sentence */
    /* By our preference; NULL-ended; NULL: none. With `subprotocol_required`, a client that offers
     * none of them is refused (400), otherwise it gets none. */
    const char *const *subprotocols;
    bool subprotocol_required;
};

/* What all WebSocket connections of one worker share: pool, compressor, list. */
int mdg_ws_worker_new(struct mdg_loop *loop, struct mdg_ws_worker **out) MDG_NODISCARD;
void mdg_ws_worker_free(struct mdg_ws_worker *w); /* after every connection ended */
/* Starts the closing handshake (1001 when the server stops) with as many as *left, and counts it
 * down. */
void mdg_ws_worker_close_some(struct mdg_ws_worker *w, int code, struct mdg_slice reason,
                              size_t *left);
size_t mdg_ws_worker_count(const struct mdg_ws_worker *w);

/* True when the request wants to become a WebSocket (GET with Upgrade: websocket). */
bool mdg_ws_wanted(const struct mdg_exchange *x);
/* All of RFC 6455 4.2.1. 0: acceptable, *subprotocol is the chosen one (may be empty, borrowed from
 * the options). <0: it was answered already (400, 405, 426). The origin and the path are the
 * caller's to judge, before this. */
int mdg_ws_check(struct mdg_exchange *x, const struct mdg_ws_options *options,
                 struct mdg_slice *subprotocol) MDG_NODISCARD;
/* Sends 101 and makes the link; the exchange is gone on 0. Bytes behind the request are offered to
 * the user later in this turn. On error the exchange is still there, unanswered. */
int mdg_ws_accept(struct mdg_ws_worker *w, struct mdg_exchange *x,
                  const struct mdg_ws_options *options, const struct mdg_link_user *user,
                  void *user_arg, struct mdg_link **out) MDG_NODISCARD;

#endif
