/* The tables and the statements. A room's row holds its epoch and its last seq, written in the same
 * transaction as the message, so that a seq is never given out twice, also when the messages
 * themselves are trimmed away. */
#include "store/impl.h"
#include "store/private_file.h"
#include "store/record.h"
#include <errno.h>
#include <stdlib.h>

enum { SCHEMA_VERSION = 1, PAGE_BYTES = 4096, BUSY_MS = 5000, TRIM_EVERY = 16 };

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS rooms("
    " id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE,"
    " epoch INTEGER NOT NULL, last_seq INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS messages("
    " room INTEGER NOT NULL, seq INTEGER NOT NULL, unix_ms INTEGER NOT NULL,"
    " content BLOB NOT NULL, PRIMARY KEY(room, seq)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS facts("
    " space BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY(space, key)) WITHOUT ROWID;";

static const char *const texts[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_ROOM_FIND] = "SELECT id, epoch FROM rooms WHERE name=?1",
    [SQL_ROOM_ADD] = "INSERT INTO rooms(name, epoch, last_seq) VALUES(?1, ?2, ?3)",
    [SQL_ROOM_SET] = "UPDATE rooms SET epoch=?2, last_seq=?3 WHERE id=?1",
    [SQL_MESSAGES_CLEAR] = "DELETE FROM messages WHERE room=?1",
    [SQL_MESSAGE_ADD] = "INSERT INTO messages(room, seq, unix_ms, content) VALUES(?1, ?2, ?3, ?4)",
    [SQL_MESSAGES_TRIM] = "DELETE FROM messages WHERE room=?1 AND seq<=?2",
    [SQL_MESSAGES_AGE] = "DELETE FROM messages WHERE unix_ms<?1",
    [SQL_FACT_PUT] = "INSERT OR REPLACE INTO facts(space, key, value) VALUES(?1, ?2, ?3)",
    [SQL_FACT_DELETE] = "DELETE FROM facts WHERE space=?1 AND key=?2",
};

static int error_of(int sqlite_error)
{
    switch (sqlite_error & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return MDG_E_NO_MEMORY;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return -EACCES;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return MDG_E_EXISTS;
    default:
        return -EIO;
    }
}

int mdg_sql_open(const char *path, bool read_only, sqlite3 **out)
{
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (!read_only)
        mdg_private_file_make(path);
    int err = error_of(sqlite3_open_v2(path, out, flags | SQLITE_OPEN_FULLMUTEX, NULL));
    if (err == 0)
        err = error_of(sqlite3_busy_timeout(*out, BUSY_MS));
    if (err < 0) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return err;
}

static int exec(struct mdg_store *s, const char *text)
{
    return error_of(sqlite3_exec(s->db, text, NULL, NULL, NULL));
}

static int check_version(struct mdg_store *s)
{
    sqlite3_stmt *stmt = NULL;
    int version = 0;
    int err = error_of(sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &stmt, NULL));
    if (err == 0 && sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    if (err == 0 && version > SCHEMA_VERSION)
        err = MDG_E_UNSUPPORTED;
    return err;
}

static int set_up(struct mdg_store *s)
{
    char limit[64];
    int err = exec(s, "PRAGMA journal_mode=WAL");
    if (err == 0)
        err = exec(s, s->config.sync == MDG_STORE_SYNC_FULL ? "PRAGMA synchronous=FULL"
                                                            : "PRAGMA synchronous=NORMAL");
    if (err == 0)
        err = check_version(s);
    if (err == 0)
        err = exec(s, schema);
    if (err == 0)
        err = exec(s, "PRAGMA user_version=1");
    if (err == 0 && s->config.bytes_max) {
        sqlite3_snprintf(sizeof limit, limit, "PRAGMA max_page_count=%lld",
                         (long long)(s->config.bytes_max / PAGE_BYTES + 1));
        err = exec(s, limit);
    }
    return err;
}

int mdg_sql_prepare(struct mdg_store *s)
{
    int err = set_up(s);
    for (size_t i = 0; err == 0 && i < SQL_COUNT; i++)
        err = error_of(
            sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->sql[i], NULL));
    return err;
}

void mdg_sql_close(struct mdg_store *s)
{
    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->sql[i]);
    sqlite3_close(s->db);
    s->db = NULL;
}

static int step(sqlite3_stmt *stmt)
{
    int err = error_of(sqlite3_step(stmt));
    sqlite3_reset(stmt);
    return err;
}

int mdg_sql_run(struct mdg_store *s, enum statement which)
{
    return step(s->sql[which]);
}

/* The bytes stay valid until the statement is reset. */
static int bind_bytes(sqlite3_stmt *stmt, int at, struct mdg_slice bytes)
{
    const void *data = bytes.len ? (const void *)bytes.data : "";
    return error_of(sqlite3_bind_blob64(stmt, at, data, bytes.len, SQLITE_STATIC));
}

