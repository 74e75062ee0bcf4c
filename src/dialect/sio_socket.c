/* A socket: one namespace of one connection. Its birth (middleware, CONNECT), its rooms, its end.
 */
#include "base/base64.h"
#include "base/json.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

enum { SID_BYTES = 15 };

/* The session's id and a proof that it is one, so that any worker can tell whom a sid means. */
static void write_sid(const struct mdg_sio_worker *w, uint64_t id, char sid[MDG_SIO_SID_CHARS])
{
    uint8_t bytes[SID_BYTES];
    struct mdg_writer out;
    memcpy(bytes, &id, 8);
    uint64_t proof = mdg_siphash(w->options->sid_key, mdg_slice(bytes, 8));
    memcpy(bytes + 8, &proof, SID_BYTES - 8);
    mdg_writer_init(&out, sid, MDG_SIO_SID_CHARS);
    mdg_write_base64url(&out, mdg_slice(bytes, sizeof bytes));
    assert(out.len == MDG_SIO_SID_CHARS);
}

/* The id that a sid of ours stands for, or 0. */
static uint64_t id_of_sid(const struct mdg_sio_worker *w, struct mdg_slice sid)
{
    uint8_t bytes[SID_BYTES];
    char again[MDG_SIO_SID_CHARS];
    uint64_t id;
    if (sid.len != MDG_SIO_SID_CHARS ||
        mdg_base64_decode(sid, bytes, sizeof bytes) != (int64_t)sizeof bytes)
        return 0;
    memcpy(&id, bytes, 8);
    write_sid(w, id, again);
    return mdg_slice_eq(sid, mdg_slice(again, sizeof again)) ? id : 0;
}

uint64_t sio_id_of_sid(const struct mdg_sio_worker *w, struct mdg_slice sid)
{
    struct mdg_sio_socket *s = mdg_map_get(&w->by_sid, sid);
    return s ? s->session.id : id_of_sid(w, sid);
}

struct mdg_sio_socket *sio_client_socket(const struct mdg_sio_client *c, struct mdg_slice nsp)
{
    MDG_LIST_FOR(it, next, &c->sockets)
    {
        struct mdg_sio_socket *s = MDG_CONTAINER_OF(it, struct mdg_sio_socket, in_client);
        if (mdg_slice_eq(sio_nsp_name(s->nsp), nsp))
            return s;
    }
    return NULL;
}

static char *keep_json(struct mdg_slice json)
{
    char *copy = malloc(json.len + 1);
    if (copy) {
        memcpy(copy, json.data, json.len);
        copy[json.len] = '\0';
    }
    return copy;
}

struct mdg_sio_socket *sio_socket_alloc(struct sio_nsp *nsp, struct mdg_principal *who)
{
    struct mdg_sio_worker *w = nsp->w;
    struct mdg_sio_socket *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->nsp = nsp;
    mdg_list_init(&s->acks);
    mdg_list_init(&s->in_doomed);
    mdg_list_init(&s->in_client);
    mdg_session_init(&s->session, w->hub, &sio_session_ops, who);
    write_sid(w, s->session.id, s->sid);
    mdg_list_push(&nsp->sockets, &s->in_nsp);
    nsp->count++;
    return s;
}

static struct mdg_sio_socket *socket_new(struct mdg_sio_client *c, struct sio_nsp *nsp,
                                         struct mdg_slice auth)
{
    char *kept = auth.len > 2 ? keep_json(auth) : NULL;
    struct mdg_sio_socket *s = auth.len > 2 && !kept ? NULL : sio_socket_alloc(nsp, c->who);
    if (!s) {
        free(kept);
        return NULL;
    }
    s->auth = kept;
    s->client = c;
    mdg_list_push(&c->sockets, &s->in_client);
    c->socket_count++;
    return s;
}

static void leave_client(struct mdg_sio_socket *s)
{
    if (!s->client)
        return;
    mdg_list_remove(&s->in_client);
    s->client->socket_count--;
    s->client = NULL;
}

