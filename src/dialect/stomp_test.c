/* The STOMP broker, one conversation a test. Both sides are written with ^ for the NUL at the end
 * of a frame; what a connection was sent is compared after session ids were replaced by SID. */
#include "dialect/stomp.h"
#include "hub/durable.h"
#include "loop/loop.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct world {
    struct mdg_loop *loop;
    struct mdg_hub *hub;
    struct mdg_queues *queues;
    struct mdg_stomp_config config;
    struct mdg_stomp_server server;
};

struct client {
    struct mdg_link link;
    struct world *world;
    struct mdg_stomp *conn;
    char out[65536];
    size_t out_len;
    bool full, closed, paused, binary;
    int code;
    struct mdg_blob *last_memory; /* of the last chunk that was sent: a reference */
};

static int take(struct client *c, struct mdg_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        assert_true(c->out_len < sizeof c->out - 1);
        c->out[c->out_len++] = bytes.data[i] ? (char)bytes.data[i] : '^';
    }
    c->out[c->out_len] = '\0';
    return 0;
}

static int fake_send(struct mdg_link *l, struct mdg_chunk *chunks, size_t n)
{
    struct client *c = MDG_CONTAINER_OF(l, struct client, link);
    if (c->closed)
        return MDG_E_CLOSED;
    if (c->full)
        return MDG_E_FULL;
    for (size_t i = 0; i < n; i++) {
        take(c, mdg_chunk_slice(&chunks[i]));
        mdg_blob_unref(c->last_memory);
        c->last_memory = chunks[i].blob;
        chunks[i].blob = NULL;
    }
    return 0;
}

static int fake_send_unit(struct mdg_link *l, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    struct client *c = MDG_CONTAINER_OF(l, struct client, link);
    c->binary |= meta->binary;
    if (c->closed)
        return MDG_E_CLOSED;
    return c->full ? MDG_E_FULL : take(c, unit);
}

static void fake_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct client *c = MDG_CONTAINER_OF(l, struct client, link);
    (void)reason;
    if (!c->closed)
        c->code = code;
    c->closed = true;
}

static void fake_pause(struct mdg_link *l, bool paused)
{
    MDG_CONTAINER_OF(l, struct client, link)->paused = paused;
}

static const struct mdg_carrier fake_carrier = {.name = "fake",
                                                .send = fake_send,
                                                .send_unit = fake_send_unit,
                                                .close = fake_close,
                                                .pause = fake_pause};
static const struct mdg_framing bytes_framing = {.name = "bytes", .joinable = true};

static int authenticate(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    (void)arg;
    if (hs->login.len && !mdg_slice_eq(hs->passcode, MDG_SLICE_LIT("guest")))
        return MDG_E_DENIED;
    *out = mdg_principal_new(hs->login.len ? hs->login : MDG_SLICE_LIT("nobody"), !hs->login.len,
                             MDG_RIGHTS_USER, 0);
    return *out ? 0 : MDG_E_NO_MEMORY;
}

static void random_bytes(void *arg, void *out, size_t len)
{
    mdg_loop_random(((struct world *)arg)->loop, out, len);
}

static void start(struct world *w)
{
    static const uint64_t seed[2] = {5, 6};
    struct mdg_loop_config loop = {.kind = MDG_LOOP_SIM, .sim_seed = 1};
    struct mdg_hub_config hub;
    struct mdg_queues_config queues = {.worker_count = 1,
                                       .queues_max = 100,
                                       .messages_max = 100,
                                       .bytes_max = 1 << 20,
                                       .bytes_total_max = 1 << 20,
                                       .prefetch_max = 100,
                                       .tries_max = 3,
                                       .idle_s = 60,
                                       .dead_to = MDG_SLICE_LIT("/queue/dead")};
    *w = (struct world){0};
    mdg_hub_config_init(&hub);
    assert_int_equal(mdg_loop_new(&loop, &w->loop), 0);
    assert_int_equal(mdg_hub_new(&hub, 0, seed, &w->hub), 0);
    assert_int_equal(mdg_queues_new(&queues, seed, &w->queues), 0);
    mdg_hub_set_time(w->hub, 1, 1000);
    mdg_stomp_config_init(&w->config);
    w->config.room_headers = false;
    w->config.subscriptions_max = 3;
    w->config.transactions_max = 2;
    w->config.transaction_ops_max = 3;
    w->server = (struct mdg_stomp_server){.config = &w->config,
                                          .hub = w->hub,
                                          .queues = w->queues,
                                          .loop = w->loop,
                                          .random = random_bytes,
                                          .authenticate = authenticate,
                                          .arg = w};
    mdg_stomp_server_init(&w->server);
}

static void turn(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        while (mdg_hub_turn(w->hub))
            ;
        while (mdg_queues_turn(w->queues))
            ;
    }
}

/* What waits for the loop goes on. */
static void go_round(struct world *w)
{
    assert_true(mdg_loop_step(w->loop, 0) >= 0);
    turn(w);
}

static void open_client(struct world *w, struct client *c)
{
    struct mdg_handshake hs = {.carrier = "fake", .address = MDG_SLICE_LIT("::1")};
    *c = (struct client){.world = w};
    assert_int_equal(mdg_stomp_new(&w->server, &hs, &c->conn), 0);
    c->link = (struct mdg_link){&fake_carrier, &bytes_framing, &mdg_stomp_link_user, c->conn};
    mdg_stomp_attach(c->conn, &c->link);
}

static void drop(struct client *c)
{
    if (c->conn)
        mdg_stomp_link_user.on_close(&c->link, 1006, mdg_slice(NULL, 0));
    c->conn = NULL;
    mdg_blob_unref(c->last_memory);
    c->last_memory = NULL;
    turn(c->world);
}

