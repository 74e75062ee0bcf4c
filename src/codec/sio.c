/* The head is read byte by byte, the JSON is checked once; nothing is built. */
#include "codec/sio.h"
#include "base/base64.h"
#include "base/json.h"

static uint8_t peek(const struct mdg_slice *in)
{
    return in->len ? in->data[0] : 0;
}

static void skip(struct mdg_slice *in, size_t n)
{
    in->data += n;
    in->len -= n;
}

static struct mdg_slice take_digits(struct mdg_slice *in)
{
    size_t n = 0;
    while (n < in->len && in->data[n] >= '0' && in->data[n] <= '9')
        n++;
    struct mdg_slice digits = mdg_slice(in->data, n);
    skip(in, n);
    return digits;
}

static int read_attachments(struct mdg_slice *in, const struct mdg_sio_limits *limits,
                            struct mdg_sio_packet *out)
{
    uint64_t n;
    int err = mdg_slice_u64(take_digits(in), &n);
    if (err == MDG_E_SYNTAX || peek(in) != '-')
        return MDG_E_PROTO;
    if (err < 0 || n > limits->attachments_max)
        return MDG_E_TOO_BIG;
    skip(in, 1);
    out->attachments = (uint32_t)n;
    return 0;
}

/* "/admin," or, at the end of the packet, "/admin". */
static int read_namespace(struct mdg_slice *in, unsigned protocol,
                          const struct mdg_sio_limits *limits, struct mdg_sio_packet *out)
{
    out->nsp = MDG_SLICE_LIT("/");
    if (peek(in) != '/')
        return 0;
    struct mdg_slice rest = *in;
    out->nsp = mdg_slice_split(&rest, ',');
    *in = rest.data ? rest : mdg_slice(in->data + in->len, 0);
    if (out->nsp.len > limits->namespace_len_max)
        return MDG_E_TOO_BIG;
    if (protocol == 4) {
        rest = out->nsp;
        out->nsp = mdg_slice_split(&rest, '?');
        out->query = rest;
    }
    return 0;
}

static int read_id(struct mdg_slice *in, struct mdg_sio_packet *out)
{
    struct mdg_slice digits = take_digits(in);
    if (digits.len == 0)
        return 0;
    out->has_id = true;
    if (mdg_slice_u64(digits, &out->id) < 0 || out->id > MDG_SIO_ID_MAX)
        return MDG_E_PROTO;
    return 0;
}

static const struct mdg_slice placeholder_key = {(const uint8_t *)"_placeholder", 12};

bool mdg_sio_placeholder(struct mdg_slice value, uint64_t *num)
{
    struct mdg_slice v;
    bool yes;
    if (!mdg_json_find(value, placeholder_key, &v) || mdg_json_bool(v, &yes) < 0 || !yes)
        return false;
    return mdg_json_find(value, MDG_SLICE_LIT("num"), &v) && mdg_json_u64(v, num) == 0;
}

/* An object that says it is a placeholder must be a good one. */
static bool object_ok(struct mdg_slice object, uint32_t attachments)
{
    struct mdg_slice v;
    uint64_t num;
    bool yes;
    if (!mdg_json_find(object, placeholder_key, &v) || mdg_json_bool(v, &yes) < 0 || !yes)
        return true;
    return mdg_sio_placeholder(object, &num) && num < attachments;
}

/* Every object at any depth. Each is looked at from its opening brace to its closing one, so the
 * work is bounded by the length times the nesting that the limits allow. */
static bool placeholders_ok(struct mdg_slice json, uint32_t attachments)
{
    bool in_string = false;
    for (size_t i = 0; i < json.len; i++) {
        uint8_t c = json.data[i];
        if (c == '"') {
            in_string = !in_string;
        } else if (in_string) {
            i += c == '\\';
        } else if (c == '{') {
            struct mdg_json_iter it = {json.data + i, json.data + json.len};
            struct mdg_slice object;
            if (!mdg_json_element(&it, &object) || !object_ok(object, attachments))
                return false;
        }
    }
    return true;
}

bool mdg_sio_event_reserved(struct mdg_slice name)
{
    static const char *const reserved[] = {"connect",       "connect_error", "disconnect",
                                           "disconnecting", "newListener",   "removeListener"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(reserved); i++) {
        if (mdg_slice_eq(name, mdg_slice_str(reserved[i])))
            return true;
    }
    return false;
}

/* As mdg_sio_event_reserved for the JSON string, which may spell the name with escapes. */
static bool reserved_json(struct mdg_slice string)
{
    uint8_t plain[16]; /* longer than any reserved name: then it is none of them */
    int64_t n = mdg_json_unescape(string, plain, sizeof plain);
    return n >= 0 && mdg_sio_event_reserved(mdg_slice(plain, (size_t)n));
}

static bool event_ok(struct mdg_sio_packet *p)
{
    struct mdg_json_iter it;
    return mdg_json_array(p->data, &it) && mdg_json_element(&it, &p->event) &&
           mdg_json_type(p->event) == MDG_JSON_STRING && !reserved_json(p->event);
}

int mdg_sio_check_event(struct mdg_slice json, struct mdg_slice *event)
{
    struct mdg_sio_packet p = {.data = {NULL, 0}};
    int rc = mdg_json_check(json, MDG_JSON_DEPTH_MAX, &p.data);
    if (rc == 0)
        rc = event_ok(&p) ? 0 : MDG_E_SYNTAX;
    *event = p.data;
    return rc;
}

