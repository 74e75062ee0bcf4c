/* Masking and UTF-8 kernels in three forms. The UTF-8 ones only say how far the text is certainly
 * good; whatever is near an error or an end goes through the state machine in utf8.c, so that
 * these may be simple. */
#include "base/cpu.h"
#include "base/utf8.h"

static uint64_t mask_portable(uint8_t *data, size_t len, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key, seen = 0, word;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= wide;
        seen |= word;
        memcpy(data + i, &word, 8);
    }
    uint8_t bytes[4];
    memcpy(bytes, &key, 4);
    for (; i < len; i++) {
        data[i] ^= bytes[i & 3];
        seen |= data[i];
    }
    return seen;
}

/* How many bytes at the end of data[0..len) belong to a character that is not complete there. */
static size_t open_tail(const uint8_t *data, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t c = data[len - back];
        if (c >= 0xc0)
            return back < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? back : 0;
        if (c < 0x80)
            return 0;
    }
    return 0;
}

/* Skips ASCII; the state machine does the rest. */
static size_t utf8_portable(const uint8_t *data, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        while (i + 8 <= len && (memcpy(&word, data + i, 8), (word & 0x8080808080808080u) == 0))
            i += 8;
        size_t block = mdg_min_size(len - i, 64);
        uint8_t state = mdg_utf8_step(MDG_UTF8_START, data + i, block);
        if (state == MDG_UTF8_BAD)
            return i;
        if (state == MDG_UTF8_START) {
            i += block;
            continue;
        }
        size_t open = open_tail(data + i, block);
        if (open == block || block < 64)
            return i + block - open;
        i += block - open;
    }
    return i;
}

static const struct mdg_cpu portable = {"portable", mask_portable, utf8_portable,
                                        mdg_sha1_portable};

#if MDG_CPU_X86
#include <cpuid.h>
#include <immintrin.h>

__attribute__((target("avx2"))) static uint64_t mask_avx2(uint8_t *data, size_t len, uint32_t key)
{
    if (len < 32)
        return mask_portable(data, len, key);
    const __m256i k = _mm256_set1_epi32((int)key);
    __m256i seen = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 64 <= len; i += 64) {
        __m256i *at = (__m256i *)(void *)(data + i);
        __m256i a = _mm256_xor_si256(_mm256_loadu_si256(at), k);
        __m256i b = _mm256_xor_si256(_mm256_loadu_si256(at + 1), k);
        _mm256_storeu_si256(at, a);
        _mm256_storeu_si256(at + 1, b);
        seen = _mm256_or_si256(seen, _mm256_or_si256(a, b));
    }
    uint64_t high = _mm256_movemask_epi8(seen) ? 0x80 : 0;
    return high | mask_portable(data + i, len - i, key);
}

/* The lookup method: three 16-entry tables, indexed by the high and low half of the byte before
 * and the high half of the byte itself, whose bits name the errors that are still possible; an
 * error is real when all three agree (Keiser and Lemire, "Validating UTF-8 In Less Than One
 * Instruction Per Byte", 2021, section 6). */
enum {
    TOO_SHORT = 1 << 0, /* a lead without its continuation */
    TOO_LONG = 1 << 1,  /* ASCII followed by a continuation */
    OVERLONG_3 = 1 << 2,
    TOO_LARGE = 1 << 3, /* above U+10FFFF */
    SURROGATE = 1 << 4,
    OVERLONG_2 = 1 << 5,
    TOO_LARGE_1000 = 1 << 6,
    OVERLONG_4 = 1 << 6,
    TWO_CONTS = 1 << 7,
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONTS
};

#define OF(x) (char)(x)

__attribute__((target("avx2"))) static inline __m256i lut(const uint8_t row[16], __m256i index)
{
    const __m128i r = _mm_loadu_si128((const __m128i *)(const void *)row);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(r), index);
}

/* The 32 bytes that end `n` bytes before the end of `now`. */
#define PREV(now, before, n)                                                                       \
    _mm256_alignr_epi8(now, _mm256_permute2x128_si256(before, now, 0x21), 16 - (n))

static const uint8_t by_high_1[16] = {TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TOO_LONG,
                                      TWO_CONTS,
                                      TWO_CONTS,
                                      TWO_CONTS,
                                      TWO_CONTS,
                                      TOO_SHORT | OVERLONG_2,
                                      TOO_SHORT,
                                      TOO_SHORT | OVERLONG_3 | SURROGATE,
                                      TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4};
static const uint8_t by_low_1[16] = {CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4,
                                     CARRY | OVERLONG_2,
                                     CARRY,
                                     CARRY,
                                     CARRY | TOO_LARGE,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000,
                                     CARRY | TOO_LARGE | TOO_LARGE_1000};
static const uint8_t by_high_2[16] = {TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 |
                                          TOO_LARGE_1000 | OVERLONG_4,
                                      TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE,
                                      TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
                                      TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT,
                                      TOO_SHORT};

