/* Streams on sockets: every test runs with sendmsg and with the io_uring batch. */
#include "net/internal.h"
#include "net/listener.h"
#include "net/stream.h"
#include "tests/support/net_peer.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mdg_uring_use send_path = MDG_URING_OFF;

static int open_net(void **state)
{
    struct test_net *t = calloc(1, sizeof *t);
    test_net_open(t, send_path);
    *state = t;
    return 0;
}

static int close_net(void **state)
{
    struct test_net *t = *state;
    test_net_close(t);
    free(t);
    return 0;
}

static struct mdg_chunk chunk_of(const char *text)
{
    struct mdg_blob *b = mdg_blob_copy(mdg_slice_str(text));
    assert_non_null(b);
    return mdg_chunk_all(b);
}

static size_t read_all(int fd, char *out, size_t max)
{
    ssize_t n = read(fd, out, max);
    return n > 0 ? (size_t)n : 0;
}

static void expect_text(int fd, const char *text)
{
    char got[4096];
    size_t n = read_all(fd, got, sizeof got);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
}

static void put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void what_arrives_is_offered_and_what_is_left_comes_again_in_front(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.take_nothing_below = 6};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    put(fd, "abc");
    TEST_NET_UNTIL(t, p.data_calls == 1);
    assert_int_equal(p.got_len, 0);
    put(fd, "def");
    TEST_NET_UNTIL(t, p.got_len == 6);
    assert_memory_equal(p.got, "abcdef", 6);
    assert_int_equal(p.data_calls, 2);
    assert_null(p.stream->aux); /* nothing is kept for a stream without anything to keep */
    close(fd);
    TEST_NET_UNTIL(t, p.eofs == 1);
    assert_int_equal(p.closes, 0);
    mdg_stream_close(p.stream, 7);
    mdg_stream_close(p.stream, 8);
    TEST_NET_UNTIL(t, p.closes == 1);
    assert_int_equal(p.close_reason, 7);
    test_peer_free(&p);
    test_net_drain(t);
}

static void a_peer_that_hung_up_is_known_before_the_loop_turns(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    assert_false(mdg_stream_hung_up(p.stream));
    put(fd, "unread");
    close(fd);
    assert_true(mdg_stream_hung_up(p.stream));
    assert_int_equal(p.eofs, 0);
    TEST_NET_UNTIL(t, p.eofs == 1);
    assert_true(mdg_stream_hung_up(p.stream));
    mdg_stream_close(p.stream, 0);
    test_peer_free(&p);
    test_net_drain(t);
}

static void output_of_a_turn_is_written_once_in_order(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    struct mdg_slice parts[] = {MDG_SLICE_LIT("one "), MDG_SLICE_LIT(""), MDG_SLICE_LIT("two ")};
    struct mdg_chunk chunks[] = {chunk_of("three "), chunk_of(""), chunk_of("four")};
    struct mdg_blob *shared = mdg_blob_ref(chunks[0].blob);
    uint64_t sends = mdg_net_counters(t->net)->sends;
    assert_int_equal(mdg_stream_write(p.stream, parts, 3), 0);
    assert_int_equal(mdg_stream_send(p.stream, chunks, 3), 0);
    assert_null(chunks[0].blob);
    assert_null(chunks[1].blob);
    assert_int_equal(p.stream->out_bytes, 18);
    test_net_turn(t);
    expect_text(fd, "one two three four");
    assert_int_equal(mdg_net_counters(t->net)->sends, sends + 1);
    assert_int_equal(p.stream->out_bytes, 0);
    assert_null(p.stream->aux);
    assert_int_equal(atomic_load(&shared->refs), 1);
    mdg_blob_unref(shared);
    close(fd);
    test_peer_free(&p);
    test_net_drain(t);
}

static void a_row_of_many_entries_is_sent_whole(void **state)
{
    struct test_net *t = *state;
    struct test_peer p[2] = {{0}, {0}};
    int fd = test_peer_pair(t, &p[0], &test_peer_user);
    int other = test_peer_pair(t, &p[1], &test_peer_user);
    char text[16], got[8192];
    size_t expect = 0;
    for (int i = 0; i < 700; i++) {
        struct mdg_chunk c;
        snprintf(text, sizeof text, "%d;", i);
        c = chunk_of(text);
        expect += c.len;
        assert_int_equal(mdg_stream_send(p[0].stream, &c, 1), 0);
        c = chunk_of("x");
        assert_int_equal(mdg_stream_send(p[1].stream, &c, 1), 0);
    }
    test_net_turn(t);
    assert_int_equal(read_all(fd, got, sizeof got), expect);
    assert_memory_equal(got, "0;1;2;", 6);
    assert_memory_equal(got + expect - 8, "698;699;", 8);
    assert_int_equal(read_all(other, got, sizeof got), 700);
    close(fd);
    close(other);
    test_net_drain(t);
}

