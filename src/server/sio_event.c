/* Reading what came: arguments of events, the handshake. */
#include "base/json.h"
#include "base/utf8.h"
#include "codec/sio.h"
#include "server/sio.h"
#include <stdio.h>
#include <time.h>

bool madang_event_arg(const struct madang_event *event, size_t i, const char **json, size_t *len)
{
    struct mdg_json_iter it;
    struct mdg_slice value;
    if (!mdg_json_array(mdg_slice(event->args, event->args_len), &it))
        return false;
    do {
        if (!mdg_json_element(&it, &value))
            return false;
    } while (i-- > 0);
    *json = (const char *)value.data;
    *len = value.len;
    return true;
}

int madang_event_text(const struct madang_event *event, size_t i, char *out, size_t size)
{
    const char *json;
    size_t len;
    if (size == 0 || !madang_event_arg(event, i, &json, &len))
        return MDG_E_NOT_FOUND;
    int64_t n = mdg_json_unescape(mdg_slice(json, len), (uint8_t *)out, size - 1);
    if (n < 0)
        return n == MDG_E_NO_SPACE ? MDG_E_TOO_BIG : MDG_E_NOT_FOUND;
    out[n] = '\0';
    return (int)n;
}

bool madang_event_binary(const struct madang_event *event, size_t i, struct madang_bytes *out)
{
    const char *json;
    size_t len;
    uint64_t num;
    if (!madang_event_arg(event, i, &json, &len) ||
        !mdg_sio_placeholder(mdg_slice(json, len), &num) || num >= event->attachment_count)
        return false;
    *out = event->attachments[num];
    return true;
}

bool madang_event_member(const struct madang_event *event, size_t i, const char *name,
                         const char **json, size_t *len)
{
    const char *object;
    size_t object_len;
    struct mdg_slice value;
    if (!madang_event_arg(event, i, &object, &object_len) ||
        !mdg_json_find(mdg_slice(object, object_len), mdg_slice_str(name), &value))
        return false;
    *json = (const char *)value.data;
    *len = value.len;
    return true;
}

/* ---- the handshake ---- */

static int hex_value(uint8_t c)
{
    c = mdg_ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded. Returns the length, or -1: it does not fit. A percent sign
 * that begins nothing stands for itself, as in the WHATWG's parser. */
static int64_t decode_form(struct mdg_slice in, uint8_t *out, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i] == '+' ? ' ' : in.data[i];
        if (c == '%' && in.len - i > 2 && hex_value(in.data[i + 1]) >= 0 &&
            hex_value(in.data[i + 2]) >= 0) {
            c = (uint8_t)(hex_value(in.data[i + 1]) << 4 | hex_value(in.data[i + 2]));
            i += 2;
        }
        if (len == cap)
            return -1;
        out[len++] = c;
    }
    return (int64_t)len;
}

bool madang_socket_query(struct madang_sio *io, madang_socket socket, const char *name, char *out,
                         size_t size)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    const struct mdg_handshake *hs = s ? mdg_sio_handshake(s) : NULL;
    struct mdg_slice rest = hs ? hs->query : mdg_slice(NULL, 0);
    while (rest.data && size > 0) {
        struct mdg_slice value = mdg_slice_split(&rest, '&');
        struct mdg_slice key = mdg_slice_split(&value, '=');
        uint8_t plain[128];
        int64_t n = decode_form(key, plain, sizeof plain);
        if (n < 0 || !mdg_slice_eq(mdg_slice(plain, (size_t)n), mdg_slice_str(name)))
            continue;
        n = decode_form(value, (uint8_t *)out, size - 1);
        if (n < 0)
            return false;
        out[n] = '\0';
        return true;
    }
    return false;
}

/* Text of unknown origin as a JSON string: what is not UTF-8 becomes U+FFFD byte by byte. */
static void write_text(struct mdg_writer *w, struct mdg_slice s)
{
    uint8_t clean[512];
    size_t len = 0;
    for (size_t i = 0; i < s.len && len + 3 <= sizeof clean; i++) {
        if (s.data[i] < 0x80) {
            clean[len++] = s.data[i];
        } else {
            memcpy(clean + len, "\xef\xbf\xbd", 3);
            len += 3;
        }
    }
    mdg_write_json_string(w, mdg_slice(clean, len));
}

