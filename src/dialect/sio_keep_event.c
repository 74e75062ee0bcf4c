/* Events that are in no room's log (private ones, and those of this worker alone), each as a record
 * in the store for as long as the ring holds it, so that they recover after a restart too.
 *
 *     {"offset":"..","after":"..","ms":1790000000000,"kind":2,"flags":0,"event":"hi",
 *      "parts":["<arguments>","<attachment>",..]}
 *
 * Offsets and parts are base64url. after: the delivery before it, "" if there is none. The key is
 * the pid, a dot and the event's number. */
#include "base/base64.h"
#include "base/json.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

enum { NUMBER_DIGITS = 16, KEY_CHARS = SIO_PID_CHARS + 1 + NUMBER_DIGITS, EVENTS_FIRST = 8 };

static void write_key(const struct mdg_sio_socket *s, uint64_t number, char key[KEY_CHARS])
{
    uint8_t bytes[8];
    struct mdg_writer w;
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    mdg_writer_init(&w, key, KEY_CHARS);
    mdg_write_bytes(&w, s->recovery->pid, SIO_PID_CHARS);
    mdg_write_u8(&w, '.');
    mdg_write_hex(&w, mdg_slice(bytes, sizeof bytes));
    assert(w.len == KEY_CHARS);
}

bool sio_is_event_key(struct mdg_slice key)
{
    return key.len == KEY_CHARS && key.data[SIO_PID_CHARS] == '.';
}

/* Volatile events are not repeated, and so are no predecessors either. */
static uint64_t last_offset(const struct sio_recovery *r)
{
    for (uint32_t i = r->len; i > 0; i--) {
        const struct sio_delivery *d = sio_ring_at(r, i - 1);
        if (!(d->content->flags & MDG_MSG_VOLATILE))
            return d->offset;
    }
    return 0;
}

static void write_record(struct mdg_writer *w, const struct sio_recovery *r,
                         const struct mdg_content *c, uint64_t offset)
{
    uint64_t after = last_offset(r);
    mdg_write_str(w, "{\"offset\":");
    sio_write_offset(w, offset);
    mdg_write_str(w, ",\"after\":");
    if (after)
        sio_write_offset(w, after);
    else
        mdg_write_str(w, "\"\"");
    mdg_write_str(w, ",\"ms\":");
    mdg_write_dec(w, c->unix_ms);
    mdg_write_str(w, ",\"kind\":");
    mdg_write_dec(w, c->kind);
    mdg_write_str(w, ",\"flags\":");
    mdg_write_dec(w, c->flags);
    mdg_write_str(w, ",\"event\":");
    mdg_write_json_string(w, c->event);
    mdg_write_str(w, ",\"parts\":[");
    for (size_t i = 0; i < c->part_count; i++) {
        mdg_write_str(w, i ? ",\"" : "\"");
        mdg_write_base64url(w, mdg_chunk_slice(&c->parts[i]));
        mdg_write_u8(w, '"');
    }
    mdg_write_str(w, "]}");
}

uint64_t sio_keep_event(struct mdg_sio_socket *s, const struct mdg_content *c, uint64_t offset)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct mdg_buf room;
    struct mdg_writer out;
    char key[KEY_CHARS];
    if (!w->options->keep || w->stopping || c->flags & MDG_MSG_VOLATILE)
        return 0;
    mdg_writer_init(&out, NULL, 0);
    write_record(&out, s->recovery, c, offset);
    mdg_buf_init(&room, out.len); /* no longer than what the ring holds, times 4/3 */
    if (mdg_buf_reserve(&room, out.len) < 0) {
        s->recovery->overflowed = true;
        return 0;
    }
    mdg_writer_init(&out, room.data, out.len);
    write_record(&out, s->recovery, c, offset);
    uint64_t number = ++s->recovery->last_number;
    write_key(s, number, key);
    w->hooks->keep(w->arg, mdg_slice(key, sizeof key), mdg_slice(room.data, out.len));
    mdg_buf_fini(&room);
    return number;
}

void sio_forget_event(struct mdg_sio_socket *s, uint64_t number)
{
    struct mdg_sio_worker *w = s->nsp->w;
    char key[KEY_CHARS];
    if (!w->options->keep || w->stopping)
        return;
    write_key(s, number, key);
    w->hooks->keep(w->arg, mdg_slice(key, sizeof key), mdg_slice(NULL, 0));
}

/* ---- and back ---- */

static bool read_offset(struct mdg_slice record, const char *name, uint64_t *out)
{
    struct mdg_slice v;
    bool escaped;
    *out = 0;
    if (!mdg_json_find(record, mdg_slice_str(name), &v))
        return false;
    v = mdg_json_inside(v, &escaped);
    return v.len == 0 || mdg_base64_decode(v, (uint8_t *)out, sizeof *out) == (int64_t)sizeof *out;
}

