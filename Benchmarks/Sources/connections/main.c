/// Short connections, as many as go, and whom the server takes the client for.
///
///   connections serve PORT
///
/// answers one byte by the address and port that it sees, and closes.
///
///   connections ADDRESS PORT SECONDS AT_ONCE
///
/// prints one JSON object: connections a second, those that failed, and those whose server saw another address or port
/// than the client has.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64, ROOM = 64 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int place(char *room, const struct sockaddr_in *name) {
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &name->sin_addr, address, sizeof address);
    return snprintf(room, ROOM, "%s %u", address, ntohs(name->sin_port));
}

static int serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) < 0 || listen(listener, 4096) < 0) {
        perror("connections serve");
        return 1;
    }
    for (;;) {
        char byte, text[ROOM];
        socklen_t length = sizeof name;
        int connection = accept(listener, (struct sockaddr *)&name, &length);
        if (connection < 0) continue;
        if (read(connection, &byte, 1) == 1) {
            int count = place(text, &name);
            if (write(connection, text, count) != count) perror("write");
        }
        close(connection);
    }
}

static struct sockaddr_in server;
static double until;
static atomic_long answered, failed, mistaken;

/// One connection, to its end: the server closes first, so that the client has its port for use again at once.
static int once(char *seen) {
    int connection = socket(AF_INET, SOCK_STREAM, 0), count = 0, got = -1;
    struct timeval limit = {2, 0};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(connection, (struct sockaddr *)&server, sizeof server) == 0 && write(connection, "?", 1) == 1)
        while ((got = read(connection, seen + count, ROOM - 1 - count)) > 0) count += got;
    seen[count] = 0;
    char own[ROOM];
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    getsockname(connection, (struct sockaddr *)&name, &length);
    place(own, &name);
    if (got == 0 && count > 0 && strcmp(own, seen) != 0) mistaken++;
    close(connection);
    return got == 0 && count > 0;
}

static void *work(void *unused) {
    char seen[ROOM];
    while (now() < until) *(once(seen) ? &answered : &failed) += 1;
    return unused;
}

int main(int count, char **words) {
    if (count == 3 && strcmp(words[1], "serve") == 0) return serve(atoi(words[2]));
    if (count != 5 || inet_pton(AF_INET, words[1], &server.sin_addr) != 1) {
        fprintf(stderr, "connections serve PORT | connections ADDRESS PORT SECONDS AT_ONCE\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(words[2]));
    double seconds = atof(words[3]);
    int threads = atoi(words[4]);
    pthread_t all[MOST];
    if (threads < 1 || threads > MOST) return 2;
    until = now() + seconds;
    for (int i = 0; i < threads; i++) pthread_create(&all[i], NULL, work, NULL);
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    printf("{\"per_second\": %.1f, \"failed\": %ld, \"mistaken\": %ld}\n", answered / seconds, failed, mistaken);
    return 0;
}
