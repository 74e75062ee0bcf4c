/* Socket.IO 5, the client's part, in one namespace: CONNECT and its refusals, events and
 * acknowledgements both ways. The application sees an event as the JSON array that it is on the
 * wire; an attachment stands in it as {"base64":"..."}. */
#include "codec/sio.h"
#include "base/json.h"
#include "base/utf8.h"
#include "client/client.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    ATTACHMENTS_MAX = 256,
    LINGER_MS = 100,
    PACKET_MAX = 64 << 20, /* an event with its attachments, unless message_bytes_max says less */
};

static const struct mdg_sio_limits limits = {
    .depth_max = 128, .attachments_max = ATTACHMENTS_MAX, .namespace_len_max = 1024};

static const char usual_path[] = "/socket.io/";
static const char usual_event[] = "message";

struct mdg_client_sio {
    bool connected;
    struct mdg_buf packet;        /* whose attachments are still to come */
    struct mdg_buf bytes;         /* theirs, one behind the other */
    size_t ends[ATTACHMENTS_MAX]; /* of each of them */
    uint32_t wanted, got;
    struct mdg_buf early; /* events before CONNECT: struct early, then its JSON */
    uint64_t said_ms;     /* of the last event whose acknowledgement nobody waits for */
    struct mdg_buf owed;  /* our attachment, whose packet is on its way */
    bool owes;
};

struct early {
    size_t len;
    bool has_id;
    uint64_t id;
};

/* The URL's path is the namespace. */
static int prepare(struct madang_client *c)
{
    size_t len = strcspn(c->url.target, "?");
    if (c->options.auth) {
        struct mdg_slice auth;
        if (mdg_json_check(mdg_slice_str(c->options.auth), limits.depth_max, &auth) < 0 ||
            mdg_json_type(auth) != MDG_JSON_OBJECT)
            return MDG_E_SYNTAX;
    }
    c->sio_namespace = strndup(c->url.target, len);
    if (!c->sio_namespace)
        return MDG_E_NO_MEMORY;
    return mdg_client_eio_target(c, c->options.path ? c->options.path : usual_path);
}

static void end(struct madang_client *c)
{
    struct mdg_client_sio *s = c->sio;
    if (s) {
        mdg_buf_fini(&s->packet);
        mdg_buf_fini(&s->bytes);
        mdg_buf_fini(&s->owed);
        mdg_buf_fini(&s->early);
    }
    free(s);
    c->sio = NULL;
    mdg_client_eio_free(c);
}

/* ---- out ---- */

struct packet {
    enum mdg_sio_type type;
    uint32_t attachments;
    const uint64_t *id;
    const char *event; /* of an event whose argument is `text`, or the attachment; NULL: `json` */
    struct mdg_slice text, json;
};

static void write_packet(struct mdg_writer *w, const struct madang_client *c,
                         const struct packet *p)
{
    mdg_sio_write_head(w, p->type, p->attachments, mdg_slice_str(c->sio_namespace), p->id);
    mdg_write_slice(w, p->json);
    if (!p->event)
        return;
    mdg_write_u8(w, '[');
    mdg_write_json_string(w, mdg_slice_str(p->event));
    mdg_write_u8(w, ',');
    if (p->attachments)
        mdg_sio_write_placeholder(w, 0);
    else
        mdg_write_json_string(w, p->text);
    mdg_write_u8(w, ']');
}

static int send_packet(struct madang_client *c, const struct packet *p)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    write_packet(&w, c, p);
    uint8_t *text = malloc(w.len);
    if (!text)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, text, w.len);
    write_packet(&w, c, p);
    int rc = mdg_client_eio_message(c, mdg_slice(text, w.len), false);
    free(text);
    return rc;
}

/* The attachment that did not fit behind its packet: nothing may come between the two. */
static int pay(struct madang_client *c)
{
    struct mdg_client_sio *s = c->sio;
    if (!s || !s->owes)
        return 0;
    int rc = mdg_client_eio_message(c, mdg_buf_slice(&s->owed), true);
    if (rc < 0)
        return rc;
    s->owes = false;
    mdg_buf_fini(&s->owed);
    return 0;
}

