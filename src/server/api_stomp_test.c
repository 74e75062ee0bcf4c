/* The application's side of STOMP, used as an embedder uses it: in his own loop, with a client on a
 * plain socket in the same thread. */
#include "base/base.h"
#include "madang/stomp.h"
#include "tests/support/dial.h"
#include "tests/support/unit.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE = 2000 /* steps of at most a millisecond */ };

static char state_dir[] = "/tmp/madang-api-stomp-XXXXXX";

struct log {
    struct madang *server;
    char text[2048];
    size_t len;
    uint64_t subscription, tag; /* of the last message */
    enum madang_stomp_result result;
};

static void note(struct log *log, const char *fmt, ...) MDG_PRINTF(2, 3);
static void note(struct log *log, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log->len += (size_t)vsnprintf(log->text + log->len, sizeof log->text - log->len, fmt, args);
    va_end(args);
    assert_true(log->len < sizeof log->text);
}

static void start(struct log *log)
{
    struct madang_config *config;
    *log = (struct log){.result = MADANG_STOMP_ACK};
    assert_int_equal(madang_config_new(&config), 0);
    assert_int_equal(madang_config_set(config, "listen", "127.0.0.1:0"), 0);
    assert_int_equal(madang_config_set(config, "state_dir", state_dir), 0);
    assert_int_equal(madang_config_set(config, "log_level", "error"), 0);
    assert_int_equal(madang_config_set(config, "workers", "1"), 0);
    assert_int_equal(madang_config_set(config, "embedded", "on"), 0);
    assert_int_equal(madang_new(config, &log->server), 0);
    madang_config_free(config);
    assert_int_equal(madang_mount_stomp(log->server), 0);
}

/* Steps until the log says this, from its beginning on; then it is empty again. */
static void heard(struct log *log, const char *expected)
{
    for (int i = 0; i < PATIENCE && log->len < strlen(expected); i++)
        assert_int_equal(madang_step(log->server, 1), 0);
    assert_string_equal(log->text, expected);
    log->len = 0;
    log->text[0] = '\0';
}

static enum madang_stomp_result on_message(struct madang *server,
                                           const struct madang_stomp_message *m, void *arg)
{
    struct log *log = arg;
    assert_ptr_equal(server, log->server);
    note(log, "%s:%.*s%s", m->destination, (int)m->len, (const char *)m->body,
         m->redelivered ? "!" : "");
    if (*m->content_type)
        note(log, "(%s)", m->content_type);
    for (size_t i = 0; i < m->header_count; i++)
        note(log, "(%s=%s)", m->headers[i].name, m->headers[i].value);
    note(log, " ");
    log->subscription = m->subscription;
    log->tag = m->tag;
    return log->result;
}

static void on_sent(void *arg, int err)
{
    note(arg, err < 0 ? "failed " : "sent ");
}

static void send_text(struct log *log, const char *destination, const char *text)
{
    const struct madang_header headers[] = {{"content-type", "text/x"}, {"a", "b"}};
    assert_int_equal(
        madang_stomp_send(log->server, destination, headers, 2, text, strlen(text), on_sent, log),
        0);
}

/* ---- a client: ^ stands for the NUL at the end of a frame ---- */

