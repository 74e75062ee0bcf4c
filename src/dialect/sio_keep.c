/* What a socket needs to be found again after a restart of the server, as one record in the store:
 * who it was, its data, its rooms and where in them its ring began. The messages themselves are in
 * the rooms' logs: a restored socket joins its rooms where the ring began, and the logs fill it.
 *
 *     {"sid":"..","nsp":"/","user":{"name":"ann","guest":false,"rights":3,"expires":0},
 *      "data":{..},"whole":true,"rooms":[["lobby","<epoch>",12,true],..],"order":"<base64url>"}
 *
 * A room's true: with a cookie. whole: nothing delivered has left the ring. order: the offsets of
 * the deliveries. Events that are in no log have records of their own (sio_keep_event.c). */
#include "base/base64.h"
#include "base/json.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

enum { RECORD_BYTES_MAX = 65536, ROOMS_MAX = 64, ORDER_PIECE = 3 };

/* Where the ring begins in this room: before its oldest delivery from there, or at the member's own
 * place when there is none. */
static struct mdg_position ring_start(const struct mdg_sio_socket *s, const struct mdg_member *m)
{
    const struct sio_recovery *r = s->recovery;
    struct mdg_slice channel = mdg_channel_name(m->channel);
    for (uint32_t i = 0; i < r->len; i++) {
        const struct sio_delivery *d = sio_ring_at(r, i);
        if (d->seq && mdg_slice_eq(d->content->channel, channel))
            return (struct mdg_position){d->epoch, d->seq - 1};
    }
    return mdg_member_position(m);
}

static void write_epoch(struct mdg_writer *w, uint64_t epoch)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(epoch >> (56 - 8 * i));
    mdg_write_hex(w, mdg_slice(bytes, sizeof bytes));
}

static void write_rooms(struct mdg_writer *w, const struct mdg_sio_socket *s)
{
    bool first = true;
    MDG_SESSION_FOR(m, &s->session)
    {
        struct mdg_position at = m->channel ? ring_start(s, m) : (struct mdg_position){0, 0};
        if (!m->channel || !at.epoch)
            continue;
        mdg_write_str(w, first ? "[" : ",[");
        first = false;
        mdg_write_json_string(w, mdg_channel_name(m->channel));
        mdg_write_str(w, ",\"");
        write_epoch(w, at.epoch);
        mdg_write_str(w, "\",");
        mdg_write_dec(w, at.seq);
        mdg_write_str(w, m->cookie ? ",true]" : ",false]");
    }
}

/* The offsets of all deliveries, oldest first: of volatile ones too, which a client may name. A
 * restored ring that is not in order yet has the order of the record that it came from. */
static void write_order(struct mdg_writer *w, const struct sio_recovery *r)
{
    const struct mdg_slice known = mdg_slice(r->order, r->order_len * sizeof *r->order);
    uint8_t bytes[ORDER_PIECE * sizeof(uint64_t)]; /* a multiple of three: base64 joins */
    size_t len = 0;
    static_assert(sizeof bytes % 3 == 0, "pieces of base64 can be put together");
    if (r->restored) {
        mdg_write_base64url(w, known);
        return;
    }
    for (uint32_t i = 0; i < r->len; i++) {
        memcpy(bytes + len, &sio_ring_at(r, i)->offset, sizeof(uint64_t));
        len += sizeof(uint64_t);
        if (len == sizeof bytes || i + 1 == r->len) {
            mdg_write_base64url(w, mdg_slice(bytes, len));
            len = 0;
        }
    }
}

static void write_record(struct mdg_writer *w, const struct mdg_sio_socket *s)
{
    const struct mdg_principal *who = s->session.principal;
    mdg_write_str(w, "{\"sid\":");
    mdg_write_json_string(w, mdg_sio_sid(s));
    mdg_write_str(w, ",\"nsp\":");
    mdg_write_json_string(w, sio_nsp_name(s->nsp));
    mdg_write_str(w, ",\"user\":{\"name\":");
    mdg_write_json_string(w, mdg_principal_name(who));
    mdg_write_str(w, who->guest ? ",\"guest\":true,\"rights\":" : ",\"guest\":false,\"rights\":");
    mdg_write_dec(w, who->rights);
    mdg_write_str(w, ",\"expires\":");
    mdg_write_dec(w, who->expires_unix_ms);
    mdg_write_str(w, "},\"data\":");
    mdg_write_slice(w, mdg_sio_data(s));
    mdg_write_str(w, s->recovery->overflowed ? ",\"whole\":false" : ",\"whole\":true");
    mdg_write_str(w, ",\"rooms\":[");
    write_rooms(w, s);
    mdg_write_str(w, "],\"order\":\"");
    write_order(w, s->recovery);
    mdg_write_str(w, "\"}");
}

