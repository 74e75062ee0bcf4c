/* Notes are kept in a list; a sync gives the list to the writing thread, which writes all lists
 * that wait in one transaction and gives them back with the result. A message that is acknowledged
 * before its list was given away never reaches the disk. */
#include "store/queues.h"
#include "store/record.h"
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEARCH_STEPS = 64 };

enum note_kind { NOTE_PUT, NOTE_REMOVE, NOTE_BIND, NOTE_FORGET, NOTE_VOID };

struct note {
    struct note *next;
    uint64_t id;
    struct mdg_content *content; /* NOTE_PUT */
    uint32_t queue_len, source_len;
    uint8_t kind;
    uint8_t bytes[]; /* queue, then source */
};

struct batch {
    struct mdg_queue_batch head;
    struct batch *next;
    struct note *first, **last;
    struct note *search; /* no put stands before it */
    size_t bytes;
    int err;
    void (*fn)(void *arg, int err);
    void *arg;
};

struct mdg_queue_journal {
    struct mdg_queue_db *db;
    mdg_queue_db_post_fn post;
    void *post_arg;
    struct batch *open; /* what is being noted */
    unsigned under_way; /* batches that are not back */
    bool closed;
};

enum statement { SQL_PUT, SQL_REMOVE, SQL_BIND, SQL_FORGET, SQL_UNBIND, SQL_STATEMENTS };

struct mdg_queue_db {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_STATEMENTS];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    struct batch *waiting, **waiting_last;
    size_t waiting_bytes;
    bool writing, stop, has_thread;
};

/* ---- the writing thread ---- */

static struct mdg_slice queue_of(const struct note *n)
{
    return mdg_slice(n->bytes, n->queue_len);
}

static int bind_bytes(sqlite3_stmt *s, int at, struct mdg_slice bytes)
{
    return sqlite3_bind_blob64(s, at, bytes.len ? (const void *)bytes.data : "", bytes.len,
                               SQLITE_STATIC);
}

static int run(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

static int write_put(struct mdg_queue_db *db, const struct note *n)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_record_write(&w, n->content);
    size_t len = w.len;
    uint8_t *record = malloc(len);
    if (!record)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, record, len);
    mdg_record_write(&w, n->content);
    sqlite3_stmt *s = db->statements[SQL_PUT];
    bind_bytes(s, 1, queue_of(n));
    sqlite3_bind_int64(s, 2, (sqlite3_int64)n->id);
    bind_bytes(s, 3, mdg_slice(record, len));
    int err = run(s);
    free(record);
    return err;
}

static int write_note(struct mdg_queue_db *db, const struct note *n)
{
    sqlite3_stmt *const *s = db->statements;
    switch ((enum note_kind)n->kind) {
    case NOTE_PUT:
        return write_put(db, n);
    case NOTE_REMOVE:
        bind_bytes(s[SQL_REMOVE], 1, queue_of(n));
        sqlite3_bind_int64(s[SQL_REMOVE], 2, (sqlite3_int64)n->id);
        return run(s[SQL_REMOVE]);
    case NOTE_BIND:
        bind_bytes(s[SQL_BIND], 1, queue_of(n));
        bind_bytes(s[SQL_BIND], 2, mdg_slice(n->bytes + n->queue_len, n->source_len));
        return run(s[SQL_BIND]);
    case NOTE_FORGET:
        bind_bytes(s[SQL_FORGET], 1, queue_of(n));
        bind_bytes(s[SQL_UNBIND], 1, queue_of(n));
        int err = run(s[SQL_FORGET]);
        return err < 0 ? err : run(s[SQL_UNBIND]);
    case NOTE_VOID:
        return 0;
    }
    return 0;
}

