/* Queues: one consumer a message, credit, fairness, redelivery, dead letters, bounds, the store. */
#include "hub/queue.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

static const uint64_t seed[2] = {3, 4};

/* Two workers that hand operations to each other through a row, as threads would. */
struct world {
    struct mdg_queues *workers[2];
    struct mdg_list mail[2];
    char log[4096]; /* what everybody heard, in order */
    size_t log_len;
};

struct consumer {
    struct mdg_queue_sub sub;
    struct world *world;
    const char *name;
    unsigned room; /* deliveries that it takes before it is full */
    uint64_t last_tag;
};

static void say(struct world *w, const char *fmt, ...) MDG_PRINTF(2, 3);

static void say(struct world *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    w->log_len += (size_t)vsnprintf(w->log + w->log_len, sizeof w->log - w->log_len, fmt, args);
    va_end(args);
    assert_true(w->log_len < sizeof w->log);
}

static int deliver(struct mdg_queue_sub *sub, const struct mdg_delivery *d)
{
    struct consumer *c = MDG_CONTAINER_OF(sub, struct consumer, sub);
    struct mdg_slice text = mdg_chunk_slice(&d->content->parts[0]);
    char copy[64];
    if (c->room == 0)
        return MDG_E_FULL;
    c->room--;
    c->last_tag = d->tag;
    snprintf(copy, sizeof copy, "%.*s%s", (int)text.len, (const char *)text.data,
             d->redelivered ? "!" : "");
    say(c->world, "%s:%s/%u ", c->name, copy, (unsigned)d->tag);
    return 0;
}

static const struct mdg_queue_sub_ops sub_ops = {deliver};

static void done(void *arg, uint64_t cookie, int err)
{
    say(arg, "%s%u ", err ? "failed" : "done", (unsigned)cookie);
}

static void post(void *arg, unsigned worker, struct mdg_queue_op *op)
{
    struct world *w = arg;
    mdg_list_push(&w->mail[worker], &op->link);
}

static struct mdg_queues_config base_config(void)
{
    return (struct mdg_queues_config){
        .worker_count = 1,
        .queues_max = 4,
        .messages_max = 5,
        .bytes_max = 100000,
        .bytes_total_max = 200000,
        .prefetch_max = 100,
        .tries_max = 3,
        .idle_s = 10,
        .dead_to = MDG_SLICE_LIT("dead"),
    };
}

static void start(struct world *w, struct mdg_queues_config config, unsigned workers)
{
    *w = (struct world){0};
    config.worker_count = workers;
    config.post = post;
    config.post_arg = w;
    for (unsigned i = 0; i < workers; i++) {
        config.worker = i;
        mdg_list_init(&w->mail[i]);
        assert_int_equal(mdg_queues_new(&config, seed, &w->workers[i]), 0);
    }
}

static void turn(struct world *w)
{
    for (int round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 2 && w->workers[i]; i++) {
            MDG_LIST_FOR(node, next, &w->mail[i])
            {
                mdg_list_remove(node);
                mdg_queues_accept(w->workers[i], MDG_CONTAINER_OF(node, struct mdg_queue_op, link));
            }
            while (mdg_queues_turn(w->workers[i]))
                ;
        }
    }
}

static void stop(struct world *w)
{
    turn(w);
    for (unsigned i = 0; i < 2; i++)
        mdg_queues_free(w->workers[i]);
}

static struct mdg_content *text(const char *t)
{
    struct mdg_content *c;
    struct mdg_msg_draft draft = {
        .kind = MDG_MSG_TEXT, .channel = MDG_SLICE_LIT("q"), .payload = mdg_slice_str(t)};
    assert_int_equal(mdg_content_new(&draft, 0, &c), 0);
    return c;
}

static void publish(struct world *w, const char *queue, const char *t)
{
    assert_int_equal(
        mdg_queue_publish(w->workers[0], mdg_slice_str(queue), text(t), MDG_QUEUE_KEEP, NULL, 0),
        0);
}

