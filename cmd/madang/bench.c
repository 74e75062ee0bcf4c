/* madang bench: loads any server and measures it. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

static int help(void)
{
    puts("usage: madang bench echo|fanout|idle|connect [OPTIONS] URL\n"
         "\n"
         "  echo            each connection keeps messages in flight that come back\n"
         "  fanout          one more connection publishes, all receive what it says\n"
         "  idle, connect   connections that do nothing; that come and go\n"
         "URL: any server's, of every kind (madang cat --help). Rooms of madang: --room.\n"
         "\n"
         "  -c, --conns N, -s, --size BYTES    connections (100), of a message (32)\n"
         "  -i, --in-flight N           messages on their way; connect: at once (1)\n"
         "  -n, --messages N, -t, --seconds N  when it ends (after 5 s)\n"
         "  -R, --room ROOM             fanout in it; echo: a room for each connection\n"
         "  --burst N, --publish-url U  fanout: at once (1); where, if not there\n"
         "  --hello TEXT, -b, --binary  said first (tcp: \"/join bench\"); binary messages\n"
         "  -e, --event NAME, --ack     Socket.IO: event (message); answered by its ack\n"
         "  -p, --pid PID               the server's process: CPU and memory are told too\n"
         "  -j, --json                  one JSON object at the end\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int own_option(struct bench *b, int option, const char *value)
{
    switch (option) {
    case 'c':
        return number_option("conns", value, 1, 1000000, &b->conns);
    case 's':
        return number_option("size", value, 0, BENCH_SIZE_MAX, &b->size);
    case 'i':
        return number_option("in-flight", value, 1, BENCH_IN_FLIGHT_MAX, &b->in_flight);
    case 'u':
        return number_option("burst", value, 1, 100000, &b->burst);
    case 'n':
        return number_option("messages", value, 1, 1000000000000, &b->messages);
    case 't':
        return number_option("seconds", value, 1, 86400, &b->seconds);
    case 'p':
        return number_option("pid", value, 1, 1L << 30, &b->pid);
    case 'w':
        b->publish_url = value;
        return EXIT_OK;
    case 'y':
        b->hello = value;
        return EXIT_OK;
    case 'R':
        b->room = value;
        return EXIT_OK;
    case 'e':
        b->connection.options.event = value;
        return EXIT_OK;
    case 'a':
        b->ack = true;
        return EXIT_OK;
    case 'b':
        b->binary = true;
        return EXIT_OK;
    case 'j':
        b->json = true;
        return EXIT_OK;
    default:
        return connection_option(&b->connection, option, value);
    }
}

static int set_mode(struct bench *b, const char *name)
{
    static const char *const modes[] = {"echo", "fanout", "idle", "connect", NULL};
    for (int i = 0; modes[i]; i++) {
        if (strcmp(name, modes[i]) == 0) {
            b->mode = (enum bench_mode)i;
            return EXIT_OK;
        }
    }
    const char *near = nearest(name, modes);
    return usage_error("'%s' is not something to measure%s%s%s (madang bench --help)", name,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"conns", required_argument, NULL, 'c'},
                                            {"size", required_argument, NULL, 's'},
                                            {"in-flight", required_argument, NULL, 'i'},
                                            {"burst", required_argument, NULL, 'u'},
                                            {"messages", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"publish-url", required_argument, NULL, 'w'},
                                            {"hello", required_argument, NULL, 'y'},
                                            {"room", required_argument, NULL, 'R'},
                                            {"event", required_argument, NULL, 'e'},
                                            {"ack", no_argument, NULL, 'a'},
                                            {"binary", no_argument, NULL, 'b'},
                                            {"pid", required_argument, NULL, 'p'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
    while (code == EXIT_OK &&
           (option = getopt_long(argc, argv, "H:kqhc:s:i:n:t:bp:jR:e:", options, NULL)) != -1)
        code = own_option(b, option, optarg);
    if (code != EXIT_OK)
        return code;
    if (optind + 2 != argc)
        return usage_error("madang bench takes what to measure, and an address (madang bench "
                           "--help)");
    b->connection.options.url = argv[optind + 1];
    if (!b->messages && !b->seconds)
        b->seconds = 5;
    code = set_mode(b, argv[optind]);
    return code == EXIT_OK ? talk_check(b) : code;
}

/* Memory for the run; freed in one place. */
static bool prepare(struct bench *b)
{
    if (b->marked && b->size < BENCH_MARK_LEN)
        b->size = BENCH_MARK_LEN;
    if (b->mode == BENCH_CONNECT && b->conns > b->in_flight)
        b->conns = b->in_flight;
    b->row = calloc((size_t)b->conns, sizeof *b->row);
    b->payload = malloc((size_t)b->size + 1);
    if (!b->row || !b->payload || madang_clients_new(&b->clients) < 0)
        return false;
    for (long i = 0; i < b->size; i++)
        b->payload[i] = (char)('a' + i % 26);
    for (long i = 0; i < b->conns && b->mode == BENCH_ECHO; i++) {
        b->row[i].sent_ns = calloc(BENCH_IN_FLIGHT_MAX, sizeof(uint64_t));
        if (!b->row[i].sent_ns)
            return false;
    }
    return true;
}

static void clean_up(struct bench *b)
{
    madang_clients_free(b->clients);
    for (long i = 0; b->row && i < b->conns; i++)
        free(b->row[i].sent_ns);
    free(b->row);
    free(b->payload);
    free(b);
}

int cmd_bench(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
    }
    struct bench *b = calloc(1, sizeof *b);
    if (!b)
        return usage_error("out of memory");
    b->conns = 100;
    b->size = 32;
    b->in_flight = b->burst = 1;
    int code = parse(b, argc, argv);
    if (code == EXIT_OK && !prepare(b))
        code = usage_error("out of memory");
    else if (code == EXIT_OK) {
        code = bench_run(b);
        bench_report(b);
    }
    clean_up(b);
    return code;
}
