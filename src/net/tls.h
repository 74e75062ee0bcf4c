/* TLS 1.2 and 1.3 (OpenSSL 3) in place on a stream: the stream object, its owner and its interface
 * stay the same, bytes are encrypted between its queue and the socket. */
#ifndef MDG_TLS_H
#define MDG_TLS_H

#include "base/base.h"

struct mdg_stream;
struct mdg_tls_context;
struct mdg_tls_certs;

struct mdg_tls_cert_files {
    const char *cert_path; /* PEM, leaf first, then the chain */
    const char *key_path;  /* PEM */
};

struct mdg_tls_config {
    const struct mdg_tls_cert_files
        *certs; /* server: the first is the default, SNI picks another */
    size_t certs_len;
    bool client;
    bool verify;         /* client: check the chain and the name */
    const char *ca_path; /* client: PEM file; NULL: the system's */
    const char *alpn;    /* NULL: "http/1.1"; "": none offered */
};

/* Shared by workers, any thread. errbuf gets a sentence with the file and OpenSSL's reason.
 * -errno (unreadable file), MDG_E_SYNTAX (bad PEM, key and certificate differ), MDG_E_NO_MEMORY. */
int mdg_tls_context_new(const struct mdg_tls_config *config, struct mdg_tls_context **out,
                        char *errbuf, size_t errbuf_len) MDG_NODISCARD;
void mdg_tls_context_ref(struct mdg_tls_context *t);
void mdg_tls_context_unref(struct mdg_tls_context *t); /* NULL is allowed */
/* Reads the files again; connections keep what they have, tickets stay valid. On error the old
 * certificates stay. Any thread. */
int mdg_tls_context_reload(struct mdg_tls_context *t, char *errbuf,
                           size_t errbuf_len) MDG_NODISCARD;

/* From now on tickets are sealed with a new key; those of the key before it count still, older ones
 * do not. Who copies the server's memory can read no recording older than two of these (RFC
 * 5077 5.5, RFC 8446 C.4). Any thread. MDG_E_UNSUPPORTED: no random numbers; the key stays. */
int mdg_tls_context_rotate(struct mdg_tls_context *t) MDG_NODISCARD;

/* Starts the server side on a plain stream; what is unread (the ClientHello) is used. From then on
 * on_data sees plain text. A failed handshake closes with MDG_E_PROTO.
 * MDG_E_NO_MEMORY; MDG_E_FULL: plain output is queued that the socket does not take. */
int mdg_tls_accept(struct mdg_stream *s, struct mdg_tls_context *t) MDG_NODISCARD;
/* Starts the client side. on_secure(arg, err) is called once: 0, MDG_E_DENIED (certificate), or the
 * reason of a close. It may be NULL. */
int mdg_tls_connect(struct mdg_stream *s, struct mdg_tls_context *t, struct mdg_slice server_name,
                    void (*on_secure)(void *arg, int err), void *arg) MDG_NODISCARD;
/* "TLSv1.3" and the like; NULL for a plain stream. */
const char *mdg_tls_version(const struct mdg_stream *s);
bool mdg_tls_resumed(const struct mdg_stream *s);

/* Makes a self-signed certificate for localhost, 127.0.0.1, ::1 and `host` (may be NULL) with a
 * fresh P-256 key in two files of mode 0600. -errno, MDG_E_NO_MEMORY. */
int mdg_tls_dev_cert(const char *cert_path, const char *key_path, const char *host) MDG_NODISCARD;

#endif
