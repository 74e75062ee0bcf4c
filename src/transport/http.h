/* HTTP/1.1 server connections: keep-alive, pipelining in order, limits, timeouts (RFC 9112).
 * Handlers see exchanges, one request and its response each, and never parse a byte.
 *
 * All calls belong to the worker that owns the connection. Downcalls make no upcalls. */
#ifndef MDG_HTTP_H
#define MDG_HTTP_H

#include "base/base.h"
#include "base/blob.h"
#include "codec/http.h"
#include "transport/handshake.h"

struct mdg_cidr;
struct mdg_exchange;
struct mdg_http_server;
struct mdg_loop;
struct mdg_net;
struct mdg_stream;

struct mdg_header {
    struct mdg_slice name, value;
};

/* What handles one request. All optional but on_request. */
struct mdg_http_handler {
    /* The head is complete and acceptable. Respond now or later (the exchange stays valid until
     * the response ended or on_abort). Slices of the request are valid until then too.
     * <0: the server answers 500 and closes. */
    int (*on_request)(struct mdg_exchange *x, void *arg);
    /* A piece of the body, borrowed; the last one, maybe empty, has `last`; a request without a
     * body gets that one too. Without this function a body is read and thrown away, up to the
     * limit. <0: as above. */
    int (*on_body)(struct mdg_exchange *x, struct mdg_slice piece, bool last);
    void (*on_writable)(struct mdg_exchange *x); /* after mdg_exchange_write gave MDG_E_FULL */
    /* The peer went away before the response ended. The last upcall for this exchange; none comes
     * after mdg_exchange_respond, _end or _upgrade succeeded. */
    void (*on_abort)(struct mdg_exchange *x);
    /* The time of mdg_exchange_set_timeout is over. */
    void (*on_timeout)(struct mdg_exchange *x);
};

struct mdg_http_config {
    size_t head_bytes_max; /* request line and headers together: 431, 414 for the target alone */
    size_t target_bytes_max;
    unsigned header_count_max;
    uint64_t body_bytes_max; /* 413; a handler may raise or lower it for its exchange */
    uint32_t head_timeout_s; /* from the first byte to the end of the head: 408 (slowloris) */
    uint32_t body_timeout_s; /* between two pieces of a body: 408 */
    uint32_t idle_timeout_s; /* keep-alive without a request: closed without a word */
    uint32_t requests_max;   /* on one connection; 0: no limit */
    size_t out_bytes_max;    /* queued response bytes before MDG_E_FULL */
    const char *server_name; /* value of the Server header; NULL: none */
    /* Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. */
    const struct mdg_cidr *trusted_proxies;
    size_t trusted_proxy_count;
};

/* Counted since the start. */
struct mdg_http_counters {
    uint64_t requests, refused, timeouts; /* refused: malformed or over a limit */
    uint64_t responses[6];                /* [2]: 2xx, ...; [0]: all 101 */
    uint64_t connections, exchanges;      /* now */
};

/* Which handler serves this request; NULL: the server answers 404. Called once a request, when
 * the head is complete. *arg goes to on_request. May itself respond (then NULL is returned and
 * the exchange is already answered: mdg_exchange_responded). */
typedef const struct mdg_http_handler *(*mdg_http_route_fn)(void *router, struct mdg_exchange *x,
                                                            void **arg);

/* config (NULL: defaults) and router must outlive the server. MDG_E_NO_MEMORY. */
int mdg_http_server_new(struct mdg_net *net, const struct mdg_http_config *config,
                        mdg_http_route_fn route, void *router,
                        struct mdg_http_server **out) MDG_NODISCARD;
/* Stops taking requests on every connection; each closes when its response ended. */
void mdg_http_server_drain(struct mdg_http_server *h);
/* Closes what is open; the memory goes with the last connection. Outside of upcalls. */
void mdg_http_server_free(struct mdg_http_server *h);
const struct mdg_http_counters *mdg_http_server_counters(const struct mdg_http_server *h);
/* Takes a fresh stream (with its unread bytes) over. MDG_E_NO_MEMORY, MDG_E_CLOSED (draining): the
 * stream stays the caller's. */
