/* Broadcast operators. What is emitted without acknowledgement is a message of the hub and goes
 * its way. Everything else (acknowledgements, fetchSockets, socketsJoin and so on) asks each worker
 * for its own sockets, as a task that travels there and back. */
#include "server/sio.h"
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_TIMEOUT_MS = 30000 };

struct madang_broadcast madang_sio_in(struct madang_sio *io, const char *ns)
{
    return (struct madang_broadcast){.io = io, .ns = ns};
}

struct madang_broadcast madang_socket_broadcast(struct madang_sio *io, madang_socket socket)
{
    const char *ns = madang_socket_namespace(io, socket);
    return (struct madang_broadcast){.io = io, .ns = ns[0] ? ns : "/", .sender = socket};
}

/* One room too many would reach the wrong people: then the operator reaches nobody. */
static void add_room(const char **list, size_t *count, const char *room)
{
    if (*count < MADANG_BROADCAST_ROOMS_MAX)
        list[*count] = room;
    (*count)++;
}

void madang_broadcast_to(struct madang_broadcast *to, const char *room)
{
    add_room(to->rooms, &to->room_count, room);
}

void madang_broadcast_except(struct madang_broadcast *to, const char *room)
{
    add_room(to->except, &to->except_count, room);
}

enum task_kind { TASK_EMIT, TASK_ASK, TASK_FETCH, TASK_JOIN, TASK_LEAVE, TASK_DISCONNECT };

/* Something that one socket said, kept until everyone is heard. */
struct said {
    madang_socket socket;
    char *text; /* its answer's JSON, or its data */
    char id[MDG_SIO_SID_CHARS + 1];
    struct madang_bytes *attachments; /* each in memory of its own */
    size_t attachment_count;
};

/* One worker's part of a task. It goes there, is filled there, and comes back. */
struct share {
    struct mdg_post post;
    struct task *task;
    unsigned worker;
    size_t open; /* questions without an answer yet, and one for the asking itself */
    size_t asked;
    bool timed_out;
    struct said *said;
    size_t said_count, said_cap;
};

/* A copy of everything that the caller has borrowed to us. */
struct task {
    enum task_kind kind;
    struct madang_sio *io;
    char *ns, *rooms[2][MADANG_BROADCAST_ROOMS_MAX], *name, *args, *room;
    struct mdg_slice targets[2][MADANG_BROADCAST_ROOMS_MAX];
    size_t counts[2];
    struct mdg_sio_target target;
    struct mdg_slice *attachments;
    size_t attachment_count;
    unsigned flags;
    uint32_t timeout_ms;
    bool close;
    madang_sio_answers_fn answers;
    madang_sio_sockets_fn sockets;
    void *arg;
    unsigned home, waiting;
    struct share *shares;
};

static void said_free(struct said *s)
{
    for (size_t i = 0; i < s->attachment_count; i++)
        free((void *)(uintptr_t)s->attachments[i].data);
    free(s->attachments);
    free(s->text);
}

static void task_free(struct task *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < t->counts[i]; j++)
            free(t->rooms[i][j]);
    }
    for (size_t i = 0; i < t->attachment_count; i++)
        free((void *)(uintptr_t)t->attachments[i].data);
    for (unsigned i = 0; t->shares && i < t->io->server->worker_count; i++) {
        for (size_t j = 0; j < t->shares[i].said_count; j++)
            said_free(&t->shares[i].said[j]);
        free(t->shares[i].said);
    }
    free(t->shares);
    free(t->attachments);
    free(t->ns);
    free(t->name);
    free(t->args);
    free(t->room);
    free(t);
}

static int copy_text(const char *from, char **to)
{
    *to = from ? strdup(from) : NULL;
    return from && !*to ? MDG_E_NO_MEMORY : 0;
}

static int copy_rooms(struct task *t, size_t which, const char *const *rooms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (copy_text(rooms[i], &t->rooms[which][i]) < 0)
            return MDG_E_NO_MEMORY;
        t->targets[which][i] = mdg_slice_str(t->rooms[which][i]);
        t->counts[which]++;
    }
    return 0;
}

