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

/* Digits alone; more than fit are as good as the largest number. */
static bool read_position(struct mdg_slice digits, uint64_t *out)
{
    for (size_t i = 0; i < digits.len; i++)
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
    if (mdg_slice_u64(digits, out) < 0)
        *out = UINT64_MAX;
    return digits.len > 0;
}

enum mdg_http_range mdg_http_range(struct mdg_slice range, uint64_t len, uint64_t *first,
                                   uint64_t *last)
{
    struct mdg_slice rest = range, unit = mdg_slice_split(&rest, '=');
    struct mdg_slice to = mdg_slice_trim(rest), from = mdg_slice_split(&to, '-');
    uint64_t suffix;
    if (!mdg_slice_eq_nocase(unit, MDG_SLICE_LIT("bytes")) || !to.data)
        return MDG_HTTP_RANGE_NONE;
    if (from.len == 0) {
        if (!read_position(to, &suffix))
            return MDG_HTTP_RANGE_NONE;
        *first = suffix < len ? len - suffix : 0;
        *last = len - 1;
        return suffix && len ? MDG_HTTP_RANGE_PART : MDG_HTTP_RANGE_BEYOND;
    }
    *last = UINT64_MAX;
    if (!read_position(from, first) || (to.len && !read_position(to, last)) || *last < *first)
        return MDG_HTTP_RANGE_NONE;
    if (*first >= len)
        return MDG_HTTP_RANGE_BEYOND;
    if (*last >= len)
        *last = len - 1;
    return MDG_HTTP_RANGE_PART;
}

/* What is sent of a file, and how it is called. */
struct answer {
    const struct mdg_static_file *file;
    unsigned status;
    bool gzip;
    struct mdg_slice body; /* of the variant: all of it, or a part */
    struct mdg_slice etag, content_range;
    uint8_t etag_room[128], range_room[64];
};

/* If-Match and If-Range want the very same bytes: strong comparison (RFC 9110 13.1.1, 13.1.5). */
static bool matches_strongly(struct mdg_slice header, struct mdg_slice etag)
{
    struct mdg_slice item;
    while ((item = mdg_http_list_next(&header)).data)
        if (mdg_slice_eq(item, MDG_SLICE_LIT("*")) || mdg_slice_eq(item, etag))
            return true;
    return false;
}

static bool unchanged(const struct mdg_exchange *x, const struct mdg_static_file *f)
{
    uint8_t room[128];
    struct mdg_slice header = mdg_exchange_header(x, "if-none-match");
    return header.data &&
           (mdg_http_none_match(header, mdg_slice_str(f->etag)) ||
            mdg_http_none_match(header, variant_tag(f->etag, true, room, sizeof room)));
}

/* Ranges are of the variant that would be sent whole, and of GET alone (RFC 9110 14.2). */
static void choose_range(struct answer *a, const struct mdg_exchange *x)
{
    uint64_t first, last, len = a->body.len;
    struct mdg_slice range = mdg_exchange_header(x, "range");
    struct mdg_slice only_if = mdg_exchange_header(x, "if-range");
    struct mdg_writer w;
    if (!range.data || mdg_exchange_method(x) != MDG_HTTP_GET ||
        (only_if.data && !mdg_slice_eq(only_if, a->etag)))
        return;
    enum mdg_http_range kind = mdg_http_range(range, len, &first, &last);
    if (kind == MDG_HTTP_RANGE_NONE)
        return;
    mdg_writer_init(&w, a->range_room, sizeof a->range_room);
    mdg_write_str(&w, "bytes ");
    if (kind == MDG_HTTP_RANGE_PART) {
        mdg_write_dec(&w, first);
        mdg_write_u8(&w, '-');
        mdg_write_dec(&w, last);
        a->body = mdg_slice(a->body.data + first, (size_t)(last - first + 1));
    } else {
        mdg_write_u8(&w, '*');
        a->body = mdg_slice(NULL, 0);
    }
    mdg_write_u8(&w, '/');
    mdg_write_dec(&w, len);
    a->status = kind == MDG_HTTP_RANGE_PART ? 206 : 416;
    a->content_range = mdg_slice(a->range_room, w.len);
}

/* In the order of RFC 9110 13.2.2. */
static void choose(struct answer *a, const struct mdg_exchange *x, const struct mdg_static_file *f)
{
    struct mdg_slice match = mdg_exchange_header(x, "if-match");
    a->file = f;
    a->gzip = f->gzip.len && mdg_http_accepts_coding(mdg_exchange_header(x, "accept-encoding"),
                                                     MDG_SLICE_LIT("gzip"));
    a->etag = variant_tag(f->etag, a->gzip, a->etag_room, sizeof a->etag_room);
    a->status = match.data && !matches_strongly(match, a->etag) ? 412 : unchanged(x, f) ? 304 : 200;
    if (a->status == 200) {
        a->body = a->gzip ? f->gzip : f->bytes;
        choose_range(a, x);
    }
}

static size_t describe(const struct answer *a, struct mdg_header *h)
{
    const struct mdg_static_file *f = a->file;
    size_t n = 0;
    bool has_body = a->status == 200 || a->status == 206;
    h[n++] = (struct mdg_header){MDG_SLICE_LIT("ETag"), a->etag};
    h[n++] = (struct mdg_header){MDG_SLICE_LIT("Cache-Control"),
                                 f->immutable ? MDG_SLICE_LIT("public, max-age=31536000, immutable")
                                              : MDG_SLICE_LIT("no-cache")};
    if (f->gzip.len)
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Vary"), MDG_SLICE_LIT("Accept-Encoding")};
    if (has_body) {
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Accept-Ranges"), MDG_SLICE_LIT("bytes")};
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Content-Type"), mdg_slice_str(f->type)};
        h[n++] =
            (struct mdg_header){MDG_SLICE_LIT("X-Content-Type-Options"), MDG_SLICE_LIT("nosniff")};
    }
    if (has_body && a->gzip)
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Content-Encoding"), MDG_SLICE_LIT("gzip")};
    if (a->content_range.len)
        h[n++] = (struct mdg_header){MDG_SLICE_LIT("Content-Range"), a->content_range};
    assert(f->header_count <= MDG_STATIC_HEADERS_MAX);
    for (size_t i = 0; i < f->header_count; i++)
        h[n++] = f->headers[i];
    return n;
}

void mdg_static_respond(struct mdg_exchange *x, const struct mdg_static_file *f)
{
    struct mdg_header h[8 + MDG_STATIC_HEADERS_MAX];
    struct answer a = {0};
    if (mdg_exchange_method(x) != MDG_HTTP_GET && mdg_exchange_method(x) != MDG_HTTP_HEAD) {
        mdg_exchange_method_not_allowed(x, "GET, HEAD");
        return;
    }
    choose(&a, x, f);
    size_t n = describe(&a, h);
    if (mdg_exchange_respond_copy(x, a.status, h, n, a.body) < 0)
        mdg_exchange_kill(x);
}
