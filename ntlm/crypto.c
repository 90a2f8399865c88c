/* ntlm/crypto.c: NTLMv2 by OpenSSL: HMAC-MD5 for keys, proofs and the MIC, MD5 for channel
 * bindings and signing keys.
 */
#include "ntlm/ntlmssp.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "ntlm/unicode.h"

#define PROOF 16
#define MIC_SIZE 16

/* A piece of the data that is hashed. */
typedef struct piece {
    const void *data;
    size_t size;
} piece_t;

static int md5(const piece_t *pieces, int count, uint8_t out[16])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL), i;

    for (i = 0; good && i < count; i++)
        good = EVP_DigestUpdate(ctx, pieces[i].data, pieces[i].size);
    good = good && EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
    return good;
}

static int hmac_md5(const uint8_t key[NTLMSSP_KEY], const piece_t *pieces, int count,
                    uint8_t out[16])
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, key, NTLMSSP_KEY);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t size = 16;
    int good = pkey && ctx && EVP_DigestSignInit(ctx, NULL, EVP_md5(), NULL, pkey), i;

    for (i = 0; good && i < count; i++)
        good = EVP_DigestSignUpdate(ctx, pieces[i].data, pieces[i].size);
    good = good && EVP_DigestSignFinal(ctx, out, &size);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return good;
}

int ntlmssp_ntowf_v2(const uint8_t nt_hash[NTLMSSP_KEY], const char *user, const char *domain,
                     uint8_t key[NTLMSSP_KEY])
{
    uint8_t names[4 * NTLMSSP_NAME];
    size_t n = ntlmssp_to_utf16(user, 1, names, sizeof(names) / 2), m;
    piece_t piece = { names, 0 };

    if (n == (size_t)-1)
        return 0;
    m = ntlmssp_to_utf16(domain, 0, names + n, sizeof(names) - n);
    if (m == (size_t)-1)
        return 0;
    piece.size = n + m;
    return hmac_md5(nt_hash, &piece, 1, key);
}

int ntlmssp_check_response(const uint8_t ntowf[NTLMSSP_KEY],
                           const uint8_t challenge[NTLMSSP_CHALLENGE],
                           const ntlmssp_authenticate_t *auth, uint8_t session_key[NTLMSSP_KEY])
{
    piece_t proven[] = { { challenge, NTLMSSP_CHALLENGE }, { NULL, 0 } };
    uint8_t proof[PROOF];
    const piece_t key = { proof, PROOF };

    if (!auth->nt_response || auth->nt_response_size <= PROOF)
        return 0;
    proven[1] = (piece_t){ auth->nt_response + PROOF, auth->nt_response_size - PROOF };
    return hmac_md5(ntowf, proven, 2, proof)
           && hmac_md5(ntowf, &key, 1, session_key)
           && CRYPTO_memcmp(proof, auth->nt_response, PROOF) == 0;
}

int ntlmssp_check_mic(const uint8_t session_key[NTLMSSP_KEY], const uint8_t *negotiate,
                      size_t negotiate_size, const uint8_t *challenge, size_t challenge_size,
                      const uint8_t *msg, size_t size, size_t mic_offset)
{
    static const uint8_t zero[MIC_SIZE];
    piece_t pieces[] = { { negotiate, negotiate_size }, { challenge, challenge_size },
                         { msg, mic_offset }, { zero, MIC_SIZE }, { NULL, 0 } };
    uint8_t mic[MIC_SIZE];

    if (mic_offset > size || size - mic_offset < MIC_SIZE)
        return 0;
    pieces[4] = (piece_t){ msg + mic_offset + MIC_SIZE, size - mic_offset - MIC_SIZE };
    return hmac_md5(session_key, pieces, 5, mic)
        && CRYPTO_memcmp(mic, msg + mic_offset, MIC_SIZE) == 0;
}

int ntlmssp_channel_binding(const char *prefix, const uint8_t *hash, size_t hash_size,
                            uint8_t binding[16])
{
    /* No addresses: two types and lengths of 0 each, then the length of the data. */
    uint8_t head[20] = { 0 };
    size_t size = strlen(prefix) + hash_size;
    const piece_t pieces[] = { { head, sizeof(head) },
                               { prefix, strlen(prefix) },
                               { hash, hash_size } };
    int i;

    for (i = 0; i < 4; i++)
        head[16 + i] = (uint8_t)(size >> 8 * i);
    return md5(pieces, 3, binding);
}

/* RC4. OpenSSL 3 has it only in a separate provider, which few machines load. No secret depends on
 * RC4 here; but FreeRDP encrypts with it the key that its MIC is made with. */
static void rc4(const uint8_t key[NTLMSSP_KEY], const uint8_t *in, size_t size, uint8_t *out)
{
    uint8_t s[256], t, j = 0;
    size_t n;
    int i;

    for (i = 0; i < 256; i++)
        s[i] = (uint8_t)i;
    for (i = 0; i < 256; i++) {
        j = (uint8_t)(j + s[i] + key[i % NTLMSSP_KEY]);
        t = s[i], s[i] = s[j], s[j] = t;
    }
    for (n = 0, i = 0, j = 0; n < size; n++) {
        i = (i + 1) & 255;
        j = (uint8_t)(j + s[i]);
        t = s[i], s[i] = s[j], s[j] = t;
        out[n] = in[n] ^ s[(uint8_t)(s[i] + s[j])];
    }
}

int ntlmssp_exported_key(const ntlmssp_authenticate_t *auth, uint8_t session_key[NTLMSSP_KEY])
{
    uint8_t chosen[NTLMSSP_KEY];

    if (!(auth->flags & NTLMSSP_KEY_EXCH))
        return 1;
    if (!auth->session_key || auth->session_key_size != NTLMSSP_KEY)
        return 0;
    rc4(session_key, auth->session_key, NTLMSSP_KEY, chosen);
    memcpy(session_key, chosen, NTLMSSP_KEY);
    return 1;
}

int ntlmssp_sign(const uint8_t session_key[NTLMSSP_KEY], int key_exch, int by_server, uint32_t seq,
                 const uint8_t *data, size_t size, uint8_t signature[16])
{
    static const char client[] = "session key to client-to-server signing key magic constant";
    static const char server[] = "session key to server-to-client signing key magic constant";
    static const char client_seal[] = "session key to client-to-server sealing key magic constant";
    static const char server_seal[] = "session key to server-to-client sealing key magic constant";
    const char *magic = by_server ? server : client,
               *seal_magic = by_server ? server_seal : client_seal;
    const piece_t sealing[] = { { session_key, NTLMSSP_KEY }, { seal_magic, sizeof(client_seal) } };
    /* The text with its NUL. */
    const piece_t sealed[] = { { session_key, NTLMSSP_KEY }, { magic, sizeof(client) } };
    uint8_t number[4] = { (uint8_t)seq, (uint8_t)(seq >> 8), (uint8_t)(seq >> 16),
                          (uint8_t)(seq >> 24) };
    const piece_t pieces[] = { { number, 4 }, { data, size } };
    uint8_t key[NTLMSSP_KEY], mac[16];

    if (!md5(sealed, 2, key) || !hmac_md5(key, pieces, 2, mac))
        return 0;
    if (key_exch) {
        if (!md5(sealing, 2, key))
            return 0;
        rc4(key, mac, 8, mac);
    }
    memset(signature, 0, 16);
    signature[0] = 1;
    memcpy(signature + 4, mac, 8);
    memcpy(signature + 12, number, 4);
    return 1;
}
