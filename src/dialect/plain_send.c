/* Messages to clients of madang.v1, and the tokens by which they come back. */
#include "dialect/plain_impl.h"

/* The event of an event stream; EventSource calls the usual one "message" without being told. */
static struct mdg_slice stream_event(const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    if (c->kind == MDG_MSG_PRESENCE)
        return MDG_SLICE_LIT("presence");
    return mdg_slice_eq(c->event, MDG_SLICE_LIT("message")) ? mdg_slice(NULL, 0) : c->event;
}

static void build_message(struct mdg_writer *w, const void *arg)
{
    mdg_plain_write_message(w, arg);
}

int mdg_plain_encode(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink)
{
    uint8_t position[MDG_PLAIN_POSITION_BYTES];
    struct mdg_writer id;
    (void)text_only; /* everything is text */
    mdg_writer_init(&id, position, sizeof position);
    if (m->seq)
        mdg_plain_write_position(&id, (struct mdg_position){m->epoch, m->seq});
    int err = mdg_plain_build(sink->work, build_message, m);
    if (err < 0)
        return err;
    struct mdg_unit_meta meta = {.id = mdg_slice(position, id.len),
                                 .event = stream_event(m),
                                 .compress = m->content->flags & MDG_MSG_COMPRESS};
    return sink->unit(sink, mdg_buf_slice(sink->work), &meta);
}

static void write_escaped_room(struct mdg_writer *w, struct mdg_slice room)
{
    for (size_t i = 0; i < room.len; i++) {
        uint8_t c = room.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (!plain)
            mdg_write_u8(w, '%');
        if (plain)
            mdg_write_u8(w, c);
        else
            mdg_write_hex(w, mdg_slice(&c, 1));
    }
}

/* next_seq: the one member's, whose message is just going out. */
static void write_token(struct mdg_writer *w, struct mdg_session *s, const struct mdg_member *now,
                        uint64_t next_seq)
{
    size_t count = 0;
    MDG_SESSION_FOR(m, s)
    {
        struct mdg_position at = {mdg_member_epoch(m), (m == now ? next_seq : m->next_seq) - 1};
        if (!m->channel || at.epoch == 0)
            continue;
        if (count++)
            mdg_write_u8(w, ',');
        write_escaped_room(w, mdg_channel_name(m->channel));
        mdg_write_u8(w, '@');
        mdg_plain_write_position(w, at);
    }
}

void mdg_plain_write_token(struct mdg_writer *w, struct mdg_peer *p)
{
    write_token(w, mdg_peer_session(p), NULL, 0);
}

/* True when the slice, unescaped, is the room. */
static bool is_room(struct mdg_slice escaped, struct mdg_slice room)
{
    uint8_t buffer[3 * 256];
    struct mdg_writer w;
    mdg_writer_init(&w, buffer, sizeof buffer);
    write_escaped_room(&w, room);
    return mdg_writer_fits(&w) && mdg_slice_eq_nocase(escaped, mdg_slice(buffer, w.len)) &&
           escaped.len == w.len;
}

int mdg_plain_read_token(struct mdg_slice token, const struct mdg_slice *rooms, size_t count,
                         struct mdg_position *out)
{
    memset(out, 0, count * sizeof *out);
    if (count == 1 && mdg_plain_read_position(token, out) == 0)
        return 0;
    struct mdg_slice rest = token;
    while (rest.data) {
        struct mdg_position at;
        struct mdg_slice position = mdg_slice_split(&rest, ',');
        struct mdg_slice room = mdg_slice_split(&position, '@');
        if (!position.data || mdg_plain_read_position(position, &at) < 0)
            return MDG_E_SYNTAX;
        for (size_t i = 0; i < count; i++) {
            if (is_room(room, rooms[i]))
                out[i] = at;
        }
    }
    return 0;
}

struct token_sink {
    struct mdg_unit_sink sink;
    struct mdg_peer *peer;
    struct mdg_slice id;
};

static int unit_with_token(struct mdg_unit_sink *sink, struct mdg_slice unit,
                           const struct mdg_unit_meta *meta)
{
    struct token_sink *s = MDG_CONTAINER_OF(sink, struct token_sink, sink);
    struct mdg_unit_meta with_token = *meta;
    with_token.id = s->id;
    return mdg_peer_try_unit(s->peer, unit, &with_token);
}

/* An event stream of several rooms: its `id:` is the vector of all positions, so it is not shared
 * with anyone. */
static int deliver_with_token(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    uint64_t next_seq = m->next_seq;
    uint8_t token[MDG_PLAIN_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        struct mdg_writer w;
        mdg_writer_init(&w, token, sizeof token);
        if (msgs[i]->seq)
            next_seq = msgs[i]->seq + 1;
        write_token(&w, m->session, m, next_seq);
        struct token_sink s = {{unit_with_token, mdg_peer_scratch(p)}, p, {token, w.len}};
        if (!mdg_writer_fits(&w))
            s.id = mdg_slice(NULL, 0);
        int err = mdg_plain_encode(msgs[i], true, &s.sink);
        if (err == MDG_E_FULL)
            return (int)i;
    }
    return (int)n;
}

int mdg_plain_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    if (MDG_UNLIKELY(m->session->member_count > 1 && mdg_peer_link(p)->carrier->one_way &&
                     !mdg_peer_closing(p)))
        return deliver_with_token(m, msgs, n);
    return mdg_peer_deliver(m, msgs, n);
}

struct gap_unit {
    struct mdg_slice room;
    uint64_t from, to;
};

static void build_gap(struct mdg_writer *w, const void *arg)
{
    const struct gap_unit *g = arg;
    mdg_plain_begin(w, "gap", g->room, mdg_slice(NULL, 0));
    mdg_write_str(w, ",\"from\":");
    mdg_write_dec(w, g->from);
    mdg_write_str(w, ",\"to\":");
    mdg_write_dec(w, g->to);
    mdg_write_u8(w, '}');
}

int mdg_plain_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    struct gap_unit g = {mdg_channel_name(m->channel), from, to};
    struct mdg_buf *b = mdg_peer_scratch(p);
    if (mdg_plain_build(b, build_gap, &g) < 0)
        return MDG_E_FULL;
    int err = mdg_peer_try_unit(p, mdg_buf_slice(b), NULL);
    return err == MDG_E_FULL ? err : 0;
}

void mdg_plain_kick(struct mdg_session *s, int reason)
{
    struct mdg_peer *p = mdg_peer_of(s);
    struct mdg_slice none = mdg_slice(NULL, 0);
    const char *why = reason == MDG_E_FULL     ? "too slow"
                      : reason == MDG_E_EXISTS ? "somebody has proved that this name is theirs"
                                               : mdg_strerror(reason);
    if (reason == MDG_E_EXPIRED || reason == MDG_E_EXISTS)
        mdg_plain_send_error(p, none, none, mdg_plain_code(reason), why);
    mdg_peer_close(p, mdg_peer_close_code(reason), mdg_slice_str(why));
}

void mdg_plain_direct(struct mdg_session *s, struct mdg_msg *m)
{
    mdg_plain_send_built(mdg_peer_of(s), build_message, m);
}
