/* What the files of the Socket.IO dialect share. Not for anyone else. */
#ifndef MDG_DIALECT_SIO_IMPL_H
#define MDG_DIALECT_SIO_IMPL_H

#include "base/buf.h"
#include "base/map.h"
#include "base/pool.h"
#include "dialect/sio.h"

enum {
    SIO_PID_CHARS = MDG_SIO_PID_CHARS,
    SIO_OFFSET_CHARS = 11,               /* 64 bits as base64url */
    SIO_SLOT_FIRST = MDG_MSG_SLOTS_PEER, /* our places among a message's encodings */
    SIO_SLOT_COUNT = MDG_MSG_SLOTS - MDG_MSG_SLOTS_PEER,
    SIO_CHANNEL_BYTES_MAX = 256,
    SIO_BURST_MAX = 64,
    SIO_BURST_BYTES_MAX = 65536,
    SIO_KEEP_EVERY = 64, /* deliveries between two records of a socket in the store */
};

struct sio_nsp {
    struct mdg_sio_worker *w;
    struct mdg_list sockets;
    size_t count;
    void *data; /* the application's */
    uint16_t name_len;
    char name[];
};

/* Several messages in a row as one chunk, made once for all the sockets that are to get them. */
struct sio_burst {
    struct mdg_msg *msgs[SIO_BURST_MAX];
    size_t len;
    struct mdg_blob *joined; /* NULL: too large, or no memory */
};

struct mdg_sio_worker {
    struct mdg_loop *loop;
    struct mdg_hub *hub;
    const struct mdg_sio_options *options;
    const struct mdg_sio_hooks *hooks;
    void *arg;
    unsigned number;
    struct mdg_map nsps;   /* by name */
    struct mdg_map by_sid; /* restored sids, which do not tell their session's id */
    struct mdg_map by_pid; /* sockets that recovery may find */
    struct mdg_list clients;
    struct mdg_list doomed; /* sockets that the application has disconnected in this turn */
    struct mdg_timer doom_timer;
    bool stopping;    /* what is kept stays kept */
    uint64_t seed[2]; /* of offsets */
    uint64_t next_ack;
    /* Which framing an encoding slot stands for. */
    const struct mdg_framing *slots[SIO_SLOT_COUNT];
    bool slot_offsets[SIO_SLOT_COUNT];
    struct sio_burst bursts[SIO_SLOT_COUNT];
    struct mdg_timer burst_timer; /* forgets them when the fan-out is over */
};

/* A binary event whose attachments are still coming. */
struct sio_pending {
    struct mdg_sio_packet packet; /* its slices point into text */
    size_t have, bytes;
    uint8_t *text;
    struct mdg_chunk attachments[];
};

struct mdg_sio_kept_handshake {
    struct mdg_handshake hs;
    struct mdg_handshake_header *headers;
    char text[];
};

struct mdg_sio_client {
    struct mdg_link *link; /* NULL: it is closed */
    struct mdg_sio_worker *w;
    struct mdg_list in_worker;
    struct mdg_list sockets;
    struct sio_pending *pending;
    struct mdg_sio_kept_handshake *handshake;
    struct mdg_principal *who;
    struct mdg_timer *connect_timer; /* until it is in a namespace */
    uint32_t socket_count;
    uint8_t protocol;
    bool closing;
    const char *reason; /* why we close it, as sockets are told */
};

struct sio_ack {
    struct mdg_list link;
    struct mdg_sio_socket *socket;
    uint64_t id;
    mdg_sio_ack_fn done;
    void *arg;
    struct mdg_timer timer;
};

/* One delivery that recovery can repeat. */
struct sio_delivery {
    struct mdg_content *content;
    uint64_t offset;
    union {
        uint64_t epoch;  /* of the room's log, with seq */
        uint64_t number; /* seq 0: of the record in the store; 0: there is none */
    };
    uint64_t seq;
};

/* An event that was in no room's log, as a server before this one kept it. */
struct sio_kept_event {
    struct sio_delivery delivery;
    uint64_t after; /* the offset of the delivery before it; 0: there was none */
};

struct sio_recovery {
    char pid[SIO_PID_CHARS];
    struct mdg_timer timer; /* runs while there is no connection */
    struct sio_delivery *ring;
    uint32_t cap, len, at; /* at: the oldest */
    uint32_t unkept;       /* deliveries since the last record */
    uint64_t last_number;  /* of kept events */
    uint64_t *order; /* restored: the offsets in the order of their delivery, as far as kept */
    struct sio_kept_event *kept; /* restored: not in the ring yet */
    uint32_t order_len, kept_len;
    uint64_t before_offset; /* restored: of the message before the ring; 0: not known */
    bool restored;          /* the ring was filled from the rooms' logs, room by room */
    bool overflowed;        /* something that was delivered is not in the ring any more */
};

enum sio_state {
    SIO_CONNECTING, /* middleware */
    SIO_CONNECTED,
    SIO_LEAVING, /* disconnected by the application; it hears of it at the end of the turn */
    SIO_AWAY,    /* no connection; kept for recovery */
};

struct mdg_sio_socket {
    struct mdg_session session; /* its id is the socket's */
    struct mdg_sio_client *client;
    struct sio_nsp *nsp;
    struct mdg_list in_nsp, in_client, in_doomed;
    struct mdg_list acks;
    struct sio_recovery *recovery;
    void *user;
    char *auth, *data; /* JSON, ends with NUL; NULL: none */
    uint32_t ack_count;
    uint8_t state;
    bool recovered, named; /* named: in by_sid */
    char sid[MDG_SIO_SID_CHARS + 1];
};

/* A member's cookie for which nobody waits. */
#define SIO_COOKIE_QUIET ((void *)1)

