/* Timeouts of streams: 64 slots of a second. A stream stands in a slot that is not later than its
 * deadline; when the slot comes up and the deadline has moved, it is put further on. So renewing a
 * timeout, the thing that happens for every message, writes one field. */
#include "net/internal.h"

enum { MS_PER_S = 1000 };

static uint32_t now_s(const struct mdg_net *net)
{
    return (uint32_t)(mdg_loop_now_ms(net->loop) / MS_PER_S);
}

static void start_ticking(struct mdg_net *net)
{
    if (mdg_timer_running(&net->wheel_timer))
        return;
    net->wheel_s = now_s(net);
    mdg_timer_start(net->loop, &net->wheel_timer, MS_PER_S - mdg_loop_now_ms(net->loop) % MS_PER_S);
}

void mdg_wheel_add(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    mdg_list_remove(&s->link);
    if (s->due_s == 0) {
        s->wheel_slot = MDG_WHEEL_IDLE;
        mdg_list_push(&net->idle, &s->link);
        return;
    }
    start_ticking(net);
    uint32_t ahead = s->due_s > net->wheel_s ? s->due_s - net->wheel_s : 1;
    if (ahead > MDG_WHEEL_SLOTS - 1)
        ahead = MDG_WHEEL_SLOTS - 1;
    s->wheel_slot = (uint8_t)((net->wheel_s + ahead) % MDG_WHEEL_SLOTS);
    mdg_list_push(&net->wheel[s->wheel_slot], &s->link);
}

/* The second at which the stream's slot comes up. */
static uint32_t slot_s(const struct mdg_net *net, const struct mdg_stream *s)
{
    return net->wheel_s + 1 + (s->wheel_slot - net->wheel_s - 1) % MDG_WHEEL_SLOTS;
}

void mdg_stream_set_timeout(struct mdg_stream *s, uint32_t seconds)
{
    struct mdg_net *net = mdg_net_of(s);
    if (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER))
        return;
    /* One more, because the present second has begun already: never early. */
    s->due_s = seconds ? now_s(net) + seconds + 1 : 0;
    if (seconds && (s->wheel_slot == MDG_WHEEL_IDLE || slot_s(net, s) > s->due_s))
        mdg_wheel_add(s);
}

static void time_is_over(struct mdg_stream *s)
{
    s->due_s = 0;
    mdg_wheel_add(s);
    if (s->flags & MDG_STREAM_LINGER)
        mdg_stream_end(s);
    else if (s->user->on_timeout)
        s->user->on_timeout(s);
    else
        mdg_stream_close(s, MDG_E_TIMEOUT);
}

static void serve_slot(struct mdg_net *net)
{
    struct mdg_list due;
    mdg_list_init(&due);
    mdg_list_take(&due, &net->wheel[net->wheel_s % MDG_WHEEL_SLOTS]);
    struct mdg_list *node;
    while ((node = mdg_list_first(&due))) {
        struct mdg_stream *s = MDG_CONTAINER_OF(node, struct mdg_stream, link);
        if (s->due_s != 0 && s->due_s <= net->wheel_s)
            time_is_over(s);
        else
            mdg_wheel_add(s);
    }
}

static bool wheel_empty(const struct mdg_net *net)
{
    for (int i = 0; i < MDG_WHEEL_SLOTS; i++) {
        if (!mdg_list_empty(&net->wheel[i]))
            return false;
    }
    return true;
}

static void on_tick(struct mdg_timer *t, void *arg)
{
    struct mdg_net *net = arg;
    uint32_t until = now_s(net);
    /* So that streams added by the upcalls below find the clock running. */
    mdg_timer_start(net->loop, t, MS_PER_S - mdg_loop_now_ms(net->loop) % MS_PER_S);
    /* After a long sleep of the machine one round is enough: every slot has come up then. */
    if (until - net->wheel_s > MDG_WHEEL_SLOTS)
        net->wheel_s = until - MDG_WHEEL_SLOTS;
    while (net->wheel_s < until) {
        net->wheel_s++;
        serve_slot(net);
    }
    if (wheel_empty(net))
        mdg_timer_stop(net->loop, t);
}

void mdg_wheel_init(struct mdg_net *net)
{
    mdg_list_init(&net->idle);
    for (int i = 0; i < MDG_WHEEL_SLOTS; i++)
        mdg_list_init(&net->wheel[i]);
    mdg_timer_init(&net->wheel_timer, on_tick, net);
}

static void visit(struct mdg_list *list, void (*fn)(struct mdg_stream *s, void *arg), void *arg)
{
    MDG_LIST_FOR(node, next, list)
    fn(MDG_CONTAINER_OF(node, struct mdg_stream, link), arg);
}

void mdg_net_each(struct mdg_net *net, void (*fn)(struct mdg_stream *s, void *arg), void *arg)
{
    visit(&net->idle, fn, arg);
    for (int i = 0; i < MDG_WHEEL_SLOTS; i++)
        visit(&net->wheel[i], fn, arg);
}
