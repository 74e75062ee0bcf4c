/* The validator accepts RFC 8259 and nothing else; the iterators give the right slices. */
#include "base/json.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

/* Checks a copy of exactly this length, so that the address sanitizer sees an over-read. */
static int check(struct mdg_slice text, unsigned depth)
{
    uint8_t *copy = malloc(text.len ? text.len : 1);
    assert_non_null(copy);
    if (text.len)
        memcpy(copy, text.data, text.len);
    int rc = mdg_json_check(mdg_slice(copy, text.len), depth, NULL);
    free(copy);
    return rc;
}

static void well_formed_texts_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "1E5",
        "0.0",
        "true",
        "false",
        "null",
        "\"\"",
        " [ ] ",
        "{}",
        "[1,2,[3,{\"a\":[]}]]",
        "{\"a\":1,\"b\":{\"c\":null}}",
        "\"\\u00e9\\ud83d\\ude00\\/\\b\"",
        "\t\r\n {\"a\" : [ 1 , 2 ] , \"b\" : \"x\" } ",
        "\"0123456789abcdef0123456789abcdef\\n\"",
        "\"\\ud800\"",
        "[[],[],{}]",
        "\"\x7f\xea\xb0\x80\"",
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(good); i++)
        assert_int_equal(check(mdg_slice_str(good[i]), 16), 0);
}

static void everything_else_is_a_syntax_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "--1",
        "0x10",
        "NaN",
        "Infinity",
        "tru",
        "truex",
        "nul",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{}}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1}",
        "{\"a\":1]",
        "\"",
        "\"abc",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"a\tb\"",
        "\"a\nb\"",
        "'a'",
        "1 2",
        "[]]",
        "/**/1",
        "\xef\xbb\xbf[1]",
        "\v1",
        "\"0123456789abcde\x01\"",
        "{\"a\":1,,\"b\":2}",
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        assert_int_equal(check(mdg_slice_str(bad[i]), 16), MDG_E_SYNTAX);
    assert_int_equal(check(mdg_slice("1\0", 2), 16), MDG_E_SYNTAX);
    assert_int_equal(check(mdg_slice("\"\0\"", 3), 16), MDG_E_SYNTAX);
}

static void no_beginning_of_a_container_is_well_formed(void **state)
{
    (void)state;
    struct mdg_slice text = MDG_SLICE_LIT(
        "[\"chat\",{\"t\":\"hi \\ud83d\\ude00 there, a longer text\",\"n\":-1.5e3},true,null]");
    for (size_t n = 0; n < text.len; n++)
        assert_int_equal(check(mdg_slice(text.data, n), 8), MDG_E_SYNTAX);
    assert_int_equal(check(text, 8), 0);
}

static void nesting_stops_at_the_limit_given(void **state)
{
    (void)state;
    char deep[2 * MDG_JSON_DEPTH_MAX + 2];
    for (unsigned d = 1; d <= MDG_JSON_DEPTH_MAX; d++) {
        memset(deep, '[', d);
        memset(deep + d, ']', d);
        assert_int_equal(check(mdg_slice(deep, (size_t)d * 2), d), 0);
        assert_int_equal(check(mdg_slice(deep, (size_t)d * 2), d - 1), MDG_E_TOO_BIG);
    }
    assert_int_equal(check(MDG_SLICE_LIT("7"), 0), 0);
    /* kinds alternate, so that the bits of closed levels are not remembered */
    assert_int_equal(check(MDG_SLICE_LIT("[{\"a\":[{}]},[[]],{\"b\":[]}]"), 4), 0);
    assert_int_equal(check(MDG_SLICE_LIT("[{\"a\":[{}}],[[]],{\"b\":[]}]"), 4), MDG_E_SYNTAX);
}

static bool is(struct mdg_slice s, const char *text)
{
    return mdg_slice_eq(s, mdg_slice_str(text));
}

static void iteration_gives_each_value_without_blanks(void **state)
{
    (void)state;
    struct mdg_slice v, k, value;
    struct mdg_json_iter it;
    assert_int_equal(
        mdg_json_check(MDG_SLICE_LIT(" [ 1 , \"a,]\\\"\" ,[2,[3]], {\"x\":\"}\"} ,null ] "), 8,
                       &value),
        0);
    assert_int_equal(mdg_json_count(value), 5);
    assert_true(mdg_json_array(value, &it));
    assert_true(mdg_json_element(&it, &v) && is(v, "1"));
    assert_true(mdg_json_element(&it, &v) && is(v, "\"a,]\\\"\""));
    assert_true(mdg_json_element(&it, &v) && is(v, "[2,[3]]"));
    assert_true(mdg_json_element(&it, &v) && is(v, "{\"x\":\"}\"}"));
    assert_true(mdg_json_element(&it, &v) && is(v, "null"));
    assert_false(mdg_json_element(&it, &v));
    assert_false(mdg_json_object(value, &it));
    assert_false(mdg_json_member(&it, &k, &v));

    assert_true(mdg_json_object(MDG_SLICE_LIT("{ \"a\" : 1 , \"b\":{ } }"), &it));
    assert_true(mdg_json_member(&it, &k, &v) && is(k, "\"a\"") && is(v, "1"));
    assert_true(mdg_json_member(&it, &k, &v) && is(k, "\"b\"") && is(v, "{ }"));
    assert_false(mdg_json_member(&it, &k, &v));
    assert_int_equal(mdg_json_count(MDG_SLICE_LIT("[]")), 0);
    assert_int_equal(mdg_json_count(MDG_SLICE_LIT("[ ]")), 0);
}

