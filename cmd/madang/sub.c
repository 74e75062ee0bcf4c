/* madang sub: prints what is said in rooms; comes back after a loss and asks for what it missed. */
#include "rooms.h"
#include <stdlib.h>
#include <string.h>

enum { ROOMS_MAX = 32 };

struct room {
    const char *name;
    char epoch[40];
    json_int_t seq; /* of the last message; 0 and an empty epoch: none yet */
    bool joined;    /* in this session of the server's */
};

struct sub {
    struct rooms rooms; /* first: units come back with it */
    struct connection connection;
    struct room list[ROOMS_MAX];
    size_t room_count;
    long history, count; /* history: ROOMS_HISTORY or a number; count 0: no end */
    const char *resume;  /* as it was given */
    bool json, done, was_open, failed;
};

static struct sub *sub_of(struct rooms *r)
{
    return (struct sub *)r;
}

static json_t *join_request(const struct sub *s, const struct room *room)
{
    json_t *object = json_object();
    json_object_set_new(object, "type", json_string("join"));
    json_object_set_new(object, "room", json_string(room->name));
    json_object_set_new(object, "id", json_string(room->name));
    if (room->epoch[0]) {
        json_t *resume = json_object();
        json_object_set_new(resume, "epoch", json_string(room->epoch));
        json_object_set_new(resume, "seq", json_integer(room->seq));
        json_object_set_new(object, "resume", resume);
    } else if (s->history > 0) {
        json_object_set_new(object, "history", json_integer(s->history));
    }
    return object;
}

static void on_ready(struct rooms *r)
{
    struct sub *s = sub_of(r);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->room_count; i++)
        rc = s->list[i].joined ? 0 : rooms_send(r, join_request(s, &s->list[i]));
    if (rc < 0)
        note(&s->connection, "could not join: %s", madang_strerror(rc));
}

static bool joins(const struct sub *s)
{
    return s->rooms.speech == SPEECH_UNITS ||
           (s->rooms.speech == SPEECH_EVENTS && s->room_count > 0);
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct sub *s = arg;
    bool recovered = madang_client_recovered(client);
    (void)subprotocol;
    s->was_open = true;
    note(&s->connection, recovered ? "connected, recovered" : "connected");
    for (size_t i = 0; i < s->room_count; i++)
        s->list[i].joined &= recovered;
    if (joins(s))
        rooms_begin(&s->rooms);
}

static struct room *room_of(struct sub *s, const json_t *unit)
{
    for (size_t i = 0; i < s->room_count; i++) {
        if (strcmp(s->list[i].name, unit_text(unit, "room")) == 0)
            return &s->list[i];
    }
    return NULL;
}

static void remember(struct sub *s, const json_t *unit)
{
    struct room *room = room_of(s, unit);
    if (!room || !*unit_text(unit, "epoch"))
        return;
    snprintf(room->epoch, sizeof room->epoch, "%s", unit_text(unit, "epoch"));
    room->seq = json_integer_value(json_object_get(unit, "seq"));
}

/* One more has been printed. */
static void count_down(struct sub *s)
{
    fflush(stdout);
    if (s->count > 0 && --s->count == 0) {
        s->done = true;
        madang_client_close(s->rooms.client, 1000, "");
    }
}

/* A line of text, or the bytes as they are. */
static void show_text(struct sub *s, const void *data, size_t len)
{
    fwrite(data, 1, len, stdout);
    putchar('\n');
    count_down(s);
}

static void take_joined(struct sub *s, const json_t *unit)
{
    struct room *room = room_of(s, unit);
    bool asked = room && room->epoch[0];
    if (room)
        room->joined = true;
    note(&s->connection, "in %s%s", unit_text(unit, "room"),
         asked && !json_is_true(json_object_get(unit, "recovered"))
             ? "; what was said meanwhile could not all be recovered"
             : "");
    remember(s, unit);
}

static void on_unit(struct rooms *r, const json_t *unit, const char *type, const char *text,
                    size_t len)
{
    struct sub *s = sub_of(r);
    if (s->done)
        return;
    if (strcmp(type, "message") == 0) {
        remember(s, unit);
        if (s->json) {
            show_text(s, text, len);
        } else {
            unit_print(unit);
            count_down(s);
        }
    } else if (strcmp(type, "joined") == 0) {
        take_joined(s, unit);
    } else if (strcmp(type, "gap") == 0) {
        note(&s->connection, "%s: some messages are missing", unit_text(unit, "room"));
    } else if (strcmp(type, "error") == 0) {
        fprintf(stderr, "madang: %s (%s)\n", unit_text(unit, "message"), unit_text(unit, "code"));
        s->failed = true;
        s->connection.quiet = true;
        madang_client_close(r->client, 1000, "");
    }
}

/* {"type":"message","room":"/topic/x","text":"..."}: what is known of a STOMP message. */
static void show_body(struct sub *s, const void *data, size_t len, bool binary)
{
    if (!s->json || binary) {
        show_text(s, data, len);
        return;
    }
    json_t *unit = json_object();
    json_object_set_new(unit, "type", json_string("message"));
    json_object_set_new(unit, "room", json_string(s->list[0].name));
    json_object_set_new(unit, "text", json_stringn(data, len));
    char *text = json_dumps(unit, JSON_COMPACT);
    json_decref(unit);
    if (text)
        show_text(s, text, strlen(text));
    free(text);
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct sub *s = arg;
    (void)client;
    if (s->rooms.speech != SPEECH_BODIES)
        rooms_message(&s->rooms, data, len);
    else if (!s->done)
        show_body(s, data, len, binary);
}

static void on_event(struct madang_client *client, const struct madang_client_event *event,
                     void *arg)
{
    struct sub *s = arg;
    (void)client;
    if (joins(s))
        rooms_event(&s->rooms, event);
    else if (!s->done)
        show_text(s, event->json, event->len);
}