static inline struct mdg_slice sio_nsp_name(const struct sio_nsp *n)
{
    return mdg_slice(n->name, n->name_len);
}

static inline struct mdg_sio_socket *sio_of_session(struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct mdg_sio_socket, session);
}

/* sio.c */
struct sio_nsp *sio_nsp_get(struct mdg_sio_worker *w, struct mdg_slice name);
/* The client broke the protocol, or we end it: every socket hears the reason. */
void sio_client_close(struct mdg_sio_client *c, const char *reason);
/* For this error (MDG_E_FULL: too slow): the client is told by the close code. */
void sio_client_end(struct mdg_sio_client *c, int err);
/* It has connected to a namespace: the connect timeout is over. */
void sio_client_settled(struct mdg_sio_client *c);
int sio_client_send_text(struct mdg_sio_client *c, struct mdg_slice text) MDG_NODISCARD;

/* sio_socket.c */
/* Without client and maps; the session is there. */
struct mdg_sio_socket *sio_socket_alloc(struct sio_nsp *nsp, struct mdg_principal *who);
void sio_socket_connect(struct mdg_sio_client *c, struct sio_nsp *nsp, struct mdg_slice auth);
/* keep: recovery may find it again. */
void sio_socket_disconnect(struct mdg_sio_socket *s, const char *reason, bool keep);
void sio_socket_free(struct mdg_sio_socket *s);
struct mdg_sio_socket *sio_client_socket(const struct mdg_sio_client *c, struct mdg_slice nsp);
extern const struct mdg_session_ops sio_session_ops;
/* A message that is in no room, to this socket. Who has no room for it is sent away. */
void sio_send_direct(struct mdg_sio_socket *s, const struct mdg_msg *m);
/* The session that a sid stands for, on whatever worker; 0: it is no sid. */
uint64_t sio_id_of_sid(const struct mdg_sio_worker *w, struct mdg_slice sid);

/* sio_ack.c */
void sio_acks_answer(struct mdg_sio_socket *s, uint64_t id, const struct mdg_sio_args *args);
void sio_acks_fail(struct mdg_sio_socket *s, int err);

/* sio_encode.c */
/* A private packet: head, JSON and attachments, framed for this link. */
int sio_send_packet(struct mdg_sio_socket *s, enum mdg_sio_type type, const uint64_t *id,
                    const struct mdg_sio_emit *e, const uint64_t *offset) MDG_NODISCARD;
int sio_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n);
/* A message to this socket alone. */
int sio_send_message(struct mdg_sio_socket *s, const struct mdg_msg *m,
                     uint64_t offset) MDG_NODISCARD;
bool sio_emit_ok(const struct mdg_sio_worker *w, const struct mdg_sio_emit *e);

void sio_bursts_drop(struct mdg_sio_worker *w);

/* sio_recover.c */
uint64_t sio_offset_of(const struct mdg_sio_worker *w, const struct mdg_msg *m);
void sio_write_offset(struct mdg_writer *w, uint64_t offset);
int sio_recovery_new(struct mdg_sio_socket *s) MDG_NODISCARD;
/* For a socket without connection, under the pid that it had. */
int sio_recovery_restore(struct mdg_sio_socket *s, struct mdg_slice pid) MDG_NODISCARD;
void sio_recovery_free(struct mdg_sio_socket *s);
static inline struct sio_delivery *sio_ring_at(const struct sio_recovery *r, uint32_t i)
{
    return &r->ring[(r->at + i) % r->cap];
}
void sio_recovery_note(struct mdg_sio_socket *s, const struct mdg_msg *m, uint64_t offset);
/* A line that is closing does not take any more: for a socket that will be found again this is
 * missed, like what comes while it is away. */
static inline bool sio_recovery_misses(const struct mdg_sio_socket *s, int err)
{
    return err == MDG_E_CLOSED && s->recovery;
}
/* Messages are gone: nothing that came before can be gone on from. */
void sio_recovery_hole(struct mdg_sio_socket *s);
void sio_recovery_park(struct mdg_sio_socket *s);
/* It has a connection again: its rooms show it again. */
void sio_recovery_unpark(struct mdg_sio_socket *s);

/* sio_keep.c */
void sio_keep(struct mdg_sio_socket *s); /* its record, to the store */
void sio_forget(struct mdg_sio_socket *s);
bool sio_read_hex(struct mdg_slice text, uint64_t *out); /* 16 digits */

/* sio_keep_event.c */
/* A record for what is about to be noted. The record's number, or 0: none is needed. */
uint64_t sio_keep_event(struct mdg_sio_socket *s, const struct mdg_content *c, uint64_t offset);
void sio_forget_event(struct mdg_sio_socket *s, uint64_t number);
bool sio_is_event_key(struct mdg_slice key);
/* One that makes no sense costs the socket: what cannot be repeated must not be missing. */
void sio_restore_event(struct mdg_sio_socket *s, struct mdg_slice key, struct mdg_slice record);

/* sio_restored.c */
/* Puts a ring that was filled room by room, and the kept events, in the order of delivery. */
void sio_restored_sort(struct mdg_sio_socket *s);
/* Which delivery comes behind an offset that was given out but cannot be repeated (volatile). */
bool sio_restored_find(const struct sio_recovery *r, uint64_t offset, uint32_t *from);
void sio_restored_drop(struct mdg_sio_socket *s); /* what only a restored ring has */
/* The worker that this CONNECT's pid names, or -1. */
int sio_recovery_worker(struct mdg_slice auth);
/* The socket that this CONNECT's auth names, if it can go on. */
struct mdg_sio_socket *sio_recovery_find(struct mdg_sio_client *c, struct sio_nsp *nsp,
                                         struct mdg_slice auth, uint32_t *from);
void sio_recovery_replay(struct mdg_sio_socket *s, uint32_t from);

#endif
