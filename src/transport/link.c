/* Wrapping a unit: head, escaped body, tail, where the head wants the body's length first. */
#include "transport/link.h"

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
