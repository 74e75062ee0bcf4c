/* The batched sender on io_uring. Requests carry MSG_DONTWAIT, which the kernel turns into
 * REQ_F_NOWAIT: a full socket completes with -EAGAIN at once instead of being polled, so that when
 * io_uring_submit_and_wait returns, no request refers to a buffer, a descriptor or an owner any
 * more. A serial number in user_data still guards against a completion of an earlier batch. */
#include "loop/send_batch.h"
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ENTRIES = 1024,
    IOVECS = 4096,
};

struct entry {
    void *owner;
    size_t bytes;
    struct msghdr msg; /* only when there are several iovecs */
};

struct mdg_send_batch {
    struct io_uring ring;
    bool registered; /* the ring's descriptor, with the thread that runs the batch */
    uint32_t serial;
    unsigned len, iov_len, completed;
    struct entry entries[ENTRIES];
    struct iovec iov[IOVECS];
};

/* A registered descriptor saves a look-up for each call, but belongs to the thread that registered
 * it: so this waits for the first batch, which the loop's own thread runs. */
static void register_ring(struct mdg_send_batch *b)
{
    if (b->registered)
        return;
    b->registered = true;
    if (io_uring_register_ring_fd(&b->ring) < 0) {
        /* Before Linux 5.18: works without. */
    }
}

/* The loop has moved to another thread after all. True: try again. */
static bool forget_registration(struct mdg_send_batch *b)
{
    if (b->ring.enter_ring_fd == b->ring.ring_fd)
        return false;
    b->ring.enter_ring_fd = b->ring.ring_fd;
    b->ring.int_flags = 0;
    return true;
}

static int open_ring(struct mdg_send_batch *b)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP};
    int err = io_uring_queue_init_params(ENTRIES, &b->ring, &params);
    if (err == -EINVAL) { /* before Linux 5.18 there is no SUBMIT_ALL */
        params = (struct io_uring_params){.flags = IORING_SETUP_CLAMP};
        err = io_uring_queue_init_params(ENTRIES, &b->ring, &params);
    }
    return err;
}

static void note_result(void *owner, int result, size_t bytes)
{
    *(int *)owner = result;
    (void)bytes;
}

/* Sends, and sees that a full socket is an answer and not a wait. */
static int try_it(struct mdg_send_batch *b)
{
    int pair[2], result[2] = {-EINVAL, -EINVAL};
    static uint8_t zeros[512];
    struct iovec iov[2] = {{zeros, 1}, {zeros, sizeof zeros}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    b->registered = true; /* not here */
    bool added = mdg_send_batch_add(b, pair[0], iov, 1, 1, &result[0]) &&
                 mdg_send_batch_add(b, pair[0], iov, 2, 1 + sizeof zeros, &result[1]);
    int err = added ? mdg_send_batch_run(b, note_result) : -EINVAL;
    b->registered = false;
    close(pair[0]);
    close(pair[1]);
    if (err < 0)
        return err;
    return result[0] == 1 && result[1] == 1 + (int)sizeof zeros ? 0 : -ENOSYS;
}

int mdg_send_batch_new(struct mdg_send_batch **out)
{
    struct mdg_send_batch *b = calloc(1, sizeof *b);
    if (!b)
        return MDG_E_NO_MEMORY;
    int err = open_ring(b);
    if (err < 0) {
        free(b);
        return err;
    }
    err = try_it(b);
    if (err < 0) {
        mdg_send_batch_free(b);
        return err;
    }
    *out = b;
    return 0;
}

void mdg_send_batch_free(struct mdg_send_batch *b)
{
    if (!b)
        return;
    io_uring_queue_exit(&b->ring);
    free(b);
}

bool mdg_send_batch_add(struct mdg_send_batch *b, int fd, const struct iovec *iov, size_t n,
                        size_t bytes, void *owner)
{
    if (b->len == ENTRIES || (n > 1 && b->iov_len + n > IOVECS))
        return false;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
    if (!sqe)
        return false;
    struct entry *e = &b->entries[b->len];
    e->owner = owner;
    e->bytes = bytes;
    if (n == 1) {
        io_uring_prep_send(sqe, fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        struct iovec *own = b->iov + b->iov_len;
        memcpy(own, iov, n * sizeof *iov);
        b->iov_len += (unsigned)n;
        e->msg = (struct msghdr){.msg_iov = own, .msg_iovlen = n};
        io_uring_prep_sendmsg(sqe, fd, &e->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    sqe->user_data = (uint64_t)b->serial << 32 | b->len;
    b->len++;
    return true;
}

static void reap(struct mdg_send_batch *b, void (*done)(void *, int, size_t))
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&b->ring, head, cqe)
    {
        uint32_t index = (uint32_t)cqe->user_data;
        int result = cqe->res;
        seen++;
        if (cqe->user_data >> 32 != b->serial || index >= b->len)
            continue; /* of another batch */
        b->completed++;
        done(b->entries[index].owner, result, b->entries[index].bytes);
    }
    io_uring_cq_advance(&b->ring, seen);
}

int mdg_send_batch_run(struct mdg_send_batch *b,
                       void (*done)(void *owner, int result, size_t bytes))
{
    int err = 0;
    b->completed = 0;
    register_ring(b);
    while (b->completed < b->len) {
        err = io_uring_submit_and_wait(&b->ring, b->len - b->completed);
        bool again = err == -EINTR || err == -EAGAIN || err == -EBUSY;
        if (err < 0 && !again && !forget_registration(b))
            break;
        err = 0;
        reap(b, done);
    }
    b->len = b->iov_len = 0;
    b->serial++;
    return err;
}
