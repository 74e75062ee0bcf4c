/* --port P and --workers N for every example; each prints the port that it listens on. */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include <madang/madang.h>

/* A server on 127.0.0.1:P (0: one that is free), or an end with a message. `parameter` and `value`
 * are set too when they are not NULL. */
struct madang *example_server(int argc, char **argv, const char *parameter, const char *value);
/* Starts it, prints the port, runs until SIGTERM or SIGINT, frees. The exit status. */
int example_run(struct madang *server);

#endif
