/* A library to preload (LD_PRELOAD): it stands between a program and the files under one directory.

   DISK_ROOT     that directory, absolute, no slash at its end
   DISK_RECORD   a file: every change and every sync under DISK_ROOT is appended to it, before it is done
                 (tests/system/power.py reads it); "" records nothing
   DISK_CONTROL  a file of 16 bytes, shared: int32 errno (0: none) that writes and syncs under DISK_ROOT
                 fail with, int32 1: syncs hang until it is 0, int64 ns to add to the wall clock

   Shared memory of SQLite (*-shm) is left out: no power cut leaves anything of it that SQLite believes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 1024, NAME = 256 };
enum { CREATE = 1, WRITE, TRUNCATE, UNLINK, MKDIR, SYNC_BEGIN, SYNC_END, RENAME };

struct control { volatile int32_t error, hangs; volatile int64_t clock_ns; };
struct entry { uint8_t kind; uint8_t zero; uint16_t path_bytes; uint32_t data_bytes; int64_t offset; int64_t ns; };

static const char *root;
static size_t root_bytes;
static int record = -1;
static struct control none, *control = &none;
static char names[FILES][NAME];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...) static result (*real_##name)(__VA_ARGS__)
REAL(int, open, const char *, int, ...);
REAL(int, close, int);
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
REAL(int, ftruncate, int, off_t);
REAL(int, unlink, const char *);
REAL(int, rename, const char *, const char *);
REAL(int, mkdir, const char *, mode_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, clock_gettime, clockid_t, struct timespec *);
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  FIND(open); FIND(close); FIND(write); FIND(pwrite); FIND(ftruncate); FIND(unlink); FIND(rename);
  FIND(mkdir); FIND(fsync); FIND(fdatasync); FIND(clock_gettime);
  const char *file = getenv("DISK_RECORD"), *shared = getenv("DISK_CONTROL");
  if (shared && *shared) {
    int fd = real_open(shared, O_RDWR);
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED) { perror("DISK_CONTROL"); _exit(70); }
    control = found;
    real_close(fd);
  }
  if (file && *file && (record = real_open(file, O_WRONLY | O_APPEND | O_CLOEXEC)) < 0) {
    perror("DISK_RECORD");
    _exit(70);
  }
  root = getenv("DISK_ROOT");
  root_bytes = root ? strlen(root) : 0;
}

/* The name under the root ("." is the root), or NULL. */
static const char *inside(const char *path) {
  if (!root_bytes || strncmp(path, root, root_bytes)) return NULL;
  path += root_bytes;
  if (!*path) return ".";
  if (*path++ != '/' || strlen(path) >= NAME) return NULL;
  size_t length = strlen(path);
  return length > 4 && !strcmp(path + length - 4, "-shm") ? NULL : path;
}

static const char *named(int fd) { return fd >= 0 && fd < FILES && names[fd][0] ? names[fd] : NULL; }

static void note(int kind, const char *path, const void *data, size_t bytes, int64_t offset) {
  if (record < 0) return;
  pthread_mutex_lock(&mutex);
  struct timespec now;
  real_clock_gettime(CLOCK_MONOTONIC, &now);
  struct entry entry = {kind, 0, strlen(path), bytes, offset, now.tv_sec * 1000000000LL + now.tv_nsec};
  struct iovec parts[] = {{&entry, sizeof entry}, {(void *)path, strlen(path)}, {(void *)data, bytes}};
  if (writev(record, parts, 3) != (ssize_t)(sizeof entry + strlen(path) + bytes)) {
    perror("DISK_RECORD");
    _exit(70);
  }
  pthread_mutex_unlock(&mutex);
}

/* Whether the disk is to fail now; errno says how. */
static int fails(const char *path) {
  if (!path || !control->error) return 0;
  errno = control->error;
  return 1;
}

static int opened(const char *path, int flags, mode_t mode) {
  const char *name = inside(path);
  int is_new = name && (flags & O_CREAT) && access(path, F_OK);
  if (is_new && fails(name)) return -1;
  int fd = real_open(path, flags, mode);
  if (!name || fd < 0) return fd;
  if (fd >= FILES) { fputs("disk.c: too many files\n", stderr); _exit(70); }
  strcpy(names[fd], name);
  if (is_new) note(CREATE, name, NULL, 0, 0);
  else if (flags & O_TRUNC) note(TRUNCATE, name, NULL, 0, 0);
  return fd;
}

#define OPEN(function) \
  int function(const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    return opened(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  if (named(fd)) names[fd][0] = 0;
  return real_close(fd);
}

ssize_t write(int fd, const void *data, size_t bytes) {
  const char *name = named(fd);
  if (fails(name)) return -1;
  if (name) note(WRITE, name, data, bytes, lseek(fd, 0, SEEK_CUR));
  return real_write(fd, data, bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
  const char *name = named(fd);
  if (fails(name)) return -1;
  if (name) note(WRITE, name, data, bytes, offset);
  return real_pwrite(fd, data, bytes, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
  return pwrite(fd, data, bytes, offset);
}

int ftruncate(int fd, off_t length) {
  const char *name = named(fd);
  if (fails(name)) return -1;
  if (name) note(TRUNCATE, name, NULL, 0, length);
  return real_ftruncate(fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int unlink(const char *path) {
  const char *name = inside(path);
  if (fails(name)) return -1;
  if (name && !access(path, F_OK)) note(UNLINK, name, NULL, 0, 0);
  return real_unlink(path);
}

int rename(const char *from, const char *to) {
  const char *name = inside(from);
  if (fails(name)) return -1;
  if (name) note(RENAME, name, NULL, 0, 0);
  return real_rename(from, to);
}

int mkdir(const char *path, mode_t mode) {
  const char *name = inside(path);
  if (fails(name)) return -1;
  int result = real_mkdir(path, mode);
  if (name && !result) note(MKDIR, name, NULL, 0, 0);
  return result;
}

#define SYNC(function) \
  int function(int fd) { \
    const char *name = named(fd); \
    if (fails(name)) return -1; \
    while (name && control->hangs) usleep(1000); \
    if (name) note(SYNC_BEGIN, name, NULL, 0, gettid()); \
    int result = real_##function(fd); \
    if (name && !result) note(SYNC_END, name, NULL, 0, gettid()); \
    return result; \
  }
SYNC(fsync)
SYNC(fdatasync)

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = real_clock_gettime(clock, now);
  if (clock == CLOCK_REALTIME && !result && control->clock_ns) {
    int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + control->clock_ns;
    now->tv_sec = ns / 1000000000LL;
    now->tv_nsec = ns % 1000000000LL;
  }
  return result;
}
