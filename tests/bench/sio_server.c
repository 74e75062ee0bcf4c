/* The server side of tests/bench/socketio: `go` is emitted to everyone, `echo` is acknowledged. */
#include <madang/socketio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_go(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                  void *arg)
{
    char args[256];
    struct madang_broadcast all = madang_sio_in(io, "/");
    (void)socket;
    (void)arg;
    snprintf(args, sizeof args, "%.*s", (int)event->args_len, event->args);
    if (madang_broadcast_emit(&all, &(struct madang_emit){.name = "b", .args = args}) < 0)
        fprintf(stderr, "not sent\n");
}

static void on_echo(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                    void *arg)
{
    char args[256];
    (void)socket;
    (void)arg;
    snprintf(args, sizeof args, "%.*s", (int)event->args_len, event->args);
    if (madang_ack(io, event->ack, &(struct madang_emit){.args = args}) < 0)
        fprintf(stderr, "not acknowledged\n");
}

static void must(int err)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s\n", madang_strerror(err));
    exit(2);
}

int main(void)
{
    struct madang_config *config;
    struct madang *server;
    struct madang_sio_options options;
    struct madang_sio *io;
    must(madang_config_new(&config));
    must(madang_config_set(config, "listen", "127.0.0.1:0"));
    must(madang_config_set(config, "workers", "1"));
    must(madang_config_set(config, "signals", "true"));
    must(madang_config_set(config, "log_level", "warn"));
    must(madang_config_set(config, "shutdown_grace_s", "1"));
    must(madang_new(config, &server));
    madang_config_free(config);
    madang_sio_options_init(&options);
    options.keep_handshake = false;
    must(madang_sio_new(server, "/socket.io", &options, &io));
    struct madang_sio_namespace *ns = madang_sio_of(io, "/");
    must(madang_sio_on(ns, "go", on_go, NULL));
    must(madang_sio_on(ns, "echo", on_echo, NULL));
    must(madang_start(server));
    printf("listening on port %d\n", madang_port(server));
    fflush(stdout);
    must(madang_run(server));
    madang_free(server);
    return 0;
}
