/* SockJS by its websocket transport: frames of the server's unpacked, messages wrapped. */
#include "codec/sockjs.h"
#include "base/utf8.h"
#include "client/client.h"
#include <stdlib.h>

void mdg_client_sockjs_session(struct madang_client *c, char *id)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz012345";
    uint8_t random[16];
    mdg_loop_random(c->clients->loop, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        id[i] = digits[random[i] & 31];
}

int mdg_client_sockjs_target(struct madang_client *c)
{
    char *target = c->url.target;
    size_t len = strlen(target);
    if (strchr(target, '?'))
        return MDG_E_SYNTAX; /* the session's path follows the prefix */
    while (len > 0 && target[len - 1] == '/')
        len--;
    static const char tail[] = "/000/xxxxxxxxxxxxxxxx/websocket";
    if (len + sizeof tail > sizeof c->url.target)
        return MDG_E_TOO_BIG;
    memcpy(target + len, tail, sizeof tail);
    mdg_client_sockjs_session(c, target + len + 5);
    if (c->url.kind == MDG_CLIENT_XHR) /* each request names its own */
        *strrchr(target, '/') = '\0';
    return 0;
}

/* The WebSocket's closing handshake follows; its end is the client's. */
static void take_close(struct madang_client *c, unsigned code, struct mdg_slice reason)
{
    size_t len = mdg_min_size(reason.len, sizeof c->sockjs_reason - 1);
    if (len)
        memcpy(c->sockjs_reason, reason.data, len);
    c->sockjs_reason[len] = '\0';
    c->sockjs_code = code ? (int)code : MDG_CLOSE_NORMAL;
    mdg_link_close(c->link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

/* The server's open frame is still to come. */
static int wait_for_open(struct madang_client *c)
{
    (void)c;
    return 0;
}

static int input(struct madang_client *c, struct mdg_input in, bool binary)
{
    (void)binary;
    struct mdg_sockjs_messages m;
    struct mdg_slice reason = {NULL, 0};
    unsigned code = 0;
    int type = mdg_sockjs_frame(in, &m, &code, &reason);
    if (type == 'o' && c->state != MDG_CLIENT_OPEN) {
        mdg_client_opened(c, "");
    } else if (type == 'a' || type == 'm') {
        struct mdg_input message;
        struct mdg_link *l = c->link;
        while (c->link == l && mdg_sockjs_next_message(&m, &message))
            mdg_client_message(c, mdg_slice(message.data, message.len), false);
    } else if (type == 'c') {
        take_close(c, code, reason);
    }
    return type < 0 ? MDG_E_PROTO : 0;
}

static int send_message(struct madang_client *c, const struct mdg_client_out *out)
{
    struct mdg_slice data = out->data;
    struct mdg_writer w;
    uint8_t *text = NULL;
    if (!mdg_utf8_valid(data))
        return MDG_E_UNSUPPORTED;
    mdg_writer_init(&w, NULL, 0);
    for (int round = 0; round < 2; round++) {
        mdg_write_str(&w, "[\"");
        mdg_sockjs_write_message(&w, MDG_SOCKJS_PLAIN, data);
        mdg_write_str(&w, "\"]");
        if (round == 0) {
            text = malloc(w.len);
            if (!text)
                return MDG_E_NO_MEMORY;
            mdg_writer_init(&w, text, w.len);
        }
    }
    int err = mdg_client_carry(c, mdg_slice(text, w.len), false);
    free(text);
    return err;
}

const struct mdg_client_protocol mdg_client_protocol_sockjs = {
    .prepare = mdg_client_sockjs_target,
    .start = wait_for_open,
    .input = input,
    .send = send_message,
};
