/* Durable subscriptions: what a room hears while nobody listens waits in the queue. */
#include "hub/durable.h"
#include "hub/kit_test.h"
#include "tests/support/unit.h"
#include <stdio.h>

static const uint64_t seed[2] = {7, 8};

struct world {
    struct kit kit;
    struct mdg_queues *queues;
    struct mdg_durables *durables;
};

struct reader {
    struct mdg_queue_sub sub;
    char text[256];
};

static int deliver(struct mdg_queue_sub *sub, const struct mdg_delivery *d)
{
    struct reader *r = MDG_CONTAINER_OF(sub, struct reader, sub);
    struct mdg_slice payload = mdg_chunk_slice(&d->content->parts[0]);
    size_t len = strlen(r->text);
    snprintf(r->text + len, sizeof r->text - len, "%.*s ", (int)payload.len,
             (const char *)payload.data);
    return mdg_queue_settle(sub, d->tag, MDG_SETTLE_ACK, false, NULL, 0);
}

static const struct mdg_queue_sub_ops reader_ops = {deliver};

static void turn(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        kit_run(&w->kit);
        while (mdg_queues_turn(w->queues))
            ;
    }
}

static void start(struct world *w)
{
    struct mdg_queues_config config = {.worker_count = 1,
                                       .queues_max = 10,
                                       .messages_max = 10,
                                       .bytes_max = 100000,
                                       .bytes_total_max = 100000,
                                       .prefetch_max = 10};
    assert_int_equal(kit_init(&w->kit, 1, 1, NULL), 0);
    assert_int_equal(mdg_queues_new(&config, seed, &w->queues), 0);
    assert_int_equal(mdg_durables_new(w->kit.hubs[0], w->queues, seed, &w->durables), 0);
}

static void stop(struct world *w)
{
    turn(w);
    mdg_durables_free(w->durables);
    mdg_queues_free(w->queues);
    kit_fini(&w->kit);
}

static void read_queue(struct world *w, const char *queue, const char *expected)
{
    struct reader r = {.sub.ops = &reader_ops};
    assert_int_equal(mdg_queue_subscribe(w->queues, &r.sub, mdg_slice_str(queue), 0, 0, NULL, 0),
                     0);
    turn(w);
    assert_string_equal(r.text, expected);
    mdg_queue_unsubscribe(&r.sub);
    turn(w);
}

static void bind_to(struct world *w, const char *queue, const char *source)
{
    assert_int_equal(
        mdg_queue_bind(w->queues, mdg_slice_str(queue), mdg_slice_str(source), NULL, 0), 0);
    turn(w);
}

static void a_room_is_heard_while_nobody_listens(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    bind_to(&w, "d", "room");
    assert_int_equal(kit_publish(&w.kit, 0, "room", "one"), 0);
    assert_int_equal(kit_publish(&w.kit, 0, "room", "two"), 0);
    turn(&w);
    read_queue(&w, "d", "one two ");
    assert_int_equal(mdg_durables_lost(w.durables), 0);
    stop(&w);
}

static void a_pattern_is_heard_too_and_binding_twice_hears_once(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    bind_to(&w, "d", "a.*");
    bind_to(&w, "d", "a.*");
    assert_int_equal(kit_publish(&w.kit, 0, "a.b", "one"), 0);
    assert_int_equal(kit_publish(&w.kit, 0, "b", "other"), 0);
    turn(&w);
    read_queue(&w, "d", "one ");
    stop(&w);
}

static void a_deleted_subscription_hears_no_more(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    bind_to(&w, "d", "room");
    assert_int_equal(mdg_queue_delete(w.queues, MDG_SLICE_LIT("d"), NULL, 0), 0);
    turn(&w);
    assert_int_equal(kit_publish(&w.kit, 0, "room", "one"), 0);
    turn(&w);
    read_queue(&w, "d", "");
    stop(&w);
}

static void what_the_queue_cannot_take_is_counted(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    bind_to(&w, "d", "room");
    for (int i = 0; i < 12; i++)
        assert_int_equal(kit_publish(&w.kit, 0, "room", "x"), 0);
    turn(&w);
    assert_int_equal(mdg_durables_lost(w.durables), 2);
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_room_is_heard_while_nobody_listens),
        cmocka_unit_test(a_pattern_is_heard_too_and_binding_twice_hears_once),
        cmocka_unit_test(a_deleted_subscription_hears_no_more),
        cmocka_unit_test(what_the_queue_cannot_take_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
