/// New names, one after the other, and what is sent to the addresses that they stand for.
///
///   lookups serve ADDRESS PORT
///
/// answers names at ADDRESS, port 53: nNUMBER.anything has the address 198.18.0.0 plus NUMBER. Datagrams that come to
/// PORT of that very address are counted, each NUMBER once, and by themselves those of a NUMBER that nobody has asked for.
/// Prints one JSON object when it is told to end (SIGTERM).
///
///   lookups reflect ADDRESS
///
/// sends each question back as its own answer, without having read it: what any server takes at least, so what an asker
/// sees of it is the most that it sees of anybody.
///
///   lookups ask RESOLVER FIRST COUNT PER_SECOND PORT
///
/// asks RESOLVER for COUNT names from nFIRST on, no faster than PER_SECOND (0: as fast as it goes), each when the one
/// before was answered. The moment an answer is there a datagram goes to PORT of its address (0: none does). Prints one
/// JSON object.
///
///   lookups send FIRST COUNT PORT
///
/// sends the same datagrams without having asked.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 12, ROOM = 1232, NUMBERS = 65536, DNS = 53 };
static const uint32_t first_address = 198u << 24 | 18u << 16;
static const char suffix[] = "\6static\7content\5names\7example\3com";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int bound(const char *address, int port) {
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 8 << 20, one = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (sock < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1) fail(address);
    if (setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0) perror("SO_RCVBUFFORCE");
    if (setsockopt(sock, IPPROTO_IP, IP_PKTINFO, &one, sizeof one) < 0) fail("IP_PKTINFO");
    if (bind(sock, (struct sockaddr *)&name, sizeof name) < 0) fail("bind");
    return sock;
}

/// The offset after the name at `at`, or 0 if it is none.
static size_t after_name(const uint8_t *message, size_t size, size_t at) {
    while (at < size) {
        if (message[at] == 0) return at + 1;
        if (message[at] >= 0xc0) return at + 2 <= size ? at + 2 : 0;
        at += message[at] + 1;
    }
    return 0;
}

/// By number: 1 if it was asked for, 2 if its datagram has come.
static uint8_t known[NUMBERS];

/// Makes an answer of a question in place; 0 if it is none.
static size_t answer(uint8_t *message, size_t size) {
    size_t end = size < HEADER ? 0 : after_name(message, size, HEADER);
    if (end == 0 || end + 4 + 16 > ROOM || end + 4 > size || tolower(message[HEADER + 1]) != 'n') return 0;
    uint32_t number = 0;
    for (size_t at = HEADER + 2; isdigit(message[at]); at++) number = number * 10 + message[at] - '0';
    int is_a = message[end] == 0 && message[end + 1] == 1;
    message[2] |= 0x84;  // a response, by who has authority (RFC 1035 section 4.1.1)
    message[3] = 0;
    // One question; one answer or none; what else came is not sent back.
    memcpy(message + 4, (uint8_t[]){0, 1, 0, is_a, 0, 0, 0, 0}, 8);
    end += 4;
    if (!is_a) return end;
    if (number >= NUMBERS) return 0;
    known[number] |= 1;
    uint32_t address = htonl(first_address + number);
    memcpy(message + end, "\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4", 12);
    memcpy(message + end + 12, &address, 4);
    return end + 16;
}

static volatile sig_atomic_t is_over;
static void end(int signal) {
    (void)signal;
    is_over = 1;
}

/// The number of a datagram that came to the address which stands for it, or -1.
static int32_t arrived(int sock) {
    uint32_t number;
    char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct iovec part = {&number, sizeof number};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(sock, &message, MSG_DONTWAIT) != sizeof number) return -1;
    struct cmsghdr *info = CMSG_FIRSTHDR(&message);
    if (info == NULL || info->cmsg_type != IP_PKTINFO) return -1;
    uint32_t address = ntohl(((struct in_pktinfo *)CMSG_DATA(info))->ipi_addr.s_addr);
    number = ntohl(number);
    return number < NUMBERS && address == first_address + number ? (int32_t)number : -1;
}

static int serve(const char *address, int port) {
    long answered = 0, count = 0, unasked = 0;
    struct pollfd sockets[] = {{bound(address, DNS), POLLIN, 0}, {bound("0.0.0.0", port), POLLIN, 0}};
    struct sigaction action = {.sa_handler = end};
    sigset_t blocked, waiting;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &waiting);
    sigaction(SIGTERM, &action, NULL);
    while (!is_over) {
        if (ppoll(sockets, 2, NULL, &waiting) < 0) continue;
        if (sockets[0].revents) {
            uint8_t message[ROOM];
            struct sockaddr_in peer;
            socklen_t length = sizeof peer;
            ssize_t size = recvfrom(sockets[0].fd, message, sizeof message, 0, (struct sockaddr *)&peer, &length);
            size_t reply = size > 0 ? answer(message, size) : 0;
            if (reply > 0 && sendto(sockets[0].fd, message, reply, 0, (struct sockaddr *)&peer, length) > 0) answered++;
        }
        if (sockets[1].revents) {
            int32_t number = arrived(sockets[1].fd);
            if (number < 0 || !(known[number] & 1)) {
                unasked++;
            } else if (!(known[number] & 2)) {
                known[number] |= 2;
                count++;
            }
        }
    }
    printf("{\"answered\": %ld, \"arrived\": %ld, \"unasked\": %ld}\n", answered, count, unasked);
    return 0;
}

enum { MANY = 64 };