static void join_on(struct world *w, unsigned worker, struct consumer *c, const char *name,
                    const char *queue, unsigned prefetch)
{
    *c = (struct consumer){.sub.ops = &sub_ops, .world = w, .name = name, .room = 100};
    assert_int_equal(mdg_queue_subscribe(w->workers[worker], &c->sub, mdg_slice_str(queue),
                                         prefetch, 0, NULL, 0),
                     0);
    turn(w);
}

static void join(struct world *w, struct consumer *c, const char *name, unsigned prefetch)
{
    join_on(w, 0, c, name, "q", prefetch);
}

static void settle(struct consumer *c, uint64_t tag, enum mdg_settle how, bool cumulative)
{
    assert_int_equal(mdg_queue_settle(&c->sub, tag, how, cumulative, NULL, 0), 0);
    turn(c->world);
}

static void heard(struct world *w, const char *expected)
{
    turn(w);
    assert_string_equal(w->log, expected);
    w->log_len = 0;
    w->log[0] = '\0';
}

static uint64_t messages(struct world *w)
{
    struct mdg_queues_counts n;
    mdg_queues_count(w->workers[0], &n);
    return n.messages;
}

static void messages_wait_for_a_consumer_and_come_in_order(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    start(&w, base_config(), 1);
    publish(&w, "q", "one");
    publish(&w, "q", "two");
    heard(&w, "");
    join(&w, &a, "a", 0);
    heard(&w, "a:one/1 a:two/2 ");
    settle(&a, 1, MDG_SETTLE_ACK, false);
    settle(&a, 2, MDG_SETTLE_ACK, false);
    assert_int_equal(messages(&w), 0);
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

static void consumers_take_turns_within_their_credit(void **state)
{
    (void)state;
    struct world w;
    struct consumer a, b;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 1);
    join(&w, &b, "b", 2);
    for (int i = 0; i < 4; i++)
        publish(&w, "q", "m");
    heard(&w, "a:m/1 b:m/1 b:m/2 ");
    settle(&a, 1, MDG_SETTLE_ACK, false);
    heard(&w, "a:m/2 ");
    mdg_queue_unsubscribe(&a.sub);
    mdg_queue_unsubscribe(&b.sub);
    stop(&w);
}

static void what_a_vanished_consumer_held_goes_to_another_marked_and_in_order(void **state)
{
    (void)state;
    struct world w;
    struct consumer a, b;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 0);
    publish(&w, "q", "one");
    publish(&w, "q", "two");
    publish(&w, "q", "three");
    heard(&w, "a:one/1 a:two/2 a:three/3 ");
    settle(&a, 2, MDG_SETTLE_ACK, false);
    mdg_queue_unsubscribe(&a.sub);
    publish(&w, "q", "four");
    join(&w, &b, "b", 0);
    heard(&w, "b:one!/1 b:three!/2 b:four/3 ");
    mdg_queue_unsubscribe(&b.sub);
    stop(&w);
}

static void cumulative_settling_takes_all_up_to_the_tag(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 0);
    publish(&w, "q", "one");
    publish(&w, "q", "two");
    publish(&w, "q", "three");
    heard(&w, "a:one/1 a:two/2 a:three/3 ");
    settle(&a, 2, MDG_SETTLE_REQUEUE, true);
    heard(&w, "a:one!/4 a:two!/5 ");
    settle(&a, 5, MDG_SETTLE_ACK, true);
    assert_int_equal(messages(&w), 0);
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

static void rejected_and_overtried_messages_go_to_the_dead_letter_queue(void **state)
{
    (void)state;
    struct world w;
    struct consumer a, d;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 0);
    publish(&w, "q", "bad");
    publish(&w, "q", "poison");
    heard(&w, "a:bad/1 a:poison/2 ");
    settle(&a, 1, MDG_SETTLE_DEAD, false);
    settle(&a, 2, MDG_SETTLE_REQUEUE, false);
    heard(&w, "a:poison!/3 ");
    settle(&a, 3, MDG_SETTLE_REQUEUE, false);
    heard(&w, "a:poison!/4 ");
    settle(&a, 4, MDG_SETTLE_REQUEUE, false); /* the third try was the last */
    heard(&w, "");
    join_on(&w, 0, &d, "d", "dead", 0);
    heard(&w, "d:bad/1 d:poison/2 ");
    /* The dead-letter queue itself gives back for ever. */
    for (uint64_t tag = 1; tag < 9; tag += 2) {
        settle(&d, tag == 1 ? 1 : d.last_tag, MDG_SETTLE_REQUEUE, false);
    }
    assert_int_equal(messages(&w), 2);
    mdg_queue_unsubscribe(&a.sub);
    mdg_queue_unsubscribe(&d.sub);
    stop(&w);
}

