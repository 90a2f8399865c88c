/* delegate/fault.c: see delegate/fault.h. Errors of Kerberos have codes; one that is not in the
 * table below is told in the words of libkrb5.
 */
#include "delegate/fault.h"

#include <string.h>

#include <apr_strings.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>

#define AT(step) (1u << (step))
#define ANY_STEP (~0u)

/* In a sentence $u is the user's principal, $s the service, $o this server's principal, $k the
 * keytab. */
typedef struct fault_row {
    krb5_error_code code;
    unsigned steps;
    delegate_kind_t kind;
    const char *sentence;
} fault_row_t;

static const char no_transition[] =
    "the KDC has given a ticket of $u that must not be used for delegation: either the account of "
    "$o lacks TRUSTED_TO_AUTH_FOR_DELEGATION in userAccountControl (\"use any authentication "
    "protocol\"), or $u is marked as sensitive (NOT_DELEGATED) or is a member of Protected Users";
static const char no_delegation[] =
    "$o may not delegate to $s: msDS-AllowedToDelegateTo of its account does not name this service "
    "(nor does msDS-AllowedToActOnBehalfOfOtherIdentity of the service's account name it)";
static const char clocks[] = "the clocks of this machine and of the KDC differ too much";

static const fault_row_t rows[] = {
    { KRB5_KDC_UNREACH, ANY_STEP, DELEGATE_SILENT, "no KDC of the realm answers: see krb5.conf" },
    { KRB5_REALM_UNKNOWN, ANY_STEP, DELEGATE_BROKEN, "krb5.conf has no KDC for the realm" },
    { KRB5_REALM_CANT_RESOLVE, ANY_STEP, DELEGATE_SILENT,
      "the name of no KDC of the realm can be resolved: see krb5.conf" },
    { KRB5_CONFIG_CANTOPEN, ANY_STEP, DELEGATE_BROKEN,
      "krb5.conf cannot be read: see KRB5_CONFIG" },
    { KRB5_CONFIG_NODEFREALM, ANY_STEP, DELEGATE_BROKEN, "krb5.conf has no default_realm" },
    { KRB5KRB_AP_ERR_SKEW, ANY_STEP, DELEGATE_BROKEN, clocks },
    { KRB5_KDCREP_SKEW, ANY_STEP, DELEGATE_BROKEN, clocks },
    { KRB5KRB_AP_ERR_TKT_NYV, ANY_STEP, DELEGATE_BROKEN, clocks },
    { KRB5KDC_ERR_ETYPE_NOSUPP, ANY_STEP, DELEGATE_BROKEN,
      "no encryption type is common to $k, the KDC and krb5.conf" },

    { KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, AT(DELEGATE_OWN), DELEGATE_BROKEN,
      "the KDC does not know the principal of $k (the account's userPrincipalName has to be the "
      "name of the service)" },
    { KRB5KDC_ERR_CLIENT_REVOKED, AT(DELEGATE_OWN), DELEGATE_BROKEN,
      "the account of $k is disabled or locked" },
    { KRB5KDC_ERR_PREAUTH_FAILED, AT(DELEGATE_OWN), DELEGATE_BROKEN,
      "the KDC has another key than $k: the keytab has to be made anew" },
    { KRB5_KT_NOTFOUND, AT(DELEGATE_OWN), DELEGATE_BROKEN,
      "$k lacks the key that the KDC uses: the keytab has to be made anew" },

    { KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, AT(DELEGATE_SELF), DELEGATE_REFUSED,
      "the KDC knows no user $u" },
    { KRB5KDC_ERR_CLIENT_REVOKED, AT(DELEGATE_SELF), DELEGATE_REFUSED,
      "the account of $u is disabled or locked" },
    { KRB5KDC_ERR_POLICY, AT(DELEGATE_SELF), DELEGATE_REFUSED,
      "the KDC gives no ticket of $u: the account is disabled or locked, or may not be used now" },
    { KRB5KDC_ERR_NAME_EXP, AT(DELEGATE_SELF), DELEGATE_REFUSED, "the account of $u has expired" },
    { KRB5KDC_ERR_KEY_EXP, AT(DELEGATE_SELF), DELEGATE_REFUSED, "the password of $u has expired" },
    { KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, AT(DELEGATE_SELF), DELEGATE_BROKEN,
      "the KDC knows no service $o: its account needs this servicePrincipalName" },

    { KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, AT(DELEGATE_PROXY), DELEGATE_BROKEN,
      "the KDC knows no service $s: RpcBackendAuth kerberos has to name a servicePrincipalName of "
      "the account that the server behind uses" },
    { KRB5KDC_ERR_BADOPTION, AT(DELEGATE_PROXY), DELEGATE_REFUSED, no_delegation },
    { KRB5KDC_ERR_POLICY, AT(DELEGATE_PROXY), DELEGATE_REFUSED, no_delegation },
    { KRB5KRB_AP_ERR_TKT_EXPIRED, AT(DELEGATE_LEFT) | AT(DELEGATE_PROXY), DELEGATE_REFUSED,
      "the ticket of $u has expired" },
};

static const char *name_of(char letter, const delegate_names_t *names)
{
    switch (letter) {
    case 'u': return names->client ? names->client : "the user";
    case 's': return names->service ? names->service : "the server behind";
    case 'o': return names->own ? names->own : "this server";
    default: return names->keytab ? names->keytab : "the keytab";
    }
}

/* SENTENCE with the names in it. */
static const char *filled(apr_pool_t *pool, const char *sentence, const delegate_names_t *names)
{
    const char *text = "", *at;

    while ((at = strchr(sentence, '$')) != NULL) {
        text = apr_pstrcat(pool, text, apr_pstrmemdup(pool, sentence, (apr_size_t)(at - sentence)),
                           name_of(at[1], names), NULL);
        sentence = at + 2;
    }
    return apr_pstrcat(pool, text, sentence, NULL);
}

/* What libkrb5 says, for the last error of this thread. */
static const char *words(apr_pool_t *pool, OM_uint32 major, OM_uint32 minor)
{
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    OM_uint32 ignored, more = 0;
    const char *copy;

    if (GSS_ERROR(gss_display_status(&ignored, minor ? minor : major,
                                     minor ? GSS_C_MECH_CODE : GSS_C_GSS_CODE,
                                     minor ? (gss_OID)gss_mech_krb5 : GSS_C_NO_OID, &more, &text)))
        return apr_psprintf(pool, "GSSAPI %#x/%u", major, minor);
    copy = apr_pstrmemdup(pool, text.value, text.length);
    gss_release_buffer(&ignored, &text);
    return copy;
}

delegate_fault_t delegate_fault_of(apr_pool_t *pool, delegate_step_t step,
                                   const delegate_names_t *names, int forwardable, OM_uint32 major,
                                   OM_uint32 minor)
{
    static const char *const tasks[] = {
        "no ticket of its own for this server", "no ticket of $u for this server",
        "the ticket that was left for $u is of no use", "no ticket of $u for $s"
    };
    const char *said = words(pool, major, minor);
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const fault_row_t *row = &rows[i];
        const char *sentence = row->sentence == no_delegation && !forwardable ? no_transition
                                                                              : row->sentence;

        if ((OM_uint32)row->code == minor && (row->steps & AT(step)))
            return delegate_fault(row->kind, apr_psprintf(pool, "%s (%s)",
                                                          filled(pool, sentence, names), said));
    }
    return delegate_fault(DELEGATE_BROKEN,
                          apr_psprintf(pool, "%s: %s", filled(pool, tasks[step], names), said));
}
