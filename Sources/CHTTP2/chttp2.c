#include "chttp2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

// Fields of one block: a call has about ten, and its caller may add metadata.
enum { FIELDS = 128 };

struct ch_session {
    nghttp2_session *session;
    struct ch_handlers handlers;
    int is_server;
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t value_length, uint8_t flags, void *user) {
    struct ch_session *own = user;
    (void)session;
    (void)flags;
    int refused = own->handlers.field(own->handlers.context, frame->hd.stream_id, name, name_length, value, value_length);
    return refused ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct ch_session *own = user;
    (void)session;
    int ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        own->handlers.fields_end(own->handlers.context, frame->hd.stream_id, ends);
        break;
    case NGHTTP2_DATA:
        if (ends) own->handlers.data_end(own->handlers.context, frame->hd.stream_id);
        break;
    case NGHTTP2_GOAWAY:
        own->handlers.leaving(own->handlers.context);
        break;
    default:
        break;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t length,
                   void *user) {
    struct ch_session *own = user;
    (void)flags;
    // Streams are held back one by one: one whose reader is slow must not hold back the others.
    int error = nghttp2_session_consume_connection(session, length);
    if (error != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    own->handlers.data(own->handlers.context, stream, bytes, length);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
    struct ch_session *own = user;
    (void)session;
    own->handlers.closed(own->handlers.context, stream, error);
    return 0;
}

// RFC 9113, 8.1: a server that has answered in full asks a client that is still sending to stop.
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct ch_session *own = user;
    if (!own->is_server || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) != 0) return 0;
    int error = nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return error == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

// A block that is too large to be sent: the caller must not wait for it.
static int on_unsent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user) {
    struct ch_session *own = user;
    (void)error;
    if (own->is_server && frame->hd.type == NGHTTP2_HEADERS)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static ssize_t on_supply(nghttp2_session *session, int32_t stream, uint8_t *room, size_t length, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    struct ch_session *own = user;
    (void)session;
    (void)source;
    enum ch_next next = CH_MORE;
    size_t count = own->handlers.supply(own->handlers.context, stream, room, length, &next);
    if (next != CH_MORE) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (next == CH_TRAILERS) *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return count == 0 && next == CH_MORE ? NGHTTP2_ERR_DEFERRED : (ssize_t)count;
}

static int make(struct ch_session *own) {
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int error = nghttp2_session_callbacks_new(&callbacks);
    if (error == 0) error = nghttp2_option_new(&option);
    if (error == 0) {
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_unsent);
        // nghttp2 would refuse a request without :authority, and one whose :authority is no host: gRPC's clients on
        // Unix sockets send both. What gRPC needs of the other fields is checked where they are read.
        nghttp2_option_set_no_http_messaging(option, 1);
        nghttp2_option_set_no_auto_window_update(option, 1);
        error = own->is_server ? nghttp2_session_server_new2(&own->session, callbacks, own, option)
                               : nghttp2_session_client_new2(&own->session, callbacks, own, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return error;
}

struct ch_session *ch_open(int is_server, const struct ch_handlers *handlers, uint32_t streams, uint32_t window) {
    struct ch_session *own = calloc(1, sizeof *own);
    if (own == NULL) return NULL;
    own->handlers = *handlers;
    own->is_server = is_server;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    // A server says nothing of pushing.
    size_t count = is_server ? 2 : 3;
    if (make(own) != 0 || nghttp2_submit_settings(own->session, NGHTTP2_FLAG_NONE, settings, count) != 0 ||
        nghttp2_session_set_local_window_size(own->session, NGHTTP2_FLAG_NONE, 0, 16 << 20) != 0) {
        ch_free(own);
        return NULL;
    }
    return own;
}

void ch_free(struct ch_session *own) {
    if (own->session != NULL) nghttp2_session_del(own->session);
    free(own);
}

void ch_report_to(struct ch_session *own, void *context) { own->handlers.context = context; }

int ch_receive(struct ch_session *own, const uint8_t *bytes, size_t length) {
    ssize_t taken = nghttp2_session_mem_recv(own->session, bytes, length);
    return taken < 0 ? (int)taken : 0;
}

ssize_t ch_send(struct ch_session *own, const uint8_t **bytes) { return nghttp2_session_mem_send(own->session, bytes); }

int ch_is_over(struct ch_session *own) {
    return !nghttp2_session_want_read(own->session) && !nghttp2_session_want_write(own->session);
}

/// Points into the fields' text; 0 where there are too many.
static size_t list(struct ch_fields fields, nghttp2_nv *all) {
    if (fields.count > FIELDS) return 0;
    const uint8_t *text = fields.text;
    for (size_t i = 0; i < fields.count; i++) {
        uint32_t name = fields.lengths[2 * i], value = fields.lengths[2 * i + 1];
        all[i] = (nghttp2_nv){
            .name = (uint8_t *)text, .value = (uint8_t *)text + name, .namelen = name, .valuelen = value};
        text += name + value;
    }
    return fields.count;
}

int32_t ch_request(struct ch_session *own, struct ch_fields fields) {
    nghttp2_nv all[FIELDS];
    size_t count = list(fields, all);
    if (count == 0) return NGHTTP2_ERR_INVALID_ARGUMENT;
    nghttp2_data_provider provider = {.read_callback = on_supply};
    return nghttp2_submit_request(own->session, NULL, all, count, &provider, NULL);
}

int ch_respond(struct ch_session *own, int32_t stream, struct ch_fields fields, int ends) {
    nghttp2_nv all[FIELDS];
    size_t count = list(fields, all);
    if (count == 0) return NGHTTP2_ERR_INVALID_ARGUMENT;
    nghttp2_data_provider provider = {.read_callback = on_supply};
    return nghttp2_submit_response(own->session, stream, all, count, ends ? NULL : &provider);
}

int ch_trailers(struct ch_session *own, int32_t stream, struct ch_fields fields) {
    nghttp2_nv all[FIELDS];
    size_t count = list(fields, all);
    if (count == 0) return NGHTTP2_ERR_INVALID_ARGUMENT;
    return nghttp2_submit_trailer(own->session, stream, all, count);
}

int ch_resume(struct ch_session *own, int32_t stream) { return nghttp2_session_resume_data(own->session, stream); }

int ch_reset(struct ch_session *own, int32_t stream, uint32_t error) {
    return nghttp2_submit_rst_stream(own->session, NGHTTP2_FLAG_NONE, stream, error);
}

int ch_consume(struct ch_session *own, int32_t stream, size_t length) {
    return nghttp2_session_consume_stream(own->session, stream, length);
}

int ch_leave(struct ch_session *own) {
    int32_t last = nghttp2_session_get_last_proc_stream_id(own->session);
    return nghttp2_submit_goaway(own->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
}

const char *ch_error(int code) { return nghttp2_strerror(code); }
