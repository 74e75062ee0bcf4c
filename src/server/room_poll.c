/* GET /poll: what is new in a room behind a position, at once or, with ?wait=SECONDS, as soon as
 * something comes. A parked request is a hidden member of the room: presence does not flicker with
 * every poll, and nothing is lost between two of them while the log reaches back. */
#include "server/room_http.h"
#include "transport/poll.h"
#include "transport/static.h"
#include <stdlib.h>

/* What is kept of one request until its answer. */
struct poll {
    struct mdg_session session; /* of a parked one */
    struct mdg_exchange *x;     /* NULL once answered */
    struct mdg_worker *worker;
    struct mdg_principal *who;
    struct mdg_list link; /* of the worker's parked, then of its answered ones */
    struct mdg_position at;
    uint32_t history, wait_s;
    bool asked_after, parked;
    bool unchanged; /* If-None-Match names the position at which it was parked */
    uint16_t room_len;
    char room[];
};

static const struct mdg_session_ops session_ops;

static struct mdg_slice room_of(const struct poll *p)
{
    return mdg_slice(p->room, p->room_len);
}

static void free_poll(struct poll *p)
{
    mdg_hub_forget(p->worker->hub, p);
    if (p->parked)
        mdg_session_fini(&p->session);
    mdg_list_remove(&p->link);
    mdg_principal_unref(p->who);
    free(p);
}

/* Outside of the hub's upcalls. */
static void free_answered(struct mdg_loop *loop, void *arg)
{
    struct mdg_polls *polls = arg;
    struct mdg_list *node;
    (void)loop;
    while ((node = mdg_list_first(&polls->answered)))
        free_poll(MDG_CONTAINER_OF(node, struct poll, link));
}

static struct mdg_polls *polls_of(struct mdg_worker *w)
{
    struct mdg_polls *polls = &w->polls;
    if (!polls->parked.next) {
        mdg_list_init(&polls->parked);
        mdg_list_init(&polls->answered);
        polls->defer = (struct mdg_defer){.fn = free_answered, .arg = polls};
    }
    return polls;
}

/* The response has been given: the rest goes when nobody is on the stack any more. */
static void done(struct poll *p)
{
    struct mdg_polls *polls = polls_of(p->worker);
    p->x = NULL;
    mdg_list_remove(&p->link);
    mdg_list_push(&polls->answered, &p->link);
    mdg_loop_defer(p->worker->loop, &polls->defer);
}

static void fail(struct poll *p, int err)
{
    mdg_room_respond_error(p->x, err);
    done(p);
}

/* One message as JSON; the last one is kept, since thousands of parked requests wait for the same.
 */
static struct mdg_blob *message_blob(struct mdg_worker *w, struct mdg_msg *m)
{
    struct mdg_polls *polls = polls_of(w);
    struct mdg_writer out;
    if (polls->last == m->content && polls->last_at.epoch == m->epoch &&
        polls->last_at.seq == m->seq)
        return mdg_blob_ref(polls->last_json);
    mdg_writer_init(&out, NULL, 0);
    mdg_plain_write_message(&out, m);
    struct mdg_blob *blob = out.len <= UINT32_MAX ? mdg_blob_new((uint32_t)out.len) : NULL;
    if (!blob)
        return NULL;
    mdg_writer_init(&out, blob->data, blob->len);
    mdg_plain_write_message(&out, m);
    mdg_polls_forget(polls);
    polls->last = mdg_content_ref(m->content);
    polls->last_at = (struct mdg_position){m->epoch, m->seq};
    polls->last_json = mdg_blob_ref(blob);
    return blob;
}

void mdg_polls_forget(struct mdg_polls *polls)
{
    mdg_content_unref(polls->last);
    mdg_blob_unref(polls->last_json);
    polls->last = NULL;
    polls->last_json = NULL;
}

struct answer {
    bool recovered, has_missing;
    uint64_t missing_from, missing_to;
    struct mdg_msg *const *msgs;
    size_t count;
};

static void write_members(struct mdg_writer *w, const struct poll *p, const struct answer *a)
{
    mdg_write_str(w, "\"room\":");
    mdg_write_json_string(w, room_of(p));
    if (!p->asked_after)
        return;
    mdg_write_str(w, a->recovered ? ",\"recovered\":true" : ",\"recovered\":false");
    if (a->recovered)
        return;
    mdg_write_str(w, ",\"missing\":");
    if (a->missing_from) {
        mdg_write_u8(w, '[');
        mdg_write_dec(w, a->missing_from);
        mdg_write_u8(w, ',');
        mdg_write_dec(w, a->missing_to);
        mdg_write_u8(w, ']');
    } else {
        mdg_write_str(w, "null"); /* another epoch: nobody knows how many */
    }
}

