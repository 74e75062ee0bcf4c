/* Outgoing connections: by address, by name (resolved on a helper thread), to a unix socket,
 * through an HTTP CONNECT proxy (RFC 9110 9.3.6), with TLS on top; one deadline over all of it. */
#ifndef MDG_CONNECT_H
#define MDG_CONNECT_H

#include "base/base.h"
#include "net/addr.h"

struct mdg_net;
struct mdg_stream;
struct mdg_stream_user;
struct mdg_tls_context;
struct mdg_connect;

struct mdg_connect_config {
    struct mdg_slice host; /* a name or a numeric address without brackets */
    uint16_t port;
    struct mdg_slice unix_path;  /* len > 0: instead of host and port */
    struct mdg_slice proxy_host; /* len > 0: ask this HTTP proxy for a tunnel */
    uint16_t proxy_port;
    struct mdg_slice proxy_credentials; /* "user:password" for Basic (RFC 7617), or empty */
    struct mdg_tls_context *tls;        /* NULL: plain */
    struct mdg_slice server_name;       /* SNI and certificate check; empty: host */
    uint32_t timeout_ms;                /* 0: 10 s */
};

/* err 0: s is connected (and TLS is established), its owner is the one given below. Otherwise s is
 * NULL: -errno, MDG_E_TIMEOUT, MDG_E_NOT_FOUND (no such name), MDG_E_DENIED (the proxy refused, or
 * the certificate is not good), MDG_E_PROTO. Called once, never from inside mdg_connect_start. */
typedef void (*mdg_connected_fn)(void *arg, int err, struct mdg_stream *s);

/* Addresses are tried in the order of RFC 6724, each for a share of the time left. The slices are
 * copied. */
int mdg_connect_start(struct mdg_net *net, const struct mdg_connect_config *config,
                      const struct mdg_stream_user *user, void *user_arg, mdg_connected_fn done,
                      void *arg, struct mdg_connect **out) MDG_NODISCARD;
/* Before `done`: it is not called any more. */
void mdg_connect_cancel(struct mdg_connect *c);

#endif
