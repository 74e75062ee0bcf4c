/* TLS in place on a stream. What is received goes through OpenSSL into the hot buffer and on to the
 * owner; at the flush, queued chunks are coalesced into records and those leave in one send. An
 * idle connection holds no buffer of ours, and OpenSSL gives back its own
 * (SSL_MODE_RELEASE_BUFFERS). */
#include "base/buf.h"
#include "net/tls_internal.h"
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

enum {
    CIPHER_BYTES = 64 * 1024, /* received at once */
    RECORD_BYTES = 16 * 1024, /* RFC 8446 5.1: the longest plain text of a record */
    WIRE_BATCH = 128 * 1024,  /* encrypted before the next send */
    WIRE_MAX = 1024 * 1024,   /* a batch, a handshake's flight and answers to key updates */
};

struct mdg_tls_scratch {
    struct mdg_buf wire; /* lent to the connection that is being flushed */
    uint8_t cipher[CIPHER_BYTES];
    uint8_t plain[RECORD_BYTES];
};

struct mdg_tls {
    SSL *ssl;
    struct mdg_tls_context *context;
    struct mdg_tls_set *set;
    const uint8_t *in; /* what OpenSSL may read at present */
    size_t in_len;
    struct mdg_buf wire; /* encrypted and not sent */
    bool fresh;          /* the stream's unread bytes came before TLS was started */
    bool established, shut, failed;
    void (*on_secure)(void *arg, int err);
    void *on_secure_arg;
};

int mdg_tls_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

int mdg_tls_bio_read(BIO *bio, char *to, int len)
{
    struct mdg_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->in_len == 0 || len <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = mdg_min_size((size_t)len, tls->in_len);
    memcpy(to, tls->in, n);
    tls->in += n;
    tls->in_len -= n;
    return (int)n;
}

int mdg_tls_bio_write(BIO *bio, const char *from, int len)
{
    struct mdg_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0 || mdg_buf_append(&tls->wire, mdg_slice(from, (size_t)len)) < 0)
        return -1;
    return len;
}

long mdg_tls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static struct mdg_tls_scratch *scratch_of(struct mdg_net *net)
{
    if (!net->tls_scratch) {
        net->tls_scratch = malloc(sizeof *net->tls_scratch);
        if (net->tls_scratch)
            mdg_buf_init(&net->tls_scratch->wire, WIRE_MAX);
    }
    return net->tls_scratch;
}

void mdg_tls_scratch_free(struct mdg_net *net)
{
    if (net->tls_scratch)
        mdg_buf_fini(&net->tls_scratch->wire);
    free(net->tls_scratch);
}

static void tell_secure(struct mdg_tls *tls, int err)
{
    void (*on_secure)(void *, int) = tls->on_secure;
    tls->on_secure = NULL;
    if (on_secure)
        on_secure(tls->on_secure_arg, err);
}

static void fail(struct mdg_stream *s)
{
    struct mdg_tls *tls = s->aux->tls;
    bool bad_cert = SSL_get_verify_result(tls->ssl) != X509_V_OK;
    tls->failed = true;
    ERR_clear_error();
    int err = bad_cert ? MDG_E_DENIED : MDG_E_PROTO;
    mdg_stream_close(s, err); /* the alert is in the wire buffer and goes out with the flush */
}

/* True: established. */
static bool shake_hands(struct mdg_stream *s)
{
    struct mdg_tls *tls = s->aux->tls;
    if (tls->established)
        return true;
    ERR_clear_error();
    int r = SSL_do_handshake(tls->ssl);
    if (r == 1) {
        tls->established = true;
        tell_secure(tls, 0);
        mdg_stream_mark(s); /* what was queued meanwhile */
        return !(s->flags & MDG_STREAM_CLOSING);
    }
    if (SSL_get_error(tls->ssl, r) != SSL_ERROR_WANT_READ)
        fail(s);
    return false;
}

/* Decrypts all of tls->in behind the unread bytes in the hot buffer and delivers. */
static void decrypt(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_tls *tls = s->aux->tls;
    size_t len = 0, unread = 0;
    bool ended = false;
    bool up = shake_hands(s);
    if (up && s->aux->unread_len) {
        unread = s->aux->unread_len;
        memcpy(net->hot, s->aux->unread, unread);
    }
    while (up && unread + len < net->hot_bytes) {
        size_t n = 0;
        ERR_clear_error();
        int r = SSL_read_ex(tls->ssl, net->hot + unread + len, net->hot_bytes - unread - len, &n);
        len += n;
        if (r == 1)
            continue;
        int why = SSL_get_error(tls->ssl, r);
        ended = why == SSL_ERROR_ZERO_RETURN;
        if (!ended && why != SSL_ERROR_WANT_READ)
            fail(s);
        break;
    }
    if (tls->wire.len)
        mdg_stream_mark(s);
    if (len > 0 && !(s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER)))
        mdg_stream_deliver(s, net->hot, unread + len);
    if (ended && !(s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_EOF)))
        mdg_stream_at_eof(s);
}

