/* Inside the HTTP server: what http.c (connections), exchange.c (requests) and respond.c
 * (responses) share. Nobody else includes this. */
#ifndef MDG_HTTP_IMPL_H
#define MDG_HTTP_IMPL_H

#include "base/pool.h"
#include "codec/http.h"
#include "codec/http_body.h"
#include "codec/http_write.h"
#include "loop/loop.h"
#include "net/net.h"
#include "net/stream.h"
#include "transport/http.h"

enum {
    /* The rest of a body that nobody wants is read up to here, so that the connection can be kept;
     * beyond it closing is cheaper. */
    DISCARD_BYTES_MAX = 64 * 1024,
    /* Requests that wait behind an unanswered one: enough to see the end of the connection, little
     * enough not to buffer for a client that floods. */
    PIPELINED_BYTES_MAX = 16 * 1024,
    EXTRA_HEADERS_MAX = 8 * 1024, /* mdg_exchange_add_header */
    LINGER_S = 5,                 /* for the peer to close after the last response */
    LINGER_DRAINING_S = 1,        /* the same while the server stops */
    SLOW_BYTES_PER_S = 512,       /* a body slower than this on average runs out of time */
    SLOW_OUT_BYTES_PER_S = 4096,  /* likewise a response that waits at the end */
    ADDRESS_MAX = 64,
};

/* One request's head, copied out of the receive buffer. */
struct mdg_http_request {
    size_t cap; /* of the whole block */
    struct mdg_handshake hs;
    struct mdg_slice path; /* decoded */
    bool has_address;
    char address[ADDRESS_MAX];
    struct mdg_handshake_header headers[];
};

enum mdg_http_conn_flag {
    CONN_IN_DATA = 1 << 0, /* on_data is on the stack: it goes on with the next request */
    CONN_GONE = 1 << 1,    /* the stream belongs to somebody else: free this */
    CONN_ENDING = 1 << 2,  /* mdg_stream_finish was called */
    CONN_EOF = 1 << 3,     /* the peer has finished sending */
    CONN_PAUSED = 1 << 4,  /* too much waits behind the present request */
    CONN_FULL = 1 << 5,    /* responses wait: no further request before they are gone */
};

struct mdg_http_conn {
    struct mdg_list link; /* of the server's connections */
    struct mdg_http_server *server;
    struct mdg_stream *stream;
    struct mdg_exchange *x;        /* the request under way, or NULL */
    struct mdg_http_head *partial; /* a head that has begun, or NULL */
    uint32_t requests;             /* so far */
    uint32_t unread;               /* what the last on_data left */
    union {
        uint32_t consumed; /* within on_data: of its input */
        uint32_t waiting;  /* between two of them: output when a timeout last looked */
    };
    uint16_t flags;
};

enum mdg_exchange_flag {
    X_KEEP_ALIVE = 1 << 0,
    X_EXPECT = 1 << 1,      /* 100 Continue is owed once the body is wanted */
    X_BODY_DONE = 1 << 2,   /* the request has been read */
    X_BODY_PAUSED = 1 << 3, /* by the handler */
    X_BEGUN = 1 << 4,       /* a streamed response is under way */
    X_CHUNKED = 1 << 5,     /* as chunks */
    X_HEAD = 1 << 6,        /* HEAD: no response body */
    X_ENDED = 1 << 7,       /* the response is complete */
    X_LISTED = 1 << 8,      /* in the server's list of ended exchanges */
    X_ABORT_ON_EOF = 1 << 9,
    X_ACCEPTED = 1 << 10, /* on_request said yes: the handler hears on_abort */
};

struct mdg_http_lines {
    uint16_t len, cap;
    uint8_t data[];
};

struct mdg_exchange {
    struct mdg_list link; /* of the server's ended exchanges */
    struct mdg_http_conn *conn;
    struct mdg_http_request *req; /* NULL once forgotten */
    const struct mdg_http_handler *handler;
    void *arg;
    struct mdg_http_lines *extra; /* header lines for the response, or NULL */
    struct mdg_http_body body;
    uint32_t body_began_s;
    uint16_t flags;
    uint8_t method, minor;
};

static_assert(sizeof(struct mdg_http_conn) <= 64, "ten thousand of them are idle");
static_assert(sizeof(struct mdg_exchange) <= 96, "ten thousand of them are parked");

struct mdg_http_server {
    struct mdg_net *net;
    struct mdg_loop *loop;
    const struct mdg_http_config *config;
    struct mdg_http_limits limits;
    mdg_http_route_fn route;
    void *router;
    struct mdg_pool conns, exchanges;
    struct mdg_list all;   /* connections */
    struct mdg_list ended; /* exchanges that ended outside of on_data */
    struct mdg_defer ended_defer;
    struct mdg_http_request *spare;
    struct mdg_blob *crlf, *last_chunk;
    uint64_t date_s;
    char date[MDG_HTTP_DATE_LEN];
    struct mdg_http_counters counters;
    size_t lent; /* streams that will be given back or are lost */
    bool draining, freeing;
    struct mdg_http_head scratch; /* most heads come whole and are parsed here */
};

/* exchange.c */
struct mdg_http_request *mdg_http_request_new(struct mdg_http_server *server,
                                              const struct mdg_http_head *h, const uint8_t *head,
                                              size_t head_len);
void mdg_http_request_free(struct mdg_http_server *server, struct mdg_http_request *r);

void mdg_http_free_lines(struct mdg_exchange *x);

/* respond.c: the refusal of a message that is not worth an exchange; closes. */
void mdg_http_refuse(struct mdg_http_conn *c, unsigned status, const char *text);
/* http.c: the response is complete; the connection goes on with what follows, now or soon. */
void mdg_http_ended(struct mdg_exchange *x);
/* http.c: the stream belongs to somebody else now; the exchange and the connection end. */
struct mdg_stream *mdg_http_let_go(struct mdg_exchange *x);
uint32_t mdg_http_now_s(const struct mdg_http_server *server);

#endif
