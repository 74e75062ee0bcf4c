/* What the tests of broadcasting, acknowledgements and recovery ask for. Each event does one thing
 * of the public interface with what its arguments say; the answer is its acknowledgement. */
#include "tests/targets/target.h"

enum { ARGS_MAX = 8192, ROOMS_MAX = 8, NAME_MAX_ = 128 };

static void answer(struct madang_sio *io, struct madang_ack ack, const char *args)
{
    (void)!madang_ack(io, ack, &(struct madang_emit){.args = args});
}

HANDLER(on_join)
{
    char room[NAME_MAX_] = "";
    UNUSED;
    (void)!madang_event_text(event, 0, room, sizeof room);
    answer(io, event->ack, madang_socket_join(io, socket, room) == 0 ? "[true]" : "[false]");
}

HANDLER(on_leave)
{
    char room[NAME_MAX_] = "";
    UNUSED;
    (void)!madang_event_text(event, 0, room, sizeof room);
    (void)!madang_socket_leave(io, socket, room);
    answer(io, event->ack, "[true]");
}

/* Texts of a JSON array, as names of rooms. */
struct names {
    char text[ROOMS_MAX][NAME_MAX_];
    size_t count;
};

static void read_names(const struct madang_event *event, const char *member, struct names *out)
{
    const char *json;
    size_t len;
    out->count = 0;
    if (!madang_event_member(event, 0, member, &json, &len))
        return;
    const struct madang_event list = {.args = json, .args_len = len};
    while (out->count < ROOMS_MAX &&
           madang_event_text(&list, out->count, out->text[out->count], NAME_MAX_) >= 0)
        out->count++;
}

static bool flag(const struct madang_event *event, const char *member)
{
    const char *json;
    size_t len;
    return madang_event_member(event, 0, member, &json, &len) && len == 4 &&
           memcmp(json, "true", 4) == 0;
}

/* {to: [...], except: [...], broadcast, volatile, args: [...], timeout} */
struct order {
    struct names to, except;
    struct madang_broadcast target;
    char args[ARGS_MAX];
    unsigned flags;
};

static void read_order(struct madang_sio *io, madang_socket socket,
                       const struct madang_event *event, struct order *o)
{
    const char *json;
    size_t len;
    read_names(event, "to", &o->to);
    read_names(event, "except", &o->except);
    o->target = madang_sio_in(io, "/");
    if (flag(event, "broadcast"))
        o->target.sender = socket;
    for (size_t i = 0; i < o->to.count; i++)
        madang_broadcast_to(&o->target, o->to.text[i]);
    for (size_t i = 0; i < o->except.count; i++)
        madang_broadcast_except(&o->target, o->except.text[i]);
    o->flags = flag(event, "volatile") ? MADANG_VOLATILE : 0;
    snprintf(o->args, sizeof o->args, "[]");
    if (madang_event_member(event, 0, "args", &json, &len) && len < sizeof o->args)
        snprintf(o->args, sizeof o->args, "%.*s", (int)len, json);
}

HANDLER(on_emit)
{
    struct order o;
    UNUSED;
    read_order(io, socket, event, &o);
    int err = madang_broadcast_emit(
        &o.target, &(struct madang_emit){.name = "said", .args = o.args, .flags = o.flags});
    answer(io, event->ack, err == 0 ? "[true]" : "[false]");
}

HANDLER(on_private)
{
    struct order o;
    UNUSED;
    read_order(io, socket, event, &o);
    (void)!madang_socket_emit(
        io, socket, &(struct madang_emit){.name = "said", .args = o.args, .flags = o.flags});
}

struct pending {
    struct madang_ack ack;
};

static void on_answers(struct madang_sio *io, int err, const struct madang_answer *answers,
                       size_t count, size_t expected, void *arg)
{
    struct pending *p = arg;
    char args[ARGS_MAX];
    size_t at = (size_t)snprintf(args, sizeof args, "[%d,%zu,[", err, expected);
    for (size_t i = 0; i < count && at < sizeof args - 200; i++)
        at += (size_t)snprintf(args + at, sizeof args - at, "%s%.*s", i ? "," : "",
                               (int)answers[i].args_len, answers[i].args);
    snprintf(args + at, sizeof args - at, "]]");
    answer(io, p->ack, args);
    free(p);
}

HANDLER(on_ask)
{
    struct order o;
    UNUSED;
    struct pending *p = malloc(sizeof *p);
    if (!p)
        return;
    p->ack = event->ack;
    read_order(io, socket, event, &o);
    if (madang_broadcast_emit_ack(&o.target, &(struct madang_emit){.name = "asked", .args = o.args},
                                  500, on_answers, p) < 0)
        free(p);
}

