/* A request of HTTP at a time on a connection that is kept for the next one; and two of them, one
 * that receives and one that sends: what carriers that consist of requests are made of (xhr.c,
 * poll.c, eio_poll.c). */
#ifndef MDG_CLIENT_EXCHANGE_H
#define MDG_CLIENT_EXCHANGE_H

#include "base/base.h"
#include "base/buf.h"
#include "codec/http.h"
#include "codec/http_body.h"

struct madang_client;
struct mdg_client_exchange;

struct mdg_client_exchange_user {
    /* The connection is there: mdg_client_exchange_write. */
    int (*ask)(struct mdg_client_exchange *x);
    /* The head has come (x->head, slices of `head`). False: the client is down. */
    bool (*head)(struct mdg_client_exchange *x, const uint8_t *head);
    /* A piece of the body. False: the client is down, or has turned away. */
    bool (*piece)(struct mdg_client_exchange *x, struct mdg_slice piece);
    /* The response is complete, and x may be asked again. */
    void (*over)(struct mdg_client_exchange *x);
};

/* Zero-initialised but for client and user. */
struct mdg_client_exchange {
    struct madang_client *client;
    const struct mdg_client_exchange_user *user;
    struct mdg_connect *connect;
    struct mdg_stream *stream;
    struct mdg_http_head head;
    struct mdg_http_body body;
    enum mdg_http_method method; /* of the request under way */
    bool busy;                   /* a request waits for the end of its response */
    bool in_body;                /* the head is done */
    bool keep;                   /* and the connection may serve once more */
    bool by_end;                 /* the body ends with the connection */
};

/* Calls user->ask, now or once there is a connection. Not while it is busy, nor is it after an
 * error. */
int mdg_client_exchange_ask(struct mdg_client_exchange *x) MDG_NODISCARD;
/* From `ask`. The target is followed by `more`; type and body: of a POST. MDG_E_TOO_BIG. */
int mdg_client_exchange_write(struct mdg_client_exchange *x, const char *target, const char *more,
                              const char *type, struct mdg_slice body) MDG_NODISCARD;
/* The same as GET, with a header line or "". */
int mdg_client_exchange_get(struct mdg_client_exchange *x, const char *target, const char *more,
                            const char *line) MDG_NODISCARD;
/* Puts the client down: "the server answered 404 Not Found". False, for `head`. */
bool mdg_client_exchange_refused(struct mdg_client_exchange *x, const uint8_t *head);
/* A `piece` for bodies that do not matter. */
bool mdg_client_exchange_ignore(struct mdg_client_exchange *x, struct mdg_slice piece);
/* Lets go of the connection, quietly. */
void mdg_client_exchange_end(struct mdg_client_exchange *x);

struct mdg_client_pair {
    struct mdg_client_exchange receive, send;
    struct mdg_buf in;      /* what is coming, until it is whole */
    struct mdg_buf waiting; /* to be sent with the next request */
};

/* Zero-initialised heap memory that begins with the pair becomes the client's. */
void mdg_client_pair_init(struct madang_client *c, struct mdg_client_pair *pair,
                          const struct mdg_client_exchange_user *receive,
                          const struct mdg_client_exchange_user *send);
/* An `over` of the one that sends: what has been said meanwhile follows. */
void mdg_client_pair_sent(struct mdg_client_exchange *x);
/* Something waits to be sent: now, or behind the request that is under way. */
int mdg_client_pair_push(struct madang_client *c) MDG_NODISCARD;
/* For struct mdg_client_carrier. */
size_t mdg_client_pair_queued(const struct madang_client *c);
uint32_t mdg_client_pair_end_ms(const struct madang_client *c);
void mdg_client_pair_free(struct madang_client *c);

#endif
