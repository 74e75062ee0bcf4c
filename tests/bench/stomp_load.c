/* Load on a STOMP broker and what it costs the broker: CPU of the process (all threads) for each
 * delivery, or memory for each idle connection. Works with any broker, over TCP or WebSocket.
 *
 *   stomp_load --port P --pid PID [--ws PATH] --mode topic|queue|idle [--subscribers N]
 *              [--in-flight K] [--messages M] [--bytes B] [--login U --passcode P]            */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUF = 256 * 1024, CLIENTS_MAX = 20000 };

static struct {
    int port, pid;
    const char *ws, *mode, *login, *passcode;
    int subscribers, in_flight, messages, bytes;
} opt = {.mode = "topic",
         .login = "guest",
         .passcode = "guest",
         .subscribers = 100,
         .in_flight = 1,
         .messages = 1000,
         .bytes = 20};

struct client {
    int fd;
    char *keep; /* queue mode: an incomplete frame */
    size_t keep_len;
    /* WebSocket: a length's bytes may be zero too, so payloads are told from heads. */
    unsigned char head[10];
    size_t head_len;
    unsigned long long payload_left;
};

static struct client clients[CLIENTS_MAX];
static char buf[BUF];

static void die(const char *what)
{
    fprintf(stderr, "stomp_load: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
    exit(1);
}

static void send_all(int fd, const void *data, size_t len)
{
    for (const char *at = data; len;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            usleep(100);
            continue;
        }
        if (n <= 0)
            die("send");
        at += n;
        len -= (size_t)n;
    }
}

/* Masked with zero, which changes nothing, so that a frame is its head and the bytes. */
static size_t put_frame(char *out, const char *frame, size_t len)
{
    unsigned char head[14] = {0x81};
    size_t n = 0;
    if (opt.ws && len < 126) {
        head[1] = (unsigned char)(0x80 | len);
        n = 2 + 4;
    } else if (opt.ws) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        n = 4 + 4;
    }
    memcpy(out, head, n);
    memcpy(out + n, frame, len);
    return n + len;
}

static void send_frame(int fd, const char *frame, size_t len)
{
    static char out[BUF];
    send_all(fd, out, put_frame(out, frame, len));
}

/* Length of the head under way, once that can be told; 2 before. */
static size_t head_size(const struct client *c)
{
    unsigned char len = c->head_len < 2 ? 0 : c->head[1] & 127;
    return len == 126 ? 4 : len == 127 ? 10 : 2;
}

static void take_head_byte(struct client *c, unsigned char byte)
{
    c->head[c->head_len++] = byte;
    if (c->head_len < 2 || c->head_len < head_size(c))
        return;
    c->payload_left = c->head_len == 2 ? c->head[1] & 127 : 0;
    for (size_t i = 2; i < c->head_len; i++)
        c->payload_left = c->payload_left << 8 | c->head[i];
    c->head_len = 0;
}

/* How many STOMP frames end in these bytes: each ends with a NUL, and bodies here hold none. */
static long count_frames(struct client *c, const char *bytes, size_t len)
{
    long count = 0;
    for (size_t at = 0; at < len;) {
        if (opt.ws && c->payload_left == 0) {
            take_head_byte(c, (unsigned char)bytes[at++]);
            continue;
        }
        size_t n = len - at;
        if (opt.ws && n > c->payload_left)
            n = (size_t)c->payload_left;
        for (const char *from = bytes + at, *end = from + n;
             (from = memchr(from, 0, (size_t)(end - from))) != NULL; from++)
            count++;
        if (opt.ws)
            c->payload_left -= n;
        at += n;
    }
    return count;
}

static void wait_frames(struct client *c, long count)
{
    while (count > 0) {
        ssize_t n = recv(c->fd, buf, sizeof buf, 0);
        if (n <= 0)
            die("recv");
        if (memmem(buf, (size_t)n, "ERROR\n", 6)) {
            fwrite(buf, 1, (size_t)n, stderr);
            die("the broker says ERROR");
        }
        count -= count_frames(c, buf, (size_t)n);
    }
}

