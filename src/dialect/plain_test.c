/* Conversations in madang.v1 and in the bare chat, both sides on one page. */
#include "dialect/kit_test.h"
#include "dialect/plain.h"
#include "hub/kit_test.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct scene {
    struct kit kit;
    struct mdg_peers *peers;
    struct mdg_principal *ann, *bob, *guest;
    struct wire_link a, b, c;
};

static int auth(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    struct scene *s = arg;
    if (mdg_slice_eq(hs->token, MDG_SLICE_LIT("good"))) {
        *out = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 1800000000000u);
        return *out ? 0 : MDG_E_NO_MEMORY;
    }
    if (mdg_slice_eq(hs->token, MDG_SLICE_LIT("bob's"))) {
        *out = mdg_principal_ref(s->bob);
        return 0;
    }
    return MDG_E_DENIED;
}

static struct scene *begin_with(const struct mdg_hub_config *hub)
{
    struct scene *s = calloc(1, sizeof *s);
    struct mdg_peers_config config;
    assert_non_null(s);
    assert_int_equal(kit_init(&s->kit, 1, 3, hub), 0);
    mdg_peers_config_init(&config);
    config.message_bytes_max = 1000;
    config.requests_max = 8;
    config.publish_rate = 10;
    config.publish_burst = 50;
    config.control_bytes_max = 2000;
    config.auth = auth;
    config.auth_arg = s;
    assert_int_equal(mdg_peers_new(s->kit.hubs[0], &config, &s->peers), 0);
    s->ann = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    s->bob = mdg_principal_new(MDG_SLICE_LIT("bob"), false, MDG_RIGHTS_USER, 0);
    s->guest = mdg_principal_new(MDG_SLICE_LIT("guest-1"), true, MDG_RIGHTS_USER, 0);
    return s;
}

static struct scene *begin(void)
{
    return begin_with(NULL);
}

static void run(struct scene *s)
{
    kit_run(&s->kit);
    mdg_peers_flush(s->peers);
}

static void end(struct scene *s)
{
    run(s);
    mdg_peers_free(s->peers);
    mdg_principal_unref(s->ann);
    mdg_principal_unref(s->bob);
    mdg_principal_unref(s->guest);
    kit_fini(&s->kit);
    free(s);
}

static void open_ann(struct scene *s)
{
    wire_open(s->peers, &mdg_plain_dialect, s->ann, &wire_lines, false, &s->a);
}

static void open_bob(struct scene *s)
{
    wire_open(s->peers, &mdg_plain_dialect, s->bob, &wire_lines, false, &s->b);
}

/* Sends, lets the hub work, and compares what came back with the epochs blanked. */
static void expect(struct scene *s, struct wire_link *l, const char *input, const char *answer)
{
    char text[WIRE_TEXT_MAX];
    if (input)
        assert_int_equal(wire_input(l, input), 0);
    run(s);
    snprintf(text, sizeof text, "%s", wire_sent(l));
    for (char *at = text; (at = strstr(at, "\"epoch\":\""));) {
        at += strlen("\"epoch\":\"");
        memset(at, 'E', 16);
    }
    assert_string_equal(text, answer);
}

#define AT(seq) "\"epoch\":\"EEEEEEEEEEEEEEEE\",\"seq\":" #seq
#define ANN "{\"name\":\"ann\",\"guest\":false}"
#define BOB "{\"name\":\"bob\",\"guest\":false}"
#define TIME "\"time\":1700000001000"

