/* madang cat: messages out, typed lines in; nc and websocat for every carrier. */
#include "rooms.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 20, READ_BYTES = 65536 };

struct cat {
    struct connection connection;
    struct madang_client *client; /* NULL: gone */
    bool binary, was_open, failed;
    bool input_over, done;
    bool ask;           /* Socket.IO: for an acknowledgement of each event */
    const char *answer; /* to events that ask for one; NULL: none */
    long count;         /* messages to print; 0: no end */
    long wait_s;        /* for answers after the end of the input */
    long long leave_ms; /* when that is over; 0: not yet begun */
    char *line;
    size_t len;
    /* Over UDP, madang wants its cookie back before it listens: the line is said again then. */
    bool came_in;
    char first[1024];
    size_t first_len;
};

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_open(struct madang_client *client, const char *subprotocol, void *arg)
{
    struct cat *c = arg;
    c->was_open = true;
    note(&c->connection, "connected%s%s%s", *subprotocol ? ", " : "", subprotocol,
         madang_client_recovered(client) ? ", recovered" : "");
}

/* madang's cookie over UDP: done for the person. True: there is nothing to show. */
static bool answer_cookie(struct cat *c, const char *text, size_t len)
{
    size_t n;
    const char *cookie = udp_cookie(text, len, &n);
    if (c->came_in || !cookie || !url_of(c->connection.options.url, "udp"))
        return false;
    c->came_in = true;
    return madang_client_send(c->client, cookie, n, false) == 0 &&
           madang_client_send(c->client, c->first, c->first_len, false) == 0;
}

static void show(struct cat *c, const void *data, size_t len, bool binary)
{
    if (c->done)
        return;
    fwrite(data, 1, len, stdout);
    if (!binary && !(len && ((const char *)data)[len - 1] == '\n')) /* datagrams bring their own */
        putchar('\n');
    fflush(stdout);
    if (c->count > 0 && --c->count == 0) {
        c->done = true;
        madang_client_close(c->client, 1000, "");
    }
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    (void)client;
    if (binary || !answer_cookie(arg, data, len))
        show(arg, data, len, binary);
}

static void on_event(struct madang_client *client, const struct madang_client_event *event,
                     void *arg)
{
    struct cat *c = arg;
    show(c, event->json, event->len, false);
    if (event->wants_answer && !c->answer)
        note(&c->connection, "the server asks for an acknowledgement (--answer gives one)");
    else if (event->wants_answer &&
             madang_client_answer(client, event->id, c->answer, strlen(c->answer)) < 0)
        note(&c->connection, "not answered: --answer takes a JSON array");
}

static void on_answer(struct madang_client *client, int err, const char *json, size_t len,
                      void *arg)
{
    struct cat *c = arg;
    (void)client;
    if (err < 0) {
        note(&c->connection, "lost before it was acknowledged");
        return;
    }
    if (c->done)
        return;
    fputs("ack ", stdout);
    show(c, json, len, false);
}

static void on_unsent(struct madang_client *client, int err, void *arg)
{
    (void)client;
    note_unsent(&((struct cat *)arg)->connection, err);
}

/* Nothing is at the root of a madang server for those who only gave its name. */
static void hint_path(const struct cat *c)
{
    const char *url = c->connection.options.url, *path = rooms_usual_path(url);
    const char *place = strstr(url, "://");
    size_t root = place ? strcspn(place + 3, "/?#") + 3 : 0;
    if (path && place && (!place[root] || strcmp(place + root, "/") == 0) && !url_of(url, "ws"))
        note(&c->connection,
             "rooms of a madang server: madang sub --room ROOM, or name it: %.*s%s%s",
             (int)(place + root - url), url, path,
             speech_of(url) == SPEECH_HTTP ? "?room=ROOM" : "");
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct cat *c = arg;
    (void)client;
    note_down(&c->connection, code, reason, retry_ms);
    if (retry_ms >= 0)
        return;
    if (!c->was_open)
        hint_path(c);
    c->client = NULL;
    c->failed = !c->was_open || (c->count > 0 && !c->done) || (code == 1006 && !c->input_over);
}

static const struct madang_client_handlers handlers = {.on_open = on_open,
                                                       .on_message = on_message,
                                                       .on_unsent = on_unsent,
                                                       .on_down = on_down,
                                                       .on_event = on_event};

/* On Socket.IO a JSON array that begins with a name is an event as it stands, and anything else is
 * the argument of --event. */
static int send_text(struct cat *c, size_t len)
{
    int rc = MADANG_E_UNSUPPORTED;
    if (!c->binary && url_of(c->connection.options.url, "sio"))
        rc = madang_client_emit(c->client, c->line, len, c->ask ? on_answer : NULL, c);
    if (rc == MADANG_E_SYNTAX || rc == MADANG_E_UNSUPPORTED)
        rc = madang_client_send(c->client, c->line, len, c->binary);
    return rc;
}

static void send_line(struct cat *c, size_t len)
{
    if (!c->first_len && len <= sizeof c->first) {
        memcpy(c->first, c->line, len);
        c->first_len = len;
    }
    int rc = send_text(c, len);
    if (rc < 0)
        note_unsent(&c->connection, rc);
}

