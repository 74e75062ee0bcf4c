/* The file of queues and its writing thread: all batches that wait are written in one transaction
 * and given back with the result (group commit). */
#include "store/queues_impl.h"
#include "store/record.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the writing thread ---- */

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

static int write_put(struct mdg_queue_db *db, const struct mdg_qnote *n)
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
    sqlite3_stmt *s = db->statements[MDG_QSQL_PUT];
    bind_bytes(s, 1, mdg_qnote_queue(n));
    sqlite3_bind_int64(s, 2, (sqlite3_int64)n->id);
    bind_bytes(s, 3, mdg_slice(record, len));
    int err = run(s);
    free(record);
    return err;
}

static int write_note(struct mdg_queue_db *db, const struct mdg_qnote *n)
{
    sqlite3_stmt *const *s = db->statements;
    switch ((enum mdg_qnote_kind)n->kind) {
    case MDG_QNOTE_PUT:
        return write_put(db, n);
    case MDG_QNOTE_REMOVE:
        bind_bytes(s[MDG_QSQL_REMOVE], 1, mdg_qnote_queue(n));
        sqlite3_bind_int64(s[MDG_QSQL_REMOVE], 2, (sqlite3_int64)n->id);
        return run(s[MDG_QSQL_REMOVE]);
    case MDG_QNOTE_BIND:
        bind_bytes(s[MDG_QSQL_BIND], 1, mdg_qnote_queue(n));
        bind_bytes(s[MDG_QSQL_BIND], 2, mdg_slice(n->bytes + n->queue_len, n->source_len));
        return run(s[MDG_QSQL_BIND]);
    case MDG_QNOTE_FORGET:
        bind_bytes(s[MDG_QSQL_FORGET], 1, mdg_qnote_queue(n));
        bind_bytes(s[MDG_QSQL_UNBIND], 1, mdg_qnote_queue(n));
        int err = run(s[MDG_QSQL_FORGET]);
        return err < 0 ? err : run(s[MDG_QSQL_UNBIND]);
    case MDG_QNOTE_PART:
    case MDG_QNOTE_VOID:
        return 0;
    }
    return 0;
}

static bool is_dropped(const struct mdg_qnote *n)
{
    return n->unit && atomic_load(&n->unit->err) < 0;
}

