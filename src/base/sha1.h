/* SHA-1 (FIPS 180-4 6.1), for the WebSocket accept key only, where it is not a safeguard but a sign
 * that the other side speaks the protocol (RFC 6455 10.7). Our own, so that the codec neither
 * allocates nor drags a library in; 0.2 us a handshake. */
#ifndef MDG_SHA1_H
#define MDG_SHA1_H

#include "base/base.h"

enum { MDG_SHA1_LEN = 20 };

void mdg_sha1(uint8_t out[MDG_SHA1_LEN], struct mdg_slice in);

#endif
