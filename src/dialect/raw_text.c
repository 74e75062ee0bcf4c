#include "dialect/raw_text.h"
#include "base/base64.h"

/* C1 controls are C2 80 to C2 9F in UTF-8. */
void mdg_raw_write_clean(struct mdg_writer *w, struct mdg_slice text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool c1 = c == 0xC2 && i + 1 < text.len && text.data[i + 1] < 0xA0;
        if (!c1 && c >= 0x20 && c != 0x7F)
            continue;
        mdg_write_bytes(w, text.data + from, i - from);
        mdg_write_u8(w, ' ');
        i += c1;
        from = i + 1;
    }
    if (from < text.len)
        mdg_write_bytes(w, text.data + from, text.len - from);
}

void mdg_raw_write_name(struct mdg_writer *w, struct mdg_slice name, bool guest)
{
    if (guest)
        mdg_write_u8(w, '~');
    mdg_raw_write_clean(w, name);
}

static void write_list(struct mdg_writer *w, const struct mdg_user *users, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            mdg_write_str(w, ", ");
        mdg_raw_write_name(w, users[i].name, users[i].guest);
    }
}

void mdg_raw_write_users(struct mdg_writer *w, uint64_t count, const struct mdg_user *users,
                         size_t user_count)
{
    mdg_write_dec(w, count);
    mdg_write_str(w, " here");
    if (user_count > 0) {
        mdg_write_str(w, ": ");
        write_list(w, users, user_count);
    }
}

static void write_room(struct mdg_writer *w, struct mdg_slice room)
{
    mdg_write_u8(w, '[');
    mdg_raw_write_clean(w, room);
    mdg_write_str(w, "] ");
}

static void write_presence(struct mdg_writer *w, const struct mdg_msg *m)
{
    const struct mdg_presence *p = mdg_msg_presence(m);
    if (!p || p->joined_count + p->left_count == 0)
        return;
    mdg_write_str(w, "* ");
    write_room(w, m->content->channel);
    write_list(w, p->joined, p->joined_count);
    if (p->joined_count)
        mdg_write_str(w, p->left_count ? " came, " : " came");
    write_list(w, p->left, p->left_count);
    if (p->left_count)
        mdg_write_str(w, " left");
}

void mdg_raw_write_message(struct mdg_writer *w, const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    if (c->kind == MDG_MSG_PRESENCE) {
        write_presence(w, m);
        return;
    }
    write_room(w, c->channel);
    if (c->sender.len)
        mdg_raw_write_name(w, c->sender, c->sender_guest);
    else
        mdg_write_u8(w, '*');
    if (c->kind == MDG_MSG_BINARY) {
        mdg_write_str(w, " /base64: ");
        mdg_write_base64(w, mdg_msg_payload(m));
        return;
    }
    if (c->event.len && !mdg_slice_eq(c->event, MDG_SLICE_LIT("message"))) {
        mdg_write_str(w, " /");
        mdg_raw_write_clean(w, c->event);
    }
    mdg_write_str(w, ": ");
    mdg_raw_write_clean(w, mdg_msg_payload(m));
}