static void on_sockets(struct madang_sio *io, const struct madang_socket_info *sockets,
                       size_t count, void *arg)
{
    struct pending *p = arg;
    char args[ARGS_MAX];
    size_t at = (size_t)snprintf(args, sizeof args, "[[");
    for (size_t i = 0; i < count && at < sizeof args - 300; i++)
        at += (size_t)snprintf(args + at, sizeof args - at, "%s{\"id\":\"%s\",\"data\":%.200s}",
                               i ? "," : "", sockets[i].id, sockets[i].data);
    snprintf(args + at, sizeof args - at, "]]");
    answer(io, p->ack, args);
    free(p);
}

HANDLER(on_fetch)
{
    struct order o;
    UNUSED;
    struct pending *p = malloc(sizeof *p);
    if (!p)
        return;
    p->ack = event->ack;
    read_order(io, socket, event, &o);
    if (madang_broadcast_fetch_sockets(&o.target, on_sockets, p) < 0)
        free(p);
}

HANDLER(on_all_join)
{
    struct order o;
    UNUSED;
    read_order(io, socket, event, &o);
    (void)!madang_broadcast_sockets_join(&o.target, "all");
    answer(io, event->ack, "[true]");
}

HANDLER(on_all_leave)
{
    struct order o;
    UNUSED;
    read_order(io, socket, event, &o);
    (void)!madang_broadcast_sockets_leave(&o.target, "all");
    answer(io, event->ack, "[true]");
}

HANDLER(on_all_out)
{
    struct order o;
    UNUSED;
    read_order(io, socket, event, &o);
    (void)!madang_broadcast_disconnect_sockets(&o.target, flag(event, "close"));
}

HANDLER(on_set_data)
{
    const char *json;
    size_t len;
    char data[1024];
    UNUSED;
    if (!madang_event_arg(event, 0, &json, &len) || len >= sizeof data)
        return;
    snprintf(data, sizeof data, "%.*s", (int)len, json);
    (void)!madang_socket_set_data(io, socket, data);
    answer(io, event->ack, "[true]");
}

/* [data, rooms, recovered] */
HANDLER(on_state)
{
    char args[ARGS_MAX], room[NAME_MAX_];
    UNUSED;
    size_t at = (size_t)snprintf(args, sizeof args, "[%.1000s,[", madang_socket_data(io, socket));
    for (size_t i = 0; madang_socket_room(io, socket, i, room, sizeof room); i++)
        at += (size_t)snprintf(args + at, sizeof args - at, "%s\"%s\"", i ? "," : "", room);
    snprintf(args + at, sizeof args - at, "],%s]",
             madang_socket_recovered(io, socket) ? "true" : "false");
    answer(io, event->ack, args);
}

/* Tells the room "watch" why somebody went, and which rooms he was in then. */
static void on_disconnect(struct madang_sio *io, madang_socket socket, const char *reason,
                          void *arg)
{
    char args[ARGS_MAX];
    struct madang_broadcast watch = madang_sio_in(io, "/");
    (void)arg;
    snprintf(args, sizeof args, "[\"%s\",%s]", reason,
             madang_socket_in(io, socket, "seen") ? "true" : "false");
    madang_broadcast_to(&watch, "watch");
    (void)!madang_broadcast_emit(&watch, &(struct madang_emit){.name = "gone", .args = args});
}

/* A member of another protocol: whoever opens the WebSocket /red is in the room "red". */
static void enter_red(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    (void)!madang_join(server, peer, "red");
}

static const struct madang_ws_handlers red = {.on_open = enter_red};

static const struct {
    const char *name;
    madang_sio_event_fn fn;
} handlers[] = {
    {"join", on_join},         {"leave", on_leave},
    {"emit", on_emit},         {"private", on_private},
    {"ask", on_ask},           {"fetch", on_fetch},
    {"all_join", on_all_join}, {"all_leave", on_all_leave},
    {"all_out", on_all_out},   {"set_data", on_set_data},
    {"state", on_state},
};

int main(int argc, char **argv)
{
    static const char *const names[] = {"/", "/dynamic-*"};
    struct target_options o = {0};
    struct madang_sio *io;
    madang_sio_options_init(&o.sio);
    o.sio.recovery = true;
    o.sio.recovery_ring = 64;
    target_parse(argc, argv, &o);
    struct madang *server = target_server(&o);
    target_must(madang_sio_new(server, "/socket.io", &o.sio, &io));
    target_must(madang_ws(server, "/red", &red, NULL));
    for (size_t n = 0; n < 2; n++) {
        struct madang_sio_namespace *ns = target_of(io, names[n]);
        target_must(madang_sio_on_disconnect(ns, on_disconnect, NULL));
        for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
            target_must(madang_sio_on(ns, handlers[i].name, handlers[i].fn, NULL));
    }
    return target_run(server);
}
