/* A carrier without a wire, for tests of dialects: what is sent is written down as text, the queue
 * is full when the test says so, and upcalls come when the test makes them. */
#ifndef MDG_DIALECT_KIT_TEST_H
#define MDG_DIALECT_KIT_TEST_H

#include "dialect/peer.h"

enum { WIRE_TEXT_MAX = 64 * 1024 };

struct wire_link {
    struct mdg_link link;
    char text[WIRE_TEXT_MAX]; /* every unit as framed, see wire_framing */
    size_t len;
    size_t room; /* bytes that it still takes before it is full */
    uint64_t sends, chunks;
    bool was_full, paused, closed;
    int close_code;
    char close_reason[128];
};

/* Lines: "unit\n". Joinable, no head. */
extern const struct mdg_framing wire_lines;
/* "<len>unit" with the length in front, for private heads; joinable. */
extern const struct mdg_framing wire_lengths;
/* "[id|event]unit\n", as an event stream would; not joinable. */
extern const struct mdg_framing wire_events;

/* A peer on a fresh link, attached. one_way: a carrier that only sends. */
struct mdg_peer *wire_open(struct mdg_peers *ps, const struct mdg_dialect *dialect,
                           struct mdg_principal *who, const struct mdg_framing *framing,
                           bool one_way, struct wire_link *l);
/* A two-way link alone, for owners that are no peers. */
void wire_link_init(struct wire_link *l, const struct mdg_framing *framing);
/* The client sends one unit (text). */
int wire_input(struct wire_link *l, const char *text);
/* The queue empties: on_writable if it was full. */
void wire_drain(struct wire_link *l);
/* The connection goes: on_close. */
void wire_close(struct wire_link *l);
/* What was sent since the last call. */
const char *wire_sent(struct wire_link *l);

#endif