void sio_socket_free(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    sio_acks_fail(s, MDG_E_CLOSED);
    if (w->hooks->on_gone)
        w->hooks->on_gone(w->arg, s);
    sio_recovery_free(s);
    if (s->named)
        (void)mdg_map_remove(&w->by_sid, mdg_sio_sid(s));
    leave_client(s);
    mdg_list_remove(&s->in_nsp);
    mdg_list_remove(&s->in_doomed);
    s->nsp->count--;
    mdg_session_fini(&s->session);
    free(s->auth);
    free(s->data);
    free(s);
}

/* 0/admin,{"sid":"...","pid":"..."} */
static int send_connect(struct mdg_sio_socket *s)
{
    uint8_t room[640];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_head(&w, MDG_SIO_CONNECT, 0, sio_nsp_name(s->nsp), NULL);
    if (s->client->protocol == 5) {
        mdg_write_str(&w, "{\"sid\":");
        mdg_write_json_string(&w, mdg_sio_sid(s));
        if (s->recovery) {
            mdg_write_str(&w, ",\"pid\":");
            mdg_write_json_string(&w, mdg_slice(s->recovery->pid, sizeof s->recovery->pid));
        }
        mdg_write_u8(&w, '}');
    } else if (w.len > 1) {
        w.len--; /* protocol 4 has no comma when nothing follows the namespace */
    }
    return mdg_writer_fits(&w) ? sio_client_send_text(s->client, mdg_slice(room, w.len))
                               : MDG_E_TOO_BIG;
}

static int join_channel(struct mdg_sio_socket *s, struct mdg_slice room, bool hidden)
{
    char name[SIO_CHANNEL_BYTES_MAX];
    struct mdg_writer w;
    struct mdg_member *member;
    const struct mdg_join_options options = {.hidden = hidden};
    mdg_writer_init(&w, name, sizeof name);
    mdg_sio_write_channel(&w, sio_nsp_name(s->nsp), room);
    if (!mdg_writer_fits(&w))
        return MDG_E_TOO_BIG;
    if (mdg_session_member(&s->session, mdg_slice(name, w.len)))
        return 0;
    return mdg_hub_join(s->session.hub, &s->session, mdg_slice(name, w.len), &options, &member);
}

void mdg_sio_admit(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    if (s->state != SIO_CONNECTING)
        return;
    sio_client_settled(s->client);
    if (w->options->recovery && s->client->protocol == 5 && sio_recovery_new(s) < 0) {
        mdg_sio_refuse(s, MDG_SLICE_LIT("Out of memory"), mdg_slice(NULL, 0));
        return;
    }
    s->state = SIO_CONNECTED;
    if (send_connect(s) < 0 || join_channel(s, mdg_slice(NULL, 0), true) < 0) {
        sio_client_close(s->client, "transport error");
        return;
    }
    MDG_SESSION_FOR(m, &s->session) /* of rooms that a middleware put it in */
    mdg_hub_resume(m);
    if (w->hooks->on_connection)
        w->hooks->on_connection(w->arg, s);
}

void mdg_sio_refuse(struct mdg_sio_socket *s, struct mdg_slice message, struct mdg_slice data)
{
    struct mdg_buf room;
    struct mdg_writer w;
    struct mdg_sio_client *c = s->client;
    size_t need = message.len * 6 + data.len + s->nsp->name_len + 64;
    if (s->state != SIO_CONNECTING)
        return;
    mdg_buf_init(&room, need);
    if (mdg_buf_reserve(&room, need) == 0) {
        mdg_writer_init(&w, room.data, need);
        mdg_sio_write_head(&w, MDG_SIO_CONNECT_ERROR, 0, sio_nsp_name(s->nsp), NULL);
        if (c->protocol == 5) {
            mdg_write_str(&w, "{\"message\":");
            mdg_write_json_string(&w, message);
            if (data.len) {
                mdg_write_str(&w, ",\"data\":");
                mdg_write_slice(&w, data);
            }
            mdg_write_u8(&w, '}');
        } else if (data.len) {
            mdg_write_slice(&w, data);
        } else {
            mdg_write_json_string(&w, message);
        }
        if (sio_client_send_text(c, mdg_slice(room.data, w.len)) < 0)
            sio_client_close(c, "transport error");
    }
    mdg_buf_fini(&room);
    sio_socket_free(s);
}

