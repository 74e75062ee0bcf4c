/* STOMP 1.0, 1.1 and 1.2 frames: a decoder that takes bytes as they come and an encoder, for both
 * roles. No socket, no clock, no allocation.
 *
 * A frame may arrive in many pieces and one piece may hold many frames. The decoder looks at bytes
 * that begin at the start of a frame; while the frame is incomplete it consumes nothing of it and
 * remembers how far it has looked, so the caller keeps the bytes (bounded by the limits below) and
 * shows them again with more behind. Nothing is looked at twice: a body of 16 MiB in pieces of 1
 * KiB costs one pass.
 *
 * Specification: stomp.github.io, "STOMP Protocol Specification, Version 1.2" and its forerunners.
 */
#ifndef MDG_STOMP_H
#define MDG_STOMP_H

#include "base/base.h"
#include "base/writer.h"

enum mdg_stomp_version {
    MDG_STOMP_ANY = 0, /* not negotiated yet: CONNECT and CONNECTED are read without escapes */
    MDG_STOMP_1_0 = 10,
    MDG_STOMP_1_1 = 11,
    MDG_STOMP_1_2 = 12,
};

enum mdg_stomp_command {
    MDG_STOMP_UNKNOWN, /* command_name says what the peer wrote */
    MDG_STOMP_CONNECT,
    MDG_STOMP_STOMP,
    MDG_STOMP_SEND,
    MDG_STOMP_SUBSCRIBE,
    MDG_STOMP_UNSUBSCRIBE,
    MDG_STOMP_ACK,
    MDG_STOMP_NACK,
    MDG_STOMP_BEGIN,
    MDG_STOMP_COMMIT,
    MDG_STOMP_ABORT,
    MDG_STOMP_DISCONNECT,
    MDG_STOMP_CONNECTED,
    MDG_STOMP_MESSAGE,
    MDG_STOMP_RECEIPT,
    MDG_STOMP_ERROR,
};

/* Why a decoder is dead. */
enum mdg_stomp_fail {
    MDG_STOMP_FAIL_NONE,
    MDG_STOMP_FAIL_BETWEEN,        /* a carriage return alone between frames */
    MDG_STOMP_FAIL_COMMAND,        /* the command line is too long or has a control character */
    MDG_STOMP_FAIL_NO_COLON,       /* a header line without a colon */
    MDG_STOMP_FAIL_NO_NAME,        /* a header line that begins with the colon */
    MDG_STOMP_FAIL_CONTROL,        /* NUL, or in 1.2 a bare carriage return, in a header */
    MDG_STOMP_FAIL_ESCAPE,         /* an escape that the version does not define */
    MDG_STOMP_FAIL_CONTENT_LENGTH, /* not a number */
    MDG_STOMP_FAIL_NO_NUL,         /* no NUL behind content-length bytes */
    MDG_STOMP_FAIL_LINE_LENGTH,
    MDG_STOMP_FAIL_HEADER_COUNT,
    MDG_STOMP_FAIL_HEADER_BYTES,
    MDG_STOMP_FAIL_BODY_BYTES,
};

enum {
    MDG_STOMP_HEADERS_CAP = 64, /* room of struct mdg_stomp_frame; the limit may be lower */
};

/* Attack: a peer that never ends a line, a header block or a body. Each has its own bound. */
struct mdg_stomp_limits {
    uint32_t line_bytes_max;   /* command or one header, without its end of line */
    uint32_t header_count_max; /* at most MDG_STOMP_HEADERS_CAP */
    uint32_t header_bytes_max; /* command and headers of a frame together */
    uint64_t body_bytes_max;
};

struct mdg_stomp_header {
    struct mdg_slice name, value; /* unescaped */
};

/* Borrowed from the input, valid until it changes. */
struct mdg_stomp_frame {
    enum mdg_stomp_command command;
    struct mdg_slice command_name;
    uint32_t header_count;
    struct mdg_stomp_header headers[MDG_STOMP_HEADERS_CAP]; /* as sent, repeated ones too */
    struct mdg_slice body;
};