static void a_consumer_without_room_keeps_its_messages_until_it_resumes(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 0);
    a.room = 1;
    publish(&w, "q", "one");
    publish(&w, "q", "two");
    publish(&w, "q", "three");
    heard(&w, "a:one/1 ");
    a.room = 9;
    mdg_queue_resume(&a.sub);
    publish(&w, "q", "four");
    heard(&w, "a:two/2 a:three/3 a:four/4 ");
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

static void bounds_refuse_with_an_answer(void **state)
{
    (void)state;
    struct world w;
    start(&w, base_config(), 1);
    struct mdg_queue_waiter waiter = {.done = done, .arg = &w};
    mdg_list_init(&waiter.tickets);
    for (unsigned i = 1; i <= 6; i++)
        assert_int_equal(
            mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("q"), text("x"), 0, &waiter, i), 0);
    heard(&w, "done1 done2 done3 done4 done5 failed6 ");
    const char *names[] = {"r", "s", "t", "u"};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(
            mdg_queue_publish(w.workers[0], mdg_slice_str(names[i]), text("x"), 0, &waiter, i), 0);
    heard(&w, "done0 done1 done2 failed3 ");
    /* Who does not wait any more hears nothing. */
    assert_int_equal(mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("r"), text("x"), 0, &waiter, 7),
                     0);
    mdg_queue_waiter_fini(&waiter);
    heard(&w, "");
    stop(&w);
}

static void idle_queues_are_forgotten_but_not_those_in_use(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    struct mdg_queues_counts n;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 0);
    publish(&w, "kept", "x");
    turn(&w);
    mdg_queues_tick(w.workers[0], 9000);
    mdg_queue_unsubscribe(&a.sub);
    turn(&w);
    mdg_queues_tick(w.workers[0], 18000);
    mdg_queues_count(w.workers[0], &n);
    assert_int_equal(n.queues, 2);
    mdg_queues_tick(w.workers[0], 19000);
    mdg_queues_count(w.workers[0], &n);
    assert_int_equal(n.queues, 1);
    stop(&w);
}

