/* A unit: operations on queues of several workers whose notes reach the disk together or not at
 * all. Whoever starts it makes its operations one after the other; each carries a reference to
 * where it is done, and a last, empty part tells how many there are. */
#include "hub/queue_impl.h"
#include <stdlib.h>

struct mdg_queue_unit *mdg_queue_unit_new(void)
{
    struct mdg_queue_unit *unit = calloc(1, sizeof *unit);
    if (unit)
        atomic_init(&unit->refs, 1);
    return unit;
}

struct mdg_queue_unit *mdg_queue_unit_ref(struct mdg_queue_unit *unit)
{
    atomic_fetch_add_explicit(&unit->refs, 1, memory_order_relaxed);
    return unit;
}

void mdg_queue_unit_unref(struct mdg_queue_unit *unit)
{
    if (unit && atomic_fetch_sub_explicit(&unit->refs, 1, memory_order_acq_rel) == 1)
        free(unit);
}

void mdg_queue_unit_fail(struct mdg_queue_unit *unit, int err)
{
    int none = 0;
    assert(err < 0);
    atomic_compare_exchange_strong(&unit->err, &none, err);
}

int mdg_queue_unit_begin(struct mdg_queues *q)
{
    assert(!q->unit);
    if (!q->config.store.ops)
        return 0;
    q->unit = mdg_queue_unit_new();
    q->unit_parts = 0;
    return q->unit ? 0 : MDG_E_NO_MEMORY;
}

void mdg_queue_unit_join(struct mdg_queues *q, struct mdg_queue_op *op)
{
    if (!q->unit)
        return;
    assert(op->kind == MDG_QOP_PUBLISH || op->kind == MDG_QOP_SETTLE);
    op->unit = mdg_queue_unit_ref(q->unit);
    q->unit_parts++;
}

void mdg_queue_unit_end(struct mdg_queues *q)
{
    struct mdg_queue_unit *unit = q->unit;
    const struct mdg_queue_store *store = &q->config.store;
    q->unit = NULL;
    if (unit && q->unit_parts > 0) {
        atomic_store(&unit->parts, q->unit_parts + 1);
        store->ops->enter(store->store, unit);
        store->ops->leave(store->store);
        q->noted = true;
        if (q->pending)
            q->pending(q->pending_arg);
    }
    mdg_queue_unit_unref(unit);
}
