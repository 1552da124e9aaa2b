#define _GNU_SOURCE
#include "clinux.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>

static void fill(sigset_t *set, const int *signals, int count) {
    sigemptyset(set);
    for (int i = 0; i < count; i++) sigaddset(set, signals[i]);
}

int cl_block_signals(const int *signals, int count) {
    sigset_t set;
    fill(&set, signals, count);
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code == 0) return 0;
    errno = code;
    return -1;
}

int cl_signal_descriptor(const int *signals, int count) {
    sigset_t set;
    if (cl_block_signals(signals, count) < 0) return -1;
    fill(&set, signals, count);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int cl_wait_signal(const int *signals, int count, int timeout_ms, int *from_process) {
    sigset_t set;
    siginfo_t info;
    fill(&set, signals, count);
    struct timespec limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    int got = timeout_ms < 0 ? sigwaitinfo(&set, &info) : sigtimedwait(&set, &info, &limit);
    if (got > 0) *from_process = info.si_code <= 0;
    return got;
}

int cl_read_signal(int fd) {
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof info);
    return got == sizeof info ? (int)info.ssi_signo : -1;
}

int cl_pidfd_signal(int pidfd, int signal) { return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }

void cl_ignore_broken_pipes(void) { signal(SIGPIPE, SIG_IGN); }
void cl_set_name(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

void cl_undumpable(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

int cl_lock(int fd) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &whole);
}

int cl_lock_holder(int fd, pid_t *pid) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &whole) < 0) return -1;
    *pid = whole.l_type == F_UNLCK ? 0 : whole.l_pid;
    return 0;
}

static int unix_socket(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int closing(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int cl_unix_listen(const char *path, int backlog) {
    struct sockaddr_un address;
    int fd = unix_socket(path, &address);
    if (fd < 0) return -1;
    // unix(7): the mode of the socket file is that of the descriptor, less the umask; so it is never wider than this.
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, backlog) < 0)
        return closing(fd);
    return fd;
}

int cl_unix_connect(const char *path, int waits) {
    struct sockaddr_un address;
    int fd = unix_socket(path, &address);
    if (fd < 0) return -1;
    if (!waits && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) return closing(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return closing(fd);
    return fd;
}

int cl_seqpacket_pair(int fds[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds); }

int cl_pipe(int fds[2]) { return pipe2(fds, O_CLOEXEC); }

int cl_loopback_up(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct ifreq request = {.ifr_name = "lo"};
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return closing(fd);
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) return closing(fd);
    close(fd);
    return 0;
}

// What is not persistent goes when its descriptor is closed.
static int set_tap(const char *name, int persistent) {
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) return -1;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0) return closing(fd);
    if (ioctl(fd, TUNSETPERSIST, persistent) < 0) return closing(fd);
    close(fd);
    return 0;
}

int cl_tap(const char *name, int present) {
    if (set_tap(name, 0) < 0) return -1;
    return present ? set_tap(name, 1) : 0;
}

// Accounts are few and their entries short; larger ones count as unknown.
enum { ENTRY_ROOM = 16384 };

int cl_user_name(unsigned uid, char *room, size_t length) {
    char buffer[ENTRY_ROOM];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) != 0 || !found || strlen(found->pw_name) >= length) {
        errno = ENOENT;
        return -1;
    }
    strcpy(room, found->pw_name);
    return 0;
}

int cl_user_ids(const char *name, unsigned *uid, unsigned *gid) {
    char buffer[ENTRY_ROOM];
    struct passwd entry, *found = NULL;
    if (getpwnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || !found) {
        errno = ENOENT;
        return -1;
    }
    *uid = found->pw_uid;
    *gid = found->pw_gid;
    return 0;
}

int64_t cl_filesystem_type(int fd) {
    struct statfs status;
    return fstatfs(fd, &status) < 0 ? -1 : (int64_t)status.f_type;
}
