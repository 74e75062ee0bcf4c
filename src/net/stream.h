/* A duplex byte stream: TCP, unix socket, TLS over either, or the simulation's. 80 bytes for an
 * idle connection; buffers exist only while there is something in them.
 *
 * Rules: upcalls come from the loop, never from inside a function of this file. close is
 * idempotent and asynchronous. on_close is the last upcall, exactly once, in the free phase of the
 * turn; the stream's memory is gone after it. */
#ifndef MDG_STREAM_H
#define MDG_STREAM_H

#include "base/base.h"
#include "base/blob.h"
#include "loop/loop.h"
#include "net/addr.h"

struct mdg_net;
struct mdg_stream;
struct mdg_stream_aux;
struct mdg_account;
struct mdg_tls;

/* What the owner above provides: one static const table per kind of owner. */
struct mdg_stream_user {
    const char *name;  /* for logs: "http", "ws", ... */
    uint32_t read_max; /* bytes per read; 0: the whole hot buffer (256 KiB). Keep it small while one
                        * request must not pin much memory: what is unread is kept */
    /* Bytes that arrived, unread ones first. They may be rewritten in place. Returns how many were
     * consumed; the rest is kept and offered again, in front of new bytes, once more arrive (or at
     * once after mdg_stream_adopt, or after reading is resumed). <0 closes with that reason.
     * Nothing may be assumed about alignment. in.len > 0. */
    int64_t (*on_data)(struct mdg_stream *s, struct mdg_input in);
    /* n more bytes arrived in the buffer of mdg_stream_recv_into; on_data follows with the surplus
     * if there is one. The stream has forgotten the buffer once it is full. */
    void (*on_sink)(struct mdg_stream *s, size_t n);
    /* The peer has finished sending. NULL: the stream is closed with reason 0, output queued by
     * then gets one attempt. Otherwise the owner may go on sending, and must close. */
    void (*on_eof)(struct mdg_stream *s);
    /* The queue fell under the low-water mark (a quarter of out_max) after a refused send. */
    void (*on_writable)(struct mdg_stream *s);
    /* The timeout of mdg_stream_set_timeout passed; it is off now. NULL: close, MDG_E_TIMEOUT. */
    void (*on_timeout)(struct mdg_stream *s);
    /* The last call. reason: as given to close; 0 for an orderly end by the peer; -errno; MDG_E_*.
     */
    void (*on_close)(struct mdg_stream *s, int reason);
};

enum mdg_stream_flag {
    MDG_STREAM_CLOSING = 1 << 0,   /* close was called: every operation is refused or ignored */
    MDG_STREAM_PAUSED = 1 << 1,    /* reading is off by the owner's wish */
    MDG_STREAM_WANT_OUT = 1 << 2,  /* EPOLLOUT is watched: the socket was full */
    MDG_STREAM_DIRTY = 1 << 3,     /* in the loop's list of streams to flush */
    MDG_STREAM_REFUSED = 1 << 4,   /* a send was refused: on_writable is owed */
    MDG_STREAM_EOF = 1 << 5,       /* the peer has finished sending */
    MDG_STREAM_SHUTDOWN = 1 << 6,  /* half-close wanted after the queue */
    MDG_STREAM_SHUT = 1 << 7,      /* half-close done: nothing can be sent */
    MDG_STREAM_LINGER = 1 << 8,    /* closes when the queue is empty; input is discarded */
    MDG_STREAM_REOFFER = 1 << 9,   /* unread bytes are to be offered again this turn */
    MDG_STREAM_DETACHED = 1 << 10, /* moved to another loop: ends without on_close */
    MDG_STREAM_SECURE = 1 << 11,   /* TLS */
    MDG_STREAM_IN_DATA = 1 << 12,  /* its on_data is on the call stack */
    MDG_STREAM_FAILED = 1 << 13,   /* the socket is broken: nothing can be sent */
    MDG_STREAM_YIELDED = 1 << 14,  /* unread bytes are to be offered in the next turn */
};

