/* Two kinds of buckets: one for everybody, and one for each address that tried lately, in a table
 * of fixed size. An address whose bucket is full again needs no entry. */
#include "server/tries.h"
#include "base/map.h"
#include "net/addr.h"
#include <pthread.h>
#include <stdlib.h>

enum {
    SETS = 1024, /* attack: many addresses; they push out those that tried least, not each other */
    WAYS = 4,
    MS_PER_S = 1000,
    MS_PER_MINUTE = 60000,
};

/* What is owed, in tries times the milliseconds of the period: it falls by `rate` a millisecond. */
struct bucket {
    uint64_t owed, at_ms;
};

struct rate {
    uint32_t tries, period_ms;
};

struct entry {
    uint64_t key; /* 0: free */
    struct bucket bucket;
};

struct mdg_tries {
    pthread_mutex_t lock;
    uint64_t seed[2];
    struct rate each, all;
    struct bucket everybody;
    struct entry entries[SETS][WAYS];
};

int mdg_tries_new(uint32_t per_address_per_minute, uint32_t all_per_s, const uint64_t seed[2],
                  struct mdg_tries **out)
{
    struct mdg_tries *t = calloc(1, sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    pthread_mutex_init(&t->lock, NULL);
    memcpy(t->seed, seed, sizeof t->seed);
    t->each = (struct rate){per_address_per_minute, MS_PER_MINUTE};
    t->all = (struct rate){all_per_s, MS_PER_S};
    *out = t;
    return 0;
}

void mdg_tries_free(struct mdg_tries *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void drain(struct bucket *b, struct rate rate, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    uint64_t paid = passed_ms < rate.period_ms ? passed_ms * rate.tries : b->owed;
    b->owed -= paid < b->owed ? paid : b->owed;
    b->at_ms = now_ms;
}

static bool has_room(const struct bucket *b, struct rate rate)
{
    return rate.tries == 0 || b->owed + rate.period_ms <= (uint64_t)rate.tries * rate.period_ms;
}

static uint64_t key_of(const struct mdg_tries *t, struct mdg_slice address)
{
    uint8_t bytes[MDG_ADDR_KEY_MAX];
    struct mdg_addr a;
    struct mdg_slice key = address;
    if (mdg_addr_parse_ip(&a, address, 0) == 0)
        key = mdg_slice(bytes, mdg_addr_client_key(&a, bytes));
    uint64_t hash = mdg_siphash(t->seed, key);
    return hash ? hash : 1;
}

/* The entry of this address, or the one of its set that owes least, emptied for it. */
static struct bucket *bucket_of(struct mdg_tries *t, uint64_t key, uint64_t now_ms)
{
    struct entry *set = t->entries[key % SETS], *least = set;
    for (int i = 0; i < WAYS; i++) {
        drain(&set[i].bucket, t->each, now_ms);
        if (set[i].key == key)
            return &set[i].bucket;
        if (set[i].bucket.owed < least->bucket.owed)
            least = &set[i];
    }
    *least = (struct entry){.key = key, .bucket = {.at_ms = now_ms}};
    return &least->bucket;
}

bool mdg_tries_take(struct mdg_tries *t, struct mdg_slice address, uint64_t now_ms)
{
    uint64_t key = key_of(t, address);
    pthread_mutex_lock(&t->lock);
    struct bucket *own = bucket_of(t, key, now_ms);
    drain(&t->everybody, t->all, now_ms);
    bool may = has_room(own, t->each) && has_room(&t->everybody, t->all);
    if (may) {
        own->owed += t->each.period_ms;
        t->everybody.owed += t->all.period_ms;
    }
    pthread_mutex_unlock(&t->lock);
    return may;
}

void mdg_tries_give_back(struct mdg_tries *t, struct mdg_slice address, uint64_t now_ms)
{
    uint64_t key = key_of(t, address);
    pthread_mutex_lock(&t->lock);
    struct bucket *own = bucket_of(t, key, now_ms);
    own->owed -= own->owed < t->each.period_ms ? own->owed : t->each.period_ms;
    pthread_mutex_unlock(&t->lock);
}
