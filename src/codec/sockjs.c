/* URLs, pages and the messages that clients send. The frames of the server: sockjs_frame.c. */
#include "codec/sockjs.h"
#include "base/utf8.h"

static const struct {
    const char *name, *methods;
} endpoints[MDG_SOCKJS_ENDPOINTS] = {
    [MDG_SOCKJS_NOT_FOUND] = {NULL, ""},
    [MDG_SOCKJS_GREETING] = {NULL, "GET"},
    [MDG_SOCKJS_INFO] = {NULL, "OPTIONS, GET"},
    [MDG_SOCKJS_IFRAME] = {NULL, "GET"},
    [MDG_SOCKJS_RAW_WEBSOCKET] = {NULL, "GET"},
    [MDG_SOCKJS_WEBSOCKET] = {"websocket", "GET"},
    [MDG_SOCKJS_XHR] = {"xhr", "OPTIONS, POST"},
    [MDG_SOCKJS_XHR_SEND] = {"xhr_send", "OPTIONS, POST"},
    [MDG_SOCKJS_XHR_STREAMING] = {"xhr_streaming", "OPTIONS, POST"},
    [MDG_SOCKJS_EVENTSOURCE] = {"eventsource", "GET"},
    [MDG_SOCKJS_HTMLFILE] = {"htmlfile", "GET"},
    [MDG_SOCKJS_JSONP] = {"jsonp", "GET"},
    [MDG_SOCKJS_JSONP_SEND] = {"jsonp_send", "POST"},
};

const char *mdg_sockjs_methods(enum mdg_sockjs_endpoint endpoint)
{
    assert(endpoint < MDG_SOCKJS_ENDPOINTS);
    return endpoints[endpoint].methods;
}