/* Visible so that owners can embed knowledge of its size and read user_arg without a call. Fields
 * are the net layer's; read user_arg, out_bytes, out_max and flags, write none. */
struct mdg_stream {
    struct mdg_source source;           /* -> struct mdg_stream_class: kind, loop, operations */
    const struct mdg_stream_user *user; /* never NULL */
    void *user_arg;
    struct mdg_list link;       /* a slot of the timeout wheel, the idle list or the closing list */
    struct mdg_stream_aux *aux; /* output queue, unread input, TLS; NULL when there is nothing */
    struct mdg_account *account;
    int32_t fd;         /* -1: none (simulation) */
    uint32_t due_s;     /* timeout, loop seconds; 0: none. While closing: the reason */
    uint32_t out_bytes; /* queued, not yet taken by the kernel */
    uint32_t out_max;
    uint16_t flags; /* enum mdg_stream_flag */
    uint8_t wheel_slot;
    uint8_t watching;    /* 1: for input, 2: for output */
    uint32_t generation; /* tells a late completion from the stream that reuses the memory */
};

static_assert(sizeof(struct mdg_stream) <= 80, "an idle connection costs 80 bytes here");

struct mdg_loop *mdg_stream_loop(const struct mdg_stream *s);
struct mdg_net *mdg_stream_net(const struct mdg_stream *s);
const char *mdg_stream_kind(const struct mdg_stream *s); /* "tcp", "unix", "tls", "sim" */

static inline bool mdg_stream_closing(const struct mdg_stream *s)
{
    return (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER)) != 0;
}

static inline bool mdg_stream_secure(const struct mdg_stream *s)
{
    return (s->flags & MDG_STREAM_SECURE) != 0;
}

/* Sending: one system call per stream and turn, or one for all of them (io_uring). */

/* Queues all n chunks or none. On 0 their references move to the stream (blob pointers become
 * NULL); otherwise they stay with the caller. MDG_E_FULL: beyond out_max; on_writable will follow
 * (an empty queue accepts one unit of any size). MDG_E_CLOSED, MDG_E_NO_MEMORY. */
int mdg_stream_send(struct mdg_stream *s, struct mdg_chunk *chunks, size_t n) MDG_NODISCARD;
/* The same for bytes that the caller keeps. Small ones are copied. Slices of 1 KiB or more that lie
 * inside the input of the on_data now on the stack are borrowed, and sent as soon as that on_data
 * returns: do not change those bytes after this call (several writes are one system call, and an
 * echo of a large frame copies nothing). Errors as above. */
int mdg_stream_write(struct mdg_stream *s, const struct mdg_slice *parts, size_t n) MDG_NODISCARD;
/* on_writable is owed as if a send had been refused: once the queue is under the low-water mark. */
static inline void mdg_stream_want_writable(struct mdg_stream *s)
{
    s->flags |= MDG_STREAM_REFUSED;
}
void mdg_stream_set_out_max(struct mdg_stream *s, uint32_t bytes);

/* Receiving. */

/* The next `len` bytes go straight into buf, without passing through on_data: a long message whose
 * length is known is copied once, by the kernel. From on_data or on_sink only; the bytes that the
 * present on_data leaves unconsumed count first (they are copied to buf when it returns). buf stays
 * valid until it is full, mdg_stream_recv_into(s, NULL, 0), or on_close. */
void mdg_stream_recv_into(struct mdg_stream *s, uint8_t *buf, size_t len);
/* What was read gets no answer for now: TCP tells the peer at once that it came, not 40 ms later. A
 * client that leaves Nagle's algorithm on (RFC 896) holds back its next small frame until then.
 * Does nothing while there is output, which carries the acknowledgement, or without TCP. */
void mdg_stream_acknowledge(struct mdg_stream *s);
/* Paused: nothing is read, the peer is slowed down by TCP; unread bytes are not offered. */
void mdg_stream_pause_read(struct mdg_stream *s, bool paused);
/* From on_data, by an owner that has had its share of this turn: what it leaves unconsumed is
 * offered again in the next one, when others have been served, and nothing more is read until then.
 */
