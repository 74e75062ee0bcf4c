/* Socket addresses: parse, print, compare, and the key by which connections are counted. */
#ifndef MDG_ADDR_H
#define MDG_ADDR_H

#include "base/base.h"
#include "base/writer.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct mdg_addr {
    socklen_t len; /* 0: none (an unnamed unix peer) */
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

enum {
    MDG_ADDR_TEXT_MAX = 128, /* "[v6%scope]:65535", or "unix:" and a path */
    MDG_ADDR_KEY_MAX = 20,   /* family, 16 bytes, port */
};

/* "1.2.3.4", "[::1]" or "::1" and a port; numeric only, never asks a resolver. MDG_E_SYNTAX. */
int mdg_addr_parse_ip(struct mdg_addr *a, struct mdg_slice host, uint16_t port) MDG_NODISCARD;
/* "1.2.3.4:80", "[::1]:80", ":80" and "*:80" (any address, IPv6 where there is one). MDG_E_SYNTAX.
 */
int mdg_addr_parse(struct mdg_addr *a, struct mdg_slice text) MDG_NODISCARD;
/* A file system path, or "@name" for the abstract namespace. MDG_E_TOO_BIG. */
int mdg_addr_unix(struct mdg_addr *a, struct mdg_slice path) MDG_NODISCARD;
/* From raw network-order bytes (PROXY protocol v2): ip_len 4 or 16. */
void mdg_addr_from_bytes(struct mdg_addr *a, const uint8_t *ip, size_t ip_len, uint16_t port);
/* From what the kernel or a resolver gave. */
void mdg_addr_from_sockaddr(struct mdg_addr *a, const struct sockaddr *sa, socklen_t len);

uint16_t mdg_addr_port(const struct mdg_addr *a); /* 0: has none */
void mdg_addr_set_port(struct mdg_addr *a, uint16_t port);
/* With the port: "1.2.3.4:80", "[::1]:80", "unix:/path". An IPv4-mapped address prints as IPv4. */
void mdg_addr_write(struct mdg_writer *w, const struct mdg_addr *a);
/* Without the port and brackets. */
void mdg_addr_write_ip(struct mdg_writer *w, const struct mdg_addr *a);
bool mdg_addr_eq(const struct mdg_addr *a, const struct mdg_addr *b);
/* A canonical key with the port, for a map of UDP peers: the number of bytes written. */
size_t mdg_addr_key(const struct mdg_addr *a, uint8_t out[MDG_ADDR_KEY_MAX]);
/* The key by which clients are counted: the IPv4 address, the /64 of an IPv6 address (one customer
 * commands 2^64 of them), nothing for unix sockets (0). */
size_t mdg_addr_client_key(const struct mdg_addr *a, uint8_t out[MDG_ADDR_KEY_MAX]);
bool mdg_addr_is_loopback(const struct mdg_addr *a);

/* "10.0.0.0/8", "::1", "fd00::/8": a network of addresses (trusted proxies). */
struct mdg_cidr {
    uint8_t ip[16]; /* IPv4 is kept as ::ffff:a.b.c.d */
    uint8_t bits;   /* 0..128 */
};
int mdg_cidr_parse(struct mdg_cidr *c, struct mdg_slice text) MDG_NODISCARD; /* MDG_E_SYNTAX */
bool mdg_cidr_has(const struct mdg_cidr *c, const struct mdg_addr *a);

#endif
