/* madang sub: prints what is said in rooms; comes back after a loss and asks for what it missed. */
#include "v1.h"
#include <stdlib.h>
#include <string.h>

enum { ROOMS_MAX = 32 };

struct room {
    const char *name;
    char epoch[40];
    json_int_t seq; /* of the last message; 0 and an empty epoch: none yet */
};

struct sub {
    struct connection connection;
    struct madang_client *client; /* NULL: gone */
    struct room rooms[ROOMS_MAX];
    size_t room_count;
    long history, count; /* count: messages to print, 0: no end */
    bool json, joins, done, was_open;
    bool stomp; /* any STOMP broker: bodies */
};

static json_t *join_request(const struct sub *s, const struct room *room)
{
    json_t *object = json_object(), *resume = json_object();
    json_object_set_new(object, "type", json_string("join"));
    json_object_set_new(object, "room", json_string(room->name));
    json_object_set_new(object, "id", json_string(room->name));
    if (room->epoch[0]) {
        json_object_set_new(resume, "epoch", json_string(room->epoch));
        json_object_set_new(resume, "seq", json_integer(room->seq));
        json_object_set(object, "resume", resume);
    } else if (s->history > 0) {
        json_object_set_new(object, "history", json_integer(s->history));
    }
    json_decref(resume);
    return object;
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct sub *s = arg;
    (void)subprotocol;
    s->was_open = true;
    note(&s->connection, "connected");
    if (!s->joins)
        return;
    int rc = v1_begin(client, s->connection.options.url);
    for (size_t i = 0; rc == 0 && i < s->room_count; i++)
        rc = v1_send(client, join_request(s, &s->rooms[i]));
    if (rc < 0)
        note(&s->connection, "could not join: %s", madang_strerror(rc));
}

static bool asked_for_more(const struct sub *s, const json_t *joined)
{
    for (size_t i = 0; i < s->room_count; i++) {
        if (strcmp(s->rooms[i].name, v1_text(joined, "room")) == 0)
            return s->rooms[i].epoch[0] != '\0';
    }
    return false;
}

static void remember(struct sub *s, const json_t *message)
{
    for (size_t i = 0; i < s->room_count; i++) {
        struct room *room = &s->rooms[i];
        if (strcmp(room->name, v1_text(message, "room")) != 0)
            continue;
        snprintf(room->epoch, sizeof room->epoch, "%s", v1_text(message, "epoch"));
        room->seq = json_integer_value(json_object_get(message, "seq"));
    }
}

static void show(struct sub *s, const void *data, size_t len, const json_t *message)
{
    if (s->json)
        printf("%.*s\n", (int)len, (const char *)data);
    else
        v1_print(message);
    fflush(stdout);
    if (s->count > 0 && --s->count == 0) {
        s->done = true;
        madang_client_close(s->client, 1000, "");
    }
}

static void show_body(struct sub *s, const void *data, size_t len)
{
    fwrite(data, 1, len, stdout);
    putchar('\n');
    fflush(stdout);
    if (s->count > 0 && --s->count == 0) {
        s->done = true;
        madang_client_close(s->client, 1000, "");
    }
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    struct sub *s = arg;
    const char *type;
    if (s->stomp) {
        if (!s->done)
            show_body(s, data, len);
        return;
    }
    json_t *object = v1_read(data, len, &type);
    (void)client;
    (void)binary;
    if (s->done) {
        json_decref(object);
        return;
    }
    if (strcmp(type, "message") == 0) {
        remember(s, object);
        show(s, data, len, object);
    } else if (strcmp(type, "joined") == 0) {
        note(&s->connection, "in %s%s", v1_text(object, "room"),
             asked_for_more(s, object) && !json_is_true(json_object_get(object, "recovered"))
                 ? "; what was said meanwhile could not all be recovered"
                 : "");
        remember(s, object);
    } else if (strcmp(type, "gap") == 0) {
        note(&s->connection, "%s: some messages are missing", v1_text(object, "room"));
    } else if (strcmp(type, "error") == 0) {
        note(&s->connection, "%s (%s)", v1_text(object, "message"), v1_text(object, "code"));
    }
    json_decref(object);
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct sub *s = arg;
    (void)client;
    if (!s->done)
        note_down(&s->connection, code, reason, retry_ms);
    if (retry_ms < 0)
        s->client = NULL;
}

