/* One peer: numbered units out, with a ring of those that may be asked for again; units in, once
 * each. */
#include "transport/udp_peer.h"
#include "base/utf8.h"
#include "net/net.h"
#include <stdlib.h>

static struct mdg_udp_peer *peer_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct mdg_udp_peer, link);
}

static int ignore_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l;
    (void)in;
    (void)binary;
    return 0;
}

static void ignore_writable(struct mdg_link *l)
{
    (void)l;
}

static void ignore_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l;
    (void)code;
    (void)reason;
}

const struct mdg_link_user mdg_udp_nobody = {ignore_input, ignore_writable, ignore_close};

void mdg_udp_say(struct mdg_udp_hall *hall, const struct mdg_addr *to,
                 const struct mdg_udp_packet *p)
{
    uint8_t bytes[160];
    struct mdg_writer w;
    mdg_writer_init(&w, bytes, sizeof bytes);
    mdg_udp_encode(&w, p);
    assert(mdg_writer_fits(&w));
    struct mdg_slice part = {bytes, w.len};
    (void)!mdg_udp_write(hall->socket, to, &part, 1);
}

/* ---- The ring ---- */

static struct mdg_udp_sent *slot_of(const struct mdg_udp_peer *peer, uint32_t seq)
{
    return &peer->ring[seq % MDG_UDP_RING];
}

static void forget(struct mdg_udp_peer *peer, struct mdg_udp_sent *sent)
{
    if (!sent->chunk.blob)
        return;
    peer->ring_bytes -= sent->chunk.len;
    mdg_blob_unref(sent->chunk.blob);
    sent->chunk.blob = NULL;
}

/* Where the next unit goes; NULL: the client has not acknowledged enough, or there is no memory. */
static struct mdg_udp_sent *next_slot(struct mdg_udp_peer *peer, size_t bytes, int *err)
{
    if (!peer->ring)
        peer->ring = calloc(MDG_UDP_RING, sizeof *peer->ring);
    *err = MDG_E_NO_MEMORY;
    if (!peer->ring)
        return NULL;
    struct mdg_udp_sent *sent = slot_of(peer, peer->next_seq);
    *err = MDG_E_FULL;
    bool over = peer->ring_bytes > 0 && peer->ring_bytes + bytes > MDG_UDP_RING_BYTES;
    if (peer->wants_acks && (sent->chunk.blob || over))
        return NULL;
    forget(peer, sent);
    for (uint32_t back = MDG_UDP_RING - 1; over && back > 0; back--) {
        forget(peer, slot_of(peer, peer->next_seq - back));
        over = peer->ring_bytes > 0 && peer->ring_bytes + bytes > MDG_UDP_RING_BYTES;
    }
    *err = 0;
    return sent;
}

static int transmit(struct mdg_udp_peer *peer, const struct mdg_udp_sent *sent, uint8_t more_flags)
{
    if (peer->lost)
        return 0;
    struct mdg_blob *head = mdg_blob_new(MDG_UDP_DATA_HEAD);
    if (!head)
        return MDG_E_NO_MEMORY;
    struct mdg_writer w;
    mdg_writer_init(&w, head->data, head->len);
    mdg_udp_encode(&w, &(struct mdg_udp_packet){.type = MDG_UDP_DATA,
                                                .flags = sent->flags | more_flags,
                                                .seq = sent->seq});
    struct mdg_chunk chunks[2] = {mdg_chunk_all(head), sent->chunk};
    mdg_blob_ref(sent->chunk.blob);
    int err = mdg_udp_send(peer->hall->socket, &peer->addr, chunks, 2);
    if (err) {
        mdg_blob_unref(head);
        mdg_blob_unref(sent->chunk.blob);
    }
    return err;
}

/* The number is used up, so that the client sees that something is missing. */
static int too_long(struct mdg_udp_peer *peer)
{
    static const char text[] = "! too_big: a message does not fit into a datagram\n";
    if (peer->person) {
        struct mdg_slice part = {(const uint8_t *)text, sizeof text - 1};
        (void)!mdg_udp_write(peer->hall->socket, &peer->addr, &part, 1);
        return 0;
    }
    uint32_t seq = peer->next_seq++;
    mdg_udp_say(peer->hall, &peer->addr,
                &(struct mdg_udp_packet){.type = MDG_UDP_GONE, .seq = seq, .to = seq});
    return 0;
}

