/* A message as the hub sees it: opaque parts and a few fields that every protocol can carry. It
 * belongs to one worker; what crosses threads is its content, which is immutable and counted. */
#ifndef MDG_MSG_H
#define MDG_MSG_H

#include "base/base.h"
#include "base/blob.h"
#include "hub/principal.h"

enum mdg_msg_kind {
    MDG_MSG_TEXT,     /* part 0 is UTF-8 text */
    MDG_MSG_JSON,     /* part 0 is one JSON value (validated by the dialect that took it in) */
    MDG_MSG_ARGS,     /* part 0 is a JSON array of an event's arguments; further parts are the
                         binary attachments that its {"_placeholder":true,"num":n} name */
    MDG_MSG_BINARY,   /* part 0 is bytes of the given content type */
    MDG_MSG_PRESENCE, /* made by the hub: who came and who left, see mdg_msg_presence */
};

enum {
    MDG_MSG_VOLATILE = 1u,    /* not kept in the log, dropped for members that are behind */
    MDG_MSG_COMPRESS = 4u,    /* worth compressing where the connection can */
    MDG_MSG_ASKED = 8u,       /* its publisher has asked those who can answer one by one: their
                                 dialect passes over it */
    MDG_MSG_SLOTS = 32,       /* wire formats in use at the same time in one worker */
    MDG_MSG_SLOTS_PEER = 24,  /* of them, the first ones are given out by the dialects' peers, the
                                 others by Socket.IO */
    MDG_MSG_PARTS_MAX = 1025, /* a payload and its attachments; the dialect's own limit is lower */
    MDG_MSG_HEADERS_MAX = 64, /* application headers that travel with a message (STOMP, HTTP) */
};

struct mdg_msg_header {
    struct mdg_slice name, value;
};

/* Immutable content, shared by the workers that deliver it and by the log. */
struct mdg_content {
    atomic_uint refs;
    uint8_t kind;  /* enum mdg_msg_kind */
    uint8_t flags; /* MDG_MSG_* */
    bool sender_guest;
    uint16_t header_count;
    uint16_t part_count;
    uint64_t unix_ms;               /* when it was published */
    uint64_t sender_session;        /* id; 0: the application itself */
    struct mdg_slice channel;       /* the room it was published to */
    struct mdg_slice event;         /* event name; empty means "message" */
    struct mdg_slice sender;        /* name; empty: the application itself */
    struct mdg_slice id;            /* the publisher's own id for it; may be empty */
    struct mdg_slice content_type;  /* may be empty */
    struct mdg_msg_header *headers; /* in the publisher's order */
    struct mdg_chunk *parts;        /* at least one, each with a reference */
    /* Who must not receive it: sessions by id, and members of these rooms (Socket.IO except). */
    uint64_t *except_sessions;
    struct mdg_slice *except_channels;
    /* Published to several rooms at once: each session receives it once, in the first of these
     * rooms that it is in. Empty for the usual case of one room. */
    struct mdg_slice *union_channels;
    uint16_t except_session_count, except_channel_count, union_channel_count;
    size_t bytes;               /* memory that it holds, for the limits of a log */
    struct mdg_content *parent; /* not NULL: the arrays and strings are this one's */
};

/* What the publisher gives. Everything is borrowed during the call and copied once, except the
 * part chunks, whose references the content takes over. */
struct mdg_msg_draft {
    enum mdg_msg_kind kind;
    unsigned flags;
    struct mdg_slice channel, event, id, content_type;
    const struct mdg_principal *sender; /* NULL: the application itself */
    uint64_t sender_session;
    const struct mdg_msg_header *headers;
    size_t header_count;
    struct mdg_slice payload; /* part 0, copied; when `parts` is NULL */
    struct mdg_chunk *parts;  /* taken over on success (blob pointers become NULL) */
    size_t part_count;
    const uint64_t *except_sessions;
    size_t except_session_count;
    const struct mdg_slice *except_channels, *union_channels;
    size_t except_channel_count, union_channel_count;
};

/* MDG_E_NO_MEMORY, MDG_E_TOO_BIG (a count over its maximum). */
int mdg_content_new(const struct mdg_msg_draft *draft, uint64_t unix_ms,
                    struct mdg_content **out) MDG_NODISCARD;
struct mdg_content *mdg_content_ref(struct mdg_content *c);
void mdg_content_unref(struct mdg_content *c); /* any thread; NULL is allowed */
/* The same message as published to another room; `channel` must be the content's own memory (one
 * of union_channels). NULL: out of memory. */
struct mdg_content *mdg_content_clone(struct mdg_content *c,
                                      struct mdg_slice channel) MDG_NODISCARD;

/* A ready-made encoding for one wire format: all the units of a message, framed, as chunks. */
struct mdg_encoding {
    uint16_t chunk_count;
    bool binary, compress; /* the dialect's own: what it said of the unit */
    uint32_t body_len;     /* the dialect's own: bytes of the unit without head and tail */
    struct mdg_chunk chunks[];
};

/* A message in one worker: content, place in the room's order, and encodings made on demand. */
struct mdg_msg {
    unsigned refs; /* of this worker only */
    struct mdg_content *content;
    uint64_t epoch, seq;             /* seq 0: not in a log (volatile, presence, private) */
    struct mdg_encoding **encodings; /* MDG_MSG_SLOTS of them by slot; NULL while there is none */
};

/* Takes the reference to the content over. NULL: out of memory (then it is the caller's still). */
struct mdg_msg *mdg_msg_new(struct mdg_content *content, uint64_t epoch,
                            uint64_t seq) MDG_NODISCARD;
struct mdg_msg *mdg_msg_ref(struct mdg_msg *m);
void mdg_msg_unref(struct mdg_msg *m);
/* Frees the encodings (after the fan-out; the log keeps the content alone). */
void mdg_msg_drop_encodings(struct mdg_msg *m);
/* The encoding in that slot, or NULL. */
static inline struct mdg_encoding *mdg_msg_encoding(const struct mdg_msg *m, unsigned slot)
{
    return m->encodings ? m->encodings[slot] : NULL;
}
/* Stores an encoding made by mdg_encoding_new. MDG_E_NO_MEMORY: it is the caller's still. */
int mdg_msg_set_encoding(struct mdg_msg *m, unsigned slot, struct mdg_encoding *e) MDG_NODISCARD;
/* Room for that many chunks, zeroed, chunk_count set. NULL: out of memory. */
struct mdg_encoding *mdg_encoding_new(uint16_t chunk_count) MDG_NODISCARD;
void mdg_encoding_free(struct mdg_encoding *e); /* gives the chunks' references back */

static inline struct mdg_slice mdg_msg_payload(const struct mdg_msg *m)
{
    return mdg_chunk_slice(&m->content->parts[0]);
}

#endif
