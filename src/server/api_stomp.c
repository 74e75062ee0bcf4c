/* The application's side of STOMP: users and rules before the start; sending and consuming on the
 * first worker, where its subscriptions live. */
#include "base/utf8.h"
#include "hub/pattern.h"
#include "madang/stomp.h"
#include "server/mount.h"
#include "server/stomp.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- before the start ---- */

int madang_mount_stomp(struct madang *server)
{
    return mdg_mount_stomp(server);
}

static_assert((int)MADANG_STOMP_HASH_MAX == (int)MDG_PASSWORD_HASH_MAX, "one size of hashes");

int madang_stomp_hash(const char *password, char out[MADANG_STOMP_HASH_MAX])
{
    return mdg_password_hash(mdg_slice_str(password), out);
}

int madang_stomp_user(struct madang *server, const char *name, const char *password)
{
    struct mdg_stomp_shared *s;
    char hash[MDG_PASSWORD_HASH_MAX];
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    int err = mdg_stomp_shared_get(server, &s);
    if (err == 0)
        err = mdg_password_hash(mdg_slice_str(password), hash);
    return err < 0 ? err : mdg_users_add(s->users, mdg_slice_str(name), mdg_slice_str(hash));
}

/* A copy that ends with NUL; a longer destination than any that is allowed is cut. */
static const char *ask(struct mdg_stomp_shared *s, madang_stomp_rule_fn rule,
                       const struct mdg_principal *who, struct mdg_slice destination)
{
    char user[MDG_NAME_BYTES_MAX + 1], text[2048];
    if (!rule)
        return NULL;
    snprintf(user, sizeof user, "%.*s", (int)who->name_len, who->name);
    snprintf(text, sizeof text, "%.*s", (int)mdg_min_size(destination.len, sizeof text - 1),
             (const char *)destination.data);
    struct madang_stomp_request request = {user, who->guest, text};
    return rule(s->server, &request, s->rule_arg);
}

static const char *may_send(void *arg, const struct mdg_principal *who,
                            const struct mdg_stomp_frame *frame, struct mdg_slice destination)
{
    struct mdg_stomp_shared *s = arg;
    (void)frame;
    return ask(s, s->may_send, who, destination);
}

static const char *may_subscribe(void *arg, const struct mdg_principal *who,
                                 const struct mdg_stomp_frame *frame, struct mdg_slice destination)
{
    struct mdg_stomp_shared *s = arg;
    (void)frame;
    return ask(s, s->may_subscribe, who, destination);
}

int madang_stomp_rules(struct madang *server, madang_stomp_rule_fn send_rule,
                       madang_stomp_rule_fn subscribe_rule, void *arg)
{
    struct mdg_stomp_shared *s;
    if (server->workers)
        return MDG_E_UNSUPPORTED;
    int err = mdg_stomp_shared_get(server, &s);
    if (err < 0)
        return err;
    s->may_send = send_rule;
    s->may_subscribe = subscribe_rule;
    s->rule_arg = arg;
    s->hooks = (struct mdg_stomp_hooks){may_send, may_subscribe, s};
    return 0;
}

/* ---- destinations ---- */

/* Rooms by their name, queues by the whole text. data NULL: neither. */
static struct mdg_slice parse(const char *destination, bool *topic)
{
    struct mdg_slice text = mdg_slice_str(destination), prefix = MDG_SLICE_LIT("/topic/");
    *topic = mdg_slice_starts(text, prefix);
    if (*topic && text.len > prefix.len)
        return mdg_slice(text.data + prefix.len, text.len - prefix.len);
    bool queue = mdg_slice_starts(text, MDG_SLICE_LIT("/queue/")) ||
                 mdg_slice_starts(text, MDG_SLICE_LIT("/reply-queue/")) ||
                 mdg_slice_starts(text, MDG_SLICE_LIT("/user/"));
    return queue && !*topic ? text : mdg_slice(NULL, 0);
}

/* The first worker's part, for a function that runs there. */
static struct mdg_stomp_part *part_of(struct madang *server)
{
    return server->workers[0].stomp;
}