static void a_deleted_queue_takes_its_messages_with_it(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    start(&w, base_config(), 1);
    join(&w, &a, "a", 1);
    publish(&w, "q", "one");
    publish(&w, "q", "two");
    heard(&w, "a:one/1 ");
    assert_int_equal(mdg_queue_delete(w.workers[0], MDG_SLICE_LIT("q"), NULL, 0), 0);
    settle(&a, 1, MDG_SETTLE_ACK, false);
    heard(&w, "");
    assert_int_equal(messages(&w), 0);
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

static void a_queue_is_one_for_all_workers(void **state)
{
    (void)state;
    struct world w;
    struct consumer c[8];
    static const char *const names[] = {"a", "b", "c", "d"};
    start(&w, base_config(), 2);
    for (unsigned i = 0; i < 4; i++) {
        join_on(&w, i % 2, &c[i], "a", names[i], 1);
        publish(&w, names[i], "one");
        publish(&w, names[i], "two");
        heard(&w, "a:one/1 ");
        settle(&c[i], 1, MDG_SETTLE_ACK, false);
        heard(&w, "a:two/2 ");
        join_on(&w, (i + 1) % 2, &c[i + 4], "b", names[i], 1);
        mdg_queue_unsubscribe(&c[i].sub);
        heard(&w, "b:two!/1 ");
        mdg_queue_unsubscribe(&c[i + 4].sub);
    }
    stop(&w);
}

/* A disk that says it is done when the test says so. */
struct disk {
    char log[1024];
    size_t len;
    void (*fn)(void *arg, int err);
    void *arg;
};

static void note(struct disk *d, const char *what, struct mdg_slice queue, unsigned id)
{
    d->len += (size_t)snprintf(d->log + d->len, sizeof d->log - d->len, "%s(%.*s,%u) ", what,
                               (int)queue.len, (const char *)queue.data, id);
}

static int disk_put(void *store, struct mdg_slice queue, uint64_t id, struct mdg_content *content)
{
    (void)content;
    note(store, "put", queue, (unsigned)id);
    return 0;
}

static int disk_remove(void *store, struct mdg_slice queue, uint64_t id)
{
    note(store, "remove", queue, (unsigned)id);
    return 0;
}

static int disk_forget(void *store, struct mdg_slice queue)
{
    note(store, "forget", queue, 0);
    return 0;
}

static int disk_bind(void *store, struct mdg_slice queue, struct mdg_slice source)
{
    (void)source;
    note(store, "bind", queue, 0);
    return 0;
}

static void disk_enter(void *store, struct mdg_queue_unit *unit)
{
    struct disk *d = store;
    (void)unit;
    d->len += (size_t)snprintf(d->log + d->len, sizeof d->log - d->len, "[");
}

static void disk_leave(void *store)
{
    struct disk *d = store;
    d->len += (size_t)snprintf(d->log + d->len, sizeof d->log - d->len, "] ");
}

static int disk_sync(void *store, void (*fn)(void *arg, int err), void *arg)
{
    struct disk *d = store;
    assert_null(d->fn);
    d->fn = fn;
    d->arg = arg;
    return 0;
}

static int disk_load(void *store, mdg_queue_load_fn message, mdg_queue_bound_fn bound, void *arg)
{
    (void)store;
    message(arg, MDG_SLICE_LIT("q"), 7, text("old"));
    message(arg, MDG_SLICE_LIT("q"), 9, text("newer"));
    bound(arg, MDG_SLICE_LIT("sub"), MDG_SLICE_LIT("a.#"));
    return 0;
}

static const struct mdg_queue_store_ops disk_ops = {.put = disk_put,
                                                    .remove = disk_remove,
                                                    .bind = disk_bind,
                                                    .forget = disk_forget,
                                                    .enter = disk_enter,
                                                    .leave = disk_leave,
                                                    .sync = disk_sync,
                                                    .load = disk_load};

static void disk_ends(struct disk *d, int err)
{
    void (*fn)(void *arg, int err) = d->fn;
    d->fn = NULL;
    if (fn)
        fn(d->arg, err);
}

static void disk_done(struct disk *d)
{
    disk_ends(d, 0);
}

static void answers_wait_for_the_disk(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    struct disk disk = {0};
    struct mdg_queues_config config = base_config();
    config.store = (struct mdg_queue_store){&disk_ops, &disk};
    start(&w, config, 1);
    struct mdg_queue_waiter waiter = {.done = done, .arg = &w};
    mdg_list_init(&waiter.tickets);
    assert_int_equal(
        mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("q"), text("x"), MDG_QUEUE_KEEP, &waiter, 1),
        0);
    heard(&w, "");
    assert_string_equal(disk.log, "put(q,1) ");
    disk_done(&disk);
    heard(&w, "done1 ");
    join(&w, &a, "a", 0);
    heard(&w, "a:x/1 ");
    assert_int_equal(mdg_queue_settle(&a.sub, 1, MDG_SETTLE_ACK, false, &waiter, 2), 0);
    heard(&w, "");
    assert_string_equal(disk.log, "put(q,1) remove(q,1) ");
    disk_done(&disk);
    heard(&w, "done2 ");
    /* What need not be kept waits for nothing. */
    assert_int_equal(mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("q"), text("y"), 0, &waiter, 3),
                     0);
    heard(&w, "done3 a:y/2 ");
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

