/* What the files of src/net share and nobody above them sees. */
#ifndef MDG_NET_INTERNAL_H
#define MDG_NET_INTERNAL_H

#include "base/pool.h"
#include "net/net.h"
#include "net/stream.h"
#include <sys/uio.h>

struct mdg_send_batch;
struct mdg_sim;
struct mdg_udp_wire;

/* The bottom of a stream: sockets, or the simulation. Results are byte counts or -errno. */
struct mdg_transport {
    const char *name;
    ssize_t (*recv)(struct mdg_stream *s, struct iovec *iov, int n);
    ssize_t (*send)(struct mdg_stream *s, struct iovec *iov, int n);
    int (*watch)(struct mdg_stream *s, uint32_t events, bool again);
    void (*shut)(struct mdg_stream *s); /* no more sending */
    void (*close)(struct mdg_stream *s);
    int (*error)(struct mdg_stream *s); /* why it broke: 0 or -errno */
    bool plain_fd;                      /* may go into the io_uring batch */
};

struct mdg_stream_class {
    struct mdg_source_ops source; /* first: streams point at it as their source's operations */
    const struct mdg_transport *transport;
    struct mdg_net *net;
};

/* An entry of an output queue. ref is a blob (counted), or with its lowest bit set an address in
 * the turn's arena or in the hot buffer, which must not outlive the flush. */
struct mdg_out {
    uintptr_t ref;
    uint32_t off, len;
};

enum {
    MDG_OUT_INLINE = 16,          /* a burst of 16 messages needs no allocation */
    MDG_BORROW_MIN = 1024,        /* below, copying is cheaper than one more iovec */
    MDG_COPY_OWN_MIN = 16 * 1024, /* a longer copy gets its own blob instead of arena space */
    MDG_IOV_PER_CALL = 128,
    MDG_WHEEL_SLOTS = 64, /* one per second */
    MDG_WHEEL_IDLE = 255, /* wheel_slot of a stream without timeout */
    MDG_DIRTY_MAX = 1024, /* streams with output that wait for the end of the turn */
};

struct mdg_stream_aux {
    struct mdg_out *out; /* own_out, or allocated when a queue is long */
    uint32_t out_head, out_len, out_cap;
    uint32_t unread_len, unread_cap;
    int32_t finish_reason;
    uint8_t *unread;
    uint8_t *sink; /* NULL: none */
    size_t sink_left;
    struct mdg_tls *tls;
    struct mdg_addr *peer;       /* peer and local as the PROXY protocol said */
    struct mdg_stream_aux *next; /* on the shelf */
    struct mdg_out own_out[MDG_OUT_INLINE];
};

/* Bytes of one turn: copies of small writes. */
struct mdg_arena_block {
    struct mdg_arena_block *next;
    uint32_t used, cap;
    uint8_t data[];
};

/* A growing array of streams. */
struct mdg_stream_row {
    struct mdg_stream **at;
    size_t len, cap;
};

struct mdg_net {
    struct mdg_loop *loop;
    struct mdg_phase phase;
    struct mdg_stream_class tcp, un;
    struct mdg_pool streams, auxes;
    struct mdg_small small;                     /* of the streams' owners */
    struct mdg_stream_aux *shelf;               /* ready for use, without being zeroed again */
    struct mdg_stream_row dirty, reoffer, owed; /* owed: on_writable */
    struct mdg_stream_row yielded;
    struct mdg_timer yield_timer; /* the next turn */
    size_t flush_at;              /* so many dirty streams are flushed before the turn ends */
    bool flushing;
    struct mdg_defer reoffer_defer;
    struct mdg_list closing, idle, wheel[MDG_WHEEL_SLOTS];
    struct mdg_timer wheel_timer;
    uint32_t wheel_s; /* the second up to which the wheel has been served */
    uint32_t out_max, unread_max;
    struct mdg_arena_block *arena; /* of this turn, the current block first */
    struct mdg_arena_block *arena_spare;
    unsigned arena_spares;
    struct mdg_send_batch *batch; /* NULL: sendmsg */
    struct mdg_accounts *accounts;
    struct mdg_net_counters counters;
    uint32_t generation;
    /* Who was accepted last: most requests come with the connection, and their handlers ask. */
    uint32_t accepted_generation;
    struct mdg_addr accepted_from;
    uint8_t *hot;
    size_t hot_bytes;
    /* The on_data on the stack. */
    struct mdg_stream *in_stream;
    uint8_t *in_data;
    size_t in_len;
    bool borrowed;
    struct mdg_tls_scratch *tls_scratch; /* made on first use */
    struct mdg_list udp_dirty, udp_closing;
    const struct mdg_udp_wire *udp_wire;
    struct mdg_sim *sim;         /* NULL: the kernel carries */
    struct mdg_mailbox *mailbox; /* of resolver threads; made on first use */
    /* Listeners that wait for descriptors. */
    struct mdg_list starved;
};

