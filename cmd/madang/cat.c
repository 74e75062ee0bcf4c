/* madang cat: messages out, typed lines in; nc and websocat for every carrier. */
#include "client_options.h"
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
    bool binary, was_open, failed, full;
    bool input_over;
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
    (void)client;
    c->was_open = true;
    note(&c->connection, "connected%s%s", *subprotocol ? ", " : "", subprotocol);
}

/* "To come in, type: /hi COOKIE": done for the person. True: there is nothing to show. */
static bool answer_cookie(struct cat *c, const char *text, size_t len)
{
    static const char words[] = "To come in, type: ";
    size_t skip = sizeof words - 1;
    if (c->came_in || strncmp(c->connection.options.url, "udp://", 6) != 0 || len <= skip ||
        memcmp(text, words, skip) != 0)
        return false;
    c->came_in = true;
    while (len > skip && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    bool good = madang_client_send(c->client, text + skip, len - skip, false) == 0 &&
                madang_client_send(c->client, c->first, c->first_len, false) == 0;
    return good;
}

static void on_message(struct madang_client *client, const void *data, size_t len, bool binary,
                       void *arg)
{
    (void)client;
    if (!binary && answer_cookie(arg, data, len))
        return;
    fwrite(data, 1, len, stdout);
    if (!binary && !(len && ((const char *)data)[len - 1] == '\n')) /* datagrams bring their own */
        putchar('\n');
    fflush(stdout);
}

static void on_drained(struct madang_client *client, void *arg)
{
    (void)client;
    ((struct cat *)arg)->full = false;
}

static void on_down(struct madang_client *client, int code, const char *reason, int64_t retry_ms,
                    void *arg)
{
    struct cat *c = arg;
    (void)client;
    note_down(&c->connection, code, reason, retry_ms);
    if (retry_ms >= 0)
        return;
    c->client = NULL;
    c->failed = !c->was_open || (code == 1006 && !c->input_over);
}

static const struct madang_client_handlers handlers = {on_open, on_message, on_drained, on_down};

static void send_line(struct cat *c, size_t len)
{
    if (!c->first_len && len <= sizeof c->first) {
        memcpy(c->first, c->line, len);
        c->first_len = len;
    }
    int rc = madang_client_send(c->client, c->line, len, c->binary);
    if (rc == MADANG_E_UNSUPPORTED)
        note(&c->connection, "nothing can be sent to this address");
    else if (rc < 0)
        note(&c->connection, "not sent: %s", madang_strerror(rc));
    c->full = madang_client_queued(c->client) > LINE_MAX_BYTES / 2;
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

static int talk(struct cat *c, struct madang_clients *clients)
{
    while (c->client) {
        struct pollfd fds[2] = {{madang_clients_fd(clients), POLLIN, 0},
                                {c->input_over || c->full ? -1 : STDIN_FILENO, POLLIN, 0}};
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
    puts(
        "usage: madang cat [OPTIONS] URL\n"
        "\n"
        "Prints what comes and sends what is typed, a line a message. URL: ws://, wss://,\n"
        "tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:PATH, http:// (event streams),\n"
        "sockjs://HOST:PORT/PREFIX (or sockjss, by its websocket transport; sockjs+xhr and\n"
        "sockjs+xhrs by requests alone),\n"
        "stomp://HOST:PORT/DESTINATION, stomp+ws://HOST:PORT/PATH#/DESTINATION (any STOMP broker;\n"
        "-H 'login: NAME' -H 'passcode: WORD').\n"
        "\n"
        "  -b, --binary            lines are sent as binary messages\n"
        "  -r, --reconnect         come back when the connection is lost\n"
        "  -w, --wait SECONDS      for answers after the end of the input (1)\n" CONNECTION_HELP);
    return EXIT_OK;
}

static int parse(struct cat *c, int argc, char **argv)
{
    static const struct option options[] = {CONNECTION_OPTIONS,
                                            {"binary", no_argument, NULL, 'b'},
                                            {"reconnect", no_argument, NULL, 'r'},
                                            {"wait", required_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    int option, code = EXIT_OK;
    while (code == EXIT_OK &&
           (option = getopt_long(argc, argv, "H:kqhbrw:", options, NULL)) != -1) {
        if (option == 'b')
            c->binary = true;
        else if (option == 'r')
            c->connection.options.reconnect = true;
        else if (option == 'w')
            code = number_option("wait", optarg, 0, 86400, &c->wait_s);
        else
            code = connection_option(&c->connection, option, optarg);
    }
    if (code == EXIT_OK && optind + 1 != argc)
        return usage_error("madang cat takes one address (madang cat --help)");
    c->connection.options.url = argv[optind];
    return code;
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
