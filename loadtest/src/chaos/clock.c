/* Preloaded into a server. A clock that can be set: it adds to the time of day as many microseconds as
   stand in the file CHAOS_CLOCK, mapped into memory. The monotonic clock stays what it is. And a disk
   that can lose power: before each sync of a file it notes in CHAOS_SYNCED the file's inode and length,
   for what is longer than the latest note has never been synced. Raw system calls, because allocators
   ask for the time before anything else works. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_us;
static int notes = -1;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("CHAOS_CLOCK");
  int fd = path ? open(path, O_RDONLY) : -1;
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) offset_us = page;
  const char *synced = getenv("CHAOS_SYNCED");
  if (synced) notes = open(synced, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The length is taken before the sync and noted after it: what is written meanwhile may not be on disk. */
static int sync_noted(int fd, long call) {
  struct stat file;
  int known = notes >= 0 && fstat(fd, &file) == 0;
  int result = (int)syscall(call, fd);
  if (result == 0 && known) {
    char line[64];
    int length = snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)file.st_ino, (long long)file.st_size);
    if (write(notes, line, (size_t)length) < 0) return result;
  }
  return result;
}

int fsync(int fd) { return sync_noted(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_noted(fd, SYS_fdatasync); }

int clock_gettime(clockid_t clock, struct timespec *at) {
  int result = (int)syscall(SYS_clock_gettime, clock, at);
  if (result == 0 && offset_us && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t us = at->tv_sec * 1000000LL + at->tv_nsec / 1000 + *offset_us;
    at->tv_sec = us / 1000000;
    at->tv_nsec = us % 1000000 * 1000;
  }
  return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
