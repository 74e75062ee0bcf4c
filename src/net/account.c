/* Counts connections per client address over all workers, so that one address cannot take every
 * descriptor. Locks are per shard and held for a look-up; they are off the path of messages. */
#include "base/map.h"
#include "net/internal.h"
#include <pthread.h>
#include <stdlib.h>

enum { SHARDS = 16 };

struct shard {
    pthread_mutex_t lock;
    struct mdg_map map;
};

struct mdg_accounts {
    uint32_t per_address_max;
    uint64_t seed[2];
    struct shard shards[SHARDS];
};

struct mdg_account {
    struct mdg_accounts *all;
    struct shard *shard;
    uint32_t connections;
    uint8_t key_len;
    uint8_t key[MDG_ADDR_KEY_MAX];
};

struct mdg_accounts *mdg_accounts_new(uint32_t per_address_max, const uint64_t seed[2])
{
    struct mdg_accounts *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->per_address_max = per_address_max;
    memcpy(a->seed, seed, sizeof a->seed);
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&a->shards[i].lock, NULL);
        mdg_map_init(&a->shards[i].map, seed);
    }
    return a;
}

void mdg_accounts_free(struct mdg_accounts *a)
{
    if (!a)
        return;
    for (int i = 0; i < SHARDS; i++) {
        assert(a->shards[i].map.len == 0);
        mdg_map_fini(&a->shards[i].map);
        pthread_mutex_destroy(&a->shards[i].lock);
    }
    free(a);
}

static int open_account(struct mdg_accounts *all, struct shard *shard, struct mdg_slice key,
                        struct mdg_account **out)
{
    struct mdg_account *a = malloc(sizeof *a);
    if (!a)
        return MDG_E_NO_MEMORY;
    *a = (struct mdg_account){.all = all, .shard = shard, .key_len = (uint8_t)key.len};
    memcpy(a->key, key.data, key.len);
    int err = mdg_map_put(&shard->map, mdg_slice(a->key, a->key_len), a);
    if (err < 0) {
        free(a);
        return err;
    }
    *out = a;
    return 0;
}

int mdg_account_get(struct mdg_accounts *all, const struct mdg_addr *addr, struct mdg_account **out)
{
    uint8_t bytes[MDG_ADDR_KEY_MAX];
    struct mdg_slice key = mdg_slice(bytes, mdg_addr_client_key(addr, bytes));
    *out = NULL;
    if (!all || key.len == 0)
        return 0;
    struct shard *shard = &all->shards[mdg_siphash(all->seed, key) % SHARDS];
    int err = 0;
    pthread_mutex_lock(&shard->lock);
    struct mdg_account *a = mdg_map_get(&shard->map, key);
    if (!a)
        err = open_account(all, shard, key, &a);
    else if (all->per_address_max && a->connections >= all->per_address_max)
        err = MDG_E_DENIED;
    if (err == 0) {
        a->connections++;
        *out = a;
    }
    pthread_mutex_unlock(&shard->lock);
    return err;
}

int mdg_net_count_peer(struct mdg_net *net, const struct mdg_addr *addr, struct mdg_account **out)
{
    return mdg_account_get(net->accounts, addr, out);
}

void mdg_account_put(struct mdg_account *a)
{
    if (!a)
        return;
    struct shard *shard = a->shard;
    pthread_mutex_lock(&shard->lock);
    assert(a->connections > 0);
    bool last = --a->connections == 0;
    if (last)
        mdg_map_remove(&shard->map, mdg_slice(a->key, a->key_len));
    pthread_mutex_unlock(&shard->lock);
    if (last)
        free(a);
}