/* A message to so many that the memory of their queues would be felt. */
static void many_streams_with_output_are_sent_before_the_turn_ends(void **state)
{
    enum { MANY = 1500, AT_ONCE_MAX = 1024 };
    struct test_net *t = *state;
    struct mdg_stream *streams[MANY];
    int fds[MANY];
    struct rlimit before, files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    files = before;
    files.rlim_cur = mdg_min_size(before.rlim_max, 4 * MANY);
    if (files.rlim_cur < 3 * MANY || setrlimit(RLIMIT_NOFILE, &files) < 0)
        skip();
    struct mdg_chunk message = chunk_of("to all");
    struct mdg_slice more = MDG_SLICE_LIT(" and more");
    for (int i = 0; i < MANY; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        fds[i] = pair[0];
        assert_int_equal(mdg_stream_from_fd(t->net, pair[1], NULL, NULL, &streams[i]), 0);
    }
    size_t waiting = 0;
    for (int i = 0; i < MANY; i++) {
        struct mdg_chunk c = {mdg_blob_ref(message.blob), message.off, message.len};
        assert_int_equal(mdg_stream_send(streams[i], &c, 1), 0);
    }
    for (int i = 0; i < MANY; i++)
        waiting += streams[i]->aux != NULL;
    assert_true(waiting > 0 && waiting <= AT_ONCE_MAX);
    assert_int_equal(mdg_stream_write(streams[0], &more, 1), 0);
    test_net_turn(t);
    expect_text(fds[0], "to all and more");
    for (int i = 1; i < MANY; i++)
        expect_text(fds[i], "to all");
    assert_int_equal(atomic_load(&message.blob->refs), 1);
    mdg_blob_unref(message.blob);
    mdg_net_close_all(t->net, 0);
    test_net_drain(t);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void an_echo_of_large_input_is_borrowed_and_arrives_unchanged(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.echo = true};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    enum { BIG = 100000 };
    uint8_t *bytes = malloc(BIG), *back = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251);
    size_t sent = 0, got = 0;
    for (int i = 0; i < 100000 && got < BIG; i++) {
        ssize_t n = sent < BIG ? write(fd, bytes + sent, BIG - sent) : 0;
        if (n > 0)
            sent += (size_t)n;
        test_net_turn(t);
        got += read_all(fd, (char *)back + got, BIG - got);
    }
    assert_int_equal(got, BIG);
    assert_memory_equal(bytes, back, BIG);
    free(bytes);
    free(back);
    close(fd);
    test_peer_free(&p);
    test_net_drain(t);
}

static void a_full_socket_keeps_the_rest_and_goes_on_when_there_is_room(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.echo = true}, q = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), other = test_peer_pair(t, &q, &test_peer_user);
    enum { BIG = 3 * 1000 * 1000 };
    uint8_t *bytes = malloc(BIG), *back = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 509);
    struct mdg_chunk c = mdg_chunk_all(mdg_blob_copy(mdg_slice(bytes, BIG)));
    /* An empty queue takes one unit of any size, and then nothing more. */
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), 0);
    c = chunk_of("more");
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), MDG_E_FULL);
    assert_non_null(c.blob);
    mdg_blob_unref(c.blob);
    c = chunk_of("small");
    assert_int_equal(mdg_stream_send(q.stream, &c, 1), 0);
    test_net_turn(t);
    expect_text(other, "small");
    assert_in_range(p.stream->out_bytes, 1, BIG - 1);
    assert_int_equal(p.writables, 0);
    size_t got = 0;
    while (got < BIG) {
        size_t n = read_all(fd, (char *)back + got, BIG - got);
        got += n;
        assert_true(mdg_loop_step(t->loop, n ? 0 : 100) >= 0);
    }
    assert_memory_equal(bytes, back, BIG);
    TEST_NET_UNTIL(t, p.writables == 1);
    assert_int_equal(p.stream->watching, 1);
    free(bytes);
    free(back);
    close(fd);
    close(other);
    test_peer_free(&p);
    test_net_drain(t);
}

static void a_reader_that_never_reads_costs_a_bounded_queue(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    uint8_t bytes[3000];
    memset(bytes, 'q', sizeof bytes);
    struct mdg_slice part = mdg_slice(bytes, sizeof bytes);
    int err = 0;
    mdg_stream_set_out_max(p.stream, 100000);
    for (int i = 0; i < 1000; i++) {
        err = mdg_stream_write(p.stream, &part, 1);
        assert_true(err == 0 || err == MDG_E_FULL);
        test_net_turn(t);
    }
    assert_int_equal(err, MDG_E_FULL);
    assert_in_range(p.stream->out_bytes, 90000, 100000);
    assert_int_equal(mdg_net_counters(t->net)->queued_bytes, p.stream->out_bytes);
    /* Nothing spins meanwhile. */
    assert_int_equal(mdg_loop_step(t->loop, 0), 0);
    assert_int_equal(mdg_loop_wait_ms(t->loop), -1);
    close(fd);
    TEST_NET_UNTIL(t, p.closes == 1);
    assert_true(p.close_reason == -EPIPE || p.close_reason == -ECONNRESET);
    assert_int_equal(mdg_net_counters(t->net)->queued_bytes, 0);
    test_net_drain(t);
}

static void a_peer_that_vanishes_ends_with_its_error_and_only_once(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0}, q = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), other = test_peer_pair(t, &q, &test_peer_user);
    struct mdg_chunk a = chunk_of("a"), b = chunk_of("b");
    close(fd);
    close(other);
    assert_int_equal(mdg_stream_send(p.stream, &a, 1), 0);
    assert_int_equal(mdg_stream_send(q.stream, &b, 1), 0);
    TEST_NET_UNTIL(t, p.closes && q.closes);
    assert_int_equal(p.close_reason, -EPIPE);
    assert_int_equal(q.close_reason, -EPIPE);
    for (int i = 0; i < 3; i++)
        test_net_turn(t);
    assert_int_equal(p.closes, 1);
    test_net_drain(t);
}

