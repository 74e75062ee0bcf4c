/* What a delivery costs before the carrier: hub, member, peer, shared encoding, with a carrier that
 * drops what it is given. Prints user CPU nanoseconds a delivery, and the memory of members and
 * rooms. usage: fanout_bench [MEMBERS...] */
#include "dialect/plain.h"
#include "hub/hub.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS_NS = 300000000, EMPTY_ROOMS = 100000 };

struct null_link {
    struct mdg_link link;
    struct mdg_blob *held; /* a queue keeps its chunks until the end of the turn */
    uint64_t bytes;
};

static int null_send(struct mdg_link *link, struct mdg_chunk *chunks, size_t n)
{
    struct null_link *l = MDG_CONTAINER_OF(link, struct null_link, link);
    for (size_t i = 0; i < n; i++) {
        l->bytes += chunks[i].len;
        mdg_blob_unref(l->held);
        l->held = chunks[i].blob;
    }
    return 0;
}

static int null_send_unit(struct mdg_link *link, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    (void)meta;
    MDG_CONTAINER_OF(link, struct null_link, link)->bytes += unit.len;
    return 0;
}

static void null_close(struct mdg_link *link, int code, struct mdg_slice reason)
{
    (void)link, (void)code, (void)reason;
}

static const struct mdg_carrier carrier = {
    .name = "null", .send = null_send, .send_unit = null_send_unit, .close = null_close};

static void write_tail(const struct mdg_framing *f, struct mdg_writer *w,
                       const struct mdg_unit_meta *meta)
{
    (void)f, (void)meta;
    mdg_write_u8(w, '\n');
}

static const struct mdg_framing framings[3] = {
    {.name = "one", .joinable = true, .tail = write_tail},
    {.name = "two", .joinable = true, .tail = write_tail},
    {.name = "three", .joinable = true, .tail = write_tail},
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(int err)
{
    if (err < 0) {
        fprintf(stderr, "%s\n", mdg_strerror(err));
        exit(1);
    }
}

struct bench {
    struct mdg_hub *hub;
    struct mdg_peers *peers;
    struct mdg_principal *who;
    struct null_link *links;
    size_t members;
};

static void turn(struct bench *b)
{
    while (mdg_hub_turn(b->hub))
        continue;
    mdg_peers_flush(b->peers);
}

static void publish(struct bench *b, size_t bytes)
{
    static const uint8_t payload[16 * 1024];
    struct mdg_content *content;
    struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                  .channel = MDG_SLICE_LIT("lobby"),
                                  .sender = b->who,
                                  .payload = mdg_slice(payload, bytes)};
    die(mdg_content_new(&draft, 1700000000000u, &content));
    die(mdg_hub_publish(b->hub, content, NULL, NULL));
}

static void measure(struct bench *b, size_t bytes, unsigned burst, unsigned formats)
{
    uint64_t deliveries = mdg_peers_stats(b->peers)->deliveries;
    uint64_t encodings = mdg_peers_stats(b->peers)->encodings, messages = 0;
    uint64_t start = cpu_ns(), spent;
    do {
        for (unsigned i = 0; i < burst; i++)
            publish(b, bytes);
        turn(b);
        messages += burst;
        spent = cpu_ns() - start;
    } while (spent < ROUNDS_NS);
    deliveries = mdg_peers_stats(b->peers)->deliveries - deliveries;
    encodings = mdg_peers_stats(b->peers)->encodings - encodings;
    printf(
        "%6zu members  %5zu B  burst %2u  %u formats  %6.1f ns/delivery  %.2f encodings/message\n",
        b->members, bytes, burst, formats, (double)spent / (double)deliveries,
        (double)encodings / (double)messages);
}

static void open_peers(struct bench *b, unsigned formats)
{
    static const struct mdg_handshake hs = {.carrier = "null"};
    b->links = calloc(b->members, sizeof *b->links);
    if (!b->links)
        die(MDG_E_NO_MEMORY);
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < b->members; i++) {
        struct mdg_peer *p;
        die(mdg_peer_new(b->peers, &mdg_bare_dialect, b->who, &p));
        b->links[i].link =
            (struct mdg_link){&carrier, &framings[i % formats], &mdg_peer_link_user, p};
        mdg_peer_attach(p, &b->links[i].link, &hs);
    }
    turn(b);
    if (formats == 1)
        printf("%6zu members  %.0f B of memory each (peer, session, membership)\n", b->members,
               (double)(mallinfo2().uordblks - before) / (double)b->members);
}

static void close_peers(struct bench *b)
{
    for (size_t i = 0; i < b->members; i++) {
        mdg_blob_unref(b->links[i].held);
        b->links[i].link.user->on_close(&b->links[i].link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
    }
    free(b->links);
    turn(b);
}

static void open_bench(struct bench *b)
{
    struct mdg_hub_config hub_config;
    struct mdg_peers_config peers_config;
    static const uint64_t seed[2] = {1, 2};
    mdg_hub_config_init(&hub_config);
    mdg_peers_config_init(&peers_config);
    hub_config.fanout_budget = UINT32_MAX;
    hub_config.channels_max = EMPTY_ROOMS + 10;
    hub_config.memberships_per_session_max = EMPTY_ROOMS + 10;
    die(mdg_hub_new(&hub_config, 0, seed, &b->hub));
    die(mdg_peers_new(b->hub, &peers_config, &b->peers));
    b->who = mdg_principal_new(MDG_SLICE_LIT("someone"), true, MDG_RIGHTS_USER, 0);
}

static void close_bench(struct bench *b)
{
    mdg_peers_free(b->peers);
    mdg_principal_unref(b->who);
    mdg_hub_free(b->hub);
}

static void run(size_t members, unsigned formats)
{
    struct bench b = {.members = members};
    open_bench(&b);
    open_peers(&b, formats);
    measure(&b, 20, 1, formats);
    if (formats == 1)
        measure(&b, 100, 16, formats);
    close_peers(&b);
    close_bench(&b);
}

/* A room with one unseen member and no message: what Socket.IO makes for each connection. */
static void measure_rooms(void)
{
    struct bench b = {.members = 1};
    char name[32];
    open_bench(&b);
    open_peers(&b, 2);
    struct mdg_session *s = mdg_peer_session(b.links[0].link.user_arg);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    struct mdg_join_options hidden = {.hidden = true};
    for (unsigned i = 0; i < EMPTY_ROOMS; i++) {
        struct mdg_member *m;
        snprintf(name, sizeof name, "/#%020u", i);
        die(mdg_hub_join(b.hub, s, mdg_slice_str(name), &hidden, &m));
        if (i % 1000 == 0)
            turn(&b);
    }
    turn(&b);
    printf("%6d rooms of one member and no message: %.0f B each, membership included\n",
           EMPTY_ROOMS, (double)(mallinfo2().uordblks + mallinfo2().hblkhd - before) / EMPTY_ROOMS);
    close_peers(&b);
    close_bench(&b);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        run(1000, 1);
        run(1000, 3);
        run(10000, 1);
        run(10000, 3);
        measure_rooms();
    }
    for (int i = 1; i < argc; i++)
        run(strtoul(argv[i], NULL, 10), 1);
    return 0;
}
