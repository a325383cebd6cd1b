/* kqueue(2) over epoll, as far as src/netpoll/sys/kqueue uses it, for machines without libkqueue.
 *
 * It lets the back-end run on Linux: receipts, edges, ends, the User event, several threads in one queue. It
 * proves nothing about a BSD's kernel.
 *
 * A note is a descriptor in a queue with up to two filters, or the eventfd of a User event. As in kqueue, a
 * note ends with its descriptor. Notes carry generations, so that an event of a note that was deleted after
 * epoll had reported it is recognised. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    intptr_t data;
    void *udata;
};

enum { READ = -1, WRITE = -2, USER = -11 };
enum { ADD = 1, DELETE = 2, CLEAR = 0x20, RECEIPT = 0x40, ERROR = 0x4000, END = 0x8000 };
enum { TRIGGER = 0x01000000 };

struct note {
    int queue; /* -1: free */
    int fd;
    int user;
    uint32_t generation;
    unsigned interest; /* EPOLLIN, EPOLLOUT */
    void *udata[2];    /* of READ or USER, of WRITE */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct note *notes;
static size_t count;

static void forget(struct note *note) {
    if (note->user)
        close(note->fd);
    *note = (struct note){.queue = -1, .generation = note->generation + 1};
}

int kqueue(void) {
    int queue = epoll_create1(0);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        if (queue >= 0 && notes[i].queue == queue) /* of a queue that was closed, under the same number */
            forget(&notes[i]);
    pthread_mutex_unlock(&lock);
    return queue;
}

static struct note *find(int queue, const struct kevent *change) {
    int user = change->filter == USER;
    for (size_t i = 0; i < count; i++)
        if (notes[i].queue == queue && notes[i].user == user && (user || notes[i].fd == (int)change->ident))
            return &notes[i];
    return NULL;
}

static struct note *vacant(void) {
    for (size_t i = 0; i < count; i++)
        if (notes[i].queue < 0)
            return &notes[i];
    struct note *more = realloc(notes, (count + 64) * sizeof *more);
    if (!more)
        return NULL;
    notes = more;
    for (size_t i = 0; i < 64; i++)
        notes[count + i] = (struct note){.queue = -1};
    count += 64;
    return &notes[count - 64];
}

static int broken_pipe(int fd) {
    struct stat stat;
    struct pollfd entry = {.fd = fd, .events = POLLOUT};
    return fstat(fd, &stat) == 0 && S_ISFIFO(stat.st_mode) && poll(&entry, 1, 0) == 1 &&
           (entry.revents & POLLERR);
}

/* Tells epoll what the note is interested in, as something new: an event for the present state follows. */
static int tell(struct note *note) {
    struct epoll_event event = {
        .events = EPOLLET | note->interest | (note->interest & EPOLLIN ? EPOLLRDHUP : 0),
        .data.u64 = (uint64_t)note->generation << 32 | (uint64_t)(note - notes),
    };
    if (epoll_ctl(note->queue, EPOLL_CTL_MOD, note->fd, &event) == 0 ||
        (errno == ENOENT && epoll_ctl(note->queue, EPOLL_CTL_ADD, note->fd, &event) == 0))
        return 0;
    return errno;
}

static int add(int queue, const struct kevent *change) {
    int write = change->filter == WRITE, user = change->filter == USER;
    if (!(change->flags & CLEAR) || !(change->filter == READ || write || user))
        return EINVAL;
    if (write && broken_pipe((int)change->ident))
        return EPIPE;
    struct note *note = find(queue, change);
    if (!note) {
        note = vacant();
        if (!note)
            return ENOMEM;
        int fd = user ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : (int)change->ident;
        if (fd < 0)
            return errno;
        *note = (struct note){.queue = queue, .fd = fd, .user = user, .generation = note->generation};
    }
    unsigned before = note->interest;
    note->interest |= write ? EPOLLOUT : EPOLLIN;
    note->udata[write] = change->udata;
    int error = tell(note);
    if (error) {
        note->interest = before;
        if (!before)
            forget(note);
    }
    return error;
}

static int apply(int queue, const struct kevent *change) {
    if (change->flags & ADD)
        return add(queue, change);
    struct note *note = find(queue, change);
    unsigned bit = change->filter == WRITE ? EPOLLOUT : EPOLLIN;
    if (!note || !(note->interest & bit))
        return ENOENT;
    if (change->flags & DELETE) {
        note->interest &= ~bit;
        if (note->interest)
            return tell(note);
        epoll_ctl(queue, EPOLL_CTL_DEL, note->fd, NULL);
        forget(note);
    } else if (note->user && (change->fflags & TRIGGER)) {
        eventfd_write(note->fd, 1);
    }
    return 0;
}

static long wait_for(int queue, struct epoll_event *buffer, int most, const struct timespec *timeout) {
    long ready = syscall(SYS_epoll_pwait2, queue, buffer, most, timeout, NULL, 0);
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM))
        return ready;
    long long limit = timeout ? timeout->tv_sec * 1000LL + (timeout->tv_nsec + 999999) / 1000000 : -1;
    return epoll_wait(queue, buffer, most, limit > INT_MAX ? INT_MAX : (int)limit);
}

int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *events, int room,
           const struct timespec *timeout) {
    int told = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < nchanges; i++) {
        int error = apply(queue, &changes[i]);
        if ((error || (changes[i].flags & RECEIPT)) && told < room) {
            events[told] = changes[i];
            events[told].flags |= ERROR;
            events[told++].data = error;
        }
    }
    pthread_mutex_unlock(&lock);
    if (told || room == 0)
        return told;

    struct epoll_event buffer[256];
    int most = room < 2 ? 1 : room / 2; /* each may be two events */
    long ready = wait_for(queue, buffer, most < 256 ? most : 256, timeout);
    if (ready < 0)
        return -1;
    pthread_mutex_lock(&lock);
    for (long i = 0; i < ready; i++) {
        struct note *note = &notes[(uint32_t)buffer[i].data.u64];
        if (note->queue != queue || note->generation != buffer[i].data.u64 >> 32)
            continue;
        unsigned bits = buffer[i].events, gone = bits & (EPOLLHUP | EPOLLERR);
        for (int write = 0; write < 2; write++) {
            unsigned end = gone | (write ? 0 : bits & EPOLLRDHUP);
            unsigned bit = write ? EPOLLOUT : EPOLLIN;
            if ((note->interest & bit) && ((bits & bit) || end) && told < room)
                events[told++] = (struct kevent){
                    .ident = note->user ? 0 : (uintptr_t)note->fd,
                    .filter = note->user ? USER : write ? WRITE : READ,
                    .flags = CLEAR | (end ? END : 0),
                    .udata = note->udata[write],
                };
        }
    }
    pthread_mutex_unlock(&lock);
    return told;
}
