/* Writing and reading the JSON of madang.v1. */
#include "dialect/plain_text.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/utf8.h"

enum { FIRST_ROOM = 1024 };

void mdg_plain_write_user(struct mdg_writer *w, const struct mdg_user *u)
{
    mdg_write_str(w, "{\"name\":");
    mdg_write_json_string(w, u->name);
    mdg_write_str(w, u->guest ? ",\"guest\":true}" : ",\"guest\":false}");
}

void mdg_plain_write_users(struct mdg_writer *w, const struct mdg_user *users, size_t count)
{
    mdg_write_u8(w, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            mdg_write_u8(w, ',');
        mdg_plain_write_user(w, &users[i]);
    }
    mdg_write_u8(w, ']');
}

void mdg_plain_write_epoch(struct mdg_writer *w, uint64_t epoch)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(epoch >> (56 - 8 * i));
    mdg_write_hex(w, mdg_slice(bytes, sizeof bytes));
}

void mdg_plain_write_position(struct mdg_writer *w, struct mdg_position at)
{
    mdg_plain_write_epoch(w, at.epoch);
    mdg_write_u8(w, ':');
    mdg_write_dec(w, at.seq);
}

int mdg_plain_read_epoch(struct mdg_slice text, uint64_t *out)
{
    uint64_t epoch = 0;
    if (text.len != 16)
        return MDG_E_SYNTAX;
    for (size_t i = 0; i < 16; i++) {
        uint8_t c = mdg_ascii_lower(text.data[i]);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 16;
        if (digit == 16)
            return MDG_E_SYNTAX;
        epoch = epoch << 4 | digit;
    }
    *out = epoch;
    return 0;
}

int mdg_plain_read_position(struct mdg_slice text, struct mdg_position *out)
{
    struct mdg_slice rest = text, epoch = mdg_slice_split(&rest, ':');
    struct mdg_position at;
    if (!rest.data || mdg_plain_read_epoch(epoch, &at.epoch) < 0 ||
        mdg_slice_u64(rest, &at.seq) < 0)
        return MDG_E_SYNTAX;
    *out = at;
    return 0;
}

/* JSON from a client, whose blanks may be line breaks: those would end a line of a line-based
 * carrier. Within strings there are none (RFC 8259 7). */
static void write_one_line(struct mdg_writer *w, struct mdg_slice json)
{
    size_t from = 0;
    for (size_t i = 0; i < json.len; i++) {
        if (json.data[i] == '\n' || json.data[i] == '\r') {
            mdg_write_bytes(w, json.data + from, i - from);
            mdg_write_u8(w, ' ');
            from = i + 1;
        }
    }
    mdg_write_bytes(w, json.data + from, json.len - from);
}

static void write_base64_string(struct mdg_writer *w, struct mdg_slice bytes)
{
    mdg_write_u8(w, '"');
    mdg_write_base64(w, bytes);
    mdg_write_u8(w, '"');
}

/* Binary parts of an event; {"_placeholder":true,"num":n} in the data names them. */
static void write_attachments(struct mdg_writer *w, const struct mdg_content *c)
{
    mdg_write_str(w, ",\"attachments\":[");
    for (size_t i = 1; i < c->part_count; i++) {
        if (i > 1)
            mdg_write_u8(w, ',');
        write_base64_string(w, mdg_chunk_slice(&c->parts[i]));
    }
    mdg_write_u8(w, ']');
}

/* Where the field with the payload does not say it already: a STOMP client's text/html, say. */
static void write_content_type(struct mdg_writer *w, const struct mdg_content *c,
                               struct mdg_slice implied)
{
    if (c->content_type.len == 0 || !mdg_utf8_valid(c->content_type) ||
        (implied.len && mdg_slice_starts(c->content_type, implied)))
        return;
    mdg_write_str(w, ",\"content_type\":");
    mdg_write_json_string(w, c->content_type);
}

