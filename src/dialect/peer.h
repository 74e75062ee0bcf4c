/* A peer: one link and one session, joined by a dialect. Here messages become bytes, at most once
 * for each wire format (dialect and framing) in use on the worker.
 *
 * Order of life: mdg_peer_new; the carrier takes mdg_peer_link_user and the peer as user_arg;
 * mdg_peer_attach. From then on the link's on_close frees the peer. */
#ifndef MDG_PEER_H
#define MDG_PEER_H

#include "dialect/dialect.h"

struct mdg_peer;
struct mdg_peers;

/* Whoever checks credentials that come inside a protocol (a refreshed token, a STOMP login). The
 * handshake holds them; *out gets a reference. MDG_E_DENIED, MDG_E_EXPIRED, MDG_E_NO_MEMORY. */
typedef int (*mdg_peer_auth_fn)(void *arg, const struct mdg_handshake *hs,
                                struct mdg_principal **out);

struct mdg_peers_config {
    struct mdg_slice default_room; /* of dialects whose clients name none; borrowed for good */
    uint32_t message_bytes_max;    /* of one payload; also told to clients */
    uint32_t requests_max;         /* of one peer that wait for an answer; attack: pipelining */
    uint32_t publish_rate;         /* messages a second for one peer; 0: no limit */
    uint32_t publish_burst;        /* that may come at once */
    size_t control_bytes_max;      /* answers that wait behind a full link */
    uint32_t history_max;          /* messages in one answer */
    mdg_peer_auth_fn auth;         /* NULL: no credential is accepted later than the handshake */
    void *auth_arg;
};

struct mdg_peers_stats {
    uint64_t encodings;  /* messages encoded, each once for each wire format */
    uint64_t deliveries; /* messages handed to links */
    uint64_t peers;      /* now */
};

/* What all peers of one worker share: wire formats, scratch memory, configuration. */
void mdg_peers_config_init(struct mdg_peers_config *config);
int mdg_peers_new(struct mdg_hub *hub, const struct mdg_peers_config *config,
                  struct mdg_peers **out) MDG_NODISCARD;
void mdg_peers_free(struct mdg_peers *ps); /* after the last peer */
const struct mdg_peers_stats *mdg_peers_stats(const struct mdg_peers *ps);
const struct mdg_peers_config *mdg_peers_config(const struct mdg_peers *ps);
struct mdg_hub *mdg_peers_hub(const struct mdg_peers *ps);
/* Forgets what it keeps from one delivery to the next; call it at the end of the hub's turn. */
void mdg_peers_flush(struct mdg_peers *ps);
/* Closes as many of the peers as *left, and counts it down (the server stops). reason: UTF-8, may
 * be empty. */
void mdg_peers_close_some(struct mdg_peers *ps, int code, struct mdg_slice reason, size_t *left);

extern const struct mdg_link_user mdg_peer_link_user;

/* Takes a reference of its own to the principal. MDG_E_NO_MEMORY. */
int mdg_peer_new(struct mdg_peers *ps, const struct mdg_dialect *dialect, struct mdg_principal *who,
                 struct mdg_peer **out) MDG_NODISCARD;
void mdg_peer_free(struct mdg_peer *p); /* only one that was not attached */
/* Calls the dialect's open. An error closes the link (the peer goes with its on_close). */
void mdg_peer_attach(struct mdg_peer *p, struct mdg_link *link, const struct mdg_handshake *hs);

/* The peer leaves its rooms and speaks another dialect from now on, whose open is called with an
 * empty handshake. Its state must not need more memory than the present dialect's. */
void mdg_peer_become(struct mdg_peer *p, const struct mdg_dialect *dialect);

struct mdg_session *mdg_peer_session(struct mdg_peer *p);
struct mdg_link *mdg_peer_link(struct mdg_peer *p);
struct mdg_peers *mdg_peer_shared(struct mdg_peer *p);
const struct mdg_dialect *mdg_peer_dialect(const struct mdg_peer *p);
void *mdg_peer_state(struct mdg_peer *p);
struct mdg_peer *mdg_peer_of(struct mdg_session *s);
struct mdg_peer *mdg_peer_of_link(struct mdg_link *l);
bool mdg_peer_closing(const struct mdg_peer *p);

/* Below: for dialects. */

/* session.close of every dialect. */
void mdg_peer_close_session(struct mdg_session *s, int code, struct mdg_slice reason);
/* session.deliver of every dialect whose messages are shared. */
int mdg_peer_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n);
/* A unit for this peer alone: an answer, a greeting. When the link is full it waits in a bounded
 * queue, reading from the peer pauses, and messages wait behind it; past the bound the peer is
 * closed. So it never fails in a way that the caller must handle. */
void mdg_peer_send_unit(struct mdg_peer *p, struct mdg_slice unit,
                        const struct mdg_unit_meta *meta);
/* The same, but MDG_E_FULL when the link is full, and nothing is kept. */
int mdg_peer_try_unit(struct mdg_peer *p, struct mdg_slice unit,
                      const struct mdg_unit_meta *meta) MDG_NODISCARD;
/* The message in this peer's wire format, made on first use. NULL in *out: framing that cannot be
 * shared (use send_unit). MDG_E_NO_MEMORY, or what the dialect's encode said. */
int mdg_peer_encoding(struct mdg_peer *p, struct mdg_msg *m,
                      const struct mdg_encoding **out) MDG_NODISCARD;
/* Sends ready-made chunks; takes references of its own. MDG_E_FULL, MDG_E_CLOSED. */
int mdg_peer_send_chunks(struct mdg_peer *p, const struct mdg_chunk *chunks,
                         size_t n) MDG_NODISCARD;
void mdg_peer_close(struct mdg_peer *p, int code, struct mdg_slice reason);
/* The close code that fits a kick's reason. */
int mdg_peer_close_code(int reason);
/* Counts one publication against the peer's rate. False: it is over. */
bool mdg_peer_may_publish(struct mdg_peer *p);
/* A work buffer that is free between two calls of the dialect. */
struct mdg_buf *mdg_peer_scratch(struct mdg_peer *p);

#endif
