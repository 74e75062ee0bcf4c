/* The connections of a bench run: they are opened a few at a time; then, by mode, each keeps its
 * messages in flight, or one publishes to all, or they do nothing, or they come and go. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    OPENING_MAX = 64,         /* handshakes under way at once */
    PATIENCE_NS = 2000000000, /* a burst that is not complete by then has lost something */
    TICK_MS = 50
};

static void conn_open(struct bench_conn *c, const char *url);
static const struct madang_client_handlers handlers;

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool over(const struct bench *b)
{
    if (b->seconds > 0 && bench_now_ns() - b->begin_ns >= (uint64_t)b->seconds * 1000000000u)
        return true;
    uint64_t count = b->mode == BENCH_CONNECT ? b->connects : b->received;
    return b->messages > 0 && count >= (uint64_t)b->messages;
}

static void echo_send(struct bench_conn *c)
{
    struct bench *b = c->bench;
    while (!b->done && c->client && c->sent - c->got < (unsigned)b->in_flight) {
        c->sent_ns[c->sent % BENCH_IN_FLIGHT_MAX] = bench_now_ns();
        if (madang_client_send(c->client, b->payload, (size_t)b->size, b->binary) < 0)
            return;
        c->sent++;
        b->sent++;
    }
}

static void echo_got(struct bench_conn *c)
{
    struct bench *b = c->bench;
    if (c->got == c->sent)
        return; /* a greeting */
    histogram_add(&b->latency, bench_now_ns() - c->sent_ns[c->got++ % BENCH_IN_FLIGHT_MAX]);
    b->received++;
    if (over(b))
        b->done = true;
    echo_send(c);
}

/* The mark carries the time at which the message was published. */
static void fanout_got(struct bench *b, const char *data, size_t len)
{
    const char *mark = len >= BENCH_MARK_LEN ? memmem(data, len, "~b", 2) : NULL;
    char digits[17] = "";
    if (!mark || len - (size_t)(mark - data) < BENCH_MARK_LEN)
        return;
    memcpy(digits, mark + 2, 16);
    histogram_add(&b->latency, bench_now_ns() - strtoull(digits, NULL, 16));
    b->received++;
}

static void fanout_publish(struct bench *b)
{
    if (!b->publisher.up || b->received + b->lost < b->wanted || b->done)
        return;
    if (over(b)) {
        b->done = true;
        return;
    }
    b->last_burst_ns = bench_now_ns();
    for (long i = 0; i < b->burst; i++) {
        char mark[BENCH_MARK_LEN + 1];
        snprintf(mark, sizeof mark, "~b%016llx", (unsigned long long)bench_now_ns());
        memcpy(b->payload, mark, BENCH_MARK_LEN);
        if (madang_client_send(b->publisher.client, b->payload, (size_t)b->size, b->binary) < 0)
            break;
        b->sent++;
        b->wanted += (uint64_t)b->up;
    }
}

static void connect_next(struct bench_conn *c)
{
    struct bench *b = c->bench;
    if (over(b))
        b->done = true;
    if (!b->done)
        conn_open(c, b->connection.options.url);
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct bench_conn *c = arg;
    struct bench *b = c->bench;
    (void)subprotocol;
    c->up = true;
    if (b->hello && madang_client_send(client, b->hello, strlen(b->hello), false) < 0)
        b->refused++;
    if (c == &b->publisher)
        return;
    b->opening--;
    b->up++;
    if (b->mode == BENCH_CONNECT) {
        histogram_add(&b->latency, bench_now_ns() - c->began_ns);
        b->connects++;
        madang_client_close(client, 1000, "");
    }
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct bench_conn *c = arg;
    (void)client;
    (void)binary;
    if (!c->bench->measuring)
        return;
    if (c->bench->mode == BENCH_ECHO)
        echo_got(c);
    else if (c->bench->mode == BENCH_FANOUT && c != &c->bench->publisher)
        fanout_got(c->bench, data, len);
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct bench_conn *c = arg;
    struct bench *b = c->bench;
    (void)client;
    (void)retry_ms;
    c->client = NULL;
    if (c->up && c != &b->publisher)
        b->up--;
    if (!c->up && c != &b->publisher)
        b->opening--;
    bool was_up = c->up;
    c->up = false;
    if (b->mode == BENCH_CONNECT && was_up) {
        connect_next(c);
        return;
    }
    if (b->done)
        return;
    if (b->refused++ == 0)
        fprintf(stderr, "madang: a connection failed: %s (%d)\n", reason, code);
    b->lost += c->sent - c->got;
    if (c == &b->publisher || b->up + b->opening == 0)
        b->done = true;
}

