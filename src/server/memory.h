/* The bound on the memory of the whole process (memory_bytes_max). */
#ifndef MDG_MEMORY_H
#define MDG_MEMORY_H

#include "server/server.h"

/* Resident memory of the process in bytes; 0: unknown. */
uint64_t mdg_memory_resident(void);
/* Three quarters of the machine's memory; 0: unknown, no bound. */
uint64_t mdg_memory_default_max(void);
/* Every tick on each worker. The first one looks; all of them act. */
void mdg_memory_tick(struct mdg_worker *w);

#endif
