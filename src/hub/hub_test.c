/* What a member of a room is promised, with one worker and with three. */
#include "hub/kit_test.h"
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct kit kit;
    struct kit_client ann, bob, cat;
};

static unsigned worker_counts[] = {1, 3};

static void start(struct fixture *f, unsigned workers, const struct mdg_hub_config *config)
{
    assert_int_equal(kit_init(&f->kit, workers, 42, config), 0);
    assert_int_equal(kit_client_init(&f->kit, 0, &f->ann, "ann", false), 0);
    assert_int_equal(kit_client_init(&f->kit, 1 % workers, &f->bob, "bob", false), 0);
    assert_int_equal(kit_client_init(&f->kit, 2 % workers, &f->cat, "cat", true), 0);
}

static void stop(struct fixture *f)
{
    kit_client_fini(&f->ann);
    kit_client_fini(&f->bob);
    kit_client_fini(&f->cat);
    kit_run(&f->kit);
    kit_fini(&f->kit);
}

static void for_each_count(void (*scenario)(struct fixture *f), const struct mdg_hub_config *config)
{
    struct fixture *f = malloc(sizeof *f);
    assert_non_null(f);
    for (size_t i = 0; i < MDG_ARRAY_LEN(worker_counts); i++) {
        start(f, worker_counts[i], config);
        scenario(f);
        stop(f);
    }
    free(f);
}

static void publish(struct fixture *f, const char *room, const char *text)
{
    assert_int_equal(kit_publish(&f->kit, 0, room, text), 0);
}

static void messages_reach_all(struct fixture *f)
{
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_in(&f->bob, "lobby");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "joined lobby 1: ann\n");
    assert_string_equal(kit_said(&f->bob), "joined lobby 2: ann bob\n");
    publish(f, "lobby", "one");
    publish(f, "lobby", "two");
    publish(f, "attic", "elsewhere");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@1 one\nlobby@2 two\n");
    assert_string_equal(kit_said(&f->bob), "lobby@1 one\nlobby@2 two\n");
    mdg_hub_leave(mdg_session_member(&f->bob.session, MDG_SLICE_LIT("lobby")));
    publish(f, "lobby", "three");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@3 three\n");
    assert_string_equal(kit_said(&f->bob), "");
}

static void test_messages_reach_all_members_in_order(void **state)
{
    (void)state;
    for_each_count(messages_reach_all, NULL);
}

static void test_a_burst_is_one_delivery_per_member(void **state)
{
    (void)state;
    struct fixture *f = malloc(sizeof *f);
    start(f, 1, NULL);
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    f->ann.upcalls = 0;
    for (int i = 0; i < 16; i++)
        publish(f, "lobby", "x");
    kit_run(&f->kit);
    assert_int_equal(f->ann.upcalls, 1);
    assert_int_equal(f->ann.delivered, 16);
    stop(f);
    free(f);
}

static void hears_itself(struct fixture *f)
{
    kit_in(&f->ann, "lobby");
    publish(f, "lobby", "hello");
    kit_run(&f->kit);
    const char *said = kit_said(&f->ann);
    assert_non_null(strstr(said, "lobby@1 hello\n"));
}

static void test_what_is_published_right_after_a_join_reaches_the_joiner(void **state)
{
    (void)state;
    for_each_count(hears_itself, NULL);
}

static void history_and_resume(struct fixture *f)
{
    struct mdg_member *m;
    char text[8];
    kit_in(&f->ann, "lobby");
    for (int i = 1; i <= 20; i++) {
        snprintf(text, sizeof text, "m%d", i);
        publish(f, "lobby", text);
    }
    kit_run(&f->kit);
    kit_said(&f->ann);
    struct mdg_join_options last3 = {.history = 3};
    assert_int_equal(kit_join(&f->bob, "lobby", &last3, &m), 0);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob),
                        "joined lobby 2: ann bob\nlobby@18 m18\nlobby@19 m19\nlobby@20 m20\n");

    struct mdg_position at = {0, 18};
    struct mdg_join_options again = {.resume = true, .from = at};
    assert_int_equal(kit_join(&f->cat, "lobby", &again, &m), 0);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->cat),
                        "joined lobby 3: ann bob cat? recovered=0 missing=0-0\n");
    mdg_hub_leave(m);
}

static void test_newcomers_get_history_and_an_unknown_epoch_is_not_recovered(void **state)
{
    (void)state;
    for_each_count(history_and_resume, NULL);
}

static void keep_position(void *arg, int err, const struct mdg_since *since)
{
    assert_int_equal(err, 0);
    *(struct mdg_position *)arg = since->newest;
}

static struct mdg_position position_of(struct fixture *f, const char *room)
{
    struct mdg_position at = {0, 0};
    assert_int_equal(mdg_hub_since(f->kit.hubs[0], mdg_slice_str(room), at, 0, keep_position, &at),
                     0);
    kit_run(&f->kit);
    return at;
}

static void resume_in_the_log(struct fixture *f)
{
    struct mdg_member *m;
    char text[8];
    struct mdg_position at = position_of(f, "lobby");
    assert_true(at.epoch != 0);
    assert_int_equal(at.seq, 0);
    for (int i = 1; i <= 20; i++) {
        snprintf(text, sizeof text, "m%d", i);
        publish(f, "lobby", text);
    }
    kit_run(&f->kit);
    struct mdg_join_options again = {.resume = true, .from = {at.epoch, 18}};
    assert_int_equal(kit_join(&f->bob, "lobby", &again, &m), 0);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "joined lobby 1: bob recovered=1 missing=0-0\n"
                                           "lobby@19 m19\nlobby@20 m20\n");
    mdg_hub_leave(m);
    again.from.seq = 1; /* the log keeps 16: 5..20 */
    assert_int_equal(kit_join(&f->ann, "lobby", &again, &m), 0);
    kit_run(&f->kit);
    const char *said = kit_said(&f->ann);
    assert_non_null(strstr(said, "recovered=0 missing=2-4\nlobby@5 m5\n"));
    assert_non_null(strstr(said, "lobby@20 m20\n"));
}