static void write_payload(struct mdg_writer *w, const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    switch ((enum mdg_msg_kind)c->kind) {
    case MDG_MSG_TEXT:
        mdg_write_str(w, ",\"text\":");
        mdg_write_json_string(w, mdg_msg_payload(m));
        write_content_type(w, c, MDG_SLICE_LIT("text/plain"));
        break;
    case MDG_MSG_JSON:
    case MDG_MSG_ARGS:
        mdg_write_str(w, ",\"data\":");
        write_one_line(w, mdg_msg_payload(m));
        if (c->part_count > 1)
            write_attachments(w, c);
        write_content_type(w, c, MDG_SLICE_LIT("application/json"));
        break;
    case MDG_MSG_BINARY:
        mdg_write_str(w, ",\"base64\":");
        write_base64_string(w, mdg_msg_payload(m));
        write_content_type(w, c, mdg_slice(NULL, 0));
        break;
    case MDG_MSG_PRESENCE:
        break;
    }
}

static void write_room(struct mdg_writer *w, const char *type, struct mdg_slice room)
{
    mdg_write_str(w, "{\"type\":\"");
    mdg_write_str(w, type);
    mdg_write_str(w, "\",\"room\":");
    mdg_write_json_string(w, room);
}

static void write_presence(struct mdg_writer *w, const struct mdg_msg *m)
{
    const struct mdg_presence *p = mdg_msg_presence(m);
    write_room(w, "presence", m->content->channel);
    mdg_write_str(w, ",\"count\":");
    mdg_write_dec(w, p->count);
    if (p->joined_count || p->left_count) {
        mdg_write_str(w, ",\"joined\":");
        mdg_plain_write_users(w, p->joined, p->joined_count);
        mdg_write_str(w, ",\"left\":");
        mdg_plain_write_users(w, p->left, p->left_count);
    }
    mdg_write_u8(w, '}');
}

void mdg_plain_write_message(struct mdg_writer *w, const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    if (c->kind == MDG_MSG_PRESENCE) {
        write_presence(w, m);
        return;
    }
    write_room(w, "message", c->channel);
    if (m->seq) {
        mdg_write_str(w, ",\"epoch\":\"");
        mdg_plain_write_epoch(w, m->epoch);
        mdg_write_str(w, "\",\"seq\":");
        mdg_write_dec(w, m->seq);
    }
    mdg_write_str(w, ",\"from\":");
    struct mdg_user from = {c->sender, c->sender_guest};
    if (c->sender.len)
        mdg_plain_write_user(w, &from);
    else
        mdg_write_str(w, "null");
    mdg_write_str(w, ",\"time\":");
    mdg_write_dec(w, c->unix_ms);
    if (c->event.len && !mdg_slice_eq(c->event, MDG_SLICE_LIT("message"))) {
        mdg_write_str(w, ",\"event\":");
        mdg_write_json_string(w, c->event);
    }
    if (c->id.len) {
        mdg_write_str(w, ",\"key\":");
        mdg_write_json_string(w, c->id);
    }
    write_payload(w, m);
    mdg_write_u8(w, '}');
}

int mdg_plain_build(struct mdg_buf *b, mdg_plain_build_fn build, const void *arg)
{
    size_t room = FIRST_ROOM;
    b->len = 0;
    for (;;) {
        struct mdg_writer w;
        int err = mdg_buf_reserve(b, room);
        if (err < 0)
            return err;
        mdg_writer_init(&w, b->data, b->cap);
        build(&w, arg);
        if (mdg_writer_fits(&w)) {
            b->len = w.len;
            return 0;
        }
        room = w.len;
    }
}

/* ---- Reading ---- */

static struct mdg_slice *field_of(struct mdg_plain_fields *f, struct mdg_slice key)
{
    const struct {
        struct mdg_slice name;
        struct mdg_slice *field;
    } known[] = {
        {MDG_SLICE_LIT("type"), &f->type},       {MDG_SLICE_LIT("room"), &f->room},
        {MDG_SLICE_LIT("id"), &f->id},           {MDG_SLICE_LIT("text"), &f->text},
        {MDG_SLICE_LIT("data"), &f->data},       {MDG_SLICE_LIT("base64"), &f->base64},
        {MDG_SLICE_LIT("event"), &f->event},     {MDG_SLICE_LIT("content_type"), &f->content_type},
        {MDG_SLICE_LIT("history"), &f->history}, {MDG_SLICE_LIT("resume"), &f->resume},
        {MDG_SLICE_LIT("before"), &f->before},   {MDG_SLICE_LIT("limit"), &f->limit},
        {MDG_SLICE_LIT("token"), &f->token},     {MDG_SLICE_LIT("epoch"), &f->epoch},
        {MDG_SLICE_LIT("seq"), &f->seq},         {MDG_SLICE_LIT("key"), &f->key},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(known); i++) {
        if (mdg_json_string_eq(key, known[i].name))
            return known[i].field;
    }
    return NULL;
}

