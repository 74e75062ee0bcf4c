/* A STOMP broker for suites that were written for other ones: TCP on --port, WebSocket on --ws-port
 * at /ws and /stomp; user guest, passcode guest, any virtual host, bodies to 20 MiB. Names of
 * destinations are as strict as those suites expect (no slashes), messages carry no headers that
 * they do not know, and the plain exchanges of AMQP have their usual names. --store FILE keeps
 * queues. */
#include <madang/stomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set(struct madang_config *config, const char *name, const char *value)
{
    if (madang_config_set(config, name, value) == 0)
        return;
    fprintf(stderr, "target_stomp: %s\n", madang_config_error(config));
    exit(1);
}

static void configure(struct madang_config *config)
{
    static const char *const settings[][2] = {
        {"signals", "true"},
        {"stomp_paths", "/ws,/stomp"},
        {"stomp_body_bytes_max", "20M"},
        {"send_queue_bytes_max", "24M"},
        {"queue_messages_max", "1000000"},
        {"allowed_origins", "*"},
        {"stomp_slashes", "false"},
        {"stomp_room_headers", "false"},
        {"stomp_destinations", "/exchange/amq.fanout=topic:amq.fanout"},
        {"stomp_destinations", "/exchange/amq.topic/=topic"},
        {"stomp_destinations", "/exchange/amq.direct/=topic:amq.direct."},
        {"stomp_destinations", "/amq/queue/=queue"},
        {"log_level", "warn"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        set(config, settings[i][0], settings[i][1]);
}

static void read_options(struct madang_config *config, int argc, char **argv)
{
    const char *port = "0", *ws_port = "0";
    char address[64];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            port = argv[i + 1];
        else if (strcmp(argv[i], "--ws-port") == 0)
            ws_port = argv[i + 1];
        else if (strncmp(argv[i], "--", 2) == 0)
            set(config, argv[i] + 2, argv[i + 1]); /* any other parameter: --workers 1 */
    }
    snprintf(address, sizeof address, "stomp://127.0.0.1:%s", port);
    set(config, "listen", address);
    snprintf(address, sizeof address, "http://127.0.0.1:%s", ws_port);
    set(config, "listen", address);
}

static int fail(struct madang *server)
{
    fprintf(stderr, "target_stomp: %s\n", madang_error_text(server));
    madang_free(server);
    return 1;
}

int main(int argc, char **argv)
{
    struct madang_config *config;
    struct madang *server;
    if (madang_config_new(&config) < 0)
        return 1;
    configure(config);
    read_options(config, argc, argv);
    if (madang_new(config, &server) < 0) {
        fprintf(stderr, "target_stomp: out of memory\n");
        return 1;
    }
    madang_config_free(config);
    if (madang_stomp_user(server, "guest", "guest") < 0 || madang_mount_stomp(server) < 0 ||
        madang_start(server) < 0)
        return fail(server);
    printf("tcp %s\nws %s\n", madang_address(server, 0), madang_address(server, 1));
    fflush(stdout);
    int err = madang_run(server);
    madang_free(server);
    return err < 0;
}