static void without_an_on_eof_the_end_closes_with_reason_zero(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.close_reason = 99};
    int fd = test_peer_pair(t, &p, &test_plain_user);
    put(fd, "bye");
    close(fd);
    TEST_NET_UNTIL(t, p.closes == 1);
    assert_int_equal(p.close_reason, 0);
    assert_memory_equal(p.got, "bye", 3);
    test_peer_free(&p);
    test_net_drain(t);
}

static void half_closed_streams_still_send_and_finish_after_the_queue(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    struct mdg_chunk c = chunk_of("answer");
    shutdown(fd, SHUT_WR);
    TEST_NET_UNTIL(t, p.eofs == 1);
    assert_int_equal(mdg_loop_step(t->loop, 0), 0); /* the end is told once */
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), 0);
    mdg_stream_finish(p.stream, 5, 10);
    c = chunk_of("late");
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), MDG_E_CLOSED);
    mdg_blob_unref(c.blob);
    TEST_NET_UNTIL(t, p.closes == 1);
    assert_int_equal(p.close_reason, 5);
    assert_int_equal(p.eofs, 1);
    expect_text(fd, "answer");
    assert_int_equal(read(fd, &c, 1), 0);
    close(fd);
    test_net_drain(t);
}

static void finishing_waits_for_the_peer_and_gives_up_after_its_time(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    struct mdg_chunk c = chunk_of("last");
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), 0);
    mdg_stream_finish(p.stream, 6, 1);
    test_net_turn(t);
    expect_text(fd, "last");
    char byte;
    assert_int_equal(read(fd, &byte, 1), 0); /* our side is shut already */
    put(fd, "ignored");
    test_net_turn(t);
    assert_int_equal(p.closes, 0);
    assert_int_equal(p.data_calls, 0);
    for (int i = 0; i < 400 && !p.closes; i++)
        assert_true(mdg_loop_step(t->loop, 10) >= 0);
    assert_int_equal(p.closes, 1);
    assert_int_equal(p.close_reason, 6);
    assert_int_equal(p.timeouts, 0);
    close(fd);
    test_net_drain(t);
}

static void shutdown_sends_what_is_queued_and_reading_goes_on(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    struct mdg_chunk c = chunk_of("done");
    assert_int_equal(mdg_stream_send(p.stream, &c, 1), 0);
    mdg_stream_shutdown(p.stream);
    assert_int_equal(mdg_stream_write(p.stream, &(struct mdg_slice){NULL, 0}, 1), MDG_E_CLOSED);
    test_net_turn(t);
    expect_text(fd, "done");
    char byte;
    assert_int_equal(read(fd, &byte, 1), 0);
    put(fd, "still here");
    TEST_NET_UNTIL(t, p.got_len == 10);
    close(fd);
    TEST_NET_UNTIL(t, p.eofs == 1);
    test_peer_free(&p);
    test_net_drain(t);
}

static void close_flushes_once_in_the_same_turn(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0}, q = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), other = test_peer_pair(t, &q, &test_peer_user);
    struct mdg_chunk a = chunk_of("goodbye"), b = chunk_of("hello");
    assert_int_equal(mdg_stream_send(p.stream, &a, 1), 0);
    assert_int_equal(mdg_stream_send(q.stream, &b, 1), 0);
    mdg_stream_close(p.stream, 0);
    assert_int_equal(p.closes, 0); /* not from inside close */
    test_net_turn(t);
    assert_int_equal(p.closes, 1);
    expect_text(fd, "goodbye");
    expect_text(other, "hello");
    close(fd);
    close(other);
    test_net_drain(t);
}

/* Descriptor numbers are reused at once: what was queued for the old stream must not reach the new.
 */
static void a_reused_descriptor_gets_nothing_of_its_predecessor(void **state)
{
    struct test_net *t = *state;
    char old_bytes[200000];
    memset(old_bytes, 'o', sizeof old_bytes);
    struct mdg_slice old = mdg_slice(old_bytes, sizeof old_bytes);
    for (int round = 0; round < 50; round++) {
        struct test_peer a = {0}, b = {0}, c = {0};
        int fd_a = test_peer_pair(t, &a, &test_peer_user);
        int fd_b = test_peer_pair(t, &b, &test_peer_user);
        int number = a.stream->fd;
        for (int i = 0; i < 3; i++)
            assert_int_equal(mdg_stream_write(a.stream, &old, 1), 0);
        assert_int_equal(mdg_stream_write(b.stream, &old, 1), 0);
        test_net_turn(t); /* part of it is sent, the rest waits */
        mdg_stream_close(a.stream, 0);
        test_net_turn(t);
        assert_int_equal(a.closes, 1);
        int fd_c = test_peer_pair(t, &c, &test_peer_user);
        assert_int_equal(c.stream->fd, number);
        struct mdg_slice news = MDG_SLICE_LIT("new");
        assert_int_equal(mdg_stream_write(c.stream, &news, 1), 0);
        assert_int_equal(mdg_stream_write(b.stream, &news, 1), 0);
        test_net_turn(t);
        expect_text(fd_c, "new");
        mdg_stream_close(b.stream, 0);
        mdg_stream_close(c.stream, 0);
        test_net_turn(t);
        close(fd_a);
        close(fd_b);
        close(fd_c);
    }
    test_net_drain(t);
}