static void test_resume_continues_or_names_what_is_missing(void **state)
{
    (void)state;
    for_each_count(resume_in_the_log, NULL);
}

static void presence_counts_users(struct fixture *f)
{
    struct kit_client *tab = malloc(sizeof *tab);
    assert_int_equal(kit_client_init(&f->kit, 0, tab, "bob", false), 0);
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_advance(&f->kit, 200);
    kit_said(&f->ann);
    kit_in(&f->bob, "lobby");
    kit_run(&f->kit);
    kit_in(tab, "lobby");
    kit_run(&f->kit);
    kit_advance(&f->kit, 200);
    assert_string_equal(kit_said(&f->ann), "presence 2 in: bob out:\n");
    kit_client_fini(tab); /* the other tab stays */
    kit_advance(&f->kit, 300);
    assert_string_equal(kit_said(&f->ann), "");
    kit_client_fini(&f->bob);
    kit_advance(&f->kit, 300);
    assert_string_equal(kit_said(&f->ann), "presence 1 in: out: bob\n");
    struct mdg_member *m = kit_in(&f->cat, "lobby"); /* too short to be told */
    kit_run(&f->kit);
    mdg_hub_leave(m);
    kit_advance(&f->kit, 300);
    assert_string_equal(kit_said(&f->ann), "");
    free(tab);
}

static void test_presence_counts_users_not_connections(void **state)
{
    (void)state;
    for_each_count(presence_counts_users, NULL);
}

static void presence_of_many(struct fixture *f)
{
    struct kit_client *others = calloc(8, sizeof *others);
    char name[8];
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_advance(&f->kit, 200);
    kit_said(&f->ann);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "u%u", i);
        kit_client_init(&f->kit, i % f->kit.workers, &others[i], name, false);
        kit_in(&others[i], "lobby");
    }
    kit_run(&f->kit);
    kit_advance(&f->kit, 3000);
    assert_string_equal(kit_said(&f->ann), "presence 9 in: out:\n");
    kit_in(&f->bob, "lobby");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "joined lobby 10 (count):\n");
    for (unsigned i = 0; i < 8; i++)
        kit_client_fini(&others[i]);
    free(others);
}

static void test_a_full_room_tells_counts_only(void **state)
{
    (void)state;
    for_each_count(presence_of_many, NULL);
}

static void renaming(struct fixture *f)
{
    kit_in(&f->ann, "lobby");
    kit_in(&f->cat, "lobby");
    kit_run(&f->kit);
    kit_advance(&f->kit, 200);
    kit_said(&f->ann);
    struct mdg_principal *zoe = mdg_principal_new(MDG_SLICE_LIT("zoe"), false, MDG_RIGHTS_USER, 0);
    mdg_session_set_principal(&f->cat.session, zoe);
    mdg_principal_unref(zoe);
    kit_run(&f->kit);
    kit_advance(&f->kit, 300);
    assert_string_equal(kit_said(&f->ann), "presence 2 in: zoe out: cat?\n");
    kit_client_fini(&f->cat);
    kit_advance(&f->kit, 300);
    assert_string_equal(kit_said(&f->ann), "presence 1 in: out: zoe\n");
}

static void test_presence_follows_a_changed_identity(void **state)
{
    (void)state;
    for_each_count(renaming, NULL);
}

static void slow_member_catches_up(struct fixture *f)
{
    struct mdg_member *m = kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_said(&f->ann);
    f->ann.takes = 1;
    publish(f, "lobby", "a");
    publish(f, "lobby", "b");
    publish(f, "lobby", "c");
    kit_run(&f->kit);
    f->ann.takes = 0;
    publish(f, "lobby", "d");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@1 a\n");
    assert_true(m->behind);
    f->ann.takes = -1;
    mdg_hub_resume(m);
    mdg_hub_resume(m);
    publish(f, "lobby", "e");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@2 b\nlobby@3 c\nlobby@4 d\nlobby@5 e\n");
}

static void test_a_full_member_waits_in_the_log_and_misses_nothing(void **state)
{
    (void)state;
    for_each_count(slow_member_catches_up, NULL);
}

static void overrun(struct fixture *f)
{
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_said(&f->ann);
    f->ann.takes = 0;
    for (int i = 0; i < 40; i++) {
        publish(f, "lobby", "x");
        kit_run(&f->kit);
    }
}

static void slow_is_kicked(struct fixture *f)
{
    overrun(f);
    assert_string_equal(kit_said(&f->ann), "kicked -1002\n");
}

static void slow_drops_old(struct fixture *f)
{
    overrun(f);
    assert_string_equal(kit_said(&f->ann), "");
    f->ann.takes = -1;
    f->ann.gap_full = true;
    struct mdg_member *m = mdg_session_member(&f->ann.session, MDG_SLICE_LIT("lobby"));
    mdg_hub_resume(m);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "");
    f->ann.gap_full = false;
    mdg_hub_resume(m);
    kit_run(&f->kit);
    assert_memory_equal(kit_said(&f->ann), "gap 1-24\nlobby@25 x\n", 20);
    assert_int_equal(f->ann.delivered, 16);
}