static void stop(struct world *w)
{
    turn(w);
    mdg_stomp_server_fini(&w->server);
    mdg_queues_free(w->queues);
    mdg_hub_free(w->hub);
    mdg_loop_free(w->loop);
}

/* Everything that was said, in one piece or byte by byte. */
static void say(struct client *c, const char *text)
{
    size_t len = strlen(text);
    char *bytes = malloc(len + 1);
    memcpy(bytes, text, len);
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '^')
            bytes[i] = '\0';
    }
    struct mdg_input in = {(uint8_t *)bytes, len};
    assert_int_equal(mdg_stomp_link_user.on_input(&c->link, in, false), 0);
    free(bytes);
    turn(c->world);
}

static void hide_session(char *text)
{
    for (char *at = text; (at = strstr(at, "session-")) != NULL; at += 8) {
        if (strspn(at + 8, "0123456789abcdef") >= 16) {
            memcpy(at + 8, "SID", 3);
            memmove(at + 11, at + 24, strlen(at + 24) + 1);
        }
    }
    for (char *at = text; (at = strstr(at, "/reply-queue/")) != NULL; at += 13) {
        if (strspn(at + 13, "0123456789abcdef") >= 16) {
            memcpy(at + 13, "SID", 3);
            memmove(at + 16, at + 29, strlen(at + 29) + 1);
        }
    }
}

static void hear(struct client *c, const char *expected)
{
    hide_session(c->out);
    assert_string_equal(c->out, expected);
    c->out_len = 0;
    c->out[0] = '\0';
}

static void connect(struct client *c, const char *version)
{
    char text[100];
    snprintf(text, sizeof text, "CONNECT\naccept-version:%s\nlogin:ann\npasscode:guest\n\n^",
             version);
    say(c, text);
    assert_non_null(strstr(c->out, "CONNECTED"));
    c->out_len = 0;
    c->out[0] = '\0';
}

static void open_connected(struct world *w, struct client *c, const char *version)
{
    open_client(w, c);
    connect(c, version);
}

#define FRAME_1(sub, dest, tag, redelivered, body)                                                 \
    "MESSAGE\nsubscription:" sub "\ndestination:" dest "\nmessage-id:T_" sub "@@session-SID@@" tag \
    "\nredelivered:" redelivered "\n" body "^"

/* From a room, to who does not acknowledge: the message-id is the place in the room. */
#define ROOM_FRAME(sub, dest, seq, body)                                                           \
    "MESSAGE\nsubscription:" sub "\ndestination:" dest "\nmessage-id:T_" sub "@@session-SID-" seq  \
    "\nredelivered:false\n" body "^"

static void connect_answers_with_version_session_and_heartbeat(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    open_client(&w, &c);
    say(&c, "CONNECT\nlogin:ann\npasscode:guest\n\n\n^");
    hear(&c, "CONNECTED\nserver:madang\nsession:session-SID\nheart-beat:0,0\nversion:1.0\n\n^");
    drop(&c);
    open_client(&w, &c);
    say(&c, "STOMP\r\naccept-version:1.1,1.2\r\nhost:x\r\nheart-beat:4000,500\r\n\r\n^\r\n");
    hear(&c,
         "CONNECTED\nserver:madang\nsession:session-SID\nheart-beat:1000,4000\nversion:1.2\n\n^");
    drop(&c);
    stop(&w);
}