void mdg_tls_read(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_tls_scratch *scratch = scratch_of(net);
    struct mdg_tls *tls = s->aux->tls;
    if (!scratch) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    tls->fresh = false;
    if (s->flags & (MDG_STREAM_REOFFER | MDG_STREAM_YIELDED))
        return; /* unread bytes come first, later in this turn or in the next */
    /* A record that OpenSSL holds in part may come out whole, hence the margin. */
    size_t room = net->hot_bytes - s->aux->unread_len - 2 * (size_t)RECORD_BYTES;
    struct iovec iov = {scratch->cipher, mdg_min_size(CIPHER_BYTES, room)};
    ssize_t got = mdg_class(s)->transport->recv(s, &iov, 1);
    net->counters.reads++;
    if (got == -EAGAIN)
        return;
    if (got == 0) {
        mdg_stream_at_eof(s); /* without close_notify: the protocols above know their own ends */
        return;
    }
    if (got < 0) {
        mdg_stream_send_failed(s, (int)got);
        return;
    }
    net->counters.in_bytes += (uint64_t)got;
    tls->in = scratch->cipher;
    tls->in_len = (size_t)got;
    decrypt(s);
}

void mdg_tls_feed(struct mdg_stream *s, const uint8_t *data, size_t len)
{
    struct mdg_tls_scratch *scratch = scratch_of(mdg_net_of(s));
    struct mdg_tls *tls = s->aux->tls;
    tls->fresh = false;
    /* A client says no more than this before it is answered. */
    if (!scratch || len > CIPHER_BYTES) {
        mdg_stream_close(s, scratch ? MDG_E_PROTO : MDG_E_NO_MEMORY);
        return;
    }
    if (len)
        memcpy(scratch->cipher, data, len);
    tls->in = scratch->cipher;
    tls->in_len = len;
    s->aux->unread_len = 0;
    s->flags &= (uint16_t)~MDG_STREAM_REOFFER;
    decrypt(s);
}

bool mdg_tls_feed_unread(struct mdg_stream *s)
{
    if (!mdg_tls_active(s) || !s->aux->tls->fresh)
        return false;
    mdg_tls_feed(s, s->aux->unread, s->aux->unread_len);
    return true;
}

/* The next piece of plain text: a long chunk as it lies there, short ones put together. */
static struct mdg_slice next_plain(struct mdg_stream *s, uint8_t *staging)
{
    const struct mdg_out *o = s->aux->out + s->aux->out_head;
    if (s->aux->out_len == 1 || o->len >= RECORD_BYTES)
        return mdg_slice(mdg_out_data(o), mdg_min_size(o->len, RECORD_BYTES));
    size_t len = 0;
    for (uint32_t i = 0; i < s->aux->out_len && len < RECORD_BYTES; i++) {
        size_t n = mdg_min_size(o[i].len, RECORD_BYTES - len);
        memcpy(staging + len, mdg_out_data(&o[i]), n);
        len += n;
    }
    return mdg_slice(staging, len);
}

static void encrypt(struct mdg_stream *s, uint8_t *staging)
{
    struct mdg_tls *tls = s->aux->tls;
    while (s->out_bytes > 0 && tls->wire.len < WIRE_BATCH) {
        struct mdg_slice plain = next_plain(s, staging);
        size_t n = 0;
        ERR_clear_error();
        if (SSL_write_ex(tls->ssl, plain.data, plain.len, &n) != 1) {
            tls->failed = true;
            mdg_stream_send_failed(s, MDG_E_NO_MEMORY); /* the wire buffer could not grow */
            return;
        }
        mdg_out_consumed(s, n);
    }
}

/* True: the wire buffer is empty. */
static bool send_wire(struct mdg_stream *s)
{
    struct mdg_tls *tls = s->aux->tls;
    while (tls->wire.len > 0) {
        struct iovec iov = {tls->wire.data, tls->wire.len};
        ssize_t sent = mdg_class(s)->transport->send(s, &iov, 1);
        mdg_net_of(s)->counters.sends++;
        if (sent == -EAGAIN || (sent >= 0 && (size_t)sent < tls->wire.len))
            s->flags |= MDG_STREAM_WANT_OUT;
        if (sent < 0) {
            if (sent != -EAGAIN)
                mdg_stream_send_failed(s, (int)sent);
            return false;
        }
        mdg_net_of(s)->counters.out_bytes += (uint64_t)sent;
        mdg_buf_consume(&tls->wire, (size_t)sent);
        if (s->flags & MDG_STREAM_WANT_OUT)
            return false;
    }
    return true;
}

