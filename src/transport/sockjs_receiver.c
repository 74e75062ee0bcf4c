/* Responses that carry frames: xhr and jsonp (one frame, then the response ends), xhr_streaming,
 * eventsource and htmlfile (many, up to a limit). At most one at a time serves a session. */
#include "transport/sockjs_session.h"
#include <stdlib.h>

static const struct mdg_slice nothing = {NULL, 0};
static const char another[] = "Another connection still open";

struct kind {
    enum mdg_sockjs_wrap wrap;
    bool streaming;
    unsigned head;
    const char *content_type;
};

static const struct kind *kind_of(enum mdg_sockjs_endpoint endpoint)
{
    enum {
        SESSION = MDG_SOCKJS_HEAD_COOKIE | MDG_SOCKJS_HEAD_NO_CACHE,
        STREAM = SESSION | MDG_SOCKJS_HEAD_STREAM
    };
    static const char script[] = "application/javascript; charset=UTF-8";
    static const struct kind
        xhr = {MDG_SOCKJS_NEWLINE, false, SESSION | MDG_SOCKJS_HEAD_CORS, script},
        xhr_streaming = {MDG_SOCKJS_NEWLINE, true, STREAM | MDG_SOCKJS_HEAD_CORS, script},
        eventsource = {MDG_SOCKJS_EVENT, true,
                       STREAM | MDG_SOCKJS_HEAD_CORS | MDG_SOCKJS_HEAD_NULL_STAR,
                       "text/event-stream"},
        htmlfile = {MDG_SOCKJS_SCRIPT, true, STREAM, "text/html; charset=UTF-8"},
        jsonp = {MDG_SOCKJS_CALLBACK, false, SESSION | MDG_SOCKJS_HEAD_NOSNIFF, script};
    if (endpoint == MDG_SOCKJS_XHR)
        return &xhr;
    if (endpoint == MDG_SOCKJS_XHR_STREAMING)
        return &xhr_streaming;
    if (endpoint == MDG_SOCKJS_EVENTSOURCE)
        return &eventsource;
    return endpoint == MDG_SOCKJS_HTMLFILE ? &htmlfile : &jsonp;
}

/* The callback's name is checked when the request comes; it stays in the request's query. */
static int callback_of(const struct mdg_exchange *x, uint8_t out[MDG_SOCKJS_CALLBACK_MAX])
{
    struct mdg_slice encoded = mdg_exchange_query(x, "c");
    if (!encoded.data)
        encoded = mdg_exchange_query(x, "callback");
    return encoded.data ? mdg_sockjs_callback(encoded, out) : MDG_E_NOT_FOUND;
}

static struct mdg_blob *wrapped(const struct mdg_exchange *x, enum mdg_sockjs_wrap wrap,
                                struct mdg_slice frame)
{
    uint8_t name[MDG_SOCKJS_CALLBACK_MAX];
    struct mdg_slice callback = nothing;
    if (wrap == MDG_SOCKJS_CALLBACK)
        callback = mdg_slice(name, (size_t)callback_of(x, name));
    struct mdg_blob *blob = NULL;
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    for (int round = 0; round < 2; round++) {
        mdg_sockjs_write_head(&w, wrap, callback);
        mdg_sockjs_write_escaped(&w, wrap, frame);
        mdg_sockjs_write_tail(&w, wrap);
        if (round == 0) {
            blob = w.len <= UINT32_MAX ? mdg_blob_new((uint32_t)w.len) : NULL;
            if (!blob)
                return NULL;
            mdg_writer_init(&w, blob->data, blob->len);
        }
    }
    return blob;
}