static void say(int fd, const char *text)
{
    char bytes[1024];
    size_t len = strlen(text);
    assert_true(len < sizeof bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = text[i] == '^' ? '\0' : text[i];
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Steps until the answer holds the text. */
static void answered(struct log *log, int fd, const char *expected)
{
    char got[4096];
    size_t len = 0;
    got[0] = '\0';
    for (int i = 0; i < PATIENCE && !strstr(got, expected); i++) {
        assert_int_equal(madang_step(log->server, 1), 0);
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, MSG_DONTWAIT);
        for (ssize_t k = 0; k < n; k++, len++)
            got[len] = got[len] ? got[len] : '^';
        got[len] = '\0';
    }
    if (!strstr(got, expected))
        print_message("heard %s\n", got);
    assert_non_null(strstr(got, expected));
}

static int open_client(struct log *log, const char *credentials, const char *answer)
{
    char text[200];
    int fd = mdg_test_dial(madang_port(log->server));
    snprintf(text, sizeof text, "CONNECT\naccept-version:1.2\nhost:/\n%s\n^", credentials);
    say(fd, text);
    answered(log, fd, answer);
    return fd;
}

/* ---- tests ---- */

static void the_application_consumes_from_queues_and_settles_in_every_way(void **state)
{
    (void)state;
    struct log log;
    uint64_t subscription;
    start(&log);
    assert_int_equal(
        madang_stomp_subscribe(log.server, "/queue/jobs", 1, on_message, &log, &subscription), 0);
    assert_int_equal(madang_start(log.server), 0);
    log.result = MADANG_STOMP_LATER;
    send_text(&log, "/queue/jobs", "one");
    heard(&log, "sent /queue/jobs:one(text/x)(a=b) ");
    assert_int_equal(log.subscription, subscription);
    send_text(&log, "/queue/jobs", "two"); /* the only one that it may hold is the first one */
    heard(&log, "sent ");
    assert_int_equal(madang_stomp_settle(log.server, subscription, log.tag, MADANG_STOMP_REQUEUE),
                     0);
    heard(&log, "/queue/jobs:one!(text/x)(a=b) ");
    log.result = MADANG_STOMP_REJECT;
    assert_int_equal(madang_stomp_settle(log.server, subscription, log.tag, MADANG_STOMP_ACK), 0);
    heard(&log, "/queue/jobs:two(text/x)(a=b) ");
    log.result = MADANG_STOMP_ACK;
    uint64_t dead;
    assert_int_equal(madang_stomp_subscribe(log.server, "/queue/dead", 0, on_message, &log, &dead),
                     0);
    heard(&log, "/queue/dead:two(text/x)(a=b)(original-destination=/queue/jobs)"
                "(dead-letter-reason=rejected) ");
    assert_int_equal(madang_stomp_unsubscribe(log.server, subscription), 0);
    send_text(&log, "/queue/jobs", "kept");
    heard(&log, "sent ");
    assert_int_equal(
        madang_stomp_subscribe(log.server, "/queue/jobs", 1, on_message, &log, &subscription), 0);
    heard(&log, "/queue/jobs:kept(text/x)(a=b) ");
    madang_free(log.server);
}

static void the_application_hears_topics_and_patterns_beside_clients(void **state)
{
    (void)state;
    struct log log;
    uint64_t one, many;
    start(&log);
    assert_int_equal(madang_stomp_subscribe(log.server, "/topic/a.b", 0, on_message, &log, &one),
                     0);
    assert_int_equal(madang_start(log.server), 0);
    assert_int_equal(madang_stomp_subscribe(log.server, "topic", 0, on_message, &log, &many),
                     MADANG_E_SYNTAX);
    int fd = open_client(&log, "", "CONNECTED");
    say(fd, "SUBSCRIBE\nid:s\ndestination:/topic/a.b\nreceipt:r\n\n^");
    answered(&log, fd, "receipt-id:r");
    say(fd, "SEND\ndestination:/topic/a.b\nx:y\n\nfrom a client^");
    answered(&log, fd, "from a client^");
    heard(&log, "/topic/a.b:from a client(x=y) ");
    send_text(&log, "/topic/a.b", "from the application");
    answered(&log, fd, "from the application^");
    heard(&log, "sent /topic/a.b:from the application(text/x)(a=b) ");
    assert_int_equal(madang_stomp_unsubscribe(log.server, one), 0);
    assert_int_equal(madang_stomp_subscribe(log.server, "/topic/a.*", 0, on_message, &log, &many),
                     0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(madang_step(log.server, 1), 0);
    say(fd, "SEND\ndestination:/topic/a.c\n\npattern^SEND\ndestination:/topic/b.c\n\nother^"
            "SEND\ndestination:/topic/a.d\n\nends^");
    heard(&log, "/topic/a.c:pattern /topic/a.d:ends ");
    close(fd);
    madang_free(log.server);
}

static const char *may_send(struct madang *server, const struct madang_stomp_request *request,
                            void *arg)
{
    (void)server, (void)arg;
    return request->guest ? "Guests may not send." : NULL;
}

static const char *may_subscribe(struct madang *server, const struct madang_stomp_request *request,
                                 void *arg)
{
    (void)server, (void)arg;
    return strcmp(request->user, "ann") == 0 && strcmp(request->destination, "/queue/mine") == 0
               ? NULL
               : "Not for you.";
}

static void the_application_knows_users_and_refuses_by_rules(void **state)
{
    (void)state;
    struct log log;
    start(&log);
    assert_int_equal(madang_stomp_user(log.server, "ann", "secret"), 0);
    assert_int_equal(madang_stomp_user(log.server, "ann", "again"), MADANG_E_EXISTS);
    assert_int_equal(madang_stomp_rules(log.server, may_send, may_subscribe, NULL), 0);
    assert_int_equal(madang_start(log.server), 0);
    close(open_client(&log, "login:ann\npasscode:wrong\n", "Access refused for user 'ann'"));
    int fd = open_client(&log, "", "CONNECTED");
    say(fd, "SEND\ndestination:/topic/x\n\nhello^");
    answered(&log, fd, "ERROR\nmessage:Access refused\n");
    close(fd);
    fd = open_client(&log, "login:ann\npasscode:secret\n", "CONNECTED");
    say(fd, "SUBSCRIBE\nid:1\ndestination:/queue/mine\nreceipt:1\n\n^"
            "SEND\ndestination:/queue/mine\n\nhello^");
    answered(&log, fd, "hello^");
    say(fd, "SUBSCRIBE\nid:2\ndestination:/queue/other\nreceipt:2\n\n^");
    answered(&log, fd, "Not for you.\n");
    close(fd);
    madang_free(log.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_application_consumes_from_queues_and_settles_in_every_way),
        cmocka_unit_test(the_application_hears_topics_and_patterns_beside_clients),
        cmocka_unit_test(the_application_knows_users_and_refuses_by_rules),
    };
    assert_non_null(mkdtemp(state_dir));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