static void slow_drops_new(struct fixture *f)
{
    overrun(f);
    f->ann.takes = -1;
    mdg_hub_resume(mdg_session_member(&f->ann.session, MDG_SLICE_LIT("lobby")));
    kit_run(&f->kit);
    publish(f, "lobby", "y");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "gap 1-40\nlobby@41 y\n");
}

static void test_slow_members_meet_the_policy(void **state)
{
    (void)state;
    struct mdg_hub_config config = kit_config;
    for_each_count(slow_is_kicked, &config);
    config.channel.slow = MDG_SLOW_DROP_OLD;
    for_each_count(slow_drops_old, &config);
    config.channel.slow = MDG_SLOW_DROP_NEW;
    for_each_count(slow_drops_new, &config);
}

static void volatile_messages(struct fixture *f)
{
    struct mdg_member *m = kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    kit_said(&f->ann);
    publish(f, "lobby", "a");
    assert_int_equal(
        mdg_hub_publish(f->kit.hubs[0], kit_content("lobby", "v", MDG_MSG_VOLATILE), NULL, NULL),
        0);
    publish(f, "lobby", "b");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@1 a\nlobby@0 v\nlobby@2 b\n");
    f->ann.takes = 0;
    publish(f, "lobby", "c");
    kit_run(&f->kit);
    assert_int_equal(
        mdg_hub_publish(f->kit.hubs[0], kit_content("lobby", "w", MDG_MSG_VOLATILE), NULL, NULL),
        0);
    kit_run(&f->kit);
    f->ann.takes = -1;
    mdg_hub_resume(m);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "lobby@3 c\n");
}

static void test_volatile_messages_keep_their_place_and_are_dropped_for_the_slow(void **state)
{
    (void)state;
    for_each_count(volatile_messages, NULL);
}

static void exceptions(struct fixture *f)
{
    kit_in(&f->ann, "r1");
    kit_in(&f->ann, "r2");
    kit_in(&f->bob, "r2");
    kit_in(&f->bob, "deaf");
    kit_in(&f->cat, "r2");
    kit_in(&f->cat, "r3");
    kit_run(&f->kit);
    kit_said(&f->ann), kit_said(&f->bob), kit_said(&f->cat);
    struct mdg_slice rooms[] = {MDG_SLICE_LIT("r1"), MDG_SLICE_LIT("r2"), MDG_SLICE_LIT("r3")};
    struct mdg_slice deaf = MDG_SLICE_LIT("deaf");
    struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                  .channel = rooms[0],
                                  .payload = MDG_SLICE_LIT("u"),
                                  .union_channels = rooms,
                                  .union_channel_count = 3,
                                  .except_channels = &deaf,
                                  .except_channel_count = 1};
    struct mdg_content *content;
    assert_int_equal(mdg_content_new(&draft, 1, &content), 0);
    assert_int_equal(mdg_hub_publish(f->kit.hubs[0], content, NULL, NULL), 0);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "r1@1 u\n");
    assert_string_equal(kit_said(&f->bob), "");
    assert_string_equal(kit_said(&f->cat), "r2@1 u\n");
    uint64_t not_cat = f->cat.session.id;
    draft = (struct mdg_msg_draft){.kind = MDG_MSG_TEXT,
                                   .channel = rooms[1],
                                   .payload = MDG_SLICE_LIT("e"),
                                   .except_sessions = &not_cat,
                                   .except_session_count = 1};
    assert_int_equal(mdg_content_new(&draft, 1, &content), 0);
    assert_int_equal(mdg_hub_publish(f->kit.hubs[0], content, NULL, NULL), 0);
    publish(f, "r2", "all");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "r2@2 e\nr2@3 all\n");
    assert_string_equal(kit_said(&f->bob), "r2@2 e\nr2@3 all\n");
    assert_string_equal(kit_said(&f->cat), "r2@3 all\n");
}

static void test_exceptions_and_unions_give_each_session_one_copy(void **state)
{
    (void)state;
    for_each_count(exceptions, NULL);
}

static void leaving_in_an_upcall(struct fixture *f)
{
    struct kit_client *many = calloc(40, sizeof *many);
    for (unsigned i = 0; i < 40; i++) {
        kit_client_init(&f->kit, i % f->kit.workers, &many[i], "u", true);
        kit_in(&many[i], "lobby");
        many[i].leaves_in_deliver = i % 3 == 0;
    }
    kit_run(&f->kit);
    publish(f, "lobby", "a");
    publish(f, "lobby", "b");
    kit_run(&f->kit);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(many[i].delivered, 2);
    publish(f, "lobby", "c");
    kit_run(&f->kit);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(many[i].delivered, i % 3 ? 3 : 2);
        kit_client_fini(&many[i]);
    }
    free(many);
}

static void test_leaving_during_a_fanout_costs_nobody_a_message(void **state)
{
    (void)state;
    for_each_count(leaving_in_an_upcall, NULL);
}

