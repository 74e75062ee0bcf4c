/* Frames from the server, and their wrapping. A message is escaped twice on most transports (as a
 * JSON string, then for the place it stands in); that is done in small pieces on the stack. */
#include "codec/sockjs.h"

static void write_u16(struct mdg_writer *w, unsigned unit)
{
    static const char digits[] = "0123456789abcdef";
    const char text[6] = {'\\',
                          'u',
                          digits[unit >> 12 & 15],
                          digits[unit >> 8 & 15],
                          digits[unit >> 4 & 15],
                          digits[unit & 15]};
    mdg_write_bytes(w, text, sizeof text);
}

/* RFC 8259 7: the two-character escapes where there are some, as JSON.stringify. */
static void write_ascii_escape(struct mdg_writer *w, uint8_t c)
{
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof shorts && shorts[c]) {
        mdg_write_u8(w, '\\');
        mdg_write_u8(w, (uint8_t)shorts[c]);
    } else {
        write_u16(w, c);
    }
}

/* The character at the head of s; 0xFFFD and *used = 1 when it is not UTF-8. */
static uint32_t character(struct mdg_slice s, size_t *used)
{
    static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s.data[0];
    size_t len = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    *used = 1;
    if (len == 1)
        return c;
    if (c < 0xC2 || c > 0xF4 || s.len < len)
        return 0xFFFD;
    uint32_t value = c & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s.data[i] & 0xC0) != 0x80)
            return 0xFFFD;
        value = value << 6 | (s.data[i] & 0x3F);
    }
    if (value < lowest[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0xFFFD;
    *used = len;
    return value;
}

/* Characters that browsers or proxies mangle on their way (protocol, "JSON Unicode Encoding"). */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || c == '"' || c == '\\' || (c >= 0x200C && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202F) || (c >= 0x2060 && c <= 0x206F) || c >= 0xFFF0;
}

static void write_unsafe(struct mdg_writer *w, uint32_t c)
{
    if (c < 0x80) {
        write_ascii_escape(w, (uint8_t)c);
    } else if (c < 0x10000) {
        write_u16(w, c);
    } else {
        write_u16(w, 0xD800 + ((c - 0x10000) >> 10));
        write_u16(w, 0xDC00 + ((c - 0x10000) & 0x3FF));
    }
}

/* 1: may need an escape, or starts a character that may. E2 leads U+2000-2FFF, EF U+F000-FFFF. */
static const uint8_t suspicious[256] = {
    1,          1,          1,          1,          1,          1,          1,          1,
    1,          1,          1,          1,          1,          1,          1,          1,
    1,          1,          1,          1,          1,          1,          1,          1,
    1,          1,          1,          1,          1,          1,          1,          1,
    ['"'] = 1,  ['\\'] = 1, [0xC0] = 1, [0xC1] = 1, [0xE2] = 1, [0xEF] = 1, [0xF0] = 1, [0xF1] = 1,
    [0xF2] = 1, [0xF3] = 1, [0xF4] = 1, [0xF5] = 1, [0xF6] = 1, [0xF7] = 1, [0xF8] = 1, [0xF9] = 1,
    [0xFA] = 1, [0xFB] = 1, [0xFC] = 1, [0xFD] = 1, [0xFE] = 1, [0xFF] = 1,
};

/* How many bytes from the head of s need no look: ASCII, and whole characters of other leads. */
static size_t safe_run(struct mdg_slice s)
{
    size_t n = 0;
    while (n < s.len && !suspicious[s.data[n]]) {
        size_t used = 1;
        if (s.data[n] >= 0x80 && character(mdg_slice(s.data + n, s.len - n), &used) == 0xFFFD)
            break;
        n += used;
    }
    return n;
}

/* The inside of a JSON string. */
static void write_quoted(struct mdg_writer *w, struct mdg_slice s)
{
    while (s.len) {
        size_t n = safe_run(s);
        mdg_write_bytes(w, s.data, n);
        s.data += n;
        s.len -= n;
        if (s.len == 0)
            return;
        uint32_t c = character(s, &n);
        if (is_unsafe(c))
            write_unsafe(w, c);
        else
            mdg_write_bytes(w, s.data, n);
        s.data += n;
        s.len -= n;
    }
}

/* npm sockjs "escape_selected": the client decodes with decodeURI, so that a percent sign that
 * stood for itself would be an error there. */
static void write_event_escaped(struct mdg_writer *w, struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '%' || c == '\r' || c == '\n' || c == '\0') {
            static const char digits[] = "0123456789ABCDEF";
            const char text[3] = {'%', digits[c >> 4], digits[c & 15]};
            mdg_write_bytes(w, text, sizeof text);
        } else {
            mdg_write_u8(w, c);
        }
    }
}

