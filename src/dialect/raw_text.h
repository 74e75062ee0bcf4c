/* What a person reads: one line a message, and never a byte that a terminal would obey. */
#ifndef MDG_RAW_TEXT_H
#define MDG_RAW_TEXT_H

#include "base/writer.h"
#include "hub/hub.h"

/* Controls (C0, DEL, C1) become spaces: escape sequences of others must not reach a terminal, and
 * a line break would forge a line. */
void mdg_raw_write_clean(struct mdg_writer *w, struct mdg_slice text);
/* "ann", "~ben" for a guest. */
void mdg_raw_write_name(struct mdg_writer *w, struct mdg_slice name, bool guest);
/* "3 here: ann, ~ben, ~guest-1f" */
void mdg_raw_write_users(struct mdg_writer *w, uint64_t count, const struct mdg_user *users,
                         size_t user_count);
/* "[lobby] ann: hi"; binary: "[lobby] ann /base64: aGk="; with an event: "[lobby] ann /name: hi".
 * Presence: "* [lobby] ann came, ~ben left"; nothing at all for counts alone. */
void mdg_raw_write_message(struct mdg_writer *w, const struct mdg_msg *m);

#endif
