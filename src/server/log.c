/* Formatting of log lines into a bounded buffer on the stack. */
#include "server/log.h"
#include "base/writer.h"
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void mdg_logger_init(struct mdg_logger *l, const char *level_name, const char *format)
{
    *l = (struct mdg_logger){MDG_LOG_INFO, strcmp(format, "json") == 0, STDERR_FILENO};
    for (size_t i = 0; i < MDG_ARRAY_LEN(level_names); i++) {
        if (strcmp(level_name, level_names[i]) == 0)
            l->level = (enum mdg_log_level)i;
    }
}

/* RFC 3339 in UTC with milliseconds. */
static void write_time(struct mdg_writer *w)
{
    struct timespec now;
    struct tm parts;
    char text[40], day[24];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%03ldZ", day, now.tv_nsec / 1000000);
    mdg_write_str(w, text);
}

static bool is_bare(const char *value)
{
    if (!*value)
        return false;
    for (const char *c = value; *c; c++) {
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f)
            return false;
    }
    return true;
}

/* Bytes over 0x7f pass: a terminal shows UTF-8, and what is not UTF-8 is not worse than that. */
static void write_value(struct mdg_writer *w, const char *value, bool json)
{
    if (!json && is_bare(value))
        mdg_write_str(w, value);
    else
        mdg_write_json_string(w, mdg_slice_str(value));
}

static void write_pair(struct mdg_writer *w, const char *key, const char *value, bool json)
{
    if (json) {
        mdg_write_str(w, w->len > 1 ? ",\"" : "\"");
        mdg_write_str(w, key);
        mdg_write_str(w, "\":");
    } else {
        mdg_write_str(w, w->len ? " " : "");
        mdg_write_str(w, key);
        mdg_write_u8(w, '=');
    }
    write_value(w, value, json);
}

void mdg_log(const struct mdg_logger *l, enum mdg_log_level level, const char *message, ...)
{
    char line[MDG_LOG_LINE_MAX], when[40];
    struct mdg_writer w, time_writer;
    if (level > l->level)
        return;
    mdg_writer_init(&time_writer, when, sizeof when - 1);
    write_time(&time_writer);
    when[mdg_min_size(time_writer.len, sizeof when - 1)] = '\0';
    mdg_writer_init(&w, line, sizeof line - 3); /* room for the end of the line */
    if (l->json)
        mdg_write_u8(&w, '{');
    write_pair(&w, "time", when, l->json);
    write_pair(&w, "level", level_names[level], l->json);
    write_pair(&w, "msg", message, l->json);
    va_list args;
    va_start(args, message);
    for (const char *key = va_arg(args, const char *); key; key = va_arg(args, const char *)) {
        const char *value = va_arg(args, const char *);
        size_t before = w.len;
        write_pair(&w, key, value ? value : "", l->json);
        if (!mdg_writer_fits(&w))
            w.len = before; /* a pair that does not fit is left out whole */
    }
    va_end(args);
    if (!mdg_writer_fits(&w))
        return;
    if (l->json)
        line[w.len++] = '}';
    line[w.len++] = '\n';
    ssize_t written = write(l->fd, line, w.len);
    (void)written; /* there is nowhere left to say that logging failed */
}
