/* --echo: an endpoint that sends every message back as it came, for conformance and speed runs. It
 * uses the public interface, as anyone's would. */
#include "server/mount.h"

static void on_message(struct madang *server, madang_peer peer, const void *data, size_t len,
                       bool binary, void *arg)
{
    (void)arg;
    int err = madang_send(server, peer, data, len, binary);
    if (err == MDG_E_FULL)
        madang_close(server, peer, MDG_CLOSE_SLOW, "read what was sent before sending more");
}

int mdg_mount_echo(struct madang *server)
{
    static const struct madang_ws_handlers handlers = {.on_message = on_message};
    static const char *const paths[] = {"/echo", "/"};
    enum { ECHO_MESSAGE_MAX = 64 << 20 };
    int err = 0;
    for (size_t i = 0; err == 0 && server->params.echo && i < MDG_ARRAY_LEN(paths); i++) {
        err = madang_ws(server, paths[i], &handlers, NULL);
        if (err == 0) {
            struct mdg_ws_options *o = &server->last_ws->options;
            o->message_bytes_max =
                o->message_bytes_max > ECHO_MESSAGE_MAX ? o->message_bytes_max : ECHO_MESSAGE_MAX;
            o->out_bytes_max = 2 * ECHO_MESSAGE_MAX;
        }
    }
    return err;
}
