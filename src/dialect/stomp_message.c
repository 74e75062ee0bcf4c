/* The text of MESSAGE frames: a front that every message of a subscription has, what this delivery
 * alone says, and the rest, which is the same for every subscriber of a version.
 *
 * On a room, where nobody acknowledges, a delivery says nothing of its own: its message-id is the
 * message's place in the room. So subscribers with the same id, destination and version get the
 * same bytes. Otherwise it ends with the session, the subscription's number and the delivery's. */
#include "dialect/stomp_impl.h"

void mdg_stomp_write_number_pair(struct mdg_writer *w, uint64_t a, uint64_t b)
{
    mdg_write_dec(w, a);
    mdg_write_u8(w, '-');
    mdg_write_dec(w, b);
}

/* All but what tells the message; digits and letters of that need no escape. */
static void write_message_id(struct mdg_writer *w, const struct mdg_stomp_sub *s)
{
    uint8_t room[2048];
    struct mdg_writer id, line;
    uint8_t escaped[2 * sizeof room];
    mdg_writer_init(&id, room, sizeof room);
    mdg_write_str(&id, s->has_id ? "T_" : "Q_");
    mdg_write_slice(&id, s->has_id ? mdg_stomp_sub_id(s) : mdg_stomp_sub_shown(s));
    mdg_write_str(&id, "@@session-");
    assert(mdg_writer_fits(&id)); /* ids and destinations are bounded */
    mdg_writer_init(&line, escaped, sizeof escaped);
    mdg_stomp_write_header(&line, (enum mdg_stomp_version)s->conn->dec.version,
                           MDG_SLICE_LIT("message-id"), mdg_slice(room, id.len));
    assert(mdg_writer_fits(&line) && line.len > 0);
    mdg_write_bytes(w, escaped, line.len - 1);
}

static void write_destination(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                              const struct mdg_content *content)
{
    uint8_t room[2048];
    struct mdg_writer name;
    struct mdg_slice shown = mdg_stomp_sub_shown(s);
    if (s->is_pattern) {
        mdg_writer_init(&name, room, sizeof room);
        mdg_write_str(&name, "/topic/");
        mdg_write_slice(&name, content->channel);
        if (mdg_writer_fits(&name))
            shown = mdg_slice(room, name.len);
    }
    mdg_stomp_write_header(w, (enum mdg_stomp_version)s->conn->dec.version,
                           MDG_SLICE_LIT("destination"), shown);
}

static void write_epoch(struct mdg_writer *w, uint64_t epoch)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(epoch >> (56 - 8 * i));
    mdg_write_hex(w, mdg_slice(bytes, sizeof bytes));
}

static void write_room_headers(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                               const struct mdg_stomp_out *o)
{
    enum mdg_stomp_version version = (enum mdg_stomp_version)s->conn->dec.version;
    if (o->content->sender.len)
        mdg_stomp_write_header(w, version, MDG_SLICE_LIT("sender"), o->content->sender);
    if (o->content->sender_guest)
        mdg_write_str(w, "guest:true\n");
    if (o->content->event.len)
        mdg_stomp_write_header(w, version, MDG_SLICE_LIT("event"), o->content->event);
    if (o->at.seq) {
        mdg_stomp_write_header(w, version, MDG_SLICE_LIT("room"), o->content->channel);
        mdg_write_str(w, "epoch:");
        write_epoch(w, o->at.epoch);
        mdg_write_u8(w, '\n');
        mdg_stomp_write_number(w, "seq", o->at.seq);
    }
    mdg_stomp_write_number(w, "timestamp", o->content->unix_ms);
}

/* Of a message that named none: what its kind says, where the peer is told about rooms at all. */
static struct mdg_slice content_type(const struct mdg_stomp_sub *s, const struct mdg_content *c)
{
    if (c->content_type.len)
        return c->content_type;
    if (c->kind == MDG_MSG_JSON || c->kind == MDG_MSG_ARGS)
        return MDG_SLICE_LIT("application/json");
    if (!s->conn->server->config->room_headers)
        return c->content_type;
    return c->kind == MDG_MSG_BINARY ? MDG_SLICE_LIT("application/octet-stream")
                                     : MDG_SLICE_LIT("text/plain");
}

void mdg_stomp_write_rest(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                          const struct mdg_stomp_out *o, size_t body_len, bool base64)
{
    const struct mdg_stomp *c = s->conn;
    enum mdg_stomp_version version = (enum mdg_stomp_version)c->dec.version;
    struct mdg_slice type = content_type(s, o->content);
    if (c->server->config->room_headers)
        write_room_headers(w, s, o);
    if (type.len)
        mdg_stomp_write_header(w, version, MDG_SLICE_LIT("content-type"), type);
    for (size_t i = 0; i < o->content->header_count; i++)
        mdg_stomp_write_header(w, version, o->content->headers[i].name,
                               o->content->headers[i].value);
    if (base64)
        mdg_write_str(w, "content-transfer-encoding:base64\n");
    mdg_stomp_write_number(w, "content-length", body_len);
    mdg_write_u8(w, '\n');
}

void mdg_stomp_write_front(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                           const struct mdg_content *content)
{
    mdg_stomp_write_command(w, MDG_STOMP_MESSAGE);
    if (s->has_id)
        mdg_stomp_write_header(w, (enum mdg_stomp_version)s->conn->dec.version,
                               MDG_SLICE_LIT("subscription"), mdg_stomp_sub_id(s));
    write_destination(w, s, content);
    write_message_id(w, s);
}

void mdg_stomp_write_own(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                         const struct mdg_stomp_out *o)
{
    if (mdg_stomp_is_common(s, o)) {
        write_epoch(w, o->at.epoch);
        mdg_write_u8(w, '-');
        mdg_write_dec(w, o->at.seq);
    } else {
        mdg_write_bytes(w, s->conn->session_id, sizeof s->conn->session_id);
        mdg_write_str(w, "@@");
        mdg_stomp_write_number_pair(w, s->number, o->tag);
    }
    mdg_write_str(w, o->redelivered ? "\nredelivered:true\n" : "\nredelivered:false\n");
    if (s->ack != MDG_STOMP_AUTO && s->conn->dec.version == MDG_STOMP_1_2) {
        mdg_write_str(w, "ack:");
        mdg_stomp_write_number_pair(w, s->number, o->tag);
        mdg_write_u8(w, '\n');
    }
}

void mdg_stomp_write_head(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                          const struct mdg_stomp_out *o, size_t body_len, bool base64)
{
    mdg_stomp_write_front(w, s, o->content);
    mdg_stomp_write_own(w, s, o);
    mdg_stomp_write_rest(w, s, o, body_len, base64);
}
