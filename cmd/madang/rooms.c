/* madang.v1 through jansson. */
#include "v1.h"
#include <stdlib.h>
#include <string.h>

int v1_send(struct madang_client *client, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int rc = text ? madang_client_send(client, text, strlen(text), false) : MADANG_E_NO_MEMORY;
    free(text);
    json_decref(object);
    return rc;
}

int v1_begin(struct madang_client *client, const char *url)
{
    if (strncmp(url, "tcp:", 4) == 0 || strncmp(url, "tls:", 4) == 0 ||
        strncmp(url, "unix:", 5) == 0)
        return madang_client_send(client, "/json", 5, false);
    return 0;
}

json_t *v1_read(const void *data, size_t len, const char **type)
{
    json_t *object = json_loadb(data, len, JSON_ALLOW_NUL, NULL);
    *type = object ? v1_text(object, "type") : "";
    if (object && !**type) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

const char *v1_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

void v1_print(const json_t *message)
{
    const json_t *from = json_object_get(message, "from"), *data = json_object_get(message, "data");
    const char *event = v1_text(message, "event");
    printf("[%s] %s%s%s%s: ", v1_text(message, "room"), v1_text(from, "name"),
           *event && strcmp(event, "message") != 0 ? " (" : "",
           strcmp(event, "message") != 0 ? event : "",
           *event && strcmp(event, "message") != 0 ? ")" : "");
    if (data) {
        char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
        puts(text ? text : "");
        free(text);
    } else if (json_object_get(message, "base64")) {
        printf("base64:%s\n", v1_text(message, "base64"));
    } else {
        puts(v1_text(message, "text"));
    }
}