static void go_on(struct mdg_sio_client *c, struct mdg_sio_socket *s, struct mdg_slice auth,
                  uint32_t from)
{
    struct mdg_sio_worker *w = c->w;
    sio_client_settled(c);
    mdg_timer_stop(w->loop, &s->recovery->timer);
    free(s->auth);
    s->auth = auth.len > 2 ? keep_json(auth) : NULL;
    s->client = c;
    s->state = SIO_CONNECTED;
    s->recovered = true;
    mdg_list_push(&c->sockets, &s->in_client);
    c->socket_count++;
    mdg_session_set_principal(&s->session, c->who);
    sio_recovery_unpark(s);
    uint64_t id = s->session.id;
    if (send_connect(s) < 0) {
        sio_client_close(c, "transport error");
        return;
    }
    if (w->hooks->on_connection)
        w->hooks->on_connection(w->arg, s);
    s = mdg_sio_find(w, id);
    if (s && s->state == SIO_CONNECTED)
        sio_recovery_replay(s, from);
}

void sio_socket_connect(struct mdg_sio_client *c, struct sio_nsp *nsp, struct mdg_slice auth)
{
    struct mdg_sio_worker *w = c->w;
    uint32_t from;
    struct mdg_sio_socket *s = sio_recovery_find(c, nsp, auth, &from);
    if (s) {
        go_on(c, s, auth, from);
        return;
    }
    s = socket_new(c, nsp, auth);
    if (!s)
        sio_client_close(c, "transport error");
    else if (w->hooks->on_connect)
        w->hooks->on_connect(w->arg, s);
    else
        mdg_sio_admit(s);
}

void sio_socket_disconnect(struct mdg_sio_socket *s, const char *reason, bool keep)
{
    struct mdg_sio_worker *w = s->nsp->w;
    bool told = s->state == SIO_CONNECTED || s->state == SIO_LEAVING;
    keep = keep && s->state == SIO_CONNECTED && s->recovery;
    if (s->state == SIO_LEAVING)
        reason = "server namespace disconnect";
    s->state = SIO_AWAY;
    if (told && w->hooks->on_disconnect)
        w->hooks->on_disconnect(w->arg, s, reason);
    leave_client(s);
    if (keep)
        sio_recovery_park(s);
    else
        sio_socket_free(s);
}

void mdg_sio_disconnect(struct mdg_sio_socket *s, bool close)
{
    uint8_t room[512];
    struct mdg_writer w;
    struct mdg_sio_worker *worker = s->nsp->w;
    struct mdg_sio_client *c = s->client;
    if (s->state != SIO_CONNECTED)
        return;
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_head(&w, MDG_SIO_DISCONNECT, 0, sio_nsp_name(s->nsp), NULL);
    (void)!sio_client_send_text(c, mdg_slice(room, w.len));
    s->state = SIO_LEAVING;
    mdg_list_remove(&s->in_doomed);
    mdg_list_push(&worker->doomed, &s->in_doomed);
    mdg_timer_start(worker->loop, &worker->doom_timer, 0);
    if (!close)
        return;
    MDG_LIST_FOR(it, next, &c->sockets)
    {
        struct mdg_sio_socket *other = MDG_CONTAINER_OF(it, struct mdg_sio_socket, in_client);
        if (other->state == SIO_CONNECTED)
            mdg_sio_disconnect(other, false);
    }
    sio_client_close(c, "server namespace disconnect");
}

/* Upcalls of the hub. */

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct mdg_sio_socket *s = sio_of_session(m->session);
    struct mdg_sio_worker *w = s->nsp->w;
    if (err == 0 && !(s->recovery && s->recovery->restored)) /* that is from a record */
        sio_keep(s);
    if (m->cookie && w->hooks->on_joined)
        w->hooks->on_joined(w->arg, s, m, err, info);
}

