/* Socket.IO without a wire: who may say what when, what comes out of it, and what a client finds
 * when it comes back. Both sides of the conversation are on the page. */
#include "dialect/kit_test.h"
#include "dialect/sio.h"
#include "hub/kit_test.h"
#include "loop/loop.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

enum { FACTS_MAX = 64 };

/* What was given to the store. */
struct fact {
    char key[64], value[1024];
};

struct scene {
    struct kit kit;
    struct fact facts[FACTS_MAX];
    size_t fact_count;
    struct mdg_loop *loop;
    struct mdg_sio_worker *w;
    struct mdg_sio_options options;
    struct mdg_principal *ann;
    struct wire_link a, b;
    char heard[4096];
    bool hold;
    uint64_t last;
};

static void hear(struct scene *s, const char *what, struct mdg_slice more)
{
    size_t len = strlen(s->heard);
    snprintf(s->heard + len, sizeof s->heard - len, "%s%.*s\n", what, (int)more.len,
             more.len ? (const char *)more.data : "");
}

static struct mdg_principal *principal(void *arg, const struct mdg_handshake *hs)
{
    (void)hs;
    return mdg_principal_ref(((struct scene *)arg)->ann);
}

static bool known(void *arg, struct mdg_slice name, void **data)
{
    *data = arg;
    return name.len < 6;
}

static void on_connect(void *arg, struct mdg_sio_socket *socket)
{
    struct scene *s = arg;
    s->last = mdg_sio_id(socket);
    if (mdg_slice_eq(mdg_sio_auth(socket), MDG_SLICE_LIT("{\"bad\":1}")))
        mdg_sio_refuse(socket, MDG_SLICE_LIT("no"), MDG_SLICE_LIT("[1]"));
    else if (!s->hold)
        mdg_sio_admit(socket);
}

static void on_connection(void *arg, struct mdg_sio_socket *socket)
{
    struct scene *s = arg;
    s->last = mdg_sio_id(socket);
    hear(s, mdg_sio_recovered(socket) ? "recovered " : "connection ", mdg_sio_namespace(socket));
}

static void on_event(void *arg, struct mdg_sio_socket *socket, const struct mdg_sio_args *args)
{
    struct scene *s = arg;
    hear(s, "event ", args->event);
    hear(s, "args ", args->args);
    for (size_t i = 0; i < args->attachment_count; i++)
        hear(s, "binary ", mdg_chunk_slice(&args->attachments[i]));
    const struct mdg_sio_emit answer = {.args = args->args};
    if (args->wants_ack && args->attachment_count == 0)
        assert_int_equal(mdg_sio_ack(socket, args->ack_id, &answer), 0);
}

static void on_disconnect(void *arg, struct mdg_sio_socket *socket, const char *reason)
{
    struct scene *s = arg;
    hear(s, "disconnect ", mdg_slice_str(reason));
    hear(s, mdg_sio_in(socket, MDG_SLICE_LIT("red")) ? "still in red" : "not in red",
         mdg_slice(NULL, 0));
}

static void random_bytes(void *arg, void *out, size_t len)
{
    mdg_loop_random(((struct scene *)arg)->loop, out, len);
}

static void keep(void *arg, struct mdg_slice key, struct mdg_slice record)
{
    struct scene *s = arg;
    size_t i = 0;
    while (i < s->fact_count && !mdg_slice_eq(mdg_slice_str(s->facts[i].key), key))
        i++;
    if (record.len == 0) {
        if (i < s->fact_count)
            s->facts[i] = s->facts[--s->fact_count];
        return;
    }
    assert_true(i < FACTS_MAX && key.len < sizeof s->facts[i].key &&
                record.len < sizeof s->facts[i].value);
    snprintf(s->facts[i].key, sizeof s->facts[i].key, "%.*s", (int)key.len, (const char *)key.data);
    snprintf(s->facts[i].value, sizeof s->facts[i].value, "%.*s", (int)record.len,
             (const char *)record.data);
    if (i == s->fact_count)
        s->fact_count++;
}

