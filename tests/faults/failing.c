/* A disk that fails at its Nth operation, as a library that is loaded before libc.

   Operations that need room below one folder are counted: files and folders that are made, writes,
   fsync, rename. The Nth one fails with an error of choice, and so does every later one where that
   is lasting; a write that finds its disk full writes its first half before. Python, SQLite and
   whatever else calls libc meet the same disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at, counted;
static int error_number, is_lasting;

/* Fail from now on below `below`, which is absolute, at operation `tick` (0: never). */
void failing_arm(const char *below, long tick, int number, int lasting) {
    snprintf(folder, sizeof folder, "%s", below);
    at = tick, counted = 0, error_number = number, is_lasting = lasting;
}

long failing_counted(void) { return counted; }

static int is_below(const char *path) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int fails(void) {
    counted++;
    if (!at || (is_lasting ? counted < at : counted != at)) return 0;
    errno = error_number;
    return 1;
}

static int path_fails(int at_folder, const char *path) {
    char whole[PATH_MAX * 2], base[PATH_MAX] = "";
    if (path[0] == '/') return is_below(path) && fails();
    if (at_folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at_folder);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0) return 0;
        base[size] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return is_below(whole) && fails();
}

static int file_fails(int file) {
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = before;
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path) && fails();
}

#define NEXT(name) (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int opening_fails(int at_folder, const char *path, int flags) {
    int is_new = (flags & O_TMPFILE) == O_TMPFILE ||
                 ((flags & O_CREAT) && faccessat(at_folder, path, F_OK, 0) != 0);
    int is_read_only = error_number == EROFS && (flags & O_ACCMODE) != O_RDONLY;
    return (is_new || is_read_only) && path_fails(at_folder, path);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = va_arg(rest, mode_t);                                                        \
        va_end(rest);                                                                              \
        return opening_fails(AT_FDCWD, path, flags) ? -1 : (NEXT(name))(path, flags, mode);        \
    }
#define OPENAT(name)                                                                               \
    int name(int at_folder, const char *path, int flags, ...) {                                    \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = va_arg(rest, mode_t);                                                        \
        va_end(rest);                                                                              \
        return opening_fails(at_folder, path, flags) ? -1                                          \
                                                     : (NEXT(name))(at_folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *data, size_t size) {
    if (!file_fails(file)) return (NEXT(write))(file, data, size);
    int is_first = counted == at, is_full = errno == ENOSPC || errno == EDQUOT;
    return is_first && is_full && size > 1 ? (NEXT(write))(file, data, size / 2) : -1;
}

#define FILE_CALL(result, name, given, passed)                                                     \
    result name given { return file_fails(file) ? -1 : (NEXT(name))passed; }
FILE_CALL(ssize_t, pwrite, (int file, const void *data, size_t size, off_t to), (file, data, size, to))
FILE_CALL(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t to), (file, data, size, to))
FILE_CALL(ssize_t, writev, (int file, const struct iovec *data, int size), (file, data, size))
FILE_CALL(ssize_t, copy_file_range,
          (int from, off64_t *a, int file, off64_t *b, size_t size, unsigned flags),
          (from, a, file, b, size, flags))
FILE_CALL(ssize_t, sendfile, (int file, int from, off_t *a, size_t size), (file, from, a, size))
FILE_CALL(ssize_t, sendfile64, (int file, int from, off64_t *a, size_t size), (file, from, a, size))
FILE_CALL(int, fallocate64, (int file, int mode, off64_t from, off64_t size), (file, mode, from, size))

/* Nobody waits for the real disk: no test cuts the power. */
int fsync(int file) { return file_fails(file) ? -1 : 0; }
int fdatasync(int file) { return file_fails(file) ? -1 : 0; }
int posix_fallocate(int file, off_t from, off_t size) {
    return file_fails(file) ? errno : (NEXT(posix_fallocate))(file, from, size);
}
int posix_fallocate64(int file, off64_t from, off64_t size) {
    return file_fails(file) ? errno : (NEXT(posix_fallocate64))(file, from, size);
}
int rename(const char *from, const char *to) {
    return path_fails(AT_FDCWD, to) ? -1 : (NEXT(rename))(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return path_fails(to_folder, to) ? -1 : (NEXT(renameat))(from_folder, from, to_folder, to);
}
int mkdir(const char *path, mode_t mode) {
    return path_fails(AT_FDCWD, path) ? -1 : (NEXT(mkdir))(path, mode);
}
int mkdirat(int at_folder, const char *path, mode_t mode) {
    return path_fails(at_folder, path) ? -1 : (NEXT(mkdirat))(at_folder, path, mode);
}
