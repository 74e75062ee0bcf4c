/* The environment is read once, before there are threads. */
#include "server/systemd.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void mdg_systemd_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                          (const struct sockaddr *)(const void *)&to, to_len);
    (void)sent; /* whoever watches finds out by its own time-out */
    close(fd);
}

int mdg_systemd_sockets(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t for_pid = 0, count = 0;
    bool ours = pid && fds && mdg_slice_u64(mdg_slice_str(pid), &for_pid) == 0 &&
                mdg_slice_u64(mdg_slice_str(fds), &count) == 0 && for_pid == (uint64_t)getpid() &&
                count <= MDG_SYSTEMD_FDS_MAX;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    for (int i = 0; ours && i < (int)count; i++) {
        int fd = MDG_SYSTEMD_FIRST_FD + i;
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
            return 0;
    }
    return ours ? (int)count : 0;
}
