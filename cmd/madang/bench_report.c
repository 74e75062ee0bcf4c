/* What a bench run says: a line each second, and the figures at the end. */
#include "bench.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static uint64_t thread_cpu_ns(long pid, const char *tid)
{
    char path[320];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, tid);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    if (f)
        fclose(f);
    return ns;
}

void bench_usage_read(long pid, struct bench_usage *out)
{
    char path[64], line[128];
    *out = (struct bench_usage){0, 0};
    if (pid <= 0)
        return;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] != '.')
            out->cpu_ns += thread_cpu_ns(pid, e->d_name);
    }
    if (dir)
        closedir(dir);
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            out->rss_kib = strtol(line + 6, NULL, 10);
    }
    if (f)
        fclose(f);
}

static double seconds(const struct bench *b)
{
    uint64_t end = b->end_ns ? b->end_ns : bench_now_ns();
    return b->begin_ns ? (double)(end - b->begin_ns) / 1e9 : 0;
}

static uint64_t units(const struct bench *b)
{
    return b->mode == BENCH_CONNECT ? b->connects : b->received;
}

void bench_progress(const struct bench *b)
{
    if (!b->measuring)
        fprintf(stderr, "  %ld of %ld connected\n", b->up, b->conns);
    else if (b->mode == BENCH_IDLE)
        fprintf(stderr, "  %.0f s, %ld connected\n", seconds(b), b->up);
    else
        fprintf(stderr, "  %.0f s, %llu, p50 %.0f us, p99 %.0f us, lost %llu\n", seconds(b),
                (unsigned long long)units(b), (double)histogram_at(&b->latency, 0.5) / 1e3,
                (double)histogram_at(&b->latency, 0.99) / 1e3, (unsigned long long)b->lost);
}

static double cpu_each(const struct bench *b)
{
    return units(b) ? (double)(b->after.cpu_ns - b->before.cpu_ns) / (double)units(b) : 0;
}

/* What passes through a room stays in its log: before it does, the memory is the connections'. */
static double rss_each(const struct bench *b)
{
    const struct bench_usage *full = b->mode == BENCH_IDLE ? &b->after : &b->before;
    return b->up ? (double)(full->rss_kib - b->empty.rss_kib) * 1024 / (double)b->up : 0;
}

static void report_json(const struct bench *b, const char *mode)
{
    printf("{\"mode\":\"%s\",\"connections\":%ld,\"size\":%ld,\"seconds\":%.3f,\"count\":%llu,"
           "\"per_second\":%.0f,\"lost\":%llu,\"failed\":%llu,\"p50_us\":%.1f,\"p99_us\":%.1f,"
           "\"p999_us\":%.1f,\"max_us\":%.1f",
           mode, b->up, b->size, seconds(b), (unsigned long long)units(b),
           seconds(b) > 0 ? (double)units(b) / seconds(b) : 0, (unsigned long long)b->lost,
           (unsigned long long)b->refused, (double)histogram_at(&b->latency, 0.5) / 1e3,
           (double)histogram_at(&b->latency, 0.99) / 1e3,
           (double)histogram_at(&b->latency, 0.999) / 1e3, (double)b->latency.max / 1e3);
    if (b->pid > 0)
        printf(",\"cpu_ns_each\":%.1f,\"rss_bytes_each\":%.1f", cpu_each(b), rss_each(b));
    puts("}");
}

void bench_report(const struct bench *b)
{
    static const char *const modes[] = {"echo", "fanout", "idle", "connect"};
    static const char *const what[] = {"echoes", "deliveries", "messages", "connections"};
    if (b->json) {
        report_json(b, modes[b->mode]);
        return;
    }
    if (b->mode != BENCH_IDLE) {
        printf("%llu %s in %.2f s: %.0f a second, lost %llu, failed connections %llu\n",
               (unsigned long long)units(b), what[b->mode], seconds(b),
               seconds(b) > 0 ? (double)units(b) / seconds(b) : 0, (unsigned long long)b->lost,
               (unsigned long long)b->refused);
        printf("latency: p50 %.1f us, p99 %.1f us, p99.9 %.1f us, longest %.1f us\n",
               (double)histogram_at(&b->latency, 0.5) / 1e3,
               (double)histogram_at(&b->latency, 0.99) / 1e3,
               (double)histogram_at(&b->latency, 0.999) / 1e3, (double)b->latency.max / 1e3);
    } else {
        printf("%ld connections, failed %llu\n", b->up, (unsigned long long)b->refused);
    }
    if (b->pid > 0 && b->mode != BENCH_IDLE)
        printf("server: %.0f ns of CPU each\n", cpu_each(b));
    if (b->pid > 0 && b->mode != BENCH_CONNECT)
        printf("server: %.0f bytes of memory a connection\n", rss_each(b));
}
