/* Polling: GET after GET, each of which names where the last answer ended and waits at the server
 * until something comes. madang's answers are taken apart into their messages; of any other server
 * a body is a message, and it is asked once a second. What is sent is a POST to /publish. */
#include "base/json.h"
#include "base/utf8.h"
#include "client/client.h"
#include "client/exchange.h"
#include "codec/url.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    WAIT_S = 25, /* below what proxies give a silent response (60 s, some 30) */
    GRACE_S = 20,
    EVERY_MS = 1000, /* servers that do not wait are not to be asked all the time */
    BODY_DEPTH_MAX = 128,
    ERROR_MAX = 65536,
    ETAG_MAX = 256
};

struct poll {
    struct mdg_client_pair pair; /* in: a body; waiting: the message that is being sent */
    struct mdg_timer timer;      /* the next request, or the end of patience with this one */
    struct mdg_buf answer;       /* to the message */
    char etag[ETAG_MAX];         /* of a server without cursors */
    bool parks;                  /* it is madang, and waits */
    bool behind, news;           /* the request named a place; its answer held something */
    bool binary, json;           /* the message */
    uint64_t asked_ms;
};

static struct poll *poll_of(const struct madang_client *c)
{
    return (struct poll *)c->pair;
}

/* ---- the request ---- */

/* The value in the target's query; data NULL: none. */
static struct mdg_slice query_value(const struct madang_client *c, const char *name)
{
    const char *mark = strchr(c->url.target, '?');
    struct mdg_slice rest = mdg_slice_str(mark ? mark + 1 : ""), wanted = mdg_slice_str(name);
    while (rest.len) {
        struct mdg_slice value = mdg_slice_split(&rest, '&');
        if (mdg_slice_eq(mdg_slice_split(&value, '='), wanted))
            return value;
    }
    return mdg_slice(NULL, 0);
}

/* "after=" belongs to the first request alone: it becomes the position. */
static int prepare(struct madang_client *c)
{
    struct mdg_slice after = query_value(c, "after");
    if (!after.data)
        return 0;
    mdg_client_remember(c, after);
    char *target = c->url.target;
    size_t begin = (size_t)((const char *)after.data - target) - strlen("after=");
    size_t end = begin + strlen("after=") + after.len;
    end += target[end] == '&';
    memmove(target + begin, target + end, strlen(target + end) + 1);
    return 0;
}

static int ask(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    struct poll *p = poll_of(c);
    const char *position = mdg_client_position(c);
    char line[ETAG_MAX + 32] = "", wait[32] = "";
    bool has_query = strchr(c->url.target, '?') != NULL;
    bool waits = p->parks && !query_value(c, "wait").data;
    char *more = malloc(strlen(position) + 64);
    if (!more)
        return MDG_E_NO_MEMORY;
    if (waits)
        snprintf(wait, sizeof wait, "&wait=%d", WAIT_S);
    if (*position)
        snprintf(more, strlen(position) + 64, "%cafter=%s%s", has_query ? '&' : '?', position,
                 wait);
    else
        more[0] = '\0';
    if (!p->parks && p->etag[0])
        snprintf(line, sizeof line, "If-None-Match: %s\r\n", p->etag);
    p->behind = *position != '\0';
    p->news = false;
    p->asked_ms = mdg_loop_now_ms(c->clients->loop);
    mdg_timer_start(c->clients->loop, &p->timer, (WAIT_S + GRACE_S) * 1000);
    int rc = mdg_client_exchange_get(x, c->url.target, more, line);
    free(more);
    return rc;
}

static void on_timer(struct mdg_timer *t, void *arg)
{
    struct madang_client *c = arg;
    (void)t;
    if (c->pair->receive.busy) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, "no answer in time");
        return;
    }
    int rc = mdg_client_exchange_ask(&c->pair->receive);
    if (rc < 0)
        mdg_client_lost(c, rc);
}

/* ---- the answer ---- */

static bool answer_begins(struct mdg_client_exchange *x, const uint8_t *head)
{
    struct madang_client *c = x->client;
    struct mdg_slice etag = mdg_http_head_find(&x->head, head, MDG_SLICE_LIT("etag"));
    unsigned status = x->head.status;
    if (status != 200 && status != 204 && status != 304)
        return status >= 400 || mdg_client_exchange_refused(x, head); /* the body says why */
    if (etag.len && etag.len < ETAG_MAX) /* some servers leave it out of a 304 */
        snprintf(poll_of(c)->etag, ETAG_MAX, "%.*s", (int)etag.len, (const char *)etag.data);
    if (c->state == MDG_CLIENT_OPENING)
        mdg_client_carried(c, "");
    return c->pair && x == &c->pair->receive;
}

static bool keep(struct madang_client *c, struct mdg_buf *b, struct mdg_slice piece)
{
    int rc = mdg_buf_append(b, piece);
    if (rc < 0)
        mdg_client_lost(c, rc);
    return rc == 0;
}

