/* Passwords: only the right one passes, the file is checked line by line. */
#include "server/password.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <time.h>

static void only_the_right_passcode_of_a_known_user_passes(void **state)
{
    (void)state;
    struct mdg_users *u;
    char hash[MDG_PASSWORD_HASH_MAX], other[MDG_PASSWORD_HASH_MAX];
    assert_int_equal(mdg_users_new(&u), 0);
    assert_int_equal(mdg_password_hash(MDG_SLICE_LIT("guest"), hash), 0);
    assert_int_equal(mdg_password_hash(MDG_SLICE_LIT("guest"), other), 0);
    assert_string_not_equal(hash, other); /* salted */
    assert_int_equal(mdg_users_add(u, MDG_SLICE_LIT("guest"), mdg_slice_str(hash)), 0);
    assert_int_equal(mdg_users_add(u, MDG_SLICE_LIT("guest"), mdg_slice_str(other)), MDG_E_EXISTS);
    for (int again = 0; again < 2; again++) {
        assert_true(mdg_users_check(u, MDG_SLICE_LIT("guest"), MDG_SLICE_LIT("guest")));
        assert_false(mdg_users_check(u, MDG_SLICE_LIT("guest"), MDG_SLICE_LIT("gust")));
        assert_false(mdg_users_check(u, MDG_SLICE_LIT("guest"), MDG_SLICE_LIT("")));
        assert_false(mdg_users_check(u, MDG_SLICE_LIT("gust"), MDG_SLICE_LIT("guest")));
    }
    char long_one[MDG_PASSWORD_BYTES_MAX + 1] = {0};
    assert_false(mdg_users_check(u, MDG_SLICE_LIT("guest"), mdg_slice(long_one, sizeof long_one)));
    mdg_users_free(u);
}

static uint64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void without_users_a_flood_of_logins_costs_nothing(void **state)
{
    (void)state;
    struct mdg_users *u;
    assert_int_equal(mdg_users_new(&u), 0);
    uint64_t began_ms = cpu_ms();
    for (int i = 0; i < 200; i++)
        assert_false(mdg_users_check(u, MDG_SLICE_LIT("ann"), MDG_SLICE_LIT("guess")));
    assert_true(cpu_ms() - began_ms < 100); /* one scrypt takes about ten */
    mdg_users_free(u);
}

static void a_file_names_the_line_that_is_wrong(void **state)
{
    (void)state;
    struct mdg_users *u;
    char hash[MDG_PASSWORD_HASH_MAX], text[512];
    unsigned line;
    assert_int_equal(mdg_users_new(&u), 0);
    assert_int_equal(mdg_password_hash(MDG_SLICE_LIT("s3cret:"), hash), 0);
    snprintf(text, sizeof text, "# users\n\nann:%s\r\nbob:%s\n", hash, hash);
    assert_int_equal(mdg_users_parse(u, mdg_slice_str(text), &line), 0);
    assert_true(mdg_users_check(u, MDG_SLICE_LIT("bob"), MDG_SLICE_LIT("s3cret:")));
    static const char *const wrong[] = {"x", "x:plain", "x:$scrypt$ln=12,r=8,p=1$AAAA$AAAA",
                                        "x:$scrypt$ln=30,r=8,p=1$AAAA$AAAA", ":$scrypt$"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(wrong); i++) {
        snprintf(text, sizeof text, "# one\n%s\n", wrong[i]);
        assert_int_equal(mdg_users_parse(u, mdg_slice_str(text), &line), MDG_E_SYNTAX);
        assert_int_equal(line, 2);
    }
    mdg_users_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_passcode_of_a_known_user_passes),
        cmocka_unit_test(without_users_a_flood_of_logins_costs_nothing),
        cmocka_unit_test(a_file_names_the_line_that_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
