/* The endpoint: which requests belong to which session, and what is wrong with the others, with
 * the codes and words of the reference server (engine.io "Server#verify"). */
#include "transport/eio.h"
#include "base/base64.h"
#include "transport/eio_session.h"
#include <stdlib.h>

/* A handshake that waits for the application's word. */
struct mdg_eio_held {
    struct mdg_eio_worker *w;
    struct mdg_exchange *x;
    struct mdg_list link;
    void *user;
    bool upgrade;
    uint8_t version;
};

static const struct {
    const char *text;
    unsigned status;
} refusals[] = {
    [MDG_EIO_UNKNOWN_TRANSPORT] = {"Transport unknown", 400},
    [MDG_EIO_UNKNOWN_SID] = {"Session ID unknown", 400},
    [MDG_EIO_BAD_HANDSHAKE_METHOD] = {"Bad handshake method", 400},
    [MDG_EIO_BAD_REQUEST] = {"Bad request", 400},
    [MDG_EIO_FORBIDDEN] = {"Forbidden", 403},
    [MDG_EIO_UNSUPPORTED_VERSION] = {"Unsupported protocol version", 400},
};

static void add_header(struct mdg_exchange *x, const char *name, struct mdg_slice value)
{
    /* Without memory for a header the browser refuses the response: nothing worse. */
    (void)!mdg_exchange_add_header(x, mdg_slice_str(name), value);
}

/* Fetch standard, "CORS protocol". */
static void add_cors(struct mdg_eio_worker *w, struct mdg_exchange *x)
{
    struct mdg_slice origin = mdg_exchange_header(x, "origin");
    if (!w->options->cors)
        return;
    if (!w->options->cors_credentials) {
        add_header(x, "Access-Control-Allow-Origin", MDG_SLICE_LIT("*"));
        return;
    }
    if (!origin.data)
        return;
    add_header(x, "Access-Control-Allow-Origin", origin);
    add_header(x, "Vary", MDG_SLICE_LIT("Origin"));
    add_header(x, "Access-Control-Allow-Credentials", MDG_SLICE_LIT("true"));
}

void eio_add_headers(struct mdg_eio_worker *w, struct mdg_exchange *x, bool initial)
{
    if (w->hooks->on_headers)
        w->hooks->on_headers(w->arg, x, initial);
}

void eio_refuse(struct mdg_eio_worker *w, struct mdg_exchange *x, enum mdg_eio_refusal why,
                struct mdg_slice message)
{
    uint8_t room[512];
    struct mdg_writer out;
    (void)w;
    if (!message.len || message.len > 128)
        message = mdg_slice_str(refusals[why].text);
    mdg_writer_init(&out, room, sizeof room);
    if (mdg_ws_wanted(x)) { /* a browser cannot read it: the reference says it in plain words */
        mdg_exchange_respond_text(x, 400, "text/html", message);
        return;
    }
    mdg_write_str(&out, "{\"code\":");
    mdg_write_dec(&out, (uint64_t)why);
    mdg_write_str(&out, ",\"message\":");
    mdg_write_json_string(&out, message);
    mdg_write_u8(&out, '}');
    mdg_exchange_respond_text(x, refusals[why].status, "application/json",
                              mdg_slice(room, mdg_min_size(out.len, sizeof room)));
}

static void preflight(struct mdg_exchange *x)
{
    struct mdg_slice asked = mdg_exchange_header(x, "access-control-request-headers");
    add_header(x, "Access-Control-Allow-Methods", MDG_SLICE_LIT("GET,HEAD,PUT,PATCH,POST,DELETE"));
    if (asked.data)
        add_header(x, "Access-Control-Allow-Headers", asked);
    add_header(x, "Access-Control-Max-Age", MDG_SLICE_LIT("86400"));
    mdg_exchange_respond_text(x, 204, NULL, mdg_slice(NULL, 0));
}

