/* The file of queues: what was synced comes back, in order, and nothing that was removed. */
#include "store/queues.h"
#include "store/record.h"
#include "tests/support/unit.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Batches come back on the writing thread; the test takes them from here. */
struct world {
    char path[64];
    struct mdg_queue_db *db;
    struct mdg_queue_journal *journal;
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct mdg_queue_batch *batches[64];
    size_t batch_count, taken, answers;
    char log[2048];
    size_t len;
};

static void post(void *arg, struct mdg_queue_batch *batch)
{
    struct world *w = arg;
    pthread_mutex_lock(&w->lock);
    w->batches[w->batch_count++] = batch;
    pthread_cond_signal(&w->came);
    pthread_mutex_unlock(&w->lock);
}

static void answered(void *arg, int err)
{
    struct world *w = arg;
    assert_int_equal(err, 0);
    w->answers++;
}

static void open_db(struct world *w)
{
    char why[200];
    assert_int_equal(mdg_queue_db_open(w->path, &w->db, why, sizeof why), 0);
    assert_int_equal(mdg_queue_journal_new(w->db, post, w, &w->journal), 0);
}

static void start(struct world *w)
{
    *w = (struct world){.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};
    snprintf(w->path, sizeof w->path, "/tmp/madang-queues-XXXXXX");
    int fd = mkstemp(w->path);
    assert_true(fd >= 0);
    close(fd);
    open_db(w);
}

static void take_batches(struct world *w, size_t count)
{
    while (w->taken < count) {
        pthread_mutex_lock(&w->lock);
        while (w->taken == w->batch_count)
            pthread_cond_wait(&w->came, &w->lock);
        struct mdg_queue_batch *batch = w->batches[w->taken++];
        pthread_mutex_unlock(&w->lock);
        mdg_queue_journal_done(batch);
    }
}

static void close_db(struct world *w)
{
    mdg_queue_journal_free(w->journal);
    take_batches(w, w->batch_count);
    mdg_queue_db_close(w->db);
    w->db = NULL;
}

static void stop(struct world *w)
{
    char path[100];
    close_db(w);
    unlink(w->path);
    snprintf(path, sizeof path, "%s-wal", w->path);
    unlink(path);
    snprintf(path, sizeof path, "%s-shm", w->path);
    unlink(path);
}

static struct mdg_content *message(const char *text)
{
    struct mdg_msg_header headers[] = {{MDG_SLICE_LIT("a"), MDG_SLICE_LIT("b")},
                                       {MDG_SLICE_LIT("empty"), MDG_SLICE_LIT("")}};
    struct mdg_principal *who = mdg_principal_new(MDG_SLICE_LIT("ann"), false, 0, 0);
    struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                  .channel = MDG_SLICE_LIT("/queue/q"),
                                  .content_type = MDG_SLICE_LIT("text/plain"),
                                  .sender = who,
                                  .headers = headers,
                                  .header_count = 2,
                                  .payload = mdg_slice_str(text)};
    struct mdg_content *c;
    assert_int_equal(mdg_content_new(&draft, 77, &c), 0);
    mdg_principal_unref(who);
    return c;
}

static void put(struct world *w, const char *queue, uint64_t id, const char *text)
{
    struct mdg_content *c = message(text);
    assert_int_equal(mdg_queue_db_ops.put(w->journal, mdg_slice_str(queue), id, c), 0);
    mdg_content_unref(c);
}

static void sync_now(struct world *w)
{
    assert_int_equal(mdg_queue_db_ops.sync(w->journal, answered, w), 0);
    take_batches(w, w->taken + 1);
}

