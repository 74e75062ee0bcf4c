/* What TLS connections share: certificates (several, chosen by SNI), ticket keys, options. A reload
 * makes a new set beside the old one; connections keep the set that they began with. */
#include "net/tls_internal.h"
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CERTS_MAX = 64,
    TICKET_NAME_BYTES = 16, /* SSL_CTX_set_tlsext_ticket_key_evp_cb(3) */
    NAME_MAX_BYTES = 255,   /* RFC 1035 2.3.4 */
};

/* RFC 5077 4: the ticket names the key that sealed it. */
struct ticket_key {
    uint8_t name[TICKET_NAME_BYTES], hmac[32], aes[32];
};

struct mdg_tls_set {
    atomic_uint refs;
    size_t len;
    SSL_CTX *ctx[CERTS_MAX];
};

struct mdg_tls_context {
    atomic_uint refs;
    bool client, verify;
    BIO_METHOD *bio;
    struct ticket_key ticket_keys[2]; /* the present one and the one before it */
    uint8_t alpn[256];                /* length-prefixed, one name */
    unsigned alpn_len;
    char *ca_path;
    struct mdg_tls_cert_files certs[CERTS_MAX]; /* own copies of the paths */
    size_t certs_len;
    pthread_mutex_t lock; /* set, session, ticket_keys */
    struct mdg_tls_set *set;
    SSL_SESSION *session; /* client: of the last connection, and to whom */
    char session_name[NAME_MAX_BYTES + 1];
};

static void explain(char *errbuf, size_t len, const char *what, const char *file)
{
    char reason[160] = "";
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    else if (errno)
        snprintf(reason, sizeof reason, "%s", strerror(errno));
    if (len)
        snprintf(errbuf, len, "%s%s%s%s%s", what, file ? " " : "", file ? file : "",
                 reason[0] ? ": " : "", reason);
    ERR_clear_error();
}

void mdg_tls_set_unref(struct mdg_tls_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < set->len; i++)
        SSL_CTX_free(set->ctx[i]);
    free(set);
}

