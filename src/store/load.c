/* Reading everything back at start, over a connection of its own. A row that cannot be read is left
 * out: one bad message must not keep a server from starting. */
#include "store/impl.h"
#include "store/record.h"
#include <errno.h>

struct reading {
    sqlite3 *db;
    sqlite3_stmt *stmt;
};

static int begin(struct mdg_store *s, struct reading *r, const char *sql)
{
    *r = (struct reading){0};
    int err = mdg_sql_open(s->path, true, &r->db);
    if (err == 0 && sqlite3_prepare_v2(r->db, sql, -1, &r->stmt, NULL) != SQLITE_OK)
        err = -EIO;
    return err;
}

static int finish(struct reading *r, int err)
{
    sqlite3_finalize(r->stmt);
    sqlite3_close(r->db);
    return err;
}

/* 1: a row, 0: the end, or an error. */
static int next(struct reading *r)
{
    int got = sqlite3_step(r->stmt);
    return got == SQLITE_ROW ? 1 : got == SQLITE_DONE ? 0 : -EIO;
}

static struct mdg_slice column(struct reading *r, int at)
{
    const void *data = sqlite3_column_blob(r->stmt, at);
    return mdg_slice(data, (size_t)sqlite3_column_bytes(r->stmt, at));
}

static uint64_t number(struct reading *r, int at)
{
    return (uint64_t)sqlite3_column_int64(r->stmt, at);
}

static int restore_rooms(struct mdg_store *s, struct mdg_hub *h)
{
    struct reading r;
    int err = begin(s, &r, "SELECT name, epoch, last_seq FROM rooms");
    while (err == 0) {
        int got = next(&r);
        if (got <= 0) {
            err = got;
            break;
        }
        struct mdg_position last = {number(&r, 1), number(&r, 2)};
        err = mdg_hub_restore_room(h, column(&r, 0), last);
        if (err == MDG_E_TOO_BIG) /* more rooms than fit: the rest begins anew when used */
            return finish(&r, 0);
    }
    return finish(&r, err);
}

static int restore_messages(struct mdg_store *s, struct mdg_hub *h)
{
    struct reading r;
    int err = begin(s, &r,
                    "SELECT r.epoch, m.seq, m.content FROM messages m JOIN rooms r ON r.id=m.room"
                    " WHERE m.seq<=r.last_seq ORDER BY m.room, m.seq");
    while (err == 0) {
        struct mdg_content *content;
        int got = next(&r);
        if (got <= 0) {
            err = got;
            break;
        }
        struct mdg_position at = {number(&r, 0), number(&r, 1)};
        err = mdg_record_read(column(&r, 2), &content);
        if (err == 0)
            err = mdg_hub_restore_message(h, content, at);
        else if (err == MDG_E_SYNTAX)
            err = 0;
    }
    return finish(&r, err);
}

int mdg_store_restore(struct mdg_store *s, struct mdg_hub *h)
{
    int err = restore_rooms(s, h);
    if (err == 0)
        err = restore_messages(s, h);
    mdg_hub_restored(h);
    return err;
}

int mdg_store_each(struct mdg_store *s, struct mdg_slice space, mdg_store_each_fn fn, void *arg)
{
    struct reading r;
    int err = begin(s, &r, "SELECT key, value FROM facts WHERE space=?1 ORDER BY key");
    if (err == 0 && sqlite3_bind_blob64(r.stmt, 1, space.len ? (const void *)space.data : "",
                                        space.len, SQLITE_STATIC) != SQLITE_OK)
        err = MDG_E_NO_MEMORY;
    while (err == 0) {
        int got = next(&r);
        if (got <= 0) {
            err = got;
            break;
        }
        fn(arg, column(&r, 0), column(&r, 1));
    }
    return finish(&r, err);
}