static const struct mdg_sio_hooks hooks = {.principal = principal,
                                           .namespace_known = known,
                                           .on_connect = on_connect,
                                           .on_connection = on_connection,
                                           .on_event = on_event,
                                           .on_disconnect = on_disconnect,
                                           .random = random_bytes,
                                           .keep = keep};

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    const struct mdg_loop_config sim = {.kind = MDG_LOOP_SIM, .sim_seed = 7};
    assert_non_null(s);
    assert_int_equal(kit_init(&s->kit, 1, 3, NULL), 0);
    assert_int_equal(mdg_loop_new(&sim, &s->loop), 0);
    s->ann = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    s->options = (struct mdg_sio_options){.limits = {32, 16, 64},
                                          .connect_timeout_ms = 45000,
                                          .attachment_bytes_max = 100,
                                          .namespaces_per_client_max = 3,
                                          .acks_per_socket_max = 4,
                                          .namespaces_max = 8,
                                          .recover_without_offset = true,
                                          .recovery_ms = 120000,
                                          .recovery_ring = 16,
                                          .sid_key = {1, 2},
                                          .offset_key = {3, 4}};
    assert_int_equal(mdg_sio_worker_new(s->loop, s->kit.hubs[0], 0, &s->options, &hooks, s, &s->w),
                     0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    struct wire_link *links[] = {&s->a, &s->b};
    for (size_t i = 0; i < 2; i++) {
        if (links[i]->link.user)
            wire_close(links[i]);
    }
    mdg_sio_worker_free(s->w);
    kit_fini(&s->kit);
    mdg_loop_free(s->loop);
    mdg_principal_unref(s->ann);
    free(s);
    return 0;
}

static void open_link(struct scene *s, struct wire_link *l, unsigned protocol)
{
    static const struct mdg_handshake hs = {.carrier = "wire"};
    wire_link_init(l, &wire_lines);
    assert_int_equal(mdg_sio_open(s->w, &l->link, &hs, protocol), 0);
}

static void run(struct scene *s)
{
    kit_run(&s->kit);
    assert_true(mdg_loop_step(s->loop, 0) >= 0);
}

static void drop(struct wire_link *l)
{
    wire_close(l);
    l->link.user = NULL;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The value of "key":"..." in a text. */
static void find_text(const char *text, const char *key, char out[64])
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", key);
    const char *at = strstr(text, pattern);
    assert_non_null(at);
    at += strlen(pattern);
    snprintf(out, 64, "%.*s", (int)strcspn(at, "\""), at);
}

static void namespaces_are_entered_refused_and_unknown(void **state)
{
    struct scene *s = *state;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    assert_true(starts(wire_sent(&s->a), "0{\"sid\":\""));
    assert_int_equal(wire_input(&s->a, "0/abc,{\"bad\":1}"), 0);
    assert_string_equal(wire_sent(&s->a), "4/abc,{\"message\":\"no\",\"data\":[1]}\n");
    assert_int_equal(wire_input(&s->a, "0/unknown"), 0);
    assert_string_equal(wire_sent(&s->a), "4/unknown,{\"message\":\"Invalid namespace\"}\n");
    assert_string_equal(s->heard, "connection /\n");
    open_link(s, &s->b, 4); /* an old client is in "/" without asking */
    assert_string_equal(wire_sent(&s->b), "0\n");
}

