/* Lives of rooms written by the fuzzer: see src/hub/play_test.h. */
#include "fuzz/fuzz.h"
#include "hub/play_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hub_play(data, size < 4096 ? size : 4096, 0);
    return 0;
}
