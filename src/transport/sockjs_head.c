/* Headers: cookies, CORS, caching (protocol, "Static URLs"; npm sockjs xhr_cors, h_sid). */
#include "codec/http_write.h"
#include "transport/sockjs_session.h"

static const char no_cache[] = "no-store, no-cache, no-transform, must-revalidate, max-age=0";
static const char cache[] = "public, max-age=31536000";
enum { YEAR_S = 31536000 };

void mdg_sockjs_head_add(struct mdg_sockjs_head *head, const char *name, struct mdg_slice value)
{
    assert(head->n < MDG_SOCKJS_HEADERS_MAX);
    head->h[head->n++] = (struct mdg_header){mdg_slice_str(name), value};
}

static void add_text(struct mdg_sockjs_head *head, const char *name, const char *value)
{
    mdg_sockjs_head_add(head, name, mdg_slice_str(value));
}

/* Load balancers pin clients by this cookie; its value means nothing to us. */
static void add_cookie(struct mdg_sockjs_head *head, const struct mdg_exchange *x)
{
    struct mdg_slice id = mdg_exchange_cookie(x, "JSESSIONID");
    if (!id.data || id.len > MDG_SOCKJS_COOKIE_MAX)
        id = MDG_SLICE_LIT("dummy");
    struct mdg_writer w;
    mdg_writer_init(&w, head->cookie, sizeof head->cookie);
    mdg_write_str(&w, "JSESSIONID=");
    mdg_write_slice(&w, id);
    mdg_write_str(&w, "; path=/");
    assert(mdg_writer_fits(&w));
    mdg_sockjs_head_add(head, "Set-Cookie", mdg_slice(head->cookie, w.len));
}

static void add_cors(struct mdg_sockjs_head *head, const struct mdg_exchange *x, bool null_star)
{
    struct mdg_slice origin = mdg_exchange_header(x, "origin");
    bool star = origin.len == 0 || (null_star && mdg_slice_eq(origin, MDG_SLICE_LIT("null")));
    mdg_sockjs_head_add(head, "Access-Control-Allow-Origin", star ? MDG_SLICE_LIT("*") : origin);
    if (!star)
        add_text(head, "Access-Control-Allow-Credentials", "true");
    add_text(head, "Vary", "Origin");
    struct mdg_slice wanted = mdg_exchange_header(x, "access-control-request-headers");
    if (wanted.len)
        mdg_sockjs_head_add(head, "Access-Control-Allow-Headers", wanted);
}

static void add_expires(struct mdg_sockjs_head *head, const struct mdg_sockjs *s)
{
    struct mdg_writer w;
    mdg_writer_init(&w, head->date, sizeof head->date);
    mdg_http_write_date(&w, (int64_t)(mdg_loop_unix_ms(s->loop) / 1000 + YEAR_S));
    mdg_sockjs_head_add(head, "Expires", mdg_slice(head->date, w.len));
}

void mdg_sockjs_head(struct mdg_sockjs_head *head, const struct mdg_sockjs *s,
                     const struct mdg_exchange *x, unsigned flags, const char *content_type)
{
    head->n = 0;
    if (content_type)
        add_text(head, "Content-Type", content_type);
    if (s->config->cookie && (flags & MDG_SOCKJS_HEAD_COOKIE))
        add_cookie(head, x);
    if (flags & MDG_SOCKJS_HEAD_CORS)
        add_cors(head, x, flags & MDG_SOCKJS_HEAD_NULL_STAR);
    if (flags & MDG_SOCKJS_HEAD_NO_CACHE)
        add_text(head, "Cache-Control", no_cache);
    if (flags & MDG_SOCKJS_HEAD_CACHE) {
        add_text(head, "Cache-Control", cache);
        add_expires(head, s);
    }
    if (flags & MDG_SOCKJS_HEAD_STREAM)
        add_text(head, "X-Accel-Buffering", "no");
    if (flags & MDG_SOCKJS_HEAD_NOSNIFF)
        add_text(head, "X-Content-Type-Options", "nosniff");
}

int mdg_sockjs_respond(struct mdg_exchange *x, unsigned status, const struct mdg_sockjs_head *head,
                       struct mdg_slice body)
{
    struct mdg_chunk chunk = {NULL, 0, 0};
    if (body.len) {
        struct mdg_blob *blob = mdg_blob_copy(body);
        if (!blob)
            return MDG_E_NO_MEMORY;
        chunk = mdg_chunk_all(blob);
    }
    int err = mdg_exchange_respond(x, status, head->h, head->n, &chunk, body.len ? 1 : 0);
    if (err)
        mdg_blob_unref(chunk.blob);
    return err;
}

/* A script tag and an image send no Origin; browsers of our time say where they come from in
 * Sec-Fetch-Site (Fetch Metadata). Without that, jsonp could be read by any page. */
static bool is_cross_site(struct mdg_exchange *x)
{
    return !mdg_exchange_header(x, "origin").data &&
           mdg_slice_eq(mdg_exchange_header(x, "sec-fetch-site"), MDG_SLICE_LIT("cross-site"));
}

bool mdg_sockjs_refuse_origin(struct mdg_sockjs *s, struct mdg_exchange *x)
{
    if (s->config->any_origin)
        return false;
    bool ok = !is_cross_site(x) && (!s->user->origin_ok || s->user->origin_ok(x, s->arg));
    if (!ok)
        mdg_exchange_respond_text(x, 403, "text/plain; charset=UTF-8",
                                  MDG_SLICE_LIT("This origin is not allowed.\n"));
    return !ok;
}
