#include "store/private_file.h"
#include <fcntl.h>
#include <unistd.h>

void mdg_private_file_make(const char *path)
{
    /* Exclusive: closing a descriptor of a database that is open would drop its locks (POSIX). */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}
