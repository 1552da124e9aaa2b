/// The floor under one attach: what the kernel alone takes for the same veth, bridge port, addresses and routes.
///
/// One process, sockets opened beforehand where that is possible, and as few round trips as rtnetlink allows: one
/// datagram on the host's side, one question for the peer's index and one datagram on the container's side. Nothing
/// is stored, no policy is set, no name is resolved. Run it in a network namespace of its own.
///
///   floor COUNT [INNER_NAME]
///
/// prints one JSON object: microseconds for each attach, and for each of its three parts.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/// A datagram under construction: messages one after another, attributes nested by offset.
struct datagram {
    _Alignas(4) uint8_t bytes[4096];
    size_t length;
    size_t message;
};

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void begin(struct datagram *d, uint16_t type, uint16_t flags, const void *body, size_t size) {
    d->message = d->length;
    struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 1};
    memcpy(d->bytes + d->length, &header, sizeof header);
    memcpy(d->bytes + d->length + NLMSG_HDRLEN, body, size);
    d->length += NLMSG_HDRLEN + NLMSG_ALIGN(size);
}

static void end(struct datagram *d) {
    ((struct nlmsghdr *)(d->bytes + d->message))->nlmsg_len = d->length - d->message;
}

static size_t put(struct datagram *d, uint16_t type, const void *value, size_t size) {
    size_t at = d->length;
    struct rtattr header = {.rta_len = RTA_LENGTH(size), .rta_type = type};
    memset(d->bytes + at, 0, RTA_SPACE(size));
    memcpy(d->bytes + at, &header, sizeof header);
    if (size != 0) memcpy(d->bytes + at + RTA_LENGTH(0), value, size);
    d->length += RTA_SPACE(size);
    return at;
}

static void put_u32(struct datagram *d, uint16_t type, uint32_t value) { put(d, type, &value, sizeof value); }
static void put_text(struct datagram *d, uint16_t type, const char *text) { put(d, type, text, strlen(text) + 1); }
static size_t nest(struct datagram *d, uint16_t type) { return put(d, type | NLA_F_NESTED, NULL, 0); }
static void unnest(struct datagram *d, size_t at) { ((struct rtattr *)(d->bytes + at))->rta_len = d->length - at; }

static int open_route(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) fail("socket");
    return fd;
}

/// Sends the datagram and waits for `answers` messages; any error ends the program. Returns the last message.
static struct nlmsghdr *exchange(int fd, struct datagram *d, const char *what, int answers) {
    static _Alignas(4) uint8_t reply[16384];
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct nlmsghdr *last = NULL;
    if (sendto(fd, d->bytes, d->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) fail(what);
    while (answers > 0) {
        ssize_t got = recv(fd, reply, sizeof reply, 0);
        if (got < 0) fail(what);
        unsigned left = got;
        for (struct nlmsghdr *h = (struct nlmsghdr *)reply; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_ERROR && ((struct nlmsgerr *)NLMSG_DATA(h))->error != 0) {
                errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
                fail(what);
            }
            last = h;
            answers--;
        }
    }
    return last;
}

