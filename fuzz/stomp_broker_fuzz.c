/* A STOMP broker under clients that say anything: three connections, words from a dictionary of
 * frames that make sense together, and raw bytes between them. Checks that nothing is leaked, that
 * nobody is spoken to after the end, and that the queues count right when everybody has gone. */
#include "dialect/stomp.h"
#include "fuzz/fuzz.h"
#include "loop/loop.h"

enum { CLIENTS = 3 };

struct client {
    struct mdg_link link;
    struct mdg_stomp *conn;
    bool full, closed;
};

struct world {
    struct mdg_loop *loop;
    struct mdg_hub *hub;
    struct mdg_queues *queues;
    struct mdg_stomp_config config;
    struct mdg_stomp_server server;
    struct client clients[CLIENTS];
};

static int fake_send(struct mdg_link *l, struct mdg_chunk *chunks, size_t n)
{
    struct client *c = MDG_CONTAINER_OF(l, struct client, link);
    if (c->closed || c->full)
        return c->closed ? MDG_E_CLOSED : MDG_E_FULL;
    for (size_t i = 0; i < n; i++) {
        mdg_blob_unref(chunks[i].blob);
        chunks[i].blob = NULL;
    }
    return 0;
}

static int fake_send_unit(struct mdg_link *l, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    struct client *c = MDG_CONTAINER_OF(l, struct client, link);
    (void)unit;
    (void)meta;
    return c->closed ? MDG_E_CLOSED : c->full ? MDG_E_FULL : 0;
}

static void fake_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)code;
    (void)reason;
    MDG_CONTAINER_OF(l, struct client, link)->closed = true;
}

static void fake_pause(struct mdg_link *l, bool paused)
{
    (void)l;
    (void)paused;
}

static const struct mdg_carrier carrier = {.name = "fake",
                                           .send = fake_send,
                                           .send_unit = fake_send_unit,
                                           .close = fake_close,
                                           .pause = fake_pause};
static const struct mdg_framing framing = {.name = "bytes", .joinable = true};

static int authenticate(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    (void)arg;
    (void)hs;
    *out = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    return *out ? 0 : MDG_E_NO_MEMORY;
}

static void random_bytes(void *arg, void *out, size_t len)
{
    mdg_loop_random(((struct world *)arg)->loop, out, len);
}

static void check(int rc)
{
    if (rc < 0)
        abort();
}

static void start(struct world *w)
{
    static const uint64_t seed[2] = {1, 2};
    struct mdg_loop_config loop = {.kind = MDG_LOOP_SIM, .sim_seed = 1};
    struct mdg_hub_config hub;
    struct mdg_queues_config queues = {.worker_count = 1,
                                       .queues_max = 8,
                                       .messages_max = 20,
                                       .bytes_max = 100000,
                                       .bytes_total_max = 200000,
                                       .prefetch_max = 5,
                                       .tries_max = 3,
                                       .idle_s = 1,
                                       .dead_to = MDG_SLICE_LIT("/queue/dead")};
    *w = (struct world){0};
    mdg_hub_config_init(&hub);
    check(mdg_loop_new(&loop, &w->loop));
    check(mdg_hub_new(&hub, 0, seed, &w->hub));
    check(mdg_queues_new(&queues, seed, &w->queues));
    mdg_stomp_config_init(&w->config);
    w->config.limits.body_bytes_max = 5000;
    w->config.subscriptions_max = 5;
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
    for (int i = 0; i < 3; i++) {
        while (mdg_hub_turn(w->hub))
            ;
        while (mdg_queues_turn(w->queues))
            ;
    }
}

static void open_client(struct world *w, struct client *c)
{
    struct mdg_handshake hs = {.carrier = "fake"};
    *c = (struct client){.closed = false};
    check(mdg_stomp_new(&w->server, &hs, &c->conn));
    c->link = (struct mdg_link){&carrier, &framing, &mdg_stomp_link_user, c->conn};
    mdg_stomp_attach(c->conn, &c->link);
}

static void drop_client(struct client *c)
{
    if (c->conn)
        mdg_stomp_link_user.on_close(&c->link, 1006, mdg_slice(NULL, 0));
    c->conn = NULL;
}

static void say(struct client *c, const void *bytes, size_t len)
{
    if (!c->conn || c->closed || len == 0)
        return;
    uint8_t *block = mdg_fuzz_piece(bytes, len);
    if (mdg_stomp_link_user.on_input(&c->link, (struct mdg_input){block, len}, false) < 0)
        c->closed = true;
    free(block);
}

#define FRAME(text)                                                                                \
    {                                                                                              \
        text, sizeof text                                                                          \
    }
