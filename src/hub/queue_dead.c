/* Dead letters: a message that nobody could process, with what is to be known of it. */
#include "hub/queue_impl.h"
#include <stdlib.h>

struct mdg_content *mdg_queue_dead_letter(const struct mdg_content *old, struct mdg_slice dead_to,
                                          struct mdg_slice why)
{
    struct mdg_msg_header headers[MDG_MSG_HEADERS_MAX];
    struct mdg_chunk *parts = malloc(old->part_count * sizeof *parts);
    struct mdg_content *c = NULL;
    size_t n = mdg_min_size(old->header_count, MDG_MSG_HEADERS_MAX - 2);
    if (!parts)
        return NULL;
    if (n)
        memcpy(headers, old->headers, n * sizeof *headers);
    headers[n++] = (struct mdg_msg_header){MDG_SLICE_LIT("original-destination"), old->channel};
    headers[n++] = (struct mdg_msg_header){MDG_SLICE_LIT("dead-letter-reason"), why};
    for (size_t k = 0; k < old->part_count; k++) {
        parts[k] = old->parts[k];
        mdg_blob_ref(parts[k].blob);
    }
    struct mdg_msg_draft draft = {.kind = (enum mdg_msg_kind)old->kind,
                                  .flags = old->flags,
                                  .channel = dead_to,
                                  .event = old->event,
                                  .id = old->id,
                                  .content_type = old->content_type,
                                  .sender_session = old->sender_session,
                                  .headers = headers,
                                  .header_count = n,
                                  .parts = parts,
                                  .part_count = old->part_count};
    if (mdg_content_new(&draft, old->unix_ms, &c) < 0) {
        for (size_t k = 0; k < old->part_count; k++)
            mdg_blob_unref(parts[k].blob);
    }
    free(parts);
    return c;
}
