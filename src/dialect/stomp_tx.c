/* BEGIN, COMMIT, ABORT: frames that take effect together or not at all. They are kept here until
 * the COMMIT, bounded in number and bytes; a connection that goes away takes its transactions
 * along. What a COMMIT does to queues is one unit on the disk. */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

struct op {
    struct mdg_list in_tx;
    struct mdg_stomp_pending *pending; /* the frame's own receipt */
    struct mdg_content *content;       /* a SEND; NULL: ACK or NACK */
    uint64_t sub, tag;
    uint8_t kind, how;
    bool keep;
    uint32_t name_len;
    uint8_t name[];
};

struct mdg_stomp_tx {
    struct mdg_list in_conn;
    struct mdg_list ops;
    uint32_t op_count;
    uint32_t id_len;
    uint8_t id[];
};

static struct mdg_stomp_tx *find(struct mdg_stomp *c, struct mdg_slice id)
{
    MDG_LIST_FOR(node, next, &c->txs)
    {
        struct mdg_stomp_tx *t = MDG_CONTAINER_OF(node, struct mdg_stomp_tx, in_conn);
        if (mdg_slice_eq(id, mdg_slice(t->id, t->id_len)))
            return t;
    }
    return NULL;
}

/* The open transaction that the frame names; NULL: the connection was failed. */
static struct mdg_stomp_tx *find_or_fail(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_slice id = mdg_stomp_find(f, "transaction");
    if (!id.data) {
        mdg_stomp_fail(c, f, "Missing transaction", "%s must include a 'transaction' header\n",
                       mdg_stomp_command_text(f->command));
        return NULL;
    }
    struct mdg_stomp_tx *t = find(c, id);
    if (!t)
        mdg_stomp_fail(c, f, "Unknown transaction", "There is no transaction '%.*s'\n",
                       (int)mdg_min_size(id.len, 200), (const char *)id.data);
    return t;
}

static void free_op(struct mdg_stomp *c, struct op *op)
{
    if (op->content)
        c->tx_bytes -= op->content->bytes;
    mdg_list_remove(&op->in_tx);
    mdg_content_unref(op->content);
    free(op);
}

/* Receipts of frames that will never take effect are not sent. */
static void forget_pending(struct mdg_stomp *c, struct mdg_stomp_pending *p)
{
    mdg_list_remove(&p->in_conn);
    c->pending_count--;
    free(p);
}

static void drop(struct mdg_stomp *c, struct mdg_stomp_tx *t)
{
    MDG_LIST_FOR(node, next, &t->ops)
    {
        struct op *op = MDG_CONTAINER_OF(node, struct op, in_tx);
        forget_pending(c, op->pending);
        free_op(c, op);
    }
    mdg_list_remove(&t->in_conn);
    c->tx_count--;
    free(t);
}

void mdg_stomp_drop_txs(struct mdg_stomp *c)
{
    MDG_LIST_FOR(node, next, &c->txs)
    drop(c, MDG_CONTAINER_OF(node, struct mdg_stomp_tx, in_conn));
}

void mdg_stomp_on_begin(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_slice id = mdg_stomp_find(f, "transaction");
    if (!id.data) {
        mdg_stomp_fail(c, f, "Missing transaction", "BEGIN must include a 'transaction' header\n");
        return;
    }
    if (find(c, id)) {
        mdg_stomp_fail(c, f, "Duplicate transaction", "That transaction has begun already.\n");
        return;
    }
    if (c->tx_count >= c->server->config->transactions_max) {
        mdg_stomp_fail(c, f, "Transaction limit exceeded", "Commit or abort one first.\n");
        return;
    }
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    if (!p)
        return;
    struct mdg_stomp_tx *t = malloc(sizeof *t + id.len);
    if (t) {
        *t = (struct mdg_stomp_tx){.id_len = (uint32_t)id.len};
        if (id.len)
            memcpy(t->id, id.data, id.len);
        mdg_list_init(&t->ops);
        mdg_list_push(&c->txs, &t->in_conn);
        c->tx_count++;
    }
    mdg_stomp_pend_done(p, t ? 0 : MDG_E_NO_MEMORY);
}

