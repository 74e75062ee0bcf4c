/* The life of a session and its side of the link. Upcalls to the owner come from request handlers,
 * timers, and from `work`, which runs at the end of the turn in which something was put off. */
#include "transport/sockjs_session.h"
#include <stdlib.h>

static const struct mdg_carrier carrier;

static struct mdg_sockjs_session *session_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct mdg_sockjs_session, link);
}

struct mdg_sockjs_session *mdg_sockjs_find(struct mdg_sockjs *s, struct mdg_slice id)
{
    return mdg_map_get(&s->sessions, id);
}

/* Without a user nobody listens: between the creation and on_open, and after on_close. */
static int ignore_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l;
    (void)in;
    (void)binary;
    return 0;
}

static void ignore_writable(struct mdg_link *l)
{
    (void)l;
}

static void ignore_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l;
    (void)code;
    (void)reason;
}

static const struct mdg_link_user nobody = {ignore_input, ignore_writable, ignore_close};

static void work(struct mdg_loop *loop, void *arg);
static void on_timer(struct mdg_timer *t, void *arg);

struct mdg_sockjs_session *mdg_sockjs_session_new(struct mdg_sockjs *s, struct mdg_slice id)
{
    assert(id.len > 0 && id.len <= MDG_SOCKJS_SESSION_MAX);
    if (s->sessions.len >= s->config->sessions_max)
        return NULL;
    struct mdg_sockjs_session *n = calloc(1, sizeof *n + id.len);
    if (!n)
        return NULL;
    n->service = s;
    n->link = (struct mdg_link){&carrier, &mdg_sockjs_framing_waiting, &nobody, NULL};
    n->state = MDG_SOCKJS_OPENING;
    n->id_len = (uint8_t)id.len;
    memcpy(n->id, id.data, id.len);
    mdg_list_init(&n->uploads);
    mdg_timer_init(&n->timer, on_timer, n);
    n->work = (struct mdg_defer){.fn = work, .arg = n};
    if (mdg_map_put(&s->sessions, mdg_slice(n->id, n->id_len), n) < 0) {
        free(n);
        return NULL;
    }
    return n;
}

static void forget_waiting(struct mdg_sockjs_session *n)
{
    for (uint32_t i = 0; i < n->waiting_count; i++)
        mdg_blob_unref(n->waiting[i].blob);
    free(n->waiting);
    n->waiting = NULL;
    n->waiting_count = n->waiting_cap = 0;
    n->waiting_bytes = 0;
}

static void free_session(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

void mdg_sockjs_session_end(struct mdg_sockjs_session *n)
{
    if (n->state == MDG_SOCKJS_FREED)
        return;
    n->state = MDG_SOCKJS_FREED;
    mdg_sockjs_uploads_go_on(n);
    if (n->receiver)
        mdg_exchange_kill(n->receiver);
    n->receiver = NULL;
    mdg_map_remove(&n->service->sessions, mdg_slice(n->id, n->id_len));
    mdg_timer_stop(n->service->loop, &n->timer);
    forget_waiting(n);
    mdg_blob_unref(n->close_frame);
    n->close_frame = NULL;
    mdg_defer_cancel(&n->work);
    n->work.fn = free_session;
    mdg_loop_dispose(n->service->loop, &n->work);
}

/* on_close, once. */
static void tell_close(struct mdg_sockjs_session *n, int code, struct mdg_slice reason)
{
    const struct mdg_link_user *user = n->link.user;
    n->state = MDG_SOCKJS_CLOSED;
    n->link.framing = &mdg_sockjs_framing_waiting;
    user->on_close(&n->link, code, reason);
    n->link.user = &nobody;
}

void mdg_sockjs_session_lost(struct mdg_sockjs_session *n, int code)
{
    if (n->state == MDG_SOCKJS_FREED)
        return;
    if (n->state != MDG_SOCKJS_CLOSED)
        tell_close(n, n->state == MDG_SOCKJS_CLOSING ? n->close_code : code, mdg_slice(NULL, 0));
    mdg_sockjs_session_end(n);
}

bool mdg_sockjs_session_input(struct mdg_sockjs_session *n, struct mdg_input message)
{
    if (n->state != MDG_SOCKJS_OPEN)
        return false;
    int err = n->link.user->on_input(&n->link, message, false);
    if (err < 0)
        mdg_link_close(&n->link, err == MDG_E_TOO_BIG ? MDG_CLOSE_TOO_BIG : MDG_CLOSE_PROTOCOL,
                       mdg_slice_str(mdg_strerror(err)));
    return n->state == MDG_SOCKJS_OPEN;
}

void mdg_sockjs_session_wake(struct mdg_sockjs_session *n)
{
    if (n->state != MDG_SOCKJS_FREED)
        mdg_loop_defer(n->service->loop, &n->work);
}

static void work(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    struct mdg_sockjs_session *n = arg;
    mdg_sockjs_flush(n);
    if (!n->paused || n->state != MDG_SOCKJS_OPEN)
        mdg_sockjs_uploads_go_on(n);
    if (n->state == MDG_SOCKJS_OPEN && n->refused &&
        n->waiting_bytes <= n->service->config->waiting_bytes_max / 4) {
        n->refused = false;
        n->link.user->on_writable(&n->link);
    }
    if (n->state == MDG_SOCKJS_CLOSING)
        tell_close(n, n->close_code, mdg_slice(NULL, 0));
}

/* Frames only note when they went out; the timer moves on by itself. */
static void on_timer(struct mdg_timer *t, void *arg)
{
    (void)t;
    struct mdg_sockjs_session *n = arg;
    if (!n->receiver) {
        mdg_sockjs_session_lost(n, MDG_CLOSE_ABNORMAL);
        return;
    }
    uint64_t silent_ms = mdg_loop_now_ms(n->service->loop) - n->sent_ms;
    uint64_t wanted_ms = n->service->config->heartbeat_ms;
    if (silent_ms < wanted_ms) {
        mdg_timer_start(n->service->loop, &n->timer, wanted_ms - silent_ms);
        return;
    }
    mdg_timer_start(n->service->loop, &n->timer, wanted_ms);
    mdg_sockjs_heartbeat(n);
}

static int make_room(struct mdg_sockjs_session *n, size_t more)
{
    if (n->waiting_count + more <= n->waiting_cap)
        return 0;
    size_t cap = n->waiting_cap ? 2u * n->waiting_cap : 4;
    while (cap < n->waiting_count + more)
        cap *= 2;
    struct mdg_chunk *grown = realloc(n->waiting, cap * sizeof *grown);
    if (!grown)
        return MDG_E_NO_MEMORY;
    n->waiting = grown;
    n->waiting_cap = (uint32_t)cap;
    return 0;
}

static size_t total(const struct mdg_chunk *chunks, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += chunks[i].len;
    return bytes;
}

static int put_waiting(struct mdg_sockjs_session *n, struct mdg_chunk *chunks, size_t count)
{
    size_t bytes = total(chunks, count);
    if (n->waiting_count && n->waiting_bytes + bytes > n->service->config->waiting_bytes_max) {
        n->refused = true;
        return MDG_E_FULL;
    }
    int err = make_room(n, count);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++) {
        n->waiting[n->waiting_count++] = chunks[i];
        chunks[i].blob = NULL;
    }
    n->waiting_bytes += bytes;
    if (n->receiver)
        mdg_loop_defer(n->service->loop, &n->work);
    return 0;
}

