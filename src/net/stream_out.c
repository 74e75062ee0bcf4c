/* Sending: queues of references, small writes copied into an arena of the turn, and one flush at
 * its end: a send or sendmsg per stream, or all streams in one io_uring batch. */
#include "base/move.h"
#include "loop/send_batch.h"
#include "net/internal.h"
#include "net/tls_internal.h"
#include <errno.h>
#include <stdlib.h>

enum {
    ARENA_BLOCK = 64 * 1024,
    ARENA_BLOCKS_KEPT = 4,
    FLUSH_ROUNDS_MAX = 4, /* on_writable makes output; what comes after these waits for a turn */
};

const uint8_t *mdg_out_data(const struct mdg_out *o)
{
    if (o->ref & 1)
        return (const uint8_t *)(o->ref & ~(uintptr_t)1) + o->off;
    return ((const struct mdg_blob *)o->ref)->data + o->off;
}

static struct mdg_out raw_out(const uint8_t *data, uint32_t len)
{
    uintptr_t address = (uintptr_t)data;
    return (struct mdg_out){(address & ~(uintptr_t)1) | 1, (uint32_t)(address & 1), len};
}

static void unref_out(const struct mdg_out *o)
{
    if (!(o->ref & 1))
        mdg_blob_unref((struct mdg_blob *)o->ref);
}

/* Room for n more entries behind the queue's end. */
static int reserve_out(struct mdg_stream_aux *aux, size_t n)
{
    if (aux->out_head + aux->out_len + n <= aux->out_cap)
        return 0;
    if (aux->out_len + n <= aux->out_cap) {
        memmove(aux->out, aux->out + aux->out_head, aux->out_len * sizeof *aux->out);
        aux->out_head = 0;
        return 0;
    }
    size_t cap = mdg_max_size((size_t)aux->out_cap * 2, aux->out_len + n);
    if (cap > UINT32_MAX / 2)
        return MDG_E_TOO_BIG;
    struct mdg_out *bigger = malloc(cap * sizeof *bigger);
    if (!bigger)
        return MDG_E_NO_MEMORY;
    memcpy(bigger, aux->out + aux->out_head, aux->out_len * sizeof *bigger);
    if (aux->out != aux->own_out)
        free(aux->out);
    aux->out = bigger;
    aux->out_head = 0;
    aux->out_cap = (uint32_t)cap;
    return 0;
}

static void push_out(struct mdg_stream *s, struct mdg_out o)
{
    struct mdg_stream_aux *aux = s->aux;
    aux->out[aux->out_head + aux->out_len++] = o;
    s->out_bytes += o.len;
}

/* Whether `bytes` more may be queued: 0 or the error. */
static int check_room(struct mdg_stream *s, size_t bytes)
{
    if (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER | MDG_STREAM_SHUTDOWN | MDG_STREAM_SHUT |
                    MDG_STREAM_FAILED))
        return MDG_E_CLOSED;
    if (bytes > UINT32_MAX - s->out_bytes)
        return MDG_E_TOO_BIG;
    if (s->out_bytes > 0 && s->out_bytes + bytes > s->out_max) {
        s->flags |= MDG_STREAM_REFUSED;
        return MDG_E_FULL;
    }
    return 0;
}

static void flush_early(struct mdg_net *net);

void mdg_stream_mark(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    if (s->flags & MDG_STREAM_DIRTY)
        return;
    if (net->dirty.len >= net->flush_at && !net->flushing)
        flush_early(net);
    if (mdg_row_push(&net->dirty, s) < 0) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    s->flags |= MDG_STREAM_DIRTY;
    if (net->dirty.len == 1)
        mdg_loop_kick(net->loop);
}

int mdg_stream_send(struct mdg_stream *s, struct mdg_chunk *chunks, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += chunks[i].len;
    int err = check_room(s, bytes);
    if (err < 0)
        return err;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    if (!aux)
        return MDG_E_NO_MEMORY;
    err = reserve_out(aux, n);
    if (err < 0)
        return err;
    for (size_t i = 0; i < n; i++) {
        if (chunks[i].len)
            push_out(s, (struct mdg_out){(uintptr_t)chunks[i].blob, chunks[i].off, chunks[i].len});
        else
            mdg_blob_unref(chunks[i].blob);
        chunks[i].blob = NULL;
    }
    mdg_net_of(s)->counters.queued_bytes += bytes;
    mdg_stream_mark(s);
    return 0;
}

