/* A client's URL, callback, form and messages; and every message must survive every wrapping. */
#include "base/utf8.h"
#include "codec/sockjs.h"
#include "fuzz/fuzz.h"

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void use_url(struct mdg_slice path)
{
    struct mdg_sockjs_url url = mdg_sockjs_url(path);
    must(url.endpoint < MDG_SOCKJS_ENDPOINTS && mdg_sockjs_methods(url.endpoint));
    must(url.session.len <= MDG_SOCKJS_SESSION_MAX);
    must(!url.session.len || !memchr(url.session.data, '/', url.session.len));
    uint8_t name[MDG_SOCKJS_CALLBACK_MAX];
    must(mdg_sockjs_callback(path, name) <= MDG_SOCKJS_CALLBACK_MAX);
}

/* The frame that the server builds from the text is read back by the client's decoder. */
static void frame_and_read(struct mdg_slice text)
{
    size_t cap = text.len * 6 + 16;
    uint8_t *wire = malloc(cap);
    if (!wire)
        abort();
    struct mdg_writer w;
    mdg_writer_init(&w, wire, cap);
    mdg_sockjs_write_escaped(&w, MDG_SOCKJS_PLAIN, MDG_SLICE_LIT("a[\""));
    mdg_sockjs_write_message(&w, MDG_SOCKJS_PLAIN, text);
    mdg_sockjs_write_escaped(&w, MDG_SOCKJS_PLAIN, MDG_SLICE_LIT("\"]"));
    must(mdg_writer_fits(&w));
    struct mdg_sockjs_messages m;
    unsigned code;
    struct mdg_slice reason;
    struct mdg_input got;
    must(mdg_sockjs_frame((struct mdg_input){wire, w.len}, &m, &code, &reason) == 'a');
    must(mdg_sockjs_next_message(&m, &got));
    if (mdg_utf8_valid(text))
        must(mdg_slice_eq(mdg_slice(got.data, got.len), text));
    must(!mdg_sockjs_next_message(&m, &got));
    free(wire);
}

/* The argument of the call is one JSON string, whatever was in the text. */
static void call_and_read(struct mdg_slice text)
{
    size_t cap = text.len * 12 + 64;
    uint8_t *wire = malloc(cap);
    if (!wire)
        abort();
    struct mdg_writer w;
    mdg_writer_init(&w, wire, cap);
    mdg_write_u8(&w, '"');
    mdg_sockjs_write_message(&w, MDG_SOCKJS_SCRIPT, text);
    mdg_write_u8(&w, '"');
    must(mdg_writer_fits(&w));
    must(mdg_json_check(mdg_slice(wire, w.len), 0, NULL) == 0);
    must(!memchr(wire, '<', w.len));
    mdg_writer_init(&w, wire, cap);
    mdg_sockjs_write_message(&w, MDG_SOCKJS_EVENT, text);
    must(mdg_writer_fits(&w) && !memchr(wire, '\n', w.len) && !memchr(wire, '\r', w.len));
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = mdg_fuzz_piece(data, size);
    use_url(mdg_slice(text, size));
    frame_and_read(mdg_slice(text, size));
    call_and_read(mdg_slice(text, size));
    struct mdg_sockjs_messages m;
    struct mdg_input message;
    unsigned code;
    struct mdg_slice reason;
    if (mdg_sockjs_messages(mdg_slice(text, size), true, &m) == 0) {
        while (mdg_sockjs_next_message(&m, &message))
            must(message.len <= size);
    }
    memcpy(text, data, size);
    if (mdg_sockjs_frame((struct mdg_input){text, size}, &m, &code, &reason) == 'a') {
        while (mdg_sockjs_next_message(&m, &message))
            must(message.len <= size);
    }
    memcpy(text, data, size);
    if (mdg_sockjs_form_field((struct mdg_input){text, size}, MDG_SLICE_LIT("d"), &message))
        must(message.len <= size);
    free(text);
    return 0;
}
