/* xhr_send and jsonp_send: a request brings an array of messages. The body is kept until it is
 * whole, because a broken one must do nothing; while the owner of the session has paused it, the
 * request waits with its answer. */
#include "base/buf.h"
#include "transport/sockjs_session.h"
#include <stdlib.h>

struct upload {
    struct mdg_list link; /* of session->uploads while it waits */
    struct mdg_sockjs *service;
    struct mdg_exchange *x;
    struct mdg_buf body;
    struct mdg_slice session; /* in the request's path */
    bool jsonp;
};

static void free_upload(struct upload *u)
{
    mdg_list_remove(&u->link);
    mdg_exchange_set_arg(u->x, NULL);
    mdg_buf_fini(&u->body);
    free(u);
}

static void head_of(struct mdg_sockjs_head *head, const struct upload *u, const char *content_type)
{
    unsigned flags = MDG_SOCKJS_HEAD_COOKIE | MDG_SOCKJS_HEAD_NO_CACHE;
    if (!u->jsonp)
        flags |= MDG_SOCKJS_HEAD_CORS;
    mdg_sockjs_head(head, u->service, u->x, flags, content_type);
}

/* Answers and frees. */
static void respond(struct upload *u, unsigned status, const char *content_type,
                    struct mdg_slice body)
{
    struct mdg_exchange *x = u->x;
    struct mdg_sockjs_head head;
    head_of(&head, u, content_type);
    mdg_exchange_set_arg(x, NULL);
    bool ended = mdg_sockjs_respond(x, status, &head, body) == 0;
    mdg_list_remove(&u->link);
    mdg_buf_fini(&u->body);
    free(u);
    if (!ended)
        mdg_exchange_kill(x);
}

static void respond_ok(struct upload *u)
{
    static const char plain[] = "text/plain; charset=UTF-8";
    /* some browsers do odd things on a 204 for a form */
    if (u->jsonp)
        respond(u, 200, plain, MDG_SLICE_LIT("ok"));
    else
        respond(u, 204, plain, mdg_slice(NULL, 0));
}

static void respond_error(struct upload *u, const char *text)
{
    respond(u, 500, "text/plain; charset=UTF-8", mdg_slice_str(text));
}

static bool is_form(const struct mdg_exchange *x)
{
    struct mdg_slice type = mdg_exchange_header(x, "content-type");
    struct mdg_slice first = mdg_slice_trim(mdg_slice_split(&type, ';'));
    return mdg_slice_eq_nocase(first, MDG_SLICE_LIT("application/x-www-form-urlencoded"));
}

/* The array of messages in the body. Errors of mdg_sockjs_messages. */
static int read_body(struct upload *u, struct mdg_sockjs_messages *m)
{
    struct mdg_input payload = {u->body.data, u->body.len};
    if (u->jsonp && is_form(u->x) && !mdg_sockjs_form_field(payload, MDG_SLICE_LIT("d"), &payload))
        return MDG_E_NOT_FOUND;
    return mdg_sockjs_messages(mdg_slice(payload.data, payload.len), false, m);
}

/* The body is whole: it is judged before the session is looked for, as npm sockjs does. */
static void finish(struct upload *u)
{
    struct mdg_sockjs_session *n = mdg_sockjs_find(u->service, u->session);
    struct mdg_sockjs_messages m;
    if (n && n->state == MDG_SOCKJS_OPEN && n->paused) {
        mdg_list_remove(&u->link);
        mdg_list_push(&n->uploads, &u->link);
        return;
    }
    int err = read_body(u, &m);
    if (err) {
        respond_error(u, err == MDG_E_SYNTAX ? "Broken JSON encoding." : "Payload expected.");
        return;
    }
    if (!n || n->state != MDG_SOCKJS_OPEN) {
        respond(u, 404, NULL, mdg_slice(NULL, 0));
        return;
    }
    struct mdg_input message;
    while (mdg_sockjs_next_message(&m, &message) && mdg_sockjs_session_input(n, message))
        ;
    respond_ok(u);
}

void mdg_sockjs_uploads_go_on(struct mdg_sockjs_session *n)
{
    struct mdg_list waiting;
    mdg_list_init(&waiting);
    mdg_list_take(&waiting, &n->uploads);
    struct mdg_list *at;
    while ((at = mdg_list_first(&waiting))) {
        struct upload *u = MDG_CONTAINER_OF(at, struct upload, link);
        mdg_list_remove(at);
        finish(u);
    }
}

static int on_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct upload *u = mdg_exchange_arg(x);
    if (!u)
        return 0;
    int err = mdg_buf_append(&u->body, piece);
    if (err == MDG_E_TOO_BIG) {
        respond(u, 413, NULL, mdg_slice(NULL, 0));
        return 0;
    }
    if (err) {
        free_upload(u);
        return err;
    }
    if (last)
        finish(u);
    return 0;
}

static void on_abort(struct mdg_exchange *x)
{
    struct upload *u = mdg_exchange_arg(x);
    if (u)
        free_upload(u);
}

static const struct mdg_http_handler handler = {.on_body = on_body, .on_abort = on_abort};

int mdg_sockjs_upload(struct mdg_sockjs *s, struct mdg_exchange *x, struct mdg_sockjs_url url)
{
    struct upload *u = calloc(1, sizeof *u);
    if (!u)
        return MDG_E_NO_MEMORY;
    u->service = s;
    u->x = x;
    u->session = url.session;
    u->jsonp = url.endpoint == MDG_SOCKJS_JSONP_SEND;
    mdg_list_init(&u->link);
    mdg_buf_init(&u->body, s->config->body_bytes_max);
    mdg_exchange_set_arg(x, u);
    mdg_exchange_set_handler(x, &handler);
    mdg_exchange_set_body_max(x, s->config->body_bytes_max);
    return 0;
}