/* RFC 6066 3: the certificate whose names match; otherwise the first. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct mdg_tls_set *set = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (size_t i = 0; name && i < set->len; i++) {
        X509 *cert = SSL_CTX_get0_certificate(set->ctx[i]);
        if (cert && X509_check_host(cert, name, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, set->ctx[i]);
            break;
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301 3.2: no protocol in common is fatal. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    const struct mdg_tls_context *t = arg;
    (void)ssl;
    for (unsigned at = 0; at < in_len; at += in[at] + 1u) {
        if (in[at] + 1u == t->alpn_len && at + t->alpn_len <= in_len &&
            memcmp(in + at, t->alpn, t->alpn_len) == 0) {
            *out = in + at + 1;
            *out_len = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* OpenSSL keeps a reference when 1 is returned. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct mdg_tls_context *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name || strlen(name) > NAME_MAX_BYTES)
        return 0;
    pthread_mutex_lock(&t->lock);
    SSL_SESSION_free(t->session);
    t->session = session;
    snprintf(t->session_name, sizeof t->session_name, "%s", name);
    pthread_mutex_unlock(&t->lock);
    return 1;
}

/* The key of a ticket, or for a new one. Returns which of them, or -1. */
static int find_ticket_key(struct mdg_tls_context *t, const uint8_t *name, struct ticket_key *out)
{
    int found = -1;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < 2 && found < 0; i++) {
        if (!name || memcmp(t->ticket_keys[i].name, name, TICKET_NAME_BYTES) == 0) {
            *out = t->ticket_keys[i];
            found = i;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool set_hmac(EVP_MAC_CTX *hmac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(hmac, params) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it: 1 good, 2 good but to be sealed anew, 0 the
 * client begins without its ticket, -1 the handshake fails. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *aes,
                     EVP_MAC_CTX *hmac, int sealing)
{
    struct mdg_tls_context *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    int which = find_ticket_key(t, sealing ? NULL : name, &key);
    if (which < 0)
        return 0;
    bool ok = set_hmac(hmac, &key);
    if (sealing) {
        memcpy(name, key.name, TICKET_NAME_BYTES);
        ok = ok && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1;
    }
    ok = ok && EVP_CipherInit_ex(aes, EVP_aes_256_cbc(), NULL, key.aes, iv, sealing) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!ok)
        return -1;
    /* RFC 8446 C.4: a ticket is used once, hence another for the next time. */
    return which == 0 && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
}

int mdg_tls_context_rotate(struct mdg_tls_context *t)
{
    struct ticket_key fresh;
    if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
        return MDG_E_UNSUPPORTED;
    pthread_mutex_lock(&t->lock);
    t->ticket_keys[1] = t->ticket_keys[0];
    t->ticket_keys[0] = fresh;
    pthread_mutex_unlock(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return 0;
}

static SSL_CTX *new_ctx(struct mdg_tls_context *t)
{
    SSL_CTX *ctx = SSL_CTX_new(t->client ? TLS_client_method() : TLS_server_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_app_data(ctx, t);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (t->client) {
        SSL_CTX_set_session_cache_mode(ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(ctx, on_new_session);
        SSL_CTX_set_verify(ctx, t->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        if (t->alpn_len)
            SSL_CTX_set_alpn_protos(ctx, t->alpn, t->alpn_len);
        return ctx;
    }
    /* TLS 1.2: forward secrecy and authenticated encryption only. CBC invites padding oracles, and
     * RSA key transport gives old recordings to whoever steals the key later (RFC 9325 4.2). */
    if (!SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20")) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets hold the state */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"madang", 6);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    if (t->alpn_len)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, t);
    return ctx;
}

static int load_cert(SSL_CTX *ctx, const struct mdg_tls_cert_files *files, char *errbuf, size_t len)
{
    ERR_clear_error();
    errno = 0;
    const char *const paths[] = {files->cert_path, files->key_path};
    for (int i = 0; i < 2; i++) {
        if (access(paths[i], R_OK) < 0) {
            int err = -errno;
            explain(errbuf, len, "cannot read", paths[i]);
            return err;
        }
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, files->cert_path) != 1) {
        explain(errbuf, len, "not a certificate in PEM:", files->cert_path);
        return MDG_E_SYNTAX;
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, files->key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        explain(errbuf, len, "not the key of the certificate:", files->key_path);
        return MDG_E_SYNTAX;
    }
    return 0;
}

static int load_trust(struct mdg_tls_context *t, SSL_CTX *ctx, char *errbuf, size_t len)
{
    int ok = t->ca_path ? SSL_CTX_load_verify_locations(ctx, t->ca_path, NULL)
                        : SSL_CTX_set_default_verify_paths(ctx);
    if (ok == 1)
        return 0;
    explain(errbuf, len, "no trusted certificates in", t->ca_path ? t->ca_path : "the system");
    return MDG_E_SYNTAX;
}

static int load_set(struct mdg_tls_context *t, struct mdg_tls_set **out, char *errbuf, size_t len)
{
    struct mdg_tls_set *set = calloc(1, sizeof *set);
    int err = set ? 0 : MDG_E_NO_MEMORY;
    size_t n = t->client ? 1 : t->certs_len;
    if (set)
        atomic_init(&set->refs, 1);
    for (size_t i = 0; i < n && err == 0; i++) {
        SSL_CTX *ctx = new_ctx(t);
        if (!ctx) {
            err = MDG_E_NO_MEMORY;
            break;
        }
        set->ctx[set->len++] = ctx;
        if (t->client)
            err = t->verify ? load_trust(t, ctx, errbuf, len) : 0;
        else
            err = load_cert(ctx, &t->certs[i], errbuf, len);
        if (!t->client) {
            SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
            SSL_CTX_set_tlsext_servername_arg(ctx, set);
        }
    }
    if (err < 0) {
        mdg_tls_set_unref(set);
        return err;
    }
    *out = set;
    return 0;
}

static int copy_config(struct mdg_tls_context *t, const struct mdg_tls_config *c)
{
    const char *alpn = c->alpn ? c->alpn : "http/1.1";
    size_t alpn_len = strlen(alpn);
    if (c->certs_len > CERTS_MAX || alpn_len > UINT8_MAX || (!c->client && c->certs_len == 0))
        return -EINVAL;
    t->client = c->client;
    t->verify = c->verify;
    if (alpn_len) {
        t->alpn[0] = (uint8_t)alpn_len;
        memcpy(t->alpn + 1, alpn, alpn_len);
        t->alpn_len = (unsigned)alpn_len + 1;
    }
    if (c->ca_path && !(t->ca_path = strdup(c->ca_path)))
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < c->certs_len; i++) {
        struct mdg_tls_cert_files *own = &t->certs[t->certs_len++];
        own->cert_path = strdup(c->certs[i].cert_path);
        own->key_path = strdup(c->certs[i].key_path);
        if (!own->cert_path || !own->key_path)
            return MDG_E_NO_MEMORY;
    }
    return 0;
}

static BIO_METHOD *new_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "madang stream");
    if (!m)
        return NULL;
    BIO_meth_set_read(m, mdg_tls_bio_read);
    BIO_meth_set_write(m, mdg_tls_bio_write);
    BIO_meth_set_ctrl(m, mdg_tls_bio_ctrl);
    BIO_meth_set_create(m, mdg_tls_bio_create);
    return m;
}

int mdg_tls_context_new(const struct mdg_tls_config *config, struct mdg_tls_context **out,
                        char *errbuf, size_t errbuf_len)
{
    struct mdg_tls_context *t = calloc(1, sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    if (errbuf_len)
        errbuf[0] = 0;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    t->bio = new_bio_method();
    int err = t->bio ? copy_config(t, config) : MDG_E_NO_MEMORY;
    for (int i = 0; err == 0 && i < 2; i++)
        err = mdg_tls_context_rotate(t);
    if (err == 0)
        err = load_set(t, &t->set, errbuf, errbuf_len);
    if (err < 0) {
        mdg_tls_context_unref(t);
        return err;
    }
    *out = t;
    return 0;
}

void mdg_tls_context_ref(struct mdg_tls_context *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void mdg_tls_context_unref(struct mdg_tls_context *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    mdg_tls_set_unref(t->set);
    SSL_SESSION_free(t->session);
    BIO_meth_free(t->bio);
    for (size_t i = 0; i < t->certs_len; i++) {
        /* They are copies made with strdup; the interface's pointers are to const. */
        free((void *)(uintptr_t)t->certs[i].cert_path);
        free((void *)(uintptr_t)t->certs[i].key_path);
    }
    free(t->ca_path);
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t->ticket_keys, sizeof t->ticket_keys);
    free(t);
}

int mdg_tls_context_reload(struct mdg_tls_context *t, char *errbuf, size_t errbuf_len)
{
    struct mdg_tls_set *fresh;
    int err = load_set(t, &fresh, errbuf, errbuf_len);
    if (err < 0)
        return err;
    pthread_mutex_lock(&t->lock);
    struct mdg_tls_set *old = t->set;
    t->set = fresh;
    pthread_mutex_unlock(&t->lock);
    mdg_tls_set_unref(old);
    return 0;
}

struct mdg_tls_set *mdg_tls_context_set(struct mdg_tls_context *t)
{
    pthread_mutex_lock(&t->lock);
    struct mdg_tls_set *set = t->set;
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&t->lock);
    return set;
}

SSL_CTX *mdg_tls_set_ctx(const struct mdg_tls_set *set)
{
    return set->ctx[0];
}

const BIO_METHOD *mdg_tls_context_bio(const struct mdg_tls_context *t)
{
    return t->bio;
}

bool mdg_tls_context_is_client(const struct mdg_tls_context *t)
{
    return t->client;
}

int mdg_tls_context_name(struct mdg_tls_context *t, SSL *ssl, struct mdg_slice name)
{
    char text[NAME_MAX_BYTES + 1];
    if (name.len == 0)
        return 0;
    if (name.len > NAME_MAX_BYTES)
        return MDG_E_TOO_BIG;
    memcpy(text, name.data, name.len);
    text[name.len] = 0;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text) == 1)
        return 0; /* RFC 6066 3: an address is not a server name */
    ERR_clear_error();
    if (SSL_set_tlsext_host_name(ssl, text) != 1 || SSL_set1_host(ssl, text) != 1)
        return MDG_E_NO_MEMORY;
    pthread_mutex_lock(&t->lock);
    if (t->session && strcmp(t->session_name, text) == 0)
        SSL_set_session(ssl, t->session);
    pthread_mutex_unlock(&t->lock);
    return 0;
}
