/* Parsing of parameter values by the table's types. */
#include "server/params.h"
#include <stdio.h>
#include <stdlib.h>

enum param_type { TYPE_UINT, TYPE_BOOL, TYPE_TEXT, TYPE_CHOICE, TYPE_LIST };

struct param {
    struct mdg_param_info info;
    enum param_type type;
    size_t offset; /* in struct mdg_params */
    uint64_t min, max;
    const char *choices;
};

static const struct param table[] = {
#define ROW(name, type_, type_text, def, min_, max_, unit, text, choices_)                         \
    {{#name, type_text, def, #min_, #max_, unit, text},                                            \
     type_,                                                                                        \
     offsetof(struct mdg_params, name),                                                            \
     min_,                                                                                         \
     max_,                                                                                         \
     choices_},
#define MDG_UINT(name, def, min, max, unit, text)                                                  \
    ROW(name, TYPE_UINT, "number", #def, min, max, unit, text, NULL)
#define MDG_BOOL(name, def, text) ROW(name, TYPE_BOOL, "true|false", #def, 0, 1, "", text, NULL)
#define MDG_TEXT(name, def, text) ROW(name, TYPE_TEXT, "text", def, 0, 0, "", text, NULL)
#define MDG_CHOICE(name, def, choices, text)                                                       \
    ROW(name, TYPE_CHOICE, choices, def, 0, 0, "", text, choices)
#define MDG_LIST(name, def, text) ROW(name, TYPE_LIST, "list", def, 0, 0, "", text, NULL)
#include "server/params.def"
#undef ROW
#undef MDG_UINT
#undef MDG_BOOL
#undef MDG_TEXT
#undef MDG_CHOICE
#undef MDG_LIST
};

const struct mdg_param_info *mdg_param_info(size_t i)
{
    return i < MDG_ARRAY_LEN(table) ? &table[i].info : NULL;
}

static void *field(const struct mdg_params *p, const struct param *param)
{
    return (void *)((uintptr_t)p + param->offset);
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a == '-' ? '_' : *a, y = *b == '-' ? '_' : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

static const struct param *find(const char *name)
{
    for (size_t i = 0; i < MDG_ARRAY_LEN(table); i++) {
        if (same_name(table[i].info.name, name))
            return &table[i];
    }
    return NULL;
}

static void free_list(struct mdg_strings *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct mdg_strings){0};
}

static int push_list(struct mdg_strings *list, struct mdg_slice text)
{
    char *copy = strndup((const char *)text.data, text.len);
    char **items = realloc(list->items, (list->len + 1) * sizeof *items);
    if (items)
        list->items = items;
    if (!copy || !items) {
        free(copy);
        return MDG_E_NO_MEMORY;
    }
    items[list->len++] = copy;
    return 0;
}

/* A comma-separated value adds several items. */
static int add_items(struct mdg_strings *list, const char *value)
{
    struct mdg_slice rest = mdg_slice_str(value);
    while (rest.data) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&rest, ','));
        int err = item.len ? push_list(list, item) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

static int set_text(char **at, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return MDG_E_NO_MEMORY;
    free(*at);
    *at = copy;
    return 0;
}

static int parse_number(const char *value, uint64_t *out)
{
    struct mdg_slice digits = mdg_slice_str(value);
    unsigned shift = 0;
    if (digits.len > 1) {
        const char *suffix = strchr("kMG", (char)digits.data[digits.len - 1]);
        if (suffix && *suffix) {
            shift = *suffix == 'k' ? 10 : *suffix == 'M' ? 20 : 30;
            digits.len--;
        }
    }
    uint64_t number;
    int err = mdg_slice_u64(digits, &number);
    if (err < 0)
        return err;
    if (number > UINT64_MAX >> shift)
        return MDG_E_TOO_BIG;
    *out = number << shift;
    return 0;
}

static int parse_bool(const char *value, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(yes); i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            *out = strcmp(value, yes[i]) == 0;
            return 0;
        }
    }
    return MDG_E_SYNTAX;
}

