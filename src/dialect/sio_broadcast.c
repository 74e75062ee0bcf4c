/* Emitting: to one socket, to rooms, to everyone. What goes to rooms is a hub message, so that
 * whoever else is in them gets it too, in one order for all. */
#include "dialect/sio_impl.h"
#include <stdlib.h>

/* A message of what is emitted. The attachments are copied once, here. */
static int make_content(struct mdg_sio_worker *w, const struct mdg_sio_emit *e,
                        struct mdg_msg_draft *draft, struct mdg_content **out)
{
    size_t n = e->attachment_count + 1;
    struct mdg_chunk *parts = calloc(n, sizeof *parts);
    int err = parts ? 0 : MDG_E_NO_MEMORY;
    for (size_t i = 0; err == 0 && i < n; i++) {
        struct mdg_slice bytes = i > 0         ? e->attachments[i - 1]
                                 : e->args.len ? e->args
                                               : MDG_SLICE_LIT("[]");
        struct mdg_blob *blob = mdg_blob_copy(bytes);
        if (blob)
            parts[i] = mdg_chunk_all(blob);
        else
            err = MDG_E_NO_MEMORY;
    }
    draft->kind = MDG_MSG_ARGS;
    draft->flags |= (e->is_volatile ? MDG_MSG_VOLATILE : 0u) |
                    (e->compress ? MDG_MSG_COMPRESS : 0u) | (e->asked ? MDG_MSG_ASKED : 0u);
    draft->event = e->event;
    draft->parts = parts;
    draft->part_count = n;
    if (err == 0)
        err = mdg_content_new(draft, mdg_hub_unix_ms(w->hub), out);
    for (size_t i = 0; err < 0 && parts && i < n; i++)
        mdg_blob_unref(parts[i].blob);
    free(parts);
    return err;
}

int mdg_sio_emit(struct mdg_sio_socket *s, const struct mdg_sio_emit *e)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct mdg_msg_draft draft = {0};
    struct mdg_content *content;
    if (!sio_emit_ok(w, e))
        return MDG_E_SYNTAX;
    if (s->state != SIO_CONNECTED && s->state != SIO_AWAY)
        return MDG_E_CLOSED;
    if (e->once && s->state != SIO_CONNECTED)
        return 0;
    if (!s->recovery || e->once) {
        int err = sio_send_packet(s, e->attachment_count ? MDG_SIO_BINARY_EVENT : MDG_SIO_EVENT,
                                  NULL, e, NULL);
        return err == MDG_E_FULL && e->is_volatile ? 0 : err;
    }
    if (s->state == SIO_AWAY && e->is_volatile)
        return 0;
    int err = make_content(w, e, &draft, &content);
    if (err < 0)
        return err;
    const struct mdg_msg msg = {.content = content};
    uint64_t offset = sio_offset_of(w, &msg);
    if (s->state == SIO_CONNECTED)
        err = sio_send_message(s, &msg, offset);
    if (sio_recovery_misses(s, err))
        err = 0;
    if (err == 0)
        sio_recovery_note(s, &msg, offset);
    mdg_content_unref(content);
    return err == MDG_E_FULL && e->is_volatile ? 0 : err;
}

/* Rooms and sids apart. */
struct sorted {
    char text[MDG_SIO_ROOMS_MAX][SIO_CHANNEL_BYTES_MAX];
    struct mdg_slice channels[MDG_SIO_ROOMS_MAX];
    uint64_t ids[MDG_SIO_ROOMS_MAX + 1];
    size_t channel_count, id_count;
};

static int sort_names(struct mdg_sio_worker *w, struct mdg_slice nsp, const struct mdg_slice *names,
                      size_t n, struct sorted *out)
{
    out->channel_count = out->id_count = 0;
    if (n > MDG_SIO_ROOMS_MAX)
        return MDG_E_TOO_BIG;
    for (size_t i = 0; i < n; i++) {
        struct mdg_writer name;
        uint64_t id = sio_id_of_sid(w, names[i]);
        if (id) {
            out->ids[out->id_count++] = id;
            continue;
        }
        mdg_writer_init(&name, out->text[out->channel_count], SIO_CHANNEL_BYTES_MAX);
        mdg_sio_write_channel(&name, nsp, names[i]);
        if (!names[i].len || !mdg_writer_fits(&name))
            return MDG_E_SYNTAX;
        out->channels[out->channel_count] = mdg_slice(out->text[out->channel_count], name.len);
        out->channel_count++;
    }
    return 0;
}

static bool is_excepted(const struct sorted *except, uint64_t id)
{
    for (size_t i = 0; i < except->id_count; i++) {
        if (except->ids[i] == id)
            return true;
    }
    return false;
}

