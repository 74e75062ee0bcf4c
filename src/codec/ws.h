/* WebSocket frames (RFC 6455 section 5), both roles, without sockets, clock or allocation.
 *
 * The decoder is pulled: it takes frames from the input, unmasks them in place and gives events.
 * It consumes whole heads and whole control frames only: up to MDG_WS_KEEP_MAX bytes may stay in
 * the input, to be offered again in front of what comes next. So its state is twenty bytes of
 * plain data, and a connection that is idle between two messages holds no buffer. */
#ifndef MDG_WS_H
#define MDG_WS_H

#include "base/base.h"

enum mdg_ws_op {
    MDG_WS_CONT = 0x0,
    MDG_WS_TEXT = 0x1,
    MDG_WS_BINARY = 0x2,
    MDG_WS_CLOSE = 0x8,
    MDG_WS_PING = 0x9,
    MDG_WS_PONG = 0xa
};

enum {
    MDG_WS_HEAD_MAX = 14,     /* two bytes, eight of length, four of key */
    MDG_WS_CONTROL_MAX = 125, /* RFC 6455 5.5 */
    MDG_WS_KEEP_MAX = 6 + MDG_WS_CONTROL_MAX - 1,
    /* Frames without payload (control frames, empty fragments) cost the sender two to six bytes
     * and us a system call's worth of work: a flood of them is refused. The budget is refilled by
     * the owner, who knows the time (mdg_ws_dec_refill). */
    MDG_WS_IDLE_FRAMES_MAX = 16384
};

/* Why a decoder died: each has its close code and a sentence for the close frame's reason. */
enum mdg_ws_fail {
    MDG_WS_OK = 0,
#define MDG_WS_FAIL(name, code, text) MDG_WS_FAIL_##name,
#include "codec/ws_fail.def"
#undef MDG_WS_FAIL
};

/* Shared by every connection of an endpoint. */
struct mdg_ws_config {
    bool client;          /* our role: a client wants unmasked frames, a server masked ones */
    uint32_t message_max; /* bytes of a message, after decompression too; below 4 GiB */
};

/* Plain data: zero-initialised is a fresh decoder, but for the budget: use mdg_ws_dec_init. */
struct mdg_ws_dec {
    uint32_t left; /* payload bytes of this data frame still to come */
    uint32_t
        total;    /* payload bytes of this message's frames so far, this frame's whole length in */
    uint32_t key; /* rotated for the next byte; 0 when unmasked */
    uint16_t budget;
    uint8_t state; /* see ws.c */
    uint8_t op;    /* of the message that is under way; 0: none */
    uint8_t flags; /* see ws.c */
    uint8_t utf8;
    uint8_t fail;  /* enum mdg_ws_fail */
    uint8_t owner; /* the owner's, for whatever it likes */
};

static_assert(sizeof(struct mdg_ws_dec) == 20, "every idle connection holds one");

enum mdg_ws_event_type {
    MDG_WS_EVENT_DATA,   /* a piece of a message */
    MDG_WS_EVENT_CONTROL /* a whole ping, pong or close */
};

struct mdg_ws_event {
    enum mdg_ws_event_type type;
    enum mdg_ws_op op;      /* of the message, never CONT; of the control frame */
    struct mdg_input bytes; /* in the input, unmasked; valid as long as the input is. Of a close:
                               the reason, valid UTF-8. Empty DATA comes only with `last` */
    bool first, last;       /* of the message */
    bool rsv1;              /* the message is compressed (RFC 7692 6); text is not checked then */
    uint16_t close_code;    /* close only; 1005 when the frame carried none (RFC 6455 7.1.5) */
};

/* deflate: permessage-deflate was negotiated, RSV1 is allowed. */
void mdg_ws_dec_init(struct mdg_ws_dec *d, bool deflate);
/* 1: *ev is filled. 0: nothing more in this input; what stays in it (at most MDG_WS_KEEP_MAX
 * bytes) is the beginning of a frame. MDG_E_PROTO, MDG_E_TOO_BIG: dead, mdg_ws_dec_failure says
 * why. After a close frame everything is consumed and ignored (RFC 6455 5.5.1). */
int mdg_ws_dec_next(struct mdg_ws_dec *d, const struct mdg_ws_config *config, struct mdg_input *in,
                    struct mdg_ws_event *ev);
/* How many payload bytes of the data frame that has begun are still to come, and whether it is the
 * last frame of its message: with these an owner can receive a long message into a buffer of its
 * size. 0 between frames. */
static inline uint32_t mdg_ws_dec_left(const struct mdg_ws_dec *d)
{
    return d->left;
}
bool mdg_ws_dec_final(const struct mdg_ws_dec *d);
/* Is the message under way a compressed one? */
bool mdg_ws_dec_compressed(const struct mdg_ws_dec *d);
/* Bytes of the present message according to the heads seen so far. */
static inline uint32_t mdg_ws_dec_total(const struct mdg_ws_dec *d)
{
    return d->total;
}
/* More idle frames are allowed, up to MDG_WS_IDLE_FRAMES_MAX: to be called as time goes by. */
void mdg_ws_dec_refill(struct mdg_ws_dec *d, unsigned frames);
static inline enum mdg_ws_fail mdg_ws_dec_failure(const struct mdg_ws_dec *d)
{
    return (enum mdg_ws_fail)d->fail;
}
/* The close code that the peer is told (1002, 1007, 1008, 1009; RFC 6455 7.4.1), and why. */
uint16_t mdg_ws_fail_code(enum mdg_ws_fail fail);
const char *mdg_ws_fail_text(enum mdg_ws_fail fail);

/* May this code stand in a close frame (RFC 6455 7.4.2 and the IANA registry)? */
bool mdg_ws_code_valid(uint16_t code);

/* The head of a frame, in its shortest form. mask: NULL for a server, four random bytes for a
 * client, who masks the payload itself (mdg_mask). Returns the head's length. */
size_t mdg_ws_enc_head(uint8_t out[MDG_WS_HEAD_MAX], enum mdg_ws_op op, bool fin, bool rsv1,
                       uint64_t len, const uint8_t *mask);
/* The payload of a close frame: nothing for code 1005, else the code and as much of the reason as
 * fits without cutting a character. Returns its length. */
size_t mdg_ws_enc_close(uint8_t out[MDG_WS_CONTROL_MAX], uint16_t code, struct mdg_slice reason);

#endif
