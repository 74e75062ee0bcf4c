/* One mailbox for each ordered pair of workers. The sender pushes a chain on a stack with one
 * compare-and-swap; if the stack was empty it posts the mailbox's own node, which cannot fail, to
 * the receiver's loop. The receiver takes the whole stack with one exchange and turns it round, so
 * chains arrive in the order of their posts and a busy receiver is woken once for many. */
#include "broker/workers.h"
#include <stdlib.h>

struct mailbox {
    struct mdg_post node; /* first: the loop gives it back in `receive` */
    _Atomic(struct mdg_op *) stack;
    struct mdg_hub *to;
};

struct mdg_workers {
    struct mdg_broker broker;
    atomic_uint_fast64_t posts;
    struct mdg_loop **loops;
    struct mailbox *boxes; /* from * count + to */
};

static struct mdg_op *take_in_order(struct mailbox *box)
{
    /* Release too: whoever finds the stack empty again may reuse the node. */
    struct mdg_op *newest = atomic_exchange_explicit(&box->stack, NULL, memory_order_acq_rel);
    struct mdg_op *oldest = NULL;
    while (newest) {
        struct mdg_op **link = mdg_op_parcel_link(newest), *next = *link;
        *link = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void receive(struct mdg_loop *loop, struct mdg_post *post)
{
    struct mailbox *box = MDG_CONTAINER_OF(post, struct mailbox, node);
    struct mdg_op *chain = take_in_order(box);
    (void)loop;
    while (chain) {
        struct mdg_op *next = *mdg_op_parcel_link(chain);
        mdg_hub_receive(box->to, chain);
        chain = next;
    }
}

static void post(struct mdg_broker *b, unsigned from, unsigned to, struct mdg_op *chain)
{
    struct mdg_workers *ws = MDG_CONTAINER_OF(b, struct mdg_workers, broker);
    struct mailbox *box = &ws->boxes[from * b->workers + to];
    struct mdg_op *below = atomic_load_explicit(&box->stack, memory_order_relaxed);
    do {
        *mdg_op_parcel_link(chain) = below;
    } while (!atomic_compare_exchange_weak_explicit(&box->stack, &below, chain,
                                                    memory_order_acq_rel, memory_order_relaxed));
    atomic_fetch_add_explicit(&ws->posts, 1, memory_order_relaxed);
    if (!below)
        mdg_loop_post_node(ws->loops[to], &box->node);
}

int mdg_workers_new(unsigned count, const uint64_t seed[2], struct mdg_workers **out)
{
    assert(count > 0 && count <= MDG_WORKERS_MAX);
    struct mdg_workers *ws = calloc(1, sizeof *ws);
    if (!ws)
        return MDG_E_NO_MEMORY;
    ws->broker = (struct mdg_broker){.workers = count, .seed = {seed[0], seed[1]}, .post = post};
    ws->loops = calloc(count, sizeof *ws->loops);
    ws->boxes = calloc((size_t)count * count, sizeof *ws->boxes);
    if (!ws->loops || !ws->boxes) {
        mdg_workers_free(ws);
        return MDG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < (size_t)count * count; i++) {
        ws->boxes[i].node.fn = receive;
        atomic_init(&ws->boxes[i].stack, NULL);
    }
    *out = ws;
    return 0;
}

int mdg_workers_attach(struct mdg_workers *ws, unsigned worker, struct mdg_loop *loop,
                       struct mdg_hub *hub)
{
    unsigned count = ws->broker.workers;
    assert(worker < count);
    ws->loops[worker] = loop;
    for (unsigned from = 0; from < count; from++)
        ws->boxes[from * count + worker].to = hub;
    return count > 1 ? mdg_hub_set_broker(hub, &ws->broker) : 0;
}

void mdg_workers_free(struct mdg_workers *ws)
{
    if (!ws)
        return;
    size_t count = (size_t)ws->broker.workers * ws->broker.workers;
    for (size_t i = 0; ws->boxes && i < count; i++) {
        struct mdg_op *chain = take_in_order(&ws->boxes[i]);
        while (chain) {
            struct mdg_op *next = *mdg_op_parcel_link(chain);
            mdg_op_free_chain(chain);
            chain = next;
        }
    }
    free(ws->loops);
    free(ws->boxes);
    free(ws);
}

uint64_t mdg_workers_posts(const struct mdg_workers *ws)
{
    return atomic_load_explicit(&ws->posts, memory_order_relaxed);
}
