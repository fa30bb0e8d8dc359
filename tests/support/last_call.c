/* Counts the calls by which a process changes what others can see, and kills it in the place of one of them.

   Loaded before the C library (LD_PRELOAD). LAST_CALL and LAST_CALL_OF_ALL name files of sizeof(struct board), the
   second shared by several processes; the number in `fatal` is the call that is not made any more. SIGKILL goes to the
   process, with LAST_CALL_OF_ALL to its whole group. What only wakes another thread of the same process does not
   count, nor does what the spy before the device writes: it is how we measure. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define KEPT 8192

struct record {
    char call[16];
    char target[112];
};

struct board {
    uint64_t seen;  /* calls since somebody wrote 0 here */
    uint64_t fatal; /* the one that is not made; 0: none */
    uint64_t struck;
    uint64_t unused;
    struct record records[KEPT];
};

static struct board *own, *common;

static struct board *mapped(const char *name) {
    const char *path = getenv(name);
    if (path == NULL) return NULL;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return NULL;
    void *place = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return place == MAP_FAILED ? NULL : place;
}

static void count(struct board *board, const char *call, const char *target, int everyone) {
    if (board == NULL) return;
    uint64_t number = __atomic_add_fetch(&board->seen, 1, __ATOMIC_SEQ_CST);
    if (number <= KEPT) {
        struct record *record = &board->records[number - 1];
        snprintf(record->call, sizeof record->call, "%s", call);
        snprintf(record->target, sizeof record->target, "%s", target);
    }
    if (number == __atomic_load_n(&board->fatal, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&board->struck, number, __ATOMIC_SEQ_CST);
        kill(everyone ? 0 : getpid(), SIGKILL);
        for (;;) pause();
    }
}

static void at(const char *call, int file, size_t size) {
    if (own == NULL) own = mapped("LAST_CALL"); /* a process that was forked is given its board later */
    if (common == NULL) common = mapped("LAST_CALL_OF_ALL");
    if (own == NULL && common == NULL) return;
    char link[40], target[112];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    if (strstr(target, "eventfd") || strstr(target, "/spy-") || (size == 1 && strncmp(target, "socket", 6) == 0)) return;
    count(own, call, target, 0);
    count(common, call, target, 1);
}

static void at_path(const char *call, const char *path) {
    if (own == NULL && common == NULL) return;
    count(own, call, path, 0);
    count(common, call, path, 1);
}

static size_t length_of(const struct iovec *parts, size_t number) {
    size_t sum = 0;
    for (size_t each = 0; each < number; each++) sum += parts[each].iov_len;
    return sum;
}

#define REAL(result, name, ...)                                                                                \
    static result (*real)(__VA_ARGS__);                                                                        \
    if (real == NULL) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    at("write", file, size);
    return real(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int number) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    at("writev", file, length_of(parts, (size_t)number));
    return real(file, parts, number);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    at("pwrite64", file, size);
    return real(file, data, size, place);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t place) { return pwrite64(file, data, size, place); }

int fsync(int file) {
    REAL(int, "fsync", int);
    at("fsync", file, 0);
    return real(file);
}

int fdatasync(int file) {
    REAL(int, "fdatasync", int);
    at("fdatasync", file, 0);
    return real(file);
}

int ftruncate64(int file, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    at("ftruncate", file, 0);
    return real(file, size);
}

int ftruncate(int file, off_t size) { return ftruncate64(file, size); }

ssize_t send(int file, const void *data, size_t size, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    at("send", file, size);
    return real(file, data, size, flags);
}

ssize_t sendto(int file, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    REAL(ssize_t, "sendto", int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    at("sendto", file, size);
    return real(file, data, size, flags, to, length);
}

ssize_t sendmsg(int file, const struct msghdr *message, int flags) {
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    at("sendmsg", file, length_of(message->msg_iov, message->msg_iovlen));
    return real(file, message, flags);
}

ssize_t sendfile64(int to, int from, off64_t *place, size_t size) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    at("sendfile", to, size);
    return real(to, from, place, size);
}

ssize_t sendfile(int to, int from, off_t *place, size_t size) { return sendfile64(to, from, place, size); }

int rename(const char *old, const char *new) {
    REAL(int, "rename", const char *, const char *);
    at_path("rename", new);
    return real(old, new);
}

int renameat(int from, const char *old, int to, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    at_path("renameat", new);
    return real(from, old, to, new);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    at_path("unlink", path);
    return real(path);
}
