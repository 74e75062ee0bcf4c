/* TLS on streams: handshakes from any cut, both versions, resumption, SNI, reload, refusals. */
#include "net/listener.h"
#include "net/tls.h"
#include "tests/support/net_peer.h"
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct certs {
    char dir[32];
    char cert[2][64], key[2][64];
    struct mdg_tls_context *server, *client;
};

static void path_of(char out[64], const struct certs *c, const char *name)
{
    snprintf(out, 64, "%.30s/%.20s", c->dir, name);
}

static struct mdg_tls_context *client_context(const char *ca, bool verify, const char *alpn)
{
    struct mdg_tls_context *t;
    struct mdg_tls_config config = {.client = true, .verify = verify, .ca_path = ca, .alpn = alpn};
    char errbuf[256];
    assert_int_equal(mdg_tls_context_new(&config, &t, errbuf, sizeof errbuf), 0);
    return t;
}

static int make_certs(void **state)
{
    struct certs *c = calloc(1, sizeof *c);
    snprintf(c->dir, sizeof c->dir, "/tmp/mdg-tls-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    path_of(c->cert[0], c, "a.pem");
    path_of(c->key[0], c, "a.key");
    path_of(c->cert[1], c, "b.pem");
    path_of(c->key[1], c, "b.key");
    assert_int_equal(mdg_tls_dev_cert(c->cert[0], c->key[0], NULL), 0);
    assert_int_equal(mdg_tls_dev_cert(c->cert[1], c->key[1], "chat.example"), 0);
    struct mdg_tls_cert_files files[] = {{c->cert[0], c->key[0]}, {c->cert[1], c->key[1]}};
    struct mdg_tls_config config = {.certs = files, .certs_len = 2};
    char errbuf[256];
    assert_int_equal(mdg_tls_context_new(&config, &c->server, errbuf, sizeof errbuf), 0);
    c->client = client_context(c->cert[0], true, NULL);
    *state = c;
    return 0;
}

static int remove_certs(void **state)
{
    struct certs *c = *state;
    for (int i = 0; i < 2; i++) {
        unlink(c->cert[i]);
        unlink(c->key[i]);
    }
    rmdir(c->dir);
    mdg_tls_context_unref(c->server);
    mdg_tls_context_unref(c->client);
    free(c);
    return 0;
}

/* Two ends in one loop. */
struct talk {
    struct test_net net;
    struct test_peer server, client;
    int secure_calls, secure_err;
};

static void on_secure(void *arg, int err)
{
    struct talk *t = arg;
    t->secure_calls++;
    t->secure_err = err;
}

static struct talk *begin(struct mdg_tls_context *server, struct mdg_tls_context *client,
                          const char *name)
{
    struct talk *t = calloc(1, sizeof *t);
    int fds[2];
    test_net_open(&t->net, MDG_URING_OFF);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    test_peer_open(&t->net, &t->server, fds[0], &test_peer_user);
    test_peer_open(&t->net, &t->client, fds[1], &test_peer_user);
    assert_int_equal(mdg_tls_accept(t->server.stream, server), 0);
    assert_int_equal(mdg_tls_connect(t->client.stream, client, mdg_slice_str(name), on_secure, t),
                     0);
    assert_int_equal(t->secure_calls, 0); /* never from inside */
    TEST_NET_UNTIL(&t->net, t->secure_calls == 1);
    return t;
}

static void end(struct talk *t)
{
    test_net_drain(&t->net);
    test_net_close(&t->net);
    test_peer_free(&t->server);
    test_peer_free(&t->client);
    free(t);
}

static void say(struct mdg_stream *s, const char *text)
{
    struct mdg_slice part = mdg_slice_str(text);
    assert_int_equal(mdg_stream_write(s, &part, 1), 0);
}

static void bytes_go_both_ways_and_the_end_is_told(void **state)
{
    struct certs *c = *state;
    struct talk *t = begin(c->server, c->client, "localhost");
    assert_int_equal(t->secure_err, 0);
    assert_true(mdg_stream_secure(t->server.stream));
    assert_string_equal(mdg_stream_kind(t->server.stream), "tls");
    assert_string_equal(mdg_tls_version(t->client.stream), "TLSv1.3");
    say(t->client.stream, "hello");
    TEST_NET_UNTIL(&t->net, t->server.got_len == 5);
    say(t->server.stream, "wel");
    say(t->server.stream, "come");
    TEST_NET_UNTIL(&t->net, t->client.got_len == 7);
    assert_memory_equal(t->client.got, "welcome", 7);
    assert_int_equal(t->client.data_calls, 1); /* one record */
    say(t->server.stream, "bye");
    mdg_stream_finish(t->server.stream, 0, 5);
    TEST_NET_UNTIL(&t->net, t->client.eofs == 1);
    assert_int_equal(t->client.got_len, 10);
    mdg_stream_close(t->client.stream, 0);
    TEST_NET_UNTIL(&t->net, t->server.closes == 1);
    assert_int_equal(t->server.close_reason, 0);
    end(t);
}

static void large_output_is_paced_by_the_reader_and_arrives_unchanged(void **state)
{
    struct certs *c = *state;
    struct talk *t = begin(c->server, c->client, "localhost");
    enum { BIG = 3 * 1000 * 1000 };
    uint8_t *bytes = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i * 11 + i / 333);
    mdg_stream_pause_read(t->client.stream, true);
    for (size_t at = 0; at < BIG; at += 100000) {
        struct mdg_chunk chunk = mdg_chunk_all(mdg_blob_copy(mdg_slice(bytes + at, 100000)));
        mdg_stream_set_out_max(t->server.stream, BIG);
        assert_int_equal(mdg_stream_send(t->server.stream, &chunk, 1), 0);
    }
    for (int i = 0; i < 10; i++)
        test_net_turn(&t->net);
    assert_true(t->server.stream->out_bytes > BIG / 2);
    assert_int_equal(mdg_loop_step(t->net.loop, 0), 0);
    mdg_stream_pause_read(t->client.stream, false);
    TEST_NET_UNTIL(&t->net, t->client.got_len == BIG);
    assert_memory_equal(t->client.got, bytes, BIG);
    free(bytes);
    end(t);
}