__attribute__((target("avx2"))) static inline __m256i block_errors(__m256i now, __m256i before)
{
    const __m256i nibble = _mm256_set1_epi8(0x0f), high = _mm256_set1_epi8(OF(0x80));
    __m256i prev1 = PREV(now, before, 1);
    __m256i special = _mm256_and_si256(
        _mm256_and_si256(lut(by_high_1, _mm256_and_si256(_mm256_srli_epi16(prev1, 4), nibble)),
                         lut(by_low_1, _mm256_and_si256(prev1, nibble))),
        lut(by_high_2, _mm256_and_si256(_mm256_srli_epi16(now, 4), nibble)));
    /* A byte two after 111xxxxx or three after 1111xxxx must be a continuation, and only those. */
    __m256i third = _mm256_subs_epu8(PREV(now, before, 2), _mm256_set1_epi8(0xe0 - 0x80));
    __m256i fourth = _mm256_subs_epu8(PREV(now, before, 3), _mm256_set1_epi8(0xf0 - 0x80));
    __m256i must = _mm256_and_si256(_mm256_or_si256(third, fourth), high);
    return _mm256_xor_si256(must, special);
}

__attribute__((target("avx2"))) static size_t utf8_avx2(const uint8_t *data, size_t len)
{
    __m256i before = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 64 <= len; i += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(data + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(data + i + 32));
        __m256i errors;
        if (_mm256_movemask_epi8(_mm256_or_si256(a, b)) == 0) {
            /* An open character in front of ASCII; a closed one leaves nothing to check. */
            if (open_tail(data, i) != 0)
                break;
            before = b;
            continue;
        }
        errors = _mm256_or_si256(block_errors(a, before), block_errors(b, a));
        if (!_mm256_testz_si256(errors, errors))
            break;
        before = b;
    }
    return i - open_tail(data, i);
}

static const struct mdg_cpu avx2 = {"avx2", mask_avx2, utf8_avx2, mdg_sha1_portable};

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,bmi,bmi2")))

AVX512 static uint64_t mask_avx512(uint8_t *data, size_t len, uint32_t key)
{
    const __m512i k = _mm512_set1_epi32((int)key);
    __m512i seen = _mm512_setzero_si512();
    size_t i = 0;
    if (len <= 64) { /* most messages: one masked step */
        __mmask64 all = _bzhi_u64(UINT64_MAX, (unsigned)len);
        __m512i v = _mm512_maskz_loadu_epi8(all, data);
        v = _mm512_maskz_mov_epi8(all, _mm512_xor_si512(v, k));
        _mm512_mask_storeu_epi8(data, all, v);
        return _mm512_movepi8_mask(v) ? 0x80 : 0;
    }
    for (; i + 128 <= len; i += 128) {
        __m512i a = _mm512_xor_si512(_mm512_loadu_si512(data + i), k);
        __m512i b = _mm512_xor_si512(_mm512_loadu_si512(data + i + 64), k);
        _mm512_storeu_si512(data + i, a);
        _mm512_storeu_si512(data + i + 64, b);
        seen = _mm512_ternarylogic_epi64(seen, a, b, 0xfe);
    }
    for (; i < len; i += 64) {
        __mmask64 part = _bzhi_u64(UINT64_MAX, (unsigned)mdg_min_size(len - i, 64));
        __m512i a = _mm512_maskz_mov_epi8(
            part, _mm512_xor_si512(_mm512_maskz_loadu_epi8(part, data + i), k));
        _mm512_mask_storeu_epi8(data + i, part, a);
        seen = _mm512_or_si512(seen, a);
    }
    return _mm512_movepi8_mask(seen) ? 0x80 : 0;
}

#define ALL(byte) _mm512_set1_epi8(OF(byte))

/* What one block of 64 bytes leaves for the next. */
struct carried {
    uint64_t due;    /* continuations that its leads call for there */
    uint64_t strict; /* it ended with a lead that restricts its second byte */
};

/* Structure by masks of 64 bits, one bit a byte: the continuations must be exactly the places that
 * the leads before them call for. Four blocks at once, for text without 4-byte characters and
 * without 0xc0, 0xc1, 0xe0, 0xe1, which is most text: errors are collected and looked at once.
 * *carried: continuations that the last block's leads call for in this one. False: look closely. */
AVX512 static inline bool group_good(const uint8_t *data, size_t i, uint64_t *carried)
{
    __m512i rare = ALL(0xff), surrogate = rare, most = _mm512_setzero_si512();
    uint64_t due = *carried, wrong = 0;
    for (size_t k = 0; k < 256; k += 64) {
        __m512i v = _mm512_loadu_si512(data + i + k);
        /* The first byte of all has nothing before it. */
        __m512i before = i + k ? _mm512_loadu_si512(data + i + k - 1)
                               : _mm512_maskz_loadu_epi8(~UINT64_C(1), data - 1);
        uint64_t cont = _mm512_cmplt_epi8_mask(v, ALL(0xc0)); /* signed: 80..bf */
        uint64_t lead = _mm512_cmpge_epu8_mask(v, ALL(0xc0));
        uint64_t lead3 = _mm512_cmpge_epu8_mask(v, ALL(0xe0));
        wrong |= cont ^ (due | lead << 1 | lead3 << 2);
        due = lead >> 63 | lead3 >> 62;
        /* A zero byte stands for: (v & 0xde) == 0xc0; 0xed in front of 0xa0 or more. */
        rare = _mm512_min_epu8(rare, _mm512_ternarylogic_epi64(v, ALL(0xde), ALL(0xc0), 0x6a));
        surrogate = _mm512_min_epu8(
            surrogate,
            _mm512_ternarylogic_epi64(before, ALL(0xed), _mm512_subs_epu8(ALL(0xa0), v), 0xbe));
        most = _mm512_max_epu8(most, v);
    }
    __mmask64 bad = _mm512_testn_epi8_mask(rare, rare) |
                    _mm512_testn_epi8_mask(surrogate, surrogate) |
                    _mm512_cmpge_epu8_mask(most, ALL(0xf0));
    if (wrong | bad)
        return false;
    *carried = due;
    return true;
}