static void what_is_out_of_place_is_an_error(void **state)
{
    struct scene *s = *state;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "2[\"x\"]"), MDG_E_PROTO);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    assert_int_equal(wire_input(&s->a, "0"), MDG_E_PROTO);
    assert_int_equal(wire_input(&s->a, "2/abc,[\"x\"]"), MDG_E_PROTO);
    assert_int_equal(wire_input(&s->a, "4{\"message\":\"x\"}"), MDG_E_PROTO);
    s->hold = true;
    assert_int_equal(wire_input(&s->a, "0/abc"), 0);
    assert_int_equal(wire_input(&s->a, "2/abc,[\"x\"]"), MDG_E_PROTO); /* not admitted yet */
    assert_string_equal(s->heard, "connection /\n");
}

static void events_acknowledgements_and_attachments_are_put_together(void **state)
{
    struct scene *s = *state;
    uint8_t bytes[4] = "abc";
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    wire_sent(&s->a);
    s->heard[0] = '\0';
    assert_int_equal(wire_input(&s->a, "20[\"s\\u0061y\",1,{\"b\":2}]"), 0);
    assert_string_equal(wire_sent(&s->a), "30[1,{\"b\":2}]\n");
    assert_int_equal(wire_input(&s->a, "51-[\"pic\",{\"_placeholder\":true,\"num\":0}]"), 0);
    assert_int_equal(wire_input(&s->a, "2[\"early\"]"), MDG_E_PROTO);
    assert_int_equal(s->a.link.user->on_input(&s->a.link, (struct mdg_input){bytes, 3}, true), 0);
    assert_string_equal(s->heard, "event say\nargs [1,{\"b\":2}]\nevent pic\n"
                                  "args [{\"_placeholder\":true,\"num\":0}]\nbinary abc\n");
    assert_int_equal(s->a.link.user->on_input(&s->a.link, (struct mdg_input){bytes, 3}, true),
                     MDG_E_PROTO);
}

static void a_broadcast_leaves_out_whom_it_names(void **state)
{
    struct scene *s = *state;
    open_link(s, &s->a, 5);
    open_link(s, &s->b, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    uint64_t first = s->last;
    assert_int_equal(wire_input(&s->b, "0"), 0);
    run(s);
    wire_sent(&s->a);
    wire_sent(&s->b);
    const struct mdg_sio_target others = {.nsp = MDG_SLICE_LIT("/"), .except_id = first};
    const struct mdg_sio_emit e = {.event = MDG_SLICE_LIT("hi"), .args = MDG_SLICE_LIT("[1]")};
    assert_int_equal(mdg_sio_broadcast(s->w, &others, &e), 0);
    run(s);
    assert_string_equal(wire_sent(&s->a), "");
    assert_string_equal(wire_sent(&s->b), "2[\"hi\",1]\n");
    const struct mdg_sio_emit bad = {.event = MDG_SLICE_LIT("disconnect")};
    assert_int_equal(mdg_sio_broadcast(s->w, &others, &bad), MDG_E_SYNTAX);
}

static void who_comes_back_gets_what_he_missed(void **state)
{
    struct scene *s = *state;
    char pid[64], connect[256];
    const struct mdg_slice red = MDG_SLICE_LIT("red");
    const struct mdg_sio_target room = {.nsp = MDG_SLICE_LIT("/"), .rooms = &red, .room_count = 1};
    const struct mdg_sio_emit e = {.event = MDG_SLICE_LIT("hi"), .args = MDG_SLICE_LIT("[1]")};
    s->options.recovery = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    find_text(wire_sent(&s->a), "pid", pid);
    assert_int_equal(mdg_sio_join(mdg_sio_find(s->w, s->last), red), 0);
    run(s);
    drop(&s->a);
    assert_true(strstr(s->heard, "still in red") != NULL);
    run(s);
    assert_int_equal(mdg_sio_broadcast(s->w, &room, &e), 0);
    run(s);
    open_link(s, &s->b, 5);
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\"}", pid);
    assert_int_equal(wire_input(&s->b, connect), 0);
    run(s);
    const char *sent = wire_sent(&s->b);
    assert_true(starts(sent, "0{\"sid\":\""));
    const char *event = strchr(sent, '\n') + 1;
    assert_true(starts(event, "2[\"hi\",1,\"")); /* with its offset */
    assert_int_equal(strlen(strchr(event, '\n') + 1), 0);
    assert_true(strstr(s->heard, "recovered /") != NULL);
    open_link(s, &s->a, 5); /* an offset that nobody gave out */
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\",\"offset\":\"AAAAAAAAAAA\"}", pid);
    assert_int_equal(wire_input(&s->a, connect), 0);
    assert_null(strstr(wire_sent(&s->a), pid));
}

