/* What the ways to send one message to a thousand sockets cost, without a server around them: the
 * yardstick of the yardstick. The fan-out rows of doc/internals/speed.md are held against a loop of
 * send(); this shows how much of that loop any batch can save on the machine at hand.
 *
 *     send_paths [--size BYTES] [--rounds N]
 *
 * Sender on core 0, one receiver process on core 1 that reads everything. In every round each way
 * sends one message to all sockets, in random order; the next one starts when all of it has been
 * read. Printed are the sender's CPU ns per delivery and the median of the ratios to the loop of
 * the same round. Ends by itself; the receiver ends with it. */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SOCKETS = 1000,
    EVENTS = 512,
    READ_BYTES = 1 << 20,
    SIZE_MAX_BYTES = 1 << 20,
    ROUNDS_MAX = 10000,
    STUCK_S = 10 /* nothing arrives for so long: something is broken */
};

struct bench {
    int to[SOCKETS];             /* the sender's ends */
    int from[SOCKETS];           /* the receiver's */
    volatile uint64_t *received; /* shared with the receiver */
    uint8_t *bytes;
    size_t size;
    int file; /* in memory, holds the same bytes */
    struct io_uring plain, files, single, both;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void pin(unsigned core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        fprintf(stderr, "send_paths: core %u cannot be had; figures will vary more\n", core);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the ways ---- */

static void must_be_whole(const struct bench *b, ssize_t sent, const char *way)
{
    if (sent == (ssize_t)b->size)
        return;
    fprintf(stderr, "%s sent %zd of %zu bytes: the size is too large for this machine's buffers\n",
            way, sent, b->size);
    exit(1);
}

static void by_send(struct bench *b)
{
    for (int i = 0; i < SOCKETS; i++)
        must_be_whole(b, send(b->to[i], b->bytes, b->size, MSG_DONTWAIT | MSG_NOSIGNAL), "send");
}

/* Two pieces, as a server sends them whose head and payload lie apart. */
static void by_sendmsg(struct bench *b)
{
    struct iovec iov[2] = {{b->bytes, 2}, {b->bytes + 2, b->size - 2}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    for (int i = 0; i < SOCKETS; i++)
        must_be_whole(b, sendmsg(b->to[i], &msg, MSG_DONTWAIT | MSG_NOSIGNAL), "sendmsg");
}

static void by_sendfile(struct bench *b)
{
    if (pwrite(b->file, b->bytes, b->size, 0) != (ssize_t)b->size)
        die("pwrite");
    for (int i = 0; i < SOCKETS; i++) {
        off_t at = 0;
        must_be_whole(b, sendfile(b->to[i], b->file, &at, b->size), "sendfile");
    }
}

static void by_ring(struct bench *b, struct io_uring *ring, bool registered)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    for (int i = 0; i < SOCKETS; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
        io_uring_prep_send(sqe, registered ? i : b->to[i], b->bytes, b->size,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
        if (registered)
            sqe->flags |= IOSQE_FIXED_FILE;
    }
    if (io_uring_submit_and_wait(ring, SOCKETS) < 0)
        die("io_uring_submit_and_wait");
    io_uring_for_each_cqe(ring, head, cqe)
    {
        must_be_whole(b, cqe->res, "io_uring");
        seen++;
    }
    io_uring_cq_advance(ring, seen);
}

static void by_batch(struct bench *b)
{
    by_ring(b, &b->plain, false);
}

static void by_files(struct bench *b)
{
    by_ring(b, &b->files, true);
}

static void by_single(struct bench *b)
{
    by_ring(b, &b->single, false);
}

static void by_both(struct bench *b)
{
    by_ring(b, &b->both, true);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b);
} ways[] = {
    {"send() in a loop", by_send}, /* the first one is what the others are held against */
    {"sendmsg() of two pieces in a loop", by_sendmsg},
    {"one io_uring batch", by_batch},
    {"the same with registered files", by_files},
    {"the same with DEFER_TASKRUN", by_single},
    {"the same with both", by_both},
    {"sendfile() from memory in a loop", by_sendfile},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* ---- set-up ---- */

static void open_ring(struct bench *b, struct io_uring *ring, unsigned flags, bool registered)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SUBMIT_ALL | flags};
    int err = io_uring_queue_init_params(1024, ring, &params);
    if (err == 0 && registered)
        err = io_uring_register_files(ring, b->to, SOCKETS);
    if (err < 0) {
        fprintf(stderr, "send_paths: io_uring: %s\n", strerror(-err));
        exit(1);
    }
}

static void connect_all(struct bench *b)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, SOCKETS) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        die("listen");
    for (int i = 0; i < SOCKETS; i++) {
        b->from[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(b->from[i], (struct sockaddr *)&at, len) < 0)
            die("connect (ulimit -n 4096?)");
        b->to[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (b->to[i] < 0)
            die("accept");
        setsockopt(b->to[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
}

/* Reads until the sender is gone. */
static void receive(struct bench *b)
{
    struct epoll_event events[EVENTS];
    uint8_t *bytes = malloc(READ_BYTES);
    uint64_t total = 0;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!bytes || epoll_fd < 0)
        die("epoll");
    for (int i = 0; i < SOCKETS; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = b->from[i]};
        close(b->to[i]);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, b->from[i], &ev) < 0)
            die("epoll_ctl");
    }
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, STUCK_S * 1000);
        if (n <= 0)
            _exit(0);
        for (int i = 0; i < n; i++) {
            ssize_t got = recv(events[i].data.fd, bytes, READ_BYTES, MSG_DONTWAIT);
            if (got == 0)
                _exit(0);
            total += got > 0 ? (uint64_t)got : 0;
        }
        __atomic_store_n(b->received, total, __ATOMIC_RELEASE);
    }
}

