/* Socket.IO packets: the examples of the protocol document and what hostile peers send. */
#include "codec/sio.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

static const struct mdg_sio_limits limits = {16, 100, 64};

static bool is(struct mdg_slice s, const char *text)
{
    return mdg_slice_eq(s, mdg_slice_str(text));
}

/* Decodes an exact-size copy, so that the address sanitizer sees an over-read. The slices of *out
 * are only good for comparing before the next call. */
static int dec(const char *text, unsigned protocol, struct mdg_sio_packet *out)
{
    static uint8_t *copy;
    free(copy);
    copy = malloc(strlen(text) + !*text);
    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    int rc = mdg_sio_dec(mdg_slice(copy, strlen(text)), protocol, &limits, out);
    if (rc < 0 || !out->data.data) {
        free(copy);
        copy = NULL;
    }
    return rc;
}

static void connect_packets_name_a_namespace_and_may_carry_auth(void **state)
{
    (void)state;
    struct mdg_sio_packet p;
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0"), 5, &limits, &p), 0);
    assert_true(p.type == MDG_SIO_CONNECT && is(p.nsp, "/") && !p.data.data);
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0{\"token\":\"123\"}"), 5, &limits, &p), 0);
    assert_true(is(p.nsp, "/") && is(p.data, "{\"token\":\"123\"}"));
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0/admin,{\"a\":1}"), 5, &limits, &p), 0);
    assert_true(is(p.nsp, "/admin") && is(p.data, "{\"a\":1}"));
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0/admin"), 5, &limits, &p), 0);
    assert_true(is(p.nsp, "/admin") && !p.data.data);
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("1/admin,"), 5, &limits, &p), 0);
    assert_true(p.type == MDG_SIO_DISCONNECT && is(p.nsp, "/admin"));
    /* A query in the namespace is protocol 4's; in 5 it is part of a name. */
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0/admin?t=1,"), 4, &limits, &p), 0);
    assert_true(is(p.nsp, "/admin") && is(p.query, "t=1"));
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("0/admin?t=1,"), 5, &limits, &p), 0);
    assert_true(is(p.nsp, "/admin?t=1"));
}

static void events_and_acks_carry_ids_and_arguments(void **state)
{
    (void)state;
    struct mdg_sio_packet p;
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("2[\"foo\"]"), 5, &limits, &p), 0);
    assert_true(!p.has_id && is(p.event, "\"foo\"") && mdg_sio_args(&p).len == 0);
    assert_int_equal(
        mdg_sio_dec(MDG_SLICE_LIT("2/admin,12[\"bar\", 1,{\"a\":[]}]"), 5, &limits, &p), 0);
    assert_true(p.has_id && p.id == 12 && is(p.nsp, "/admin"));
    assert_true(is(mdg_sio_args(&p), "1,{\"a\":[]}"));
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("20[\"x\"]"), 5, &limits, &p), 0);
    assert_true(p.has_id && p.id == 0);
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("30[]"), 5, &limits, &p), 0);
    assert_true(p.type == MDG_SIO_ACK && p.has_id && p.id == 0);
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("4/a,{\"message\":\"no\"}"), 5, &limits, &p), 0);
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("4\"no\""), 4, &limits, &p), 0);
}

static void binary_packets_count_their_attachments(void **state)
{
    (void)state;
    struct mdg_sio_packet p;
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("51-[\"baz\",{\"_placeholder\":true,\"num\":0}]"), 5,
                                 &limits, &p),
                     0);
    assert_true(p.type == MDG_SIO_BINARY_EVENT && p.attachments == 1);
    assert_int_equal(
        mdg_sio_dec(MDG_SLICE_LIT("61-/admin,15[{\"x\":[{\"num\":0,\"_placeholder\":true}]}]"), 5,
                    &limits, &p),
        0);
    assert_true(p.type == MDG_SIO_BINARY_ACK && p.id == 15 && is(p.nsp, "/admin"));
    assert_int_equal(mdg_sio_dec(MDG_SLICE_LIT("50-[\"x\"]"), 5, &limits, &p), 0);
    assert_int_equal(p.attachments, 0);
    /* Text that looks like a placeholder inside a string is not one. */
    assert_int_equal(
        mdg_sio_dec(
            MDG_SLICE_LIT("50-[\"x\",\"{\\\"_placeholder\\\":true}\",{\"_placeholder\":1}]"), 5,
            &limits, &p),
        0);
    uint64_t num = 9;
    assert_true(mdg_sio_placeholder(MDG_SLICE_LIT("{\"_placeholder\":true,\"num\":3}"), &num));
    assert_int_equal(num, 3);
    assert_false(mdg_sio_placeholder(MDG_SLICE_LIT("{\"_placeholder\":false,\"num\":3}"), &num));
}

