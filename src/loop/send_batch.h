/* Many sends in one system call: io_uring SEND and SENDMSG on plain descriptors. Every request is
 * marked not to wait, so each one is complete when the call returns: nothing is in flight when a
 * descriptor is closed or its number reused. */
#ifndef MDG_SEND_BATCH_H
#define MDG_SEND_BATCH_H

#include "base/base.h"
#include <sys/uio.h>

struct mdg_send_batch;

/* -errno: the kernel, a seccomp profile or kernel.io_uring_disabled refuses. Sends once over a
 * socket pair to be sure. */
int mdg_send_batch_new(struct mdg_send_batch **out) MDG_NODISCARD;
void mdg_send_batch_free(struct mdg_send_batch *b); /* NULL is allowed */
/* The iovecs are copied; the bytes must stay until the run. False: full, run first. */
bool mdg_send_batch_add(struct mdg_send_batch *b, int fd, const struct iovec *iov, size_t n,
                        size_t bytes, void *owner);
/* Sends all that was added and calls done for each: result is a byte count or -errno. 0, or -errno
 * when the ring fails: then done was called for those that completed. */
int mdg_send_batch_run(struct mdg_send_batch *b,
                       void (*done)(void *owner, int result, size_t bytes)) MDG_NODISCARD;

#endif