static int write_batches(struct mdg_queue_db *db, const struct mdg_qbatch *b)
{
    if (sqlite3_exec(db->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return -EIO;
    int err = 0;
    for (; b && err == 0; b = b->next) {
        for (const struct mdg_qnote *n = b->first; n && err == 0; n = n->next)
            err = is_dropped(n) ? 0 : write_note(db, n);
    }
    if (err == 0 && sqlite3_exec(db->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        err = -EIO;
    if (err < 0)
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static void give_back(struct mdg_queue_db *db, struct mdg_qbatch *b, int err)
{
    size_t bytes = 0;
    while (b) {
        struct mdg_qbatch *next = b->next; /* the worker may free it at once */
        bytes += b->bytes;
        b->err = err;
        b->head.journal->post(b->head.journal->post_arg, &b->head);
        b = next;
    }
    pthread_mutex_lock(&db->lock);
    db->waiting_bytes -= bytes;
    pthread_mutex_unlock(&db->lock);
}

/* ---- units: all of their parts, or none ----
 *
 * A unit's parts are in batches of several workers. What is written at one time must hold all of
 * them, so a batch waits for the units that it has a part of to be whole, and what the same worker
 * noted after it waits too, for a later note may undo an earlier one. Every part comes, for each
 * worker notes its part without waiting for anybody: nothing waits for ever. */

static bool is_part(const struct mdg_qnote *n)
{
    return n->kind == MDG_QNOTE_PART;
}

/* How many parts of each unit are in the batches that need not wait. */
static void count_parts(struct mdg_qbatch *first)
{
    for (struct mdg_qbatch *b = first; b; b = b->next) {
        for (struct mdg_qnote *n = b->has_parts ? b->first : NULL; n; n = n->next) {
            if (is_part(n))
                n->unit->seen = 0;
        }
    }
    for (struct mdg_qbatch *b = first; b; b = b->next) {
        for (struct mdg_qnote *n = b->has_parts && !b->waits ? b->first : NULL; n; n = n->next) {
            if (is_part(n))
                n->unit->seen++;
        }
    }
}

static bool is_whole(struct mdg_queue_unit *unit, bool ending)
{
    unsigned parts = atomic_load(&unit->parts);
    if (atomic_load(&unit->err) < 0 || (parts > 0 && unit->seen == parts))
        return true;
    if (ending)
        mdg_queue_unit_fail(unit, MDG_E_CLOSED);
    return ending;
}

static bool has_unwhole(const struct mdg_qbatch *b, bool ending)
{
    for (const struct mdg_qnote *n = b->has_parts ? b->first : NULL; n; n = n->next) {
        if (is_part(n) && !is_whole(n->unit, ending))
            return true;
    }
    return false;
}

/* The batch and what its worker noted after it. */
static void let_wait(struct mdg_qbatch *b)
{
    const struct mdg_queue_journal *journal = b->head.journal;
    for (; b; b = b->next)
        b->waits |= b->head.journal == journal;
}

/* A batch that has to wait may hold parts that others counted on: until nothing changes. */
static void find_waiting(struct mdg_queue_db *db)
{
    bool changed = true;
    for (struct mdg_qbatch *b = db->waiting; b; b = b->next)
        b->waits = false;
    while (changed) {
        changed = false;
        count_parts(db->waiting);
        for (struct mdg_qbatch *b = db->waiting; b && !changed; b = b->next) {
            changed = !b->waits && has_unwhole(b, db->ending);
            if (changed)
                let_wait(b);
        }
    }
}

/* Takes what may be written out of what waits. */
static struct mdg_qbatch *take_ready(struct mdg_queue_db *db)
{
    struct mdg_qbatch *ready = NULL, **last = &ready, **at = &db->waiting;
    find_waiting(db);
    while (*at) {
        struct mdg_qbatch *b = *at;
        if (b->waits) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        b->next = NULL;
        *last = b;
        last = &b->next;
    }
    db->waiting_last = at;
    return ready;
}

static void *thread_main(void *arg)
{
    struct mdg_queue_db *db = arg;
    pthread_mutex_lock(&db->lock);
    for (;;) {
        struct mdg_qbatch *b;
        while (!(b = take_ready(db)) && !db->stop)
            pthread_cond_wait(&db->wake, &db->lock);
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
    static const char *const texts[MDG_QSQL_COUNT] = {
        [MDG_QSQL_PUT] = "INSERT OR REPLACE INTO messages(queue, id, content) VALUES(?, ?, ?)",
        [MDG_QSQL_REMOVE] = "DELETE FROM messages WHERE queue = ? AND id = ?",
        [MDG_QSQL_BIND] = "INSERT OR REPLACE INTO bindings(queue, source) VALUES(?, ?)",
        [MDG_QSQL_FORGET] = "DELETE FROM messages WHERE queue = ?",
        [MDG_QSQL_UNBIND] = "DELETE FROM bindings WHERE queue = ?",
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
    for (size_t i = 0; i < MDG_QSQL_COUNT; i++) {
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
        db->stop = db->ending = true;
        pthread_cond_signal(&db->wake);
        pthread_mutex_unlock(&db->lock);
        pthread_join(db->thread, NULL);
    }
    for (size_t i = 0; i < MDG_QSQL_COUNT; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->db);
    pthread_cond_destroy(&db->wake);
    pthread_cond_destroy(&db->idle);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

void mdg_queue_db_give(struct mdg_queue_db *db, struct mdg_qbatch *b)
{
    pthread_mutex_lock(&db->lock);
    *db->waiting_last = b;
    db->waiting_last = &b->next;
    db->waiting_bytes += b->bytes;
    pthread_cond_signal(&db->wake);
    pthread_mutex_unlock(&db->lock);
}

void mdg_queue_db_drain(struct mdg_queue_db *db)
{
    pthread_mutex_lock(&db->lock);
    db->ending = true;
    pthread_cond_signal(&db->wake);
    while (db->waiting || db->writing)
        pthread_cond_wait(&db->idle, &db->lock);
    pthread_mutex_unlock(&db->lock);
}
