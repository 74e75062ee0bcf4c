/* Wrapping a unit: head, escaped body, tail, where the head wants the body's length first. */
#include "transport/link.h"

enum { WHOLE_HEAD_ROOM = 16 }; /* RFC 6455 5.2: at most ten bytes before a frame's payload */

/* The length of the escaped unit, found by a dry run over no memory. */
static size_t escaped_len(const struct mdg_framing *f, struct mdg_slice unit)
{
    struct mdg_writer dry;
    if (!f->escape)
        return unit.len;
    mdg_writer_init(&dry, NULL, 0);
    f->escape(f, &dry, unit);
    return dry.len;
}

int mdg_frame(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
              const struct mdg_unit_meta *meta)
{
    assert(!(f->text_only && meta->binary));
    if (f->whole)
        return f->whole(f, w, unit, meta);
    if (f->head)
        f->head(f, w, escaped_len(f, unit), meta);
    if (f->escape)
        f->escape(f, w, unit);
    else
        mdg_write_slice(w, unit);
    if (f->tail)
        f->tail(f, w, meta);
    return 0;
}

/* A dry run says how much is needed; not of a framing as a whole, which may be compression and then
 * is hardly ever longer than the unit. */
static int first_room(const struct mdg_framing *f, struct mdg_slice unit,
                      const struct mdg_unit_meta *meta, size_t *room)
{
    struct mdg_writer dry;
    *room = unit.len + WHOLE_HEAD_ROOM;
    if (f->whole)
        return 0;
    mdg_writer_init(&dry, NULL, 0);
    int err = mdg_frame(f, &dry, unit, meta);
    *room = dry.len;
    return err;
}

int mdg_frame_chunk(const struct mdg_framing *f, struct mdg_slice unit,
                    const struct mdg_unit_meta *meta, struct mdg_chunk *out)
{
    size_t room;
    int err = first_room(f, unit, meta, &room);
    for (int tries = 0; err == 0 && tries < 2; tries++) {
        struct mdg_writer w;
        struct mdg_blob *blob = room <= UINT32_MAX ? mdg_blob_new((uint32_t)room) : NULL;
        if (!blob)
            return MDG_E_NO_MEMORY;
        mdg_writer_init(&w, blob->data, room);
        err = mdg_frame(f, &w, unit, meta);
        if (err == 0 && w.len <= room &&
            (w.len == room || mdg_blob_resize(&blob, (uint32_t)w.len) == 0)) {
            *out = mdg_chunk_all(blob);
            return 0;
        }
        mdg_blob_unref(blob);
        room = w.len;
    }
    return err < 0 ? err : MDG_E_NO_MEMORY;
}
