/* What is left of the public interface when the other targets have had theirs: middleware chains,
 * catch-all listeners, what a socket says of itself, operators and flags, headers of responses. */
#include "tests/targets/target.h"

enum { ARGS_MAX = 4096, LONG_TEXT = 50000 };

static void emit(struct madang_sio *io, madang_socket socket, const char *name, const char *args)
{
    (void)!madang_socket_emit(io, socket, &(struct madang_emit){.name = name, .args = args});
}

static void answer(struct madang_sio *io, const struct madang_event *event, const char *args)
{
    (void)!madang_ack(io, event->ack, &(struct madang_emit){.args = args});
}

/* ---- what a socket says of itself ---- */

HANDLER(on_self)
{
    char args[ARGS_MAX];
    UNUSED;
    snprintf(args, sizeof args,
             "[{\"id\":\"%s\",\"ns\":\"%s\",\"transport\":\"%s\",\"connected\":%s,"
             "\"found\":%s}]",
             madang_socket_id(io, socket), madang_socket_namespace(io, socket),
             madang_socket_transport(io, socket),
             madang_socket_connected(io, socket) ? "true" : "false",
             madang_socket_by_id(io, madang_socket_id(io, socket)) == socket ? "true" : "false");
    answer(io, event, args);
}

/* ---- operators and flags ---- */

HANDLER(on_broadcast)
{
    UNUSED;
    const struct madang_broadcast others = madang_socket_broadcast(io, socket);
    (void)!madang_broadcast_emit(&others, &(struct madang_emit){.name = "said", .args = "[1]"});
    answer(io, event, "[]");
}

/* To the sockets of the asking one's worker. */
HANDLER(on_local)
{
    UNUSED;
    const struct madang_broadcast all = madang_sio_in(io, madang_socket_namespace(io, socket));
    (void)!madang_broadcast_emit(
        &all, &(struct madang_emit){.name = "said", .args = "[2]", .flags = MADANG_LOCAL});
    answer(io, event, "[]");
}

HANDLER(on_join)
{
    UNUSED;
    (void)!madang_socket_join(io, socket, "red");
    answer(io, event, "[]");
}

/* The same arguments and attachments to everyone in "red". */
HANDLER(on_binary)
{
    char args[ARGS_MAX];
    struct madang_broadcast red = madang_sio_in(io, "/");
    UNUSED;
    snprintf(args, sizeof args, "%.*s", (int)event->args_len, event->args);
    madang_broadcast_to(&red, "red");
    (void)!madang_broadcast_emit(
        &red, &(struct madang_emit){.name = "binary",
                                    .args = args,
                                    .attachments = event->attachments,
                                    .attachment_count = event->attachment_count});
}

static void emit_long(struct madang_sio *io, madang_socket socket, unsigned flags)
{
    char *args = malloc(LONG_TEXT + 8);
    if (!args)
        return;
    memset(args, 'x', LONG_TEXT + 4);
    memcpy(args, "[\"", 2);
    memcpy(args + 2 + LONG_TEXT, "\"]", 3);
    (void)!madang_socket_emit(io, socket,
                              &(struct madang_emit){.name = "long", .args = args, .flags = flags});
    free(args);
}

HANDLER(on_plain_long)
{
    UNUSED;
    emit_long(io, socket, 0);
}

HANDLER(on_compressed_long)
{
    UNUSED;
    emit_long(io, socket, MADANG_COMPRESS);
}

/* ---- the end, and answers that do not come ---- */

HANDLER(on_leave)
{
    UNUSED;
    (void)!madang_socket_disconnect(io, socket, false);
}

HANDLER(on_leave_all)
{
    UNUSED;
    (void)!madang_socket_disconnect(io, socket, true);
}

static void on_answer(struct madang_sio *io, madang_socket socket, int err,
                      const struct madang_event *event, void *arg)
{
    char args[ARGS_MAX];
    (void)arg;
    snprintf(args, sizeof args, "[\"%s\",%.*s]", err < 0 ? madang_strerror(err) : "",
             event ? (int)event->args_len : 2, event ? event->args : "[]");
    emit(io, socket, "heard", args);
}

HANDLER(on_ask_me)
{
    UNUSED;
    (void)!madang_socket_emit_ack(io, socket, &(struct madang_emit){.name = "question"}, 100,
                                  on_answer, NULL);
}

/* ---- middleware ---- */

struct later {
    struct madang_sio *io;
    madang_socket socket;
};