static void connect_is_refused_with_reasons(void **state)
{
    (void)state;
    const struct mdg_slice vhosts[] = {MDG_SLICE_LIT("/")};
    struct world w;
    struct client c;
    start(&w);
    w.config.vhosts = vhosts;
    w.config.vhost_count = 1;
    static const struct {
        const char *said, *message, *body;
    } cases[] = {
        {"CONNECT\naccept-version:100.1\n\n^", "Version mismatch",
         "Supported versions are 1.0,1.1,1.2\n"},
        {"CONNECT\naccept-version:1.1\nhost:/\nlogin:ann\npasscode:x\n\n^", "Bad CONNECT",
         "Access refused for user 'ann'\n"},
        {"CONNECT\naccept-version:1.1\nhost://\n\n^", "Bad CONNECT",
         "Virtual host '//' access denied"},
        {"SEND\ndestination:/queue/a\n\n^", "Illegal command",
         "You must log in using CONNECT before you send SEND\n"},
        {"CONNECT\nheart-beat:x\n\n^", "Bad CONNECT",
         "The heart-beat header is not two numbers.\n"},
        {"NONSENSE\n\n^", "Bad command", "Could not interpret command \"NONSENSE\"\n"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        char expected[512];
        open_client(&w, &c);
        say(&c, cases[i].said);
        snprintf(expected, sizeof expected,
                 "ERROR\nmessage:%s\ncontent-type:text/plain\nversion:1.0,1.1,1.2\n"
                 "content-length:%zu\n\n%s^",
                 cases[i].message, strlen(cases[i].body), cases[i].body);
        hear(&c, expected);
        assert_true(c.closed);
        drop(&c);
    }
    stop(&w);
}

static void a_topic_reaches_everyone_with_headers_as_sent(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.1");
    open_connected(&w, &b, "1.0");
    say(&a, "SUBSCRIBE\nid:s\ndestination:/topic/t\nreceipt:r1\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:r1\n\n^");
    say(&b, "SUBSCRIBE\ndestination:/topic/t\n\n^");
    say(&a,
        "SEND\ndestination:/topic/t\ncontent-type:text/plain\na\\cb:c\\nd\na\\cb:e\nreceipt:r2\n"
        "\nhello\n^");
    hear(&a, "RECEIPT\nreceipt-id:r2\n\n^" ROOM_FRAME("s", "/topic/t", "1",
                                                      "content-type:text/plain\na\\cb:c\\nd\n"
                                                      "content-length:6\n\nhello\n"));
    /* 1.0 cannot carry such a header. */
    hear(&b, "MESSAGE\ndestination:/topic/t\nmessage-id:Q_/topic/t@@session-SID-1\n"
             "redelivered:false\ncontent-type:text/plain\ncontent-length:6\n\nhello\n^");
    say(&b, "UNSUBSCRIBE\ndestination:/topic/t\nreceipt:u\n\n^");
    hear(&b, "RECEIPT\nreceipt-id:u\n\n^");
    say(&a, "SEND\ndestination:/topic/t\n\nx^");
    hear(&b, "");
    drop(&a);
    drop(&b);
    stop(&w);
}

/* The same bytes for many are one block of memory, which their connections refer to. */
static void subscribers_with_the_same_messages_share_their_memory(void **state)
{
    (void)state;
    struct world w;
    struct client publisher, same[2], others[3];
    const char *const subscriptions[] = {"id:y\n", "id:x\nack:client\n", "id:x\n"};
    start(&w);
    open_connected(&w, &publisher, "1.2");
    for (size_t i = 0; i < MDG_ARRAY_LEN(same); i++) {
        open_connected(&w, &same[i], "1.2");
        say(&same[i], "SUBSCRIBE\nid:x\ndestination:/topic/t\n\n^");
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(others); i++) {
        char text[100];
        open_connected(&w, &others[i], i < 2 ? "1.2" : "1.1");
        snprintf(text, sizeof text, "SUBSCRIBE\n%sdestination:/topic/t\n\n^", subscriptions[i]);
        say(&others[i], text);
    }
    /* From the second burst on: who is the first to hear one is alone yet. */
    say(&publisher, "SEND\ndestination:/topic/t\n\nzero^");
    for (size_t i = 0; i < MDG_ARRAY_LEN(same); i++)
        same[i].out_len = 0;
    for (size_t i = 0; i < MDG_ARRAY_LEN(others); i++)
        others[i].out_len = 0;
    say(&publisher, "SEND\ndestination:/topic/t\n\none^SEND\ndestination:/topic/t\n\ntwo^");
    assert_ptr_equal(same[0].last_memory, same[1].last_memory);
    for (size_t i = 0; i < MDG_ARRAY_LEN(others); i++) {
        assert_non_null(others[i].last_memory);
        assert_ptr_not_equal(others[i].last_memory, same[0].last_memory);
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(same); i++)
        hear(&same[i], ROOM_FRAME("x", "/topic/t", "2", "content-length:3\n\none")
                           ROOM_FRAME("x", "/topic/t", "3", "content-length:3\n\ntwo"));
    hear(&others[0], ROOM_FRAME("y", "/topic/t", "2", "content-length:3\n\none")
                         ROOM_FRAME("y", "/topic/t", "3", "content-length:3\n\ntwo"));
    hear(&others[1],
         FRAME_1("x", "/topic/t", "1-2", "false", "ack:1-2\ncontent-length:3\n\none")
             FRAME_1("x", "/topic/t", "1-3", "false", "ack:1-3\ncontent-length:3\n\ntwo"));
    drop(&publisher);
    for (size_t i = 0; i < MDG_ARRAY_LEN(same); i++)
        drop(&same[i]);
    for (size_t i = 0; i < MDG_ARRAY_LEN(others); i++)
        drop(&others[i]);
    stop(&w);
}

static void wildcards_tell_the_real_destination(void **state)
{
    (void)state;
    struct world w;
    struct client a;
    start(&w);
    open_connected(&w, &a, "1.2");
    say(&a, "SUBSCRIBE\nid:s\ndestination:/topic/a.*\n\n^SUBSCRIBE\nid:t\ndestination:/topic/#\n\n^"
            "SEND\ndestination:/topic/a.b\n\nx^");
    assert_non_null(strstr(a.out, "subscription:s\ndestination:/topic/a.b\n"));
    assert_non_null(strstr(a.out, "subscription:t\ndestination:/topic/a.b\n"));
    drop(&a);
    stop(&w);
}

/* 1.1 wants `subscription` too, which clients of some brokers leave out. */
static void in_1_1_the_message_id_alone_names_a_delivery(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    open_connected(&w, &c, "1.1");
    say(&c, "SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client\n\n^"
            "SEND\ndestination:/queue/q\n\nx^");
    char text[200], id[100] = {0};
    sscanf(strstr(c.out, "message-id:") + 11, "%99[^\n]", id);
    snprintf(text, sizeof text, "NACK\nmessage-id:%s\nrequeue:false\nreceipt:n\n\n^", id);
    c.out_len = 0;
    say(&c, text);
    hear(&c, "RECEIPT\nreceipt-id:n\n\n^");
    drop(&c);
    stop(&w);
}

static void queue_messages_are_acknowledged_one_by_one(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.2");
    say(&a, "SEND\ndestination:/queue/q\nreceipt:s\n\none^SEND\ndestination:/queue/q\n\ntwo^");
    hear(&a, "RECEIPT\nreceipt-id:s\n\n^");
    say(&a, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client-individual\n\n^");
    hear(&a, FRAME_1("1", "/queue/q", "1-1", "false", "ack:1-1\ncontent-length:3\n\none")
                 FRAME_1("1", "/queue/q", "1-2", "false", "ack:1-2\ncontent-length:3\n\ntwo"));
    say(&a, "ACK\nid:1-2\nreceipt:a\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:a\n\n^");
    drop(&a);
    open_connected(&w, &b, "1.1");
    say(&b, "SUBSCRIBE\nid:x\ndestination:/queue/q\nack:client\n\n^");
    hear(&b, FRAME_1("x", "/queue/q", "1-1", "true", "content-length:3\n\none"));
    say(&b, "NACK\nmessage-id:T_x@@session-SID@@1-1\nsubscription:x\n\n^");
    hear(&b, FRAME_1("x", "/queue/q", "1-2", "true", "content-length:3\n\none"));
    say(&b,
        "NACK\nmessage-id:T_x@@session-SID@@1-2\nsubscription:x\nrequeue:false\nreceipt:n\n\n^");
    hear(&b, "RECEIPT\nreceipt-id:n\n\n^");
    say(&b, "SUBSCRIBE\nid:d\ndestination:/queue/dead\n\n^");
    hear(&b, FRAME_1("d", "/queue/dead", "2-1", "false",
                     "original-destination:/queue/q\ndead-letter-reason:rejected\n"
                     "content-length:3\n\none"));
    say(&b, "ACK\nmessage-id:T_x@@session-SID@@1-2\nsubscription:x\n\n^");
    assert_non_null(strstr(b.out, "ERROR\nmessage:Message not found\n"));
    assert_true(b.closed);
    drop(&b);
    stop(&w);
}

/* A worker may still be busy with a message when its client unsubscribes. */
static void after_unsubscribe_an_ack_counts_until_somebody_else_has_the_message(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.2");
    open_connected(&w, &b, "1.2");
    say(&a, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client-individual\n\n^"
            "SEND\ndestination:/queue/q\n\none^SEND\ndestination:/queue/q\n\ntwo^"
            "SEND\ndestination:/queue/q\n\nthree^SEND\ndestination:/queue/q\n\nfour^");
    say(&a, "UNSUBSCRIBE\nid:1\n\n^");
    a.out_len = 0;
    say(&a, "ACK\nid:1-2\nreceipt:2\n\n^NACK\nid:1-3\nrequeue:false\nreceipt:3\n\n^"
            "BEGIN\ntransaction:t\n\n^ACK\nid:1-4\ntransaction:t\nreceipt:4\n\n^"
            "COMMIT\ntransaction:t\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:2\n\n^RECEIPT\nreceipt-id:3\n\n^RECEIPT\nreceipt-id:4\n\n^");
    say(&b, "SUBSCRIBE\nid:x\ndestination:/queue/q\n\n^");
    hear(&b, FRAME_1("x", "/queue/q", "1-1", "true", "content-length:3\n\none"));
    say(&a, "ACK\nid:1-1\nreceipt:late\n\n^");
    assert_non_null(strstr(a.out, "ERROR\n"));
    assert_non_null(strstr(a.out, "receipt-id:late\n"));
    drop(&a);
    say(&b, "SUBSCRIBE\nid:d\ndestination:/queue/dead\n\n^");
    assert_non_null(strstr(b.out, "\n\nthree^"));
    drop(&b);
    stop(&w);
}

/* In 1.0 and 1.1 too, and a cumulative one covers what was before it. */
static void after_unsubscribe_acks_are_still_cumulative(void **state)
{
    (void)state;
    struct world w;
    struct client a;
    const char *const ack = "ACK\nmessage-id:whatever@@1-2\nreceipt:r\n\n^";
    start(&w);
    open_connected(&w, &a, "1.0");
    say(&a, "SUBSCRIBE\ndestination:/queue/q\nack:client\n\n^"
            "SEND\ndestination:/queue/q\n\none^SEND\ndestination:/queue/q\n\ntwo^"
            "SEND\ndestination:/queue/q\n\nthree^");
    say(&a, "UNSUBSCRIBE\ndestination:/queue/q\n\n^");
    a.out_len = 0;
    say(&a, ack);
    hear(&a, "RECEIPT\nreceipt-id:r\n\n^");
    say(&a, "SUBSCRIBE\ndestination:/queue/q\n\n^");
    assert_non_null(strstr(a.out, "\n\nthree^"));
    assert_null(strstr(a.out, "\n\none^"));
    assert_null(strstr(a.out, "\n\ntwo^"));
    a.out_len = 0;
    say(&a, ack);
    assert_non_null(strstr(a.out, "ERROR\nmessage:Message not found\n"));
    drop(&a);
    stop(&w);
}

static void client_acks_are_cumulative_and_give_credit_back(void **state)
{
    (void)state;
    struct world w;
    struct client a;
    start(&w);
    open_connected(&w, &a, "1.0");
    say(&a, "SUBSCRIBE\nid:q\ndestination:/queue/q\nack:client\nprefetch-count:2\n\n^"
            "SUBSCRIBE\nid:t\ndestination:/topic/t\nack:client\nprefetch-count:1\n\n^");
    for (int i = 0; i < 4; i++)
        say(&a, "SEND\ndestination:/queue/q\n\nx^");
    assert_non_null(strstr(a.out, "@@1-2\n"));
    assert_null(strstr(a.out, "@@1-3\n"));
    say(&a, "ACK\nmessage-id:whatever@@1-2\n\n^");
    assert_non_null(strstr(a.out, "@@1-4\n"));
    a.out_len = 0;
    say(&a, "SEND\ndestination:/topic/t\n\nx^SEND\ndestination:/topic/t\n\ny^");
    hear(&a, FRAME_1("t", "/topic/t", "2-1", "false", "content-length:1\n\nx"));
    say(&a, "ACK\nmessage-id:T_t@@session-SID@@2-1\nsubscription:t\n\n^");
    hear(&a, FRAME_1("t", "/topic/t", "2-2", "false", "content-length:1\n\ny"));
    drop(&a);
    stop(&w);
}

static void a_transaction_happens_at_commit_or_not_at_all(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &b, "1.2");
    say(&b, "SUBSCRIBE\nid:s\ndestination:/topic/t\n\n^");
    open_connected(&w, &a, "1.2");
    say(&a,
        "SEND\ndestination:/queue/q\n\nm^SUBSCRIBE\nid:q\ndestination:/queue/q\nack:client\n\n^");
    a.out_len = 0;
    say(&a, "BEGIN\ntransaction:t\nreceipt:b\n\n^SEND\ndestination:/topic/t\ntransaction:t\n"
            "receipt:s\n\none^ACK\nid:1-1\ntransaction:t\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:b\n\n^");
    hear(&b, "");
    say(&a, "COMMIT\ntransaction:t\nreceipt:c\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:s\n\n^RECEIPT\nreceipt-id:c\n\n^");
    hear(&b, ROOM_FRAME("s", "/topic/t", "1", "content-length:3\n\none"));
    say(&a, "BEGIN\ntransaction:t\n\n^SEND\ndestination:/topic/t\ntransaction:t\n\ntwo^"
            "ABORT\ntransaction:t\nreceipt:x\n\n^");
    hear(&a, "RECEIPT\nreceipt-id:x\n\n^");
    hear(&b, "");
    /* Rolled back with the connection: the message comes back, nothing is published. */
    say(&a, "SEND\ndestination:/queue/q\n\nn^");
    say(&a, "BEGIN\ntransaction:t\n\n^ACK\nid:1-2\ntransaction:t\n\n^"
            "SEND\ndestination:/topic/t\ntransaction:t\n\ntwo^");
    drop(&a);
    hear(&b, "");
    say(&b, "SUBSCRIBE\nid:r\ndestination:/queue/q\n\n^");
    assert_non_null(strstr(b.out, "redelivered:true"));
    drop(&b);
    stop(&w);
}

static void errors_name_what_was_wrong_and_close(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    static const struct {
        const char *said, *heard;
    } cases[] = {
        {"SEND\n\n^", "message:Missing destination\n"},
        {"SEND\ndestination:a\nmessage-id:1\n\n^", "'message-id' is not allowed on 'SEND'.\n"},
        {"SEND\ndestination:/topic\n\n^", "'' is not a valid topic destination\n"},
        {"SEND\ndestination:/queue/\nreceipt:7\n\n^", "receipt-id:7\n"},
        {"SEND\ndestination:/something/x\n\n^", "message:Unknown destination\n"},
        {"SUBSCRIBE\ndestination:/topic/a\n\n^", "message:Missing header\n"},
        {"SUBSCRIBE\nid:1\ndestination:/topic/a\nack:maybe\n\n^",
         "'maybe' is not a valid ack mode"},
        {"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n^SUBSCRIBE\nid:1\ndestination:/queue/a\n\n^",
         "A subscription identified by 'T_1' already exists."},
        {"UNSUBSCRIBE\nid:1\n\n^", "message:No subscription found\n"},
        {"ACK\nid:1-1\n\n^", "message:Message not found\n"},
        {"ACK\nmessage-id:1\n\n^", "message:Missing header\n"},
        {"COMMIT\ntransaction:t\n\n^", "message:Unknown transaction\n"},
        {"BEGIN\ntransaction:t\n\n^BEGIN\ntransaction:t\n\n^", "message:Duplicate transaction\n"},
        {"BEGIN\ntransaction:1\n\n^BEGIN\ntransaction:2\n\n^BEGIN\ntransaction:3\n\n^",
         "message:Transaction limit exceeded\n"},
        {"BEGIN\n\n^", "message:Missing transaction\n"},
        {"CONNECT\n\n^", "You are connected already.\n"},
        {"MESSAGE\n\n^", "message:Bad command\n"},
        {"SEND\na:\\x\n\n^", "undefined escape"},
        {"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n^SUBSCRIBE\nid:2\ndestination:/topic/a\n\n^"
         "SUBSCRIBE\nid:3\ndestination:/topic/a\n\n^SUBSCRIBE\nid:4\ndestination:/topic/a\n\n^",
         "message:Too many subscriptions\n"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        open_connected(&w, &c, "1.2");
        say(&c, cases[i].said);
        if (!strstr(c.out, cases[i].heard))
            print_message("said %s\nheard %s\n", cases[i].said, c.out);
        assert_non_null(strstr(c.out, cases[i].heard));
        assert_non_null(strstr(c.out, "ERROR\n"));
        assert_true(c.closed);
        c.out_len = 0;
        c.out[0] = '\0';
        say(&c, "SEND\ndestination:/queue/q\nreceipt:late\n\n^");
        hear(&c, "");
        drop(&c);
    }
    stop(&w);
}

/* As in suites that were written for another broker. */
static void destinations_of_rules_are_found_shown_and_refused(void **state)
{
    (void)state;
    const struct mdg_stomp_rule rules[] = {
        {MDG_SLICE_LIT("/exchange/amq.fanout"), MDG_SLICE_LIT("amq.fanout"),
         MDG_SLICE_LIT("/exchange/amq.fanout"), MDG_STOMP_TOPIC, true},
        {MDG_SLICE_LIT("/exchange/amq.topic"),
         {NULL, 0},
         MDG_SLICE_LIT("/topic/"),
         MDG_STOMP_TOPIC,
         false},
    };
    static const struct {
        const char *destination, *heard;
    } cases[] = {
        {"/exchange", "message:Invalid destination\n"},
        {"/exchange", "'' is not a valid exchange destination\n"},
        {"/exchange//foo", "'//foo' is not a valid exchange destination\n"},
        {"/exchange/bah/baz/boo", "'/bah/baz/boo' is not a valid exchange destination\n"},
        {"/exchange/amq.topic/a/b", "'/amq.topic/a/b' is not a valid exchange destination\n"},
        {"/exchange/amq.fanout/a/b", "'/amq.fanout/a/b' is not a valid exchange destination\n"},
        {"/exchange/none", "message:not_found\n"},
        {"/exchange/none/key", "NOT_FOUND - no exchange 'none' in vhost '/'\n"},
    };
    struct world w;
    struct client c;
    start(&w);
    w.config.rules = rules;
    w.config.rule_count = MDG_ARRAY_LEN(rules);
    w.config.slashes = false;
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        char text[200];
        open_connected(&w, &c, "1.0");
        snprintf(text, sizeof text, "SEND\ndestination:%s\n\n^", cases[i].destination);
        say(&c, text);
        assert_non_null(strstr(c.out, cases[i].heard));
        assert_true(c.closed);
        drop(&c);
    }
    open_connected(&w, &c, "1.0");
    say(&c, "SUBSCRIBE\ndestination:/exchange/amq.fanout/key\n\n^"
            "SEND\ndestination:/exchange/amq.fanout\n\nx^");
    assert_non_null(strstr(c.out, "\ndestination:/exchange/amq.fanout/key\n"));
    say(&c, "UNSUBSCRIBE\ndestination:/exchange/amq.fanout/key\n\n^"
            "SUBSCRIBE\ndestination:/exchange/amq.topic/t\n\n^"
            "UNSUBSCRIBE\ndestination:/exchange/amq.topic/t\nreceipt:u\n\n^");
    assert_non_null(strstr(c.out, "RECEIPT\nreceipt-id:u\n"));
    drop(&c);
    stop(&w);
}

/* The peer may take its time to close; others are not to wait for that. */
static void who_leaves_gives_back_what_it_holds_at_once(void **state)
{
    (void)state;
    static const char *const goodbyes[] = {"DISCONNECT\nreceipt:d\n\n^", "NONSENSE\n\n^"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(goodbyes); i++) {
        struct world w;
        struct client a, b;
        start(&w);
        open_connected(&w, &a, "1.2");
        open_connected(&w, &b, "1.2");
        say(&a, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\n\n^"
                "SEND\ndestination:/queue/q\n\nx^");
        say(&b, "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n^");
        hear(&b, "");
        say(&a, goodbyes[i]);
        hear(&b, FRAME_1("1", "/queue/q", "1-1", "true", "content-length:1\n\nx"));
        drop(&a);
        drop(&b);
        stop(&w);
    }
}

static void disconnect_is_answered_last(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    open_connected(&w, &c, "1.2");
    say(&c, "SEND\ndestination:/queue/q\nreceipt:1\n\n^SEND\ndestination:/topic/t\nreceipt:2\n\n^"
            "DISCONNECT\nreceipt:3\n\n^SEND\ndestination:/queue/q\nreceipt:4\n\n^");
    assert_true(c.closed);
    assert_int_equal(c.code, MDG_CLOSE_NORMAL);
    const char *end = "RECEIPT\nreceipt-id:3\n\n^";
    assert_string_equal(c.out + strlen(c.out) - strlen(end), end);
    assert_non_null(strstr(c.out, "receipt-id:1"));
    assert_non_null(strstr(c.out, "receipt-id:2"));
    assert_null(strstr(c.out, "receipt-id:4"));
    drop(&c);
    stop(&w);
}

static void a_reply_to_temporary_queue_is_reached_by_its_public_name(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.0");
    open_connected(&w, &b, "1.0");
    say(&b, "SUBSCRIBE\ndestination:/queue/known\n\n^");
    say(&a, "SEND\ndestination:/queue/known\nreply-to:/temp-queue/0\n\nask^");
    assert_non_null(strstr(b.out, "reply-to:/reply-queue/"));
    char reply[200], name[100] = {0};
    sscanf(strstr(b.out, "reply-to:") + 9, "%99[^\n]", name);
    snprintf(reply, sizeof reply, "SEND\ndestination:%s\n\nanswer^", name);
    say(&b, reply);
    assert_non_null(strstr(a.out, "subscription:/temp-queue/0\ndestination:/reply-queue/"));
    assert_non_null(strstr(a.out, "answer^"));
    a.out_len = 0;
    a.out[0] = '\0';
    say(&b, reply);
    assert_non_null(strstr(a.out, "answer^"));
    drop(&a);
    drop(&b);
    stop(&w);
}

static void a_user_queue_belongs_to_the_user(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.2");
    open_client(&w, &b);
    say(&b, "CONNECT\naccept-version:1.2\nlogin:bob\npasscode:guest\n\n^");
    b.out_len = 0;
    b.out[0] = '\0';
    say(&b, "SUBSCRIBE\nid:u\ndestination:/user/queue/news\n\n^");
    say(&a,
        "SEND\ndestination:/user/queue/news\n\nfor ann^SEND\ndestination:/user/bob/queue/news\n\n"
        "for bob^");
    hear(&b, FRAME_1("u", "/user/queue/news", "1-1", "false", "content-length:7\n\nfor bob"));
    say(&a, "SUBSCRIBE\nid:u\ndestination:/user/queue/news\n\n^");
    hear(&a, FRAME_1("u", "/user/queue/news", "1-1", "false", "content-length:7\n\nfor ann"));
    drop(&a);
    drop(&b);
    stop(&w);
}

/* The room has its order, the subscription's queue another: in these turns the room's comes first.
 */
static void a_durable_subscription_collects_from_its_frame_on_and_no_longer(void **state)
{
    static const uint64_t seed[2] = {7, 8};
    (void)state;
    struct world w;
    struct client a;
    struct mdg_durables *durables;
    start(&w);
    assert_int_equal(mdg_durables_new(w.hub, w.queues, seed, &durables), 0);
    open_connected(&w, &a, "1.2");
    say(&a, "SUBSCRIBE\nid:d\ndurable:true\ndestination:/topic/t\nreceipt:s\n\n^"
            "SEND\ndestination:/topic/t\n\nwanted^");
    assert_true(a.paused); /* what comes behind waits in the socket */
    assert_null(strstr(a.out, "wanted"));
    go_round(&w);
    assert_false(a.paused);
    assert_non_null(strstr(a.out, "receipt-id:s"));
    assert_non_null(strstr(a.out, "wanted"));
    a.out_len = 0;
    say(&a, "UNSUBSCRIBE\nid:d\ndurable:true\n\n^SEND\ndestination:/topic/t\n\nunwanted^"
            "SUBSCRIBE\nid:d\ndurable:true\ndestination:/topic/t\nreceipt:again\n\n^"
            "SEND\ndestination:/topic/t\n\nlast^");
    for (int i = 0; i < 3; i++)
        go_round(&w);
    assert_false(a.paused);
    assert_null(strstr(a.out, "unwanted"));
    assert_non_null(strstr(a.out, "receipt-id:again"));
    assert_non_null(strstr(a.out, "last"));
    drop(&a);
    mdg_durables_free(durables);
    stop(&w);
}

static void a_full_link_delays_messages_and_loses_none(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w);
    open_connected(&w, &a, "1.2");
    open_connected(&w, &b, "1.2");
    say(&a, "SUBSCRIBE\nid:t\ndestination:/topic/t\n\n^SUBSCRIBE\nid:q\ndestination:/queue/q\n\n^");
    a.full = true;
    say(&b, "SEND\ndestination:/topic/t\n\n1^SEND\ndestination:/topic/t\n\n2^"
            "SEND\ndestination:/queue/q\n\n3^");
    say(&a, "SEND\ndestination:/queue/other\nreceipt:r\n\n^");
    hear(&a, "");
    assert_true(a.paused);
    a.full = false;
    mdg_stomp_link_user.on_writable(&a.link);
    turn(&w);
    assert_false(a.paused);
    assert_non_null(strstr(a.out, "receipt-id:r"));
    assert_non_null(strstr(a.out, "\n1^"));
    assert_non_null(strstr(a.out, "\n2^"));
    assert_non_null(strstr(a.out, "\n3^"));
    drop(&a);
    drop(&b);
    stop(&w);
}

