#define _GNU_SOURCE
#include "clinux.h"

#include <pthread.h>
#include <stdlib.h>

struct cl_worker {
    pthread_t thread;
    // Held by one caller for the whole of its turn.
    pthread_mutex_t turn;
    // Guards the fields below.
    pthread_mutex_t lock;
    pthread_cond_t wanted, done;
    void (*body)(void *);
    void *context;
    int stop;
};

static void *serve(void *argument) {
    struct cl_worker *worker = argument;
    pthread_mutex_lock(&worker->lock);
    for (;;) {
        while (!worker->body && !worker->stop) pthread_cond_wait(&worker->wanted, &worker->lock);
        if (!worker->body) break;
        pthread_mutex_unlock(&worker->lock);
        worker->body(worker->context);
        pthread_mutex_lock(&worker->lock);
        worker->body = NULL;
        pthread_cond_signal(&worker->done);
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

struct cl_worker *cl_worker_start(void) {
    struct cl_worker *worker = calloc(1, sizeof *worker);
    if (!worker) return NULL;
    pthread_mutex_init(&worker->turn, NULL);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wanted, NULL);
    pthread_cond_init(&worker->done, NULL);
    // Signals are for the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int code = pthread_create(&worker->thread, NULL, serve, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        free(worker);
        errno = code;
        return NULL;
    }
    return worker;
}

void cl_worker_run(struct cl_worker *worker, void (*body)(void *), void *context) {
    pthread_mutex_lock(&worker->turn);
    pthread_mutex_lock(&worker->lock);
    worker->body = body;
    worker->context = context;
    pthread_cond_signal(&worker->wanted);
    while (worker->body) pthread_cond_wait(&worker->done, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    pthread_mutex_unlock(&worker->turn);
}

void cl_worker_stop(struct cl_worker *worker) {
    pthread_mutex_lock(&worker->lock);
    worker->stop = 1;
    pthread_cond_signal(&worker->wanted);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    pthread_mutex_destroy(&worker->turn);
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->wanted);
    pthread_cond_destroy(&worker->done);
    free(worker);
}
