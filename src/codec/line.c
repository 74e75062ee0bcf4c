/* The byte 255 (IAC) never occurs in UTF-8, so telnet commands can be told from text. They are cut
 * out of the input in place: what stays moves up to the end of the bytes seen so far, and the gap
 * in front is consumed. One pass and one move a call, however the peer mixes them. */
#include "codec/line.h"

enum { END_MAX = 2 }; /* bytes of CR and NUL that may pile up at the end of a line */
/* RFC 854 "TELNET command structure" */
enum { IAC = 255, DONT = 254, WILL = 251, SB = 250, SE = 240 };

void mdg_line_dec_init(struct mdg_line_dec *d, uint32_t line_max)
{
    assert(line_max > 0);
    *d = (struct mdg_line_dec){.line_max = line_max};
}

/* True: the byte belongs to a telnet command. */
static bool eat_telnet(struct mdg_line_dec *d, uint8_t byte)
{
    switch ((enum mdg_telnet_state)d->telnet) {
    case MDG_TELNET_TEXT:
        if (byte != IAC)
            return false;
        d->telnet = MDG_TELNET_IAC;
        return true;
    case MDG_TELNET_IAC:
        if (byte == SB)
            d->telnet = MDG_TELNET_SUB;
        else if (byte >= WILL && byte <= DONT)
            d->telnet = MDG_TELNET_OPTION;
        else
            d->telnet = MDG_TELNET_TEXT;
        return true;
    case MDG_TELNET_OPTION:
        d->telnet = MDG_TELNET_TEXT;
        return true;
    case MDG_TELNET_SUB:
        if (byte == IAC)
            d->telnet = MDG_TELNET_SUB_IAC;
        return true;
    case MDG_TELNET_SUB_IAC:
        d->telnet = byte == SE ? MDG_TELNET_TEXT : MDG_TELNET_SUB;
        return true;
    }
    return false;
}

static void consume(struct mdg_input *in, size_t n)
{
    in->data += n;
    in->len -= n;
}

/* Goes over new bytes up to a LF or the end. On return the first *scanned bytes of *in are text
 * without telnet commands; true: a LF follows them. */
static bool scan(struct mdg_line_dec *d, struct mdg_input *in)
{
    size_t read = d->scanned, kept = d->scanned;
    bool found = false;
    while (read < in->len) {
        uint8_t byte = in->data[read];
        if (eat_telnet(d, byte)) {
            read++;
            continue;
        }
        if (byte == '\n') {
            found = true;
            break;
        }
        if (kept != read)
            in->data[kept] = byte;
        kept++;
        read++;
    }
    size_t gap = read - kept;
    if (gap) {
        memmove(in->data + gap, in->data, kept);
        consume(in, gap);
    }
    d->scanned = (uint32_t)kept;
    return found;
}

/* "CR NUL" is telnet's carriage return alone (RFC 854); a line may end with it before the LF. */
static size_t without_end(const uint8_t *text, size_t len)
{
    while (len && (text[len - 1] == '\r' || text[len - 1] == '\0'))
        len--;
    return len;
}

int mdg_line_dec_next(struct mdg_line_dec *d, struct mdg_input *in, struct mdg_line_event *ev)
{
    assert(d->scanned <= in->len);
    while (in->len) {
        bool found = scan(d, in);
        size_t len = d->scanned;
        if (d->state == MDG_LINE_SKIPPING) {
            d->scanned = 0;
            consume(in, found ? len + 1 : len);
            if (found)
                d->state = MDG_LINE_TEXT;
            continue;
        }
        if (len > d->line_max + END_MAX || without_end(in->data, len) > d->line_max) {
            d->state = MDG_LINE_SKIPPING;
            ev->type = MDG_LINE_TOO_LONG;
            ev->text = (struct mdg_input){NULL, 0};
            return 1;
        }
        if (!found)
            return 0;
        ev->type = MDG_LINE_WHOLE;
        ev->text = (struct mdg_input){in->data, without_end(in->data, len)};
        consume(in, len + 1);
        d->scanned = 0;
        return 1;
    }
    return 0;
}

int mdg_line_dec_end(struct mdg_line_dec *d, struct mdg_input *in, struct mdg_line_event *ev)
{
    if (d->state == MDG_LINE_SKIPPING || in->len == 0)
        return 0;
    ev->type = MDG_LINE_WHOLE;
    ev->text = (struct mdg_input){in->data, without_end(in->data, in->len)};
    consume(in, in->len);
    d->scanned = 0;
    return 1;
}

struct mdg_slice mdg_line_word(struct mdg_slice argument, struct mdg_slice *rest)
{
    argument = mdg_slice_trim(argument);
    size_t n = 0;
    while (n < argument.len && argument.data[n] != ' ' && argument.data[n] != '\t')
        n++;
    *rest = mdg_slice_trim(mdg_slice(argument.data ? argument.data + n : NULL, argument.len - n));
    return mdg_slice(argument.data, n);
}

/* "HTTP/1.1", of whatever digits. */
static bool is_http_version(struct mdg_slice word)
{
    return word.len == 8 && memcmp(word.data, "HTTP/", 5) == 0 && word.data[5] >= '0' &&
           word.data[5] <= '9' && word.data[6] == '.' && word.data[7] >= '0' && word.data[7] <= '9';
}

static bool is_upper_word(struct mdg_slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] < 'A' || word.data[i] > 'Z')
            return false;
    }
    return word.len >= 3;
}

bool mdg_line_is_http(struct mdg_slice line)
{
    struct mdg_slice rest, method = mdg_line_word(line, &rest);
    struct mdg_slice target = mdg_line_word(rest, &rest), version = mdg_line_word(rest, &rest);
    if (method.len == 0 || target.len == 0 || rest.len > 0 || !is_http_version(version))
        return false;
    /* "I like HTTP/1.1" is something to say. */
    return target.data[0] == '/' || target.data[0] == '*' || is_upper_word(method);
}

bool mdg_line_command(struct mdg_slice line, struct mdg_line_command *command,
                      struct mdg_slice *text)
{
    *text = line;
    if (line.len == 0 || line.data[0] != '/')
        return false;
    struct mdg_slice rest = {line.data + 1, line.len - 1};
    if (rest.len && rest.data[0] == '/') {
        *text = rest;
        return false;
    }
    command->word = mdg_line_word(rest, &command->argument);
    return true;
}
