/* Several hubs in one thread with a seeded order of what happens between them, and clients that
 * write down what they are told. For the hub's tests. */
#ifndef MDG_HUB_KIT_TEST_H
#define MDG_HUB_KIT_TEST_H

#include "hub/broker.h"
#include "hub/hub.h"

enum { KIT_WORKERS_MAX = 8, KIT_TEXT_MAX = 16384 };

struct kit {
    struct mdg_hub *hubs[KIT_WORKERS_MAX];
    struct mdg_broker broker;
    struct mdg_op *queues[KIT_WORKERS_MAX][KIT_WORKERS_MAX]; /* newest first, by parcel link */
    unsigned workers;
    uint64_t random, now_ms;
};

struct kit_client {
    struct mdg_session session;
    struct mdg_principal *principal;
    char text[KIT_TEXT_MAX];
    size_t len;
    int takes;     /* messages that it takes before it is full; -1: all */
    bool gap_full; /* refuses gaps */
    bool quiet;    /* writes down nothing but counts */
    bool leaves_in_deliver;
    uint64_t delivered, upcalls;
    int kicked;
};

extern const struct mdg_hub_config kit_config; /* small limits, easy to reach */

/* config NULL: kit_config. Returns 0 or an error (out of memory). */
int kit_init(struct kit *k, unsigned workers, uint64_t seed, const struct mdg_hub_config *config);
void kit_fini(struct kit *k);
uint64_t kit_random(struct kit *k, uint64_t below);
/* Lets everything happen, in a random order that keeps each pair's order of posts. */
void kit_run(struct kit *k);
/* One random step; false when nothing was left to do. */
bool kit_step(struct kit *k);
void kit_advance(struct kit *k, uint64_t ms); /* in steps of 100 ms with ticks */

int kit_client_init(struct kit *k, unsigned worker, struct kit_client *c, const char *name,
                    bool guest);
void kit_client_fini(struct kit_client *c);
int kit_join(struct kit_client *c, const char *room, const struct mdg_join_options *o,
             struct mdg_member **out);
/* A join that must work, with nothing special. */
struct mdg_member *kit_in(struct kit_client *c, const char *room);
int kit_publish(struct kit *k, unsigned worker, const char *room, const char *text);
struct mdg_content *kit_content(const char *room, const char *text, unsigned flags);
/* What was written down since the last call. */
const char *kit_said(struct kit_client *c);
void kit_say(struct kit_client *c, const char *fmt, ...) MDG_PRINTF(2, 3);

#endif
