/* madang serve: parameters from options and a file, then the server runs until a signal. */
#include "cmd.h"
#include <stdlib.h>
#include <string.h>

static int set(struct madang_config *config, const char *name, const char *value)
{
    if (madang_config_set(config, name, value) < 0)
        return usage_error("%s (madang serve --help lists the options)",
                           madang_config_error(config));
    return EXIT_OK;
}

static void write_option(const char *name)
{
    fputs("--", stdout);
    for (const char *c = name; *c; c++)
        putchar(*c == '_' ? '-' : *c);
}

static int help_all(void)
{
    const struct madang_param *p;
    for (size_t i = 0; (p = madang_param(i)); i++) {
        write_option(p->name);
        printf(" %s\n    %s", p->type, p->text);
        if (strcmp(p->type, "number") == 0)
            printf(" [%s to %s %s]", p->min, p->max, p->unit);
        printf("\n    default: %s\n", *p->value ? p->value : "(empty)");
    }
    return EXIT_OK;
}

static int help(void)
{
    puts("usage: madang serve [OPTIONS]\n"
         "\n"
         "  --listen ADDR           127.0.0.1:8080 (default); [::1]:80, *:443, tcp://..., "
         "udp://...,\n"
         "                          http://..., https://..., unix:/path; may be repeated\n"
         "  --config FILE           YAML with any of the parameters\n"
         "  --state DIR             folder of the secret keys\n"
         "  --allowed-origins LIST  pages of these origins may connect too\n"
         "  --echo                  endpoints that send everything back: / and /echo\n"
         "  --workers N             threads; default: one for each CPU\n"
         "  --store FILE            rooms survive a restart (SQLite)\n"
         "  --tls-cert F --tls-key F, or --tls-dev (self-signed, for trying out)\n"
         "  --log-level error|warn|info|debug   --log-format logfmt|json\n"
         "\n"
         "madang serve --help-all lists every parameter; each is an option and a key of the file.");
    return EXIT_OK;
}

static int unknown_option(const char *name)
{
    const char *names[256] = {"config", "state", "help", "help-all"};
    char room[256][48];
    size_t n = 4;
    const struct madang_param *p;
    for (size_t i = 0; (p = madang_param(i)) && n < 255; i++, n++) {
        snprintf(room[n], sizeof room[n], "%s", p->name);
        for (char *c = room[n]; *c; c++)
            *c = *c == '_' ? '-' : *c;
        names[n] = room[n];
    }
    const char *near = nearest(name, names);
    return usage_error("there is no option --%s%s%s%s (madang serve --help lists the options)",
                       name, near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

/* One "--name value", "--name=value" or "--flag". */
struct option {
    char name[64];
    const char *value;
    bool is_config;
};

/* Moves *i past a value of its own. */
static int read_option(struct option *o, int argc, char **argv, int *i)
{
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    int len = equals ? (int)(equals - text) : (int)strlen(text);
    if (strncmp(argv[*i], "--", 2) != 0 || len == 0 || (size_t)len >= sizeof o->name)
        return usage_error("'%s' is not an option (madang serve --help lists them)", argv[*i]);
    snprintf(o->name, sizeof o->name, "%.*s", len, text);
    o->value = equals ? equals + 1 : NULL;
    o->is_config = strcmp(o->name, "config") == 0;
    if (strcmp(o->name, "state") == 0)
        snprintf(o->name, sizeof o->name, "state_dir");
    int param = param_find(o->name);
    if (!o->is_config && param < 0)
        return unknown_option(o->name);
    if (!o->value && param >= 0 && strcmp(madang_param((size_t)param)->type, "true|false") == 0)
        o->value = "true";
    if (!o->value && *i + 1 >= argc)
        return usage_error("--%s needs a value", o->name);
    if (!o->value)
        o->value = argv[++*i];
    return EXIT_OK;
}

/* The files or the other options, in their order. */
static int take_options(struct madang_config *config, int argc, char **argv, bool files)
{
    struct option o;
    for (int i = 1; i < argc; i++) {
        int code = read_option(&o, argc, argv, &i);
        if (code == EXIT_OK && o.is_config == files)
            code = files ? config_read(config, o.value) : set(config, o.name, o.value);
        if (code != EXIT_OK)
            return code;
    }
    return EXIT_OK;
}

/* Options win over the files, wherever on the line they stand. */
static int parse(struct madang_config *config, int argc, char **argv)
{
    int code = take_options(config, argc, argv, true);
    return code == EXIT_OK ? take_options(config, argc, argv, false) : code;
}

/* What a person wants to see first: where to point the browser. */
static void say_where(const struct madang *server)
{
    const char *address;
    for (size_t i = 0; (address = madang_address(server, i)); i++) {
        if (strncmp(address, "http", 4) == 0)
            printf("chat: %s/chat\n", address);
        else
            printf("listening: %s\n", address);
    }
    fflush(stdout);
}

static int run(struct madang *server)
{
    int err = madang_mount_all(server);
    if (err == 0)
        err = madang_start(server);
    if (err < 0) {
        const char *text = madang_error_text(server);
        fprintf(stderr, "madang: %s\n", *text ? text : madang_strerror(err));
        return EXIT_FAILED;
    }
    say_where(server);
    return madang_run(server) < 0 ? EXIT_FAILED : EXIT_OK;
}

int cmd_serve(int argc, char **argv)
{
    struct madang_config *config;
    struct madang *server = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
        if (strcmp(argv[i], "--help-all") == 0)
            return help_all();
    }
    if (madang_config_new(&config) < 0)
        return usage_error("out of memory");
    int code = set(config, "signals", "true");
    if (code == EXIT_OK)
        code = parse(config, argc, argv);
    if (code != EXIT_OK) {
        madang_config_free(config);
        return code;
    }
    int err = madang_new(config, &server);
    madang_config_free(config);
    if (err < 0) {
        fprintf(stderr, "madang: %s\n", server ? madang_error_text(server) : madang_strerror(err));
        code = EXIT_USAGE;
    } else {
        code = run(server);
    }
    madang_free(server);
    return code;
}
