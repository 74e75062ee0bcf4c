/* One short-lived thread per look-up. The thread may outlive the loop that asked, so it posts
 * through a mailbox that both share and that the loop closes when it goes. */
#include "net/resolve.h"
#include "net/internal.h"
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    NAME_MAX_BYTES = 255,      /* RFC 1035 2.3.4 */
    THREAD_STACK = 256 * 1024, /* what getaddrinfo and its plug-ins need, with room */
};

struct mdg_mailbox {
    pthread_mutex_t lock;
    struct mdg_loop *loop; /* NULL: gone */
    unsigned refs;
};

struct mdg_resolve {
    struct mdg_post post;
    struct mdg_mailbox *mailbox;
    mdg_resolved_fn done; /* NULL: cancelled; the loop's thread only */
    void *arg;
    int err;
    uint16_t port;
    size_t n;
    struct mdg_addr addrs[MDG_RESOLVE_ADDRS_MAX];
    char name[NAME_MAX_BYTES + 1];
};

static void mailbox_unref(struct mdg_mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    bool last = --box->refs == 0;
    pthread_mutex_unlock(&box->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&box->lock);
    free(box);
}

static struct mdg_mailbox *mailbox_of(struct mdg_net *net)
{
    struct mdg_mailbox *box = net->mailbox;
    if (!box) {
        box = calloc(1, sizeof *box);
        if (!box)
            return NULL;
        pthread_mutex_init(&box->lock, NULL);
        box->loop = net->loop;
        box->refs = 1;
        net->mailbox = box;
    }
    return box;
}

void mdg_resolve_close(struct mdg_net *net)
{
    if (!net->mailbox)
        return;
    pthread_mutex_lock(&net->mailbox->lock);
    net->mailbox->loop = NULL;
    pthread_mutex_unlock(&net->mailbox->lock);
    mailbox_unref(net->mailbox);
    net->mailbox = NULL;
}

static void on_resolved(struct mdg_loop *loop, struct mdg_post *post)
{
    struct mdg_resolve *r = MDG_CONTAINER_OF(post, struct mdg_resolve, post);
    (void)loop;
    if (r->done)
        r->done(r->arg, r->err, r->addrs, r->n);
    free(r);
}

static int explain(int gai)
{
    switch (gai) {
    case EAI_NONAME:
    case EAI_FAIL:
    case EAI_NODATA:
        return MDG_E_NOT_FOUND;
    case EAI_MEMORY:
        return MDG_E_NO_MEMORY;
    case EAI_SYSTEM:
        return -errno;
    default:
        return -EAGAIN;
    }
}

static void look_up(struct mdg_resolve *r)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    int gai = getaddrinfo(r->name, NULL, &hints, &found);
    if (gai != 0) {
        r->err = explain(gai);
        return;
    }
    for (struct addrinfo *a = found; a && r->n < MDG_RESOLVE_ADDRS_MAX; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        mdg_addr_from_sockaddr(&r->addrs[r->n], a->ai_addr, a->ai_addrlen);
        mdg_addr_set_port(&r->addrs[r->n++], r->port);
    }
    freeaddrinfo(found);
    if (r->n == 0)
        r->err = MDG_E_NOT_FOUND;
}

static void *run(void *arg)
{
    struct mdg_resolve *r = arg;
    struct mdg_mailbox *box = r->mailbox;
    look_up(r);
    pthread_mutex_lock(&box->lock);
    if (box->loop)
        mdg_loop_post_node(box->loop, &r->post);
    else
        free(r);
    pthread_mutex_unlock(&box->lock);
    mailbox_unref(box);
    return NULL;
}

static int start_thread(struct mdg_resolve *r)
{
    pthread_attr_t attr;
    pthread_t thread;
    int err = pthread_attr_init(&attr);
    if (err)
        return -err;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    err = pthread_create(&thread, &attr, run, r);
    pthread_attr_destroy(&attr);
    return -err;
}

int mdg_resolve_start(struct mdg_net *net, struct mdg_slice name, uint16_t port,
                      mdg_resolved_fn done, void *arg, struct mdg_resolve **out)
{
    if (name.len > NAME_MAX_BYTES)
        return MDG_E_TOO_BIG;
    struct mdg_mailbox *box = mailbox_of(net);
    struct mdg_resolve *r = calloc(1, sizeof *r);
    if (!box || !r) {
        free(r);
        return MDG_E_NO_MEMORY;
    }
    r->post.fn = on_resolved;
    r->mailbox = box;
    r->done = done;
    r->arg = arg;
    r->port = port;
    memcpy(r->name, name.data, name.len);
    pthread_mutex_lock(&box->lock);
    box->refs++;
    pthread_mutex_unlock(&box->lock);
    int err = start_thread(r);
    if (err < 0) {
        mailbox_unref(box);
        free(r);
        return err;
    }
    *out = r;
    return 0;
}

void mdg_resolve_cancel(struct mdg_resolve *r)
{
    r->done = NULL;
}
