/* The load generator: one thread, epoll, as little work per message as it can do, so that the
 * server is what is measured. Prints one JSON object; "cpu_ns" is what the server's process spent
 * (all its threads, /proc/PID/task/N/schedstat) per message.
 *
 *     load echo    --port P --pid N [--path /p] --conns 100 --size 20 --inflight 1
 *                  --messages 100000
 *     load fanout  ... --conns 1000 --size 20 --burst 1 --messages 200000 [--stuck 1]
 *     load connect ... --inflight 16 --messages 20000
 *     load idle    ... --conns 10000
 *
 * --chars 1|2|3: the payload's text is made of characters of so many bytes (2: 2 and 3 mixed). */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUF = 1 << 20, EVENTS = 512, LATENCIES_MAX = 1 << 20 };

struct conn {
    int fd;
    bool up;
    uint8_t head[14]; /* of a frame, while it is not whole */
    uint8_t head_len;
    uint64_t skip;    /* payload bytes of the present frame that are still to come */
    bool counts;      /* the present frame is a message */
    bool pinged;      /* a pong is owed */
    uint64_t to_send; /* bytes of the row of frames that are not sent yet */
    uint64_t send_at;
};

struct options {
    const char *mode, *path;
    uint16_t port;
    long pid;
    size_t conns, size, inflight, burst, stuck, chars;
    uint64_t messages;
};

struct load {
    struct options o;
    int epoll_fd;
    uint8_t *buf, *row; /* row: `row_frames` masked frames in a line */
    size_t frame_len, row_frames;
    struct conn *conns;
    uint64_t received, errors;
    uint64_t sent_ns; /* when the last burst was published */
    uint32_t *latency_us;
    size_t latencies;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds on a CPU of every thread of the server. */
static uint64_t cpu_ns(const struct load *l)
{
    char path[300];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", l->o.pid);
    DIR *dir = opendir(path);
    if (!dir)
        die(path);
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        unsigned long long ns = 0;
        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%.20s/schedstat", l->o.pid, d->d_name);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) == 1)
            sum += ns;
        if (f)
            fclose(f);
    }
    closedir(dir);
    return sum;
}

static long rss_kib(const struct load *l)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", l->o.pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    }
    if (f)
        fclose(f);
    return kib;
}

static void fill_text(uint8_t *to, size_t len, size_t chars)
{
    static const char mixed[] = "\xc3\xa9\xed\x95\x9c"; /* e with acute, han */
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)('a' + i % 26);
    if (chars < 2)
        return;
    const char *unit = chars == 3 ? mixed + 2 : mixed;
    size_t unit_len = chars == 3 ? 3 : 5;
    for (size_t i = 0; i + unit_len <= len; i += unit_len)
        memcpy(to + i, unit, unit_len);
}

static void make_row(struct load *l, size_t frames)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t head = l->o.size < 126 ? 6 : l->o.size < 65536 ? 8 : 14;
    l->frame_len = head + l->o.size;
    l->row_frames = frames;
    l->row = malloc(l->frame_len * frames);
    if (!l->row)
        die("malloc");
    for (size_t i = 0; i < frames; i++) {
        uint8_t *p = l->row + i * l->frame_len;
        p[0] = 0x81;
        p[1] = (uint8_t)(0x80 | (head == 6 ? l->o.size : head == 8 ? 126 : 127));
        for (size_t b = 2; b < head - 4; b++)
            p[b] = (uint8_t)((uint64_t)l->o.size >> 8 * (head - 5 - b));
        memcpy(p + head - 4, mask, 4);
        fill_text(p + head, l->o.size, l->o.chars);
        for (size_t b = 0; b < l->o.size; b++)
            p[head + b] ^= mask[b & 3];
    }
}

static int dial(const struct load *l, size_t number)
{
    int on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->o.port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Several source addresses, so that ports do not run out. */
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % 64));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    return fd;
}

static size_t request(const struct load *l, const char *path, char *out, size_t max)
{
    int n = snprintf(out, max,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     path, l->o.port);
    return (size_t)n;
}