static void hostile_packets_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "7",
        "abc",
        "-1",
        "999", /* types */
        "0[]",
        "0\"x\"",
        "0/admin,\"x\"",
        "0{",
        "1{}",
        "1[]", /* payloads of the wrong kind */
        "2",
        "2{}",
        "2[]",
        "2\"x\"",
        "2[true,\"x\"]",
        "2[null]",
        "2[{\"toString\":\"foo\"}]",
        "2[1,\"a\"]",
        "2[\"connect\"]",
        "2[\"disconnecting\"]",
        "2[\"connec\\u0074\"]",
        "2[\"newListener\"]",
        "3",
        "3[]",
        "31",
        "31{}",
        "4",
        "4[]",
        "2abc[\"x\"]",
        "2-1[\"x\"]",
        "21.5[\"x\"]",
        "299999999999999999999[\"x\"]",
        "29007199254740992[\"x\"]",
        "2[\"x\"",
        "2[\"x\"]]",
        "2[\"x\"]y",
        "2/nsp,[\"x\"",
        "2/nsp",
        "0/nsp,{}x",
        "5[\"x\"]",
        "51[\"x\"]",
        "5-[\"x\"]",
        "5a-[\"x\"]",
        "51.5-[\"x\"]",
        "5-1-[\"x\"]",
        "51-",
        "5",
        "51-[\"x\",{\"_placeholder\":true,\"num\":1}]",
        "51-[\"x\",{\"_placeholder\":true}]",
        "51-[\"x\",{\"_placeholder\":true,\"num\":-1}]",
        "51-[\"x\",{\"_placeholder\":true,\"num\":\"splice\"}]",
        "51-[\"x\",{\"_placeholder\":true,\"num\":0.5}]",
        "51-[\"x\",{\"_placeholder\":true,\"num\":null}]",
        "50-[\"x\",{\"_placeholder\":true,\"num\":0}]",
        "51-[\"x\",{\"a\":{\"b\":[{\"_placeholder\":true,\"num\":7}]}}]",
        "51-[\"x\",{\"\\u005fplaceholder\":true,\"num\":7}]",
        "61-[]",
        "61-5{}",
    };
    struct mdg_sio_packet p;
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        if (dec(bad[i], 5, &p) != MDG_E_PROTO)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    struct mdg_sio_packet p;
    char deep[128] = "2[\"x\",";
    assert_int_equal(dec("5101-[\"x\"]", 5, &p), MDG_E_TOO_BIG);
    assert_int_equal(dec("599999999999999999999999-[\"x\"]", 5, &p), MDG_E_TOO_BIG);
    assert_int_equal(
        dec("0/0123456789012345678901234567890123456789012345678901234567890123", 5, &p),
        MDG_E_TOO_BIG);
    memset(deep + 6, '[', 16);
    memset(deep + 22, ']', 17);
    assert_int_equal(dec(deep, 5, &p), MDG_E_TOO_BIG);
}

static void no_beginning_of_an_event_is_taken_for_another_event(void **state)
{
    (void)state;
    const char *text = "51-/admin,12[\"baz\",{\"_placeholder\":true,\"num\":0},\"tail\"]";
    struct mdg_sio_packet p;
    char prefix[128];
    for (size_t n = 0; n < strlen(text); n++) {
        snprintf(prefix, sizeof prefix, "%.*s", (int)n, text);
        assert_int_equal(dec(prefix, 5, &p), MDG_E_PROTO);
    }
    assert_int_equal(dec(text, 5, &p), 0);
}

static void heads_and_events_are_written_as_the_protocol_shows_them(void **state)
{
    (void)state;
    char room[128];
    struct mdg_writer w;
    uint64_t id = 12;
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_head(&w, MDG_SIO_BINARY_EVENT, 1, MDG_SLICE_LIT("/admin"), &id);
    mdg_sio_write_event(&w, MDG_SLICE_LIT("a\"b"), MDG_SLICE_LIT("[1,2]"));
    assert_true(is(mdg_slice(room, w.len), "51-/admin,12[\"a\\\"b\",1,2]"));
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_head(&w, MDG_SIO_EVENT, 0, MDG_SLICE_LIT("/"), NULL);
    mdg_sio_write_event(&w, MDG_SLICE_LIT("x"), MDG_SLICE_LIT("[ ]"));
    assert_true(is(mdg_slice(room, w.len), "2[\"x\"]"));
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_placeholder(&w, 3);
    assert_true(is(mdg_slice(room, w.len), "{\"_placeholder\":true,\"num\":3}"));
}