/* Takes the chunk's reference over on 0. */
static int send_numbered(struct mdg_udp_peer *peer, struct mdg_chunk *chunk)
{
    int err;
    struct mdg_udp_sent *sent = next_slot(peer, chunk->len, &err);
    if (!sent)
        return err;
    *sent = (struct mdg_udp_sent){.chunk = *chunk, .seq = peer->next_seq, .tries = 1};
    sent->flags = peer->wants_acks ? MDG_UDP_WANT_ACK : 0;
    sent->due_ms = mdg_loop_now_ms(peer->hall->loop) + MDG_UDP_RETRY_MS;
    err = transmit(peer, sent, 0);
    if (err && !peer->wants_acks) {
        sent->chunk.blob = NULL;
        return err;
    }
    /* with acknowledgements a full socket is a lost datagram: it is sent again */
    peer->ring_bytes += chunk->len;
    peer->next_seq++;
    chunk->blob = NULL;
    return 0;
}

/* What a person is told in one turn goes out together: /help is a dozen lines, and whoever forges a
 * proven address could otherwise make us send as many datagrams there for one of his. */
static int flush_lines(struct mdg_udp_peer *peer)
{
    struct mdg_slice part = mdg_buf_slice(&peer->lines);
    if (part.len == 0)
        return 0;
    int err = mdg_udp_write(peer->hall->socket, &peer->addr, &part, 1);
    if (err == MDG_E_FULL) {
        peer->refused = true;
        return err;
    }
    mdg_buf_fini(&peer->lines);
    mdg_buf_init(&peer->lines, peer->hall->options->datagram_bytes_max);
    return 0;
}

static void on_turn_over(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    (void)!flush_lines(arg);
}

static int say_line(struct mdg_udp_peer *peer, struct mdg_slice line)
{
    uint32_t max = peer->hall->options->datagram_bytes_max;
    int err = 0;
    if (peer->lines.len + line.len > max)
        err = flush_lines(peer);
    if (err == 0 && line.len > max)
        return too_long(peer);
    if (err == 0)
        err = mdg_buf_append(&peer->lines, line);
    if (err == 0)
        mdg_loop_defer(peer->hall->loop, &peer->turn_over);
    return err;
}

void mdg_udp_peer_writable(struct mdg_udp_peer *peer)
{
    if (!peer->refused || peer->closing)
        return;
    peer->refused = false;
    if (flush_lines(peer) == 0)
        peer->link.user->on_writable(&peer->link);
}

static int send_one(struct mdg_udp_peer *peer, struct mdg_chunk *chunk)
{
    size_t head = peer->person ? 0 : MDG_UDP_DATA_HEAD;
    if (chunk->len + head > peer->hall->options->datagram_bytes_max) {
        mdg_blob_unref(chunk->blob);
        chunk->blob = NULL;
        return too_long(peer);
    }
    return peer->person ? mdg_udp_send(peer->hall->socket, &peer->addr, chunk, 1)
                        : send_numbered(peer, chunk);
}

static int link_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct mdg_udp_peer *peer = peer_of(l);
    if (peer->closing)
        return MDG_E_CLOSED;
    if (flush_lines(peer) < 0)
        return MDG_E_FULL; /* what was said before comes before */
    for (size_t i = 0; i < n; i++) {
        int err = send_one(peer, &framed[i]);
        if (err == 0)
            continue;
        peer->refused |= err == MDG_E_FULL;
        if (i == 0)
            return err;
        mdg_blob_unref(framed[i].blob); /* half a message went out: the rest is lost on the way */
        framed[i].blob = NULL;
    }
    return 0;
}

