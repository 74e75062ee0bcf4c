/* madang pub: publishes to a room and waits until the server has taken it. */
#include "v1.h"
#include <stdlib.h>
#include <string.h>

enum { ACK_WAIT_MS = 10000, IN_FLIGHT_MAX = 64 };

struct pub {
    struct connection connection;
    struct madang_clients *clients;
    struct madang_client *client; /* NULL: gone */
    const char *room, *event;
    bool json, open, failed;
    bool stomp; /* any STOMP broker: receipts instead of acknowledgements */
    unsigned long sent, acked;
};

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct pub *p = arg;
    (void)subprotocol;
    p->open = p->stomp;
    if (p->stomp)
        return;
    /* Publishing is a member's right. */
    json_t *join = json_object();
    json_object_set_new(join, "type", json_string("join"));
    json_object_set_new(join, "room", json_string(p->room));
    json_object_set_new(join, "id", json_string("join"));
    if (v1_begin(client, p->connection.options.url) < 0 || v1_send(client, join) < 0)
        p->failed = true;
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct pub *p = arg;
    const char *type;
    if (p->stomp)
        return;
    json_t *object = v1_read(data, len, &type);
    (void)client;
    (void)binary;
    if (strcmp(type, "joined") == 0) {
        p->open = true;
    } else if (strcmp(type, "ack") == 0) {
        p->acked++;
        if (!p->connection.quiet)
            printf("%s:%lld\n", v1_text(object, "epoch"),
                   (long long)json_integer_value(json_object_get(object, "seq")));
    } else if (strcmp(type, "error") == 0) {
        fprintf(stderr, "madang: not published: %s (%s)\n", v1_text(object, "message"),
                v1_text(object, "code"));
        p->failed = true;
    }
    json_decref(object);
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct pub *p = arg;
    (void)client;
    (void)retry_ms;
    if (p->acked < p->sent || !p->open)
        fprintf(stderr, "madang: %s (%d)\n", *reason ? reason : "closed", code);
    p->client = NULL;
}

static const struct madang_client_handlers handlers = {on_open, on_message, NULL, on_down};

/* Turns until at most `left` publications wait for their acknowledgement. */
static bool wait_for(struct pub *p, unsigned long left)
{
    for (int idle = 0; p->client && !p->failed && p->sent - p->acked > left; idle++) {
        unsigned long before = p->acked;
        if (p->stomp)
            p->acked = p->sent - madang_client_queued(p->client);
        if (idle * 100 > ACK_WAIT_MS) {
            fprintf(stderr, "madang: no acknowledgement in %d s\n", ACK_WAIT_MS / 1000);
            return false;
        }
        if (madang_clients_step(p->clients, 100) < 0)
            return false;
        if (p->acked != before)
            idle = 0;
    }
    return p->client && !p->failed;
}

static bool publish_stomp(struct pub *p, const char *text, size_t len)
{
    int rc = madang_client_send(p->client, text, len, false);
    if (rc < 0) {
        fprintf(stderr, "madang: %s\n", madang_strerror(rc));
        return false;
    }
    p->sent++;
    return wait_for(p, IN_FLIGHT_MAX);
}

static bool publish(struct pub *p, const char *text, size_t len)
{
    if (p->stomp)
        return publish_stomp(p, text, len);
    json_t *object = json_object();
    json_t *payload =
        p->json ? json_loadb(text, len, JSON_DECODE_ANY, NULL) : json_stringn(text, len);
    if (!payload) {
        json_decref(object);
        fprintf(stderr, "madang: not %s: %.*s\n", p->json ? "JSON" : "UTF-8", (int)len, text);
        return false;
    }
    json_object_set_new(object, "type", json_string("publish"));
    json_object_set_new(object, "room", json_string(p->room));
    json_object_set_new(object, "id", json_integer((json_int_t)p->sent + 1));
    json_object_set_new(object, p->json ? "data" : "text", payload);
    if (p->event)
        json_object_set_new(object, "event", json_string(p->event));
    int rc = v1_send(p->client, object);
    if (rc < 0) {
        fprintf(stderr, "madang: %s\n", madang_strerror(rc));
        return false;
    }
    p->sent++;
    return wait_for(p, IN_FLIGHT_MAX);
}