static const struct madang_client_handlers handlers = {on_open, on_message, NULL, on_down};

static int help(void)
{
    puts("usage: madang sub [OPTIONS] --room ROOM [--room ROOM...] URL\n"
         "       madang sub [OPTIONS] http://HOST:PORT/sse?room=ROOM\n"
         "       madang sub [OPTIONS] --room DESTINATION stomp://HOST:PORT\n"
         "\n"
         "Prints what is said in rooms, and comes back by itself with nothing missing.\n"
         "URL: ws://HOST:PORT/ws/chat (or wss, tcp, tls, unix, sockjs, sockjs+xhr), or an event "
         "stream. With a "
         "STOMP\n"
         "broker (stomp, stomps, stomp+ws, stomp+wss) the bodies are printed; see madang pub.\n"
         "\n"
         "  -R, --room ROOM         may be repeated\n"
         "  -j, --json              whole objects, one a line\n"
         "  -n, --count N           ends after N messages\n"
         "      --history N         begins with the last N\n"
         "      --resume EPOCH:SEQ  begins behind that message (one room)\n"
         "      --once              ends when the connection is lost\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int set_resume(struct sub *s, const char *token)
{
    const char *colon = strchr(token, ':');
    char *end;
    if (!colon || (size_t)(colon - token) >= sizeof s->rooms[0].epoch)
        return usage_error("--resume takes EPOCH:SEQ, not '%s'", token);
    snprintf(s->rooms[0].epoch, sizeof s->rooms[0].epoch, "%.*s", (int)(colon - token), token);
    s->rooms[0].seq = strtoll(colon + 1, &end, 10);
    return *end || end == colon + 1 ? usage_error("--resume takes EPOCH:SEQ, not '%s'", token)
                                    : EXIT_OK;
}

static int own_option(struct sub *s, int option, const char *value)
{
    switch (option) {
    case 'R':
        if (s->room_count == ROOMS_MAX)
            return usage_error("more than %d rooms", ROOMS_MAX);
        s->rooms[s->room_count++].name = value;
        return EXIT_OK;
    case 'j':
        s->json = true;
        return EXIT_OK;
    case 'n':
        return number_option("count", value, 1, 1000000000, &s->count);
    case 'y':
        return number_option("history", value, 0, 1000000, &s->history);
    case 'z':
        return set_resume(s, value);
    case 'o':
        s->connection.options.reconnect = false;
        return EXIT_OK;
    default:
        return connection_option(&s->connection, option, value);
    }
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
    s->connection.options.subprotocols = "madang.v1";
    s->connection.options.reconnect = true;
    while (code == EXIT_OK && (option = getopt_long(argc, argv, "H:kqhR:jn:", options, NULL)) != -1)
        code = own_option(s, option, optarg);
    if (code != EXIT_OK)
        return code;
    if (optind + 1 != argc)
        return usage_error("madang sub takes one address (madang sub --help)");
    const char *url = argv[optind];
    s->connection.options.url = url;
    s->stomp = is_stomp(url);
    if (s->stomp && s->room_count != 1)
        return usage_error("madang sub takes one --room for a STOMP broker");
    if (s->stomp) {
        s->connection.options.subprotocols = NULL;
        return stomp_destination(&s->connection, s->rooms[0].name);
    }
    s->joins = strncmp(url, "http", 4) != 0 && strncmp(url, "sse", 3) != 0;
    if (s->joins && s->room_count == 0)
        return usage_error("madang sub needs --room ROOM for this address");
    if (s->rooms[0].epoch[0] && s->room_count != 1)
        return usage_error("--resume is for one room");
    return EXIT_OK;
}

int cmd_sub(int argc, char **argv)
{
    struct sub s = {.history = 0};
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
    int rc = madang_client_open(clients, &s.connection.options, &handlers, &s, &s.client);
    if (rc < 0)
        code = url_error(s.connection.options.url, rc);
    else
        code = madang_clients_run(clients) < 0 || (s.count > 0 && !s.done) || !s.was_open
                   ? EXIT_FAILED
                   : EXIT_OK;
    madang_clients_free(clients);
    return code;
}