static void respond(struct poll *p, const struct answer *a, struct mdg_chunk *units, size_t count)
{
    uint8_t cursor[MDG_PLAIN_POSITION_BYTES], members[8192], etag[MDG_PLAIN_POSITION_BYTES + 2];
    struct mdg_writer c, m, e;
    mdg_writer_init(&c, cursor, sizeof cursor);
    mdg_plain_write_position(&c, p->at);
    mdg_writer_init(&m, members, sizeof members);
    write_members(&m, p, a);
    if (!mdg_writer_fits(&m)) /* a room name of nothing but characters that JSON escapes */
        m.len = 0;
    mdg_writer_init(&e, etag, sizeof etag);
    mdg_write_u8(&e, '"');
    mdg_write_bytes(&e, cursor, c.len);
    mdg_write_u8(&e, '"');
    struct mdg_slice none_match = mdg_exchange_header(p->x, "if-none-match");
    if (p->parked)
        none_match = p->unchanged && count == 0 ? mdg_slice(etag, e.len) : mdg_slice(NULL, 0);
    if (!a->recovered && p->asked_after)
        none_match = mdg_slice(NULL, 0); /* a hole must be told */
    struct mdg_poll_answer answer = {mdg_slice(cursor, c.len), mdg_slice(members, m.len), units,
                                     count};
    mdg_poll_respond(p->x, &answer, none_match);
    done(p);
}

static void answer(struct poll *p, const struct answer *a)
{
    struct mdg_chunk *units = malloc((a->count + 1) * sizeof *units);
    size_t n = 0;
    bool good = units != NULL;
    for (size_t i = 0; good && i < a->count; i++) {
        struct mdg_msg *m = a->msgs[i];
        if (m->content->kind == MDG_MSG_PRESENCE)
            continue;
        struct mdg_blob *blob = message_blob(p->worker, m);
        good = blob != NULL;
        if (!good)
            break;
        units[n++] = mdg_chunk_all(blob);
        if (m->seq)
            p->at = (struct mdg_position){m->epoch, m->seq};
    }
    if (good)
        respond(p, a, units, n);
    else
        fail(p, MDG_E_NO_MEMORY);
    for (size_t i = 0; i < n; i++)
        mdg_blob_unref(units[i].blob);
    free(units);
}

static void answer_nothing(struct poll *p)
{
    struct answer a = {.recovered = true};
    answer(p, &a);
}

/* ---- Waiting ---- */

static bool names_position(const struct poll *p, struct mdg_slice none_match)
{
    uint8_t etag[MDG_PLAIN_POSITION_BYTES + 2];
    struct mdg_writer w;
    mdg_writer_init(&w, etag, sizeof etag);
    mdg_write_u8(&w, '"');
    mdg_plain_write_position(&w, p->at);
    mdg_write_u8(&w, '"');
    return none_match.data && mdg_http_none_match(none_match, mdg_slice(etag, w.len));
}

static void park(struct poll *p)
{
    struct mdg_worker *w = p->worker;
    struct mdg_join_options options = {.resume = true, .from = p->at, .hidden = true, .cookie = p};
    struct mdg_member *m;
    if (w->stopping) {
        answer_nothing(p);
        return;
    }
    p->unchanged = names_position(p, mdg_exchange_header(p->x, "if-none-match"));
    mdg_session_init(&p->session, w->hub, &session_ops, p->who);
    p->parked = true;
    int err = mdg_hub_join(w->hub, &p->session, room_of(p), &options, &m);
    if (err < 0) {
        fail(p, err);
        return;
    }
    mdg_exchange_forget_request(p->x);
    mdg_exchange_abort_on_eof(p->x);
    mdg_exchange_set_timeout(p->x, p->wait_s);
    mdg_list_remove(&p->link);
    mdg_list_push(&polls_of(w)->parked, &p->link);
}