static inline struct mdg_stream_class *mdg_class(const struct mdg_stream *s)
{
    return MDG_CONTAINER_OF(s->source.ops, struct mdg_stream_class, source);
}

static inline struct mdg_net *mdg_net_of(const struct mdg_stream *s)
{
    return mdg_class(s)->net;
}

/* stream.c */
struct mdg_stream *mdg_stream_new(struct mdg_net *net, struct mdg_stream_class *cls, int fd,
                                  const struct mdg_stream_user *user, void *user_arg) MDG_NODISCARD;
void mdg_stream_free(struct mdg_stream *s); /* without upcalls; closes the descriptor */
struct mdg_stream_aux *mdg_stream_aux_get(struct mdg_stream *s) MDG_NODISCARD;
void mdg_stream_aux_tidy(struct mdg_stream *s); /* gives it back when there is nothing in it */
/* Changes what epoll watches, when that differs. */
enum { MDG_WATCH_IN = 1, MDG_WATCH_OUT = 2 };
void mdg_stream_interest(struct mdg_stream *s, bool in, bool out);
void mdg_stream_disown(struct mdg_stream *s); /* it has no owner any more: nobody hears of it */
void mdg_stream_end(struct mdg_stream *s);    /* end of a LINGER: closes with its reason */
int mdg_row_push(struct mdg_stream_row *row, struct mdg_stream *s) MDG_NODISCARD;
void mdg_row_drop(struct mdg_stream_row *row, size_t n); /* the first n */

/* stream_in.c */
void mdg_stream_ready(struct mdg_source *src, uint32_t events);
void mdg_stream_read(struct mdg_stream *s);
/* Gives bytes to the owner and keeps the rest. */
void mdg_stream_deliver(struct mdg_stream *s, uint8_t *data, size_t len);
void mdg_stream_at_eof(struct mdg_stream *s);
void mdg_stream_reoffer(struct mdg_stream *s); /* schedules */
void mdg_net_run_yielded(struct mdg_timer *t, void *net);
void mdg_net_run_reoffers(struct mdg_loop *loop, void *net);

/* stream_out.c */
void mdg_stream_mark(struct mdg_stream *s); /* dirty */
void mdg_stream_flush_now(struct mdg_stream *s);
void mdg_stream_drop_out(struct mdg_stream *s);
void mdg_net_flush(struct mdg_net *net);
size_t mdg_out_gather(const struct mdg_stream *s, struct iovec *iov, size_t max, size_t *bytes);
const uint8_t *mdg_out_data(const struct mdg_out *o);
void mdg_stream_send_failed(struct mdg_stream *s, int err);
void mdg_out_consumed(struct mdg_stream *s, size_t n);
void mdg_net_arena_free(struct mdg_net *net);

/* wheel.c */
void mdg_wheel_init(struct mdg_net *net);
void mdg_wheel_add(struct mdg_stream *s); /* by due_s */
void mdg_wheel_close_all(struct mdg_net *net, const struct mdg_stream_user *user, int reason);

/* account.c */
int mdg_account_get(struct mdg_accounts *a, const struct mdg_addr *addr,
                    struct mdg_account **out) MDG_NODISCARD; /* MDG_E_DENIED, MDG_E_NO_MEMORY */

/* tcp.c */
extern const struct mdg_transport mdg_transport_tcp, mdg_transport_unix;

/* udp.c */
void mdg_udp_flush_all(struct mdg_net *net);
void mdg_udp_free_closed(struct mdg_net *net);

/* listener.c */
void mdg_listeners_retry(struct mdg_net *net);

#endif
