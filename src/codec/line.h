/* Lines of text as people type them into `nc` or telnet: cut at LF, a CR before it dropped, telnet
 * negotiation (RFC 854) removed, an endless line reported once and skipped; and the commands that
 * begin with a slash. The decoder keeps no bytes: what it leaves in the input is offered again. */
#ifndef MDG_LINE_H
#define MDG_LINE_H

#include "base/base.h"

enum mdg_line_state {
    MDG_LINE_TEXT,    /* collecting a line */
    MDG_LINE_SKIPPING /* the line was too long: everything up to its LF is dropped */
};

enum mdg_telnet_state {
    MDG_TELNET_TEXT,   /* no command */
    MDG_TELNET_IAC,    /* IAC seen, the command follows */
    MDG_TELNET_OPTION, /* WILL, WONT, DO, DONT seen, the option follows */
    MDG_TELNET_SUB,    /* inside SB ... IAC SE */
    MDG_TELNET_SUB_IAC /* IAC inside of a subnegotiation */
};

struct mdg_line_dec {
    uint32_t line_max; /* bytes of a line, without its end */
    uint32_t scanned;  /* bytes at the head of the input that hold no LF and no telnet command */
    uint8_t state;     /* enum mdg_line_state */
    uint8_t telnet;    /* enum mdg_telnet_state */
};

enum mdg_line_event_type {
    MDG_LINE_WHOLE,   /* text: one line */
    MDG_LINE_TOO_LONG /* a line is over line_max; the rest of it will be dropped */
};

struct mdg_line_event {
    enum mdg_line_event_type type;
    struct mdg_input text; /* WHOLE: borrowed from the input, without CR and LF; any bytes */
};

/* line_max > 0 bounds what one peer makes us hold. */
void mdg_line_dec_init(struct mdg_line_dec *d, uint32_t line_max);
/* 1: *ev filled, its bytes valid until the input goes. 0: feed more; the start of a line stays in
 * *in (line_max + 2 bytes at most) and must come again in front of the new bytes. */
int mdg_line_dec_next(struct mdg_line_dec *d, struct mdg_input *in, struct mdg_line_event *ev);
/* The line that a half-closed connection left without its LF; 0: there was none. */
int mdg_line_dec_end(struct mdg_line_dec *d, struct mdg_input *in, struct mdg_line_event *ev);

/* "/join  lobby now" is the word "join" and the argument "lobby now". */
struct mdg_line_command {
    struct mdg_slice word, argument;
};

/* False: the line is text. A line that begins with two slashes is text too, and *text gets it
 * without the first of them; otherwise *text is the line. */
bool mdg_line_command(struct mdg_slice line, struct mdg_line_command *command,
                      struct mdg_slice *text);
/* The line is an HTTP request line ("POST / HTTP/1.1"): on a text connection it means that somebody
 * makes a browser write here. */
bool mdg_line_is_http(struct mdg_slice line);
/* The first word of an argument; *rest gets what follows it, trimmed. */
struct mdg_slice mdg_line_word(struct mdg_slice argument, struct mdg_slice *rest);

#endif
