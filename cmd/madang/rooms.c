/* Units through jansson, over each carrier's own way of joining and publishing. */
#include "rooms.h"
#include <stdlib.h>
#include <string.h>

enum speech speech_of(const char *url)
{
    if (url_of(url, "stomp"))
        return SPEECH_BODIES;
    if (url_of(url, "sio"))
        return SPEECH_EVENTS;
    return url_of(url, "http") || url_of(url, "sse") || url_of(url, "poll") ? SPEECH_HTTP
                                                                            : SPEECH_UNITS;
}

/* ---- addresses ---- */

static size_t append(char *out, size_t cap, size_t len, const char *text)
{
    size_t n = strlen(text);
    if (len + n < cap)
        memcpy(out + len, text, n + 1);
    return len + n;
}

/* A name in a query. */
static size_t append_escaped(char *out, size_t cap, size_t len, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++) {
        char one[4] = {*text, '\0'};
        if (!strchr(plain, *text))
            snprintf(one, sizeof one, "%%%02X", (unsigned)(unsigned char)*text);
        len = append(out, cap, len, one);
    }
    return len;
}

const char *rooms_usual_path(const char *url)
{
    static const struct {
        const char *family, *path;
    } usual[] = {{"ws", "/ws/chat"}, {"http", "/sse"},     {"sse", "/sse"},
                 {"poll", "/poll"},  {"stomp+", "/stomp"}, {"sockjs", "/sockjs"}};
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        if (url_of(url, usual[i].family))
            return usual[i].path;
    }
    return NULL;
}

static int set_destination(struct connection *c, const char *room)
{
    int n =
        snprintf(c->room_text, sizeof c->room_text, "%s%s", *room == '/' ? "" : "/topic/", room);
    if (n < 0 || (size_t)n >= sizeof c->room_text)
        return usage_error("the room's name is too long");
    c->options.destination = c->room_text;
    return EXIT_OK;
}

/* The address with a path; an event stream's server is asked at its polls when we publish. */
static size_t write_place(char *out, size_t cap, const char *url, bool publish)
{
    const char *place = strstr(url, "://"), *path = rooms_usual_path(url);
    size_t root = place ? strcspn(place + 3, "/?#") + (size_t)(place + 3 - url) : strlen(url);
    bool bare = !url[root] || strcmp(url + root, "/") == 0;
    if (root >= cap)
        return cap;
    if (publish && place && (url_of(url, "http") || url_of(url, "sse"))) {
        char authority[512];
        bool tls = place[-1] == 's' || place[-1] == 'S';
        snprintf(authority, sizeof authority, "%.*s", (int)(url + root - place), place);
        size_t len = append(out, cap, 0, tls ? "polls" : "poll");
        len = append(out, cap, len, authority);
        return append(out, cap, len, "/poll");
    }
    size_t len = append(out, cap, 0, url);
    return bare && path ? append(out, cap, root, path) : len;
}

int rooms_address(struct connection *c, const char *url, const char *const *names, long history)
{
    char *out = c->url_text;
    size_t cap = sizeof c->url_text, len = write_place(out, cap, url, history == ROOMS_PUBLISH);
    bool http = speech_of(url) == SPEECH_HTTP, query = len < cap && strchr(out, '?');
    for (; http && *names; names++) {
        len = append(out, cap, len, query ? "&room=" : "?room=");
        len = append_escaped(out, cap, len, *names);
        query = true;
    }
    if (http && history >= 0) {
        char text[40];
        snprintf(text, sizeof text, "%chistory=%ld", query ? '&' : '?', history);
        len = append(out, cap, len, text);
    }
    if (len >= cap)
        return usage_error("the address is too long");
    c->options.url = out;
    return speech_of(url) == SPEECH_BODIES && *names ? set_destination(c, *names) : EXIT_OK;
}

/* ---- what is sent ---- */

static int send_text(struct rooms *r, const char *text)
{
    return madang_client_send(r->client, text, strlen(text), false);
}

void rooms_begin(struct rooms *r)
{
    static const char *const lines[] = {"tcp", "tls", "unix", "udp", NULL};
    r->came_in = !url_of(r->url, "udp");
    for (const char *const *it = lines; *it; it++) {
        if (url_of(r->url, *it) && send_text(r, "/json") < 0)
            return;
    }
    if (r->came_in)
        r->on_ready(r);
}

