/* What the files of madang.v1 share: plain.c (connections, joining, which request it is),
 * plain_ask.c (publications and questions), plain_answer.c (how answers are written), plain_send.c
 * (messages). */
#ifndef MDG_PLAIN_IMPL_H
#define MDG_PLAIN_IMPL_H

#include "dialect/plain.h"

enum { MDG_PLAIN_TOKEN_BYTES_MAX = 4096 }; /* of a vector of rooms and places */

/* A request that waits for the hub. */
struct mdg_plain_request {
    struct mdg_node in_peer;
    struct mdg_peer *peer;
    uint16_t id_len, room_len;
    uint8_t text[]; /* the id as JSON, then the room */
};

/* A peer's state. */
struct plain {
    struct mdg_node *requests;
    uint32_t request_count;
};

static_assert(sizeof(struct plain) <= 16, "an idle SSE member costs 512 bytes in all");

/* The request at hand. */
struct mdg_plain_call {
    struct mdg_peer *peer;
    struct mdg_input in;
    struct mdg_plain_fields f;
};

static inline struct mdg_slice mdg_plain_request_id(const struct mdg_plain_request *r)
{
    return mdg_slice(r->text, r->id_len);
}

static inline struct mdg_slice mdg_plain_request_room(const struct mdg_plain_request *r)
{
    return mdg_slice(r->text + r->id_len, r->room_len);
}

/* plain_answer.c */
/* NULL: out of memory, or too many wait. */
struct mdg_plain_request *mdg_plain_request_new(struct mdg_peer *p, struct mdg_slice id,
                                                struct mdg_slice room);
void mdg_plain_request_free(struct mdg_plain_request *r);
/* An answer or event for this peer alone. `event` and `id`: for carriers that print them. */
void mdg_plain_send_event(struct mdg_peer *p, struct mdg_slice event, struct mdg_slice id,
                          mdg_plain_build_fn build, const void *arg);
void mdg_plain_send_built(struct mdg_peer *p, mdg_plain_build_fn build, const void *arg);
/* {"type":"...","room":"...","id":... : how every answer begins. */
void mdg_plain_begin(struct mdg_writer *w, const char *type, struct mdg_slice room,
                     struct mdg_slice id);
void mdg_plain_write_at(struct mdg_writer *w, struct mdg_position at);
void mdg_plain_send_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                          const char *code, const char *message);
const char *mdg_plain_code(int err);
void mdg_plain_send_hub_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                              int err);
/* An answer without a list in it. */
struct mdg_plain_simple {
    const char *type;
    struct mdg_slice id, room;
    bool has_at;
    struct mdg_position at;
    const char *number_name; /* NULL: none */
    uint64_t number;
};
void mdg_plain_build_simple(struct mdg_writer *w, const void *arg);
void mdg_plain_send_simple(struct mdg_peer *p, const char *type, struct mdg_slice id,
                           struct mdg_slice room);
void mdg_plain_bad_request(struct mdg_plain_call *c, const char *message);
/* A number of the request; absent: the given value. False: answered with an error. */
bool mdg_plain_read_number(struct mdg_plain_call *c, struct mdg_slice value, uint64_t absent,
                           uint64_t *out);

/* plain_ask.c */
void mdg_plain_do_publish(struct mdg_plain_call *c);
void mdg_plain_do_history(struct mdg_plain_call *c);
void mdg_plain_do_presence(struct mdg_plain_call *c);
void mdg_plain_do_rooms(struct mdg_plain_call *c);
void mdg_plain_do_refresh(struct mdg_plain_call *c);

/* plain_send.c: what the hub and the peer call. */
int mdg_plain_encode(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink);
int mdg_plain_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n);
int mdg_plain_gap(struct mdg_member *m, uint64_t from, uint64_t to);
void mdg_plain_kick(struct mdg_session *s, int reason);
void mdg_plain_direct(struct mdg_session *s, struct mdg_msg *m);

#endif
