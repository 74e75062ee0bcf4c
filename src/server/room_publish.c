/* POST /publish: the way up for everyone who reads over HTTP. The answer waits until the message
 * has its place in the room. */
#include "base/buf.h"
#include "base/utf8.h"
#include "codec/url.h"
#include "server/room_http.h"
#include <stdlib.h>

enum { JSON_OVERHEAD = 4096 }; /* what may stand around the payload in the body */

struct publish {
    struct mdg_exchange *x;
    struct mdg_worker *worker;
    struct mdg_principal *who;
    struct mdg_buf body;
    struct mdg_slice id; /* the client's, as JSON; in the body's memory */
    struct mdg_slice room;
    uint8_t room_text[1024];
};

static void free_publish(struct publish *p)
{
    mdg_principal_unref(p->who);
    mdg_buf_fini(&p->body);
    free(p);
}

static void bad_request(struct publish *p)
{
    mdg_exchange_respond_error(
        p->x, 400, "bad_request",
        "send JSON such as {\"room\":\"lobby\",\"text\":\"hi\"} with exactly "
        "one of text, data and base64, or plain text with ?room=lobby");
}

static void write_answer(struct mdg_writer *w, const struct publish *p, struct mdg_position at)
{
    mdg_write_str(w, "{\"type\":\"ack\",\"room\":");
    mdg_write_json_string(w, p->room);
    if (p->id.len) {
        mdg_write_str(w, ",\"id\":");
        mdg_write_slice(w, p->id);
    }
    mdg_write_str(w, ",\"epoch\":\"");
    mdg_plain_write_epoch(w, at.epoch);
    mdg_write_str(w, "\",\"seq\":");
    mdg_write_dec(w, at.seq);
    mdg_write_str(w, "}\n");
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct publish *p = arg;
    uint8_t text[8192]; /* a room name, escaped, and an id are far smaller */
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    if (err == 0)
        write_answer(&w, p, at);
    mdg_exchange_set_arg(p->x, NULL);
    if (err < 0 || !mdg_writer_fits(&w))
        mdg_room_respond_error(p->x, err);
    else
        mdg_exchange_respond_text(p->x, 200, "application/json", mdg_slice(text, w.len));
    free_publish(p);
}

static bool is_type(const struct mdg_exchange *x, struct mdg_slice type)
{
    struct mdg_slice have = mdg_exchange_header(x, "content-type");
    return mdg_slice_eq_nocase(mdg_slice_trim(mdg_slice_split(&have, ';')), type);
}

static bool looks_like_json(struct mdg_slice body)
{
    size_t at = 0;
    while (at < body.len && (body.data[at] == ' ' || body.data[at] == '\n' ||
                             body.data[at] == '\r' || body.data[at] == '\t'))
        at++;
    return at < body.len && body.data[at] == '{';
}

static int read_json(struct publish *p, struct mdg_msg_draft *draft)
{
    struct mdg_plain_fields f;
    struct mdg_input in = {p->body.data, p->body.len};
    int err = mdg_utf8_valid(mdg_buf_slice(&p->body)) ? mdg_plain_read(in, &f) : MDG_E_SYNTAX;
    if (err < 0)
        return err;
    if (f.room.len) {
        if (mdg_plain_string(in, &f.room) < 0)
            return MDG_E_SYNTAX;
        p->room = f.room;
    }
    p->id = f.id.len <= MDG_PLAIN_ID_BYTES_MAX ? f.id : mdg_slice(NULL, 0);
    return mdg_plain_payload(in, &f, draft);
}

/* room=R&text=T, as an HTML form or `curl -d` sends it. */
static int read_form(struct publish *p, struct mdg_msg_draft *draft)
{
    struct mdg_slice rest = mdg_buf_slice(&p->body), name, value, text = {0};
    while (mdg_url_query_next(&rest, &name, &value)) {
        if (mdg_slice_eq(name, MDG_SLICE_LIT("text")))
            text = value.data ? value : MDG_SLICE_LIT("");
        if (!mdg_slice_eq(name, MDG_SLICE_LIT("room")))
            continue;
        int64_t n = mdg_url_decode(value, true, p->room_text, sizeof p->room_text);
        if (n < 0)
            return (int)n;
        p->room = mdg_slice(p->room_text, (size_t)n);
    }
    if (!text.data)
        return MDG_E_NOT_FOUND;
    int64_t n = mdg_url_decode(text, true, p->body.data, p->body.len); /* in place: it shrinks */
    draft->kind = MDG_MSG_TEXT;
    draft->payload = mdg_slice(p->body.data, n < 0 ? 0 : (size_t)n);
    return n < 0 ? (int)n : 0;
}

