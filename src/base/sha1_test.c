/* SHA-1 against the examples of FIPS 180 and at every length around a block border. */
#include "base/cpu.h"
#include "base/sha1.h"
#include "tests/support/unit.h"
#include <openssl/evp.h>

static void the_examples_of_fips_180(void **state)
{
    (void)state;
    uint8_t out[MDG_SHA1_LEN];
    mdg_sha1(out, MDG_SLICE_LIT("abc"));
    assert_memory_equal(
        out, "\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9d",
        20);
}

static void every_length_agrees_with_openssl(void **state)
{
    (void)state;
    uint8_t in[200], out[MDG_SHA1_LEN], want[EVP_MAX_MD_SIZE];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 13);
    for (size_t len = 0; len <= sizeof in; len++) {
        mdg_sha1(out, mdg_slice(in, len));
        assert_int_equal(EVP_Digest(in, len, want, NULL, EVP_sha1(), NULL), 1);
        assert_memory_equal(out, want, MDG_SHA1_LEN);
    }
}

static void the_portable_form_agrees_too(void **state)
{
    struct mdg_cpu before = mdg_cpu_kernels;
    mdg_cpu_kernels.sha1 = mdg_sha1_portable;
    the_examples_of_fips_180(state);
    every_length_agrees_with_openssl(state);
    mdg_cpu_kernels = before;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_fips_180),
        cmocka_unit_test(every_length_agrees_with_openssl),
        cmocka_unit_test(the_portable_form_agrees_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
