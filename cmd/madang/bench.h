/* madang bench: what the command line (bench.c), the connections (bench_run.c), their words
 * (bench_talk.c) and the report (bench_report.c) share. */
#ifndef MADANG_CMD_BENCH_H
#define MADANG_CMD_BENCH_H

#include "histogram.h"
#include "rooms.h"

enum bench_mode { BENCH_ECHO, BENCH_FANOUT, BENCH_IDLE, BENCH_CONNECT };

enum {
    BENCH_IN_FLIGHT_MAX = 1024,
    BENCH_SIZE_MAX = 16 << 20,
    BENCH_MARK_LEN = 18 /* "~b" and the time in 16 hexadecimal digits */
};

struct bench;

struct bench_conn {
    struct bench *bench;
    struct madang_client *client; /* NULL: gone */
    uint64_t began_ns;            /* of connecting */
    uint64_t *sent_ns;            /* ring of messages on their way */
    unsigned sent, got;           /* positions in it; their difference is in flight */
    bool up;                      /* and in its room, if it has one */
    struct rooms rooms;
};

struct bench_usage { /* of the server's process */
    uint64_t cpu_ns;
    long rss_kib;
};

struct bench {
    struct connection connection;
    enum bench_mode mode;
    long conns, size, in_flight, burst, messages, seconds, pid;
    const char *publish_url; /* of a fan-out; NULL: the address itself */
    const char *hello;       /* what each connection says first; NULL: nothing */
    const char *room;        /* of madang; NULL: messages go as they are */
    bool json, binary;
    bool ack;    /* Socket.IO: an acknowledgement is the echo */
    bool marked; /* messages carry the time at which they were said */
    struct madang_clients *clients;
    struct bench_conn *row, publisher;
    char *payload;
    long opening, up;
    uint64_t sent, received, lost, refused, connects;
    uint64_t begin_ns, end_ns, last_burst_ns;
    uint64_t moved_ns; /* when a connection last came or went while they were opened */
    uint64_t wanted;   /* of a fan-out: deliveries of all bursts so far */
    bool measuring, done;
    struct histogram latency;                /* ns */
    struct bench_usage before, after, empty; /* empty: before any connection */
};

uint64_t bench_now_ns(void);
/* bench_talk.c */
/* Does the case make sense for the address? EXIT_OK, or EXIT_USAGE after what to do instead. */
int talk_check(struct bench *b);
int talk_open(struct bench_conn *c, const struct madang_client_handlers *handlers);
/* The connection is usable: bench_up follows, once it is in its room. */
void talk_opened(struct bench_conn *c);
int talk_say(struct bench_conn *c);
/* True: a message with its mark. */
bool talk_heard(struct bench_conn *c, const void *data, size_t len, uint64_t *said_ns);

/* bench_run.c, for bench_talk.c */
void bench_up(struct bench_conn *c);
void bench_answered(struct bench_conn *c);
void bench_refused(struct bench_conn *c, const char *why);

/* Connects, runs, and leaves the figures in *b. EXIT_OK or EXIT_FAILED. */
int bench_run(struct bench *b);
void bench_usage_read(long pid, struct bench_usage *out);
void bench_progress(const struct bench *b);
void bench_report(const struct bench *b);

#endif
