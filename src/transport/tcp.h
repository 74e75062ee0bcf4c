/* Plain TCP (and unix, and TLS) connections as carriers: text lines for people and programs, and
 * the bare byte stream for dialects that frame by themselves (STOMP). */
#ifndef MDG_TRANSPORT_TCP_H
#define MDG_TRANSPORT_TCP_H

#include "base/base.h"
#include "net/stream.h"
#include "transport/link.h"

struct mdg_tcp_config {
    uint32_t
        line_bytes_max;     /* lines: a longer one is dropped, and the owner told. At most 64 KiB */
    uint32_t out_bytes_max; /* queued before MDG_E_FULL */
    uint32_t linger_s;      /* for the last bytes to arrive when we close: 1 to 255 */
};

/* Units are lines of valid UTF-8 without their ends; others come as `binary`. A line over the limit
 * comes as a unit with data NULL: say so, the connection survives. A line that is an HTTP request
 * line closes the connection: somebody makes a browser talk to us. What is sent gets its end of
 * line; line breaks inside become spaces. The stream is the carrier's on 0. MDG_E_NO_MEMORY. */
int mdg_tcp_line_accept(struct mdg_stream *s, const struct mdg_tcp_config *config,
                        const struct mdg_link_user *user, void *user_arg,
                        struct mdg_link **out) MDG_NODISCARD;
/* on_input gets pieces of the stream as they come, all bytes; what is sent goes out as it is. */
int mdg_tcp_bytes_accept(struct mdg_stream *s, const struct mdg_tcp_config *config,
                         const struct mdg_link_user *user, void *user_arg,
                         struct mdg_link **out) MDG_NODISCARD;
/* The stream below a link of this carrier: who is at the other end. */
struct mdg_stream *mdg_tcp_stream(const struct mdg_link *l);

#endif