static void a_paused_stream_is_not_read_and_loses_nothing(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.pause_after_data = true, .take_max = 2};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    put(fd, "abcd");
    TEST_NET_UNTIL(t, p.data_calls == 1);
    put(fd, "efgh");
    for (int i = 0; i < 5; i++)
        test_net_turn(t);
    assert_int_equal(p.data_calls, 1);
    assert_int_equal(mdg_loop_step(t->loop, 0), 0); /* and nothing spins */
    p.pause_after_data = false;
    p.take_max = 0;
    mdg_stream_pause_read(p.stream, false);
    TEST_NET_UNTIL(t, p.got_len == 8);
    assert_memory_equal(p.got, "abcdefgh", 8);
    close(fd);
    test_peer_free(&p);
    test_net_drain(t);
}

static void a_paused_stream_notices_that_its_peer_is_gone_for_good(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    mdg_stream_pause_read(p.stream, true);
    put(fd, "unread");
    test_net_turn(t);
    close(fd);
    TEST_NET_UNTIL(t, p.closes == 1);
    test_net_drain(t);
}

static int64_t hand_over(struct mdg_stream *s, struct mdg_input in)
{
    assert_true(in.len >= 2);
    mdg_stream_adopt(s, &test_peer_user, s->user_arg);
    return 2;
}

static const struct mdg_stream_user handing_user = {
    .name = "handing", .on_data = hand_over, .on_close = test_peer_close};

static void unread_bytes_go_to_the_new_owner_in_the_same_turn(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &handing_user);
    put(fd, "GEThello");
    assert_int_equal(mdg_loop_step(t->loop, 0), 1);
    assert_int_equal(p.got_len, 6);
    assert_memory_equal(p.got, "Thello", 6);
    /* Outside on_data too. */
    p.take_nothing_below = 100;
    put(fd, "wait");
    TEST_NET_UNTIL(t, p.data_calls == 2);
    p.take_nothing_below = 0;
    mdg_stream_adopt(p.stream, &test_plain_user, &p);
    test_net_turn(t);
    assert_int_equal(p.got_len, 10);
    close(fd);
    TEST_NET_UNTIL(t, p.closes == 1);
    test_peer_free(&p);
    test_net_drain(t);
}

struct long_message {
    struct test_peer peer;
    uint8_t *buf;
    size_t len;
    unsigned whole;
};

static int64_t begin_long(struct mdg_stream *s, struct mdg_input in)
{
    struct long_message *m = s->user_arg;
    if (m->whole) { /* what follows the message */
        test_peer_keep(&m->peer, in.data, in.len);
        return (int64_t)in.len;
    }
    if (in.len < 4)
        return 0;
    mdg_stream_recv_into(s, m->buf, m->len);
    return 4;
}

static void go_on_long(struct mdg_stream *s, size_t n)
{
    struct long_message *m = s->user_arg;
    m->peer.sunk += n;
    if (m->peer.sunk == m->len)
        m->whole++;
}

static const struct mdg_stream_user long_user = {
    .name = "long", .on_data = begin_long, .on_sink = go_on_long, .on_close = test_peer_close};

static void a_long_message_goes_into_its_own_buffer_and_the_surplus_to_on_data(void **state)
{
    struct test_net *t = *state;
    enum { LONG = 700000 };
    for (size_t step = 1; step < 70000; step = step * 7 + 3) {
        struct long_message m = {.buf = malloc(LONG), .len = step < 5 ? 1000 : LONG};
        struct mdg_stream *s;
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        assert_int_equal(mdg_stream_from_fd(t->net, fds[0], &long_user, &m, &s), 0);
        m.peer.stream = s;
        size_t total = 4 + m.len + 7, sent = 0;
        uint8_t *all = malloc(total);
        memcpy(all, "HEAD", 4);
        for (size_t i = 0; i < m.len; i++)
            all[4 + i] = (uint8_t)(i * 13 + i / 257);
        memcpy(all + 4 + m.len, "surplus", 7);
        while (sent < total || m.peer.got_len < 7) {
            ssize_t n =
                sent < total ? write(fds[1], all + sent, mdg_min_size(step, total - sent)) : 0;
            sent += n > 0 ? (size_t)n : 0;
            test_net_turn(t);
        }
        assert_int_equal(m.whole, 1);
        assert_memory_equal(m.buf, all + 4, m.len);
        assert_memory_equal(m.peer.got, "surplus", 7);
        mdg_stream_close(s, 0);
        test_net_turn(t);
        close(fds[1]);
        free(all);
        free(m.buf);
        test_peer_free(&m.peer);
    }
    test_net_drain(t);
}

static void what_nobody_consumes_is_bounded(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {.take_nothing_below = SIZE_MAX};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    uint8_t bytes[4096] = {0};
    for (int i = 0; i < 10000 && !p.closes; i++) {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        (void)n;
        test_net_turn(t);
    }
    assert_int_equal(p.closes, 1);
    assert_int_equal(p.close_reason, MDG_E_TOO_BIG);
    close(fd);
    test_net_drain(t);
}

static int64_t refuse_data(struct mdg_stream *s, struct mdg_input in)
{
    (void)s, (void)in;
    return MDG_E_PROTO;
}

static const struct mdg_stream_user refusing_user = {
    .name = "refusing", .on_data = refuse_data, .on_close = test_peer_close};

static void a_negative_result_of_on_data_closes_with_it(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &refusing_user);
    put(fd, "x");
    TEST_NET_UNTIL(t, p.closes == 1);
    assert_int_equal(p.close_reason, MDG_E_PROTO);
    close(fd);
    test_net_drain(t);
}