static void find_takes_the_last_of_equal_names_and_resolves_escapes(void **state)
{
    (void)state;
    struct mdg_slice o = MDG_SLICE_LIT(
                         "{\"type\":\"x\",\"n\":{\"type\":9},\"t\\u0079pe\":\"y\",\"\":0}"),
                     v;
    assert_true(mdg_json_find(o, MDG_SLICE_LIT("type"), &v) && is(v, "\"y\""));
    assert_true(mdg_json_find(o, MDG_SLICE_LIT(""), &v) && is(v, "0"));
    assert_false(mdg_json_find(o, MDG_SLICE_LIT("typ"), &v));
    assert_false(mdg_json_find(o, MDG_SLICE_LIT("types"), &v));
    assert_false(mdg_json_find(MDG_SLICE_LIT("[1]"), MDG_SLICE_LIT("0"), &v));
}

static void strings_unescape_to_utf8(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"plain\"", "plain"},
        {"\"\"", ""},
        {"\"a\\n\\t\\\\\\/\\\"\\b\\f\\rz\"", "a\n\t\\/\"\b\f\rz"},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\ud83d\"", "\xef\xbf\xbd"},
        {"\"\\ude00\\ud83d\"", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                               "A"},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        uint8_t room[64];
        struct mdg_slice raw = mdg_slice_str(cases[i][0]), plain = mdg_slice_str(cases[i][1]);
        assert_int_equal(mdg_json_check(raw, 0, NULL), 0);
        assert_int_equal(mdg_json_unescape(raw, room, sizeof room), plain.len);
        assert_true(mdg_slice_eq(mdg_slice(room, plain.len), plain));
        assert_true(mdg_json_string_eq(raw, plain));
        assert_false(mdg_json_string_eq(raw, MDG_SLICE_LIT("plai")));
        memcpy(room, raw.data, raw.len);
        assert_int_equal(mdg_json_unescape(mdg_slice(room, raw.len), room + 1, raw.len - 2),
                         plain.len);
        assert_memory_equal(room + 1, plain.data, plain.len);
        if (plain.len)
            assert_int_equal(mdg_json_unescape(raw, room, plain.len - 1), MDG_E_NO_SPACE);
    }
    assert_int_equal(mdg_json_unescape(MDG_SLICE_LIT("12"), NULL, 0), MDG_E_SYNTAX);
}

static void getters_refuse_what_is_not_theirs(void **state)
{
    (void)state;
    uint64_t n = 0;
    bool b = false;
    assert_int_equal(mdg_json_u64(MDG_SLICE_LIT("42"), &n), 0);
    assert_int_equal(n, 42);
    assert_int_equal(mdg_json_u64(MDG_SLICE_LIT("-1"), &n), MDG_E_SYNTAX);
    assert_int_equal(mdg_json_u64(MDG_SLICE_LIT("1.0"), &n), MDG_E_SYNTAX);
    assert_int_equal(mdg_json_u64(MDG_SLICE_LIT("\"1\""), &n), MDG_E_SYNTAX);
    assert_int_equal(mdg_json_u64(MDG_SLICE_LIT("99999999999999999999"), &n), MDG_E_TOO_BIG);
    assert_int_equal(mdg_json_bool(MDG_SLICE_LIT("true"), &b), 0);
    assert_true(b);
    assert_int_equal(mdg_json_bool(MDG_SLICE_LIT("1"), &b), MDG_E_SYNTAX);
    assert_int_equal(mdg_json_type(MDG_SLICE_LIT("-1")), MDG_JSON_NUMBER);
    assert_int_equal(mdg_json_type(mdg_slice(NULL, 0)), MDG_JSON_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_texts_pass),
        cmocka_unit_test(everything_else_is_a_syntax_error),
        cmocka_unit_test(no_beginning_of_a_container_is_well_formed),
        cmocka_unit_test(nesting_stops_at_the_limit_given),
        cmocka_unit_test(iteration_gives_each_value_without_blanks),
        cmocka_unit_test(find_takes_the_last_of_equal_names_and_resolves_escapes),
        cmocka_unit_test(strings_unescape_to_utf8),
        cmocka_unit_test(getters_refuse_what_is_not_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
