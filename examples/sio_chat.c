/* A chat for Socket.IO clients: nicknames, who is typing, how many are here.
 *
 *     socket.emit("nick", "ann", ok => ...)       socket.emit("say", "hi")
 *     socket.emit("typing", true)
 *     socket.on("said", (nick, text) => ...)      socket.on("typing", (nick, yes) => ...)
 *     socket.on("here", count => ...)
 *
 *     sio_chat --port 8080 */
#include "options.h"
#include <madang/socketio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NICK_MAX = 33, TEXT_MAX = 2000 };

/* The socket's data is its nickname as a JSON string; {} while it has none. */
static const char *nick_of(struct madang_sio *io, madang_socket socket)
{
    const char *data = madang_socket_data(io, socket);
    return data[0] == '"' ? data : NULL;
}

static void tell_count(struct madang_sio *io, const struct madang_socket_info *sockets,
                       size_t count, void *arg)
{
    struct madang_broadcast all = madang_sio_in(io, "/");
    size_t named = 0;
    char args[32];
    (void)arg;
    for (size_t i = 0; i < count; i++)
        named += sockets[i].data[0] == '"';
    snprintf(args, sizeof args, "[%zu]", named);
    (void)madang_broadcast_emit(&all, &(struct madang_emit){.name = "here", .args = args});
}

static void count_again(struct madang_sio *io)
{
    struct madang_broadcast all = madang_sio_in(io, "/");
    (void)madang_broadcast_fetch_sockets(&all, tell_count, NULL);
}

static void on_nick(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                    void *arg)
{
    const char *json;
    char nick[NICK_MAX], data[8 * NICK_MAX];
    size_t len;
    (void)arg;
    bool good = madang_event_text(event, 0, nick, sizeof nick) > 0 &&
                madang_event_arg(event, 0, &json, &len) && len < sizeof data;
    if (good) {
        snprintf(data, sizeof data, "%.*s", (int)len, json);
        good = madang_socket_set_data(io, socket, data) == 0;
    }
    (void)madang_ack(io, event->ack, &(struct madang_emit){.args = good ? "[true]" : "[false]"});
    if (good)
        count_again(io);
}

/* ["nick", argument] to everyone else, or to everyone. */
static void pass_on(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                    const char *name, bool also_me, unsigned flags)
{
    const char *json, *nick = nick_of(io, socket);
    char args[8 * NICK_MAX + TEXT_MAX + 8];
    size_t len;
    if (!nick || !madang_event_arg(event, 0, &json, &len) || len > TEXT_MAX)
        return;
    snprintf(args, sizeof args, "[%s,%.*s]", nick, (int)len, json);
    struct madang_broadcast to = madang_sio_in(io, "/");
    if (!also_me)
        to.sender = socket;
    (void)madang_broadcast_emit(&to,
                                &(struct madang_emit){.name = name, .args = args, .flags = flags});
}

static void on_say(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                   void *arg)
{
    (void)arg;
    pass_on(io, socket, event, "said", true, 0);
}

static void on_typing(struct madang_sio *io, madang_socket socket, const struct madang_event *event,
                      void *arg)
{
    (void)arg;
    pass_on(io, socket, event, "typing", false, MADANG_VOLATILE);
}

static void on_disconnect(struct madang_sio *io, madang_socket socket, const char *reason,
                          void *arg)
{
    (void)socket;
    (void)reason;
    (void)arg;
    count_again(io);
}

int main(int argc, char **argv)
{
    struct madang *server = example_server(argc, argv, "allowed_origins", "*");
    struct madang_sio_options options;
    struct madang_sio *io;
    madang_sio_options_init(&options);
    options.recovery = true;
    if (madang_sio_new(server, "/socket.io", &options, &io) < 0)
        return 2;
    struct madang_sio_namespace *chat = madang_sio_of(io, "/");
    madang_sio_on(chat, "nick", on_nick, NULL);
    madang_sio_on(chat, "say", on_say, NULL);
    madang_sio_on(chat, "typing", on_typing, NULL);
    madang_sio_on_disconnect(chat, on_disconnect, NULL);
    return example_run(server);
}
