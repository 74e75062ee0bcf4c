/* Rooms whose members sit on several threads. Meant to run under TSan too. */
#include "broker/workers.h"
#include "hub/hub.h"
#include "tests/support/unit.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WORKERS = 3,
    MEMBERS = 4,    /* on each worker, in each room */
    ROOMS = 3,      /* so that each worker is likely to own one */
    MESSAGES = 300, /* from each worker to each room */
    RECEIVED = WORKERS * MESSAGES,
};

struct worker {
    unsigned index;
    struct mdg_loop *loop;
    struct mdg_hub *hub;
    struct mdg_defer turn;
    struct mdg_timer again, publish, tick;
    pthread_t thread;
    unsigned published, acked, joined;
    struct client {
        struct mdg_session session;
        struct mdg_principal *who;
        uint64_t next_seq[ROOMS];
        uint64_t order[ROOMS]; /* a checksum of what came in which order */
        unsigned received[ROOMS];
    } clients[MEMBERS];
};

static struct mdg_workers *group;
static struct worker workers[WORKERS];
static atomic_uint finished, all_joined;

static const char *const rooms[ROOMS] = {"lobby", "attic", "garden"};

static struct client *client_of(const struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct client, session);
}

static size_t room_index(const struct mdg_member *m)
{
    for (size_t i = 0; i < ROOMS; i++) {
        if (mdg_slice_eq(mdg_channel_name(m->channel), mdg_slice_str(rooms[i])))
            return i;
    }
    return 0;
}

static struct worker *worker_of(const struct mdg_session *s)
{
    return &workers[s->id >> 56];
}

static void note_finished(struct worker *w)
{
    if (w->acked < ROOMS * MESSAGES)
        return;
    for (size_t i = 0; i < MEMBERS; i++) {
        for (size_t r = 0; r < ROOMS; r++) {
            if (w->clients[i].received[r] < RECEIVED)
                return;
        }
    }
    if (atomic_fetch_add(&finished, 1) + 1 == WORKERS) {
        for (size_t i = 0; i < WORKERS; i++)
            mdg_loop_stop(workers[i].loop);
    }
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    assert_int_equal(err, 0);
    client_of(m->session)->next_seq[room_index(m)] = info->at.seq + 1;
    if (++worker_of(m->session)->joined == MEMBERS * ROOMS)
        atomic_fetch_add(&all_joined, 1);
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct client *c = client_of(m->session);
    size_t room = room_index(m);
    for (size_t i = 0; i < n; i++) {
        if (msgs[i]->content->kind == MDG_MSG_PRESENCE)
            continue;
        assert_int_equal(msgs[i]->seq, c->next_seq[room]);
        c->next_seq[room]++;
        c->order[room] = c->order[room] * 31 + mdg_msg_payload(msgs[i]).data[0] * 7919u +
                         mdg_msg_payload(msgs[i]).data[1];
        if (++c->received[room] == RECEIVED)
            note_finished(worker_of(m->session));
    }
    return (int)n;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    (void)m;
    fail_msg("a gap from %d to %d", (int)from, (int)to);
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    (void)s;
    fail_msg("kicked: %d", reason);
}

static const struct mdg_session_ops ops = {on_joined, on_deliver, on_gap, on_kick, NULL, NULL};

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct worker *w = arg;
    assert_int_equal(err, 0);
    assert_true(at.seq > 0);
    if (++w->acked == ROOMS * MESSAGES)
        note_finished(w);
}

static void on_publish(struct mdg_timer *t, void *arg)
{
    struct worker *w = arg;
    char text[2] = {(char)('a' + w->index), (char)('a' + w->published % 26)};
    mdg_timer_start(w->loop, t, 1);
    if (atomic_load(&all_joined) < WORKERS)
        return;
    for (int burst = 0; burst < 5 && w->published < MESSAGES; burst++, w->published++) {
        for (size_t r = 0; r < ROOMS; r++) {
            struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                          .channel = mdg_slice_str(rooms[r]),
                                          .payload = mdg_slice(text, 2)};
            struct mdg_content *content;
            assert_int_equal(mdg_content_new(&draft, 1, &content), 0);
            assert_int_equal(mdg_hub_publish(w->hub, content, on_published, w), 0);
        }
    }
}

