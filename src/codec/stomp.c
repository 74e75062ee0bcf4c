/* STOMP frames. The decoder walks a frame in three strides: lines up to the blank one, checked as
 * they end; the body, by length or by the first NUL; then one pass over the head fills the table of
 * headers and undoes escapes in place. Escapes only shrink, so the pass never needs more room, and
 * it happens once, when the frame is complete: until then the bytes stay as they came. */
#include "codec/stomp.h"

enum state {
    BETWEEN, /* skipping ends of line (heart-beats) and stray NULs before a command */
    LINES,   /* in the command line or a header line */
    BODY,    /* behind the blank line */
    DEAD,    /* fail says why */
};

static const char *const command_texts[] = {
    [MDG_STOMP_UNKNOWN] = "",
    [MDG_STOMP_CONNECT] = "CONNECT",
    [MDG_STOMP_STOMP] = "STOMP",
    [MDG_STOMP_SEND] = "SEND",
    [MDG_STOMP_SUBSCRIBE] = "SUBSCRIBE",
    [MDG_STOMP_UNSUBSCRIBE] = "UNSUBSCRIBE",
    [MDG_STOMP_ACK] = "ACK",
    [MDG_STOMP_NACK] = "NACK",
    [MDG_STOMP_BEGIN] = "BEGIN",
    [MDG_STOMP_COMMIT] = "COMMIT",
    [MDG_STOMP_ABORT] = "ABORT",
    [MDG_STOMP_DISCONNECT] = "DISCONNECT",
    [MDG_STOMP_CONNECTED] = "CONNECTED",
    [MDG_STOMP_MESSAGE] = "MESSAGE",
    [MDG_STOMP_RECEIPT] = "RECEIPT",
    [MDG_STOMP_ERROR] = "ERROR",
};

const char *mdg_stomp_command_text(enum mdg_stomp_command command)
{
    return command_texts[command];
}

const char *mdg_stomp_fail_text(enum mdg_stomp_fail fail)
{
    static const char *const texts[] = {
        [MDG_STOMP_FAIL_NONE] = "no error",
        [MDG_STOMP_FAIL_BETWEEN] = "unexpected characters between frames",
        [MDG_STOMP_FAIL_COMMAND] = "the command line is not a STOMP command",
        [MDG_STOMP_FAIL_NO_COLON] = "a header line has no colon",
        [MDG_STOMP_FAIL_NO_NAME] = "a header line has no name",
        [MDG_STOMP_FAIL_CONTROL] = "a header holds NUL or a bare carriage return",
        [MDG_STOMP_FAIL_ESCAPE] = "a header holds an undefined escape sequence",
        [MDG_STOMP_FAIL_CONTENT_LENGTH] = "content-length is not a number",
        [MDG_STOMP_FAIL_NO_NUL] = "no NUL where content-length says that the body ends",
        [MDG_STOMP_FAIL_LINE_LENGTH] = "a command or header line is too long",
        [MDG_STOMP_FAIL_HEADER_COUNT] = "too many headers",
        [MDG_STOMP_FAIL_HEADER_BYTES] = "the headers are too long",
        [MDG_STOMP_FAIL_BODY_BYTES] = "the body is too long",
    };
    return texts[fail];
}

static int die(struct mdg_stomp_dec *dec, enum mdg_stomp_fail fail)
{
    dec->state = DEAD;
    dec->fail = (uint8_t)fail;
    return fail >= MDG_STOMP_FAIL_LINE_LENGTH ? MDG_E_TOO_BIG : MDG_E_PROTO;
}

static enum mdg_stomp_command command_of(struct mdg_slice name)
{
    for (unsigned i = 1; i < MDG_ARRAY_LEN(command_texts); i++) {
        if (mdg_slice_eq(name, mdg_slice_str(command_texts[i])))
            return (enum mdg_stomp_command)i;
    }
    return MDG_STOMP_UNKNOWN;
}