static void a_message_dies_on_the_disk_only_when_its_grave_is_written(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    struct disk disk = {0};
    struct mdg_queues_config config = base_config();
    config.store = (struct mdg_queue_store){&disk_ops, &disk};
    start(&w, config, 1);
    join(&w, &a, "a", 0);
    publish(&w, "q", "bad");
    turn(&w);
    disk_done(&disk);
    settle(&a, 1, MDG_SETTLE_DEAD, false);
    assert_string_equal(disk.log, "put(q,1) put(dead,1) ");
    disk_done(&disk);
    turn(&w);
    assert_string_equal(disk.log, "put(q,1) put(dead,1) remove(q,1) ");
    disk_done(&disk);
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

/* One message is taken from q and one is put into each of two queues, as a unit. */
struct exchange {
    struct world w;
    struct disk disk;
    struct consumer q, x, y;
    struct mdg_queue_waiter waiter;
};

static void begin_exchange(struct exchange *e)
{
    struct mdg_queues_config config = base_config();
    e->disk = (struct disk){.len = 0};
    config.store = (struct mdg_queue_store){&disk_ops, &e->disk};
    start(&e->w, config, 1);
    e->waiter = (struct mdg_queue_waiter){.done = done, .arg = &e->w};
    mdg_list_init(&e->waiter.tickets);
    join_on(&e->w, 0, &e->q, "q", "q", 0);
    join_on(&e->w, 0, &e->x, "x", "x", 0);
    join_on(&e->w, 0, &e->y, "y", "y", 0);
    publish(&e->w, "q", "old");
    heard(&e->w, "q:old/1 ");
    disk_done(&e->disk);
    e->disk.len = 0;
}

static void run_exchange(struct exchange *e)
{
    struct mdg_queues *q = e->w.workers[0];
    assert_int_equal(mdg_queue_unit_begin(q), 0);
    assert_int_equal(mdg_queue_settle(&e->q.sub, 1, MDG_SETTLE_ACK, false, &e->waiter, 1), 0);
    assert_int_equal(
        mdg_queue_publish(q, MDG_SLICE_LIT("x"), text("a"), MDG_QUEUE_KEEP, &e->waiter, 2), 0);
    assert_int_equal(mdg_queue_publish(q, MDG_SLICE_LIT("y"), text("b"), 0, &e->waiter, 3), 0);
    mdg_queue_unit_end(q);
}

static void end_exchange(struct exchange *e)
{
    mdg_queue_unsubscribe(&e->q.sub);
    mdg_queue_unsubscribe(&e->x.sub);
    mdg_queue_unsubscribe(&e->y.sub);
    stop(&e->w);
}

static void nobody_sees_a_unit_before_the_disk_has_it(void **state)
{
    (void)state;
    struct exchange e;
    begin_exchange(&e);
    run_exchange(&e);
    publish(&e.w, "x", "later");
    heard(&e.w, "");
    assert_string_equal(e.disk.log, "[] [remove(q,1) ] [put(x,1) ] [] put(x,2) ");
    disk_done(&e.disk);
    heard(&e.w, "done1 done2 done3 x:a/1 x:later/2 y:b/1 ");
    assert_int_equal(messages(&e.w), 3);
    end_exchange(&e);
}

static void a_unit_that_cannot_be_written_is_undone(void **state)
{
    (void)state;
    struct exchange e;
    begin_exchange(&e);
    run_exchange(&e);
    turn(&e.w);
    disk_ends(&e.disk, MDG_E_FULL);
    heard(&e.w, "failed1 failed2 failed3 q:old!/2 ");
    assert_int_equal(messages(&e.w), 1);
    end_exchange(&e);
}

static void an_error_of_one_part_of_a_unit_undoes_all_of_it(void **state)
{
    (void)state;
    struct exchange e;
    begin_exchange(&e);
    e.y.room = 0;
    for (int i = 0; i < 5; i++) /* as many as a queue takes */
        publish(&e.w, "y", "full");
    turn(&e.w);
    disk_done(&e.disk);
    run_exchange(&e);
    heard(&e.w, "failed3 ");
    disk_done(&e.disk);
    heard(&e.w, "failed1 failed2 q:old!/2 ");
    end_exchange(&e);
}

static void what_is_left_of_a_unit_at_the_end_leaks_nothing(void **state)
{
    (void)state;
    struct exchange e;
    begin_exchange(&e);
    run_exchange(&e);
    turn(&e.w);
    mdg_queue_waiter_fini(&e.waiter);
    end_exchange(&e);
}

static int bound(void *arg, struct mdg_slice queue, struct mdg_slice source)
{
    say(arg, "bound:%.*s<%.*s ", (int)queue.len, (const char *)queue.data, (int)source.len,
        (const char *)source.data);
    return 0;
}

static void unbound(void *arg, struct mdg_slice queue)
{
    (void)queue;
    say(arg, "unbound ");
}

/* Who is told that a subscription is bound may publish at once and count on it. */
static void a_binding_is_answered_when_the_binder_has_made_it(void **state)
{
    (void)state;
    struct world w;
    struct mdg_queue_waiter waiter = {.done = done, .arg = &w};
    struct mdg_slice sub = MDG_SLICE_LIT("sub"), source = MDG_SLICE_LIT("a");
    mdg_list_init(&waiter.tickets);
    start(&w, base_config(), 1);
    struct mdg_queue_binder binder = {bound, unbound, &w};
    mdg_queues_set_binder(w.workers[0], &binder);
    assert_int_equal(mdg_queue_bind(w.workers[0], sub, source, &waiter, 1), 0);
    assert_int_equal(mdg_queue_bind(w.workers[0], sub, source, &waiter, 2), 0);
    heard(&w, "bound:sub<a ");
    mdg_queues_bound(w.workers[0], sub, MDG_E_NO_MEMORY);
    heard(&w, "failed1 failed2 ");
    assert_int_equal(mdg_queue_bind(w.workers[0], sub, source, &waiter, 3), 0);
    heard(&w, "bound:sub<a ");
    mdg_queues_bound(w.workers[0], sub, 0);
    heard(&w, "done3 ");
    assert_int_equal(mdg_queue_bind(w.workers[0], sub, source, &waiter, 4), 0);
    heard(&w, "done4 ");
    mdg_queues_bound(w.workers[0], sub, 0); /* nobody waits: nothing happens */
    assert_int_equal(mdg_queue_delete(w.workers[0], sub, NULL, 0), 0);
    heard(&w, "unbound ");
    assert_int_equal(mdg_queue_bind(w.workers[0], sub, source, &waiter, 5), 0);
    heard(&w, "bound:sub<a ");
    assert_int_equal(mdg_queue_delete(w.workers[0], sub, NULL, 0), 0);
    heard(&w, "unbound failed5 ");
    stop(&w);
}

static void the_disk_gives_back_messages_and_bindings(void **state)
{
    (void)state;
    struct world w;
    struct consumer a;
    struct disk disk = {0};
    struct mdg_queues_config config = base_config();
    config.store = (struct mdg_queue_store){&disk_ops, &disk};
    start(&w, config, 1);
    struct mdg_queue_binder binder = {bound, unbound, &w};
    mdg_queues_set_binder(w.workers[0], &binder);
    assert_int_equal(mdg_queues_load(w.workers[0]), 0);
    heard(&w, "bound:sub<a.# ");
    join(&w, &a, "a", 0);
    heard(&w, "a:old!/1 a:newer!/2 ");
    publish(&w, "q", "new");
    turn(&w);
    assert_string_equal(disk.log, "put(q,10) ");
    disk_done(&disk);
    assert_int_equal(mdg_queue_delete(w.workers[0], MDG_SLICE_LIT("sub"), NULL, 0), 0);
    w.log_len = 0;
    heard(&w, "unbound ");
    assert_string_equal(disk.log, "put(q,10) forget(sub,0) ");
    disk_done(&disk);
    mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

/* Whatever allocation fails, nothing is leaked, and who asked is answered or told at once. */
static void scarce_life(void *arg)
{
    struct world w = {0};
    struct consumer a = {.sub.ops = &sub_ops, .world = &w, .name = "a", .room = 100};
    struct mdg_queues_config config = base_config();
    struct mdg_queue_waiter waiter = {.done = done, .arg = &w};
    (void)arg;
    mdg_list_init(&waiter.tickets);
    mdg_list_init(&w.mail[0]);
    if (mdg_queues_new(&config, seed, &w.workers[0]) < 0)
        return;
    int joined = mdg_queue_subscribe(w.workers[0], &a.sub, MDG_SLICE_LIT("q"), 2, 0, &waiter, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        struct mdg_msg_draft draft = {.channel = MDG_SLICE_LIT("q"), .payload = MDG_SLICE_LIT("x")};
        struct mdg_content *c;
        if (mdg_content_new(&draft, 0, &c) == 0 &&
            mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("q"), c, 0, &waiter, i) < 0)
            continue;
    }
    turn(&w);
    if (joined == 0 && a.last_tag) {
        enum mdg_settle how = MDG_SETTLE_DEAD;
        if (mdg_queue_settle(&a.sub, 1, how, false, &waiter, 9) < 0)
            how = MDG_SETTLE_ACK;
    }
    turn(&w);
    mdg_queue_waiter_fini(&waiter);
    if (joined == 0)
        mdg_queue_unsubscribe(&a.sub);
    stop(&w);
}

/* Without memory for all of it, a unit is nothing. */
static void scarce_unit(void *arg)
{
    struct world w = {0};
    struct disk disk = {0};
    struct mdg_queues_config config = base_config();
    struct mdg_queue_waiter waiter = {.done = done, .arg = &w};
    (void)arg;
    config.store = (struct mdg_queue_store){&disk_ops, &disk};
    mdg_list_init(&waiter.tickets);
    mdg_list_init(&w.mail[0]);
    if (mdg_queues_new(&config, seed, &w.workers[0]) < 0)
        return;
    int sent = 0;
    if (mdg_queue_unit_begin(w.workers[0]) == 0) {
        for (uint64_t i = 1; i <= 2; i++) {
            struct mdg_msg_draft draft = {.channel = MDG_SLICE_LIT("q"),
                                          .payload = MDG_SLICE_LIT("x")};
            struct mdg_content *c;
            if (mdg_content_new(&draft, 0, &c) == 0 &&
                mdg_queue_publish(w.workers[0], MDG_SLICE_LIT("q"), c, MDG_QUEUE_KEEP, &waiter,
                                  i) == 0)
                sent++;
        }
        mdg_queue_unit_end(w.workers[0]);
    }
    for (int i = 0; i < 4; i++) {
        turn(&w);
        disk_done(&disk);
    }
    turn(&w);
    assert_true(messages(&w) == 0 || messages(&w) == (uint64_t)sent);
    mdg_queue_waiter_fini(&waiter);
    stop(&w);
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    mdg_test_torture(scarce_life, NULL);
    mdg_test_torture(scarce_unit, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_wait_for_a_consumer_and_come_in_order),
        cmocka_unit_test(consumers_take_turns_within_their_credit),
        cmocka_unit_test(what_a_vanished_consumer_held_goes_to_another_marked_and_in_order),
        cmocka_unit_test(cumulative_settling_takes_all_up_to_the_tag),
        cmocka_unit_test(rejected_and_overtried_messages_go_to_the_dead_letter_queue),
        cmocka_unit_test(a_consumer_without_room_keeps_its_messages_until_it_resumes),
        cmocka_unit_test(bounds_refuse_with_an_answer),
        cmocka_unit_test(idle_queues_are_forgotten_but_not_those_in_use),
        cmocka_unit_test(a_deleted_queue_takes_its_messages_with_it),
        cmocka_unit_test(a_queue_is_one_for_all_workers),
        cmocka_unit_test(answers_wait_for_the_disk),
        cmocka_unit_test(a_message_dies_on_the_disk_only_when_its_grave_is_written),
        cmocka_unit_test(nobody_sees_a_unit_before_the_disk_has_it),
        cmocka_unit_test(a_unit_that_cannot_be_written_is_undone),
        cmocka_unit_test(an_error_of_one_part_of_a_unit_undoes_all_of_it),
        cmocka_unit_test(what_is_left_of_a_unit_at_the_end_leaks_nothing),
        cmocka_unit_test(a_binding_is_answered_when_the_binder_has_made_it),
        cmocka_unit_test(the_disk_gives_back_messages_and_bindings),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
