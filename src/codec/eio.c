/* The two protocols differ in how packets share a body (a separator against counted lengths) and
 * in where the type of a binary packet stands; what a packet is, they share. */
#include "codec/eio.h"
#include "base/base64.h"
#include "base/json.h"

static int decode_base64(struct mdg_input in, struct mdg_input *out)
{
    int64_t n = mdg_base64_decode(mdg_slice(in.data, in.len), in.data, in.len);
    if (n < 0)
        return MDG_E_PROTO;
    *out = (struct mdg_input){in.data, (size_t)n};
    return 0;
}

static struct mdg_input behind(struct mdg_input in, size_t n)
{
    return (struct mdg_input){in.data + n, in.len - n};
}

static int dec_text(unsigned version, struct mdg_input in, struct mdg_eio_packet *out)
{
    if (in.len == 0)
        return MDG_E_PROTO;
    out->binary = in.data[0] == 'b';
    out->type = MDG_EIO_MESSAGE;
    if (out->binary) {
        if (version != 3)
            return decode_base64(behind(in, 1), &out->data);
        in = behind(in, 1); /* v3: the type follows */
        if (in.len == 0)
            return MDG_E_PROTO;
    }
    if (in.data[0] < '0' || in.data[0] > '6')
        return MDG_E_PROTO;
    out->type = (enum mdg_eio_type)(in.data[0] - '0');
    out->data = behind(in, 1);
    return out->binary ? decode_base64(out->data, &out->data) : 0;
}

int mdg_eio_dec_packet(unsigned version, struct mdg_input in, bool binary,
                       struct mdg_eio_packet *out)
{
    if (!binary)
        return dec_text(version, in, out);
    *out = (struct mdg_eio_packet){MDG_EIO_MESSAGE, true, in};
    if (version != 3)
        return 0;
    if (in.len == 0 || in.data[0] > MDG_EIO_NOOP)
        return MDG_E_PROTO;
    out->type = (enum mdg_eio_type)in.data[0];
    out->data = behind(in, 1);
    return 0;
}

void mdg_eio_payload_init(struct mdg_eio_payload *p, unsigned version, bool binary,
                          struct mdg_input body)
{
    *p = (struct mdg_eio_payload){body, version, binary && version == 3, false};
}

static int next4(struct mdg_eio_payload *p, struct mdg_eio_packet *out)
{
    if (p->started && !p->rest.data)
        return 0;
    p->started = true;
    struct mdg_input packet = p->rest;
    uint8_t *sep = packet.len ? memchr(packet.data, MDG_EIO_SEPARATOR, packet.len) : NULL;
    p->rest = (struct mdg_input){NULL, 0};
    if (sep) {
        p->rest = behind(packet, (size_t)(sep - packet.data) + 1);
        packet.len = (size_t)(sep - packet.data);
    }
    int err = dec_text(4, packet, out);
    return err < 0 ? err : 1;
}

/* How many UTF-16 code units a UTF-8 lead byte stands for; 0 for a continuation. */
static size_t utf16_units(uint8_t c)
{
    return (c & 0xc0) == 0x80 ? 0 : c >= 0xf0 ? 2 : 1;
}

size_t mdg_eio_utf16_len(struct mdg_slice utf8)
{
    size_t n = 0;
    for (size_t i = 0; i < utf8.len; i++)
        n += utf16_units(utf8.data[i]);
    return n;
}

/* Bytes that hold exactly that many code units, or SIZE_MAX: too few, or half of a pair. */
static size_t bytes_of_units(struct mdg_input in, size_t units)
{
    size_t at = 0;
    while (at < in.len && (units > 0 || utf16_units(in.data[at]) == 0)) {
        size_t n = utf16_units(in.data[at]);
        if (n > units)
            return SIZE_MAX;
        units -= n;
        at++;
    }
    return units == 0 ? at : SIZE_MAX;
}

/* v3 "Payload": <length>:<packet>... Zero lengths are skipped, as the original does. */
static int next3_text(struct mdg_eio_payload *p, struct mdg_eio_packet *out)
{
    while (p->rest.len > 0) {
        size_t digits = 0, units = 0;
        while (digits < p->rest.len && p->rest.data[digits] >= '0' && p->rest.data[digits] <= '9' &&
               digits < MDG_EIO3_LENGTH_DIGITS_MAX)
            units = units * 10 + (size_t)(p->rest.data[digits++] - '0');
        if (digits == 0 || digits == p->rest.len || p->rest.data[digits] != ':')
            return MDG_E_PROTO;
        struct mdg_input in = behind(p->rest, digits + 1);
        size_t len = bytes_of_units(in, units);
        if (len == SIZE_MAX)
            return MDG_E_PROTO;
        p->rest = behind(in, len);
        if (len == 0)
            continue;
        int err = dec_text(3, (struct mdg_input){in.data, len}, out);
        return err < 0 ? err : 1;
    }
    return 0;
}

