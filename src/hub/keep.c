/* Messages that are written before they are seen. Between its write and its delivery a message has
 * a seq that nobody knows; the room counts such messages in its log. */
#include "hub/keep.h"
#include "hub/impl.h"

void mdg_hub_set_keeper(struct mdg_hub *h, struct mdg_keeper *d)
{
    h->keeper = d;
}

static struct mdg_op *op_of(struct mdg_keep_entry *e)
{
    return MDG_CONTAINER_OF(e, struct mdg_op, entry_to_store);
}

/* Back to the hub's turn, like everything else. */
static void complete(struct mdg_keep_entry *e)
{
    struct mdg_op *op = op_of(e);
    op->kind = OP_STORED;
    mdg_op_send(op->hub, op->hub->worker, op);
}

static void drop(struct mdg_keep_entry *e)
{
    mdg_op_free(op_of(e));
}

int mdg_keep(struct mdg_hub *h, struct mdg_channel *c, struct mdg_op *op)
{
    int err = mdg_channel_log_reserve(h, c);
    if (err < 0)
        return err;
    struct mdg_log *log = c->log;
    uint64_t seq = log->in_flight ? log->flying_next : c->next_seq;
    op->entry_to_store = (struct mdg_keep_entry){
        .worker = (uint8_t)h->worker,
        .generation = h->keep_generation,
        .content = op->content,
        .at = {c->epoch, seq},
        .complete = complete,
        .drop = drop,
    };
    op->hub = h;
    op->channel = c;
    err = h->keeper->append(h->keeper, &op->entry_to_store);
    if (err < 0)
        return err;
    log->in_flight++;
    log->flying_next = seq + 1;
    mdg_channel_settle(h, c);
    return 0;
}

/* Once for each failure: what is published from now on continues behind the last safe message. */
static void roll_back(struct mdg_hub *h, uint32_t generation)
{
    if (generation != h->keep_generation)
        return;
    h->keep_generation++;
    for (struct mdg_list *it = h->logs.next; it != &h->logs; it = it->next) {
        struct mdg_log *log = MDG_CONTAINER_OF(it, struct mdg_log, in_hub);
        log->flying_next = log->channel->next_seq;
    }
}

void mdg_kept(struct mdg_hub *h, struct mdg_op *op)
{
    struct mdg_channel *c = op->channel;
    assert(c->log && c->log->in_flight > 0);
    c->log->in_flight--;
    op->err = op->entry_to_store.err;
    if (op->err < 0) {
        roll_back(h, op->entry_to_store.generation);
    } else {
        assert(op->entry_to_store.at.seq == c->next_seq);
        mdg_owner_append_safe(h, c, op->content);
        op->at = (struct mdg_position){c->epoch, c->next_seq - 1};
    }
    mdg_channel_settle(h, c);
    op->kind = OP_PUBLISH;
    mdg_op_answer(h, op);
}

int mdg_hub_restore_room(struct mdg_hub *h, struct mdg_slice name, struct mdg_position last)
{
    struct mdg_channel *c;
    if (!mdg_channel_name_ok(h, name) || mdg_hub_owner(h, name) != h->worker)
        return 0;
    int err = mdg_channel_get(h, name, &c);
    if (err < 0)
        return err;
    assert(!c->log);
    c->epoch = last.epoch;
    c->next_seq = last.seq + 1;
    return 0;
}

int mdg_hub_restore_message(struct mdg_hub *h, struct mdg_content *content, struct mdg_position at)
{
    struct mdg_channel *c = mdg_channel_find(h, content->channel);
    struct mdg_msg *m = NULL;
    int err = 0;
    /* Only what continues: a hole would be a message that was never safe. */
    if (c && c->epoch == at.epoch && (!c->log || c->log->next == at.seq) && at.seq < c->next_seq) {
        uint64_t next_seq = c->next_seq;
        c->next_seq = at.seq;
        err = mdg_channel_log_reserve(h, c);
        c->next_seq = next_seq;
        if (err == 0 && c->log)
            m = mdg_msg_new(content, at.epoch, at.seq);
        if (m) {
            mdg_channel_log_push(h, c, m);
            mdg_msg_unref(m);
            return 0;
        }
        if (c->log)
            err = MDG_E_NO_MEMORY;
    }
    mdg_content_unref(content);
    return err;
}

/* After the last message: a log that does not reach the newest seq says nothing. */
void mdg_hub_restored(struct mdg_hub *h)
{
    for (struct mdg_list *it = h->logs.next; it != &h->logs; it = it->next) {
        struct mdg_log *log = MDG_CONTAINER_OF(it, struct mdg_log, in_hub);
        if (log->next != log->channel->next_seq)
            mdg_channel_log_reset(h, log->channel, log->channel->next_seq);
    }
}
