/* A work queue. STOMP clients send jobs to /queue/jobs; here they are worked on one by one, and the
 * result goes to the job's reply-to, or to the topic /topic/results where it has none. A job that
 * cannot be done ("fail") is rejected and ends in /queue/dead. Log in as worker, passcode worker.
 */
#include "options.h"
#include <ctype.h>
#include <madang/stomp.h>
#include <string.h>

static const char *reply_to(const struct madang_stomp_message *job)
{
    for (size_t i = 0; i < job->header_count; i++) {
        if (strcmp(job->headers[i].name, "reply-to") == 0)
            return job->headers[i].value;
    }
    return "/topic/results";
}

static enum madang_stomp_result on_job(struct madang *server,
                                       const struct madang_stomp_message *job, void *arg)
{
    char result[1024];
    (void)arg;
    if (job->len == 4 && memcmp(job->body, "fail", 4) == 0)
        return MADANG_STOMP_REJECT;
    size_t len = job->len < sizeof result ? job->len : sizeof result;
    for (size_t i = 0; i < len; i++)
        result[i] = (char)toupper(((const unsigned char *)job->body)[i]);
    if (madang_stomp_send(server, reply_to(job), NULL, 0, result, len, NULL, NULL) < 0)
        return MADANG_STOMP_REQUEUE;
    return MADANG_STOMP_ACK;
}

/* Jobs are for this program alone. */
static const char *may_subscribe(struct madang *server, const struct madang_stomp_request *request,
                                 void *arg)
{
    (void)server, (void)arg;
    return strcmp(request->destination, "/queue/jobs") == 0 ? "Only the server works on jobs."
                                                            : NULL;
}

int main(int argc, char **argv)
{
    uint64_t subscription;
    struct madang *server = example_server(argc, argv, NULL, NULL);
    if (madang_stomp_user(server, "worker", "worker") < 0 ||
        madang_stomp_rules(server, NULL, may_subscribe, NULL) < 0 ||
        madang_mount_stomp(server) < 0 ||
        madang_stomp_subscribe(server, "/queue/jobs", 10, on_job, NULL, &subscription) < 0)
        return 1;
    return example_run(server);
}
