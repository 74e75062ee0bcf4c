/* What a connection of a bench run says and hears: messages as they are, events of Socket.IO with
 * or without acknowledgement, or publications in a room of madang's, which every scheme reaches. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

enum { ROOM_MAX = 300 };

/* Echoes do not mix: each connection has a room of its own. */
static void room_name(const struct bench_conn *c, char out[ROOM_MAX])
{
    const struct bench *b = c->bench;
    if (b->mode == BENCH_ECHO)
        snprintf(out, ROOM_MAX, "%s-%ld", b->room, (long)(c - b->row));
    else
        snprintf(out, ROOM_MAX, "%s", b->room);
}

static const char *url_of_conn(const struct bench_conn *c)
{
    const struct bench *b = c->bench;
    return c == &b->publisher && b->publish_url ? b->publish_url : b->connection.options.url;
}

static bool speaks_units(const struct bench_conn *c)
{
    return c->bench->room && c->rooms.speech != SPEECH_BODIES;
}

static bool must_join(const struct bench_conn *c)
{
    return speaks_units(c) && c->rooms.speech != SPEECH_HTTP;
}

static struct bench_conn *conn_of(struct rooms *r)
{
    return (struct bench_conn *)((char *)r - offsetof(struct bench_conn, rooms));
}

static void on_ready(struct rooms *r)
{
    char room[ROOM_MAX];
    json_t *join = json_object();
    room_name(conn_of(r), room);
    json_object_set_new(join, "type", json_string("join"));
    json_object_set_new(join, "room", json_string(room));
    if (rooms_send(r, join) < 0)
        madang_client_close(r->client, 1000, "");
}

static void on_unit(struct rooms *r, const json_t *unit, const char *type, const char *text,
                    size_t len)
{
    struct bench_conn *c = conn_of(r);
    (void)text;
    (void)len;
    if (strcmp(type, "joined") == 0 && !c->up)
        bench_up(c);
    else if (strcmp(type, "error") == 0)
        bench_refused(c, unit_text(unit, "message"));
}

/* Where it goes, in a copy of the options. */
int talk_open(struct bench_conn *c, const struct madang_client_handlers *handlers)
{
    struct bench *b = c->bench;
    struct connection k = b->connection;
    const char *url = url_of_conn(c);
    bool publisher = c == &b->publisher;
    c->rooms = (struct rooms){
        .speech = speech_of(url), .url = url, .on_unit = on_unit, .on_ready = on_ready};
    k.options.url = url;
    k.options.headers = b->connection.header_count ? b->connection.headers : NULL;
    if (b->room) {
        char room[ROOM_MAX];
        const char *names[2] = {room, NULL};
        room_name(c, room);
        if (rooms_address(&k, url, names, publisher ? ROOMS_PUBLISH : 0) != EXIT_OK)
            return MADANG_E_TOO_BIG;
        if (speaks_units(c) && !k.options.subprotocols)
            k.options.subprotocols = "madang.v1";
    }
    k.options.send_only |= publisher;
    int rc = madang_client_open(b->clients, &k.options, handlers, c, &c->client);
    c->rooms.client = c->client;
    return rc;
}

void talk_opened(struct bench_conn *c)
{
    if (must_join(c))
        rooms_begin(&c->rooms);
    else
        bench_up(c);
}

static void mark(struct bench *b)
{
    char text[BENCH_MARK_LEN + 1];
    snprintf(text, sizeof text, "~b%016llx", (unsigned long long)bench_now_ns());
    memcpy(b->payload, text, BENCH_MARK_LEN);
}

static void on_answer(struct madang_client *client, int err, const char *json, size_t len,
                      void *arg)
{
    (void)client;
    (void)json;
    (void)len;
    if (err == 0)
        bench_answered(arg);
}

static int publish(struct bench_conn *c)
{
    const struct bench *b = c->bench;
    char room[ROOM_MAX];
    json_t *unit = json_object();
    room_name(c, room);
    json_object_set_new(unit, "type", json_string("publish"));
    json_object_set_new(unit, "room", json_string(room));
    json_object_set_new(unit, "text", json_stringn(b->payload, (size_t)b->size));
    return rooms_send(&c->rooms, unit);
}