static int write_batches(struct mdg_queue_db *db, const struct batch *b)
{
    if (sqlite3_exec(db->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return -EIO;
    int err = 0;
    for (; b && err == 0; b = b->next) {
        for (const struct note *n = b->first; n && err == 0; n = n->next)
            err = write_note(db, n);
    }
    if (err == 0 && sqlite3_exec(db->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        err = -EIO;
    if (err < 0)
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static void give_back(struct mdg_queue_db *db, struct batch *b, int err)
{
    size_t bytes = 0;
    while (b) {
        struct batch *next = b->next; /* the worker may free it at once */
        bytes += b->bytes;
        b->err = err;
        b->head.journal->post(b->head.journal->post_arg, &b->head);
        b = next;
    }
    pthread_mutex_lock(&db->lock);
    db->waiting_bytes -= bytes;
    pthread_mutex_unlock(&db->lock);
}

static void *thread_main(void *arg)
{
    struct mdg_queue_db *db = arg;
    pthread_mutex_lock(&db->lock);
    for (;;) {
        while (!db->waiting && !db->stop)
            pthread_cond_wait(&db->wake, &db->lock);
        struct batch *b = db->waiting;
        db->waiting = NULL;
        db->waiting_last = &db->waiting;
        if (!b)
            break;
        db->writing = true;
        pthread_mutex_unlock(&db->lock);
        give_back(db, b, write_batches(db, b));
        pthread_mutex_lock(&db->lock);
        db->writing = false;
        pthread_cond_broadcast(&db->idle);
    }
    pthread_mutex_unlock(&db->lock);
    return NULL;
}

/* ---- opening ---- */

static int prepare(struct mdg_queue_db *db)
{
    static const char schema[] =
        "PRAGMA journal_mode=WAL;"
        "PRAGMA synchronous=FULL;" /* a commit that was answered survives a power cut */
        "CREATE TABLE IF NOT EXISTS messages(queue BLOB NOT NULL, id INTEGER NOT NULL,"
        " content BLOB NOT NULL);"
        "CREATE UNIQUE INDEX IF NOT EXISTS messages_by_id ON messages(queue, id);"
        "CREATE TABLE IF NOT EXISTS bindings(queue BLOB PRIMARY KEY, source BLOB NOT NULL);"
        "PRAGMA user_version=1;";
    static const char *const texts[SQL_STATEMENTS] = {
        [SQL_PUT] = "INSERT OR REPLACE INTO messages(queue, id, content) VALUES(?, ?, ?)",
        [SQL_REMOVE] = "DELETE FROM messages WHERE queue = ? AND id = ?",
        [SQL_BIND] = "INSERT OR REPLACE INTO bindings(queue, source) VALUES(?, ?)",
        [SQL_FORGET] = "DELETE FROM messages WHERE queue = ?",
        [SQL_UNBIND] = "DELETE FROM bindings WHERE queue = ?",
    };
    sqlite3_stmt *version = NULL;
    if (sqlite3_prepare_v2(db->db, "PRAGMA user_version", -1, &version, NULL) != SQLITE_OK)
        return MDG_E_UNSUPPORTED;
    int found = sqlite3_step(version) == SQLITE_ROW ? sqlite3_column_int(version, 0) : -1;
    sqlite3_finalize(version);
    if (found != 0 && found != 1)
        return MDG_E_UNSUPPORTED;
    if (sqlite3_exec(db->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        return -EIO;
    for (size_t i = 0; i < SQL_STATEMENTS; i++) {
        if (sqlite3_prepare_v3(db->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i],
                               NULL) != SQLITE_OK)
            return MDG_E_UNSUPPORTED;
    }
    return 0;
}

int mdg_queue_db_open(const char *path, struct mdg_queue_db **out, char *why, size_t why_size)
{
    struct mdg_queue_db *db = calloc(1, sizeof *db);
    if (!db)
        return MDG_E_NO_MEMORY;
    db->waiting_last = &db->waiting;
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->wake, NULL);
    pthread_cond_init(&db->idle, NULL);
    int err = sqlite3_open(path, &db->db) == SQLITE_OK ? prepare(db) : -EIO;
    if (err < 0)
        snprintf(why, why_size, "%s: %s", path,
                 err == MDG_E_UNSUPPORTED ? "not a file of queues that this version reads"
                                          : sqlite3_errmsg(db->db));
    if (err == 0) {
        err = -pthread_create(&db->thread, NULL, thread_main, db);
        db->has_thread = err == 0;
    }
    if (err < 0) {
        mdg_queue_db_close(db);
        return err;
    }
    *out = db;
    return 0;
}

void mdg_queue_db_close(struct mdg_queue_db *db)
{
    if (!db)
        return;
    if (db->has_thread) {
        pthread_mutex_lock(&db->lock);
        db->stop = true;
        pthread_cond_signal(&db->wake);
        pthread_mutex_unlock(&db->lock);
        pthread_join(db->thread, NULL);
    }
    for (size_t i = 0; i < SQL_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->db);
    pthread_cond_destroy(&db->wake);
    pthread_cond_destroy(&db->idle);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

/* ---- a worker's notes ---- */

static void free_batch(struct batch *b)
{
    if (!b)
        return;
    for (struct note *n = b->first, *next; n; n = next) {
        next = n->next;
        mdg_content_unref(n->content);
        free(n);
    }
    free(b);
}

static struct batch *open_batch(struct mdg_queue_journal *j)
{
    if (j->open)
        return j->open;
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->head.journal = j;
    b->last = &b->first;
    j->open = b;
    return b;
}

static int add_note(struct mdg_queue_journal *j, enum note_kind kind, struct mdg_slice queue,
                    struct mdg_slice source, struct note **out)
{
    struct batch *b = open_batch(j);
    struct note *n = b ? calloc(1, sizeof *n + queue.len + source.len) : NULL;
    if (!n)
        return MDG_E_NO_MEMORY;
    n->kind = (uint8_t)kind;
    n->queue_len = (uint32_t)queue.len;
    n->source_len = (uint32_t)source.len;
    if (queue.len)
        memcpy(n->bytes, queue.data, queue.len);
    if (source.len)
        memcpy(n->bytes + queue.len, source.data, source.len);
    *b->last = n;
    b->last = &n->next;
    if (!b->search)
        b->search = n;
    b->bytes += sizeof *n + queue.len + source.len;
    *out = n;
    return 0;
}

static bool is_full(struct mdg_queue_journal *j, size_t more)
{
    struct mdg_queue_db *db = j->db;
    pthread_mutex_lock(&db->lock);
    bool full =
        db->waiting_bytes + (j->open ? j->open->bytes : 0) + more > MDG_QUEUE_DB_WAITING_BYTES_MAX;
    pthread_mutex_unlock(&db->lock);
    return full;
}

static int put(void *store, struct mdg_slice queue, uint64_t id, struct mdg_content *content)
{
    struct mdg_queue_journal *j = store;
    struct note *n;
    if (is_full(j, content->bytes))
        return MDG_E_FULL;
    int err = add_note(j, NOTE_PUT, queue, mdg_slice(NULL, 0), &n);
    if (err < 0)
        return err;
    n->id = id;
    n->content = mdg_content_ref(content);
    j->open->bytes += content->bytes;
    return 0;
}

/* A message that was put and taken in the same batch need not be written. Messages are usually
 * taken in the order in which they were put, so the search goes on where the last one ended, and
 * not far: a removal that is written too does no harm. */
static bool cancels_put(struct mdg_queue_journal *j, struct mdg_slice queue, uint64_t id)
{
    struct batch *b = j->open;
    while (b && b->search && b->search->kind != NOTE_PUT)
        b->search = b->search->next;
    struct note *n = b ? b->search : NULL;
    for (int steps = 0; n && steps < SEARCH_STEPS; n = n->next, steps++) {
        if (n->kind == NOTE_PUT && n->id == id && mdg_slice_eq(queue_of(n), queue)) {
            n->kind = NOTE_VOID;
            mdg_content_unref(n->content);
            n->content = NULL;
            return true;
        }
    }
    return false;
}

static int remove_message(void *store, struct mdg_slice queue, uint64_t id)
{
    struct note *n;
    if (cancels_put(store, queue, id))
        return 0;
    int err = add_note(store, NOTE_REMOVE, queue, mdg_slice(NULL, 0), &n);
    if (err == 0)
        n->id = id;
    return err;
}

static int bind_queue(void *store, struct mdg_slice queue, struct mdg_slice source)
{
    struct note *n;
    return add_note(store, NOTE_BIND, queue, source, &n);
}

static int forget(void *store, struct mdg_slice queue)
{
    struct note *n;
    return add_note(store, NOTE_FORGET, queue, mdg_slice(NULL, 0), &n);
}

static int sync_notes(void *store, void (*fn)(void *arg, int err), void *arg)
{
    struct mdg_queue_journal *j = store;
    struct mdg_queue_db *db = j->db;
    struct batch *b = open_batch(j);
    if (!b)
        return MDG_E_NO_MEMORY;
    b->fn = fn;
    b->arg = arg;
    j->open = NULL;
    j->under_way++;
    pthread_mutex_lock(&db->lock);
    *db->waiting_last = b;
    db->waiting_last = &b->next;
    db->waiting_bytes += b->bytes;
    pthread_cond_signal(&db->wake);
    pthread_mutex_unlock(&db->lock);
    return 0;
}

static int load_messages(struct mdg_queue_db *db, mdg_queue_load_fn message, void *arg)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(
        db->db, "SELECT queue, id, content FROM messages ORDER BY queue, id", -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct mdg_slice queue =
            mdg_slice(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        struct mdg_slice record =
            mdg_slice(sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
        struct mdg_content *content;
        int err = mdg_record_read(record, &content);
        if (err < 0) {
            sqlite3_finalize(s);
            return err;
        }
        message(arg, queue, (uint64_t)sqlite3_column_int64(s, 1), content);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

static int load_bindings(struct mdg_queue_db *db, mdg_queue_bound_fn bound, void *arg)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->db, "SELECT queue, source FROM bindings", -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        bound(arg, mdg_slice(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0)),
              mdg_slice(sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1)));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

/* Before there are notes, hence the writing thread sleeps and the connection is free. */
static int load(void *store, mdg_queue_load_fn message, mdg_queue_bound_fn bound, void *arg)
{
    struct mdg_queue_journal *j = store;
    int err = load_bindings(j->db, bound, arg);
    return err < 0 ? err : load_messages(j->db, message, arg);
}

const struct mdg_queue_store_ops mdg_queue_db_ops = {
    .put = put,
    .remove = remove_message,
    .bind = bind_queue,
    .forget = forget,
    .sync = sync_notes,
    .load = load,
};

int mdg_queue_journal_new(struct mdg_queue_db *db, mdg_queue_db_post_fn post, void *arg,
                          struct mdg_queue_journal **out)
{
    struct mdg_queue_journal *j = calloc(1, sizeof *j);
    if (!j)
        return MDG_E_NO_MEMORY;
    j->db = db;
    j->post = post;
    j->post_arg = arg;
    *out = j;
    return 0;
}

static void free_if_over(struct mdg_queue_journal *j)
{
    if (j->closed && j->under_way == 0)
        free(j);
}

static void nobody(void *arg, int err)
{
    (void)arg;
    (void)err;
}

void mdg_queue_journal_free(struct mdg_queue_journal *j)
{
    if (!j)
        return;
    struct mdg_queue_db *db = j->db;
    if (j->open && sync_notes(j, nobody, NULL) < 0)
        free_batch(j->open);
    pthread_mutex_lock(&db->lock);
    while (db->waiting || db->writing)
        pthread_cond_wait(&db->idle, &db->lock);
    pthread_mutex_unlock(&db->lock);
    j->closed = true;
    free_if_over(j);
}

void mdg_queue_journal_done(struct mdg_queue_batch *batch)
{
    struct batch *b = MDG_CONTAINER_OF(batch, struct batch, head);
    struct mdg_queue_journal *j = batch->journal;
    j->under_way--;
    if (!j->closed)
        b->fn(b->arg, b->err);
    free_batch(b);
    free_if_over(j);
}
