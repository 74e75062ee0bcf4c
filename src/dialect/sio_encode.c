/* From messages to units on the wire. A message of a room is encoded once for each framing in use
 * (times two if only some of the sockets need an offset); a private one for its socket alone. */
#include "base/json.h"
#include "base/utf8.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

enum { UNITS_ON_STACK = 8 };

static void unref_chunks(struct mdg_chunk *chunks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mdg_blob_unref(chunks[i].blob);
}

/* A packet on its way: a text unit and its attachments. */
struct units {
    struct mdg_slice text;
    const struct mdg_slice *attachments;
    size_t n;
    bool compress;
};

/* As chunks of this framing, all or none. */
static int frame_all(const struct mdg_framing *f, const struct units *u, struct mdg_chunk *out)
{
    const struct mdg_unit_meta text = {.compress = u->compress},
                               binary = {.binary = true, .compress = u->compress};
    int err = mdg_frame_chunk(f, u->text, &text, &out[0]);
    for (size_t i = 0; i < u->n && err == 0; i++) {
        err = mdg_frame_chunk(f, u->attachments[i], &binary, &out[i + 1]);
        if (err < 0)
            unref_chunks(out, i + 1);
    }
    return err;
}

/* On a link whose framing is its own: unit by unit. Half a packet is worse than none, so a refusal
 * behind the first unit ends the connection. */
static int send_alone(struct mdg_sio_client *c, const struct units *u)
{
    const struct mdg_unit_meta text = {.compress = u->compress},
                               binary = {.binary = true, .compress = u->compress};
    int err = mdg_link_send_unit(c->link, u->text, &text);
    if (err < 0)
        return err;
    for (size_t i = 0; i < u->n; i++) {
        if (mdg_link_send_unit(c->link, u->attachments[i], &binary) < 0) {
            sio_client_close(c, "transport error");
            return MDG_E_CLOSED;
        }
    }
    return 0;
}

static int send_units(struct mdg_sio_client *c, const struct units *u)
{
    size_t n = u->n;
    struct mdg_chunk few[UNITS_ON_STACK], *chunks = few;
    if (!c || !c->link)
        return MDG_E_CLOSED;
    if (!c->link->framing)
        return send_alone(c, u);
    if (n + 1 > UNITS_ON_STACK && !(chunks = malloc((n + 1) * sizeof *chunks)))
        return MDG_E_NO_MEMORY;
    int err = frame_all(c->link->framing, u, chunks);
    if (err == 0) {
        err = mdg_link_send(c->link, chunks, n + 1);
        if (err < 0)
            unref_chunks(chunks, n + 1);
    }
    if (chunks != few)
        free(chunks);
    return err;
}

bool sio_emit_ok(const struct mdg_sio_worker *w, const struct mdg_sio_emit *e)
{
    struct mdg_slice args;
    if (e->attachment_count > w->options->limits.attachments_max ||
        mdg_sio_event_reserved(e->event) || !mdg_utf8_valid(e->event) || !mdg_utf8_valid(e->args))
        return false;
    return e->args.len == 0 || (mdg_json_check(e->args, MDG_JSON_DEPTH_MAX, &args) == 0 &&
                                mdg_json_type(args) == MDG_JSON_ARRAY);
}

/* The closing bracket, with the offset in front of it where there is one. */
static void write_end(struct mdg_writer *w, const uint64_t *offset)
{
    if (offset) {
        assert(w->len > 0);
        w->len--; /* over the bracket */
        mdg_write_u8(w, ',');
        sio_write_offset(w, *offset);
        mdg_write_u8(w, ']');
    }
}

static void write_packet(struct mdg_writer *w, const struct mdg_sio_socket *s,
                         enum mdg_sio_type type, const uint64_t *id, const struct mdg_sio_emit *e,
                         const uint64_t *offset)
{
    mdg_sio_write_head(w, type, (uint32_t)e->attachment_count, sio_nsp_name(s->nsp), id);
    if (mdg_sio_is_event(type))
        mdg_sio_write_event(w, e->event, e->args);
    else if (e->args.len)
        mdg_write_slice(w, e->args);
    else
        mdg_write_str(w, "[]");
    write_end(w, offset);
}

int sio_send_packet(struct mdg_sio_socket *s, enum mdg_sio_type type, const uint64_t *id,
                    const struct mdg_sio_emit *e, const uint64_t *offset)
{
    uint8_t few[512];
    struct mdg_buf more;
    struct mdg_writer w;
    struct units u = {.attachments = e->attachments, .n = e->attachment_count};
    u.compress = e->compress;
    mdg_writer_init(&w, few, sizeof few);
    write_packet(&w, s, type, id, e, offset);
    if (mdg_writer_fits(&w)) {
        u.text = mdg_slice(few, w.len);
        return send_units(s->client, &u);
    }
    size_t need = w.len;
    mdg_buf_init(&more, need);
    if (mdg_buf_reserve(&more, need) < 0)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, more.data, need);
    write_packet(&w, s, type, id, e, offset);
    u.text = mdg_slice(more.data, w.len);
    int err = send_units(s->client, &u);
    mdg_buf_fini(&more);
    return err;
}

