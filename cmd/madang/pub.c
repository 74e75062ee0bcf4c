/* madang pub: publishes to a room and waits until the server has taken it. */
#include "rooms.h"
#include <stdlib.h>
#include <string.h>

enum { ACK_WAIT_MS = 10000, IN_FLIGHT_MAX = 64 };

struct pub {
    struct rooms rooms; /* first: units come back with it */
    struct connection connection;
    struct madang_clients *clients;
    const char *room, *event;
    bool json, failed;
    bool up, open; /* connected; and joined, where that is asked for */
    bool silent;   /* no acknowledgements: what has left counts (STOMP: receipts) */
    bool settled;  /* all that was to be published is */
    unsigned long sent, acked;
};

static struct pub *pub_of(struct rooms *r)
{
    return (struct pub *)r;
}

/* Publishing is a member's right. */
static void on_ready(struct rooms *r)
{
    struct pub *p = pub_of(r);
    json_t *join = json_object();
    json_object_set_new(join, "type", json_string("join"));
    json_object_set_new(join, "room", json_string(p->room));
    json_object_set_new(join, "id", json_string("join"));
    p->failed = rooms_send(r, join) < 0;
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct pub *p = arg;
    (void)client;
    (void)subprotocol;
    p->up = true;
    if (p->silent || p->rooms.speech == SPEECH_HTTP)
        p->open = true;
    else
        rooms_begin(&p->rooms);
}

static void on_unit(struct rooms *r, const json_t *unit, const char *type, const char *text,
                    size_t len)
{
    struct pub *p = pub_of(r);
    (void)text;
    (void)len;
    if (strcmp(type, "joined") == 0) {
        p->open = true;
    } else if (strcmp(type, "ack") == 0) {
        p->acked++;
        if (!p->connection.quiet)
            printf("%s:%lld\n", unit_text(unit, "epoch"),
                   (long long)json_integer_value(json_object_get(unit, "seq")));
    } else if (strcmp(type, "error") == 0) {
        fprintf(stderr, "madang: not published: %s (%s)\n", unit_text(unit, "message"),
                unit_text(unit, "code"));
        p->failed = true;
    }
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct pub *p = arg;
    (void)client;
    (void)binary;
    if (!p->silent)
        rooms_message(&p->rooms, data, len);
}

static void on_event(struct madang_client *client, const struct madang_client_event *event,
                     void *arg)
{
    struct pub *p = arg;
    (void)client;
    if (!p->silent)
        rooms_event(&p->rooms, event);
}

static void on_unsent(struct madang_client *client, int err, void *arg)
{
    struct pub *p = arg;
    (void)client;
    fprintf(stderr, "madang: not published: %s\n", madang_strerror(err));
    p->failed = true;
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct pub *p = arg;
    (void)client;
    (void)retry_ms;
    if (!p->settled && !p->failed)
        fprintf(stderr, "madang: %s (%d)\n", *reason ? reason : "closed", code);
    p->rooms.client = NULL;
}

static const struct madang_client_handlers handlers = {.on_open = on_open,
                                                       .on_message = on_message,
                                                       .on_down = on_down,
                                                       .on_event = on_event,
                                                       .on_unsent = on_unsent};

/* Nobody answers: what is the most likely cause? */
static bool nobody_answered(struct pub *p, const char *what)
{
    p->failed = true;
    fprintf(stderr, "madang: no answer to %s in %d s%s\n", what, ACK_WAIT_MS / 1000,
            p->rooms.speech == SPEECH_EVENTS
                ? "; a server without madang's rooms takes plain events: leave --room away, name "
                  "the event with --event"
                : "; for a server without madang's rooms use madang cat");
    return false;
}

static unsigned long outstanding(const struct pub *p)
{
    if (p->silent)
        return madang_client_queued(p->rooms.client);
    return p->sent > p->acked ? p->sent - p->acked : 0; /* one that nobody asked for is none */
}

/* Turns until at most `left` publications wait for their acknowledgement. */
static bool wait_for(struct pub *p, unsigned long left)
{
    unsigned long before = 0, now;
    for (int idle = 0; p->rooms.client && !p->failed && (now = outstanding(p)) > left; idle++) {
        if (now != before)
            idle = 0;
        before = now;
        if (idle * 100 > ACK_WAIT_MS)
            return nobody_answered(p, "what was published");
        if (madang_clients_step(p->clients, 100) < 0)
            return false;
    }
    return p->rooms.client && !p->failed;
}

static bool wait_until_open(struct pub *p)
{
    for (int idle = 0; p->rooms.client && !p->open && !p->failed; idle += p->up) {
        if (idle * 100 > ACK_WAIT_MS)
            return nobody_answered(p, "the join");
        if (madang_clients_step(p->clients, 100) < 0)
            return false;
    }
    return p->open && p->rooms.client && !p->failed;
}

