/* STOMP as a conversation with one destination: messages come as their bodies, what is sent becomes
 * SEND frames with receipts. Any broker, version 1.0 to 1.2, over TCP or WebSocket. */
#include "codec/stomp.h"
#include "base/utf8.h"
#include "client/client.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    BODY_MAX_BYTES = 64 << 20,
    HEAD_BYTES_MAX = 8192, /* of a frame that we send */
};

struct mdg_client_stomp {
    struct mdg_stomp_dec dec;
    struct mdg_stomp_limits limits;
    struct mdg_buf in;
    bool connected;
    uint64_t sent, received; /* SENDs, and their receipts */
    const char *destination; /* in the client's URL or options */
};

/* "stomp://host/topic/x" names it in the path, "stomp+ws://host/path#/topic/x" behind the #. */
static const char *destination_of(const struct madang_client *c)
{
    const char *fragment = strchr(c->options.url, '#');
    if (c->options.destination)
        return c->options.destination;
    if (fragment)
        return fragment + 1;
    return c->url.kind == MDG_CLIENT_BYTES && c->url.target[1] ? c->url.target : NULL;
}

static void write_extra(struct mdg_writer *w, const char *const *headers, bool *host)
{
    for (; headers && *headers; headers++) {
        struct mdg_slice value = mdg_slice_str(*headers);
        struct mdg_slice name = mdg_slice_trim(mdg_slice_split(&value, ':'));
        *host |= mdg_slice_eq(name, MDG_SLICE_LIT("host"));
        mdg_stomp_write_header(w, MDG_STOMP_ANY, name, mdg_slice_trim(value));
    }
}

static int say_connect(struct madang_client *c)
{
    uint8_t frame[HEAD_BYTES_MAX];
    struct mdg_writer w;
    bool host = false;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_CONNECT);
    mdg_stomp_write_text(&w, MDG_STOMP_ANY, "accept-version", "1.0,1.1,1.2");
    mdg_stomp_write_text(&w, MDG_STOMP_ANY, "heart-beat", "0,0");
    write_extra(&w, c->stomp_headers, &host);
    if (!host)
        mdg_stomp_write_text(&w, MDG_STOMP_ANY, "host", "/");
    mdg_stomp_write_end(&w);
    return mdg_writer_fits(&w) ? mdg_client_carry(c, mdg_slice(frame, w.len), false)
                               : MDG_E_TOO_BIG;
}

/* "EPOCH:SEQ" becomes two headers; brokers that are not madang never gave us one. */
static void write_position(struct mdg_writer *w, enum mdg_stomp_version version,
                           const struct madang_client *c)
{
    struct mdg_slice seq = mdg_slice_str(mdg_client_position(c));
    struct mdg_slice epoch = mdg_slice_split(&seq, ':');
    if (!epoch.len || !seq.len)
        return;
    mdg_stomp_write_header(w, version, MDG_SLICE_LIT("epoch"), epoch);
    mdg_stomp_write_header(w, version, MDG_SLICE_LIT("seq"), seq);
}

static void remember(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    char text[64];
    struct mdg_slice epoch = mdg_stomp_find(f, "epoch"), seq = mdg_stomp_find(f, "seq");
    if (!epoch.len || !seq.len || epoch.len + seq.len + 2 > sizeof text)
        return;
    int n = snprintf(text, sizeof text, "%.*s:%.*s", (int)epoch.len, (const char *)epoch.data,
                     (int)seq.len, (const char *)seq.data);
    mdg_client_remember(c, mdg_slice(text, (size_t)n));
}

static int say_subscribe(struct madang_client *c)
{
    uint8_t frame[HEAD_BYTES_MAX];
    struct mdg_writer w;
    enum mdg_stomp_version version = (enum mdg_stomp_version)c->stomp->dec.version;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_SUBSCRIBE);
    mdg_stomp_write_text(&w, version, "id", "1");
    mdg_stomp_write_text(&w, version, "destination", c->stomp->destination);
    mdg_stomp_write_text(&w, version, "receipt", "subscribed");
    write_position(&w, version, c);
    mdg_stomp_write_end(&w);
    return mdg_writer_fits(&w) ? mdg_client_carry(c, mdg_slice(frame, w.len), false)
                               : MDG_E_TOO_BIG;
}

static void end(struct madang_client *c)
{
    if (!c->stomp)
        return;
    mdg_buf_fini(&c->stomp->in);
    free(c->stomp);
    c->stomp = NULL;
}

static int start(struct madang_client *c)
{
    struct mdg_client_stomp *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    c->stomp = s;
    uint64_t body_max =
        c->options.message_bytes_max ? c->options.message_bytes_max : BODY_MAX_BYTES;
    s->limits = (struct mdg_stomp_limits){65536, MDG_STOMP_HEADERS_CAP, 262144, body_max};
    mdg_buf_init(&s->in, (size_t)body_max + (2 << 20));
    s->destination = destination_of(c);
    bool named = s->destination && *s->destination;
    if (named || c->options.send_only) /* without one it may still say that it is there */
        return say_connect(c);
    mdg_client_refused(c, MDG_CLOSE_ABNORMAL, "no destination was named");
    return 0;
}

