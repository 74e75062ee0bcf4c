#!/bin/sh
# usage: tools/check_pure.sh NAME ARCHIVE
# Fails when a layer that must be pure calls the heap, the clock, random numbers or the kernel
# (doc/ARCHITECTURE.md). Plain builds only: sanitizers and fortify add symbols of their own.
set -eu
name=$1 archive=$2
heap='malloc|calloc|realloc|free|aligned_alloc|posix_memalign'
impure='strdup|strndup|asprintf'
# The hub keeps rooms and members on the heap; a codec has all its memory from its caller.
[ "$name" = hub ] || impure="$impure|$heap"
impure="$impure|time|clock|clock_gettime|gettimeofday|nanosleep|usleep|sleep|timerfd_.*"
impure="$impure|rand|random|rand_r|getrandom|getentropy|RAND_.*"
impure="$impure|read|readv|write|writev|recv|recvfrom|recvmsg|recvmmsg|send|sendto|sendmsg|sendmmsg"
impure="$impure|open|openat|open64|close|socket|accept|accept4|bind|listen|connect|ioctl|fcntl|fcntl64"
impure="$impure|epoll_.*|eventfd|io_uring_.*|poll|ppoll|select|pthread_.*|fork|exec.*|exit|abort"
impure="$impure|printf|puts|putchar|perror|fopen|fopen64|fclose|fread|fwrite|fprintf|fputs|syslog|getenv"
found=$(nm --undefined-only "$archive" | awk '$1 == "U" { print $2 }' | sort -u |
    grep -xE "$impure" || true)
if [ -n "$found" ]; then
    echo "$name is not pure, it calls:" $found
    exit 1
fi
