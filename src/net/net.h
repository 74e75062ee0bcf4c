/* What the sockets of one loop share: the pools, the list of streams with output, the coarse
 * timeout wheel, the batched sender, the accept reserve. One per loop, same thread. */
#ifndef MDG_NET_H
#define MDG_NET_H

#include "base/base.h"

struct mdg_loop;
struct mdg_net;
struct mdg_accounts;
struct mdg_small;
struct mdg_account;
struct mdg_addr;
struct mdg_stream;

enum mdg_uring_use {
    MDG_URING_PROBE, /* use it when the kernel allows it; MADANG_IO_URING=0/1 in the environment
                        wins */
    MDG_URING_OFF,
    MDG_URING_ON, /* mdg_net_new fails when it is refused */
};

struct mdg_net_config {
    enum mdg_uring_use uring;
    size_t streams_max;  /* live streams; 0: no bound but the descriptors */
    uint32_t out_max;    /* bytes a stream may queue unless set otherwise; 0: 1 MiB */
    uint32_t unread_max; /* bytes a stream keeps that its user has not consumed; 0: 128 KiB */
    struct mdg_accounts *accounts; /* per-address counters, shared by workers; NULL: not counted */
};

/* Counted since the start; the server turns them into metrics. */
struct mdg_net_counters {
    uint64_t accepted, refused_account, refused_memory, accept_pauses;
    uint64_t in_bytes, out_bytes, reads, flushes, sends, batches;
    uint64_t streams;      /* alive now */
    uint64_t queued_bytes; /* bytes in output queues now: shared blobs count once per queue */
};

/* config NULL: defaults. -errno, MDG_E_NO_MEMORY, MDG_E_UNSUPPORTED (io_uring asked for, refused).
 */
int mdg_net_new(struct mdg_loop *loop, const struct mdg_net_config *config,
                struct mdg_net **out) MDG_NODISCARD;
/* Closes every stream (on_close with MDG_E_CLOSED) and frees. Before mdg_loop_free, outside a turn.
 * Listeners, UDP sockets and connects must be closed before. NULL is allowed. */
void mdg_net_free(struct mdg_net *net);
struct mdg_loop *mdg_net_loop(const struct mdg_net *net);
/* For the small objects of those who own streams: gone with the net, after every on_close. */
struct mdg_small *mdg_net_small(struct mdg_net *net);
/* "io_uring" or "sendmsg": how a turn's output is sent. */
const char *mdg_net_send_path(const struct mdg_net *net);
const struct mdg_net_counters *mdg_net_counters(const struct mdg_net *net);
/* Closes every stream that is open now, at the end of the turn. */
void mdg_net_close_all(struct mdg_net *net, int reason);
/* Those that have this owner now. */
struct mdg_stream_user;
void mdg_net_close_owned(struct mdg_net *net, const struct mdg_stream_user *user, int reason);

/* Calls fn for every open stream; those that are closing are left out. fn may close the stream; if
 * it changes its timeout, the stream may be met twice. */
void mdg_net_each(struct mdg_net *net, void (*fn)(struct mdg_stream *s, void *arg), void *arg);

/* Connections per client address (mdg_addr_client_key), over all workers. Any thread. */
struct mdg_accounts *mdg_accounts_new(uint32_t per_address_max, const uint64_t seed[2]);
void mdg_accounts_free(struct mdg_accounts *a); /* after every stream that was counted */
/* One more of this address, for a peer that has no connection (datagrams). *out is NULL where
 * nothing is counted. MDG_E_DENIED: it has as many as it may; MDG_E_NO_MEMORY. */
int mdg_net_count_peer(struct mdg_net *net, const struct mdg_addr *addr,
                       struct mdg_account **out) MDG_NODISCARD;
void mdg_account_put(struct mdg_account *a); /* one less; NULL is allowed */

#endif
