/* An Engine.IO session, as eio.c keeps it and eio_poll.c needs it. */
#ifndef MDG_CLIENT_EIO_H
#define MDG_CLIENT_EIO_H

#include "codec/eio.h"
#include "loop/timer.h"

struct mdg_client_eio {
    struct mdg_timer silence;
    uint32_t patience_ms; /* until a server that sends no ping is lost; 0: no end */
    uint64_t max_payload; /* of a POST; 0: not said */
    bool greeted;         /* OPEN has come */
    char sid[MDG_EIO_SID_BYTES_MAX + 1];
};

#endif