static struct op *add(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct mdg_slice name,
                      size_t bytes)
{
    const struct mdg_stomp_config *config = c->server->config;
    struct mdg_stomp_tx *t = find_or_fail(c, f);
    if (!t)
        return NULL;
    if (t->op_count >= config->transaction_ops_max ||
        c->tx_bytes + bytes > mdg_max_size(config->transaction_bytes_max, bytes)) {
        mdg_stomp_fail(c, f, "Transaction too big", "It holds as much as it may.\n");
        return NULL;
    }
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    struct op *op = p ? malloc(sizeof *op + name.len) : NULL;
    if (!op) {
        if (p)
            mdg_stomp_pend_done(p, MDG_E_NO_MEMORY);
        return NULL;
    }
    *op = (struct op){.pending = p, .name_len = (uint32_t)name.len};
    if (name.len)
        memcpy(op->name, name.data, name.len);
    mdg_list_push(&t->ops, &op->in_tx);
    t->op_count++;
    return op;
}

bool mdg_stomp_tx_send(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                       enum mdg_stomp_kind kind, bool keep, struct mdg_slice name,
                       struct mdg_content *content)
{
    struct op *op = add(c, f, name, content->bytes);
    if (!op) {
        mdg_content_unref(content);
        return false;
    }
    op->kind = (uint8_t)kind;
    op->keep = keep;
    op->content = content;
    c->tx_bytes += content->bytes;
    return true;
}

bool mdg_stomp_tx_settle(struct mdg_stomp *c, const struct mdg_stomp_frame *f, uint64_t sub,
                         uint64_t tag, enum mdg_settle how)
{
    struct op *op = add(c, f, mdg_slice(NULL, 0), 0);
    if (!op)
        return false;
    op->sub = sub;
    op->tag = tag;
    op->how = (uint8_t)how;
    return true;
}

static void perform(struct mdg_stomp *c, struct op *op)
{
    struct mdg_stomp_pending *p = op->pending;
    int err = 0;
    if (op->content) {
        struct mdg_content *content = op->content;
        c->tx_bytes -= content->bytes;
        op->content = NULL;
        err = mdg_stomp_publish(c, (enum mdg_stomp_kind)op->kind, op->keep,
                                mdg_slice(op->name, op->name_len), content, p);
    } else {
        err = mdg_stomp_settle(c, op->sub, op->tag, (enum mdg_settle)op->how, p);
    }
    if (err < 0)
        mdg_stomp_pend_done(p, err);
}

void mdg_stomp_on_commit(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_tx *t = find_or_fail(c, f);
    struct mdg_stomp_pending *whole = t ? mdg_stomp_pend(c, f) : NULL;
    if (!whole)
        return;
    int err = mdg_queue_unit_begin(c->server->queues);
    if (err < 0) {
        drop(c, t);
        mdg_stomp_pend_done(whole, err);
        return;
    }
    /* Out of the connection first: a failure on the way must not find it again. */
    mdg_list_remove(&t->in_conn);
    c->tx_count--;
    MDG_LIST_FOR(node, next, &t->ops)
    {
        struct op *op = MDG_CONTAINER_OF(node, struct op, in_tx);
        mdg_stomp_pend_more(whole);
        op->pending->whole = whole;
        perform(c, op);
        free_op(c, op);
    }
    free(t);
    mdg_queue_unit_end(c->server->queues);
    mdg_stomp_pend_done(whole, 0);
}

void mdg_stomp_on_abort(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_tx *t = find_or_fail(c, f);
    struct mdg_stomp_pending *p = t ? mdg_stomp_pend(c, f) : NULL;
    if (!p)
        return;
    drop(c, t);
    mdg_stomp_pend_done(p, 0);
}
