/* For operators: is it alive, does it take connections, what has it done. */
#include "dialect/peer.h"
#include "net/net.h"
#include "server/memory.h"
#include "server/mount.h"
#include <stdio.h>

static int on_health(struct mdg_exchange *x, void *arg)
{
    (void)arg;
    mdg_exchange_respond_text(x, 200, "text/plain", MDG_SLICE_LIT("ok\n"));
    return 0;
}

static int on_ready(struct mdg_exchange *x, void *arg)
{
    const struct madang *server = mdg_mounted(arg)->worker->server;
    if (atomic_load(&server->state) == MDG_SERVER_RUNNING)
        mdg_exchange_respond_text(x, 200, "text/plain", MDG_SLICE_LIT("ready\n"));
    else
        mdg_exchange_respond_text(x, 503, "text/plain", MDG_SLICE_LIT("stopping\n"));
    return 0;
}

/* Each worker copies its counters here every tick, so that any worker can add them up without a
 * lock: what is read may be a tick old. */
void mdg_metrics_publish(struct mdg_worker *w)
{
    const struct mdg_net_counters *net = mdg_net_counters(w->net);
    const struct mdg_http_counters *http = mdg_http_server_counters(w->http);
    const struct mdg_peers_stats *peers = mdg_peers_stats(w->peers);
    uint64_t now[MDG_METRICS] = {0};
#define MDG_COUNTER(name, type, text, value) now[MDG_METRIC_##name] = (value);
#include "server/counters.def"
#undef MDG_COUNTER
    for (size_t i = 0; i < MDG_METRICS; i++)
        atomic_store_explicit(&w->metrics[i], now[i], memory_order_relaxed);
}

static const struct {
    const char *name, *type, *text;
} metrics[MDG_METRICS] = {
#define MDG_COUNTER(name, type, text, value) {"madang_" #name, type, text},
#include "server/counters.def"
#undef MDG_COUNTER
};

/* One label, with as many values as there are workers. */
static size_t write_spread(const struct madang *server, char *out, size_t size)
{
    int n = snprintf(out, size,
                     "# HELP madang_worker_connections Open connections by worker.\n"
                     "# TYPE madang_worker_connections gauge\n");
    size_t len = (size_t)n;
    for (unsigned i = 0; i < server->worker_count; i++) {
        uint64_t count = atomic_load_explicit(&server->workers[i].metrics[MDG_METRIC_connections],
                                              memory_order_relaxed);
        n = snprintf(out + len, size - len, "madang_worker_connections{worker=\"%u\"} %llu\n", i,
                     (unsigned long long)count);
        len += (size_t)n;
        assert(len < size);
    }
    return len;
}

static int on_metrics(struct mdg_exchange *x, void *arg)
{
    struct madang *server = mdg_mounted(arg)->worker->server;
    char body[16384];
    size_t len = 0;
    for (size_t i = 0; i < MDG_METRICS; i++) {
        uint64_t sum = 0;
        for (unsigned j = 0; j < server->worker_count; j++)
            sum += atomic_load_explicit(&server->workers[j].metrics[i], memory_order_relaxed);
        len +=
            (size_t)snprintf(body + len, sizeof body - len, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n",
                             metrics[i].name, metrics[i].text, metrics[i].name, metrics[i].type,
                             metrics[i].name, (unsigned long long)sum);
        assert(len < sizeof body);
    }
    len += write_spread(server, body + len, sizeof body - len);
    len += (size_t)snprintf(body + len, sizeof body - len,
                            "# HELP madang_workers Worker threads.\n# TYPE madang_workers gauge\n"
                            "madang_workers %u\n"
                            "# HELP process_resident_memory_bytes Resident memory.\n"
                            "# TYPE process_resident_memory_bytes gauge\n"
                            "process_resident_memory_bytes %llu\n"
                            "# HELP process_start_time_seconds When the server started.\n"
                            "# TYPE process_start_time_seconds gauge\n"
                            "process_start_time_seconds %llu\n",
                            server->worker_count, (unsigned long long)mdg_memory_resident(),
                            (unsigned long long)(server->started_unix_ms / 1000));
    mdg_exchange_respond_text(x, 200, "text/plain; version=0.0.4; charset=utf-8",
                              mdg_slice(body, len));
    return 0;
}

static const struct mdg_http_handler health_handler = {.on_request = on_health};
static const struct mdg_http_handler ready_handler = {.on_request = on_ready};
static const struct mdg_http_handler metrics_handler = {.on_request = on_metrics};

int mdg_mount_ops(struct madang *server)
{
    int err = mdg_server_mount(server, "GET", "/healthz", &health_handler, NULL);
    if (err == 0)
        err = mdg_server_mount(server, "GET", "/readyz", &ready_handler, NULL);
    return err < 0 ? err : mdg_server_mount(server, "GET", "/metrics", &metrics_handler, NULL);
}
