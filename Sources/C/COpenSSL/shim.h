// libcrypto as Codec uses it. The shims stand where OpenSSL takes an OSSL_PARAM list, which Swift cannot build with
// sound lifetimes. Each returns 1 where it succeeded, like OpenSSL itself, and leaves the reason in the error queue.
#ifndef ZEROFS_COPENSSL_SHIM_H
#define ZEROFS_COPENSSL_SHIM_H

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/// HKDF (RFC 5869), extract and expand, with SHA-256.
static inline int zerofs_hkdf_sha256(
    EVP_KDF *kdf, const void *secret, size_t secret_bytes, const void *salt, size_t salt_bytes, const void *info,
    size_t info_bytes, void *out, size_t out_bytes) {
    OSSL_PARAM parameters[5], *next = parameters;
    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_bytes);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_bytes);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_bytes);
    *next = OSSL_PARAM_construct_end();
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    if (context == NULL) return 0;
    int result = EVP_KDF_derive(context, (unsigned char *)out, out_bytes, parameters);
    EVP_KDF_CTX_free(context);
    return result;
}

/// scrypt (RFC 7914). `memory_max` is what OpenSSL may allocate for it.
static inline int zerofs_scrypt(
    EVP_KDF *kdf, const void *passphrase, size_t passphrase_bytes, const void *salt, size_t salt_bytes, uint64_t n,
    uint32_t r, uint32_t p, uint64_t memory_max, void *out, size_t out_bytes) {
    OSSL_PARAM parameters[7], *next = parameters;
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, (void *)passphrase, passphrase_bytes);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_bytes);
    *next++ = OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n);
    *next++ = OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r);
    *next++ = OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p);
    *next++ = OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory_max);
    *next = OSSL_PARAM_construct_end();
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    if (context == NULL) return 0;
    int result = EVP_KDF_derive(context, (unsigned char *)out, out_bytes, parameters);
    EVP_KDF_CTX_free(context);
    return result;
}

/// HMAC-SHA256 of one message; `out` has room for 32 bytes.
static inline int zerofs_hmac_sha256(
    EVP_MAC *mac, const void *key, size_t key_bytes, const void *message, size_t message_bytes, void *out) {
    OSSL_PARAM parameters[2];
    parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
    parameters[1] = OSSL_PARAM_construct_end();
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    if (context == NULL) return 0;
    size_t written = 0;
    int result = EVP_MAC_init(context, (const unsigned char *)key, key_bytes, parameters) == 1
        && EVP_MAC_update(context, (const unsigned char *)message, message_bytes) == 1
        && EVP_MAC_final(context, (unsigned char *)out, &written, 32) == 1 && written == 32;
    EVP_MAC_CTX_free(context);
    return result;
}

/// prctl(2) is variadic. Keys are Codec's, and so is that nobody sees them.
static inline int zerofs_forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }
static inline int zerofs_allow_dumps(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }

#endif
