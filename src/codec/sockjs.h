/* SockJS (protocol 0.3.3; where the text of its main branch and the server of npm sockjs 0.3.24
 * differ from that, they win): URLs, frames, the wrapping of each transport, the two pages. What a
 * session does with them is in src/transport/sockjs_*.c. */
#ifndef MDG_SOCKJS_H
#define MDG_SOCKJS_H

#include "base/base.h"
#include "base/json.h"
#include "base/writer.h"

/* URLs. */

enum mdg_sockjs_endpoint {
    MDG_SOCKJS_NOT_FOUND,
    MDG_SOCKJS_GREETING,
    MDG_SOCKJS_INFO,
    MDG_SOCKJS_IFRAME,
    MDG_SOCKJS_RAW_WEBSOCKET,
    MDG_SOCKJS_WEBSOCKET,
    MDG_SOCKJS_XHR,
    MDG_SOCKJS_XHR_SEND,
    MDG_SOCKJS_XHR_STREAMING,
    MDG_SOCKJS_EVENTSOURCE,
    MDG_SOCKJS_HTMLFILE,
    MDG_SOCKJS_JSONP,
    MDG_SOCKJS_JSONP_SEND,
    MDG_SOCKJS_ENDPOINTS
};

/* Clients choose the id; sockjs-client takes 8 characters, Spring's a UUID. Bounds a map's keys. */
enum { MDG_SOCKJS_SESSION_MAX = 200 };

struct mdg_sockjs_url {
    enum mdg_sockjs_endpoint endpoint;
    struct mdg_slice session; /* of the transports; still percent-encoded */
};

/* path: what follows the service's prefix, as sent ("", "/", "/info", "/000/abc/xhr"). One slash
 * at the end is allowed; server and session are not empty and hold no dot. */
struct mdg_sockjs_url mdg_sockjs_url(struct mdg_slice path);
/* "OPTIONS, POST": for Allow and for Access-Control-Allow-Methods. */
const char *mdg_sockjs_methods(enum mdg_sockjs_endpoint endpoint);

/* The callback of jsonp and htmlfile, percent-encoded as in the query: only letters, digits, '-',
 * '_' and '.' once decoded, or it would be script of the attacker's choice. Returns the length. */
enum { MDG_SOCKJS_CALLBACK_MAX = 32 }; /* sockjs-client's are 11 long; as npm sockjs */
int mdg_sockjs_callback(struct mdg_slice encoded,
                        uint8_t out[MDG_SOCKJS_CALLBACK_MAX]) MDG_NODISCARD;
/* The value of a field of an application/x-www-form-urlencoded body, decoded in place. False: no
 * such field. */
bool mdg_sockjs_form_field(struct mdg_input body, struct mdg_slice name, struct mdg_input *value);

/* Frames from the server. */

/* How a transport wraps frames. */
enum mdg_sockjs_wrap {
    MDG_SOCKJS_PLAIN,   /* websocket */
    MDG_SOCKJS_NEWLINE, /* xhr, xhr_streaming */
    MDG_SOCKJS_EVENT,   /* eventsource; the client runs decodeURI over it */
    MDG_SOCKJS_SCRIPT,  /* htmlfile: a string in a script in a page */
    MDG_SOCKJS_CALLBACK /* jsonp: a string in a call */
};

/* head + (escaped frame) + tail is what goes onto the wire. callback: for CALLBACK only. */
void mdg_sockjs_write_head(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                           struct mdg_slice callback);
void mdg_sockjs_write_tail(struct mdg_writer *w, enum mdg_sockjs_wrap wrap);
/* Any part of a frame, escaped for that place; cut between two characters. */
void mdg_sockjs_write_escaped(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice text);
/* A message, or a part of it between two characters, as the inside of a JSON string (the caller
 * writes the quotes) with the escapes that SockJS wants: controls, U+200C-200F, U+2028-202F,
 * U+2060-206F, U+FFF0-FFFF, and pairs for what is beyond U+FFFF; then escaped for the place. Bytes
 * that are not UTF-8 become U+FFFD. */
void mdg_sockjs_write_message(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice message);
/* c[3000,"Go away!"], unwrapped. */
void mdg_sockjs_write_close(struct mdg_writer *w, unsigned code, struct mdg_slice reason);

/* Messages from the client. */

/* Nesting of what is inside of an array of messages; sockjs-client sends strings only. */
enum { MDG_SOCKJS_DEPTH_MAX = 32 };

struct mdg_sockjs_messages {
    struct mdg_json_iter array;
    struct mdg_slice single; /* one message without an array around it: websocket only */
};

/* body is rewritten in place by mdg_sockjs_next_message. single: a value that is no array is one
 * message (websocket). 0; MDG_E_NOT_FOUND: no payload, or no array; MDG_E_SYNTAX: broken JSON or
 * not UTF-8. */
int mdg_sockjs_messages(struct mdg_slice body, bool single,
                        struct mdg_sockjs_messages *m) MDG_NODISCARD;
/* The next message: the text of a string, the JSON text of anything else. False at the end. */
bool mdg_sockjs_next_message(struct mdg_sockjs_messages *m, struct mdg_input *message);
/* For clients: a frame of the server's. Its type ('o', 'h', 'a', 'c', 'm'), or MDG_E_SYNTAX. The
 * messages of 'a' and 'm' come by mdg_sockjs_next_message; *code and *reason are set for 'c', the
 * reason is unescaped in place. */
int mdg_sockjs_frame(struct mdg_input frame, struct mdg_sockjs_messages *m, unsigned *code,
                     struct mdg_slice *reason) MDG_NODISCARD;

/* Pages and preludes. */

void mdg_sockjs_write_info(struct mdg_writer *w, bool websocket, bool cookie_needed,
                           uint32_t entropy);
/* The page of the iframe transports; sockjs_url loads the client library (HTML-escaped here). */
void mdg_sockjs_write_iframe(struct mdg_writer *w, struct mdg_slice sockjs_url);
/* What a streaming response begins with: 2 KiB of 'h' and a newline for NEWLINE (some browsers
 * show nothing before), CRLF for EVENT (Opera), a page of at least 1 KiB for SCRIPT. */
void mdg_sockjs_write_prelude(struct mdg_writer *w, enum mdg_sockjs_wrap wrap,
                              struct mdg_slice callback);

#endif
