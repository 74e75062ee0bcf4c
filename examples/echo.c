/* A WebSocket endpoint that sends every message back: text as text, binary as binary. */
#include "options.h"

static void on_message(struct madang *server, madang_peer peer, const void *data, size_t len,
                       bool binary, void *arg)
{
    (void)arg;
    /* A client that sends without reading fills its queue; then it has to go. */
    if (madang_send(server, peer, data, len, binary) == MADANG_E_FULL)
        madang_close(server, peer, 1008, "read before you send more");
}

int main(int argc, char **argv)
{
    static const struct madang_ws_handlers handlers = {.on_message = on_message};
    struct madang *server = example_server(argc, argv, "ws_message_bytes_max", "128M");
    if (madang_ws(server, "/", &handlers, NULL) < 0 ||
        madang_ws(server, "/echo", &handlers, NULL) < 0)
        return 1;
    return example_run(server);
}