static void send_lines(struct cat *c)
{
    char *end;
    while (c->client && (end = memchr(c->line, '\n', c->len))) {
        size_t len = (size_t)(end - c->line);
        send_line(c, len);
        c->len -= len + 1;
        memmove(c->line, end + 1, c->len);
    }
    if (c->client && (c->len == LINE_MAX_BYTES || (c->input_over && c->len))) {
        send_line(c, c->len);
        c->len = 0;
    }
}

static void read_input(struct cat *c)
{
    size_t room = LINE_MAX_BYTES - c->len;
    ssize_t n = read(STDIN_FILENO, c->line + c->len, room < READ_BYTES ? room : READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        c->input_over = true;
        c->leave_ms = now_ms() + c->wait_s * 1000;
    } else {
        c->len += (size_t)n;
    }
    send_lines(c);
}

/* Asked anew in each turn: what leaves a queue below the client's own buffer tells nobody. */
static bool is_full(const struct cat *c)
{
    return madang_client_queued(c->client) > LINE_MAX_BYTES / 2;
}

static int talk(struct cat *c, struct madang_clients *clients)
{
    while (c->client) {
        struct pollfd fds[2] = {{madang_clients_fd(clients), POLLIN, 0},
                                {c->input_over || is_full(c) ? -1 : STDIN_FILENO, POLLIN, 0}};
        long long left = c->leave_ms ? c->leave_ms - now_ms() : -1;
        if (c->leave_ms && left <= 0) {
            madang_client_close(c->client, 1000, "");
            c->leave_ms = now_ms() + 5000;
            left = 5000;
        }
        if (poll(fds, 2, (int)left) < 0 && errno != EINTR)
            return EXIT_FAILED;
        if (fds[1].revents)
            read_input(c);
        if (madang_clients_step(clients, 0) < 0)
            return EXIT_FAILED;
    }
    return c->failed ? EXIT_FAILED : EXIT_OK;
}

static int help(void)
{
    puts("usage: madang cat [OPTIONS] URL\n"
         "\n"
         "Prints what comes and sends what is typed, a line a message; on Socket.IO\n"
         "[\"event\",ARGS...] as JSON, or a text that becomes the argument of --event.\n" //
         ADDRESS_HELP "\n"
         "  -b, --binary, -r, --reconnect    lines go as binary; come back after a loss\n"
         "  -n, --count N, --resume POS ends after N messages; begins behind that one\n"
         "  -w, --wait S                for answers after the end of the input (1)\n"
         "  -e, --event NAME, --ack, --answer JSON    Socket.IO: event for lines;\n"
         "                              ask for acknowledgements; answer with that "
         "array\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int own_option(struct cat *c, int option, const char *value)
{
    switch (option) {
    case 'b':
        c->binary = true;
        return EXIT_OK;
    case 'r':
        c->connection.options.reconnect = true;
        return EXIT_OK;
    case 'w':
        return number_option("wait", value, 0, 86400, &c->wait_s);
    case 'n':
        return number_option("count", value, 1, 1000000000, &c->count);
    case 'e':
        c->connection.options.event = value;
        return EXIT_OK;
    case 'a':
        c->ask = true;
        return EXIT_OK;
    case 'y':
        c->answer = value;
        return EXIT_OK;
    case 'z':
        c->connection.options.position = value;
        return EXIT_OK;
    default:
        return connection_option(&c->connection, option, value);
    }
}

/* An option that would do nothing there is a mistake. */
static int check(const struct cat *c, const char *url)
{
    bool positions = speech_of(url) == SPEECH_HTTP || speech_of(url) == SPEECH_BODIES;
    if (connection_check(&c->connection, url) != EXIT_OK)
        return EXIT_USAGE;
    if ((c->ask || c->answer) && !url_of(url, "sio"))
        return usage_error("--ack and --answer are for Socket.IO (sio://), not for '%s'", url);
    if (c->connection.options.position && !positions)
        return usage_error("--resume is for event streams, polls and STOMP; a room of madang "
                           "resumes by every scheme with madang sub --room ROOM --resume");
    return EXIT_OK;
}

static int parse(struct cat *c, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"binary", no_argument, NULL, 'b'},
                                            {"reconnect", no_argument, NULL, 'r'},
                                            {"wait", required_argument, NULL, 'w'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"event", required_argument, NULL, 'e'},
                                            {"ack", no_argument, NULL, 'a'},
                                            {"answer", required_argument, NULL, 'y'},
                                            {"resume", required_argument, NULL, 'z'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
    while (code == EXIT_OK &&
           (option = getopt_long(argc, argv, "H:kqhbrw:n:e:", options, NULL)) != -1)
        code = own_option(c, option, optarg);
    if (code == EXIT_OK && optind + 1 != argc)
        return usage_error("madang cat takes one address (madang cat --help)");
    if (code != EXIT_OK)
        return code;
    c->connection.options.url = argv[optind];
    return check(c, argv[optind]);
}

int cmd_cat(int argc, char **argv)
{
    struct cat c = {.wait_s = 1};
    struct madang_clients *clients;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
    }
    int code = parse(&c, argc, argv);
    if (code != EXIT_OK)
        return code;
    c.line = malloc(LINE_MAX_BYTES);
    if (!c.line || madang_clients_new(&clients) < 0) {
        free(c.line);
        return usage_error("out of memory");
    }
    int rc = madang_client_open(clients, &c.connection.options, &handlers, &c, &c.client);
    code = rc < 0 ? url_error(c.connection.options.url, rc) : talk(&c, clients);
    madang_clients_free(clients);
    free(c.line);
    return code;
}
