/* Messages as JSON text and back: what madang.v1 sends on every carrier, and what the HTTP routes
 * (poll, publish, history) share with it. doc/protocols.md describes the format. */
#ifndef MDG_PLAIN_TEXT_H
#define MDG_PLAIN_TEXT_H

#include "base/buf.h"
#include "base/writer.h"
#include "hub/hub.h"

enum {
    MDG_PLAIN_DEPTH_MAX = 64,       /* nesting of JSON from a client */
    MDG_PLAIN_ID_BYTES_MAX = 128,   /* of a request's id, as JSON */
    MDG_PLAIN_EVENT_BYTES_MAX = 64, /* of an event's name */
    MDG_PLAIN_POSITION_BYTES = 40,  /* "0123456789abcdef:18446744073709551615" and some room */
};

/* {"type":"message",...} or {"type":"presence",...}, without a line break anywhere. */
void mdg_plain_write_message(struct mdg_writer *w, const struct mdg_msg *m);
/* {"name":"ann","guest":false} */
void mdg_plain_write_user(struct mdg_writer *w, const struct mdg_user *u);
/* [user,...] */
void mdg_plain_write_users(struct mdg_writer *w, const struct mdg_user *users, size_t count);
void mdg_plain_write_epoch(struct mdg_writer *w, uint64_t epoch); /* 16 hex digits, no quotes */
/* "epoch:seq": the position that a client keeps as one word. */
void mdg_plain_write_position(struct mdg_writer *w, struct mdg_position at);
/* MDG_E_SYNTAX. */
int mdg_plain_read_position(struct mdg_slice text, struct mdg_position *out) MDG_NODISCARD;
int mdg_plain_read_epoch(struct mdg_slice text, uint64_t *out) MDG_NODISCARD;

/* Writes until it fits: build is called once or twice. The buffer holds the text alone. Returns 0
 * or what mdg_buf_reserve says. */
typedef void (*mdg_plain_build_fn)(struct mdg_writer *w, const void *arg);
int mdg_plain_build(struct mdg_buf *b, mdg_plain_build_fn build, const void *arg) MDG_NODISCARD;

/* The members of a request or a publication, found in one pass over the object. Values are slices
 * of the text as it came; absent ones are empty. */
struct mdg_plain_fields {
    struct mdg_slice type, room, id, text, data, base64, event, key, content_type;
    struct mdg_slice history, resume, before, limit, token, epoch, seq;
};
/* Checks the JSON and finds the members. MDG_E_SYNTAX: not JSON. MDG_E_PROTO: not an object. */
int mdg_plain_read(struct mdg_input in, struct mdg_plain_fields *f) MDG_NODISCARD;
/* Resolves a string member in place: *s becomes its text. `in` is the text that was read.
 * MDG_E_SYNTAX: not a string. */
int mdg_plain_string(struct mdg_input in, struct mdg_slice *s) MDG_NODISCARD;
/* The payload of a publication ("text", "data" or "base64"; "event", "key", "content_type"), into
 * the draft; decoded in place. Exactly one of the three. MDG_E_PROTO otherwise, MDG_E_SYNTAX. */
int mdg_plain_payload(struct mdg_input in, struct mdg_plain_fields *f,
                      struct mdg_msg_draft *draft) MDG_NODISCARD;

#endif