static int link_send_unit(struct mdg_link *l, struct mdg_slice unit,
                          const struct mdg_unit_meta *meta)
{
    static const struct mdg_unit_meta no_meta = {0};
    struct mdg_writer w;
    meta = meta ? meta : &no_meta;
    if (meta->binary)
        return MDG_E_UNSUPPORTED;
    mdg_writer_init(&w, NULL, 0);
    int err = mdg_frame(l->framing, &w, unit, meta);
    struct mdg_blob *blob = err == 0 && w.len <= UINT32_MAX ? mdg_blob_new((uint32_t)w.len) : NULL;
    if (!blob)
        return err ? err : MDG_E_NO_MEMORY;
    mdg_writer_init(&w, blob->data, blob->len);
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    err = mdg_frame(l->framing, &w, unit, meta);
    if (err == 0 && peer_of(l)->person && !peer_of(l)->closing) {
        err = say_line(peer_of(l), mdg_slice(blob->data, blob->len));
        mdg_blob_unref(blob);
        return err;
    }
    if (err == 0)
        err = link_send(l, &chunk, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

static void link_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_udp_peer *peer = peer_of(l);
    if (peer->closing)
        return;
    if (!peer->person) {
        struct mdg_udp_packet bye = {.type = MDG_UDP_BYE, .code = (uint16_t)code};
        uint8_t text[128];
        bye.body = (struct mdg_input){text, mdg_min_size(reason.len, sizeof text)};
        if (bye.body.len)
            memcpy(text, reason.data, bye.body.len);
        mdg_udp_say(peer->hall, &peer->addr, &bye);
    }
    (void)!flush_lines(peer); /* a full socket: it is lost, as on the way */
    mdg_udp_peer_end(peer, code);
}

static void link_pause(struct mdg_link *l, bool paused)
{
    peer_of(l)->paused = paused;
}

static size_t link_queued(const struct mdg_link *l)
{
    const struct mdg_udp_peer *peer = peer_of(l);
    return peer->wants_acks ? peer->ring_bytes : 0;
}

static void link_address(const struct mdg_link *l, struct mdg_writer *w)
{
    mdg_addr_write_ip(w, &peer_of(l)->addr);
}

const struct mdg_carrier mdg_udp_carrier = {
    .name = "udp",
    .send = link_send,
    .send_unit = link_send_unit,
    .close = link_close,
    .pause = link_pause,
    .queued = link_queued,
    .address = link_address,
};

const struct mdg_framing mdg_udp_framing = {.name = "udp", .text_only = true};

/* A line break inside would be read as a line of somebody else's. */
static void line_escape(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit)
{
    (void)f;
    for (size_t i = 0; i < unit.len; i++) {
        uint8_t c = unit.data[i];
        mdg_write_u8(w, c == '\n' || c == '\r' ? ' ' : c);
    }
}

static void line_tail(const struct mdg_framing *f, struct mdg_writer *w,
                      const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '\n');
}

const struct mdg_framing mdg_udp_line_framing = {
    .name = "udp+line", .text_only = true, .escape = line_escape, .tail = line_tail};

/* ---- What comes in ---- */

static void input(struct mdg_udp_peer *peer, struct mdg_input in)
{
    bool binary = !mdg_utf8_valid(mdg_slice(in.data, in.len));
    int err = peer->link.user->on_input(&peer->link, in, binary);
    if (err < 0)
        link_close(&peer->link, MDG_CLOSE_PROTOCOL, mdg_slice_str(mdg_strerror(err)));
}

/* nc sends what was typed or pasted at once as one datagram. */
static void take_lines(struct mdg_udp_peer *peer, struct mdg_input in)
{
    while (!peer->closing && in.data) {
        uint8_t *end = in.len ? memchr(in.data, '\n', in.len) : NULL;
        size_t len = end ? (size_t)(end - in.data) : in.len;
        struct mdg_input line = {in.data, len};
        if (len && line.data[len - 1] == '\r')
            line.len--;
        input(peer, line);
        in.data = end ? end + 1 : NULL;
        in.len -= end ? len + 1 : len;
    }
}

static void take_data(struct mdg_udp_peer *peer, struct mdg_udp_packet *p)
{
    if (peer->paused)
        return; /* not acknowledged either: it comes again */
    bool is_new = mdg_udp_window_take(&peer->window, p->seq) == MDG_UDP_NEW;
    if (p->flags & MDG_UDP_WANT_ACK) {
        struct mdg_udp_packet ack = {.type = MDG_UDP_ACK};
        mdg_udp_window_ack(&peer->window, &ack);
        mdg_udp_say(peer->hall, &peer->addr, &ack);
    }
    if (is_new)
        input(peer, p->body);
}

static void take_ack(struct mdg_udp_peer *peer, const struct mdg_udp_packet *ack)
{
    for (unsigned i = 0; peer->ring && peer->wants_acks && i < MDG_UDP_RING; i++) {
        struct mdg_udp_sent *sent = &peer->ring[i];
        if (sent->chunk.blob && mdg_udp_acked(ack, sent->seq))
            forget(peer, sent);
    }
    mdg_udp_peer_writable(peer);
}

/* Once more, if it is still there and was not sent too often. */
static bool send_again(struct mdg_udp_peer *peer, uint32_t seq)
{
    struct mdg_udp_sent *sent = slot_of(peer, seq);
    if (!sent->chunk.blob || sent->seq != seq || sent->tries >= MDG_UDP_TRIES_MAX)
        return false;
    sent->tries++;
    (void)!transmit(peer, sent, MDG_UDP_AGAIN);
    return true;
}

