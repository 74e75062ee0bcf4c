/* The queue in front of the disk, the thread that empties it, and the way back. */
#include "store/impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum {
    PACKED_BYTES_MAX = 1 << 30,
    AGE_EVERY = 10000, /* writes between two sweeps for messages that are too old */
    ENTRY_BYTES = 256, /* what an entry counts for beside its payload */
};

static void list_init(struct entry_list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_push(struct entry_list *l, struct mdg_keep_entry *e)
{
    e->next = NULL;
    *l->last = e;
    l->last = &e->next;
}

void mdg_store_config_init(struct mdg_store_config *config)
{
    *config = (struct mdg_store_config){
        .workers = 1,
        .sync = MDG_STORE_SYNC_FULL,
        .log_count_max = 256,
        .queued_bytes_max = 64 << 20,
    };
}

/* ---- The thread ---- */

static uint64_t unix_ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool follows_a_failure(const struct mdg_store *s, const struct mdg_keep_entry *e)
{
    return e->kind == NOTE_APPEND && e->generation < s->failed_generations[e->worker];
}

/* One transaction. An entry that cannot be written takes all of them with it: they are one. */
static int write_all(struct mdg_store *s, struct mdg_keep_entry *first)
{
    int err = mdg_sql_run(s, SQL_BEGIN);
    if (err < 0)
        return err;
    for (struct mdg_keep_entry *e = first; e && err == 0; e = e->next) {
        if (!follows_a_failure(s, e))
            err = mdg_sql_write(s, e);
        s->writes_since_aging++;
    }
    if (err == 0 && s->config.log_age_max_s && s->writes_since_aging >= AGE_EVERY) {
        s->writes_since_aging = 0;
        err = mdg_sql_age(s, unix_ms_now() - (uint64_t)s->config.log_age_max_s * 1000);
    }
    if (err == 0)
        err = mdg_sql_run(s, SQL_COMMIT);
    if (err < 0)
        (void)mdg_sql_run(s, SQL_ROLLBACK);
    return err;
}

static void set_results(struct mdg_store *s, struct mdg_keep_entry *first, int err)
{
    for (struct mdg_keep_entry *e = first; e; e = e->next) {
        e->err = err;
        if (e->kind == NOTE_APPEND && e->generation < s->failed_generations[e->worker])
            e->err = err < 0 ? err : MDG_E_CLOSED;
        if (err < 0 && e->kind == NOTE_APPEND && s->failed_generations[e->worker] <= e->generation)
            s->failed_generations[e->worker] = (uint64_t)e->generation + 1;
    }
}

/* Back to the workers, each of which is woken once for many. With the mutex held. */
static void hand_back(struct mdg_store *s, struct mdg_keep_entry *first, bool *wake)
{
    while (first) {
        struct mdg_keep_entry *next = first->next;
        struct entry_list *list = &s->written[first->worker];
        wake[first->worker] |= list->first == NULL;
        list_push(list, first);
        first = next;
    }
}

static void *run(void *arg)
{
    struct mdg_store *s = arg;
    bool wake[UINT8_MAX + 1];
    pthread_mutex_lock(&s->mutex);
    for (;;) {
        while (!s->waiting.first && !s->stopping)
            pthread_cond_wait(&s->some, &s->mutex);
        struct mdg_keep_entry *first = s->waiting.first;
        if (!first)
            break;
        list_init(&s->waiting);
        s->waiting_bytes = 0;
        pthread_mutex_unlock(&s->mutex);
        int err = write_all(s, first);
        set_results(s, first, err);
        memset(wake, 0, sizeof wake);
        pthread_mutex_lock(&s->mutex);
        for (const struct mdg_keep_entry *e = first; e; e = e->next)
            s->stats.entries++;
        s->stats.commits++;
        s->stats.failures += err < 0;
        hand_back(s, first, wake);
        pthread_mutex_unlock(&s->mutex);
        for (unsigned i = 0; i < s->config.workers; i++) {
            if (wake[i] && s->config.wake)
                s->config.wake(s->config.wake_arg, i);
        }
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- Giving and collecting ---- */

int mdg_store_give(struct mdg_store *s, struct mdg_keep_entry *e, size_t bytes)
{
    assert(e->worker < s->config.workers);
    pthread_mutex_lock(&s->mutex);
    if (s->waiting_bytes + bytes > s->config.queued_bytes_max && s->waiting.first) {
        pthread_mutex_unlock(&s->mutex);
        return MDG_E_FULL;
    }
    bool first = !s->waiting.first;
    list_push(&s->waiting, e);
    s->waiting_bytes += bytes;
    pthread_mutex_unlock(&s->mutex);
    if (first)
        pthread_cond_signal(&s->some);
    return 0;
}

static int keep(struct mdg_keeper *k, struct mdg_keep_entry *e)
{
    e->kind = NOTE_APPEND;
    return mdg_store_give(MDG_CONTAINER_OF(k, struct mdg_store, keeper), e,
                          e->content->bytes + ENTRY_BYTES);
}

struct mdg_keeper *mdg_store_keeper(struct mdg_store *s)
{
    return &s->keeper;
}

void mdg_store_collect(struct mdg_store *s, unsigned worker)
{
    pthread_mutex_lock(&s->mutex);
    struct mdg_keep_entry *e = s->written[worker].first;
    list_init(&s->written[worker]);
    pthread_mutex_unlock(&s->mutex);
    while (e) {
        struct mdg_keep_entry *next = e->next;
        e->complete(e);
        e = next;
    }
}

struct mdg_store_stats mdg_store_stats(struct mdg_store *s)
{
    pthread_mutex_lock(&s->mutex);
    struct mdg_store_stats stats = s->stats;
    pthread_mutex_unlock(&s->mutex);
    return stats;
}

/* ---- Life ---- */

/* Two servers on one file would give the same seqs out twice. */
static int lock_file(struct mdg_store *s)
{
    size_t len = strlen(s->path);
    char *name = malloc(len + sizeof ".lock");
    if (!name)
        return MDG_E_NO_MEMORY;
    memcpy(name, s->path, len);
    memcpy(name + len, ".lock", sizeof ".lock");
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int err = s->lock_fd < 0 ? -errno : 0;
    free(name);
    if (err == 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        err = MDG_E_EXISTS;
    return err;
}

static int make(const struct mdg_store_config *config, struct mdg_store **out)
{
    struct mdg_store *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    s->config = *config;
    s->keeper.append = keep;
    s->lock_fd = -1;
    mdg_buf_init(&s->packed, PACKED_BYTES_MAX);
    list_init(&s->waiting);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->some, NULL);
    s->path = strdup(config->path);
    s->written = calloc(config->workers, sizeof *s->written);
    s->failed_generations = calloc(config->workers, sizeof *s->failed_generations);
    *out = s;
    if (!s->path || !s->written || !s->failed_generations)
        return MDG_E_NO_MEMORY;
    s->config.path = s->path;
    for (unsigned i = 0; i < config->workers; i++)
        list_init(&s->written[i]);
    return 0;
}

static const char *reason(int err)
{
    if (err == MDG_E_EXISTS)
        return "another process uses this store";
    if (err == MDG_E_UNSUPPORTED)
        return "the store was made by a newer version";
    return mdg_strerror(err);
}

int mdg_store_open(const struct mdg_store_config *config, struct mdg_store **out, const char **why)
{
    struct mdg_store *s = NULL;
    assert(config->workers > 0 && config->workers <= UINT8_MAX + 1);
    int err = make(config, &s);
    if (err == 0)
        err = lock_file(s);
    if (err == 0)
        err = mdg_sql_open(s->path, false, &s->db);
    if (err == 0)
        err = mdg_sql_prepare(s);
    if (err == 0 && s->config.log_age_max_s)
        err = mdg_sql_age(s, unix_ms_now() - (uint64_t)s->config.log_age_max_s * 1000);
    if (err == 0)
        err = -pthread_create(&s->thread, NULL, run, s);
    if (err < 0) {
        if (why)
            *why = reason(err);
        mdg_store_free(s);
        return err;
    }
    s->running = true;
    *out = s;
    return 0;
}

void mdg_store_stop(struct mdg_store *s)
{
    if (!s->running)
        return;
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_mutex_unlock(&s->mutex);
    pthread_cond_signal(&s->some);
    pthread_join(s->thread, NULL);
    s->running = false;
}

void mdg_store_free(struct mdg_store *s)
{
    if (!s)
        return;
    assert(!s->running);
    for (unsigned i = 0; s->written && i < s->config.workers; i++) {
        for (struct mdg_keep_entry *e = s->written[i].first, *next; e; e = next) {
            next = e->next;
            e->drop(e);
        }
    }
    mdg_sql_close(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    mdg_buf_fini(&s->packed);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->some);
    free(s->path);
    free(s->written);
    free(s->failed_generations);
    free(s);
}