/* Bytes of the frames inside of HTTP chunks: what the browser will hold. */
static size_t inside(struct mdg_slice framed)
{
    size_t bytes = 0;
    for (size_t at = 0; at < framed.len;) {
        size_t size = 0;
        for (; framed.data[at] != '\r'; at++)
            size = size << 4 |
                   (framed.data[at] <= '9' ? framed.data[at] & 15u : (framed.data[at] & 15u) + 9);
        bytes += size;
        at += 2 + size + 2;
    }
    return bytes;
}

static int link_send(struct mdg_link *l, struct mdg_chunk *framed, size_t count)
{
    struct mdg_sockjs_session *n = session_of(l);
    if (n->state != MDG_SOCKJS_OPEN)
        return MDG_E_CLOSED;
    if (l->framing == &mdg_sockjs_framing_waiting)
        return put_waiting(n, framed, count);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += inside(mdg_chunk_slice(&framed[i]));
    int err = mdg_exchange_write_framed(n->receiver, framed, count);
    if (err == 0)
        mdg_sockjs_sent(n, bytes);
    return err;
}

static int link_send_unit(struct mdg_link *l, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    if (meta && meta->binary)
        return MDG_E_UNSUPPORTED;
    struct mdg_blob *blob = mdg_sockjs_frame_blob(l->framing, unit);
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    int err = link_send(l, &chunk, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

static struct mdg_blob *new_close_frame(int code, struct mdg_slice reason)
{
    uint8_t text[1024];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_sockjs_write_close(&w, (unsigned)code, reason);
    return mdg_writer_fits(&w) ? mdg_blob_copy(mdg_slice(text, w.len)) : NULL;
}

static void link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_sockjs_session *n = session_of(l);
    if (n->state != MDG_SOCKJS_OPEN && n->state != MDG_SOCKJS_OPENING)
        return;
    if (code == MDG_CLOSE_NORMAL && reason.len == 0)
        reason = MDG_SLICE_LIT("Normal closure");
    n->close_frame = new_close_frame(code, reason);
    n->state = MDG_SOCKJS_CLOSING;
    n->close_code = (uint16_t)code;
    n->link.framing = &mdg_sockjs_framing_waiting;
    mdg_loop_defer(n->service->loop, &n->work);
}

static void link_pause(struct mdg_link *l, bool paused)
{
    struct mdg_sockjs_session *n = session_of(l);
    n->paused = paused;
    if (!paused && !mdg_list_empty(&n->uploads))
        mdg_sockjs_session_wake(n);
}

static size_t link_queued(const struct mdg_link *l)
{
    return session_of(l)->waiting_bytes;
}

static const struct mdg_carrier carrier = {
    .name = "sockjs",
    .send = link_send,
    .send_unit = link_send_unit,
    .close = link_close,
    .pause = link_pause,
    .queued = link_queued,
};
