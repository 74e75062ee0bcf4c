/* GET /poll: what is new in a room behind a position, at once or, with ?wait=SECONDS, as soon as
 * something comes. A parked request is a hidden member of the room: presence does not flicker with
 * every poll, and nothing is lost between two of them while the log reaches back. */
#include "codec/url.h"
#include "server/room_http.h"
#include "transport/poll.h"
#include "transport/static.h"
#include <stdlib.h>

enum { MEMBERS_BYTES_MAX = 16 * 1024 }; /* of JSON about the rooms themselves */

/* One room of a poll. */
struct poll_room {
    struct mdg_position at; /* where the client is, with this answer */
    uint64_t missing_from, missing_to;
    bool asked_after; /* the client named a position */
    bool lost;        /* and it could not be continued */
    uint16_t len, off;
};

/* What is kept of one request until its answer. */
struct poll {
    struct mdg_session session; /* of a parked one */
    struct mdg_exchange *x;     /* NULL once answered */
    struct mdg_worker *worker;
    struct mdg_principal *who;
    struct mdg_list link;    /* of the worker's parked, then of its answered ones */
    struct mdg_chunk *units; /* messages for the answer */
    uint32_t unit_count, unit_cap;
    uint32_t history, wait_s;
    bool parked;
    bool unchanged; /* If-None-Match names the position at which it was parked */
    uint8_t asking; /* the room that the hub is being asked about */
    uint8_t room_count;
    struct poll_room rooms[]; /* and then their names */
};

static const struct mdg_session_ops session_ops;

static struct mdg_slice name_of(const struct poll *p, const struct poll_room *r)
{
    return mdg_slice((const uint8_t *)&p->rooms[p->room_count] + r->off, r->len);
}

static void free_poll(struct poll *p)
{
    mdg_hub_forget(p->worker->hub, p);
    if (p->parked)
        mdg_session_fini(&p->session);
    mdg_list_remove(&p->link);
    mdg_principal_unref(p->who);
    for (uint32_t i = 0; i < p->unit_count; i++)
        mdg_blob_unref(p->units[i].blob);
    free(p->units);
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

/* ---- The answer ---- */

/* "epoch:seq" of one room; of several "room@epoch:seq,...". */
static void write_cursor(struct mdg_writer *w, const struct poll *p)
{
    for (unsigned i = 0; i < p->room_count; i++) {
        if (i)
            mdg_write_u8(w, ',');
        if (p->room_count > 1) {
            mdg_url_write_encoded(w, name_of(p, &p->rooms[i]));
            mdg_write_u8(w, '@');
        }
        mdg_plain_write_position(w, p->rooms[i].at);
    }
}

static void write_room(struct mdg_writer *w, const struct poll *p, const struct poll_room *r)
{
    mdg_write_str(w, "\"room\":");
    mdg_write_json_string(w, name_of(p, r));
    if (!r->asked_after && !r->lost)
        return;
    mdg_write_str(w, r->lost ? ",\"recovered\":false,\"missing\":" : ",\"recovered\":true");
    if (r->lost && r->missing_from) {
        mdg_write_u8(w, '[');
        mdg_write_dec(w, r->missing_from);
        mdg_write_u8(w, ',');
        mdg_write_dec(w, r->missing_to);
        mdg_write_u8(w, ']');
    } else if (r->lost) {
        mdg_write_str(w, "null"); /* another epoch: nobody knows how many */
    }
}

/* The room's members in the answer itself, or a list of rooms. */
static void write_members(struct mdg_writer *w, const struct poll *p)
{
    if (p->room_count == 1) {
        write_room(w, p, &p->rooms[0]);
        return;
    }
    mdg_write_str(w, "\"rooms\":[");
    for (unsigned i = 0; i < p->room_count; i++) {
        mdg_write_str(w, i ? ",{" : "{");
        write_room(w, p, &p->rooms[i]);
        mdg_write_u8(w, '}');
    }
    mdg_write_u8(w, ']');
}

static bool any_lost(const struct poll *p)
{
    for (unsigned i = 0; i < p->room_count; i++) {
        if (p->rooms[i].lost)
            return true;
    }
    return false;
}

/* If-None-Match names the position that the answer would give. */
static bool names_position(const struct poll *p)
{
    uint8_t etag[MDG_POLL_CURSOR_MAX + 2];
    struct mdg_slice header = mdg_exchange_header(p->x, "if-none-match");
    struct mdg_writer w;
    mdg_writer_init(&w, etag, sizeof etag);
    mdg_write_u8(&w, '"');
    write_cursor(&w, p);
    mdg_write_u8(&w, '"');
    return header.data && mdg_http_none_match(header, mdg_slice(etag, w.len));
}

static void answer(struct poll *p)
{
    uint8_t cursor[MDG_POLL_CURSOR_MAX], members[MEMBERS_BYTES_MAX];
    struct mdg_writer c, m;
    mdg_writer_init(&c, cursor, sizeof cursor);
    write_cursor(&c, p);
    mdg_writer_init(&m, members, sizeof members);
    write_members(&m, p);
    assert(mdg_writer_fits(&c)); /* checked when the request came */
    if (!mdg_writer_fits(&m))    /* names of nothing but characters that JSON escapes */
        m.len = 0;
    bool same = p->parked ? p->unchanged && p->unit_count == 0 : names_position(p);
    struct mdg_poll_answer a = {mdg_slice(cursor, c.len), mdg_slice(members, m.len), p->units,
                                p->unit_count};
    /* A hole must be told. "*" matches whatever the entity tag is. */
    mdg_poll_respond(p->x, &a, same && !any_lost(p) ? MDG_SLICE_LIT("*") : mdg_slice(NULL, 0));
    done(p);
}

/* Messages of one room for the answer. */
static int take(struct poll *p, struct poll_room *r, struct mdg_msg *const *msgs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (msgs[i]->content->kind == MDG_MSG_PRESENCE)
            continue;
        if (p->unit_count == p->unit_cap) {
            uint32_t cap = p->unit_cap ? p->unit_cap * 2 : 8;
            struct mdg_chunk *units = realloc(p->units, cap * sizeof *units);
            if (!units)
                return MDG_E_NO_MEMORY;
            p->units = units;
            p->unit_cap = cap;
        }
        struct mdg_blob *blob = message_blob(p->worker, msgs[i]);
        if (!blob)
            return MDG_E_NO_MEMORY;
        p->units[p->unit_count++] = mdg_chunk_all(blob);
        if (msgs[i]->seq)
            r->at = (struct mdg_position){msgs[i]->epoch, msgs[i]->seq};
    }
    return 0;
}