/* An acknowledgement's argument, as the unit that would have come: its type, and what there is. */
static void take_answer(struct rooms *r, const char *type, const char *json, size_t len)
{
    json_t *args = json_loadb(json, len, 0, NULL);
    json_t *unit = json_copy(json_array_get(args, 0));
    const json_t *error = json_object_get(unit, "error");
    if (error) {
        json_t *refusal = json_copy((json_t *)(uintptr_t)error);
        json_decref(unit);
        unit = refusal;
        type = "error";
    }
    if (json_is_object(unit)) {
        json_object_set_new(unit, "type", json_string(type));
        r->on_unit(r, unit, type, "", 0);
    }
    json_decref(unit);
    json_decref(args);
}

static void on_joined(struct madang_client *client, int err, const char *json, size_t len,
                      void *arg)
{
    (void)client;
    if (err == 0)
        take_answer(arg, "joined", json, len);
}

static void on_published(struct madang_client *client, int err, const char *json, size_t len,
                         void *arg)
{
    (void)client;
    if (err == 0)
        take_answer(arg, "ack", json, len);
}

/* The unit without its type is the event's argument. */
static char *event_of(json_t *unit, const char *type)
{
    json_t *event = json_array(), *argument = json_copy(unit);
    json_object_del(argument, "type");
    json_object_del(argument, "id");
    json_array_append_new(event, json_string(type));
    json_array_append_new(event, argument);
    char *text = json_dumps(event, JSON_COMPACT);
    json_decref(event);
    return text;
}

int rooms_send(struct rooms *r, json_t *unit)
{
    const char *type = unit_text(unit, "type");
    bool event = r->speech == SPEECH_EVENTS;
    char *text = event ? event_of(unit, type) : json_dumps(unit, JSON_COMPACT);
    int rc = MADANG_E_NO_MEMORY;
    if (text && event)
        rc = madang_client_emit(r->client, text, strlen(text),
                                strcmp(type, "join") == 0 ? on_joined : on_published, r);
    else if (text)
        rc = send_text(r, text);
    free(text);
    json_decref(unit);
    return rc;
}

/* ---- what comes ---- */

const char *udp_cookie(const char *text, size_t len, size_t *cookie_len)
{
    static const char words[] = "To come in, type: ";
    size_t skip = sizeof words - 1;
    if (len <= skip || memcmp(text, words, skip) != 0)
        return NULL;
    while (len > skip && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    *cookie_len = len - skip;
    return text + skip;
}

/* Over UDP the server has not listened to what was said before the cookie. */
static void show_cookie(struct rooms *r, const char *text, size_t len)
{
    size_t n;
    const char *cookie = r->came_in ? NULL : udp_cookie(text, len, &n);
    if (!cookie)
        return;
    r->came_in = true;
    if (madang_client_send(r->client, cookie, n, false) == 0 && send_text(r, "/json") == 0)
        r->on_ready(r);
}

static void take_unit(struct rooms *r, const char *data, size_t len)
{
    json_t *unit = json_loadb(data, len, JSON_ALLOW_NUL, NULL);
    const char *type = unit_text(unit, "type");
    if (*type)
        r->on_unit(r, unit, type, data, len);
    else if (!unit)
        show_cookie(r, data, len);
    json_decref(unit);
}

/* What a turn of the server had to say to us alone came as one datagram, a line each. */
static void take_datagram(struct rooms *r, const char *at, size_t len)
{
    const char *end = at + len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        if (line_end > at)
            take_unit(r, at, (size_t)(line_end - at));
        at = line_end + 1;
    }
}

void rooms_message(struct rooms *r, const void *data, size_t len)
{
    if (url_of(r->url, "udp"))
        take_datagram(r, data, len);
    else
        take_unit(r, data, len);
}

void rooms_event(struct rooms *r, const struct madang_client_event *event)
{
    json_t *array = json_loadb(event->json, event->len, 0, NULL);
    const char *type = json_string_value(json_array_get(array, 0));
    json_t *unit = json_array_get(array, 1);
    char *text = json_is_object(unit) ? json_dumps(unit, JSON_COMPACT) : NULL;
    if (text && type)
        r->on_unit(r, unit, type, text, strlen(text));
    free(text);
    json_decref(array);
}

const char *unit_text(const json_t *unit, const char *name)
{
    const char *text = json_string_value(json_object_get(unit, name));
    return text ? text : "";
}

void unit_print(const json_t *message)
{
    const json_t *from = json_object_get(message, "from"), *data = json_object_get(message, "data");
    const char *event = unit_text(message, "event");
    bool named = *event && strcmp(event, "message") != 0;
    printf("[%s] %s%s%s%s: ", unit_text(message, "room"), unit_text(from, "name"),
           named ? " (" : "", named ? event : "", named ? ")" : "");
    if (data) {
        char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
        puts(text ? text : "");
        free(text);
    } else if (json_object_get(message, "base64")) {
        printf("base64:%s\n", unit_text(message, "base64"));
    } else {
        puts(unit_text(message, "text"));
    }
}