/* Between the end of a line and the news of it. */
static void what_a_dying_line_does_not_take_is_missed_too(void **state)
{
    struct scene *s = *state;
    char pid[64], connect[256];
    const struct mdg_slice red = MDG_SLICE_LIT("red");
    const struct mdg_sio_target room = {.nsp = MDG_SLICE_LIT("/"), .rooms = &red, .room_count = 1};
    const struct mdg_sio_emit to_all = {.event = MDG_SLICE_LIT("all"), .args = MDG_SLICE_LIT("[]")};
    const struct mdg_sio_emit to_one = {.event = MDG_SLICE_LIT("one"), .args = MDG_SLICE_LIT("[]")};
    s->options.recovery = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    find_text(wire_sent(&s->a), "pid", pid);
    struct mdg_sio_socket *socket = mdg_sio_find(s->w, s->last);
    assert_int_equal(mdg_sio_join(socket, red), 0);
    run(s);
    s->a.closed = true;
    assert_int_equal(mdg_sio_broadcast(s->w, &room, &to_all), 0);
    run(s);
    assert_int_equal(mdg_sio_emit(socket, &to_one), 0);
    drop(&s->a);
    open_link(s, &s->b, 5);
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\"}", pid);
    assert_int_equal(wire_input(&s->b, connect), 0);
    run(s);
    const char *sent = wire_sent(&s->b);
    const char *all = strstr(sent, "2[\"all\""), *one = strstr(sent, "2[\"one\"");
    assert_true(all && one && all < one);
}

/* A private event finds the queue full: the client is sent away, told why, and gets this event and
 * what came while its connection was closing when it is back. */
static void who_is_too_slow_is_told_and_gets_the_rest_later(void **state)
{
    struct scene *s = *state;
    char pid[64], sid[64], connect[256];
    const struct mdg_slice red = MDG_SLICE_LIT("red");
    const struct mdg_sio_emit first = {.event = MDG_SLICE_LIT("first")};
    const struct mdg_sio_emit second = {.event = MDG_SLICE_LIT("second")};
    const struct mdg_sio_emit third = {.event = MDG_SLICE_LIT("third")};
    s->options.recovery = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    const char *hello = wire_sent(&s->a);
    find_text(hello, "pid", pid);
    find_text(hello, "sid", sid);
    struct mdg_sio_socket *socket = mdg_sio_find(s->w, s->last);
    assert_int_equal(mdg_sio_join(socket, red), 0);
    run(s);
    s->a.room = 0;
    const struct mdg_slice me = mdg_slice_str(sid);
    struct mdg_sio_target to = {.nsp = MDG_SLICE_LIT("/"), .rooms = &me, .room_count = 1};
    assert_int_equal(mdg_sio_broadcast(s->w, &to, &first), 0);
    run(s);
    assert_true(s->a.closed);
    assert_int_equal(s->a.close_code, MDG_CLOSE_SLOW);
    assert_string_equal(s->a.close_reason, "too slow");
    to.rooms = &red;
    assert_int_equal(mdg_sio_broadcast(s->w, &to, &second), 0);
    run(s);
    assert_int_equal(mdg_sio_emit(socket, &third), 0);
    drop(&s->a);
    open_link(s, &s->b, 5);
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\"}", pid);
    assert_int_equal(wire_input(&s->b, connect), 0);
    run(s);
    const char *sent = wire_sent(&s->b), *names[] = {"first", "second", "third"};
    for (size_t i = 0; i < 3; i++) {
        sent = strchr(sent, '\n') + 1;
        assert_true(starts(sent, "2[\""));
        assert_true(starts(sent + 3, names[i]));
    }
    assert_int_equal(strlen(strchr(sent, '\n') + 1), 0);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct fact *)a)->key, ((const struct fact *)b)->key);
}

