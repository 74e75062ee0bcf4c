/* The application's connections as members of rooms. A connection that joins its first room becomes
 * a dialect's peer, whose units are the messages' payloads as they are; until then it costs nothing
 * of that. */
#include "base/base64.h"
#include "dialect/peer.h"
#include "server/api_ws.h"
#include <stdlib.h>
#include <time.h>

/* ---- the dialect ---- */

struct app_state {
    struct mdg_handle *handle;
};

static struct mdg_handle *handle_of(struct mdg_peer *p)
{
    return ((struct app_state *)mdg_peer_state(p))->handle;
}

static int open_app(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    (void)p, (void)hs;
    return 0;
}

/* Input goes past the dialect, see member_link_user. */
static int no_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    (void)p, (void)in, (void)binary;
    return 0;
}

static void close_app(struct mdg_peer *p, int code)
{
    (void)p, (void)code;
}

/* SockJS has no binary messages. */
static int encode_base64(const struct mdg_msg *m, struct mdg_unit_sink *sink)
{
    static const struct mdg_unit_meta meta = {.compress = true};
    struct mdg_slice bytes = mdg_msg_payload(m);
    size_t len = mdg_base64_encoded_len(bytes.len);
    int err = mdg_buf_reserve(sink->work, len);
    if (err < 0)
        return err;
    struct mdg_writer w;
    mdg_writer_init(&w, sink->work->data + sink->work->len, len);
    mdg_write_base64(&w, bytes);
    return sink->unit(sink, mdg_slice(w.data, w.len), &meta);
}

static int encode_app(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink)
{
    struct mdg_unit_meta meta = {.binary = m->content->kind == MDG_MSG_BINARY, .compress = true};
    if (m->content->kind == MDG_MSG_PRESENCE)
        return 0;
    if (meta.binary && text_only)
        return encode_base64(m, sink);
    return sink->unit(sink, mdg_msg_payload(m), &meta);
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    (void)info;
    if (err < 0)
        mdg_peer_close(mdg_peer_of(m->session), MDG_CLOSE_INTERNAL,
                       MDG_SLICE_LIT("could not join the room"));
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    (void)m, (void)from, (void)to; /* raw payloads have no words for it; the policy is "kick" */
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    mdg_peer_close(mdg_peer_of(s), mdg_peer_close_code(reason),
                   mdg_slice_str(mdg_strerror(reason)));
}

static const struct mdg_dialect app_dialect = {
    .name = "app",
    .open = open_app,
    .on_input = no_input,
    .close = close_app,
    .encode = encode_app,
    .session = {on_joined, mdg_peer_deliver, on_gap, on_kick, NULL, mdg_peer_close_session},
    .state_bytes = sizeof(struct app_state),
};

/* ---- a connection that is in rooms ---- */

static int on_member_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    return mdg_api_on_input(handle_of(l->user_arg), in, binary);
}

static void on_member_writable(struct mdg_link *l)
{
    struct mdg_handle *h = handle_of(l->user_arg);
    mdg_peer_link_user.on_writable(l);
    mdg_api_on_writable(h);
}

static void on_member_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_handle *h = handle_of(l->user_arg);
    mdg_api_on_close(h, code, reason);
    mdg_peer_link_user.on_close(l, code, reason);
}

static const struct mdg_link_user member_link_user = {
    .on_input = on_member_input,
    .on_writable = on_member_writable,
    .on_close = on_member_close,
};

static int become_member(struct mdg_handle *h, struct mdg_api_peer **out)
{
    struct mdg_api_peer *peer = mdg_api_peer(h, true);
    if (!peer)
        return MDG_E_NO_MEMORY;
    *out = peer;
    if (peer->rooms)
        return 0;
    int err = mdg_peer_new(peer->worker->peers, &app_dialect, peer->worker->nobody, &peer->rooms);
    if (err < 0)
        return err;
    struct mdg_link *l = h->what;
    struct mdg_handshake nothing = {.carrier = l->carrier->name};
    ((struct app_state *)mdg_peer_state(peer->rooms))->handle = h;
    l->user = &member_link_user;
    l->user_arg = peer->rooms;
    mdg_peer_attach(peer->rooms, l, &nothing);
    return 0;
}

static int join_here(struct mdg_worker *w, madang_peer id, struct mdg_slice room)
{
    struct mdg_handle *h = mdg_api_find(w, id);
    struct mdg_api_peer *peer;
    struct mdg_member *member;
    struct mdg_join_options options = {.hidden = true};
    if (!h)
        return MDG_E_CLOSED;
    int err = become_member(h, &peer);
    if (err < 0)
        return err;
    struct mdg_session *s = mdg_peer_session(peer->rooms);
    if (mdg_session_member(s, room))
        return 0;
    return mdg_hub_join(w->hub, s, room, &options, &member);
}

static int leave_here(struct mdg_worker *w, madang_peer id, struct mdg_slice room)
{
    struct mdg_handle *h = mdg_api_find(w, id);
    struct mdg_api_peer *peer = h ? mdg_api_peer(h, false) : NULL;
    if (!h)
        return MDG_E_CLOSED;
    struct mdg_member *member =
        peer && peer->rooms ? mdg_session_member(mdg_peer_session(peer->rooms), room) : NULL;
    if (!member)
        return MDG_E_NOT_FOUND;
    mdg_hub_leave(member);
    return 0;
}

struct room_action {
    struct madang *server;
    madang_peer peer;
    bool join;
    size_t len;
    uint8_t room[];
};