static bool keep_piece(struct mdg_client_exchange *x, struct mdg_slice piece)
{
    return keep(x->client, &x->client->pair->in, piece);
}

/* The error's own words: {"code":...,"message":...}. */
static void tell_refusal(struct madang_client *c, struct mdg_slice body)
{
    char text[256];
    uint8_t plain[200];
    struct mdg_slice json, message;
    int64_t n = 0;
    if (mdg_json_check(body, 8, &json) == 0 &&
        mdg_json_find(json, MDG_SLICE_LIT("message"), &message))
        n = mdg_json_unescape(message, plain, sizeof plain);
    snprintf(text, sizeof text, "the server answered %u%s%.*s", c->pair->receive.head.status,
             n > 0 ? ": " : "", (int)(n > 0 ? n : 0), (const char *)plain);
    mdg_client_down(c, MDG_CLOSE_ABNORMAL, text);
}

/* What a room no longer has is told as on the other carriers. info: {"room","recovered","missing"}.
 */
static void tell_gap(struct madang_client *c, struct mdg_slice info)
{
    uint8_t text[2048];
    struct mdg_slice room, value, from, to;
    struct mdg_json_iter it;
    struct mdg_writer w;
    bool recovered = true;
    if (!mdg_json_find(info, MDG_SLICE_LIT("recovered"), &value) ||
        mdg_json_bool(value, &recovered) < 0 || recovered ||
        !mdg_json_find(info, MDG_SLICE_LIT("room"), &room))
        return;
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_str(&w, "{\"type\":\"gap\",\"room\":");
    mdg_write_slice(&w, room);
    if (mdg_json_find(info, MDG_SLICE_LIT("missing"), &value) && mdg_json_array(value, &it) &&
        mdg_json_element(&it, &from) && mdg_json_element(&it, &to)) {
        mdg_write_str(&w, ",\"from\":");
        mdg_write_slice(&w, from);
        mdg_write_str(&w, ",\"to\":");
        mdg_write_slice(&w, to);
    }
    mdg_write_u8(&w, '}');
    if (mdg_writer_fits(&w))
        mdg_client_message(c, mdg_slice(text, w.len), false);
}

/* True: it was madang's kind of answer. The client may be down afterwards. */
static bool take_messages(struct madang_client *c, struct mdg_slice body)
{
    struct poll *p = poll_of(c);
    struct mdg_slice json, cursor, messages, rooms, element;
    struct mdg_json_iter it;
    bool escaped;
    if (mdg_json_check(body, BODY_DEPTH_MAX, &json) < 0 ||
        !mdg_json_find(json, MDG_SLICE_LIT("cursor"), &cursor) ||
        !mdg_json_find(json, MDG_SLICE_LIT("messages"), &messages) ||
        !mdg_json_array(messages, &it))
        return false;
    cursor = mdg_json_inside(cursor, &escaped);
    if (!cursor.len || escaped)
        return false;
    p->parks = true;
    tell_gap(c, json);
    if (poll_of(c) == p && mdg_json_find(json, MDG_SLICE_LIT("rooms"), &rooms)) {
        struct mdg_json_iter each;
        for (mdg_json_array(rooms, &each); poll_of(c) == p && mdg_json_element(&each, &element);)
            tell_gap(c, element);
    }
    while (poll_of(c) == p && mdg_json_element(&it, &element)) {
        p->news = true;
        mdg_client_message(c, element, false);
    }
    if (poll_of(c) == p)
        mdg_client_remember(c, cursor);
    return true;
}

/* When this server may be asked again: at once if it waits, and had a reason to answer; "wait=0" in
 * the URL keeps it from waiting. */
static uint64_t pause_ms(const struct madang_client *c)
{
    const struct poll *p = poll_of(c);
    uint64_t passed = mdg_loop_now_ms(c->clients->loop) - p->asked_ms;
    bool had_reason = p->parks && (p->news || !p->behind);
    return had_reason || passed >= EVERY_MS ? 0 : EVERY_MS - passed;
}

static void received(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    struct poll *p = poll_of(c);
    struct mdg_slice body = mdg_buf_slice(&p->pair.in);
    if (x->head.status >= 400) {
        tell_refusal(c, body);
        return;
    }
    if (x->head.status == 200 && !take_messages(c, body) && body.len)
        mdg_client_message(c, body, !mdg_utf8_valid(body));
    if (poll_of(c) != p)
        return;
    mdg_buf_consume(&p->pair.in, p->pair.in.len);
    mdg_timer_start(c->clients->loop, &p->timer, pause_ms(c));
}

/* ---- what is sent ---- */

/* "/poll?room=a" becomes "/publish?room=a". False: that path does not end so. */
static bool publish_target(const struct madang_client *c, char out[MDG_CLIENT_TARGET_MAX])
{
    size_t len = strcspn(c->url.target, "?");
    struct mdg_slice room = query_value(c, "room");
    if (len < 5 || memcmp(c->url.target + len - 5, "/poll", 5) != 0)
        return false;
    int n =
        snprintf(out, MDG_CLIENT_TARGET_MAX, "%.*s/publish%s%.*s", (int)len - 5, c->url.target,
                 room.len ? "?room=" : "", (int)room.len, room.len ? (const char *)room.data : "");
    return n > 0 && n < MDG_CLIENT_TARGET_MAX;
}

