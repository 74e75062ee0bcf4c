/* Socket.IO packets, protocol 5 (clients 3.x and 4.x) and protocol 4 (2.x clients, over Engine.IO
 * 3), for both ends. https://github.com/socketio/socket.io-protocol
 *
 *     <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
 *
 * A binary packet is followed by its attachments, one binary message each, which the JSON names
 * {"_placeholder":true,"num":N}. */
#ifndef MDG_CODEC_SIO_H
#define MDG_CODEC_SIO_H

#include "base/base.h"
#include "base/writer.h"

enum mdg_sio_type {
    MDG_SIO_CONNECT,
    MDG_SIO_DISCONNECT,
    MDG_SIO_EVENT,
    MDG_SIO_ACK,
    MDG_SIO_CONNECT_ERROR, /* ERROR in protocol 4 */
    MDG_SIO_BINARY_EVENT,
    MDG_SIO_BINARY_ACK,
};

/* Limits of one endpoint, shared by its connections. */
struct mdg_sio_limits {
    unsigned depth_max;         /* nesting of the JSON, at most MDG_JSON_DEPTH_MAX */
    uint32_t attachments_max;   /* CVE-2026-33151: a count is a promise of memory */
    uint32_t namespace_len_max; /* bytes, with the query string of protocol 4 */
};

/* 2^53 - 1: the largest id that a JavaScript peer can count to. */
#define MDG_SIO_ID_MAX UINT64_C(9007199254740991)

struct mdg_sio_packet {
    enum mdg_sio_type type;
    uint32_t attachments;   /* binary types only; 0 is allowed and nothing follows then */
    bool has_id;            /* id 0 is valid */
    uint64_t id;            /* of the acknowledgement asked for, or given */
    struct mdg_slice nsp;   /* "/" if the packet names none */
    struct mdg_slice query; /* protocol 4: what follows '?' in the namespace; may be empty */
    struct mdg_slice data;  /* one JSON value, or data NULL */
    struct mdg_slice event; /* EVENT and BINARY_EVENT: the name, a JSON string */
};

/* Protocol 4 or 5 (of Socket.IO, not of Engine.IO). Everything is checked, placeholders too: an
 * event's data is an array that begins with a string that is not one of the reserved names
 * (CVE-2023-32695), each placeholder's number is an integer below the count of attachments
 * (CVE-2022-2421). MDG_E_PROTO; MDG_E_TOO_BIG: a limit. */
int mdg_sio_dec(struct mdg_slice text, unsigned protocol, const struct mdg_sio_limits *limits,
                struct mdg_sio_packet *out) MDG_NODISCARD;

static inline bool mdg_sio_is_event(enum mdg_sio_type t)
{
    return t == MDG_SIO_EVENT || t == MDG_SIO_BINARY_EVENT;
}

static inline bool mdg_sio_is_ack(enum mdg_sio_type t)
{
    return t == MDG_SIO_ACK || t == MDG_SIO_BINARY_ACK;
}

/* Names that applications may not send: they belong to the libraries. */
bool mdg_sio_event_reserved(struct mdg_slice name);
/* The text is one JSON array that may be sent as an event: *event is it without blanks around.
 * MDG_E_SYNTAX; MDG_E_TOO_BIG: nested too deeply. */
int mdg_sio_check_event(struct mdg_slice json, struct mdg_slice *event) MDG_NODISCARD;
/* The value stands for an attachment; *num is its number. */
bool mdg_sio_placeholder(struct mdg_slice value, uint64_t *num);
/* {"_placeholder":true,"num":N} */
void mdg_sio_write_placeholder(struct mdg_writer *w, uint32_t num);

/* What stands in front of the JSON. nsp: "/" or empty for the main one. id: NULL if none. */
void mdg_sio_write_head(struct mdg_writer *w, enum mdg_sio_type type, uint32_t attachments,
                        struct mdg_slice nsp, const uint64_t *id);
/* ["event",args...]: args is a JSON array, or empty for none. event is plain text. */
void mdg_sio_write_event(struct mdg_writer *w, struct mdg_slice event, struct mdg_slice args);
/* Checked JSON for those who cannot take attachments: a placeholder becomes {"base64":"..."}.
 * MDG_E_TOO_BIG: more than `most` bytes; any number of placeholders may name the same attachment.
 */
int mdg_sio_write_inline(struct mdg_writer *w, struct mdg_slice json,
                         const struct mdg_slice *attachments, size_t count,
                         size_t most) MDG_NODISCARD;
/* The arguments behind the event's name, as the text between the brackets of `data`: "1,{}", or
 * empty. So a JSON array of them is '[' + this + ']'. */
struct mdg_slice mdg_sio_args(const struct mdg_sio_packet *p);

#endif