/* 1.2 "Value Encoding": CONNECT and CONNECTED never escape, for 1.0's sake; 1.0 has no escapes. */
static bool has_escapes(const struct mdg_stomp_dec *dec, struct mdg_slice command)
{
    if (dec->version < MDG_STOMP_1_1)
        return false;
    return !mdg_slice_eq(command, MDG_SLICE_LIT("CONNECT")) &&
           !mdg_slice_eq(command, MDG_SLICE_LIT("CONNECTED"));
}

/* The byte that an escape stands for, 0 when the version does not define it. */
static uint8_t unescaped(uint8_t letter, unsigned version)
{
    switch (letter) {
    case 'n':
        return '\n';
    case 'c':
        return ':';
    case '\\':
        return '\\';
    case 'r':
        return version >= MDG_STOMP_1_2 ? '\r' : 0;
    default:
        return 0;
    }
}

/* The line without its LF, and without a CR before it: 1.2 allows CRLF, and clients of the older
 * versions that end lines so mean no part of the value by it. */
static struct mdg_slice trim_cr(struct mdg_slice line)
{
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static int check_escapes(struct mdg_stomp_dec *dec, struct mdg_slice line)
{
    const uint8_t *end = line.data + line.len;
    const uint8_t *p = memchr(line.data, '\\', line.len);
    while (p) {
        if (p + 1 == end || !unescaped(p[1], dec->version))
            return die(dec, MDG_STOMP_FAIL_ESCAPE);
        p += 2;
        p = p < end ? memchr(p, '\\', (size_t)(end - p)) : NULL;
    }
    return 0;
}

static int check_command(struct mdg_stomp_dec *dec, struct mdg_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] < 0x20 || line.data[i] == 0x7f)
            return die(dec, MDG_STOMP_FAIL_COMMAND);
    }
    return 0;
}

static int take_content_length(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                               struct mdg_slice value)
{
    if (dec->has_length)
        return 0; /* the first one holds */
    int err = mdg_slice_u64(mdg_slice_trim(value), &dec->length);
    if (err == MDG_E_TOO_BIG || (err == 0 && dec->length > limits->body_bytes_max))
        return die(dec, MDG_STOMP_FAIL_BODY_BYTES);
    if (err < 0)
        return die(dec, MDG_STOMP_FAIL_CONTENT_LENGTH);
    dec->has_length = true;
    return 0;
}

static int check_header(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                        struct mdg_slice line, bool escapes)
{
    if (++dec->header_count > mdg_min_size(limits->header_count_max, MDG_STOMP_HEADERS_CAP))
        return die(dec, MDG_STOMP_FAIL_HEADER_COUNT);
    if (dec->version == MDG_STOMP_1_2 && memchr(line.data, '\r', line.len))
        return die(dec, MDG_STOMP_FAIL_CONTROL);
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon)
        return die(dec, MDG_STOMP_FAIL_NO_COLON);
    if (colon == line.data)
        return die(dec, MDG_STOMP_FAIL_NO_NAME);
    if (escapes && check_escapes(dec, line) < 0)
        return MDG_E_PROTO;
    size_t name_len = (size_t)(colon - line.data);
    if (mdg_slice_eq(mdg_slice(line.data, name_len), MDG_SLICE_LIT("content-length")))
        return take_content_length(dec, limits, mdg_slice(colon + 1, line.len - name_len - 1));
    return 0;
}

/* Ends of line between frames are heart-beats; stray NULs come from clients that end a frame twice.
 * Returns 1 at the first byte of a command. */
static int skip_between(struct mdg_stomp_dec *dec, struct mdg_input *in)
{
    while (in->len) {
        size_t skip = 1;
        if (*in->data == '\r') {
            if (in->len == 1)
                return 0;
            if (in->data[1] != '\n')
                return die(dec, MDG_STOMP_FAIL_BETWEEN);
            skip = 2;
        } else if (*in->data != '\n' && *in->data != 0) {
            dec->state = LINES;
            return 1;
        }
        in->data += skip;
        in->len -= skip;
    }
    return 0;
}