/* "iframe.html", "iframe-0.1.2abc-dirty.2144.html": [0-9a-z-._]* between the two. */
static bool is_iframe(struct mdg_slice name)
{
    struct mdg_slice head = MDG_SLICE_LIT("iframe"), tail = MDG_SLICE_LIT(".html");
    if (name.len < head.len + tail.len || !mdg_slice_starts(name, head))
        return false;
    if (!mdg_slice_eq(mdg_slice(name.data + name.len - tail.len, tail.len), tail))
        return false;
    for (size_t i = head.len; i < name.len - tail.len; i++) {
        uint8_t c = name.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return true;
}

static enum mdg_sockjs_endpoint page(struct mdg_slice name)
{
    if (mdg_slice_eq(name, MDG_SLICE_LIT("info")))
        return MDG_SOCKJS_INFO;
    if (mdg_slice_eq(name, MDG_SLICE_LIT("websocket")))
        return MDG_SOCKJS_RAW_WEBSOCKET;
    return is_iframe(name) ? MDG_SOCKJS_IFRAME : MDG_SOCKJS_NOT_FOUND;
}

static bool is_part(struct mdg_slice part)
{
    return part.len > 0 && part.len <= MDG_SOCKJS_SESSION_MAX && !memchr(part.data, '.', part.len);
}

struct mdg_sockjs_url mdg_sockjs_url(struct mdg_slice path)
{
    struct mdg_sockjs_url url = {.endpoint = MDG_SOCKJS_NOT_FOUND};
    if (path.len && path.data[path.len - 1] == '/')
        path.len--;
    if (path.len == 0) {
        url.endpoint = MDG_SOCKJS_GREETING;
        return url;
    }
    if (path.data[0] != '/')
        return url;
    struct mdg_slice rest = {path.data + 1, path.len - 1};
    struct mdg_slice server = mdg_slice_split(&rest, '/');
    if (!rest.data) {
        url.endpoint = page(server);
        return url;
    }
    struct mdg_slice session = mdg_slice_split(&rest, '/');
    if (!rest.data || !is_part(server) || !is_part(session))
        return url;
    for (unsigned e = 0; e < MDG_SOCKJS_ENDPOINTS; e++) {
        if (endpoints[e].name && mdg_slice_eq(rest, mdg_slice_str(endpoints[e].name))) {
            url.endpoint = (enum mdg_sockjs_endpoint)e;
            url.session = session;
        }
    }
    return url;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = mdg_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at s[0], which may be written as %41; how many bytes it took goes to *used. A percent
 * sign without two digits stands for itself (WHATWG URL "percent-decode"). */
static uint8_t percent_byte(struct mdg_slice s, size_t *used)
{
    *used = 1;
    if (s.data[0] != '%' || s.len < 3)
        return s.data[0];
    int high = hex_digit(s.data[1]), low = hex_digit(s.data[2]);
    if (high < 0 || low < 0)
        return s.data[0];
    *used = 3;
    return (uint8_t)(high << 4 | low);
}

static bool is_callback_byte(uint8_t c)
{
    uint8_t lower = mdg_ascii_lower(c);
    return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || c == '-' || c == '_' ||
           c == '.';
}

int mdg_sockjs_callback(struct mdg_slice encoded, uint8_t out[MDG_SOCKJS_CALLBACK_MAX])
{
    int len = 0;
    while (encoded.len) {
        size_t used;
        uint8_t c = percent_byte(encoded, &used);
        if (!is_callback_byte(c) || len == MDG_SOCKJS_CALLBACK_MAX)
            return MDG_E_SYNTAX;
        out[len++] = c;
        encoded.data += used;
        encoded.len -= used;
    }
    return len;
}

static size_t form_decode(uint8_t *bytes, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0, used; at < len; at += used) {
        uint8_t c = percent_byte(mdg_slice(bytes + at, len - at), &used);
        bytes[kept++] = bytes[at] == '+' ? ' ' : c;
    }
    return kept;
}

bool mdg_sockjs_form_field(struct mdg_input body, struct mdg_slice name, struct mdg_input *value)
{
    for (size_t at = 0, end; at < body.len; at = end + 1) {
        uint8_t *field = body.data + at;
        const uint8_t *stop = memchr(field, '&', body.len - at);
        end = stop ? (size_t)(stop - body.data) : body.len;
        size_t len = end - at;
        if (len <= name.len || field[name.len] != '=' ||
            !mdg_slice_eq(mdg_slice(field, name.len), name))
            continue;
        value->data = field + name.len + 1;
        value->len = form_decode(value->data, len - name.len - 1);
        return true;
    }
    return false;
}

int mdg_sockjs_messages(struct mdg_slice body, bool single, struct mdg_sockjs_messages *m)
{
    *m = (struct mdg_sockjs_messages){0};
    if (body.len == 0)
        return MDG_E_NOT_FOUND;
    struct mdg_slice value;
    if (mdg_json_check(body, MDG_SOCKJS_DEPTH_MAX, &value) < 0 || !mdg_utf8_valid(body))
        return MDG_E_SYNTAX;
    if (mdg_json_array(value, &m->array))
        return 0;
    if (!single)
        return MDG_E_NOT_FOUND;
    m->single = value;
    return 0;
}

/* The body is the carrier's own copy or the read buffer: rewriting it in place is allowed, and
 * unescaped text never needs more room than the escaped one. */
static struct mdg_input unescaped(struct mdg_slice value)
{
    uint8_t *at = (uint8_t *)(uintptr_t)value.data;
    if (mdg_json_type(value) != MDG_JSON_STRING)
        return (struct mdg_input){at, value.len};
    bool escaped;
    struct mdg_slice inside = mdg_json_inside(value, &escaped);
    if (!escaped)
        return (struct mdg_input){at + 1, inside.len};
    int64_t len = mdg_json_unescape(value, at + 1, inside.len);
    return (struct mdg_input){at + 1, len < 0 ? 0 : (size_t)len};
}

bool mdg_sockjs_next_message(struct mdg_sockjs_messages *m, struct mdg_input *message)
{
    struct mdg_slice value = m->single;
    m->single = mdg_slice(NULL, 0);
    if (!value.data && (!m->array.at || !mdg_json_element(&m->array, &value)))
        return false;
    *message = unescaped(value);
    return true;
}

static int close_frame(struct mdg_slice value, unsigned *code, struct mdg_slice *reason)
{
    struct mdg_json_iter it;
    struct mdg_slice first, second;
    uint64_t number;
    if (!mdg_json_array(value, &it) || !mdg_json_element(&it, &first) ||
        !mdg_json_element(&it, &second) || mdg_json_type(second) != MDG_JSON_STRING)
        return MDG_E_SYNTAX;
    if (mdg_json_u64(first, &number) < 0 || number > 4999)
        return MDG_E_SYNTAX;
    struct mdg_input text = unescaped(second);
    *code = (unsigned)number;
    *reason = mdg_slice(text.data, text.len);
    return 'c';
}

int mdg_sockjs_frame(struct mdg_input frame, struct mdg_sockjs_messages *m, unsigned *code,
                     struct mdg_slice *reason)
{
    *m = (struct mdg_sockjs_messages){0};
    if (frame.len == 0)
        return MDG_E_SYNTAX;
    uint8_t type = frame.data[0];
    if (type == 'o' || type == 'h')
        return type;
    if (type != 'a' && type != 'm' && type != 'c')
        return MDG_E_SYNTAX;
    if (mdg_sockjs_messages(mdg_slice(frame.data + 1, frame.len - 1), true, m) < 0)
        return MDG_E_SYNTAX;
    if ((type == 'm') != (m->single.data != NULL))
        return MDG_E_SYNTAX;
    if (type == 'c')
        return close_frame(mdg_slice(frame.data + 1, frame.len - 1), code, reason);
    return type;
}

void mdg_sockjs_write_info(struct mdg_writer *w, bool websocket, bool cookie_needed,
                           uint32_t entropy)
{
    mdg_write_str(w, "{\"websocket\":");
    mdg_write_str(w, websocket ? "true" : "false");
    mdg_write_str(w, ",\"origins\":[\"*:*\"],\"cookie_needed\":");
    mdg_write_str(w, cookie_needed ? "true" : "false");
    mdg_write_str(w, ",\"entropy\":");
    mdg_write_dec(w, entropy);
    mdg_write_u8(w, '}');
}

static void write_attribute(struct mdg_writer *w, struct mdg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            mdg_write_str(w, "&quot;");
        else if (text.data[i] == '&')
            mdg_write_str(w, "&amp;");
        else if (text.data[i] == '<')
            mdg_write_str(w, "&lt;");
        else
            mdg_write_u8(w, text.data[i]);
    }
}

void mdg_sockjs_write_iframe(struct mdg_writer *w, struct mdg_slice sockjs_url)
{
    mdg_write_str(w, "<!DOCTYPE html>\n<html>\n<head>\n"
                     "  <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n"
                     "  <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n"
                     "  <script src=\"");
    write_attribute(w, sockjs_url);
    mdg_write_str(w, "\"></script>\n"
                     "  <script>\n"
                     "    document.domain = document.domain;\n"
                     "    SockJS.bootstrap_iframe();\n"
                     "  </script>\n"
                     "</head>\n"
                     "<body>\n"
                     "  <h2>Don't panic!</h2>\n"
                     "  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n"
                     "</body>\n"
                     "</html>");
}