static const struct madang_client_handlers handlers = {
    .on_open = on_open, .on_message = on_message, .on_down = on_down};

static void conn_open(struct bench_conn *c, const char *url)
{
    struct bench *b = c->bench;
    struct madang_client_options options = b->connection.options;
    options.url = url;
    c->began_ns = bench_now_ns();
    int rc = madang_client_open(b->clients, &options, &handlers, c, &c->client);
    if (rc == 0) {
        b->opening += c != &b->publisher;
        return;
    }
    url_error(url, rc);
    b->refused++;
    b->done = true;
}

/* One turn of the loop, and a line of progress each second. */
static bool step(struct bench *b, int timeout_ms, uint64_t *told_ns)
{
    if (madang_clients_step(b->clients, timeout_ms) < 0)
        return false;
    uint64_t now = bench_now_ns();
    if (now - *told_ns >= 1000000000u && !b->connection.quiet) {
        *told_ns = now;
        bench_progress(b);
    }
    return true;
}

static bool open_all(struct bench *b, uint64_t *told_ns)
{
    long next = 0;
    while (!b->done && (next < b->conns || b->opening > 0)) {
        while (next < b->conns && b->opening < OPENING_MAX && !b->done)
            conn_open(&b->row[next++], b->connection.options.url);
        if (!step(b, TICK_MS, told_ns))
            return false;
    }
    if (b->mode == BENCH_FANOUT && !b->done)
        conn_open(&b->publisher, b->publish_url ? b->publish_url : b->connection.options.url);
    while (b->mode == BENCH_FANOUT && !b->publisher.up && !b->done) {
        if (!step(b, TICK_MS, told_ns))
            return false;
    }
    return b->up > 0 && !b->done;
}

static void begin(struct bench *b)
{
    bench_usage_read(b->pid, &b->before);
    b->begin_ns = bench_now_ns();
    b->measuring = true;
    for (long i = 0; i < b->conns && b->mode == BENCH_ECHO; i++)
        echo_send(&b->row[i]);
}

/* What a mode does between two turns. */
static void tend(struct bench *b)
{
    if (b->mode == BENCH_FANOUT) {
        if (b->received + b->lost < b->wanted && bench_now_ns() - b->last_burst_ns > PATIENCE_NS)
            b->lost = b->wanted - b->received;
        fanout_publish(b);
    } else if (over(b)) {
        b->done = true;
    }
}

static void allow_descriptors(long wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= (rlim_t)wanted)
        return;
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fputs("madang: too few descriptors may be open (ulimit -n)\n", stderr);
}

static int run_connects(struct bench *b, uint64_t *told_ns)
{
    begin(b);
    for (long i = 0; i < b->in_flight && i < b->conns; i++)
        conn_open(&b->row[i], b->connection.options.url);
    while (!b->done || b->up + b->opening > 0) {
        tend(b);
        if (!step(b, TICK_MS, told_ns))
            return EXIT_FAILED;
    }
    return EXIT_OK;
}

int bench_run(struct bench *b)
{
    uint64_t told_ns = bench_now_ns();
    int code = EXIT_OK;
    allow_descriptors(b->conns + 64);
    bench_usage_read(b->pid, &b->empty);
    for (long i = 0; i < b->conns; i++)
        b->row[i].bench = b;
    b->publisher.bench = b;
    if (b->mode == BENCH_CONNECT) {
        code = run_connects(b, &told_ns);
    } else if (open_all(b, &told_ns)) {
        begin(b);
        while (!b->done && code == EXIT_OK) {
            tend(b);
            if (!b->done && !step(b, b->mode == BENCH_IDLE ? TICK_MS : 1, &told_ns))
                code = EXIT_FAILED;
        }
    }
    b->end_ns = bench_now_ns();
    bench_usage_read(b->pid, &b->after);
    b->done = true;
    return b->refused ? EXIT_FAILED : code;
}
