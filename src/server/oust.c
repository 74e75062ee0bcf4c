/* A name that went to whoever proved that it is his: the connections that only chose it may be on
 * any worker, and each worker looks at its own. */
#include "hub/hub.h"
#include "server/server.h"
#include <stdlib.h>

struct oust {
    struct mdg_worker *worker;
    uint64_t owner;
    size_t name_len;
    char name[MDG_NAME_BYTES_MAX];
};

static void oust_here(struct mdg_loop *loop, void *arg)
{
    struct oust *o = arg;
    (void)loop;
    mdg_hub_oust(o->worker->hub, mdg_slice(o->name, o->name_len), o->owner);
    free(o);
}

void mdg_server_oust(void *arg, struct mdg_slice name, uint64_t owner)
{
    struct madang *server = arg;
    assert(name.len <= MDG_NAME_BYTES_MAX);
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct mdg_worker *w = &server->workers[i];
        struct oust *o = malloc(sizeof *o);
        if (!o)
            return; /* then two have the name until the first one leaves */
        *o = (struct oust){.worker = w, .owner = owner, .name_len = name.len};
        memcpy(o->name, name.data, name.len);
        if (mdg_loop_post(w->loop, oust_here, o) < 0)
            free(o);
    }
}