/* Whole responses with one frame. */
static int respond_frame(struct mdg_sockjs *s, struct mdg_exchange *x, const struct kind *k,
                         struct mdg_slice frame)
{
    struct mdg_blob *blob = wrapped(x, k->wrap, frame);
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_sockjs_head head;
    mdg_sockjs_head(&head, s, x, k->head, k->content_type);
    struct mdg_chunk body = mdg_chunk_all(blob);
    int err = mdg_exchange_respond(x, 200, head.h, head.n, &body, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

static int write_blob(struct mdg_exchange *x, struct mdg_blob *blob)
{
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    int err = mdg_exchange_write(x, &chunk, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

static struct mdg_blob *prelude_of(struct mdg_sockjs *s, const struct mdg_exchange *x,
                                   enum mdg_sockjs_wrap wrap)
{
    uint8_t name[MDG_SOCKJS_CALLBACK_MAX], page[2048];
    struct mdg_slice callback = nothing;
    if (wrap == MDG_SOCKJS_NEWLINE)
        return mdg_blob_ref(s->xhr_prelude);
    if (wrap == MDG_SOCKJS_SCRIPT)
        callback = mdg_slice(name, (size_t)callback_of(x, name));
    struct mdg_writer w;
    mdg_writer_init(&w, page, sizeof page);
    mdg_sockjs_write_prelude(&w, wrap, callback);
    assert(mdg_writer_fits(&w));
    return mdg_blob_copy(mdg_slice(page, w.len));
}

static int begin_stream(struct mdg_sockjs *s, struct mdg_exchange *x, const struct kind *k)
{
    struct mdg_blob *prelude = prelude_of(s, x, k->wrap);
    struct mdg_sockjs_head head;
    mdg_sockjs_head(&head, s, x, k->head, k->content_type);
    int err = mdg_exchange_begin(x, 200, head.h, head.n);
    if (err) {
        mdg_blob_unref(prelude);
        return err;
    }
    return write_blob(x, prelude);
}

/* The session has no receiver any more; it waits for the next one. */
static void release(struct mdg_sockjs_session *n)
{
    n->receiver = NULL;
    n->link.framing = &mdg_sockjs_framing_waiting;
    mdg_timer_start(n->service->loop, &n->timer, n->service->config->disconnect_ms);
}

static void end_stream(struct mdg_sockjs_session *n)
{
    struct mdg_exchange *x = n->receiver;
    release(n);
    mdg_exchange_end(x);
}

void mdg_sockjs_sent(struct mdg_sockjs_session *n, size_t bytes)
{
    n->sent_ms = mdg_loop_now_ms(n->service->loop);
    n->response_bytes += (uint32_t)mdg_min_size(bytes, UINT32_MAX / 2);
    if (n->response_bytes >= n->service->config->response_bytes_max)
        end_stream(n);
}

/* Which of the five this receiver is, told from what the session keeps of it. */
static const struct kind *receiver_kind(const struct mdg_sockjs_session *n)
{
    switch ((enum mdg_sockjs_wrap)n->wrap) {
    case MDG_SOCKJS_EVENT:
        return kind_of(MDG_SOCKJS_EVENTSOURCE);
    case MDG_SOCKJS_SCRIPT:
        return kind_of(MDG_SOCKJS_HTMLFILE);
    case MDG_SOCKJS_CALLBACK:
        return kind_of(MDG_SOCKJS_JSONP);
    case MDG_SOCKJS_PLAIN:
    case MDG_SOCKJS_NEWLINE:
        break;
    }
    return kind_of(n->streaming ? MDG_SOCKJS_XHR_STREAMING : MDG_SOCKJS_XHR);
}

/* One frame to the receiver; afterwards it may be gone. MDG_E_FULL: nothing happened. Any other
 * trouble cuts the connection: half a frame is worse than none. */
static int give(struct mdg_sockjs_session *n, struct mdg_slice frame)
{
    struct mdg_exchange *x = n->receiver;
    assert(x);
    if (!n->streaming) {
        release(n);
        int err = respond_frame(n->service, x, receiver_kind(n), frame);
        if (err)
            mdg_exchange_kill(x);
        return err;
    }
    struct mdg_blob *blob = wrapped(x, n->wrap, frame);
    size_t bytes = blob ? blob->len : 0;
    int err = write_blob(x, blob);
    if (err == MDG_E_FULL)
        return err;
    if (err) {
        release(n);
        mdg_exchange_kill(x);
        return err;
    }
    mdg_sockjs_sent(n, bytes);
    return 0;
}

static struct mdg_blob *new_message_frame(const struct mdg_sockjs_session *n)
{
    size_t len = n->waiting_bytes + n->waiting_count + 2;
    struct mdg_blob *blob = len <= UINT32_MAX ? mdg_blob_new((uint32_t)len) : NULL;
    if (!blob)
        return NULL;
    struct mdg_writer w;
    mdg_writer_init(&w, blob->data, blob->len);
    mdg_write_str(&w, "a[");
    for (uint32_t i = 0; i < n->waiting_count; i++) {
        if (i > 0)
            mdg_write_u8(&w, ',');
        mdg_write_slice(&w, mdg_chunk_slice(&n->waiting[i]));
    }
    mdg_write_u8(&w, ']');
    assert(w.len == blob->len);
    return blob;
}

static int give_waiting(struct mdg_sockjs_session *n)
{
    struct mdg_blob *frame = new_message_frame(n);
    if (!frame)
        return MDG_E_FULL;
    int err = give(n, mdg_blob_slice(frame));
    mdg_blob_unref(frame);
    if (err)
        return err;
    for (uint32_t i = 0; i < n->waiting_count; i++)
        mdg_blob_unref(n->waiting[i].blob);
    n->waiting_count = 0;
    n->waiting_bytes = 0;
    free(n->waiting);
    n->waiting = NULL;
    n->waiting_cap = 0;
    return 0;
}

/* A chunked stream with nothing before it takes messages as they are sent. */
static void choose_framing(struct mdg_sockjs_session *n)
{
    bool direct = n->receiver && n->streaming && n->waiting_count == 0 &&
                  n->state == MDG_SOCKJS_OPEN && mdg_exchange_chunked(n->receiver);
    n->link.framing = direct ? mdg_sockjs_framing_stream(n->wrap) : &mdg_sockjs_framing_waiting;
}

void mdg_sockjs_flush(struct mdg_sockjs_session *n)
{
    if (n->receiver && n->waiting_count > 0 && give_waiting(n) < 0)
        return;
    bool closing = n->state == MDG_SOCKJS_CLOSING || n->state == MDG_SOCKJS_CLOSED;
    if (n->receiver && closing) {
        bool streaming = n->streaming;
        int err = n->close_frame ? give(n, mdg_blob_slice(n->close_frame)) : MDG_E_NO_MEMORY;
        if (n->receiver && (streaming || err))
            end_stream(n);
    }
    choose_framing(n);
}

void mdg_sockjs_heartbeat(struct mdg_sockjs_session *n)
{
    if (give(n, MDG_SLICE_LIT("h")) == 0)
        choose_framing(n);
}

/* The client went away in the middle of a response: nobody knows what it has got, so the session
 * is over (protocol, "Handling close"). */
static void on_abort(struct mdg_exchange *x)
{
    struct mdg_sockjs_session *n = mdg_exchange_arg(x);
    if (!n || n->receiver != x)
        return;
    n->receiver = NULL;
    mdg_sockjs_session_lost(n, MDG_CLOSE_ABNORMAL);
}

static void on_writable(struct mdg_exchange *x)
{
    struct mdg_sockjs_session *n = mdg_exchange_arg(x);
    if (!n || n->receiver != x)
        return;
    mdg_sockjs_flush(n);
    if (n->state == MDG_SOCKJS_OPEN && n->waiting_count == 0) {
        n->refused = false;
        n->link.user->on_writable(&n->link);
    }
}

const struct mdg_http_handler mdg_sockjs_receiver_handler = {
    .on_writable = on_writable,
    .on_abort = on_abort,
};

/* The answer to a second receiver, or to one that comes when nothing is left but the end. */
static int respond_last(struct mdg_sockjs *s, struct mdg_exchange *x, const struct kind *k,
                        struct mdg_slice frame)
{
    if (!k->streaming)
        return respond_frame(s, x, k, frame);
    int err = write_blob(x, wrapped(x, k->wrap, frame));
    if (err)
        return err;
    mdg_exchange_end(x);
    return 0;
}

static int refuse_second(struct mdg_sockjs *s, struct mdg_exchange *x, const struct kind *k)
{
    uint8_t text[64];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_close(&w, 2010, mdg_slice_str(another));
    return respond_last(s, x, k, mdg_slice(text, w.len));
}

static void attach(struct mdg_sockjs_session *n, struct mdg_exchange *x, const struct kind *k)
{
    mdg_exchange_set_arg(x, n);
    mdg_exchange_set_handler(x, &mdg_sockjs_receiver_handler);
    mdg_exchange_abort_on_eof(x);
    if (k->streaming)
        mdg_exchange_forget_request(x); /* nothing of it is needed any more */
    n->receiver = x;
    n->wrap = (uint8_t)k->wrap;
    n->streaming = k->streaming;
    n->response_bytes = 0;
    n->sent_ms = mdg_loop_now_ms(n->service->loop);
    mdg_timer_start(n->service->loop, &n->timer, n->service->config->heartbeat_ms);
}

static void open_session(struct mdg_sockjs_session *n, void *visitor)
{
    struct mdg_sockjs *s = n->service;
    n->state = MDG_SOCKJS_OPEN;
    give(n, MDG_SLICE_LIT("o"));
    choose_framing(n);
    if (s->user->on_open(&n->link, visitor, s->arg) < 0)
        mdg_link_close(&n->link, MDG_CLOSE_INTERNAL, nothing);
}

/* 0, an HTTP status or an error; *visitor is set on 0. */
static int let_in(struct mdg_sockjs *s, struct mdg_exchange *x, void **visitor)
{
    *visitor = NULL;
    return s->user->on_handshake ? s->user->on_handshake(x, s->arg, visitor) : 0;
}

static void drop_visitor(struct mdg_sockjs *s, void *visitor)
{
    if (visitor && s->user->on_drop)
        s->user->on_drop(visitor, s->arg);
}

static int receive_first(struct mdg_sockjs *s, struct mdg_exchange *x, const struct kind *k,
                         struct mdg_slice id)
{
    void *visitor;
    int err = let_in(s, x, &visitor);
    if (err < 0)
        return err;
    struct mdg_sockjs_session *n = err == 0 ? mdg_sockjs_session_new(s, id) : NULL;
    if (!n) {
        drop_visitor(s, visitor);
        mdg_exchange_respond_text(x, err ? (unsigned)err : 503, NULL, nothing);
        return 0;
    }
    err = k->streaming ? begin_stream(s, x, k) : 0;
    if (err) {
        drop_visitor(s, visitor);
        mdg_sockjs_session_end(n);
        return err;
    }
    attach(n, x, k);
    open_session(n, visitor);
    return 0;
}

static int check_callback(struct mdg_exchange *x)
{
    uint8_t name[MDG_SOCKJS_CALLBACK_MAX];
    int len = callback_of(x, name);
    if (len > 0)
        return 0;
    struct mdg_slice text = len == MDG_E_SYNTAX ? MDG_SLICE_LIT("invalid \"callback\" parameter")
                                                : MDG_SLICE_LIT("\"callback\" parameter required");
    mdg_exchange_respond_text(x, 500, "text/plain; charset=UTF-8", text);
    return MDG_E_SYNTAX;
}

/* The session that this receiver is for, NULL for a new one. A client that has hung up and comes
 * again may be heard on its second connection first; its first one is over all the same, and with
 * it the session. */
static struct mdg_sockjs_session *session_for_receiver(struct mdg_sockjs *s, struct mdg_slice id)
{
    struct mdg_sockjs_session *n = mdg_sockjs_find(s, id);
    if (!n || !n->receiver || !mdg_exchange_hung_up(n->receiver))
        return n;
    mdg_sockjs_session_lost(n, MDG_CLOSE_ABNORMAL);
    return NULL;
}

int mdg_sockjs_receive(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url)
{
    const struct kind *k = kind_of(url.endpoint);
    bool named = k->wrap == MDG_SOCKJS_CALLBACK || k->wrap == MDG_SOCKJS_SCRIPT;
    if (named && check_callback(x) < 0)
        return 0;
    struct mdg_sockjs_session *n = session_for_receiver(s, url.session);
    if (!n)
        return receive_first(s, x, k, url.session);
    int err = k->streaming ? begin_stream(s, x, k) : 0;
    if (err)
        return err;
    if (n->receiver)
        return refuse_second(s, x, k);
    attach(n, x, k);
    mdg_sockjs_flush(n);
    if (n->refused)
        mdg_sockjs_session_wake(n);
    return 0;
}
