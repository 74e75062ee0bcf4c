/* The configuration file: flat YAML. libyaml parses it and knows the lines; the names and types are
 * the server's parameters. */
#include "cmd.h"
#include <errno.h>
#include <string.h>
#include <yaml.h>

enum { PARAMS_MAX = 256 };

struct reader {
    struct madang_config *config;
    const char *path;
    yaml_parser_t parser;
    size_t seen[PARAMS_MAX]; /* by parameter: the line that sets it, counted from 1 */
};

int param_find(const char *name)
{
    const struct madang_param *p;
    for (int i = 0; (p = madang_param((size_t)i)) && i < PARAMS_MAX; i++) {
        bool same = strlen(p->name) == strlen(name);
        for (size_t j = 0; same && name[j]; j++)
            same = p->name[j] == (name[j] == '-' ? '_' : name[j]);
        if (same)
            return i;
    }
    return -1;
}

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
    if (strlen((const char *)value->data.scalar.value) != value->data.scalar.length)
        return fail(r, value->start_mark.line, "a value holds no NUL");
    if (madang_config_set(r->config, name, (const char *)value->data.scalar.value) < 0)
        return fail(r, value->start_mark.line, madang_config_error(r->config));
    return EXIT_OK;
}

/* A key that is there twice is a mistake, whichever of the two was meant. */
static int note_key(struct reader *r, const char *name, size_t line)
{
    char what[200];
    int i = param_find(name);
    if (i >= 0 && r->seen[i]) {
        snprintf(what, sizeof what, "'%.60s' is set for the second time, after line %zu", name,
                 r->seen[i]);
        return fail(r, line, what);
    }
    if (i >= 0)
        r->seen[i] = line + 1;
    return EXIT_OK; /* setting an unknown one says so */
}

static bool takes_list(const char *name)
{
    int i = param_find(name);
    return i < 0 || strcmp(madang_param((size_t)i)->type, "list") == 0;
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
        } else if (ev.type == YAML_SEQUENCE_START_EVENT && !in_list && takes_list(name)) {
            in_list = true;
            done = false;
        } else if (ev.type == YAML_SEQUENCE_END_EVENT && in_list) {
            done = true;
        } else {
            code = fail(r, ev.start_mark.line,
                        takes_list(name) ? "a value, or a list of values, is wanted here"
                                         : "one value is wanted here");
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
        if (*in_mapping) {
            const char *name = (const char *)ev->data.scalar.value;
            int code = note_key(r, name, ev->start_mark.line);
            return code == EXIT_OK ? read_value(r, name) : code;
        }
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
