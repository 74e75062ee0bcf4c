/* What people type and read, line by line. */
#include "dialect/kit_test.h"
#include "dialect/plain.h"
#include "dialect/raw.h"
#include "hub/kit_test.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct scene {
    struct kit kit;
    struct mdg_peers *peers;
    struct mdg_principal *ann, *guest;
    struct wire_link a, b, c;
};

/* A login without a passcode is a name of one's choice. */
static int auth(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    (void)arg;
    if (mdg_slice_eq(hs->login, MDG_SLICE_LIT("ann")))
        return MDG_E_EXISTS;
    if (hs->token.len || hs->passcode.len)
        return MDG_E_DENIED;
    *out = mdg_principal_new(hs->login, true, MDG_RIGHTS_USER, 0);
    return *out ? 0 : MDG_E_NO_MEMORY;
}

static struct scene *begin(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct mdg_peers_config config;
    assert_non_null(s);
    assert_int_equal(kit_init(&s->kit, 1, 3, NULL), 0);
    mdg_peers_config_init(&config);
    config.message_bytes_max = 100;
    config.auth = auth;
    assert_int_equal(mdg_peers_new(s->kit.hubs[0], &config, &s->peers), 0);
    s->ann = mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, 0);
    s->guest = mdg_principal_new(MDG_SLICE_LIT("guest-1"), true, MDG_RIGHTS_USER, 0);
    return s;
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
    mdg_principal_unref(s->guest);
    kit_fini(&s->kit);
    free(s);
}

static void open_line(struct scene *s, struct wire_link *l, struct mdg_principal *who)
{
    wire_open(s->peers, &mdg_raw_dialect, who, &wire_lines, false, l);
    run(s);
}

/* Types a line and compares what is said then; positions are blanked. */
static void expect(struct scene *s, struct wire_link *l, const char *input, const char *answer)
{
    char text[WIRE_TEXT_MAX];
    if (input)
        assert_int_equal(wire_input(l, input), 0);
    run(s);
    snprintf(text, sizeof text, "%s", wire_sent(l));
    for (char *at = text; (at = strstr(at, "/resume "));) {
        at = strchr(at + 8, ' ');
        assert_non_null(at);
        if (at[17] == ':')
            memset(at + 1, 'E', 16);
    }
    assert_string_equal(text, answer);
}

#define CONTINUES(room, seq) "; /resume " room " EEEEEEEEEEEEEEEE:" #seq " continues from here\n"

static void two_people_talk(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->ann);
    expect(s, &s->a, NULL,
           "* Welcome to madang. You are ann; /help tells more.\n"
           "* [lobby] you are in, 1 here: ann" CONTINUES("lobby", 0));
    open_line(s, &s->b, s->guest);
    expect(s, &s->b, NULL,
           "* Welcome to madang. You are guest-1, a guest; /help tells more.\n"
           "* [lobby] you are in, 2 here: ann, ~guest-1" CONTINUES("lobby", 0));
    kit_advance(&s->kit, 1000);
    expect(s, &s->a, NULL, "* [lobby] ann, ~guest-1 came\n");
    wire_sent(&s->b);
    expect(s, &s->a, "hello there", "[lobby] ann: hello there\n");
    expect(s, &s->b, NULL, "[lobby] ann: hello there\n");
    expect(s, &s->b, "//who says slash?", "[lobby] ~guest-1: /who says slash?\n");
    expect(s, &s->a, NULL, "[lobby] ~guest-1: /who says slash?\n");
    expect(s, &s->b, "/quit", "* bye\n");
    assert_true(s->b.closed);
    wire_close(&s->b);
    kit_advance(&s->kit, 1000);
    expect(s, &s->a, NULL, "* [lobby] ~guest-1 left\n");
    wire_close(&s->a);
    end(s);
}