static void a_stream_moves_to_another_loop_with_its_unread_bytes(void **state)
{
    struct test_net *t = *state, other;
    struct test_peer p = {.take_nothing_below = 100}, q = {0};
    struct mdg_moved moved;
    int fd = test_peer_pair(t, &p, &test_peer_user);
    test_net_open(&other, send_path);
    put(fd, "carried");
    TEST_NET_UNTIL(t, p.data_calls == 1);
    assert_int_equal(mdg_stream_detach(p.stream, 0, &moved), 0);
    test_net_turn(t);
    assert_int_equal(p.closes, 0);
    assert_int_equal(mdg_net_counters(t->net)->streams, 0);
    assert_int_equal(mdg_stream_attach(other.net, &moved, &test_peer_user, &q, &q.stream), 0);
    test_net_turn(&other);
    assert_int_equal(q.got_len, 7);
    put(fd, " and new");
    TEST_NET_UNTIL(&other, q.got_len == 15);
    assert_memory_equal(q.got, "carried and new", 15);
    assert_int_equal(mdg_stream_detach(q.stream, 0, &moved), 0);
    mdg_moved_drop(&moved);
    char byte;
    assert_int_equal(read(fd, &byte, 1), 0);
    test_net_close(&other);
    close(fd);
    test_peer_free(&q);
    test_net_drain(t);
}

static void timeouts_are_told_once_and_may_be_renewed_cheaply(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0}, q = {0}, r = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), fd_q = test_peer_pair(t, &q, &test_plain_user);
    int fd_r = test_peer_pair(t, &r, &test_peer_user);
    mdg_stream_set_timeout(p.stream, 1);
    mdg_stream_set_timeout(q.stream, 100);
    mdg_stream_set_timeout(q.stream, 1); /* earlier than before */
    mdg_stream_set_timeout(r.stream, 1);
    mdg_stream_set_timeout(r.stream, 1000); /* later: writes a field */
    uint64_t start = mdg_loop_now_ms(t->loop);
    while (!p.timeouts || !q.closes)
        assert_true(mdg_loop_step(t->loop, 2000) >= 0);
    uint64_t took = mdg_loop_now_ms(t->loop) - start;
    assert_in_range(took, 1000, 2500);
    assert_int_equal(q.close_reason, MDG_E_TIMEOUT);
    assert_int_equal(p.timeouts, 1);
    assert_int_equal(r.timeouts, 0);
    mdg_stream_set_timeout(p.stream, 5);
    mdg_stream_set_timeout(p.stream, 0);
    assert_int_equal(p.stream->due_s, 0);
    close(fd);
    close(fd_q);
    close(fd_r);
    test_net_drain(t);
}

/* Listeners. */

struct door {
    struct mdg_listener *listener;
    struct test_peer peers[256];
    unsigned accepted, paused, resumed, refused;
    bool close_at_once;
};

static void on_accept(struct mdg_listener *l, struct mdg_stream *s, void *arg)
{
    struct door *d = arg;
    (void)l;
    assert_true(d->accepted < MDG_ARRAY_LEN(d->peers));
    struct test_peer *p = &d->peers[d->accepted++];
    p->stream = s;
    mdg_stream_adopt(s, &test_peer_user, p);
    if (d->close_at_once)
        mdg_stream_close(s, 3);
}

static void on_notice(struct mdg_listener *l, enum mdg_listener_notice n, int err, void *arg)
{
    struct door *d = arg;
    (void)l, (void)err;
    d->paused += n == MDG_LISTENER_PAUSED;
    d->resumed += n == MDG_LISTENER_RESUMED;
    d->refused += n == MDG_LISTENER_REFUSED;
}

static const struct mdg_listener_user door_user = {on_accept, on_notice};

static struct door *open_door(struct test_net *t, const char *address)
{
    struct door *d = calloc(1, sizeof *d);
    struct mdg_listener_config config = {.keepalive_s = 60};
    assert_int_equal(mdg_addr_parse(&config.addr, mdg_slice_str(address)), 0);
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, d, &d->listener), 0);
    return d;
}

static void close_door(struct test_net *t, struct door *d)
{
    mdg_listener_close(d->listener);
    for (unsigned i = 0; i < d->accepted; i++) {
        if (d->peers[i].stream)
            mdg_stream_close(d->peers[i].stream, 0);
    }
    test_net_turn(t);
    test_net_turn(t);
    for (unsigned i = 0; i < d->accepted; i++)
        test_peer_free(&d->peers[i]);
    free(d);
}

static int dial(const struct mdg_addr *to)
{
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to->any, to->len), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void accepted_connections_are_read_at_once(void **state)
{
    struct test_net *t = *state;
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(addresses); i++) {
        struct door *d = open_door(t, addresses[i]);
        assert_int_not_equal(mdg_addr_port(mdg_listener_addr(d->listener)), 0);
        int fd = dial(mdg_listener_addr(d->listener));
        put(fd, "hello");
        test_net_turn(t); /* one turn: accepted and read */
        assert_int_equal(d->accepted, 1);
        assert_int_equal(d->peers[0].got_len, 5);
        struct mdg_addr peer, local;
        assert_int_equal(mdg_stream_peer(d->peers[0].stream, &peer), 0);
        assert_int_equal(mdg_stream_local(d->peers[0].stream, &local), 0);
        assert_true(mdg_addr_eq(&local, mdg_listener_addr(d->listener)));
        assert_true(mdg_addr_is_loopback(&peer));
        assert_string_equal(mdg_stream_kind(d->peers[0].stream), "tcp");
        close(fd);
        close_door(t, d);
    }
    test_net_drain(t);
}

