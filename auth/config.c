/* auth/config.c: the directives of mod_auth_ntlm. They may stand where AuthType may stand, except
 * in .htaccess: the administrator decides who checks passwords.
 */
#include "base/directive_help.h"
#include "auth/config.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_xlate.h>
#include <ap_provider.h>
#include <http_core.h>
#include <http_log.h>
#include <mod_auth.h>

#include "auth/failure_cache.h"
#include "auth/provider.h"
#include "auth/targets.h"
#include "base/message_id.h"
#include "base/who.h"

APLOG_USE_MODULE(auth_ntlm);

#define FAILURES_MAX 1000000
#define NB_NAME_MAX 15          /* characters of a NetBIOS name */
#define DNS_NAME_MAX 255

void *auth_ntlm_create_dir(apr_pool_t *p, char *dir)
{
    auth_ntlm_config_t *cfg = apr_pcalloc(p, sizeof(*cfg));

    cfg->negotiate = cfg->omit_domain = cfg->protection = cfg->pinned = AUTH_NTLM_UNSET;
    cfg->failures.max = cfg->failures.seconds = AUTH_NTLM_UNSET;
    return cfg;
}

#define MERGE(field, unset) merged->field = add->field != (unset) ? add->field : base->field

void *auth_ntlm_merge_dir(apr_pool_t *p, void *basev, void *addv)
{
    const auth_ntlm_config_t *base = basev, *add = addv;
    auth_ntlm_config_t *merged = apr_pcalloc(p, sizeof(*merged));

    MERGE(providers, NULL);
    MERGE(basic, NULL);
    MERGE(user_file, NULL);
    MERGE(target, NULL);
    MERGE(targets, NULL);
    MERGE(basic_charset, NULL);
    MERGE(pinned, AUTH_NTLM_UNSET);
    MERGE(negotiate, AUTH_NTLM_UNSET);
    MERGE(omit_domain, AUTH_NTLM_UNSET);
    MERGE(protection, AUTH_NTLM_UNSET);
    MERGE(failures.max, AUTH_NTLM_UNSET);
    MERGE(failures.seconds, AUTH_NTLM_UNSET);
    return merged;
}

const auth_ntlm_config_t *auth_ntlm_config(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &auth_ntlm_module);
}

/* Are DOM1\user and DOM2\user, or user@dom1 and user@dom2, different accounts in this section? */
static int has_domains(const request_rec *r, const auth_ntlm_config_t *cfg)
{
    const char *type = ap_auth_type((request_rec *)r);
    int i;

    if (cfg->omit_domain > 0)
        return 0;
    if (!type || ap_cstr_casecmp(type, "NTLM") != 0 || !cfg->providers)
        return 1;
    for (i = 0; i < cfg->providers->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(cfg->providers, i, const char *), AUTH_NTLM_FILE) == 0)
            return 0;
    }
    return 1;
}

rpc_who_domain_t auth_ntlm_domains(const request_rec *r)
{
    return has_domains(r, auth_ntlm_config(r)) ? RPC_WHO_WITH_DOMAIN : RPC_WHO_ANY_DOMAIN;
}

auth_account_t auth_ntlm_account(const request_rec *r, apr_pool_t *pool, const char *name)
{
    return (auth_account_t){ name, rpc_who_user(pool, name, auth_ntlm_domains(r)) };
}

/* ---- setters ---- */