static void commands_do_what_help_says(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->guest);
    wire_sent(&s->a);
    expect(s, &s->a, "/who", "* [lobby] 1 here: ~guest-1\n");
    expect(s, &s->a, "/nick ben", "* you are ben\n");
    kit_advance(&s->kit, 1000);
    wire_sent(&s->a);
    expect(s, &s->a, "/nick ann", "! name_taken: somebody has this name already\n");
    expect(s, &s->a, "/login ann wrong", "! name_taken: somebody has this name already\n");
    expect(s, &s->a, "/token x", "! forbidden: refused by the application or by a rule\n");
    expect(s, &s->a, "/JOIN games", "* [games] you are in, 1 here: ~ben" CONTINUES("games", 0));
    expect(s, &s->a, "chess?", "[games] ~ben: chess?\n");
    expect(s, &s->a, "/rooms", "* [lobby]" CONTINUES("lobby", 0) "* [games]" CONTINUES("games", 1));
    expect(s, &s->a, "/join lobby", "* [lobby] is where you talk now\n");
    expect(s, &s->a, "/history", "* [lobby] nothing was said yet\n");
    expect(s, &s->a, "/leave", "* [lobby] you left\n");
    expect(s, &s->a, "/history 5", "* [games] what was said:\n[games] ~ben: chess?\n");
    expect(s, &s->a, "/leave games", "* [games] you left\n");
    expect(s, &s->a, "anyone?", "! not_joined: you are in no room: /join NAME\n");
    expect(s, &s->a, "/join games 10",
           "* [games] you are in, 1 here: ~ben" CONTINUES("games", 1) "[games] ~ben: chess?\n");
    expect(s, &s->a, "/dance", "! unknown_command: /help lists what there is\n");
    expect(s, &s->a, "/join", "! bad_request: /join ROOM [number of earlier messages]\n");
    expect(s, &s->a, "/leave nowhere", "! not_joined: you are not in this room\n");
    assert_int_equal(wire_input(&s->a, "/help"), 0);
    assert_non_null(strstr(wire_sent(&s->a), "* /resume ROOM EPOCH:SEQ"));
    wire_close(&s->a);
    end(s);
}

static void resume_says_whether_anything_is_missing(void **state)
{
    (void)state;
    struct scene *s = begin();
    char resume[128], *at;
    open_line(s, &s->a, s->ann);
    const char *said = wire_sent(&s->a);
    at = strstr(said, "/resume ");
    assert_non_null(at);
    snprintf(resume, sizeof resume, "%.*s", (int)(strstr(at, " continues") - at), at);
    wire_close(&s->a);
    assert_int_equal(kit_publish(&s->kit, 0, "lobby", "missed"), 0);
    run(s);
    open_line(s, &s->b, s->ann);
    wire_sent(&s->b);
    expect(s, &s->b, resume,
           "* [lobby] you are in, 1 here: ann; nothing is missing" CONTINUES(
               "lobby", 1) "[lobby] *: missed\n");
    expect(s, &s->b, "/resume lobby 0123456789abcdef:7",
           "* [lobby] you are in, 1 here: ann; not recovered, missing: unknown" CONTINUES(
               "lobby", 1) "[lobby] *: missed\n"); /* what there is, of the new order */
    expect(s, &s->b, "/resume lobby 12",
           "! bad_request: /resume ROOM EPOCH:SEQ, as it was told when you joined\n");
    wire_close(&s->b);
    end(s);
}

static void nothing_reaches_a_terminal_that_it_would_obey(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->ann);
    wire_open(s->peers, &mdg_plain_dialect, s->guest, &wire_lines, false, &s->b);
    assert_int_equal(wire_input(&s->b, "{\"type\":\"join\",\"room\":\"lobby\"}"), 0);
    kit_advance(&s->kit, 1000);
    wire_sent(&s->a);
    expect(s, &s->b, NULL, wire_sent(&s->b));
    wire_input(&s->b, "{\"type\":\"publish\",\"room\":\"lobby\","
                      "\"text\":\"a\\n[lobby] ann: forged\\u001b[2J\\u009b1m\\u007f \\u00e9\"}");
    expect(s, &s->a, NULL, "[lobby] ~guest-1: a [lobby] ann: forged [2J 1m  \xc3\xa9\n");
    wire_input(&s->b, "{\"type\":\"publish\",\"room\":\"lobby\",\"base64\":\"AAEC\"}");
    expect(s, &s->a, NULL, "[lobby] ~guest-1 /base64: AAEC\n");
    wire_input(&s->b, "{\"type\":\"publish\",\"room\":\"lobby\",\"data\":[1],\"event\":\"move\"}");
    expect(s, &s->a, NULL, "[lobby] ~guest-1 /move: [1]\n");
    wire_close(&s->a);
    wire_close(&s->b);
    end(s);
}

