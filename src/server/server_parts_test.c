/* The parts of the server that need no socket: parameters, tokens, names, the Origin rule, routes,
 * listen addresses, handles. */
#include "server/auth.h"
#include "server/binds.h"
#include "server/handles.h"
#include "server/names.h"
#include "server/origin.h"
#include "server/params.h"
#include "server/routes.h"
#include "server/token.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct mdg_key key = {{1, 2, 3}};

static void parameters_take_their_types_and_bounds(void **state)
{
    (void)state;
    struct mdg_params p;
    char why[200];
    assert_int_equal(mdg_params_init(&p), 0);
    assert_string_equal(p.listen.items[0], "127.0.0.1:8080");
    assert_int_equal(mdg_params_set(&p, "ws-message-bytes-max", "64k", why, sizeof why), 0);
    assert_int_equal(p.ws_message_bytes_max, 65536);
    assert_int_equal(mdg_params_set(&p, "workers", "65", why, sizeof why), MDG_E_TOO_BIG);
    assert_non_null(strstr(why, "0 to 64"));
    assert_int_equal(mdg_params_set(&p, "workers", "two", why, sizeof why), MDG_E_SYNTAX);
    assert_int_equal(mdg_params_set(&p, "echo", "maybe", why, sizeof why), MDG_E_SYNTAX);
    assert_int_equal(mdg_params_set(&p, "log_level", "loud", why, sizeof why), MDG_E_SYNTAX);
    assert_int_equal(mdg_params_set(&p, "colour", "red", why, sizeof why), MDG_E_NOT_FOUND);
    assert_int_equal(mdg_params_set(&p, "listen", "a:1, b:2", why, sizeof why), 0);
    assert_int_equal(mdg_params_set(&p, "listen", "c:3", why, sizeof why), 0);
    assert_int_equal(p.listen.len, 3);
    assert_string_equal(p.listen.items[2], "c:3");
    struct mdg_params copy;
    assert_int_equal(mdg_params_copy(&copy, &p), 0);
    assert_string_equal(copy.listen.items[1], "b:2");
    mdg_params_fini(&copy);
    mdg_params_fini(&p);
}

static void a_token_says_who_until_when_and_cannot_be_changed(void **state)
{
    (void)state;
    struct mdg_claims in = {.sub = "ann", .sub_len = 3, .exp_unix_ms = 5000000, .owner = 77}, out;
    char token[512];
    assert_int_equal(mdg_token_sign(&key, &in, token, sizeof token), 0);
    assert_int_equal(mdg_token_verify(&key, mdg_slice_str(token), 4999000, &out), 0);
    assert_string_equal(out.sub, "ann");
    assert_int_equal(out.owner, 77);
    assert_false(out.admin);
    assert_int_equal(mdg_token_verify(&key, mdg_slice_str(token), 5000000, &out), MDG_E_EXPIRED);
    struct mdg_key other = {{9}};
    assert_int_equal(mdg_token_verify(&other, mdg_slice_str(token), 1, &out), MDG_E_DENIED);
    for (size_t i = 0; token[i]; i++) {
        char saved = token[i];
        token[i] = saved == 'A' ? 'B' : 'A';
        assert_true(mdg_token_verify(&key, mdg_slice_str(token), 1, &out) < 0);
        token[i] = saved;
    }
}

static void an_unsigned_token_is_refused(void **state)
{
    (void)state;
    struct mdg_claims out;
    /* {"alg":"none"}.{"sub":"ann"}. and one with an empty signature */
    assert_true(mdg_token_verify(&key, MDG_SLICE_LIT("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."), 1,
                                 &out) < 0);
    assert_true(mdg_token_verify(&key, MDG_SLICE_LIT("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ."), 1,
                                 &out) < 0);
    assert_true(mdg_token_verify(&key, MDG_SLICE_LIT("a.b"), 1, &out) < 0);
    assert_true(mdg_token_verify(&key, MDG_SLICE_LIT(""), 1, &out) < 0);
}

static void a_known_token_of_another_maker_is_accepted(void **state)
{
    (void)state;
    /* Made with Python's hmac: {"alg":"HS256","typ":"JWT"}.{"sub":"bob","exp":4102444800} under 32
     * bytes of 'k'. */
    struct mdg_key k;
    struct mdg_claims out;
    memset(k.bytes, 'k', sizeof k.bytes);
    struct mdg_slice token = MDG_SLICE_LIT("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
                                           "eyJzdWIiOiJib2IiLCJleHAiOjQxMDI0NDQ4MDB9."
                                           "hrii0aB4PRCXiU_dKEhzet_AwKkeSGioRrJC0kU3QeQ");
    assert_int_equal(mdg_token_verify(&k, token, 1000, &out), 0);
    assert_string_equal(out.sub, "bob");
    assert_true(out.exp_unix_ms == 4102444800000u);
}