int mdg_http_server_accept(struct mdg_http_server *h, struct mdg_stream *s) MDG_NODISCARD;

/* The request. Slices are valid until the exchange ends, or mdg_exchange_forget_request. */
enum mdg_http_method mdg_exchange_method(const struct mdg_exchange *x);
/* Address, path and query as sent, headers: everything but the body. */
const struct mdg_handshake *mdg_exchange_handshake(const struct mdg_exchange *x);
/* First header of that name (lower case), or data NULL. */
struct mdg_slice mdg_exchange_header(const struct mdg_exchange *x, const char *lower_name);
/* Percent-decoded path without dot segments. */
struct mdg_slice mdg_exchange_path(const struct mdg_exchange *x);
unsigned mdg_exchange_minor_version(const struct mdg_exchange *x); /* 0 or 1: HTTP/1.x */
bool mdg_exchange_has_body(const struct mdg_exchange *x);
struct mdg_stream *mdg_exchange_stream(const struct mdg_exchange *x);
struct mdg_loop *mdg_exchange_loop(const struct mdg_exchange *x);

/* Frees the memory of the request; what was borrowed from it is gone, the accessors above give
 * nothing. For responses that last: ten thousand parked polls need not keep their headers. */
void mdg_exchange_forget_request(struct mdg_exchange *x);
/* A peer that has finished sending is taken for gone (on_abort) instead of waiting for its answer:
 * for polls and streams that would otherwise hold their place for ever. */
void mdg_exchange_abort_on_eof(struct mdg_exchange *x);
/* Whether the peer has finished sending, even if on_abort is still to come: see
 * mdg_stream_hung_up. */
bool mdg_exchange_hung_up(const struct mdg_exchange *x);

/* on_timeout in so many seconds (1 s resolution, never early), 0: not. Only once the request has
 * been read, and until the response ends. Moving a deadline costs next to nothing. */
void mdg_exchange_set_timeout(struct mdg_exchange *x, uint32_t seconds);
/* Bytes of responses that wait to be written. */
size_t mdg_exchange_queued(const struct mdg_exchange *x);

/* Handler's own state for this exchange. */
void mdg_exchange_set_arg(struct mdg_exchange *x, void *arg);
void *mdg_exchange_arg(const struct mdg_exchange *x);
/* Another handler takes the exchange over (say, once the path is known better). */
void mdg_exchange_set_handler(struct mdg_exchange *x, const struct mdg_http_handler *handler);
void mdg_exchange_set_body_max(struct mdg_exchange *x, uint64_t bytes);
/* Stops and starts on_body: back-pressure on an upload. */
void mdg_exchange_pause_body(struct mdg_exchange *x, bool paused);
/* A header for whatever response follows (CORS, Set-Cookie). Copied. */
int mdg_exchange_add_header(struct mdg_exchange *x, struct mdg_slice name,
                            struct mdg_slice value) MDG_NODISCARD;

/* Whole response; Content-Length and Date are computed. Takes the chunk references on success. A
 * HEAD request gets the head alone. */
int mdg_exchange_respond(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                         size_t nh, struct mdg_chunk *body, size_t nb) MDG_NODISCARD;
/* The same with a borrowed body, which is copied. */
int mdg_exchange_respond_copy(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                              size_t nh, struct mdg_slice body) MDG_NODISCARD;
/* The same with a borrowed text body; content_type may be NULL when there is no body. Falls back
 * to closing the connection when out of memory. */
void mdg_exchange_respond_text(struct mdg_exchange *x, unsigned status, const char *content_type,
                               struct mdg_slice body);
/* Streamed response: begin, write any number of times, end. Chunked for HTTP/1.1, until close for
 * HTTP/1.0. write: all or nothing; MDG_E_FULL: wait for on_writable. */
