/* The options of a connection, and words for people. */
#include "client_options.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int add_header(struct connection *c, const char *line)
{
    if (!strchr(line, ':') || strpbrk(line, "\r\n"))
        return usage_error("'%s' is not a header: \"Name: value\" is wanted", line);
    if (c->header_count == HEADERS_MAX)
        return usage_error("more than %d headers", HEADERS_MAX);
    c->headers[c->header_count++] = line;
    c->options.headers = c->headers;
    return EXIT_OK;
}

int number_option(const char *name, const char *text, long min, long max, long *out)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        return usage_error("--%s takes a number from %ld to %ld, not '%s'", name, min, max, text);
    *out = n;
    return EXIT_OK;
}

static int set_timeout(struct connection *c, const char *text)
{
    long seconds = 0;
    int code = number_option("timeout", text, 1, 3600, &seconds);
    if (code == EXIT_OK)
        c->options.connect_timeout_ms = (uint32_t)seconds * 1000;
    return code;
}

int connection_option(struct connection *c, int option, const char *value)
{
    switch (option) {
    case 'H':
        return add_header(c, value);
    case 1000:
        snprintf(c->token_header, sizeof c->token_header, "Authorization: Bearer %s", value);
        return add_header(c, c->token_header);
    case 1001:
        c->options.subprotocols = value;
        return EXIT_OK;
    case 1002:
        c->options.origin = value;
        return EXIT_OK;
    case 1003:
        c->options.ca_file = value;
        return EXIT_OK;
    case 'k':
        c->options.insecure = true;
        return EXIT_OK;
    case 1004:
        c->options.proxy = value;
        return EXIT_OK;
    case 1005:
        c->options.proxy = "";
        return EXIT_OK;
    case 1006:
        c->options.compress = true;
        return EXIT_OK;
    case 1007:
        return set_timeout(c, value);
    case 'q':
        c->quiet = true;
        return EXIT_OK;
    default:
        return EXIT_USAGE; /* getopt has said what is wrong */
    }
}

int url_error(const char *url, int err)
{
    if (err == MADANG_E_SYNTAX)
        return usage_error("'%s' is not an address; ws://HOST:PORT/PATH, tcp://HOST:PORT, "
                           "udp://HOST:PORT, unix:PATH or http://HOST/PATH is wanted",
                           url);
    if (err == MADANG_E_UNSUPPORTED)
        return usage_error("'%s': this kind of address or proxy is not known; there are ws, wss, "
                           "tcp, tls, udp, unix, http, https, sse, sockjs, sockjs+xhr",
                           url);
    return usage_error("%s: %s", url, madang_strerror(err));
}

void note(const struct connection *c, const char *fmt, ...)
{
    va_list args;
    if (c->quiet)
        return;
    va_start(args, fmt);
    fputs("* ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

void note_down(const struct connection *c, int code, const char *reason, int64_t retry_ms)
{
    char number[16] = "";
    if (code != 1006)
        snprintf(number, sizeof number, " (%d)", code);
    if (retry_ms >= 0)
        note(c, "%s%s; again in %.1f s", reason, number, (double)retry_ms / 1000);
    else
        note(c, "%s%s", *reason ? reason : "closed", number);
}

bool is_stomp(const char *url)
{
    return strncmp(url, "stomp://", 8) == 0 || strncmp(url, "stomps://", 9) == 0 ||
           strncmp(url, "stomp+", 6) == 0;
}

int stomp_destination(struct connection *c, const char *room)
{
    int n =
        snprintf(c->room_text, sizeof c->room_text, "%s%s", *room == '/' ? "" : "/topic/", room);
    if (n < 0 || (size_t)n >= sizeof c->room_text)
        return usage_error("the room's name is too long");
    c->options.destination = c->room_text;
    return EXIT_OK;
}