static struct client connect_client(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char text[1024];
    if (opt.ws) {
        int n = snprintf(text, sizeof text,
                         "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                         "Sec-WebSocket-Protocol: v12.stomp\r\n\r\n",
                         opt.ws);
        send_all(fd, text, (size_t)n);
        size_t len = 0;
        while (!memmem(buf, len, "\r\n\r\n", 4)) {
            ssize_t r = recv(fd, buf + len, 1, 0);
            if (r <= 0)
                die("upgrade");
            len += (size_t)r;
        }
    }
    int n = snprintf(text, sizeof text,
                     "CONNECT\naccept-version:1.2\nhost:/\nlogin:%s\npasscode:%s\n\n", opt.login,
                     opt.passcode);
    send_frame(fd, text, (size_t)n + 1);
    struct client c = {.fd = fd};
    wait_frames(&c, 1);
    return c;
}

static void subscribe(struct client *c, const char *destination, const char *more)
{
    char text[512];
    int n = snprintf(text, sizeof text, "SUBSCRIBE\nid:0\ndestination:%s\nreceipt:s\n%s\n",
                     destination, more);
    send_frame(c->fd, text, (size_t)n + 1);
    wait_frames(c, 1);
}

/* Of all threads, in nanoseconds' resolution; threads that have ended are not counted. */
static double cpu_s(void)
{
    char path[600], line[256];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", opt.pid);
    DIR *dir = opendir(path);
    if (!dir)
        die(path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        unsigned long long ns = 0;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", opt.pid, e->d_name);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        if (fgets(line, sizeof line, f) && sscanf(line, "%llu", &ns) == 1)
            sum += (double)ns / 1e9;
        fclose(f);
    }
    closedir(dir);
    return sum;
}

static long rss_kib(void)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", opt.pid);
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    }
    fclose(f);
    return kib;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t make_send(char *out, size_t cap, const char *destination)
{
    int n = snprintf(out, cap, "SEND\ndestination:%s\ncontent-type:text/plain\n\n", destination);
    memset(out + n, 'x', (size_t)opt.bytes);
    out[n + opt.bytes] = 0;
    return (size_t)(n + opt.bytes) + 1;
}

static int watch_clients(int count)
{
    int ep = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].fd, &e) < 0)
            die("epoll");
    }
    return ep;
}

static void report(const char *what, double cpu, double wall, double count)
{
    printf("%s: %.3f us CPU each, %.0f/s, %.0f in %.2f s\n", what, cpu * 1e6 / count, count / wall,
           count, wall);
}

/* The messages that are in flight together leave in one write. */
static void run_topic(void)
{
    static char message[BUF], burst[2 * BUF];
    struct epoll_event events[256];
    int publisher = connect_client().fd;
    for (int i = 0; i < opt.subscribers; i++) {
        clients[i] = connect_client();
        subscribe(&clients[i], "/topic/load", "");
    }
    int ep = watch_clients(opt.subscribers);
    size_t len = make_send(message, sizeof message, "/topic/load"), burst_len = 0;
    for (int k = 0; k < opt.in_flight; k++) {
        if (burst_len + len + 14 > sizeof burst)
            die("the burst is too long");
        burst_len += put_frame(burst + burst_len, message, len);
    }
    double cpu = cpu_s(), wall = now_s();
    int rounds = opt.messages / opt.in_flight;
    for (int r = 0; r < rounds; r++) {
        send_all(publisher, burst, burst_len);
        long left = (long)opt.in_flight * opt.subscribers;
        while (left > 0) {
            int n = epoll_wait(ep, events, 256, 5000);
            if (n <= 0)
                die("deliveries are missing");
            for (int i = 0; i < n; i++) {
                struct client *c = &clients[events[i].data.u32];
                ssize_t got = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);
                if (got <= 0)
                    die("recv");
                left -= count_frames(c, buf, (size_t)got);
            }
        }
    }
    report("topic delivery", cpu_s() - cpu, now_s() - wall,
           (double)rounds * opt.in_flight * opt.subscribers);
}

