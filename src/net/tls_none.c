/* A build without TLS: no stream ever has the filter. */
#include "net/internal.h"
#include "net/tls_internal.h"

void mdg_tls_read(struct mdg_stream *s)
{
    mdg_stream_close(s, MDG_E_UNSUPPORTED);
}

void mdg_tls_read_pending(struct mdg_stream *s)
{
    mdg_stream_close(s, MDG_E_UNSUPPORTED);
}

void mdg_tls_flush(struct mdg_stream *s)
{
    mdg_stream_close(s, MDG_E_UNSUPPORTED);
}

bool mdg_tls_shut(struct mdg_stream *s)
{
    (void)s;
    return true;
}

bool mdg_tls_busy(const struct mdg_stream *s)
{
    (void)s;
    return false;
}

void mdg_tls_moved(struct mdg_tls *tls, struct mdg_stream *s)
{
    (void)tls, (void)s;
}

void mdg_tls_free(struct mdg_tls *tls)
{
    assert(!tls);
}