/* Where to go on the next time. */
static void tell_position(struct sub *s)
{
    const struct room *room = &s->list[0];
    const char *position = madang_client_position(s->rooms.client);
    if (*position)
        note(&s->connection, "to go on from here: --resume %s", position);
    else if (s->room_count == 1 && room->epoch[0])
        note(&s->connection, "to go on from here: --resume %s:%lld", room->epoch,
             (long long)room->seq);
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct sub *s = arg;
    (void)client;
    if (!s->done)
        note_down(&s->connection, code, reason, retry_ms);
    if (retry_ms >= 0)
        return;
    tell_position(s);
    s->rooms.client = NULL;
}

static const struct madang_client_handlers handlers = {
    .on_open = on_open, .on_message = on_message, .on_down = on_down, .on_event = on_event};

static int help(void)
{
    puts("usage: madang sub [OPTIONS] --room ROOM [--room ROOM...] URL\n"
         "\n"
         "Prints what is said in rooms; comes back by itself, with nothing missing. No\n"
         "--room: what the URL names (sse, poll, stomp), or any server's events (sio).\n" //
         ADDRESS_HELP "\n"
         "  -R, --room ROOM             may be repeated; STOMP: a destination or a topic\n"
         "  -j, --json                  whole objects, one a line\n"
         "  -n, --count N               ends after N messages\n"
         "  --history N, --resume POS   begins with the last N; behind that EPOCH:SEQ\n"
         "  --once                      ends when the connection is lost\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int own_option(struct sub *s, int option, const char *value)
{
    switch (option) {
    case 'R':
        if (s->room_count == ROOMS_MAX)
            return usage_error("more than %d rooms", ROOMS_MAX);
        s->list[s->room_count++].name = value;
        return EXIT_OK;
    case 'j':
        s->json = true;
        return EXIT_OK;
    case 'n':
        return number_option("count", value, 1, 1000000000, &s->count);
    case 'y':
        return number_option("history", value, 0, 1000000, &s->history);
    case 'z':
        s->resume = value;
        return EXIT_OK;
    case 'o':
        s->connection.options.reconnect = false;
        return EXIT_OK;
    default:
        return connection_option(&s->connection, option, value);
    }
}

/* Of a room that is joined; streams, polls and STOMP take it as it is. */
static int set_resume(struct sub *s)
{
    const char *colon = strchr(s->resume, ':');
    char *end = NULL;
    struct room *room = &s->list[0];
    if (!joins(s)) {
        s->connection.options.position = s->resume;
        return EXIT_OK;
    }
    if (s->room_count != 1)
        return usage_error("--resume is for one room");
    if (colon)
        room->seq = strtoll(colon + 1, &end, 10);
    if (!colon || *end || end == colon + 1 || (size_t)(colon - s->resume) >= sizeof room->epoch)
        return usage_error("--resume takes EPOCH:SEQ, not '%s'", s->resume);
    snprintf(room->epoch, sizeof room->epoch, "%.*s", (int)(colon - s->resume), s->resume);
    return EXIT_OK;
}

static int set_address(struct sub *s, const char *url)
{
    const char *names[ROOMS_MAX + 1] = {NULL};
    for (size_t i = 0; i < s->room_count; i++)
        names[i] = s->list[i].name;
    s->rooms = (struct rooms){
        .speech = speech_of(url), .url = url, .on_unit = on_unit, .on_ready = on_ready};
    if (connection_check(&s->connection, url) != EXIT_OK)
        return EXIT_USAGE;
    if (s->rooms.speech == SPEECH_BODIES && s->room_count > 1)
        return usage_error("madang sub takes one --room for a STOMP broker");
    if (s->rooms.speech == SPEECH_BODIES && s->history > 0)
        return usage_error("--history is not for STOMP: --resume EPOCH:SEQ begins earlier there");
    if (s->rooms.speech == SPEECH_UNITS && s->room_count == 0)
        return usage_error("madang sub needs --room ROOM for this address");
    if (s->rooms.speech != SPEECH_BODIES)
        s->connection.options.subprotocols =
            s->connection.options.subprotocols ? s->connection.options.subprotocols : "madang.v1";
    int code = rooms_address(&s->connection, url, names, s->history);
    return code == EXIT_OK && s->resume ? set_resume(s) : code;
}

static int parse(struct sub *s, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"room", required_argument, NULL, 'R'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"history", required_argument, NULL, 'y'},
                                            {"resume", required_argument, NULL, 'z'},
                                            {"once", no_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
    s->connection.options.reconnect = true;
    while (code == EXIT_OK && (option = getopt_long(argc, argv, "H:kqhR:jn:", options, NULL)) != -1)
        code = own_option(s, option, optarg);
    if (code != EXIT_OK)
        return code;
    if (optind + 1 != argc)
        return usage_error(
            "madang sub takes one address; rooms are named with --room (madang sub --help)");
    return set_address(s, argv[optind]);
}

int cmd_sub(int argc, char **argv)
{
    struct sub s = {.history = ROOMS_HISTORY};
    struct madang_clients *clients;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
    }
    int code = parse(&s, argc, argv);
    if (code != EXIT_OK)
        return code;
    if (madang_clients_new(&clients) < 0)
        return usage_error("out of memory");
    int rc = madang_client_open(clients, &s.connection.options, &handlers, &s, &s.rooms.client);
    if (rc < 0)
        code = url_error(s.connection.options.url, rc);
    else
        code =
            madang_clients_run(clients) < 0 || (s.count > 0 && !s.done) || !s.was_open || s.failed
                ? EXIT_FAILED
                : EXIT_OK;
    madang_clients_free(clients);
    return code;
}
