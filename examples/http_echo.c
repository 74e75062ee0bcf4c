/* Answers every request, whatever its method and path, with 200 and the request's own body. */
#include "options.h"
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 16 << 20 };

struct body {
    char *data;
    size_t len;
};

static int on_request(struct madang *server, struct madang_request *request, void *arg)
{
    (void)server, (void)arg;
    madang_request_set_user(request, calloc(1, sizeof(struct body)));
    return madang_request_user(request) ? 0 : MADANG_E_NO_MEMORY;
}

static void drop(struct madang_request *request)
{
    struct body *body = madang_request_user(request);
    free(body->data);
    free(body);
}

static int on_body(struct madang *server, struct madang_request *request, const void *data,
                   size_t len, bool last, void *arg)
{
    struct body *body = madang_request_user(request);
    (void)server, (void)arg;
    if (len) {
        char *more = realloc(body->data, body->len + len);
        if (!more)
            return MADANG_E_NO_MEMORY;
        memcpy(more + body->len, data, len);
        body->data = more;
        body->len += len;
    }
    if (!last)
        return 0;
    struct body answer = *body;
    free(body);
    int err = madang_respond(request, 200, NULL, 0, answer.data, answer.len);
    free(answer.data);
    return err;
}

static void on_abort(struct madang *server, struct madang_request *request, void *arg)
{
    (void)server, (void)arg;
    drop(request);
}

int main(int argc, char **argv)
{
    static const struct madang_http_handlers handlers = {on_request, on_body, NULL, on_abort};
    struct madang *server = example_server(argc, argv, "http_body_bytes_max", "16M");
    if (madang_http(server, "*", "/*", &handlers, NULL) < 0)
        return 1;
    return example_run(server);
}
