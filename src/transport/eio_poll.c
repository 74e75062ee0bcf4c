/* Long-polling and JSONP: a queue of packets, at most one GET that waits for them, at most one
 * POST that brings some. A second one of either kind is the protocol's way to say that two clients
 * share a session, and ends it. */
#include "base/utf8.h"
#include "transport/eio_session.h"
#include <stdlib.h>

enum { QUEUE_FIRST = 4 };

static int no_request(struct mdg_exchange *x, void *arg)
{
    (void)x;
    (void)arg;
    return 0;
}

static void on_get_abort(struct mdg_exchange *x)
{
    struct mdg_eio_session *s = mdg_exchange_arg(x);
    s->poll->get = NULL;
    eio_session_end(s, MDG_CLOSE_ABNORMAL, "transport error");
}

static void on_post_abort(struct mdg_exchange *x)
{
    struct mdg_eio_session *s = mdg_exchange_arg(x);
    s->poll->post = NULL;
    eio_session_end(s, MDG_CLOSE_ABNORMAL, "transport error");
}

static int on_post_body(struct mdg_exchange *x, struct mdg_slice piece, bool last);

static const struct mdg_http_handler get_handler = {.on_request = no_request,
                                                    .on_abort = on_get_abort};
static const struct mdg_http_handler post_handler = {
    .on_request = no_request, .on_body = on_post_body, .on_abort = on_post_abort};
static const struct mdg_http_handler done_handler = {.on_request = no_request};

int eio_poll_new(struct mdg_eio_session *s)
{
    struct eio_poll *p = calloc(1, sizeof *p);
    if (!p)
        return MDG_E_NO_MEMORY;
    mdg_buf_init(&p->body, (size_t)s->w->options->max_payload);
    s->poll = p;
    return 0;
}

/* Nothing comes back from this exchange any more. */
static void let_go(struct mdg_exchange *x)
{
    mdg_exchange_set_handler(x, &done_handler);
    mdg_exchange_set_arg(x, NULL);
}