static void add_cookie(struct mdg_eio_worker *w, struct mdg_exchange *x, struct mdg_slice sid)
{
    char room[128];
    struct mdg_writer out;
    if (!w->options->cookie)
        return;
    mdg_writer_init(&out, room, sizeof room);
    mdg_write_str(&out, w->options->cookie);
    mdg_write_u8(&out, '=');
    mdg_write_slice(&out, sid);
    mdg_write_str(&out, "; Path=/; HttpOnly; SameSite=Lax");
    if (mdg_writer_fits(&out))
        add_header(x, "Set-Cookie", mdg_slice(room, out.len));
}

/* The handshake is let in. */
static void begin(struct mdg_eio_worker *w, struct mdg_exchange *x, unsigned version, bool upgrade)
{
    struct mdg_eio_session *s;
    struct mdg_slice b64 = mdg_exchange_query(x, "b64");
    bool base64 = mdg_slice_eq(b64, MDG_SLICE_LIT("1")) ||
                  mdg_slice_eq(b64, MDG_SLICE_LIT("true")) || mdg_exchange_query(x, "j").data;
    if (eio_session_new(w, version, base64, &s) < 0) {
        mdg_exchange_respond_text(x, 503, "text/plain", MDG_SLICE_LIT("Too many sessions"));
        return;
    }
    int err = w->hooks->on_open(w->arg, &s->link, mdg_exchange_handshake(x));
    if (err < 0) {
        s->link.user = NULL; /* it never opened: no on_close */
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
        mdg_exchange_respond_text(x, 500, "text/plain", MDG_SLICE_LIT("Internal Server Error"));
        return;
    }
    add_cookie(w, x, eio_sid(s));
    if (upgrade) {
        eio_add_headers(w, x, true);
        err = eio_ws_begin(s, x);
    } else {
        err = eio_poll_answer_open(s, x);
    }
    if (err < 0) {
        eio_refuse(w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
        return;
    }
    eio_session_start(s);
}

static int held_request(struct mdg_exchange *x, void *arg)
{
    (void)x;
    (void)arg;
    return 0;
}

static void held_abort(struct mdg_exchange *x)
{
    struct mdg_eio_held *held = mdg_exchange_arg(x);
    if (held->w->hooks->on_dropped)
        held->w->hooks->on_dropped(held->w->arg, held);
    mdg_list_remove(&held->link);
    free(held);
}

void mdg_eio_held_set_user(struct mdg_eio_held *held, void *user)
{
    held->user = user;
}

void *mdg_eio_held_user(const struct mdg_eio_held *held)
{
    return held->user;
}

static const struct mdg_http_handler held_handler = {.on_request = held_request,
                                                     .on_abort = held_abort};

void mdg_eio_resume(struct mdg_eio_held *held, bool allow, struct mdg_slice message)
{
    struct mdg_eio_held h = *held;
    mdg_list_remove(&held->link);
    free(held);
    mdg_exchange_set_handler(h.x, &mdg_eio_handler);
    mdg_exchange_set_arg(h.x, NULL);
    if (allow)
        begin(h.w, h.x, h.version, h.upgrade);
    else
        eio_refuse(h.w, h.x, MDG_EIO_FORBIDDEN, message);
}

static void ask(struct mdg_eio_worker *w, struct mdg_exchange *x, unsigned version, bool upgrade)
{
    struct mdg_slice message = {NULL, 0};
    struct mdg_eio_held *held = calloc(1, sizeof *held);
    if (!held) {
        eio_refuse(w, x, MDG_EIO_BAD_REQUEST, message);
        return;
    }
    *held = (struct mdg_eio_held){.w = w, .x = x, .upgrade = upgrade, .version = (uint8_t)version};
    mdg_list_push(&w->held, &held->link);
    mdg_exchange_set_handler(x, &held_handler);
    mdg_exchange_set_arg(x, held);
    int answer = w->hooks->on_handshake(w->arg, x, held, &message);
    if (answer != MDG_EIO_LATER)
        mdg_eio_resume(held, answer >= 0, message);
}

static void handshake(struct mdg_eio_worker *w, struct mdg_exchange *x, bool polling, bool upgrade)
{
    struct mdg_slice eio = mdg_exchange_query(x, "EIO"), none = {NULL, 0}, subprotocol;
    unsigned version = mdg_slice_eq(eio, MDG_SLICE_LIT("4"))   ? 4
                       : mdg_slice_eq(eio, MDG_SLICE_LIT("3")) ? 3
                                                               : 0;
    if (mdg_exchange_method(x) != MDG_HTTP_GET)
        eio_refuse(w, x, MDG_EIO_BAD_HANDSHAKE_METHOD, none);
    else if (polling == upgrade)
        eio_refuse(w, x, MDG_EIO_BAD_REQUEST, none);
    else if (version == 0 || (version == 3 && !w->options->allow_eio3))
        eio_refuse(w, x, MDG_EIO_UNSUPPORTED_VERSION, none);
    else if (upgrade && mdg_ws_check(x, &w->ws_options, &subprotocol) < 0)
        return; /* answered */
    else if (w->hooks->on_handshake)
        ask(w, x, version, upgrade);
    else
        begin(w, x, version, upgrade);
}

/* The worker that a sid names, or -1. */
static int worker_of(struct mdg_slice sid)
{
    uint8_t bytes[EIO_SID_BYTES];
    if (sid.len != EIO_SID_CHARS || mdg_base64_decode(sid, bytes, sizeof bytes) != EIO_SID_BYTES)
        return -1;
    return bytes[0];
}

/* The session lives in another worker: its connection goes there. */
static bool move(struct mdg_eio_worker *w, struct mdg_exchange *x, struct mdg_slice sid)
{
    int home = worker_of(sid);
    if (!w->hooks->home || home < 0 || (unsigned)home == w->number)
        return false;
    struct mdg_http_server *to = w->hooks->home(w->arg, (unsigned)home);
    if (!to)
        return false;
    if (mdg_exchange_move(x, to) < 0)
        mdg_exchange_respond_text(x, 503, "text/plain", MDG_SLICE_LIT("Try again"));
    return true;
}

static void with_sid(struct mdg_eio_worker *w, struct mdg_exchange *x, struct mdg_slice sid,
                     bool polling, bool upgrade)
{
    struct mdg_slice none = {NULL, 0}, subprotocol;
    struct mdg_eio_session *s = mdg_map_get(&w->sessions, sid);
    enum mdg_http_method method = mdg_exchange_method(x);
    if (s && eio_session_is_late(s)) {
        eio_session_end(s, MDG_CLOSE_ABNORMAL, "ping timeout");
        s = NULL;
    }
    if (!s) {
        eio_refuse(w, x, MDG_EIO_UNKNOWN_SID, none);
    } else if (upgrade) {
        if (polling)
            eio_refuse(w, x, MDG_EIO_BAD_REQUEST, none);
        else if (mdg_ws_check(x, &w->ws_options, &subprotocol) == 0)
            eio_ws_probe(s, x);
    } else if (!polling || s->ws || !s->poll) {
        /* Not drained by a request of the wrong transport (python-engineio#367). */
        eio_refuse(w, x, MDG_EIO_BAD_REQUEST, none);
    } else if (method == MDG_HTTP_GET) {
        eio_poll_on_get(s, x);
    } else if (method == MDG_HTTP_POST) {
        eio_poll_on_post(s, x);
    } else {
        eio_refuse(w, x, MDG_EIO_BAD_REQUEST, none);
    }
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_eio_worker *w = arg;
    const struct mdg_eio_options *o = w->options;
    struct mdg_slice none = {NULL, 0}, sid = mdg_exchange_query(x, "sid");
    struct mdg_slice transport = mdg_exchange_query(x, "transport");
    bool polling = mdg_slice_eq(transport, MDG_SLICE_LIT("polling"));
    bool websocket = mdg_slice_eq(transport, MDG_SLICE_LIT("websocket"));
    if (sid.len && move(w, x, sid))
        return 0;
    add_cors(w, x);
    if (w->hooks->origin_ok && !w->hooks->origin_ok(w->arg, x)) {
        eio_refuse(w, x, MDG_EIO_FORBIDDEN, none);
        return 0;
    }
    if (o->cors && mdg_exchange_method(x) == MDG_HTTP_OPTIONS) {
        preflight(x);
        return 0;
    }
    if (!(polling && o->polling) && !(websocket && o->websocket))
        eio_refuse(w, x, MDG_EIO_UNKNOWN_TRANSPORT, none);
    else if (sid.len)
        with_sid(w, x, sid, polling, mdg_ws_wanted(x));
    else
        handshake(w, x, polling, mdg_ws_wanted(x));
    return 0;
}

const struct mdg_http_handler mdg_eio_handler = {.on_request = on_request};

static bool make_blobs(struct mdg_eio_worker *w)
{
    static const uint8_t separator = MDG_EIO_SEPARATOR;
    w->separator = mdg_blob_copy(mdg_slice(&separator, 1));
    w->noop = mdg_blob_copy(MDG_SLICE_LIT("6"));
    w->close = mdg_blob_copy(MDG_SLICE_LIT("1"));
    w->noop3 = mdg_blob_copy(MDG_SLICE_LIT("1:6"));
    w->close3 = mdg_blob_copy(MDG_SLICE_LIT("1:1"));
    w->ok = mdg_blob_copy(MDG_SLICE_LIT("ok"));
    return w->separator && w->noop && w->close && w->noop3 && w->close3 && w->ok;
}

int mdg_eio_worker_new(struct mdg_loop *loop, struct mdg_ws_worker *ws, unsigned worker,
                       const struct mdg_eio_options *options, const struct mdg_eio_hooks *hooks,
                       void *arg, struct mdg_eio_worker **out)
{
    uint64_t seed[2];
    struct mdg_eio_worker *w = calloc(1, sizeof *w);
    assert(worker < 256 && hooks->on_open);
    if (!w)
        return MDG_E_NO_MEMORY;
    w->loop = loop;
    w->ws = ws;
    w->options = options;
    w->hooks = hooks;
    w->arg = arg;
    w->number = worker;
    w->ws_options = options->ws;
    w->ws_options.message_bytes_max = options->max_payload;
    w->ws_options.ping_interval_s = 0; /* Engine.IO has a heartbeat of its own */
    w->ws_options.codes_only = true;
    mdg_loop_random(loop, seed, sizeof seed);
    mdg_map_init(&w->sessions, seed);
    mdg_list_init(&w->list);
    mdg_list_init(&w->held);
    if (!make_blobs(w)) {
        mdg_eio_worker_free(w);
        return MDG_E_NO_MEMORY;
    }
    *out = w;
    return 0;
}

void mdg_eio_worker_close_some(struct mdg_eio_worker *w, int code, size_t *left)
{
    MDG_LIST_FOR(it, next, &w->list)
    {
        struct mdg_eio_session *s = MDG_CONTAINER_OF(it, struct mdg_eio_session, in_worker);
        if (*left == 0 || s->state != EIO_OPEN)
            continue;
        --*left;
        s->reason = "server shutting down";
        mdg_link_close(&s->link, code, mdg_slice_str(s->reason));
    }
}

void mdg_eio_worker_free(struct mdg_eio_worker *w)
{
    if (!w)
        return;
    MDG_LIST_FOR(it, next, &w->list)
    {
        struct mdg_eio_session *s = MDG_CONTAINER_OF(it, struct mdg_eio_session, in_worker);
        eio_session_destroy(s);
    }
    MDG_LIST_FOR(it, next, &w->held)
    {
        struct mdg_eio_held *held = MDG_CONTAINER_OF(it, struct mdg_eio_held, link);
        mdg_eio_resume(held, false, mdg_slice(NULL, 0));
    }
    mdg_map_fini(&w->sessions);
    mdg_blob_unref(w->separator);
    mdg_blob_unref(w->noop);
    mdg_blob_unref(w->close);
    mdg_blob_unref(w->noop3);
    mdg_blob_unref(w->close3);
    mdg_blob_unref(w->ok);
    free(w);
}

size_t mdg_eio_worker_count(const struct mdg_eio_worker *w)
{
    return w->sessions.len;
}
