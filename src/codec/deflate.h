/* permessage-deflate's payloads (RFC 7692 section 7.2) over a z_stream that the caller owns. Whole
 * messages are compressed; decompression takes pieces of any size and gives output in the caller's
 * buffer, so that the caller's limit, not the sender, says how much memory a message may take.
 *
 * zlib allocates through the stream's zalloc, when a stream is opened and never afterwards (inflate
 * takes its window with the first message). */
#ifndef MDG_DEFLATE_H
#define MDG_DEFLATE_H

#include "base/base.h"
#include <zlib.h>

/* zero: z->zalloc, zfree, opaque are used as they are (NULL: malloc). bits: 8..15. zlib cannot
 * deflate with a window of 256 bytes, but with 512 its matches reach back at most 512 - 262 = 250
 * (deflate.h, MAX_DIST), so that is used for 8. MDG_E_NO_MEMORY. */
int mdg_deflate_open(z_stream *z, uint8_t bits, int level, int mem_level) MDG_NODISCARD;
void mdg_deflate_close(z_stream *z);
/* What a message of this length can become at most, in the worst case. */
size_t mdg_deflate_bound(size_t len);
/* One message (RFC 7692 7.2.1). fresh: the window is forgotten afterwards (*_no_context_takeover).
 * Returns the compressed length. out holds mdg_deflate_bound bytes, else MDG_E_NO_SPACE, and the
 * stream is unusable for this peer unless it is fresh. */
int64_t mdg_deflate_message(z_stream *z, struct mdg_slice in, bool fresh, uint8_t *out,
                            size_t cap) MDG_NODISCARD;

struct mdg_inflate {
    z_stream z;
    bool fresh;   /* the sender forgets its window after each message */
    uint8_t tail; /* bytes of the message's end (00 00 ff ff) that zlib has seen */
};

/* z's allocator as above. MDG_E_NO_MEMORY. */
int mdg_inflate_open(struct mdg_inflate *f, uint8_t bits, bool fresh) MDG_NODISCARD;
void mdg_inflate_close(struct mdg_inflate *f);
/* Decompresses from *piece into out. last: the message ends with this piece.
 * 0: the piece is used up, *produced bytes were written (and the message is complete, if last).
 * 1: out is full; call again with what is left of *piece and more room.
 * MDG_E_SYNTAX: not DEFLATE, or cut off. MDG_E_NO_MEMORY. The stream is dead then. */
int mdg_inflate_piece(struct mdg_inflate *f, struct mdg_slice *piece, bool last, uint8_t *out,
                      size_t cap, size_t *produced) MDG_NODISCARD;

#endif
