/* The JSON objects of madang.v1 (doc/protocols.md), as far as pub and sub need them. */
#ifndef MADANG_CMD_V1_H
#define MADANG_CMD_V1_H

#include "client_options.h"
#include <jansson.h>

/* Sends the object and gives it up. MADANG_E_* */
int v1_send(struct madang_client *client, json_t *object);
/* Over text lines the server is asked for JSON first. */
int v1_begin(struct madang_client *client, const char *url);
/* NULL: not an object with a type (a greeting in words, say). */
json_t *v1_read(const void *data, size_t len, const char **type);
/* "" when absent or not a string. */
const char *v1_text(const json_t *object, const char *name);
/* What a message says, in words. */
void v1_print(const json_t *message);

#endif
