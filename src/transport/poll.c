#include "transport/poll.h"
#include "base/writer.h"
#include "transport/static.h"
#include <stdlib.h>

static void write_front(struct mdg_writer *w, const struct mdg_poll_answer *a)
{
    mdg_write_str(w, "{\"cursor\":");
    mdg_write_json_string(w, a->cursor);
    if (a->members.len)
        mdg_write_u8(w, ',');
    mdg_write_slice(w, a->members);
    mdg_write_str(w, ",\"messages\":[");
}

static struct mdg_blob *new_front(const struct mdg_poll_answer *a)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    write_front(&w, a);
    struct mdg_blob *blob = mdg_blob_new((uint32_t)w.len);
    if (!blob)
        return NULL;
    mdg_writer_init(&w, blob->data, blob->len);
    write_front(&w, a);
    return blob;
}

/* front, unit, comma, unit, ..., end. References of its own; NULL when out of memory. */
static struct mdg_chunk *new_body(const struct mdg_poll_answer *a, size_t *n)
{
    struct mdg_blob *front = new_front(a), *marks = mdg_blob_copy(MDG_SLICE_LIT(",]}\n"));
    struct mdg_chunk *body = malloc((2 * a->count + 2) * sizeof *body);
    if (!front || !marks || !body) {
        mdg_blob_unref(front);
        mdg_blob_unref(marks);
        free(body);
        return NULL;
    }
    *n = 0;
    body[(*n)++] = mdg_chunk_all(front);
    for (size_t i = 0; i < a->count; i++) {
        if (i)
            body[(*n)++] = (struct mdg_chunk){mdg_blob_ref(marks), 0, 1};
        mdg_blob_ref(a->units[i].blob);
        body[(*n)++] = a->units[i];
    }
    body[(*n)++] = (struct mdg_chunk){marks, 1, 3};
    return body;
}

static size_t make_headers(struct mdg_header h[4], struct mdg_slice etag, bool same)
{
    h[0] = (struct mdg_header){MDG_SLICE_LIT("ETag"), etag};
    h[1] = (struct mdg_header){MDG_SLICE_LIT("Cache-Control"),
                               MDG_SLICE_LIT("no-cache, no-transform")};
    h[2] = (struct mdg_header){MDG_SLICE_LIT("Content-Type"), MDG_SLICE_LIT("application/json")};
    h[3] = (struct mdg_header){MDG_SLICE_LIT("X-Content-Type-Options"), MDG_SLICE_LIT("nosniff")};
    return same ? 2 : 4;
}

void mdg_poll_respond(struct mdg_exchange *x, const struct mdg_poll_answer *a,
                      struct mdg_slice if_none_match)
{
    struct mdg_header h[4];
    uint8_t etag[MDG_POLL_CURSOR_MAX + 2];
    struct mdg_writer w;
    mdg_writer_init(&w, etag, sizeof etag);
    mdg_write_u8(&w, '"');
    mdg_write_slice(&w, a->cursor);
    mdg_write_u8(&w, '"');
    assert(mdg_writer_fits(&w));
    bool same = mdg_http_none_match(if_none_match, mdg_slice(etag, w.len));
    size_t nh = make_headers(h, mdg_slice(etag, w.len), same), n = 0;
    struct mdg_chunk *body = same ? NULL : new_body(a, &n);
    int err =
        same || body ? mdg_exchange_respond(x, same ? 304 : 200, h, nh, body, n) : MDG_E_NO_MEMORY;
    for (size_t i = 0; err < 0 && i < n; i++)
        mdg_blob_unref(body[i].blob);
    free(body);
    if (err < 0)
        mdg_exchange_kill(x);
}