static const struct {
    const char *text;
    size_t len;
} frames[] = {
    FRAME("CONNECT\naccept-version:1.2\nheart-beat:1000,1000\n\n"),
    FRAME("CONNECT\naccept-version:1.0\n\n"),
    FRAME("SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\nreceipt:r\n\n"),
    FRAME("SUBSCRIBE\nid:2\ndestination:/queue/q\nack:client-individual\nprefetch-count:2\n\n"),
    FRAME("SUBSCRIBE\nid:3\ndestination:/queue/q\n\n"),
    FRAME("SUBSCRIBE\nid:4\ndestination:/topic/t\nack:client\nprefetch-count:1\n\n"),
    FRAME("SUBSCRIBE\nid:5\ndestination:/topic/#\n\n"),
    FRAME("SUBSCRIBE\nid:6\ndestination:/temp-queue/x\nauto-delete:true\n\n"),
    FRAME("SUBSCRIBE\nid:7\ndestination:/queue/dead\n\n"),
    FRAME("UNSUBSCRIBE\nid:1\nreceipt:u\n\n"),
    FRAME("UNSUBSCRIBE\nid:2\n\n"),
    FRAME("UNSUBSCRIBE\nid:4\n\n"),
    FRAME("UNSUBSCRIBE\nid:5\n\n"),
    FRAME("SEND\ndestination:/queue/q\n\none"),
    FRAME("SEND\ndestination:/queue/q\nreceipt:s\nreply-to:/temp-queue/x\n\ntwo"),
    FRAME("SEND\ndestination:/topic/t\nreceipt:s\n\nthree"),
    FRAME("SEND\ndestination:/queue/q\ntransaction:a\nreceipt:t\n\nfour"),
    FRAME("SEND\ndestination:/topic/t\ntransaction:a\n\nfive"),
    FRAME("ACK\nid:1-1\nmessage-id:@@1-1\n\n"),
    FRAME("ACK\nid:1-3\nmessage-id:@@1-3\nreceipt:a\n\n"),
    FRAME("ACK\nid:2-1\nmessage-id:@@2-1\ntransaction:a\n\n"),
    FRAME("NACK\nid:1-2\nmessage-id:@@1-2\n\n"),
    FRAME("NACK\nid:2-2\nmessage-id:@@2-2\nrequeue:false\n\n"),
    FRAME("ACK\nid:4-1\nmessage-id:@@4-1\n\n"),
    FRAME("BEGIN\ntransaction:a\n\n"),
    FRAME("COMMIT\ntransaction:a\nreceipt:c\n\n"),
    FRAME("ABORT\ntransaction:a\n\n"),
    FRAME("DISCONNECT\nreceipt:d\n\n"),
};

/* Two bytes a step: what, and to whom or how much. */
static void step(struct world *w, uint8_t what, uint8_t how)
{
    struct client *c = &w->clients[how % CLIENTS];
    if (what < 160) {
        say(c, frames[what % MDG_ARRAY_LEN(frames)].text, frames[what % MDG_ARRAY_LEN(frames)].len);
    } else if (what < 190) {
        turn(w);
    } else if (what < 200) {
        drop_client(c);
        open_client(w, c);
        say(c, frames[how % 2].text, frames[how % 2].len);
    } else if (what < 215) {
        c->full = true;
    } else if (what < 235) {
        bool was_full = c->full;
        c->full = false;
        if (was_full && c->conn && !c->closed)
            mdg_stomp_link_user.on_writable(&c->link);
    } else if (what < 245) {
        (void)mdg_loop_step(w->loop, how * 10);
        mdg_queues_tick(w->queues, mdg_loop_now_ms(w->loop));
    } else {
        say(c, &how, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct mdg_queues_counts counts;
    start(&w);
    for (size_t i = 0; i < CLIENTS; i++) {
        open_client(&w, &w.clients[i]);
        say(&w.clients[i], frames[i % 2].text, frames[i % 2].len);
    }
    for (size_t i = 0; i + 1 < size && i < 400; i += 2)
        step(&w, data[i], data[i + 1]);
    turn(&w);
    for (size_t i = 0; i < CLIENTS; i++)
        drop_client(&w.clients[i]);
    turn(&w);
    mdg_queues_count(w.queues, &counts);
    assert(counts.messages <= counts.published);
    assert(counts.messages <= 8 * 20);
    mdg_stomp_server_fini(&w.server);
    mdg_queues_free(w.queues);
    mdg_hub_free(w.hub);
    mdg_loop_free(w.loop);
    return 0;
}