static struct mdg_arena_block *arena_block(struct mdg_net *net)
{
    struct mdg_arena_block *block = net->arena_spare;
    if (block) {
        net->arena_spare = block->next;
        net->arena_spares--;
    } else {
        block = malloc(sizeof *block + ARENA_BLOCK);
    }
    if (block)
        *block = (struct mdg_arena_block){.next = net->arena, .cap = ARENA_BLOCK};
    return block;
}

static uint8_t *arena_take(struct mdg_net *net, size_t len)
{
    struct mdg_arena_block *block = net->arena;
    if (!block || block->cap - block->used < len) {
        block = arena_block(net);
        if (!block)
            return NULL;
        net->arena = block;
    }
    uint8_t *at = block->data + block->used;
    block->used += (uint32_t)len;
    return at;
}

/* The current block is the next turn's; of the others a few are kept. */
static void arena_reset(struct mdg_net *net)
{
    struct mdg_arena_block *current = net->arena;
    if (!current)
        return;
    current->used = 0;
    while (current->next) {
        struct mdg_arena_block *block = current->next;
        current->next = block->next;
        if (net->arena_spares < ARENA_BLOCKS_KEPT) {
            block->next = net->arena_spare;
            net->arena_spare = block;
            net->arena_spares++;
        } else {
            free(block);
        }
    }
}

static void free_blocks(struct mdg_arena_block *block)
{
    while (block) {
        struct mdg_arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void mdg_net_arena_free(struct mdg_net *net)
{
    free_blocks(net->arena);
    free_blocks(net->arena_spare);
    net->arena = net->arena_spare = NULL;
}

static bool may_borrow(const struct mdg_net *net, const struct mdg_stream *s, struct mdg_slice part)
{
    return part.len >= MDG_BORROW_MIN && net->in_stream == s && part.data >= net->in_data &&
           part.data + part.len <= net->in_data + net->in_len;
}

/* The longest run of parts that are copied together. */
static size_t copied_run(const struct mdg_net *net, const struct mdg_stream *s,
                         const struct mdg_slice *parts, size_t n, size_t *bytes)
{
    size_t i;
    *bytes = 0;
    for (i = 0; i < n && !may_borrow(net, s, parts[i]); i++)
        *bytes += parts[i].len;
    return i;
}

static void copy_parts(uint8_t *to, const struct mdg_slice *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mdg_move(to, parts[i].data, parts[i].len);
        to += parts[i].len;
    }
}

/* The copy continues the queue's last entry when that ends where the arena goes on. */
static void push_raw(struct mdg_stream *s, const uint8_t *at, size_t bytes)
{
    struct mdg_stream_aux *aux = s->aux;
    if (aux->out_len > 0) {
        struct mdg_out *last = &aux->out[aux->out_head + aux->out_len - 1];
        if ((last->ref & 1) && mdg_out_data(last) + last->len == at) {
            last->len += (uint32_t)bytes;
            s->out_bytes += (uint32_t)bytes;
            return;
        }
    }
    push_out(s, raw_out(at, (uint32_t)bytes));
}

static int copy_run(struct mdg_stream *s, const struct mdg_slice *parts, size_t n, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (bytes >= MDG_COPY_OWN_MIN) {
        struct mdg_blob *blob = mdg_blob_new((uint32_t)bytes);
        if (!blob)
            return MDG_E_NO_MEMORY;
        copy_parts(blob->data, parts, n);
        push_out(s, (struct mdg_out){(uintptr_t)blob, 0, (uint32_t)bytes});
        return 0;
    }
    uint8_t *at = arena_take(mdg_net_of(s), bytes);
    if (!at)
        return MDG_E_NO_MEMORY;
    copy_parts(at, parts, n);
    push_raw(s, at, bytes);
    return 0;
}

static int write_parts(struct mdg_stream *s, const struct mdg_slice *parts, size_t n)
{
    struct mdg_net *net = mdg_net_of(s);
    for (size_t i = 0; i < n;) {
        size_t bytes;
        size_t run = copied_run(net, s, parts + i, n - i, &bytes);
        int err = copy_run(s, parts + i, run, bytes);
        if (err < 0)
            return err;
        i += run;
        if (i < n) {
            push_raw(s, parts[i].data, parts[i].len);
            net->borrowed = true;
            i++;
        }
    }
    return 0;
}

/* The common case by far: a short frame behind another one of the same turn. */
static bool write_behind(struct mdg_stream *s, const struct mdg_slice *parts, size_t n,
                         size_t bytes)
{
    struct mdg_stream_aux *aux = s->aux;
    struct mdg_arena_block *block = mdg_net_of(s)->arena;
    if (bytes >= MDG_BORROW_MIN || !aux || aux->out_len == 0 || !block ||
        bytes > block->cap - block->used || s->out_bytes + bytes > s->out_max ||
        (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER | MDG_STREAM_SHUTDOWN |
                     MDG_STREAM_SHUT | MDG_STREAM_FAILED)))
        return false;
    struct mdg_out *last = &aux->out[aux->out_head + aux->out_len - 1];
    uint8_t *end = block->data + block->used;
    if (!(last->ref & 1) || mdg_out_data(last) + last->len != end)
        return false;
    copy_parts(end, parts, n);
    block->used += (uint32_t)bytes;
    last->len += (uint32_t)bytes;
    s->out_bytes += (uint32_t)bytes;
    mdg_net_of(s)->counters.queued_bytes += bytes;
    return true;
}

