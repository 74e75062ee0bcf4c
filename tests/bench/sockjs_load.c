/* Fan-out over SockJS: N clients of a /broadcast service by websocket or xhr_streaming, and a
 * publisher on the raw websocket (raw: members too, which is plain WebSocket). Every message holds
 * one '~', which is what is counted. Prints the server's CPU time per delivery and its memory per
 * session, as JSON.
 *
 *     sockjs_load websocket|xhr_streaming|raw --port P --pid PID [--conns N] [--size B] [--burst K]
 *                 [--messages TOTAL_DELIVERIES] */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS_MAX = 10000, SIZE_MAX_BYTES = 60000, WAIT_MS = 20000 };

struct options {
    const char *transport;
    unsigned long port, pid, conns, size, burst, messages;
};

static void die(const char *what)
{
    fprintf(stderr, "sockjs_load: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static int dial(unsigned long port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        data += n;
        len -= (size_t)n;
    }
}

static void upgrade(int fd, const char *path)
{
    char request[512];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n",
                     path);
    send_all(fd, request, (size_t)n);
}

static int open_session(const struct options *o, unsigned long i)
{
    char path[128], request[256];
    int fd = dial(o->port);
    if (strcmp(o->transport, "raw") == 0) {
        upgrade(fd, "/broadcast/websocket");
        return fd;
    }
    snprintf(path, sizeof path, "/broadcast/000/s%d-%lu/%s", (int)getpid(), i, o->transport);
    if (strcmp(o->transport, "websocket") == 0) {
        upgrade(fd, path);
        return fd;
    }
    int n = snprintf(request, sizeof request,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", path);
    send_all(fd, request, (size_t)n);
    return fd;
}

/* What is there to read, counted. */
static unsigned long drain(int fd)
{
    static char buffer[1 << 18];
    unsigned long found = 0;
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n == 0)
            die("the server closed a connection");
        if (n < 0)
            return found;
        for (const char *at = buffer, *end = buffer + n; (at = memchr(at, '~', (size_t)(end - at)));
             at++)
            found++;
        if ((size_t)n < sizeof buffer)
            return found;
    }
}

static void wait_for(int poller, unsigned long wanted)
{
    struct epoll_event events[512];
    unsigned long got = 0;
    while (got < wanted) {
        int n = epoll_wait(poller, events, 512, WAIT_MS);
        if (n <= 0)
            die("deliveries are missing");
        for (int i = 0; i < n; i++)
            got += drain(events[i].data.fd);
    }
}

/* An unmasked-looking frame: a key of zeros changes nothing. */
static size_t make_frame(char *out, size_t size)
{
    size_t n = 0;
    out[n++] = (char)0x81;
    if (size < 126) {
        out[n++] = (char)(0x80 | size);
    } else {
        out[n++] = (char)(0x80 | 126);
        out[n++] = (char)(size >> 8);
        out[n++] = (char)size;
    }
    memset(out + n, 0, 4);
    n += 4;
    out[n] = '~';
    memset(out + n + 1, 'x', size - 1);
    return n + size;
}

static double cpu_ns(unsigned long pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%lu/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof text, file))
        die("no such process");
    fclose(file);
    const char *at = strrchr(text, ')');
    if (!at ||
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("/proc/pid/stat");
    return (double)(user + system) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

static long rss_kib(unsigned long pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%lu/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    }
    if (file)
        fclose(file);
    return kib;
}

static int open_all(const struct options *o)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        die("epoll");
    for (unsigned long i = 0; i < o->conns; i++) {
        int fd = open_session(o, i);
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
    }
    usleep(700000); /* preludes and open frames */
    struct epoll_event events[512];
    int n;
    while ((n = epoll_wait(poller, events, 512, 200)) > 0) {
        for (int i = 0; i < n; i++)
            drain(events[i].data.fd);
    }
    return poller;
}

static void measure(const struct options *o)
{
    long before_kib = rss_kib(o->pid);
    int poller = open_all(o);
    long sessions_kib = rss_kib(o->pid) - before_kib;
    int publisher = dial(o->port);
    upgrade(publisher, "/broadcast/websocket");
    usleep(200000);
    char *frames = malloc(o->burst * (o->size + 16));
    if (!frames)
        die("memory");
    size_t len = 0;
    for (unsigned long i = 0; i < o->burst; i++)
        len += make_frame(frames + len, o->size);
    unsigned long rounds = o->messages / (o->conns * o->burst);
    double start = 0;
    for (unsigned long i = 0; i < rounds + rounds / 5; i++) {
        if (i == rounds / 5)
            start = cpu_ns(o->pid); /* warm by then */
        send_all(publisher, frames, len);
        wait_for(poller, o->conns * o->burst);
        drain(publisher);
    }
    double used = cpu_ns(o->pid) - start;
    printf("{\"cpu_ns\": %.0f, \"session_bytes\": %ld}\n",
           used / (double)(rounds * o->conns * o->burst), sessions_kib * 1024 / (long)o->conns);
    free(frames);
}

int main(int argc, char **argv)
{
    struct options o = {.conns = 1000, .size = 20, .burst = 1, .messages = 300000};
    o.transport = argc > 1 ? argv[1] : "";
    for (int i = 2; i + 1 < argc; i += 2) {
        unsigned long value = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--port") == 0)
            o.port = value;
        else if (strcmp(argv[i], "--pid") == 0)
            o.pid = value;
        else if (strcmp(argv[i], "--conns") == 0)
            o.conns = value;
        else if (strcmp(argv[i], "--size") == 0)
            o.size = value;
        else if (strcmp(argv[i], "--burst") == 0)
            o.burst = value;
        else if (strcmp(argv[i], "--messages") == 0)
            o.messages = value;
        else
            die("unknown option");
    }
    bool known = strcmp(o.transport, "websocket") == 0 ||
                 strcmp(o.transport, "xhr_streaming") == 0 || strcmp(o.transport, "raw") == 0;
    if (!known || !o.port || !o.pid || !o.conns || o.conns > CONNS_MAX || !o.size ||
        o.size > SIZE_MAX_BYTES || !o.burst || o.messages < o.conns * o.burst)
        die("usage: sockjs_load websocket|xhr_streaming|raw --port P --pid PID ...");
    measure(&o);
    return 0;
}
