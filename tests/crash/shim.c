// Preloaded into the server: records what it does to files below one directory, with the data, and what
// it sends to sockets, in the order in which it happens. One lock makes that order total: an operation
// is done and recorded under it.
//
//   GATE_ROOT   the directory, absolute, without a link in it
//   GATE_TRACE  the file to record to, outside of the directory
//   GATE_KEEP   if set: removing a file whose name ends so is answered with success and not done
//   GATE_SPEED  if set: the clocks run so many times as fast; the wall clock from an hour before GATE_SINCE,
//               seconds since 1970, so that over several starts it goes on and stays behind the real one
//
// A record is a header (struct record, little-endian), the bytes of its path, the bytes of its data.
// Files are named by inode number, so that renames and copies of descriptors need no thought; the
// replayer learns of each inode when it is made. What cannot be recorded ends the process: the gate
// must never be blind. SIGUSR2 is a kill -9 that waits for the end of the operation under way, so that
// what is recorded is what was done.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define API __attribute__((visibility("default")))
#define ALIAS(name, of) extern __typeof__(of) name __attribute__((alias(#of), visibility("default")))

#define SECOND INT64_C(1000000000)

struct record { uint32_t kind, path; uint64_t inode, offset, length, data; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t dying;
static int trace = -1;
static char root[PATH_MAX];
static const char *kept_ending;
static int64_t speed = 1, since; // times as fast; nanoseconds since 1970
static char *paths[FDS]; // of the open files below the root; the root and what holds it are none of ours

static void blind(const char *what, const char *path) {
    dprintf(2, "crash gate: cannot record %s of %s\n", what, path ? path : "?");
    abort();
}

static void die_soon(int signal) { (void)signal; dying = 1; }

__attribute__((constructor)) static void begin(void) {
    const char *below = getenv("GATE_ROOT"), *to = getenv("GATE_TRACE");
    if (!below || !to || strlen(below) >= sizeof root) blind("anything", "GATE_ROOT, GATE_TRACE");
    strcpy(root, below);
    kept_ending = getenv("GATE_KEEP");
    const char *faster = getenv("GATE_SPEED"), *from = getenv("GATE_SINCE");
    if (faster && from) speed = atoll(faster), since = atoll(from) * SECOND;
    trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) blind("anything", to);
    signal(SIGUSR2, die_soon);
}

// --- time. Who waits for a moment of the fast clock is woken at it; who waits for a span, after that span of
// real time, which is later.

static struct timespec at_nanos(int64_t nanos) {
    return (struct timespec){nanos / SECOND, nanos % SECOND};
}

static int64_t nanos_of(const struct timespec *time) { return time->tv_sec * SECOND + time->tv_nsec; }

API int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result || speed == 1) return result;
    if (clock == CLOCK_MONOTONIC) *now = at_nanos(nanos_of(now) * speed);
    if (clock == CLOCK_REALTIME) *now = at_nanos(since - 3600 * SECOND + (nanos_of(now) - since) * speed);
    return 0;
}

// The standard library waits by a futex, until a moment of the monotonic clock.
API long syscall(long number, ...) {
    static long (*real)(long, ...);
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    struct timespec moment;
    if (speed != 1 && number == SYS_futex && (b & ~FUTEX_PRIVATE_FLAG) == FUTEX_WAIT_BITSET && d) {
        moment = at_nanos(nanos_of((const struct timespec *)d) / speed);
        d = (long)&moment;
    }
    return real(number, a, b, c, d, e, f);
}

static void enter(void) { pthread_mutex_lock(&lock); }

