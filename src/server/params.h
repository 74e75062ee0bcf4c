/* The parameters of a server as a plain struct, filled from text by name. One table (params.def)
 * makes the struct, the defaults, the bounds and the help. */
#ifndef MDG_PARAMS_H
#define MDG_PARAMS_H

#include "base/base.h"

struct mdg_strings {
    char **items;
    size_t len;
    bool replaced; /* the default has made way for the first value that was set */
};

struct mdg_params {
#define MDG_UINT(name, def, min, max, unit, text) uint64_t name;
#define MDG_BOOL(name, def, text) bool name;
#define MDG_TEXT(name, def, text) char *name;
#define MDG_CHOICE(name, def, choices, text) char *name;
#define MDG_LIST(name, def, text) struct mdg_strings name;
#include "server/params.def"
#undef MDG_UINT
#undef MDG_BOOL
#undef MDG_TEXT
#undef MDG_CHOICE
#undef MDG_LIST
};

/* Defaults. On MDG_E_NO_MEMORY the struct is empty and may be given to _fini. */
int mdg_params_init(struct mdg_params *p) MDG_NODISCARD;
int mdg_params_copy(struct mdg_params *to, const struct mdg_params *from) MDG_NODISCARD;
void mdg_params_fini(struct mdg_params *p);
/* '-' and '_' in names are the same. MDG_E_NOT_FOUND, MDG_E_SYNTAX, MDG_E_TOO_BIG, MDG_E_NO_MEMORY;
 * why receives a sentence (always ended with NUL). Numbers take k, M, G (1024) for bytes. */
int mdg_params_set(struct mdg_params *p, const char *name, const char *value, char *why,
                   size_t why_size) MDG_NODISCARD;

/* One row of the table; the same layout as struct madang_param. */
struct mdg_param_info {
    const char *name, *type, *value, *min, *max, *unit, *text;
};
const struct mdg_param_info *mdg_param_info(size_t i); /* NULL behind the last */

#endif