/* What can be said of a line whether or not it has ended; in this order, so that every cut of the
 * input fails alike. One byte more than the maximum is allowed here for the CR of a CRLF. A NUL is
 * told at once: a frame without its blank line would wait for ever. */
static int check_line_so_far(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                             struct mdg_slice line)
{
    size_t room = (size_t)limits->line_bytes_max + 1;
    if (line.len && memchr(line.data, 0, mdg_min_size(line.len, room)))
        return die(dec, dec->line_start == 0 ? MDG_STOMP_FAIL_COMMAND : MDG_STOMP_FAIL_CONTROL);
    if (line.len > room)
        return die(dec, MDG_STOMP_FAIL_LINE_LENGTH);
    return 0;
}

/* The command of a frame whose first line is complete. */
static struct mdg_slice command_line(const uint8_t *frame, size_t len)
{
    const uint8_t *lf = memchr(frame, '\n', len);
    return trim_cr(mdg_slice(frame, lf ? (size_t)(lf - frame) : len));
}

static int read_lines(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                      const struct mdg_input *in)
{
    bool escapes = dec->line_start > 0 && has_escapes(dec, command_line(in->data, in->len));
    while (dec->seen < in->len) {
        const uint8_t *lf = memchr(in->data + dec->seen, '\n', in->len - dec->seen);
        dec->seen = lf ? (size_t)(lf - in->data) + 1 : in->len;
        if (!lf)
            break;
        size_t start = dec->line_start;
        struct mdg_slice line = mdg_slice(in->data + start, dec->seen - 1 - start);
        int err = check_line_so_far(dec, limits, line);
        if (err < 0)
            return err;
        line = trim_cr(line);
        if (line.len > limits->line_bytes_max)
            return die(dec, MDG_STOMP_FAIL_LINE_LENGTH);
        if (dec->seen > limits->header_bytes_max)
            return die(dec, MDG_STOMP_FAIL_HEADER_BYTES);
        dec->line_start = dec->seen;
        if (line.len == 0) {
            dec->body_start = dec->seen;
            dec->state = BODY;
            return 1;
        }
        err = start == 0 ? check_command(dec, line) : check_header(dec, limits, line, escapes);
        if (err < 0)
            return err;
        if (start == 0)
            escapes = has_escapes(dec, line);
    }
    return check_line_so_far(dec, limits,
                             mdg_slice(in->data + dec->line_start, in->len - dec->line_start));
}

/* Returns 1 with *body_len set once the NUL is there. */
static int read_body(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                     const struct mdg_input *in, size_t *body_len)
{
    if (dec->has_length) {
        if (in->len - dec->body_start <= dec->length)
            return 0;
        *body_len = (size_t)dec->length;
        if (in->data[dec->body_start + *body_len] != 0)
            return die(dec, MDG_STOMP_FAIL_NO_NUL);
        return 1;
    }
    const uint8_t *nul = memchr(in->data + dec->seen, 0, in->len - dec->seen);
    dec->seen = nul ? (size_t)(nul - in->data) : in->len;
    *body_len = dec->seen - dec->body_start;
    if (*body_len > limits->body_bytes_max)
        return die(dec, MDG_STOMP_FAIL_BODY_BYTES);
    return nul ? 1 : 0;
}

static struct mdg_slice unescape(uint8_t *data, size_t len, unsigned version)
{
    uint8_t *from = memchr(data, '\\', len), *to = from, *end = data + len;
    if (!from)
        return mdg_slice(data, len);
    while (from < end) {
        if (*from == '\\') {
            assert(from + 1 < end);
            *to++ = unescaped(from[1], version);
            from += 2;
        } else {
            *to++ = *from++;
        }
    }
    return mdg_slice(data, (size_t)(to - data));
}