static void an_echo_borrows_from_the_decrypted_input(void **state)
{
    struct certs *c = *state;
    struct talk *t = begin(c->server, c->client, "localhost");
    enum { BIG = 60000 };
    uint8_t *bytes = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i * 17);
    t->server.echo = true;
    struct mdg_slice part = mdg_slice(bytes, BIG);
    for (int i = 0; i < 5; i++)
        assert_int_equal(mdg_stream_write(t->client.stream, &part, 1), 0);
    TEST_NET_UNTIL(&t->net, t->client.got_len == 5 * BIG);
    assert_memory_equal(t->client.got + 4 * BIG, bytes, BIG);
    free(bytes);
    end(t);
}

static void a_second_connection_resumes_even_after_a_reload(void **state)
{
    struct certs *c = *state;
    struct mdg_tls_context *client = client_context(c->cert[0], true, NULL);
    char errbuf[256];
    struct talk *t = begin(c->server, client, "localhost");
    assert_false(mdg_tls_resumed(t->server.stream));
    say(t->server.stream, "x"); /* the ticket has come when this has */
    TEST_NET_UNTIL(&t->net, t->client.got_len == 1);
    assert_int_equal(mdg_tls_context_reload(c->server, errbuf, sizeof errbuf), 0);
    say(t->server.stream, "y"); /* connections live on */
    TEST_NET_UNTIL(&t->net, t->client.got_len == 2);
    end(t);
    t = begin(c->server, client, "localhost");
    assert_int_equal(t->secure_err, 0);
    TEST_NET_UNTIL(&t->net, mdg_tls_resumed(t->server.stream));
    end(t);
    mdg_tls_context_unref(client);
}

static void the_name_picks_the_certificate(void **state)
{
    struct certs *c = *state;
    struct mdg_tls_context *b_only = client_context(c->cert[1], true, NULL);
    struct talk *t = begin(c->server, b_only, "chat.example");
    assert_int_equal(t->secure_err, 0);
    end(t);
    t = begin(c->server, b_only, "localhost"); /* both are good for it: the first is the default */
    assert_int_equal(t->secure_err, MDG_E_DENIED);
    end(t);
    mdg_tls_context_unref(b_only);
}

static void a_wrong_name_or_an_unknown_issuer_is_refused(void **state)
{
    struct certs *c = *state;
    struct talk *t = begin(c->server, c->client, "elsewhere.example");
    assert_int_equal(t->secure_err, MDG_E_DENIED);
    TEST_NET_UNTIL(&t->net, t->client.closes == 1 && t->server.closes == 1);
    assert_int_equal(t->client.close_reason, MDG_E_DENIED);
    assert_int_equal(t->server.close_reason, MDG_E_PROTO); /* it heard the alert */
    end(t);
    struct mdg_tls_context *system = client_context(NULL, true, NULL);
    t = begin(c->server, system, "localhost");
    assert_int_equal(t->secure_err, MDG_E_DENIED);
    end(t);
    mdg_tls_context_unref(system);
    struct mdg_tls_context *careless = client_context(NULL, false, NULL);
    t = begin(c->server, careless, "whatever");
    assert_int_equal(t->secure_err, 0);
    end(t);
    mdg_tls_context_unref(careless);
}