int mdg_stream_write(struct mdg_stream *s, const struct mdg_slice *parts, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += parts[i].len;
    if (write_behind(s, parts, n, bytes))
        return 0;
    int err = check_room(s, bytes);
    if (err < 0)
        return err;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    if (!aux)
        return MDG_E_NO_MEMORY;
    err = reserve_out(aux, n);
    if (err < 0)
        return err;
    uint32_t len_before = aux->out_len, bytes_before = s->out_bytes;
    uint32_t last_before = len_before ? aux->out[aux->out_head + len_before - 1].len : 0;
    err = write_parts(s, parts, n);
    if (err < 0) { /* all or nothing */
        while (aux->out_len > len_before)
            unref_out(&aux->out[aux->out_head + --aux->out_len]);
        if (len_before)
            aux->out[aux->out_head + len_before - 1].len = last_before;
        s->out_bytes = bytes_before;
        return err;
    }
    mdg_net_of(s)->counters.queued_bytes += bytes;
    mdg_stream_mark(s);
    return 0;
}

void mdg_stream_set_out_max(struct mdg_stream *s, uint32_t bytes)
{
    s->out_max = bytes;
}

size_t mdg_out_gather(const struct mdg_stream *s, struct iovec *iov, size_t max, size_t *bytes)
{
    const struct mdg_stream_aux *aux = s->aux;
    size_t n = mdg_min_size(aux->out_len, max);
    const struct mdg_out *o = aux->out + aux->out_head;
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        /* iovec is not const-correct: the kernel only reads. */
        iov[i] = (struct iovec){(void *)(uintptr_t)mdg_out_data(&o[i]), o[i].len};
        *bytes += o[i].len;
    }
    return n;
}

void mdg_out_consumed(struct mdg_stream *s, size_t n)
{
    struct mdg_stream_aux *aux = s->aux;
    assert(n <= s->out_bytes);
    s->out_bytes -= (uint32_t)n;
    mdg_net_of(s)->counters.queued_bytes -= n;
    struct mdg_out *o = aux->out + aux->out_head;
    while (n > 0) {
        if (n < o->len) {
            o->off += (uint32_t)n;
            o->len -= (uint32_t)n;
            return;
        }
        n -= o->len;
        unref_out(o++);
        aux->out_head++;
        aux->out_len--;
    }
    if (aux->out_len == 0)
        aux->out_head = 0;
}

void mdg_stream_drop_out(struct mdg_stream *s)
{
    if (s->out_bytes)
        mdg_out_consumed(s, s->out_bytes);
}

