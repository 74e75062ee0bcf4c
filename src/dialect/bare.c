/* The bare text chat: a client sends text, everyone in the room, the sender too, receives
 * `name:text`. Nothing else is ever sent, so `new WebSocket(url)` is all that a page needs. */
#include "base/utf8.h"
#include "dialect/plain.h"

static int on_open(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    struct mdg_session *s = mdg_peer_session(p);
    struct mdg_member *m;
    (void)hs;
    return mdg_hub_join(s->hub, s, mdg_peers_config(mdg_peer_shared(p))->default_room, NULL, &m);
}

/* There is no way to tell this client of an error: what cannot be published is dropped. */
static int on_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    struct mdg_session *s = mdg_peer_session(p);
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(p));
    struct mdg_content *content;
    struct mdg_msg_draft draft = {
        .kind = MDG_MSG_TEXT,
        .flags = MDG_MSG_COMPRESS,
        .channel = config->default_room,
        .sender = s->principal,
        .sender_session = s->id,
        .payload = {in.data, in.len},
    };
    if (in.len > config->message_bytes_max)
        return MDG_E_TOO_BIG;
    if (binary && !mdg_utf8_valid(draft.payload))
        return 0;
    if (!(s->principal->rights & MDG_RIGHT_PUBLISH) || !mdg_peer_may_publish(p))
        return 0;
    int err = mdg_content_new(&draft, mdg_hub_unix_ms(s->hub), &content);
    if (err == 0)
        err = mdg_hub_publish(s->hub, content, NULL, NULL);
    return err == MDG_E_NO_MEMORY ? 0 : err;
}

static void build_line(struct mdg_writer *w, const void *arg)
{
    const struct mdg_msg *m = arg;
    mdg_write_slice(w, m->content->sender);
    mdg_write_u8(w, ':');
    mdg_write_slice(w, mdg_msg_payload(m));
}

static int on_encode(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink)
{
    (void)text_only;
    uint8_t kind = m->content->kind;
    if (kind == MDG_MSG_PRESENCE || kind == MDG_MSG_BINARY)
        return 0;
    int err = mdg_plain_build(sink->work, build_line, m);
    if (err < 0)
        return err;
    struct mdg_unit_meta meta = {.compress = m->content->flags & MDG_MSG_COMPRESS};
    return sink->unit(sink, mdg_buf_slice(sink->work), &meta);
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    (void)info;
    if (err < 0)
        mdg_peer_close(mdg_peer_of(m->session), MDG_CLOSE_TRY_LATER, mdg_slice(NULL, 0));
}

/* There is no word for a hole here, and none is hidden: who lost something begins anew. */
static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    (void)from;
    (void)to;
    mdg_peer_close(mdg_peer_of(m->session), mdg_peer_close_code(MDG_E_FULL),
                   MDG_SLICE_LIT("messages were lost"));
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    mdg_peer_close(mdg_peer_of(s), mdg_peer_close_code(reason), mdg_slice(NULL, 0));
}

const struct mdg_dialect mdg_bare_dialect = {
    .name = "bare",
    .open = on_open,
    .on_input = on_input,
    .encode = on_encode,
    .session = {on_joined, mdg_peer_deliver, on_gap, on_kick, NULL, mdg_peer_close_session},
};
