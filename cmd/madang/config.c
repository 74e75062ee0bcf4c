/* The configuration file: flat YAML. libyaml parses it and knows the lines; the names and types are
 * the server's parameters. */
#include "cmd.h"
#include <errno.h>
#include <string.h>
#include <yaml.h>

struct reader {
    struct madang_config *config;
    const char *path;
    yaml_parser_t parser;
};

static int fail(const struct reader *r, size_t line, const char *what)
{
    return usage_error("%s:%zu: %s", r->path, line + 1, what);
}

static int next(struct reader *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->parser, ev))
        return EXIT_OK;
    return fail(r, r->parser.problem_mark.line, r->parser.problem ? r->parser.problem : "not YAML");
}

static int set(struct reader *r, const char *name, const yaml_event_t *value)
{
    if (madang_config_set(r->config, name, (const char *)value->data.scalar.value) < 0)
        return fail(r, value->start_mark.line, madang_config_error(r->config));
    return EXIT_OK;
}

/* "name: value", or "name:" and a list of values. */
static int read_value(struct reader *r, const char *name)
{
    yaml_event_t ev;
    bool in_list = false;
    for (;;) {
        int code = next(r, &ev);
        if (code != EXIT_OK)
            return code;
        bool done = !in_list;
        if (ev.type == YAML_SCALAR_EVENT) {
            code = set(r, name, &ev);
        } else if (ev.type == YAML_SEQUENCE_START_EVENT && !in_list) {
            in_list = true;
            done = false;
        } else if (ev.type == YAML_SEQUENCE_END_EVENT && in_list) {
            done = true;
        } else {
            code = fail(r, ev.start_mark.line, "a value, or a list of values, is wanted here");
        }
        yaml_event_delete(&ev);
        if (code != EXIT_OK || done)
            return code;
    }
}

static int read_key(struct reader *r, const yaml_event_t *ev, bool *in_mapping)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        if (*in_mapping)
            return read_value(r, (const char *)ev->data.scalar.value);
        break;
    case YAML_MAPPING_START_EVENT:
        if (!*in_mapping) {
            *in_mapping = true;
            return EXIT_OK;
        }
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return EXIT_OK;
    case YAML_NO_EVENT:
    case YAML_ALIAS_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        break;
    }
    return fail(r, ev->start_mark.line, "lines of the form 'name: value' are wanted");
}

static int read_events(struct reader *r)
{
    bool in_mapping = false;
    for (;;) {
        yaml_event_t ev;
        int code = next(r, &ev);
        if (code != EXIT_OK)
            return code;
        bool end = ev.type == YAML_STREAM_END_EVENT;
        code = read_key(r, &ev, &in_mapping);
        yaml_event_delete(&ev);
        if (code != EXIT_OK || end)
            return code;
    }
}

int config_read(struct madang_config *config, const char *path)
{
    struct reader r = {.config = config, .path = path};
    FILE *file = fopen(path, "rb");
    if (!file)
        return usage_error("%s: %s", path, strerror(errno));
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(file);
        return usage_error("out of memory");
    }
    yaml_parser_set_input_file(&r.parser, file);
    int code = read_events(&r);
    yaml_parser_delete(&r.parser);
    fclose(file);
    return code;
}
