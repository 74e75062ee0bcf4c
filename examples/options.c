/* The part of the examples that is the same in all. */
#include "options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static void set(struct madang_config *config, const char *name, const char *value)
{
    if (madang_config_set(config, name, value) < 0)
        stop("option", madang_config_error(config));
}

struct madang *example_server(int argc, char **argv, const char *parameter, const char *value)
{
    struct madang_config *config;
    struct madang *server;
    char listen[64] = "127.0.0.1:8080";
    if (madang_config_new(&config) < 0)
        stop(argv[0], "out of memory");
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || strncmp(argv[i], "--", 2) != 0)
            stop(argv[0], "usage: --port P [--workers N]");
        if (strcmp(argv[i], "--port") == 0)
            snprintf(listen, sizeof listen, "127.0.0.1:%s", argv[i + 1]);
        else
            set(config, argv[i] + 2, argv[i + 1]);
    }
    set(config, "listen", listen);
    set(config, "signals", "true");
    set(config, "log_level", "warn");
    if (parameter)
        set(config, parameter, value);
    if (madang_new(config, &server) < 0)
        stop(argv[0], server ? madang_error_text(server) : "out of memory");
    madang_config_free(config);
    return server;
}

int example_run(struct madang *server)
{
    int err = madang_start(server);
    if (err == 0) {
        printf("listening on port %d\n", madang_port(server));
        fflush(stdout);
        err = madang_run(server);
    }
    if (err < 0)
        fprintf(stderr, "%s\n", madang_error_text(server));
    madang_free(server);
    return err < 0;
}