void mdg_stream_yield(struct mdg_stream *s);
/* Changes the owner (upgrade after 101, sniffed protocol). Unread bytes, those not consumed by an
 * on_data on the stack included, are offered to the new owner in the same turn. The old owner hears
 * nothing more. The timeout stays. */
void mdg_stream_adopt(struct mdg_stream *s, const struct mdg_stream_user *user, void *user_arg);

/* Ending. */

/* At the end of this turn, after one attempt to flush: on_close(reason), then the descriptor is
 * closed. Idempotent: the first reason counts. */
void mdg_stream_close(struct mdg_stream *s, int reason);
/* Closes once the queue is empty and the peer has closed too (or timeout_s passed): the last bytes
 * are not destroyed by a reset (RFC 9112 9.6). Input is discarded meanwhile. The owner gets no
 * upcall but on_close. */
void mdg_stream_finish(struct mdg_stream *s, int reason, uint32_t timeout_s);
/* Half-close: sends FIN (TLS: close_notify) after the queue; reading goes on. */
void mdg_stream_shutdown(struct mdg_stream *s);
/* on_timeout after `seconds` (1 s resolution, never early); 0: off. Cheap enough for every message:
 * a later deadline only writes a field. */
void mdg_stream_set_timeout(struct mdg_stream *s, uint32_t seconds);

/* Who is at the other end: getpeername on demand, or what the PROXY protocol said. -errno. */
int mdg_stream_peer(const struct mdg_stream *s, struct mdg_addr *out) MDG_NODISCARD;
int mdg_stream_local(const struct mdg_stream *s, struct mdg_addr *out) MDG_NODISCARD;
/* Whether mdg_stream_set_peer said who the peer is: it is behind a proxy. */
bool mdg_stream_proxied(const struct mdg_stream *s);
/* Whether the peer has hung up, be it that the loop has not come to it yet: a system call that
 * tells which of two connections ended first, where order matters between them. */
bool mdg_stream_hung_up(const struct mdg_stream *s);
/* MDG_E_DENIED when the real client has too many connections (its account replaces the proxy's),
 * MDG_E_NO_MEMORY. The caller closes then. */
int mdg_stream_set_peer(struct mdg_stream *s, const struct mdg_addr *peer,
                        const struct mdg_addr *local) MDG_NODISCARD;

/* Moving a connection to another loop. Everything that belongs to it, in transit. */
struct mdg_moved {
    int fd;
    bool is_unix;
    struct mdg_account *account;
    struct mdg_tls *tls;     /* NULL: plain */
    struct mdg_blob *unread; /* NULL: none */
    struct mdg_addr *peer;   /* two of them (peer, local) or NULL: not overridden */
    uint32_t out_max;
};

/* Not while output is queued or a sink is set: MDG_E_FULL. `consumed`: how much of the input of its
 * on_data now on the stack is used up (that on_data's result is ignored then); 0 elsewhere. On 0
 * the stream is gone at the end of the turn without on_close. MDG_E_CLOSED, MDG_E_NO_MEMORY. */
int mdg_stream_detach(struct mdg_stream *s, size_t consumed, struct mdg_moved *out) MDG_NODISCARD;
/* On the new loop's thread. Unread bytes are offered in the same turn. On error the connection is
 * closed and *m is released. */
int mdg_stream_attach(struct mdg_net *net, struct mdg_moved *m, const struct mdg_stream_user *user,
                      void *user_arg, struct mdg_stream **out) MDG_NODISCARD;
/* Closes the connection in transit that nobody will attach. */
void mdg_moved_drop(struct mdg_moved *m);
/* A connected, non-blocking stream socket of the caller's becomes a stream (tests, socketpair). On
 * error the descriptor stays the caller's. */
int mdg_stream_from_fd(struct mdg_net *net, int fd, const struct mdg_stream_user *user,
                       void *user_arg, struct mdg_stream **out) MDG_NODISCARD;

#endif
