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
    STUCK_MS = 5000,          /* nothing opens nor fails so long behind the time for connecting */
    CONNECT_MS = 10000,       /* which is this, unless --timeout says otherwise */
    TICK_MS = 50
};

static void conn_open(struct bench_conn *c);
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
        if (talk_say(c) < 0)
            return;
        c->sent++;
        b->sent++;
    }
}

static void echo_got(struct bench_conn *c, uint64_t said_ns)
{
    struct bench *b = c->bench;
    c->got++;
    histogram_add(&b->latency, bench_now_ns() - said_ns);
    b->received++;
    if (over(b))
        b->done = true;
    echo_send(c);
}

/* Answers without a mark come in order. */
void bench_answered(struct bench_conn *c)
{
    if (c->bench->measuring && c->got != c->sent) /* else a greeting */
        echo_got(c, c->sent_ns[c->got % BENCH_IN_FLIGHT_MAX]);
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
        if (talk_say(&b->publisher) < 0)
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
        conn_open(c);
}

void bench_up(struct bench_conn *c)
{
    struct bench *b = c->bench;
    c->up = true;
    b->moved_ns = bench_now_ns();
    if (b->hello && madang_client_send(c->client, b->hello, strlen(b->hello), false) < 0)
        b->refused++;
    if (c == &b->publisher)
        return;
    b->opening--;
    b->up++;
    if (b->mode == BENCH_CONNECT) {
        histogram_add(&b->latency, bench_now_ns() - c->began_ns);
        b->connects++;
        madang_client_close(c->client, 1000, "");
    }
}

void bench_refused(struct bench_conn *c, const char *why)
{
    if (c->bench->refused++ == 0)
        fprintf(stderr, "madang: refused: %s\n", why);
    c->bench->done = true;
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    (void)client;
    (void)subprotocol;
    talk_opened(arg);
}

static void heard(struct bench_conn *c, const void *data, size_t len)
{
    struct bench *b = c->bench;
    uint64_t said_ns;
    if (!b->marked && c->up) {
        if (b->mode == BENCH_ECHO && !b->ack)
            bench_answered(c);
        return;
    }
    if (!talk_heard(c, data, len, &said_ns) || !b->measuring || c == &b->publisher)
        return;
    if (b->mode == BENCH_ECHO) {
        echo_got(c, said_ns);
        return;
    }
    histogram_add(&b->latency, bench_now_ns() - said_ns);
    b->received++;
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    (void)client;
    (void)binary;
    heard(arg, data, len);
}

static void on_event(struct madang_client *client, const struct madang_client_event *event,
                     void *arg)
{
    (void)client;
    heard(arg, event->json, event->len);
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
    b->moved_ns = bench_now_ns();
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
    .on_open = on_open, .on_message = on_message, .on_down = on_down, .on_event = on_event};

static void conn_open(struct bench_conn *c)
{
    struct bench *b = c->bench;
    c->began_ns = bench_now_ns();
    int rc = talk_open(c, &handlers);
    if (rc == 0) {
        b->opening += c != &b->publisher;
        return;
    }
    url_error(c->rooms.url, rc);
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

/* A server that never answers a join would keep us for ever. */
static bool stuck(struct bench *b)
{
    uint32_t patience_ms = b->connection.options.connect_timeout_ms;
    patience_ms = (patience_ms ? patience_ms : CONNECT_MS) + STUCK_MS;
    if ((bench_now_ns() - b->moved_ns) / 1000000u < patience_ms)
        return false;
    fprintf(stderr, "madang: connections are made, but nobody answers%s\n",
            b->room ? "; --room needs a server with madang's rooms" : "");
    b->refused++;
    return true;
}

static bool open_all(struct bench *b, uint64_t *told_ns)
{
    long next = 0;
    b->moved_ns = bench_now_ns();
    while (!b->done && (next < b->conns || b->opening > 0)) {
        while (next < b->conns && b->opening < OPENING_MAX && !b->done)
            conn_open(&b->row[next++]);
        if (!step(b, TICK_MS, told_ns) || stuck(b))
            return false;
    }
    if (b->mode == BENCH_FANOUT && !b->done)
        conn_open(&b->publisher);
    while (b->mode == BENCH_FANOUT && !b->publisher.up && !b->done) {
        if (!step(b, TICK_MS, told_ns) || stuck(b))
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
        conn_open(&b->row[i]);
    b->moved_ns = bench_now_ns();
    while (!b->done || b->up + b->opening > 0) {
        tend(b);
        if (!step(b, TICK_MS, told_ns) || stuck(b))
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