static void turn(struct worker *w)
{
    mdg_hub_set_time(w->hub, mdg_loop_now_ms(w->loop), mdg_loop_unix_ms(w->loop));
    if (mdg_hub_turn(w->hub))
        mdg_timer_start(w->loop, &w->again, 0);
}

static void on_turn(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    turn(arg);
}

static void on_again(struct mdg_timer *t, void *arg)
{
    (void)t;
    turn(arg);
}

static void on_tick(struct mdg_timer *t, void *arg)
{
    struct worker *w = arg;
    mdg_hub_set_time(w->hub, mdg_loop_now_ms(w->loop), mdg_loop_unix_ms(w->loop));
    mdg_hub_tick(w->hub);
    mdg_timer_start(w->loop, t, 20);
}

static void on_pending(void *arg)
{
    struct worker *w = arg;
    mdg_loop_defer(w->loop, &w->turn);
}

static void start(struct worker *w, unsigned index)
{
    struct mdg_hub_config config;
    uint64_t seed[2] = {index, 5};
    char name[8];
    mdg_hub_config_init(&config);
    config.channel.log_count_max = 4 * RECEIVED;
    config.fanout_budget = 100;
    w->index = index;
    assert_int_equal(mdg_loop_new(NULL, &w->loop), 0);
    assert_int_equal(mdg_hub_new(&config, index, seed, &w->hub), 0);
    assert_int_equal(mdg_workers_attach(group, index, w->loop, w->hub), 0);
    w->turn = (struct mdg_defer){.fn = on_turn, .arg = w};
    mdg_timer_init(&w->again, on_again, w);
    mdg_timer_init(&w->publish, on_publish, w);
    mdg_timer_init(&w->tick, on_tick, w);
    mdg_hub_on_pending(w->hub, on_pending, w);
    mdg_timer_start(w->loop, &w->publish, 1);
    mdg_timer_start(w->loop, &w->tick, 20);
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct client *c = &w->clients[i];
        snprintf(name, sizeof name, "u%u", i);
        c->who = mdg_principal_new(mdg_slice_str(name), false, MDG_RIGHTS_USER, 0);
        mdg_session_init(&c->session, w->hub, &ops, c->who);
        for (size_t r = 0; r < ROOMS; r++) {
            struct mdg_member *m;
            assert_int_equal(mdg_hub_join(w->hub, &c->session, mdg_slice_str(rooms[r]), NULL, &m),
                             0);
        }
    }
}

static void *run(void *arg)
{
    struct worker *w = arg;
    assert_int_equal(mdg_loop_run(w->loop), 0);
    return NULL;
}

static void test_all_threads_see_one_order_without_loss_or_copies(void **state)
{
    (void)state;
    uint64_t seed[2] = {11, 12};
    assert_int_equal(mdg_workers_new(WORKERS, seed, &group), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        start(&workers[i], i);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned c = 0; c < MEMBERS; c++) {
            for (size_t r = 0; r < ROOMS; r++) {
                assert_int_equal(workers[i].clients[c].received[r], RECEIVED);
                assert_int_equal(workers[i].clients[c].order[r], workers[0].clients[0].order[r]);
            }
        }
    }
    assert_true(mdg_workers_posts(group) > 0);
    /* Fewer posts than operations: what a turn has to say goes in one chain. */
    assert_true(mdg_workers_posts(group) < (uint64_t)WORKERS * RECEIVED * ROOMS);
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned c = 0; c < MEMBERS; c++) {
            mdg_session_fini(&workers[i].clients[c].session);
            mdg_principal_unref(workers[i].clients[c].who);
        }
        mdg_hub_turn(workers[i].hub);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        mdg_loop_free(workers[i].loop);
    for (unsigned i = 0; i < WORKERS; i++)
        mdg_hub_free(workers[i].hub);
    mdg_workers_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_threads_see_one_order_without_loss_or_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