static void a_protocol_nobody_speaks_is_refused(void **state)
{
    struct certs *c = *state;
    struct mdg_tls_context *other = client_context(c->cert[0], true, "h9");
    struct talk *t = begin(c->server, other, "localhost");
    assert_int_not_equal(t->secure_err, 0);
    end(t);
    mdg_tls_context_unref(other);
    struct mdg_tls_context *silent = client_context(c->cert[0], true, "");
    t = begin(c->server, silent, "localhost");
    assert_int_equal(t->secure_err, 0);
    end(t);
    mdg_tls_context_unref(silent);
}

/* A sniffing owner starts TLS with the ClientHello unread, whatever its pieces. */
struct sniffer {
    struct test_peer peer;
    struct mdg_tls_context *tls;
};

static int64_t sniff_data(struct mdg_stream *s, struct mdg_input in)
{
    struct sniffer *me = s->user_arg;
    if (in.len < 5)
        return 0;
    assert_int_equal(in.data[0], 0x16);
    assert_int_equal(mdg_tls_accept(s, me->tls), 0);
    mdg_stream_adopt(s, &test_peer_user, &me->peer);
    return 0;
}

static void sniff_close(struct mdg_stream *s, int reason)
{
    (void)s, (void)reason;
}

static const struct mdg_stream_user sniff_user = {
    .name = "sniff", .read_max = 64, .on_data = sniff_data, .on_close = sniff_close};