static void test_two_people_talk(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_ann(s);
    expect(s, &s->a, NULL,
           "{\"type\":\"welcome\",\"user\":" ANN
           ",\"session\":\"0000000000000001\",\"max_message_bytes\":1000}\n");
    expect(s, &s->a, "{\"type\":\"join\",\"room\":\"lobby\",\"id\":1}",
           "{\"type\":\"joined\",\"room\":\"lobby\",\"id\":1," AT(
               0) ",\"recovered\":false,\"count\":1,\"users\":[" ANN "]}\n");
    open_bob(s);
    wire_sent(&s->b);
    expect(s, &s->b, " {\"id\":\"x\\n\", \"room\":\"lob\\u0062y\", \"type\":\"join\"}",
           "{\"type\":\"joined\",\"room\":\"lobby\",\"id\":\"x\\n\"," AT(
               0) ",\"recovered\":false,\"count\":2,\"users\":[" ANN "," BOB "]}\n");
    expect(s, &s->b,
           "{\"type\":\"publish\",\"room\":\"lobby\",\"id\":3,\"text\":\"a:\\\"b\\u00e9\"}",
           "{\"type\":\"ack\",\"room\":\"lobby\",\"id\":3," AT(
               1) "}\n"
                  "{\"type\":\"message\",\"room\":\"lobby\"," AT(
                      1) ",\"from\":" BOB "," TIME ",\"text\":\"a:\\\"b\xc3\xa9\"}\n");
    expect(s, &s->a, NULL,
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(1) ",\"from\":" BOB "," TIME
                                                             ",\"text\":\"a:\\\"b\xc3\xa9\"}\n");
    expect(s, &s->a,
           "{\"type\":\"publish\",\"room\":\"lobby\",\"event\":\"move\",\"data\":{\"x\":\n[1,2]}}",
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(
               2) ",\"from\":" ANN "," TIME ",\"event\":\"move\",\"data\":{\"x\": [1,2]}}\n");
    expect(s, &s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"key\":\"k7\",\"base64\":\"AAH/\"}",
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(
               3) ",\"from\":" ANN "," TIME ",\"key\":\"k7\",\"base64\":\"AAH/\"}\n");
    expect(s, &s->a, "{\"type\":\"history\",\"room\":\"lobby\",\"id\":4,\"before\":3,\"limit\":1}",
           "{\"type\":\"history\",\"room\":\"lobby\",\"id\":4,\"messages\":["
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(
               2) ",\"from\":" ANN "," TIME
                  ",\"event\":\"move\",\"data\":{\"x\": [1,2]}}],\"more\":true}\n");
    expect(s, &s->a, "{\"type\":\"presence\",\"room\":\"lobby\",\"id\":5}",
           "{\"type\":\"presence\",\"room\":\"lobby\",\"id\":5,\"count\":2,\"users\":[" ANN "," BOB
           "]}\n");
    expect(s, &s->a, "{\"type\":\"rooms\",\"id\":6}",
           "{\"type\":\"rooms\",\"id\":6,\"rooms\":[{\"room\":\"lobby\",\"count\":2}]}\n");
    expect(s, &s->a, "{\"type\":\"ping\",\"id\":8}", "{\"type\":\"pong\",\"id\":8}\n");
    wire_sent(&s->b);
    kit_advance(&s->kit, 300);
    wire_sent(&s->a);
    expect(s, &s->b, "{\"type\":\"leave\",\"room\":\"lobby\",\"id\":9}",
           "{\"type\":\"presence\",\"room\":\"lobby\",\"count\":2,\"joined\":[" ANN "," BOB
           "],\"left\":[]}\n{\"type\":\"left\",\"room\":\"lobby\",\"id\":9}\n");
    kit_advance(&s->kit, 300);
    expect(s, &s->a, NULL,
           "{\"type\":\"presence\",\"room\":\"lobby\",\"count\":1,\"joined\":[],\"left\":[" BOB
           "]}\n");
    wire_close(&s->a);
    wire_close(&s->b);
    end(s);
}

static void expect_error(struct scene *s, const char *input, const char *code)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"code\":\"%s\"", code);
    assert_int_equal(wire_input(&s->a, input), 0);
    run(s);
    const char *sent = wire_sent(&s->a);
    assert_memory_equal(sent, "{\"type\":\"error\"", 15);
    if (!strstr(sent, wanted))
        fail_msg("%s: %s", input, sent);
}

