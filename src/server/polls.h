/* The polls of one worker: parked ones, answered ones that are about to be freed, and the message
 * that was written last. Zeroed memory is an empty one. */
#ifndef MDG_POLLS_H
#define MDG_POLLS_H

#include "base/base.h"
#include "hub/hub.h"
#include "loop/loop.h"

struct mdg_polls {
    struct mdg_list parked, answered;
    struct mdg_defer defer;
    struct mdg_content *last; /* with a reference, so that its address means it */
    struct mdg_position last_at;
    struct mdg_blob *last_json;
};

void mdg_polls_forget(struct mdg_polls *polls); /* the message that was written last */

#endif
