/* The writer's parts that are too long to inline. */
#include "base/writer.h"

static const char hex_digits[] = "0123456789abcdef";

void mdg_write_dec(struct mdg_writer *w, uint64_t value)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    mdg_write_bytes(w, digits + n, sizeof digits - n);
}

void mdg_write_hex(struct mdg_writer *w, struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        mdg_write_u8(w, (uint8_t)hex_digits[s.data[i] >> 4]);
        mdg_write_u8(w, (uint8_t)hex_digits[s.data[i] & 15]);
    }
}

/* The letter after the backslash for those characters that have a short escape, else 0. */
static char short_escape(uint8_t c)
{
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return 0;
    }
}

/* U+2028 and U+2029 end a line in JavaScript before ES2019: e2 80 a8, e2 80 a9. */
static bool is_line_separator(struct mdg_slice s, size_t i)
{
    return i + 2 < s.len && s.data[i] == 0xe2 && s.data[i + 1] == 0x80 &&
           (s.data[i + 2] == 0xa8 || s.data[i + 2] == 0xa9);
}

void mdg_write_json_string(struct mdg_writer *w, struct mdg_slice s)
{
    size_t plain_from = 0;
    mdg_write_u8(w, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        bool separator = c == 0xe2 && is_line_separator(s, i);
        if (c >= 0x20 && c != '"' && c != '\\' && !separator)
            continue;
        mdg_write_bytes(w, s.data + plain_from, i - plain_from);
        char letter = short_escape(c);
        if (separator) {
            mdg_write_str(w, s.data[i + 2] == 0xa8 ? "\\u2028" : "\\u2029");
            i += 2;
        } else if (letter) {
            mdg_write_u8(w, '\\');
            mdg_write_u8(w, (uint8_t)letter);
        } else {
            mdg_write_str(w, "\\u00");
            mdg_write_hex(w, mdg_slice(&c, 1));
        }
        plain_from = i + 1;
    }
    if (plain_from < s.len)
        mdg_write_bytes(w, s.data + plain_from, s.len - plain_from);
    mdg_write_u8(w, '"');
}
