/* The options of a connection, and words for people. */
#include "client_options.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
    case 1008:
        c->options.auth = value;
        return EXIT_OK;
    case 1009:
        c->options.path = value;
        return EXIT_OK;
    case 'q':
        c->quiet = true;
        return EXIT_OK;
    default:
        return EXIT_USAGE; /* getopt has said what is wrong */
    }
}

bool url_of(const char *url, const char *family)
{
    return strncasecmp(url, family, strlen(family)) == 0 && strcspn(url, ":") >= strlen(family);
}

static int unknown_scheme(const char *url)
{
    char name[32], list[512];
    size_t len = 0;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(url, ":"), url);
    const char *near = nearest(name, madang_client_schemes());
    if (near)
        return usage_error("'%s': '%s' is no kind of address; did you mean %s%s?", url, name, near,
                           url + strcspn(url, ":"));
    list[0] = '\0';
    for (const char *const *it = madang_client_schemes(); *it && len < sizeof list; it++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len ? " " : "", *it);
    return usage_error("'%s': '%s' is no kind of address; there are %s", url, name, list);
}

/* "ws:/h", "ws//h": the scheme is there, the rest of its mark is not. */
static bool is_misspelt(const char *url, char *out, size_t cap)
{
    size_t len = strcspn(url, ":/"), skip = strspn(url + len, ":/");
    for (const char *const *it = madang_client_schemes(); skip && *it; it++) {
        if (strlen(*it) == len && strncasecmp(*it, url, len) == 0)
            return snprintf(out, cap, "%s://%s", *it, url + len + skip) < (int)cap;
    }
    return false;
}

static int url_check(const char *url)
{
    char better[512];
    if (strstr(url, "://") || strncmp(url, "unix:", 5) == 0)
        return EXIT_OK;
    if (is_misspelt(url, better, sizeof better))
        return usage_error("'%s' is not an address; did you mean %s?", url, better);
    return usage_error("'%s' is not an address; for a WebSocket it would be ws://%s, for text "
                       "lines tcp://%s (madang cat --help lists all kinds)",
                       url, *url ? url : "HOST:PORT/PATH", *url ? url : "HOST:PORT");
}

int connection_check(const struct connection *c, const char *url)
{
    if (url_check(url) != EXIT_OK)
        return EXIT_USAGE;
    if ((c->options.auth || c->options.path || c->options.event) && !url_of(url, "sio"))
        return usage_error("--auth, --path and --event are for Socket.IO (sio://), not for '%s'",
                           url);
    return EXIT_OK;
}

int url_error(const char *url, int err)
{
    if (url_check(url) != EXIT_OK)
        return EXIT_USAGE;
    if (err == MADANG_E_UNSUPPORTED && strstr(url, "://"))
        return unknown_scheme(url);
    if (err == MADANG_E_SYNTAX)
        return usage_error(
            "'%s' cannot be used: HOST:PORT is wrong or missing, or there is a blank "
            "in it (or --auth is not a JSON object, or --proxy no address)",
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

void note_unsent(const struct connection *c, int err)
{
    note(c, "not sent: %s",
         err == MADANG_E_UNSUPPORTED ? "this address does not take it" : madang_strerror(err));
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
