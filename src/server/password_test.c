/* Passwords: only the right one passes, the file is checked line by line. */
#include "server/password.h"
#include "server/tries.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <time.h>

static int login_from(struct mdg_users *u, const char *name, const char *passcode,
                      const char *address, uint64_t now_ms)
{
    const struct mdg_login l = {mdg_slice_str(name), mdg_slice_str(passcode),
                                mdg_slice_str(address), now_ms};
    return mdg_users_check(u, &l);
}

static int login(struct mdg_users *u, const char *name, const char *passcode)
{
    return login_from(u, name, passcode, "192.0.2.1", 0);
}

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
        assert_int_equal(login(u, "guest", "guest"), 0);
        assert_int_equal(login(u, "guest", "gust"), MDG_E_DENIED);
        assert_int_equal(login(u, "guest", ""), MDG_E_DENIED);
        assert_int_equal(login(u, "gust", "guest"), MDG_E_DENIED);
    }
    char long_one[MDG_PASSWORD_BYTES_MAX + 2];
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    assert_int_equal(login(u, "guest", long_one), MDG_E_DENIED);
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
        assert_int_equal(login(u, "ann", "guess"), MDG_E_DENIED);
    assert_true(cpu_ms() - began_ms < 100); /* one scrypt takes about ten */
    mdg_users_free(u);
}

static void a_flood_of_wrong_passcodes_is_put_off_and_costs_nothing(void **state)
{
    (void)state;
    struct mdg_users *u;
    char hash[MDG_PASSWORD_HASH_MAX];
    assert_int_equal(mdg_users_new(&u), 0);
    assert_int_equal(mdg_password_hash(MDG_SLICE_LIT("guest"), hash), 0);
    assert_int_equal(mdg_users_add(u, MDG_SLICE_LIT("guest"), mdg_slice_str(hash)), 0);
    assert_int_equal(mdg_users_limit(u, 3, 0), 0);
    assert_int_equal(login_from(u, "guest", "guest", "2001:db8::1", 1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(login_from(u, "guest", "guess", "2001:db8::1", 1), MDG_E_DENIED);
    uint64_t began_ms = cpu_ms();
    for (int i = 0; i < 200; i++)
        assert_int_equal(login_from(u, "guest", "guess", "2001:db8::2", 2), MDG_E_FULL);
    assert_true(cpu_ms() - began_ms < 100);
    /* Who was right lately comes in even from there, and others have tries of their own. */
    assert_int_equal(login_from(u, "guest", "guest", "2001:db8::1", 3), 0);
    assert_int_equal(login_from(u, "guest", "guess", "192.0.2.1", 3), MDG_E_DENIED);
    assert_int_equal(login_from(u, "guest", "guess", "2001:db8::1", 20003), MDG_E_DENIED);
    assert_int_equal(login_from(u, "guest", "guess", "2001:db8::1", 20003), MDG_E_FULL);
    mdg_users_free(u);
}

static void everybody_together_has_a_budget_of_tries(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {1, 2};
    struct mdg_tries *t;
    char address[16];
    unsigned taken = 0;
    assert_int_equal(mdg_tries_new(2, 10, seed, &t), 0);
    for (int i = 0; i < 200; i++) {
        snprintf(address, sizeof address, "192.0.2.%d", i);
        taken += mdg_tries_take(t, mdg_slice_str(address), 1);
    }
    assert_int_equal(taken, 10);
    assert_true(mdg_tries_take(t, MDG_SLICE_LIT("192.0.2.250"), 101));
    assert_false(mdg_tries_take(t, MDG_SLICE_LIT("192.0.2.251"), 101));
    mdg_tries_free(t);
}

static void a_right_passcode_is_no_guess_of_its_address(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {1, 2};
    const struct mdg_slice address = MDG_SLICE_LIT("unix:/run/x");
    struct mdg_tries *t;
    assert_int_equal(mdg_tries_new(1, 0, seed, &t), 0);
    for (int i = 0; i < 20; i++) {
        assert_true(mdg_tries_take(t, address, 1));
        mdg_tries_give_back(t, address, 1);
    }
    assert_true(mdg_tries_take(t, address, 1));
    assert_false(mdg_tries_take(t, address, 1));
    mdg_tries_free(t);
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
    assert_int_equal(login(u, "bob", "s3cret:"), 0);
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
        cmocka_unit_test(a_flood_of_wrong_passcodes_is_put_off_and_costs_nothing),
        cmocka_unit_test(everybody_together_has_a_budget_of_tries),
        cmocka_unit_test(a_right_passcode_is_no_guess_of_its_address),
        cmocka_unit_test(a_file_names_the_line_that_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
