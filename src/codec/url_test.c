/* Paths never leave their root; queries, forms and cookies are read as browsers write them. */
#include "codec/url.h"
#include "tests/support/unit.h"

static void paths_are_normalised_and_never_escape(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* out NULL: refused */
        int err;
    } paths[] = {
        {"/", "/", 0},
        {"/a/b", "/a/b", 0},
        {"/a/./b/", "/a/b/", 0},
        {"/a/../b", "/b", 0},
        {"/a/b/..", "/a/", 0},
        {"/a/b/../..", "/", 0},
        {"//a///b", "/a/b", 0},
        {"/.", "/", 0},
        {"/...", "/...", 0},
        {"/a%2Fb", "/a/b", 0},
        {"/a/%2e%2E/b", "/b", 0},
        {"/%ea%b0%80", "/\xea\xb0\x80", 0},
        {"/a+b", "/a+b", 0},
        {"/..", NULL, MDG_E_DENIED},
        {"/a/../..", NULL, MDG_E_DENIED},
        {"/a/../../b", NULL, MDG_E_DENIED},
        {"/%2e%2e/x", NULL, MDG_E_DENIED},
        {"/%2e%2e%2fetc", NULL, MDG_E_DENIED},
        {"//../x", NULL, MDG_E_DENIED},
        {"/a%00", NULL, MDG_E_SYNTAX},
        {"/a%5c..", NULL, MDG_E_SYNTAX},
        {"/a%0a", NULL, MDG_E_SYNTAX},
        {"/a%2", NULL, MDG_E_SYNTAX},
        {"/a%zz", NULL, MDG_E_SYNTAX},
        {"", NULL, MDG_E_SYNTAX},
        {"a", NULL, MDG_E_SYNTAX},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(paths); i++) {
        uint8_t out[32];
        int64_t n = mdg_url_path(mdg_slice_str(paths[i].in), out, sizeof out);
        if (!paths[i].out) {
            assert_int_equal(n, paths[i].err);
            continue;
        }
        assert_int_equal(n, strlen(paths[i].out));
        assert_memory_equal(out, paths[i].out, (size_t)n);
    }
    uint8_t small[3];
    assert_int_equal(mdg_url_path(MDG_SLICE_LIT("/ab"), small, 3), 3);
    assert_int_equal(mdg_url_path(MDG_SLICE_LIT("/abc"), small, 3), MDG_E_NO_SPACE);
}

static void queries_are_walked_and_decoded(void **state)
{
    (void)state;
    struct mdg_slice q = MDG_SLICE_LIT("a=1&&b&c=x%20y+z=&%64=4&a=2&e=%");
    uint8_t out[16];
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("a"), out, sizeof out), 1);
    assert_int_equal(out[0], '1');
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("b"), out, sizeof out), 0);
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("c"), out, sizeof out), 6);
    assert_memory_equal(out, "x y z=", 6);
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("d"), out, sizeof out), 1);
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("e"), out, sizeof out), MDG_E_SYNTAX);
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("f"), out, sizeof out), MDG_E_NOT_FOUND);
    assert_int_equal(mdg_url_query_get(q, MDG_SLICE_LIT("c"), out, 5), MDG_E_NO_SPACE);
    struct mdg_slice name, value;
    int n = 0;
    while (mdg_url_query_next(&q, &name, &value))
        n++;
    assert_int_equal(n, 6);
}

static void encoding_is_the_inverse_of_decoding(void **state)
{
    (void)state;
    uint8_t all[256], encoded[800], back[256];
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    struct mdg_writer w;
    mdg_writer_init(&w, encoded, sizeof encoded);
    mdg_url_write_encoded(&w, mdg_slice(all, sizeof all));
    assert_true(mdg_writer_fits(&w));
    assert_int_equal(mdg_url_decode(mdg_slice(encoded, w.len), true, back, sizeof back), 256);
    assert_memory_equal(all, back, 256);
    /* in place */
    assert_int_equal(mdg_url_decode(mdg_slice(encoded, w.len), false, encoded, w.len), 256);
    assert_memory_equal(all, encoded, 256);
}

static void cookies_are_found_by_exact_name(void **state)
{
    (void)state;
    struct mdg_slice h = MDG_SLICE_LIT("a=1; junk;b=\"two\"; A=3 ;c=;d=x=y; a=9");
    assert_true(mdg_slice_eq(mdg_cookie_find(h, MDG_SLICE_LIT("a")), MDG_SLICE_LIT("1")));
    assert_true(mdg_slice_eq(mdg_cookie_find(h, MDG_SLICE_LIT("b")), MDG_SLICE_LIT("two")));
    assert_true(mdg_slice_eq(mdg_cookie_find(h, MDG_SLICE_LIT("A")), MDG_SLICE_LIT("3")));
    assert_true(mdg_slice_eq(mdg_cookie_find(h, MDG_SLICE_LIT("d")), MDG_SLICE_LIT("x=y")));
    assert_non_null(mdg_cookie_find(h, MDG_SLICE_LIT("c")).data);
    assert_int_equal(mdg_cookie_find(h, MDG_SLICE_LIT("c")).len, 0);
    assert_null(mdg_cookie_find(h, MDG_SLICE_LIT("junk")).data);
    assert_null(mdg_cookie_find(mdg_slice(NULL, 0), MDG_SLICE_LIT("a")).data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_normalised_and_never_escape),
        cmocka_unit_test(queries_are_walked_and_decoded),
        cmocka_unit_test(encoding_is_the_inverse_of_decoding),
        cmocka_unit_test(cookies_are_found_by_exact_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