/* JSONP needs the payload in one piece, as a JavaScript string. */
static struct mdg_blob *wrap_jsonp(struct mdg_exchange *x, const struct mdg_chunk *parts, size_t n)
{
    struct mdg_buf flat;
    struct mdg_writer w;
    struct mdg_slice j = mdg_exchange_query(x, "j");
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += parts[i].len;
    mdg_buf_init(&flat, len + 1);
    if (mdg_buf_reserve(&flat, len + 1) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        (void)!mdg_buf_append(&flat, mdg_chunk_slice(&parts[i]));
    mdg_writer_init(&w, NULL, 0);
    mdg_eio_write_jsonp(&w, j, mdg_buf_slice(&flat));
    struct mdg_blob *blob = w.len <= UINT32_MAX ? mdg_blob_new((uint32_t)w.len) : NULL;
    if (blob) {
        mdg_writer_init(&w, blob->data, blob->len);
        mdg_eio_write_jsonp(&w, j, mdg_buf_slice(&flat));
    }
    mdg_buf_fini(&flat);
    return blob;
}

static bool is_jsonp(const struct mdg_exchange *x)
{
    return mdg_exchange_query(x, "j").data != NULL;
}

/* Responds 200 with these chunks. Their references are taken on success. */
static int answer(struct mdg_eio_session *s, struct mdg_exchange *x, struct mdg_chunk *parts,
                  size_t n, bool binary, bool initial)
{
    bool jsonp = is_jsonp(x);
    const struct mdg_header headers[] = {
        {MDG_SLICE_LIT("Content-Type"), jsonp    ? MDG_SLICE_LIT("text/javascript; charset=UTF-8")
                                        : binary ? MDG_SLICE_LIT("application/octet-stream")
                                                 : MDG_SLICE_LIT("text/plain; charset=UTF-8")},
        {MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store")},
    };
    int err;
    eio_add_headers(s->w, x, initial);
    if (!jsonp)
        return mdg_exchange_respond(x, 200, headers, 2, parts, n);
    struct mdg_blob *blob = wrap_jsonp(x, parts, n);
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk whole = mdg_chunk_all(blob);
    err = mdg_exchange_respond(x, 200, headers, 2, &whole, 1);
    if (err < 0) {
        mdg_blob_unref(blob);
        return err;
    }
    for (size_t i = 0; i < n; i++)
        mdg_blob_unref(parts[i].blob);
    return 0;
}

/* A v3 binary packet begins with its kind, 00 or 01; text ones begin with a digit. */
static bool chunk_binary3(const struct mdg_chunk *c)
{
    return c->len > 0 && c->blob->data[c->off] <= 1;
}

/* How many packets from the front of the queue go into one answer. */
static size_t batch_len(const struct mdg_eio_session *s)
{
    const struct eio_poll *p = s->poll;
    uint64_t bytes = p->queue[0].len;
    size_t n = 1;
    while (n < p->queue_len && bytes + p->queue[n].len + 1 <= s->w->options->max_payload)
        bytes += p->queue[n++].len + 1;
    return n;
}

static void drop_front(struct eio_poll *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p->queue_bytes -= p->queue[i].len;
    p->queue_len -= n;
    memmove(p->queue, p->queue + n, p->queue_len * sizeof *p->queue);
}

/* v4 needs a separator between two packets, in the batch of a parked poll too. */
static int answer_batch4(struct mdg_eio_session *s, struct mdg_exchange *x, size_t n)
{
    struct eio_poll *p = s->poll;
    struct mdg_chunk *row = malloc((2 * n - 1) * sizeof *row);
    if (!row)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            row[2 * i - 1] = mdg_chunk_all(mdg_blob_ref(s->w->separator));
        row[2 * i] = p->queue[i];
    }
    int err = answer(s, x, row, 2 * n - 1, false, false);
    for (size_t i = 1; err < 0 && i < n; i++)
        mdg_blob_unref(s->w->separator);
    free(row);
    return err;
}

/* A v3 packet in the text form, `5:4text`, as a binary payload has it: the head for it, and the
 * part of the chunk that follows. NULL: no memory. */
static struct mdg_blob *head3(struct mdg_chunk *text)
{
    uint8_t room[MDG_EIO3_BINARY_HEAD_MAX];
    struct mdg_writer w;
    uint32_t digits = 1; /* the colon; the length in front of it counts something else */
    while (text->blob->data[text->off + digits - 1] != ':')
        digits++;
    text->off += digits;
    text->len -= digits;
    mdg_writer_init(&w, room, sizeof room);
    mdg_eio3_write_binary_head(&w, false, text->len);
    return mdg_blob_copy(mdg_slice(room, w.len));
}

/* One answer holds one kind of v3 payload: among binary packets the text ones become binary too
 * ("Payload" of protocol 3), so that the order stays and one poll brings all. */
static int answer_batch3_binary(struct mdg_eio_session *s, struct mdg_exchange *x, size_t n)
{
    struct eio_poll *p = s->poll;
    struct mdg_chunk *row = malloc(2 * n * sizeof *row);
    struct mdg_blob **heads = calloc(n, sizeof *heads);
    size_t len = 0;
    int err = row && heads ? 0 : MDG_E_NO_MEMORY;
    for (size_t i = 0; err == 0 && i < n; i++) {
        struct mdg_chunk packet = p->queue[i];
        if (!chunk_binary3(&packet)) {
            heads[i] = head3(&packet);
            if (!heads[i])
                err = MDG_E_NO_MEMORY;
            else
                row[len++] = mdg_chunk_all(heads[i]);
        }
        if (err == 0)
            row[len++] = packet;
    }
    if (err == 0)
        err = answer(s, x, row, len, true, false);
    for (size_t i = 0; err < 0 && heads && i < n; i++)
        mdg_blob_unref(heads[i]);
    free(row);
    free(heads);
    return err;
}

static int answer_batch(struct mdg_eio_session *s, struct mdg_exchange *x, size_t n)
{
    struct eio_poll *p = s->poll;
    bool binary = false;
    if (s->version != 3 && n > 1)
        return answer_batch4(s, x, n);
    for (size_t i = 0; s->version == 3 && i < n; i++)
        binary |= chunk_binary3(&p->queue[i]);
    return binary ? answer_batch3_binary(s, x, n) : answer(s, x, p->queue, n, false, false);
}

void eio_poll_flush(struct mdg_eio_session *s)
{
    struct eio_poll *p = s->poll;
    if (!p || !p->get || p->queue_len == 0)
        return;
    struct mdg_exchange *x = p->get;
    size_t n = batch_len(s);
    p->get = NULL;
    let_go(x);
    if (answer_batch(s, x, n) < 0) {
        mdg_exchange_kill(x);
        eio_session_end(s, MDG_CLOSE_INTERNAL, "transport error");
        return;
    }
    drop_front(p, n);
    if (s->state == EIO_CLOSING && p->queue_len == 0) {
        eio_session_end(s, s->code, "forced close");
    } else if (p->refused && p->queue_len == 0 && s->state == EIO_OPEN) {
        p->refused = false;
        if (s->link.user->on_writable)
            s->link.user->on_writable(&s->link);
    }
}

/* 1 or 6 alone, in this version's payload. */
static void answer_one(struct mdg_eio_session *s, struct mdg_exchange *x, enum mdg_eio_type type)
{
    bool v3 = s->version == 3;
    struct mdg_blob *keep =
        type == MDG_EIO_CLOSE ? (v3 ? s->w->close3 : s->w->close) : (v3 ? s->w->noop3 : s->w->noop);
    struct mdg_chunk chunk = mdg_chunk_all(mdg_blob_ref(keep));
    let_go(x);
    if (answer(s, x, &chunk, 1, false, false) < 0) {
        mdg_blob_unref(keep);
        mdg_exchange_kill(x);
    }
}

void eio_poll_noop(struct mdg_eio_session *s)
{
    struct eio_poll *p = s->poll;
    if (!p || !p->get)
        return;
    struct mdg_exchange *x = p->get;
    p->get = NULL;
    answer_one(s, x, MDG_EIO_NOOP);
}

bool eio_poll_is_parked(const struct mdg_eio_session *s)
{
    return s->poll && s->poll->get;
}

void eio_poll_drop(struct mdg_eio_session *s, bool say_close)
{
    struct eio_poll *p = s->poll;
    if (!p)
        return;
    if (p->get)
        answer_one(s, p->get, say_close ? MDG_EIO_CLOSE : MDG_EIO_NOOP);
    if (p->post) {
        let_go(p->post);
        eio_refuse(s->w, p->post, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
    }
    for (size_t i = 0; i < p->queue_len; i++)
        mdg_blob_unref(p->queue[i].blob);
    free(p->queue);
    mdg_buf_fini(&p->body);
    free(p);
    s->poll = NULL;
}

static int grow(struct eio_poll *p, size_t more)
{
    size_t cap = p->queue_cap ? p->queue_cap : QUEUE_FIRST;
    while (cap < p->queue_len + more)
        cap *= 2;
    if (cap == p->queue_cap)
        return 0;
    struct mdg_chunk *queue = realloc(p->queue, cap * sizeof *queue);
    if (!queue)
        return MDG_E_NO_MEMORY;
    p->queue = queue;
    p->queue_cap = cap;
    return 0;
}

int eio_poll_push(struct mdg_eio_session *s, struct mdg_chunk *chunks, size_t n, bool limited)
{
    struct eio_poll *p = s->poll;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += chunks[i].len;
    if (limited && p->queue_len > 0 && p->queue_bytes + bytes > s->w->options->out_bytes_max) {
        p->refused = true;
        return MDG_E_FULL;
    }
    if (grow(p, n) < 0)
        return MDG_E_NO_MEMORY;
    memcpy(p->queue + p->queue_len, chunks, n * sizeof *chunks);
    p->queue_len += n;
    p->queue_bytes += bytes;
    for (size_t i = 0; i < n; i++)
        chunks[i].blob = NULL;
    if (p->get)
        eio_session_wake(s);
    return 0;
}

int eio_poll_answer_open(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    uint8_t json[256], room[300];
    struct mdg_writer data, w;
    mdg_writer_init(&data, json, sizeof json);
    eio_session_write_open(s, &data);
    mdg_writer_init(&w, room, sizeof room);
    if (s->version == 3)
        mdg_eio3_write_in_text(&w, MDG_EIO_OPEN, false, mdg_slice(json, data.len));
    else
        mdg_eio4_write_in_payload(&w, MDG_EIO_OPEN, false, mdg_slice(json, data.len));
    assert(mdg_writer_fits(&data) && mdg_writer_fits(&w));
    struct mdg_blob *blob = mdg_blob_copy(mdg_slice(room, w.len));
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    int err = answer(s, x, &chunk, 1, false, true);
    if (err < 0)
        mdg_blob_unref(blob);
    return err;
}

void eio_poll_on_get(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    struct eio_poll *p = s->poll;
    if (p->get) { /* PITFALLS: the offending request is answered too */
        eio_refuse(s->w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
        eio_session_end(s, MDG_CLOSE_PROTOCOL, "transport error");
        return;
    }
    p->get = x;
    mdg_exchange_set_handler(x, &get_handler);
    mdg_exchange_set_arg(x, s);
    mdg_exchange_abort_on_eof(x);
    if (p->queue_len > 0)
        eio_poll_flush(s);
    else if (s->probe && s->probe->pinged) /* the client waits for this poll to go on upgrading */
        eio_poll_noop(s);
}

static void post_ok(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    const struct mdg_header headers[] = {
        {MDG_SLICE_LIT("Content-Type"), MDG_SLICE_LIT("text/html")},
        {MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store")},
    };
    struct mdg_chunk body = mdg_chunk_all(mdg_blob_ref(s->w->ok));
    eio_add_headers(s->w, x, false);
    if (mdg_exchange_respond(x, 200, headers, 2, &body, 1) < 0) {
        mdg_blob_unref(s->w->ok);
        mdg_exchange_kill(x);
    }
}

static int handle_payload(struct mdg_eio_session *s, struct mdg_input body, bool binary)
{
    struct mdg_eio_payload payload;
    struct mdg_eio_packet packet;
    int rc;
    mdg_eio_payload_init(&payload, s->version, binary, body);
    while ((rc = mdg_eio_payload_next(&payload, &packet)) > 0) {
        if (!packet.binary && !mdg_utf8_valid(mdg_slice(packet.data.data, packet.data.len)))
            return MDG_E_PROTO;
        eio_session_packet(s, &packet);
        if (s->state == EIO_ENDED)
            return packet.type == MDG_EIO_CLOSE ? 0 : MDG_E_CLOSED;
    }
    return rc;
}

/* The body is complete. Whatever its packets do to the session, this request is answered. */
static void on_post_complete(struct mdg_eio_session *s)
{
    struct eio_poll *p = s->poll;
    struct mdg_exchange *x = p->post;
    struct mdg_buf body = p->body;
    struct mdg_input in = {body.data, body.len};
    bool binary = mdg_slice_starts(mdg_exchange_header(x, "content-type"),
                                   MDG_SLICE_LIT("application/octet-stream"));
    int err = 0;
    p->post = NULL;
    p->handled = x;
    mdg_buf_init(&p->body, (size_t)s->w->options->max_payload);
    let_go(x);
    if (is_jsonp(x))
        err = mdg_eio_dec_jsonp((struct mdg_input){body.data, body.len}, &in);
    if (err == 0)
        err = handle_payload(s, in, binary);
    mdg_buf_fini(&body);
    if (s->poll)
        s->poll->handled = NULL;
    if (err == 0) {
        post_ok(s, x);
        return;
    }
    eio_refuse(s->w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
    eio_session_end(s, MDG_CLOSE_PROTOCOL, "parse error");
}

/* The client reads the reason from the status (engine.io#706): its disconnect event has it. The
 * body is empty as the reference's is, which the published client's tests look at. */
static void refuse_size(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    eio_add_headers(s->w, x, false);
    let_go(x);
    mdg_exchange_respond_text(x, 413, NULL, mdg_slice(NULL, 0));
}

static int on_post_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct mdg_eio_session *s = mdg_exchange_arg(x);
    if (!s || !s->poll || s->poll->post != x)
        return 0;
    int err = mdg_buf_append(&s->poll->body, piece);
    if (err < 0) {
        s->poll->post = NULL;
        mdg_buf_fini(&s->poll->body);
        mdg_buf_init(&s->poll->body, (size_t)s->w->options->max_payload);
        refuse_size(s, x);
        eio_session_end(s, MDG_CLOSE_TOO_BIG, "transport error");
        return 0;
    }
    if (last)
        on_post_complete(s);
    return 0;
}

void eio_poll_on_post(struct mdg_eio_session *s, struct mdg_exchange *x)
{
    struct eio_poll *p = s->poll;
    uint64_t length = 0;
    bool binary = mdg_slice_starts(mdg_exchange_header(x, "content-type"),
                                   MDG_SLICE_LIT("application/octet-stream"));
    if (p->post || (binary && s->version != 3)) {
        eio_refuse(s->w, x, MDG_EIO_BAD_REQUEST, mdg_slice(NULL, 0));
        eio_session_end(s, MDG_CLOSE_PROTOCOL, "transport error");
        return;
    }
    struct mdg_slice said = mdg_exchange_header(x, "content-length");
    if (said.data && mdg_slice_u64(said, &length) == 0 && length > s->w->options->max_payload) {
        refuse_size(s, x);
        return;
    }
    p->post = x;
    mdg_exchange_set_handler(x, &post_handler);
    mdg_exchange_set_arg(x, s);
}