int mdg_exchange_begin(struct mdg_exchange *x, unsigned status, const struct mdg_header *h,
                       size_t nh) MDG_NODISCARD;
int mdg_exchange_write(struct mdg_exchange *x, struct mdg_chunk *part, size_t n) MDG_NODISCARD;
/* As write, for chunks that the caller has wrapped as RFC 9112 7.1 chunks already (so that a
 * fan-out shares them). Only when mdg_exchange_chunked says so. */
int mdg_exchange_write_framed(struct mdg_exchange *x, struct mdg_chunk *part,
                              size_t n) MDG_NODISCARD;
bool mdg_exchange_chunked(const struct mdg_exchange *x);
/* For responses that go on for hours. Their stream is lent to whoever writes them: from
 * mdg_exchange_begin on the exchange and the HTTP connection are not needed any more, and ten
 * thousand of them would only take room. The borrower adopts the stream at once, writes what the
 * body's framing asks for, and gives it back or says that it is gone. */
struct mdg_http_loan {
    struct mdg_http_server *server;
    struct mdg_stream *stream;
    bool chunked; /* the body is chunks, with an empty one at the end; else it ends with the stream
                   */
    bool keep_alive; /* the stream may be given back */
};
/* Only once a response has begun and the request has been read (MDG_E_CLOSED otherwise). The
 * exchange ends: no more upcalls, its request is gone when the handler returns. */
int mdg_exchange_lend(struct mdg_exchange *x, struct mdg_http_loan *out) MDG_NODISCARD;
/* The response is complete: the next request may come. MDG_E_CLOSED (draining), MDG_E_NO_MEMORY:
 * the stream stays the caller's. */
int mdg_http_loan_return(struct mdg_http_server *server, struct mdg_stream *s) MDG_NODISCARD;
/* The stream has ended. */
void mdg_http_loan_lost(struct mdg_http_server *server);
void mdg_exchange_end(struct mdg_exchange *x);
/* Cuts the connection off at once (a response cannot be completed). on_abort does not come. */
void mdg_exchange_kill(struct mdg_exchange *x);
bool mdg_exchange_responded(const struct mdg_exchange *x);
/* 101 Switching Protocols: sends the headers and gives the stream and its unread bytes away; the
 * exchange and the HTTP connection are gone afterwards. The caller adopts *out at once. */
int mdg_exchange_upgrade(struct mdg_exchange *x, const struct mdg_header *h, size_t nh,
                         struct mdg_stream **out) MDG_NODISCARD;
/* Hands the connection over to another worker's server, which sees this request as if it had come
 * there. Only from on_request or the route function, before any body was read and with no earlier
 * response under way (MDG_E_UNSUPPORTED then: answer 503 with Retry-After or serve it here). */
int mdg_exchange_move(struct mdg_exchange *x, struct mdg_http_server *to) MDG_NODISCARD;

/* Small helpers that every handler wants. */
/* {"code":"...","message":"..."} with Cache-Control: no-store. */
void mdg_exchange_respond_error(struct mdg_exchange *x, unsigned status, const char *code,
                                const char *message);
/* CORS (Fetch 3.2): lets the page of this Origin read the response, with cookies. Only for origins
 * that were judged before. Also answers the browser's preflight (OPTIONS with
 * Access-Control-Request-Method) with 204 and returns true; `methods` is what it may use. */
bool mdg_exchange_cors(struct mdg_exchange *x, const char *methods);
/* 405 with Allow. `allow` is a list such as "GET, HEAD". */
void mdg_exchange_method_not_allowed(struct mdg_exchange *x, const char *allow);
/* The value of a cookie / of a query parameter, still encoded; data NULL when absent. */
struct mdg_slice mdg_exchange_cookie(const struct mdg_exchange *x, const char *name);
struct mdg_slice mdg_exchange_query(const struct mdg_exchange *x, const char *name);

#endif
