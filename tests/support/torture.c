/* The state is global because malloc has no context. Blocks are counted for every thread; which
 * allocation fails is only foreseeable for one. */
#include "tests/support/torture.h"
#include "tests/support/unit.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUNS_MAX = 20000 };

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);

static struct {
    atomic_long fail_at; /* 0: never */
    atomic_long count, live;
    atomic_bool paused, failed;
} torture;

static bool fails(void)
{
    if (torture.fail_at == 0 || torture.paused)
        return false;
    if (++torture.count != torture.fail_at)
        return false;
    torture.failed = true;
    return true;
}

static void *alive(void *block)
{
    if (block)
        torture.live++;
    return block;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : alive(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : alive(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (fails())
        return NULL;
    void *block = __real_realloc(old, size);
    if (!old && block)
        torture.live++;
    return block;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : alive(__real_aligned_alloc(align, size));
}

int __wrap_posix_memalign(void **out, size_t align, size_t size)
{
    if (fails())
        return ENOMEM;
    int err = __real_posix_memalign(out, align, size);
    if (err == 0)
        alive(*out);
    return err;
}

char *__wrap_strndup(const char *text, size_t max)
{
    size_t len = strnlen(text, max);
    char *copy = __wrap_malloc(len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}

void __wrap_free(void *block)
{
    if (block)
        torture.live--;
    __real_free(block);
}

void mdg_test_torture_pause(void)
{
    torture.paused = true;
}

void mdg_test_torture_resume(void)
{
    torture.paused = false;
}

long mdg_test_live_blocks(void)
{
    return torture.live;
}

void mdg_test_torture(void (*fn)(void *arg), void *arg)
{
    for (long n = 1; n < RUNS_MAX; n++) {
        long live = torture.live;
        torture.fail_at = n;
        torture.count = 0;
        torture.failed = torture.paused = false;
        fn(arg);
        torture.fail_at = 0;
        if (torture.live != live)
            print_error("%ld blocks left behind when allocation %ld failed\n", torture.live - live,
                        n);
        assert_int_equal(torture.live, live);
        if (!torture.failed) {
            assert_true(n > 1);
            return;
        }
    }
    fail_msg("the scenario never passed");
}