/* To single sockets that were named by their sid, on whatever worker. */
static int send_direct(struct mdg_sio_worker *w, const struct mdg_sio_emit *e,
                       const struct sorted *to, const struct sorted *except)
{
    struct mdg_msg_draft draft = {0};
    struct mdg_content *content;
    if (to->id_count == 0 || e->asked)
        return 0;
    int err = make_content(w, e, &draft, &content);
    for (size_t i = 0; err == 0 && i < to->id_count; i++) {
        if (!is_excepted(except, to->ids[i]))
            err = mdg_hub_send(w->hub, to->ids[i], mdg_content_ref(content));
    }
    if (err == 0)
        mdg_content_unref(content);
    return err;
}

struct broadcast {
    struct sorted to, except;
    uint64_t skip[2 * MDG_SIO_ROOMS_MAX + 2];
};

static int publish(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                   const struct mdg_sio_emit *e, struct broadcast *b)
{
    char everyone[SIO_CHANNEL_BYTES_MAX];
    struct mdg_writer name;
    struct mdg_content *content;
    size_t skip = 0;
    for (size_t i = 0; i < b->except.id_count; i++)
        b->skip[skip++] = b->except.ids[i];
    for (size_t i = 0; i < b->to.id_count; i++) /* each receives once */
        b->skip[skip++] = b->to.ids[i];
    struct mdg_msg_draft draft = {.except_sessions = b->skip,
                                  .except_session_count = skip,
                                  .except_channels = b->except.channels,
                                  .except_channel_count = b->except.channel_count,
                                  .sender_session = to->except_id};
    mdg_writer_init(&name, everyone, sizeof everyone);
    mdg_sio_write_channel(&name, to->nsp, mdg_slice(NULL, 0));
    if (!mdg_writer_fits(&name))
        return MDG_E_TOO_BIG;
    draft.channel = to->room_count ? b->to.channels[0] : mdg_slice(everyone, name.len);
    if (b->to.channel_count > 1) {
        draft.union_channels = b->to.channels;
        draft.union_channel_count = b->to.channel_count;
    }
    int err = make_content(w, e, &draft, &content);
    return err < 0 ? err : mdg_hub_publish(w->hub, content, NULL, NULL);
}

static void send_local(void *arg, struct mdg_sio_socket *s)
{
    sio_send_direct(s, arg);
}

/* To this worker's sockets: the room's order, and its log, are everyone's. */
static int broadcast_local(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                           const struct mdg_sio_emit *e)
{
    struct mdg_msg_draft draft = {0};
    struct mdg_content *content;
    int err = make_content(w, e, &draft, &content);
    if (err < 0)
        return err;
    struct mdg_msg msg = {.content = content};
    mdg_sio_each(w, to, send_local, &msg);
    mdg_content_unref(content);
    return 0;
}

int mdg_sio_broadcast(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                      const struct mdg_sio_emit *e)
{
    if (!sio_emit_ok(w, e))
        return MDG_E_SYNTAX;
    if (to->local)
        return broadcast_local(w, to, e);
    struct broadcast *b = malloc(sizeof *b);
    if (!b)
        return MDG_E_NO_MEMORY;
    int err = sort_names(w, to->nsp, to->rooms, to->room_count, &b->to);
    if (err == 0)
        err = sort_names(w, to->nsp, to->except, to->except_count, &b->except);
    if (err == 0) {
        if (to->except_id)
            b->except.ids[b->except.id_count++] = to->except_id;
        err = send_direct(w, e, &b->to, &b->except);
    }
    if (err == 0 && (to->room_count == 0 || b->to.channel_count > 0))
        err = publish(w, to, e, b);
    free(b);
    return err;
}

static bool in_any(const struct mdg_sio_socket *s, const struct mdg_slice *rooms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (mdg_sio_in(s, rooms[i]))
            return true;
    }
    return false;
}

void mdg_sio_each(struct mdg_sio_worker *w, const struct mdg_sio_target *to,
                  void (*fn)(void *arg, struct mdg_sio_socket *s), void *arg)
{
    struct sio_nsp *nsp = mdg_map_get(&w->nsps, to->nsp);
    if (!nsp)
        return;
    MDG_LIST_FOR(it, next, &nsp->sockets)
    {
        struct mdg_sio_socket *s = MDG_CONTAINER_OF(it, struct mdg_sio_socket, in_nsp);
        bool named = to->room_count == 0 || in_any(s, to->rooms, to->room_count);
        if (s->state == SIO_CONNECTED && named && s->session.id != to->except_id &&
            !in_any(s, to->except, to->except_count))
            fn(arg, s);
    }
}
