#include "transport/static.h"
#include "base/writer.h"

/* The entity tag without W/. */
static struct mdg_slice strong_part(struct mdg_slice etag)
{
    if (etag.len > 2 && etag.data[0] == 'W' && etag.data[1] == '/')
        return mdg_slice(etag.data + 2, etag.len - 2);
    return etag;
}

bool mdg_http_none_match(struct mdg_slice if_none_match, struct mdg_slice etag)
{
    struct mdg_slice item;
    while ((item = mdg_http_list_next(&if_none_match)).data)
        if (mdg_slice_eq(item, MDG_SLICE_LIT("*")) ||
            mdg_slice_eq(strong_part(item), strong_part(etag)))
            return true;
    return false;
}

/* "q=0", "q=0.0", "q=0.00", "q=0.000" (RFC 9110 12.4.2). */
static bool is_zero(struct mdg_slice q)
{
    if (q.len < 3 || (q.data[0] | 0x20) != 'q' || q.data[1] != '=')
        return false;
    for (size_t i = 2; i < q.len; i++)
        if (q.data[i] != '0' && q.data[i] != '.')
            return false;
    return true;
}

bool mdg_http_accepts_coding(struct mdg_slice accept_encoding, struct mdg_slice coding)
{
    bool any = false;
    struct mdg_slice item;
    while ((item = mdg_http_list_next(&accept_encoding)).data) {
        struct mdg_slice name = mdg_slice_trim(mdg_slice_split(&item, ';'));
        bool wanted = !item.data || !is_zero(mdg_slice_trim(item));
        if (mdg_slice_eq_nocase(name, coding))
            return wanted;
        if (mdg_slice_eq(name, MDG_SLICE_LIT("*")))
            any = wanted;
    }
    return any;
}

/* The compressed variant is another representation and needs another strong tag. */
static struct mdg_slice variant_tag(const char *etag, bool gzip, uint8_t *room, size_t cap)
{
    struct mdg_writer w;
    struct mdg_slice tag = mdg_slice_str(etag);
    assert(tag.len >= 2 && tag.data[0] == '"' && tag.data[tag.len - 1] == '"');
    if (!gzip)
        return tag;
    mdg_writer_init(&w, room, cap);
    mdg_write_bytes(&w, tag.data, tag.len - 1);
    mdg_write_str(&w, "-gzip\"");
    return mdg_slice(room, mdg_min_size(w.len, cap));
}

static bool unchanged(const struct mdg_exchange *x, const struct mdg_static_file *f)
{
    uint8_t room[128];
    struct mdg_slice header = mdg_exchange_header(x, "if-none-match");
    return header.data &&
           (mdg_http_none_match(header, mdg_slice_str(f->etag)) ||
            mdg_http_none_match(header, variant_tag(f->etag, true, room, sizeof room)));
}

void mdg_static_respond(struct mdg_exchange *x, const struct mdg_static_file *f)
{
    uint8_t room[128];
    struct mdg_header h[6 + MDG_STATIC_HEADERS_MAX];
    size_t n = 0;
    if (mdg_exchange_method(x) != MDG_HTTP_GET && mdg_exchange_method(x) != MDG_HTTP_HEAD) {
        mdg_exchange_method_not_allowed(x, "GET, HEAD");
        return;
    }
    bool same = unchanged(x, f);
    bool gzip = f->gzip.len && mdg_http_accepts_coding(mdg_exchange_header(x, "accept-encoding"),
                                                       MDG_SLICE_LIT("gzip"));
    h[n++] =
        (struct mdg_header){MDG_SLICE_LIT("ETag"), variant_tag(f->etag, gzip, room, sizeof room)};
    h[n++] = (struct mdg_header){MDG_SLICE_LIT("Cache-Control"),
                                 f->immutable ? MDG_SLICE_LIT("public, max-age=31536000, immutable")
                                              : MDG_SLICE_LIT("no-cache")};
    if (f->gzip.len)
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Vary"), MDG_SLICE_LIT("Accept-Encoding")};
    if (!same) {
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Content-Type"), mdg_slice_str(f->type)};
        h[n++] =
            (struct mdg_header){MDG_SLICE_LIT("X-Content-Type-Options"), MDG_SLICE_LIT("nosniff")};
    }
    if (!same && gzip)
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Content-Encoding"), MDG_SLICE_LIT("gzip")};
    assert(f->header_count <= MDG_STATIC_HEADERS_MAX);
    for (size_t i = 0; i < f->header_count; i++)
        h[n++] = f->headers[i];
    struct mdg_slice body = same ? mdg_slice(NULL, 0) : gzip ? f->gzip : f->bytes;
    if (mdg_exchange_respond_copy(x, same ? 304 : 200, h, n, body) < 0)
        mdg_exchange_kill(x);
}
