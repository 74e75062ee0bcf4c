/* How often passcodes may be tried. Each try costs about ten milliseconds of a worker (scrypt),
 * which makes a stolen file of users hard to use; attack: so many wrong ones that nobody else is
 * served. Any thread. */
#ifndef MDG_TRIES_H
#define MDG_TRIES_H

#include "base/base.h"

struct mdg_tries;

/* 0: no limit. Both allow a burst of as many. MDG_E_NO_MEMORY. */
int mdg_tries_new(uint32_t per_address_per_minute, uint32_t all_per_s, const uint64_t seed[2],
                  struct mdg_tries **out) MDG_NODISCARD;
void mdg_tries_free(struct mdg_tries *t); /* NULL is allowed */
/* address: as text, without port; an IPv6 /64 counts as one. False: later. */
bool mdg_tries_take(struct mdg_tries *t, struct mdg_slice address, uint64_t now_ms);
/* It was the right passcode: the address did not guess. */
void mdg_tries_give_back(struct mdg_tries *t, struct mdg_slice address, uint64_t now_ms);

#endif
