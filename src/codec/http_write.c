#include "codec/http_write.h"
#include "codec/http.h"

const char *mdg_http_reason(unsigned status)
{
    static const struct {
        uint16_t status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {101, "Switching Protocols"},
        {404, "Not Found"},
        {204, "No Content"},
        {304, "Not Modified"},
        {100, "Continue"},
        {201, "Created"},
        {202, "Accepted"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

void mdg_http_write_status(struct mdg_writer *w, unsigned status)
{
    assert(status >= 100 && status <= 599);
    mdg_write_str(w, "HTTP/1.1 ");
    mdg_write_dec(w, status);
    mdg_write_u8(w, ' ');
    mdg_write_str(w, mdg_http_reason(status));
    mdg_write_str(w, "\r\n");
}

void mdg_http_write_field(struct mdg_writer *w, struct mdg_slice name, struct mdg_slice value)
{
    mdg_write_slice(w, name);
    mdg_write_str(w, ": ");
    mdg_write_slice(w, value);
    mdg_write_str(w, "\r\n");
}

bool mdg_http_field_valid(struct mdg_slice name, struct mdg_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((value.data[i] < ' ' && value.data[i] != '\t') || value.data[i] == 0x7f)
            return false;
    return mdg_http_token_valid(name);
}

struct civil {
    int64_t year;
    unsigned month, day; /* both from 1 */
};

/* Days since 1970-01-01 to the Gregorian calendar, counted in eras of 400 years from March 1, so
 * that the leap day is the last of its year. */
static struct civil civil_of(int64_t days)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * day_of_year + 2) / 153; /* 0 is March */
    struct civil c = {.year = (int64_t)year_of_era + era * 400,
                      .month = shifted < 10 ? shifted + 3 : shifted - 9,
                      .day = day_of_year - (153 * shifted + 2) / 5 + 1};
    c.year += c.month <= 2;
    return c;
}

static void write_padded(struct mdg_writer *w, unsigned value)
{
    mdg_write_u8(w, (uint8_t)('0' + value / 10 % 10));
    mdg_write_u8(w, (uint8_t)('0' + value % 10));
}

void mdg_http_write_date(struct mdg_writer *w, int64_t unix_s)
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    assert(unix_s >= 0 && unix_s < INT64_C(253402300800)); /* up to the year 9999 */
    int64_t day = unix_s / 86400;
    unsigned second = (unsigned)(unix_s % 86400);
    struct civil c = civil_of(day);
    mdg_write_bytes(w, days + day % 7 * 3, 3);
    mdg_write_str(w, ", ");
    write_padded(w, c.day);
    mdg_write_u8(w, ' ');
    mdg_write_bytes(w, months + (size_t)(c.month - 1) * 3, 3);
    mdg_write_u8(w, ' ');
    write_padded(w, (unsigned)(c.year / 100));
    write_padded(w, (unsigned)(c.year % 100));
    mdg_write_u8(w, ' ');
    write_padded(w, second / 3600);
    mdg_write_u8(w, ':');
    write_padded(w, second / 60 % 60);
    mdg_write_u8(w, ':');
    write_padded(w, second % 60);
    mdg_write_str(w, " GMT");
}

size_t mdg_http_chunk_head(uint8_t out[MDG_HTTP_CHUNK_HEAD_MAX], uint64_t len)
{
    assert(len > 0); /* a chunk of zero bytes is the end of the body */
    unsigned digits = (67 - (unsigned)__builtin_clzll(len)) / 4;
    for (unsigned i = 0; i < digits; i++)
        out[i] = (uint8_t) "0123456789abcdef"[len >> (digits - 1 - i) * 4 & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}