static void test_a_long_fanout_yields(void **state)
{
    (void)state;
    struct kit k;
    struct kit_client *many = calloc(200, sizeof *many);
    assert_int_equal(kit_init(&k, 1, 1, NULL), 0); /* the budget is 64 deliveries */
    for (int i = 0; i < 200; i++) {
        kit_client_init(&k, 0, &many[i], "u", true);
        kit_in(&many[i], "lobby");
    }
    kit_run(&k);
    assert_int_equal(kit_publish(&k, 0, "lobby", "x"), 0);
    assert_true(mdg_hub_turn(k.hubs[0]));
    kit_client_fini(&many[199]); /* the last one goes in the middle of it */
    assert_int_equal(kit_publish(&k, 0, "lobby", "y"), 0);
    int turns = 1;
    while (mdg_hub_turn(k.hubs[0]))
        turns++;
    assert_in_range(turns, 6, 10);
    for (int i = 0; i < 199; i++) {
        assert_string_equal(strchr(kit_said(&many[i]), '\n') + 1, "lobby@1 x\nlobby@2 y\n");
        kit_client_fini(&many[i]);
    }
    kit_fini(&k);
    free(many);
}

struct asked {
    int calls, err, count;
    uint64_t seq;
    char text[256];
};

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct asked *a = arg;
    a->calls++;
    a->err = err;
    a->seq = at.seq;
}

static void on_history(void *arg, int err, const struct mdg_history *h)
{
    struct asked *a = arg;
    a->calls++;
    a->err = err;
    a->count = (int)h->count;
    a->text[0] = '\0';
    for (size_t i = 0; i < h->count; i++) {
        size_t at = strlen(a->text);
        snprintf(a->text + at, sizeof a->text - at, "%d ", (int)h->msgs[i]->seq);
    }
    if (h->more)
        strncat(a->text, "more", sizeof a->text - strlen(a->text) - 1);
}

static void on_since(void *arg, int err, const struct mdg_since *s)
{
    struct asked *a = arg;
    a->calls++;
    a->err = err;
    snprintf(a->text, sizeof a->text, "%d new, at %d, recovered %d, missing %d-%d", (int)s->count,
             (int)s->newest.seq, s->recovered, (int)s->missing_from, (int)s->missing_to);
}

static void on_rooms(void *arg, int err, const struct mdg_room_info *rooms, size_t count)
{
    struct asked *a = arg;
    a->calls++;
    a->err = err;
    a->text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t at = strlen(a->text);
        snprintf(a->text + at, sizeof a->text - at, "%.*s=%d ", (int)rooms[i].name.len,
                 (const char *)rooms[i].name.data, (int)rooms[i].count);
    }
}

static void on_users(void *arg, int err, const struct mdg_joined *now)
{
    struct asked *a = arg;
    a->calls++;
    a->err = err;
    a->count = (int)now->user_count;
}

static void questions(struct fixture *f)
{
    struct asked a = {0};
    struct mdg_hub *h = f->kit.hubs[f->kit.workers - 1];
    struct mdg_slice lobby = MDG_SLICE_LIT("lobby");
    struct mdg_position at = position_of(f, "lobby");
    for (int i = 0; i < 20; i++)
        assert_int_equal(mdg_hub_publish(h, kit_content("lobby", "x", 0), on_published, &a), 0);
    assert_int_equal(a.calls, 0);
    kit_run(&f->kit);
    assert_int_equal(a.calls, 20);
    assert_int_equal(a.seq, 20);
    assert_int_equal(mdg_hub_history(h, lobby, 0, 3, on_history, &a), 0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "18 19 20 more");
    assert_int_equal(mdg_hub_history(h, lobby, 7, 5, on_history, &a), 0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "5 6 ");
    assert_int_equal(mdg_hub_since(h, lobby, (struct mdg_position){at.epoch, 17}, 10, on_since, &a),
                     0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "3 new, at 20, recovered 1, missing 0-0");
    assert_int_equal(mdg_hub_since(h, lobby, (struct mdg_position){at.epoch, 2}, 10, on_since, &a),
                     0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "10 new, at 20, recovered 0, missing 3-4");
    kit_in(&f->ann, "lobby");
    kit_in(&f->bob, "lobby");
    kit_in(&f->cat, "attic");
    kit_run(&f->kit);
    assert_int_equal(mdg_hub_rooms(h, 10, on_rooms, &a), 0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "lobby=2 attic=1 ");
    assert_int_equal(mdg_hub_rooms(h, 1, on_rooms, &a), 0);
    assert_int_equal(mdg_hub_presence(h, lobby, on_users, &a), 0);
    kit_run(&f->kit);
    assert_string_equal(a.text, "lobby=2 ");
    assert_int_equal(a.count, 2);
    a.calls = 0;
    assert_int_equal(mdg_hub_rooms(h, 1, on_rooms, &a), 0);
    assert_int_equal(mdg_hub_publish(h, kit_content("lobby", "x", 0), on_published, &a), 0);
    mdg_hub_forget(h, &a);
    kit_run(&f->kit);
    assert_int_equal(a.calls, 0);
}

static void test_questions_are_answered_once_or_forgotten(void **state)
{
    (void)state;
    for_each_count(questions, NULL);
}

static void direct_messages(struct fixture *f)
{
    for (unsigned from = 0; from < f->kit.workers; from++)
        assert_int_equal(
            mdg_hub_send(f->kit.hubs[from], f->bob.session.id, kit_content("", "psst", 0)), 0);
    assert_int_equal(mdg_hub_send(f->kit.hubs[0], (uint64_t)200 << 56 | 1, kit_content("", "", 0)),
                     MDG_E_NOT_FOUND);
    kit_run(&f->kit);
    const char *said = kit_said(&f->bob);
    for (unsigned from = 0; from < f->kit.workers; from++, said += strlen("direct psst\n"))
        assert_memory_equal(said, "direct psst\n", strlen("direct psst\n"));
    assert_string_equal(said, "");
}

static void test_a_private_message_finds_its_session_on_any_worker(void **state)
{
    (void)state;
    for_each_count(direct_messages, NULL);
}

