/* A faulty layer between a process and its files: preloaded, it lets reads, writes or flushes of
   files with a name fail as a broken or full disk does, once so many bytes have passed. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum operation { NOTHING, READ, WRITE, FLUSH };

static enum operation failing = NOTHING;
static int error_number;
static long long left;
static char name[4096];

void fail_files(const char *part_of_path, int operation, int number, long long bytes)
{
    snprintf(name, sizeof name, "%s", part_of_path);
    error_number = number;
    left = bytes;
    failing = operation;
}

static int fails(int file, enum operation operation, size_t bytes)
{
    char entry[64], path[4096];
    if (failing != operation)
        return 0;
    snprintf(entry, sizeof entry, "/proc/self/fd/%d", file);
    ssize_t length = readlink(entry, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    if (!strstr(path, name))
        return 0;
    left -= bytes;
    if (left > 0)
        return 0;
    errno = error_number;
    return 1;
}

#define LAYER(operation, type, call, parameters, arguments, bytes)                     \
    type call parameters                                                               \
    {                                                                                  \
        static type(*next) parameters;                                                 \
        if (!next)                                                                     \
            next = dlsym(RTLD_NEXT, #call);                                            \
        return fails(file, operation, bytes) ? -1 : next arguments;                    \
    }

LAYER(READ, ssize_t, read, (int file, void *to, size_t n), (file, to, n), n)
LAYER(READ, ssize_t, pread, (int file, void *to, size_t n, off_t at), (file, to, n, at), n)
LAYER(READ, ssize_t, pread64, (int file, void *to, size_t n, off64_t at), (file, to, n, at), n)
LAYER(READ, ssize_t, readv, (int file, const struct iovec *to, int n), (file, to, n), to->iov_len)
LAYER(WRITE, ssize_t, write, (int file, const void *of, size_t n), (file, of, n), n)
LAYER(WRITE, ssize_t, pwrite, (int file, const void *of, size_t n, off_t at), (file, of, n, at), n)
LAYER(WRITE, ssize_t, pwrite64, (int file, const void *of, size_t n, off64_t at),
      (file, of, n, at), n)
LAYER(WRITE, ssize_t, writev, (int file, const struct iovec *of, int n), (file, of, n), of->iov_len)
LAYER(FLUSH, int, fsync, (int file), (file), 1)