static int copy_emit(struct task *t, const struct madang_emit *e)
{
    size_t n = e->attachment_count;
    t->flags = e->flags;
    if (n > MDG_SIO_ATTACHMENTS_MAX)
        return MDG_E_TOO_BIG;
    t->attachments = n ? calloc(n, sizeof *t->attachments) : NULL;
    if ((n && !t->attachments) || copy_text(e->name, &t->name) < 0 ||
        copy_text(e->args, &t->args) < 0)
        return MDG_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        size_t len = e->attachments[i].len;
        uint8_t *copy = malloc(len ? len : 1);
        if (!copy)
            return MDG_E_NO_MEMORY;
        if (len)
            memcpy(copy, e->attachments[i].data, len);
        t->attachments[t->attachment_count++] = mdg_slice(copy, len);
    }
    return 0;
}

static int task_new(const struct madang_broadcast *to, enum task_kind kind,
                    const struct madang_emit *e, struct task **out)
{
    struct madang *server = to->io->server;
    struct mdg_worker *here = mdg_worker_here(server);
    if (!server->workers)
        return MDG_E_UNSUPPORTED;
    if (to->room_count > MADANG_BROADCAST_ROOMS_MAX ||
        to->except_count > MADANG_BROADCAST_ROOMS_MAX)
        return MDG_E_TOO_BIG;
    struct task *t = calloc(1, sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    t->kind = kind;
    t->io = to->io;
    t->home = here ? here->index : 0;
    t->shares = calloc(server->worker_count, sizeof *t->shares);
    int err = t->shares ? copy_text(to->ns, &t->ns) : MDG_E_NO_MEMORY;
    if (err == 0)
        err = copy_rooms(t, 0, to->rooms, to->room_count);
    if (err == 0)
        err = copy_rooms(t, 1, to->except, to->except_count);
    if (err == 0 && e)
        err = copy_emit(t, e);
    if (err < 0) {
        task_free(t);
        return err;
    }
    t->target = (struct mdg_sio_target){
        .nsp = mdg_slice_str(t->ns),
        .rooms = t->targets[0],
        .room_count = t->counts[0],
        .except = t->targets[1],
        .except_count = t->counts[1],
        .except_id = to->sender,
    };
    *out = t;
    return 0;
}

static struct mdg_sio_emit emit_of(const struct task *t)
{
    return (struct mdg_sio_emit){
        .event = mdg_slice_str(t->name),
        .args = mdg_slice_str(t->args),
        .attachments = t->attachments,
        .attachment_count = t->attachment_count,
        .is_volatile = (t->flags & MADANG_VOLATILE) != 0,
        .compress = (t->flags & MADANG_COMPRESS) != 0,
    };
}

/* ---- there ---- */

static struct said *add_said(struct share *sh, const struct mdg_sio_socket *s,
                             struct mdg_slice text)
{
    if (sh->said_count == sh->said_cap) {
        size_t cap = sh->said_cap ? sh->said_cap * 2 : 8;
        struct said *more = realloc(sh->said, cap * sizeof *more);
        if (!more)
            return NULL;
        sh->said = more;
        sh->said_cap = cap;
    }
    struct said *said = &sh->said[sh->said_count];
    *said =
        (struct said){.socket = mdg_sio_id(s), .text = strndup((const char *)text.data, text.len)};
    if (!said->text)
        return NULL;
    memcpy(said->id, mdg_sio_sid(s).data, MDG_SIO_SID_CHARS);
    sh->said_count++;
    return said;
}

static void come_back(struct mdg_loop *loop, struct mdg_post *post);

/* The share is complete: it travels home. */
static void share_done(struct share *sh)
{
    if (--sh->open > 0)
        return;
    struct madang *server = sh->task->io->server;
    sh->post.fn = come_back;
    mdg_loop_post_node(server->workers[sh->task->home].loop, &sh->post);
}

static void keep_attachments(struct said *said, const struct mdg_sio_args *args)
{
    size_t n = args->attachment_count;
    said->attachments = n ? calloc(n, sizeof *said->attachments) : NULL;
    for (size_t i = 0; said->attachments && i < n; i++) {
        struct mdg_slice bytes = mdg_chunk_slice(&args->attachments[i]);
        void *copy = malloc(bytes.len ? bytes.len : 1);
        if (!copy)
            return;
        memcpy(copy, bytes.data, bytes.len);
        said->attachments[said->attachment_count++] = (struct madang_bytes){copy, bytes.len};
    }
}

static void on_answer(void *arg, struct mdg_sio_socket *s, int err, const struct mdg_sio_args *args)
{
    struct share *sh = arg;
    struct said *said = err == 0 ? add_said(sh, s, args->args) : NULL;
    if (said)
        keep_attachments(said, args);
    else
        sh->timed_out = true;
    share_done(sh);
}

static void ask_one(struct share *sh, struct mdg_sio_socket *s)
{
    const struct mdg_sio_emit e = emit_of(sh->task);
    sh->asked++;
    sh->open++;
    if (mdg_sio_emit_ack(s, &e, sh->task->timeout_ms, on_answer, sh) < 0) {
        sh->open--;
        sh->timed_out = true;
    }
}

static void on_socket(void *arg, struct mdg_sio_socket *s)
{
    struct share *sh = arg;
    struct task *t = sh->task;
    switch (t->kind) {
    case TASK_ASK:
        ask_one(sh, s);
        break;
    case TASK_FETCH:
        sh->timed_out = !add_said(sh, s, mdg_sio_data(s)) || sh->timed_out;
        break;
    case TASK_JOIN:
        sh->timed_out = mdg_sio_join(s, mdg_slice_str(t->room)) < 0 || sh->timed_out;
        break;
    case TASK_LEAVE:
        mdg_sio_leave(s, mdg_slice_str(t->room));
        break;
    case TASK_DISCONNECT:
        mdg_sio_disconnect(s, t->close);
        break;
    case TASK_EMIT:
        break;
    }
}

/* Members of other protocols cannot answer: they hear the question, and nobody waits for them. */
static void tell_others(struct mdg_sio_place *p, const struct task *t)
{
    struct mdg_sio_emit e = emit_of(t);
    e.asked = true;
    if (t->counts[0] > 0) /* everyone in a namespace is sockets only */
        (void)!mdg_sio_broadcast(p->sio, &t->target, &e);
}

static void arrive(struct mdg_loop *loop, struct mdg_post *post)
{
    struct share *sh = MDG_CONTAINER_OF(post, struct share, post);
    struct task *t = sh->task;
    (void)loop;
    struct mdg_sio_place *p = mdg_sio_place(t->io, &t->io->server->workers[sh->worker]);
    if (!p) { /* the server ends, on one thread: there is no way home any more */
        if (--t->waiting == 0)
            task_free(t);
        return;
    }
    sh->open = 1;
    if (t->kind == TASK_EMIT) {
        const struct mdg_sio_emit e = emit_of(t);
        sh->timed_out = mdg_sio_broadcast(p->sio, &t->target, &e) < 0;
    } else {
        mdg_sio_each(p->sio, &t->target, on_socket, sh);
    }
    if (t->kind == TASK_ASK && sh->worker == t->home)
        tell_others(p, t);
    share_done(sh);
}

/* ---- home again ---- */

static void tell_answers(struct task *t, size_t count, size_t expected, bool all)
{
    struct madang_answer *rows = calloc(count ? count : 1, sizeof *rows);
    size_t n = 0;
    for (unsigned i = 0; rows && i < t->io->server->worker_count; i++) {
        for (size_t j = 0; j < t->shares[i].said_count; j++) {
            const struct said *said = &t->shares[i].said[j];
            rows[n++] = (struct madang_answer){said->socket, said->text, strlen(said->text),
                                               said->attachments, said->attachment_count};
        }
    }
    t->answers(t->io, !rows ? MDG_E_NO_MEMORY : all ? 0 : MDG_E_TIMEOUT, rows, n, expected, t->arg);
    free(rows);
}

static void tell_sockets(struct task *t, size_t count)
{
    struct madang_socket_info *rows = calloc(count ? count : 1, sizeof *rows);
    size_t n = 0;
    for (unsigned i = 0; rows && i < t->io->server->worker_count; i++) {
        for (size_t j = 0; j < t->shares[i].said_count; j++) {
            const struct said *said = &t->shares[i].said[j];
            rows[n++] = (struct madang_socket_info){said->socket, said->id, said->text};
        }
    }
    t->sockets(t->io, rows, n, t->arg);
    free(rows);
}

static void come_back(struct mdg_loop *loop, struct mdg_post *post)
{
    struct share *sh = MDG_CONTAINER_OF(post, struct share, post);
    struct task *t = sh->task;
    size_t said = 0, asked = 0;
    bool all = true;
    (void)loop;
    if (--t->waiting > 0)
        return;
    for (unsigned i = 0; i < t->io->server->worker_count; i++) {
        said += t->shares[i].said_count;
        asked += t->shares[i].asked;
        all = all && !t->shares[i].timed_out;
    }
    if (t->answers)
        tell_answers(t, said, asked, all);
    else if (t->sockets)
        tell_sockets(t, said);
    task_free(t);
}

static void send_shares(struct task *t, unsigned first, unsigned count)
{
    t->waiting = count;
    for (unsigned i = first; i < first + count; i++) {
        struct share *sh = &t->shares[i];
        sh->task = t;
        sh->worker = i;
        sh->post.fn = arrive;
        mdg_loop_post_node(t->io->server->workers[i].loop, &sh->post);
    }
}

static void send_everywhere(struct task *t)
{
    send_shares(t, 0, t->io->server->worker_count);
}

/* ---- the operators ---- */

static int emit_here(struct mdg_sio_place *p, const struct madang_broadcast *to,
                     const struct madang_emit *emit)
{
    struct mdg_slice names[2][MADANG_BROADCAST_ROOMS_MAX], room[MDG_SIO_ATTACHMENTS_MAX];
    struct mdg_sio_emit e;
    if (to->room_count > MADANG_BROADCAST_ROOMS_MAX ||
        to->except_count > MADANG_BROADCAST_ROOMS_MAX)
        return MDG_E_TOO_BIG;
    int err = mdg_sio_emit_make(emit, room, &e);
    if (err < 0)
        return err;
    for (size_t i = 0; i < to->room_count; i++)
        names[0][i] = mdg_slice_str(to->rooms[i]);
    for (size_t i = 0; i < to->except_count; i++)
        names[1][i] = mdg_slice_str(to->except[i]);
    const struct mdg_sio_target target = {
        .nsp = mdg_slice_str(to->ns),
        .rooms = names[0],
        .room_count = to->room_count,
        .except = names[1],
        .except_count = to->except_count,
        .except_id = to->sender,
        .local = (emit->flags & MADANG_LOCAL) != 0,
    };
    return mdg_sio_broadcast(p->sio, &target, &e);
}

int madang_broadcast_emit(const struct madang_broadcast *to, const struct madang_emit *emit)
{
    struct mdg_worker *w = mdg_worker_here(to->io->server);
    struct task *t;
    if (w) {
        struct mdg_sio_place *p = mdg_sio_place(to->io, w);
        return p ? emit_here(p, to, emit) : MDG_E_NO_MEMORY;
    }
    int err = task_new(to, TASK_EMIT, emit, &t);
    if (err == 0) {
        t->target.local = (emit->flags & MADANG_LOCAL) != 0;
        send_shares(t, 0, 1);
    }
    return err;
}

int madang_broadcast_emit_ack(const struct madang_broadcast *to, const struct madang_emit *emit,
                              uint32_t timeout_ms, madang_sio_answers_fn fn, void *arg)
{
    struct task *t;
    int err = task_new(to, TASK_ASK, emit, &t);
    if (err < 0)
        return err;
    t->timeout_ms = timeout_ms ? timeout_ms : ANSWER_TIMEOUT_MS;
    t->answers = fn;
    t->arg = arg;
    send_everywhere(t);
    return 0;
}

int madang_broadcast_fetch_sockets(const struct madang_broadcast *to, madang_sio_sockets_fn fn,
                                   void *arg)
{
    struct task *t;
    int err = task_new(to, TASK_FETCH, NULL, &t);
    if (err < 0)
        return err;
    t->sockets = fn;
    t->arg = arg;
    send_everywhere(t);
    return 0;
}

static int change_all(const struct madang_broadcast *to, enum task_kind kind, const char *room,
                      bool close)
{
    struct task *t;
    int err = task_new(to, kind, NULL, &t);
    if (err < 0)
        return err;
    t->close = close;
    if (copy_text(room, &t->room) < 0) {
        task_free(t);
        return MDG_E_NO_MEMORY;
    }
    send_everywhere(t);
    return 0;
}

int madang_broadcast_sockets_join(const struct madang_broadcast *to, const char *room)
{
    return change_all(to, TASK_JOIN, room, false);
}

int madang_broadcast_sockets_leave(const struct madang_broadcast *to, const char *room)
{
    return change_all(to, TASK_LEAVE, room, false);
}

int madang_broadcast_disconnect_sockets(const struct madang_broadcast *to, bool close)
{
    return change_all(to, TASK_DISCONNECT, NULL, close);
}
