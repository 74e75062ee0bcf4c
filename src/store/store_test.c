/* What is promised of messages that were acknowledged: they are there after a restart, also after
 * the process was killed at any moment, and after a full disk. */
#include "hub/kit_test.h"
#include "store/store.h"
#include "tests/support/unit.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 2, WAIT_MS_MAX = 10000 };

struct fixture {
    struct kit kit;
    struct mdg_store *store;
    struct mdg_store_config config;
    char dir[64], path[96];
    struct kit_client ann;
    unsigned acked, failed;
    uint64_t last_seq;
};

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void make_dir(struct fixture *f)
{
    snprintf(f->dir, sizeof f->dir, "/tmp/madang-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    mdg_store_config_init(&f->config);
    f->config.path = f->path;
    f->config.workers = WORKERS;
    f->config.log_count_max = 16;
}

static void open_store(struct fixture *f, unsigned workers, uint64_t seed)
{
    const char *why = "";
    int err = mdg_store_open(&f->config, &f->store, &why);
    if (err < 0)
        fail_msg("%s", why);
    assert_int_equal(kit_init(&f->kit, workers, seed, NULL), 0);
    for (unsigned i = 0; i < workers; i++) {
        mdg_hub_set_keeper(f->kit.hubs[i], mdg_store_keeper(f->store));
        assert_int_equal(mdg_store_restore(f->store, f->kit.hubs[i]), 0);
    }
    assert_int_equal(kit_client_init(&f->kit, 0, &f->ann, "ann", false), 0);
}

static void close_store(struct fixture *f)
{
    kit_client_fini(&f->ann);
    mdg_store_stop(f->store);
    mdg_store_free(f->store);
    kit_run(&f->kit);
    kit_fini(&f->kit);
}

static void remove_dir(struct fixture *f)
{
    static const char *const files[] = {"store.db", "store.db-wal", "store.db-shm",
                                        "store.db.lock"};
    char name[128];
    for (size_t i = 0; i < MDG_ARRAY_LEN(files); i++) {
        snprintf(name, sizeof name, "%s/%s", f->dir, files[i]);
        unlink(name);
    }
    rmdir(f->dir);
}

static void work(struct fixture *f)
{
    kit_run(&f->kit);
    for (unsigned i = 0; i < f->kit.workers; i++)
        mdg_store_collect(f->store, i);
    kit_run(&f->kit);
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct fixture *f = arg;
    if (err < 0) {
        f->failed++;
        return;
    }
    f->acked++;
    f->last_seq = at.seq;
}

static void publish(struct fixture *f, const char *room, const char *text)
{
    struct mdg_content *content = kit_content(room, text, 0);
    assert_non_null(content);
    assert_int_equal(mdg_hub_publish(f->kit.hubs[f->kit.workers - 1], content, on_published, f), 0);
}

static void wait_for(struct fixture *f, unsigned answers)
{
    for (int ms = 0; f->acked + f->failed < answers && ms < WAIT_MS_MAX; ms++) {
        work(f);
        sleep_ms(1);
    }
    assert_int_equal(f->acked + f->failed, answers);
}

static void keep_position(void *arg, int err, const struct mdg_since *since)
{
    assert_int_equal(err, 0);
    *(struct mdg_position *)arg = since->newest;
}

static struct mdg_position position(struct fixture *f, const char *room)
{
    struct mdg_position at = {0, 0};
    assert_int_equal(mdg_hub_since(f->kit.hubs[0], mdg_slice_str(room), at, 0, keep_position, &at),
                     0);
    work(f);
    return at;
}

static void test_rooms_survive_a_restart_with_their_places(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    struct mdg_member *m;
    char text[8];
    make_dir(f);
    open_store(f, 2, 1);
    kit_in(&f->ann, "lobby");
    work(f);
    kit_said(&f->ann);
    for (int i = 1; i <= 40; i++) {
        snprintf(text, sizeof text, "m%d", i);
        publish(f, "lobby", text);
    }
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), ""); /* nothing is seen before it is safe */
    wait_for(f, 40);
    assert_memory_equal(kit_said(&f->ann), "lobby@1 m1\nlobby@2 m2\n", 22);
    struct mdg_position before = position(f, "lobby");
    assert_true(mdg_store_stats(f->store).commits < 40); /* a sync serves many */
    close_store(f);

    open_store(f, 1, 9); /* another number of workers, other owners */
    struct mdg_position after = position(f, "lobby");
    assert_int_equal(after.epoch, before.epoch);
    assert_int_equal(after.seq, 40);
    struct mdg_join_options resume = {.resume = true, .from = {before.epoch, 38}};
    assert_int_equal(kit_join(&f->ann, "lobby", &resume, &m), 0);
    work(f);
    assert_string_equal(
        kit_said(&f->ann),
        "joined lobby 1: ann recovered=1 missing=0-0\nlobby@39 m39\nlobby@40 m40\n");
    f->acked = 0;
    publish(f, "lobby", "next");
    wait_for(f, 1);
    assert_int_equal(f->last_seq, 41);
    close_store(f);
    remove_dir(f);
    free(f);
}