static void names_are_what_people_can_tell_apart(void **state)
{
    (void)state;
    static const char *const good[] = {"ann", "Zo\xc3\xab", "\xea\xb9\x80\xec\xb2\xa0\xec\x88\x98",
                                       "a b", "x.y-z_1"};
    static const char *const bad[] = {"",        " a",    "a ",   "a  b",          "a:b",
                                      "a\nb",    "a\x7f", "\xff", "a\xe2\x80\x8f", "\xe3\x85\xa4",
                                      "\xc2\xa0"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(good); i++)
        assert_int_equal(mdg_name_check(mdg_slice_str(good[i])), 0);
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        assert_int_equal(mdg_name_check(mdg_slice_str(bad[i])), MDG_E_SYNTAX);
    assert_int_equal(mdg_name_check(MDG_SLICE_LIT("abcdefghijklmnopqrstuvwxyzabcdefg")),
                     MDG_E_TOO_BIG);
}

/* A home that gives names back at the time it was told. */
struct home {
    struct mdg_principal_home home;
    struct mdg_names *names;
    uint64_t now_ms;
};

static void principal_gone(struct mdg_principal_home *home, struct mdg_principal *p)
{
    struct home *h = MDG_CONTAINER_OF(home, struct home, home);
    mdg_names_give_back(h->names, p, h->now_ms);
}

static int take(struct home *h, const char *name, uint64_t owner, struct mdg_principal **out)
{
    uint64_t ousted;
    const struct mdg_name_claim claim = {.name = mdg_slice_str(name),
                                         .owner = owner,
                                         .guest = owner >= 1000,
                                         .rights = MDG_RIGHTS_USER,
                                         .home = &h->home};
    int err = mdg_names_take(h->names, &claim, h->now_ms, out, &ousted);
    assert_true(ousted == 0);
    return err;
}

static void a_name_stays_with_its_holder_and_is_free_again_later(void **state)
{
    (void)state;
    struct home h = {.home = {principal_gone}};
    struct mdg_principal *one, *two, *other;
    assert_int_equal(mdg_names_new((const uint64_t[2]){1, 2}, &h.names), 0);
    assert_int_equal(take(&h, "Ann", 1, &one), 0);
    assert_int_equal(take(&h, "aNN", 2, &other), MDG_E_EXISTS);
    assert_int_equal(take(&h, "ANN", 1, &two), 0); /* another device of hers */
    assert_int_equal(mdg_names_hold(h.names, MDG_SLICE_LIT("ann"), 2, 0), MDG_E_EXISTS);
    h.now_ms = 1000;
    mdg_principal_unref(mdg_principal_ref(one));
    mdg_principal_unref(one);
    assert_int_equal(take(&h, "aNN", 2, &other), MDG_E_EXISTS);
    mdg_principal_unref(two);
    h.now_ms = 1000 + MDG_NAME_HELD_MS - 1;
    assert_int_equal(take(&h, "aNN", 2, &other), MDG_E_EXISTS);
    h.now_ms++;
    assert_int_equal(take(&h, "aNN", 2, &other), 0);
    assert_int_equal(take(&h, "Ann", 1, &one), MDG_E_EXISTS);
    mdg_principal_unref(other);
    mdg_names_let_go(h.names, MDG_SLICE_LIT("Ann"), 1); /* not hers to give */
    assert_int_equal(take(&h, "Ann", 1, &one), MDG_E_EXISTS);
    mdg_names_let_go(h.names, MDG_SLICE_LIT("Ann"), 2);
    assert_int_equal(mdg_names_hold(h.names, MDG_SLICE_LIT("ann"), 1, h.now_ms), 0);
    assert_int_equal(take(&h, "Ann", 3, &other), MDG_E_EXISTS);
    assert_int_equal(take(&h, "Ann", 1, &one), 0);
    mdg_principal_unref(one);
    mdg_names_free(h.names);
}

