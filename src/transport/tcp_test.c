/* Line and byte connections over socket pairs; what the client sends is cut into pieces. */
#include "net/net.h"
#include "tests/support/unit.h"
#include "transport/tcp.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
    char got[4096];
    size_t len;
    int closed, code;
    bool binary_seen, too_long_seen;
    int fail_on; /* the unit of that first letter is refused */
    bool pause_on_p;
};

struct fixture {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_tcp_config config;
    int client;
    struct mdg_stream *server;
    struct mdg_link *link;
    struct end owner, peer;
};

static void put(struct end *e, const void *data, size_t len)
{
    assert_true(e->len + len < sizeof e->got);
    if (len)
        memcpy(e->got + e->len, data, len);
    e->len += len;
    e->got[e->len] = '\0';
}

static int64_t early_data(struct mdg_stream *s, struct mdg_input in)
{
    (void)s;
    (void)in;
    return 0;
}

static void early_close(struct mdg_stream *s, int reason)
{
    (void)s;
    (void)reason;
}

static const struct mdg_stream_user early_user = {
    .name = "early", .on_data = early_data, .on_close = early_close};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct end *e = l->user_arg;
    if (!in.data) {
        e->too_long_seen = true;
        put(e, "<long>", 6);
        return 0;
    }
    e->binary_seen |= binary;
    put(e, "<", 1);
    put(e, in.data, in.len);
    put(e, ">", 1);
    if (e->pause_on_p && in.len && in.data[0] == 'p')
        l->carrier->pause(l, true);
    return e->fail_on && in.len && in.data[0] == e->fail_on ? MDG_E_SYNTAX : 0;
}

static void on_writable(struct mdg_link *l)
{
    (void)l;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct end *e = l->user_arg;
    (void)reason;
    e->closed++;
    e->code = code;
}

static const struct mdg_link_user user = {on_input, on_writable, on_close};

static void start(struct fixture *f)
{
    int pair[2];
    memset(f, 0, sizeof *f);
    f->config =
        (struct mdg_tcp_config){.line_bytes_max = 20, .out_bytes_max = 65536, .linger_s = 1};
    assert_int_equal(mdg_loop_new(NULL, &f->loop), 0);
    assert_int_equal(mdg_net_new(f->loop, NULL, &f->net), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->client = pair[0];
    assert_int_equal(mdg_stream_from_fd(f->net, pair[1], &early_user, NULL, &f->server), 0);
}

/* What has arrived at the client; its end is counted. */
static void read_client(struct fixture *f)
{
    char data[1024];
    ssize_t n;
    while (f->client >= 0 && (n = recv(f->client, data, sizeof data, 0)) >= 0) {
        put(&f->peer, data, (size_t)n);
        if (n == 0) {
            f->peer.closed++;
            close(f->client);
            f->client = -1;
        }
    }
}

static void pass(struct fixture *f, uint64_t ms)
{
    uint64_t until = mdg_loop_now_ms(f->loop) + ms;
    do {
        assert_true(mdg_loop_step(f->loop, ms ? 10 : 0) >= 0);
        read_client(f);
    } while (mdg_loop_now_ms(f->loop) < until);
}

static void stop(struct fixture *f)
{
    mdg_net_close_all(f->net, 0);
    pass(f, 0);
    pass(f, 0);
    assert_int_equal(f->owner.closed, 1);
    if (f->client >= 0)
        close(f->client);
    mdg_net_free(f->net);
    mdg_loop_free(f->loop);
}

static void type_cut(struct fixture *f, const char *text, size_t piece)
{
    for (size_t at = 0, len = strlen(text); at < len && f->client >= 0; at += piece) {
        size_t n = mdg_min_size(piece, len - at);
        ssize_t sent = send(f->client, text + at, n, MSG_NOSIGNAL);
        assert_true(sent == (ssize_t)n || errno == EPIPE); /* the server may have closed */
        pass(f, 0);
        pass(f, 0);
    }
}

static void type(struct fixture *f, const char *text)
{
    type_cut(f, text, 5);
}

static void accept_line(struct fixture *f)
{
    assert_int_equal(mdg_tcp_line_accept(f->server, &f->config, &user, &f->owner, &f->link), 0);
}

static void lines_come_whole_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= 20; piece++) {
        struct fixture f;
        start(&f);
        accept_line(&f);
        type_cut(&f, "hello\r\nworld\n\nGET well soon\n", piece);
        assert_string_equal(f.owner.got, "<hello><world><><GET well soon>");
        assert_false(f.owner.binary_seen);
        assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("one\ntwo\r"), NULL), 0);
        pass(&f, 20);
        assert_string_equal(f.peer.got, "one two \n");
        stop(&f);
    }
}

static void a_long_line_is_told_and_survived(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    type(&f, "0123456789012345678901234567890123456789\nnext\n");
    assert_string_equal(f.owner.got, "<long><next>");
    type(&f, "bad \xff\xff utf\xc3(\n");
    assert_true(f.owner.binary_seen);
    assert_int_equal(f.owner.closed, 0);
    stop(&f);
}