static void test_bad_requests_get_their_code_and_the_connection_lives(void **state)
{
    (void)state;
    struct scene *s = begin();
    char big[2000];
    open_ann(s);
    expect(s, &s->a, NULL,
           "{\"type\":\"welcome\",\"user\":" ANN
           ",\"session\":\"0000000000000001\",\"max_message_bytes\":1000}\n");
    expect_error(s, "hello", "bad_json");
    expect_error(s, "", "bad_json");
    expect_error(s, "{\"type\":\"join\",}", "bad_json");
    expect_error(s, "[1]", "bad_request");
    expect_error(s, "{}", "unknown_type");
    expect_error(s, "{\"type\":7}", "unknown_type");
    expect_error(s, "{\"type\":\"dance\",\"id\":1}", "unknown_type");
    expect_error(s, "{\"type\":\"join\",\"room\":\"lobby\",\"id\":{}}", "bad_request");
    expect_error(s, "{\"type\":\"join\"}", "room_invalid");
    expect_error(s, "{\"type\":\"join\",\"room\":\"\"}", "room_invalid");
    expect_error(s, "{\"type\":\"join\",\"room\":\"a\\u0000b\"}", "room_invalid");
    expect_error(s, "{\"type\":\"join\",\"room\":[\"lobby\"]}", "room_invalid");
    expect_error(s, "{\"type\":\"join\",\"room\":\"l\",\"history\":-1}", "bad_request");
    expect_error(s, "{\"type\":\"join\",\"room\":\"l\",\"resume\":{\"epoch\":\"x\",\"seq\":1}}",
                 "bad_request");
    expect_error(s, "{\"type\":\"join\",\"room\":\"l\",\"resume\":[]}", "bad_request");
    expect_error(s, "{\"type\":\"leave\",\"room\":\"l\"}", "not_joined");
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"x\"}", "not_joined");
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"l\"}");
    run(s);
    wire_sent(&s->a);
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\"}", "bad_request");
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\",\"text\":1}", "bad_request");
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"a\",\"data\":1}",
                 "bad_request");
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\",\"base64\":\"?\"}", "bad_request");
    expect_error(s, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"a\",\"event\":\"a\\nb\"}",
                 "bad_request");
    snprintf(big, sizeof big, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"%01500d\"}", 1);
    expect_error(s, big, "too_big");
    expect_error(s, "{\"type\":\"refresh\",\"token\":\"bad\"}", "forbidden");
    expect_error(s, "{\"type\":\"refresh\",\"token\":\"bob's\"}", "forbidden");
    expect_error(s, "{\"type\":\"refresh\"}", "bad_request");
    expect(s, &s->a, "{\"type\":\"refresh\",\"token\":\"good\",\"id\":7}",
           "{\"type\":\"refreshed\",\"id\":7,\"expires\":1800000000000}\n");
    for (int i = 0; i < 60; i++) {
        wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"x\"}");
        run(s);
    }
    assert_non_null(strstr(wire_sent(&s->a), "rate_limited"));
    assert_false(s->a.closed);
    wire_close(&s->a);
    end(s);
}

static void test_resume_brings_what_was_missed(void **state)
{
    (void)state;
    struct scene *s = begin();
    char text[256], epoch[17];
    open_ann(s);
    open_bob(s);
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"l\"}");
    wire_input(&s->b, "{\"type\":\"join\",\"room\":\"l\"}");
    run(s);
    const char *at = strstr(wire_sent(&s->b), "\"epoch\":\"");
    assert_non_null(at);
    memcpy(epoch, at + 9, 16);
    epoch[16] = '\0';
    wire_close(&s->b);
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"1\"}");
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"l\",\"text\":\"2\"}");
    run(s);
    open_bob(s);
    wire_sent(&s->b);
    snprintf(text, sizeof text,
             "{\"type\":\"join\",\"room\":\"l\",\"resume\":{\"epoch\":\"%s\",\"seq\":1}}", epoch);
    expect(s, &s->b, text,
           "{\"type\":\"joined\",\"room\":\"l\"," AT(
               2) ",\"recovered\":true,\"count\":2,\"users\":[" ANN "," BOB "]}\n"
                  "{\"type\":\"message\",\"room\":\"l\"," AT(2) ",\"from\":" ANN "," TIME
                                                                ",\"text\":\"2\"}\n");
    expect(s, &s->b,
           "{\"type\":\"join\",\"room\":\"l\",\"resume\":\"00000000000000aa:1\",\"history\":1}",
           "{\"type\":\"joined\",\"room\":\"l\"," AT(
               2) ",\"recovered\":false,\"missing\":null,\"count\":2,\"users\":[" ANN "," BOB "]}\n"
                  "{\"type\":\"message\",\"room\":\"l\"," AT(2) ",\"from\":" ANN "," TIME
                                                                ",\"text\":\"2\"}\n");
    wire_close(&s->a);
    wire_close(&s->b);
    end(s);
}