static bool publish_lines(struct pub *p)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool good = true;
    while (good && (n = getline(&line, &cap, stdin)) >= 0) {
        size_t len = (size_t)n;
        while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        if (len)
            good = publish(p, line, len);
    }
    free(line);
    return good;
}

static bool publish_words(struct pub *p, char **words)
{
    char text[65536];
    size_t len = 0;
    for (; *words; words++) {
        int n = snprintf(text + len, sizeof text - len, "%s%s", len ? " " : "", *words);
        if (n < 0 || (size_t)n >= sizeof text - len)
            return usage_error("the message is too long for a command line: use standard input");
        len += (size_t)n;
    }
    return publish(p, text, len);
}

static int help(void)
{
    puts("usage: madang pub [OPTIONS] --room ROOM URL [TEXT...]\n"
         "\n"
         "Publishes the text, or each line of standard input, and prints EPOCH:SEQ of each.\n"
         "URL: ws://HOST:PORT/ws/chat (or wss, tcp, tls, unix, sockjs, sockjs+xhr), or a STOMP "
         "broker:\n"
         "stomp://HOST:PORT or stomp+ws://HOST:PORT/PATH (stomps, stomp+wss), where ROOM is a\n"
         "destination such as /queue/jobs; a name alone is a topic. Nothing is printed then.\n"
         "Log in with -H 'login: NAME' -H 'passcode: WORD'.\n"
         "\n"
         "  -R, --room ROOM\n"
         "  -e, --event NAME        default: message\n"
         "  -j, --json              the text is JSON and goes as data\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int parse(struct pub *p, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"room", required_argument, NULL, 'R'},
                                            {"event", required_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
    p->connection.options.subprotocols = "madang.v1";
    while (code == EXIT_OK &&
           (option = getopt_long(argc, argv, "H:kqhR:e:j", options, NULL)) != -1) {
        if (option == 'R')
            p->room = optarg;
        else if (option == 'e')
            p->event = optarg;
        else if (option == 'j')
            p->json = true;
        else
            code = connection_option(&p->connection, option, optarg);
    }
    if (code == EXIT_OK && (optind >= argc || !p->room))
        return usage_error("madang pub takes --room and an address (madang pub --help)");
    if (code != EXIT_OK)
        return code;
    p->connection.options.url = argv[optind];
    p->stomp = is_stomp(argv[optind]);
    if (p->stomp) {
        p->connection.options.subprotocols = NULL;
        p->connection.options.send_only = true;
        code = stomp_destination(&p->connection, p->room);
    }
    return code;
}

int cmd_pub(int argc, char **argv)
{
    struct pub p = {.room = NULL};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
    }
    int code = parse(&p, argc, argv);
    if (code != EXIT_OK)
        return code;
    if (madang_clients_new(&p.clients) < 0)
        return usage_error("out of memory");
    int rc = madang_client_open(p.clients, &p.connection.options, &handlers, &p, &p.client);
    if (rc < 0) {
        code = url_error(p.connection.options.url, rc);
    } else {
        while (p.client && !p.open && !p.failed && madang_clients_step(p.clients, -1) > 0)
            ;
        bool good = p.open && p.client && !p.failed &&
                    (argv[optind + 1] ? publish_words(&p, argv + optind + 1) : publish_lines(&p));
        good = good && wait_for(&p, 0);
        if (p.client)
            madang_client_close(p.client, 1000, "");
        madang_clients_run(p.clients);
        code = good ? EXIT_OK : EXIT_FAILED;
    }
    madang_clients_free(p.clients);
    return code;
}