static void wait_ms(struct world *w, uint64_t ms)
{
    uint64_t until = mdg_loop_now_ms(w->loop) + ms;
    while (mdg_loop_now_ms(w->loop) < until) {
        int left = (int)(until - mdg_loop_now_ms(w->loop));
        assert_true(mdg_loop_step(w->loop, left) >= 0);
        turn(w);
    }
}

static void heartbeats_are_sent_and_missed_ones_end_the_connection(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    open_client(&w, &c);
    say(&c, "CONNECT\naccept-version:1.2\nheart-beat:1500,1000\n\n^");
    c.out_len = 0;
    c.out[0] = '\0';
    for (int i = 0; i < 10; i++) {
        wait_ms(&w, 1400);
        assert_non_null(strchr(c.out, '\n')); /* at least one in each second */
        c.out_len = 0;
        c.out[0] = '\0';
        say(&c, "\n");
    }
    assert_false(c.closed);
    wait_ms(&w, 1500);
    assert_false(c.closed);
    wait_ms(&w, 3000);
    assert_true(c.closed);
    assert_non_null(strstr(c.out, "message:Heart-beat missed"));
    drop(&c);
    stop(&w);
}

/* Clients that know later versions send the header in any case, and beat only from 1.1 on. */
static void in_1_0_beats_are_sent_and_not_demanded(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    open_client(&w, &c);
    say(&c, "CONNECT\naccept-version:1.0\nheart-beat:1000,1000\n\n^");
    hear(&c, "CONNECTED\nserver:madang\nsession:session-SID\nheart-beat:1000,0\nversion:1.0\n\n^");
    wait_ms(&w, 10000);
    assert_false(c.closed);
    assert_true(c.out_len >= 9);
    drop(&c);
    stop(&w);
}