static int next3_binary(struct mdg_eio_payload *p, struct mdg_eio_packet *out)
{
    while (p->rest.len > 0) {
        bool binary = p->rest.data[0] == 1;
        size_t at = 1, len = 0;
        if (p->rest.data[0] > 1)
            return MDG_E_PROTO;
        while (at < p->rest.len && p->rest.data[at] <= 9 && at <= MDG_EIO3_LENGTH_DIGITS_MAX)
            len = len * 10 + p->rest.data[at++];
        if (at == 1 || at == p->rest.len || p->rest.data[at] != 0xff)
            return MDG_E_PROTO;
        struct mdg_input in = behind(p->rest, at + 1);
        if (len > in.len)
            return MDG_E_PROTO;
        p->rest = behind(in, len);
        if (len == 0)
            continue;
        int err = mdg_eio_dec_packet(3, (struct mdg_input){in.data, len}, binary, out);
        return err < 0 ? err : 1;
    }
    return 0;
}

int mdg_eio_payload_next(struct mdg_eio_payload *p, struct mdg_eio_packet *out)
{
    if (p->version != 3)
        return next4(p, out);
    return p->binary ? next3_binary(p, out) : next3_text(p, out);
}

static uint8_t digit(enum mdg_eio_type type)
{
    return (uint8_t)('0' + (int)type);
}

void mdg_eio_write_packet(struct mdg_writer *w, unsigned version, enum mdg_eio_type type,
                          bool binary, struct mdg_slice data)
{
    assert(!binary || version == 3 || type == MDG_EIO_MESSAGE);
    if (!binary)
        mdg_write_u8(w, digit(type));
    else if (version == 3)
        mdg_write_u8(w, (uint8_t)type);
    mdg_write_slice(w, data);
}

void mdg_eio4_write_in_payload(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                               struct mdg_slice data)
{
    if (!binary) {
        mdg_eio_write_packet(w, 4, type, false, data);
        return;
    }
    mdg_write_u8(w, 'b');
    mdg_write_base64(w, data);
}

void mdg_eio3_write_in_text(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                            struct mdg_slice data)
{
    size_t len = binary ? 2 + mdg_base64_encoded_len(data.len) : 1 + mdg_eio_utf16_len(data);
    mdg_write_dec(w, len);
    mdg_write_u8(w, ':');
    if (!binary) {
        mdg_eio_write_packet(w, 3, type, false, data);
        return;
    }
    mdg_write_u8(w, 'b');
    mdg_write_u8(w, digit(type));
    mdg_write_base64(w, data);
}

void mdg_eio3_write_binary_head(struct mdg_writer *w, bool binary, size_t len)
{
    uint8_t digits[20];
    struct mdg_writer d;
    mdg_writer_init(&d, digits, sizeof digits);
    mdg_write_dec(&d, len);
    mdg_write_u8(w, binary ? 1 : 0);
    for (size_t i = 0; i < d.len; i++)
        mdg_write_u8(w, (uint8_t)(digits[i] - '0'));
    mdg_write_u8(w, 0xff);
}

void mdg_eio3_write_in_binary(struct mdg_writer *w, enum mdg_eio_type type, bool binary,
                              struct mdg_slice data)
{
    mdg_eio3_write_binary_head(w, binary, data.len + 1);
    mdg_eio_write_packet(w, 3, type, binary, data);
}

void mdg_eio_write_open(struct mdg_writer *w, const struct mdg_eio_open *o)
{
    mdg_write_str(w, "{\"sid\":");
    mdg_write_json_string(w, o->sid);
    mdg_write_str(w, ",\"upgrades\":[");
    if (o->upgrade_websocket)
        mdg_write_str(w, "\"websocket\"");
    mdg_write_str(w, "],\"pingInterval\":");
    mdg_write_dec(w, o->ping_interval_ms);
    mdg_write_str(w, ",\"pingTimeout\":");
    mdg_write_dec(w, o->ping_timeout_ms);
    if (o->max_payload) {
        mdg_write_str(w, ",\"maxPayload\":");
        mdg_write_dec(w, o->max_payload);
    }
    mdg_write_u8(w, '}');
}