/* "Packet encoding": what each type may carry. */
static bool data_ok(struct mdg_sio_packet *p, unsigned protocol)
{
    enum mdg_json_type t = mdg_json_type(p->data);
    switch (p->type) {
    case MDG_SIO_CONNECT:
        return t == MDG_JSON_NONE || t == MDG_JSON_OBJECT;
    case MDG_SIO_DISCONNECT:
        return t == MDG_JSON_NONE;
    case MDG_SIO_CONNECT_ERROR:
        return protocol == 4 || t == MDG_JSON_OBJECT || t == MDG_JSON_STRING;
    case MDG_SIO_EVENT:
    case MDG_SIO_BINARY_EVENT:
        return event_ok(p);
    case MDG_SIO_ACK:
    case MDG_SIO_BINARY_ACK:
        return t == MDG_JSON_ARRAY && p->has_id;
    }
    return false;
}

int mdg_sio_dec(struct mdg_slice text, unsigned protocol, const struct mdg_sio_limits *limits,
                struct mdg_sio_packet *out)
{
    int err;
    *out = (struct mdg_sio_packet){0};
    if (peek(&text) < '0' || peek(&text) > '6')
        return MDG_E_PROTO;
    out->type = (enum mdg_sio_type)(text.data[0] - '0');
    skip(&text, 1);
    bool binary = out->type == MDG_SIO_BINARY_EVENT || out->type == MDG_SIO_BINARY_ACK;
    if (binary && (err = read_attachments(&text, limits, out)) < 0)
        return err;
    if ((err = read_namespace(&text, protocol, limits, out)) < 0 || (err = read_id(&text, out)) < 0)
        return err;
    if (text.len) {
        err = mdg_json_check(text, limits->depth_max, &out->data);
        if (err < 0)
            return err == MDG_E_TOO_BIG ? err : MDG_E_PROTO;
    }
    if (!data_ok(out, protocol))
        return MDG_E_PROTO;
    return binary && !placeholders_ok(out->data, out->attachments) ? MDG_E_PROTO : 0;
}

void mdg_sio_write_placeholder(struct mdg_writer *w, uint32_t num)
{
    mdg_write_str(w, "{\"_placeholder\":true,\"num\":");
    mdg_write_dec(w, num);
    mdg_write_u8(w, '}');
}

void mdg_sio_write_head(struct mdg_writer *w, enum mdg_sio_type type, uint32_t attachments,
                        struct mdg_slice nsp, const uint64_t *id)
{
    mdg_write_u8(w, (uint8_t)('0' + (int)type));
    if (type == MDG_SIO_BINARY_EVENT || type == MDG_SIO_BINARY_ACK) {
        mdg_write_dec(w, attachments);
        mdg_write_u8(w, '-');
    }
    if (nsp.len && !mdg_slice_eq(nsp, MDG_SLICE_LIT("/"))) {
        mdg_write_slice(w, nsp);
        mdg_write_u8(w, ',');
    }
    if (id)
        mdg_write_dec(w, *id);
}

void mdg_sio_write_event(struct mdg_writer *w, struct mdg_slice event, struct mdg_slice args)
{
    mdg_write_u8(w, '[');
    mdg_write_json_string(w, event);
    struct mdg_json_iter it;
    struct mdg_slice first;
    if (mdg_json_array(args, &it) && mdg_json_element(&it, &first)) {
        mdg_write_u8(w, ',');
        mdg_write_bytes(w, args.data + 1, args.len - 1);
        return;
    }
    mdg_write_u8(w, ']');
}

struct mdg_slice mdg_sio_args(const struct mdg_sio_packet *p)
{
    struct mdg_json_iter it;
    struct mdg_slice first, second;
    if (!mdg_json_array(p->data, &it) || !mdg_json_element(&it, &first) ||
        !mdg_json_element(&it, &second))
        return mdg_slice(p->data.data, 0);
    return mdg_slice(second.data, (size_t)(p->data.data + p->data.len - 1 - second.data));
}

/* Behind the quote that ends the string which begins at `at`. */
static const uint8_t *skip_string(const uint8_t *at, const uint8_t *end)
{
    for (at++; at < end && *at != '"'; at++)
        at += *at == '\\';
    return at < end ? at + 1 : end;
}

static void write_attachment(struct mdg_writer *w, struct mdg_slice bytes)
{
    mdg_write_str(w, "{\"base64\":\"");
    mdg_write_base64(w, bytes);
    mdg_write_str(w, "\"}");
}

/* A placeholder holds no object, so it is what stands between a brace and the next one. */
int mdg_sio_write_inline(struct mdg_writer *w, struct mdg_slice json,
                         const struct mdg_slice *attachments, size_t count, size_t most)
{
    const uint8_t *end = json.data + json.len, *said = json.data, *open = NULL;
    uint64_t num;
    for (const uint8_t *at = json.data; at < end;) {
        if (*at == '"') {
            at = skip_string(at, end);
            continue;
        }
        if (*at == '{')
            open = at;
        if (*at++ != '}' || !open)
            continue;
        if (mdg_sio_placeholder(mdg_slice(open, (size_t)(at - open)), &num) && num < count) {
            mdg_write_bytes(w, said, (size_t)(open - said));
            if (w->len + mdg_base64_encoded_len(attachments[num].len) > most)
                return MDG_E_TOO_BIG;
            write_attachment(w, attachments[num]);
            said = at;
        }
        open = NULL;
    }
    mdg_write_bytes(w, said, (size_t)(end - said));
    return w->len > most ? MDG_E_TOO_BIG : 0;
}
