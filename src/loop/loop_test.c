/* Turn order, timers, posts from threads, deferred work, the embedded loop, the virtual clock. */
#include "loop/loop.h"
#include "tests/support/unit.h"
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static struct mdg_loop *new_loop(enum mdg_loop_kind kind)
{
    struct mdg_loop *loop = NULL;
    struct mdg_loop_config config = {.kind = kind, .sim_seed = 7};
    assert_int_equal(mdg_loop_new(&config, &loop), 0);
    return loop;
}

/* A journal of what ran. */
struct journal {
    struct mdg_loop *loop;
    char text[256];
};

static void note(struct journal *j, const char *word)
{
    size_t len = strlen(j->text);
    snprintf(j->text + len, sizeof j->text - len, "%s ", word);
}

static void heap_gives_timers_in_order_whatever_is_removed(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct mdg_timer t[N];
    struct mdg_timers heap = {NULL};
    srandom(5);
    for (int i = 0; i < N; i++) {
        t[i].due_ms = (uint64_t)(random() % 300);
        mdg_timers_insert(&heap, &t[i]);
    }
    for (int i = 0; i < N; i += 3)
        mdg_timers_remove(&heap, &t[i]);
    uint64_t last = 0;
    int popped = 0;
    struct mdg_timer *next;
    for (uint64_t now = 0; now < 300; now++) {
        while ((next = mdg_timers_pop(&heap, now))) {
            assert_true(next->due_ms >= last && next->due_ms <= now);
            assert_false(mdg_timer_running(next));
            last = next->due_ms;
            popped++;
        }
    }
    assert_null(heap.root);
    assert_int_equal(popped, N - (N + 2) / 3);
}

static void on_timer_note(struct mdg_timer *t, void *arg)
{
    (void)t;
    note(arg, "timer");
}

static void on_posted_note(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    note(arg, "posted");
}

static void on_deferred_note(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    note(arg, "deferred");
}

static void on_disposed_note(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    note(arg, "disposed");
}

struct noted_phase {
    struct mdg_phase phase;
    struct journal *journal;
};

static void flush_note(struct mdg_phase *p)
{
    note(MDG_CONTAINER_OF(p, struct noted_phase, phase)->journal, "flush");
}

static void free_note(struct mdg_phase *p)
{
    note(MDG_CONTAINER_OF(p, struct noted_phase, phase)->journal, "free");
}

struct noted_source {
    struct mdg_source source;
    struct journal *journal;
    int fd;
};

static void ready_note(struct mdg_source *src, uint32_t events)
{
    struct noted_source *s = MDG_CONTAINER_OF(src, struct noted_source, source);
    char byte;
    assert_true(events & EPOLLIN);
    assert_int_equal(read(s->fd, &byte, 1), 1);
    note(s->journal, "ready");
}

