/* madang/stomp.h: STOMP destinations and queues from C.
 *
 * A destination is a text such as "/topic/news" (the room "news", in which everybody gets each
 * message), "/topic/news.*" for a subscription to several, or "/queue/jobs" (each message goes to
 * one consumer, and comes back if it was not acknowledged). The application sends, consumes and
 * decides what clients may do; the clients themselves are served by madang_mount_all, or by
 * madang_mount_stomp alone. */
#ifndef MADANG_STOMP_H
#define MADANG_STOMP_H

#include <madang/madang.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Serves STOMP clients: on listeners of kind stomp:// and on ordinary ones (recognised by their
 * first bytes), and over WebSocket at the paths of the parameter "stomp_paths". madang_mount_all
 * does this too. Before madang_start. */
MADANG_API int madang_mount_stomp(struct madang *server);

/* Adds a user. Only a salted hash of the password is kept. Before madang_start. MADANG_E_EXISTS,
 * MADANG_E_TOO_BIG. */
MADANG_API int madang_stomp_user(struct madang *server, const char *name, const char *password);

enum { MADANG_STOMP_HASH_MAX = 128 };
/* A new salted scrypt hash, ended with NUL: the part behind the colon in a line of the file that
 * the parameter "users_file" names. MADANG_E_TOO_BIG (1024 bytes). [any thread] */
MADANG_API int madang_stomp_hash(const char *password, char out[MADANG_STOMP_HASH_MAX]);

/* What a client asks for. Texts end with NUL and are borrowed. */
struct madang_stomp_request {
    const char *user;
    bool guest;
    const char *destination;
};
/* NULL allows; a sentence refuses: it goes to the client in an ERROR frame. Runs on the client's
 * worker. */
typedef const char *(*madang_stomp_rule_fn)(struct madang *server,
                                            const struct madang_stomp_request *request, void *arg);
/* The rules for SEND and SUBSCRIBE; NULL for none. Before madang_start. */
MADANG_API int madang_stomp_rules(struct madang *server, madang_stomp_rule_fn may_send,
                                  madang_stomp_rule_fn may_subscribe, void *arg);

/* Sends a message; headers may be NULL ("content-type" is one of them). done (or NULL) is called
 * exactly once, on the first worker: 0 when the message is in the room or the queue, and on the
 * disk where there is a store; MADANG_E_FULL when the queue is full. After madang_start. [any
 * thread] */
typedef void (*madang_stomp_sent_fn)(void *arg, int err);
MADANG_API int madang_stomp_send(struct madang *server, const char *destination,
                                 const struct madang_header *headers, size_t header_count,
                                 const void *body, size_t len, madang_stomp_sent_fn done,
                                 void *arg);

/* A message for the application's own subscription. Borrowed during the call. */
struct madang_stomp_message {
    uint64_t subscription, tag; /* together they name it for madang_stomp_settle */
    const char *destination;
    const void *body;
    size_t len;
    const char *content_type; /* "" when there is none */
    const struct madang_header *headers;
    size_t header_count;
    bool redelivered; /* it went to a consumer before, who did not acknowledge it */
};
enum madang_stomp_result {
    MADANG_STOMP_ACK = 0,     /* done with it */
    MADANG_STOMP_REQUEUE = 1, /* give it to somebody again */
    MADANG_STOMP_REJECT = 2,  /* to the dead-letter queue */
    MADANG_STOMP_LATER = 3,   /* madang_stomp_settle will say */
};
typedef enum madang_stomp_result (*madang_stomp_message_fn)(
    struct madang *server, const struct madang_stomp_message *message, void *arg);

/* Subscribes the application; on_message runs on the first worker. prefetch bounds the messages
 * that wait for madang_stomp_settle (0: the server's maximum). *out names the subscription.
 * MADANG_E_SYNTAX (not a destination), MADANG_E_NO_MEMORY. [any thread] */
MADANG_API int madang_stomp_subscribe(struct madang *server, const char *destination,
                                      uint32_t prefetch, madang_stomp_message_fn on_message,
                                      void *arg, uint64_t *out);
/* Settles a message for which on_message returned MADANG_STOMP_LATER. [any thread] */
MADANG_API int madang_stomp_settle(struct madang *server, uint64_t subscription, uint64_t tag,
                                   enum madang_stomp_result result);
/* What was not settled goes to another consumer. No on_message comes once a function that was
 * posted to the first worker after this call runs. [any thread] */
MADANG_API int madang_stomp_unsubscribe(struct madang *server, uint64_t subscription);

#ifdef __cplusplus
}
#endif

#endif