static void wait_until_read(const struct bench *b, uint64_t total)
{
    uint64_t give_up = now_ns(CLOCK_MONOTONIC) + STUCK_S * UINT64_C(1000000000);
    while (__atomic_load_n(b->received, __ATOMIC_ACQUIRE) < total) {
        usleep(100);
        if (now_ns(CLOCK_MONOTONIC) > give_up) {
            fprintf(stderr, "send_paths: the receiver does not get what was sent\n");
            exit(1);
        }
    }
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

static void shuffle(int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(random() % (i + 1)), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

static void measure(struct bench *b, double (*ns)[ROUNDS_MAX], size_t rounds)
{
    uint64_t total = 0;
    int order[WAYS];
    for (int w = 0; w < WAYS; w++)
        order[w] = w;
    for (size_t r = 0; r < rounds; r++) {
        shuffle(order, WAYS);
        for (int k = 0; k < WAYS; k++) {
            uint64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
            ways[order[k]].run(b);
            ns[order[k]][r] = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / SOCKETS;
            total += (uint64_t)b->size * SOCKETS;
            wait_until_read(b, total);
        }
    }
}

static void report(double (*ns)[ROUNDS_MAX], size_t rounds)
{
    static double ratio[WAYS][ROUNDS_MAX];
    for (int w = 0; w < WAYS; w++) {
        for (size_t r = 0; r < rounds; r++)
            ratio[w][r] = ns[w][r] / ns[0][r];
    }
    printf("| way | ns a delivery | / the loop |\n|---|---|---|\n");
    for (int w = 0; w < WAYS; w++)
        printf("| %s | %.0f | %.2f |\n", ways[w].name, median(ns[w], rounds),
               median(ratio[w], rounds));
}

static size_t number(const char *text, size_t min, size_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value < min || value > max) {
        fprintf(stderr, "send_paths: '%s' is not a number from %zu to %zu\n", text, min, max);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static struct bench b = {.size = 22};
    static double ns[WAYS][ROUNDS_MAX];
    size_t rounds = 300;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--size") == 0)
            b.size = number(argv[i + 1], 3, SIZE_MAX_BYTES);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = number(argv[i + 1], 1, ROUNDS_MAX);
        else
            argc = 0;
    }
    if (argc % 2 == 0) {
        fprintf(stderr, "usage: send_paths [--size BYTES] [--rounds N]\n");
        return 2;
    }
    b.received =
        mmap(NULL, sizeof *b.received, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b.bytes = malloc(b.size);
    b.file = memfd_create("message", MFD_CLOEXEC);
    if (b.received == MAP_FAILED || !b.bytes || b.file < 0)
        die("memory");
    memset(b.bytes, 'x', b.size);
    connect_all(&b);
    pid_t receiver = fork();
    if (receiver == 0) {
        pin(1);
        receive(&b);
    }
    for (int i = 0; i < SOCKETS; i++)
        close(b.from[i]);
    pin(0);
    open_ring(&b, &b.plain, 0, false);
    open_ring(&b, &b.files, 0, true);
    open_ring(&b, &b.single, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, false);
    open_ring(&b, &b.both, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, true);
    printf("%zu bytes to %d sockets, %zu rounds\n\n", b.size, SOCKETS, rounds);
    measure(&b, ns, rounds);
    report(ns, rounds);
}
