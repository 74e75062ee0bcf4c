/* madang.v1, the JSON sub-protocol, and the bare text chat beside it. */
#ifndef MDG_PLAIN_H
#define MDG_PLAIN_H

#include "dialect/peer.h"
#include "dialect/plain_text.h"

/* Every request of madang.v1 on two-way carriers; on one-way carriers (SSE, streaming) its server
 * half: rooms are then joined with the functions below. */
extern const struct mdg_dialect mdg_plain_dialect;
/* `name:text` of one room and nothing else: what `new WebSocket` alone can use. */
extern const struct mdg_dialect mdg_bare_dialect;

/* After mdg_peer_attach; "joined" follows as if the client had asked. resume may be NULL. The
 * errors of mdg_hub_join. */
int mdg_plain_join(struct mdg_peer *p, struct mdg_slice room, uint32_t history,
                   const struct mdg_position *resume) MDG_NODISCARD;

enum { MDG_PLAIN_ROOMS_MAX = 32 }; /* in one token or one URL */

/* A resume token of a client in several rooms: "room@epoch:seq,room@epoch:seq", room names
 * percent-encoded; "epoch:seq" alone means the only room. Positions of the rooms asked for are
 * filled in, the others stay zero (epoch 0: unknown). MDG_E_SYNTAX. */
int mdg_plain_read_token(struct mdg_slice token, const struct mdg_slice *rooms, size_t count,
                         struct mdg_position *out) MDG_NODISCARD;
/* The token of all rooms that the peer is in. */
void mdg_plain_write_token(struct mdg_writer *w, struct mdg_peer *p);

#endif