static void leave(void) {
    if (dying) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static void record(char kind, uint64_t inode, uint64_t offset, uint64_t length, const char *path,
                   const struct iovec *data, int pieces, size_t bytes) {
    int kept = errno;
    struct record head = {(uint32_t)kind, path ? strlen(path) : 0, inode, offset, length, bytes};
    char *whole = malloc(sizeof head + head.path + bytes), *at = whole;
    if (!whole) blind("anything", "memory");
    at = mempcpy(at, &head, sizeof head);
    at = mempcpy(at, path ? path : "", head.path);
    for (int i = 0; i < pieces && bytes; i++) {
        size_t here = data[i].iov_len < bytes ? data[i].iov_len : bytes;
        at = mempcpy(at, data[i].iov_base, here);
        bytes -= here;
    }
    for (char *from = whole; from < at;) {
        ssize_t done = syscall(SYS_write, trace, from, at - from);
        if (done < 0) blind("anything", "the trace");
        from += done;
    }
    free(whole);
    errno = kept;
}

static void note(char kind, uint64_t inode, uint64_t offset, uint64_t length, const char *path) {
    record(kind, inode, offset, length, path, NULL, 0, 0);
}

static int is_ours(int fd) { return fd >= 0 && fd < FDS && paths[fd]; }

static int is_below(const char *path) {
    size_t length = strlen(root);
    return path && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

// SQLite's index of a write-ahead log: memory that connections share, made anew by the first open after a crash
// whatever is in it (sqlite.org/walformat.html, section 2). Not part of what a crash leaves.
static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

// The absolute path if it is below the root, in `out`; otherwise none.
static const char *below(int dir, const char *path, char *out) {
    char cwd[PATH_MAX] = "";
    const char *from = *path == '/' ? "" : cwd;
    if (*path != '/' && dir == AT_FDCWD && syscall(SYS_getcwd, cwd, sizeof cwd) < 0) blind("a relative path", path);
    if (*path != '/' && dir != AT_FDCWD) {
        if (!is_ours(dir)) return NULL;
        from = paths[dir];
    }
    int length = snprintf(out, PATH_MAX, "%s%s%s", from, *path == '/' ? "" : "/", path);
    if (length < 0 || length >= PATH_MAX) blind("a long path", path);
    if (!is_below(out) || is_shared_memory(out)) return NULL;
    if (strstr(out, "/..") || strstr(out, "//") || strstr(out, "/./")) blind("a winding path", out);
    return out;
}

// The path as the trace has it: without the root.
static const char *inner(const char *path) { return path + strlen(root) + (path[strlen(root)] == '/'); }

static uint64_t inode_of(int fd) {
    struct stat found;
    return syscall(SYS_fstat, fd, &found) ? 0 : found.st_ino;
}

static void keep_path(int fd, const char *path) {
    if (fd < 0) return;
    if (fd >= FDS) blind("a high descriptor", path);
    free(paths[fd]);
    paths[fd] = path ? strdup(path) : NULL;
}

static int is_socket(int fd) {
    struct stat found;
    return fd > 2 && !syscall(SYS_fstat, fd, &found) && S_ISSOCK(found.st_mode);
}

// --- names

static int do_open(int dir, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    enter();
    const char *ours = below(dir, path, full);
    struct stat found;
    int is_new = ours && (flags & O_CREAT) && syscall(SYS_newfstatat, dir, path, &found, AT_SYMLINK_NOFOLLOW);
    if (ours && (flags & (O_DIRECT | O_DSYNC) || (flags & O_TMPFILE) == O_TMPFILE)) blind("open flags", ours);
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0) {
        keep_path(fd, ours);
        if (is_new) note('C', inode_of(fd), 0, 0, inner(ours));
        else if (ours && (flags & O_TRUNC)) note('T', inode_of(fd), 0, 0, NULL);
    }
    leave();
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

API int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
API int openat(int dir, const char *path, int flags, ...) { MODE(flags) return do_open(dir, path, flags, mode); }
API int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
ALIAS(open64, open);
ALIAS(openat64, openat);
ALIAS(creat64, creat);

API int close(int fd) {
    enter();
    keep_path(fd < FDS ? fd : -1, NULL);
    int result = syscall(SYS_close, fd);
    leave();
    return result;
}

API int closedir(DIR *dir) {
    static int (*real)(DIR *);
    enter();
    if (!real) real = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");
    keep_path(dirfd(dir), NULL);
    int result = real(dir); // closes without calling our close
    leave();
    return result;
}

static int copied(int from, int to) {
    if (to >= 0 && to != from) keep_path(to, is_ours(from) ? paths[from] : NULL);
    leave();
    return to;
}

API int dup(int fd) { enter(); return copied(fd, syscall(SYS_dup, fd)); }
API int dup2(int fd, int to) { enter(); return copied(fd, fd == to ? to : syscall(SYS_dup3, fd, to, 0)); }
API int dup3(int fd, int to, int flags) { enter(); return copied(fd, syscall(SYS_dup3, fd, to, flags)); }

API int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC) return syscall(SYS_fcntl, fd, command, argument);
    enter();
    return copied(fd, syscall(SYS_fcntl, fd, command, argument));
}
ALIAS(fcntl64, fcntl);

