#define _GNU_SOURCE
#include "clinux.h"

#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { MAX_STEPS = 64, MAX_PLAN_FDS = 256, CHILD_FDS_FROM = 512 };

struct step {
    int kind, optional;
    uint64_t one, two;
    char *text[4];
};

struct list {
    char **items;
    int count;
};

struct cl_plan {
    struct list arguments, environment;
    int descriptors[MAX_PLAN_FDS], descriptor_count;
    struct step steps[MAX_STEPS];
    int step_count;
    int own_environment;
    char *program;
};

struct cl_plan *cl_plan_new(void) { return calloc(1, sizeof(struct cl_plan)); }

static void list_free(struct list *list) {
    for (int i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
}

// Keeps the NULL at the end that exec wants.
static int list_add(struct list *list, const char *text) {
    char **items = realloc(list->items, sizeof(char *) * (list->count + 2));
    if (!items) return -1;
    list->items = items;
    items[list->count] = strdup(text);
    if (!items[list->count]) return -1;
    items[++list->count] = NULL;
    return 0;
}

void cl_plan_free(struct cl_plan *plan) {
    if (!plan) return;
    list_free(&plan->arguments);
    list_free(&plan->environment);
    for (int i = 0; i < plan->step_count; i++)
        for (int t = 0; t < 4; t++) free(plan->steps[i].text[t]);
    free(plan->program);
    free(plan);
}

int cl_plan_program(struct cl_plan *plan, const char *path) {
    free(plan->program);
    plan->program = strdup(path);
    return plan->program ? 0 : -1;
}

int cl_plan_argument(struct cl_plan *plan, const char *text) { return list_add(&plan->arguments, text); }
int cl_plan_variable(struct cl_plan *plan, const char *text) { return list_add(&plan->environment, text); }

void cl_plan_empty_environment(struct cl_plan *plan) { plan->own_environment = 1; }

int cl_plan_descriptor(struct cl_plan *plan, int fd) {
    if (plan->descriptor_count == MAX_PLAN_FDS) {
        errno = E2BIG;
        return -1;
    }
    plan->descriptors[plan->descriptor_count++] = fd;
    return 0;
}

int cl_plan_step(struct cl_plan *plan, int kind, int optional, uint64_t one, uint64_t two, const char *a,
                 const char *b, const char *c, const char *d) {
    if (plan->step_count == MAX_STEPS) {
        errno = E2BIG;
        return -1;
    }
    struct step *step = &plan->steps[plan->step_count];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    step->optional = optional;
    step->one = one;
    step->two = two;
    plan->step_count++;
    const char *texts[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if (texts[i] && !(step->text[i] = strdup(texts[i]))) return -1;
    return 0;
}

// What the child knows of itself besides the plan.
struct child {
    int reports, go;
    pid_t parent;
    // Ids as seen before the last unshare: "outside" in the maps of the namespace made there.
    unsigned outer_uid, outer_gid;
};

static int write_file(const char *path, const char *text, size_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t done = write(fd, text, length);
    int saved = errno;
    close(fd);
    errno = saved;
    return done == (ssize_t)length ? 0 : -1;
}

// "inside outside 1" without stdio, which may hold a lock of a thread that is not here any more.
static int write_map(const char *path, unsigned inside, unsigned outside) {
    char text[40], digits[12];
    size_t length = 0;
    unsigned numbers[3] = {inside, outside, 1};
    for (int i = 0; i < 3; i++) {
        int n = 0;
        do digits[n++] = (char)('0' + numbers[i] % 10);
        while (numbers[i] /= 10);
        while (n) text[length++] = digits[--n];
        text[length++] = i < 2 ? ' ' : '\n';
    }
    return write_file(path, text, length);
}

static int pause_child(const struct child *child, int index) {
    struct cl_report report = {CL_REPORT_PAUSED, index, 0};
    char byte;
    ssize_t got;
    if (write(child->reports, &report, sizeof report) != sizeof report) _exit(125);
    do got = read(child->go, &byte, 1);
    while (got < 0 && errno == EINTR);
    // The other end is gone: nobody wants this child any more.
    if (got != 1) _exit(125);
    return 0;
}

static int close_range_of(int first, int last) {
    return first > last ? 0 : (int)syscall(SYS_close_range, first, last, 0);
}

// All from 3 on but the two that the parent is talked to with.
static int close_others(const struct child *child) {
    int low = child->reports < child->go ? child->reports : child->go;
    int high = child->reports < child->go ? child->go : child->reports;
    if (close_range_of(3, low - 1) < 0 || close_range_of(low + 1, high - 1) < 0) return -1;
    return close_range_of(high + 1, INT_MAX);
}

// Another file may be at the path by now.
static int join_path(const char *path, uint64_t device, uint64_t inode, int kind) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    struct stat status;
    int done = fstat(fd, &status);
    if (done == 0 && (status.st_dev != device || status.st_ino != inode)) {
        errno = ESTALE;
        done = -1;
    }
    if (done == 0) done = setns(fd, kind);
    int saved = errno;
    close(fd);
    errno = saved;
    return done;
}

static int take(struct child *child, const struct step *step, int index) {
    switch (step->kind) {
    case CL_STEP_JOIN:
        return setns((int)step->one, (int)step->two);
    case CL_STEP_JOIN_PATH:
        return join_path(step->text[0], step->one, step->two, CLONE_NEWNET);
    case CL_STEP_UNSHARE:
        child->outer_uid = geteuid();
        child->outer_gid = getegid();
        return unshare((int)step->one);
    case CL_STEP_MAP_OWN:
        // user_namespaces(7): without CAP_SETGID outside, a gid may be mapped only once setgroups is denied.
        if (write_file("/proc/self/setgroups", "deny", 4) < 0) return -1;
        if (write_map("/proc/self/uid_map", (unsigned)step->one, child->outer_uid) < 0) return -1;
        return write_map("/proc/self/gid_map", (unsigned)step->two, child->outer_gid);
    case CL_STEP_WRITE:
        return write_file(step->text[0], step->text[1], strlen(step->text[1]));
    case CL_STEP_MOUNT:
        return mount(step->text[0], step->text[1], step->text[2], step->one, step->text[3]);
    case CL_STEP_CHDIR:
        return chdir(step->text[0]);
    case CL_STEP_SESSION:
        return setsid() < 0 ? -1 : 0;
    case CL_STEP_DEATH_SIGNAL:
        if (prctl(PR_SET_PDEATHSIG, step->one, 0, 0, 0) < 0) return -1;
        // The parent may have died before the line above; then no signal comes.
        if (getppid() != child->parent) _exit(125);
        return 0;
    case CL_STEP_NO_PRIVILEGES:
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    case CL_STEP_BOUND:
        for (int capability = 0; capability < 64; capability++) {
            if (step->one >> capability & 1) continue;
            // EINVAL: past the last capability this kernel knows.
            if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return errno == EINVAL ? 0 : -1;
        }
        return 0;
    case CL_STEP_LOOPBACK:
        return cl_loopback_up();
    case CL_STEP_TAP:
        return cl_tap(step->text[0], (int)step->one);
    case CL_STEP_CLOSE:
        return close_others(child);
    case CL_STEP_PAUSE:
        return pause_child(child, index);
    case CL_STEP_USER:
        if (setgroups(0, NULL) < 0) return -1;
        if (setresgid((gid_t)step->two, (gid_t)step->two, (gid_t)step->two) < 0) return -1;
        return setresuid((uid_t)step->one, (uid_t)step->one, (uid_t)step->one);
    }
    errno = EINVAL;
    return -1;
}

static void tell(const struct child *child, int kind, int index, int code) {
    struct cl_report report = {kind, index, code};
    // A pipe takes so few bytes whole; should nobody read, there is nobody to tell.
    if (write(child->reports, &report, sizeof report) < 0) return;
}

static int place_descriptors(const struct cl_plan *plan) {
    int high[MAX_PLAN_FDS];
    for (int i = 0; i < plan->descriptor_count; i++) {
        high[i] = fcntl(plan->descriptors[i], F_DUPFD_CLOEXEC, CHILD_FDS_FROM);
        if (high[i] < 0) return -1;
    }
    for (int i = 0; i < plan->descriptor_count; i++)
        if (dup2(high[i], i) < 0) return -1;
    return (int)syscall(SYS_close_range, plan->descriptor_count, ~0U, CLOSE_RANGE_CLOEXEC);
}

// As execvp, except that a directory which may not be searched does not turn "not found" into "permission denied".
static void run(const char *program, char *const *arguments) {
    if (strchr(program, '/')) {
        execv(program, arguments);
        return;
    }
    int code = ENOENT;
    const char *next = getenv("PATH");
    if (!next) next = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    size_t name = strlen(program);
    while (next) {
        char path[PATH_MAX];
        const char *end = strchrnul(next, ':');
        size_t length = (size_t)(end - next);
        if (length + 1 + name < sizeof path) {
            memcpy(path, next, length);
            // An empty entry is the current directory.
            if (length > 0) path[length++] = '/';
            memcpy(path + length, program, name + 1);
            execv(path, arguments);
            int refusal = errno;
            if (refusal != ENOENT && refusal != ENOTDIR && access(path, F_OK) == 0) code = refusal;
        }
        next = *end ? end + 1 : NULL;
    }
    errno = code;
}

__attribute__((noreturn)) static void live(struct cl_plan *plan, struct child *child) {
    child->outer_uid = geteuid();
    child->outer_gid = getegid();
    for (int i = 0; i < plan->step_count; i++) {
        if (take(child, &plan->steps[i], i) == 0) continue;
        int code = errno;
        if (plan->steps[i].optional) {
            tell(child, CL_REPORT_SKIPPED, i, code);
        } else {
            tell(child, CL_REPORT_FAILED, i, code);
            _exit(125);
        }
    }
    if (plan->arguments.count == 0) _exit(0);
    if (place_descriptors(plan) < 0) {
        tell(child, CL_REPORT_FAILED, -1, errno);
        _exit(125);
    }
    // Servers ignore SIGPIPE; a program started by one should not.
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    char *nothing[] = {NULL};
    if (plan->own_environment) environ = plan->environment.items ? plan->environment.items : nothing;
    run(plan->program ? plan->program : plan->arguments.items[0], plan->arguments.items);
    int code = errno;
    tell(child, CL_REPORT_FAILED, -1, code);
    _exit(code == ENOENT ? 127 : 126);
}

pid_t cl_plan_start(struct cl_plan *plan, int *reports, int *go) {
    int up[2], down[2];
    if (pipe2(up, O_CLOEXEC) < 0) return -1;
    if (pipe2(down, O_CLOEXEC) < 0) {
        int saved = errno;
        close(up[0]);
        close(up[1]);
        errno = saved;
        return -1;
    }
    // Handlers of this program must not run in the child: nothing is delivered there until just before exec.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        struct child child = {.parent = parent};
        // Away from the low numbers, which the plan hands out.
        child.reports = fcntl(up[1], F_DUPFD_CLOEXEC, CHILD_FDS_FROM);
        child.go = fcntl(down[0], F_DUPFD_CLOEXEC, CHILD_FDS_FROM);
        if (child.reports < 0 || child.go < 0) _exit(125);
        // The end of either pipe must be seen when the parent goes, so its ends must not live on here.
        close(up[0]);
        close(up[1]);
        close(down[0]);
        close(down[1]);
        live(plan, &child);
    }
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(up[1]);
    close(down[0]);
    if (pid < 0) {
        close(up[0]);
        close(down[1]);
        errno = saved;
        return -1;
    }
    *reports = up[0];
    *go = down[1];
    return pid;
}

pid_t cl_wait(pid_t pid, int nohang, int *status, int *signal) {
    int raw = 0;
    pid_t got = waitpid(pid, &raw, nohang ? WNOHANG : 0);
    if (got > 0) {
        *signal = WIFSIGNALED(raw) ? WTERMSIG(raw) : 0;
        *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
    }
    return got;
}