/* The user's headers belong to CONNECT, not to a WebSocket's request. */
static int prepare(struct madang_client *c)
{
    c->stomp_headers = c->options.headers;
    c->options.headers = NULL;
    if (!c->options.subprotocols)
        c->options.subprotocols = strdup("v12.stomp,v11.stomp,v10.stomp");
    return c->options.subprotocols ? 0 : MDG_E_NO_MEMORY;
}

static void on_connected(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    struct mdg_slice version = mdg_stomp_find(f, "version");
    c->stomp->connected = true;
    /* A 1.0 broker names no version. */
    c->stomp->dec.version = (uint8_t)mdg_stomp_pick_version(version);
    if (c->options.send_only)
        mdg_client_opened(c, "stomp");
    else if (say_subscribe(c) < 0)
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, "the connection was lost");
}

static void on_error(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    char text[256];
    struct mdg_slice message = mdg_stomp_find(f, "message"), body = mdg_slice_trim(f->body);
    while (body.len && body.data[body.len - 1] == '\n')
        body.len--;
    snprintf(text, sizeof text, "%.*s: %.*s", (int)mdg_min_size(message.len, 80),
             message.len ? (const char *)message.data : "", (int)mdg_min_size(body.len, 150),
             body.len ? (const char *)body.data : "");
    mdg_client_refused(c, MDG_CLOSE_PROTOCOL, text);
}

static void on_receipt(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    struct mdg_client_stomp *s = c->stomp;
    if (!mdg_slice_eq(mdg_stomp_find(f, "receipt-id"), MDG_SLICE_LIT("subscribed")))
        s->received += s->received < s->sent;
    else if (s->connected && c->state == MDG_CLIENT_OPENING)
        mdg_client_opened(c, "stomp");
}

static void on_message(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    remember(c, f);
    mdg_client_message(c, f->body, !mdg_utf8_valid(f->body));
}

/* False: the client is down, or has another connection. */
static bool on_frame(struct madang_client *c, const struct mdg_stomp_frame *f)
{
    struct mdg_client_stomp *s = c->stomp;
    if (f->command == MDG_STOMP_CONNECTED && !s->connected)
        on_connected(c, f);
    else if (f->command == MDG_STOMP_MESSAGE)
        on_message(c, f);
    else if (f->command == MDG_STOMP_RECEIPT)
        on_receipt(c, f);
    else if (f->command == MDG_STOMP_ERROR)
        on_error(c, f);
    return c->stomp == s;
}

static int input(struct madang_client *c, struct mdg_input in, bool binary)
{
    (void)binary;
    struct mdg_client_stomp *s = c->stomp;
    struct mdg_stomp_frame f;
    int n, err = mdg_buf_append(&s->in, mdg_slice(in.data, in.len));
    if (err < 0)
        return err;
    struct mdg_input rest = {s->in.data, s->in.len};
    while ((n = mdg_stomp_dec_next(&s->dec, &s->limits, &rest, &f)) > 0) {
        if (!on_frame(c, &f))
            return 0;
    }
    if (n < 0)
        return n;
    if (rest.len == 0)
        mdg_buf_fini(&s->in);
    else if (rest.len < s->in.len)
        mdg_buf_consume(&s->in, s->in.len - rest.len);
    return 0;
}

static int send_message(struct madang_client *c, const struct mdg_client_out *out)
{
    struct mdg_slice data = out->data;
    struct mdg_client_stomp *s = c->stomp;
    enum mdg_stomp_version version = (enum mdg_stomp_version)s->dec.version;
    char receipt[24];
    struct mdg_writer w;
    uint8_t *frame = s->destination ? malloc(HEAD_BYTES_MAX + data.len) : NULL;
    if (!s->destination)
        return MDG_E_UNSUPPORTED;
    if (!frame)
        return MDG_E_NO_MEMORY;
    snprintf(receipt, sizeof receipt, "%llu", (unsigned long long)s->sent + 1);
    mdg_writer_init(&w, frame, HEAD_BYTES_MAX + data.len);
    mdg_stomp_write_command(&w, MDG_STOMP_SEND);
    mdg_stomp_write_text(&w, version, "destination", s->destination);
    mdg_stomp_write_text(&w, version, "receipt", receipt);
    mdg_stomp_write_body(&w, data);
    int rc = mdg_writer_fits(&w) ? mdg_client_carry(c, mdg_slice(frame, w.len), out->binary)
                                 : MDG_E_TOO_BIG;
    free(frame);
    if (rc == 0)
        s->sent++;
    return rc;
}

/* What was sent and has no receipt yet. */
static size_t queued(const struct madang_client *c)
{
    return c->stomp ? (size_t)(c->stomp->sent - c->stomp->received) : 0;
}

const struct mdg_client_protocol mdg_client_protocol_stomp = {
    .prepare = prepare,
    .start = start,
    .input = input,
    .send = send_message,
    .queued = queued,
    .free = end,
};
