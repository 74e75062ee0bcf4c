/* A loop and its clients. */
#include "client/client.h"
#include <errno.h>
#include <stdlib.h>

/* All of them. */

int madang_clients_new(struct madang_clients **out)
{
    static const struct mdg_loop_config config = {.timer_fd = true};
    struct madang_clients *cs = calloc(1, sizeof *cs);
    if (!cs)
        return MDG_E_NO_MEMORY;
    mdg_list_init(&cs->all);
    int rc = mdg_loop_new(&config, &cs->loop);
    if (rc == 0)
        rc = mdg_net_new(cs->loop, NULL, &cs->net);
    if (rc == 0)
        rc = mdg_ws_worker_new(cs->loop, &cs->ws);
    if (rc < 0) {
        madang_clients_free(cs);
        return rc;
    }
    *out = cs;
    return 0;
}

static void on_no_down(struct madang_client *c, int code, const char *reason, int64_t retry_ms,
                       void *arg)
{
    (void)c;
    (void)code;
    (void)reason;
    (void)retry_ms;
    (void)arg;
}

static void on_no_message(struct madang_client *c, const void *data, size_t len, bool binary,
                          void *arg)
{
    (void)c;
    (void)data;
    (void)len;
    (void)binary;
    (void)arg;
}

void madang_clients_free(struct madang_clients *cs)
{
    static const struct madang_client_handlers silent = {.on_down = on_no_down,
                                                         .on_message = on_no_message};
    if (!cs)
        return;
    MDG_LIST_FOR(it, next, &cs->all)
    {
        struct madang_client *c = MDG_CONTAINER_OF(it, struct madang_client, node);
        c->handlers = &silent;
        c->closing = true;
        if (!c->link)
            mdg_client_down(c, MDG_CLOSE_GOING_AWAY, "");
    }
    mdg_net_free(cs->net); /* the rest hears of its end here */
    if (cs->ws)
        mdg_ws_worker_free(cs->ws);
    mdg_loop_free(cs->loop);
    while (cs->ws_options) {
        struct mdg_client_ws_options *next = cs->ws_options->next;
        free(cs->ws_options);
        cs->ws_options = next;
    }
    mdg_tls_context_unref(cs->tls);
    free(cs->tls_ca);
    free(cs);
}

int madang_clients_fd(const struct madang_clients *cs)
{
    return mdg_loop_fd(cs->loop);
}

int madang_clients_step(struct madang_clients *cs, int timeout_ms)
{
    int rc = mdg_loop_step(cs->loop, timeout_ms);
    return rc < 0 && rc != -EINTR ? rc : (int)cs->count;
}

int madang_clients_run(struct madang_clients *cs)
{
    int rc = (int)cs->count;
    while (rc > 0)
        rc = madang_clients_step(cs, -1);
    return rc;
}
