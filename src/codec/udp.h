/* madang's datagrams (doc/protocols.md, "UDP"). A person types lines into `nc -u`: each datagram
 * that begins with anything but a control character is text. A program's datagrams begin with a
 * type byte below 0x10, which no keyboard sends first. Integers are big-endian.
 *
 *   client                                             server
 *   HELLO version, nonce, cookie 0, token 0      ->
 *                                                <-    COOKIE nonce, cookie       (stateless)
 *   HELLO version, nonce, cookie, token          ->
 *                                                <-    WELCOME nonce, token
 *   DATA seq, unit                               <->   DATA seq, unit; ACK; NACK; PING; BYE
 *
 * An address is answered with more than COOKIE only after it has shown the cookie that was sent to
 * it, so that a forged source address gains nothing (RFC 9000 8.1 has the same rule). The token
 * names the session: a HELLO with it, from a new and proven address, moves the session there. */
#ifndef MDG_CODEC_UDP_H
#define MDG_CODEC_UDP_H

#include "base/base.h"
#include "base/writer.h"

enum mdg_udp_type {
    MDG_UDP_HELLO = 0x01,
    MDG_UDP_COOKIE = 0x02,
    MDG_UDP_WELCOME = 0x03,
    MDG_UDP_DATA = 0x04, /* flags, seq, unit */
    MDG_UDP_ACK = 0x05,  /* seq: all up to it; 64 bits: those after it */
    MDG_UDP_NACK = 0x06, /* from, to: send these again */
    MDG_UDP_GONE = 0x07, /* from, to: can't, ask the room's log instead */
    MDG_UDP_PING = 0x08, /* echoed as PONG; keeps the session */
    /* 0x09, 0x0a, 0x0d are white space that a person may send */
    MDG_UDP_PONG = 0x0b,
    MDG_UDP_BYE = 0x0c,     /* code, reason */
    MDG_UDP_UNKNOWN = 0x0e, /* no session at this address: say HELLO again */
    MDG_UDP_TEXT = 0x100    /* not on the wire: a line typed by a person */
};

enum {
    MDG_UDP_VERSION = 1,
    MDG_UDP_TOKEN_LEN = 16,
    MDG_UDP_DATA_HEAD = 6,  /* type, flags, seq: what stands in front of a unit */
    MDG_UDP_HELLO_LEN = 36, /* of every HELLO: longer than what it may be answered with */
    /* What an unproven address may be sent at most, and only one for each of its datagrams. Over
     * IPv4 that is 76 bytes for at least 28, over IPv6 96 for at least 48. */
    MDG_UDP_UNPROVEN_MAX = 48
};

enum mdg_udp_flag {
    MDG_UDP_WANT_ACK = 1 << 0, /* DATA: answer with ACK. HELLO: acknowledge every DATA to me */
    MDG_UDP_AGAIN = 1 << 1,    /* DATA: a retransmission */
    MDG_UDP_BINARY = 1 << 2    /* DATA: the unit is no text */
};

struct mdg_udp_packet {
    unsigned type; /* enum mdg_udp_type */
    uint8_t flags;
    uint8_t version;                  /* HELLO */
    uint16_t code;                    /* BYE */
    uint64_t nonce;                   /* HELLO, COOKIE, WELCOME, PING, PONG: echoed */
    uint64_t cookie;                  /* HELLO, COOKIE; 0: none */
    uint8_t token[MDG_UDP_TOKEN_LEN]; /* HELLO, WELCOME; zeros: none */
    uint32_t seq, to;                 /* DATA, ACK: seq. NACK, GONE: seq to `to` */
    uint64_t bits;                    /* ACK: bit n: seq + 1 + n has come too */
    struct mdg_input body;            /* DATA: unit; BYE: reason; TEXT: line without its end */
};

/* The body is borrowed from the datagram. MDG_E_SYNTAX: unknown type or wrong length;
 * MDG_E_UNSUPPORTED: a HELLO of another version. */
int mdg_udp_decode(struct mdg_input datagram, struct mdg_udp_packet *p) MDG_NODISCARD;
/* All but the body of DATA, which the caller sends behind it as a chunk of its own. Not TEXT. */
void mdg_udp_encode(struct mdg_writer *w, const struct mdg_udp_packet *p);

/* Cookies: a keyed hash of the address and of the minute, nothing is stored. */
enum { MDG_UDP_COOKIE_SLOT_MS = 60000 };
uint64_t mdg_udp_cookie(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms);
/* Of this minute or the last. */
bool mdg_udp_cookie_ok(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms,
                       uint64_t cookie);
/* For people: 48 bits of it, as 12 hex digits to be typed after "/hi ". */
enum { MDG_UDP_TYPED_LEN = 12 };
void mdg_udp_write_typed(struct mdg_writer *w, uint64_t cookie);
bool mdg_udp_typed_ok(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms,
                      struct mdg_slice typed);

/* Which numbers of the other side have come: removes duplicates, says what to acknowledge. Numbers
 * start at 1 and wrap; compared as in RFC 1982. */
struct mdg_udp_window {
    uint32_t newest;
    uint64_t seen; /* bit n: newest - n has come */
};
enum mdg_udp_arrival {
    MDG_UDP_NEW,
    MDG_UDP_DUPLICATE,
    MDG_UDP_STALE /* more than 63 behind: taken for a duplicate */
};
enum mdg_udp_arrival mdg_udp_window_take(struct mdg_udp_window *win, uint32_t seq);
/* The ACK that describes the window: seq and bits of *p are set. */
void mdg_udp_window_ack(const struct mdg_udp_window *win, struct mdg_udp_packet *p);
/* The ACK says that this number has come. */
bool mdg_udp_acked(const struct mdg_udp_packet *ack, uint32_t seq);

/* a comes after b, with wrapping. */
static inline bool mdg_udp_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

#endif