static void long_units_go_out_whole(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    char unit[3000];
    memset(unit, 'u', sizeof unit);
    assert_int_equal(mdg_link_send_unit(f.link, mdg_slice(unit, sizeof unit), NULL), 0);
    pass(&f, 30);
    assert_int_equal(f.peer.len, sizeof unit + 1);
    const struct mdg_unit_meta binary = {.binary = true};
    assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("x"), &binary), MDG_E_UNSUPPORTED);
    stop(&f);
}

static void half_close_gets_its_answers(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    assert_int_equal(send(f.client, "one\ntwo", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(shutdown(f.client, SHUT_WR), 0);
    pass(&f, 20);
    assert_string_equal(f.owner.got, "<one><two>");
    assert_int_equal(f.owner.closed, 0);
    assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("answer"), NULL), 0);
    pass(&f, 2500);
    assert_string_equal(f.peer.got, "answer\n");
    assert_int_equal(f.owner.closed, 1);
    assert_int_equal(f.owner.code, MDG_CLOSE_NORMAL);
    assert_int_equal(f.peer.closed, 1);
    stop(&f);
}

static void a_request_line_closes(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    type(&f, "hi\nPOST / HTTP/1.1\nx\n");
    pass(&f, 1500);
    assert_string_equal(f.owner.got, "<hi>");
    assert_int_equal(f.owner.code, MDG_CLOSE_POLICY);
    stop(&f);
}

static void what_is_said_before_a_close_arrives(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    f.owner.fail_on = 'x';
    type(&f, "a\nxyz\nb\n");
    assert_string_equal(f.owner.got, "<a><xyz>");
    pass(&f, 1500);
    assert_int_equal(f.owner.closed, 1);
    assert_int_equal(f.owner.code, MDG_CLOSE_PROTOCOL);
    stop(&f);
    start(&f);
    accept_line(&f);
    assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("bye"), NULL), 0);
    mdg_link_close(f.link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
    mdg_link_close(f.link, MDG_CLOSE_POLICY, mdg_slice(NULL, 0));
    assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("late"), NULL), MDG_E_CLOSED);
    pass(&f, 1500);
    assert_string_equal(f.peer.got, "bye\n");
    assert_int_equal(f.owner.code, MDG_CLOSE_NORMAL);
    stop(&f);
}

static void a_paused_owner_gets_no_lines(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    accept_line(&f);
    f.owner.pause_on_p = true;
    type(&f, "a\npause\nb\nc\n");
    assert_string_equal(f.owner.got, "<a><pause>");
    f.link->carrier->pause(f.link, false);
    pass(&f, 20);
    assert_string_equal(f.owner.got, "<a><pause><b><c>");
    stop(&f);
}

/* Others have their turn between the lines of one who sends many; and none of his is lost, be it
 * that he hangs up at once. */
static void a_flood_of_lines_takes_many_turns_and_arrives_whole(void **state)
{
    (void)state;
    enum { LINES = 1300 };
    struct fixture f;
    char flood[2 * LINES], all[3 * LINES + 1];
    for (size_t i = 0; i < LINES; i++) {
        char c = (char)('a' + i % 26);
        memcpy(flood + 2 * i, (char[]){c, '\n'}, 2);
        memcpy(all + 3 * i, (char[]){'<', c, '>'}, 3);
    }
    all[3 * LINES] = '\0';
    start(&f);
    accept_line(&f);
    assert_int_equal(send(f.client, flood, sizeof flood, MSG_NOSIGNAL), sizeof flood);
    close(f.client);
    f.client = -1;
    assert_true(mdg_loop_step(f.loop, 0) >= 0);
    assert_in_range(f.owner.len, 1, 3 * LINES / 2);
    pass(&f, 20);
    assert_string_equal(f.owner.got, all);
    pass(&f, 1500);
    assert_int_equal(f.owner.closed, 1);
    stop(&f);
}

static void bytes_pass_as_they_are(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    assert_int_equal(mdg_tcp_bytes_accept(f.server, &f.config, &user, &f.owner, &f.link), 0);
    type(&f, "CONNECT\n\n\n");
    assert_true(f.owner.binary_seen);
    const struct mdg_unit_meta binary = {.binary = true};
    assert_int_equal(mdg_link_send_unit(f.link, MDG_SLICE_LIT("a\n\r"), &binary), 0);
    pass(&f, 20);
    assert_string_equal(f.peer.got, "a\n\r");
    close(f.client);
    f.client = -1;
    pass(&f, 1500);
    assert_int_equal(f.owner.closed, 1);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_whole_however_they_are_cut),
        cmocka_unit_test(a_long_line_is_told_and_survived),
        cmocka_unit_test(long_units_go_out_whole),
        cmocka_unit_test(half_close_gets_its_answers),
        cmocka_unit_test(a_request_line_closes),
        cmocka_unit_test(what_is_said_before_a_close_arrives),
        cmocka_unit_test(a_paused_owner_gets_no_lines),
        cmocka_unit_test(a_flood_of_lines_takes_many_turns_and_arrives_whole),
        cmocka_unit_test(bytes_pass_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