/* The payload holds nothing that JSON escapes. */
static int emit(struct bench_conn *c)
{
    const struct bench *b = c->bench;
    const char *event = b->connection.options.event ? b->connection.options.event : "message";
    size_t room = (size_t)b->size + strlen(event) + 16;
    char *json = malloc(room);
    if (!json)
        return MADANG_E_NO_MEMORY;
    int n = snprintf(json, room, "[\"%s\",\"%.*s\"]", event, (int)b->size, b->payload);
    int rc = madang_client_emit(c->client, json, (size_t)n, on_answer, c);
    free(json);
    return rc;
}

int talk_say(struct bench_conn *c)
{
    struct bench *b = c->bench;
    if (b->marked)
        mark(b);
    if (speaks_units(c))
        return publish(c);
    if (b->ack)
        return emit(c);
    return madang_client_send(c->client, b->payload, (size_t)b->size, b->binary);
}

bool talk_heard(struct bench_conn *c, const void *data, size_t len, uint64_t *said_ns)
{
    const char *found = len >= BENCH_MARK_LEN ? memmem(data, len, "~b", 2) : NULL;
    char digits[17] = "";
    if (!c->up && must_join(c)) {
        rooms_message(&c->rooms, data, len);
        return false;
    }
    if (!found || len - (size_t)(found - (const char *)data) < BENCH_MARK_LEN)
        return false;
    memcpy(digits, found + 2, 16);
    *said_ns = strtoull(digits, NULL, 16);
    return true;
}

/* ---- which cases make sense ---- */

static bool names_room(const char *url)
{
    const char *place = strstr(url, "://");
    return place && (strstr(place, "room=") || strchr(place, '#') || strchr(place + 3, '/'));
}

static bool is_lines(const char *url)
{
    return url_of(url, "tcp") || url_of(url, "tls") || url_of(url, "unix");
}

int talk_check(struct bench *b)
{
    const char *url = b->connection.options.url;
    bool stomp = url_of(url, "stomp"), poll = url_of(url, "poll"), sio = url_of(url, "sio");
    bool stream = url_of(url, "http") || url_of(url, "sse");
    if (connection_check(&b->connection, url) != EXIT_OK)
        return EXIT_USAGE;
    bool talks = b->mode == BENCH_ECHO || b->mode == BENCH_FANOUT;
    if (b->mode == BENCH_ECHO && stream)
        return usage_error("an event stream sends nothing back: measure fanout, or echo over "
                           "poll:// with --room ROOM");
    if (b->mode == BENCH_ECHO && !b->room && (stomp || poll))
        return usage_error("echo over %s needs --room ROOM: each connection then publishes in a "
                           "room of its own, and hears itself",
                           stomp ? "STOMP" : "polls");
    if (b->mode == BENCH_FANOUT && !b->room && (stomp || poll || stream) && !names_room(url))
        return usage_error("fanout here needs a room: --room ROOM, or an address that names one");
    if (b->mode == BENCH_FANOUT && !b->room && stream && !b->publish_url)
        return usage_error("nothing can be published on an event stream: give --room ROOM for a "
                           "room of madang, or --publish-url URL");
    if (b->mode == BENCH_CONNECT && url_of(url, "udp"))
        return usage_error("datagrams do not connect: measure echo, fanout or idle with --room "
                           "ROOM");
    if (b->mode == BENCH_CONNECT && b->room && is_lines(url)) /* the end takes a second there */
        return usage_error("connections of text lines are measured without --room: a line client "
                           "that ends is kept for its last answers");
    if (b->ack && (!sio || b->mode != BENCH_ECHO || b->room))
        return usage_error("--ack is for echo over Socket.IO (sio://), without --room");
    if (b->binary && (b->room || b->ack || is_lines(url) || url_of(url, "sockjs")))
        return usage_error("--binary: only text passes there");
    if (!talks && stomp && !b->room && !names_room(url))
        b->connection.options.send_only = true; /* CONNECT alone is measured */
    b->marked = b->mode == BENCH_FANOUT || (b->mode == BENCH_ECHO && !b->ack && (b->room || sio));
    return EXIT_OK;
}
