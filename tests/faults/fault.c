/*
 * Lets the n-th file operation of a process go wrong. Loaded before the C library into the real
 * server, which it does not change otherwise.
 *
 * KEYLEDGER_FAULT_ROOT   operations on what lies here or below are looked at; an absolute path
 *                        without links
 * KEYLEDGER_FAULT_BOARD  a file of 256 bytes, outside of the root, shared with who runs the server
 *
 * The board, numbers as the machine has them:
 *
 *   0   8   armed: operations are counted while it is 1; set by the test
 *   8   8   strike at: which of the counted operations goes wrong, from 1; 0 for none; set by the test
 *   16  8   kind of fault, the numbers below; set by the test
 *   24  8   persistent: 1 if every operation from there on goes wrong; set by the test
 *   32  8   counted: operations counted so far
 *   40  8   struck: how many went wrong
 *   48 208  the first operation that went wrong: its name, a space, its path below the root
 *
 * Which operations are counted depends on the kind: those it can happen to. They are serialised, so
 * that nothing else happens between the n-th operation and the end of the process.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    KILL = 1,       /* the operation is done, then SIGKILL */
    KILL_TORN = 2,  /* half of a write is done, then SIGKILL */
    FAIL = 3,       /* EIO for what changes something; nothing is done */
    FAIL_LOOK = 4,  /* EIO for what reads or looks; nothing is done */
    NO_SPACE = 5,   /* ENOSPC, nothing is done */
    SHORT = 6,      /* half of the bytes, at least one, and that count is answered */
};

/* What an operation is, as far as faults go. */
enum class {
    READS,   /* looks only: open without O_CREAT, stat, readdir */
    TAKES,   /* reads bytes, may be given fewer */
    WRITES,  /* writes bytes, may write fewer */
    GROWS,   /* needs space: open with O_CREAT, mkdir, rename, ftruncate */
    SYNCS,   /* fsync, fdatasync, sync_file_range */
    FREES,   /* unlink, rmdir */
};

struct board {
    uint64_t armed, strike_at, kind, persistent, counted, struck;
    char first[208];
};

static struct board *board;
static char root[4096];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("KEYLEDGER_FAULT_BOARD"), *top = getenv("KEYLEDGER_FAULT_ROOT");
    if (!path || !top) return;
    root_length = strlen(top);
    if (root_length >= sizeof root) abort();
    memcpy(root, top, root_length + 1);
    REAL(int, open64, const char *, int, ...);
    int fd = real_open64(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *shared = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) abort();
    close(fd);
    board = shared;
}

/* Where `path` lies below the root, or NULL. */
static const char *below(const char *path) {
    if (!board || !path || strncmp(path, root, root_length) != 0) return NULL;
    if (path[root_length] == '\0') return ".";
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

static const char *below_fd(int fd, char *space, size_t size) {
    if (!board || fd < 0) return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, space, size - 1);
    if (length < 0) return NULL;
    space[length] = '\0';
    return below(space);
}

static const char *below_at(int dir, const char *path, char *space, size_t size) {
    if (!board || !path) return NULL;
    if (path[0] == '/' || dir == AT_FDCWD) return below(path);
    if (path[0] == '\0') return below_fd(dir, space, size);
    if (!below_fd(dir, space, size)) return NULL;
    size_t length = strlen(space);
    snprintf(space + length, size - length, "/%s", path);
    return below(space);
}

static int can_happen(enum kind kind, enum class class, size_t bytes) {
    switch (kind) {
    case KILL: return class != READS && class != TAKES;
    case KILL_TORN: return class == WRITES && bytes > 1;
    case FAIL: return class != READS && class != TAKES;
    case FAIL_LOOK: return class == READS || class == TAKES;
    case NO_SPACE: return class == WRITES || class == GROWS || class == SYNCS;
    case SHORT: return (class == WRITES || class == TAKES) && bytes > 1;
    }
    return 0;
}

/* Takes the lock and counts the operation; answers the fault it is to meet, 0 for none. */
static enum kind enter(const char *name, const char *path, enum class class, size_t bytes) {
    pthread_mutex_lock(&lock);
    enum kind kind = (enum kind)__atomic_load_n(&board->kind, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&board->armed, __ATOMIC_SEQ_CST) || !can_happen(kind, class, bytes)) return 0;
    uint64_t number = __atomic_add_fetch(&board->counted, 1, __ATOMIC_SEQ_CST);
    uint64_t at = __atomic_load_n(&board->strike_at, __ATOMIC_SEQ_CST);
    if (!at || number < at || (number > at && !board->persistent)) return 0;
    if (!board->struck) snprintf(board->first, sizeof board->first, "%s %s", name, path);
    __atomic_add_fetch(&board->struck, 1, __ATOMIC_SEQ_CST);
    return kind;
}

static void leave(enum kind kind) {
    if (kind == KILL || kind == KILL_TORN) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
}

static int fails(enum kind kind) { return kind == FAIL || kind == FAIL_LOOK || kind == NO_SPACE; }

