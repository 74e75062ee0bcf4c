/* A bounded writer over memory that the caller owns. Encoders write through it without checking
 * each step: past the end nothing is stored, but the length goes on counting, so that one dry
 * run over an empty buffer tells how much room is needed. */
#ifndef MDG_WRITER_H
#define MDG_WRITER_H

#include "base/base.h"

struct mdg_writer {
    uint8_t *data;
    size_t cap;
    size_t len; /* bytes wanted so far; more than cap means that it did not fit */
};

static inline void mdg_writer_init(struct mdg_writer *w, void *data, size_t cap)
{
    w->data = data;
    w->cap = cap;
    w->len = 0;
}

static inline bool mdg_writer_fits(const struct mdg_writer *w)
{
    return w->len <= w->cap;
}

static inline void mdg_write_bytes(struct mdg_writer *w, const void *bytes, size_t len)
{
    if (len && w->len <= w->cap && len <= w->cap - w->len)
        memcpy(w->data + w->len, bytes, len);
    w->len += len;
}

static inline void mdg_write_slice(struct mdg_writer *w, struct mdg_slice s)
{
    mdg_write_bytes(w, s.data, s.len);
}

static inline void mdg_write_str(struct mdg_writer *w, const char *text)
{
    mdg_write_bytes(w, text, strlen(text));
}

static inline void mdg_write_u8(struct mdg_writer *w, uint8_t byte)
{
    if (w->len < w->cap)
        w->data[w->len] = byte;
    w->len++;
}

void mdg_write_dec(struct mdg_writer *w, uint64_t value);     /* decimal digits */
void mdg_write_hex(struct mdg_writer *w, struct mdg_slice s); /* two lower-case digits a byte */
/* A JSON string with its quotes: RFC 8259 7; control characters, quote and backslash escaped, and
 * U+2028/2029 too, so that the text can stand in a script. The input must be valid UTF-8. */
void mdg_write_json_string(struct mdg_writer *w, struct mdg_slice s);

#endif