static json_t *payload_of(const struct pub *p, const char *text, size_t len)
{
    json_t *payload =
        p->json ? json_loadb(text, len, JSON_DECODE_ANY, NULL) : json_stringn(text, len);
    if (!payload)
        fprintf(stderr, "madang: not %s: %.*s\n", p->json ? "JSON" : "UTF-8", (int)len, text);
    return payload;
}

static int send_unit(struct pub *p, json_t *payload)
{
    json_t *unit = json_object();
    json_object_set_new(unit, "type", json_string("publish"));
    json_object_set_new(unit, "room", json_string(p->room));
    json_object_set_new(unit, "id", json_integer((json_int_t)p->sent + 1));
    json_object_set_new(unit, p->json ? "data" : "text", payload);
    if (p->event)
        json_object_set_new(unit, "event", json_string(p->event));
    return rooms_send(&p->rooms, unit);
}

/* ["event",payload]: for a server that has events of its own. */
static int send_event(struct pub *p, json_t *payload)
{
    json_t *event = json_array();
    json_array_append_new(event, json_string(p->event ? p->event : "message"));
    json_array_append_new(event, payload);
    char *text = json_dumps(event, JSON_COMPACT);
    int rc = text ? madang_client_emit(p->rooms.client, text, strlen(text), NULL, NULL)
                  : MADANG_E_NO_MEMORY;
    free(text);
    json_decref(event);
    return rc;
}

static bool publish(struct pub *p, const char *text, size_t len)
{
    int rc;
    if (p->rooms.speech == SPEECH_BODIES) {
        rc = madang_client_send(p->rooms.client, text, len, false);
    } else {
        json_t *payload = payload_of(p, text, len);
        if (!payload)
            return false;
        rc = p->silent ? send_event(p, payload) : send_unit(p, payload);
    }
    if (rc == MADANG_E_SYNTAX)
        fprintf(stderr, "madang: '%s' is a name that belongs to the protocol\n", p->event);
    else if (rc < 0)
        fprintf(stderr, "madang: %s\n", madang_strerror(rc));
    if (rc < 0)
        return false;
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
        if (n < 0 || (size_t)n >= sizeof text - len) {
            usage_error("the message is too long for a command line: use standard input");
            return false;
        }
        len += (size_t)n;
    }
    return publish(p, text, len);
}

static int help(void)
{
    puts("usage: madang pub [OPTIONS] --room ROOM URL [TEXT...]\n"
         "\n"
         "Publishes the text, or each line of the input, and prints EPOCH:SEQ of each\n"
         "(STOMP: nothing). Without --room: an event for any Socket.IO server.\n" //
         ADDRESS_HELP "\n"
         "  -R, --room ROOM             STOMP: a destination (/queue/jobs) or a topic\n"
         "  -e, --event NAME            default: message\n"
         "  -j, --json                  the text is JSON and goes as data\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int set_address(struct pub *p, const char *url)
{
    const char *names[2] = {p->room, NULL};
    enum speech speech = speech_of(url);
    p->rooms =
        (struct rooms){.speech = speech, .url = url, .on_unit = on_unit, .on_ready = on_ready};
    if (connection_check(&p->connection, url) != EXIT_OK)
        return EXIT_USAGE;
    p->silent = speech == SPEECH_BODIES || (speech == SPEECH_EVENTS && !p->room);
    if (!p->room && speech != SPEECH_EVENTS)
        return usage_error("madang pub needs --room ROOM for this address (madang pub --help)");
    if (speech != SPEECH_BODIES && !p->connection.options.subprotocols)
        p->connection.options.subprotocols = "madang.v1";
    p->connection.options.send_only = true;
    return rooms_address(&p->connection, url, names, ROOMS_PUBLISH);
}

static int parse(struct pub *p, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"room", required_argument, NULL, 'R'},
                                            {"event", required_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
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
    if (code == EXIT_OK && optind >= argc)
        return usage_error("madang pub takes --room and an address (madang pub --help)");
    return code == EXIT_OK ? set_address(p, argv[optind]) : code;
}

static int run(struct pub *p, char **words)
{
    bool good = wait_until_open(p) && (*words ? publish_words(p, words) : publish_lines(p));
    p->settled = good && wait_for(p, 0);
    if (p->rooms.client)
        madang_client_close(p->rooms.client, 1000, "");
    madang_clients_run(p->clients);
    return p->settled ? EXIT_OK : EXIT_FAILED;
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
    int rc = madang_client_open(p.clients, &p.connection.options, &handlers, &p, &p.rooms.client);
    code = rc < 0 ? url_error(p.connection.options.url, rc) : run(&p, argv + optind + 1);
    madang_clients_free(p.clients);
    return code;
}