static int send_bytes(struct madang_client *c, const char *event, struct mdg_slice data)
{
    struct mdg_client_sio *s = c->sio;
    const struct packet p = {.type = MDG_SIO_BINARY_EVENT, .attachments = 1, .event = event};
    if (!mdg_client_eio_takes_bytes(c, data.len))
        return MDG_E_TOO_BIG; /* once its packet has gone, nothing else may */
    int rc = mdg_buf_append(&s->owed, data);
    if (rc < 0)
        return rc;
    rc = send_packet(c, &p);
    if (rc < 0) {
        mdg_buf_fini(&s->owed);
        return rc;
    }
    s->owes = true;
    s->said_ms = mdg_loop_now_ms(c->clients->loop);
    (void)!pay(c); /* what does not go now is owed */
    return 0;
}

static int send_message(struct madang_client *c, const struct mdg_client_out *out)
{
    const char *event = c->options.event ? c->options.event : usual_event;
    struct packet p = {.type = MDG_SIO_EVENT};
    int rc = pay(c);
    if (rc < 0)
        return rc;
    if (out->binary)
        return send_bytes(c, event, out->data);
    if (!mdg_utf8_valid(out->data))
        return MDG_E_UNSUPPORTED;
    if (out->event) {
        p.json = out->data;
    } else {
        p.event = event;
        p.text = out->data;
    }
    p.id = out->ack ? &out->ack : NULL;
    rc = send_packet(c, &p);
    if (rc < 0)
        return rc;
    if (out->ack)
        mdg_client_ack_sent(c, out->ack);
    else
        c->sio->said_ms = mdg_loop_now_ms(c->clients->loop);
    return 0;
}

bool madang_client_recovered(const struct madang_client *c)
{
    return c->sio_recovered;
}

int madang_client_answer(struct madang_client *c, uint64_t id, const char *json, size_t len)
{
    struct packet p = {.type = MDG_SIO_ACK, .id = &id};
    if (mdg_json_check(mdg_slice(json, len), limits.depth_max, &p.json) < 0 ||
        mdg_json_type(p.json) != MDG_JSON_ARRAY || !mdg_utf8_valid(p.json))
        return MDG_E_SYNTAX;
    if (!c->sio || c->state != MDG_CLIENT_OPEN)
        return MDG_E_CLOSED;
    int rc = pay(c);
    return rc < 0 ? rc : send_packet(c, &p);
}

/* The user's object without blanks around it; empty: none. */
static struct mdg_slice auth_of(const struct madang_client *c)
{
    struct mdg_slice all = {NULL, 0};
    if (c->options.auth)
        (void)!mdg_json_check(mdg_slice_str(c->options.auth), limits.depth_max, &all);
    return all;
}

/* The session that was lost is asked for beside the user's auth, as the published client does. */
static void write_auth(struct mdg_writer *w, const struct madang_client *c)
{
    struct mdg_slice auth = auth_of(c);
    bool some = mdg_json_count(auth) > 0;
    mdg_write_str(w, "{\"pid\":");
    mdg_write_str(w, c->sio_pid);
    if (c->sio_offset[0]) {
        mdg_write_str(w, ",\"offset\":");
        mdg_write_str(w, c->sio_offset);
    }
    mdg_write_u8(w, some ? ',' : '}');
    if (some)
        mdg_write_bytes(w, auth.data + 1, auth.len - 1);
}

static int ask_for_namespace(struct madang_client *c)
{
    struct packet p = {.type = MDG_SIO_CONNECT, .json = auth_of(c)};
    size_t room = 3 * MDG_CLIENT_SIO_ID_MAX + p.json.len;
    struct mdg_writer w;
    if (!c->sio_pid[0])
        return send_packet(c, &p);
    uint8_t *auth = malloc(room);
    if (!auth)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, auth, room);
    write_auth(&w, c);
    p.json = mdg_slice(auth, w.len);
    int rc = mdg_writer_fits(&w) ? send_packet(c, &p) : MDG_E_TOO_BIG;
    free(auth);
    return rc;
}

int mdg_client_sio_connect(struct madang_client *c)
{
    struct mdg_client_sio *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    size_t most = c->options.message_bytes_max ? c->options.message_bytes_max : PACKET_MAX;
    mdg_buf_init(&s->packet, most);
    mdg_buf_init(&s->bytes, most);
    mdg_buf_init(&s->owed, PACKET_MAX);
    mdg_buf_init(&s->early, most);
    c->sio = s;
    return ask_for_namespace(c);
}

/* The reference server handles an event a tick after it has read it, and drops it when a DISCONNECT
 * has come with it. */
static uint32_t linger_ms(const struct madang_client *c)
{
    uint64_t until = c->sio->said_ms + LINGER_MS, now = mdg_loop_now_ms(c->clients->loop);
    return c->sio->said_ms && now < until ? (uint32_t)(until - now) : 0;
}