static int post(struct madang *server, madang_fn fn, void *arg)
{
    if (!server->accept_stomp)
        return MDG_E_UNSUPPORTED;
    return madang_post(server, 0, fn, arg);
}

/* ---- sending ---- */

struct sending {
    struct mdg_content *content;
    struct mdg_queue_waiter waiter;
    madang_stomp_sent_fn done;
    void *arg;
    size_t queue_len; /* 0: a topic */
    uint8_t queue[];
};

static void sent(struct sending *s, int err)
{
    if (s->done)
        s->done(s->arg, err);
    free(s);
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    (void)at;
    sent(arg, err);
}

static void on_queued(void *arg, uint64_t cookie, int err)
{
    (void)cookie;
    sent(arg, err);
}

static void do_send(struct madang *server, void *arg)
{
    struct sending *s = arg;
    struct mdg_stomp_part *p = part_of(server);
    int err;
    mdg_list_init(&s->waiter.tickets);
    if (!p) { /* the server has just ended */
        mdg_content_unref(s->content);
        sent(s, MDG_E_CLOSED);
        return;
    }
    if (s->queue_len)
        err = mdg_queue_publish(p->queues, mdg_slice(s->queue, s->queue_len), s->content,
                                MDG_QUEUE_KEEP, &s->waiter, 0);
    else
        err = mdg_hub_publish(server->workers[0].hub, s->content, on_published, s);
    if (err < 0)
        sent(s, err);
}

static int make_content(struct mdg_slice name, const struct madang_header *headers, size_t n,
                        struct mdg_slice body, struct mdg_content **out)
{
    struct mdg_msg_header list[MDG_MSG_HEADERS_MAX];
    struct mdg_msg_draft draft = {.kind = mdg_utf8_valid(body) ? MDG_MSG_TEXT : MDG_MSG_BINARY,
                                  .channel = name,
                                  .headers = list,
                                  .payload = body};
    if (n > MDG_MSG_HEADERS_MAX)
        return MDG_E_TOO_BIG;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(headers[i].name, "content-type") == 0)
            draft.content_type = mdg_slice_str(headers[i].value);
        else
            list[draft.header_count++] = (struct mdg_msg_header){mdg_slice_str(headers[i].name),
                                                                 mdg_slice_str(headers[i].value)};
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return mdg_content_new(&draft, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
                           out);
}

int madang_stomp_send(struct madang *server, const char *destination,
                      const struct madang_header *headers, size_t header_count, const void *body,
                      size_t len, madang_stomp_sent_fn done, void *arg)
{
    bool topic;
    struct mdg_slice name = parse(destination, &topic);
    if (!name.data)
        return MDG_E_SYNTAX;
    size_t queue_len = topic ? 0 : name.len;
    struct sending *s = calloc(1, sizeof *s + queue_len);
    if (!s)
        return MDG_E_NO_MEMORY;
    s->done = done;
    s->arg = arg;
    s->waiter = (struct mdg_queue_waiter){.done = on_queued, .arg = s};
    s->queue_len = queue_len;
    memcpy(s->queue, name.data, queue_len);
    int err = make_content(name, headers, header_count, mdg_slice(body, len), &s->content);
    if (err == 0) {
        err = post(server, do_send, s);
        if (err < 0)
            mdg_content_unref(s->content);
    }
    if (err < 0)
        free(s);
    return err;
}

/* ---- consuming ---- */

struct mdg_app_sub {
    struct mdg_list in_part;
    struct madang *server;
    struct mdg_queue_sub queue_sub;
    struct mdg_session session; /* topics */
    struct mdg_member *member;
    bool topic, pattern, in_session;
    uint32_t prefetch;
    uint64_t id;
    madang_stomp_message_fn fn;
    void *arg;
    size_t name_len;
    char destination[]; /* ends with NUL */
};