static void lose(struct poll_room *r, uint64_t from, uint64_t to)
{
    r->lost = true;
    r->missing_from = from;
    r->missing_to = to;
}

/* ---- Waiting ---- */

static int join_all(struct poll *p)
{
    struct mdg_member *m;
    int err = 0;
    for (unsigned i = 0; err == 0 && i < p->room_count; i++) {
        struct poll_room *r = &p->rooms[i];
        struct mdg_join_options options = {
            .resume = true, .from = r->at, .hidden = true, .cookie = r};
        err = mdg_hub_join(p->worker->hub, &p->session, name_of(p, r), &options, &m);
    }
    return err;
}

static void park(struct poll *p)
{
    struct mdg_worker *w = p->worker;
    p->unchanged = names_position(p);
    mdg_session_init(&p->session, w->hub, &session_ops, p->who);
    p->parked = true;
    int err = join_all(p);
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
    struct poll_room *r = m->cookie;
    if (!p->x)
        return;
    if (err < 0) {
        fail(p, err);
    } else if (!info->recovered) { /* between the question and the join */
        lose(r, info->missing_from, info->missing_to);
        r->at = info->at;
        answer(p);
    }
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct poll *p = poll_of(m->session);
    if (!p->x)
        return (int)n;
    int err = take(p, m->cookie, msgs, n);
    if (err < 0)
        fail(p, err);
    else if (p->unit_count)
        answer(p);
    return (int)n;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct poll *p = poll_of(m->session);
    struct poll_room *r = m->cookie;
    if (!p->x)
        return 0;
    lose(r, from, to);
    r->at.seq = to;
    answer(p);
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

/* ---- The first question, about each room in turn ---- */

static int ask(struct poll *p);

static void next_room(struct poll *p)
{
    int err = 0;
    if (++p->asking < p->room_count)
        err = ask(p);
    else if (p->unit_count == 0 && !any_lost(p) && p->wait_s && !p->worker->stopping)
        park(p);
    else
        answer(p);
    if (err < 0)
        fail(p, err);
}

static void on_history(void *arg, int err, const struct mdg_history *h)
{
    struct poll *p = arg;
    if (err == 0)
        err = take(p, &p->rooms[p->asking], h->msgs, h->count);
    if (err < 0)
        fail(p, err);
    else
        next_room(p);
}

static void on_since(void *arg, int err, const struct mdg_since *s)
{
    struct poll *p = arg;
    struct poll_room *r = &p->rooms[p->asking];
    if (err < 0) {
        fail(p, err);
        return;
    }
    r->at = s->newest;
    bool first = !r->asked_after && p->history && s->newest.seq;
    if (first) {
        err = mdg_hub_history(p->worker->hub, name_of(p, r), s->newest.seq + 1, p->history,
                              on_history, p);
    } else if (r->asked_after) {
        if (!s->recovered)
            lose(r, s->missing_from, s->missing_to);
        err = take(p, r, s->msgs, s->count);
    }
    if (err < 0)
        fail(p, err);
    else if (!first)
        next_room(p);
}

static int ask(struct poll *p)
{
    const struct poll_room *r = &p->rooms[p->asking];
    uint32_t limit = r->asked_after ? (uint32_t)p->worker->server->params.history_max : 0;
    return mdg_hub_since(p->worker->hub, name_of(p, r), r->at, limit, on_since, p);
}

static struct poll *new_poll(struct mdg_worker *w, struct mdg_exchange *x,
                             const struct mdg_room_query *q)
{
    size_t names = 0;
    for (size_t i = 0; i < q->room_count; i++)
        names += q->rooms[i].len;
    struct poll *p = calloc(1, sizeof *p + q->room_count * sizeof p->rooms[0] + names);
    if (!p)
        return NULL;
    p->x = x;
    p->worker = w;
    p->history = q->history;
    p->wait_s = q->wait_s;
    p->room_count = (uint8_t)q->room_count;
    mdg_list_init(&p->link);
    uint8_t *text = (uint8_t *)&p->rooms[q->room_count];
    for (size_t i = 0, off = 0; i < q->room_count; i++) {
        struct mdg_slice room = q->rooms[i];
        p->rooms[i] = (struct poll_room){.at = q->after[i],
                                         .asked_after = q->after[i].epoch != 0,
                                         .len = (uint16_t)room.len,
                                         .off = (uint16_t)off};
        memcpy(text + off, room.data, room.len);
        off += room.len;
    }
    return p;
}

/* Whatever the positions will be, the cursor fits into a URL and a header. */
static bool cursor_fits(const struct poll *p)
{
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    write_cursor(&w, p);
    return w.len + p->room_count * (size_t)MDG_PLAIN_POSITION_BYTES <= MDG_POLL_CURSOR_MAX;
}

static int on_request(struct mdg_exchange *x, void *arg)
{
    struct mdg_worker *w = mdg_mounted(arg)->worker;
    struct mdg_room_query q;
    struct mdg_principal *who;
    if (!mdg_room_query_read(w, x, MDG_PLAIN_ROOMS_MAX, mdg_slice(NULL, 0), &q) ||
        mdg_authenticate(w, x, &who) < 0)
        return 0;
    bool allowed = who->rights & MDG_RIGHT_SUBSCRIBE;
    struct poll *p = allowed ? new_poll(w, x, &q) : NULL;
    if (!p) {
        mdg_principal_unref(who);
        mdg_room_respond_error(x, allowed ? MDG_E_NO_MEMORY : MDG_E_DENIED);
        return 0;
    }
    p->who = who;
    mdg_exchange_set_arg(x, p);
    if (!cursor_fits(p)) {
        mdg_exchange_respond_error(x, 400, "too_many", "the names of these rooms are too long");
        done(p);
        return 0;
    }
    int err = ask(p);
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
    answer(mdg_exchange_arg(x));
}

/* The server stops: everyone gets an answer and may come back elsewhere. */
static void on_shutdown(struct mdg_worker *w, size_t *left, void *arg)
{
    struct mdg_polls *polls = polls_of(w);
    struct mdg_list *node;
    (void)arg;
    for (; *left > 0 && (node = mdg_list_first(&polls->parked)) != NULL; --*left)
        answer(MDG_CONTAINER_OF(node, struct poll, link));
    if (w->stopping)
        mdg_polls_forget(polls);
}

int mdg_mount_poll(struct madang *server)
{
    static const struct mdg_http_handler handler = {
        .on_request = on_request, .on_abort = on_abort, .on_timeout = on_timeout};
    mdg_server_on_shutdown(server, on_shutdown, NULL);
    return mdg_server_mount(server, "GET", "/poll", &handler, NULL);
}