static int read_payload(struct publish *p, struct mdg_msg_draft *draft)
{
    struct mdg_slice body = mdg_buf_slice(&p->body), type;
    bool form = is_type(p->x, MDG_SLICE_LIT("application/x-www-form-urlencoded"));
    if (is_type(p->x, MDG_SLICE_LIT("application/json")) || (form && looks_like_json(body)))
        return read_json(p, draft);
    if (form) {
        int err = read_form(p, draft);
        if (err != MDG_E_NOT_FOUND)
            return err;
    }
    if (is_type(p->x, MDG_SLICE_LIT("application/octet-stream"))) {
        draft->kind = MDG_MSG_BINARY;
    } else {
        draft->kind = MDG_MSG_TEXT;
        type = mdg_exchange_header(p->x, "content-type");
        if (type.data && !form && !is_type(p->x, MDG_SLICE_LIT("text/plain")))
            return MDG_E_UNSUPPORTED;
    }
    draft->payload = body;
    return 0;
}

static int publish_now(struct publish *p)
{
    struct mdg_content *content;
    struct mdg_msg_draft draft = {.flags = MDG_MSG_COMPRESS, .sender = p->who};
    int err = read_payload(p, &draft);
    if (err == 0 && draft.kind == MDG_MSG_TEXT && !mdg_utf8_valid(draft.payload))
        err = MDG_E_SYNTAX;
    if (err < 0)
        return err == MDG_E_UNSUPPORTED ? err : MDG_E_PROTO;
    if (draft.payload.len > mdg_peers_config(p->worker->peers)->message_bytes_max)
        return MDG_E_TOO_BIG;
    if (!mdg_utf8_valid(p->room) || !mdg_channel_name_ok(p->worker->hub, p->room))
        return MDG_E_SYNTAX;
    draft.channel = p->room;
    err = mdg_content_new(&draft, mdg_loop_unix_ms(p->worker->loop), &content);
    return err < 0 ? err : mdg_hub_publish(p->worker->hub, content, on_published, p);
}

static int on_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct publish *p = mdg_exchange_arg(x);
    int err = piece.len ? mdg_buf_append(&p->body, piece) : 0;
    if (err == 0 && !last)
        return 0;
    if (err == 0)
        err = publish_now(p);
    if (err == 0)
        return 0;
    mdg_exchange_set_arg(x, NULL);
    if (err == MDG_E_PROTO)
        bad_request(p);
    else if (err == MDG_E_UNSUPPORTED)
        mdg_exchange_respond_error(x, 415, "unsupported_type",
                                   "send application/json, text/plain, "
                                   "application/x-www-form-urlencoded or "
                                   "application/octet-stream");
    else
        mdg_room_respond_error(x, err);
    free_publish(p);
    return 0;
}

static void on_abort(struct mdg_exchange *x)
{
    struct publish *p = mdg_exchange_arg(x);
    if (!p)
        return;
    mdg_hub_forget(p->worker->hub, p); /* the message itself is on its way */
    free_publish(p);
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_worker *w = mdg_mounted(arg)->worker;
    struct mdg_principal *who;
    if (mdg_authenticate(w, x, &who) < 0)
        return 0;
    struct publish *p = calloc(1, sizeof *p);
    bool allowed = who->rights & MDG_RIGHT_PUBLISH;
    if (!p || !allowed) {
        mdg_principal_unref(who);
        free(p);
        mdg_room_respond_error(x, allowed ? MDG_E_NO_MEMORY : MDG_E_DENIED);
        return 0;
    }
    /* base64 and JSON escapes take room: 6 bytes for one at the worst ("\u0001"). */
    uint64_t max = mdg_peers_config(w->peers)->message_bytes_max * UINT64_C(6) + JSON_OVERHEAD;
    max = max < w->server->http_config.body_bytes_max ? max : w->server->http_config.body_bytes_max;
    *p = (struct publish){.x = x, .worker = w, .who = who};
    mdg_buf_init(&p->body, max ? max : 1);
    mdg_exchange_set_body_max(x, max);
    p->room = mdg_slice_str(w->server->params.chat_room);
    int64_t n =
        mdg_url_decode(mdg_exchange_query(x, "room"), true, p->room_text, sizeof p->room_text);
    if (n > 0 || n == MDG_E_SYNTAX)
        p->room = mdg_slice(p->room_text, n > 0 ? (size_t)n : 0);
    mdg_exchange_set_arg(x, p);
    return 0;
}

int mdg_mount_publish(struct madang *server)
{
    static const struct mdg_http_handler handler = {
        .on_request = on_request, .on_body = on_body, .on_abort = on_abort};
    return mdg_server_mount(server, "POST", "/publish", &handler, NULL);
}
