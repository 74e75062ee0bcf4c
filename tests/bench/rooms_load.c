/* Members of one room of `madang serve`, all on the same carrier, and a publisher: what the server
 * spends on a delivery, and on a member that only waits. The room is the default one, so that who
 * is put there (TCP) is in one room like all the others. A member that waits has got a message:
 * what is kept of its delivery counts.
 *
 *     rooms_load fanout|idle ws|sse|stream|tcp|udp|poll --port P --pid PID [--conns N] [--messages
 * N]
 *
 * One message is under way at a time; it counts as delivered when its mark has arrived at every
 * member. Prints {"cpu_ns": per delivery} or {"bytes": per member}. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 100, EVENTS = 256, CURSOR_MAX = 64, WARM_UP = 20, QUIET_MS = 1500 };

/* Occurs once in a message and nowhere else on the wire: not in JSON, not in a frame's length. */
static const char mark = '^';
#define ROOM "lobby"

struct load {
    const char *mode, *kind;
    int port, epoll_fd, publisher;
    long pid, conns, messages;
    int *fds;
    uint64_t marks;
    char cursor[CURSOR_MAX]; /* of the polls: the same for everyone */
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_to(const struct load *l)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_text(int fd, const char *text)
{
    size_t len = strlen(text);
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

/* Reads until `wanted` has come. */
static void wait_for(int fd, const char *wanted, char *room, size_t cap)
{
    size_t len = 0;
    do {
        ssize_t n = read(fd, room + len, cap - 1 - len);
        if (n <= 0) {
            fprintf(stderr, "the server closed before it said %s\n", wanted);
            exit(1);
        }
        len += (size_t)n;
        room[len] = '\0';
    } while (!memmem(room, len, wanted, strlen(wanted)) && len < cap - 1);
}

static void get(int fd, const char *target, const char *more)
{
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", target, more);
    send_text(fd, text);
}

static void send_poll(const struct load *l, int fd)
{
    char target[160];
    snprintf(target, sizeof target, "/poll?room=" ROOM "&after=%s&wait=300", l->cursor);
    get(fd, target, "");
}

/* {"type":"join","room":"lobby","history":0} as a masked text frame with the key 0. */
static void join_ws(int fd)
{
    static const char join[] = "{\"type\":\"join\",\"room\":\"" ROOM "\",\"history\":0}";
    char room[4096], frame[6 + sizeof join] = {(char)0x81, (char)(0x80 | (sizeof join - 1))};
    get(fd, "/ws/chat",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: madang.v1\r\n");
    wait_for(fd, "welcome", room, sizeof room);
    memcpy(frame + 6, join, sizeof join - 1);
    if (send(fd, frame, sizeof frame - 1, MSG_NOSIGNAL) < 0)
        die("send");
}

/* Text datagrams: the server wants its cookie back before it listens. */
static int new_datagrams(const struct load *l)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    char room[4096];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    send_text(fd, "/hi"); /* an earlier run may have had this port */
    wait_for(fd, "/hi ", room, sizeof room);
    send_text(fd, strstr(room, "/hi "));
    send_text(fd, "/join " ROOM);
    return fd;
}

static int new_member(struct load *l)
{
    char room[4096];
    bool datagrams = strcmp(l->kind, "udp") == 0;
    int fd = datagrams ? new_datagrams(l) : connect_to(l);
    if (datagrams) {
        /* is in the room */
    } else if (strcmp(l->kind, "ws") == 0) {
        join_ws(fd);
    } else if (strcmp(l->kind, "sse") == 0) {
        get(fd, "/sse?room=" ROOM "&history=0", "");
        wait_for(fd, "joined", room, sizeof room);
    } else if (strcmp(l->kind, "stream") == 0) {
        get(fd, "/stream?room=" ROOM "&history=0", "");
        wait_for(fd, "joined", room, sizeof room);
    } else if (strcmp(l->kind, "tcp") == 0) {
        send_text(fd, "/join " ROOM "\n");
    } else if (strcmp(l->kind, "poll") == 0) {
        send_poll(l, fd);
    } else {
        fprintf(stderr, "no such kind: %s\n", l->kind);
        exit(2);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void publish(struct load *l)
{
    char text[512], payload[SIZE + 1];
    memset(payload, 'x', SIZE);
    payload[SIZE / 2] = mark;
    payload[SIZE] = '\0';
    snprintf(text, sizeof text,
             "POST /publish?room=" ROOM " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
             "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
             SIZE, payload);
    send_text(l->publisher, text);
}

static void keep_cursor(struct load *l, const char *data, size_t len)
{
    static const char name[] = "\"cursor\":\"";
    const char *at = memmem(data, len, name, sizeof name - 1);
    if (!at)
        return;
    at += sizeof name - 1;
    const char *end = memchr(at, '"', (size_t)(data + len - at));
    if (end && end - at < CURSOR_MAX) {
        memcpy(l->cursor, at, (size_t)(end - at));
        l->cursor[end - at] = '\0';
    }
}

static void on_readable(struct load *l, int fd)
{
    static char room[1 << 18];
    ssize_t n = read(fd, room, sizeof room);
    if (n == 0) {
        fprintf(stderr, "the server closed a member\n");
        exit(1);
    }
    if (n < 0)
        return;
    if (fd == l->publisher)
        return;
    uint64_t before = l->marks;
    for (const char *at = room; (at = memchr(at, mark, (size_t)(room + n - at))); at++)
        l->marks++;
    if (strcmp(l->kind, "poll") == 0 && l->marks > before) {
        keep_cursor(l, room, (size_t)n);
        send_poll(l, fd);
    }
}

/* Turns for as long as something comes; stops at `marks`, or after that much silence. */
static void turn_until(struct load *l, uint64_t marks, int silence_ms)
{
    struct epoll_event events[EVENTS];
    while (l->marks < marks) {
        int n = epoll_wait(l->epoll_fd, events, EVENTS, silence_ms);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (n == 0) {
            if (marks == UINT64_MAX)
                return;
            fprintf(stderr, "%llu of %llu deliveries came\n", (unsigned long long)l->marks,
                    (unsigned long long)marks);
            exit(1);
        }
        for (int i = 0; i < n; i++)
            on_readable(l, events[i].data.fd);
    }
}

static uint64_t cpu_ns(const struct load *l)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid((pid_t)l->pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        die("clock of the server");
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static long memory_of(const struct load *l)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", l->pid);
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Anonymous: %ld", &kib) == 1)
            break;
    fclose(f);
    return kib * 1024;
}

static void add(struct load *l, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("epoll_ctl");
}

static void add_members(struct load *l, long n)
{
    for (long i = 0; i < n; i++) {
        add(l, new_member(l));
        turn_until(l, UINT64_MAX, 0);
    }
    turn_until(l, UINT64_MAX, QUIET_MS); /* presence is told */
}

static void publish_to(struct load *l, long members)
{
    publish(l);
    turn_until(l, l->marks + (uint64_t)members, 10000);
    turn_until(l, UINT64_MAX, QUIET_MS); /* polls are asked again */
}

static void run_idle(struct load *l)
{
    long first = l->conns / 20 + 50; /* pools and tables have their first size */
    add_members(l, first);
    publish_to(l, first);
    long before = memory_of(l);
    add_members(l, l->conns);
    publish_to(l, first + l->conns);
    printf("{\"bytes\": %ld}\n", (memory_of(l) - before) / l->conns);
}

static void run_fanout(struct load *l)
{
    add_members(l, l->conns);
    uint64_t marks = 0, start = 0;
    for (long i = 0; i < WARM_UP + l->messages; i++) {
        if (i == WARM_UP)
            start = cpu_ns(l);
        publish(l);
        turn_until(l, marks += (uint64_t)l->conns, 10000);
    }
    double each = (double)(cpu_ns(l) - start) / (double)(l->messages * l->conns);
    printf("{\"cpu_ns\": %.1f}\n", each);
}

int main(int argc, char **argv)
{
    struct load l = {.conns = 1000, .messages = 300};
    if (argc < 3)
        return 2;
    l.mode = argv[1];
    l.kind = argv[2];
    for (int i = 3; i + 1 < argc; i += 2) {
        long value = strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--port") == 0)
            l.port = (int)value;
        else if (strcmp(argv[i], "--pid") == 0)
            l.pid = value;
        else if (strcmp(argv[i], "--conns") == 0)
            l.conns = value;
        else if (strcmp(argv[i], "--messages") == 0)
            l.messages = value;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l.publisher = connect_to(&l);
    char room[4096];
    get(l.publisher, "/poll?room=" ROOM, "");
    wait_for(l.publisher, "messages", room, sizeof room);
    keep_cursor(&l, room, strlen(room));
    fcntl(l.publisher, F_SETFL, O_NONBLOCK);
    add(&l, l.publisher);
    if (strcmp(l.mode, "idle") == 0)
        run_idle(&l);
    else
        run_fanout(&l);
    return 0;
}