API int mkdirat(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    enter();
    const char *ours = below(dir, path, full);
    int result = syscall(SYS_mkdirat, dir, path, mode);
    struct stat found;
    if (ours && !result && !syscall(SYS_newfstatat, dir, path, &found, 0)) note('D', found.st_ino, 0, 0, inner(ours));
    leave();
    return result;
}
API int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

API int unlinkat(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    enter();
    const char *ours = below(dir, path, full);
    const char *ending = ours && kept_ending ? strstr(ours, kept_ending) : NULL;
    int keep = ending && !strcmp(ending, kept_ending);
    int result = keep ? 0 : syscall(SYS_unlinkat, dir, path, flags);
    if (ours && !result) note('U', 0, 0, 0, inner(ours));
    leave();
    return result;
}
API int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
API int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
API int remove(const char *path) {
    int result = unlink(path);
    return result && errno == EISDIR ? rmdir(path) : result;
}

// Open directories below a renamed one have its new name from then on.
static void renamed(const char *from, const char *to) {
    char full[PATH_MAX];
    for (int fd = 0; fd < FDS; fd++) {
        if (!paths[fd] || strncmp(paths[fd], from, strlen(from)) || !strchr("/", paths[fd][strlen(from)])) continue;
        if (snprintf(full, sizeof full, "%s%s", to, paths[fd] + strlen(from)) >= PATH_MAX) blind("a long path", to);
        keep_path(fd, full);
    }
}

API int renameat2(int dir, const char *path, int new_dir, const char *new_path, unsigned flags) {
    char from[PATH_MAX], to[PATH_MAX];
    enter();
    const char *ours = below(dir, path, from), *new_ours = below(new_dir, new_path, to);
    if (!ours != !new_ours || (ours && flags & ~1u)) blind("rename", path);
    int result = syscall(SYS_renameat2, dir, path, new_dir, new_path, flags);
    if (ours && !result) {
        struct iovec target = {(void *)inner(to), strlen(inner(to))};
        record('M', 0, 0, 0, inner(from), &target, 1, target.iov_len);
        renamed(from, to);
    }
    leave();
    return result;
}
API int renameat(int dir, const char *path, int new_dir, const char *new_path) { return renameat2(dir, path, new_dir, new_path, 0); }
API int rename(const char *path, const char *new_path) { return renameat2(AT_FDCWD, path, AT_FDCWD, new_path, 0); }

API int linkat(int dir, const char *path, int new_dir, const char *new_path, int flags) {
    char from[PATH_MAX], to[PATH_MAX];
    enter();
    const char *ours = below(dir, path, from), *new_ours = below(new_dir, new_path, to);
    if (!ours != !new_ours) blind("link", path);
    int result = syscall(SYS_linkat, dir, path, new_dir, new_path, flags);
    struct iovec target = {(void *)inner(to), new_ours ? strlen(inner(to)) : 0};
    if (ours && !result) record('L', 0, 0, 0, inner(from), &target, 1, target.iov_len);
    leave();
    return result;
}
API int link(const char *path, const char *new_path) { return linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0); }

API int symlinkat(const char *target, int dir, const char *path) {
    char full[PATH_MAX];
    if (below(dir, path, full)) blind("symlink", full);
    return syscall(SYS_symlinkat, target, dir, path);
}
API int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

// --- data. `at` is the offset, or -1 for the descriptor's own place.

static ssize_t wrote(int fd, off_t at, const struct iovec *data, int pieces, ssize_t done) {
    if (done > 0 && is_ours(fd)) {
        // At the descriptor's own place, which the write has moved; an appending one has moved to the end.
        if (at < 0) at = syscall(SYS_lseek, fd, 0, SEEK_CUR) - done;
        else if (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) blind("pwrite with O_APPEND", paths[fd]);
        record('W', inode_of(fd), at, done, NULL, data, pieces, done);
    } else if (done > 0 && fd == 1) {
        record('O', 0, 0, done, NULL, data, pieces, done);
    } else if (done > 0 && is_socket(fd)) {
        record('N', inode_of(fd), 0, done, NULL, data, pieces, done);
    }
    leave();
    return done;
}

