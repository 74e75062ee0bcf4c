/* The application that the published Socket.IO client's own tests run against. */
#include "tests/targets/target.h"
#include <time.h>

static void emit(struct madang_sio *io, madang_socket socket, const char *name, const char *args)
{
    (void)!madang_socket_emit(io, socket, &(struct madang_emit){.name = name, .args = args});
}

static void emit_bytes(struct madang_sio *io, madang_socket socket, const char *name,
                       const char *text)
{
    const struct madang_bytes bytes = {text, strlen(text)};
    (void)!madang_socket_emit(io, socket,
                              &(struct madang_emit){.name = name,
                                                    .args = "[{\"_placeholder\":true,\"num\":0}]",
                                                    .attachments = &bytes,
                                                    .attachment_count = 1});
}

static void answer(struct madang_sio *io, const struct madang_event *event, const char *args)
{
    (void)!madang_ack(io, event->ack, &(struct madang_emit){.args = args});
}

HANDLER(on_hi)
{
    UNUSED;
    emit(io, socket, "hi", NULL);
}

HANDLER(on_echo)
{
    const char *json;
    size_t len;
    char args[4096];
    UNUSED;
    if (!madang_event_arg(event, 0, &json, &len) || len > sizeof args - 3) {
        answer(io, event, "[]");
        return;
    }
    snprintf(args, sizeof args, "[%.*s]", (int)len, json);
    (void)!madang_ack(io, event->ack,
                      &(struct madang_emit){.args = args,
                                            .attachments = event->attachments,
                                            .attachment_count = event->attachment_count});
}

static void on_acked(struct madang_sio *io, madang_socket socket, int err,
                     const struct madang_event *event, void *arg)
{
    const char *json;
    size_t len;
    (void)arg;
    if (err < 0 || !madang_event_arg(event, 0, &json, &len) || len != 1 || json[0] != '5')
        return;
    if (madang_event_member(event, 1, "test", &json, &len) && len == 4 &&
        memcmp(json, "true", 4) == 0)
        emit(io, socket, "got it", NULL);
}

HANDLER(on_ack)
{
    UNUSED;
    (void)!madang_socket_emit_ack(io, socket, &(struct madang_emit){.name = "ack"}, 0, on_acked,
                                  NULL);
}

static void iso_date(char out[40])
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &tm))
        abort();
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000u);
}

HANDLER(on_get_ack_date)
{
    char date[40], args[64];
    UNUSED;
    iso_date(date);
    snprintf(args, sizeof args, "[\"%s\"]", date);
    answer(io, event, args);
}

HANDLER(on_get_date)
{
    char date[40], args[64];
    UNUSED;
    iso_date(date);
    snprintf(args, sizeof args, "[\"%s\"]", date);
    emit(io, socket, "takeDate", args);
}

HANDLER(on_get_date_obj)
{
    char date[40], args[64];
    UNUSED;
    iso_date(date);
    snprintf(args, sizeof args, "[{\"date\":\"%s\"}]", date);
    emit(io, socket, "takeDateObj", args);
}

HANDLER(on_get_utf8)
{
    UNUSED;
    emit(io, socket, "takeUtf8", "[\"てすと\"]");
    emit(io, socket, "takeUtf8", "[\"Я Б Г Д Ж Й\"]");
    emit(io, socket, "takeUtf8", "[\"Ä ä Ü ü ß\"]");
    emit(io, socket, "takeUtf8", "[\"utf8 — string\"]");
    emit(io, socket, "takeUtf8", "[\"utf8 — string\"]");
}

HANDLER(on_false)
{
    UNUSED;
    emit(io, socket, "false", "[false]");
}

HANDLER(on_doge)
{
    UNUSED;
    emit_bytes(io, socket, "doge", "asdfasdf");
}

HANDLER(on_getbin)
{
    UNUSED;
    emit_bytes(io, socket, "takebin", "asdfasdf");
}

static bool is_binary(const struct madang_event *event)
{
    struct madang_bytes bytes;
    return madang_event_binary(event, 0, &bytes);
}

/* {hello: "lol", message: <binary>, goodbye: "gotcha"} */
static bool is_mixed(const struct madang_event *event)
{
    const char *json;
    size_t len;
    return event->attachment_count == 1 && madang_event_member(event, 0, "hello", &json, &len) &&
           len == 5 && memcmp(json, "\"lol\"", 5) == 0 &&
           madang_event_member(event, 0, "message", &json, &len) && json[0] == '{' &&
           madang_event_member(event, 0, "goodbye", &json, &len) && len == 8 &&
           memcmp(json, "\"gotcha\"", 8) == 0;
}

/* What has come so far of a row of events: the number of the last one. */
static void *step(struct madang_sio *io, madang_socket socket, uintptr_t from, uintptr_t to)
{
    uintptr_t at = (uintptr_t)madang_socket_user(io, socket);
    if (at == from)
        madang_socket_set_user(io, socket, (void *)to, NULL);
    return at == from ? (void *)1 : NULL;
}

HANDLER(on_buffa)
{
    UNUSED;
    if (is_binary(event))
        emit(io, socket, "buffack", NULL);
}

HANDLER(on_jsonbuff)
{
    UNUSED;
    if (is_mixed(event))
        emit(io, socket, "jsonbuff-ack", NULL);
}

