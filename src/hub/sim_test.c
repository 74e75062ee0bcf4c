/* Some hundred random lives of rooms; `sim_test SEED COUNT` plays others. */
#include "hub/play_test.h"
#include "tests/support/unit.h"
#include <stdlib.h>

enum { LIVES = 400, STEPS_BYTES = 1500 };

static uint64_t first_seed = 1, lives = LIVES;

static void test_promises_hold_in_random_lives(void **state)
{
    (void)state;
    static uint8_t choices[STEPS_BYTES];
    for (uint64_t seed = first_seed; seed < first_seed + lives; seed++) {
        uint64_t random = seed * 0x9e3779b97f4a7c15u;
        for (size_t i = 0; i < sizeof choices; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            choices[i] = (uint8_t)(random >> 40);
        }
        hub_play(choices, sizeof choices, seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises_hold_in_random_lives),
    };
    if (argc > 2) {
        first_seed = strtoull(argv[1], NULL, 10);
        lives = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