/* Raw entries must not outlive the turn: what the kernel did not take is copied, once, together. */
static void settle(struct mdg_stream *s)
{
    struct mdg_stream_aux *aux = s->aux;
    struct mdg_out *o = aux->out + aux->out_head;
    for (uint32_t i = 0; i < aux->out_len; i++) {
        if (!(o[i].ref & 1))
            continue;
        struct mdg_blob *blob = mdg_blob_copy(mdg_slice(mdg_out_data(&o[i]), o[i].len));
        if (!blob) {
            mdg_stream_drop_out(s);
            s->flags |= MDG_STREAM_FAILED;
            mdg_stream_close(s, MDG_E_NO_MEMORY);
            return;
        }
        o[i] = (struct mdg_out){(uintptr_t)blob, 0, o[i].len};
    }
}

void mdg_stream_send_failed(struct mdg_stream *s, int err)
{
    s->flags |= MDG_STREAM_FAILED;
    mdg_stream_drop_out(s);
    if (s->flags & MDG_STREAM_LINGER)
        mdg_stream_end(s);
    else
        mdg_stream_close(s, err);
}

/* What became of one attempt to send `tried` bytes. True: everything was taken, go on. */
static bool sent(struct mdg_stream *s, ssize_t result, size_t tried)
{
    struct mdg_net *net = mdg_net_of(s);
    net->counters.sends++;
    if (result == -EAGAIN) {
        s->flags |= MDG_STREAM_WANT_OUT;
        return false;
    }
    if (result < 0) {
        mdg_stream_send_failed(s, (int)result);
        return false;
    }
    net->counters.out_bytes += (uint64_t)result;
    mdg_out_consumed(s, (size_t)result);
    if ((size_t)result < tried)
        s->flags |= MDG_STREAM_WANT_OUT; /* the socket's buffer is full */
    return (size_t)result == tried;
}

static void send_directly(struct mdg_stream *s)
{
    struct iovec iov[MDG_IOV_PER_CALL];
    bool more = true;
    if (s->aux && s->aux->tls) {
        mdg_tls_flush(s);
        return;
    }
    while (more && s->out_bytes > 0) {
        size_t tried;
        size_t n = mdg_out_gather(s, iov, MDG_ARRAY_LEN(iov), &tried);
        more = sent(s, mdg_class(s)->transport->send(s, iov, (int)n), tried);
    }
}

static bool sendable(const struct mdg_stream *s)
{
    return !(s->flags & (MDG_STREAM_WANT_OUT | MDG_STREAM_FAILED)) &&
           (s->out_bytes > 0 || (s->aux && s->aux->tls));
}

/* Borrowed bytes go out now; the rest of the turn's bookkeeping happens in the flush phase. */
void mdg_stream_flush_now(struct mdg_stream *s)
{
    if (sendable(s))
        send_directly(s);
    if (s->aux && s->out_bytes)
        settle(s);
}

static void queue_is_empty(struct mdg_stream *s)
{
    const struct mdg_transport *transport = mdg_class(s)->transport;
    if ((s->flags & (MDG_STREAM_SHUTDOWN | MDG_STREAM_LINGER)) && !(s->flags & MDG_STREAM_SHUT)) {
        if (!mdg_tls_shut(s))
            return; /* close_notify is on its way */
        transport->shut(s);
        s->flags |= MDG_STREAM_SHUT;
        if ((s->flags & MDG_STREAM_LINGER) && (s->flags & MDG_STREAM_EOF))
            mdg_stream_end(s);
    }
}

/* Bookkeeping after the attempt to send. */
static void after_flush(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    s->flags &= (uint16_t)~MDG_STREAM_DIRTY;
    if (s->aux && s->out_bytes)
        settle(s);
    if (s->flags & MDG_STREAM_CLOSING) {
        if (s->out_bytes == 0)
            mdg_tls_shut(s); /* one attempt, like everything else that was queued */
        return;
    }
    if (s->out_bytes == 0 && !(s->flags & MDG_STREAM_WANT_OUT))
        queue_is_empty(s);
    mdg_stream_interest(s, (s->watching & MDG_WATCH_IN) != 0,
                        (s->flags & MDG_STREAM_WANT_OUT) != 0);
    if ((s->flags & MDG_STREAM_REFUSED) && s->out_bytes <= s->out_max / 4 &&
        mdg_row_push(&net->owed, s) == 0)
        s->flags &= (uint16_t)~MDG_STREAM_REFUSED;
    if (s->aux)
        mdg_stream_aux_tidy(s);
}