/* What other protocols published, as arguments of an event: the text, the value, the bytes. */
static void write_foreign(struct mdg_writer *w, const struct mdg_content *c)
{
    struct mdg_slice payload = mdg_chunk_slice(&c->parts[0]);
    mdg_write_u8(w, '[');
    if (c->kind == MDG_MSG_JSON)
        mdg_write_slice(w, payload);
    else if (c->kind == MDG_MSG_BINARY)
        mdg_sio_write_placeholder(w, 0);
    else
        mdg_write_json_string(w, payload);
    mdg_write_u8(w, ']');
}

struct shape {
    struct mdg_sio_worker *w;
    struct mdg_slice nsp;
    const struct mdg_content *content;
    const struct mdg_msg *msg;
    const uint64_t *offset;
    bool own; /* the application writes the arguments of this one */
};

/* How many binary messages follow the text of this message. */
static size_t attachments_of(const struct shape *sh)
{
    const struct mdg_content *c = sh->content;
    if (sh->own)
        return 0;
    if (c->kind == MDG_MSG_ARGS)
        return c->part_count - 1u;
    return c->kind == MDG_MSG_BINARY ? c->part_count : 0;
}

static const struct mdg_chunk *attachment_of(const struct mdg_content *c, size_t i)
{
    return c->kind == MDG_MSG_ARGS ? &c->parts[i + 1] : &c->parts[i];
}

static int write_content(struct mdg_writer *w, const struct shape *sh)
{
    const struct mdg_content *c = sh->content;
    const struct mdg_sio_hooks *hooks = sh->w->hooks;
    size_t n = attachments_of(sh);
    struct mdg_slice event = c->kind == MDG_MSG_PRESENCE ? MDG_SLICE_LIT("presence")
                             : c->event.len && !sh->own  ? c->event
                                                         : MDG_SLICE_LIT("message");
    struct mdg_slice args = mdg_chunk_slice(&c->parts[0]);
    struct mdg_buf room;
    mdg_buf_init(&room, 1);
    if (c->kind != MDG_MSG_ARGS) {
        struct mdg_writer a;
        mdg_writer_init(&a, NULL, 0);
        if (sh->own)
            hooks->foreign_args(sh->w->arg, sh->msg, &a);
        else
            write_foreign(&a, c);
        size_t need = a.len;
        mdg_buf_init(&room, need);
        if (mdg_buf_reserve(&room, need) < 0)
            return MDG_E_NO_MEMORY;
        mdg_writer_init(&a, room.data, need);
        if (sh->own)
            hooks->foreign_args(sh->w->arg, sh->msg, &a);
        else
            write_foreign(&a, c);
        args = mdg_slice(room.data, a.len);
    }
    mdg_sio_write_head(w, n ? MDG_SIO_BINARY_EVENT : MDG_SIO_EVENT, (uint32_t)n, sh->nsp, NULL);
    mdg_sio_write_event(w, event, args);
    write_end(w, sh->offset);
    mdg_buf_fini(&room);
    return 0;
}

/* The text unit of a message in memory of its own. */
static int content_text(const struct shape *sh, struct mdg_buf *out)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    int err = write_content(&w, sh);
    if (err < 0)
        return err;
    size_t need = w.len;
    mdg_buf_init(out, need);
    if (mdg_buf_reserve(out, need) < 0)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, out->data, need);
    err = write_content(&w, sh);
    out->len = need;
    if (err < 0)
        mdg_buf_fini(out);
    return err;
}

/* The units of a message in memory of their own; few: room for UNITS_ON_STACK slices. */
static int shape_units(const struct shape *sh, struct mdg_buf *text, struct mdg_slice *few,
                       struct units *out)
{
    int err = content_text(sh, text);
    if (err < 0)
        return err;
    size_t n = attachments_of(sh);
    struct mdg_slice *slices = n > UNITS_ON_STACK ? malloc(n * sizeof *slices) : few;
    if (!slices) {
        mdg_buf_fini(text);
        return MDG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++)
        slices[i] = mdg_chunk_slice(attachment_of(sh->content, i));
    *out = (struct units){.text = mdg_buf_slice(text),
                          .attachments = slices,
                          .n = n,
                          .compress = sh->content->flags & MDG_MSG_COMPRESS};
    return 0;
}