static void goodbye(struct madang_client *c)
{
    const struct packet p = {.type = MDG_SIO_DISCONNECT};
    (void)!send_packet(c, &p); /* the connection's end says the same */
    mdg_client_eio_goodbye(c);
}

/* ---- in ---- */

/* {"message":"...","data":...} of a CONNECT_ERROR, in words. */
static void refuse(struct madang_client *c, struct mdg_slice json)
{
    char text[200];
    uint8_t plain[128];
    struct mdg_slice message, data;
    int64_t n = 0;
    if (mdg_json_find(json, MDG_SLICE_LIT("message"), &message))
        n = mdg_json_unescape(message, plain, sizeof plain);
    if (n <= 0) {
        memcpy(plain, "no reason was given", 19);
        n = 19;
    }
    if (!mdg_json_find(json, MDG_SLICE_LIT("data"), &data))
        data.len = 0;
    snprintf(text, sizeof text, "the namespace %s refused: %.*s%s%.*s", c->sio_namespace, (int)n,
             (const char *)plain, data.len ? " " : "", (int)mdg_min_size(data.len, 80),
             data.len ? (const char *)data.data : "");
    mdg_client_refused(c, MDG_CLOSE_POLICY, text);
}

static void keep_id(char out[MDG_CLIENT_SIO_ID_MAX], struct mdg_slice json)
{
    out[0] = '\0';
    if (mdg_json_type(json) == MDG_JSON_STRING && json.len < MDG_CLIENT_SIO_ID_MAX)
        snprintf(out, MDG_CLIENT_SIO_ID_MAX, "%.*s", (int)json.len, (const char *)json.data);
}

/* Where recovery is on, a string at an event's end is its offset, whatever else it may be. */
static void keep_offset(struct madang_client *c, struct mdg_slice json)
{
    struct mdg_json_iter it;
    struct mdg_slice value, last = {NULL, 0};
    if (!c->sio_pid[0] || !mdg_json_array(json, &it) || !mdg_json_element(&it, &value))
        return;
    while (mdg_json_element(&it, &value))
        last = value;
    if (mdg_json_type(last) == MDG_JSON_STRING)
        keep_id(c->sio_offset, last);
}

static void tell_event(struct madang_client *c, bool has_id, uint64_t id, struct mdg_slice json)
{
    keep_offset(c, json);
    if (!c->handlers->on_event) {
        mdg_client_message(c, json, false);
        return;
    }
    const struct madang_client_event e = {
        .json = (const char *)json.data, .len = json.len, .wants_answer = has_id, .id = id};
    c->handlers->on_event(c, &e, c->arg);
}

/* The reference server sends what a recovered session missed before its CONNECT. */
static int put_by(struct madang_client *c, const struct mdg_sio_packet *p, struct mdg_slice json)
{
    struct mdg_buf *early = &c->sio->early;
    const struct early head = {.len = json.len, .has_id = p->has_id, .id = p->id};
    int rc = mdg_buf_reserve(early, sizeof head + json.len);
    if (rc == 0)
        rc = mdg_buf_append(early, mdg_slice(&head, sizeof head));
    return rc == 0 ? mdg_buf_append(early, json) : rc;
}

static void tell_early(struct madang_client *c)
{
    struct mdg_buf early = c->sio->early;
    size_t at = 0;
    mdg_buf_init(&c->sio->early, 1); /* taken away: the handlers may end all this */
    while (at < early.len && c->state == MDG_CLIENT_OPEN) {
        struct early head;
        memcpy(&head, early.data + at, sizeof head);
        at += sizeof head;
        tell_event(c, head.has_id, head.id, mdg_slice(early.data + at, head.len));
        at += head.len;
    }
    mdg_buf_fini(&early);
}

/* The namespace is open: as a new session, or as the one that was lost. */
static void admitted(struct madang_client *c, struct mdg_slice json)
{
    struct mdg_slice pid = {NULL, 0};
    char before[MDG_CLIENT_SIO_ID_MAX];
    memcpy(before, c->sio_pid, sizeof before);
    (void)!mdg_json_find(json, MDG_SLICE_LIT("pid"), &pid);
    keep_id(c->sio_pid, pid);
    c->sio_recovered = before[0] && strcmp(before, c->sio_pid) == 0;
    if (!c->sio_recovered)
        c->sio_offset[0] = '\0';
    c->sio->connected = true;
    mdg_client_opened(c, "");
    if (c->sio && c->state == MDG_CLIENT_OPEN)
        tell_early(c);
}