static enum madang_stomp_result tell(struct mdg_app_sub *s, const struct mdg_content *c,
                                     uint64_t tag, bool redelivered)
{
    enum { ROOM = 16384 };
    struct madang_header headers[MDG_MSG_HEADERS_MAX];
    char text[ROOM];
    struct mdg_writer w;
    struct mdg_slice body = mdg_chunk_slice(&c->parts[0]);
    struct madang_stomp_message m = {s->id,   tag, s->destination, body.data, body.len, text,
                                     headers, 0,   redelivered};
    mdg_writer_init(&w, text, sizeof text);
    mdg_write_slice(&w, c->content_type);
    mdg_write_u8(&w, 0);
    if (s->pattern) {
        m.destination = text + w.len;
        mdg_write_str(&w, "/topic/");
        mdg_write_slice(&w, c->channel);
        mdg_write_u8(&w, 0);
    }
    for (size_t i = 0; i < c->header_count; i++) {
        size_t name_at = w.len;
        mdg_write_slice(&w, c->headers[i].name);
        mdg_write_u8(&w, 0);
        size_t value_at = w.len;
        mdg_write_slice(&w, c->headers[i].value);
        mdg_write_u8(&w, 0);
        if (!mdg_writer_fits(&w))
            break; /* headers beyond 16 KiB are left out */
        headers[m.header_count++] = (struct madang_header){text + name_at, text + value_at};
    }
    return s->fn(s->server, &m, s->arg);
}

static enum mdg_settle settle_of(enum madang_stomp_result result)
{
    if (result == MADANG_STOMP_REQUEUE)
        return MDG_SETTLE_REQUEUE;
    return result == MADANG_STOMP_REJECT ? MDG_SETTLE_DEAD : MDG_SETTLE_ACK;
}

static int from_queue(struct mdg_queue_sub *sub, const struct mdg_delivery *d)
{
    struct mdg_app_sub *s = MDG_CONTAINER_OF(sub, struct mdg_app_sub, queue_sub);
    enum madang_stomp_result result = tell(s, d->content, d->tag, d->redelivered);
    if (result != MADANG_STOMP_LATER &&
        mdg_queue_settle(sub, d->tag, settle_of(result), false, NULL, 0) < 0)
        return 0; /* out of memory: it stays open and comes back when the subscription ends */
    return 0;
}

static const struct mdg_queue_sub_ops queue_ops = {.deliver = from_queue};

static int from_topic(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_app_sub *s = m->cookie;
    for (size_t i = 0; i < n; i++) {
        if (msgs[i]->content->kind != MDG_MSG_PRESENCE)
            (void)tell(s, msgs[i]->content, msgs[i]->seq, false);
    }
    return (int)n;
}

static void joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct mdg_app_sub *s = m->cookie;
    (void)info;
    if (err < 0)
        s->member = NULL;
}

static int gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    (void)m, (void)from, (void)to; /* a member that takes everything at once has none */
    return 0;
}

static void kick(struct mdg_session *session, int reason)
{
    (void)session, (void)reason; /* never full, never expires */
}

static const struct mdg_session_ops topic_ops = {
    .joined = joined, .deliver = from_topic, .gap = gap, .kick = kick};

static void free_sub(struct mdg_app_sub *s)
{
    mdg_list_remove(&s->in_part);
    if (s->topic && s->in_session)
        mdg_session_fini(&s->session);
    else if (!s->topic)
        mdg_queue_unsubscribe(&s->queue_sub);
    free(s);
}

static void do_subscribe(struct madang *server, void *arg)
{
    struct mdg_app_sub *s = arg;
    struct mdg_stomp_part *p = part_of(server);
    bool topic;
    struct mdg_slice name = parse(s->destination, &topic);
    int err;
    if (!p) {
        free(s);
        return;
    }
    mdg_list_push(&p->app_subs, &s->in_part);
    if (topic) {
        struct mdg_join_options options = {.hidden = true, .cookie = s};
        mdg_session_init(&s->session, p->worker->hub, &topic_ops, p->worker->nobody);
        s->in_session = true;
        s->pattern = mdg_pattern_is(name);
        err = s->pattern
                  ? mdg_hub_join_pattern(p->worker->hub, &s->session, name, &options, &s->member)
                  : mdg_hub_join(p->worker->hub, &s->session, name, &options, &s->member);
    } else {
        s->queue_sub.ops = &queue_ops;
        err = mdg_queue_subscribe(p->queues, &s->queue_sub, name, s->prefetch, 0, NULL, 0);
    }
    if (err < 0)
        mdg_log(&server->log, MDG_LOG_ERROR, "the application could not subscribe", "destination",
                s->destination, "why", mdg_strerror(err), NULL);
}