static int option(const struct mdg_stream *s, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(s->fd, level, name, &value, &len), 0);
    return value;
}

static void the_kernel_looks_after_connections_that_are_silent(void **state)
{
    struct test_net *t = *state;
    struct door *d = open_door(t, "127.0.0.1:0");
    int fd = dial(mdg_listener_addr(d->listener));
    test_net_turn(t);
    assert_int_equal(d->accepted, 1);
    const struct mdg_stream *s = d->peers[0].stream;
    assert_int_equal(option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option(s, IPPROTO_TCP, TCP_KEEPINTVL), 20);
    assert_int_equal(option(s, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option(s, IPPROTO_TCP, TCP_NODELAY), 1);
    close(fd);
    close_door(t, d);
    test_net_drain(t);
}

static unsigned unacknowledged(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_unacked;
}

/* Once data went both ways the kernel waits for an answer that could carry the acknowledgement. */
static void what_gets_no_answer_is_acknowledged_when_asked(void **state)
{
    struct test_net *t = *state;
    struct door *d = open_door(t, "127.0.0.1:0");
    int fd = dial(mdg_listener_addr(d->listener));
    test_net_turn(t);
    assert_int_equal(d->accepted, 1);
    struct test_peer *p = &d->peers[0];
    struct mdg_slice answer = MDG_SLICE_LIT("answer");
    for (int i = 0; i < 20; i++) {
        size_t before = p->got_len;
        put(fd, "ask");
        TEST_NET_UNTIL(t, p->got_len > before);
        assert_int_equal(mdg_stream_write(p->stream, &answer, 1), 0);
        mdg_stream_acknowledge(p->stream); /* output is on its way: left to it */
        test_net_turn(t);
        expect_text(fd, "answer");
    }
    bool waited = false;
    for (int i = 0; i < 20 && !waited; i++) { /* a busy machine may be late, and the kernel first */
        size_t before = p->got_len;
        put(fd, "no answer");
        TEST_NET_UNTIL(t, p->got_len > before);
        waited = unacknowledged(fd) > 0;
        mdg_stream_acknowledge(p->stream);
        assert_int_equal(unacknowledged(fd), 0);
    }
    assert_true(waited);
    close(fd);
    close_door(t, d);
    test_net_drain(t);
}

static size_t blocks(const struct mdg_arena_block *block)
{
    size_t n = 0;
    for (; block; block = block->next)
        n++;
    return n;
}

/* Copies of small writes live for a turn; what a busy turn needed is not kept for ever. */
static void busy_turns_leave_no_memory_behind(void **state)
{
    struct test_net *t = *state;
    struct test_peer p = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user);
    char text[1000];
    static char drained[1 << 16];
    memset(text, 'x', sizeof text);
    struct mdg_slice part = mdg_slice(text, sizeof text);
    mdg_stream_set_out_max(p.stream, 4 << 20);
    size_t most = 0;
    for (int turn = 0; turn < 100; turn++) {
        for (int i = 0; i < 1000; i++)
            assert_int_equal(mdg_stream_write(p.stream, &part, 1), 0);
        while (p.stream->out_bytes > 0) {
            test_net_turn(t);
            while (read(fd, drained, sizeof drained) > 0)
                ;
        }
        size_t now = blocks(t->net->arena) + blocks(t->net->arena_spare);
        most = turn < 2 ? now : most;
        assert_true(now <= most);
    }
    test_net_drain(t);
    test_peer_free(&p);
    close(fd);
}

static void a_stream_may_be_closed_inside_on_accept(void **state)
{
    struct test_net *t = *state;
    struct door *d = open_door(t, "127.0.0.1:0");
    d->close_at_once = true;
    int fd = dial(mdg_listener_addr(d->listener));
    put(fd, "ignored");
    test_net_turn(t);
    assert_int_equal(d->peers[0].closes, 1);
    assert_int_equal(d->peers[0].close_reason, 3);
    assert_int_equal(d->peers[0].data_calls, 0);
    close(fd);
    close_door(t, d);
    test_net_drain(t);
}

static void a_port_in_use_is_an_error(void **state)
{
    struct test_net *t = *state;
    struct door *d = open_door(t, "127.0.0.1:0");
    struct mdg_listener_config config = {.addr = *mdg_listener_addr(d->listener)};
    struct mdg_listener *second;
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, d, &second), -EADDRINUSE);
    close_door(t, d);
    test_net_drain(t);
}

static void two_loops_share_a_port_with_reuse_port(void **state)
{
    struct test_net *t = *state;
    struct door a = {0}, b = {0};
    struct mdg_listener_config config = {.reuse_port = true};
    assert_int_equal(mdg_addr_parse(&config.addr, MDG_SLICE_LIT("127.0.0.1:0")), 0);
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, &a, &a.listener), 0);
    config.addr = *mdg_listener_addr(a.listener);
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, &b, &b.listener), 0);
    mdg_listener_close(a.listener);
    mdg_listener_close(b.listener);
    test_net_drain(t);
}

