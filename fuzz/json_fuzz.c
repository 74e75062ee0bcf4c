/* Any text: what the validator accepts, the iterators must walk completely and inside the text; on
 * what it refuses, they must stay inside all the same. */
#include "base/json.h"
#include "fuzz/fuzz.h"

enum { STEPS_MAX = 100000 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void walk(struct mdg_slice value, unsigned depth, unsigned *steps)
{
    struct mdg_json_iter it;
    struct mdg_slice k, v;
    if (depth > 8 || ++*steps > STEPS_MAX)
        return;
    if (mdg_json_type(value) == MDG_JSON_STRING) {
        uint8_t *room = mdg_fuzz_piece(value.data, value.len);
        int64_t n = mdg_json_unescape(value, room, value.len);
        if (n >= 0)
            must(mdg_json_string_eq(value, mdg_slice(room, (size_t)n)));
        free(room);
    }
    if (mdg_json_array(value, &it)) {
        while (mdg_json_element(&it, &v))
            walk(v, depth + 1, steps);
    } else if (mdg_json_object(value, &it)) {
        while (mdg_json_member(&it, &k, &v)) {
            walk(k, depth + 1, steps);
            walk(v, depth + 1, steps);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = mdg_fuzz_piece(data, size);
    struct mdg_slice value = mdg_slice(text, size);
    unsigned steps = 0;
    bool good = mdg_json_check(value, 64, &value) == 0;
    walk(value, 0, &steps);
    if (good && mdg_json_type(value) == MDG_JSON_ARRAY) {
        struct mdg_json_iter it;
        struct mdg_slice v;
        must(mdg_json_array(value, &it));
        while (mdg_json_element(&it, &v))
            must(mdg_json_check(v, 64, NULL) == 0);
    }
    free(text);
    return 0;
}
