/* What writer.c (the queue and the thread), sqlite.c (the statements) and load.c share. */
#ifndef MDG_STORE_IMPL_H
#define MDG_STORE_IMPL_H

#include "base/buf.h"
#include "store/store.h"
#include <pthread.h>
#include <sqlite3.h>

enum note_kind {
    NOTE_APPEND, /* a message of a room: the hub's own entry */
    NOTE_FACT_PUT,
    NOTE_FACT_DELETE,
    NOTE_SYNC,
};

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_ROOM_FIND,
    SQL_ROOM_ADD,
    SQL_ROOM_SET,
    SQL_MESSAGES_CLEAR,
    SQL_MESSAGE_ADD,
    SQL_MESSAGES_TRIM,
    SQL_MESSAGES_AGE,
    SQL_FACT_PUT,
    SQL_FACT_DELETE,
    SQL_COUNT,
};

/* An entry that the store made itself. */
struct note {
    struct mdg_keep_entry entry;
    void (*fn)(void *arg, int err);
    void *arg;
    uint32_t first_len, second_len, third_len;
    uint8_t text[]; /* space, key, value */
};

struct entry_list {
    struct mdg_keep_entry *first, **last;
};

struct mdg_store {
    struct mdg_keeper keeper;
    struct mdg_store_config config;
    char *path;
    int lock_fd;
    sqlite3 *db; /* the thread's, once it runs */
    sqlite3_stmt *sql[SQL_COUNT];
    struct mdg_buf packed;
    uint64_t writes_since_aging;

    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* for everything below */
    pthread_cond_t some;
    struct entry_list waiting;
    size_t waiting_bytes;
    bool stopping;
    struct entry_list *written; /* by worker */
    struct mdg_store_stats stats;

    /* The thread's: generations up to this one failed. One more than the number; 0: none. */
    uint64_t *failed_generations;
};

static inline struct note *note_of(struct mdg_keep_entry *e)
{
    return MDG_CONTAINER_OF(e, struct note, entry);
}

/* sqlite.c. All return 0, or a negative error when the database refused. */
int mdg_sql_open(const char *path, bool read_only, sqlite3 **out);
int mdg_sql_prepare(struct mdg_store *s);
void mdg_sql_close(struct mdg_store *s);
int mdg_sql_run(struct mdg_store *s, enum statement which); /* one without parameters */
int mdg_sql_write(struct mdg_store *s, struct mdg_keep_entry *e);
int mdg_sql_age(struct mdg_store *s, uint64_t unix_ms);

/* writer.c */
/* Takes the entry over; MDG_E_FULL: it is the caller's still. */
int mdg_store_give(struct mdg_store *s, struct mdg_keep_entry *e, size_t bytes);

#endif