void sio_keep(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct mdg_buf room;
    struct mdg_writer out;
    if (!w->options->keep || !s->recovery || w->stopping)
        return;
    s->recovery->unkept = 0;
    mdg_writer_init(&out, NULL, 0);
    write_record(&out, s);
    mdg_buf_init(&room, RECORD_BYTES_MAX);
    if (mdg_buf_reserve(&room, out.len) == 0) {
        mdg_writer_init(&out, room.data, out.len);
        write_record(&out, s);
        w->hooks->keep(w->arg, mdg_slice(s->recovery->pid, SIO_PID_CHARS),
                       mdg_slice(room.data, out.len));
    }
    mdg_buf_fini(&room);
}

void sio_forget(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    if (w->options->keep && !w->stopping)
        w->hooks->keep(w->arg, mdg_slice(s->recovery->pid, SIO_PID_CHARS), mdg_slice(NULL, 0));
}

/* ---- and back ---- */

bool sio_read_hex(struct mdg_slice text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = mdg_ascii_lower(text.data[i]);
        uint64_t digit = c <= '9' ? (uint64_t)(c - '0') : (uint64_t)(c - 'a') + 10;
        if (digit > 15)
            return false;
        *out = *out << 4 | digit;
    }
    return text.len == 16;
}

static struct mdg_principal *read_user(struct mdg_slice record)
{
    struct mdg_slice user, v;
    uint8_t name[MDG_NAME_BYTES_MAX];
    uint64_t rights, expires;
    bool guest;
    if (!mdg_json_find(record, MDG_SLICE_LIT("user"), &user) ||
        !mdg_json_find(user, MDG_SLICE_LIT("rights"), &v) || mdg_json_u64(v, &rights) < 0 ||
        !mdg_json_find(user, MDG_SLICE_LIT("expires"), &v) || mdg_json_u64(v, &expires) < 0 ||
        !mdg_json_find(user, MDG_SLICE_LIT("guest"), &v) || mdg_json_bool(v, &guest) < 0 ||
        !mdg_json_find(user, MDG_SLICE_LIT("name"), &v))
        return NULL;
    int64_t n = mdg_json_unescape(v, name, sizeof name);
    return n < 0 ? NULL
                 : mdg_principal_new(mdg_slice(name, (size_t)n), guest, (uint32_t)rights, expires);
}

/* ["lobby","<epoch>",12,true] */
static void join_room(struct mdg_sio_socket *s, struct mdg_slice row)
{
    struct mdg_json_iter it;
    struct mdg_slice name, epoch, seq, cookie;
    struct mdg_join_options options = {.resume = true, .hidden = true};
    struct mdg_member *m;
    uint8_t channel[SIO_CHANNEL_BYTES_MAX];
    bool has_cookie = false, escaped;
    if (!mdg_json_array(row, &it) || !mdg_json_element(&it, &name) ||
        !mdg_json_element(&it, &epoch) || !mdg_json_element(&it, &seq) ||
        !mdg_json_element(&it, &cookie) ||
        !sio_read_hex(mdg_json_inside(epoch, &escaped), &options.from.epoch) ||
        mdg_json_u64(seq, &options.from.seq) < 0 || mdg_json_bool(cookie, &has_cookie) < 0) {
        s->recovery->overflowed = true;
        return;
    }
    int64_t n = mdg_json_unescape(name, channel, sizeof channel);
    options.cookie = has_cookie ? SIO_COOKIE_QUIET : NULL;
    if (n < 0 || mdg_hub_join(s->session.hub, &s->session, mdg_slice(channel, (size_t)n), &options,
                              &m) < 0) {
        s->recovery->overflowed = true;
        return;
    }
    /* What the client had last may be the message before the ring: say, from a room's history. */
    struct mdg_content content = {.channel = mdg_slice(channel, (size_t)n)};
    const struct mdg_msg before = {
        .content = &content, .epoch = options.from.epoch, .seq = options.from.seq};
    if (options.from.seq && !mdg_slice_starts(content.channel, MDG_SLICE_LIT("socket.io:")))
        s->recovery->before_offset = sio_offset_of(s->nsp->w, &before);
}