static void expiry(struct fixture *f)
{
    uint64_t unix_ms = f->kit.now_ms + 1700000000000u;
    struct mdg_principal *soon =
        mdg_principal_new(MDG_SLICE_LIT("bob"), false, MDG_RIGHTS_USER, unix_ms + 2500);
    mdg_session_set_principal(&f->bob.session, soon);
    mdg_principal_unref(soon);
    kit_advance(&f->kit, 2400);
    assert_int_equal(f->bob.kicked, 0);
    kit_advance(&f->kit, 200);
    assert_int_equal(f->bob.kicked, MDG_E_EXPIRED);
    assert_int_equal(f->ann.kicked, 0);
    struct mdg_principal *later =
        mdg_principal_new(MDG_SLICE_LIT("ann"), false, MDG_RIGHTS_USER, unix_ms + 3000);
    mdg_session_set_principal(&f->ann.session, later);
    mdg_principal_unref(later);
    mdg_session_set_principal(&f->ann.session, f->ann.principal); /* refreshed in time */
    kit_advance(&f->kit, 100000);
    assert_int_equal(f->ann.kicked, 0);
}

static void no_home(struct mdg_principal_home *home, struct mdg_principal *p)
{
    (void)home;
    free(p);
}

static void oust(struct fixture *f)
{
    static struct mdg_principal_home home = {no_home};
    struct mdg_principal *who = mdg_principal_new(MDG_SLICE_LIT("Bob"), true, MDG_RIGHTS_USER, 0);
    who->home = &home;
    who->owner = 7;
    mdg_session_set_principal(&f->bob.session, who);
    for (unsigned i = 0; i < f->kit.workers; i++) {
        mdg_hub_oust(f->kit.hubs[i], MDG_SLICE_LIT("bob"), 8);
        mdg_hub_oust(f->kit.hubs[i], MDG_SLICE_LIT("ann"), 7);
    }
    assert_int_equal(f->bob.kicked, 0);
    for (unsigned i = 0; i < f->kit.workers; i++)
        mdg_hub_oust(f->kit.hubs[i], MDG_SLICE_LIT("bob"), 7);
    assert_int_equal(f->bob.kicked, MDG_E_EXISTS);
    assert_int_equal(f->ann.kicked, 0);
    mdg_principal_unref(who);
}

static void test_who_lost_his_name_is_kicked(void **state)
{
    (void)state;
    for_each_count(oust, NULL);
}

/* Attack: sessions are opened until forty of them meet in one bucket of the table. */
static void test_nobody_keeps_a_lost_name_by_crowding(void **state)
{
    (void)state;
    enum { MANY = 40, APART = 64 };
    static struct mdg_principal_home home = {no_home};
    struct kit kit;
    struct kit_client *row = calloc(MANY, sizeof *row);
    assert_non_null(row);
    assert_int_equal(kit_init(&kit, 1, 1, NULL), 0);
    for (unsigned i = 0; i < MANY * APART; i++) {
        struct kit_client *c = &row[i / APART];
        assert_int_equal(kit_client_init(&kit, 0, c, "bob", true), 0);
        if (i % APART != APART - 1) {
            kit_client_fini(c);
            continue;
        }
        c->principal->home = &home;
        c->principal->owner = 7;
    }
    mdg_hub_oust(kit.hubs[0], MDG_SLICE_LIT("bob"), 7);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(row[i].kicked, MDG_E_EXISTS);
        kit_client_fini(&row[i]);
    }
    kit_fini(&kit);
    free(row);
}

static void test_an_expired_principal_is_kicked_within_a_tick(void **state)
{
    (void)state;
    for_each_count(expiry, NULL);
}

/* Without memory for its place in the wheel, an identity ends in time all the same. */
static void scarce_expiry(void *arg)
{
    struct fixture *f = arg;
    mdg_test_torture_pause();
    start(f, 1, NULL);
    uint64_t unix_ms = f->kit.now_ms + 1700000000000u;
    struct mdg_principal *soon =
        mdg_principal_new(MDG_SLICE_LIT("bob"), false, MDG_RIGHTS_USER, unix_ms + 500);
    mdg_test_torture_resume();
    mdg_session_set_principal(&f->bob.session, soon);
    mdg_test_torture_pause();
    mdg_principal_unref(soon);
    kit_advance(&f->kit, 400);
    assert_int_equal(f->bob.kicked, 0);
    kit_advance(&f->kit, 300);
    assert_int_equal(f->bob.kicked, MDG_E_EXPIRED);
    stop(f);
    mdg_test_torture_resume();
}

static void test_an_identity_ends_in_time_without_memory_to_note_it(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    mdg_test_torture(scarce_expiry, f);
    free(f);
}

static void rooms_in_order(struct fixture *f)
{
    struct mdg_member *a, *b, *c;
    const struct mdg_session *s = &f->ann.session;
    assert_null(mdg_session_first(s));
    assert_int_equal(kit_join(&f->ann, "a", NULL, &a), 0);
    assert_int_equal(kit_join(&f->ann, "b", NULL, &b), 0);
    assert_int_equal(kit_join(&f->ann, "c", NULL, &c), 0);
    assert_ptr_equal(mdg_session_first(s), a);
    assert_ptr_equal(mdg_session_next(s, a), b);
    assert_ptr_equal(mdg_session_next(s, b), c);
    assert_null(mdg_session_next(s, c));
    mdg_hub_leave(b);
    assert_ptr_equal(mdg_session_next(s, a), c);
    mdg_hub_leave(c);
    assert_null(mdg_session_next(s, a));
    assert_int_equal(kit_join(&f->ann, "b", NULL, &b), 0);
    assert_ptr_equal(mdg_session_next(s, a), b);
    mdg_hub_leave(a);
    assert_ptr_equal(mdg_session_first(s), b);
    mdg_hub_leave(b);
    assert_null(mdg_session_first(s));
    kit_run(&f->kit);
}