/// Sends `count` datagrams of one length to one peer, in one piece that the kernel cuts (UDP_SEGMENT of udp(7)).
static void send_back(int sock, struct mmsghdr *all, int count) {
    struct iovec parts[MANY];
    char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    uint16_t size = all[0].msg_len;
    for (int i = 0; i < count; i++) parts[i] = (struct iovec){all[i].msg_hdr.msg_iov->iov_base, size};
    struct msghdr message = {
        .msg_name = all[0].msg_hdr.msg_name, .msg_namelen = sizeof(struct sockaddr_in), .msg_iov = parts,
        .msg_iovlen = count};
    if (count > 1) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof size), IPPROTO_UDP, UDP_SEGMENT};
        memcpy(CMSG_DATA(header), &size, sizeof size);
    }
    sendmsg(sock, &message, 0);
}

_Noreturn static void reflect(const char *address) {
    static uint8_t bytes[MANY][ROOM];
    struct sockaddr_in peers[MANY];
    struct iovec parts[MANY];
    struct mmsghdr all[MANY];
    int sock = bound(address, DNS);
    while (1) {
        for (int i = 0; i < MANY; i++) {
            parts[i] = (struct iovec){bytes[i], ROOM};
            all[i] = (struct mmsghdr){
                .msg_hdr = {.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1}};
        }
        int count = recvmmsg(sock, all, MANY, MSG_WAITFORONE, NULL);
        if (count < 0) fail("recvmmsg");
        for (int i = 0; i < count; i++) bytes[i][2] |= 0x80;
        for (int first = 0, next; first < count; first = next) {
            next = first + 1;
            while (next < count && all[next].msg_len == all[first].msg_len &&
                   memcmp(&peers[next], &peers[first], sizeof peers[0]) == 0) next++;
            send_back(sock, all + first, next - first);
        }
    }
}

static size_t question(uint8_t *message, uint32_t number) {
    char label[16];
    int length = snprintf(label, sizeof label, "n%u", number);
    memcpy(message, (uint8_t[HEADER]){number >> 8, number, 1, 0, 0, 1}, HEADER);
    message[HEADER] = length;
    memcpy(message + HEADER + 1, label, length);
    size_t at = HEADER + 1 + length;
    // With the zero that ends it.
    memcpy(message + at, suffix, sizeof suffix);
    at += sizeof suffix;
    memcpy(message + at, "\0\1\0\1", 4);
    return at + 4;
}

/// The address in an answer, or 0.
static uint32_t address_in(const uint8_t *message, size_t size, uint32_t number) {
    if (size < HEADER || message[0] != (uint8_t)(number >> 8) || message[1] != (uint8_t)number) return 0;
    if ((message[3] & 15) != 0 || message[7] == 0) return 0;
    size_t at = after_name(message, size, HEADER);
    if (at == 0) return 0;
    at = after_name(message, size, at + 4);
    if (at == 0 || at + 14 > size || message[at + 1] != 1) return 0;
    uint32_t address;
    memcpy(&address, message + at + 10, 4);
    return address;
}

static void wait_until(double second) {
    struct timespec time = {second, (second - (time_t)second) * 1e9};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {}
}

static int ask(const char *resolver, uint32_t first, uint32_t count, double rate, int port) {
    int names = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), data = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(DNS)};
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {5, 0};
    if (inet_pton(AF_INET, resolver, &server.sin_addr) != 1) fail(resolver);
    if (connect(names, (struct sockaddr *)&server, sizeof server) < 0) fail("connect");
    setsockopt(names, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    double start = time.tv_sec + time.tv_nsec / 1e9;
    long answered = 0, sent = 0;
    for (uint32_t index = 0; index < count; index++) {
        uint8_t message[ROOM];
        uint32_t number = first + index, payload = htonl(number);
        if (rate > 0) wait_until(start + index / rate);
        if (send(names, message, question(message, number), 0) < 0) fail("send");
        ssize_t size = recv(names, message, sizeof message, 0);
        target.sin_addr.s_addr = size > 0 ? address_in(message, size, number) : 0;
        if (target.sin_addr.s_addr == 0) continue;
        answered++;
        if (port != 0 && sendto(data, &payload, sizeof payload, 0, (struct sockaddr *)&target, sizeof target) > 0) sent++;
    }
    clock_gettime(CLOCK_MONOTONIC, &time);
    printf("{\"answered\": %ld, \"sent\": %ld, \"seconds\": %.3f}\n", answered, sent,
           time.tv_sec + time.tv_nsec / 1e9 - start);
    return 0;
}

static int send_unasked(uint32_t first, uint32_t count, int port) {
    int data = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (uint32_t number = first; number < first + count; number++) {
        uint32_t payload = htonl(number);
        struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port)};
        target.sin_addr.s_addr = htonl(first_address + number);
        // Being refused at once is as good as being lost.
        sendto(data, &payload, sizeof payload, 0, (struct sockaddr *)&target, sizeof target);
    }
    return 0;
}

int main(int count, char **arguments) {
    if (count == 4 && strcmp(arguments[1], "serve") == 0) return serve(arguments[2], atoi(arguments[3]));
    if (count == 3 && strcmp(arguments[1], "reflect") == 0) reflect(arguments[2]);
    if (count == 7 && strcmp(arguments[1], "ask") == 0) {
        return ask(arguments[2], atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]), atoi(arguments[6]));
    }
    if (count == 5 && strcmp(arguments[1], "send") == 0) {
        return send_unasked(atoi(arguments[2]), atoi(arguments[3]), atoi(arguments[4]));
    }
    fprintf(stderr, "usage: lookups serve ADDRESS PORT | reflect ADDRESS | ask RESOLVER FIRST COUNT PER_SECOND PORT "
                    "| send FIRST COUNT PORT\n");
    return 2;
}