static void units_free(struct units *u, struct mdg_buf *text, const struct mdg_slice *few)
{
    if (u->attachments != few)
        free((void *)(uintptr_t)u->attachments);
    mdg_buf_fini(text);
}

static const uint64_t *offset_wanted(const struct mdg_sio_socket *s, const uint64_t *offset)
{
    return s->recovery ? offset : NULL;
}

static int send_shape(struct mdg_sio_socket *s, const struct shape *sh)
{
    struct mdg_buf text;
    struct mdg_slice few[UNITS_ON_STACK];
    struct units u;
    int err = shape_units(sh, &text, few, &u);
    if (err < 0)
        return err;
    err = send_units(s->client, &u);
    units_free(&u, &text, few);
    return err;
}

static bool is_own(const struct mdg_sio_worker *w, const struct mdg_msg *msg)
{
    return msg->content->kind != MDG_MSG_ARGS && w->options->foreign_args;
}

int sio_send_message(struct mdg_sio_socket *s, const struct mdg_msg *m, uint64_t offset)
{
    const struct shape sh = {s->nsp->w, sio_nsp_name(s->nsp),      m->content,
                             m,         offset_wanted(s, &offset), is_own(s->nsp->w, m)};
    return send_shape(s, &sh);
}

/* The encoding slot of this framing, or -1: all are taken. */
static int slot_of(struct mdg_sio_worker *w, const struct mdg_framing *f, bool offsets)
{
    for (int i = 0; i < SIO_SLOT_COUNT; i++) {
        if (!w->slots[i]) {
            w->slots[i] = f;
            w->slot_offsets[i] = offsets;
        }
        if (w->slots[i] == f && w->slot_offsets[i] == offsets)
            return SIO_SLOT_FIRST + i;
    }
    return -1;
}

static struct mdg_encoding *encode(const struct shape *sh, const struct mdg_framing *f)
{
    struct mdg_buf text;
    struct mdg_slice few[UNITS_ON_STACK];
    struct units u;
    if (shape_units(sh, &text, few, &u) < 0)
        return NULL;
    struct mdg_encoding *e = mdg_encoding_new((uint16_t)(u.n + 1));
    if (e && frame_all(f, &u, e->chunks) < 0) {
        free(e);
        e = NULL;
    }
    units_free(&u, &text, few);
    return e;
}

/* Sends references to an encoding. */
static int send_encoding(struct mdg_sio_client *c, const struct mdg_encoding *e)
{
    struct mdg_chunk few[UNITS_ON_STACK], *chunks = few;
    size_t n = e->chunk_count;
    if (n > UNITS_ON_STACK && !(chunks = malloc(n * sizeof *chunks)))
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        chunks[i] = e->chunks[i];
        mdg_blob_ref(chunks[i].blob);
    }
    int err = mdg_link_send(c->link, chunks, n);
    if (err < 0)
        unref_chunks(chunks, n);
    if (chunks != few)
        free(chunks);
    return err;
}

/* The message in the wire format of this link, made on first use. NULL: it cannot be shared. */
static struct mdg_encoding *encoding_of(struct mdg_sio_socket *s, struct mdg_msg *msg, int slot)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct mdg_encoding *e = mdg_msg_encoding(msg, (unsigned)slot);
    if (e)
        return e;
    uint64_t offset = s->recovery ? sio_offset_of(w, msg) : 0;
    const struct shape sh = {w,
                             sio_nsp_name(s->nsp),
                             msg->content,
                             msg,
                             msg->content->kind != MDG_MSG_PRESENCE ? offset_wanted(s, &offset)
                                                                    : NULL,
                             is_own(w, msg)};
    e = encode(&sh, s->client->link->framing);
    if (e && mdg_msg_set_encoding(msg, (unsigned)slot, e) < 0) {
        mdg_encoding_free(e);
        e = NULL;
    }
    return e;
}

static void note(struct mdg_sio_socket *s, const struct mdg_msg *msg)
{
    if (s->recovery && msg->content->kind != MDG_MSG_PRESENCE)
        sio_recovery_note(s, msg, sio_offset_of(s->nsp->w, msg));
}

static int my_slot(const struct mdg_sio_socket *s)
{
    const struct mdg_link *l = s->client ? s->client->link : NULL;
    return l && l->framing ? slot_of(s->nsp->w, l->framing, s->recovery != NULL) : -1;
}

/* Not for sockets: presence that the application does not write, and events that ask. */
static bool is_for_others(const struct mdg_sio_worker *w, const struct mdg_msg *msg)
{
    return msg->content->flags & MDG_MSG_ASKED ||
           (msg->content->kind == MDG_MSG_PRESENCE && !is_own(w, msg));
}

