#define _GNU_SOURCE
#include "clab.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clinux.h"

static char reason[256] = "the lab was not entered";
static int other_users, as_root;

const char *clab_unavailable(void) { return reason; }
int clab_has_other_users(void) { return other_users; }
int clab_started_as_root(void) { return as_root; }

int clab_drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    return (int)syscall(SYS_capset, &header, none);
}

static void fail(const char *what) { snprintf(reason, sizeof reason, "%s: %s", what, strerror(errno)); }

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t done = write(fd, text, strlen(text));
    close(fd);
    return done == (ssize_t)strlen(text) ? 0 : -1;
}

// The first range that `path` (subuid(5)) grants to this user: 0 if there is one.
static int granted(const char *path, const char *name, unsigned long *start, unsigned long *count) {
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    char line[512], number[16];
    int found = -1;
    snprintf(number, sizeof number, "%u", getuid());
    while (found < 0 && fgets(line, sizeof line, file)) {
        char *rest = line, *owner = strsep(&rest, ":");
        if (!rest || (strcmp(owner, name) != 0 && strcmp(owner, number) != 0)) continue;
        if (sscanf(rest, "%lu:%lu", start, count) == 2 && *count > 0) found = 0;
    }
    fclose(file);
    return found;
}

// A child that stays outside and maps our ids when told to. Returns its pid, 0 where there is nothing to map.
static pid_t start_mapper(int *go) {
    struct passwd *entry = getpwuid(getuid());
    unsigned long uids, uid_count, gids, gid_count;
    if (!entry || granted("/etc/subuid", entry->pw_name, &uids, &uid_count) < 0 ||
        granted("/etc/subgid", entry->pw_name, &gids, &gid_count) < 0)
        return 0;
    char command[512];
    snprintf(command, sizeof command,
             "newuidmap %d 0 %u 1 1 %lu %lu 2>/dev/null && newgidmap %d 0 %u 1 1 %lu %lu 2>/dev/null", getpid(),
             getuid(), uids, uid_count, getpid(), getgid(), gids, gid_count);
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0) return 0;
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(pipes[1]);
        if (read(pipes[0], &byte, 1) != 1) _exit(1);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(pipes[0]);
    *go = pipes[1];
    return pid > 0 ? pid : 0;
}

static int enter_as_user(void) {
    char map[64];
    unsigned uid = getuid(), gid = getgid();
    int go = -1, status = 1;
    pid_t mapper = start_mapper(&go);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0) {
        fail("user namespaces cannot be made here");
        if (mapper) {
            close(go);
            waitpid(mapper, NULL, 0);
        }
        return -1;
    }
    if (mapper) {
        if (write(go, "g", 1) != 1) status = 1;
        close(go);
        waitpid(mapper, &status, 0);
        if (status == 0) {
            other_users = 1;
            return 0;
        }
    }
    if (put("/proc/self/setgroups", "deny") < 0) return fail("setgroups"), -1;
    snprintf(map, sizeof map, "0 %u 1", uid);
    if (put("/proc/self/uid_map", map) < 0) return fail("uid_map"), -1;
    snprintf(map, sizeof map, "0 %u 1", gid);
    if (put("/proc/self/gid_map", map) < 0) return fail("gid_map"), -1;
    return 0;
}

__attribute__((constructor)) static void enter_lab(void) {
    if (getenv("FORGE_NO_LAB")) {
        snprintf(reason, sizeof reason, "FORGE_NO_LAB is set");
        return;
    }
    as_root = geteuid() == 0;
    if (as_root) {
        other_users = 1;
        if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) return fail("namespaces cannot be made here, though by root");
    } else if (enter_as_user() < 0) {
        return;
    }
    if (mount("none", "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) return fail("mounts cannot be made private");
    if (cl_loopback_up() < 0) return fail("lo cannot be brought up");
    // So that /sys/class/net shows the lab's interfaces. Not everywhere possible, and nothing needs it.
    if (mount("sysfs", "/sys", "sysfs", 0, NULL) < 0) errno = 0;
    reason[0] = 0;
}
