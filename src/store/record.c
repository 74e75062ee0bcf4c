/* A version byte, fixed fields, then slices with their lengths; little-endian. */
#include "store/record.h"
#include <stdlib.h>

enum { VERSION = 1 };

static void write_u64(struct mdg_writer *w, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        mdg_write_u8(w, (uint8_t)(v >> (8 * i)));
}

static void write_u32(struct mdg_writer *w, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        mdg_write_u8(w, (uint8_t)(v >> (8 * i)));
}

static void write_slice(struct mdg_writer *w, struct mdg_slice s)
{
    write_u32(w, (uint32_t)s.len);
    mdg_write_slice(w, s);
}

static void write_slices(struct mdg_writer *w, const struct mdg_slice *list, size_t count)
{
    write_u32(w, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        write_slice(w, list[i]);
}

void mdg_record_write(struct mdg_writer *w, const struct mdg_content *c)
{
    mdg_write_u8(w, VERSION);
    mdg_write_u8(w, c->kind);
    mdg_write_u8(w, c->flags);
    mdg_write_u8(w, c->sender_guest);
    write_u64(w, c->unix_ms);
    write_slice(w, c->channel);
    write_slice(w, c->event);
    write_slice(w, c->sender);
    write_slice(w, c->id);
    write_slice(w, c->content_type);
    write_u32(w, c->header_count);
    for (size_t i = 0; i < c->header_count; i++) {
        write_slice(w, c->headers[i].name);
        write_slice(w, c->headers[i].value);
    }
    write_slices(w, c->except_channels, c->except_channel_count);
    write_slices(w, c->union_channels, c->union_channel_count);
    write_u32(w, c->part_count);
    for (size_t i = 0; i < c->part_count; i++)
        write_slice(w, mdg_chunk_slice(&c->parts[i]));
}

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t read_number(struct reader *r, int bytes)
{
    uint64_t v = 0;
    if (r->end - r->at < bytes) {
        r->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    return v;
}

static struct mdg_slice read_slice(struct reader *r)
{
    size_t len = (size_t)read_number(r, 4);
    if (r->bad || (size_t)(r->end - r->at) < len) {
        r->bad = true;
        return mdg_slice(NULL, 0);
    }
    struct mdg_slice s = mdg_slice(r->at, len);
    r->at += len;
    return s;
}

static void drop_parts(struct mdg_chunk *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mdg_blob_unref(parts[i].blob);
    free(parts);
}

/* Each part is a blob again. */
static int read_parts(struct reader *r, struct mdg_msg_draft *draft)
{
    size_t n = (size_t)read_number(r, 4);
    if (r->bad || n == 0 || n > MDG_MSG_PARTS_MAX)
        return MDG_E_SYNTAX;
    struct mdg_chunk *parts = calloc(n, sizeof *parts);
    if (!parts)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct mdg_slice s = read_slice(r);
        struct mdg_blob *blob = r->bad ? NULL : mdg_blob_copy(s);
        if (!blob) {
            drop_parts(parts, i);
            return r->bad ? MDG_E_SYNTAX : MDG_E_NO_MEMORY;
        }
        parts[i] = mdg_chunk_all(blob);
    }
    draft->parts = parts;
    draft->part_count = n;
    return 0;
}

/* Rooms in which a message must not be seen, or must be seen once. The caller frees the list. */
static int read_slices(struct reader *r, const struct mdg_slice **out, size_t *count)
{
    *count = (size_t)read_number(r, 4);
    if (r->bad || *count > UINT16_MAX)
        return MDG_E_SYNTAX;
    struct mdg_slice *list = calloc(*count + 1, sizeof *list);
    if (!list)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < *count; i++)
        list[i] = read_slice(r);
    *out = list;
    return 0;
}

/* Takes the draft's parts over in every case. */
static int make_content(struct mdg_msg_draft *draft, struct mdg_slice sender, bool guest,
                        uint64_t unix_ms, struct mdg_content **out)
{
    struct mdg_principal *who = sender.len ? mdg_principal_new(sender, guest, 0, 0) : NULL;
    struct mdg_chunk *parts = draft->parts;
    size_t part_count = draft->part_count;
    draft->sender = who;
    int err = sender.len && !who ? MDG_E_NO_MEMORY : mdg_content_new(draft, unix_ms, out);
    mdg_principal_unref(who);
    if (err < 0)
        drop_parts(parts, part_count);
    else
        free(parts);
    return err;
}

static void free_slices(const struct mdg_slice *list)
{
    free((void *)(uintptr_t)list);
}

int mdg_record_read(struct mdg_slice bytes, struct mdg_content **out)
{
    struct reader r = {bytes.data, bytes.data + bytes.len, false};
    struct mdg_msg_header headers[MDG_MSG_HEADERS_MAX];
    struct mdg_msg_draft draft = {.headers = headers};
    if (read_number(&r, 1) != VERSION)
        return MDG_E_SYNTAX;
    draft.kind = (enum mdg_msg_kind)read_number(&r, 1);
    draft.flags = (unsigned)read_number(&r, 1);
    bool guest = read_number(&r, 1) != 0;
    uint64_t unix_ms = read_number(&r, 8);
    draft.channel = read_slice(&r);
    draft.event = read_slice(&r);
    struct mdg_slice sender = read_slice(&r);
    draft.id = read_slice(&r);
    draft.content_type = read_slice(&r);
    draft.header_count = (size_t)read_number(&r, 4);
    if (r.bad || draft.header_count > MDG_MSG_HEADERS_MAX || draft.kind >= MDG_MSG_PRESENCE ||
        sender.len > MDG_NAME_BYTES_MAX)
        return MDG_E_SYNTAX;
    for (size_t i = 0; i < draft.header_count; i++) {
        headers[i].name = read_slice(&r);
        headers[i].value = read_slice(&r);
    }
    int err = read_slices(&r, &draft.except_channels, &draft.except_channel_count);
    if (err == 0)
        err = read_slices(&r, &draft.union_channels, &draft.union_channel_count);
    if (err == 0)
        err = read_parts(&r, &draft);
    if (err == 0)
        err = make_content(&draft, sender, guest, unix_ms, out);
    free_slices(draft.except_channels);
    free_slices(draft.union_channels);
    return err;
}
