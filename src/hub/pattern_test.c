/* Wildcards: the trie and the single match agree with the rules, holds are counted, bounds hold. */
#include "hub/pattern.h"
#include "tests/support/unit.h"
#include <stdlib.h>

static const uint64_t seed[2] = {1, 2};

static const struct {
    const char *pattern, *name;
    bool matches;
} cases[] = {
    {"a.*", "a.b", true},          {"a.*", "a", false},    {"a.*", "a.b.c", false},
    {"a.*", "a.", true},           {"*.b", "a.b", true},   {"*", "a", true},
    {"*", "a.b", false},           {"a.#", "a", true},     {"a.#", "a.b", true},
    {"a.#", "a.b.c.d", true},      {"a.#", "b", false},    {"#", "a", true},
    {"#", "a.b.c", true},          {"#.c", "a.b.c", true}, {"#.c", "c", true},
    {"#.c", "c.d", false},         {"a.#.c", "a.c", true}, {"a.#.c", "a.b.c.c", true},
    {"a.#.c", "a.b", false},       {"#.#", "a", true},     {"#.*", "a", true},
    {"*.#.*", "a", false},         {"*.#.*", "a.b", true}, {"#.a.#.b", "x.a.y.a.z.b", true},
    {"#.a.#.b", "x.b.y.a", false}, {"a*", "ab", false},    {"a*", "a*", true},
    {"a.b", "a.b", true},
};

static void count_match(void *arg, struct mdg_pattern *pattern)
{
    (void)pattern;
    ++*(unsigned *)arg;
}

static unsigned matches(struct mdg_patterns *p, const char *name)
{
    unsigned n = 0;
    mdg_patterns_match(p, mdg_slice_str(name), count_match, &n);
    return n;
}

static void each_rule_holds_in_the_trie_and_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        struct mdg_patterns *p;
        struct mdg_pattern *hold;
        assert_int_equal(mdg_patterns_new(100, seed, &p), 0);
        assert_int_equal(mdg_patterns_hold(p, mdg_slice_str(cases[i].pattern), &hold), 0);
        assert_int_equal(matches(p, cases[i].name), cases[i].matches);
        assert_int_equal(
            mdg_pattern_matches(mdg_slice_str(cases[i].pattern), mdg_slice_str(cases[i].name)),
            cases[i].matches);
        mdg_patterns_drop(p, hold);
        assert_true(mdg_patterns_empty(p));
        mdg_patterns_free(p);
    }
}

static void every_matching_pattern_is_told_once(void **state)
{
    (void)state;
    struct mdg_patterns *p;
    struct mdg_pattern *holds[MDG_ARRAY_LEN(cases)];
    assert_int_equal(mdg_patterns_new(200, seed, &p), 0);
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++)
        assert_int_equal(mdg_patterns_hold(p, mdg_slice_str(cases[i].pattern), &holds[i]), 0);
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++) {
        unsigned expected = 0;
        for (size_t k = 0; k < MDG_ARRAY_LEN(cases); k++) {
            bool again = k > 0 && holds[k] == holds[k - 1];
            for (size_t j = 0; j < k; j++)
                again |= holds[j] == holds[k];
            if (!again &&
                mdg_pattern_matches(mdg_slice_str(cases[k].pattern), mdg_slice_str(cases[i].name)))
                expected++;
        }
        assert_int_equal(matches(p, cases[i].name), expected);
    }
    for (size_t i = 0; i < MDG_ARRAY_LEN(cases); i++)
        mdg_patterns_drop(p, holds[i]);
    assert_true(mdg_patterns_empty(p));
    mdg_patterns_free(p);
}

static void a_pattern_lives_until_its_last_hold(void **state)
{
    (void)state;
    struct mdg_patterns *p;
    struct mdg_pattern *a, *b, *longer;
    assert_int_equal(mdg_patterns_new(10, seed, &p), 0);
    assert_int_equal(mdg_patterns_hold(p, MDG_SLICE_LIT("a.*"), &a), 0);
    assert_int_equal(mdg_patterns_hold(p, MDG_SLICE_LIT("a.*"), &b), 0);
    assert_int_equal(mdg_patterns_hold(p, MDG_SLICE_LIT("a.*.c"), &longer), 0);
    assert_ptr_equal(a, b);
    mdg_patterns_drop(p, a);
    assert_int_equal(matches(p, "a.x"), 1);
    mdg_patterns_drop(p, b);
    assert_int_equal(matches(p, "a.x"), 0);
    assert_int_equal(matches(p, "a.x.c"), 1);
    mdg_patterns_drop(p, longer);
    assert_true(mdg_patterns_empty(p));
    mdg_patterns_free(p);
}

static void many_hashes_do_not_explode(void **state)
{
    (void)state;
    struct mdg_patterns *p;
    struct mdg_pattern *hold;
    char pattern[64], name[1024];
    for (int i = 0; i < 31; i++) {
        pattern[2 * i] = i % 2 ? 'a' : '#';
        pattern[2 * i + 1] = '.';
    }
    for (int i = 0; i < 511; i++) {
        name[2 * i] = 'a';
        name[2 * i + 1] = '.';
    }
    assert_int_equal(mdg_patterns_new(100, seed, &p), 0);
    assert_int_equal(mdg_patterns_hold(p, mdg_slice(pattern, 61), &hold), 0);
    unsigned n = 0;
    mdg_patterns_match(p, mdg_slice(name, 1021), count_match, &n);
    assert_int_equal(n, 1);
    assert_true(mdg_pattern_matches(mdg_slice(pattern, 61), mdg_slice(name, 1021)));
    mdg_patterns_free(p);
}

static void bounds_are_held_and_failure_leaves_nothing(void **state)
{
    (void)state;
    struct mdg_patterns *p;
    struct mdg_pattern *hold;
    assert_int_equal(mdg_patterns_new(3, seed, &p), 0);
    assert_int_equal(mdg_patterns_hold(p, MDG_SLICE_LIT("a.b.c.d"), &hold), MDG_E_TOO_BIG);
    assert_true(mdg_patterns_empty(p));
    assert_int_equal(mdg_patterns_hold(p, MDG_SLICE_LIT(""), &hold), MDG_E_SYNTAX);
    char dots[MDG_PATTERN_WORDS_MAX];
    memset(dots, '.', sizeof dots);
    assert_int_equal(mdg_patterns_hold(p, mdg_slice(dots, sizeof dots), &hold), MDG_E_SYNTAX);
    assert_true(mdg_pattern_is(MDG_SLICE_LIT("a.#")));
    assert_true(mdg_pattern_is(MDG_SLICE_LIT("*")));
    assert_false(mdg_pattern_is(MDG_SLICE_LIT("a.b#")));
    mdg_patterns_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_holds_in_the_trie_and_alone),
        cmocka_unit_test(every_matching_pattern_is_told_once),
        cmocka_unit_test(a_pattern_lives_until_its_last_hold),
        cmocka_unit_test(many_hashes_do_not_explode),
        cmocka_unit_test(bounds_are_held_and_failure_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
