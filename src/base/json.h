/* JSON without a document tree: a validator, and iterators that hand out slices of the text.
 *
 * The rule: check a text once with mdg_json_check, then walk it with the other functions, which
 * assume that it is well-formed (on other text they stay inside the slice and give nonsense). A
 * "value" is a slice of one JSON value without blanks around it; a string value has its quotes.
 * The grammar is RFC 8259, strictly. UTF-8 is not looked at: check it with mdg_utf8 before. */
#ifndef MDG_JSON_H
#define MDG_JSON_H

#include "base/base.h"

enum {
    /* Deepest nesting that any caller may allow. Attack: "[[[[..." costs a bit a level here, but
     * whoever builds a tree from the text afterwards may recurse. */
    MDG_JSON_DEPTH_MAX = 256,
};

enum mdg_json_type {
    MDG_JSON_NONE, /* an empty slice: there was no value */
    MDG_JSON_NULL,
    MDG_JSON_BOOL,
    MDG_JSON_NUMBER,
    MDG_JSON_STRING,
    MDG_JSON_ARRAY,
    MDG_JSON_OBJECT,
};

/* The text is one JSON value, blanks around it allowed. depth_max: 0 allows no array or object,
 * at most MDG_JSON_DEPTH_MAX. On 0 *value (may be NULL) is the value without the blanks around
 * it. MDG_E_SYNTAX, MDG_E_TOO_BIG (nested too deeply). */
int mdg_json_check(struct mdg_slice text, unsigned depth_max,
                   struct mdg_slice *value) MDG_NODISCARD;

/* By the first byte alone. */
enum mdg_json_type mdg_json_type(struct mdg_slice value);

/* Walks an array or an object. Borrowed slices of the text. */
struct mdg_json_iter {
    const uint8_t *at, *end;
};

/* False (and an iterator that gives nothing) when the value is not an array / not an object. */
bool mdg_json_array(struct mdg_slice value, struct mdg_json_iter *it);
bool mdg_json_object(struct mdg_slice value, struct mdg_json_iter *it);
/* The next element; false at the end. */
bool mdg_json_element(struct mdg_json_iter *it, struct mdg_slice *value);
/* The next member; the key is a string value with its quotes, escapes as they came. */
bool mdg_json_member(struct mdg_json_iter *it, struct mdg_slice *key, struct mdg_slice *value);

/* The member with that (unescaped) name. Of several the last one, as JSON.parse does, so that no
 * filter in front of us sees another one than we do. False: no object, or no such member. */
bool mdg_json_find(struct mdg_slice object, struct mdg_slice key, struct mdg_slice *value);
/* Number of elements of an array or members of an object; 0 for anything else. */
size_t mdg_json_count(struct mdg_slice value);

/* What stands between the quotes, and whether it holds escapes. Not a string: data NULL. */
struct mdg_slice mdg_json_inside(struct mdg_slice string, bool *escaped);
/* A string value equals this text, escapes resolved. */
bool mdg_json_string_eq(struct mdg_slice string, struct mdg_slice text);
/* Resolves the escapes into out; returns the length, never more than string.len - 2. out may be
 * string.data + 1 (in place). \ud83d\ude00 becomes one character of four bytes; half of a pair
 * alone becomes U+FFFD, which is what a browser's UTF-8 encoder makes of it.
 * MDG_E_SYNTAX: not a string. MDG_E_NO_SPACE: longer than cap. */
int64_t mdg_json_unescape(struct mdg_slice string, uint8_t *out, size_t cap) MDG_NODISCARD;

/* MDG_E_SYNTAX when the value is not a number, or has a sign, a fraction or an exponent;
 * MDG_E_TOO_BIG when it does not fit. */
int mdg_json_u64(struct mdg_slice value, uint64_t *out) MDG_NODISCARD;
/* MDG_E_SYNTAX when the value is neither true nor false. */
int mdg_json_bool(struct mdg_slice value, bool *out) MDG_NODISCARD;

#endif