static int prove(struct home *h, const char *name, uint64_t owner, struct mdg_principal **out,
                 uint64_t *ousted)
{
    const struct mdg_name_claim claim = {.name = mdg_slice_str(name),
                                         .owner = owner,
                                         .proven = true,
                                         .rights = MDG_RIGHTS_USER,
                                         .home = &h->home};
    return mdg_names_take(h->names, &claim, h->now_ms, out, ousted);
}

static void who_proves_a_name_takes_it_from_who_chose_it(void **state)
{
    (void)state;
    struct home h = {.home = {principal_gone}};
    struct mdg_principal *page, *tab, *one, *two, *other;
    uint64_t ousted;
    assert_int_equal(mdg_names_new((const uint64_t[2]){1, 2}, &h.names), 0);
    assert_int_equal(take(&h, "ann", 1, &page), 0);
    assert_int_equal(take(&h, "ann", 1, &tab), 0);
    assert_int_equal(prove(&h, "Ann", 7, &one, &ousted), 0);
    assert_int_equal(ousted, 1);
    assert_int_equal(prove(&h, "ann", 7, &two, &ousted), 0); /* another device */
    assert_int_equal(ousted, 0);
    mdg_principal_unref(page); /* whoever lost it leaves: that frees nothing */
    assert_int_equal(take(&h, "ann", 1, &other), MDG_E_EXISTS);
    assert_int_equal(prove(&h, "ann", 8, &other, &ousted), MDG_E_EXISTS);
    mdg_principal_unref(one);
    mdg_principal_unref(two);
    assert_int_equal(take(&h, "ann", 1, &other), MDG_E_EXISTS); /* held */
    h.now_ms = MDG_NAME_HELD_MS;
    assert_int_equal(take(&h, "ann", 1, &other), 0);
    mdg_principal_unref(other);
    assert_int_equal(prove(&h, "ann", 7, &one, &ousted), 0); /* held for a choice: nobody to oust */
    assert_int_equal(ousted, 0);
    mdg_principal_unref(tab);
    mdg_principal_unref(one);
    mdg_names_free(h.names);
}

/* What is told of a name that somebody lost. */
struct lost {
    char name[MDG_NAME_BYTES_MAX];
    uint64_t owner;
};

static void note_lost(void *arg, struct mdg_slice name, uint64_t owner)
{
    struct lost *lost = arg;
    memcpy(lost->name, name.data, name.len);
    lost->owner = owner;
}

static struct mdg_slice new_token(struct mdg_auth *a, uint64_t jti, char *room, size_t size)
{
    struct mdg_claims claims = {.sub = "ann", .sub_len = 3, .owner = jti};
    assert_int_equal(mdg_token_sign(&a->token_key, &claims, room, size), 0);
    return mdg_slice_str(room);
}

static void a_token_takes_its_name_from_a_guest_on_every_device(void **state)
{
    (void)state;
    char dir[] = "/tmp/madang-auth-XXXXXX", token[MDG_COOKIE_TEXT_MAX], path[64], why[400];
    struct lost lost = {0};
    struct mdg_auth a;
    struct mdg_params params;
    struct mdg_principal *guest, *first, *second;
    struct mdg_slice ann = MDG_SLICE_LIT("ann");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mdg_params_init(&params), 0);
    assert_int_equal(mdg_auth_init(&a, &params, dir, why, sizeof why), 0);
    a.on_oust = note_lost;
    a.on_oust_arg = &lost;
    assert_int_equal(mdg_auth_guest(&a, ann, &guest), 0);
    assert_int_equal(mdg_auth_guest(&a, ann, &second), MDG_E_EXISTS);
    assert_int_equal(mdg_auth_token(&a, new_token(&a, 1, token, sizeof token), 1, &first), 0);
    assert_string_equal(lost.name, "ann");
    assert_true(lost.owner == guest->owner);
    assert_int_equal(mdg_auth_token(&a, new_token(&a, 2, token, sizeof token), 1, &second), 0);
    mdg_principal_unref(guest);
    mdg_principal_unref(first);
    assert_int_equal(mdg_auth_guest(&a, ann, &guest), MDG_E_EXISTS);
    mdg_principal_unref(second);
    mdg_auth_fini(&a);
    mdg_params_fini(&params);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.key", dir, i ? "cookie" : "token");
        unlink(path);
    }
    rmdir(dir);
}

