/* The store's thread rings a worker's bell; the worker then collects what was written. */
#include "server/room_store.h"
#include "server/server.h"
#include "store/store.h"
#include <stdlib.h>

struct bell {
    struct mdg_post post; /* in a loop's queue while `rung` */
    atomic_bool rung;
    struct mdg_store *store;
    unsigned worker;
};

struct mdg_room_store {
    struct madang *server;
    struct mdg_store *store;
    struct bell *bells;
};

static void on_bell(struct mdg_loop *loop, struct mdg_post *post)
{
    struct bell *b = MDG_CONTAINER_OF(post, struct bell, post);
    (void)loop;
    /* First, so that what is written from here on rings again. */
    atomic_store(&b->rung, false);
    mdg_store_collect(b->store, b->worker);
}

static void ring(void *arg, unsigned worker)
{
    struct mdg_room_store *rs = arg;
    struct bell *b = &rs->bells[worker];
    if (!atomic_exchange(&b->rung, true))
        mdg_loop_post_node(rs->server->workers[worker].loop, &b->post);
}

static int restore(struct madang *server, struct mdg_store *store)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct mdg_hub *hub = server->workers[i].hub;
        mdg_hub_set_keeper(hub, mdg_store_keeper(store));
        int err = mdg_store_restore(store, hub);
        if (err < 0)
            return err;
    }
    return 0;
}

static int open_file(struct madang *server, struct mdg_room_store *rs, const char **why)
{
    const struct mdg_params *p = &server->params;
    struct mdg_store_config config;
    mdg_store_config_init(&config);
    config.path = p->store;
    config.workers = server->worker_count;
    config.log_count_max = (uint32_t)p->room_log_count_max;
    config.log_age_max_s = (uint32_t)p->room_log_age_max_s;
    config.wake = ring;
    config.wake_arg = rs;
    int err = mdg_store_open(&config, &rs->store, why);
    for (unsigned i = 0; err == 0 && i < server->worker_count; i++) {
        rs->bells[i].post.fn = on_bell;
        rs->bells[i].store = rs->store;
        rs->bells[i].worker = i;
    }
    return err;
}

int mdg_room_store_open(struct madang *server)
{
    const char *why = "";
    if (!server->params.store || !server->params.store[0])
        return 0;
    struct mdg_room_store *rs = calloc(1, sizeof *rs);
    if (!rs)
        return MDG_E_NO_MEMORY;
    server->room_store = rs;
    rs->server = server;
    rs->bells = calloc(server->worker_count, sizeof *rs->bells);
    if (!rs->bells)
        return MDG_E_NO_MEMORY;
    int err = open_file(server, rs, &why);
    if (err < 0)
        return mdg_server_fail(server, err, "cannot use the store %s: %s", server->params.store,
                               why);
    err = restore(server, rs->store);
    if (err < 0)
        return mdg_server_fail(server, err, "cannot read the store %s: %s", server->params.store,
                               mdg_strerror(err));
    return 0;
}

struct mdg_store *mdg_room_store_facts(const struct madang *server)
{
    return server->room_store ? server->room_store->store : NULL;
}

void mdg_room_store_stop(struct mdg_room_store *rs)
{
    if (rs && rs->store)
        mdg_store_stop(rs->store);
}

void mdg_room_store_free(struct mdg_room_store *rs)
{
    if (!rs)
        return;
    mdg_store_free(rs->store);
    free(rs->bells);
    free(rs);
}