/* At most as many as the ring holds, whatever range was asked for; one answer tells of all that
 * cannot be sent. */
static void take_nack(struct mdg_udp_peer *peer, const struct mdg_udp_packet *nack)
{
    uint32_t count = nack->to - nack->seq + 1;
    uint32_t skipped = count > MDG_UDP_RING ? count - MDG_UDP_RING : 0;
    bool known = peer->ring && !mdg_udp_after(nack->to, peer->next_seq - 1);
    struct mdg_udp_packet gone = {
        .type = MDG_UDP_GONE, .seq = nack->seq, .to = nack->seq + skipped - 1};
    bool any = skipped > 0;
    for (uint32_t i = skipped; known && i < count; i++) {
        uint32_t seq = nack->seq + i;
        if (send_again(peer, seq))
            continue;
        gone.seq = any ? gone.seq : seq;
        gone.to = seq;
        any = true;
    }
    if (known && any)
        mdg_udp_say(peer->hall, &peer->addr, &gone);
}

void mdg_udp_peer_take(struct mdg_udp_peer *peer, struct mdg_udp_packet *p)
{
    peer->heard_ms = mdg_loop_now_ms(peer->hall->loop);
    peer->lost = false;
    if (peer->person) {
        if (p->type == MDG_UDP_TEXT)
            take_lines(peer, p->body);
        return;
    }
    if (p->type == MDG_UDP_DATA) {
        take_data(peer, p);
    } else if (p->type == MDG_UDP_ACK) {
        take_ack(peer, p);
    } else if (p->type == MDG_UDP_NACK) {
        take_nack(peer, p);
    } else if (p->type == MDG_UDP_PING) {
        p->type = MDG_UDP_PONG;
        mdg_udp_say(peer->hall, &peer->addr, p);
    } else if (p->type == MDG_UDP_BYE) {
        mdg_udp_peer_end(peer, p->code ? p->code : MDG_CLOSE_NORMAL);
    }
}

void mdg_udp_peer_retry(struct mdg_udp_peer *peer, uint64_t now_ms)
{
    bool waits = peer->ring && peer->wants_acks && !peer->lost;
    for (unsigned i = 0; waits && i < MDG_UDP_RING; i++) {
        struct mdg_udp_sent *sent = &peer->ring[i];
        if (!sent->chunk.blob || sent->due_ms > now_ms)
            continue;
        if (sent->tries >= MDG_UDP_TRIES_MAX) {
            mdg_udp_peer_end(peer, MDG_CLOSE_ABNORMAL);
            return;
        }
        uint64_t wait_ms = (uint64_t)MDG_UDP_RETRY_MS << sent->tries++;
        sent->due_ms = now_ms + mdg_min_size(wait_ms, MDG_UDP_RETRY_MAX_MS);
        (void)!transmit(peer, sent, MDG_UDP_AGAIN);
    }
}

/* ---- The end ---- */

static void dispose(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    free(arg);
}

static void finish(struct mdg_loop *loop, void *arg)
{
    struct mdg_udp_peer *peer = arg;
    peer->link.user->on_close(&peer->link, peer->close_code, mdg_slice(NULL, 0));
    peer->link.user = &mdg_udp_nobody;
    mdg_list_remove(&peer->in_hall);
    mdg_account_put(peer->account);
    for (unsigned i = 0; peer->ring && i < MDG_UDP_RING; i++)
        forget(peer, &peer->ring[i]);
    free(peer->ring);
    mdg_defer_cancel(&peer->turn_over);
    mdg_buf_fini(&peer->lines);
    peer->end.fn = dispose;
    mdg_loop_dispose(loop, &peer->end);
}

void mdg_udp_peer_begin(struct mdg_udp_peer *peer)
{
    mdg_buf_init(&peer->lines, peer->hall->options->datagram_bytes_max);
    peer->turn_over = (struct mdg_defer){.fn = on_turn_over, .arg = peer};
}

void mdg_udp_peer_end(struct mdg_udp_peer *peer, int code)
{
    if (peer->closing)
        return;
    peer->closing = true;
    peer->close_code = (uint16_t)code;
    mdg_map_remove(&peer->hall->by_addr, mdg_slice(peer->key, peer->key_len));
    if (!peer->person)
        mdg_map_remove(&peer->hall->by_token, mdg_slice(peer->token, sizeof peer->token));
    peer->end = (struct mdg_defer){.fn = finish, .arg = peer};
    mdg_loop_defer(peer->hall->loop, &peer->end);
}
