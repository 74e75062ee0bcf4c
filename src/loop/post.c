/* The only door for other threads: a lock-free stack of nodes, taken as a whole by the loop and
 * turned round, so that posts of one thread run in their order. The thread that finds the stack
 * empty wakes the loop; the others know that it is awake or about to be. */
#include "loop/backend.h"
#include <stdlib.h>

struct boxed_post {
    struct mdg_post node;
    mdg_loop_fn fn;
    void *arg;
};

static void run_boxed(struct mdg_loop *loop, struct mdg_post *node)
{
    struct boxed_post box = *MDG_CONTAINER_OF(node, struct boxed_post, node);
    free(MDG_CONTAINER_OF(node, struct boxed_post, node));
    box.fn(loop, box.arg);
}

int mdg_loop_post(struct mdg_loop *loop, mdg_loop_fn fn, void *arg)
{
    struct boxed_post *box = malloc(sizeof *box);
    if (!box)
        return MDG_E_NO_MEMORY;
    *box = (struct boxed_post){.node.fn = run_boxed, .fn = fn, .arg = arg};
    mdg_loop_post_node(loop, &box->node);
    return 0;
}

void mdg_loop_post_node(struct mdg_loop *loop, struct mdg_post *node)
{
    assert(node->fn);
    struct mdg_post *top = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        node->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posted, &top, node, memory_order_release,
                                                    memory_order_relaxed));
    if (!top)
        loop->backend->wake(loop);
}

bool mdg_loop_run_posted(struct mdg_loop *loop)
{
    struct mdg_post *taken = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    if (!taken)
        return false;
    struct mdg_post *in_order = NULL;
    while (taken) {
        struct mdg_post *next = taken->next;
        taken->next = in_order;
        in_order = taken;
        taken = next;
    }
    while (in_order) {
        struct mdg_post *node = in_order;
        in_order = node->next;
        node->fn(loop, node);
    }
    return true;
}
