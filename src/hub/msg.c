/* A content is one block of memory: the struct, its arrays, then all its strings. Only the parts
 * are blobs of their own, so that they can go to a socket without a copy. */
#include "hub/msg.h"
#include <stdlib.h>

/* Hands out the block's memory: arrays first (aligned), strings after them. */
struct carver {
    uint8_t *arrays, *strings;
};

static void *carve_array(struct carver *at, size_t bytes)
{
    void *array = at->arrays;
    at->arrays += bytes;
    return bytes ? array : NULL;
}

static struct mdg_slice carve_string(struct carver *at, struct mdg_slice from)
{
    if (from.len == 0)
        return mdg_slice(NULL, 0);
    memcpy(at->strings, from.data, from.len);
    struct mdg_slice copy = mdg_slice(at->strings, from.len);
    at->strings += from.len;
    return copy;
}

static size_t part_count(const struct mdg_msg_draft *d)
{
    return d->parts ? d->part_count : 1;
}

static size_t array_bytes(const struct mdg_msg_draft *d)
{
    return d->header_count * sizeof(struct mdg_msg_header) +
           part_count(d) * sizeof(struct mdg_chunk) + d->except_session_count * sizeof(uint64_t) +
           (d->except_channel_count + d->union_channel_count) * sizeof(struct mdg_slice);
}

static size_t string_bytes(const struct mdg_msg_draft *d)
{
    size_t sum = d->channel.len + d->event.len + d->id.len + d->content_type.len;
    if (d->sender)
        sum += d->sender->name_len;
    for (size_t i = 0; i < d->header_count; i++)
        sum += d->headers[i].name.len + d->headers[i].value.len;
    for (size_t i = 0; i < d->except_channel_count; i++)
        sum += d->except_channels[i].len;
    for (size_t i = 0; i < d->union_channel_count; i++)
        sum += d->union_channels[i].len;
    return sum;
}

static void fill_lists(struct mdg_content *c, const struct mdg_msg_draft *d, struct carver *at)
{
    c->headers = carve_array(at, d->header_count * sizeof *c->headers);
    for (size_t i = 0; i < d->header_count; i++) {
        c->headers[i].name = carve_string(at, d->headers[i].name);
        c->headers[i].value = carve_string(at, d->headers[i].value);
    }
    c->except_channels = carve_array(at, d->except_channel_count * sizeof *c->except_channels);
    for (size_t i = 0; i < d->except_channel_count; i++)
        c->except_channels[i] = carve_string(at, d->except_channels[i]);
    c->union_channels = carve_array(at, d->union_channel_count * sizeof *c->union_channels);
    for (size_t i = 0; i < d->union_channel_count; i++)
        c->union_channels[i] = carve_string(at, d->union_channels[i]);
    c->except_sessions = carve_array(at, d->except_session_count * sizeof *c->except_sessions);
    if (d->except_session_count)
        memcpy(c->except_sessions, d->except_sessions,
               d->except_session_count * sizeof *c->except_sessions);
    c->header_count = (uint16_t)d->header_count;
    c->except_channel_count = (uint16_t)d->except_channel_count;
    c->union_channel_count = (uint16_t)d->union_channel_count;
    c->except_session_count = (uint16_t)d->except_session_count;
}

static int fill_parts(struct mdg_content *c, const struct mdg_msg_draft *d, struct carver *at)
{
    c->part_count = (uint16_t)part_count(d);
    c->parts = carve_array(at, c->part_count * sizeof *c->parts);
    if (!d->parts) {
        struct mdg_blob *payload = mdg_blob_copy(d->payload);
        if (!payload)
            return MDG_E_NO_MEMORY;
        c->parts[0] = mdg_chunk_all(payload);
        c->bytes += payload->len;
        return 0;
    }
    for (size_t i = 0; i < d->part_count; i++) {
        c->parts[i] = d->parts[i];
        c->bytes += d->parts[i].len;
        d->parts[i].blob = NULL;
    }
    return 0;
}