int madang_stomp_subscribe(struct madang *server, const char *destination, uint32_t prefetch,
                           madang_stomp_message_fn on_message, void *arg, uint64_t *out)
{
    bool topic;
    struct mdg_slice name = parse(destination, &topic);
    size_t len = strlen(destination);
    if (!name.data)
        return MDG_E_SYNTAX;
    struct mdg_stomp_shared *shared = server->stomp;
    int err = server->workers ? 0 : mdg_stomp_shared_get(server, &shared);
    if (!shared || err < 0)
        return err < 0 ? err : MDG_E_UNSUPPORTED;
    struct mdg_app_sub *s = calloc(1, sizeof *s + len + 1);
    if (!s)
        return MDG_E_NO_MEMORY;
    s->server = server;
    s->topic = topic;
    s->prefetch = prefetch;
    s->fn = on_message;
    s->arg = arg;
    s->id = atomic_fetch_add(&server->stomp->next_app_sub, 1) + 1;
    memcpy(s->destination, destination, len);
    mdg_list_init(&s->in_part);
    *out = s->id;
    if (!server->workers) { /* the first worker begins with it */
        mdg_list_push(&server->stomp->early_subs, &s->in_part);
        return 0;
    }
    err = post(server, do_subscribe, s);
    if (err < 0)
        free(s);
    return err;
}

static struct mdg_app_sub *find(struct madang *server, uint64_t id)
{
    MDG_LIST_FOR(node, next, &part_of(server)->app_subs)
    {
        struct mdg_app_sub *s = MDG_CONTAINER_OF(node, struct mdg_app_sub, in_part);
        if (s->id == id)
            return s;
    }
    return NULL;
}

struct settling {
    uint64_t subscription, tag;
    enum madang_stomp_result result;
    bool leave;
};

static void do_settle(struct madang *server, void *arg)
{
    struct settling *t = arg;
    struct mdg_app_sub *s = part_of(server) ? find(server, t->subscription) : NULL;
    if (s && t->leave)
        free_sub(s);
    else if (s && !s->topic &&
             mdg_queue_settle(&s->queue_sub, t->tag, settle_of(t->result), false, NULL, 0) < 0)
        mdg_log(&server->log, MDG_LOG_WARN, "a message could not be settled", "destination",
                s->destination, NULL);
    free(t);
}

static int post_settling(struct madang *server, struct settling settling)
{
    struct settling *t = malloc(sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    *t = settling;
    int err = post(server, do_settle, t);
    if (err < 0)
        free(t);
    return err;
}

int madang_stomp_settle(struct madang *server, uint64_t subscription, uint64_t tag,
                        enum madang_stomp_result result)
{
    return post_settling(server, (struct settling){subscription, tag, result, false});
}

int madang_stomp_unsubscribe(struct madang *server, uint64_t subscription)
{
    return post_settling(server, (struct settling){.subscription = subscription, .leave = true});
}

void mdg_stomp_app_subs_start(struct mdg_stomp_part *p)
{
    struct madang *server = p->worker->server;
    MDG_LIST_FOR(node, next, &server->stomp->early_subs)
    {
        mdg_list_remove(node);
        do_subscribe(server, MDG_CONTAINER_OF(node, struct mdg_app_sub, in_part));
    }
}

void mdg_stomp_early_subs_free(struct mdg_stomp_shared *shared)
{
    MDG_LIST_FOR(node, next, &shared->early_subs)
    free(MDG_CONTAINER_OF(node, struct mdg_app_sub, in_part));
}

void mdg_stomp_app_subs_free(struct mdg_stomp_part *p)
{
    MDG_LIST_FOR(node, next, &p->app_subs)
    free_sub(MDG_CONTAINER_OF(node, struct mdg_app_sub, in_part));
}
