/* A self-signed certificate for development: P-256, good for localhost, a year. */
#include "net/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

enum {
    VALID_SECONDS = 365 * 24 * 3600,
    BACKDATED_SECONDS = 3600, /* clocks of a laptop and its virtual machines differ a little */
    SERIAL_BYTES = 16,
};

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool set_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] &= 0x7f; /* RFC 5280 4.1.2.2: positive */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *host)
{
    char names[400];
    bool is_ip = host && host[0] && strspn(host, "0123456789.") == strlen(host);
    is_ip = is_ip || (host && strchr(host, ':'));
    snprintf(names, sizeof names, "DNS:localhost,IP:127.0.0.1,IP:::1%s%.250s",
             !host || !host[0] ? ""
             : is_ip           ? ",IP:"
                               : ",DNS:",
             host ? host : "");
    X509_NAME *subject = X509_get_subject_name(cert);
    return X509_set_version(cert, 2) == 1 && set_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATED_SECONDS) &&
           X509_gmtime_adj(X509_getm_notAfter(cert), VALID_SECONDS) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                      (const unsigned char *)"madang development", -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(cert, NID_subject_alt_name, names) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

static FILE *open_private(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    FILE *f = fdopen(fd, "w");
    if (!f)
        close(fd);
    return f;
}

static int save(X509 *cert, EVP_PKEY *key, const char *path)
{
    FILE *f = open_private(path);
    if (!f)
        return -errno;
    int ok =
        cert ? PEM_write_X509(f, cert) : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    int err = ok == 1 ? 0 : MDG_E_NO_MEMORY;
    if (fclose(f) != 0 && err == 0)
        err = -errno;
    return err;
}

int mdg_tls_dev_cert(const char *cert_path, const char *key_path, const char *host)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    int err = key && cert && fill(cert, key, host) ? 0 : MDG_E_NO_MEMORY;
    if (err == 0)
        err = save(NULL, key, key_path);
    if (err == 0)
        err = save(cert, NULL, cert_path);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return err;
}
