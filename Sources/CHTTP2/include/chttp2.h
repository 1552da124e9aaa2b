// HTTP/2 (RFC 9113) by nghttp2, narrowed to what gRPC needs of it. No IO happens here: bytes go in and come out.
// One thread at a time. Where nothing else is said, functions return 0, or nghttp2's negative error.
#ifndef CHTTP2_H
#define CHTTP2_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ch_session;

// What follows the bytes that `supply` has given.
enum ch_next { CH_MORE = 0, CH_END = 1, CH_TRAILERS = 2 };

// What the other side does. All are called from within ch_receive, but for `supply` and `closed`, which ch_send calls too.
struct ch_handlers {
    void *context;
    // A field of the header block that is being received; anything but 0 resets the stream.
    int (*field)(void *context, int32_t stream, const uint8_t *name, size_t name_length, const uint8_t *value,
                 size_t value_length);
    // The block is complete. `ends`: nothing follows on this stream.
    void (*fields_end)(void *context, int32_t stream, int ends);
    void (*data)(void *context, int32_t stream, const uint8_t *bytes, size_t length);
    // The other side has said all on this stream, by the end of its data.
    void (*data_end)(void *context, int32_t stream);
    // The stream is gone; `error` is 0 where both sides had ended it.
    void (*closed)(void *context, int32_t stream, uint32_t error);
    // The other side takes no new streams (GOAWAY).
    void (*leaving)(void *context);
    // Puts up to `length` bytes of a stream into `room` and returns how many. 0 with CH_MORE: ch_resume tells of more.
    size_t (*supply)(void *context, int32_t stream, uint8_t *room, size_t length, enum ch_next *next);
};

// Header fields: names and values one behind the other in `text`, and the length of each in `lengths`, two for a field.
struct ch_fields {
    const uint8_t *text;
    const uint32_t *lengths;
    size_t count;
};

// NULL without memory. The handlers' context may be set later, but before anything is received or sent. `streams` is how many the other side may have open, `window` how many bytes of each may wait
// unconsumed. The connection as a whole has no bound of its own.
struct ch_session *ch_open(int is_server, const struct ch_handlers *handlers, uint32_t streams, uint32_t window);
void ch_free(struct ch_session *session);
void ch_report_to(struct ch_session *session, void *context);

// Takes all of the bytes.
int ch_receive(struct ch_session *session, const uint8_t *bytes, size_t length);
// The next bytes to be sent, good until the next call; 0 where there are none.
ssize_t ch_send(struct ch_session *session, const uint8_t **bytes);
// Whether the session has come to its end: nothing is to be read and nothing to be sent.
int ch_is_over(struct ch_session *session);

// A client's request, with data to follow; the stream's number, or a negative error.
int32_t ch_request(struct ch_session *session, struct ch_fields fields);
// A server's header block; `ends` where it is all of the answer.
int ch_respond(struct ch_session *session, int32_t stream, struct ch_fields fields, int ends);
// To be called by `supply` when it answers CH_TRAILERS.
int ch_trailers(struct ch_session *session, int32_t stream, struct ch_fields fields);
int ch_resume(struct ch_session *session, int32_t stream);
int ch_reset(struct ch_session *session, int32_t stream, uint32_t error);
// Received bytes are no longer kept: the other side may send as many again.
int ch_consume(struct ch_session *session, int32_t stream, size_t length);
// Takes no new streams from here on.
int ch_leave(struct ch_session *session);

const char *ch_error(int code);

#endif
