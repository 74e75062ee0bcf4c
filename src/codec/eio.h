/* Engine.IO packets and payloads, protocol 4 and 3, for both ends.
 * https://github.com/socketio/engine.io-protocol ("v4", "v3" below). Text is taken to be valid
 * UTF-8: the carrier has checked it. Packets are decoded in place: base64 shrinks where it stands.
 */
#ifndef MDG_CODEC_EIO_H
#define MDG_CODEC_EIO_H

#include "base/base.h"
#include "base/writer.h"

enum mdg_eio_type {
    MDG_EIO_OPEN,
    MDG_EIO_CLOSE,
    MDG_EIO_PING,
    MDG_EIO_PONG,
    MDG_EIO_MESSAGE,
    MDG_EIO_UPGRADE,
    MDG_EIO_NOOP,
};

enum {
    MDG_EIO_SEPARATOR = 0x1e,       /* between the packets of a v4 payload */
    MDG_EIO3_LENGTH_DIGITS_MAX = 9, /* of a v3 packet; attack: a length that overflows or loops */
    MDG_EIO_SID_BYTES_MAX = 64,     /* longest sid that a client accepts */
};

struct mdg_eio_packet {
    enum mdg_eio_type type;
    bool binary; /* only a MESSAGE (v3: any type, but nothing else makes sense) */
    struct mdg_input data;
};

/* One packet as a WebSocket message of that kind carries it. v4: a binary message has no type
 * byte; v3: it begins with a byte 0..6. A text packet that begins with b holds base64 (v4 `b...`,
 * v3 `b4...`). MDG_E_PROTO. */
int mdg_eio_dec_packet(unsigned version, struct mdg_input in, bool binary,
                       struct mdg_eio_packet *out) MDG_NODISCARD;

/* A payload: the body of a POST, or of the answer to a poll. Memory is the caller's. */
struct mdg_eio_payload {
    struct mdg_input rest;
    unsigned version;
    bool binary;  /* v3: the body came as application/octet-stream */
    bool started; /* v4: a packet must follow a separator */
};

void mdg_eio_payload_init(struct mdg_eio_payload *p, unsigned version, bool binary,
                          struct mdg_input body);
/* 1: *out is the next packet. 0: no more. MDG_E_PROTO: the payload is broken here; what came
 * before is good. An empty v4 body is MDG_E_PROTO, an empty v3 body holds no packet. */
int mdg_eio_payload_next(struct mdg_eio_payload *p, struct mdg_eio_packet *out) MDG_NODISCARD;

/* A packet as a WebSocket message. binary: the message must be sent as a binary one. */
void mdg_eio_write_packet(struct mdg_writer *w, unsigned version, enum mdg_eio_type type,
                          bool binary, struct mdg_slice data);
/* A packet as a v4 payload holds it, without separators. */
void mdg_eio4_write_in_payload(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                               struct mdg_slice data);
/* A packet as a v3 text payload holds it: counted, binary data as base64. */
void mdg_eio3_write_in_text(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                            struct mdg_slice data);
/* What stands before a packet of len bytes in a v3 binary payload: 00 or 01, decimal digits as
 * bytes 0..9, ff. */
enum { MDG_EIO3_BINARY_HEAD_MAX = 22 };
void mdg_eio3_write_binary_head(struct mdg_writer *w, bool binary, size_t len);
/* A packet as a v3 binary payload holds it. */
void mdg_eio3_write_in_binary(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                              struct mdg_slice data);
/* Length in UTF-16 code units, which is what v3 counts. */
size_t mdg_eio_utf16_len(struct mdg_slice utf8);

/* The handshake, as the data of an OPEN packet. */
struct mdg_eio_open {
    struct mdg_slice sid;
    bool upgrade_websocket; /* "websocket" is among the upgrades */
    uint32_t ping_interval_ms, ping_timeout_ms;
    uint64_t max_payload; /* bytes; 0: not said (v3) */
};

void mdg_eio_write_open(struct mdg_writer *w, const struct mdg_eio_open *o);
/* For clients. Slices of the text. MDG_E_PROTO. */
int mdg_eio_dec_open(struct mdg_slice json, struct mdg_eio_open *out) MDG_NODISCARD;

/* JSONP (v3 and v4). The head `___eio[J](` with the digits of j alone, so that a page cannot be
 * made to run something else; the payload as a JSON string; `);`. */
void mdg_eio_write_jsonp(struct mdg_writer *w, struct mdg_slice j, struct mdg_slice payload);
/* The body of a JSONP POST: the form field d, decoded in place: percent signs and plus, then the
 * doubled escapes of newlines that old browsers need. MDG_E_PROTO: no such field, or broken. */
int mdg_eio_dec_jsonp(struct mdg_input body, struct mdg_input *payload) MDG_NODISCARD;

#endif
