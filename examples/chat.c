/* A chat on the library alone: the first line that a client sends is its name; everything after it
 * goes to everyone in the room as "name: text". */
#include "options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 32, LINE_MAX_BYTES = 4096 };

static const char room[] = "courtyard";

static void tell_all(struct madang *server, const char *name, const char *what, size_t len)
{
    char line[NAME_MAX_BYTES + LINE_MAX_BYTES + 8];
    int n = snprintf(line, sizeof line, "%s: %.*s", name, (int)len, what);
    if (n > 0 && (size_t)n < sizeof line)
        madang_publish(server, room, line, (size_t)n, false, 0);
}

static void on_open(struct madang *server, madang_peer peer, void *arg)
{
    static const char ask[] = "What is your name?";
    (void)arg;
    madang_send(server, peer, ask, sizeof ask - 1, false);
}

static void on_message(struct madang *server, madang_peer peer, const void *data, size_t len,
                       bool binary, void *arg)
{
    char *name = madang_user(server, peer);
    (void)arg;
    if (binary || len > (name ? LINE_MAX_BYTES : NAME_MAX_BYTES)) {
        madang_close(server, peer, 1003, "text of a reasonable length, please");
        return;
    }
    if (name) {
        tell_all(server, name, data, len);
        return;
    }
    name = strndup(data, len);
    if (!name)
        return;
    madang_set_user(server, peer, name);
    madang_join(server, peer, room);
    tell_all(server, name, "came in", 7);
}

static void on_close(struct madang *server, madang_peer peer, int code, const char *reason,
                     size_t reason_len, void *arg)
{
    char *name = madang_user(server, peer);
    (void)code, (void)reason, (void)reason_len, (void)arg;
    if (name)
        tell_all(server, name, "left", 4);
    free(name);
}

int main(int argc, char **argv)
{
    static const struct madang_ws_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close};
    struct madang *server = example_server(argc, argv, NULL, NULL);
    if (madang_ws(server, "/", &handlers, NULL) < 0)
        return 1;
    return example_run(server);
}