static SSL *raw_client(SSL_CTX **ctx, int version)
{
    *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(*ctx, version);
    SSL_CTX_set_max_proto_version(*ctx, version);
    SSL *ssl = SSL_new(*ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    return ssl;
}

/* Moves what OpenSSL's client wants to say to the socket, `piece` bytes per turn, and back. */
static void shuffle(struct test_net *t, SSL *ssl, int fd, size_t piece)
{
    uint8_t buf[4096];
    int n;
    while ((n = BIO_read(SSL_get_wbio(ssl), buf, (int)piece)) > 0) {
        assert_int_equal(write(fd, buf, (size_t)n), n);
        test_net_turn(t);
    }
    test_net_turn(t);
    ssize_t got = read(fd, buf, sizeof buf);
    if (got > 0)
        BIO_write(SSL_get_rbio(ssl), buf, (int)got);
}

static void handshakes_survive_any_cut_in_both_versions(void **state)
{
    struct certs *c = *state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const size_t pieces[] = {1, 4, 5, 7, 100, 4096};
    for (size_t i = 0; i < 12; i++) {
        struct test_net t;
        struct sniffer me = {.tls = c->server};
        struct mdg_stream *s;
        int fds[2];
        SSL_CTX *ctx;
        SSL *ssl = raw_client(&ctx, versions[i % 2]);
        test_net_open(&t, MDG_URING_OFF);
        me.peer.echo = true;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        assert_int_equal(mdg_stream_from_fd(t.net, fds[0], &sniff_user, &me, &s), 0);
        for (int n = 0; n < 50 && SSL_do_handshake(ssl) != 1; n++)
            shuffle(&t, ssl, fds[1], pieces[i / 2]);
        assert_int_equal(SSL_write(ssl, "echo me", 7), 7);
        char back[16];
        int got = 0;
        for (int n = 0; n < 50 && got != 7; n++) {
            shuffle(&t, ssl, fds[1], pieces[i / 2]);
            got = SSL_read(ssl, back, sizeof back);
        }
        assert_int_equal(got, 7);
        assert_string_equal(mdg_tls_version(s), i % 2 ? "TLSv1.3" : "TLSv1.2");
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        test_net_drain(&t);
        test_net_close(&t);
        close(fds[1]);
        test_peer_free(&me.peer);
    }
}

static void garbage_closes_with_a_protocol_error(void **state)
{
    struct certs *c = *state;
    struct test_net t;
    struct test_peer p = {0};
    test_net_open(&t, MDG_URING_OFF);
    int fd = test_peer_pair(&t, &p, &test_peer_user);
    assert_int_equal(mdg_tls_accept(p.stream, c->server), 0);
    assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    TEST_NET_UNTIL(&t, p.closes == 1);
    assert_int_equal(p.close_reason, MDG_E_PROTO);
    assert_int_equal(p.data_calls, 0);
    close(fd);
    test_net_close(&t);
}

static void a_connection_moves_to_another_loop_with_its_keys(void **state)
{
    struct certs *c = *state;
    struct talk *t = begin(c->server, c->client, "localhost");
    struct test_net other;
    struct test_peer q = {.echo = true};
    struct mdg_moved moved;
    test_net_open(&other, MDG_URING_OFF);
    say(t->client.stream, "before");
    TEST_NET_UNTIL(&t->net, t->server.got_len == 6);
    assert_int_equal(mdg_stream_detach(t->server.stream, 0, &moved), 0);
    test_net_turn(&t->net);
    assert_int_equal(mdg_stream_attach(other.net, &moved, &test_peer_user, &q, &q.stream), 0);
    say(t->client.stream, "after");
    for (int i = 0; i < 100 && t->client.got_len < 5; i++) {
        test_net_turn(&t->net);
        test_net_turn(&other);
    }
    assert_memory_equal(t->client.got, "after", 5);
    assert_string_equal(mdg_tls_version(q.stream), "TLSv1.3");
    t->server.stream = NULL;
    test_net_drain(&other);
    test_net_close(&other);
    test_peer_free(&q);
    end(t);
}

static void bad_files_are_named(void **state)
{
    struct certs *c = *state;
    struct mdg_tls_context *t;
    char errbuf[256];
    struct mdg_tls_cert_files files = {"/nonexistent/cert.pem", c->key[0]};
    struct mdg_tls_config config = {.certs = &files, .certs_len = 1};
    assert_int_equal(mdg_tls_context_new(&config, &t, errbuf, sizeof errbuf), -2);
    assert_non_null(strstr(errbuf, "/nonexistent/cert.pem"));
    files = (struct mdg_tls_cert_files){c->key[0], c->key[0]};
    assert_int_equal(mdg_tls_context_new(&config, &t, errbuf, sizeof errbuf), MDG_E_SYNTAX);
    assert_non_null(strstr(errbuf, c->key[0]));
    files = (struct mdg_tls_cert_files){c->cert[0], c->key[1]};
    assert_int_equal(mdg_tls_context_new(&config, &t, errbuf, sizeof errbuf), MDG_E_SYNTAX);
    assert_non_null(strstr(errbuf, c->key[1]));
    struct stat st;
    assert_int_equal(stat(c->key[0], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_failed_reload_keeps_the_old_certificates(void **state)
{
    struct certs *c = *state;
    char errbuf[256], aside[80];
    snprintf(aside, sizeof aside, "%.63s.aside", c->key[0]);
    assert_int_equal(rename(c->key[0], aside), 0);
    assert_int_equal(mdg_tls_context_reload(c->server, errbuf, sizeof errbuf), -2);
    assert_non_null(strstr(errbuf, c->key[0]));
    assert_int_equal(rename(aside, c->key[0]), 0);
    struct talk *t = begin(c->server, c->client, "127.0.0.1");
    assert_int_equal(t->secure_err, 0);
    end(t);
}

static bool resumes(struct certs *c, struct mdg_tls_context *client)
{
    struct talk *t = begin(c->server, client, "localhost");
    say(t->server.stream, "x"); /* the next ticket has come when this has */
    TEST_NET_UNTIL(&t->net, t->client.got_len == 1);
    bool resumed = mdg_tls_resumed(t->server.stream);
    end(t);
    return resumed;
}

static void tickets_outlive_one_change_of_keys_and_not_two(void **state)
{
    struct certs *c = *state;
    struct mdg_tls_context *client = client_context(c->cert[0], true, NULL);
    assert_false(resumes(c, client));
    assert_true(resumes(c, client));
    assert_int_equal(mdg_tls_context_rotate(c->server), 0);
    assert_true(resumes(c, client));
    assert_int_equal(mdg_tls_context_rotate(c->server), 0);
    assert_true(resumes(c, client)); /* it was sealed anew in between */
    for (int i = 0; i < 2; i++)
        assert_int_equal(mdg_tls_context_rotate(c->server), 0);
    assert_false(resumes(c, client));
    mdg_tls_context_unref(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_and_the_end_is_told),
        cmocka_unit_test(large_output_is_paced_by_the_reader_and_arrives_unchanged),
        cmocka_unit_test(an_echo_borrows_from_the_decrypted_input),
        cmocka_unit_test(a_second_connection_resumes_even_after_a_reload),
        cmocka_unit_test(tickets_outlive_one_change_of_keys_and_not_two),
        cmocka_unit_test(the_name_picks_the_certificate),
        cmocka_unit_test(a_wrong_name_or_an_unknown_issuer_is_refused),
        cmocka_unit_test(a_protocol_nobody_speaks_is_refused),
        cmocka_unit_test(handshakes_survive_any_cut_in_both_versions),
        cmocka_unit_test(garbage_closes_with_a_protocol_error),
        cmocka_unit_test(a_connection_moves_to_another_loop_with_its_keys),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(a_failed_reload_keeps_the_old_certificates),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
