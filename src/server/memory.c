/* Resident memory is what the kernel kills for, so it is what is bounded, not a sum of our own.
 * Over the bound, connections and publications are refused until it has fallen by a twentieth; what
 * is there goes on and drains. */
#include "server/memory.h"
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

uint64_t mdg_memory_resident(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t mdg_memory_default_max(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 * 3 : 0;
}

static void look(struct madang *server)
{
    uint64_t max = server->params.memory_bytes_max, used = mdg_memory_resident();
    bool full = atomic_load_explicit(&server->memory_full, memory_order_relaxed);
    bool now = used > (full ? max - max / 20 : max);
    if (now)
        malloc_trim(0);
    if (now == full)
        return;
    atomic_store_explicit(&server->memory_full, now, memory_order_relaxed);
    if (now)
        mdg_log(&server->log, MDG_LOG_WARN, "out of memory bound", "hint",
                "connections and messages are refused until it falls (memory_bytes_max)", NULL);
    else
        mdg_log(&server->log, MDG_LOG_INFO, "within the memory bound again", NULL);
}

void mdg_memory_tick(struct mdg_worker *w)
{
    struct madang *server = w->server;
    if (server->params.memory_bytes_max == 0)
        return;
    if (w->index == 0)
        look(server);
    mdg_hub_refuse(w->hub, atomic_load_explicit(&server->memory_full, memory_order_relaxed));
}
