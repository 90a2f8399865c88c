/* ntlm_vectors_test: the example of [MS-NLMP] 4.2, NTLMv2 (4.2.4), byte by byte: user "User" of
 * "Domain", password "Password", server challenge 0123456789abcdef, time 0, client challenge aa...
 */
#include "ntlm/ntlmssp.h"
#include "unit.h"

static const uint8_t challenge[8] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
/* 4.2.2.1.2, for "Password" */
static const uint8_t nt_hash[16] = { 0xa4, 0xf4, 0x9c, 0x40, 0x65, 0x10, 0xbd, 0xca,
                                     0xb6, 0x82, 0x4e, 0xe7, 0xc3, 0x0f, 0xd8, 0x52 };
/* 4.2.4.1.1 */
static const uint8_t ntowf[16] = { 0x0c, 0x86, 0x8a, 0x40, 0x3b, 0xfd, 0x7a, 0x93,
                                   0xa3, 0x00, 0x1e, 0xf2, 0x2e, 0xf0, 0x2e, 0x3f };
/* 4.2.4.1.2 */
static const uint8_t base_key[16] = { 0x8d, 0xe4, 0x0c, 0xca, 0xdb, 0xc1, 0x4a, 0x82,
                                      0xf1, 0x5c, 0xb0, 0xad, 0x0d, 0xe9, 0x5c, 0xa3 };
/* 4.2.4.3: the AUTHENTICATE message, with Version and without a MIC */
static const uint8_t authenticate[] = {
    'N', 'T', 'L', 'M', 'S', 'S', 'P', 0, 3, 0, 0, 0,
    0x18, 0, 0x18, 0, 0x6c, 0, 0, 0, 0x54, 0, 0x54, 0,
    0x84, 0, 0, 0, 0x0c, 0, 0x0c, 0, 0x48, 0, 0, 0,
    0x08, 0, 0x08, 0, 0x54, 0, 0, 0, 0x10, 0, 0x10, 0,
    0x5c, 0, 0, 0, 0x10, 0, 0x10, 0, 0xd8, 0, 0, 0,
    0x35, 0x82, 0x88, 0xe2, 0x05, 0x01, 0x28, 0x0a, 0, 0, 0, 0x0f,
    'D', 0, 'o', 0, 'm', 0, 'a', 0, 'i', 0, 'n', 0, 'U', 0, 's', 0, 'e', 0, 'r', 0,
    'C', 0, 'O', 0, 'M', 0, 'P', 0, 'U', 0, 'T', 0, 'E', 0, 'R', 0,
    /* LMv2 response, 4.2.4.2.1 */
    0x86, 0xc3, 0x50, 0x97, 0xac, 0x9c, 0xec, 0x10, 0x25, 0x54, 0x76, 0x4a, 0x57, 0xcc, 0xcc, 0x19,
    0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
    /* NTLMv2 response, 4.2.4.2.2: proof, then temp, 4.2.4.1.3 */
    0x68, 0xcd, 0x0a, 0xb8, 0x51, 0xe5, 0x1c, 0x96, 0xaa, 0xbc, 0x92, 0x7b, 0xeb, 0xef, 0x6a, 0x1c,
    1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
    0, 0, 0, 0,
    2, 0, 0x0c, 0, 'D', 0, 'o', 0, 'm', 0, 'a', 0, 'i', 0, 'n', 0,
    1, 0, 0x0c, 0, 'S', 0, 'e', 0, 'r', 0, 'v', 0, 'e', 0, 'r', 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* EncryptedRandomSessionKey, 4.2.4.2.3 */
    0xc5, 0xda, 0xd2, 0x54, 0x4f, 0xc9, 0x79, 0x90, 0x94, 0xce, 0x1c, 0xe9, 0x0b, 0xc9, 0xd0, 0x3e,
};

static void test_message(ntlmssp_authenticate_t *auth)
{
    ok(ntlmssp_read_authenticate(authenticate, sizeof(authenticate), auth) == NULL,
       "the message is read");
    is_str(auth->user, "User", "its user");
    is_str(auth->domain, "Domain", "its domain");
    is_str(auth->workstation, "COMPUTER", "its workstation");
    is_int(auth->nt_response_size, 0x54, "the size of its response");
    ok(auth->nt_response == authenticate + 0x84, "and its place");
    ok(auth->mic_offset == 0 && !auth->channel_binding && !auth->anonymous && auth->timestamp == 0,
       "no more");
}

static void test_proof(const ntlmssp_authenticate_t *auth)
{
    uint8_t key[16], session[16], wrong[8];

    ok(ntlmssp_ntowf_v2(nt_hash, "User", "Domain", key), "NTOWFv2");
    is_bytes(key, 16, ntowf, 16, "as in 4.2.4.1.1");
    ok(ntlmssp_check_response(key, challenge, auth, session), "the response is right");
    is_bytes(session, 16, base_key, 16, "SessionBaseKey as in 4.2.4.1.2");
    memcpy(wrong, challenge, sizeof(wrong));
    wrong[7] ^= 1;
    ok(!ntlmssp_check_response(key, wrong, auth, session), "not for another challenge");
    ntlmssp_ntowf_v2(nt_hash, "uSER", "Domain", key);
    is_bytes(key, 16, ntowf, 16, "the user in any case");
    ntlmssp_ntowf_v2(nt_hash, "User", "DOMAIN", key);
    ok(memcmp(key, ntowf, 16) != 0, "the domain as it is");
}

static void test_key_exchange(ntlmssp_authenticate_t *auth)
{
    uint8_t key[16], chosen[16];

    memset(chosen, 0x55, sizeof(chosen));
    memcpy(key, base_key, sizeof(key));
    ok(ntlmssp_exported_key(auth, key), "a key is exchanged");
    is_bytes(key, 16, chosen, 16, "the RandomSessionKey of 4.2.1");
    auth->session_key_size = 15;
    ok(!ntlmssp_exported_key(auth, key), "none that is too short");
    auth->flags &= ~NTLMSSP_KEY_EXCH;
    memcpy(key, base_key, sizeof(key));
    ok(ntlmssp_exported_key(auth, key), "without key exchange");
    is_bytes(key, 16, base_key, 16, "the SessionBaseKey is it");
}

/* Every beginning of the message is refused, and no byte behind it is read. */
static void test_cut(void)
{
    ntlmssp_authenticate_t auth;
    size_t size;
    int taken = 0;

    for (size = 0; size < sizeof(authenticate); size++) {
        uint8_t *copy = malloc(size ? size : 1);

        memcpy(copy, authenticate, size);
        taken += ntlmssp_read_authenticate(copy, size, &auth) == NULL;
        free(copy);
    }
    is_int(taken, 0, "no beginning of it is taken for all of it");
}

int main(void)
{
    ntlmssp_authenticate_t auth;

    test_message(&auth);
    test_proof(&auth);
    test_key_exchange(&auth);
    test_cut();
    return unit_done();
}