static bool is_choice(const char *choices, const char *value)
{
    struct mdg_slice rest = mdg_slice_str(choices);
    while (rest.data) {
        if (mdg_slice_eq(mdg_slice_split(&rest, '|'), mdg_slice_str(value)))
            return true;
    }
    return false;
}

static int set_value(struct mdg_params *p, const struct param *param, const char *value)
{
    void *at = field(p, param);
    uint64_t number;
    int err;
    switch (param->type) {
    case TYPE_UINT:
        err = parse_number(value, &number);
        if (err < 0)
            return err;
        if (number < param->min || number > param->max)
            return MDG_E_TOO_BIG;
        memcpy(at, &number, sizeof number);
        return 0;
    case TYPE_BOOL:
        return parse_bool(value, at);
    case TYPE_CHOICE:
        return is_choice(param->choices, value) ? set_text(at, value) : MDG_E_SYNTAX;
    case TYPE_TEXT:
        return set_text(at, value);
    case TYPE_LIST:
        return add_items(at, value);
    }
    return MDG_E_SYNTAX;
}

static void explain(const struct param *param, int err, const char *value, char *why, size_t size)
{
    const struct mdg_param_info *info = &param->info;
    if (err == MDG_E_NO_MEMORY)
        snprintf(why, size, "%s: out of memory", info->name);
    else if (param->type == TYPE_UINT)
        snprintf(why, size, "%s: '%s' is not a number from %s to %s (%s)", info->name, value,
                 info->min, info->max, info->unit);
    else
        snprintf(why, size, "%s: '%s' is not one of %s", info->name, value, info->type);
}

int mdg_params_set(struct mdg_params *p, const char *name, const char *value, char *why,
                   size_t why_size)
{
    const struct param *param = find(name);
    if (!param) {
        snprintf(why, why_size, "there is no parameter '%s'", name);
        return MDG_E_NOT_FOUND;
    }
    if (param->type == TYPE_LIST) {
        struct mdg_strings *list = field(p, param);
        if (!list->replaced)
            free_list(list);
        list->replaced = true;
    }
    int err = set_value(p, param, value);
    if (err < 0)
        explain(param, err, value, why, why_size);
    else if (why_size)
        why[0] = '\0';
    return err;
}

int mdg_params_init(struct mdg_params *p)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < MDG_ARRAY_LEN(table); i++) {
        int err = set_value(p, &table[i], table[i].info.value);
        assert(err == 0 || err == MDG_E_NO_MEMORY);
        if (err < 0) {
            mdg_params_fini(p);
            return err;
        }
    }
    return 0;
}

static int copy_list(struct mdg_strings *to, const struct mdg_strings *from)
{
    for (size_t i = 0; i < from->len; i++) {
        int err = push_list(to, mdg_slice_str(from->items[i]));
        if (err < 0)
            return err;
    }
    to->replaced = from->replaced;
    return 0;
}

static int copy_field(struct mdg_params *to, const struct mdg_params *from,
                      const struct param *param)
{
    const void *source = field(from, param);
    void *target = field(to, param);
    switch (param->type) {
    case TYPE_UINT:
        memcpy(target, source, sizeof(uint64_t));
        return 0;
    case TYPE_BOOL:
        memcpy(target, source, sizeof(bool));
        return 0;
    case TYPE_LIST:
        return copy_list(target, source);
    case TYPE_TEXT:
    case TYPE_CHOICE:
        break;
    }
    return set_text(target, *(char *const *)source);
}

int mdg_params_copy(struct mdg_params *to, const struct mdg_params *from)
{
    memset(to, 0, sizeof *to);
    for (size_t i = 0; i < MDG_ARRAY_LEN(table); i++) {
        int err = copy_field(to, from, &table[i]);
        if (err < 0) {
            mdg_params_fini(to);
            return err;
        }
    }
    return 0;
}

void mdg_params_fini(struct mdg_params *p)
{
    for (size_t i = 0; i < MDG_ARRAY_LEN(table); i++) {
        void *at = field(p, &table[i]);
        if (table[i].type == TYPE_LIST)
            free_list(at);
        else if (table[i].type == TYPE_TEXT || table[i].type == TYPE_CHOICE)
            free(*(char **)at);
    }
    memset(p, 0, sizeof *p);
}