AVX512 static bool group_ascii(const uint8_t *data)
{
    __m512i a = _mm512_or_si512(_mm512_loadu_si512(data), _mm512_loadu_si512(data + 64));
    __m512i b = _mm512_or_si512(_mm512_loadu_si512(data + 128), _mm512_loadu_si512(data + 192));
    return _mm512_movepi8_mask(_mm512_or_si512(a, b)) == 0;
}

AVX512 static size_t utf8_avx512(const uint8_t *data, size_t len)
{
    enum { CLOSELY = 2048 }; /* how long the other method is kept to once it was needed */
    uint64_t due = 0;
    size_t i = 0;
    while (i + 256 <= len) {
        if ((due == 0 && group_ascii(data + i)) || group_good(data, i, &due)) {
            i += 256;
            continue;
        }
        i -= open_tail(data, i);
        size_t n = mdg_min_size(len - i, CLOSELY), good = utf8_avx2(data + i, n);
        i += good;
        due = 0;
        if (n - good >= 128) /* it stopped at an error */
            return i;
    }
    i -= open_tail(data, i);
    return i + utf8_avx2(data + i, len - i);
}

static const struct mdg_cpu avx512 = {"avx512", mask_avx512, utf8_avx512, mdg_sha1_portable};

/* Four rounds; w is the window of the last 16 words of the schedule. */
#define SHA1_FOUR(g, f)                                                                            \
    do {                                                                                           \
        e = (g) == 0 ? _mm_add_epi32(e, w[0]) : _mm_sha1nexte_epu32(before, w[(g)&3]);             \
        before = abcd;                                                                             \
        abcd = _mm_sha1rnds4_epu32(abcd, e, f);                                                    \
        if ((g) < 16)                                                                              \
            w[(g)&3] = _mm_sha1msg2_epu32(                                                         \
                _mm_xor_si128(_mm_sha1msg1_epu32(w[(g)&3], w[((g) + 1) & 3]), w[((g) + 2) & 3]),   \
                w[((g) + 3) & 3]);                                                                 \
    } while (0)
#define SHA1_TWENTY(f)                                                                             \
    do {                                                                                           \
        SHA1_FOUR(5 * (f), f);                                                                     \
        SHA1_FOUR(5 * (f) + 1, f);                                                                 \
        SHA1_FOUR(5 * (f) + 2, f);                                                                 \
        SHA1_FOUR(5 * (f) + 3, f);                                                                 \
        SHA1_FOUR(5 * (f) + 4, f);                                                                 \
    } while (0)

__attribute__((target("sha,sse4.1,ssse3"))) static void sha1_ni(uint32_t h[5], const uint8_t *p)
{
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i *state = (__m128i *)(void *)h;
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128(state), 0x1b), abcd_in = abcd;
    __m128i e = _mm_set_epi32((int)h[4], 0, 0, 0), e_in = e, before = abcd;
    __m128i w[4];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
    SHA1_TWENTY(0);
    SHA1_TWENTY(1);
    SHA1_TWENTY(2);
    SHA1_TWENTY(3);
    e = _mm_sha1nexte_epu32(before, e_in);
    _mm_storeu_si128(state, _mm_shuffle_epi32(_mm_add_epi32(abcd, abcd_in), 0x1b));
    h[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

/* CPUID leaf 7: __builtin_cpu_supports of gcc 12 does not know it. */
static bool has_sha(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) != 0 &&
           __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
}
#endif

struct mdg_cpu mdg_cpu_kernels = {"portable", mask_portable, utf8_portable, mdg_sha1_portable};

const struct mdg_cpu *mdg_cpu_variant(size_t i)
{
    const struct mdg_cpu *found[4] = {&portable};
    size_t n = 1;
#if MDG_CPU_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        found[n++] = &avx2;
    if (has_avx512())
        found[n++] = &avx512;
#endif
    return i < n ? found[i] : NULL;
}

__attribute__((constructor)) static void choose(void)
{
    for (size_t i = 0; mdg_cpu_variant(i); i++)
        mdg_cpu_kernels = *mdg_cpu_variant(i);
#if MDG_CPU_X86
    if (has_sha())
        mdg_cpu_kernels.sha1 = sha1_ni;
#endif
}