static int bind_number(sqlite3_stmt *stmt, int at, uint64_t number)
{
    return error_of(sqlite3_bind_int64(stmt, at, (sqlite3_int64)number));
}

static int run_numbers(sqlite3_stmt *stmt, uint64_t first, uint64_t second, uint64_t third)
{
    const uint64_t numbers[3] = {first, second, third};
    int count = sqlite3_bind_parameter_count(stmt);
    for (int i = 0; i < count; i++) {
        int err = bind_number(stmt, i + 1, numbers[i]);
        if (err < 0)
            return err;
    }
    return step(stmt);
}

/* Finds or makes the room's row and notes its new last seq. A new epoch clears what was before. */
static int note_room(struct mdg_store *s, const struct mdg_keep_entry *e, uint64_t *room)
{
    sqlite3_stmt *find = s->sql[SQL_ROOM_FIND], *add = s->sql[SQL_ROOM_ADD];
    uint64_t epoch = 0;
    *room = 0;
    int err = bind_bytes(find, 1, e->content->channel);
    if (err == 0) {
        err = error_of(sqlite3_step(find));
        if (err == 0 && sqlite3_data_count(find) > 0) {
            *room = (uint64_t)sqlite3_column_int64(find, 0);
            epoch = (uint64_t)sqlite3_column_int64(find, 1);
        }
        sqlite3_reset(find);
    }
    if (err < 0)
        return err;
    if (*room) {
        if (epoch != e->at.epoch)
            err = run_numbers(s->sql[SQL_MESSAGES_CLEAR], *room, 0, 0);
        return err < 0 ? err : run_numbers(s->sql[SQL_ROOM_SET], *room, e->at.epoch, e->at.seq);
    }
    err = bind_bytes(add, 1, e->content->channel);
    if (err == 0)
        err = bind_number(add, 2, e->at.epoch);
    if (err == 0)
        err = bind_number(add, 3, e->at.seq);
    if (err == 0)
        err = step(add);
    *room = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return err;
}

static int pack(struct mdg_store *s, const struct mdg_content *c)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    mdg_record_write(&w, c);
    s->packed.len = 0;
    int err = mdg_buf_reserve(&s->packed, w.len);
    if (err < 0)
        return err;
    mdg_writer_init(&w, s->packed.data, w.len);
    mdg_record_write(&w, c);
    s->packed.len = w.len;
    return 0;
}

static int write_append(struct mdg_store *s, const struct mdg_keep_entry *e)
{
    uint64_t room;
    sqlite3_stmt *add = s->sql[SQL_MESSAGE_ADD];
    int err = pack(s, e->content);
    if (err == 0)
        err = note_room(s, e, &room);
    if (err == 0)
        err = bind_number(add, 1, room);
    if (err == 0)
        err = bind_number(add, 2, e->at.seq);
    if (err == 0)
        err = bind_number(add, 3, e->content->unix_ms);
    if (err == 0)
        err = bind_bytes(add, 4, mdg_buf_slice(&s->packed));
    if (err == 0)
        err = step(add);
    if (err == 0 && e->at.seq > s->config.log_count_max && e->at.seq % TRIM_EVERY == 0)
        err = run_numbers(s->sql[SQL_MESSAGES_TRIM], room, e->at.seq - s->config.log_count_max, 0);
    return err;
}

static int run_bytes(sqlite3_stmt *stmt, struct mdg_slice first, struct mdg_slice second,
                     struct mdg_slice third)
{
    const struct mdg_slice values[3] = {first, second, third};
    int count = sqlite3_bind_parameter_count(stmt);
    for (int i = 0; i < count; i++) {
        int err = bind_bytes(stmt, i + 1, values[i]);
        if (err < 0)
            return err;
    }
    return step(stmt);
}

int mdg_sql_write(struct mdg_store *s, struct mdg_keep_entry *e)
{
    if (e->kind == NOTE_APPEND)
        return write_append(s, e);
    const struct note *n = note_of(e);
    struct mdg_slice first = mdg_slice(n->text, n->first_len);
    struct mdg_slice second = mdg_slice(n->text + n->first_len, n->second_len);
    struct mdg_slice third = mdg_slice(n->text + n->first_len + n->second_len, n->third_len);
    switch ((enum note_kind)e->kind) {
    case NOTE_FACT_PUT:
        return run_bytes(s->sql[SQL_FACT_PUT], first, second, third);
    case NOTE_FACT_DELETE:
        return run_bytes(s->sql[SQL_FACT_DELETE], first, second, third);
    case NOTE_APPEND:
    case NOTE_SYNC:
        break;
    }
    return 0;
}

int mdg_sql_age(struct mdg_store *s, uint64_t unix_ms)
{
    return run_numbers(s->sql[SQL_MESSAGES_AGE], unix_ms, 0, 0);
}
