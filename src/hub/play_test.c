/* See play_test.h. The first three bytes choose workers, seed and policy; the rest are steps. */
#include "hub/play_test.h"
#include "hub/kit_test.h"
#include <stdio.h>
#include <stdlib.h>

enum { CLIENTS = 6, ROOMS = 3, SEQS_MAX = 4096, PATTERN = ROOMS };

static unsigned long long playing; /* for the message when a promise is broken */

#define PROMISE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "life %llu: %s:%d: broken: %s\n", playing, __FILE__, __LINE__,         \
                    #condition);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct player {
    struct mdg_session session;
    struct mdg_principal *who;
    struct play *play;
    struct mdg_member *members[ROOMS + 1];
    uint64_t expected[ROOMS + 1][ROOMS]; /* the next seq, by membership and room; 0: any */
    uint64_t epoch[ROOMS];               /* in which the pattern's membership expects it */
    bool joined[ROOMS + 1];
    int takes; /* messages before it is full; -1: no end */
    bool kicked, open;
};

struct play {
    struct kit kit;
    struct mdg_hub_config config;
    const uint8_t *at, *end;
    struct player players[CLIENTS];
    /* What each seq of each room's present epoch was, as its first receiver saw it. */
    uint64_t epochs[ROOMS];
    uint32_t texts[ROOMS][SEQS_MAX];
    uint32_t published, done;
};

static const char *const rooms[ROOMS] = {"a.1", "a.2", "b"};

static unsigned choose(struct play *p, unsigned below)
{
    return p->at < p->end ? *p->at++ % below : 0;
}

static struct player *player_of(const struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct player, session);
}

static size_t room_of(const struct mdg_member *m)
{
    for (size_t i = 0; i < ROOMS; i++) {
        if (mdg_slice_eq(mdg_channel_name(m->channel), mdg_slice_str(rooms[i])))
            return i;
    }
    abort();
}

static size_t place_of(const struct player *pl, const struct mdg_member *m)
{
    for (size_t i = 0; i <= ROOMS; i++) {
        if (pl->members[i] == m)
            return i;
    }
    fprintf(stderr, "an upcall for a member that left\n");
    abort();
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct player *pl = player_of(m->session);
    size_t place = place_of(pl, m);
    PROMISE(!pl->joined[place]);
    if (err < 0) {
        pl->members[place] = NULL;
        return;
    }
    pl->joined[place] = true;
    if (place == PATTERN)
        return;
    PROMISE(info->count >= 1 || m->hidden);
    pl->expected[place][place] = m->next_seq;
    PROMISE(m->next_seq <= info->at.seq + 1);
    PROMISE(!info->recovered || info->asked_resume);
}

/* Everyone sees the same message at the same place. */
static void check_same(struct play *p, size_t room, const struct mdg_msg *msg)
{
    uint32_t text;
    PROMISE(mdg_msg_payload(msg).len == sizeof text);
    memcpy(&text, mdg_msg_payload(msg).data, sizeof text);
    PROMISE(text <= p->published && text > 0);
    PROMISE(msg->seq < SEQS_MAX);
    if (p->epochs[room] != msg->epoch) {
        p->epochs[room] = msg->epoch;
        memset(p->texts[room], 0, sizeof p->texts[room]);
    }
    if (p->texts[room][msg->seq] == 0)
        p->texts[room][msg->seq] = text;
    PROMISE(p->texts[room][msg->seq] == text);
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct player *pl = player_of(m->session);
    size_t place = place_of(pl, m), room = room_of(m);
    PROMISE(pl->joined[place] && n > 0);
    for (size_t i = 0; i < n; i++) {
        PROMISE(mdg_slice_eq(msgs[i]->content->channel, mdg_slice_str(rooms[room])));
        if (pl->takes == 0)
            return (int)i;
        if (msgs[i]->seq == 0)
            continue;
        if (pl->takes > 0)
            pl->takes--;
        uint64_t *expected = &pl->expected[place][room];
        if (place == PATTERN && pl->epoch[room] != msgs[i]->epoch) {
            pl->epoch[room] = msgs[i]->epoch; /* the room was forgotten in between */
            *expected = 0;
        }
        if (*expected != 0 && msgs[i]->seq != *expected)
            fprintf(stderr, "place %zu room %zu: %d instead of %d\n", place, room,
                    (int)msgs[i]->seq, (int)*expected);
        PROMISE(*expected == 0 || msgs[i]->seq == *expected);
        *expected = msgs[i]->seq + 1;
        check_same(pl->play, room, msgs[i]);
    }
    return (int)n;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct player *pl = player_of(m->session);
    size_t place = place_of(pl, m), room = room_of(m);
    if (pl->takes == 0)
        return MDG_E_FULL;
    PROMISE(from <= to);
    if (place == PATTERN && pl->epoch[room] != mdg_member_epoch(m)) {
        pl->epoch[room] = mdg_member_epoch(m);
        pl->expected[place][room] = 0;
    }
    if (pl->expected[place][room] && from != pl->expected[place][room])
        fprintf(stderr, "place %zu room %zu: gap from %d instead of %d\n", place, room, (int)from,
                (int)pl->expected[place][room]);
    PROMISE(pl->expected[place][room] == 0 || from == pl->expected[place][room]);
    pl->expected[place][room] = to + 1;
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    (void)reason;
    player_of(s)->kicked = true;
}

static const struct mdg_session_ops ops = {on_joined, on_deliver, on_gap, on_kick, NULL, NULL};

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct play *p = arg;
    PROMISE(err == 0 && at.epoch != 0);
    p->done++;
}

