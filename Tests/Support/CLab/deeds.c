#define _GNU_SOURCE
#include "clab.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cl_sandbox.h"

// What there is before the filter.
struct tools {
    int listener, client, other;
    int pipe[2];
    void *memory;
    size_t page;
    long parents_word;
};

static int prepare(struct tools *tools) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    tools->page = (size_t)sysconf(_SC_PAGESIZE);
    tools->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tools->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tools->other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tools->memory = mmap(NULL, tools->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (tools->listener < 0 || tools->client < 0 || tools->other < 0 || tools->memory == MAP_FAILED) return -1;
    if (bind(tools->listener, (struct sockaddr *)&name, sizeof name) < 0 || listen(tools->listener, 1) < 0) return -1;
    if (getsockname(tools->listener, (struct sockaddr *)&name, &length) < 0) return -1;
    if (connect(tools->client, (struct sockaddr *)&name, sizeof name) < 0) return -1;
    return pipe2(tools->pipe, O_CLOEXEC);
}

static long number_of_another_machine(void) {
#if defined __x86_64__
    // getpid, as programs of x32 call it.
    return syscall(0x40000000 + SYS_getpid);
#else
    errno = ENOSYS;
    return -1;
#endif
}

static long act(int deed, struct tools *tools) {
    char *const program[] = {"true", NULL};
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog filter = {1, &nothing};
    union bpf_attr map;
    struct iovec here = {&tools->parents_word, sizeof(long)}, there = here;
    char byte = 0;
    int fd, waiting;
    switch (deed) {
    case CLAB_READ_FILE: return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    case CLAB_WRITE_FILE: return open("/dev/null", O_WRONLY | O_CLOEXEC);
    case CLAB_MAKE_FILE:
        // The process ends with it, and the file system forgets it.
        return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    case CLAB_LIST_DIRECTORY: return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case CLAB_RUN_PROGRAM: return execv("/bin/true", program);
    case CLAB_FORK: {
        long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) _exit(0);
        return child;
    }
    case CLAB_THREAD:
        // Flags that no thread has: EINVAL where a filter lets it through.
        return syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0);
    case CLAB_UNIX_SOCKET: return socket(AF_UNIX, SOCK_STREAM, 0);
    case CLAB_INTERNET_SOCKET: return socket(AF_INET, SOCK_DGRAM, 0);
    case CLAB_NETLINK_SOCKET: return socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    case CLAB_TRACE: return ptrace(PTRACE_TRACEME, 0, 0, 0);
    case CLAB_READ_PARENT: return process_vm_readv(getppid(), &here, 1, &there, 1, 0);
    case CLAB_SIGNAL_PARENT: return kill(getppid(), 0);
    case CLAB_USER_NAMESPACE: return unshare(CLONE_NEWUSER);
    case CLAB_MOUNT: return mount("none", "/", NULL, MS_SLAVE | MS_REC, NULL);
    case CLAB_IO_URING: return syscall(425, 0, NULL);
    case CLAB_KERNEL_PROGRAM:
        memset(&map, 0, sizeof map);
        return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
    case CLAB_RUN_MEMORY:
        return mmap(NULL, tools->page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
    case CLAB_MAKE_RUNNABLE: return mprotect(tools->memory, tools->page, PROT_READ | PROT_EXEC);
    case CLAB_OTHER_NUMBERS: return number_of_another_machine();
    case CLAB_SOCKET_FILTER: return setsockopt(tools->other, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
    case CLAB_CONTROL_DEVICE: return ioctl(tools->other, FIONREAD, &waiting);
    case CLAB_DUMPABLE: return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    case CLAB_ALLOCATE: {
        char *more = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (more == MAP_FAILED) return -1;
        more[4096] = 1;
        return munmap(more, 1 << 20);
    }
    case CLAB_SPLICE:
        if (write(tools->pipe[1], &byte, 1) != 1) return -1;
        return splice(tools->pipe[0], NULL, tools->client, NULL, 1, 0) == 1 ? 0 : -1;
    case CLAB_ACCEPT:
        fd = accept4(tools->listener, NULL, NULL, SOCK_CLOEXEC);
        return fd < 0 ? -1 : shutdown(fd, SHUT_RDWR);
    }
    errno = EINVAL;
    return -1;
}

int clab_do(int deed, const struct sock_filter *program, int count, int forbid_files) {
    pid_t child = fork();
    if (child < 0) return errno;
    if (child == 0) {
        struct tools tools = {0};
        // 200 and on: not what is asked about.
        if (prepare(&tools) < 0) _exit(200);
        if (forbid_files && cl_forbid_files() < 0) _exit(201);
        if (count > 0 && cl_filter_calls(program, count) < 0) _exit(202);
        _exit(act(deed, &tools) < 0 ? errno : 0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return errno;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