/* The lines were all checked when they ended. */
static void fill_frame(const struct mdg_stomp_dec *dec, uint8_t *data,
                       struct mdg_stomp_frame *frame)
{
    uint8_t *lf = memchr(data, '\n', dec->body_start);
    frame->command_name = trim_cr(mdg_slice(data, (size_t)(lf - data)));
    frame->command = command_of(frame->command_name);
    frame->header_count = 0;
    bool escapes = has_escapes(dec, frame->command_name);
    uint8_t *line = lf + 1, *end = data + dec->body_start;
    for (uint32_t i = 0; i < dec->header_count; i++) {
        lf = memchr(line, '\n', (size_t)(end - line));
        size_t len = trim_cr(mdg_slice(line, (size_t)(lf - line))).len;
        uint8_t *colon = memchr(line, ':', len);
        size_t name_len = (size_t)(colon - line), value_len = len - name_len - 1;
        struct mdg_stomp_header *h = &frame->headers[frame->header_count++];
        h->name = mdg_slice(line, name_len);
        h->value = mdg_slice(colon + 1, value_len);
        if (escapes) {
            h->name = unescape(line, name_len, dec->version);
            h->value = unescape(colon + 1, value_len, dec->version);
        } else if (dec->version == MDG_STOMP_1_0) {
            /* 1.0's own examples put a space behind the colon; 1.2 forbids to trim. */
            h->name = mdg_slice_trim(h->name);
            h->value = mdg_slice_trim(h->value);
        }
        line = lf + 1;
    }
}

static void start_frame(struct mdg_stomp_dec *dec)
{
    *dec = (struct mdg_stomp_dec){.version = dec->version};
}

int mdg_stomp_dec_next(struct mdg_stomp_dec *dec, const struct mdg_stomp_limits *limits,
                       struct mdg_input *in, struct mdg_stomp_frame *frame)
{
    assert(limits->header_count_max <= MDG_STOMP_HEADERS_CAP);
    int n = 1;
    size_t body_len = 0;
    if (dec->state == DEAD)
        return die(dec, (enum mdg_stomp_fail)dec->fail);
    if (dec->state == BETWEEN)
        n = skip_between(dec, in);
    assert(dec->seen <= in->len); /* the caller kept the start of the frame */
    if (n > 0 && dec->state == LINES)
        n = read_lines(dec, limits, in);
    if (n > 0 && dec->state == BODY)
        n = read_body(dec, limits, in, &body_len);
    if (n <= 0)
        return n;
    fill_frame(dec, in->data, frame);
    frame->body = mdg_slice(in->data + dec->body_start, body_len);
    size_t used = dec->body_start + body_len + 1;
    in->data += used;
    in->len -= used;
    start_frame(dec);
    return 1;
}

struct mdg_slice mdg_stomp_find(const struct mdg_stomp_frame *frame, const char *name)
{
    struct mdg_slice want = mdg_slice_str(name);
    for (uint32_t i = 0; i < frame->header_count; i++) {
        if (mdg_slice_eq(frame->headers[i].name, want))
            return frame->headers[i].value;
    }
    return mdg_slice(NULL, 0);
}

bool mdg_stomp_is_first(const struct mdg_stomp_frame *frame, uint32_t index)
{
    assert(index < frame->header_count);
    for (uint32_t i = 0; i < index; i++) {
        if (mdg_slice_eq(frame->headers[i].name, frame->headers[index].name))
            return false;
    }
    return true;
}

void mdg_stomp_write_command(struct mdg_writer *w, enum mdg_stomp_command command)
{
    mdg_write_str(w, command_texts[command]);
    mdg_write_u8(w, '\n');
}