static const char *add_name(cmd_parms *cmd, apr_array_header_t **list, const char *name)
{
    if (!*list)
        *list = apr_array_make(cmd->pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(*list, const char *) = name;
    return NULL;
}

static const char *set_provider(cmd_parms *cmd, void *config, const char *name)
{
    auth_ntlm_config_t *cfg = config;
    const auth_ntlm_provider_t *provider =
        ap_lookup_provider(AUTH_NTLM_PROVIDER_GROUP, name, AUTH_NTLM_PROVIDER_VERSION);
    const char *missing;

    if (!provider)
        return apr_psprintf(cmd->pool,
                            RPCNO(0127) "AuthNtlmProvider: \"%s\": expected file, winbind, or a "
                            "provider of another module",
                            name);
    missing = provider->configured && strcmp(name, AUTH_NTLM_FILE) != 0
              ? provider->configured(cmd->pool, NULL) : NULL;
    if (missing)
        return apr_psprintf(cmd->pool, RPCNO(0128) "AuthNtlmProvider %s: %s", name, missing);
    return add_name(cmd, &cfg->providers, name);
}

static const char *set_basic_provider(cmd_parms *cmd, void *config, const char *name)
{
    auth_ntlm_config_t *cfg = config;
    const authn_provider *provider =
        ap_lookup_provider(AUTHN_PROVIDER_GROUP, name, AUTHN_PROVIDER_VERSION);

    if (!provider || !provider->check_password)
        return apr_psprintf(cmd->pool,
                            RPCNO(0129) "AuthNtlmBasicProvider: \"%s\" does not check passwords: "
                            "expected a provider as for AuthBasicProvider; is its module "
                            "(mod_authn_%s?) loaded?",
                            name, name);
    return add_name(cmd, &cfg->basic, name);
}

static const char *set_user_file(cmd_parms *cmd, void *config, const char *arg)
{
    auth_ntlm_config_t *cfg = config;
    const auth_ntlm_provider_t *provider =
        ap_lookup_provider(AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_FILE, AUTH_NTLM_PROVIDER_VERSION);
    const char *missing;

    cfg->user_file = ap_server_root_relative(cmd->pool, arg);
    if (!cfg->user_file)
        return apr_psprintf(cmd->pool, RPCNO(0130) "AuthNtlmUserFile: \"%s\" is not a path", arg);
    missing = provider && provider->configured ? provider->configured(cmd->pool, cfg->user_file)
                                               : NULL;
    return missing ? apr_psprintf(cmd->pool,
                                  RPCNO(0131) "AuthNtlmUserFile %s: %s", cfg->user_file, missing)
                   : NULL;
}

static const char *set_protection(cmd_parms *cmd, void *config, const char *arg)
{
    static const char *const names[] = { "off", "allow", "require" };
    auth_ntlm_config_t *cfg = config;
    int i;

    for (i = 0; i < 3; i++) {
        if (ap_cstr_casecmp(arg, names[i]) == 0) {
            cfg->protection = i;
            return NULL;
        }
    }
    return apr_psprintf(cmd->pool,
                        RPCNO(0132) "AuthNtlmExtendedProtection: \"%s\": expected off, allow or "
                        "require", arg);
}

/* The field for "name=", and the greatest length of its value. */
static const char **target_field(ntlmssp_target_t *t, const char *arg, size_t name, size_t *max)
{
    const struct { const char *name; const char **field; size_t max;
    } fields[] = {
        { "domain", &t->nb_domain, NB_NAME_MAX },
        { "computer", &t->nb_computer, NB_NAME_MAX },
        { "dnsdomain", &t->dns_domain, DNS_NAME_MAX },
        { "dnscomputer", &t->dns_computer, DNS_NAME_MAX },
        { "dnstree", &t->dns_tree, DNS_NAME_MAX },
    };
    size_t i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strlen(fields[i].name) == name && ap_cstr_casecmpn(arg, fields[i].name, name) == 0) {
            *max = fields[i].max;
            return fields[i].field;
        }
    }
    return NULL;
}

static const char *set_target(cmd_parms *cmd, void *config, const char *arg)
{
    auth_ntlm_config_t *cfg = config;
    const char *equals = strchr(arg, '='), **field;
    size_t max = 0;

    if (!cfg->target)
        cfg->target = apr_pcalloc(cmd->pool, sizeof(*cfg->target));
    field = equals ? target_field(cfg->target, arg, (size_t)(equals - arg), &max) : NULL;
    if (!field)
        return apr_psprintf(cmd->pool,
                            RPCNO(0133) "AuthNtlmTargetInfo: \"%s\": expected domain=, computer=, "
                            "dnsdomain=, dnscomputer= or dnstree= with a name", arg);
    if (!equals[1] || strlen(equals + 1) > max)
        return apr_psprintf(cmd->pool,
                            RPCNO(0134) "AuthNtlmTargetInfo: \"%s\": expected a name of 1 to %d "
                            "characters",
                            arg, (int)max);
    *field = equals + 1;
    return NULL;
}

static const char *add_target(cmd_parms *cmd, void *config, const char *arg)
{
    auth_ntlm_config_t *cfg = config;

    return auth_ntlm_add_target(cmd, &cfg->targets, arg);
}

/* Logs a warning at each start, because nothing else can show that the directive is wrong. */
static const char *set_pinned(cmd_parms *cmd, void *config, int on)
{
    auth_ntlm_config_t *cfg = config;

    cfg->pinned = on;
    if (on)
        ap_log_perror(APLOG_MARK, APLOG_NOTICE | APLOG_STARTUP, 0, cmd->temp_pool,
                      RPCNO(0135) "AuthNtlmPinnedConnections On (%s line %d): where a front end "
                      "sends requests of several clients on one connection, each client is served "
                      "as the user who has logged on",
                      cmd->directive->filename, cmd->directive->line_num);
    return NULL;
}