static void on_batch_result(void *owner, int result, size_t tried)
{
    struct mdg_stream *s = owner;
    if (sent(s, result, tried) && s->out_bytes > 0)
        send_directly(s); /* more entries than one call takes */
}

static void run_batch(struct mdg_net *net)
{
    net->counters.batches++;
    if (mdg_send_batch_run(net->batch, on_batch_result) < 0) {
        /* The ring is broken: from now on without it. What was not sent is still queued. */
        mdg_send_batch_free(net->batch);
        net->batch = NULL;
    }
}

static void send_in_batch(struct mdg_net *net, size_t from, size_t len)
{
    struct iovec iov[MDG_IOV_PER_CALL];
    for (size_t i = from; i < len; i++) {
        struct mdg_stream *s = net->dirty.at[i];
        if (!sendable(s))
            continue;
        if (!mdg_class(s)->transport->plain_fd || s->aux->tls || !net->batch) {
            send_directly(s);
            continue;
        }
        size_t tried;
        size_t n = mdg_out_gather(s, iov, MDG_ARRAY_LEN(iov), &tried);
        if (!mdg_send_batch_add(net->batch, s->fd, iov, n, tried, s)) {
            run_batch(net);
            i--; /* once more, with an empty batch or without one */
        }
    }
    if (net->batch)
        run_batch(net);
}

static void flush_first(struct mdg_net *net, size_t len)
{
    net->counters.flushes += len;
    net->flushing = true;
    if (net->batch && len >= 2)
        send_in_batch(net, 0, len);
    for (size_t i = 0; i < len; i++) {
        struct mdg_stream *s = net->dirty.at[i];
        if (sendable(s))
            send_directly(s);
        after_flush(s);
    }
    net->flushing = false;
    mdg_row_drop(&net->dirty, len);
}

/* Must wait for the end of the turn: a flush of TLS may complete a handshake, which its owner
 * hears of, and whose on_data is on the stack may write more or close. */
static bool must_wait(const struct mdg_stream *s)
{
    return (s->flags & MDG_STREAM_IN_DATA) || (s->aux && s->aux->tls);
}

/* A message to ten thousand members fills a queue for each of them, all before the end of the turn.
 * The memory of so many queues would stay with the process; so the first thousand are sent, and
 * their queues serve the next thousand, while the processor still has them in its cache. */
static void flush_early(struct mdg_net *net)
{
    struct mdg_stream **at = net->dirty.at;
    size_t now = 0;
    for (size_t i = 0; i < net->dirty.len; i++) {
        struct mdg_stream *s = at[i];
        if (must_wait(s))
            continue;
        at[i] = at[now];
        at[now++] = s;
    }
    flush_first(net, now);
    net->flush_at = net->dirty.len + MDG_DIRTY_MAX;
}

static void tell_writable(struct mdg_net *net)
{
    size_t len = net->owed.len;
    if (len == 0)
        return;
    for (size_t i = 0; i < len; i++) {
        struct mdg_stream *s = net->owed.at[i];
        if (!mdg_stream_closing(s) && s->user->on_writable)
            s->user->on_writable(s);
    }
    mdg_row_drop(&net->owed, len);
}

void mdg_net_flush(struct mdg_net *net)
{
    for (int i = 0; i < FLUSH_ROUNDS_MAX && net->dirty.len > 0; i++) {
        flush_first(net, net->dirty.len);
        tell_writable(net);
    }
    net->flush_at = MDG_DIRTY_MAX;
    /* Raw entries of streams that the rounds did not reach must be safe before the arena is. */
    for (size_t i = 0; i < net->dirty.len; i++) {
        if (net->dirty.at[i]->aux)
            settle(net->dirty.at[i]);
    }
    arena_reset(net);
}