static void test_bare_clients_hear_names_and_texts_only(void **state)
{
    (void)state;
    struct scene *s = begin();
    wire_open(s->peers, &mdg_bare_dialect, s->guest, &wire_lines, false, &s->c);
    open_ann(s);
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"lobby\"}");
    run(s);
    kit_advance(&s->kit, 300);
    wire_sent(&s->a);
    expect(s, &s->c, "hi: all", "guest-1:hi: all\n");
    expect(s, &s->a, NULL,
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(
               1) ",\"from\":{\"name\":\"guest-1\",\"guest\":true},\"time\":1700000001300,"
                  "\"text\":\"hi: all\"}\n");
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"text\":\"hello\"}");
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"base64\":\"AAAA\"}");
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"data\":[1]}");
    expect(s, &s->c, NULL, "ann:hello\nann:[1]\n");
    wire_close(&s->a);
    kit_advance(&s->kit, 300);
    expect(s, &s->c, NULL, "");
    wire_close(&s->c);
    end(s);
}

/* Where slow members lose what is old, those whose protocol can say so are told; the bare chat
 * cannot. */
static void test_a_hole_is_told_or_ends_a_bare_connection(void **state)
{
    (void)state;
    struct mdg_hub_config hub = kit_config;
    hub.channel.slow = MDG_SLOW_DROP_OLD;
    struct scene *s = begin_with(&hub);
    wire_open(s->peers, &mdg_bare_dialect, s->guest, &wire_lines, false, &s->c);
    open_ann(s);
    open_bob(s);
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"lobby\"}");
    wire_input(&s->b, "{\"type\":\"join\",\"room\":\"lobby\"}");
    run(s);
    wire_sent(&s->b);
    s->b.room = s->c.room = 0;
    for (int i = 0; i < 20; i++) { /* the log keeps 16 */
        wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"text\":\"x\"}");
        run(s);
    }
    assert_false(s->c.closed);
    wire_drain(&s->b);
    wire_drain(&s->c);
    run(s);
    assert_non_null(
        strstr(wire_sent(&s->b), "{\"type\":\"gap\",\"room\":\"lobby\",\"from\":1,\"to\":4}"));
    assert_true(s->c.closed);
    assert_int_equal(s->c.close_code, MDG_CLOSE_SLOW);
    wire_close(&s->a);
    wire_close(&s->b);
    wire_close(&s->c);
    end(s);
}

static void test_each_wire_format_is_encoded_once(void **state)
{
    (void)state;
    struct scene *s = begin();
    enum { EACH = 20 };
    struct wire_link *links = calloc(3 * EACH, sizeof *links);
    for (int i = 0; i < EACH; i++) {
        struct mdg_peer *p;
        wire_open(s->peers, &mdg_bare_dialect, s->guest, &wire_lines, false, &links[3 * i]);
        p = wire_open(s->peers, &mdg_plain_dialect, s->ann, &wire_lines, false, &links[3 * i + 1]);
        assert_int_equal(mdg_plain_join(p, MDG_SLICE_LIT("lobby"), 0, NULL), 0);
        p = wire_open(s->peers, &mdg_plain_dialect, s->ann, &wire_events, true, &links[3 * i + 2]);
        assert_int_equal(mdg_plain_join(p, MDG_SLICE_LIT("lobby"), 0, NULL), 0);
    }
    run(s);
    kit_advance(&s->kit, 300);
    for (int i = 0; i < 3 * EACH; i++)
        wire_sent(&links[i]), links[i].sends = 0;
    uint64_t before = mdg_peers_stats(s->peers)->encodings;
    for (int i = 0; i < 4; i++)
        assert_int_equal(kit_publish(&s->kit, 0, "lobby", "x"), 0);
    run(s);
    assert_int_equal(mdg_peers_stats(s->peers)->encodings - before, 3 * 4);
    for (int i = 0; i < EACH; i++) {
        assert_string_equal(wire_sent(&links[3 * i]), ":x\n:x\n:x\n:x\n");
        assert_int_equal(links[3 * i].sends, 1); /* a burst is one chunk */
        assert_int_equal(links[3 * i + 1].sends, 1);
        assert_int_equal(links[3 * i + 2].sends, 4);
        const char *events = wire_sent(&links[3 * i + 2]);
        assert_int_equal(events[0], '[');
        assert_memory_equal(events + 17, ":1|]{\"type\":\"message\"", 20);
    }
    for (int i = 0; i < 3 * EACH; i++)
        wire_close(&links[i]);
    free(links);
    end(s);
}