static void test_a_session_knows_its_rooms_in_the_order_of_its_joins(void **state)
{
    (void)state;
    for_each_count(rooms_in_order, NULL);
}

/* One that leaves while it waits for its turn to read from the log must not be served any more. */
static void leaves_while_it_waits(struct fixture *f)
{
    struct mdg_member *m, *stays;
    assert_int_equal(kit_join(&f->bob, "lobby", NULL, &stays), 0);
    assert_int_equal(kit_join(&f->ann, "lobby", NULL, &m), 0);
    kit_run(&f->kit);
    kit_said(&f->ann), kit_said(&f->bob);
    f->ann.takes = f->bob.takes = 0;
    publish(f, "lobby", "one");
    kit_run(&f->kit);
    f->ann.takes = f->bob.takes = -1;
    mdg_hub_resume(m);
    mdg_hub_resume(m);
    mdg_hub_resume(stays);
    mdg_hub_leave(m);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "");
    assert_string_equal(kit_said(&f->bob), "lobby@1 one\n");
    kit_in(&f->ann, "lobby");
    kit_run(&f->kit);
    publish(f, "lobby", "two");
    kit_run(&f->kit);
    assert_non_null(strstr(kit_said(&f->ann), "lobby@2 two\n"));
    assert_string_equal(kit_said(&f->bob), "lobby@2 two\n");
}

static void test_who_leaves_while_waiting_to_be_served_gets_nothing(void **state)
{
    (void)state;
    for_each_count(leaves_while_it_waits, NULL);
}

static void forgetting(struct fixture *f)
{
    struct mdg_position before = position_of(f, "empty");
    assert_int_equal(position_of(f, "empty").epoch, before.epoch);
    kit_advance(&f->kit, 70000);
    assert_int_not_equal(position_of(f, "empty").epoch, before.epoch);

    kit_in(&f->ann, "lobby");
    kit_in(&f->bob, "lobby");
    publish(f, "lobby", "x");
    kit_run(&f->kit);
    before = position_of(f, "lobby");
    kit_client_fini(&f->ann);
    kit_client_fini(&f->bob);
    kit_advance(&f->kit, 200000); /* messages keep it alive */
    struct mdg_position after = position_of(f, "lobby");
    assert_int_equal(after.epoch, before.epoch);
    assert_int_equal(after.seq, 1);
    kit_advance(&f->kit, 3700000); /* until they are too old */
    assert_int_not_equal(position_of(f, "lobby").epoch, before.epoch);
}

static void test_idle_rooms_are_forgotten_and_come_back_with_a_new_epoch(void **state)
{
    (void)state;
    for_each_count(forgetting, NULL);
}

static void limits(struct fixture *f)
{
    struct mdg_member *m;
    char name[80];
    memset(name, 'x', sizeof name);
    name[65] = '\0';
    assert_int_equal(kit_join(&f->ann, name, NULL, &m), MDG_E_SYNTAX);
    assert_int_equal(kit_join(&f->ann, "", NULL, &m), MDG_E_SYNTAX);
    assert_int_equal(kit_join(&f->ann, "a\nb", NULL, &m), MDG_E_SYNTAX);
    assert_int_equal(kit_join(&f->ann, "\xff", NULL, &m), MDG_E_SYNTAX);
    assert_int_equal(kit_join(&f->ann, "\xed\xa0\x80", NULL, &m), MDG_E_SYNTAX);
    assert_int_equal(kit_join(&f->ann, "\xeb\xa7\x88\xeb\x8b\xb9", NULL, &m), 0);
    for (int i = 0; i < 15; i++) {
        snprintf(name, sizeof name, "room%d", i);
        assert_int_equal(kit_join(&f->ann, name, NULL, &m), 0);
    }
    assert_int_equal(kit_join(&f->ann, "one-more", NULL, &m), MDG_E_TOO_BIG);
    struct mdg_principal *reader = mdg_principal_new(MDG_SLICE_LIT("bob"), false, 0, 0);
    mdg_session_set_principal(&f->bob.session, reader);
    mdg_principal_unref(reader);
    assert_int_equal(kit_join(&f->bob, "lobby", NULL, &m), MDG_E_DENIED);
    assert_int_equal(kit_publish(&f->kit, 0, "", "x"), MDG_E_SYNTAX);
    kit_run(&f->kit);
    /* Rooms that somebody invents push out idle ones, not those with members. */
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "invented%d", i);
        publish(f, name, "x");
        kit_run(&f->kit);
    }
    kit_said(&f->ann);
    publish(f, "room3", "still here");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "room3@1 still here\n");
}

static void invented_rooms(struct fixture *f)
{
    char name[32];
    publish(f, "real", "kept");
    kit_run(&f->kit);
    struct mdg_position real = position_of(f, "real");
    for (int i = 0; i < 500; i++) { /* asked for, never spoken in */
        snprintf(name, sizeof name, "nothing%d", i);
        position_of(f, name);
    }
    assert_int_equal(position_of(f, "real").epoch, real.epoch);
    assert_int_equal(position_of(f, "real").seq, 1);
}

