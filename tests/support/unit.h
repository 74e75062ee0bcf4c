/* cmocka with the headers that it wants before itself, for every *_test.c. */
#ifndef MDG_TEST_UNIT_H
#define MDG_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
