/* A plain socket to a server on this machine, for tests of the public interface. */
#ifndef MDG_TEST_DIAL_H
#define MDG_TEST_DIAL_H

#include "tests/support/unit.h"
#include <arpa/inet.h>
#include <sys/socket.h>

static inline int mdg_test_dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
    return fd;
}

#endif