static const char *set_basic_charset(cmd_parms *cmd, void *config, const char *arg)
{
    auth_ntlm_config_t *cfg = config;
    apr_xlate_t *set;

    cfg->basic_charset = arg;
    return apr_xlate_open(&set, "UTF-8", arg, cmd->temp_pool) == APR_SUCCESS
             ? NULL
             : apr_psprintf(cmd->pool,
                            RPCNO(0136) "AuthNtlmBasicCharset: \"%s\" is not a character set of "
                            "this system: see iconv -l",
                            arg);
}

static const char *failures_fault(cmd_parms *cmd, const char *arg, const char *expected)
{
    return apr_psprintf(cmd->pool,
                        RPCNO(0137) "AuthNtlmFailures: \"%s\": expected %s", arg, expected);
}

static int parse_number(const char *arg)
{
    char *end;
    long value = strtol(arg, &end, 10);

    return *arg && !*end && value >= 1 && value <= FAILURES_MAX ? (int)value : -1;
}

/* Whole seconds, also written as 600s, 10min or 1h. */
static int parse_seconds(const char *arg)
{
    apr_interval_time_t time;
    apr_int64_t seconds;

    if (!apr_isdigit(*arg) || ap_timeout_parameter_parse(arg, &time, "s") != APR_SUCCESS)
        return -1;
    seconds = apr_time_sec(time);
    return time % APR_USEC_PER_SEC == 0 && seconds >= 1 && seconds <= FAILURES_MAX ? (int)seconds
                                                                                   : -1;
}

static const char *set_failures(cmd_parms *cmd, void *config, const char *max, const char *time)
{
    auth_ntlm_config_t *cfg = config;

    if (ap_cstr_casecmp(max, "off") == 0 && !time) {
        cfg->failures.max = cfg->failures.seconds = 0;
        return NULL;
    }
    cfg->failures.max = parse_number(max);
    if (cfg->failures.max < 0)
        return failures_fault(cmd, max, "a number of failures from 1 to 1000000, or off");
    if (!time)
        return failures_fault(cmd, max, "the time within which failures count after their number, "
                                        "as in 10 10min");
    cfg->failures.seconds = parse_seconds(time);
    if (cfg->failures.seconds < 0)
        return failures_fault(cmd, time,
                              "a time from 1 to 1000000 seconds, as in 600, 10min or 1h");
    auth_failure_cache_wanted(cmd);
    return NULL;
}

#define FLAG_OF(field) (void *)APR_OFFSETOF(auth_ntlm_config_t, field)

const command_rec auth_ntlm_commands[] = {
    AP_INIT_ITERATE("AuthNtlmProvider", set_provider, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmProvider),
    AP_INIT_ITERATE("AuthNtlmBasicProvider", set_basic_provider, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmBasicProvider),
    AP_INIT_TAKE1("AuthNtlmUserFile", set_user_file, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmUserFile),
    AP_INIT_FLAG("AuthNtlmNegotiate", ap_set_flag_slot, FLAG_OF(negotiate), RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmNegotiate),
    AP_INIT_FLAG("AuthNtlmOmitDomain", ap_set_flag_slot, FLAG_OF(omit_domain),
                 RSRC_CONF | ACCESS_CONF, HELP_AuthNtlmOmitDomain),
    AP_INIT_TAKE1("AuthNtlmExtendedProtection", set_protection, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmExtendedProtection),
    AP_INIT_ITERATE("AuthNtlmTargetInfo", set_target, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmTargetInfo),
    AP_INIT_ITERATE("AuthNtlmTargets", add_target, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmTargets),
    AP_INIT_FLAG("AuthNtlmPinnedConnections", set_pinned, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmPinnedConnections),
    AP_INIT_TAKE1("AuthNtlmBasicCharset", set_basic_charset, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmBasicCharset),
    AP_INIT_TAKE12("AuthNtlmFailures", set_failures, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_AuthNtlmFailures),
    AP_INIT_TAKE1("AuthNtlmFailuresSOCache", auth_failure_cache_set, NULL, RSRC_CONF,
                    HELP_AuthNtlmFailuresSOCache),
    AP_INIT_TAKE1("AuthNtlmFailuresSecret", auth_failure_cache_set_secret, NULL, RSRC_CONF,
                    HELP_AuthNtlmFailuresSecret),
    { .name = NULL }
};