static void on_message(void *arg, struct mdg_slice queue, uint64_t id, struct mdg_content *c)
{
    struct world *w = arg;
    struct mdg_slice text = mdg_chunk_slice(&c->parts[0]);
    w->len +=
        (size_t)snprintf(w->log + w->len, sizeof w->log - w->len, "%.*s/%d=%.*s ", (int)queue.len,
                         (const char *)queue.data, (int)id, (int)text.len, (const char *)text.data);
    assert_int_equal(c->header_count, 2);
    assert_true(mdg_slice_eq(c->headers[0].value, MDG_SLICE_LIT("b")));
    assert_true(mdg_slice_eq(c->sender, MDG_SLICE_LIT("ann")));
    assert_true(mdg_slice_eq(c->content_type, MDG_SLICE_LIT("text/plain")));
    assert_true(mdg_slice_eq(c->channel, MDG_SLICE_LIT("/queue/q")));
    assert_int_equal(c->unix_ms, 77);
    mdg_content_unref(c);
}

static void on_binding(void *arg, struct mdg_slice queue, struct mdg_slice source)
{
    struct world *w = arg;
    w->len +=
        (size_t)snprintf(w->log + w->len, sizeof w->log - w->len, "%.*s<%.*s ", (int)queue.len,
                         (const char *)queue.data, (int)source.len, (const char *)source.data);
}

/* As after a restart. */
static void expect(struct world *w, const char *expected)
{
    close_db(w);
    open_db(w);
    w->len = 0;
    w->log[0] = '\0';
    assert_int_equal(mdg_queue_db_ops.load(w->journal, on_message, on_binding, w), 0);
    assert_string_equal(w->log, expected);
}

static void what_was_put_comes_back_in_order_without_what_was_removed(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    put(&w, "b", 1, "one");
    put(&w, "a", 10, "ten");
    put(&w, "a", 2, "two");
    sync_now(&w);
    assert_int_equal(w.answers, 1);
    put(&w, "a", 11, "eleven");
    assert_int_equal(mdg_queue_db_ops.remove(w.journal, MDG_SLICE_LIT("a"), 2), 0);
    sync_now(&w);
    expect(&w, "a/10=ten a/11=eleven b/1=one ");
    stop(&w);
}

static void closing_writes_what_nobody_waits_for(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    put(&w, "a", 1, "one");
    expect(&w, "a/1=one ");
    assert_int_equal(w.answers, 0);
    stop(&w);
}

static void taken_before_the_sync_is_never_written(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    for (uint64_t id = 1; id <= 200; id++)
        put(&w, "a", id, "x");
    for (uint64_t id = 1; id <= 199; id++)
        assert_int_equal(mdg_queue_db_ops.remove(w.journal, MDG_SLICE_LIT("a"), id), 0);
    sync_now(&w);
    expect(&w, "a/200=x ");
    stop(&w);
}

static void bindings_come_back_and_go_with_their_queue(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    assert_int_equal(mdg_queue_db_ops.bind(w.journal, MDG_SLICE_LIT("d"), MDG_SLICE_LIT("room.#")),
                     0);
    put(&w, "d", 1, "x");
    sync_now(&w);
    expect(&w, "d<room.# d/1=x ");
    assert_int_equal(mdg_queue_db_ops.forget(w.journal, MDG_SLICE_LIT("d")), 0);
    sync_now(&w);
    expect(&w, "");
    stop(&w);
}

static void put_part(struct world *w, struct mdg_queue_journal *journal,
                     struct mdg_queue_unit *unit, const char *queue)
{
    struct mdg_queue_journal *own = w->journal;
    w->journal = journal;
    mdg_queue_db_ops.enter(journal, unit);
    put(w, queue, 1, "part");
    mdg_queue_db_ops.leave(journal);
    w->journal = own;
}

