/* The state folder and the secret keys in it: made once, mode 0600, so that a restart signs nobody
 * out. */
#ifndef MDG_KEYS_H
#define MDG_KEYS_H

#include "base/base.h"

enum { MDG_KEY_BYTES = 32 };

struct mdg_key {
    uint8_t bytes[MDG_KEY_BYTES];
};

/* The folder to use: `configured`, or $STATE_DIRECTORY (systemd), or $XDG_STATE_HOME/madang, or
 * ~/.local/state/madang. Makes it (0700) with its parents. -errno, MDG_E_TOO_BIG; why says it. */
int mdg_state_dir(const char *configured, char *path, size_t path_size, char *why,
                  size_t why_size) MDG_NODISCARD;
/* Reads dir/name, or makes it with random bytes. Refuses a file that others may read. -errno,
 * MDG_E_SYNTAX (not a key), MDG_E_DENIED (its mode). */
int mdg_key_load(const char *dir, const char *name, struct mdg_key *key, char *why,
                 size_t why_size) MDG_NODISCARD;

#endif