/* Inside of a script element '<' must not stand: "</script>" and "<!--" end or bend it. */
static void write_script_escaped(struct mdg_writer *w, struct mdg_slice s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] != '<')
            continue;
        write_quoted(w, mdg_slice(s.data + from, i - from));
        write_u16(w, '<');
        from = i + 1;
    }
    write_quoted(w, mdg_slice(s.data + from, s.len - from));
}

void mdg_sockjs_write_escaped(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice text)
{
    switch (wrap) {
    case MDG_SOCKJS_PLAIN:
    case MDG_SOCKJS_NEWLINE:
        mdg_write_slice(w, text);
        break;
    case MDG_SOCKJS_EVENT:
        write_event_escaped(w, text);
        break;
    case MDG_SOCKJS_SCRIPT:
        write_script_escaped(w, text);
        break;
    case MDG_SOCKJS_CALLBACK:
        write_quoted(w, text);
        break;
    }
}

/* The longest head of s that is at most max bytes and does not cut a character. */
static size_t whole_characters(struct mdg_slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    size_t n = max;
    while (n > max - 3 && (s.data[n] & 0xC0) == 0x80)
        n--;
    return n;
}

void mdg_sockjs_write_message(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice message)
{
    if (wrap == MDG_SOCKJS_PLAIN || wrap == MDG_SOCKJS_NEWLINE) {
        write_quoted(w, message);
        return;
    }
    enum { PIECE = 128, GROWTH = 6 };
    uint8_t piece[PIECE * GROWTH];
    while (message.len) {
        struct mdg_writer quoted;
        mdg_writer_init(&quoted, piece, sizeof piece);
        size_t n = whole_characters(message, PIECE);
        write_quoted(&quoted, mdg_slice(message.data, n));
        assert(mdg_writer_fits(&quoted));
        mdg_sockjs_write_escaped(w, wrap, mdg_slice(piece, quoted.len));
        message.data += n;
        message.len -= n;
    }
}

void mdg_sockjs_write_head(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                           struct mdg_slice callback)
{
    if (wrap == MDG_SOCKJS_EVENT) {
        mdg_write_str(w, "data: ");
    } else if (wrap == MDG_SOCKJS_SCRIPT) {
        mdg_write_str(w, "<script>\np(\"");
    } else if (wrap == MDG_SOCKJS_CALLBACK) {
        /* the comment keeps the response from being read as a Flash file (Rosetta Flash) */
        mdg_write_str(w, "/**/");
        mdg_write_slice(w, callback);
        mdg_write_str(w, "(\"");
    }
}

void mdg_sockjs_write_tail(struct mdg_writer *w, enum mdg_sockjs_wrap wrap)
{
    static const char *const tails[] = {
        [MDG_SOCKJS_PLAIN] = "",
        [MDG_SOCKJS_NEWLINE] = "\n",
        [MDG_SOCKJS_EVENT] = "\r\n\r\n",
        [MDG_SOCKJS_SCRIPT] = "\");\n</script>\r\n",
        [MDG_SOCKJS_CALLBACK] = "\");\r\n",
    };
    assert((size_t)wrap < MDG_ARRAY_LEN(tails));
    mdg_write_str(w, tails[wrap]);
}

void mdg_sockjs_write_close(struct mdg_writer *w, unsigned code, struct mdg_slice reason)
{
    mdg_write_str(w, "c[");
    mdg_write_dec(w, code);
    mdg_write_str(w, ",\"");
    mdg_sockjs_write_message(w, MDG_SOCKJS_PLAIN, reason);
    mdg_write_str(w, "\"]");
}

enum { XHR_PRELUDE = 2048, PAGE_MIN = 1024 };

static void write_page(struct mdg_writer *w, struct mdg_slice callback)
{
    size_t start = w->len;
    mdg_write_str(w, "<!doctype html>\n<html><head>\n"
                     "  <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n"
                     "  <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n"
                     "</head><body><h2>Don't panic!</h2>\n"
                     "  <script>\n"
                     "    document.domain = document.domain;\n"
                     "    var c = parent.");
    mdg_write_slice(w, callback);
    mdg_write_str(w, ";\n"
                     "    c.start();\n"
                     "    function p(d) {c.message(d);};\n"
                     "    window.onload = function() {c.stop();};\n"
                     "  </script>");
    while (w->len - start < PAGE_MIN)
        mdg_write_u8(w, ' ');
    mdg_write_str(w, "\r\n\r\n");
}

void mdg_sockjs_write_prelude(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice callback)
{
    if (wrap == MDG_SOCKJS_NEWLINE) {
        for (unsigned i = 0; i < XHR_PRELUDE; i++)
            mdg_write_u8(w, 'h');
        mdg_write_u8(w, '\n');
    } else if (wrap == MDG_SOCKJS_EVENT) {
        mdg_write_str(w, "\r\n");
    } else if (wrap == MDG_SOCKJS_SCRIPT) {
        write_page(w, callback);
    }
}
