/* A key file holds 64 hexadecimal digits and a newline. Two servers that start at the same time on
 * one folder agree on the key because the file appears under its name only when it is complete. */
#include "server/keys.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEX_LEN = 2 * MDG_KEY_BYTES };

static int join(char *path, size_t size, const char *a, const char *b)
{
    int n = snprintf(path, size, "%s/%s", a, b);
    return n < 0 || (size_t)n >= size ? MDG_E_TOO_BIG : 0;
}

/* mkdir -p, mode 0700 for what is made. */
static int make_dirs(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0700);
        *slash = '/';
        if (failed && errno != EEXIST)
            return -errno;
    }
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int default_dir(char *path, size_t size)
{
    const char *systemd = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    if (systemd && *systemd == '/') {
        /* systemd may give several, separated by colons: the first is ours. */
        int n = snprintf(path, size, "%.*s", (int)strcspn(systemd, ":"), systemd);
        return n < 0 || (size_t)n >= size ? MDG_E_TOO_BIG : 0;
    }
    if (xdg && *xdg == '/')
        return join(path, size, xdg, "madang");
    if (home && *home == '/')
        return join(path, size, home, ".local/state/madang");
    return -ENOENT;
}

int mdg_state_dir(const char *configured, char *path, size_t path_size, char *why, size_t why_size)
{
    int err = 0;
    if (*configured) {
        if (strlen(configured) >= path_size)
            err = MDG_E_TOO_BIG;
        else
            memcpy(path, configured, strlen(configured) + 1);
    } else {
        err = default_dir(path, path_size);
        if (err == -ENOENT) {
            snprintf(why, why_size, "no state folder: set --state DIR (HOME is not set)");
            return err;
        }
    }
    if (err == 0)
        err = make_dirs(path);
    if (err == 0 && access(path, R_OK | W_OK | X_OK) != 0)
        err = -errno;
    if (err < 0)
        snprintf(why, why_size, "state folder %s: %s; choose another with --state DIR",
                 *configured ? configured : path, mdg_strerror(err));
    return err;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static int read_key(const char *path, struct mdg_key *key)
{
    char text[HEX_LEN + 1];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, sizeof text);
    int failed = fstat(fd, &st);
    close(fd);
    if (failed || n < HEX_LEN)
        return MDG_E_SYNTAX;
    if (st.st_mode & 077)
        return MDG_E_DENIED;
    for (size_t i = 0; i < MDG_KEY_BYTES; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return MDG_E_SYNTAX;
        key->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int write_new_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int err = 0;
    if (write(fd, text, len) != (ssize_t)len || fsync(fd) != 0)
        err = errno ? -errno : -EIO;
    close(fd);
    return err;
}

/* Writes a complete file beside it and links it to its name; whoever linked first wins. */
static int make_key(const char *path)
{
    char text[HEX_LEN + 2], temporary[4096];
    uint8_t bytes[MDG_KEY_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return -EIO;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[HEX_LEN] = '\n';
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.new", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return MDG_E_TOO_BIG;
    int err = write_new_file(temporary, text, HEX_LEN + 1);
    if (err == 0 && link(temporary, path) != 0 && errno != EEXIST)
        err = -errno;
    unlink(temporary);
    return err;
}

int mdg_key_load(const char *dir, const char *name, struct mdg_key *key, char *why, size_t why_size)
{
    char path[4096];
    int err = join(path, sizeof path, dir, name);
    if (err == 0)
        err = read_key(path, key);
    if (err == -ENOENT) {
        err = make_key(path);
        if (err == 0)
            err = read_key(path, key);
    }
    if (err == MDG_E_DENIED)
        snprintf(why, why_size, "key file %s can be read by others: chmod 600 it", path);
    else if (err < 0)
        snprintf(why, why_size, "key file %s: %s", path, mdg_strerror(err));
    return err;
}