static bool read_number(struct mdg_slice record, const char *name, uint64_t max, uint64_t *out)
{
    struct mdg_slice v;
    return mdg_json_find(record, mdg_slice_str(name), &v) && mdg_json_u64(v, out) == 0 &&
           *out <= max;
}

static struct mdg_blob *read_part(struct mdg_slice json)
{
    bool escaped;
    struct mdg_slice text = mdg_json_inside(json, &escaped);
    struct mdg_blob *blob = text.len <= UINT32_MAX ? mdg_blob_new((uint32_t)text.len) : NULL;
    int64_t n = blob ? mdg_base64_decode(text, blob->data, blob->len) : -1;
    if (n < 0 || mdg_blob_resize(&blob, (uint32_t)n) < 0) {
        mdg_blob_unref(blob);
        return NULL;
    }
    return blob;
}

/* The content's parts; NULL: there is none, or no memory. */
static struct mdg_chunk *read_parts(struct mdg_slice record, size_t *count)
{
    struct mdg_slice list, v;
    struct mdg_json_iter it;
    if (!mdg_json_find(record, MDG_SLICE_LIT("parts"), &list) || !mdg_json_array(list, &it))
        return NULL;
    size_t n = mdg_json_count(list);
    struct mdg_chunk *parts = n && n <= MDG_MSG_PARTS_MAX ? calloc(n, sizeof *parts) : NULL;
    for (*count = 0; parts && *count < n && mdg_json_element(&it, &v); (*count)++) {
        struct mdg_blob *blob = read_part(v);
        if (!blob)
            break;
        parts[*count] = mdg_chunk_all(blob);
    }
    if (!parts || *count == n)
        return parts;
    for (size_t i = 0; i < *count; i++)
        mdg_blob_unref(parts[i].blob);
    free(parts);
    return NULL;
}

static struct mdg_content *read_content(struct mdg_slice record)
{
    uint64_t ms, kind, flags;
    struct mdg_slice v;
    struct mdg_msg_draft draft = {0};
    struct mdg_content *c = NULL;
    if (!read_number(record, "ms", UINT64_MAX, &ms) ||
        !read_number(record, "kind", MDG_MSG_PRESENCE, &kind) ||
        !read_number(record, "flags", UINT8_MAX, &flags) ||
        !mdg_json_find(record, MDG_SLICE_LIT("event"), &v))
        return NULL;
    uint8_t *event = malloc(v.len);
    int64_t n = event ? mdg_json_unescape(v, event, v.len) : -1;
    draft.parts = n >= 0 ? read_parts(record, &draft.part_count) : NULL;
    if (draft.parts) {
        draft.kind = (enum mdg_msg_kind)kind;
        draft.flags = (unsigned)flags;
        draft.event = mdg_slice(event, (size_t)n);
        if (mdg_content_new(&draft, ms, &c) < 0)
            c = NULL;
        for (size_t i = 0; !c && i < draft.part_count; i++)
            mdg_blob_unref(draft.parts[i].blob);
        free(draft.parts);
    }
    free(event);
    return c;
}

static bool read_key(struct mdg_slice key, uint64_t *number)
{
    return sio_read_hex(mdg_slice(key.data + SIO_PID_CHARS + 1, NUMBER_DIGITS), number);
}

static bool has_room(struct sio_recovery *r)
{
    if (r->kept_len > MDG_SIO_RING_MAX)
        return false;
    if (r->kept_len && (r->kept_len < EVENTS_FIRST || (r->kept_len & (r->kept_len - 1))))
        return true; /* the capacity is the next power of two */
    size_t cap = r->kept_len ? r->kept_len * 2u : EVENTS_FIRST;
    struct sio_kept_event *kept = realloc(r->kept, cap * sizeof *kept);
    if (kept)
        r->kept = kept;
    return kept != NULL;
}

void sio_restore_event(struct mdg_sio_socket *s, struct mdg_slice key, struct mdg_slice record)
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct sio_recovery *r = s->recovery;
    struct sio_kept_event e = {0};
    if (read_key(key, &e.delivery.number) && read_offset(record, "offset", &e.delivery.offset) &&
        read_offset(record, "after", &e.after))
        e.delivery.content = read_content(record);
    if (!e.delivery.content || !has_room(r)) {
        mdg_content_unref(e.delivery.content);
        sio_socket_free(s);
        w->hooks->keep(w->arg, key, mdg_slice(NULL, 0));
        return;
    }
    r->kept[r->kept_len++] = e;
    r->last_number = e.delivery.number;
}