static void bad_lines_are_told_and_survived(void **state)
{
    (void)state;
    struct scene *s = begin();
    char big[128];
    memset(big, 'x', 101);
    big[101] = '\0';
    open_line(s, &s->a, s->ann);
    wire_sent(&s->a);
    expect(s, &s->a, big, "! too_big: a limit was exceeded\n");
    struct mdg_input too_long = {NULL, 0};
    assert_int_equal(s->a.link.user->on_input(&s->a.link, too_long, false), 0);
    expect(s, &s->a, NULL, "! too_big: the line was too long and was dropped\n");
    uint8_t latin[] = {'a', 0xE9};
    struct mdg_input bad = {latin, sizeof latin};
    assert_int_equal(s->a.link.user->on_input(&s->a.link, bad, true), 0);
    expect(s, &s->a, NULL, "! bad_text: this is not UTF-8\n");
    expect(s, &s->a, "  ", "");
    expect(s, &s->a, "fine", "[lobby] ann: fine\n");
    wire_close(&s->a);
    end(s);
}

static void a_program_switches_to_json(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->ann);
    wire_sent(&s->a);
    assert_int_equal(wire_input(&s->a, "/who"), 0); /* its answer is not wanted any more */
    assert_int_equal(wire_input(&s->a, "/json"), 0);
    run(s);
    const char *said = wire_sent(&s->a);
    assert_int_equal(strncmp(said, "{\"type\":\"welcome\"", 17), 0);
    assert_null(strstr(said, "here"));
    assert_int_equal(wire_input(&s->a, "{\"type\":\"ping\",\"id\":1}"), 0);
    expect(s, &s->a, NULL, "{\"type\":\"pong\",\"id\":1}\n");
    wire_close(&s->a);
    end(s);
}

static void piped_lines_wait_for_the_room(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->ann);
    wire_sent(&s->a);
    static const char *const lines[] = {"/join games", "one",   "/history",           "/join chess",
                                        "two",         "/json", "{\"type\":\"ping\"}"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(lines); i++)
        assert_int_equal(wire_input(&s->a, lines[i]), 0);
    run(s);
    const char *said = wire_sent(&s->a);
    assert_non_null(strstr(said, "* [games] you are in"));
    assert_non_null(strstr(said, "* [games] what was said:\n[games] ann: one\n"));
    assert_non_null(strstr(said, "* [chess] you are in"));
    assert_non_null(strstr(said, "{\"type\":\"pong\"}\n"));
    wire_close(&s->a);
    open_line(s, &s->b, s->guest);
    wire_sent(&s->b);
    expect(s, &s->b, "/join chess 5",
           "* [chess] you are in, 1 here: ~guest-1" CONTINUES("chess", 1) "[chess] ann: two\n");
    wire_close(&s->b);
    end(s);
}

static void the_first_line_decides_on_a_shared_port(void **state)
{
    (void)state;
    struct scene *s = begin();
    wire_open(s->peers, &mdg_raw_quiet_dialect, s->ann, &wire_lines, false, &s->a);
    expect(s, &s->a, NULL, "");
    expect(s, &s->a, "hi",
           "* Welcome to madang. You are ann; /help tells more.\n"
           "* [lobby] you are in, 1 here: ann" CONTINUES("lobby", 0) "[lobby] ann: hi\n");
    wire_open(s->peers, &mdg_raw_quiet_dialect, s->guest, &wire_lines, false, &s->b);
    assert_int_equal(wire_input(&s->b, "{\"type\":\"ping\"}"), 0);
    const char *said = wire_sent(&s->b);
    assert_int_equal(strncmp(said, "{\"type\":\"welcome\"", 17), 0);
    assert_non_null(strstr(said, "\n{\"type\":\"pong\"}\n"));
    wire_close(&s->a);
    wire_close(&s->b);
    end(s);
}

static void questions_die_with_the_connection(void **state)
{
    (void)state;
    struct scene *s = begin();
    open_line(s, &s->a, s->ann);
    for (int i = 0; i < 17; i++)
        assert_int_equal(wire_input(&s->a, i % 2 ? "/who" : "/history"), 0);
    assert_non_null(strstr(wire_sent(&s->a), "! rate_limited: too many questions at once\n"));
    assert_int_equal(wire_input(&s->a, "said and gone"), 0);
    wire_close(&s->a);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_people_talk),
        cmocka_unit_test(commands_do_what_help_says),
        cmocka_unit_test(resume_says_whether_anything_is_missing),
        cmocka_unit_test(nothing_reaches_a_terminal_that_it_would_obey),
        cmocka_unit_test(bad_lines_are_told_and_survived),
        cmocka_unit_test(a_program_switches_to_json),
        cmocka_unit_test(piped_lines_wait_for_the_room),
        cmocka_unit_test(the_first_line_decides_on_a_shared_port),
        cmocka_unit_test(questions_die_with_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