/* Another server with the same store; the hub with its logs stands for the rooms' part of it. */
static void restart(struct scene *s)
{
    static struct fact facts[FACTS_MAX]; /* restoring may change the table */
    size_t n = s->fact_count;
    mdg_sio_worker_free(s->w);
    assert_int_equal(mdg_sio_worker_new(s->loop, s->kit.hubs[0], 0, &s->options, &hooks, s, &s->w),
                     0);
    assert_int_equal(s->fact_count, n); /* what is kept stays kept */
    memcpy(facts, s->facts, sizeof facts);
    qsort(facts, n, sizeof *facts, by_key);
    for (size_t i = 0; i < n; i++)
        mdg_sio_restore(s->w, mdg_slice_str(facts[i].key), mdg_slice_str(facts[i].value));
    run(s);
}

static void say(struct scene *s, const char *room, const char *event, bool is_volatile)
{
    const struct mdg_slice name = mdg_slice_str(room);
    const struct mdg_sio_target to = {.nsp = MDG_SLICE_LIT("/"), .rooms = &name, .room_count = 1};
    const struct mdg_slice bytes = MDG_SLICE_LIT("\x01\x02");
    const struct mdg_sio_emit e = {.event = mdg_slice_str(event),
                                   .args = MDG_SLICE_LIT("[{\"_placeholder\":true,\"num\":0}]"),
                                   .attachments = &bytes,
                                   .attachment_count = 1,
                                   .is_volatile = is_volatile};
    assert_int_equal(mdg_sio_broadcast(s->w, &to, &e), 0);
    run(s);
}

/* The offset at the end of the first event of that name. */
static void find_offset(const char *sent, const char *event, char out[16])
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "[\"%s\",", event);
    const char *at = strstr(sent, pattern);
    assert_non_null(at);
    at = strstr(at, ",\"");
    while (strncmp(strchr(at + 2, '"') + 1, "]", 1) != 0)
        at = strstr(at + 1, ",\"");
    snprintf(out, 16, "%.11s", at + 2);
}

/* The names of the events in what was sent, by turns with spaces. */
static void names_of(const char *sent, char out[128])
{
    out[0] = '\0';
    for (const char *at = sent; (at = strstr(at, "51-[\"")) != NULL; at += 5)
        snprintf(out + strlen(out), 128 - strlen(out), "%.*s ", (int)strcspn(at + 5, "\""), at + 5);
}

static void come_back(struct scene *s, const char *pid, const char *offset, char names[128])
{
    char connect[256];
    open_link(s, &s->b, 5);
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\",\"offset\":\"%s\"}", pid, offset);
    assert_int_equal(wire_input(&s->b, connect), 0);
    run(s);
    names_of(wire_sent(&s->b), names);
    drop(&s->b);
}

