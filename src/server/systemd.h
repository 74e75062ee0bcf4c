/* What systemd and its like tell and want to hear (sd_notify(3), sd_listen_fds(3)), without their
 * library: two environment variables and a datagram. */
#ifndef MDG_SYSTEMD_H
#define MDG_SYSTEMD_H

#include "base/base.h"

/* "READY=1", "STOPPING=1". Silent when nobody listens. */
void mdg_systemd_notify(const char *state);
/* The number of listening sockets that were passed on, from descriptor 3; 0: none. Takes the
 * variables out of the environment, so that no child believes they are its own. */
int mdg_systemd_sockets(void);
enum { MDG_SYSTEMD_FIRST_FD = 3, MDG_SYSTEMD_FDS_MAX = 64 };

#endif