int mdg_plain_read(struct mdg_input in, struct mdg_plain_fields *f)
{
    struct mdg_slice object, key, value;
    struct mdg_json_iter it;
    memset(f, 0, sizeof *f);
    int err = mdg_json_check(mdg_slice(in.data, in.len), MDG_PLAIN_DEPTH_MAX, &object);
    if (err < 0)
        return MDG_E_SYNTAX;
    if (!mdg_json_object(object, &it))
        return MDG_E_PROTO;
    while (mdg_json_member(&it, &key, &value)) {
        struct mdg_slice *field = field_of(f, key);
        if (field)
            *field = value;
    }
    return 0;
}

int mdg_plain_string(struct mdg_input in, struct mdg_slice *s)
{
    if (mdg_json_type(*s) != MDG_JSON_STRING)
        return MDG_E_SYNTAX;
    assert(s->data >= in.data && s->data + s->len <= in.data + in.len);
    uint8_t *text = in.data + (s->data - in.data) + 1;
    int64_t len = mdg_json_unescape(*s, text, s->len - 2);
    if (len < 0)
        return MDG_E_SYNTAX;
    *s = mdg_slice(text, (size_t)len);
    return 0;
}

static int read_base64(struct mdg_input in, struct mdg_slice *s)
{
    int err = mdg_plain_string(in, s);
    if (err < 0 || s->len == 0)
        return err;
    uint8_t *text = in.data + (s->data - in.data);
    int64_t len = mdg_base64_decode(*s, text, s->len);
    if (len < 0)
        return MDG_E_SYNTAX;
    *s = mdg_slice(text, (size_t)len);
    return 0;
}

/* An event's name stands in one line of an event stream; a key is as short. */
static bool name_ok(struct mdg_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < 0x20 || name.data[i] == 0x7f)
            return false;
    }
    return name.len > 0 && name.len <= MDG_PLAIN_EVENT_BYTES_MAX;
}

static int read_names(struct mdg_input in, struct mdg_plain_fields *f, struct mdg_msg_draft *draft)
{
    if (f->event.len) {
        if (mdg_plain_string(in, &f->event) < 0 || !name_ok(f->event))
            return MDG_E_PROTO;
        draft->event = f->event;
    }
    /* The publisher's own mark, which comes back on the message: how a client that was cut off
     * before the acknowledgement knows that it arrived. */
    if (f->key.len) {
        if (mdg_plain_string(in, &f->key) < 0 || !name_ok(f->key))
            return MDG_E_PROTO;
        draft->id = f->key;
    }
    if (f->content_type.len) {
        if (mdg_plain_string(in, &f->content_type) < 0 || !name_ok(f->content_type))
            return MDG_E_PROTO;
        draft->content_type = f->content_type;
    }
    return 0;
}

int mdg_plain_payload(struct mdg_input in, struct mdg_plain_fields *f, struct mdg_msg_draft *draft)
{
    if ((f->text.len > 0) + (f->data.len > 0) + (f->base64.len > 0) != 1)
        return MDG_E_PROTO;
    int err = read_names(in, f, draft);
    if (err < 0)
        return err;
    if (f->text.len) {
        draft->kind = MDG_MSG_TEXT;
        err = mdg_plain_string(in, &f->text);
        draft->payload = f->text;
    } else if (f->data.len) {
        draft->kind = MDG_MSG_JSON;
        draft->payload = f->data;
    } else {
        draft->kind = MDG_MSG_BINARY;
        err = read_base64(in, &f->base64);
        draft->payload = f->base64;
    }
    return err < 0 ? MDG_E_PROTO : 0;
}
