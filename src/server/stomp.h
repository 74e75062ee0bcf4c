/* STOMP in the server: what all workers share, and each worker's queues and connections. */
#ifndef MDG_SERVER_STOMP_H
#define MDG_SERVER_STOMP_H

#include "dialect/stomp.h"
#include "hub/durable.h"
#include "hub/queue.h"
#include "loop/loop.h"
#include "madang/stomp.h"
#include "server/password.h"
#include "store/queues.h"
#include "transport/tcp.h"

struct madang;
struct mdg_worker;

enum { MDG_STOMP_RULES_MAX = 64 };

struct mdg_stomp_shared {
    struct madang *server;
    struct mdg_stomp_config config;
    struct mdg_queues_config queues; /* but for the worker's number and store */
    struct mdg_tcp_config tcp;
    struct mdg_users *users;
    struct mdg_queue_db *db; /* NULL: in memory only */
    struct mdg_stomp_rule rules[MDG_STOMP_RULES_MAX];
    struct mdg_slice hosts[MDG_STOMP_RULES_MAX];
    struct mdg_stomp_hooks hooks; /* they lead to the application's rules: */
    madang_stomp_rule_fn may_send, may_subscribe;
    void *rule_arg;
    atomic_uint_fast64_t next_app_sub;
    struct mdg_list early_subs; /* of the application, made before the start */
};

struct mdg_stomp_part {
    struct mdg_worker *worker;
    struct mdg_stomp_server stomp;
    struct mdg_queues *queues;
    struct mdg_queue_journal *journal;
    struct mdg_durables *durables;
    struct mdg_defer turn;
    struct mdg_timer tick, again;
    struct mdg_list app_subs; /* the application's, on the first worker */
};

/* The shared part, made on first use; before the start. */
int mdg_stomp_shared_get(struct madang *server, struct mdg_stomp_shared **out) MDG_NODISCARD;
void mdg_stomp_shared_free(struct mdg_stomp_shared *s);
/* Of a worker whose loop and hub are there. */
int mdg_stomp_part_new(struct mdg_worker *w, struct mdg_stomp_part **out) MDG_NODISCARD;
/* Reads what is stored. Once every worker is there, before the first connection. */
int mdg_stomp_part_load(struct mdg_stomp_part *p) MDG_NODISCARD;
/* After the worker's connections have ended, before its hub is freed. */
void mdg_stomp_part_free(struct mdg_stomp_part *p);
/* api_stomp.c */
void mdg_stomp_app_subs_start(struct mdg_stomp_part *p);
void mdg_stomp_early_subs_free(struct mdg_stomp_shared *shared);
void mdg_stomp_app_subs_free(struct mdg_stomp_part *p);
/* Makes a fresh stream a STOMP connection. */
int mdg_stomp_accept_stream(struct mdg_worker *w, struct mdg_stream *s, bool greet) MDG_NODISCARD;

#endif