static void private_events_are_in_the_store_and_in_their_order(void **state)
{
    struct scene *s = *state;
    char pid[64], sid[64], offset[16], volatile_offset[16], names[128];
    s->options.recovery = s->options.keep = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    const char *hello = wire_sent(&s->a);
    find_text(hello, "pid", pid);
    find_text(hello, "sid", sid);
    assert_int_equal(mdg_sio_join(mdg_sio_find(s->w, s->last), MDG_SLICE_LIT("red")), 0);
    run(s);
    say(s, sid, "p1", false);
    say(s, "red", "r1", false);
    say(s, sid, "p2", false);
    say(s, sid, "v1", true);
    say(s, "red", "r2", false);
    const char *sent = wire_sent(&s->a);
    find_offset(sent, "p1", offset);
    find_offset(sent, "v1", volatile_offset);
    drop(&s->a);
    run(s);
    say(s, sid, "p3", false);
    say(s, "red", "r3", false);
    say(s, sid, "p4", false);
    restart(s);
    say(s, "red", "r4", false);
    say(s, sid, "p5", false); /* by the old sid, in the new life */
    restart(s);
    come_back(s, pid, volatile_offset, names); /* it is not repeated, but it is a place */
    assert_string_equal(names, "r2 p3 r3 p4 r4 p5 ");
    restart(s);
    come_back(s, pid, offset, names);
    assert_string_equal(names, "r1 p2 r2 p3 r3 p4 r4 p5 ");
    come_back(s, pid, "AAAAAAAAAAA", names); /* nobody asks any more: nothing is left of it */
    for (size_t i = 0; i < s->fact_count; i++)
        assert_null(strstr(s->facts[i].key, pid));
}

static void a_long_restored_ring_takes_more_and_gives_up_when_it_is_full(void **state)
{
    struct scene *s = *state;
    char pid[64], offset[16], names[128];
    s->options.recovery = s->options.keep = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    find_text(wire_sent(&s->a), "pid", pid);
    assert_int_equal(mdg_sio_join(mdg_sio_find(s->w, s->last), MDG_SLICE_LIT("red")), 0);
    run(s);
    say(s, "red", "first", false);
    find_offset(wire_sent(&s->a), "first", offset);
    drop(&s->a);
    restart(s);
    for (uint32_t i = 1; i < 2 * s->options.recovery_ring; i++)
        say(s, "red", "x", false);
    come_back(s, pid, offset, names); /* exactly full */
    assert_int_equal(strlen(names), 2 * (2 * s->options.recovery_ring - 1));
    say(s, "red", "y", false); /* one more, in a ring that is longer than they are made now */
    restart(s);
    for (uint32_t i = 0; i < 2 * s->options.recovery_ring; i++)
        say(s, "red", "z", false);
    come_back(s, pid, offset, names);
    assert_string_equal(names, "");
}

static void an_offset_that_is_no_text_begins_anew(void **state)
{
    struct scene *s = *state;
    char pid[64], connect[256];
    s->options.recovery = true;
    open_link(s, &s->a, 5);
    assert_int_equal(wire_input(&s->a, "0"), 0);
    find_text(wire_sent(&s->a), "pid", pid);
    drop(&s->a);
    open_link(s, &s->b, 5);
    snprintf(connect, sizeof connect, "0{\"pid\":\"%s\",\"offset\":123}", pid);
    assert_int_equal(wire_input(&s->b, connect), 0);
    assert_null(strstr(wire_sent(&s->b), pid));
    assert_null(strstr(s->heard, "recovered"));
}

static void nobody_stays_without_a_namespace(void **state)
{
    struct scene *s = *state;
    open_link(s, &s->a, 5);
    for (int i = 0; i < 100 && !s->a.closed; i++)
        assert_true(mdg_loop_step(s->loop, -1) >= 0);
    assert_true(s->a.closed);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(namespaces_are_entered_refused_and_unknown),
        TEST(what_is_out_of_place_is_an_error),
        TEST(events_acknowledgements_and_attachments_are_put_together),
        TEST(a_broadcast_leaves_out_whom_it_names),
        TEST(who_comes_back_gets_what_he_missed),
        TEST(what_a_dying_line_does_not_take_is_missed_too),
        TEST(who_is_too_slow_is_told_and_gets_the_rest_later),
        TEST(private_events_are_in_the_store_and_in_their_order),
        TEST(a_long_restored_ring_takes_more_and_gives_up_when_it_is_full),
        TEST(an_offset_that_is_no_text_begins_anew),
        TEST(nobody_stays_without_a_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
