/* What the two TCP carriers have in common: one small object a connection. */
#ifndef MDG_TCP_LINK_H
#define MDG_TCP_LINK_H

#include "codec/line.h"
#include "transport/tcp.h"

struct mdg_tcp {
    struct mdg_link link;
    struct mdg_stream *stream;
    struct mdg_line_dec lines; /* lines only */
    uint16_t close_code;       /* what on_close will say; 0: not closed by us */
    uint8_t linger_s;
    bool paused : 1, eof : 1;
};

static_assert(sizeof(struct mdg_tcp) <= 56, "an idle TCP member costs 512 bytes in all");

/* Takes the stream over for this kind of owner. */
int mdg_tcp_new(struct mdg_stream *s, const struct mdg_tcp_config *config,
                const struct mdg_stream_user *stream_user, const struct mdg_carrier *carrier,
                const struct mdg_framing *framing, const struct mdg_link_user *user, void *user_arg,
                struct mdg_link **out) MDG_NODISCARD;
/* The owner's on_input, with its errors turned into a close. False: take no more bytes now. */
bool mdg_tcp_input(struct mdg_tcp *t, struct mdg_input in, bool binary);

/* Shared members of the tables. */
int mdg_tcp_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n);
int mdg_tcp_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta);
void mdg_tcp_close(struct mdg_link *l, int code, struct mdg_slice reason);
void mdg_tcp_pause(struct mdg_link *l, bool paused);
size_t mdg_tcp_queued(const struct mdg_link *l);
void mdg_tcp_address(const struct mdg_link *l, struct mdg_writer *w);
void mdg_tcp_on_writable(struct mdg_stream *s);
void mdg_tcp_on_eof(struct mdg_stream *s);
void mdg_tcp_on_timeout(struct mdg_stream *s);
void mdg_tcp_on_close(struct mdg_stream *s, int reason);

#endif