static void test_a_full_link_takes_the_rest_later(void **state)
{
    (void)state;
    struct scene *s = begin();
    wire_open(s->peers, &mdg_bare_dialect, s->guest, &wire_lines, false, &s->c);
    run(s);
    s->c.room = 7;
    for (int i = 0; i < 5; i++) {
        char text[2] = {(char)('a' + i), 0};
        assert_int_equal(kit_publish(&s->kit, 0, "lobby", text), 0);
    }
    run(s);
    assert_string_equal(wire_sent(&s->c), ":a\n:b\n");
    assert_int_equal(kit_publish(&s->kit, 0, "lobby", "f"), 0);
    run(s);
    wire_drain(&s->c);
    run(s);
    assert_string_equal(wire_sent(&s->c), ":c\n:d\n:e\n:f\n");
    wire_close(&s->c);
    end(s);
}

static void test_answers_behind_a_full_link_wait_in_order_and_reading_pauses(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_ann(s);
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"lobby\"}");
    run(s);
    wire_sent(&s->a);
    s->a.room = 0;
    wire_input(&s->a, "{\"type\":\"ping\",\"id\":1}");
    assert_true(s->a.paused);
    wire_input(&s->a, "{\"type\":\"ping\",\"id\":2}");
    assert_int_equal(kit_publish(&s->kit, 0, "lobby", "x"), 0);
    run(s);
    assert_string_equal(wire_sent(&s->a), "");
    wire_drain(&s->a);
    assert_false(s->a.paused);
    expect(s, &s->a, NULL,
           "{\"type\":\"pong\",\"id\":1}\n{\"type\":\"pong\",\"id\":2}\n"
           "{\"type\":\"message\",\"room\":\"lobby\"," AT(
               1) ",\"from\":null,\"time\":1700000000000,\"text\":\"x\"}\n");
    s->a.room = 0;
    for (int i = 0; i < 200; i++)
        wire_input(&s->a, "{\"type\":\"ping\",\"id\":1}");
    assert_true(s->a.closed);
    assert_int_equal(s->a.close_code, MDG_CLOSE_SLOW);
    wire_close(&s->a);
    end(s);
}

static void test_an_event_stream_of_two_rooms_has_a_vector_as_its_token(void **state)
{
    (void)state;
    struct scene *s = begin();
    struct mdg_position at[2];
    struct mdg_slice rooms[2] = {MDG_SLICE_LIT("a b"), MDG_SLICE_LIT("lobby")};
    struct mdg_peer *p = wire_open(s->peers, &mdg_plain_dialect, s->ann, &wire_events, true, &s->a);
    assert_int_equal(mdg_plain_join(p, rooms[0], 0, NULL), 0);
    assert_int_equal(mdg_plain_join(p, rooms[1], 0, NULL), 0);
    run(s);
    wire_sent(&s->a);
    assert_int_equal(kit_publish(&s->kit, 0, "lobby", "x"), 0);
    assert_int_equal(kit_publish(&s->kit, 0, "a b", "y"), 0);
    assert_int_equal(kit_publish(&s->kit, 0, "lobby", "z"), 0);
    run(s);
    char *sent = strdup(wire_sent(&s->a)), *last = strrchr(sent, '[');
    assert_non_null(last);
    char *bar = strchr(last, '|');
    assert_non_null(bar);
    assert_int_equal(
        mdg_plain_read_token(mdg_slice(last + 1, (size_t)(bar - last) - 1), rooms, 2, at), 0);
    assert_true(at[0].epoch && at[1].epoch && at[0].epoch != at[1].epoch);
    assert_true(at[0].seq + at[1].seq >= 2);
    free(sent);
    assert_int_equal(mdg_plain_read_token(MDG_SLICE_LIT("0123456789abcdef:7"), rooms, 1, at), 0);
    assert_int_equal(at[0].seq, 7);
    assert_int_equal(mdg_plain_read_token(MDG_SLICE_LIT("nonsense"), rooms, 1, at), MDG_E_SYNTAX);
    assert_int_equal(mdg_plain_read_token(MDG_SLICE_LIT("a@0123456789abcdef:"), rooms, 2, at),
                     MDG_E_SYNTAX);
    wire_close(&s->a);
    end(s);
}