HANDLER(on_abuff1)
{
    UNUSED;
    if (is_binary(event))
        step(io, socket, 0, 1);
}

HANDLER(on_abuff2)
{
    UNUSED;
    if (step(io, socket, 1, 0))
        emit(io, socket, "abuff2-ack", NULL);
}

HANDLER(on_blob)
{
    UNUSED;
    if (is_binary(event))
        emit(io, socket, "back", NULL);
}

HANDLER(on_jsonblob)
{
    UNUSED;
    if (is_mixed(event))
        emit(io, socket, "jsonblob-ack", NULL);
}

HANDLER(on_blob1)
{
    UNUSED;
    if (is_binary(event))
        step(io, socket, 0, 1);
}

HANDLER(on_blob2)
{
    UNUSED;
    step(io, socket, 1, 2);
}

HANDLER(on_blob3)
{
    UNUSED;
    if (is_binary(event) && step(io, socket, 2, 0))
        emit(io, socket, "blob3-ack", NULL);
}

/* The handshake as the only argument; free it. */
static char *handshake_args(struct madang_sio *io, madang_socket socket)
{
    size_t size = 16384;
    char *args = malloc(size);
    if (!args)
        return NULL;
    size_t len = madang_socket_handshake(io, socket, args + 1, size - 3);
    if (len >= size - 3)
        len = (size_t)snprintf(args + 1, size - 3, "{}");
    args[0] = '[';
    memcpy(args + 1 + len, "]", 2);
    return args;
}

HANDLER(on_get_handshake)
{
    char *args = handshake_args(io, socket);
    UNUSED;
    if (args)
        answer(io, event, args);
    free(args);
}

HANDLER(on_get_id)
{
    char args[64];
    UNUSED;
    snprintf(args, sizeof args, "[\"%s\"]", madang_socket_id(io, socket));
    answer(io, event, args);
}

static void emit_handshake(struct madang_sio *io, madang_socket socket, void *arg)
{
    char *args = handshake_args(io, socket);
    (void)arg;
    if (args)
        emit(io, socket, "handshake", args);
    free(args);
}

static int refuse_fail(struct madang_sio *io, madang_socket socket, void *arg)
{
    char value[8];
    (void)arg;
    if (!madang_socket_query(io, socket, "fail", value, sizeof value) || !value[0])
        return 0;
    return madang_socket_refuse(io, socket, "Auth failed (main namespace)", NULL);
}

static int refuse_all(struct madang_sio *io, madang_socket socket, void *arg)
{
    (void)arg;
    return madang_socket_refuse(io, socket, "Auth failed (custom namespace)", NULL);
}

/* The handshake goes on 10 ms later. */
struct later {
    uint64_t held;
};

static void allow(struct madang *server, void *arg)
{
    struct later *l = arg;
    (void)!madang_sio_allow(server, l->held, true);
    free(l);
}

static int delay(struct madang *server, struct madang_request *request, uint64_t held, void *arg)
{
    struct later *l = malloc(sizeof *l);
    (void)request;
    (void)arg;
    if (!l)
        return 500;
    l->held = held;
    if (madang_after(server, 10, allow, l) < 0) {
        free(l);
        return 500;
    }
    return MADANG_LATER;
}

static const struct {
    const char *name;
    madang_sio_event_fn fn;
} handlers[] = {
    {"hi", on_hi},
    {"echo", on_echo},
    {"ack", on_ack},
    {"getAckDate", on_get_ack_date},
    {"getDate", on_get_date},
    {"getDateObj", on_get_date_obj},
    {"getUtf8", on_get_utf8},
    {"false", on_false},
    {"doge", on_doge},
    {"buffa", on_buffa},
    {"jsonbuff", on_jsonbuff},
    {"abuff1", on_abuff1},
    {"abuff2", on_abuff2},
    {"blob", on_blob},
    {"jsonblob", on_jsonblob},
    {"blob1", on_blob1},
    {"blob2", on_blob2},
    {"blob3", on_blob3},
    {"getbin", on_getbin},
    {"getHandshake", on_get_handshake},
    {"getId", on_get_id},
};

int main(int argc, char **argv)
{
    static const char *const plain[] = {"/foo", "/valid", "/asd", "/timeout_socket"};
    struct target_options o = {0};
    struct madang_sio *io;
    madang_sio_options_init(&o.sio);
    o.sio.recovery = true;
    o.sio.recover_without_offset = false;
    o.sio.keep_headers = true;
    o.sio.allow_request = delay;
    target_parse(argc, argv, &o);
    struct madang *server = target_server(&o);
    target_must(madang_sio_new(server, "/socket.io", &o.sio, &io));
    struct madang_sio_namespace *main_ns = target_of(io, "/");
    target_must(madang_sio_use(main_ns, refuse_fail, NULL));
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
        target_must(madang_sio_on(main_ns, handlers[i].name, handlers[i].fn, NULL));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        target_must(madang_sio_on(target_of(io, plain[i]), "getId", on_get_id, NULL));
    target_must(madang_sio_on_connection(target_of(io, "/abc"), emit_handshake, NULL));
    target_must(madang_sio_use(target_of(io, "/no"), refuse_all, NULL));
    return target_run(server);
}
