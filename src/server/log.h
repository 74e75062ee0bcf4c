/* One line an event on standard error, as logfmt or JSON. Values are escaped, so that a peer's name
 * or path cannot forge a line. Any thread: a line is one write. */
#ifndef MDG_LOG_H_SERVER
#define MDG_LOG_H_SERVER

#include "base/base.h"

enum mdg_log_level { MDG_LOG_ERROR, MDG_LOG_WARN, MDG_LOG_INFO, MDG_LOG_DEBUG };

struct mdg_logger {
    enum mdg_log_level level; /* least severity that is written */
    bool json;
    int fd;
};

enum { MDG_LOG_LINE_MAX = 2048 }; /* bytes; longer lines are cut */

/* level_name and format as the parameters log_level and log_format have them. */
void mdg_logger_init(struct mdg_logger *l, const char *level_name, const char *format);
/* Pairs of key and value (const char *), ended by NULL. Keys are ours; values may be anything. */
void mdg_log(const struct mdg_logger *l, enum mdg_log_level level, const char *message, ...)
    __attribute__((sentinel));

static inline bool mdg_log_on(const struct mdg_logger *l, enum mdg_log_level level)
{
    return level <= l->level;
}

#endif
