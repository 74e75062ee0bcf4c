/* What the subcommands share. They use the public interface alone. */
#ifndef MADANG_CMD_H
#define MADANG_CMD_H

#include <madang/madang.h>
#include <stdio.h>

/* Exit codes (sysexits.h has no better fitting ones). */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* it was tried and did not work */
    EXIT_USAGE = 2,  /* the command line or the configuration is wrong */
};

struct command {
    const char *name, *text;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
};

int cmd_bench(int argc, char **argv);
int cmd_cat(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_pub(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_sub(int argc, char **argv);

/* "madang: ..." on standard error; returns EXIT_USAGE. */
int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Reads a YAML file of "name: value" and "name: [a, b]", each name once, into the configuration. 0,
 * or EXIT_USAGE after a message with file and line. */
int config_read(struct madang_config *config, const char *path);
/* Which parameter this is, '-' counting as '_': an index for madang_param, or -1. */
int param_find(const char *name);

/* The most similar of the names (NULL-ended), for "did you mean"; NULL when none is near. */
const char *nearest(const char *word, const char *const *names);

#endif