static int find_u32(struct mdg_slice object, const char *key, uint32_t *out)
{
    struct mdg_slice v;
    uint64_t n;
    if (!mdg_json_find(object, mdg_slice_str(key), &v) || mdg_json_u64(v, &n) < 0 || n > UINT32_MAX)
        return MDG_E_PROTO;
    *out = (uint32_t)n;
    return 0;
}

static bool names_websocket(struct mdg_slice object)
{
    struct mdg_slice list, v;
    struct mdg_json_iter it;
    if (!mdg_json_find(object, MDG_SLICE_LIT("upgrades"), &list) || !mdg_json_array(list, &it))
        return false;
    while (mdg_json_element(&it, &v)) {
        if (mdg_json_string_eq(v, MDG_SLICE_LIT("websocket")))
            return true;
    }
    return false;
}

int mdg_eio_dec_open(struct mdg_slice json, struct mdg_eio_open *out)
{
    struct mdg_slice v;
    bool escaped;
    *out = (struct mdg_eio_open){0};
    if (mdg_json_check(json, 8, &json) < 0 || !mdg_json_find(json, MDG_SLICE_LIT("sid"), &v))
        return MDG_E_PROTO;
    out->sid = mdg_json_inside(v, &escaped);
    if (!out->sid.len || escaped || out->sid.len > MDG_EIO_SID_BYTES_MAX)
        return MDG_E_PROTO;
    if (find_u32(json, "pingInterval", &out->ping_interval_ms) < 0 ||
        find_u32(json, "pingTimeout", &out->ping_timeout_ms) < 0)
        return MDG_E_PROTO;
    out->upgrade_websocket = names_websocket(json);
    if (mdg_json_find(json, MDG_SLICE_LIT("maxPayload"), &v) &&
        mdg_json_u64(v, &out->max_payload) < 0)
        return MDG_E_PROTO;
    return 0;
}

void mdg_eio_write_jsonp(struct mdg_writer *w, struct mdg_slice j, struct mdg_slice payload)
{
    mdg_write_str(w, "___eio[");
    for (size_t i = 0; i < j.len; i++) {
        if (j.data[i] >= '0' && j.data[i] <= '9')
            mdg_write_u8(w, j.data[i]);
    }
    mdg_write_str(w, "](");
    mdg_write_json_string(w, payload);
    mdg_write_str(w, ");");
}

static int hex_value(uint8_t c)
{
    c = mdg_ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded, one value, in place. Returns the length or MDG_E_PROTO. */
static int64_t form_decode(struct mdg_input in)
{
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int hi = in.len - i > 2 ? hex_value(in.data[i + 1]) : -1;
            int lo = in.len - i > 2 ? hex_value(in.data[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return MDG_E_PROTO;
            c = (uint8_t)(hi << 4 | lo);
            i += 2;
        }
        in.data[len++] = c;
    }
    return (int64_t)len;
}

/* The client sends a newline as \n and the two characters \n as \\n (engine.io "JSONP"). */
static size_t unescape_newlines(struct mdg_input in)
{
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++) {
        const uint8_t *p = in.data + i;
        size_t left = in.len - i;
        if (left >= 3 && p[0] == '\\' && p[1] == '\\' && p[2] == 'n') {
            in.data[len++] = '\\';
            in.data[len++] = 'n';
            i += 2;
        } else if (left >= 2 && p[0] == '\\' && p[1] == 'n') {
            in.data[len++] = '\n';
            i += 1;
        } else {
            in.data[len++] = p[0];
        }
    }
    return len;
}

int mdg_eio_dec_jsonp(struct mdg_input body, struct mdg_input *payload)
{
    uint8_t *p = body.data, *end = p + body.len;
    while (p < end) {
        uint8_t *amp = memchr(p, '&', (size_t)(end - p));
        uint8_t *stop = amp ? amp : end;
        if (stop - p >= 2 && p[0] == 'd' && p[1] == '=') {
            struct mdg_input field = {p + 2, (size_t)(stop - p) - 2};
            int64_t n = form_decode(field);
            if (n < 0)
                return MDG_E_PROTO;
            field.len = (size_t)n;
            field.len = unescape_newlines(field);
            *payload = field;
            return 0;
        }
        p = amp ? amp + 1 : end;
    }
    return MDG_E_PROTO;
}