/* A million guests come and go, a few at a time: each name is free when its guest is gone. */
static void guests_that_have_gone_take_up_no_names(void **state)
{
    enum { AT_ONCE = 300, ROUNDS = 3500 };
    (void)state;
    struct home h = {.home = {principal_gone}};
    struct mdg_principal *guests[AT_ONCE];
    char name[24];
    assert_int_equal(mdg_names_new((const uint64_t[2]){1, 2}, &h.names), 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < AT_ONCE; i++) {
            snprintf(name, sizeof name, "guest-%06x", (unsigned)(round * AT_ONCE + i));
            assert_int_equal(take(&h, name, 1000 + i, &guests[i]), 0);
        }
        assert_int_equal(take(&h, name, 2000, &guests[0]), MDG_E_EXISTS);
        for (int i = 0; i < AT_ONCE; i++)
            mdg_principal_unref(guests[i]);
    }
    assert_int_equal(take(&h, name, 2000, &guests[0]), 0);
    mdg_principal_unref(guests[0]);
    mdg_names_free(h.names);
}

static bool allowed_over(bool secure, const char *origin, const char *host, const char *list)
{
    struct mdg_params p;
    char why[100];
    struct mdg_handshake_header headers[2] = {
        {MDG_SLICE_LIT("Host"), mdg_slice_str(host)},
        {MDG_SLICE_LIT("Origin"), mdg_slice_str(origin)},
    };
    struct mdg_handshake hs = {
        .headers = headers, .header_count = origin ? 2 : 1, .secure = secure};
    assert_int_equal(mdg_params_init(&p), 0);
    assert_int_equal(mdg_params_set(&p, "allowed_origins", list, why, sizeof why), 0);
    bool answer = mdg_origin_allowed(&p.allowed_origins, &hs);
    mdg_params_fini(&p);
    return answer;
}

static bool allowed(const char *origin, const char *host, const char *list)
{
    return allowed_over(false, origin, host, list);
}

static void pages_of_other_origins_are_refused_unless_listed(void **state)
{
    (void)state;
    assert_true(allowed(NULL, "a:8080", ""));
    assert_true(allowed("http://a:8080", "a:8080", ""));
    assert_true(allowed("https://A", "a:443", ""));
    assert_true(allowed("http://a", "a", ""));
    assert_false(allowed("http://a:8081", "a:8080", ""));
    assert_false(allowed("http://b", "a", ""));
    assert_false(allowed("http://a.evil", "a", ""));
    assert_false(allowed("null", "a", "https://b"));
    assert_true(allowed("https://b", "a", "https://c, https://b"));
    assert_false(allowed("http://b", "a", "https://b"));
    assert_true(allowed("null", "a", "*"));
    assert_true(allowed_over(true, "https://a", "a", ""));
    assert_false(allowed_over(true, "http://a", "a", ""));
    assert_false(allowed_over(true, "http://a:8443", "a:8443", ""));
    assert_true(allowed_over(true, "http://a", "a", "http://a"));
}

static void routes_match_the_most_exact_pattern(void **state)
{
    (void)state;
    struct mdg_routes r = {0};
    struct mdg_route_match m;
    int a, b, c, d;
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "GET", "/x/*", &a), 0);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "GET", "/x/{id}", &b), 0);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "GET", "/x/me", &c), 0);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "*", "/x/me", &d), 0);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "*", "/x/me", &d), MDG_E_EXISTS);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "GET", "x", &d), MDG_E_SYNTAX);
    assert_int_equal(mdg_routes_add(&r, MDG_ROUTE_HTTP, "GET", "/*/x", &d), MDG_E_SYNTAX);
    struct mdg_slice get = MDG_SLICE_LIT("GET"), head = MDG_SLICE_LIT("HEAD");
    mdg_routes_find(&r, MDG_ROUTE_HTTP, get, MDG_SLICE_LIT("/x/me"), &m);
    assert_ptr_equal(m.route->mount, &c);
    mdg_routes_find(&r, MDG_ROUTE_HTTP, head, MDG_SLICE_LIT("/x/you"), &m);
    assert_ptr_equal(m.route->mount, &b);
    assert_true(mdg_slice_eq(m.params[0].value, MDG_SLICE_LIT("you")));
    mdg_routes_find(&r, MDG_ROUTE_HTTP, get, MDG_SLICE_LIT("/x/a/b"), &m);
    assert_ptr_equal(m.route->mount, &a);
    mdg_routes_find(&r, MDG_ROUTE_HTTP, MDG_SLICE_LIT("PUT"), MDG_SLICE_LIT("/x/a"), &m);
    assert_null(m.route);
    assert_true(m.other_methods);
    mdg_routes_find(&r, MDG_ROUTE_HTTP, get, MDG_SLICE_LIT("/x"), &m);
    assert_null(m.route);
    assert_false(m.other_methods);
    mdg_routes_fini(&r);
}

