#define _GNU_SOURCE
#include "include/cbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <linux/tcp.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t arrivals[BENCH_NUMBERS];

int64_t bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/// What a thread is told; `result` is read after `ready` is set.
struct work {
    const char *path;
    int family;
    struct sockaddr_storage address;
    socklen_t size;
    int sock;
    int *out;
    int result;
    atomic_int ready;
};

/// Runs `body` on a thread of its own, since a namespace is a thread's, and waits until it has said that it is ready.
static int on_thread(void *(*body)(void *), struct work *work) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, work);
    if (error != 0) {
        free(work);
        return error;
    }
    pthread_detach(thread);
    while (!atomic_load(&work->ready)) usleep(50);
    int result = work->result;
    if (work->out != NULL) *work->out = work->sock;
    // From here on the thread has what it needs on its own stack.
    free(work);
    return result;
}

static void *make_namespace(void *argument) {
    struct work *work = argument;
    int file = -1;
    if (unshare(CLONE_NEWNET) != 0 || (file = open(work->path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0 ||
        mount("/proc/thread-self/ns/net", work->path, "none", MS_BIND, NULL) != 0) {
        work->result = errno;
    }
    if (file >= 0) close(file);
    atomic_store(&work->ready, 1);
    return NULL;
}

static struct work *new_work(const char *path, int family) {
    struct work *work = calloc(1, sizeof *work);
    if (work != NULL) {
        work->path = path;
        work->family = family == 4 ? AF_INET : AF_INET6;
    }
    return work;
}

int bench_make_namespace(const char *path) {
    struct work *work = new_work(path, 4);
    return work == NULL ? ENOMEM : on_thread(make_namespace, work);
}

void bench_remove_namespace(const char *path) {
    umount2(path, MNT_DETACH);
    unlink(path);
}

static int set_address(struct work *work, const char *address, uint16_t port) {
    if (work->family == AF_INET) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        if (address != NULL && inet_pton(AF_INET, address, &v4.sin_addr) != 1) return EINVAL;
        memcpy(&work->address, &v4, work->size = sizeof v4);
    } else {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        if (address != NULL && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) return EINVAL;
        memcpy(&work->address, &v6, work->size = sizeof v6);
    }
    return 0;
}

static int enter(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno;
    int error = setns(file, CLONE_NEWNET) == 0 ? 0 : errno;
    close(file);
    return error;
}

static void *listen_there(void *argument) {
    struct work *work = argument;
    int sock = -1;
    work->result = enter(work->path);
    if (work->result == 0 &&
        ((sock = socket(work->family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 ||
         bind(sock, (struct sockaddr *)&work->address, work->size) != 0)) {
        work->result = errno;
    }
    int failed = work->result;
    atomic_store(&work->ready, 1);
    if (failed != 0) return NULL;
    uint32_t number;
    for (;;) {
        if (recv(sock, &number, sizeof number, 0) != sizeof number || number >= BENCH_NUMBERS) continue;
        int64_t none = 0;
        atomic_compare_exchange_strong(&arrivals[number], &none, bench_now());
    }
}

int bench_listen(const char *path, int family, uint16_t port) {
    struct work *work = new_work(path, family);
    if (work == NULL) return ENOMEM;
    set_address(work, NULL, port);
    return on_thread(listen_there, work);
}

static void *open_there(void *argument) {
    struct work *work = argument;
    work->result = enter(work->path);
    int sock = work->result == 0 ? socket(work->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (work->result == 0 && sock < 0) work->result = errno;
    work->sock = sock;
    atomic_store(&work->ready, 1);
    return NULL;
}

int bench_socket(const char *path, int family, int *sock) {
    struct work *work = new_work(path, family);
    if (work == NULL) return ENOMEM;
    work->out = sock;
    return on_thread(open_there, work);
}

int64_t bench_first_arrival(int sock, int family, const char *address, uint16_t port, uint32_t number) {
    struct work work = {.family = family == 4 ? AF_INET : AF_INET6};
    if (number >= BENCH_NUMBERS || set_address(&work, address, port) != 0) return -1;
    atomic_store(&arrivals[number], 0);
    int64_t at = 0, now, sent = 0, deadline = bench_now() + 3000000000LL;
    while ((at = atomic_load(&arrivals[number])) == 0 && (now = bench_now()) < deadline) {
        if (now - sent > 200000) {
            sendto(sock, &number, sizeof number, 0, (struct sockaddr *)&work.address, work.size);
            sent = now;
        }
        // Two processors may be all there are: the listener is to have one.
        sched_yield();
    }
    close(sock);
    return at == 0 ? -1 : at;
}

static atomic_int stopping;
static atomic_int running;
static atomic_int stream = -1;

static void *echo_there(void *argument) {
    struct work *work = argument;
    int sock = -1;
    work->result = enter(work->path);
    if (work->result == 0 &&
        ((sock = socket(work->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
         bind(sock, (struct sockaddr *)&work->address, work->size) != 0)) {
        work->result = errno;
    }
    int failed = work->result;
    if (failed == 0) atomic_fetch_add(&running, 1);
    atomic_store(&work->ready, 1);
    if (failed != 0) return NULL;
    char bytes[64];
    struct sockaddr_storage peer;
    while (!atomic_load(&stopping)) {
        socklen_t size = sizeof peer;
        ssize_t got = recvfrom(sock, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &size);
        if (got >= 0) sendto(sock, bytes, (size_t)got, 0, (struct sockaddr *)&peer, size);
        else sched_yield();
    }
    close(sock);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

int bench_echo(const char *path, int family, uint16_t port) {
    struct work *work = new_work(path, family);
    if (work == NULL) return ENOMEM;
    set_address(work, NULL, port);
    return on_thread(echo_there, work);
}

struct trips {
    struct work work;
    int count;
    int fresh;
    int64_t *nanoseconds;
};

static int open_connected(struct work *work, int type) {
    int sock = socket(work->family, type | SOCK_CLOEXEC, 0);
    if (sock >= 0 && connect(sock, (struct sockaddr *)&work->address, work->size) != 0) {
        int error = errno;
        close(sock);
        errno = error;
        return -1;
    }
    return sock;
}

/// Nanoseconds, or -1 after a second.
static int64_t round_trip(int sock) {
    uint32_t number = 0;
    int64_t start = bench_now(), now = start;
    if (send(sock, &number, sizeof number, 0) != sizeof number) return -1;
    while (recv(sock, &number, sizeof number, MSG_DONTWAIT) < 0) {
        if ((now = bench_now()) - start > 1000000000LL) return -1;
        sched_yield();
    }
    return bench_now() - start;
}

static void *trips_there(void *argument) {
    struct trips *trips = argument;
    int error = enter(trips->work.path), sock = -1;
    for (int done = trips->fresh ? 0 : -1; error == 0 && done < trips->count; done++) {
        if (sock < 0 && (sock = open_connected(&trips->work, SOCK_DGRAM)) < 0) {
            error = errno;
            break;
        }
        int64_t took = round_trip(sock);
        if (took < 0) error = ETIMEDOUT;
        if (done >= 0) trips->nanoseconds[done] = took;
        if (trips->fresh) {
            close(sock);
            sock = -1;
        }
    }
    if (sock >= 0) close(sock);
    trips->work.result = error;
    return NULL;
}

int bench_round_trips(const char *path, int family, const char *address, uint16_t port, int count, int fresh,
                      int64_t *nanoseconds) {
    struct trips trips = {.work = {.path = path, .family = family == 4 ? AF_INET : AF_INET6}, .count = count,
                          .fresh = fresh, .nanoseconds = nanoseconds};
    int error = set_address(&trips.work, address, port);
    pthread_t thread;
    if (error != 0 || (error = pthread_create(&thread, NULL, trips_there, &trips)) != 0) return error;
    pthread_join(thread, NULL);
    return trips.work.result;
}

static void give_up_soon(int sock) {
    struct timeval limit = {.tv_usec = 100000};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    // Ends with a reset: a stream that was cut would try to say good-bye for minutes.
    struct linger linger = {.l_onoff = 1};
    setsockopt(sock, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void *receive_there(void *argument) {
    struct work *work = argument;
    int sock = -1, one = 1;
    work->result = enter(work->path);
    if (work->result == 0 &&
        ((sock = socket(work->family, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
         setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
         bind(sock, (struct sockaddr *)&work->address, work->size) != 0 || listen(sock, 1) != 0)) {
        work->result = errno;
    }
    int failed = work->result;
    if (failed == 0) atomic_fetch_add(&running, 1);
    atomic_store(&work->ready, 1);
    if (failed != 0) return NULL;
    give_up_soon(sock);
    int accepted = -1;
    while (accepted < 0 && !atomic_load(&stopping)) accepted = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
    close(sock);
    if (accepted >= 0) {
        give_up_soon(accepted);
        atomic_store(&stream, accepted);
        static char bytes[1 << 16];
        while (!atomic_load(&stopping)) {
            if (recv(accepted, bytes, sizeof bytes, 0) == 0) break;
        }
        // Until then others ask the kernel about it.
        while (!atomic_load(&stopping)) usleep(1000);
        atomic_store(&stream, -1);
        close(accepted);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *send_there(void *argument) {
    struct work *work = argument;
    int sock = -1;
    work->result = enter(work->path);
    if (work->result == 0 && (sock = open_connected(work, SOCK_STREAM)) < 0) work->result = errno;
    int failed = work->result;
    if (failed == 0) atomic_fetch_add(&running, 1);
    atomic_store(&work->ready, 1);
    if (failed != 0) return NULL;
    give_up_soon(sock);
    static const char bytes[1 << 16];
    while (!atomic_load(&stopping)) send(sock, bytes, sizeof bytes, MSG_NOSIGNAL);
    close(sock);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

int bench_stream(const char *from, const char *to, int family, const char *address, uint16_t port) {
    struct work *receiver = new_work(to, family), *sender = new_work(from, family);
    if (receiver == NULL || sender == NULL) return ENOMEM;
    set_address(receiver, NULL, port);
    int error = set_address(sender, address, port);
    if (error == 0) error = on_thread(receive_there, receiver);
    if (error == 0) error = on_thread(send_there, sender);
    int64_t deadline = bench_now() + 3000000000LL;
    while (error == 0 && bench_stream_received() <= 0) {
        if (bench_now() > deadline) error = ETIMEDOUT;
        usleep(100);
    }
    return error;
}

int64_t bench_stream_received(void) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int sock = atomic_load(&stream);
    if (sock < 0 || getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
    return (int64_t)info.tcpi_bytes_received;
}

void bench_stop(void) {
    atomic_store(&stopping, 1);
    while (atomic_load(&running) > 0) usleep(1000);
    atomic_store(&stopping, 0);
}

int bench_flood(const char *path, int family, const char *address, uint16_t port, int count, int per_second) {
    int sock = -1;
    int error = bench_socket(path, family, &sock);
    if (error != 0) return error;
    struct sockaddr_storage peer;
    socklen_t length = 0;
    memset(&peer, 0, sizeof peer);
    if (family == 6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)&peer;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        length = sizeof *six;
        if (inet_pton(AF_INET6, address, &six->sin6_addr) != 1) error = EINVAL;
    } else {
        struct sockaddr_in *four = (struct sockaddr_in *)&peer;
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        length = sizeof *four;
        if (inet_pton(AF_INET, address, &four->sin_addr) != 1) error = EINVAL;
    }
    int64_t start = bench_now();
    for (int sent = 0; sent < count && error == 0; sent++) {
        int64_t due = start + (int64_t)sent * 1000000000 / per_second;
        int64_t early = due - bench_now();
        if (early > 200000) {
            struct timespec pause = {.tv_sec = 0, .tv_nsec = early};
            nanosleep(&pause, NULL);
        }
        if (sendto(sock, &sent, sizeof sent, 0, (struct sockaddr *)&peer, length) < 0) error = errno;
    }
    close(sock);
    return error;
}
