/* httpd/farm_seal.c: a sealed text is its number, the text, and a tag of 16 bytes. */
#include "httpd/farm_seal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>

#define TAG 16
#define NONCE 12
#define TEXT_LEAST 16       /* characters of a secret */
#define TEXT_MOST 4096
#define ADVICE "; make it with \"openssl rand -hex 32\", and copy it to all machines of the farm"

_Static_assert(RPC_SEAL_ROOM == sizeof(uint64_t) + TAG, "the number and the tag");

const char *rpc_seal_read_secret(apr_pool_t *pool, const char *path,
                                 uint8_t secret[RPC_FARM_SECRET])
{
    char text[TEXT_MOST];
    apr_size_t size = sizeof(text);
    unsigned digest = 0;
    apr_finfo_t info;
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, path, APR_READ | APR_BINARY, 0, pool);

    if (rv != APR_SUCCESS)
        return apr_psprintf(pool, "cannot be read: %s" ADVICE,
                            apr_strerror(rv, text, sizeof(text)));
    rv = apr_file_info_get(&info, APR_FINFO_PROT, file);
    if (rv == APR_SUCCESS)
        rv = apr_file_read(file, text, &size);
    apr_file_close(file);
    if (rv != APR_SUCCESS && rv != APR_EOF)
        return apr_psprintf(pool, "cannot be read: %s", apr_strerror(rv, text, sizeof(text)));
    if (info.protection & (APR_WREAD | APR_WWRITE))
        return "can be read by everybody on this machine: chmod 600 it";
    while (size && apr_isspace(text[size - 1]))
        size--;
    if (rv == APR_EOF || size < TEXT_LEAST)
        return "has fewer than 16 characters" ADVICE;
    return EVP_Digest(text, size, secret, &digest, EVP_sha256(), NULL) == 1 ? NULL
         : "cannot be hashed: libcrypto has no SHA-256";
}

void rpc_seal_derive(const uint8_t secret[RPC_FARM_SECRET], const char *purpose, void *to,
                     size_t size)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };

    HMAC(EVP_sha256(), secret, RPC_FARM_SECRET, (const unsigned char *)purpose, strlen(purpose),
         digest, NULL);
    memcpy(to, digest, size);
}

/* A cipher with the key of MACHINE, the nonce NUMBER, and NAME as what is vouched for beside the
 * text. NULL: libcrypto has failed. */
static EVP_CIPHER_CTX *begin(const uint8_t *secret, uint64_t machine, uint64_t number,
                             const char *name, int to_seal)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t key[32], nonce[NONCE] = { 0 };
    char purpose[40];
    int n;

    snprintf(purpose, sizeof(purpose), "seal of %016llx", (unsigned long long)machine);
    rpc_seal_derive(secret, purpose, key, sizeof(key));
    memcpy(nonce, &number, sizeof(number));
    if (ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, to_seal) == 1
        && EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)name, (int)strlen(name)) == 1)
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

int rpc_seal(const uint8_t secret[RPC_FARM_SECRET], uint64_t machine, uint64_t number,
             const char *name, const void *text, size_t size, uint8_t *to)
{
    EVP_CIPHER_CTX *ctx = size < INT_MAX ? begin(secret, machine, number, name, 1) : NULL;
    uint8_t *out = to + sizeof(number);
    int n, done;

    memcpy(to, &number, sizeof(number));
    done = ctx && EVP_CipherUpdate(ctx, out, &n, text, (int)size) == 1
           && EVP_CipherFinal_ex(ctx, out + size, &n) == 1
           && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + size) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return done;
}

int rpc_unseal(const uint8_t secret[RPC_FARM_SECRET], uint64_t machine, const char *name,
               const void *sealed, size_t size, void *to, uint64_t *number)
{
    const uint8_t *in = (const uint8_t *)sealed + sizeof(*number);
    size_t len = size - RPC_SEAL_ROOM;
    EVP_CIPHER_CTX *ctx;
    uint8_t last[16];
    int n, good;

    memcpy(number, sealed, sizeof(*number));
    ctx = len < INT_MAX ? begin(secret, machine, *number, name, 0) : NULL;
    good = ctx && EVP_CipherUpdate(ctx, to, &n, in, (int)len) == 1
           && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, (void *)(in + len)) == 1
           && EVP_CipherFinal_ex(ctx, last, &n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return good;
}