static void who_never_connects_is_closed(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    w.config.connect_timeout_ms = 5000;
    open_client(&w, &c);
    say(&c, "\n\nCONN");
    wait_ms(&w, 5100);
    assert_true(c.closed);
    drop(&c);
    stop(&w);
}

static void a_large_body_in_small_pieces_arrives_whole(void **state)
{
    (void)state;
    enum { BODY = 60000 };
    struct world w;
    struct client a;
    static char text[BODY + 100];
    start(&w);
    open_connected(&w, &a, "1.2");
    say(&a, "SUBSCRIBE\nid:t\ndestination:/topic/t\n\n^");
    int n = snprintf(text, sizeof text, "SEND\ndestination:/topic/t\ncontent-length:%d\n\n", BODY);
    memset(text + n, 'x', BODY);
    text[n + BODY] = '\0';
    for (int at = 0; at < n + BODY + 1; at += 777) {
        size_t len = mdg_min_size(777, (size_t)(n + BODY + 1 - at));
        struct mdg_input in = {(uint8_t *)text + at, len};
        assert_int_equal(mdg_stomp_link_user.on_input(&a.link, in, true), 0);
    }
    turn(&w);
    assert_non_null(strstr(a.out, "content-length:60000\n\nxxx"));
    assert_int_equal(a.out[a.out_len - 1], '^');
    drop(&a);
    stop(&w);
}

