/* A message as bytes for a database: everything that a subscriber may see, nothing of the process
 * that it was in. */
#ifndef MDG_RECORD_H
#define MDG_RECORD_H

#include "base/base.h"
#include "base/writer.h"
#include "hub/msg.h"

/* A writer over no memory measures. */
void mdg_record_write(struct mdg_writer *w, const struct mdg_content *content);
/* MDG_E_SYNTAX (not a record, or of a later version), MDG_E_NO_MEMORY. */
int mdg_record_read(struct mdg_slice bytes, struct mdg_content **out) MDG_NODISCARD;

#endif