/* Does `call`, or fails it, for an operation below the root. Needs `where` and `type`. */
#define GUARDED(type, failed, name, where, class, call) \
    do { \
        const char *where_ = (where); \
        if (!where_) return call; \
        enum kind kind_ = enter(name, where_, class, 0); \
        type result_; \
        if (fails(kind_)) { \
            errno = kind_ == NO_SPACE ? ENOSPC : EIO; \
            result_ = failed; \
        } else { \
            result_ = call; \
        } \
        leave(kind_); \
        return result_; \
    } while (0)

/* The same for one that moves bytes: `count` is the variable that `call` is to move. */
#define GUARDED_BYTES(name, fd, class, count, call) \
    do { \
        char space_[4096]; \
        const char *where_ = below_fd(fd, space_, sizeof space_); \
        if (!where_) return call; \
        enum kind kind_ = enter(name, where_, class, count); \
        ssize_t result_; \
        if (fails(kind_)) { \
            errno = kind_ == NO_SPACE ? ENOSPC : EIO; \
            result_ = -1; \
        } else { \
            if (kind_ == SHORT || kind_ == KILL_TORN) count = (count + 1) / 2; \
            result_ = call; \
        } \
        leave(kind_); \
        return result_; \
    } while (0)

/* Opening. */

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        GUARDED(int, -1, #name, below(path), flags & O_CREAT ? GROWS : READS, \
                real_##name(path, flags, mode)); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        char space[4096]; \
        GUARDED(int, -1, #name, below_at(dir, path, space, sizeof space), \
                flags & O_CREAT ? GROWS : READS, real_##name(dir, path, flags, mode)); \
    }
OPENAT(openat)
OPENAT(openat64)

/* Bytes. */

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(ssize_t, read, int, void *, size_t);
    GUARDED_BYTES("read", fd, TAKES, count, real_read(fd, bytes, count));
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    GUARDED_BYTES("write", fd, WRITES, count, real_write(fd, bytes, count));
}

#define PREAD(name, offset_t) \
    ssize_t name(int fd, void *bytes, size_t count, offset_t at) { \
        REAL(ssize_t, name, int, void *, size_t, offset_t); \
        GUARDED_BYTES(#name, fd, TAKES, count, real_##name(fd, bytes, count, at)); \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define PWRITE(name, offset_t) \
    ssize_t name(int fd, const void *bytes, size_t count, offset_t at) { \
        REAL(ssize_t, name, int, const void *, size_t, offset_t); \
        GUARDED_BYTES(#name, fd, WRITES, count, real_##name(fd, bytes, count, at)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* A short one moves the first half of the parts, or half of the only one. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    struct iovec half;
    if (count == 1) {
        REAL(ssize_t, write, int, const void *, size_t);
        half = parts[0];
        GUARDED_BYTES("writev", fd, WRITES, half.iov_len, real_write(fd, half.iov_base, half.iov_len));
    }
    GUARDED_BYTES("writev", fd, WRITES, count, real_writev(fd, parts, count));
}

/* Syncs. */

int fsync(int fd) {
    REAL(int, fsync, int);
    char space[4096];
    GUARDED(int, -1, "fsync", below_fd(fd, space, sizeof space), SYNCS, real_fsync(fd));
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    char space[4096];
    GUARDED(int, -1, "fdatasync", below_fd(fd, space, sizeof space), SYNCS, real_fdatasync(fd));
}

int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    REAL(int, sync_file_range, int, off64_t, off64_t, unsigned);
    char space[4096];
    GUARDED(int, -1, "sync_file_range", below_fd(fd, space, sizeof space), SYNCS,
            real_sync_file_range(fd, at, count, flags));
}

/* Lengths and names. */

#define FTRUNCATE(name, offset_t) \
    int name(int fd, offset_t length) { \
        REAL(int, name, int, offset_t); \
        char space[4096]; \
        GUARDED(int, -1, #name, below_fd(fd, space, sizeof space), GROWS, real_##name(fd, length)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    GUARDED(int, -1, "rename", below(to), GROWS, real_rename(from, to));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    char space[4096];
    GUARDED(int, -1, "renameat", below_at(to_dir, to, space, sizeof space), GROWS,
            real_renameat(from_dir, from, to_dir, to));
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    GUARDED(int, -1, "mkdir", below(path), GROWS, real_mkdir(path, mode));
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    GUARDED(int, -1, "unlink", below(path), FREES, real_unlink(path));
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    GUARDED(int, -1, "rmdir", below(path), FREES, real_rmdir(path));
}

int unlinkat(int dir, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char space[4096];
    GUARDED(int, -1, "unlinkat", below_at(dir, path, space, sizeof space), FREES,
            real_unlinkat(dir, path, flags));
}

/* Looks. */

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
    REAL(int, statx, int, const char *, int, unsigned, struct statx *);
    char space[4096];
    GUARDED(int, -1, "statx", below_at(dir, path, space, sizeof space), READS,
            real_statx(dir, path, flags, mask, out));
}

DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *);
    GUARDED(DIR *, NULL, "opendir", below(path), READS, real_opendir(path));
}

struct dirent64 *readdir64(DIR *dir) {
    REAL(struct dirent64 *, readdir64, DIR *);
    char space[4096];
    GUARDED(struct dirent64 *, NULL, "readdir64", below_fd(dirfd(dir), space, sizeof space), READS,
            real_readdir64(dir));
}