/* gap {room, from, to} */
static int tell_gap(struct mdg_sio_socket *s, struct mdg_slice room, uint64_t from, uint64_t to)
{
    uint8_t text[6 * SIO_CHANNEL_BYTES_MAX + 100];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_str(&w, "[{\"room\":");
    mdg_write_json_string(&w, room);
    mdg_write_str(&w, ",\"from\":");
    mdg_write_dec(&w, from);
    mdg_write_str(&w, ",\"to\":");
    mdg_write_dec(&w, to);
    mdg_write_str(&w, "}]");
    const struct mdg_sio_emit e = {
        .event = MDG_SLICE_LIT("gap"), .args = mdg_slice(text, w.len), .once = true};
    return mdg_writer_fits(&w) && mdg_sio_emit(s, &e) == MDG_E_FULL ? MDG_E_FULL : 0;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct mdg_sio_socket *s = sio_of_session(m->session);
    sio_recovery_hole(s);
    if (s->nsp->w->options->foreign_args && s->state == SIO_CONNECTED)
        return tell_gap(s, mdg_channel_name(m->channel), from, to);
    return 0;
}

/* The hub gives up on a client that is too slow for its room, or whose credential has expired. What
 * it has missed then is in no ring: recovery has to say no. */
static void on_kick(struct mdg_session *session, int reason)
{
    struct mdg_sio_socket *s = sio_of_session(session);
    sio_recovery_hole(s);
    if (s->client)
        sio_client_end(s->client, reason);
    else
        sio_socket_free(s);
}

static void on_direct(struct mdg_session *session, struct mdg_msg *m)
{
    sio_send_direct(sio_of_session(session), m);
}

void sio_send_direct(struct mdg_sio_socket *s, const struct mdg_msg *m)
{
    struct mdg_sio_worker *w = s->nsp->w;
    uint64_t offset = sio_offset_of(w, m);
    if (s->state == SIO_CONNECTED && w->options->outgoing)
        w->hooks->on_outgoing(w->arg, s, m->content);
    int err = s->state == SIO_CONNECTED ? sio_send_message(s, m, offset) : 0;
    if (err < 0 && m->content->flags & MDG_MSG_VOLATILE)
        return;
    sio_recovery_note(s, m, offset);
    /* Nothing is lost in silence: it comes back for this one, or knows of a new life. */
    if (err < 0)
        sio_client_end(s->client, err);
}

const struct mdg_session_ops sio_session_ops = {
    .joined = on_joined,
    .deliver = sio_deliver,
    .gap = on_gap,
    .kick = on_kick,
    .direct = on_direct,
};

/* Rooms. */

void mdg_sio_write_channel(struct mdg_writer *w, struct mdg_slice nsp, struct mdg_slice room)
{
    bool main = mdg_slice_eq(nsp, MDG_SLICE_LIT("/"));
    if (!room.len) {
        mdg_write_str(w, "socket.io:");
        mdg_write_slice(w, nsp);
        return;
    }
    /* A room of "/" is the hub's room of that name; one of "/chat" is "/chat:room". A name that
     * would be taken for the other kind gets "/:" in front. */
    if (!main || room.data[0] == '/' || mdg_slice_starts(room, MDG_SLICE_LIT("socket.io:"))) {
        mdg_write_slice(w, nsp);
        mdg_write_u8(w, ':');
    }
    mdg_write_slice(w, room);
}

int mdg_sio_join(struct mdg_sio_socket *s, struct mdg_slice room)
{
    if (!room.len)
        return MDG_E_SYNTAX;
    return mdg_slice_eq(room, mdg_sio_sid(s)) ? 0 : join_channel(s, room, false);
}

static struct mdg_member *member_of(const struct mdg_sio_socket *s, struct mdg_slice room)
{
    char name[SIO_CHANNEL_BYTES_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, name, sizeof name);
    mdg_sio_write_channel(&w, sio_nsp_name(s->nsp), room);
    return room.len && mdg_writer_fits(&w) ? mdg_session_member(&s->session, mdg_slice(name, w.len))
                                           : NULL;
}

void mdg_sio_leave(struct mdg_sio_socket *s, struct mdg_slice room)
{
    struct mdg_member *m = member_of(s, room);
    if (m) {
        mdg_hub_leave(m);
        sio_keep(s);
    }
}

