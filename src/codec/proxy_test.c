/* PROXY headers of both versions, whole and in every cut. */
#include "codec/proxy.h"
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>

static void say_addr(struct mdg_test_out *out, const struct mdg_proxy *p,
                     const struct mdg_proxy_addr *a)
{
    mdg_test_say(out, " ");
    for (unsigned i = 0; i < (p->family == MDG_PROXY_IP4 ? 4 : 16); i++)
        mdg_test_say(out, "%02x", a->ip[i]);
    mdg_test_say(out, ":%u", a->port);
}

static void decode(struct mdg_test_pieces *pieces, struct mdg_test_out *out, void *arg)
{
    (void)arg;
    size_t len = 0;
    struct mdg_input in;
    while ((in = mdg_test_next_piece(pieces, len)).data) {
        struct mdg_proxy p;
        int n = mdg_proxy_parse(mdg_slice(in.data, in.len), &p);
        len = in.len;
        if (n == 0)
            continue;
        if (n < 0) {
            mdg_test_say(out, "refused %d", n);
            return;
        }
        mdg_test_say(out, "%d family=%d", n, p.family);
        if (p.family == MDG_PROXY_IP4 || p.family == MDG_PROXY_IP6) {
            say_addr(out, &p, &p.source);
            say_addr(out, &p, &p.destination);
        }
        return;
    }
    mdg_test_say(out, "more");
}

static void expect(const void *bytes, size_t len, const char *said)
{
    mdg_test_every_cut(decode, NULL, mdg_slice(bytes, len), said);
}

#define LINE(text, said) expect((text), sizeof(text) - 1, (said))

static void version_1(void **state)
{
    (void)state;
    LINE("PROXY TCP4 1.2.3.4 255.0.10.9 65535 80\r\nGET", "40 family=1 01020304:65535 ff000a09:80");
    LINE("PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 2\r\n",
         "43 family=2 20010db8000000000000000000000001:1 00000000000000000000ffff01020304:2");
    LINE("PROXY TCP6 :: 1:2:3:4:5:6:7:8 1 2\r\n",
         "35 family=2 00000000000000000000000000000000:1 00010002000300040005000600070008:2");
    LINE("PROXY UNKNOWN\r\n", "15 family=0");
    LINE("PROXY UNKNOWN whatever 1 2 3\r\n", "30 family=0");
    LINE("PROXY TCP4 1.2.3.4 5.6.7.8 1 2", "more");
    static const char *const bad[] = {
        "PROXX ",
        "GET / HTTP/1.1\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.2.3.4 ::2 1 2\r\n",
        "PROXY TCP6 1::2::3 ::2 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 ::2 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::2 1 2\r\n",
        "PROXY TCP6 12345::1 ::2 1 2\r\n",
        "PROXY TCP6 1: ::2 1 2\r\n",
        "PROXY TCP6 :1 ::2 1 2\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\r\r\n",
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        expect(bad[i], strlen(bad[i]), "refused -1000");
    char line[200];
    int n = snprintf(line, sizeof line, "PROXY UNKNOWN %0*d\r\n", MDG_PROXY_V1_BYTES_MAX - 16, 0);
    assert_int_equal(n, MDG_PROXY_V1_BYTES_MAX);
    expect(line, (size_t)n, "107 family=0");
    n = snprintf(line, sizeof line, "PROXY UNKNOWN %0*d\r\n", MDG_PROXY_V1_BYTES_MAX - 15, 0);
    expect(line, (size_t)n, "refused -1000");
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void version_2(void **state)
{
    (void)state;
    LINE(SIGNATURE "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x01\x00GET",
         "28 family=1 01020304:1 05060708:256");
    LINE(SIGNATURE "\x21\x11\x00\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x01\x00\x04\x00\x00",
         "31 family=1 01020304:1 05060708:256");
    LINE(SIGNATURE "\x21\x21\x00\x24"
                   "0123456789abcdef"
                   "ABCDEFGHIJKLMNOP"
                   "\x00\x01\x00\x02",
         "52 family=2 30313233343536373839616263646566:1 4142434445464748494a4b4c4d4e4f50:2");
    LINE(SIGNATURE "\x20\x00\x00\x00", "16 family=0");
    LINE(SIGNATURE "\x20\x11\x00\x01x", "17 family=0");
    LINE(SIGNATURE "\x21\x00\x00\x00", "16 family=0");
    LINE(SIGNATURE "\x21\x11\x00\x0b", "refused -1000");
    LINE(SIGNATURE "\x22\x11\x00\x0c", "refused -1000");
    LINE(SIGNATURE "\x11\x11\x00\x0c", "refused -1000");
    LINE(SIGNATURE "\x21\x41\x00\x0c", "refused -1000");
    LINE(SIGNATURE "\x21\x11\xff\xff", "refused -1001");
    LINE("\r\n\r\nGET / HTTP/1.1\r\n", "refused -1000");
    LINE(SIGNATURE "\x21", "more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