static void test_rooms_with_messages_outlive_invented_ones(void **state)
{
    (void)state;
    for_each_count(invented_rooms, NULL);
}

static void test_limits_hold(void **state)
{
    (void)state;
    for_each_count(limits, NULL);
}

static void test_all_logs_together_are_bounded(void **state)
{
    (void)state;
    struct mdg_hub_config config = kit_config;
    config.log_bytes_total_max = 200000;
    config.channels_max = 1000;
    struct kit k;
    struct asked a = {0};
    char name[16], *big = malloc(10001);
    memset(big, 'x', 10000);
    big[10000] = '\0';
    long blocks = mdg_test_live_blocks();
    assert_int_equal(kit_init(&k, 1, 1, &config), 0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "r%d", i);
        assert_int_equal(kit_publish(&k, 0, name, big), 0);
        kit_run(&k);
    }
    assert_int_equal(mdg_hub_history(k.hubs[0], MDG_SLICE_LIT("r0"), 0, 9, on_history, &a), 0);
    kit_run(&k);
    assert_int_equal(a.count, 0);
    assert_int_equal(mdg_hub_history(k.hubs[0], MDG_SLICE_LIT("r299"), 0, 9, on_history, &a), 0);
    kit_run(&k);
    assert_int_equal(a.count, 1);
    kit_fini(&k);
    assert_int_equal(mdg_test_live_blocks(), blocks);
    free(big);
}

static struct mdg_member *match(struct kit_client *c, const char *pattern)
{
    struct mdg_member *m = NULL;
    assert_int_equal(
        mdg_hub_join_pattern(c->session.hub, &c->session, mdg_slice_str(pattern), NULL, &m), 0);
    return m;
}

static void patterns(struct fixture *f)
{
    struct mdg_member *all = match(&f->ann, "news.#");
    match(&f->bob, "news.*");
    kit_run(&f->kit);
    kit_said(&f->ann), kit_said(&f->bob);
    publish(f, "news.sport", "a");
    publish(f, "news.sport.chess", "b");
    publish(f, "weather", "c");
    kit_run(&f->kit);
    publish(f, "news.sport", "d");
    publish(f, "news.art", "e");
    kit_run(&f->kit);
    const char *said = kit_said(&f->ann);
    assert_int_equal(strlen(said), strlen("news.sport@1 a\nnews.sport.chess@1 b\nnews.sport@2 d\n"
                                          "news.art@1 e\n"));
    assert_non_null(strstr(said, "news.sport@1 a\n"));
    assert_non_null(strstr(said, "news.sport.chess@1 b\n"));
    assert_non_null(strstr(said, "news.sport@2 d\n"));
    assert_non_null(strstr(said, "news.art@1 e\n"));
    said = kit_said(&f->bob);
    assert_int_equal(strlen(said), strlen("news.sport@1 a\nnews.sport@2 d\nnews.art@1 e\n"));
    assert_true(strstr(said, "@1 a") < strstr(said, "@2 d"));
    mdg_hub_leave(all);
    kit_run(&f->kit);
    publish(f, "news.sport", "g");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->ann), "");
    assert_string_equal(kit_said(&f->bob), "news.sport@3 g\n");
    /* A room that was forgotten where the member is comes back with the next message. */
    kit_advance(&f->kit, 200000);
    publish(f, "news.sport", "h");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "news.sport@4 h\n");
}

static void test_pattern_members_hear_every_room_that_matches(void **state)
{
    (void)state;
    for_each_count(patterns, NULL);
}

static void slow_pattern(struct fixture *f)
{
    struct mdg_member *m = match(&f->bob, "r.*");
    char text[8];
    kit_run(&f->kit);
    kit_said(&f->bob);
    f->bob.takes = 1;
    for (int i = 1; i <= 6; i++) {
        snprintf(text, sizeof text, "m%d", i);
        publish(f, "r.1", text);
        if (i == 3)
            kit_run(&f->kit);
    }
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "r.1@1 m1\n");
    assert_true(m->behind);
    assert_null(m->channel);
    f->bob.takes = 2;
    mdg_hub_resume(m);
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "r.1@2 m2\nr.1@3 m3\n");
    assert_true(m->behind);
    f->bob.takes = -1;
    mdg_hub_resume(m);
    publish(f, "r.1", "m7");
    kit_run(&f->kit);
    publish(f, "r.1", "m8");
    kit_run(&f->kit);
    assert_string_equal(kit_said(&f->bob), "r.1@4 m4\nr.1@5 m5\nr.1@6 m6\nr.1@7 m7\nr.1@8 m8\n");
    f->bob.takes = 0;
    publish(f, "r.1", "m9");
    publish(f, "r.2", "n1");
    kit_run(&f->kit);
    mdg_hub_leave(m); /* with what it has not read */
    kit_run(&f->kit);
}

static void test_a_slow_pattern_member_reads_on_from_each_log(void **state)
{
    (void)state;
    for_each_count(slow_pattern, NULL);
}

static void late_history(struct fixture *f)
{
    struct mdg_member *m;
    struct mdg_join_options all = {.history = 100};
    kit_in(&f->ann, "r.1");
    publish(f, "r.1", "1");
    publish(f, "r.1", "2");
    kit_run(&f->kit);
    for (unsigned i = 0; i < 3; i++) /* the worker hears of the room by a pattern first */
        match(i == 0 ? &f->ann : i == 1 ? &f->bob : &f->cat, "r.#");
    kit_run(&f->kit);
    publish(f, "r.1", "3");
    kit_run(&f->kit);
    kit_said(&f->bob), kit_said(&f->cat);
    assert_int_equal(kit_join(&f->bob, "r.1", &all, &m), 0);
    assert_int_equal(kit_join(&f->cat, "r.1", &all, &m), 0);
    kit_run(&f->kit);
    assert_string_equal(strchr(kit_said(&f->bob), '\n') + 1, "r.1@1 1\nr.1@2 2\nr.1@3 3\n");
    assert_string_equal(strchr(kit_said(&f->cat), '\n') + 1, "r.1@1 1\nr.1@2 2\nr.1@3 3\n");
}

