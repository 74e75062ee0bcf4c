/* madang passwd: a line for the file that the parameter users_file names. The password comes from
 * standard input, so that it is in no list of processes and in no shell's history. */
#include "cmd.h"
#include <madang/stomp.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PASSWORD_MAX = 1024 };

static bool read_line(char *line, size_t cap)
{
    struct termios before, quiet;
    bool typed = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (typed) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        fputs("password: ", stderr);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    bool good = fgets(line, (int)cap, stdin) != NULL;
    if (typed) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    line[good ? strcspn(line, "\r\n") : 0] = '\0';
    return good && *line;
}

int cmd_passwd(int argc, char **argv)
{
    char password[PASSWORD_MAX + 2], hash[MADANG_STOMP_HASH_MAX];
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        puts("usage: madang passwd NAME >> FILE\n"
             "\n"
             "Reads a password from standard input and prints \"NAME:HASH\", a line for the file "
             "of\n"
             "the parameter users_file (STOMP logins). Only a salted scrypt hash is kept.");
        return EXIT_OK;
    }
    if (argc != 2 || !*argv[1] || strpbrk(argv[1], ":\r\n"))
        return usage_error("madang passwd takes one name, without a colon");
    if (!read_line(password, sizeof password))
        return usage_error("no password was given on standard input");
    int rc = madang_stomp_hash(password, hash);
    memset(password, 0, sizeof password);
    if (rc < 0) {
        fprintf(stderr, "madang: %s\n", madang_strerror(rc));
        return EXIT_FAILED;
    }
    printf("%s:%s\n", argv[1], hash);
    return EXIT_OK;
}
