/* Database files hold what people have said and what waits for them: for their owner alone. */
#ifndef MDG_PRIVATE_FILE_H
#define MDG_PRIVATE_FILE_H

/* Makes the file with mode 0600 if it is missing, before SQLite would make it with what the umask
 * leaves; what SQLite puts beside it takes its mode. A file that is there keeps the mode that its
 * owner gave it. Whatever goes wrong here, SQLite will say. */
void mdg_private_file_make(const char *path);

#endif
