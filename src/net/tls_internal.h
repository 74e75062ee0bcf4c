/* The TLS filter as the stream's own files see it. */
#ifndef MDG_TLS_INTERNAL_H
#define MDG_TLS_INTERNAL_H

#include "net/tls.h"

struct mdg_tls;
struct mdg_stream;

/* Receives, decrypts, delivers. */
void mdg_tls_read(struct mdg_stream *s);
/* Decrypts what was received but not processed (resumed reading, moved connection). */
void mdg_tls_read_pending(struct mdg_stream *s);
/* Encrypts the queue and sends; sets MDG_STREAM_WANT_OUT like a plain send. */
void mdg_tls_flush(struct mdg_stream *s);
/* Queues close_notify. True: nothing (more) to send, or no TLS. */
bool mdg_tls_shut(struct mdg_stream *s);
/* Something is encrypted and not sent, or the handshake is not over: it cannot be moved now. */
bool mdg_tls_busy(const struct mdg_stream *s);
/* It belongs to this stream from now on. */
void mdg_tls_moved(struct mdg_tls *tls, struct mdg_stream *s);
/* NULL is allowed. */
void mdg_tls_free(struct mdg_tls *tls);

#endif