static int hand_over(struct madang_client *c, const struct mdg_sio_packet *p, struct mdg_slice json)
{
    if (!c->sio->connected)
        return mdg_sio_is_ack(p->type) ? MDG_E_PROTO : put_by(c, p, json);
    if (mdg_sio_is_ack(p->type))
        mdg_client_ack_answer(c, p->id, json);
    else
        tell_event(c, p->has_id, p->id, json);
    return 0;
}

/* All attachments are there. */
static int hand_over_binary(struct madang_client *c)
{
    struct mdg_client_sio *s = c->sio;
    struct mdg_slice parts[ATTACHMENTS_MAX];
    struct mdg_sio_packet p;
    struct mdg_writer w;
    int rc = mdg_sio_dec(mdg_buf_slice(&s->packet), 5, &limits, &p);
    for (uint32_t i = 0; i < s->got; i++) {
        size_t begin = i ? s->ends[i - 1] : 0;
        parts[i] = mdg_slice(s->bytes.data + begin, s->ends[i] - begin);
    }
    /* Each attachment once, in base64: a server may name one of them a million times. */
    size_t most = s->packet.len + 2 * s->bytes.len + s->got * sizeof "==";
    mdg_writer_init(&w, NULL, 0);
    if (rc == 0)
        rc = mdg_sio_write_inline(&w, p.data, parts, s->got, most);
    uint8_t *text = rc == 0 ? malloc(w.len + 1) : NULL;
    if (rc == 0 && !text)
        rc = MDG_E_NO_MEMORY;
    if (text) {
        mdg_writer_init(&w, text, w.len);
        (void)!mdg_sio_write_inline(&w, p.data, parts, s->got, most);
        rc = hand_over(c, &p, mdg_slice(text, w.len));
    }
    free(text);
    if (c->sio == s) {
        s->wanted = s->got = 0;
        mdg_buf_fini(&s->packet);
        mdg_buf_fini(&s->bytes);
    }
    return rc;
}

static int take_attachment(struct madang_client *c, struct mdg_slice data)
{
    struct mdg_client_sio *s = c->sio;
    if (s->got == s->wanted)
        return MDG_E_PROTO; /* nobody named it */
    int rc = mdg_buf_append(&s->bytes, data);
    if (rc < 0)
        return rc;
    s->ends[s->got++] = s->bytes.len;
    return s->got == s->wanted ? hand_over_binary(c) : 0;
}

static int take_data(struct madang_client *c, const struct mdg_sio_packet *p, struct mdg_slice text)
{
    struct mdg_client_sio *s = c->sio;
    if (p->attachments == 0)
        return hand_over(c, p, p->data);
    s->wanted = p->attachments;
    return mdg_buf_append(&s->packet, text);
}

int mdg_client_sio_packet(struct madang_client *c, struct mdg_input in, bool binary)
{
    struct mdg_client_sio *s = c->sio;
    struct mdg_slice text = mdg_slice(in.data, in.len);
    struct mdg_sio_packet p;
    if (binary)
        return take_attachment(c, text);
    if (s->got < s->wanted) /* "Binary packets": attachments follow without anything between */
        return MDG_E_PROTO;
    int rc = mdg_sio_dec(text, 5, &limits, &p);
    if (rc < 0)
        return rc;
    if (!mdg_slice_eq(p.nsp, mdg_slice_str(c->sio_namespace)))
        return 0; /* we asked for one only */
    if (p.type == MDG_SIO_CONNECT && !s->connected) {
        admitted(c, p.data);
    } else if (p.type == MDG_SIO_CONNECT_ERROR) {
        refuse(c, p.data);
    } else if (p.type == MDG_SIO_DISCONNECT) { /* a client that is sent away does not come back */
        mdg_client_refused(c, MDG_CLOSE_NORMAL, "io server disconnect: the server ended this");
    } else if (mdg_sio_is_event(p.type) || mdg_sio_is_ack(p.type)) {
        return take_data(c, &p, text);
    }
    return 0;
}

const struct mdg_client_protocol mdg_client_protocol_sio = {
    .prepare = prepare,
    .start = mdg_client_eio_start,
    .input = mdg_client_eio_input,
    .send = send_message,
    .pay = pay,
    .linger_ms = linger_ms,
    .goodbye = goodbye,
    .free = end,
};
