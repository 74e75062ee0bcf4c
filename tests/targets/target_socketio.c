/* What the suite of the Socket.IO protocol asks of its server: on "/" and "/custom" `auth` with
 * the handshake's auth, `message` comes back, `message-with-ack` is acknowledged. */
#include "tests/targets/target.h"

/* The suite waits for CONNECT's answer, and then begins to wait for `auth`: of two frames in one
 * segment it would see the first alone. */
enum { AUTH_LATER_MS = 10 };

struct later {
    struct madang_sio *io;
    madang_socket socket;
};

static void emit_auth(struct madang_sio *io, madang_socket socket, void *arg)
{
    char args[2048];
    (void)arg;
    snprintf(args, sizeof args, "[%s]", madang_socket_auth(io, socket));
    (void)!madang_socket_emit(io, socket, &(struct madang_emit){.name = "auth", .args = args});
}

static void on_time(struct madang *server, void *arg)
{
    struct later *l = arg;
    (void)server;
    (void)!madang_socket_post(l->io, l->socket, emit_auth, NULL);
    free(l);
}

static void on_connection(struct madang_sio *io, madang_socket socket, void *arg)
{
    struct later *l = malloc(sizeof *l);
    (void)arg;
    if (!l)
        return;
    *l = (struct later){io, socket};
    if (madang_after(madang_sio_server(io), AUTH_LATER_MS, on_time, l) < 0)
        free(l);
}

/* The same arguments under another name, or as the answer. */
static char *args_of(const struct madang_event *event)
{
    char *args = malloc(event->args_len + 1);
    if (!args)
        return NULL;
    memcpy(args, event->args, event->args_len);
    args[event->args_len] = '\0';
    return args;
}

static void on_message(struct madang_sio *io, madang_socket socket,
                       const struct madang_event *event, void *arg)
{
    char *args = args_of(event);
    (void)arg;
    const struct madang_emit back = {.name = "message-back",
                                     .args = args,
                                     .attachments = event->attachments,
                                     .attachment_count = event->attachment_count};
    if (args)
        (void)!madang_socket_emit(io, socket, &back);
    free(args);
}

static void on_message_with_ack(struct madang_sio *io, madang_socket socket,
                                const struct madang_event *event, void *arg)
{
    char *args = args_of(event);
    (void)arg;
    (void)socket;
    const struct madang_emit answer = {.args = args,
                                       .attachments = event->attachments,
                                       .attachment_count = event->attachment_count};
    if (args)
        (void)!madang_ack(io, event->ack, &answer);
    free(args);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"/", "/custom"};
    struct target_options o = {0};
    struct madang_sio *io;
    madang_sio_options_init(&o.sio);
    target_parse(argc, argv, &o);
    struct madang *server = target_server(&o);
    target_must(madang_sio_new(server, "/socket.io", &o.sio, &io));
    for (int i = 0; i < 2; i++) {
        struct madang_sio_namespace *ns = target_of(io, names[i]);
        target_must(madang_sio_on_connection(ns, on_connection, NULL));
        target_must(madang_sio_on(ns, "message", on_message, NULL));
        target_must(madang_sio_on(ns, "message-with-ack", on_message_with_ack, NULL));
    }
    return target_run(server);
}