static void go_on(struct madang_sio *io, madang_socket socket, void *arg)
{
    (void)arg;
    (void)!madang_socket_next(io, socket);
}

static void on_time(struct madang *server, void *arg)
{
    struct later *l = arg;
    (void)server;
    (void)!madang_socket_post(l->io, l->socket, go_on, NULL);
    free(l);
}

/* First in the chain: asks somebody, say, and goes on later. */
static int wait_a_moment(struct madang_sio *io, madang_socket socket, void *arg)
{
    struct later *l = malloc(sizeof *l);
    (void)arg;
    (void)!madang_socket_set_data(io, socket, "[\"first\"]");
    if (!l)
        return 0;
    *l = (struct later){io, socket};
    if (madang_after(madang_sio_server(io), 20, on_time, l) < 0) {
        free(l);
        return 0;
    }
    return MADANG_LATER;
}

/* Second: sees what the first has left, and refuses whoever says so. */
static int decide(struct madang_sio *io, madang_socket socket, void *arg)
{
    (void)arg;
    if (strcmp(madang_socket_auth(io, socket), "{\"bad\":true}") == 0)
        return madang_socket_refuse(io, socket, "not you", "{\"code\":7,\"why\":[\"bad\"]}");
    if (strcmp(madang_socket_data(io, socket), "[\"first\"]") == 0)
        (void)!madang_socket_set_data(io, socket, "[\"first\",\"second\"]");
    return 0;
}

static void tell_data(struct madang_sio *io, madang_socket socket, void *arg)
{
    char args[ARGS_MAX];
    (void)arg;
    snprintf(args, sizeof args, "[%.1000s]", madang_socket_data(io, socket));
    emit(io, socket, "data", args);
}

/* ---- catch-all listeners ---- */

HANDLER(on_any)
{
    char args[ARGS_MAX];
    UNUSED;
    snprintf(args, sizeof args, "[\"%s\",%.*s]", event->name, (int)event->args_len, event->args);
    emit(io, socket, "any", args);
}

/* Counts, in the socket's own pointer. */
HANDLER(on_any_outgoing)
{
    UNUSED;
    const uintptr_t n = (uintptr_t)madang_socket_user(io, socket);
    if (strcmp(event->name, "any") == 0)
        madang_socket_set_user(io, socket, (void *)(n + 1), NULL);
}

HANDLER(on_count)
{
    char args[32];
    UNUSED;
    snprintf(args, sizeof args, "[%u]", (unsigned)(uintptr_t)madang_socket_user(io, socket));
    answer(io, event, args);
}

/* ---- headers of responses ---- */

static void add_headers(struct madang *server, struct madang_request *request, bool initial,
                        void *arg)
{
    (void)server;
    (void)arg;
    if (initial)
        (void)!madang_request_add_header(request, "X-Initial", "yes");
    (void)!madang_request_add_header(request, "X-Every", "yes");
}

static const struct {
    const char *ns, *name;
    madang_sio_event_fn fn;
} handlers[] = {
    {"/", "self", on_self},
    {"/", "broadcast", on_broadcast},
    {"/", "local", on_local},
    {"/", "join", on_join},
    {"/", "binary", on_binary},
    {"/", "plain long", on_plain_long},
    {"/", "compressed long", on_compressed_long},
    {"/", "leave", on_leave},
    {"/", "leave all", on_leave_all},
    {"/", "ask me", on_ask_me},
    {"/other", "self", on_self},
    {"/watch", "count", on_count},
};

int main(int argc, char **argv)
{
    struct target_options o = {0};
    struct madang_sio *io;
    madang_sio_options_init(&o.sio);
    o.sio.on_headers = add_headers;
    target_parse(argc, argv, &o);
    struct madang *server = target_server(&o);
    target_must(madang_sio_new(server, "/socket.io", &o.sio, &io));
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
        target_must(
            madang_sio_on(target_of(io, handlers[i].ns), handlers[i].name, handlers[i].fn, NULL));
    target_must(madang_sio_use(target_of(io, "/chain"), wait_a_moment, NULL));
    target_must(madang_sio_use(target_of(io, "/chain"), decide, NULL));
    target_must(madang_sio_on_connection(target_of(io, "/chain"), tell_data, NULL));
    target_must(madang_sio_on_any(target_of(io, "/watch"), on_any, NULL));
    target_must(madang_sio_on_any_outgoing(target_of(io, "/watch"), on_any_outgoing, NULL));
    return target_run(server);
}