int mdg_content_new(const struct mdg_msg_draft *d, uint64_t unix_ms, struct mdg_content **out)
{
    if (part_count(d) == 0 || part_count(d) > MDG_MSG_PARTS_MAX ||
        d->header_count > MDG_MSG_HEADERS_MAX || d->except_session_count > UINT16_MAX ||
        d->except_channel_count > UINT16_MAX || d->union_channel_count > UINT16_MAX ||
        d->payload.len > UINT32_MAX)
        return MDG_E_TOO_BIG;
    size_t arrays = array_bytes(d), strings = string_bytes(d);
    struct mdg_content *c = calloc(1, sizeof *c + arrays + strings);
    if (!c)
        return MDG_E_NO_MEMORY;
    struct carver at = {(uint8_t *)(c + 1), (uint8_t *)(c + 1) + arrays};
    atomic_init(&c->refs, 1);
    c->kind = (uint8_t)d->kind;
    c->flags = (uint8_t)d->flags;
    c->unix_ms = unix_ms;
    c->sender_session = d->sender_session;
    c->bytes = sizeof *c + arrays + strings;
    fill_lists(c, d, &at);
    c->channel = carve_string(&at, d->channel);
    c->event = carve_string(&at, d->event);
    c->id = carve_string(&at, d->id);
    c->content_type = carve_string(&at, d->content_type);
    if (d->sender) {
        c->sender = carve_string(&at, mdg_principal_name(d->sender));
        c->sender_guest = d->sender->guest;
    }
    int err = fill_parts(c, d, &at);
    if (err < 0) {
        free(c);
        return err;
    }
    *out = c;
    return 0;
}

struct mdg_content *mdg_content_clone(struct mdg_content *c, struct mdg_slice channel)
{
    struct mdg_content *clone = malloc(sizeof *clone);
    if (!clone)
        return NULL;
    memcpy(clone, c, sizeof *clone);
    atomic_init(&clone->refs, 1);
    clone->parent = mdg_content_ref(c->parent ? c->parent : c);
    clone->channel = channel;
    return clone;
}

struct mdg_content *mdg_content_ref(struct mdg_content *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void mdg_content_unref(struct mdg_content *c)
{
    while (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) {
        struct mdg_content *parent = c->parent;
        for (size_t i = 0; !parent && i < c->part_count; i++)
            mdg_blob_unref(c->parts[i].blob);
        free(c);
        c = parent;
    }
}

struct mdg_msg *mdg_msg_new(struct mdg_content *content, uint64_t epoch, uint64_t seq)
{
    struct mdg_msg *m = malloc(sizeof *m);
    if (!m)
        return NULL;
    *m = (struct mdg_msg){.refs = 1, .content = content, .epoch = epoch, .seq = seq};
    return m;
}

struct mdg_msg *mdg_msg_ref(struct mdg_msg *m)
{
    m->refs++;
    return m;
}

void mdg_msg_unref(struct mdg_msg *m)
{
    if (!m || --m->refs > 0)
        return;
    mdg_msg_drop_encodings(m);
    mdg_content_unref(m->content);
    free(m);
}

void mdg_msg_drop_encodings(struct mdg_msg *m)
{
    if (!m->encodings)
        return;
    for (size_t i = 0; i < MDG_MSG_SLOTS; i++)
        mdg_encoding_free(m->encodings[i]);
    free(m->encodings);
    m->encodings = NULL;
}

int mdg_msg_set_encoding(struct mdg_msg *m, unsigned slot, struct mdg_encoding *e)
{
    assert(slot < MDG_MSG_SLOTS);
    if (!m->encodings)
        m->encodings = calloc(MDG_MSG_SLOTS, sizeof *m->encodings);
    if (!m->encodings)
        return MDG_E_NO_MEMORY;
    assert(!m->encodings[slot]);
    m->encodings[slot] = e;
    return 0;
}

struct mdg_encoding *mdg_encoding_new(uint16_t chunk_count)
{
    struct mdg_encoding *e = calloc(1, sizeof *e + chunk_count * sizeof e->chunks[0]);
    if (e)
        e->chunk_count = chunk_count;
    return e;
}

void mdg_encoding_free(struct mdg_encoding *e)
{
    for (size_t i = 0; e && i < e->chunk_count; i++)
        mdg_blob_unref(e->chunks[i].blob);
    free(e);
}
