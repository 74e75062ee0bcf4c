/* The head parser: one pass, line by line. A line that is not whole yet is read again from its
 * beginning with the next bytes; the head limit bounds that. Errors are found in the order of the
 * bytes, so that every cut of the input ends in the same one. */
#include "codec/http.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum parser_state {
    START_LINE, /* before or inside the request or status line */
    FIELDS,     /* at the beginning of a header line */
    DONE,       /* the head is complete */
    DEAD        /* refused */
};

/* What a line reader answers besides the offset behind its line. */
enum { MORE = 0, FAILED = -1 };

enum { TOKEN = 1, TARGET = 2, REG_NAME = 4 };

/* TOKEN: RFC 9110 5.6.2. TARGET: visible ASCII without '#', quote, '<', '>': wider than RFC 3986,
 * because browsers send | { } ^ \ ` in a query as they are. REG_NAME: RFC 3986 3.2.2. */
static const uint8_t char_class[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* controls */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* controls */
    0, 7, 0, 1, 7, 7, 7, 7, 6, 6, 7, 7, 6, 7, 7, 2, /* space to / */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 6, 0, 6, 0, 2, /* 0 to ? */
    2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* @ to O */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 2, 2, 3, 7, /* P to _ */
    3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* ` to o */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 3, 2, 7, 0, /* p to DEL */
};

static const struct {
    uint16_t status;
    const char *label, *text;
} fails[MDG_HTTP_FAIL_COUNT] = {
    {200, "none", "The message is well-formed."},
#define MDG_HTTP_FAIL(name, status, text) {(status), #name, (text)},
#include "codec/http_fail.def"
#undef MDG_HTTP_FAIL
};

static const char *const method_names[MDG_HTTP_METHOD_COUNT] = {
    "", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};

unsigned mdg_http_fail_status(enum mdg_http_fail fail)
{
    assert(fail < MDG_HTTP_FAIL_COUNT);
    return fails[fail].status;
}

const char *mdg_http_fail_text(enum mdg_http_fail fail)
{
    assert(fail < MDG_HTTP_FAIL_COUNT);
    return fails[fail].text;
}

const char *mdg_http_fail_label(enum mdg_http_fail fail)
{
    assert(fail < MDG_HTTP_FAIL_COUNT);
    return fails[fail].label;
}

const char *mdg_http_method_name(enum mdg_http_method m)
{
    return m < MDG_HTTP_METHOD_COUNT ? method_names[m] : "";
}

enum mdg_http_method mdg_http_method_of(struct mdg_slice name)
{
    for (unsigned m = MDG_HTTP_GET; m < MDG_HTTP_METHOD_COUNT; m++)
        if (name.len && name.data[0] == (uint8_t)method_names[m][0] &&
            mdg_slice_eq(name, mdg_slice_str(method_names[m])))
            return (enum mdg_http_method)m;
    return MDG_HTTP_OTHER;
}

bool mdg_http_token_valid(struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!(char_class[s.data[i]] & TOKEN))
            return false;
    return s.len > 0;
}

void mdg_http_head_init(struct mdg_http_head *h, enum mdg_http_kind kind)
{
    memset(h, 0, offsetof(struct mdg_http_head, fields));
    h->kind = (uint8_t)kind;
    h->state = START_LINE;
}

static int refuse(struct mdg_http_head *h, enum mdg_http_fail why)
{
    h->fail = (uint8_t)why;
    h->state = DEAD;
    return FAILED;
}

static struct mdg_http_span span(size_t off, size_t end)
{
    assert(off <= end && end <= MDG_HTTP_HEAD_BYTES_MAX);
    return (struct mdg_http_span){(uint16_t)off, (uint16_t)(end - off)};
}

/* The line must end at `at`: the offset behind CR LF, MORE or FAILED. */
static int line_end(struct mdg_http_head *h, const uint8_t *data, size_t at, size_t end,
                    enum mdg_http_fail otherwise)
{
    if (at == end)
        return MORE;
    if (data[at] == '\n')
        return refuse(h, MDG_HTTP_FAIL_BARE_LF);
    if (data[at] != '\r')
        return refuse(h, otherwise);
    if (at + 1 == end)
        return MORE;
    if (data[at + 1] != '\n')
        return refuse(h, MDG_HTTP_FAIL_BARE_CR);
    return (int)(at + 2);
}

/* "HTTP/1.x": the offset behind it; any digits pass, the caller judges them. */
static int read_version(struct mdg_http_head *h, const uint8_t *data, size_t at, size_t end,
                        enum mdg_http_fail otherwise, uint8_t *major)
{
    static const char pattern[] = "HTTP/d.d";
    for (size_t i = 0; i < sizeof pattern - 1; i++, at++) {
        if (at == end)
            return MORE;
        bool digit = pattern[i] == 'd';
        if (digit ? (data[at] < '0' || data[at] > '9') : data[at] != (uint8_t)pattern[i])
            return refuse(h, otherwise);
    }
    *major = (uint8_t)(data[at - 3] - '0');
    h->minor = (uint8_t)(data[at - 1] - '0');
    return (int)at;
}

static bool has_scheme(struct mdg_slice target, struct mdg_slice scheme)
{
    return target.len >= scheme.len &&
           mdg_slice_eq_nocase(mdg_slice(target.data, scheme.len), scheme);
}

/* Splits path?query, which begins at `off`. */
static int split_path(struct mdg_http_head *h, const uint8_t *data, size_t off, size_t end)
{
    const uint8_t *mark = end > off ? memchr(data + off, '?', end - off) : NULL;
    size_t path_end = mark ? (size_t)(mark - data) : end;
    h->path = span(off, path_end);
    h->has_query = mark != NULL;
    h->query = span(mark ? path_end + 1 : end, end);
    if (path_end > off && memchr(data + off, '\\', path_end - off))
        return refuse(h, MDG_HTTP_FAIL_TARGET); /* "/..\" is a step up on some systems */
    return 1;
}

/* RFC 9112 3.2.2; without a path it means "/", for which the second slash of "//" can stand. */
static int split_absolute(struct mdg_http_head *h, const uint8_t *data, size_t off, size_t end)
{
    size_t at = off;
    while (at < end && data[at] != '/' && data[at] != '?')
        at++;
    h->form = MDG_HTTP_ABSOLUTE;
    h->host = span(off, at);
    if (memchr(data + off, '@', at - off))
        return refuse(h, MDG_HTTP_FAIL_USERINFO); /* RFC 9110 4.2.4 */
    if (!mdg_http_authority_valid(mdg_slice(data + off, at - off)))
        return refuse(h, MDG_HTTP_FAIL_TARGET);
    if (at < end && data[at] == '/')
        return split_path(h, data, at, end);
    if (split_path(h, data, at, end) < 0)
        return FAILED;
    h->path = span(off - 1, off);
    return 1;
}

static int split_target(struct mdg_http_head *h, const uint8_t *data)
{
    size_t off = h->target.off, end = off + h->target.len;
    struct mdg_slice target = mdg_slice(data + off, h->target.len);
    if (h->method == MDG_HTTP_CONNECT) {
        h->form = MDG_HTTP_AUTHORITY;
        h->host = h->target;
        const uint8_t *colon = memrchr(target.data, ':', target.len);
        bool port = colon && colon + 1 < target.data + target.len;
        if (!port || !mdg_http_authority_valid(target))
            return refuse(h, MDG_HTTP_FAIL_TARGET_FORM);
        return 1;
    }
    if (target.data[0] == '/')
        return split_path(h, data, off, end);
    if (target.len == 1 && target.data[0] == '*') {
        h->form = MDG_HTTP_ASTERISK;
        h->path = h->target;
        return h->method == MDG_HTTP_OPTIONS ? 1 : refuse(h, MDG_HTTP_FAIL_TARGET_FORM);
    }
    if (has_scheme(target, MDG_SLICE_LIT("http://")))
        return split_absolute(h, data, off + 7, end);
    if (has_scheme(target, MDG_SLICE_LIT("https://")))
        return split_absolute(h, data, off + 8, end);
    return refuse(h, MDG_HTTP_FAIL_TARGET);
}

static int read_method(struct mdg_http_head *h, const uint8_t *data, size_t at, size_t end)
{
    size_t start = at;
    while (at < end && char_class[data[at]] & TOKEN && at - start <= MDG_HTTP_METHOD_LEN_MAX)
        at++;
    if (at - start > MDG_HTTP_METHOD_LEN_MAX)
        return refuse(h, MDG_HTTP_FAIL_METHOD_LONG);
    if (at == end)
        return MORE;
    if (data[at] == '\r' || data[at] == '\n')
        return refuse(h, MDG_HTTP_FAIL_REQUEST_LINE);
    if (data[at] != ' ' || at == start)
        return refuse(h, MDG_HTTP_FAIL_METHOD);
    h->method_span = span(start, at);
    return (int)at + 1;
}

static int read_target(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                       const uint8_t *data, size_t at, size_t end)
{
    size_t start = at, max = start + limits->target_bytes_max;
    while (at < end && char_class[data[at]] & TARGET && at <= max)
        at++;
    if (at > max)
        return refuse(h, MDG_HTTP_FAIL_TARGET_LONG);
    if (at == end)
        return MORE;
    if (data[at] == '\r' || data[at] == '\n')
        return refuse(h, MDG_HTTP_FAIL_REQUEST_LINE); /* HTTP/0.9, or cut short */
    if (data[at] != ' ' || at == start)
        return refuse(h, MDG_HTTP_FAIL_TARGET);
    h->target = span(start, at);
    return (int)at + 1;
}

static int read_request_line(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                             const uint8_t *data, size_t at, size_t end)
{
    uint8_t major = 0;
    int next = read_method(h, data, at, end);
    if (next > 0)
        next = read_target(h, limits, data, (size_t)next, end);
    if (next > 0)
        next = read_version(h, data, (size_t)next, end, MDG_HTTP_FAIL_REQUEST_LINE, &major);
    if (next > 0)
        next = line_end(h, data, (size_t)next, end, MDG_HTTP_FAIL_REQUEST_LINE);
    if (next <= 0)
        return next;
    if (major != 1 || h->minor > 1)
        return refuse(h, MDG_HTTP_FAIL_VERSION);
    h->method = (uint8_t)mdg_http_method_of(mdg_http_span_slice(data, h->method_span));
    return split_target(h, data) < 0 ? FAILED : next;
}

static int read_status_line(struct mdg_http_head *h, const uint8_t *data, size_t at, size_t end)
{
    uint8_t major = 0;
    int next = read_version(h, data, at, end, MDG_HTTP_FAIL_STATUS_LINE, &major);
    if (next <= 0)
        return next;
    at = (size_t)next;
    unsigned status = 0;
    for (unsigned i = 0; i < 4; i++, at++) {
        if (at == end)
            return MORE;
        if (i == 0 ? data[at] != ' ' : (data[at] < '0' || data[at] > '9'))
            return refuse(h, MDG_HTTP_FAIL_STATUS_LINE);
        status = i == 0 ? 0 : status * 10 + data[at] - '0';
    }
    size_t reason = at;
    if (at < end && data[at] == ' ') /* RFC 9112 4 wants it even before an empty reason */
        for (reason = ++at; at < end && (data[at] >= ' ' || data[at] == '\t'); at++)
            if (data[at] == 0x7f)
                break;
    next = line_end(h, data, at, end, MDG_HTTP_FAIL_STATUS_LINE);
    if (next <= 0)
        return next;
    if (major != 1 || h->minor > 1)
        return refuse(h, MDG_HTTP_FAIL_VERSION);
    if (status < 100 || status > 599)
        return refuse(h, MDG_HTTP_FAIL_STATUS_LINE);
    h->status = (uint16_t)status;
    h->reason = span(reason, at);
    return next;
}

/* The first byte at or behind `at` that a field value cannot hold (CR included), or end. */
static size_t value_end(const uint8_t *data, size_t at, size_t end)
{
#ifdef __SSE2__
    const __m128i low = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    for (; end - at >= 16; at += 16) {
        __m128i v;
        memcpy(&v, data + at, sizeof v);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, low), v);
        control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control);
        unsigned hit = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
        if (hit)
            return at + (size_t)__builtin_ctz(hit);
    }
#endif
    while (at < end && (data[at] >= ' ' || data[at] == '\t') && data[at] != 0x7f)
        at++;
    return at;
}

static int host_seen(struct mdg_http_head *h, const uint8_t *data, struct mdg_http_span value)
{
    if (h->kind != MDG_HTTP_REQUEST)
        return 1;
    if (h->status++) /* requests have no status: it counts the Host lines until the end */
        return refuse(h, MDG_HTTP_FAIL_HOST_MANY);
    if (!mdg_http_authority_valid(mdg_http_span_slice(data, value)))
        return refuse(h, MDG_HTTP_FAIL_HOST);
    if (h->form == MDG_HTTP_ORIGIN || h->form == MDG_HTTP_ASTERISK)
        h->host = value; /* otherwise the target's wins: RFC 9112 3.2.2 */
    return 1;
}

static int length_seen(struct mdg_http_head *h, struct mdg_slice value)
{
    if (h->has_length)
        return refuse(h, MDG_HTTP_FAIL_LENGTH_MANY);
    if (h->has_coding)
        return refuse(h, MDG_HTTP_FAIL_LENGTH_CODING);
    if (mdg_slice_u64(value, &h->content_length) < 0 || h->content_length > INT64_MAX)
        return refuse(h, MDG_HTTP_FAIL_LENGTH);
    h->has_length = true;
    return 1;
}

/* RFC 9112 6.1: chunked exactly once and last; nothing else is understood. */
static int coding_seen(struct mdg_http_head *h, struct mdg_slice value)
{
    if (h->has_coding)
        return refuse(h, MDG_HTTP_FAIL_CODING_MANY);
    if (h->has_length)
        return refuse(h, MDG_HTTP_FAIL_LENGTH_CODING);
    if (h->minor == 0)
        return refuse(h, MDG_HTTP_FAIL_CODING_OLD);
    h->has_coding = true;
    if (mdg_slice_eq_nocase(value, MDG_SLICE_LIT("chunked")))
        return 1;
    bool chunked = false, earlier = false;
    struct mdg_slice rest = value, coding;
    while ((coding = mdg_http_list_next(&rest)).data) {
        earlier |= chunked;
        chunked = mdg_slice_eq_nocase(coding, MDG_SLICE_LIT("chunked"));
    }
    if (chunked && !earlier && value.data[value.len - 1] != ',')
        return refuse(h, MDG_HTTP_FAIL_CODING_UNKNOWN);
    return refuse(h, MDG_HTTP_FAIL_CODING);
}

static void connection_seen(struct mdg_http_head *h, struct mdg_slice value)
{
    struct mdg_slice token;
    while ((token = mdg_http_list_next(&value)).data) {
        h->token_close |= mdg_slice_eq_nocase(token, MDG_SLICE_LIT("close"));
        h->token_keep_alive |= mdg_slice_eq_nocase(token, MDG_SLICE_LIT("keep-alive"));
        h->token_upgrade |= mdg_slice_eq_nocase(token, MDG_SLICE_LIT("upgrade"));
    }
}

static int expect_seen(struct mdg_http_head *h, struct mdg_slice value)
{
    if (h->kind != MDG_HTTP_REQUEST || h->minor == 0)
        return 1; /* RFC 9110 10.1.1: an HTTP/1.0 expectation is ignored */
    if (!mdg_slice_eq_nocase(value, MDG_SLICE_LIT("100-continue")))
        return refuse(h, MDG_HTTP_FAIL_EXPECT);
    h->expect_continue = true;
    return 1;
}

/* A tab behind the value of a framing field: white space by RFC 9110, but parsers disagree. */
static bool tab_behind(const uint8_t *data, struct mdg_http_span value)
{
    size_t at = (size_t)value.off + value.len;
    while (data[at] == ' ')
        at++;
    return data[at] == '\t';
}

/* The fields that decide how the message is read; all others only leave their spans. */
static int field_seen(struct mdg_http_head *h, const uint8_t *data, const struct mdg_http_field *f)
{
    struct mdg_slice name = mdg_http_span_slice(data, f->name);
    struct mdg_slice value = mdg_http_span_slice(data, f->value);
    uint8_t first = name.data[0] | 0x20;
    if (name.len == 4 && first == 'h' && mdg_slice_eq_nocase(name, MDG_SLICE_LIT("host")))
        return host_seen(h, data, f->value);
    if (name.len == 10 && first == 'c' && mdg_slice_eq_nocase(name, MDG_SLICE_LIT("connection")))
        connection_seen(h, value);
    else if (name.len == 14 && first == 'c' &&
             mdg_slice_eq_nocase(name, MDG_SLICE_LIT("content-length")))
        return tab_behind(data, f->value) ? refuse(h, MDG_HTTP_FAIL_LENGTH) : length_seen(h, value);
    else if (name.len == 17 && first == 't' &&
             mdg_slice_eq_nocase(name, MDG_SLICE_LIT("transfer-encoding")))
        return tab_behind(data, f->value) ? refuse(h, MDG_HTTP_FAIL_CODING) : coding_seen(h, value);
    else if (name.len == 7 && first == 'u' && mdg_slice_eq_nocase(name, MDG_SLICE_LIT("upgrade")))
        h->has_upgrade = true;
    else if (name.len == 6 && first == 'e' && mdg_slice_eq_nocase(name, MDG_SLICE_LIT("expect")))
        return expect_seen(h, value);
    return 1;
}

static enum mdg_http_fail name_fail(const uint8_t *data, size_t start, size_t at)
{
    uint8_t c = data[at];
    if (at == start)
        return c == ':'                ? MDG_HTTP_FAIL_NO_NAME
               : c == ' ' || c == '\t' ? MDG_HTTP_FAIL_FOLD
                                       : MDG_HTTP_FAIL_NAME;
    if (c == ' ' || c == '\t')
        return MDG_HTTP_FAIL_SPACE_COLON;
    return c == '\r' || c == '\n' ? MDG_HTTP_FAIL_NO_COLON : MDG_HTTP_FAIL_NAME;
}

/* One header line that begins at `at` and is not the blank one. */
static int read_field(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                      const uint8_t *data, size_t at, size_t end)
{
    size_t start = at;
    while (at < end && char_class[data[at]] & TOKEN)
        at++;
    if (at == end)
        return MORE;
    if (data[at] != ':' || at == start)
        return refuse(h, name_fail(data, start, at));
    struct mdg_http_field f = {.name = span(start, at)};
    for (at++; at < end && (data[at] == ' ' || data[at] == '\t');)
        at++;
    size_t value = at, stop = value_end(data, at, end);
    int next = line_end(h, data, stop, end, MDG_HTTP_FAIL_VALUE);
    if (next <= 0)
        return next;
    while (stop > value && (data[stop - 1] == ' ' || data[stop - 1] == '\t'))
        stop--;
    f.value = span(value, stop);
    if (h->field_count == limits->fields_max)
        return refuse(h, MDG_HTTP_FAIL_FIELDS_MANY);
    h->fields[h->field_count++] = f;
    return field_seen(h, data, &f) < 0 ? FAILED : next;
}

/* What can be said only with the last header. */
static int finish(struct mdg_http_head *h, int end)
{
    bool request = h->kind == MDG_HTTP_REQUEST;
    if (request) {
        bool host = h->status > 0;
        h->status = 0;
        if (!host && h->minor >= 1)
            return refuse(h, MDG_HTTP_FAIL_HOST_NONE);
    }
    h->keep_alive = h->minor >= 1 ? !h->token_close : h->token_keep_alive && !h->token_close;
    h->upgrade = h->has_upgrade && h->token_upgrade && h->minor >= 1;
    if (h->has_coding)
        h->framing = MDG_HTTP_BODY_CHUNKED;
    else if (h->has_length)
        h->framing = h->content_length ? MDG_HTTP_BODY_LENGTH : MDG_HTTP_BODY_NONE;
    else
        h->framing = request ? MDG_HTTP_BODY_NONE : MDG_HTTP_BODY_CLOSE;
    h->state = DONE;
    return end;
}

/* Lines from h->at on; the offset behind the head, MORE or FAILED. */
static int read_lines(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                      const uint8_t *data, size_t end)
{
    for (;;) {
        size_t at = h->at;
        if (at == end)
            return MORE;
        bool blank = data[at] == '\r' || data[at] == '\n';
        int next;
        if (blank && (h->state == FIELDS || h->kind == MDG_HTTP_REQUEST))
            next = line_end(h, data, at, end, MDG_HTTP_FAIL_BARE_CR);
        else if (h->state == FIELDS)
            next = read_field(h, limits, data, at, end);
        else if (h->kind == MDG_HTTP_REQUEST)
            next = read_request_line(h, limits, data, at, end);
        else
            next = read_status_line(h, data, at, end);
        if (next <= 0)
            return next;
        h->at = (uint16_t)next;
        if (blank && h->state == FIELDS)
            return finish(h, next);
        if (!blank)
            h->state = FIELDS;
    }
}

int mdg_http_head_parse(struct mdg_http_head *h, const struct mdg_http_limits *limits,
                        const uint8_t *data, size_t len)
{
    assert(limits->head_bytes_max <= MDG_HTTP_HEAD_BYTES_MAX);
    assert(limits->target_bytes_max < limits->head_bytes_max);
    assert(limits->fields_max <= MDG_HTTP_FIELDS_MAX);
    assert(h->state != DONE);
    if (h->state == DEAD)
        return MDG_E_PROTO;
    size_t end = mdg_min_size(len, limits->head_bytes_max);
    int next = read_lines(h, limits, data, end);
    if (next == MORE && end == limits->head_bytes_max)
        next = refuse(h, MDG_HTTP_FAIL_HEAD_BIG);
    return next < 0 ? MDG_E_PROTO : next;
}

enum mdg_http_framing mdg_http_response_framing(const struct mdg_http_head *h,
                                                enum mdg_http_method method)
{
    bool tunnel = method == MDG_HTTP_CONNECT && h->status >= 200 && h->status < 300;
    if (method == MDG_HTTP_HEAD || h->status < 200 || h->status == 204 || h->status == 304 ||
        tunnel)
        return MDG_HTTP_BODY_NONE;
    return (enum mdg_http_framing)h->framing;
}

struct mdg_slice mdg_http_head_find(const struct mdg_http_head *h, const uint8_t *head,
                                    struct mdg_slice lower_name)
{
    for (unsigned i = 0; i < h->field_count; i++)
        if (h->fields[i].name.len == lower_name.len &&
            mdg_slice_eq_nocase(mdg_http_span_slice(head, h->fields[i].name), lower_name))
            return mdg_http_span_slice(head, h->fields[i].value);
    return (struct mdg_slice){NULL, 0};
}

bool mdg_http_head_has_token(const struct mdg_http_head *h, const uint8_t *head,
                             struct mdg_slice lower_name, struct mdg_slice token)
{
    for (unsigned i = 0; i < h->field_count; i++) {
        if (!mdg_slice_eq_nocase(mdg_http_span_slice(head, h->fields[i].name), lower_name))
            continue;
        struct mdg_slice rest = mdg_http_span_slice(head, h->fields[i].value), item;
        while ((item = mdg_http_list_next(&rest)).data)
            if (mdg_slice_eq_nocase(item, token))
                return true;
    }
    return false;
}

struct mdg_slice mdg_http_list_next(struct mdg_slice *rest)
{
    while (rest->data) {
        size_t at = 0;
        bool quoted = false;
        for (; at < rest->len && (quoted || rest->data[at] != ','); at++) {
            if (rest->data[at] == '"')
                quoted = !quoted;
            else if (quoted && rest->data[at] == '\\' && at + 1 < rest->len)
                at++;
        }
        struct mdg_slice item = mdg_slice_trim(mdg_slice(rest->data, at));
        *rest = at < rest->len ? mdg_slice(rest->data + at + 1, rest->len - at - 1)
                               : (struct mdg_slice){NULL, 0};
        if (item.len)
            return item;
    }
    return (struct mdg_slice){NULL, 0};
}

static bool ip_literal_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
           c == '.';
}

bool mdg_http_authority_valid(struct mdg_slice a)
{
    size_t at = 0;
    if (a.len && a.data[0] == '[') { /* IPv6; RFC 3986 IPvFuture has no users */
        for (at = 1; at < a.len && ip_literal_char(a.data[at]);)
            at++;
        if (at < 3 || at == a.len || a.data[at] != ']')
            return false;
        at++;
    } else {
        while (at < a.len && char_class[a.data[at]] & REG_NAME)
            at++;
        if (at == 0)
            return false;
    }
    if (at == a.len)
        return true;
    if (a.data[at] != ':' || a.len - at > sizeof ":65535" - 1)
        return false;
    unsigned port = 0;
    for (at++; at < a.len; at++) {
        if (a.data[at] < '0' || a.data[at] > '9')
            return false;
        port = port * 10 + a.data[at] - '0';
    }
    return port <= 65535;
}
