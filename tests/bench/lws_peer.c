/* The same jobs on libwebsockets: an echo on every path but two, and a fan-out from /pub to /sub.
 *
 *     lws_peer [--port P] */
#include <libwebsockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE = 64, RX_BYTES = 65536 };

/* Shared by everyone who is to get it. */
struct message {
    unsigned refs;
    enum lws_write_protocol type;
    size_t len, cap;
    unsigned char data[];
};

struct session {
    struct lws *wsi;
    struct session *next, **prev; /* of the subscribers */
    bool publisher, subscriber;
    struct message *gathering;
    struct message *queue[QUEUE];
    unsigned head, len;
};

static struct session *subscribers;

static void unref(struct message *m)
{
    if (m && --m->refs == 0)
        free(m);
}

static void enqueue(struct session *s, struct message *m)
{
    if (s->len == QUEUE)
        return;
    m->refs++;
    s->queue[(s->head + s->len++) % QUEUE] = m;
    lws_callback_on_writable(s->wsi);
}

static struct message *gather(struct session *s, const void *in, size_t len)
{
    struct message *m = s->gathering;
    size_t have = m ? m->len : 0;
    if (!m || m->cap - have < len) {
        size_t cap = (have + len) * 2;
        m = realloc(m, sizeof *m + LWS_PRE + cap);
        if (!m)
            exit(1);
        m->refs = 1;
        m->cap = cap;
        m->len = have;
        s->gathering = m;
    }
    memcpy(m->data + LWS_PRE + have, in, len);
    m->len += len;
    return m;
}

static void on_message(struct session *s, struct message *m)
{
    m->type = lws_frame_is_binary(s->wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
    s->gathering = NULL;
    if (s->publisher) {
        for (struct session *to = subscribers; to; to = to->next)
            enqueue(to, m);
    } else if (!s->subscriber) {
        enqueue(s, m);
    }
    unref(m);
}

static void on_open(struct session *s, struct lws *wsi)
{
    char path[64] = "";
    s->wsi = wsi;
    lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI);
    s->publisher = strcmp(path, "/pub") == 0;
    s->subscriber = strcmp(path, "/sub") == 0;
    if (!s->subscriber)
        return;
    s->next = subscribers;
    s->prev = &subscribers;
    if (s->next)
        s->next->prev = &s->next;
    subscribers = s;
}

static void on_close(struct session *s)
{
    if (s->subscriber) {
        *s->prev = s->next;
        if (s->next)
            s->next->prev = s->prev;
    }
    for (; s->len; s->len--)
        unref(s->queue[s->head++ % QUEUE]);
    free(s->gathering);
}

static int on_writable(struct session *s)
{
    while (s->len && !lws_send_pipe_choked(s->wsi)) {
        struct message *m = s->queue[s->head % QUEUE];
        s->head++;
        s->len--;
        int n = lws_write(s->wsi, m->data + LWS_PRE, m->len, m->type);
        bool ok = n >= 0;
        unref(m);
        if (!ok)
            return -1;
    }
    if (s->len)
        lws_callback_on_writable(s->wsi);
    return 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    struct session *s = user;
    switch ((int)reason) {
    case LWS_CALLBACK_ESTABLISHED:
        memset(s, 0, sizeof *s);
        on_open(s, wsi);
        return 0;
    case LWS_CALLBACK_CLOSED:
        on_close(s);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writable(s);
    case LWS_CALLBACK_RECEIVE: {
        struct message *m = gather(s, in, len);
        if (lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0)
            on_message(s, m);
        return 0;
    }
    default:
        return 0;
    }
}

int main(int argc, char **argv)
{
    static const struct lws_protocols protocols[] = {
        {"bench", callback, sizeof(struct session), RX_BYTES, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
    };
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    lws_set_log_level(LLL_ERR, NULL);
    info.port = argc > 2 && strcmp(argv[1], "--port") == 0 ? (int)strtol(argv[2], NULL, 10) : 0;
    info.iface = "lo";
    info.protocols = protocols;
    info.pt_serv_buf_size = RX_BYTES;
    struct lws_context *context = lws_create_context(&info);
    if (!context)
        return 1;
    struct lws_vhost *vhost = lws_get_vhost_by_name(context, "default");
    printf("%d\n", vhost ? lws_get_vhost_listen_port(vhost) : info.port);
    fflush(stdout);
    while (lws_service(context, 0) >= 0)
        ;
    lws_context_destroy(context);
    return 0;
}
