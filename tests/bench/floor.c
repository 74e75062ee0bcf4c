/* What the kernel alone costs: the least a server can do, as the yardstick of the tables in
 * doc/internals/speed.md. One thread, level-triggered epoll, one receive per readiness into one
 * buffer, one send. It answers every request head with canned bytes and knows as much of WebSocket
 * as an echo needs: no checks, no limits, no ping, no UTF-8.
 *
 *     floor echo    [--port P]   echoes frames
 *     floor fanout  [--port P]   what /pub sends goes to every /sub in a loop of send()
 *     floor accept  [--port P]   answers canned bytes and waits for the end */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HOT = 512 * 1024, EVENTS = 512, FDS_MAX = 1 << 17 };

static const char canned[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";

struct conn {
    int fd;
    bool upgraded, publisher;
    uint8_t *kept; /* the beginning of a frame whose rest is missing */
    size_t kept_len, kept_cap;
    const uint8_t *unsent; /* NULL, or a copy of what the socket did not take */
    size_t unsent_len;
};

struct floor_server {
    int epoll_fd, listen_fd;
    enum { ECHO, FANOUT, ACCEPT } mode;
    struct conn **subs;
    size_t subs_len;
    uint8_t *hot, *out;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct floor_server *f, struct conn *c, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(f->epoll_fd, op, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static void drop(struct floor_server *f, struct conn *c)
{
    for (size_t i = 0; i < f->subs_len; i++) {
        if (f->subs[i] == c)
            f->subs[i] = f->subs[--f->subs_len];
    }
    close(c->fd);
    free(c->kept);
    free((void *)(uintptr_t)c->unsent);
    free(c);
}

/* What does not fit is copied and sent when there is room. */
static void put(struct floor_server *f, struct conn *c, const uint8_t *data, size_t len)
{
    ssize_t sent = c->unsent ? 0 : send(c->fd, data, len, MSG_NOSIGNAL);
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == len)
        return;
    uint8_t *all = malloc(c->unsent_len + len - (size_t)sent);
    if (!all)
        die("malloc");
    if (c->unsent_len)
        memcpy(all, c->unsent, c->unsent_len);
    memcpy(all + c->unsent_len, data + sent, len - (size_t)sent);
    c->unsent_len += len - (size_t)sent;
    free((void *)(uintptr_t)c->unsent);
    c->unsent = all;
    watch(f, c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void put_rest(struct floor_server *f, struct conn *c)
{
    ssize_t sent = send(c->fd, c->unsent, c->unsent_len, MSG_NOSIGNAL);
    if (sent < 0)
        return;
    c->unsent_len -= (size_t)sent;
    if (c->unsent_len) {
        memmove((void *)(uintptr_t)c->unsent, c->unsent + sent, c->unsent_len);
        return;
    }
    free((void *)(uintptr_t)c->unsent);
    c->unsent = NULL;
    watch(f, c, EPOLLIN, EPOLL_CTL_MOD);
}

static void unmask(uint8_t *data, size_t len, const uint8_t mask[4])
{
    uint64_t wide;
    uint32_t key;
    size_t i = 0;
    memcpy(&key, mask, 4);
    wide = (uint64_t)key << 32 | key;
    for (; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= wide;
        memcpy(data + i, &word, 8);
    }
    for (; i < len; i++)
        data[i] ^= mask[i & 3];
}

/* Length of the frame's head with its mask, 0 if it is not whole; *len: of the payload. */
static size_t head_of(const uint8_t *p, size_t n, uint64_t *len)
{
    if (n < 2)
        return 0;
    size_t head = 6;
    *len = p[1] & 0x7f;
    if (*len == 126) {
        head = 8;
        *len = n >= 4 ? (uint64_t)p[2] << 8 | p[3] : 0;
    } else if (*len == 127) {
        head = 14;
        *len = 0;
        for (int i = 2; i < 10 && n >= 10; i++)
            *len = *len << 8 | p[i];
    }
    return n >= head ? head : 0;
}

/* A client's frame turns into a server's in place: the head without mask stands right in front of
 * the payload. Returns where it begins. */
static uint8_t *turn(uint8_t *p, size_t head, uint64_t len, size_t *total)
{
    size_t back = head - 4;
    uint8_t *start = p + 4;
    unmask(p + head, (size_t)len, p + head - 4);
    memmove(start, p, back);
    start[1] &= 0x7f;
    *total = back + (size_t)len;
    return start;
}

static void keep(struct conn *c, const uint8_t *p, size_t n, size_t want)
{
    if (want > c->kept_cap) {
        c->kept_cap = want;
        c->kept = realloc(c->kept, want);
        if (!c->kept)
            die("realloc");
    }
    memmove(c->kept, p, n);
    c->kept_len = n;
}

/* A frame goes to every subscriber: the floor of fan-out. */
static void fan_out(struct floor_server *f, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < f->subs_len; i++)
        put(f, f->subs[i], data, len);
}

static void frames(struct floor_server *f, struct conn *c, uint8_t *p, size_t n)
{
    uint8_t *to = f->out;
    size_t out_len = 0;
    uint64_t len;
    size_t head;
    const uint8_t *single = NULL;
    while ((head = head_of(p, n, &len)) > 0 && n - head >= len) {
        size_t total;
        if ((p[0] & 0x0f) == 8) {
            drop(f, c);
            return;
        }
        uint8_t *start = turn(p, head, len, &total);
        if (out_len == 0 && n == head + len) {
            single = start; /* alone: it is sent as it lies there */
        } else {
            memcpy(to + out_len, start, total);
        }
        out_len += total;
        p += head + len;
        n -= head + (size_t)len;
    }
    if (out_len) {
        if (f->mode == FANOUT)
            fan_out(f, single ? single : to, out_len);
        else
            put(f, c, single ? single : to, out_len);
    }
    keep(c, p, n, n == 0 ? 0 : head ? head + (size_t)len : (n > 16 ? n : 16));
}

static void upgrade(struct floor_server *f, struct conn *c, uint8_t *p, size_t n)
{
    uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) {
        keep(c, p, n, n + 4096);
        return;
    }
    c->upgraded = true;
    if (f->mode == FANOUT && memcmp(p, "GET /pub", 8) == 0)
        c->publisher = true;
    else if (f->mode == FANOUT)
        f->subs[f->subs_len++] = c;
    put(f, c, (const uint8_t *)canned, sizeof canned - 1);
    size_t used = (size_t)(end + 4 - p);
    c->kept_len = 0;
    if (n > used)
        frames(f, c, p + used, n - used);
}

static void on_readable(struct floor_server *f, struct conn *c)
{
    uint8_t *to = f->hot;
    size_t room = HOT;
    if (c->kept_len) { /* a frame is under way: straight into its buffer */
        to = c->kept + c->kept_len;
        room = c->kept_cap - c->kept_len;
    }
    ssize_t n = recv(c->fd, to, room, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(f, c);
        return;
    }
    uint8_t *data = c->kept_len ? c->kept : f->hot;
    size_t len = c->kept_len + (size_t)n;
    if (!c->upgraded) {
        upgrade(f, c, data, len);
        return;
    }
    uint64_t payload;
    size_t head = head_of(data, len, &payload);
    if (c->kept_len && head && len - head < payload && c->kept_cap >= head + payload) {
        c->kept_len = len; /* still not whole */
        return;
    }
    c->kept_len = 0;
    frames(f, c, data, len);
}

static void on_listener(struct floor_server *f)
{
    for (int i = 0; i < 64; i++) {
        int fd = accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct conn *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        c->fd = fd;
        watch(f, c, EPOLLIN, EPOLL_CTL_ADD);
        on_readable(f, c);
    }
}

static void serve(struct floor_server *f)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(f->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                on_listener(f);
                continue;
            }
            if ((events[i].events & EPOLLOUT) && c->unsent)
                put_rest(f, c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(f, c);
        }
    }
}

static uint16_t open_listener(struct floor_server *f, uint16_t port)
{
    int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(f->listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(f->listen_fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(f->listen_fd, 4096) < 0)
        die("listen");
    getsockname(f->listen_fd, (struct sockaddr *)&at, &len);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->listen_fd, &ev);
    return ntohs(at.sin_port);
}

int main(int argc, char **argv)
{
    struct floor_server f = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .mode = ECHO};
    uint16_t port = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "fanout") == 0)
            f.mode = FANOUT;
        else if (strcmp(argv[i], "accept") == 0)
            f.mode = ACCEPT;
        else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
            port = (uint16_t)strtoul(argv[++i], NULL, 10);
    }
    f.hot = malloc(HOT);
    f.out = malloc(HOT);
    f.subs = calloc(FDS_MAX, sizeof *f.subs);
    if (!f.hot || !f.out || !f.subs)
        die("malloc");
    printf("%u\n", open_listener(&f, port));
    fflush(stdout);
    serve(&f);
}
