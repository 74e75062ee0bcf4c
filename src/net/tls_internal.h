/* The TLS filter as the stream's own files see it. */
#ifndef MDG_TLS_INTERNAL_H
#define MDG_TLS_INTERNAL_H

#include "net/internal.h"
#include "net/tls.h"
#include <openssl/ssl.h>

struct mdg_tls;

static inline bool mdg_tls_active(const struct mdg_stream *s)
{
    return s->aux && s->aux->tls;
}

/* tls_openssl.c */

/* Receives, decrypts, delivers. */
void mdg_tls_read(struct mdg_stream *s);
/* Bytes that came before TLS was started. */
void mdg_tls_feed(struct mdg_stream *s, const uint8_t *data, size_t len);
/* True: the unread bytes were such, and are used up. */
bool mdg_tls_feed_unread(struct mdg_stream *s);
/* Encrypts the queue and sends; sets MDG_STREAM_WANT_OUT like a plain send. */
void mdg_tls_flush(struct mdg_stream *s);
/* Sends close_notify. True: nothing (more) to send, or no TLS. */
bool mdg_tls_shut(struct mdg_stream *s);
/* Something is encrypted and not sent, or the handshake is not over: it cannot be moved now. */
bool mdg_tls_busy(const struct mdg_stream *s);
/* The stream ends: who waits for the handshake is told. */
void mdg_tls_closed(struct mdg_stream *s, int reason);
void mdg_tls_free(struct mdg_tls *tls); /* NULL is allowed */
void mdg_tls_scratch_free(struct mdg_net *net);

/* tls_context.c */

struct mdg_tls_set; /* the certificates as they were last loaded */

struct mdg_tls_set *mdg_tls_context_set(struct mdg_tls_context *t); /* a reference; any thread */
void mdg_tls_set_unref(struct mdg_tls_set *set);
SSL_CTX *mdg_tls_set_ctx(const struct mdg_tls_set *set); /* the default certificate's */
const BIO_METHOD *mdg_tls_context_bio(const struct mdg_tls_context *t);
bool mdg_tls_context_is_client(const struct mdg_tls_context *t);
/* Client: the name to check, and the session of the last connection to it. 0 or MDG_E_NO_MEMORY. */
int mdg_tls_context_name(struct mdg_tls_context *t, SSL *ssl, struct mdg_slice name) MDG_NODISCARD;

/* tls_openssl.c, for the context's BIO method */
int mdg_tls_bio_read(BIO *bio, char *to, int len);
int mdg_tls_bio_write(BIO *bio, const char *from, int len);
long mdg_tls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr);
int mdg_tls_bio_create(BIO *bio);

#endif