static int deliver_one(struct mdg_sio_socket *s, struct mdg_msg *msg)
{
    struct mdg_sio_worker *w = s->nsp->w;
    if (s->state == SIO_CONNECTED) {
        int slot = my_slot(s);
        struct mdg_encoding *e = slot >= 0 ? encoding_of(s, msg, slot) : NULL;
        uint64_t offset = s->recovery ? sio_offset_of(w, msg) : 0;
        int err = e ? send_encoding(s->client, e) : sio_send_message(s, msg, offset);
        if (err < 0 && !sio_recovery_misses(s, err))
            return err;
    }
    note(s, msg);
    return 0;
}

/* ---- several messages at once ---- */

static void burst_drop(struct sio_burst *b)
{
    for (size_t i = 0; i < b->len; i++)
        mdg_msg_unref(b->msgs[i]);
    b->len = 0;
    mdg_blob_unref(b->joined);
    b->joined = NULL;
}

void sio_bursts_drop(struct mdg_sio_worker *w)
{
    for (size_t i = 0; i < SIO_SLOT_COUNT; i++)
        burst_drop(&w->bursts[i]);
}

static size_t encoding_len(const struct mdg_encoding *e)
{
    size_t len = 0;
    for (size_t i = 0; i < e->chunk_count; i++)
        len += e->chunks[i].len;
    return len;
}

static void burst_make(struct sio_burst *b, struct mdg_sio_socket *s, struct mdg_msg *const *msgs,
                       size_t n, int slot)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct mdg_writer out;
    size_t total = 0;
    burst_drop(b);
    for (size_t i = 0; i < n; i++) {
        const struct mdg_encoding *e = encoding_of(s, msgs[i], slot);
        total += e ? encoding_len(e) : SIO_BURST_BYTES_MAX + 1;
        b->msgs[b->len++] = mdg_msg_ref(msgs[i]);
    }
    mdg_timer_start(w->loop, &w->burst_timer, 0);
    b->joined = total <= SIO_BURST_BYTES_MAX ? mdg_blob_new((uint32_t)total) : NULL;
    if (!b->joined)
        return;
    mdg_writer_init(&out, b->joined->data, total);
    for (size_t i = 0; i < n; i++) {
        const struct mdg_encoding *e = mdg_msg_encoding(msgs[i], (unsigned)slot);
        for (size_t j = 0; j < e->chunk_count; j++)
            mdg_write_slice(&out, mdg_chunk_slice(&e->chunks[j]));
    }
}

/* All of them as one chunk. False: they go one by one. */
static bool deliver_burst(struct mdg_sio_socket *s, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_sio_worker *w = s->nsp->w;
    int slot = n > 1 && n <= SIO_BURST_MAX && s->state == SIO_CONNECTED && !w->options->outgoing
                   ? my_slot(s)
                   : -1;
    if (slot < 0 || !s->client->link->framing->joinable)
        return false;
    struct sio_burst *b = &w->bursts[slot - SIO_SLOT_FIRST];
    if (b->len != n || memcmp(b->msgs, msgs, n * sizeof(struct mdg_msg *)) != 0) {
        for (size_t i = 0; i < n; i++) {
            if (msgs[i]->content->kind == MDG_MSG_PRESENCE || is_for_others(w, msgs[i]))
                return false;
        }
        burst_make(b, s, msgs, n, slot);
    }
    if (!b->joined)
        return false;
    struct mdg_chunk chunk = mdg_chunk_all(mdg_blob_ref(b->joined));
    if (mdg_link_send(s->client->link, &chunk, 1) < 0) {
        mdg_blob_unref(b->joined);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        note(s, msgs[i]);
    return true;
}

int sio_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_sio_socket *s = sio_of_session(m->session);
    struct mdg_sio_worker *w = s->nsp->w;
    uint64_t id = s->session.id;
    if (s->state == SIO_CONNECTING)
        return 0; /* until the middleware has decided */
    if (deliver_burst(s, msgs, n))
        return (int)n;
    for (size_t i = 0; i < n; i++) {
        if (s->state == SIO_LEAVING || is_for_others(w, msgs[i]))
            continue;
        if (w->options->outgoing && s->state == SIO_CONNECTED) {
            w->hooks->on_outgoing(w->arg, s, msgs[i]->content);
            if (mdg_sio_find(w, id) != s)
                return (int)n;
        }
        int err = deliver_one(s, msgs[i]);
        if (err == MDG_E_FULL && (msgs[i]->content->flags & MDG_MSG_VOLATILE))
            continue;
        if (err == MDG_E_FULL)
            return (int)i;
        if (err < 0)
            return err == MDG_E_CLOSED ? (int)n : err;
    }
    return (int)n;
}
