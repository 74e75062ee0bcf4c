/* madang: one program, a subcommand for each thing it does. */
#include "cmd.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct command commands[] = {
#include "commands.def"
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

int usage_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("madang: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_USAGE;
}

/* Edits (insert, delete, replace) that turn one word into the other; both short. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], len = strlen(b);
    if (len >= sizeof row / sizeof row[0])
        return SIZE_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t best = corner + (*a != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[len];
}

const char *nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2;
    for (; *names; names++) {
        size_t d = distance(word, *names);
        if (d < best_distance) {
            best_distance = d;
            best = *names;
        }
    }
    return best;
}

static void help(FILE *to)
{
    fputs("madang: every kind of socket in the same rooms\n\nusage: madang COMMAND [OPTIONS]\n\n",
          to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].text);
    fputs("\nmadang COMMAND --help tells more; madang --version says which version this is.\n", to);
}

int main(int argc, char **argv)
{
    const char *names[COMMANDS + 1] = {0};
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("madang %s\n", madang_version());
        return EXIT_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
        names[i] = commands[i].name;
    }
    const char *near = nearest(argv[1], names);
    return usage_error("there is no command '%s'%s%s%s (madang --help lists them)", argv[1],
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