static const char *refuse(void *arg, const struct mdg_principal *who,
                          const struct mdg_stomp_frame *frame, struct mdg_slice destination)
{
    (void)arg;
    (void)who;
    (void)frame;
    return mdg_slice_eq(destination, MDG_SLICE_LIT("/topic/secret")) ? "Not for you." : NULL;
}

static void the_application_may_refuse(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w);
    w.server.hooks = (struct mdg_stomp_hooks){.may_send = refuse, .may_subscribe = refuse};
    open_connected(&w, &c, "1.2");
    say(&c, "SEND\ndestination:/topic/open\nreceipt:1\n\n^");
    say(&c, "SUBSCRIBE\nid:1\ndestination:/topic/secret\n\n^");
    assert_non_null(strstr(c.out, "receipt-id:1"));
    assert_non_null(strstr(c.out, "message:Access refused\n"));
    assert_non_null(strstr(c.out, "Not for you."));
    drop(&c);
    stop(&w);
}

/* A conversation of everything, with one allocation failing somewhere: it may end early, but it
 * ends. */
static void scarce_conversation(void *arg)
{
    static const char *const said[] = {
        "CONNECT\naccept-version:1.2\n\n^",
        "SUBSCRIBE\nid:1\ndestination:/topic/t\nack:client\nreceipt:1\n\n^",
        "SUBSCRIBE\nid:2\ndestination:/queue/q\nack:client\n\n^",
        "SEND\ndestination:/topic/t\nreceipt:2\nx:y\n\nhello^",
        "SEND\ndestination:/queue/q\nreply-to:/temp-queue/a\n\nhe",
        "llo^BEGIN\ntransaction:t\n\n^SEND\ndestination:/queue/q\ntransaction:t\n\nx^",
        "ACK\nid:2-1\ntransaction:t\n\n^COMMIT\ntransaction:t\nreceipt:3\n\n^",
        "UNSUBSCRIBE\nid:1\n\n^DISCONNECT\nreceipt:4\n\n^",
    };
    struct world w;
    struct client c = {.world = &w};
    struct mdg_handshake hs = {.carrier = "fake", .address = MDG_SLICE_LIT("::1")};
    (void)arg;
    mdg_test_torture_pause();
    start(&w);
    mdg_test_torture_resume();
    bool opened = mdg_stomp_new(&w.server, &hs, &c.conn) == 0;
    if (opened) {
        c.link = (struct mdg_link){&fake_carrier, &bytes_framing, &mdg_stomp_link_user, c.conn};
        mdg_stomp_attach(c.conn, &c.link);
    }
    for (size_t i = 0; opened && i < MDG_ARRAY_LEN(said) && !c.closed; i++) {
        char bytes[256];
        size_t len = strlen(said[i]);
        for (size_t k = 0; k < len; k++)
            bytes[k] = said[i][k] == '^' ? '\0' : said[i][k];
        struct mdg_input in = {(uint8_t *)bytes, len};
        c.closed |= mdg_stomp_link_user.on_input(&c.link, in, false) < 0;
        turn(&w);
    }
    mdg_test_torture_pause();
    if (opened)
        drop(&c);
    stop(&w);
    mdg_test_torture_resume();
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    mdg_test_torture(scarce_conversation, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_answers_with_version_session_and_heartbeat),
        cmocka_unit_test(connect_is_refused_with_reasons),
        cmocka_unit_test(a_topic_reaches_everyone_with_headers_as_sent),
        cmocka_unit_test(subscribers_with_the_same_messages_share_their_memory),
        cmocka_unit_test(wildcards_tell_the_real_destination),
        cmocka_unit_test(in_1_1_the_message_id_alone_names_a_delivery),
        cmocka_unit_test(queue_messages_are_acknowledged_one_by_one),
        cmocka_unit_test(after_unsubscribe_an_ack_counts_until_somebody_else_has_the_message),
        cmocka_unit_test(after_unsubscribe_acks_are_still_cumulative),
        cmocka_unit_test(client_acks_are_cumulative_and_give_credit_back),
        cmocka_unit_test(a_transaction_happens_at_commit_or_not_at_all),
        cmocka_unit_test(errors_name_what_was_wrong_and_close),
        cmocka_unit_test(who_leaves_gives_back_what_it_holds_at_once),
        cmocka_unit_test(destinations_of_rules_are_found_shown_and_refused),
        cmocka_unit_test(disconnect_is_answered_last),
        cmocka_unit_test(a_reply_to_temporary_queue_is_reached_by_its_public_name),
        cmocka_unit_test(a_user_queue_belongs_to_the_user),
        cmocka_unit_test(a_durable_subscription_collects_from_its_frame_on_and_no_longer),
        cmocka_unit_test(a_full_link_delays_messages_and_loses_none),
        cmocka_unit_test(heartbeats_are_sent_and_missed_ones_end_the_connection),
        cmocka_unit_test(in_1_0_beats_are_sent_and_not_demanded),
        cmocka_unit_test(who_never_connects_is_closed),
        cmocka_unit_test(a_large_body_in_small_pieces_arrives_whole),
        cmocka_unit_test(the_application_may_refuse),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