void mdg_tls_flush(struct mdg_stream *s)
{
    struct mdg_tls_scratch *scratch = scratch_of(mdg_net_of(s));
    struct mdg_tls *tls = s->aux->tls;
    if (!scratch || (tls->wire.len == 0 && s->out_bytes == 0))
        return;
    if (!tls->wire.data) { /* the shared one, if nobody keeps it */
        tls->wire = scratch->wire;
        mdg_buf_init(&scratch->wire, WIRE_MAX);
    }
    while (send_wire(s) && s->out_bytes > 0 && tls->established && !tls->failed && !tls->shut)
        encrypt(s, scratch->plain);
    if (tls->wire.len > 0)
        return;
    if (scratch->wire.data)
        mdg_buf_fini(&tls->wire);
    else
        scratch->wire = tls->wire;
    mdg_buf_init(&tls->wire, WIRE_MAX);
}

bool mdg_tls_shut(struct mdg_stream *s)
{
    if (!mdg_tls_active(s))
        return true;
    struct mdg_tls *tls = s->aux->tls;
    if (tls->established && !tls->shut && !tls->failed) {
        ERR_clear_error();
        SSL_shutdown(tls->ssl); /* RFC 8446 6.1: close_notify; the peer's is not waited for */
        tls->shut = true;
    }
    if (!(s->flags & (MDG_STREAM_FAILED | MDG_STREAM_WANT_OUT)))
        mdg_tls_flush(s);
    return !s->aux || s->aux->tls->wire.len == 0;
}

bool mdg_tls_busy(const struct mdg_stream *s)
{
    return mdg_tls_active(s) && (s->aux->tls->wire.len > 0 || !s->aux->tls->established);
}

void mdg_tls_closed(struct mdg_stream *s, int reason)
{
    if (mdg_tls_active(s))
        tell_secure(s->aux->tls, reason ? reason : -ECONNRESET);
}

void mdg_tls_free(struct mdg_tls *tls)
{
    if (!tls)
        return;
    /* Otherwise OpenSSL takes the session for broken, and it cannot be resumed. */
    if (tls->ssl && tls->established && !tls->failed)
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    mdg_buf_fini(&tls->wire);
    mdg_tls_set_unref(tls->set);
    mdg_tls_context_unref(tls->context);
    free(tls);
}

static int new_tls(struct mdg_stream *s, struct mdg_tls_context *t, struct mdg_tls **out)
{
    if (s->out_bytes)
        mdg_stream_flush_now(s); /* plain text before the change goes out as plain text */
    if (s->out_bytes)
        return MDG_E_FULL;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    struct mdg_tls *tls = calloc(1, sizeof *tls);
    if (!aux || !tls) {
        free(tls);
        return MDG_E_NO_MEMORY;
    }
    mdg_tls_context_ref(t);
    tls->context = t;
    tls->fresh = true;
    tls->set = mdg_tls_context_set(t);
    mdg_buf_init(&tls->wire, WIRE_MAX);
    tls->ssl = SSL_new(mdg_tls_set_ctx(tls->set));
    BIO *bio = BIO_new(mdg_tls_context_bio(t));
    if (!tls->ssl || !bio) {
        BIO_free(bio);
        mdg_tls_free(tls);
        ERR_clear_error();
        return MDG_E_NO_MEMORY;
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(tls->ssl, bio, bio);
    *out = tls;
    return 0;
}

static void start(struct mdg_stream *s, struct mdg_tls *tls)
{
    assert(!s->aux->tls && !s->aux->sink && s->out_bytes == 0);
    s->aux->tls = tls;
    s->flags |= MDG_STREAM_SECURE;
    mdg_stream_reoffer(s);
}

int mdg_tls_accept(struct mdg_stream *s, struct mdg_tls_context *t)
{
    struct mdg_tls *tls;
    assert(!mdg_tls_context_is_client(t));
    int err = new_tls(s, t, &tls);
    if (err < 0)
        return err;
    SSL_set_accept_state(tls->ssl);
    start(s, tls);
    return 0;
}

/* The first flight is made here; nothing is told from inside: errors surface with the answer. */
int mdg_tls_connect(struct mdg_stream *s, struct mdg_tls_context *t, struct mdg_slice server_name,
                    void (*on_secure)(void *arg, int err), void *arg)
{
    struct mdg_tls *tls;
    assert(mdg_tls_context_is_client(t));
    int err = new_tls(s, t, &tls);
    if (err < 0)
        return err;
    SSL_set_connect_state(tls->ssl);
    err = mdg_tls_context_name(t, tls->ssl, server_name);
    if (err == 0) {
        ERR_clear_error();
        int r = SSL_do_handshake(tls->ssl);
        if (SSL_get_error(tls->ssl, r) != SSL_ERROR_WANT_READ)
            err = MDG_E_NO_MEMORY;
    }
    if (err < 0) {
        mdg_tls_free(tls);
        return err;
    }
    tls->on_secure = on_secure;
    tls->on_secure_arg = arg;
    start(s, tls);
    mdg_stream_mark(s);
    return 0;
}

const char *mdg_tls_version(const struct mdg_stream *s)
{
    return mdg_tls_active(s) ? SSL_get_version(s->aux->tls->ssl) : NULL;
}

bool mdg_tls_resumed(const struct mdg_stream *s)
{
    return mdg_tls_active(s) && SSL_session_reused(s->aux->tls->ssl) == 1;
}
