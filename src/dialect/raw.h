/* Lines that people type into nc, telnet or nc -u: text goes to the room they are in, commands
 * begin with a slash, a program may switch to madang.v1 (doc/protocols.md, "Text lines"). */
#ifndef MDG_RAW_H
#define MDG_RAW_H

#include "dialect/peer.h"

/* Greets at once and joins the default room. */
extern const struct mdg_dialect mdg_raw_dialect;
/* Waits for the first line: a person is greeted then, JSON is answered in JSON. For ports on which
 * the client has spoken first. */
extern const struct mdg_dialect mdg_raw_quiet_dialect;

#endif