static void test_closing_with_requests_under_way_is_safe(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_ann(s);
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"lobby\",\"id\":1}");
    run(s);
    wire_input(&s->a, "{\"type\":\"publish\",\"room\":\"lobby\",\"id\":2,\"text\":\"x\"}");
    wire_input(&s->a, "{\"type\":\"history\",\"room\":\"lobby\",\"id\":3}");
    wire_input(&s->a, "{\"type\":\"join\",\"room\":\"attic\",\"id\":4}");
    wire_input(&s->a, "{\"type\":\"leave\",\"room\":\"attic\",\"id\":5}");
    wire_close(&s->a);
    run(s);
    end(s);
}

static void test_an_expired_credential_is_told_and_closed(void **state)
{
    (void)state;
    struct scene *s = begin();
    struct mdg_principal *soon =
        mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 1700000002000u);
    wire_open(s->peers, &mdg_plain_dialect, soon, &wire_lines, false, &s->a);
    mdg_principal_unref(soon);
    wire_sent(&s->a);
    kit_advance(&s->kit, 1500);
    assert_non_null(strstr(wire_sent(&s->a), "\"code\":\"expired\""));
    assert_int_equal(s->a.close_code, MDG_CLOSE_EXPIRED);
    wire_close(&s->a);
    end(s);
}

/* Whatever is refused or closed for lack of memory, nothing breaks and nothing is left behind. */
static void scarce_memory(void *arg)
{
    static const char *const units[] = {
        "{\"type\":\"join\",\"room\":\"lobby\",\"id\":1,\"history\":3}",
        "{\"type\":\"publish\",\"room\":\"lobby\",\"id\":2,\"text\":\"x\"}",
        "{\"type\":\"history\",\"room\":\"lobby\",\"id\":3}",
        "{\"type\":\"presence\",\"room\":\"lobby\",\"id\":4}",
        "{\"type\":\"rooms\",\"id\":5}",
        "{\"type\":\"publish\",\"room\":\"lobby\",\"id\":6,\"data\":[1]}",
        "{\"type\":\"leave\",\"room\":\"lobby\",\"id\":7}",
    };
    struct scene *s = arg;
    struct mdg_peers_config config;
    struct mdg_peer *peer = NULL;
    memset(s, 0, sizeof *s);
    mdg_peers_config_init(&config);
    s->ann = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    if (kit_init(&s->kit, 1, 1, NULL) == 0 && s->ann &&
        mdg_peers_new(s->kit.hubs[0], &config, &s->peers) == 0)
        peer = wire_open(s->peers, &mdg_plain_dialect, s->ann, &wire_lines, false, &s->a);
    for (size_t i = 0; peer && i < MDG_ARRAY_LEN(units); i++) {
        if (i == 4) /* answers and messages meet a full link */
            s->a.room = 0;
        wire_input(&s->a, units[i]);
        kit_run(&s->kit);
        if (i == 5)
            wire_drain(&s->a);
        kit_run(&s->kit);
        mdg_peers_flush(s->peers);
        s->a.len = 0;
    }
    if (peer)
        wire_close(&s->a);
    if (s->peers) {
        kit_run(&s->kit);
        mdg_peers_free(s->peers);
    }
    mdg_principal_unref(s->ann);
    kit_fini(&s->kit);
}

static void test_no_failed_allocation_breaks_or_leaks(void **state)
{
    (void)state;
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    mdg_test_torture(scarce_memory, s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_people_talk),
        cmocka_unit_test(test_bad_requests_get_their_code_and_the_connection_lives),
        cmocka_unit_test(test_resume_brings_what_was_missed),
        cmocka_unit_test(test_bare_clients_hear_names_and_texts_only),
        cmocka_unit_test(test_a_hole_is_told_or_ends_a_bare_connection),
        cmocka_unit_test(test_each_wire_format_is_encoded_once),
        cmocka_unit_test(test_a_full_link_takes_the_rest_later),
        cmocka_unit_test(test_answers_behind_a_full_link_wait_in_order_and_reading_pauses),
        cmocka_unit_test(test_an_event_stream_of_two_rooms_has_a_vector_as_its_token),
        cmocka_unit_test(test_closing_with_requests_under_way_is_safe),
        cmocka_unit_test(test_an_expired_credential_is_told_and_closed),
        cmocka_unit_test(test_no_failed_allocation_breaks_or_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