static void an_inherited_socket_is_used_as_it_is(void **state)
{
    struct test_net *t = *state;
    struct door *d = open_door(t, "127.0.0.1:0");
    struct door other = {0};
    struct mdg_listener_config config = {.inherited_fd = dup(mdg_listener_fd(d->listener))};
    struct mdg_addr addr = *mdg_listener_addr(d->listener);
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, &other, &other.listener), 0);
    assert_true(mdg_addr_eq(&addr, mdg_listener_addr(other.listener)));
    close_door(t, d);
    int fd = dial(&addr);
    TEST_NET_UNTIL(t, other.accepted == 1);
    close(fd);
    mdg_listener_close(other.listener);
    test_net_drain(t);
}

static void unix_sockets_are_made_used_and_removed_and_stale_ones_replaced(void **state)
{
    struct test_net *t = *state;
    struct door d = {0};
    struct mdg_listener_config config = {.unix_mode = 0600};
    char path[64];
    snprintf(path, sizeof path, "/tmp/mdg-test-%d.sock", (int)getpid());
    assert_int_equal(mdg_addr_unix(&config.addr, mdg_slice_str(path)), 0);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, &config.addr.any, config.addr.len), 0);
    close(stale); /* the file stays */
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, &d, &d.listener), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    int fd = dial(&config.addr);
    put(fd, "hi");
    TEST_NET_UNTIL(t, d.accepted == 1 && d.peers[0].got_len == 2);
    assert_string_equal(mdg_stream_kind(d.peers[0].stream), "unix");
    struct mdg_listener *second;
    assert_int_equal(mdg_listener_new(t->net, &config, &door_user, &d, &second), -EADDRINUSE);
    mdg_listener_close(d.listener);
    assert_int_equal(stat(path, &st), -1);
    close(fd);
    TEST_NET_UNTIL(t, d.peers[0].eofs == 1);
    test_peer_free(&d.peers[0]);
    mdg_stream_close(d.peers[0].stream, 0);
    test_net_drain(t);
}

static void running_out_of_descriptors_pauses_accepting_and_says_so_once(void **state)
{
    struct test_net *t = *state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "valgrind"))
        skip(); /* it plays the limit itself: connections beyond it are accepted and thrown away */
    struct door *d = open_door(t, "127.0.0.1:0");
    struct rlimit before, low;
    enum { CLIENTS = 6 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial(mdg_listener_addr(d->listener));
    int highest = dup(0);
    close(highest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)highest + 2; /* room for two */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 5; i++)
        assert_true(mdg_loop_step(t->loop, 10) >= 0);
    assert_int_equal(d->accepted, 2);
    assert_int_equal(d->paused, 1);
    assert_int_equal(mdg_loop_step(t->loop, 0), 0); /* nothing spins */
    /* One goes, one comes. */
    mdg_stream_close(d->peers[0].stream, 0);
    for (int i = 0; i < 3; i++)
        assert_true(mdg_loop_step(t->loop, 0) >= 0);
    assert_int_equal(d->accepted, 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    TEST_NET_UNTIL(t, d->accepted == CLIENTS);
    assert_int_equal(d->resumed, d->paused);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close_door(t, d);
    test_net_drain(t);
}

static void one_address_cannot_have_every_connection(void **state)
{
    (void)state;
    const uint64_t seed[2] = {1, 2};
    struct mdg_accounts *accounts = mdg_accounts_new(2, seed);
    struct mdg_net_config config = {.uring = send_path, .accounts = accounts};
    struct test_net t;
    test_net_open_with(&t, NULL, &config);
    struct door *d = open_door(&t, "127.0.0.1:0");
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = dial(mdg_listener_addr(d->listener));
    for (int i = 0; i < 3; i++)
        test_net_turn(&t);
    assert_int_equal(d->accepted, 2);
    assert_int_equal(d->refused, 1);
    assert_int_equal(mdg_net_counters(t.net)->refused_account, 2);
    char byte;
    assert_int_equal(read(fds[2], &byte, 1), 0);
    /* Behind a proxy the client's own address counts, not the proxy's. */
    struct mdg_addr client, local = *mdg_listener_addr(d->listener), seen;
    assert_int_equal(mdg_addr_parse(&client, MDG_SLICE_LIT("9.8.7.6:5")), 0);
    assert_int_equal(mdg_stream_set_peer(d->peers[0].stream, &client, &local), 0);
    assert_int_equal(mdg_stream_peer(d->peers[0].stream, &seen), 0);
    assert_true(mdg_addr_eq(&seen, &client));
    close(fds[3]);
    fds[3] = dial(mdg_listener_addr(d->listener));
    TEST_NET_UNTIL(&t, d->accepted == 3);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close_door(&t, d);
    test_net_close(&t);
    mdg_accounts_free(accounts);
}

static void freeing_the_net_closes_what_is_open(void **state)
{
    (void)state;
    struct test_net t;
    struct test_peer p = {0};
    test_net_open(&t, send_path);
    int fd = test_peer_pair(&t, &p, &test_peer_user);
    test_net_close(&t);
    assert_int_equal(p.closes, 1);
    assert_int_equal(p.close_reason, MDG_E_CLOSED);
    close(fd);
}

static void the_send_path_is_the_one_that_was_asked_for(void **state)
{
    struct test_net *t = *state;
    assert_string_equal(mdg_net_send_path(t->net),
                        send_path == MDG_URING_OFF ? "sendmsg" : "io_uring");
    if (send_path == MDG_URING_OFF)
        return;
    struct test_peer p = {0}, q = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), other = test_peer_pair(t, &q, &test_peer_user);
    struct mdg_slice x = MDG_SLICE_LIT("x");
    uint64_t batches = mdg_net_counters(t->net)->batches;
    assert_int_equal(mdg_stream_write(p.stream, &x, 1), 0);
    assert_int_equal(mdg_stream_write(q.stream, &x, 1), 0);
    test_net_turn(t);
    assert_int_equal(mdg_net_counters(t->net)->batches, batches + 1);
    expect_text(fd, "x");
    expect_text(other, "x");
    close(fd);
    close(other);
    test_net_drain(t);
}

