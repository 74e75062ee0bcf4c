/* One-way carriers over a response that does not end: server-sent events (sse.c) and JSON lines
 * (stream.c). Each unit is one event or one line, wrapped as one HTTP chunk too, so that a fan-out
 * shares the bytes with everyone. The way up is POST /publish. */
#ifndef MDG_PUSH_H
#define MDG_PUSH_H

#include "base/base.h"
#include "transport/http.h"
#include "transport/link.h"

struct mdg_push_options {
    uint32_t heartbeat_s; /* of silence before a comment or an empty line; 0: never */
    uint32_t retry_ms;    /* SSE: how long the client waits before it connects again; 0: its own */
};

/* Begins the response; the exchange is over on 0, and its request stays readable until the handler
 * returns. MDG_E_CLOSED, MDG_E_NO_MEMORY, MDG_E_UNSUPPORTED (not GET, or with a body): the exchange
 * is unanswered. A client that finishes sending counts as gone. */
int mdg_sse_open(struct mdg_exchange *x, const struct mdg_push_options *options,
                 const struct mdg_link_user *user, void *user_arg,
                 struct mdg_link **out) MDG_NODISCARD;
int mdg_lines_open(struct mdg_exchange *x, const struct mdg_push_options *options,
                   const struct mdg_link_user *user, void *user_arg,
                   struct mdg_link **out) MDG_NODISCARD;
/* Where an EventSource left off: the Last-Event-ID header, or (for clients that cannot set one) the
 * query parameter lastEventId, decoded into room. Empty when there is none or it does not fit. */
struct mdg_slice mdg_sse_last_id(const struct mdg_exchange *x, uint8_t *room, size_t cap);

/* What differs between the two; for sse.c and stream.c. */
struct mdg_push_kind {
    struct mdg_carrier carrier; /* .name, .one_way; the functions are push.c's */
    const char *content_type;
    struct mdg_framing chunked, plain; /* HTTP/1.1 and HTTP/1.0 */
    struct mdg_slice heartbeat, chunked_heartbeat;
};
int mdg_push_open(const struct mdg_push_kind *kind, struct mdg_exchange *x,
                  const struct mdg_push_options *options, struct mdg_slice first,
                  const struct mdg_link_user *user, void *user_arg,
                  struct mdg_link **out) MDG_NODISCARD;
int mdg_push_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n);
int mdg_push_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta);
void mdg_push_close(struct mdg_link *l, int code, struct mdg_slice reason);
void mdg_push_pause(struct mdg_link *l, bool paused);
size_t mdg_push_queued(const struct mdg_link *l);
/* The head and tail of a unit's HTTP chunk around `len` bytes. */
void mdg_push_chunk_head(struct mdg_writer *w, size_t len);

#endif
