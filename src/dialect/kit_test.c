/* See kit_test.h. */
#include "dialect/kit_test.h"

static void write_newline(const struct mdg_framing *f, struct mdg_writer *w,
                          const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '\n');
}

static void write_length(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                         const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '<');
    mdg_write_dec(w, body_len);
    mdg_write_u8(w, '>');
}

static void write_event(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                        const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)body_len;
    mdg_write_u8(w, '[');
    mdg_write_slice(w, meta->id);
    mdg_write_u8(w, '|');
    mdg_write_slice(w, meta->event);
    mdg_write_u8(w, ']');
}

const struct mdg_framing wire_lines = {.name = "lines", .joinable = true, .tail = write_newline};
const struct mdg_framing wire_lengths = {.name = "lengths", .joinable = true, .head = write_length};
const struct mdg_framing wire_events = {
    .name = "events", .text_only = true, .head = write_event, .tail = write_newline};

static struct wire_link *wire_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct wire_link, link);
}

static int take(struct wire_link *l, const uint8_t *bytes, size_t len)
{
    assert(l->len + len < sizeof l->text);
    memcpy(l->text + l->len, bytes, len);
    l->len += len;
    l->room -= mdg_min_size(l->room, len);
    return 0;
}

static int wire_send(struct mdg_link *link, struct mdg_chunk *chunks, size_t n)
{
    struct wire_link *l = wire_of(link);
    size_t total = 0;
    if (l->closed)
        return MDG_E_CLOSED;
    for (size_t i = 0; i < n; i++)
        total += chunks[i].len;
    if (total > l->room) {
        l->was_full = true;
        return MDG_E_FULL;
    }
    l->sends++;
    l->chunks += n;
    for (size_t i = 0; i < n; i++) {
        take(l, mdg_chunk_slice(&chunks[i]).data, chunks[i].len);
        mdg_blob_unref(chunks[i].blob);
        chunks[i].blob = NULL;
    }
    return 0;
}

static int wire_send_unit(struct mdg_link *link, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    struct wire_link *l = wire_of(link);
    static uint8_t framed[WIRE_TEXT_MAX];
    struct mdg_writer w;
    if (l->closed)
        return MDG_E_CLOSED;
    mdg_writer_init(&w, framed, sizeof framed);
    int err = mdg_frame(link->framing ? link->framing : &wire_lines, &w, unit, meta);
    if (err < 0)
        return err;
    assert(mdg_writer_fits(&w));
    if (w.len > l->room) {
        l->was_full = true;
        return MDG_E_FULL;
    }
    return take(l, framed, w.len);
}

static void wire_do_close(struct mdg_link *link, int code, struct mdg_slice reason)
{
    struct wire_link *l = wire_of(link);
    if (l->closed)
        return;
    l->closed = true;
    l->close_code = code;
    memcpy(l->close_reason, reason.data ? reason.data : (const uint8_t *)"",
           mdg_min_size(reason.len, sizeof l->close_reason - 1));
}

static void wire_pause(struct mdg_link *link, bool paused)
{
    wire_of(link)->paused = paused;
}

static size_t wire_queued(const struct mdg_link *link)
{
    (void)link;
    return 0;
}

static const struct mdg_carrier two_way = {"wire",        false,      wire_send,   wire_send_unit,
                                           wire_do_close, wire_pause, wire_queued, NULL};
static const struct mdg_carrier one_way_only = {
    "wire", true, wire_send, wire_send_unit, wire_do_close, wire_pause, wire_queued, NULL};

struct mdg_peer *wire_open(struct mdg_peers *ps, const struct mdg_dialect *dialect,
                           struct mdg_principal *who, const struct mdg_framing *framing,
                           bool one_way, struct wire_link *l)
{
    static const struct mdg_handshake hs = {.carrier = "wire"};
    struct mdg_peer *p;
    if (mdg_peer_new(ps, dialect, who, &p) < 0)
        return NULL;
    memset(l, 0, sizeof *l);
    l->room = WIRE_TEXT_MAX;
    l->link =
        (struct mdg_link){one_way ? &one_way_only : &two_way, framing, &mdg_peer_link_user, p};
    mdg_peer_attach(p, &l->link, &hs);
    return p;
}

void wire_link_init(struct wire_link *l, const struct mdg_framing *framing)
{
    memset(l, 0, sizeof *l);
    l->room = WIRE_TEXT_MAX;
    l->link.carrier = &two_way;
    l->link.framing = framing;
}

int wire_input(struct wire_link *l, const char *text)
{
    uint8_t copy[8192];
    size_t len = strlen(text);
    assert(len <= sizeof copy);
    memcpy(copy, text, len);
    return l->link.user->on_input(&l->link, (struct mdg_input){copy, len}, false);
}

void wire_drain(struct wire_link *l)
{
    l->room = WIRE_TEXT_MAX;
    if (l->was_full) {
        l->was_full = false;
        l->link.user->on_writable(&l->link);
    }
}

void wire_close(struct wire_link *l)
{
    l->closed = true;
    l->link.user->on_close(&l->link, MDG_CLOSE_ABNORMAL, mdg_slice(NULL, 0));
}

const char *wire_sent(struct wire_link *l)
{
    l->text[l->len] = '\0';
    l->len = 0;
    return l->text;
}
