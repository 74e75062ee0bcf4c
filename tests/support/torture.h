/* Failing the n-th allocation, n = 1, 2, 3 ..., until a scenario gets by without a failure. Link
 * the test with torture_link_args (tests/support/meson.build), which put these functions in front
 * of malloc, calloc, realloc and aligned_alloc for everything but the C library itself. */
#ifndef MDG_TEST_TORTURE_H
#define MDG_TEST_TORTURE_H

#include "base/base.h"

/* Runs fn(arg) again and again, the n-th allocation of the n-th run failing. fn cleans up after
 * itself; blocks that it left behind fail the test. */
void mdg_test_torture(void (*fn)(void *arg), void *arg);
/* Within fn: allocations between these two do not fail and are not counted. */
void mdg_test_torture_pause(void);
void mdg_test_torture_resume(void);
/* Blocks that are allocated now (counted by the same functions, also outside of a torture). */
long mdg_test_live_blocks(void);

#endif