bool mdg_sio_in(const struct mdg_sio_socket *s, struct mdg_slice room)
{
    return mdg_slice_eq(room, mdg_sio_sid(s)) || member_of(s, room) != NULL;
}

/* The hub's name without the namespace; false for the namespace's own room. */
static bool room_of_channel(const struct sio_nsp *nsp, struct mdg_slice channel,
                            struct mdg_slice *room)
{
    struct mdg_slice name = sio_nsp_name(nsp);
    if (mdg_slice_starts(channel, MDG_SLICE_LIT("socket.io:")))
        return false;
    *room = channel;
    if (mdg_slice_starts(channel, name) && channel.len > name.len && channel.data[name.len] == ':')
        *room = mdg_slice(channel.data + name.len + 1, channel.len - name.len - 1);
    return true;
}

bool mdg_sio_room(const struct mdg_sio_socket *s, size_t i, struct mdg_slice *room)
{
    MDG_SESSION_FOR(m, &s->session)
    {
        if (m->channel && room_of_channel(s->nsp, mdg_channel_name(m->channel), room) && i-- == 0)
            return true;
    }
    return false;
}

/* Small questions. */

struct mdg_sio_socket *mdg_sio_find(const struct mdg_sio_worker *w, uint64_t id)
{
    struct mdg_session *session = mdg_session_find(w->hub, id);
    struct mdg_sio_socket *s =
        session && session->ops == &sio_session_ops ? sio_of_session(session) : NULL;
    return s && s->nsp->w == w ? s : NULL;
}

struct mdg_sio_socket *mdg_sio_find_sid(const struct mdg_sio_worker *w, struct mdg_slice sid)
{
    uint64_t id = sio_id_of_sid(w, sid);
    return id ? mdg_sio_find(w, id) : NULL;
}

uint64_t mdg_sio_id(const struct mdg_sio_socket *s)
{
    return s->session.id;
}

struct mdg_slice mdg_sio_sid(const struct mdg_sio_socket *s)
{
    return mdg_slice(s->sid, MDG_SIO_SID_CHARS);
}

struct mdg_slice mdg_sio_namespace(const struct mdg_sio_socket *s)
{
    return sio_nsp_name(s->nsp);
}

void *mdg_sio_namespace_data(const struct mdg_sio_socket *s)
{
    return s->nsp->data;
}

struct mdg_session *mdg_sio_session(struct mdg_sio_socket *s)
{
    return &s->session;
}

struct mdg_link *mdg_sio_link(const struct mdg_sio_socket *s)
{
    return s->client ? s->client->link : NULL;
}

bool mdg_sio_connected(const struct mdg_sio_socket *s)
{
    return s->state == SIO_CONNECTED;
}

bool mdg_sio_recovered(const struct mdg_sio_socket *s)
{
    return s->recovered;
}

unsigned mdg_sio_protocol(const struct mdg_sio_socket *s)
{
    return s->client ? s->client->protocol : 5;
}

struct mdg_slice mdg_sio_auth(const struct mdg_sio_socket *s)
{
    return s->auth ? mdg_slice_str(s->auth) : MDG_SLICE_LIT("{}");
}

const struct mdg_handshake *mdg_sio_handshake(const struct mdg_sio_socket *s)
{
    return s->client && s->client->handshake ? &s->client->handshake->hs : NULL;
}

void mdg_sio_set_user(struct mdg_sio_socket *s, void *user)
{
    s->user = user;
}

void *mdg_sio_user(const struct mdg_sio_socket *s)
{
    return s->user;
}

int mdg_sio_set_data(struct mdg_sio_socket *s, struct mdg_slice json)
{
    struct mdg_slice value;
    if (mdg_json_check(json, MDG_JSON_DEPTH_MAX, &value) < 0)
        return MDG_E_SYNTAX;
    char *copy = keep_json(value);
    if (!copy)
        return MDG_E_NO_MEMORY;
    free(s->data);
    s->data = copy;
    sio_keep(s);
    return 0;
}

struct mdg_slice mdg_sio_data(const struct mdg_sio_socket *s)
{
    return s->data ? mdg_slice_str(s->data) : MDG_SLICE_LIT("{}");
}
