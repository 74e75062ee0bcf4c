/* What comes in on /pub, text or binary, goes to everybody who is connected to /sub. */
#include "options.h"

static const char room[] = "all";

static void on_pub(struct madang *server, madang_peer peer, const void *data, size_t len,
                   bool binary, void *arg)
{
    (void)peer, (void)arg;
    madang_publish(server, room, data, len, binary, 0);
}

static void on_sub(struct madang *server, madang_peer peer, void *arg)
{
    (void)arg;
    if (madang_join(server, peer, room) < 0)
        madang_close(server, peer, 1011, "no room");
}

int main(int argc, char **argv)
{
    static const struct madang_ws_handlers pub = {.on_message = on_pub}, sub = {.on_open = on_sub};
    struct madang *server = example_server(argc, argv, "ws_message_bytes_max", "16M");
    if (madang_ws(server, "/pub", &pub, NULL) < 0 || madang_ws(server, "/sub", &sub, NULL) < 0)
        return 1;
    return example_run(server);
}