static void join_rooms(struct mdg_sio_socket *s, struct mdg_slice rooms)
{
    struct mdg_json_iter it;
    struct mdg_slice row;
    size_t n = 0;
    if (!mdg_json_array(rooms, &it))
        return;
    while (n++ < ROOMS_MAX && mdg_json_element(&it, &row))
        join_room(s, row);
}

static void read_order(struct sio_recovery *r, struct mdg_slice order)
{
    bool escaped;
    struct mdg_slice text = mdg_json_inside(order, &escaped);
    size_t most = text.len / 4 * 3 + 3;
    r->order = text.len ? malloc(most) : NULL;
    int64_t n = r->order ? mdg_base64_decode(text, (uint8_t *)r->order, most) : 0;
    r->order_len = n > 0 ? (uint32_t)((size_t)n / sizeof *r->order) : 0;
}

static bool read_text(struct mdg_slice record, const char *key, struct mdg_slice *out)
{
    struct mdg_slice v;
    bool escaped;
    if (!mdg_json_find(record, mdg_slice_str(key), &v))
        return false;
    *out = mdg_json_inside(v, &escaped);
    return out->len > 0 && !escaped;
}

static struct mdg_sio_socket *make_socket(struct mdg_sio_worker *w, struct mdg_slice record)
{
    struct mdg_slice sid, nsp_name, data;
    struct mdg_sio_socket *s = NULL;
    if (!read_text(record, "sid", &sid) || sid.len != MDG_SIO_SID_CHARS ||
        !read_text(record, "nsp", &nsp_name))
        return NULL;
    struct sio_nsp *nsp = sio_nsp_get(w, nsp_name);
    struct mdg_principal *who = nsp ? read_user(record) : NULL;
    if (who)
        s = sio_socket_alloc(nsp, who);
    mdg_principal_unref(who);
    if (!s)
        return NULL;
    s->state = SIO_AWAY;
    memcpy(s->sid, sid.data, MDG_SIO_SID_CHARS);
    s->named = mdg_map_put(&w->by_sid, mdg_sio_sid(s), s) == 0;
    if (mdg_json_find(record, MDG_SLICE_LIT("data"), &data) && data.len > 2)
        (void)!mdg_sio_set_data(s, data);
    return s;
}

static void restore_socket(struct mdg_sio_worker *w, struct mdg_slice pid, struct mdg_slice record)
{
    struct mdg_slice rooms, order, whole;
    bool is_whole;
    if (!mdg_json_find(record, MDG_SLICE_LIT("rooms"), &rooms))
        return;
    struct mdg_sio_socket *s = make_socket(w, record);
    if (!s)
        return;
    if (sio_recovery_restore(s, pid) < 0) {
        sio_socket_free(s);
        return;
    }
    if (mdg_json_find(record, MDG_SLICE_LIT("order"), &order))
        read_order(s->recovery, order);
    s->recovery->overflowed = !mdg_json_find(record, MDG_SLICE_LIT("whole"), &whole) ||
                              mdg_json_bool(whole, &is_whole) < 0 || !is_whole;
    join_rooms(s, rooms);
}

void mdg_sio_restore(struct mdg_sio_worker *w, struct mdg_slice key, struct mdg_slice record)
{
    if (mdg_json_check(record, 64, &record) < 0)
        return;
    if (key.len == SIO_PID_CHARS) {
        restore_socket(w, key, record);
    } else if (sio_is_event_key(key)) {
        struct mdg_sio_socket *s = mdg_map_get(&w->by_pid, mdg_slice(key.data, SIO_PID_CHARS));
        if (s)
            sio_restore_event(s, key, record);
        else
            w->hooks->keep(w->arg, key, mdg_slice(NULL, 0));
    }
}