static void test_a_forgotten_room_comes_back_empty_with_a_new_epoch(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    make_dir(f);
    open_store(f, 1, 1);
    publish(f, "lobby", "old");
    wait_for(f, 1);
    struct mdg_position before = position(f, "lobby");
    kit_advance(&f->kit, 3700000); /* older than the log keeps */
    kit_advance(&f->kit, 70000);
    f->acked = 0;
    publish(f, "lobby", "new");
    wait_for(f, 1);
    assert_int_equal(f->last_seq, 1);
    struct mdg_position after = position(f, "lobby");
    assert_int_not_equal(before.epoch, after.epoch);
    close_store(f);
    open_store(f, 1, 2);
    assert_int_equal(position(f, "lobby").epoch, after.epoch);
    assert_int_equal(position(f, "lobby").seq, 1);
    close_store(f);
    remove_dir(f);
    free(f);
}

static void test_a_full_disk_refuses_and_recovers_without_a_hole(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    char *big = malloc(20001);
    memset(big, 'x', 20000);
    big[20000] = '\0';
    make_dir(f);
    f->config.bytes_max = 200000;
    open_store(f, 1, 1);
    kit_in(&f->ann, "lobby");
    unsigned answers = 0;
    for (int i = 0; i < 20; i++) {
        publish(f, "lobby", "x");
        publish(f, "lobby", big);
        answers += 2;
        if (i % 3 == 0)
            wait_for(f, answers);
    }
    wait_for(f, answers);
    assert_true(f->failed > 0 && f->acked > 0);
    uint64_t safe = f->last_seq;
    struct mdg_position at = position(f, "lobby");
    assert_int_equal(at.seq, safe);
    assert_int_equal(at.seq, f->acked); /* no seq was lost with the failures */
    close_store(f);
    f->config.bytes_max = 0; /* there is room again */
    open_store(f, 1, 1);
    assert_int_equal(position(f, "lobby").seq, safe);
    publish(f, "lobby", "after");
    wait_for(f, answers + 1);
    assert_int_equal(f->last_seq, safe + 1);
    close_store(f);
    remove_dir(f);
    free(big);
    free(f);
}

static void test_one_process_at_a_time(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    struct mdg_store *second;
    const char *why = "";
    make_dir(f);
    open_store(f, 1, 1);
    assert_int_equal(mdg_store_open(&f->config, &second, &why), MDG_E_EXISTS);
    assert_string_equal(why, "another process uses this store");
    close_store(f);
    struct mdg_store_config nowhere = f->config;
    nowhere.path = "/nonexistent/store.db";
    assert_true(mdg_store_open(&nowhere, &second, &why) < 0);
    remove_dir(f);
    free(f);
}