static struct poll *poll_of(struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct poll, session);
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct poll *p = poll_of(m->session);
    if (!p->x)
        return;
    if (err < 0) {
        fail(p, err);
    } else if (!info->recovered) { /* between the question and the join */
        struct answer a = {.missing_from = info->missing_from, .missing_to = info->missing_to};
        p->at = info->at;
        p->asked_after = true;
        answer(p, &a);
    }
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct poll *p = poll_of(m->session);
    struct answer a = {.recovered = true, .msgs = msgs, .count = n};
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= msgs[i]->content->kind != MDG_MSG_PRESENCE;
    if (p->x && any)
        answer(p, &a);
    return (int)n;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct poll *p = poll_of(m->session);
    struct answer a = {.missing_from = from, .missing_to = to};
    if (!p->x)
        return 0;
    p->at.seq = to;
    p->asked_after = true;
    answer(p, &a);
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    struct poll *p = poll_of(s);
    if (p->x)
        fail(p, reason);
}

static const struct mdg_session_ops session_ops = {
    .joined = on_joined,
    .deliver = on_deliver,
    .gap = on_gap,
    .kick = on_kick,
};

/* ---- The first question ---- */

static void on_history(void *arg, int err, const struct mdg_history *h)
{
    struct poll *p = arg;
    if (err < 0) {
        fail(p, err);
        return;
    }
    struct answer a = {.recovered = true, .msgs = h->msgs, .count = h->count};
    answer(p, &a);
}

/* Behind the position there is nothing yet, or (first poll) the newest position is known. */
static void on_since(void *arg, int err, const struct mdg_since *s)
{
    struct poll *p = arg;
    struct answer a = {s->recovered, false, s->missing_from, s->missing_to, s->msgs, s->count};
    if (err < 0) {
        fail(p, err);
        return;
    }
    p->at = s->newest;
    if (!p->asked_after && p->history && s->newest.seq) {
        err = mdg_hub_history(p->worker->hub, room_of(p), s->newest.seq + 1, p->history, on_history,
                              p);
        if (err < 0)
            fail(p, err);
    } else if (p->asked_after && (s->count || !s->recovered)) {
        answer(p, &a);
    } else if (p->wait_s) {
        park(p);
    } else {
        answer_nothing(p);
    }
}

static int ask(struct poll *p, struct mdg_position after)
{
    uint32_t limit = p->asked_after ? (uint32_t)p->worker->server->params.history_max : 0;
    return mdg_hub_since(p->worker->hub, room_of(p), after, limit, on_since, p);
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_worker *w = mdg_mounted(arg)->worker;
    struct mdg_room_query q;
    struct mdg_principal *who;
    if (!mdg_room_query_read(w, x, 1, mdg_slice(NULL, 0), &q) || mdg_authenticate(w, x, &who) < 0)
        return 0;
    struct mdg_slice room = q.rooms[0];
    bool allowed = who->rights & MDG_RIGHT_SUBSCRIBE;
    struct poll *p = allowed ? calloc(1, sizeof *p + room.len) : NULL;
    if (!p) {
        mdg_principal_unref(who);
        mdg_room_respond_error(x, allowed ? MDG_E_NO_MEMORY : MDG_E_DENIED);
        return 0;
    }
    p->x = x;
    p->worker = w;
    p->who = who;
    p->history = q.history;
    p->wait_s = q.wait_s;
    p->asked_after = q.has_after;
    p->room_len = (uint16_t)room.len;
    memcpy(p->room, room.data, room.len);
    mdg_list_init(&p->link);
    mdg_exchange_set_arg(x, p);
    int err = ask(p, q.after[0]);
    if (err < 0)
        fail(p, err);
    return 0;
}

static void on_abort(struct mdg_exchange *x)
{
    struct poll *p = mdg_exchange_arg(x);
    p->x = NULL;
    free_poll(p);
}

static void on_timeout(struct mdg_exchange *x)
{
    answer_nothing(mdg_exchange_arg(x));
}

/* The server stops: everyone gets an answer and may come back elsewhere. */
static void on_shutdown(struct mdg_worker *w, void *arg)
{
    struct mdg_polls *polls = polls_of(w);
    struct mdg_list *node;
    (void)arg;
    while ((node = mdg_list_first(&polls->parked)))
        answer_nothing(MDG_CONTAINER_OF(node, struct poll, link));
    mdg_polls_forget(polls);
}

int mdg_mount_poll(struct madang *server)
{
    static const struct mdg_http_handler handler = {
        .on_request = on_request, .on_abort = on_abort, .on_timeout = on_timeout};
    mdg_server_on_shutdown(server, on_shutdown, NULL);
    return mdg_server_mount(server, "GET", "/poll", &handler, NULL);
}
