/* The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol", 2020/03/05): a header
 * that a trusted balancer puts before everything else, with the address of the real client. */
#ifndef MDG_CODEC_PROXY_H
#define MDG_CODEC_PROXY_H

#include "base/base.h"

enum {
    MDG_PROXY_V1_BYTES_MAX = 107, /* section 2.1, CR LF included */
    /* The format allows 65,551 bytes of v2; addresses and a few short TLVs are all that is
     * needed, so that the sender cannot make us keep more. */
    MDG_PROXY_BYTES_MAX = 2048,
};

enum mdg_proxy_family { MDG_PROXY_UNKNOWN, MDG_PROXY_IP4, MDG_PROXY_IP6, MDG_PROXY_UNIX };

struct mdg_proxy_addr {
    uint8_t ip[16]; /* network order; IPv4 in the first four */
    uint16_t port;  /* host order */
};

struct mdg_proxy {
    /* UNKNOWN (also v2 LOCAL: the balancer's own health check): keep the connection's own
     * addresses. */
    enum mdg_proxy_family family;
    struct mdg_proxy_addr source, destination;
};

/* >0: length of the header; *out is filled. 0: feed more (the same bytes again). MDG_E_PROTO: not
 * a PROXY header. MDG_E_TOO_BIG: a v2 header over MDG_PROXY_BYTES_MAX. */
int mdg_proxy_parse(struct mdg_slice in, struct mdg_proxy *out) MDG_NODISCARD;

#endif