static void a_turn_has_a_fixed_order(void **state)
{
    (void)state;
    static const struct mdg_source_ops ops = {ready_note};
    struct journal j = {new_loop(MDG_LOOP_EPOLL), ""};
    struct noted_phase phase = {{.flush = flush_note, .free = free_note}, &j};
    struct mdg_defer later = {.fn = on_deferred_note, .arg = &j};
    struct mdg_defer last = {.fn = on_disposed_note, .arg = &j};
    struct mdg_timer timer;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    struct noted_source source = {{&ops}, &j, pipe_fds[0]};
    assert_int_equal(mdg_loop_watch(j.loop, &source.source, pipe_fds[0], EPOLLIN), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    mdg_loop_add_phase(j.loop, &phase.phase);
    mdg_loop_dispose(j.loop, &last);
    mdg_loop_defer(j.loop, &later);
    mdg_loop_defer(j.loop, &later);
    mdg_timer_init(&timer, on_timer_note, &j);
    mdg_timer_start(j.loop, &timer, 0);
    assert_int_equal(mdg_loop_post(j.loop, on_posted_note, &j), 0);
    assert_true(mdg_loop_step(j.loop, 0) >= 1);
    assert_string_equal(j.text, "ready posted timer deferred flush free disposed ");
    mdg_loop_remove_phase(j.loop, &phase.phase);
    mdg_loop_free(j.loop);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void a_cancelled_deferral_and_a_stopped_timer_do_not_run(void **state)
{
    (void)state;
    struct journal j = {new_loop(MDG_LOOP_SIM), ""};
    struct mdg_defer later = {.fn = on_deferred_note, .arg = &j};
    struct mdg_timer timer;
    mdg_timer_init(&timer, on_timer_note, &j);
    mdg_timer_start(j.loop, &timer, 5);
    mdg_timer_start(j.loop, &timer, 50);
    mdg_loop_defer(j.loop, &later);
    mdg_defer_cancel(&later);
    mdg_defer_cancel(&later);
    mdg_timer_stop(j.loop, &timer);
    mdg_timer_stop(j.loop, &timer);
    assert_int_equal(mdg_loop_step(j.loop, 100), 0);
    assert_string_equal(j.text, "");
    mdg_loop_free(j.loop);
}

static void the_virtual_clock_jumps_to_the_next_timer_and_repeats(void **state)
{
    (void)state;
    struct journal j = {new_loop(MDG_LOOP_SIM), ""};
    struct mdg_timer timer;
    uint64_t start = mdg_loop_now_ms(j.loop), wall = mdg_loop_unix_ms(j.loop);
    mdg_timer_init(&timer, on_timer_note, &j);
    mdg_timer_start(j.loop, &timer, 3600000);
    assert_int_equal(mdg_loop_run(j.loop), 0); /* ends by itself: nothing is left */
    assert_int_equal(mdg_loop_now_ms(j.loop) - start, 3600000);
    assert_int_equal(mdg_loop_unix_ms(j.loop) - wall, 3600000);
    assert_string_equal(j.text, "timer ");
    uint8_t a[13], b[13];
    struct mdg_loop *other = new_loop(MDG_LOOP_SIM);
    mdg_loop_random(j.loop, a, sizeof a);
    mdg_loop_random(other, b, sizeof b);
    assert_memory_equal(a, b, sizeof a);
    mdg_loop_free(other);
    mdg_loop_free(j.loop);
}

static void wall_clock_and_random_bytes_are_the_real_ones(void **state)
{
    (void)state;
    struct mdg_loop *loop = new_loop(MDG_LOOP_EPOLL);
    uint64_t now = (uint64_t)time(NULL);
    assert_in_range(mdg_loop_unix_ms(loop) / 1000, now - 1, now + 1);
    uint8_t a[600] = {0}, b[600] = {0};
    mdg_loop_random(loop, a, sizeof a);
    mdg_loop_random(loop, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, a + 256, 256);
    mdg_loop_free(loop);
}

enum { POST_THREADS = 4, POSTS_EACH = 5000 };

struct counted_posts {
    struct mdg_loop *loop;
    unsigned next[POST_THREADS];
    unsigned total;
};

struct one_post {
    struct counted_posts *all;
    unsigned thread, number;
};

static void on_counted(struct mdg_loop *loop, void *arg)
{
    struct one_post *p = arg;
    assert_int_equal(p->all->next[p->thread], p->number);
    p->all->next[p->thread]++;
    if (++p->all->total == POST_THREADS * POSTS_EACH)
        mdg_loop_stop(loop);
    free(p);
}

struct poster {
    struct counted_posts *all;
    unsigned thread;
};

static void *post_many(void *arg)
{
    struct poster *me = arg;
    for (unsigned i = 0; i < POSTS_EACH; i++) {
        struct one_post *p = malloc(sizeof *p);
        *p = (struct one_post){me->all, me->thread, i};
        if (mdg_loop_post(me->all->loop, on_counted, p) < 0)
            abort();
    }
    return NULL;
}

static void posts_from_threads_all_arrive_in_each_threads_order(void **state)
{
    (void)state;
    struct counted_posts all = {.loop = new_loop(MDG_LOOP_EPOLL)};
    pthread_t threads[POST_THREADS];
    struct poster posters[POST_THREADS];
    for (unsigned i = 0; i < POST_THREADS; i++) {
        posters[i] = (struct poster){&all, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    assert_int_equal(mdg_loop_run(all.loop), 0);
    for (int i = 0; i < POST_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(all.total, POST_THREADS * POSTS_EACH);
    mdg_loop_free(all.loop);
}

static void what_is_posted_last_runs_before_the_loop_is_freed(void **state)
{
    (void)state;
    struct journal j = {new_loop(MDG_LOOP_EPOLL), ""};
    assert_int_equal(mdg_loop_post(j.loop, on_posted_note, &j), 0);
    mdg_loop_free(j.loop);
    assert_string_equal(j.text, "posted ");
}

static void an_embedded_loop_turns_readable_for_timers_and_posts(void **state)
{
    (void)state;
    struct journal j = {NULL, ""};
    struct mdg_loop_config config = {.timer_fd = true};
    assert_int_equal(mdg_loop_new(&config, &j.loop), 0);
    struct mdg_timer timer;
    mdg_timer_init(&timer, on_timer_note, &j);
    assert_int_equal(mdg_loop_step(j.loop, 0), 0);
    struct pollfd p = {.fd = mdg_loop_fd(j.loop), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    mdg_timer_start(j.loop, &timer, 20); /* outside a turn: readable, so that it can be armed */
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(mdg_loop_step(j.loop, 0), 1);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(poll(&p, 1, 2000), 1);
    for (int i = 0; i < 100 && !j.text[0]; i++)
        assert_true(mdg_loop_step(j.loop, 0) >= 0);
    assert_string_equal(j.text, "timer ");
    assert_int_equal(mdg_loop_post(j.loop, on_posted_note, &j), 0);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_true(mdg_loop_step(j.loop, 0) >= 0);
    assert_string_equal(j.text, "timer posted ");
    mdg_loop_free(j.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_gives_timers_in_order_whatever_is_removed),
        cmocka_unit_test(a_turn_has_a_fixed_order),
        cmocka_unit_test(a_cancelled_deferral_and_a_stopped_timer_do_not_run),
        cmocka_unit_test(the_virtual_clock_jumps_to_the_next_timer_and_repeats),
        cmocka_unit_test(wall_clock_and_random_bytes_are_the_real_ones),
        cmocka_unit_test(posts_from_threads_all_arrive_in_each_threads_order),
        cmocka_unit_test(what_is_posted_last_runs_before_the_loop_is_freed),
        cmocka_unit_test(an_embedded_loop_turns_readable_for_timers_and_posts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