static void close_player(struct player *pl)
{
    if (!pl->open)
        return;
    mdg_session_fini(&pl->session);
    mdg_principal_unref(pl->who);
    struct play *p = pl->play;
    memset(pl, 0, sizeof *pl);
    pl->play = p;
}

static void open_player(struct play *p, struct player *pl, unsigned name)
{
    char text[2] = {(char)('a' + name), '\0'};
    pl->who = mdg_principal_new(mdg_slice_str(text), name & 1, MDG_RIGHTS_USER, 0);
    PROMISE(pl->who);
    mdg_session_init(&pl->session, p->kit.hubs[choose(p, p->kit.workers)], &ops, pl->who);
    pl->play = p;
    pl->open = true;
    pl->takes = -1;
}

static void step_join(struct play *p, struct player *pl)
{
    size_t place = choose(p, ROOMS + 1);
    struct mdg_join_options o = {.history = choose(p, 4), .hidden = choose(p, 4) == 0};
    if (pl->members[place])
        return;
    memset(pl->expected[place], 0, sizeof pl->expected[place]);
    pl->joined[place] = false;
    if (place == PATTERN) {
        (void)!mdg_hub_join_pattern(pl->session.hub, &pl->session, MDG_SLICE_LIT("a.*"), NULL,
                                    &pl->members[place]);
        return;
    }
    if (choose(p, 3) == 0) {
        o.resume = true;
        o.from = (struct mdg_position){p->epochs[place], choose(p, 64)};
    }
    (void)!mdg_hub_join(pl->session.hub, &pl->session, mdg_slice_str(rooms[place]), &o,
                        &pl->members[place]);
}

static void step_publish(struct play *p)
{
    struct mdg_hub *h = p->kit.hubs[choose(p, p->kit.workers)];
    unsigned count = 1 + choose(p, 6), room = choose(p, ROOMS);
    bool is_volatile = choose(p, 5) == 0;
    for (unsigned i = 0; i < count && p->published < SEQS_MAX - 1; i++) {
        uint32_t text = ++p->published;
        struct mdg_content *content;
        struct mdg_msg_draft draft = {.kind = MDG_MSG_BINARY,
                                      .flags = is_volatile ? MDG_MSG_VOLATILE : 0,
                                      .channel = mdg_slice_str(rooms[room]),
                                      .payload = mdg_slice(&text, sizeof text)};
        PROMISE(mdg_content_new(&draft, 1, &content) == 0);
        PROMISE(mdg_hub_publish(h, content, on_published, p) == 0);
    }
}

static void step_resume(struct player *pl)
{
    for (size_t i = 0; i <= ROOMS; i++) {
        if (pl->members[i] && pl->members[i]->behind)
            mdg_hub_resume(pl->members[i]);
    }
}

static void step(struct play *p)
{
    unsigned who = choose(p, CLIENTS);
    struct player *pl = &p->players[who];
    unsigned what = choose(p, 16);
    if (what < 3) {
        step_publish(p);
    } else if (what < 7) {
        kit_step(&p->kit);
    } else if (what == 7) {
        kit_advance(&p->kit, 100 * (1 + choose(p, 20)));
    } else if (!pl->open) {
        open_player(p, pl, who / 2);
    } else if (what < 11) {
        step_join(p, pl);
    } else if (what == 11) {
        size_t place = choose(p, ROOMS + 1);
        if (pl->members[place]) {
            mdg_hub_leave(pl->members[place]);
            pl->members[place] = NULL;
        }
    } else if (what == 12) {
        close_player(pl);
    } else if (what == 13) {
        pl->takes = (int)choose(p, 5);
    } else {
        pl->takes = choose(p, 2) ? -1 : 2;
        step_resume(pl);
    }
}

/* When everyone reads on, everyone arrives at the same place. */
static void settle(struct play *p)
{
    uint64_t newest[ROOMS] = {0};
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < CLIENTS; i++) {
            p->players[i].takes = -1;
            if (p->players[i].open)
                step_resume(&p->players[i]);
        }
        kit_run(&p->kit);
    }
    PROMISE(p->done == p->published);
    for (size_t i = 0; i < CLIENTS * ROOMS; i++) {
        const struct player *pl = &p->players[i / ROOMS];
        size_t room = i % ROOMS;
        if (!pl->open || pl->kicked || !pl->members[room])
            continue;
        PROMISE(pl->joined[room] && !pl->members[room]->behind);
        PROMISE(pl->members[room]->next_seq == pl->expected[room][room]);
        if (newest[room] == 0)
            newest[room] = pl->members[room]->next_seq;
        PROMISE(newest[room] == pl->members[room]->next_seq);
    }
}

void hub_play(const uint8_t *choices, size_t len, uint64_t name)
{
    playing = name;
    struct play *p = calloc(1, sizeof *p);
    PROMISE(p);
    p->at = choices;
    p->end = choices + len;
    p->config = kit_config;
    unsigned workers = 1 + choose(p, 4), seed = choose(p, 256);
    p->config.channel.slow = (enum mdg_slow_policy)choose(p, 3);
    p->config.channel.idle_s = 1;
    PROMISE(kit_init(&p->kit, workers, seed, &p->config) == 0);
    for (size_t i = 0; i < CLIENTS; i++)
        p->players[i].play = p;
    while (p->at < p->end)
        step(p);
    settle(p);
    for (size_t i = 0; i < CLIENTS; i++)
        close_player(&p->players[i]);
    kit_run(&p->kit);
    kit_fini(&p->kit);
    free(p);
}