static void listen_addresses_come_in_several_spellings(void **state)
{
    (void)state;
    struct mdg_bind b;
    char why[300];
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("127.0.0.1:0"), why, sizeof why), 0);
    assert_true(b.udp_too && b.kind == MDG_BIND_ALL);
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("9000"), why, sizeof why), 0);
    assert_int_equal(mdg_addr_port(&b.addr), 9000);
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("localhost:1"), why, sizeof why), 0);
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("tcp://[::1]:7"), why, sizeof why), 0);
    assert_int_equal(b.kind, MDG_BIND_LINE);
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("unix:/tmp/x"), why, sizeof why), 0);
    assert_true(b.is_unix && !b.udp_too);
    assert_int_equal(mdg_bind_parse(&b, MDG_SLICE_LIT("http+unix:/tmp/x"), why, sizeof why), 0);
    assert_int_equal(b.kind, MDG_BIND_HTTP);
    assert_true(mdg_bind_parse(&b, MDG_SLICE_LIT("ftp://127.0.0.1:1"), why, sizeof why) < 0);
    assert_true(mdg_bind_parse(&b, MDG_SLICE_LIT("127.0.0.1:99999"), why, sizeof why) < 0);
    assert_non_null(strstr(why, "127.0.0.1:99999"));
}

static void a_handle_outlives_what_it_named_and_finds_nothing(void **state)
{
    (void)state;
    struct mdg_handles t;
    int thing;
    mdg_handles_init(&t, 3, &t);
    struct mdg_handle *h = mdg_handle_new(&t, &thing, NULL);
    uint64_t id = mdg_handle_id(h);
    assert_int_equal(mdg_handle_worker(id), 3);
    assert_ptr_equal(mdg_handle_find(&t, id), h);
    mdg_handle_free(&t, h);
    assert_null(mdg_handle_find(&t, id));
    struct mdg_handle *again = mdg_handle_new(&t, &thing, NULL);
    assert_ptr_equal(again, h);
    assert_null(mdg_handle_find(&t, id));
    assert_null(mdg_handle_find(&t, 0));
    for (int i = 0; i < 5000; i++)
        assert_non_null(mdg_handle_new(&t, &thing, NULL));
    assert_ptr_equal(mdg_handle_find(&t, mdg_handle_id(again)), again);
    assert_ptr_equal(mdg_handle_owner(again), &t);
    mdg_handles_fini(&t);
}

static void keys_are_made_once_and_kept_from_others(void **state)
{
    (void)state;
    char dir[] = "/tmp/madang-keys-XXXXXX", path[64], why[400];
    struct mdg_key a, b;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mdg_key_load(dir, "k", &a, why, sizeof why), 0);
    assert_int_equal(mdg_key_load(dir, "k", &b, why, sizeof why), 0);
    assert_memory_equal(&a, &b, sizeof a);
    snprintf(path, sizeof path, "%s/k", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(mdg_key_load(dir, "k", &b, why, sizeof why), MDG_E_DENIED);
    assert_non_null(strstr(why, "chmod 600"));
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_take_their_types_and_bounds),
        cmocka_unit_test(a_token_says_who_until_when_and_cannot_be_changed),
        cmocka_unit_test(an_unsigned_token_is_refused),
        cmocka_unit_test(a_known_token_of_another_maker_is_accepted),
        cmocka_unit_test(names_are_what_people_can_tell_apart),
        cmocka_unit_test(a_name_stays_with_its_holder_and_is_free_again_later),
        cmocka_unit_test(who_proves_a_name_takes_it_from_who_chose_it),
        cmocka_unit_test(a_token_takes_its_name_from_a_guest_on_every_device),
        cmocka_unit_test(guests_that_have_gone_take_up_no_names),
        cmocka_unit_test(pages_of_other_origins_are_refused_unless_listed),
        cmocka_unit_test(routes_match_the_most_exact_pattern),
        cmocka_unit_test(listen_addresses_come_in_several_spellings),
        cmocka_unit_test(a_handle_outlives_what_it_named_and_finds_nothing),
        cmocka_unit_test(keys_are_made_once_and_kept_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
