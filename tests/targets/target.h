/* What the Socket.IO and Engine.IO targets have in common: options and the server. Included by
 * each of them once. */
#ifndef MDG_TARGET_H
#define MDG_TARGET_H

#include <madang/socketio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A handler of an event, and what keeps the compiler quiet about what it does not use. */
#define HANDLER(fn)                                                                                \
    static void fn(struct madang_sio *io, madang_socket socket, const struct madang_event *event,  \
                   void *arg)
#define UNUSED                                                                                     \
    (void)io;                                                                                      \
    (void)socket;                                                                                  \
    (void)event;                                                                                   \
    (void)arg

struct target_options {
    const char *port, *workers, *store, *state;
    struct madang_sio_options sio;
    bool greet;
};

static inline void target_stop(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

/* --port P [--workers N] [--ping-interval MS] [--ping-timeout MS] [--max-payload N] [--greet]
 * [--store FILE --state FOLDER] [--cookie NAME] [--transports polling|websocket]
 * [--upgrades 0|1] [--eio3 0|1] */
static inline void target_parse(int argc, char **argv, struct target_options *o)
{
    o->port = "0";
    o->workers = "1";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--greet") == 0) {
            o->greet = true;
            continue;
        }
        if (!value)
            target_stop(argv[0], "usage: --port P [--workers N] [--ping-interval MS] "
                                 "[--ping-timeout MS] [--max-payload N]");
        if (strcmp(argv[i], "--port") == 0)
            o->port = value;
        else if (strcmp(argv[i], "--workers") == 0)
            o->workers = value;
        else if (strcmp(argv[i], "--store") == 0)
            o->store = value;
        else if (strcmp(argv[i], "--state") == 0)
            o->state = value;
        else if (strcmp(argv[i], "--ping-interval") == 0)
            o->sio.ping_interval_ms = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--ping-timeout") == 0)
            o->sio.ping_timeout_ms = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--max-payload") == 0)
            o->sio.max_payload = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--upgrade-timeout") == 0)
            o->sio.upgrade_timeout_ms = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--cookie") == 0)
            o->sio.cookie = value;
        else if (strcmp(argv[i], "--transports") == 0)
            o->sio.polling = !(o->sio.websocket = strcmp(value, "websocket") == 0);
        else if (strcmp(argv[i], "--upgrades") == 0)
            o->sio.allow_upgrades = value[0] == '1';
        else if (strcmp(argv[i], "--eio3") == 0)
            o->sio.allow_eio3 = value[0] == '1';
        else if (strcmp(argv[i], "--connect-timeout") == 0)
            o->sio.connect_timeout_ms = (uint32_t)strtoul(value, NULL, 10);
        else
            target_stop(argv[i], "no such option");
        i++;
    }
}

static inline void target_set(struct madang_config *config, const char *name, const char *value)
{
    if (madang_config_set(config, name, value) < 0)
        target_stop(name, madang_config_error(config));
}

static inline struct madang *target_server(const struct target_options *o)
{
    struct madang_config *config;
    struct madang *server;
    char listen[64];
    if (madang_config_new(&config) < 0)
        target_stop("target", "out of memory");
    snprintf(listen, sizeof listen, "127.0.0.1:%s", o->port);
    target_set(config, "listen", listen);
    target_set(config, "workers", o->workers);
    target_set(config, "allowed_origins", "*");
    target_set(config, "signals", "true");
    target_set(config, "log_level", "warn");
    target_set(config, "shutdown_grace_s", "1");
    if (o->store)
        target_set(config, "store", o->store);
    if (o->state)
        target_set(config, "state_dir", o->state);
    if (madang_new(config, &server) < 0)
        target_stop("target", server ? madang_error_text(server) : "out of memory");
    madang_config_free(config);
    return server;
}

static inline int target_run(struct madang *server)
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

static inline struct madang_sio_namespace *target_of(struct madang_sio *io, const char *name)
{
    struct madang_sio_namespace *ns = madang_sio_of(io, name);
    if (!ns)
        target_stop(name, "out of memory");
    return ns;
}

static inline void target_must(int err)
{
    if (err < 0)
        target_stop("target", madang_strerror(err));
}

#endif
