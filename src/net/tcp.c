/* The bottom of a stream on a socket: TCP and unix. One receive and one send call each; which
 * options a connection has was decided by its listener, from which it inherits them. */
#include "net/internal.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not recv and send: those are cancellation points, which in a process with threads costs two
 * locked instructions each. */
static ssize_t raw_recv(int fd, void *to, size_t len)
{
    return syscall(SYS_recvfrom, fd, to, len, MSG_DONTWAIT, NULL, NULL);
}

static ssize_t raw_send(int fd, const void *from, size_t len)
{
    return syscall(SYS_sendto, fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
}

static ssize_t fd_recv(struct mdg_stream *s, struct iovec *iov, int n)
{
    ssize_t got;
    do {
        got = n == 1 ? raw_recv(s->fd, iov->iov_base, iov->iov_len) : readv(s->fd, iov, n);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t fd_send(struct mdg_stream *s, struct iovec *iov, int n)
{
    ssize_t sent;
    do {
        if (n == 1) {
            sent = raw_send(s->fd, iov->iov_base, iov->iov_len);
        } else {
            struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
            sent = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static int fd_watch(struct mdg_stream *s, uint32_t events, bool again)
{
    struct mdg_loop *loop = mdg_net_of(s)->loop;
    return again ? mdg_loop_rewatch(loop, &s->source, s->fd, events)
                 : mdg_loop_watch(loop, &s->source, s->fd, events);
}

static void fd_shut(struct mdg_stream *s)
{
    shutdown(s->fd, SHUT_WR);
}

static void fd_close(struct mdg_stream *s)
{
    if (s->fd >= 0)
        close(s->fd); /* leaves the epoll set by itself */
    s->fd = -1;
}

static int fd_error(struct mdg_stream *s)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    return -err;
}

void mdg_stream_acknowledge(struct mdg_stream *s)
{
    int on = 1;
    bool tcp = mdg_class(s)->transport == &mdg_transport_tcp;
    if (tcp && s->fd >= 0 && s->out_bytes == 0)
        setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

const struct mdg_transport mdg_transport_tcp = {
    .name = "tcp",
    .recv = fd_recv,
    .send = fd_send,
    .watch = fd_watch,
    .shut = fd_shut,
    .close = fd_close,
    .error = fd_error,
    .plain_fd = true,
};

const struct mdg_transport mdg_transport_unix = {
    .name = "unix",
    .recv = fd_recv,
    .send = fd_send,
    .watch = fd_watch,
    .shut = fd_shut,
    .close = fd_close,
    .error = fd_error,
    .plain_fd = true,
};