/* Reads up to the end of the response head; what follows belongs to the connection. */
static void handshake(struct load *l, struct conn *c, const char *path)
{
    char text[2048];
    size_t len = request(l, path, text, sizeof text), got = 0;
    if (send(c->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
    while (got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4) != 0) {
        if (got == sizeof text || recv(c->fd, text + got, 1, 0) != 1)
            die("no answer to the upgrade");
        got++;
    }
    if (memcmp(text, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "load: refused: %.60s\n", text);
        exit(1);
    }
    c->up = true;
}

static void watch(struct load *l, struct conn *c, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->epoll_fd, op, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static void open_conn(struct load *l, size_t number, const char *path)
{
    struct conn *c = &l->conns[number];
    *c = (struct conn){.fd = dial(l, number)};
    handshake(l, c, path);
}

static void push(struct load *l, struct conn *c)
{
    bool was_blocked = c->send_at > 0;
    while (c->to_send > 0) {
        uint64_t row = l->frame_len * l->row_frames;
        uint64_t at = c->send_at % row;
        uint64_t n = c->to_send < row - at ? c->to_send : row - at;
        ssize_t sent = send(c->fd, l->row + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno != EAGAIN)
                die("send");
            if (!was_blocked)
                watch(l, c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            c->send_at = at ? at : row;
            return;
        }
        c->to_send -= (uint64_t)sent;
        c->send_at = at + (uint64_t)sent;
        was_blocked = was_blocked && c->to_send > 0;
        if (c->send_at == row && c->to_send > 0)
            c->send_at = 0;
    }
    c->send_at = 0;
}

/* Walks over frames; payload is not looked at. Returns the number of messages that ended. */
static uint64_t count(struct conn *c, const uint8_t *p, size_t n)
{
    uint64_t messages = 0;
    while (n > 0) {
        if (c->skip) {
            size_t step = c->skip < n ? (size_t)c->skip : n;
            c->skip -= step;
            p += step;
            n -= step;
            if (c->skip == 0)
                messages += c->counts;
            continue;
        }
        c->head[c->head_len++] = *p++;
        n--;
        if (c->head_len < 2)
            continue;
        uint8_t len = c->head[1] & 0x7f;
        size_t need = len == 126 ? 4 : len == 127 ? 10 : 2;
        if (c->head_len < need)
            continue;
        c->skip = need == 2 ? len : 0;
        for (size_t i = 2; i < need; i++)
            c->skip = c->skip << 8 | c->head[i];
        c->counts = (c->head[0] & 0x0f) < 8 && (c->head[0] & 0x80);
        c->pinged |= (c->head[0] & 0x0f) == 9;
        c->head_len = 0;
        if (c->skip == 0)
            messages += c->counts;
    }
    return messages;
}

/* One receive; the number of messages in it. */
static uint64_t take(struct load *l, struct conn *c)
{
    ssize_t n = recv(c->fd, l->buf, BUF, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        fprintf(stderr, "load: the server closed a connection\n");
        exit(1);
    }
    uint64_t messages = count(c, l->buf, (size_t)n);
    if (c->pinged && c->to_send == 0) { /* not into the middle of a frame */
        static const uint8_t pong[6] = {0x8a, 0x80};
        c->pinged = send(c->fd, pong, sizeof pong, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof pong;
    }
    return messages;
}

static void echo_until(struct load *l, uint64_t goal)
{
    struct epoll_event events[EVENTS];
    uint64_t outstanding = 0;
    for (size_t i = 0; i < l->o.conns && outstanding < goal; i++) {
        uint64_t k = l->o.inflight;
        l->conns[i].to_send += k * l->frame_len;
        outstanding += k;
        push(l, &l->conns[i]);
    }
    uint64_t asked = outstanding;
    l->received = 0;
    while (l->received < asked) {
        int n = epoll_wait(l->epoll_fd, events, EVENTS, 10000);
        if (n == 0) {
            fprintf(stderr, "load: no answer for 10 s\n");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                watch(l, c, EPOLLIN, EPOLL_CTL_MOD);
                c->send_at = c->send_at ? c->send_at : 0;
                push(l, c);
            }
            if (!(events[i].events & EPOLLIN))
                continue;
            uint64_t got = take(l, c);
            l->received += got;
            if (asked + got > goal)
                got = asked < goal ? goal - asked : 0;
            asked += got;
            c->to_send += got * l->frame_len;
            if (got)
                push(l, c);
        }
    }
}

static void report(const struct load *l, uint64_t messages, uint64_t cpu, uint64_t wall)
{
    printf("{\"messages\": %llu, \"cpu_ns\": %.1f, \"wall_ns\": %.1f", (unsigned long long)messages,
           (double)cpu / (double)messages, (double)wall / (double)messages);
    if (l->latencies)
        printf(", \"p50_us\": %u, \"p99_us\": %u", l->latency_us[l->latencies / 2],
               l->latency_us[l->latencies * 99 / 100]);
    printf("}\n");
}

static void run_echo(struct load *l)
{
    make_row(l, l->o.inflight);
    for (size_t i = 0; i < l->o.conns; i++) {
        open_conn(l, i, l->o.path);
        watch(l, &l->conns[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    echo_until(l, l->o.messages / 5);
    uint64_t cpu = cpu_ns(l), wall = now_ns();
    echo_until(l, l->o.messages);
    wall = now_ns() - wall;
    usleep(2000); /* the server has gone to sleep, so that its account is up to date */
    report(l, l->received, cpu_ns(l) - cpu, wall);
}

static void note_latency(struct load *l, uint64_t got)
{
    uint32_t us = (uint32_t)((now_ns() - l->sent_ns) / 1000);
    for (; got > 0 && l->latencies < LATENCIES_MAX; got--)
        l->latency_us[l->latencies++] = us;
}

static void fanout_until(struct load *l, uint64_t deliveries, struct conn *publisher)
{
    struct epoll_event events[EVENTS];
    l->received = 0;
    for (uint64_t asked = 0; l->received < deliveries;) {
        if (l->received >= asked) {
            asked += l->o.conns * l->o.burst;
            l->sent_ns = now_ns();
            publisher->to_send = l->frame_len * l->o.burst;
            push(l, publisher);
            while (publisher->to_send) /* large bursts: its socket is small */
                push(l, publisher);
        }
        int n = epoll_wait(l->epoll_fd, events, EVENTS, 10000);
        if (n == 0) {
            fprintf(stderr, "load: %llu of %llu deliveries after 10 s\n",
                    (unsigned long long)l->received, (unsigned long long)asked);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            uint64_t got = take(l, events[i].data.ptr);
            l->received += got;
            note_latency(l, got);
        }
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void run_fanout(struct load *l)
{
    size_t publisher = l->o.conns + l->o.stuck;
    make_row(l, l->o.burst);
    for (size_t i = 0; i < l->o.conns + l->o.stuck; i++) {
        open_conn(l, i, "/sub");
        if (i < l->o.conns)
            watch(l, &l->conns[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    open_conn(l, publisher, "/pub");
    usleep(100000); /* who is asked to join has joined */
    fanout_until(l, l->o.messages / 5, &l->conns[publisher]);
    l->latencies = 0;
    uint64_t cpu = cpu_ns(l), wall = now_ns();
    fanout_until(l, l->o.messages, &l->conns[publisher]);
    wall = now_ns() - wall;
    usleep(2000);
    cpu = cpu_ns(l) - cpu;
    qsort(l->latency_us, l->latencies, sizeof *l->latency_us, by_value);
    report(l, l->received, cpu, wall);
}

/* Connect, upgrade, close, `inflight` of them at a time. */
static void connect_until(struct load *l, uint64_t goal)
{
    char text[512];
    struct epoll_event events[EVENTS];
    size_t len = request(l, l->o.path, text, sizeof text);
    uint64_t begun = 0;
    l->received = 0;
    while (l->received < goal) {
        for (size_t i = 0; i < l->o.inflight && begun < goal; i++) {
            struct conn *c = &l->conns[i];
            if (c->up)
                continue;
            *c = (struct conn){.fd = dial(l, (size_t)begun), .up = true};
            begun++;
            if (send(c->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
                die("send");
            watch(l, c, EPOLLIN, EPOLL_CTL_ADD);
        }
        int n = epoll_wait(l->epoll_fd, events, EVENTS, 10000);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, l->buf, BUF, MSG_DONTWAIT);
            if (got < 12 || memcmp(l->buf, "HTTP/1.1 101", 12) != 0)
                l->errors++;
            close(c->fd);
            c->up = false;
            l->received++;
        }
    }
    if (l->errors)
        die("upgrades were refused");
}

static void run_connect(struct load *l)
{
    connect_until(l, l->o.messages / 5);
    usleep(50000);
    uint64_t cpu = cpu_ns(l), wall = now_ns();
    connect_until(l, l->o.messages);
    wall = now_ns() - wall;
    usleep(50000);
    report(l, l->received, cpu_ns(l) - cpu, wall);
}

static void run_idle(struct load *l)
{
    open_conn(l, 0, l->o.path); /* what is made once is made */
    usleep(200000);
    long before = rss_kib(l);
    for (size_t i = 1; i < l->o.conns; i++)
        open_conn(l, i, l->o.path);
    usleep(1500000);
    long after = rss_kib(l);
    printf("{\"conns\": %zu, \"rss_before_kib\": %ld, \"rss_after_kib\": %ld, "
           "\"bytes_per_conn\": %.1f}\n",
           l->o.conns, before, after, (double)(after - before) * 1024.0 / (double)(l->o.conns - 1));
}

static void read_options(struct options *o, int argc, char **argv)
{
    *o = (struct options){.mode = argc > 1 ? argv[1] : "",
                          .path = "/",
                          .conns = 100,
                          .size = 20,
                          .inflight = 1,
                          .burst = 1,
                          .chars = 1,
                          .messages = 100000};
    for (int i = 2; i + 1 < argc; i += 2) {
        unsigned long long number = strtoull(argv[i + 1], NULL, 10);
        const char *name = argv[i];
        if (strcmp(name, "--path") == 0)
            o->path = argv[i + 1];
        else if (strcmp(name, "--port") == 0)
            o->port = (uint16_t)number;
        else if (strcmp(name, "--pid") == 0)
            o->pid = (long)number;
        else if (strcmp(name, "--conns") == 0)
            o->conns = number;
        else if (strcmp(name, "--size") == 0)
            o->size = number;
        else if (strcmp(name, "--inflight") == 0)
            o->inflight = number;
        else if (strcmp(name, "--burst") == 0)
            o->burst = number;
        else if (strcmp(name, "--stuck") == 0)
            o->stuck = number;
        else if (strcmp(name, "--chars") == 0)
            o->chars = number;
        else if (strcmp(name, "--messages") == 0)
            o->messages = number;
        else
            fprintf(stderr, "load: unknown option %s\n", name);
    }
}

int main(int argc, char **argv)
{
    struct load l = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    read_options(&l.o, argc, argv);
    l.buf = malloc(BUF);
    l.latency_us = malloc(LATENCIES_MAX * sizeof *l.latency_us);
    l.conns = calloc(l.o.conns + l.o.stuck + l.o.inflight + 1, sizeof *l.conns);
    if (!l.buf || !l.latency_us || !l.conns || !l.o.port || !l.o.pid)
        die("bad options");
    if (strcmp(l.o.mode, "echo") == 0)
        run_echo(&l);
    else if (strcmp(l.o.mode, "fanout") == 0)
        run_fanout(&l);
    else if (strcmp(l.o.mode, "connect") == 0)
        run_connect(&l);
    else if (strcmp(l.o.mode, "idle") == 0)
        run_idle(&l);
    else
        die("unknown mode");
    return 0;
}