static void write_any(struct mdg_writer *w, struct mdg_slice s)
{
    if (mdg_utf8_valid(s))
        mdg_write_json_string(w, s);
    else
        write_text(w, s);
}

static void write_headers(struct mdg_writer *w, const struct mdg_handshake *hs)
{
    mdg_write_u8(w, '{');
    for (size_t i = 0; i < hs->header_count; i++) {
        uint8_t name[128];
        size_t n = mdg_min_size(hs->headers[i].name.len, sizeof name);
        for (size_t j = 0; j < n; j++)
            name[j] = mdg_ascii_lower(hs->headers[i].name.data[j]);
        if (i > 0)
            mdg_write_u8(w, ',');
        write_any(w, mdg_slice(name, n));
        mdg_write_u8(w, ':');
        write_any(w, hs->headers[i].value);
    }
    mdg_write_u8(w, '}');
}

static void write_decoded(struct mdg_writer *w, struct mdg_slice s)
{
    uint8_t plain[1024];
    int64_t n = decode_form(s, plain, sizeof plain);
    write_any(w, n < 0 ? s : mdg_slice(plain, (size_t)n));
}

static void write_query(struct mdg_writer *w, struct mdg_slice query)
{
    bool first = true;
    mdg_write_u8(w, '{');
    while (query.data) {
        struct mdg_slice value = mdg_slice_split(&query, '&');
        struct mdg_slice key = mdg_slice_split(&value, '=');
        if (!key.len)
            continue;
        if (!first)
            mdg_write_u8(w, ',');
        first = false;
        write_decoded(w, key);
        mdg_write_u8(w, ':');
        write_decoded(w, value);
    }
    mdg_write_u8(w, '}');
}

/* As JavaScript's Date prints it: "Sat Nov 21 2026 01:02:03 GMT+0000 (Coordinated ...)". */
static void write_time(struct mdg_writer *w, uint64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[64];
    size_t n = gmtime_r(&seconds, &tm)
                   ? strftime(text, sizeof text, "%a %b %d %Y %H:%M:%S GMT+0000", &tm)
                   : 0;
    mdg_write_json_string(w, mdg_slice(text, n));
}

size_t madang_socket_handshake(struct madang_sio *io, madang_socket socket, char *out, size_t size)
{
    struct mdg_sio_socket *s = mdg_sio_here(io, socket);
    const struct mdg_handshake *hs = s ? mdg_sio_handshake(s) : NULL;
    struct mdg_writer w;
    mdg_writer_init(&w, out, size ? size - 1 : 0);
    if (!hs) {
        mdg_write_str(&w, "{}");
    } else {
        mdg_write_str(&w, "{\"headers\":");
        write_headers(&w, hs);
        mdg_write_str(&w, ",\"time\":");
        write_time(&w, hs->unix_ms);
        mdg_write_str(&w, ",\"address\":");
        write_any(&w, hs->address);
        mdg_write_str(&w, ",\"xdomain\":");
        mdg_write_str(&w, mdg_handshake_header(hs, "origin").data ? "true" : "false");
        mdg_write_str(&w, ",\"secure\":");
        mdg_write_str(&w, hs->secure ? "true" : "false");
        mdg_write_str(&w, ",\"issued\":");
        mdg_write_dec(&w, hs->unix_ms);
        mdg_write_str(&w, ",\"url\":");
        char url[2048];
        int n = snprintf(url, sizeof url, "%.*s%s%.*s", (int)hs->path.len,
                         (const char *)hs->path.data, hs->query.len ? "?" : "", (int)hs->query.len,
                         hs->query.len ? (const char *)hs->query.data : "");
        write_any(&w, mdg_slice(url, mdg_min_size((size_t)n, sizeof url - 1)));
        mdg_write_str(&w, ",\"query\":");
        write_query(&w, hs->query);
        mdg_write_str(&w, ",\"auth\":");
        mdg_write_slice(&w, mdg_sio_auth(s));
        mdg_write_u8(&w, '}');
    }
    if (size)
        out[mdg_min_size(w.len, size - 1)] = '\0';
    return w.len;
}
