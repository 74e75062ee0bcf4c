/* A SockJS service: which URL is what, and the pages that need no session. */
#include "transport/sockjs.h"
#include "transport/sockjs_session.h"
#include <stdlib.h>

/* The page never changes while the service lives, nor does its ETag from one start to the next. */
static int make_iframe(struct mdg_sockjs *s)
{
    static const uint64_t seed[2] = {0x736f636b6a73, 0x696672616d65};
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_sockjs_write_iframe(&w, s->config->sockjs_url);
    s->iframe = mdg_blob_new((uint32_t)w.len);
    if (!s->iframe)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, s->iframe->data, s->iframe->len);
    mdg_sockjs_write_iframe(&w, s->config->sockjs_url);
    uint64_t hash = mdg_siphash(seed, mdg_blob_slice(s->iframe));
    uint8_t bytes[8];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(hash >> (8 * i));
    mdg_writer_init(&w, s->etag, sizeof s->etag);
    mdg_write_u8(&w, '"');
    mdg_write_hex(&w, mdg_slice(bytes, sizeof bytes));
    mdg_write_u8(&w, '"');
    assert(w.len == sizeof s->etag);
    return 0;
}

static int make_prelude(struct mdg_sockjs *s)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_sockjs_write_prelude(&w, MDG_SOCKJS_NEWLINE, mdg_slice(NULL, 0));
    s->xhr_prelude = mdg_blob_new((uint32_t)w.len);
    if (!s->xhr_prelude)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, s->xhr_prelude->data, s->xhr_prelude->len);
    mdg_sockjs_write_prelude(&w, MDG_SOCKJS_NEWLINE, mdg_slice(NULL, 0));
    return 0;
}

int mdg_sockjs_new(struct mdg_loop *loop, struct mdg_ws_worker *ws,
                   const struct mdg_sockjs_config *config, const struct mdg_sockjs_user *user,
                   void *arg, struct mdg_sockjs **out)
{
    assert(config->response_bytes_max > 0 && config->heartbeat_ms > 0);
    assert(!config->websocket || (ws && config->ws_options));
    struct mdg_sockjs *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    *s = (struct mdg_sockjs){.loop = loop, .ws = ws, .config = config, .user = user, .arg = arg};
    uint64_t seed[2];
    mdg_loop_random(loop, seed, sizeof seed);
    mdg_map_init(&s->sessions, seed);
    int err = make_iframe(s);
    if (err == 0)
        err = make_prelude(s);
    if (err) {
        mdg_sockjs_free(s);
        return err;
    }
    *out = s;
    return 0;
}

size_t mdg_sockjs_count(const struct mdg_sockjs *s)
{
    return s->sessions.len;
}

void mdg_sockjs_close_some(struct mdg_sockjs *s, int code, struct mdg_slice reason, size_t *left)
{
    struct mdg_sockjs_session *n;
    for (size_t at = 0; *left > 0 && (n = mdg_map_next(&s->sessions, &at));) {
        if (n->state != MDG_SOCKJS_OPEN && n->state != MDG_SOCKJS_OPENING)
            continue;
        --*left;
        mdg_link_close(&n->link, code, reason);
    }
}

void mdg_sockjs_free(struct mdg_sockjs *s)
{
    if (!s)
        return;
    for (;;) {
        size_t at = 0;
        struct mdg_sockjs_session *n = mdg_map_next(&s->sessions, &at);
        if (!n)
            break;
        mdg_sockjs_session_lost(n, MDG_CLOSE_GOING_AWAY);
    }
    mdg_map_fini(&s->sessions);
    mdg_blob_unref(s->iframe);
    mdg_blob_unref(s->xhr_prelude);
    free(s);
}

bool mdg_sockjs_owns(const struct mdg_sockjs *s, struct mdg_slice path)
{
    struct mdg_slice prefix = s->config->prefix;
    return mdg_slice_starts(path, prefix) &&
           (path.len == prefix.len || path.data[prefix.len] == '/');
}

static int respond_not_found(struct mdg_exchange *x)
{
    mdg_exchange_respond_text(x, 404, NULL, mdg_slice(NULL, 0));
    return 0;
}

static int respond_greeting(struct mdg_sockjs *s, struct mdg_exchange *x)
{
    struct mdg_sockjs_head head;
    mdg_sockjs_head(&head, s, x, 0, "text/plain; charset=UTF-8");
    return mdg_sockjs_respond(x, 200, &head, MDG_SLICE_LIT("Welcome to SockJS!\n"));
}

static int respond_iframe(struct mdg_sockjs *s, struct mdg_exchange *x)
{
    struct mdg_sockjs_head head;
    struct mdg_slice etag = {s->etag, sizeof s->etag};
    bool same = mdg_slice_eq(mdg_exchange_header(x, "if-none-match"), etag);
    mdg_sockjs_head(&head, s, x, MDG_SOCKJS_HEAD_CACHE, same ? NULL : "text/html; charset=UTF-8");
    mdg_sockjs_head_add(&head, "ETag", etag);
    if (same)
        return mdg_sockjs_respond(x, 304, &head, mdg_slice(NULL, 0));
    if (s->config->frame_ancestors.len)
        mdg_sockjs_head_add(&head, "Content-Security-Policy", s->config->frame_ancestors);
    struct mdg_chunk body = mdg_chunk_all(mdg_blob_ref(s->iframe));
    int err = mdg_exchange_respond(x, 200, head.h, head.n, &body, 1);
    if (err)
        mdg_blob_unref(body.blob);
    return err;
}

