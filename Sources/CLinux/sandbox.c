#define _GNU_SOURCE
#include "cl_sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

uint32_t cl_audit_arch(void) {
#if defined __x86_64__
    return AUDIT_ARCH_X86_64;
#elif defined __aarch64__
    return AUDIT_ARCH_AARCH64;
#else
#error "the numbers of system calls are known for x86-64 and arm64"
#endif
}

static int gain_nothing(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

int cl_filter_calls(const struct sock_filter *program, int count) {
    const struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    if (count <= 0 || count > BPF_MAXINSNS) {
        errno = EINVAL;
        return -1;
    }
    if (gain_nothing() < 0) return -1;
    // Before Linux 5.16 a filter would bring what keeps untrusted code from speculating (SSBD, STIBP) along. No code
    // here is anybody else's, and it costs.
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
}

// linux/landlock.h of Linux 6.12; older headers have less, and older kernels take as much as they know.
struct ruleset {
    uint64_t files, ports, scoped;
};

enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, ASK_VERSION = 1 };

int cl_forbid_files(void) {
    const int version = (int)syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);
    // Not built in, switched off, or kept from us by somebody else's filter, as around containers.
    if (version < 0) return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -1;
    // LANDLOCK_ACCESS_FS_*: bits 0 to 12 are of version 1; REFER came with 2, TRUNCATE with 3, IOCTL_DEV with 5.
    const int rights = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
    // LANDLOCK_SCOPE_*, of version 6: abstract Unix sockets, signals.
    const struct ruleset rules = {.files = (1u << rights) - 1, .scoped = version >= 6 ? 3 : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const int ruleset = (int)syscall(CREATE_RULESET, &rules, size, 0);
    if (ruleset < 0) return -1;
    // No rule: nothing of what it handles is allowed anywhere.
    int result = gain_nothing();
    if (result == 0) result = (int)syscall(RESTRICT_SELF, ruleset, 0);
    const int saved = errno;
    close(ruleset);
    errno = saved;
    return result < 0 ? -1 : version;
}

int cl_lower_limit(int limit, uint64_t most) {
    const struct rlimit both = {most, most};
    switch (limit) {
    case CL_LIMIT_CORE: return setrlimit(RLIMIT_CORE, &both);
    case CL_LIMIT_FILE_SIZE:
        signal(SIGXFSZ, SIG_IGN);
        return setrlimit(RLIMIT_FSIZE, &both);
    case CL_LIMIT_PROCESSES: return setrlimit(RLIMIT_NPROC, &both);
    }
    errno = EINVAL;
    return -1;
}