/* The second worker's part comes late: the first one's waits for it, and what follows too. */
static void parts_of_a_unit_are_written_together(void **state)
{
    (void)state;
    struct world w;
    struct mdg_queue_journal *other;
    struct mdg_queue_unit *unit = mdg_queue_unit_new();
    start(&w);
    assert_int_equal(mdg_queue_journal_new(w.db, post, &w, &other), 0);
    assert_non_null(unit);
    atomic_store(&unit->parts, 2);
    put_part(&w, w.journal, unit, "a");
    assert_int_equal(mdg_queue_db_ops.sync(w.journal, answered, &w), 0);
    assert_int_equal(mdg_queue_db_ops.remove(w.journal, MDG_SLICE_LIT("a"), 1), 0);
    put(&w, "a", 2, "later");
    assert_int_equal(mdg_queue_db_ops.sync(w.journal, answered, &w), 0);
    assert_int_equal(mdg_queue_db_ops.bind(other, MDG_SLICE_LIT("b"), MDG_SLICE_LIT("x")), 0);
    assert_int_equal(mdg_queue_db_ops.sync(other, answered, &w), 0);
    take_batches(&w, 1);
    assert_int_equal(w.batch_count, 1); /* the one that has nothing to do with it */
    put_part(&w, other, unit, "b");
    assert_int_equal(mdg_queue_db_ops.sync(other, answered, &w), 0);
    take_batches(&w, 4);
    mdg_queue_unit_unref(unit);
    mdg_queue_journal_free(other);
    expect(&w, "b<x a/2=later b/1=part ");
    stop(&w);
}

static void a_unit_that_lacks_a_part_at_the_end_is_not_written(void **state)
{
    (void)state;
    struct world w;
    struct mdg_queue_unit *unit = mdg_queue_unit_new();
    start(&w);
    assert_non_null(unit);
    put(&w, "a", 5, "before");
    put_part(&w, w.journal, unit, "a");
    put(&w, "a", 6, "after");
    assert_int_equal(mdg_queue_db_ops.sync(w.journal, answered, &w), 0);
    expect(&w, "a/5=before a/6=after ");
    assert_true(atomic_load(&unit->err) < 0);
    mdg_queue_unit_unref(unit);
    stop(&w);
}

static void a_unit_that_failed_is_not_written_and_nobody_waits_for_it(void **state)
{
    (void)state;
    struct world w;
    struct mdg_queue_unit *unit = mdg_queue_unit_new();
    start(&w);
    assert_non_null(unit);
    mdg_queue_unit_fail(unit, MDG_E_FULL);
    put_part(&w, w.journal, unit, "a");
    put(&w, "a", 2, "after");
    sync_now(&w);
    mdg_queue_unit_unref(unit);
    expect(&w, "a/2=after ");
    stop(&w);
}

static void a_file_that_is_something_else_is_refused(void **state)
{
    (void)state;
    struct mdg_queue_db *db;
    char why[200], path[] = "/tmp/madang-queues-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char text[2048];
    memset(text, 'x', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    close(fd);
    assert_true(mdg_queue_db_open(path, &db, why, sizeof why) < 0);
    assert_non_null(strstr(why, path));
    unlink(path);
}

static void a_damaged_record_is_no_message(void **state)
{
    (void)state;
    uint8_t bytes[512];
    struct mdg_writer w;
    struct mdg_content *c = message("hello"), *again;
    mdg_writer_init(&w, bytes, sizeof bytes);
    mdg_record_write(&w, c);
    mdg_content_unref(c);
    for (size_t len = 0; len < w.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, bytes, len);
        assert_int_equal(mdg_record_read(mdg_slice(exact, len), &again), MDG_E_SYNTAX);
        free(exact);
    }
    assert_int_equal(mdg_record_read(mdg_slice(bytes, w.len), &again), 0);
    mdg_content_unref(again);
    bytes[0] = 2;
    assert_int_equal(mdg_record_read(mdg_slice(bytes, w.len), &again), MDG_E_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_comes_back_in_order_without_what_was_removed),
        cmocka_unit_test(closing_writes_what_nobody_waits_for),
        cmocka_unit_test(taken_before_the_sync_is_never_written),
        cmocka_unit_test(bindings_come_back_and_go_with_their_queue),
        cmocka_unit_test(parts_of_a_unit_are_written_together),
        cmocka_unit_test(a_unit_that_lacks_a_part_at_the_end_is_not_written),
        cmocka_unit_test(a_unit_that_failed_is_not_written_and_nobody_waits_for_it),
        cmocka_unit_test(a_file_that_is_something_else_is_refused),
        cmocka_unit_test(a_damaged_record_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
