/* The event stream of server-sent events (WHATWG HTML 9.2, "text/event-stream"): an encoder for
 * servers, and an incremental decoder for clients whose memory the caller gives. */
#ifndef MDG_SSE_H
#define MDG_SSE_H

#include "base/base.h"
#include "base/writer.h"

struct mdg_sse_event {
    struct mdg_slice id;    /* last event id so far; len 0: none */
    struct mdg_slice event; /* type; empty means "message" */
    struct mdg_slice data;
    uint64_t retry_ms; /* reconnection time that came with the event; UINT64_MAX: none */
};

/* One event: the fields that are set, one `data:` line for each line of the data (CRLF, CR and LF
 * all end a line there), and the empty line. An id or type with a line break or a NUL in it would
 * forge other fields: MDG_E_SYNTAX, and nothing is written. */
int mdg_sse_write_event(struct mdg_writer *w, struct mdg_slice id, struct mdg_slice event,
                        struct mdg_slice data) MDG_NODISCARD;
/* The body of such an event without id and type: its `data:` lines and the empty line. */
void mdg_sse_write_data(struct mdg_writer *w, struct mdg_slice data);
/* A comment line; text without line breaks. Proxies and clients see life, pages see nothing. */
void mdg_sse_write_comment(struct mdg_writer *w, struct mdg_slice text);
/* How long a client waits before it connects again. */
void mdg_sse_write_retry(struct mdg_writer *w, uint64_t retry_ms);

enum {
    MDG_SSE_ID_MAX = 256,  /* an id is echoed in a request header: keep it far from header limits */
    MDG_SSE_TYPE_MAX = 128 /* event types are identifiers */
};

enum mdg_sse_dec_state {
    MDG_SSE_START, /* a byte order mark may come (9.2.5) */
    MDG_SSE_LINE,  /* inside a line, or before its first byte */
    MDG_SSE_CR,    /* the last line ended in CR: a LF now belongs to it */
    MDG_SSE_DEAD   /* a limit was exceeded */
};

struct mdg_sse_dec {
    enum mdg_sse_dec_state state;
    uint8_t *memory; /* the data so far, then the line that is being read */
    size_t cap, data_len, line_len;
    uint64_t retry_ms;
    bool has_data, dispatched;
    uint16_t id_len, type_len;
    uint8_t bom_len;
    uint8_t id[MDG_SSE_ID_MAX], type[MDG_SSE_TYPE_MAX];
};

/* memory: cap bytes of the caller's, which bound one event. */
void mdg_sse_dec_init(struct mdg_sse_dec *d, uint8_t *memory, size_t cap);
/* 1: *ev filled, its slices valid until the next call. 0: all input consumed, feed more.
 * MDG_E_TOO_BIG: an event, an id or a type over its limit; the decoder is dead. */
int mdg_sse_dec_next(struct mdg_sse_dec *d, struct mdg_input *in,
                     struct mdg_sse_event *ev) MDG_NODISCARD;

#endif
