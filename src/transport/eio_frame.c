/* How a unit stands on each of Engine.IO's wires. All are shared by every session on that wire. */
#include "transport/eio_session.h"

static int frame4(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
                  const struct mdg_unit_meta *meta)
{
    (void)f;
    mdg_eio4_write_in_payload(w, MDG_EIO_MESSAGE, meta->binary, unit);
    return 0;
}

static int frame3_text(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    mdg_eio3_write_in_text(w, MDG_EIO_MESSAGE, meta->binary, unit);
    return 0;
}

/* Text packets in the text form, binary ones in the binary form: an answer that holds both gives
 * the text ones their binary form then (eio_poll.c). */
static int frame3_mixed(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
                        const struct mdg_unit_meta *meta)
{
    (void)f;
    if (meta->binary)
        mdg_eio3_write_in_binary(w, MDG_EIO_MESSAGE, true, unit);
    else
        mdg_eio3_write_in_text(w, MDG_EIO_MESSAGE, false, unit);
    return 0;
}

static const struct mdg_framing poll4 = {.name = "eio4-poll", .whole = frame4};
static const struct mdg_framing poll3_text = {.name = "eio3-poll-b64", .whole = frame3_text};
static const struct mdg_framing poll3_mixed = {.name = "eio3-poll", .whole = frame3_mixed};

const struct mdg_framing *eio_framing_poll(unsigned version, bool base64)
{
    if (version != 3)
        return &poll4;
    return base64 ? &poll3_text : &poll3_mixed;
}

static const struct mdg_framing *below_of(const struct mdg_framing *f)
{
    return MDG_CONTAINER_OF(f, struct eio_framing, framing)->below;
}

static size_t type_len(const struct mdg_unit_meta *meta, bool v3)
{
    return meta->binary && !v3 ? 0 : 1;
}

static void write_type(struct mdg_writer *w, const struct mdg_unit_meta *meta, bool v3)
{
    if (!meta->binary)
        mdg_write_u8(w, '4');
    else if (v3)
        mdg_write_u8(w, MDG_EIO_MESSAGE);
}

static void head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                 const struct mdg_unit_meta *meta)
{
    bool v3 = f->arg != NULL;
    const struct mdg_framing *below = below_of(f);
    if (below->head)
        below->head(below, w, body_len + type_len(meta, v3), meta);
    write_type(w, meta, v3);
}

/* Compression wraps the packet as a whole, so it must stand in one piece first. */
static int whole(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit,
                 const struct mdg_unit_meta *meta)
{
    const struct mdg_framing *below = below_of(f);
    bool v3 = f->arg != NULL;
    struct mdg_buf packet;
    struct mdg_writer in;
    mdg_buf_init(&packet, unit.len + 1);
    if (mdg_buf_reserve(&packet, unit.len + 1) < 0)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&in, packet.data, unit.len + 1);
    write_type(&in, meta, v3);
    mdg_write_slice(&in, unit);
    int err = mdg_frame(below, w, mdg_slice(packet.data, in.len), meta);
    mdg_buf_fini(&packet);
    return err;
}

const struct mdg_framing *eio_framing_ws(struct mdg_eio_worker *w, const struct mdg_framing *below,
                                         unsigned version)
{
    bool v3 = version == 3;
    if (!below)
        return NULL;
    for (size_t i = 0; i < w->framing_count; i++) {
        if (w->framings[i].below == below && (w->framings[i].framing.arg != NULL) == v3)
            return &w->framings[i].framing;
    }
    if (w->framing_count == EIO_FRAMINGS_MAX)
        return NULL;
    struct eio_framing *f = &w->framings[w->framing_count++];
    bool pieces = !below->whole && !below->escape && !below->tail;
    *f = (struct eio_framing){
        .framing = {.name = v3 ? "eio3-ws" : "eio4-ws",
                    .joinable = below->joinable,
                    .head = pieces ? head : NULL,
                    .whole = pieces ? NULL : whole,
                    .arg = v3 ? w : NULL},
        .below = below,
    };
    return &f->framing;
}