static void on_room_action(struct mdg_loop *loop, void *arg)
{
    struct room_action *a = arg;
    struct mdg_worker *w = &a->server->workers[mdg_handle_worker(a->peer)];
    struct mdg_slice room = mdg_slice(a->room, a->len);
    (void)loop;
    int err = a->join ? join_here(w, a->peer, room) : leave_here(w, a->peer, room);
    if (err < 0 && err != MDG_E_CLOSED && err != MDG_E_NOT_FOUND)
        mdg_log(&w->server->log, MDG_LOG_WARN, "a peer could not join", "why", mdg_strerror(err),
                NULL);
    free(a);
}

static int change_room(struct madang *server, madang_peer peer, const char *room, bool join)
{
    struct mdg_worker *w = mdg_api_worker(server, peer);
    struct mdg_slice name = mdg_slice_str(room);
    if (!w)
        return MDG_E_CLOSED;
    if (mdg_api_is_here(w))
        return join ? join_here(w, peer, name) : leave_here(w, peer, name);
    struct room_action *a = malloc(sizeof *a + name.len);
    if (!a)
        return MDG_E_NO_MEMORY;
    *a = (struct room_action){.server = server, .peer = peer, .join = join, .len = name.len};
    memcpy(a->room, name.data, name.len);
    int err = mdg_loop_post(w->loop, on_room_action, a);
    if (err < 0)
        free(a);
    return err;
}

int madang_join(struct madang *server, madang_peer peer, const char *room)
{
    return change_room(server, peer, room, true);
}

int madang_leave(struct madang *server, madang_peer peer, const char *room)
{
    return change_room(server, peer, room, false);
}

/* ---- publishing ---- */

/* A publication on its way to a worker, and the application's wish to hear of it. */
struct publication {
    struct mdg_worker *worker;
    struct mdg_msg_draft draft; /* its slices point behind the struct */
    madang_peer except;
    madang_published_fn done;
    void *arg;
    uint8_t bytes[];
};

struct wish {
    madang_published_fn done;
    void *arg;
};

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct wish wish = *(struct wish *)arg;
    free(arg);
    wish.done(wish.arg, err, at.epoch, at.seq);
}

static int publish_here(struct mdg_worker *w, struct mdg_msg_draft *draft, madang_peer except,
                        madang_published_fn done, void *arg)
{
    struct mdg_handle *h = except ? mdg_handle_find(&w->clients, except) : NULL;
    struct mdg_api_peer *peer = h ? mdg_api_peer(h, false) : NULL;
    struct mdg_content *content;
    uint64_t session = 0;
    if (peer && peer->rooms) {
        session = mdg_peer_session(peer->rooms)->id;
        draft->except_sessions = &session;
        draft->except_session_count = 1;
    }
    int err = mdg_content_new(draft, mdg_loop_unix_ms(w->loop), &content);
    if (err < 0)
        return err;
    struct wish *wish = NULL;
    if (done) {
        wish = malloc(sizeof *wish);
        if (!wish) {
            mdg_content_unref(content);
            return MDG_E_NO_MEMORY;
        }
        *wish = (struct wish){done, arg};
    }
    err = mdg_hub_publish(w->hub, content, wish ? on_published : NULL, wish);
    if (err < 0)
        free(wish);
    return err;
}

static void on_publication(struct mdg_loop *loop, void *arg)
{
    struct publication *p = arg;
    (void)loop;
    int err = publish_here(p->worker, &p->draft, p->except, p->done, p->arg);
    if (err < 0 && p->done)
        p->done(p->arg, err, 0, 0);
    free(p);
}

static int post_publication(struct mdg_worker *w, const struct mdg_msg_draft *draft,
                            madang_peer except, madang_published_fn done, void *arg)
{
    size_t room_len = draft->channel.len;
    struct publication *p = malloc(sizeof *p + room_len + draft->payload.len);
    if (!p)
        return MDG_E_NO_MEMORY;
    *p = (struct publication){w, *draft, except, done, arg};
    memcpy(p->bytes, draft->channel.data, room_len);
    if (draft->payload.len)
        memcpy(p->bytes + room_len, draft->payload.data, draft->payload.len);
    p->draft.channel = mdg_slice(p->bytes, room_len);
    p->draft.payload = mdg_slice(p->bytes + room_len, draft->payload.len);
    int err = mdg_loop_post(w->loop, on_publication, p);
    if (err < 0)
        free(p);
    return err;
}

int madang_publish_done(struct madang *server, const char *room, const void *data, size_t len,
                        bool binary, madang_peer except, madang_published_fn done, void *arg)
{
    struct mdg_msg_draft draft = {
        .kind = binary ? MDG_MSG_BINARY : MDG_MSG_TEXT,
        .flags = MDG_MSG_COMPRESS,
        .channel = mdg_slice_str(room),
        .payload = mdg_slice(data, len),
    };
    if (atomic_load(&server->state) == MDG_SERVER_NEW)
        return MDG_E_UNSUPPORTED;
    /* Only the excepted peer's worker knows its session. */
    struct mdg_worker *w = except ? mdg_api_worker(server, except) : mdg_worker_here(server);
    if (w && mdg_api_is_here(w))
        return publish_here(w, &draft, except, done, arg);
    return post_publication(w ? w : &server->workers[0], &draft, except, done, arg);
}

int madang_publish(struct madang *server, const char *room, const void *data, size_t len,
                   bool binary, madang_peer except)
{
    return madang_publish_done(server, room, data, len, binary, except, NULL, NULL);
}