static void an_event_may_be_sent_when_it_is_an_array_that_begins_with_a_name(void **state)
{
    (void)state;
    struct mdg_slice event;
    assert_int_equal(mdg_sio_check_event(MDG_SLICE_LIT(" [\"a\", 1] \n"), &event), 0);
    assert_true(is(event, "[\"a\", 1]"));
    static const char *const bad[] = {"",     "a",      "[]",          "[1]",
                                      "{}",   "[\"a\"", "\"a\"",       "[\"connect\"]",
                                      "null", "[[]]",   "[\"a\"] [1]", "[\"dis\\u0063onnect\"]"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        if (mdg_sio_check_event(mdg_slice_str(bad[i]), &event) != MDG_E_SYNTAX)
            fail_msg("%s was taken", bad[i]);
    }
}

static void attachments_stand_where_their_placeholders_stood(void **state)
{
    (void)state;
    static const struct {
        const char *json, *inlined;
    } cases[] = {
        {"[\"a\",{\"_placeholder\":true,\"num\":1},[{\"num\":0, \"_placeholder\":true}]]",
         "[\"a\",{\"base64\":\"/wA=\"},[{\"base64\":\"aGk=\"}]]"},
        /* What only looks like one, or has no attachment, stays. */
        {"[\"{\\\"_placeholder\\\":true,\\\"num\\\":0}\",{\"num\":0}]",
         "[\"{\\\"_placeholder\\\":true,\\\"num\\\":0}\",{\"num\":0}]"},
        {"[\"a\",{\"b\":{\"_placeholder\":true,\"num\":0},\"c\":{}}]",
         "[\"a\",{\"b\":{\"base64\":\"aGk=\"},\"c\":{}}]"},
        {"[\"a\",{\"_placeholder\":true,\"num\":2}]", "[\"a\",{\"_placeholder\":true,\"num\":2}]"},
        {"[]", "[]"},
    };
    const struct mdg_slice parts[] = {MDG_SLICE_LIT("hi"), mdg_slice("\xff\0", 2)};
    char room[256];
    struct mdg_writer w;
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        mdg_writer_init(&w, room, sizeof room);
        assert_int_equal(
            mdg_sio_write_inline(&w, mdg_slice_str(cases[i].json), parts, 2, sizeof room), 0);
        if (!is(mdg_slice(room, w.len), cases[i].inlined))
            fail_msg("%s became %.*s", cases[i].json, (int)w.len, room);
    }
}

/* Attack: a thousand placeholders of one attachment of a megabyte. */
static void an_attachment_that_is_named_often_does_not_fill_the_memory(void **state)
{
    static uint8_t megabyte[1 << 20];
    static char json[64 * 1024];
    const struct mdg_slice part = mdg_slice(megabyte, sizeof megabyte);
    size_t most = sizeof json + 2 * sizeof megabyte;
    struct mdg_writer w;
    (void)state;
    mdg_writer_init(&w, json, sizeof json);
    mdg_write_str(&w, "[\"a\"");
    for (int i = 0; i < 1000; i++)
        mdg_write_str(&w, ",{\"_placeholder\":true,\"num\":0}");
    mdg_write_str(&w, "]");
    const struct mdg_slice all = mdg_slice(json, w.len);
    mdg_writer_init(&w, NULL, 0);
    assert_int_equal(mdg_sio_write_inline(&w, all, &part, 1, most), MDG_E_TOO_BIG);
    assert_true(w.len <= most);
    mdg_writer_init(&w, NULL, 0);
    assert_int_equal(mdg_sio_write_inline(&w, MDG_SLICE_LIT("[\"much\"]"), NULL, 0, 7),
                     MDG_E_TOO_BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_packets_name_a_namespace_and_may_carry_auth),
        cmocka_unit_test(events_and_acks_carry_ids_and_arguments),
        cmocka_unit_test(binary_packets_count_their_attachments),
        cmocka_unit_test(hostile_packets_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(no_beginning_of_an_event_is_taken_for_another_event),
        cmocka_unit_test(heads_and_events_are_written_as_the_protocol_shows_them),
        cmocka_unit_test(an_event_may_be_sent_when_it_is_an_array_that_begins_with_a_name),
        cmocka_unit_test(attachments_stand_where_their_placeholders_stood),
        cmocka_unit_test(an_attachment_that_is_named_often_does_not_fill_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