static void write_escaped(struct mdg_writer *w, enum mdg_stomp_version version, struct mdg_slice s)
{
    size_t plain = 0;
    for (size_t i = 0; i < s.len; i++) {
        char letter = 0;
        if (s.data[i] == '\n')
            letter = 'n';
        else if (s.data[i] == ':')
            letter = 'c';
        else if (s.data[i] == '\\')
            letter = '\\';
        else if (s.data[i] == '\r' && version == MDG_STOMP_1_2)
            letter = 'r';
        else
            continue;
        mdg_write_bytes(w, s.data + plain, i - plain);
        mdg_write_u8(w, '\\');
        mdg_write_u8(w, (uint8_t)letter);
        plain = i + 1;
    }
    mdg_write_bytes(w, s.len ? s.data + plain : NULL, s.len - plain);
}

static void write_unescaped(struct mdg_writer *w, struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        mdg_write_u8(w, s.data[i] == '\n' ? ' ' : s.data[i]);
}

void mdg_stomp_write_header(struct mdg_writer *w, enum mdg_stomp_version version,
                            struct mdg_slice name, struct mdg_slice value)
{
    if (version >= MDG_STOMP_1_1) {
        write_escaped(w, version, name);
        mdg_write_u8(w, ':');
        write_escaped(w, version, value);
    } else {
        if (name.len == 0 || memchr(name.data, ':', name.len) || memchr(name.data, '\n', name.len))
            return;
        mdg_write_slice(w, name);
        mdg_write_u8(w, ':');
        write_unescaped(w, value);
    }
    mdg_write_u8(w, '\n');
}

void mdg_stomp_write_number(struct mdg_writer *w, const char *name, uint64_t value)
{
    mdg_write_str(w, name);
    mdg_write_u8(w, ':');
    mdg_write_dec(w, value);
    mdg_write_u8(w, '\n');
}

void mdg_stomp_write_body(struct mdg_writer *w, struct mdg_slice body)
{
    mdg_stomp_write_number(w, "content-length", body.len);
    mdg_write_u8(w, '\n');
    mdg_write_slice(w, body);
    mdg_write_u8(w, 0);
}

void mdg_stomp_write_end(struct mdg_writer *w)
{
    mdg_write_bytes(w, "\n", 2); /* with the literal's own NUL */
}

enum mdg_stomp_version mdg_stomp_pick_version(struct mdg_slice accept_version)
{
    if (!accept_version.data)
        return MDG_STOMP_1_0;
    enum mdg_stomp_version best = MDG_STOMP_ANY;
    while (accept_version.data) {
        struct mdg_slice one = mdg_slice_trim(mdg_slice_split(&accept_version, ','));
        enum mdg_stomp_version v = MDG_STOMP_ANY;
        if (one.len == 3 && one.data[0] == '1' && one.data[1] == '.' && one.data[2] >= '0' &&
            one.data[2] <= '2')
            v = (enum mdg_stomp_version)(MDG_STOMP_1_0 + (one.data[2] - '0'));
        if (v > best)
            best = v;
    }
    return best;
}

const char *mdg_stomp_version_text(enum mdg_stomp_version version)
{
    switch (version) {
    case MDG_STOMP_1_0:
        return "1.0";
    case MDG_STOMP_1_1:
        return "1.1";
    case MDG_STOMP_1_2:
        return "1.2";
    case MDG_STOMP_ANY:
        break;
    }
    return "";
}

int mdg_stomp_heartbeat_parse(struct mdg_slice value, struct mdg_stomp_heartbeat *out)
{
    *out = (struct mdg_stomp_heartbeat){0, 0};
    if (!value.data)
        return 0;
    struct mdg_slice rest = value;
    uint64_t can, want;
    struct mdg_slice first = mdg_slice_trim(mdg_slice_split(&rest, ','));
    if (!rest.data || mdg_slice_u64(first, &can) < 0 ||
        mdg_slice_u64(mdg_slice_trim(rest), &want) < 0)
        return MDG_E_SYNTAX;
    /* A day is as good as never to a timer; larger figures only overflow. */
    enum { DAY_MS = 86400000 };
    out->can_ms = (uint32_t)mdg_min_size(can, DAY_MS);
    out->want_ms = (uint32_t)mdg_min_size(want, DAY_MS);
    return 0;
}