static int respond_info(struct mdg_sockjs *s, struct mdg_exchange *x)
{
    uint32_t entropy;
    mdg_loop_random(s->loop, &entropy, sizeof entropy);
    uint8_t text[128];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_info(&w, s->config->websocket, s->config->cookie, entropy);
    assert(mdg_writer_fits(&w));
    struct mdg_sockjs_head head;
    mdg_sockjs_head(&head, s, x, MDG_SOCKJS_HEAD_CORS | MDG_SOCKJS_HEAD_NO_CACHE,
                    "application/json; charset=UTF-8");
    return mdg_sockjs_respond(x, 200, &head, mdg_slice(text, w.len));
}

/* Preflights, which browsers keep for as long as they are told. */
static int respond_options(struct mdg_sockjs *s, struct mdg_exchange *x,
                           enum mdg_sockjs_endpoint endpoint)
{
    struct mdg_sockjs_head head;
    mdg_sockjs_head(&head, s, x,
                    MDG_SOCKJS_HEAD_COOKIE | MDG_SOCKJS_HEAD_CORS | MDG_SOCKJS_HEAD_CACHE, NULL);
    mdg_sockjs_head_add(&head, "Access-Control-Allow-Methods",
                        mdg_slice_str(mdg_sockjs_methods(endpoint)));
    mdg_sockjs_head_add(&head, "Access-Control-Max-Age", MDG_SLICE_LIT("31536000"));
    return mdg_sockjs_respond(x, 204, &head, mdg_slice(NULL, 0));
}

static bool has_method(const struct mdg_exchange *x, enum mdg_sockjs_endpoint endpoint)
{
    struct mdg_slice methods = mdg_slice_str(mdg_sockjs_methods(endpoint));
    struct mdg_slice method = mdg_exchange_handshake(x)->method;
    bool page = endpoint == MDG_SOCKJS_GREETING || endpoint == MDG_SOCKJS_INFO ||
                endpoint == MDG_SOCKJS_IFRAME;
    if (page && mdg_exchange_method(x) == MDG_HTTP_HEAD)
        return true;
    while (methods.data) {
        if (mdg_slice_eq(mdg_slice_trim(mdg_slice_split(&methods, ',')), method))
            return true;
    }
    return false;
}

/* Without a body, as the protocol wants it. */
static int respond_method(struct mdg_exchange *x, enum mdg_sockjs_endpoint endpoint)
{
    struct mdg_sockjs_head head = {.n = 0};
    mdg_sockjs_head_add(&head, "Allow", mdg_slice_str(mdg_sockjs_methods(endpoint)));
    return mdg_sockjs_respond(x, 405, &head, mdg_slice(NULL, 0));
}

static int serve(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url)
{
    switch (url.endpoint) {
    case MDG_SOCKJS_GREETING:
        return respond_greeting(s, x);
    case MDG_SOCKJS_INFO:
        return respond_info(s, x);
    case MDG_SOCKJS_IFRAME:
        return respond_iframe(s, x);
    case MDG_SOCKJS_RAW_WEBSOCKET:
    case MDG_SOCKJS_WEBSOCKET:
        return mdg_sockjs_websocket(s, x, url.endpoint == MDG_SOCKJS_RAW_WEBSOCKET);
    case MDG_SOCKJS_XHR_SEND:
    case MDG_SOCKJS_JSONP_SEND:
        return mdg_sockjs_upload(s, x, url);
    case MDG_SOCKJS_XHR:
    case MDG_SOCKJS_XHR_STREAMING:
    case MDG_SOCKJS_EVENTSOURCE:
    case MDG_SOCKJS_HTMLFILE:
    case MDG_SOCKJS_JSONP:
        return mdg_sockjs_receive(s, x, url);
    case MDG_SOCKJS_NOT_FOUND:
    case MDG_SOCKJS_ENDPOINTS:
        break;
    }
    return respond_not_found(x);
}

/* The session lives on another worker: this connection goes there. True: it did, or the client was
 * told to try again. */
static bool moves_home(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url)
{
    if (url.endpoint == MDG_SOCKJS_WEBSOCKET || !url.session.len || !s->user->home)
        return false;
    struct mdg_http_server *home = s->user->home(url.session, s->arg);
    if (!home)
        return false;
    if (mdg_exchange_move(x, home) < 0)
        mdg_exchange_respond_text(x, 503, NULL, mdg_slice(NULL, 0));
    return true;
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_sockjs *s = arg;
    struct mdg_slice path = mdg_exchange_handshake(x)->path;
    if (!mdg_sockjs_owns(s, path))
        return respond_not_found(x);
    size_t skip = s->config->prefix.len;
    struct mdg_sockjs_url url = mdg_sockjs_url(mdg_slice(path.data + skip, path.len - skip));
    bool websocket =
        url.endpoint == MDG_SOCKJS_RAW_WEBSOCKET || url.endpoint == MDG_SOCKJS_WEBSOCKET;
    if (url.endpoint == MDG_SOCKJS_NOT_FOUND || (websocket && !s->config->websocket))
        return respond_not_found(x);
    if (!has_method(x, url.endpoint))
        return respond_method(x, url.endpoint);
    bool static_page = url.endpoint == MDG_SOCKJS_GREETING || url.endpoint == MDG_SOCKJS_IFRAME;
    if (!static_page && mdg_sockjs_refuse_origin(s, x))
        return 0;
    if (mdg_exchange_method(x) == MDG_HTTP_OPTIONS)
        return respond_options(s, x, url.endpoint);
    if (moves_home(s, x, url))
        return 0;
    return serve(s, x, url);
}

const struct mdg_http_handler mdg_sockjs_handler = {.on_request = on_request};