/* Publishes without end and writes each acknowledged seq to the pipe. */
static void child(struct fixture *f, int out)
{
    unsigned sent = 0;
    char text[16];
    open_store(f, 2, 3);
    uint64_t told = 0;
    for (;;) {
        for (int i = 0; i < 5; i++) {
            snprintf(text, sizeof text, "n%u", ++sent);
            publish(f, "lobby", text);
        }
        while (f->acked + 20 < sent)
            work(f), sleep_ms(0);
        if (f->last_seq != told) {
            told = f->last_seq;
            if (write(out, &told, sizeof told) != sizeof told)
                _exit(1);
        }
    }
}

static uint64_t run_and_kill(struct fixture *f, int ms)
{
    int ends[2];
    uint64_t last = 0, seq;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(f, ends[1]);
    }
    close(ends[1]);
    struct pollfd p = {ends[0], POLLIN, 0};
    assert_int_equal(poll(&p, 1, WAIT_MS_MAX), 1); /* the first acknowledgement */
    sleep_ms(ms);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(ends[0], &seq, sizeof seq) == sizeof seq)
        last = seq;
    close(ends[0]);
    return last;
}

static void test_what_was_acknowledged_survives_kill_at_any_moment(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    uint64_t before = 0;
    make_dir(f);
    for (int round = 0; round < 6; round++) {
        f->acked = f->failed = 0;
        uint64_t acked = run_and_kill(f, 7 + round * 13);
        assert_true(acked > before);
        open_store(f, 2, 5);
        struct mdg_member *m;
        struct mdg_position at = position(f, "lobby");
        assert_true(at.seq >= acked);
        struct mdg_join_options o = {.history = 16};
        assert_int_equal(kit_join(&f->ann, "lobby", &o, &m), 0);
        work(f);
        assert_int_equal(f->ann.delivered, 16); /* the log's tail, without a hole */
        before = at.seq;
        close_store(f);
    }
    remove_dir(f);
    free(f);
}

static void count_fact(void *arg, struct mdg_slice key, struct mdg_slice value)
{
    char *text = arg;
    size_t at = strlen(text);
    snprintf(text + at, 256 - at, "%.*s=%.*s ", (int)key.len, (const char *)key.data,
             (int)value.len, (const char *)value.data);
}

static void on_synced(void *arg, int err)
{
    *(int *)arg = err == 0 ? 1 : err;
}

static void wait_synced(struct fixture *f, int *synced)
{
    for (int ms = 0; *synced == 0 && ms < WAIT_MS_MAX; ms++) {
        work(f);
        sleep_ms(1);
    }
    assert_int_equal(*synced, 1);
}

static void test_facts_survive(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    char text[256] = "";
    int synced = 0;
    struct mdg_slice space = MDG_SLICE_LIT("sessions"), a = MDG_SLICE_LIT("a"),
                     b = MDG_SLICE_LIT("b"), q = MDG_SLICE_LIT("jobs");
    make_dir(f);
    open_store(f, 2, 1);
    assert_int_equal(mdg_store_put(f->store, 0, space, a, MDG_SLICE_LIT("1")), 0);
    assert_int_equal(mdg_store_put(f->store, 0, space, b, MDG_SLICE_LIT("2")), 0);
    assert_int_equal(mdg_store_put(f->store, 0, space, a, MDG_SLICE_LIT("3")), 0);
    assert_int_equal(mdg_store_delete(f->store, 0, space, b), 0);
    assert_int_equal(mdg_store_put(f->store, 1, q, b, b), 0);
    assert_int_equal(mdg_store_sync(f->store, 0, on_synced, &synced), 0);
    wait_synced(f, &synced);
    close_store(f);

    open_store(f, 1, 1);
    assert_int_equal(mdg_store_each(f->store, space, count_fact, text), 0);
    assert_string_equal(text, "a=3 ");
    close_store(f);
    remove_dir(f);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rooms_survive_a_restart_with_their_places),
        cmocka_unit_test(test_a_forgotten_room_comes_back_empty_with_a_new_epoch),
        cmocka_unit_test(test_a_full_disk_refuses_and_recovers_without_a_hole),
        cmocka_unit_test(test_one_process_at_a_time),
        cmocka_unit_test(test_facts_survive),
        cmocka_unit_test(test_what_was_acknowledged_survives_kill_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
