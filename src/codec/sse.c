/* WHATWG HTML 9.2.5 and 9.2.6. The decoder keeps the data of the event and, right behind it, the
 * line that is being read, so that a `data:` line joins the data by moving once. */
#include "codec/sse.h"

static bool is_single_line(struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '\n' || s.data[i] == '\r' || s.data[i] == '\0')
            return false;
    }
    return true;
}

static size_t line_length(struct mdg_slice s)
{
    size_t n = 0;
    while (n < s.len && s.data[n] != '\n' && s.data[n] != '\r')
        n++;
    return n;
}

void mdg_sse_write_data(struct mdg_writer *w, struct mdg_slice data)
{
    for (;;) {
        size_t n = line_length(data);
        mdg_write_str(w, "data: ");
        mdg_write_bytes(w, data.data, n);
        mdg_write_u8(w, '\n');
        if (n == data.len)
            break;
        if (data.data[n] == '\r' && n + 1 < data.len && data.data[n + 1] == '\n')
            n++;
        data.data += n + 1;
        data.len -= n + 1;
    }
    mdg_write_u8(w, '\n');
}

static void write_field(struct mdg_writer *w, const char *name, struct mdg_slice value)
{
    mdg_write_str(w, name);
    mdg_write_slice(w, value);
    mdg_write_u8(w, '\n');
}

int mdg_sse_write_event(struct mdg_writer *w, struct mdg_slice id, struct mdg_slice event,
                        struct mdg_slice data)
{
    if (!is_single_line(id) || !is_single_line(event))
        return MDG_E_SYNTAX;
    if (id.len)
        write_field(w, "id: ", id);
    if (event.len)
        write_field(w, "event: ", event);
    mdg_sse_write_data(w, data);
    return 0;
}

void mdg_sse_write_comment(struct mdg_writer *w, struct mdg_slice text)
{
    assert(is_single_line(text));
    write_field(w, ":", text);
    mdg_write_u8(w, '\n');
}

void mdg_sse_write_retry(struct mdg_writer *w, uint64_t retry_ms)
{
    mdg_write_str(w, "retry: ");
    mdg_write_dec(w, retry_ms);
    mdg_write_str(w, "\n\n");
}

void mdg_sse_dec_init(struct mdg_sse_dec *d, uint8_t *memory, size_t cap)
{
    assert(memory && cap > 0);
    *d = (struct mdg_sse_dec){.state = MDG_SSE_START, .memory = memory, .cap = cap};
    d->retry_ms = UINT64_MAX;
}

/* A field is copied into a small array of its own. */
static int keep_field(uint8_t *to, uint16_t *to_len, size_t max, struct mdg_slice value)
{
    if (value.len > max)
        return MDG_E_TOO_BIG;
    if (value.len)
        memcpy(to, value.data, value.len);
    *to_len = (uint16_t)value.len;
    return 0;
}

/* The value lies in the line behind the data: it slides down to the data's end. */
static int add_data(struct mdg_sse_dec *d, struct mdg_slice value)
{
    size_t more = value.len + (d->has_data ? 1 : 0);
    if (d->data_len + more > d->cap)
        return MDG_E_TOO_BIG;
    uint8_t *at = d->memory + d->data_len;
    if (value.len)
        memmove(at + (d->has_data ? 1 : 0), value.data, value.len);
    if (d->has_data)
        *at = '\n';
    d->data_len += more;
    d->has_data = true;
    return 0;
}

static int take_field(struct mdg_sse_dec *d, struct mdg_slice name, struct mdg_slice value)
{
    if (mdg_slice_eq(name, MDG_SLICE_LIT("data")))
        return add_data(d, value);
    if (mdg_slice_eq(name, MDG_SLICE_LIT("event")))
        return keep_field(d->type, &d->type_len, sizeof d->type, value);
    if (mdg_slice_eq(name, MDG_SLICE_LIT("id"))) {
        if (value.len && memchr(value.data, '\0', value.len))
            return 0;
        return keep_field(d->id, &d->id_len, sizeof d->id, value);
    }
    uint64_t ms;
    if (mdg_slice_eq(name, MDG_SLICE_LIT("retry")) && mdg_slice_u64(value, &ms) == 0)
        d->retry_ms = ms;
    return 0;
}

/* 1: the empty line after some data, an event is complete. */
static int take_line(struct mdg_sse_dec *d)
{
    struct mdg_slice line = {d->memory + d->data_len, d->line_len};
    d->line_len = 0;
    if (line.len == 0) {
        if (!d->has_data)
            d->type_len = 0;
        return d->has_data;
    }
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon)
        return take_field(d, line, mdg_slice(NULL, 0));
    size_t name_len = (size_t)(colon - line.data);
    struct mdg_slice value = {colon + 1, line.len - name_len - 1};
    if (value.len && value.data[0] == ' ') {
        value.data++;
        value.len--;
    }
    return name_len ? take_field(d, mdg_slice(line.data, name_len), value) : 0;
}

static void forget_event(struct mdg_sse_dec *d)
{
    d->data_len = 0;
    d->has_data = d->dispatched = false;
    d->type_len = 0;
    d->retry_ms = UINT64_MAX;
}

static int fail(struct mdg_sse_dec *d, int err)
{
    d->state = MDG_SSE_DEAD;
    return err;
}

/* Three bytes at most: what turns out not to be a mark becomes the start of the first line. */
static int skip_bom(struct mdg_sse_dec *d, struct mdg_input *in)
{
    static const uint8_t bom[3] = {0xEF, 0xBB, 0xBF};
    while (in->len && d->bom_len < sizeof bom && in->data[0] == bom[d->bom_len]) {
        d->bom_len++;
        in->data++;
        in->len--;
    }
    if (d->bom_len < sizeof bom) {
        if (in->len == 0)
            return 0;
        if (d->bom_len > d->cap)
            return MDG_E_TOO_BIG;
        memcpy(d->memory, bom, d->bom_len);
        d->line_len = d->bom_len;
    }
    d->state = MDG_SSE_LINE;
    return 0;
}

static void consume(struct mdg_input *in, size_t n)
{
    in->data += n;
    in->len -= n;
}

int mdg_sse_dec_next(struct mdg_sse_dec *d, struct mdg_input *in, struct mdg_sse_event *ev)
{
    if (d->state == MDG_SSE_DEAD)
        return MDG_E_TOO_BIG;
    if (d->dispatched)
        forget_event(d);
    if (d->state == MDG_SSE_START) {
        int err = skip_bom(d, in);
        if (err)
            return fail(d, err);
    }
    while (in->len) {
        if (d->state == MDG_SSE_CR) {
            d->state = MDG_SSE_LINE;
            if (in->data[0] == '\n') {
                consume(in, 1);
                continue;
            }
        }
        size_t n = line_length(mdg_slice(in->data, in->len));
        if (n > d->cap - d->data_len - d->line_len)
            return fail(d, MDG_E_TOO_BIG);
        memcpy(d->memory + d->data_len + d->line_len, in->data, n);
        d->line_len += n;
        consume(in, n);
        if (in->len == 0)
            break;
        d->state = in->data[0] == '\r' ? MDG_SSE_CR : MDG_SSE_LINE;
        consume(in, 1);
        int got = take_line(d);
        if (got < 0)
            return fail(d, got);
        if (got == 0)
            continue;
        d->dispatched = true;
        *ev = (struct mdg_sse_event){
            {d->id, d->id_len}, {d->type, d->type_len}, {d->memory, d->data_len}, d->retry_ms};
        return 1;
    }
    return 0;
}
