/* The vocabulary that every layer shares: borrowed bytes, errors, intrusive lists, small helpers.
 * Only ISO C headers are included here, and nothing in src/base makes a system call. */
#ifndef MDG_BASE_H
#define MDG_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MDG_NODISCARD __attribute__((warn_unused_result))
#define MDG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MDG_LIKELY(x) __builtin_expect(!!(x), 1)
#define MDG_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Integer arithmetic, so that a const member pointer does not trip -Wcast-qual. */
#define MDG_CONTAINER_OF(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))
#define MDG_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Errors: 0 or a positive count is success; negative is an error.
 * -1..-999 are negated errno values, -1000 and below are ours (errors.def holds the texts). */
enum mdg_error {
#define MDG_ERROR(name, value, text) MDG_E_##name = (value),
#include "base/errors.def"
#undef MDG_ERROR
};

/* A sentence in English for any error of this library or negated errno. Never NULL. */
const char *mdg_strerror(int err);

/* Borrowed bytes: never freed through a slice, never NUL-terminated. data may be NULL if len is 0.
 */
struct mdg_slice {
    const uint8_t *data;
    size_t len;
};

/* Cursor over mutable input. Decoders advance `data`, shrink `len`, may rewrite bytes in place. */
struct mdg_input {
    uint8_t *data;
    size_t len;
};

#define MDG_SLICE_LIT(literal) ((struct mdg_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline struct mdg_slice mdg_slice(const void *data, size_t len)
{
    return (struct mdg_slice){(const uint8_t *)data, len};
}

static inline struct mdg_slice mdg_slice_str(const char *text)
{
    return (struct mdg_slice){(const uint8_t *)text, text ? strlen(text) : 0};
}

static inline bool mdg_slice_eq(struct mdg_slice a, struct mdg_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline uint8_t mdg_ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* ASCII case-insensitive equality; other bytes compare as they are. */
bool mdg_slice_eq_nocase(struct mdg_slice a, struct mdg_slice b);
/* <0, 0, >0 in byte order, shorter first on a tie. */
int mdg_slice_cmp(struct mdg_slice a, struct mdg_slice b);
bool mdg_slice_starts(struct mdg_slice s, struct mdg_slice prefix);
/* Without leading and trailing spaces and tabs (RFC 9110 5.6.3 OWS). */
struct mdg_slice mdg_slice_trim(struct mdg_slice s);
/* Splits at the first `sep`: returns the part before it and moves *rest behind it (empty, with
 * data NULL, when there was no separator). *rest with data NULL means the end of an iteration. */
struct mdg_slice mdg_slice_split(struct mdg_slice *rest, uint8_t sep);
/* Decimal digits only, the whole slice, no sign, no blanks. MDG_E_SYNTAX or MDG_E_TOO_BIG. */
int mdg_slice_u64(struct mdg_slice s, uint64_t *out) MDG_NODISCARD;

/* A list that is one pointer while nothing is in it: for what is seldom there. Newest first. */
struct mdg_node {
    struct mdg_node *next, **at; /* at: the pointer that points here */
};

static inline void mdg_node_push(struct mdg_node **head, struct mdg_node *node)
{
    *node = (struct mdg_node){*head, head};
    if (*head)
        (*head)->at = &node->next;
    *head = node;
}

static inline void mdg_node_remove(struct mdg_node *node)
{
    *node->at = node->next;
    if (node->next)
        node->next->at = node->at;
}

/* Intrusive doubly linked list with a sentinel head. */
struct mdg_list {
    struct mdg_list *prev, *next;
};

static inline void mdg_list_init(struct mdg_list *head)
{
    head->prev = head->next = head;
}

static inline bool mdg_list_empty(const struct mdg_list *head)
{
    return head->next == head;
}

/* Adds at the end of the list. */
static inline void mdg_list_push(struct mdg_list *head, struct mdg_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Removes and leaves the node pointing at itself, so that a second removal does nothing. */
static inline void mdg_list_remove(struct mdg_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

static inline struct mdg_list *mdg_list_first(const struct mdg_list *head)
{
    return head->next == head ? NULL : head->next;
}

/* Moves every node of `from` to the (initialised, empty) list `to`; `from` is empty afterwards. */
static inline void mdg_list_take(struct mdg_list *to, struct mdg_list *from)
{
    assert(mdg_list_empty(to));
    if (mdg_list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    mdg_list_init(from);
}

/* Safe against removal of the current node. */
#define MDG_LIST_FOR(it, next_, head)                                                              \
    for (struct mdg_list *it = (head)->next, *next_ = it->next; it != (head);                      \
         it = next_, next_ = it->next)

static inline size_t mdg_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t mdg_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
