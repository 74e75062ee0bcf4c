/* Listening sockets: TCP on IPv4 and IPv6, unix, or a descriptor that was inherited (socket
 * activation). Accepts in a loop up to a budget per turn, sets nothing per connection (options are
 * inherited from the listener) and tries a read at once. When descriptors run out, accepting pauses
 * and resumes by itself, and says so once. */
#ifndef MDG_LISTENER_H
#define MDG_LISTENER_H

#include "base/base.h"
#include "net/addr.h"

struct mdg_net;
struct mdg_stream;
struct mdg_stream_user;
struct mdg_listener;

enum mdg_listener_notice {
    MDG_LISTENER_PAUSED,  /* no descriptors or memory: err says which; told once per episode */
    MDG_LISTENER_RESUMED, /* accepting again */
    MDG_LISTENER_REFUSED, /* a client address has too many connections (told at most once a second)
                           */
};

struct mdg_listener_user {
    /* A new connection. Set its owner with mdg_stream_adopt here (until then input is not read and
     * close is silent); an immediate read follows. Downcalls on the stream are allowed. */
    void (*on_accept)(struct mdg_listener *l, struct mdg_stream *s, void *arg);
    void (*on_notice)(struct mdg_listener *l, enum mdg_listener_notice n, int err, void *arg);
};

struct mdg_listener_config {
    struct mdg_addr addr;
    int inherited_fd; /* 0 or below: none. Otherwise a bound, listening socket; addr is ignored */
    int backlog;      /* 0: 4096 (the kernel caps it at net.core.somaxconn) */
    bool reuse_port;  /* several workers on one port; the first may have bound port 0 */
    bool v6_only;
    uint32_t unix_mode;        /* permissions of a unix socket's file; 0: 0660 */
    uint32_t accepts_per_turn; /* 0: 64 */
    uint32_t keepalive_s;      /* of silence before the kernel looks for the peer; 0: never */
};

/* -errno: EADDRINUSE, EACCES, ... A stale unix socket file (nobody answers) is replaced. */
int mdg_listener_new(struct mdg_net *net, const struct mdg_listener_config *config,
                     const struct mdg_listener_user *user, void *arg,
                     struct mdg_listener **out) MDG_NODISCARD;
/* Stops accepting; connections stay. Freed at the end of the turn. NULL is allowed. */
void mdg_listener_close(struct mdg_listener *l);
/* The bound address: tells the port that was picked for port 0. */
const struct mdg_addr *mdg_listener_addr(const struct mdg_listener *l);
/* Stops and resumes accepting (drain, too many connections). */
void mdg_listener_pause(struct mdg_listener *l, bool paused);
/* The descriptor, to pass on to a successor process. */
int mdg_listener_fd(const struct mdg_listener *l);

#endif