static void test_a_room_known_by_a_pattern_still_has_its_history(void **state)
{
    (void)state;
    for_each_count(late_history, NULL);
}

static void scarce_memory(void *arg)
{
    struct fixture *f = arg;
    struct mdg_member *m;
    struct asked a = {0};
    unsigned workers = f->kit.workers;
    memset(f, 0, sizeof *f);
    int published = 0;
    if (kit_init(&f->kit, workers, 7, NULL) == 0 &&
        kit_client_init(&f->kit, 0, &f->ann, "ann", false) == 0 &&
        kit_client_init(&f->kit, workers - 1, &f->bob, "bob", false) == 0) {
        bool ann = kit_join(&f->ann, "lobby", NULL, &m) == 0;
        bool bob = kit_join(&f->bob, "lobby", NULL, &m) == 0;
        struct mdg_slice pattern = MDG_SLICE_LIT("other.#");
        int matching = mdg_hub_join_pattern(f->kit.hubs[0], &f->ann.session, pattern, NULL, &m);
        kit_run(&f->kit);
        for (int i = 0; i < 12; i++) {
            published += kit_publish(&f->kit, 0, "lobby", "x") == 0;
            kit_run(&f->kit);
        }
        if (matching == 0) {
            f->ann.takes = 0;
            (void)!kit_publish(&f->kit, workers - 1, "other.room", "y");
            kit_run(&f->kit);
            f->ann.takes = -1;
            mdg_hub_resume(m);
        }
        kit_advance(&f->kit, 300);
        if (mdg_hub_history(f->kit.hubs[0], MDG_SLICE_LIT("lobby"), 0, 5, on_history, &a) == 0 &&
            mdg_hub_rooms(f->kit.hubs[0], 5, on_rooms, &a) == 0)
            kit_run(&f->kit);
        if (ann)
            assert_true(f->ann.delivered <= (uint64_t)published + 5);
        if (bob)
            assert_true(f->bob.delivered <= (uint64_t)published + 4);
        assert_true(f->ann.kicked == 0 || f->ann.kicked == MDG_E_NO_MEMORY);
    }
    kit_client_fini(&f->ann);
    kit_client_fini(&f->bob);
    if (f->kit.hubs[workers - 1])
        kit_run(&f->kit);
    kit_fini(&f->kit);
    f->kit.workers = workers;
}

static void test_no_failed_allocation_breaks_or_leaks(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    for (size_t i = 0; i < MDG_ARRAY_LEN(worker_counts); i++) {
        f->kit.workers = worker_counts[i];
        mdg_test_torture(scarce_memory, f);
    }
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_reach_all_members_in_order),
        cmocka_unit_test(test_what_is_published_right_after_a_join_reaches_the_joiner),
        cmocka_unit_test(test_a_burst_is_one_delivery_per_member),
        cmocka_unit_test(test_newcomers_get_history_and_an_unknown_epoch_is_not_recovered),
        cmocka_unit_test(test_resume_continues_or_names_what_is_missing),
        cmocka_unit_test(test_presence_counts_users_not_connections),
        cmocka_unit_test(test_a_full_room_tells_counts_only),
        cmocka_unit_test(test_presence_follows_a_changed_identity),
        cmocka_unit_test(test_a_full_member_waits_in_the_log_and_misses_nothing),
        cmocka_unit_test(test_slow_members_meet_the_policy),
        cmocka_unit_test(test_volatile_messages_keep_their_place_and_are_dropped_for_the_slow),
        cmocka_unit_test(test_exceptions_and_unions_give_each_session_one_copy),
        cmocka_unit_test(test_leaving_during_a_fanout_costs_nobody_a_message),
        cmocka_unit_test(test_a_long_fanout_yields),
        cmocka_unit_test(test_questions_are_answered_once_or_forgotten),
        cmocka_unit_test(test_a_private_message_finds_its_session_on_any_worker),
        cmocka_unit_test(test_an_expired_principal_is_kicked_within_a_tick),
        cmocka_unit_test(test_an_identity_ends_in_time_without_memory_to_note_it),
        cmocka_unit_test(test_a_session_knows_its_rooms_in_the_order_of_its_joins),
        cmocka_unit_test(test_who_leaves_while_waiting_to_be_served_gets_nothing),
        cmocka_unit_test(test_who_lost_his_name_is_kicked),
        cmocka_unit_test(test_nobody_keeps_a_lost_name_by_crowding),
        cmocka_unit_test(test_idle_rooms_are_forgotten_and_come_back_with_a_new_epoch),
        cmocka_unit_test(test_limits_hold),
        cmocka_unit_test(test_rooms_with_messages_outlive_invented_ones),
        cmocka_unit_test(test_all_logs_together_are_bounded),
        cmocka_unit_test(test_pattern_members_hear_every_room_that_matches),
        cmocka_unit_test(test_a_slow_pattern_member_reads_on_from_each_log),
        cmocka_unit_test(test_a_room_known_by_a_pattern_still_has_its_history),
        cmocka_unit_test(test_no_failed_allocation_breaks_or_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
