/* A telnet user's bytes in pieces: lines come out whole, never over the limit, and what the
 * decoder leaves behind stays bounded. */
#include "codec/line.h"
#include "fuzz/fuzz.h"

enum { LINE_MAX_BYTES = 40 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void use(const struct mdg_line_event *ev)
{
    struct mdg_line_command command;
    struct mdg_slice text, rest;
    if (ev->type == MDG_LINE_TOO_LONG)
        return;
    must(ev->text.len <= LINE_MAX_BYTES);
    must(!ev->text.len || !memchr(ev->text.data, '\n', ev->text.len));
    if (mdg_line_command(mdg_slice(ev->text.data, ev->text.len), &command, &text))
        must(mdg_line_word(command.argument, &rest).len <= command.argument.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t each = data[0] ? data[0] : size;
    struct mdg_line_dec d;
    struct mdg_line_event ev;
    mdg_line_dec_init(&d, LINE_MAX_BYTES);
    uint8_t *block = NULL;
    struct mdg_input in = {NULL, 0};
    for (size_t at = 1; at < size; at += each) {
        size_t n = mdg_min_size(each, size - at);
        uint8_t *joined = malloc(in.len + n);
        if (!joined)
            abort();
        if (in.len)
            memcpy(joined, in.data, in.len);
        memcpy(joined + in.len, data + at, n);
        in = (struct mdg_input){joined, in.len + n};
        free(block);
        block = joined;
        while (mdg_line_dec_next(&d, &in, &ev) == 1)
            use(&ev);
        must(in.len <= LINE_MAX_BYTES + 2);
    }
    if (block && mdg_line_dec_end(&d, &in, &ev) == 1)
        use(&ev);
    free(block);
    return 0;
}