/* Plain data. Zeroed memory is a fresh decoder; `version` is the caller's to set once it is
 * negotiated. */
struct mdg_stomp_dec {
    uint8_t version; /* enum mdg_stomp_version */
    uint8_t state;
    uint8_t fail; /* enum mdg_stomp_fail */
    bool has_length;
    uint32_t header_count;
    uint64_t length;   /* content-length */
    size_t seen;       /* bytes of the frame that need no second look */
    size_t line_start; /* of the line under way, from the start of the frame */
    size_t body_start; /* from the start of the frame */
};

/* 1: *frame filled, *in moved behind it (headers were unescaped in place).
 * 0: what is left in *in is the start of a frame (or nothing): keep it and add more behind.
 * MDG_E_PROTO, MDG_E_TOO_BIG: dead, dec->fail says why; every further call says the same. */
int mdg_stomp_dec_next(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                       struct mdg_input *in, struct mdg_stomp_frame *frame) MDG_NODISCARD;
/* A sentence for the body of an ERROR frame. Never NULL. */
const char *mdg_stomp_fail_text(enum mdg_stomp_fail fail);
/* The value of the first header of that name: "only the first header entry SHOULD be used" (1.2,
 * "Repeated Header Entries"). data NULL when there is none. */
struct mdg_slice mdg_stomp_find(const struct mdg_stomp_frame *frame, const char *name);
/* False for a header that an earlier one of the same name overrules. */
bool mdg_stomp_is_first(const struct mdg_stomp_frame *frame, uint32_t index);
const char *mdg_stomp_command_text(enum mdg_stomp_command command);

/* Encoder: command, headers, then either _body (with content-length) or _end. */
void mdg_stomp_write_command(struct mdg_writer *w, enum mdg_stomp_command command);
/* Escaped as the version wants. 1.0 has no escapes: there a line feed becomes a space, and a header
 * whose name holds a colon or a line feed is left out, for it would change the frame's meaning.
 * MDG_STOMP_ANY (CONNECT, CONNECTED) writes like 1.0. */
void mdg_stomp_write_header(struct mdg_writer *w, enum mdg_stomp_version version,
                            struct mdg_slice name, struct mdg_slice value);
void mdg_stomp_write_number(struct mdg_writer *w, const char *name, uint64_t value);
/* content-length, the blank line, the body and the NUL. */
void mdg_stomp_write_body(struct mdg_writer *w, struct mdg_slice body);
/* The blank line and the NUL of a frame without a body. */
void mdg_stomp_write_end(struct mdg_writer *w);

static inline void mdg_stomp_write_text(struct mdg_writer *w, enum mdg_stomp_version version,
                                        const char *name, const char *value)
{
    mdg_stomp_write_header(w, version, mdg_slice_str(name), mdg_slice_str(value));
}

/* Negotiation, both roles. "accept-version" is a list such as "1.0,1.1,1.2"; absent (data NULL)
 * means 1.0. The highest version that both know, or MDG_STOMP_ANY when there is none. */
enum mdg_stomp_version mdg_stomp_pick_version(struct mdg_slice accept_version);
const char *mdg_stomp_version_text(enum mdg_stomp_version version); /* "1.2" */

/* "heart-beat:<cx>,<cy>" (1.2 "Heart-beating"): milliseconds, 0 for never. */
struct mdg_stomp_heartbeat {
    uint32_t can_ms;  /* the sender of the header guarantees a byte this often */
    uint32_t want_ms; /* and would like one this often */
};
/* An absent header is 0,0. MDG_E_SYNTAX. */
int mdg_stomp_heartbeat_parse(struct mdg_slice value,
                              struct mdg_stomp_heartbeat *out) MDG_NODISCARD;
/* The interval of one direction: 0 when either side says never, else the longer of both. */
static inline uint32_t mdg_stomp_heartbeat_interval(uint32_t sender_can_ms,
                                                    uint32_t receiver_want_ms)
{
    if (sender_can_ms == 0 || receiver_want_ms == 0)
        return 0;
    return sender_can_ms > receiver_want_ms ? sender_can_ms : receiver_want_ms;
}

#endif