static int link_index(int fd, const char *name) {
    struct datagram d = {.length = 0};
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    begin(&d, RTM_GETLINK, 0, &info, sizeof info);
    put_text(&d, IFLA_IFNAME, name);
    // The statistics and the 2 KB of per-family tables are not wanted.
    put_u32(&d, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    end(&d);
    struct nlmsghdr *reply = exchange(fd, &d, "RTM_GETLINK", 1);
    return ((struct ifinfomsg *)NLMSG_DATA(reply))->ifi_index;
}

static void put_address(struct datagram *d, int family, int index, const char *text, int prefix, int flags) {
    uint8_t raw[16];
    size_t size = family == AF_INET ? 4 : 16;
    inet_pton(family, text, raw);
    struct ifaddrmsg message = {.ifa_family = family, .ifa_prefixlen = prefix, .ifa_index = index};
    begin(d, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | flags, &message, sizeof message);
    put(d, IFA_LOCAL, raw, size);
    put(d, IFA_ADDRESS, raw, size);
    // Duplicate address detection would hold the address back for a second or more.
    if (family == AF_INET6) put_u32(d, IFA_FLAGS, IFA_F_NODAD);
    end(d);
}

static void put_default_route(struct datagram *d, int family, int index, const char *gateway, int flags) {
    uint8_t raw[16];
    inet_pton(family, gateway, raw);
    struct rtmsg message = {
        .rtm_family = family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST,
    };
    begin(d, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | flags, &message, sizeof message);
    put(d, RTA_GATEWAY, raw, family == AF_INET ? 4 : 16);
    put_u32(d, RTA_OIF, index);
    end(d);
}

static int make_bridge(int fd, const char *name) {
    struct datagram d = {.length = 0};
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    begin(&d, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &info, sizeof info);
    put_text(&d, IFLA_IFNAME, name);
    // With a MAC address of its own the bridge need not look for the lowest of its ports each time.
    put(&d, IFLA_ADDRESS, (uint8_t[]){0x02, 0x90, 0xff, 0, 0, 1}, 6);
    size_t linkinfo = nest(&d, IFLA_LINKINFO);
    put_text(&d, IFLA_INFO_KIND, "bridge");
    size_t data = nest(&d, IFLA_INFO_DATA);
    // Snooping costs work for every port that there is when one is added.
    put(&d, IFLA_BR_MCAST_SNOOPING, &(uint8_t){0}, 1);
    unnest(&d, data);
    unnest(&d, linkinfo);
    end(&d);
    exchange(fd, &d, "the bridge", 1);
    int index = link_index(fd, name);
    d.length = 0;
    put_address(&d, AF_INET, index, "10.90.0.1", 16, 0);
    put_address(&d, AF_INET6, index, "fd00:90::1", 64, NLM_F_ACK);
    exchange(fd, &d, "the bridge's addresses", 1);
    return index;
}

/// One queue each way: the kernel's choice is one for each processor, with a dozen sysfs files for every one of them.
static void put_queues(struct datagram *d) {
    put_u32(d, IFLA_NUM_TX_QUEUES, 1);
    put_u32(d, IFLA_NUM_RX_QUEUES, 1);
}

/// The host's side: a veth whose peer is born inside `netns`, up, an isolated port of the bridge, marked as ours.
static void attach_outside(int fd, int bridge, int netns, unsigned number, const char *inner) {
    struct datagram d = {.length = 0};
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    char name[IFNAMSIZ], alias[80];
    uint8_t mac[6] = {0x02, 0x90, 0, 0, number >> 8, number};
    snprintf(name, sizeof name, "fv%013x", number);
    snprintf(alias, sizeof alias, "floor:%064x", number);

    begin(&d, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    put_text(&d, IFLA_IFNAME, name);
    put_u32(&d, IFLA_MASTER, bridge);
    put_u32(&d, IFLA_GROUP, 0x666c6f72);
    put_u32(&d, IFLA_MTU, 1500);
    put_queues(&d);
    size_t linkinfo = nest(&d, IFLA_LINKINFO);
    put_text(&d, IFLA_INFO_KIND, "veth");
    size_t data = nest(&d, IFLA_INFO_DATA);
    // linux/veth.h: VETH_INFO_PEER carries an ifinfomsg, then the peer's own attributes.
    // It is born down: veth_open() answers ENOTCONN for as long as the first end is not registered.
    struct ifinfomsg down = {.ifi_family = AF_UNSPEC};
    size_t peer = put(&d, VETH_INFO_PEER | NLA_F_NESTED, &down, sizeof down);
    put_text(&d, IFLA_IFNAME, inner);
    put(&d, IFLA_ADDRESS, mac, sizeof mac);
    put_u32(&d, IFLA_MTU, 1500);
    put_u32(&d, IFLA_NET_NS_FD, netns);
    put_queues(&d);
    unnest(&d, peer);
    unnest(&d, data);
    unnest(&d, linkinfo);
    end(&d);

    begin(&d, RTM_NEWLINK, NLM_F_ACK, &info, sizeof info);
    put_text(&d, IFLA_IFNAME, name);
    put_text(&d, IFLA_IFALIAS, alias);
    linkinfo = nest(&d, IFLA_LINKINFO);
    put_text(&d, IFLA_INFO_SLAVE_KIND, "bridge");
    data = nest(&d, IFLA_INFO_SLAVE_DATA);
    put(&d, IFLA_BRPORT_ISOLATED, &(uint8_t){1}, 1);
    unnest(&d, data);
    unnest(&d, linkinfo);
    end(&d);
    exchange(fd, &d, "the veth", 1);
}

/// The container's side: loopback up, one address and one default route of each family.
static void attach_inside(int fd, unsigned number, const char *inner) {
    int index = link_index(fd, inner);
    struct datagram d = {.length = 0};
    struct ifinfomsg loopback = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    char v4[INET_ADDRSTRLEN], v6[INET6_ADDRSTRLEN];
    snprintf(v4, sizeof v4, "10.90.%u.%u", (number + 2) >> 8, (number + 2) & 255);
    snprintf(v6, sizeof v6, "fd00:90::%x", number + 2);
    begin(&d, RTM_NEWLINK, 0, &loopback, sizeof loopback);
    end(&d);
    struct ifinfomsg device = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    begin(&d, RTM_NEWLINK, 0, &device, sizeof device);
    end(&d);
    put_address(&d, AF_INET, index, v4, 16, 0);
    put_address(&d, AF_INET6, index, v6, 64, 0);
    put_default_route(&d, AF_INET, index, "10.90.0.1", 0);
    put_default_route(&d, AF_INET6, index, "fd00:90::1", NLM_F_ACK);
    exchange(fd, &d, "the container's side", 1);
}

static int open_own_namespace(void) {
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("/proc/thread-self/ns/net");
    return fd;
}

static void print_list(const char *name, const double *values, int count, const char *after) {
    printf("\"%s\":[", name);
    for (int i = 0; i < count; i++) printf("%s%.1f", i == 0 ? "" : ",", values[i]);
    printf("]%s", after);
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 100;
    const char *inner = argc > 2 ? argv[2] : "eth0";
    if (count < 1 || count > 1000) {
        fprintf(stderr, "floor: COUNT must be between 1 and 1000 (a bridge takes 1,023 ports)\n");
        return 2;
    }
    int home = open_own_namespace();
    int route = open_route();
    int bridge = make_bridge(route, "floor0");
    double *whole = calloc(count, sizeof *whole), *outside = calloc(count, sizeof *outside);
    double *enter = calloc(count, sizeof *enter), *inside = calloc(count, sizeof *inside);
    int *namespaces = calloc(count, sizeof *namespaces);
    for (int i = 0; i < count; i++) {
        // Making the namespace is the container runtime's work, so it stays outside the timing.
        if (unshare(CLONE_NEWNET) != 0) fail("unshare");
        namespaces[i] = open_own_namespace();
        if (setns(home, CLONE_NEWNET) != 0) fail("setns");

        double start = now_us();
        attach_outside(route, bridge, namespaces[i], i, inner);
        double linked = now_us();
        // A socket belongs to the namespace it was opened in, and this one is new: no process could have it ready.
        if (setns(namespaces[i], CLONE_NEWNET) != 0) fail("setns");
        int within = open_route();
        if (setns(home, CLONE_NEWNET) != 0) fail("setns");
        double entered = now_us();
        attach_inside(within, i, inner);
        double done = now_us();
        close(within);
        whole[i] = done - start;
        outside[i] = linked - start;
        enter[i] = entered - linked;
        inside[i] = done - entered;
    }
    printf("{");
    print_list("attach_us", whole, count, ",");
    print_list("outside_us", outside, count, ",");
    print_list("enter_us", enter, count, ",");
    print_list("inside_us", inside, count, "}\n");
    return 0;
}