API ssize_t write(int fd, const void *data, size_t length) {
    struct iovec piece = {(void *)data, length};
    enter();
    return wrote(fd, -1, &piece, 1, syscall(SYS_write, fd, data, length));
}
API ssize_t writev(int fd, const struct iovec *data, int pieces) {
    enter();
    return wrote(fd, -1, data, pieces, syscall(SYS_writev, fd, data, pieces));
}
API ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    struct iovec piece = {(void *)data, length};
    enter();
    return wrote(fd, at, &piece, 1, syscall(SYS_pwrite64, fd, data, length, at));
}
API ssize_t pwritev2(int fd, const struct iovec *data, int pieces, off_t at, int flags) {
    enter();
    if (is_ours(fd) && flags) blind("pwritev2 with flags", paths[fd]);
    return wrote(fd, at, data, pieces, syscall(SYS_pwritev2, fd, data, pieces, at, 0, flags));
}
API ssize_t pwritev(int fd, const struct iovec *data, int pieces, off_t at) { return pwritev2(fd, data, pieces, at, 0); }
ALIAS(pwrite64, pwrite);
ALIAS(pwritev64, pwritev);
ALIAS(pwritev64v2, pwritev2);

API ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    struct iovec piece = {(void *)data, length};
    enter();
    return wrote(fd, -1, &piece, 1, syscall(SYS_sendto, fd, data, length, flags, to, size));
}
API ssize_t send(int fd, const void *data, size_t length, int flags) { return sendto(fd, data, length, flags, NULL, 0); }
API ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    enter();
    return wrote(fd, -1, message->msg_iov, message->msg_iovlen, syscall(SYS_sendmsg, fd, message, flags));
}

API int ftruncate(int fd, off_t length) {
    enter();
    int result = syscall(SYS_ftruncate, fd, length);
    if (!result && is_ours(fd)) note('T', inode_of(fd), 0, length, NULL);
    leave();
    return result;
}
ALIAS(ftruncate64, ftruncate);

API int fallocate(int fd, int mode, off_t at, off_t length) {
    enter();
    if (is_ours(fd) && mode) blind("fallocate with a mode", paths[fd]);
    int result = syscall(SYS_fallocate, fd, mode, at, length);
    if (!result && is_ours(fd)) note('A', inode_of(fd), at, length, NULL);
    leave();
    return result;
}
API int posix_fallocate(int fd, off_t at, off_t length) { return fallocate(fd, 0, at, length) ? errno : 0; }
ALIAS(fallocate64, fallocate);
ALIAS(posix_fallocate64, posix_fallocate);

// --- syncs

static int synced(int fd, char kind, off_t at, off_t length, int result) {
    if (!result && is_ours(fd)) note(kind, inode_of(fd), at, length, NULL);
    leave();
    return result;
}

API int fsync(int fd) { enter(); return synced(fd, 'S', 0, 0, syscall(SYS_fsync, fd)); }
API int fdatasync(int fd) { enter(); return synced(fd, 's', 0, 0, syscall(SYS_fdatasync, fd)); }
API int sync_file_range(int fd, off_t at, off_t length, unsigned flags) {
    enter();
    return synced(fd, 'R', at, length, syscall(SYS_sync_file_range, fd, at, length, flags));
}
API int syncfs(int fd) {
    enter();
    int result = syscall(SYS_syncfs, fd);
    if (!result) note('Y', 0, 0, 0, NULL);
    leave();
    return result;
}
API void sync(void) { enter(); syscall(SYS_sync); note('Y', 0, 0, 0, NULL); leave(); }

// --- what is not modelled, if it is done to a file below the root

#define REFUSED(fd, what) if (is_ours(fd)) blind(what, paths[fd])

API void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t at) {
    if (flags & MAP_SHARED && protection & PROT_WRITE) REFUSED(fd, "a shared writable mapping");
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, at);
}
ALIAS(mmap64, mmap);
API ssize_t sendfile(int to, int from, off_t *at, size_t length) {
    REFUSED(to, "sendfile");
    return syscall(SYS_sendfile, to, from, at, length);
}
ALIAS(sendfile64, sendfile);
API ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t length, unsigned flags) {
    REFUSED(to, "copy_file_range");
    return syscall(SYS_copy_file_range, from, at, to, to_at, length, flags);
}
API ssize_t splice(int from, off64_t *at, int to, off64_t *to_at, size_t length, unsigned flags) {
    REFUSED(to, "splice");
    return syscall(SYS_splice, from, at, to, to_at, length, flags);
}
API int truncate(const char *path, off_t length) {
    char full[PATH_MAX];
    if (below(AT_FDCWD, path, full)) blind("truncate by path", full);
    return syscall(SYS_truncate, path, length);
}
ALIAS(truncate64, truncate);
