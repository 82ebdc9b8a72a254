// libssl as TLS uses it. The shims stand for macros, for options whose bits Swift does not import, and for stacks of
// a certificate's parts. Each returns 1 where it succeeded, like OpenSSL itself, and leaves the reason in the error
// queue.
#ifndef ZEROFS_CLIBSSL_SHIM_H
#define ZEROFS_CLIBSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stddef.h>

/// What holds for every server: TLS 1.2 or later; no renegotiation, no compression (CRIME), no session that outlives
/// its connection; keys of at least 112 bits; Diffie-Hellman groups chosen by OpenSSL.
static inline int zerofs_ssl_ctx_harden(SSL_CTX *context) {
    SSL_CTX_set_options(
        context,
        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    // Pre-shared keys of TLS 1.3 are sessions, and a server that asks for certificates takes up none without a name.
    if (SSL_CTX_set_session_id_context(context, (const unsigned char *)"zerofs", 6) != 1) return 0;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_security_level(context, 2);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1
        && SSL_CTX_set_dh_auto(context, 1) == 1;
}

static inline int zerofs_refuse_password(char *buffer, int bytes, int is_writing, void *context) {
    (void)buffer, (void)bytes, (void)is_writing, (void)context;
    return -1;
}

/// Takes a private key from PEM. One that is encrypted fails: nobody is there to be asked.
static inline int zerofs_ssl_ctx_use_key(SSL_CTX *context, const void *pem, int bytes) {
    BIO *source = BIO_new_mem_buf(pem, bytes);
    if (source == NULL) return 0;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(source, NULL, zerofs_refuse_password, NULL);
    BIO_free(source);
    if (key == NULL) return 0;
    int result = SSL_CTX_use_PrivateKey(context, key);
    EVP_PKEY_free(key);
    return result;
}

/// Demands certificates of these authorities from clients, or takes them where they offer one.
static inline int zerofs_ssl_ctx_trust(SSL_CTX *context, const char *path, int is_required) {
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (names == NULL) return 0;
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    return SSL_CTX_load_verify_file(context, path);
}

/// Refuses the certificates that these lists revoke; without a list of its authority a certificate is refused as well.
static inline int zerofs_ssl_ctx_revoke(SSL_CTX *context, const char *path) {
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != NULL && X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) > 0
        && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

static inline int zerofs_ssl_set_owner(SSL *ssl, void *owner) { return SSL_set_ex_data(ssl, 0, owner); }
static inline void *zerofs_ssl_owner(const SSL *ssl) { return SSL_get_ex_data(ssl, 0); }

/// Whether the handshake was authenticated by a pre-shared key. Sessions are never resumed here, so that a session
/// that TLS 1.3 took up again is such a key.
static inline int zerofs_ssl_used_psk(SSL *ssl) {
    if (SSL_version(ssl) >= TLS1_3_VERSION) return SSL_session_reused(ssl);
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    return cipher != NULL && SSL_CIPHER_get_auth_nid(cipher) == NID_auth_psk;
}

static inline size_t zerofs_bio_pending(BIO *bio) { return BIO_ctrl_pending(bio); }

typedef void (*zerofs_name_sink)(void *context, const unsigned char *text, int bytes);

/// A certificate's DNS names and common names, as UTF-8.
static inline void zerofs_x509_names(X509 *certificate, zerofs_name_sink sink, void *context) {
    GENERAL_NAMES *names =
        (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        sink(context, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    X509_NAME *subject = X509_get_subject_name(certificate);
    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;) {
        unsigned char *text = NULL;
        int bytes = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
        if (bytes >= 0) sink(context, text, bytes);
        OPENSSL_free(text);
    }
}

#endif