/* Acknowledges every whole MESSAGE of a consumer; returns how many there were. */
static int acknowledge(struct client *c)
{
    static char acks[BUF];
    size_t out = 0;
    int count = 0;
    if (!c->keep)
        c->keep = malloc(2 * BUF);
    ssize_t got = recv(c->fd, c->keep + c->keep_len, BUF, MSG_DONTWAIT);
    if (got <= 0)
        die("recv");
    c->keep_len += (size_t)got;
    char *at = c->keep, *end = c->keep + c->keep_len, *nul;
    while ((nul = memchr(at, 0, (size_t)(end - at))) != NULL) {
        char *ack = memmem(at, (size_t)(nul - at), "\nack:", 5);
        if (ack) {
            char *line_end = memchr(ack + 1, '\n', (size_t)(nul - ack - 1));
            char text[256];
            int n =
                snprintf(text, sizeof text, "ACK\nid:%.*s\n\n", (int)(line_end - ack - 5), ack + 5);
            if (opt.ws)
                send_frame(c->fd, text, (size_t)n + 1);
            else
                memcpy(acks + out, text, (size_t)n + 1), out += (size_t)n + 1;
            count++;
        }
        at = nul + 1;
    }
    c->keep_len = (size_t)(end - at);
    memmove(c->keep, at, c->keep_len);
    if (out)
        send_all(c->fd, acks, out);
    return count;
}

static void run_queue(void)
{
    static char message[BUF];
    struct epoll_event events[256];
    int publisher = connect_client().fd;
    for (int i = 0; i < opt.subscribers; i++) {
        clients[i] = connect_client();
        subscribe(&clients[i], "/queue/load", "ack:client-individual\nprefetch-count:100\n");
    }
    int ep = watch_clients(opt.subscribers);
    size_t len = make_send(message, sizeof message, "/queue/load");
    double cpu = cpu_s(), wall = now_s();
    int sent = 0, done = 0;
    while (done < opt.messages) {
        while (sent < opt.messages && sent - done < opt.in_flight) {
            send_frame(publisher, message, len);
            sent++;
        }
        int n = epoll_wait(ep, events, 256, 5000);
        if (n <= 0)
            die("messages are missing");
        for (int i = 0; i < n; i++)
            done += acknowledge(&clients[events[i].data.u32]);
    }
    usleep(200000); /* the last acknowledgements count too */
    report("queue message", cpu_s() - cpu, now_s() - wall - 0.2, opt.messages);
}

static void run_idle(void)
{
    struct client warm = connect_client();
    subscribe(&warm, "/topic/idle", "");
    long before = rss_kib();
    for (int i = 0; i < opt.subscribers; i++) {
        clients[i] = connect_client();
        subscribe(&clients[i], "/topic/idle", "");
    }
    sleep(1);
    long after = rss_kib();
    printf("idle connection with one subscription: %.2f KiB each (%ld KiB for %d)\n",
           (double)(after - before) / opt.subscribers, after - before, opt.subscribers);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        int number = (int)strtol(value, NULL, 10);
        if (strcmp(name, "--port") == 0)
            opt.port = number;
        else if (strcmp(name, "--pid") == 0)
            opt.pid = number;
        else if (strcmp(name, "--ws") == 0)
            opt.ws = value;
        else if (strcmp(name, "--mode") == 0)
            opt.mode = value;
        else if (strcmp(name, "--subscribers") == 0)
            opt.subscribers = number < CLIENTS_MAX ? number : CLIENTS_MAX;
        else if (strcmp(name, "--in-flight") == 0)
            opt.in_flight = number;
        else if (strcmp(name, "--messages") == 0)
            opt.messages = number;
        else if (strcmp(name, "--bytes") == 0)
            opt.bytes = number < BUF / 2 ? number : BUF / 2;
        else if (strcmp(name, "--login") == 0)
            opt.login = value;
        else if (strcmp(name, "--passcode") == 0)
            opt.passcode = value;
        else
            die(name);
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (strcmp(opt.mode, "queue") == 0)
        run_queue();
    else if (strcmp(opt.mode, "idle") == 0)
        run_idle();
    else
        run_topic();
    return 0;
}