static void *run_elsewhere(void *arg)
{
    struct test_net *t = arg;
    static const struct mdg_slice x = {(const uint8_t *)"x", 1};
    struct test_peer p = {0}, q = {0};
    int fd = test_peer_pair(t, &p, &test_peer_user), other = test_peer_pair(t, &q, &test_peer_user);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mdg_stream_write(p.stream, &x, 1), 0);
        assert_int_equal(mdg_stream_write(q.stream, &x, 1), 0);
        test_net_turn(t);
    }
    expect_text(fd, "xxx");
    expect_text(other, "xxx");
    test_net_drain(t);
    close(fd);
    close(other);
    return NULL;
}

/* A server makes its loops on one thread and runs each on its own. */
static void the_send_path_survives_a_change_of_thread(void **state)
{
    struct test_net *t = *state;
    const char *path = mdg_net_send_path(t->net);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, t), 0);
        pthread_join(thread, NULL);
        assert_string_equal(mdg_net_send_path(t->net), path);
    }
    run_elsewhere(t);
    assert_string_equal(mdg_net_send_path(t->net), path);
    if (send_path != MDG_URING_OFF)
        assert_int_equal(mdg_net_counters(t->net)->batches, 9);
}

#define ON_NET(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

static const struct CMUnitTest tests[] = {
    ON_NET(what_arrives_is_offered_and_what_is_left_comes_again_in_front),
    ON_NET(a_peer_that_hung_up_is_known_before_the_loop_turns),
    ON_NET(output_of_a_turn_is_written_once_in_order),
    ON_NET(a_row_of_many_entries_is_sent_whole),
    ON_NET(many_streams_with_output_are_sent_before_the_turn_ends),
    ON_NET(an_echo_of_large_input_is_borrowed_and_arrives_unchanged),
    ON_NET(a_full_socket_keeps_the_rest_and_goes_on_when_there_is_room),
    ON_NET(a_reader_that_never_reads_costs_a_bounded_queue),
    ON_NET(a_peer_that_vanishes_ends_with_its_error_and_only_once),
    ON_NET(without_an_on_eof_the_end_closes_with_reason_zero),
    ON_NET(half_closed_streams_still_send_and_finish_after_the_queue),
    ON_NET(finishing_waits_for_the_peer_and_gives_up_after_its_time),
    ON_NET(shutdown_sends_what_is_queued_and_reading_goes_on),
    ON_NET(close_flushes_once_in_the_same_turn),
    ON_NET(a_reused_descriptor_gets_nothing_of_its_predecessor),
    ON_NET(a_paused_stream_is_not_read_and_loses_nothing),
    ON_NET(a_paused_stream_notices_that_its_peer_is_gone_for_good),
    ON_NET(unread_bytes_go_to_the_new_owner_in_the_same_turn),
    ON_NET(a_long_message_goes_into_its_own_buffer_and_the_surplus_to_on_data),
    ON_NET(what_nobody_consumes_is_bounded),
    ON_NET(a_negative_result_of_on_data_closes_with_it),
    ON_NET(a_stream_moves_to_another_loop_with_its_unread_bytes),
    ON_NET(timeouts_are_told_once_and_may_be_renewed_cheaply),
    ON_NET(accepted_connections_are_read_at_once),
    ON_NET(the_kernel_looks_after_connections_that_are_silent),
    ON_NET(what_gets_no_answer_is_acknowledged_when_asked),
    ON_NET(busy_turns_leave_no_memory_behind),
    ON_NET(a_stream_may_be_closed_inside_on_accept),
    ON_NET(a_port_in_use_is_an_error),
    ON_NET(two_loops_share_a_port_with_reuse_port),
    ON_NET(an_inherited_socket_is_used_as_it_is),
    ON_NET(unix_sockets_are_made_used_and_removed_and_stale_ones_replaced),
    ON_NET(running_out_of_descriptors_pauses_accepting_and_says_so_once),
    ON_NET(one_address_cannot_have_every_connection),
    ON_NET(freeing_the_net_closes_what_is_open),
    ON_NET(the_send_path_is_the_one_that_was_asked_for),
    ON_NET(the_send_path_survives_a_change_of_thread),
};

/* The ring may be refused here (containers, valgrind): then only the other path can be tested. */
static bool ring_is_allowed(void)
{
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_net_config config = {.uring = MDG_URING_ON};
    const char *forced = getenv("MADANG_IO_URING");
    if ((forced && forced[0] == '0') || mdg_loop_new(NULL, &loop) < 0)
        return false;
    bool allowed = mdg_net_new(loop, &config, &net) == 0;
    if (allowed)
        mdg_net_free(net);
    mdg_loop_free(loop);
    return allowed;
}

int main(void)
{
    bool both = ring_is_allowed();
    unsetenv("MADANG_IO_URING");
    int failed = cmocka_run_group_tests_name("sendmsg", tests, NULL, NULL);
    if (!both)
        return failed;
    send_path = MDG_URING_ON;
    return failed + cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
}