static int post(struct mdg_client_exchange *x)
{
    struct poll *p = poll_of(x->client);
    char target[MDG_CLIENT_TARGET_MAX];
    if (!publish_target(x->client, target))
        return MDG_E_UNSUPPORTED;
    const char *type = p->binary ? "application/octet-stream"
                       : p->json ? "application/json"
                                 : "text/plain;charset=UTF-8";
    return mdg_client_exchange_write(x, target, "", type, mdg_buf_slice(&p->pair.waiting));
}

/* {"type":"publish",...}: a madang.v1 unit goes as it is. */
static bool is_publication(struct mdg_slice data)
{
    struct mdg_slice json, type;
    return data.len && data.data[0] == '{' && mdg_json_check(data, BODY_DEPTH_MAX, &json) == 0 &&
           mdg_json_find(json, MDG_SLICE_LIT("type"), &type) &&
           mdg_json_string_eq(type, MDG_SLICE_LIT("publish"));
}

static int send_message(struct madang_client *c, struct mdg_slice data, bool binary)
{
    struct poll *p = poll_of(c);
    char target[MDG_CLIENT_TARGET_MAX];
    if (!publish_target(c, target) || (!binary && !mdg_utf8_valid(data)))
        return MDG_E_UNSUPPORTED;
    if (p->pair.send.busy)
        return MDG_E_FULL;
    int rc = mdg_buf_append(&p->pair.waiting, data);
    if (rc < 0)
        return rc;
    p->binary = binary;
    p->json = !binary && is_publication(data);
    rc = mdg_client_exchange_ask(&p->pair.send);
    if (rc < 0)
        mdg_buf_consume(&p->pair.waiting, p->pair.waiting.len);
    return rc;
}

static bool answered(struct mdg_client_exchange *x, const uint8_t *head)
{
    (void)x, (void)head;
    return true; /* whatever it is, its body is told */
}

static bool keep_answer(struct mdg_client_exchange *x, struct mdg_slice piece)
{
    return keep(x->client, &poll_of(x->client)->answer, piece);
}

/* The answer is an `ack` as it stands; an error becomes one. */
static void tell_answer(struct madang_client *c, unsigned status, struct mdg_slice body)
{
    char text[ERROR_MAX];
    struct mdg_slice json;
    bool object =
        mdg_json_check(body, BODY_DEPTH_MAX, &json) == 0 && mdg_json_type(json) == MDG_JSON_OBJECT;
    if (status < 300 && object) {
        mdg_client_message(c, json, false);
        return;
    }
    if (status < 300)
        return;
    int n = snprintf(text, sizeof text, "{\"type\":\"error\",%.*s",
                     object ? (int)mdg_min_size(json.len - 1, ERROR_MAX) : 0,
                     object ? (const char *)json.data + 1 : "");
    if (!object || (size_t)n >= sizeof text)
        n = snprintf(
            text, sizeof text,
            "{\"type\":\"error\",\"code\":\"http\",\"message\":\"the server answered %u\"}",
            status);
    mdg_client_message(c, mdg_slice(text, (size_t)n), false);
}

static void sent(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    struct poll *p = poll_of(c);
    tell_answer(c, x->head.status, mdg_buf_slice(&p->answer));
    if (poll_of(c) != p)
        return;
    mdg_buf_consume(&p->answer, p->answer.len);
    mdg_buf_consume(&p->pair.waiting, p->pair.waiting.len);
    mdg_client_sent(c);
}

static const struct mdg_client_exchange_user receive_user = {ask, answer_begins, keep_piece,
                                                             received};
static const struct mdg_client_exchange_user send_user = {post, answered, keep_answer, sent};

/* ---- for client.c ---- */

static int start(struct madang_client *c)
{
    struct poll *p = calloc(1, sizeof *p);
    if (!p)
        return MDG_E_NO_MEMORY;
    mdg_timer_init(&p->timer, on_timer, c);
    mdg_buf_init(&p->answer, ERROR_MAX);
    mdg_client_pair_init(c, &p->pair, &receive_user, &send_user);
    if (!c->options.send_only)
        return mdg_client_exchange_ask(&p->pair.receive);
    mdg_client_carried(c, "");
    return 0;
}

static void end(struct madang_client *c)
{
    struct poll *p = poll_of(c);
    if (!p)
        return;
    mdg_timer_stop(c->clients->loop, &p->timer);
    mdg_buf_fini(&p->answer);
    mdg_client_pair_free(c);
}

const struct mdg_client_carrier mdg_client_carrier_poll = {
    .prepare = prepare,
    .start = start,
    .send = send_message,
    .queued = mdg_client_pair_queued,
    .end_ms = mdg_client_pair_end_ms,
    .free = end,
};
