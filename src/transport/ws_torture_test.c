/* Out of memory at every place of a WebSocket connection's life: the connection is lost, nothing
 * else, its user hears of the end exactly once, and nothing is left behind. */
#include "base/mask.h"
#include "loop/loop.h"
#include "net/net.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include "transport/ws_conn.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct scene {
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_ws_worker *worker;
    int peer;
    bool takeover;
    unsigned units, closes;
};

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct scene *s = l->user_arg;
    struct mdg_unit_meta meta = {.binary = binary, .compress = true};
    struct mdg_slice unit = mdg_slice(in.data, in.len);
    s->units++;
    if (mdg_link_send_unit(l, unit, &meta) < 0)
        return 0;
    uint8_t room[40000];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    if (l->framing && mdg_frame(l->framing, &w, unit, &meta) == 0 && mdg_writer_fits(&w)) {
        struct mdg_chunk chunk = {mdg_blob_copy(mdg_slice(room, w.len)), 0, (uint32_t)w.len};
        if (chunk.blob && mdg_link_send(l, &chunk, 1) < 0)
            mdg_blob_unref(chunk.blob);
    }
    return 0;
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)code, (void)reason;
    ((struct scene *)l->user_arg)->closes++;
}

static const struct mdg_link_user user = {on_input, NULL, on_close};

static const struct mdg_ws_options options = {.message_bytes_max = 100000,
                                              .out_bytes_max = 1 << 20,
                                              .ping_interval_s = 5,
                                              .ping_timeout_s = 5,
                                              .close_timeout_s = 1,
                                              .compress = true,
                                              .compress_bytes_min = 100,
                                              .window_bits = 15};

static void turns(struct scene *s)
{
    uint8_t sink[65536];
    for (int i = 0; i < 6; i++) {
        assert_true(mdg_loop_step(s->loop, 0) >= 0);
        while (recv(s->peer, sink, sizeof sink, MSG_DONTWAIT) > 0)
            ;
    }
}

static void say(struct scene *s, uint8_t first, const void *payload, size_t len)
{
    static uint8_t wire[65536];
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint32_t key;
    size_t head =
        mdg_ws_enc_head(wire, (enum mdg_ws_op)(first & 15), first & 0x80, first & 0x40, len, mask);
    memcpy(wire + head, payload, len);
    memcpy(&key, mask, 4);
    mdg_mask(wire + head, len, &key);
    /* In two pieces, so that the second comes after the first was kept. The peer may be gone. */
    size_t half = (head + len) / 2;
    if (send(s->peer, wire, half, MSG_NOSIGNAL) < 0)
        return;
    turns(s);
    if (send(s->peer, wire + half, head + len - half, MSG_NOSIGNAL) < 0)
        return;
    turns(s);
}

static void talk(struct scene *s)
{
    /* "Hello" (RFC 7692 7.2.3.1), and text that shrinks. */
    static const uint8_t hello[] = {0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00};
    static uint8_t text[30000];
    memset(text, 'w', sizeof text);
    say(s, 0x81, "short", 5);
    say(s, 0x81, text, sizeof text);
    say(s, 0x02, text, 5000);
    say(s, 0x00, text, 5000);
    say(s, 0x80, text, 5000);
    say(s, 0xc1, hello, sizeof hello);
    say(s, 0x89, "ping", 4);
    say(s, 0x88, "\x03\xe8", 2);
}

static int connect_scene(struct scene *s)
{
    struct mdg_ws_deflate agreed = {.on = true,
                                    .server_fresh = !s->takeover,
                                    .client_fresh = !s->takeover,
                                    .server_bits = 15,
                                    .client_bits = 15};
    struct mdg_ws_endpoint *e;
    struct mdg_ws_conn *c;
    struct mdg_stream *stream;
    int fds[2];
    int rc = mdg_ws_endpoint_get(s->worker, &options, false, &agreed, &e);
    if (rc == 0)
        rc = mdg_ws_conn_new(e, &user, s, &c);
    if (rc < 0)
        return rc;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    rc = mdg_stream_from_fd(s->net, fds[0], &mdg_ws_stream_user, c, &stream);
    if (rc < 0) {
        mdg_ws_conn_free(c);
        close(fds[0]);
        close(fds[1]);
        return rc;
    }
    mdg_ws_conn_start(c, stream);
    s->peer = fds[1];
    return 0;
}

static void run(void *arg)
{
    struct mdg_net_config config = {.uring = MDG_URING_OFF};
    struct scene s = {.peer = -1, .takeover = *(bool *)arg};
    mdg_test_torture_pause();
    assert_int_equal(mdg_loop_new(NULL, &s.loop), 0);
    assert_int_equal(mdg_net_new(s.loop, &config, &s.net), 0);
    mdg_test_torture_resume();
    if (mdg_ws_worker_new(s.loop, &s.worker) == 0 && connect_scene(&s) == 0) {
        talk(&s);
        close(s.peer);
        s.peer = socket(AF_UNIX, SOCK_STREAM, 0); /* something to read from: nothing comes */
        turns(&s);
        mdg_net_close_all(s.net, MDG_E_CLOSED);
        turns(&s);
        assert_int_equal(s.closes, 1);
        close(s.peer);
    }
    mdg_net_free(s.net);
    mdg_ws_worker_free(s.worker);
    mdg_loop_free(s.loop);
}

static void a_connection_survives_or_ends_well_without_context_takeover(void **state)
{
    bool takeover = false;
    (void)state;
    mdg_test_torture(run, &takeover);
}

static void a_connection_survives_or_ends_well_with_context_takeover(void **state)
{
    bool takeover = true;
    (void)state;
    mdg_test_torture(run, &takeover);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_survives_or_ends_well_without_context_takeover),
        cmocka_unit_test(a_connection_survives_or_ends_well_with_context_takeover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
