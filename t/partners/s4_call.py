#!/usr/bin/python3
"""Calls of Samba's own client through the proxy, one per name.

s4_call.py [--http=ntlm|negotiate] [--plain] CONF PROXY:PORT USER PASSWORD DOMAIN HOST NAME:PORT:FLAGS...
NAME is mgmt, samr, winreg, drsuapi (of domain controllers), or alter (samr, then lsarpc beside it, then samr again); FLAGS are those of Samba's string bindings (connect, sign, seal).
HTTP (Basic, unless another way is named) and DCE/RPC use the same user. It is HTTPS, unless --plain.
"""
import sys

from samba import credentials, drs_utils, param
from samba.dcerpc import drsuapi, lsa, mgmt, samr, security, winreg


def call_mgmt(binding):
    c = mgmt.mgmt(binding, lp, creds)
    for _ in range(20):
        r = c.inq_if_ids()
    return '%d interfaces' % (r[0] if isinstance(r, tuple) else r).count


def call_samr(binding):
    c = samr.samr(binding, lp, creds)
    handle = c.Connect2(None, security.SEC_FLAG_MAXIMUM_ALLOWED)
    for _ in range(20):
        names = [e.name.string for e in c.EnumDomains(handle, 0, 1000)[1].entries]
    c.Close(handle)
    return ' '.join(sorted(names))


def call_alter(binding):
    c = samr.samr(binding, lp, creds)
    handle = c.Connect2(None, security.SEC_FLAG_MAXIMUM_ALLOWED)
    try:
        lsa.lsarpc(binding, lp, creds, basis_connection=c)
        said = 'lsarpc granted'
    except Exception as e:
        said = 'lsarpc refused: %s' % e
    names = [e.name.string for e in c.EnumDomains(handle, 0, 1000)[1].entries]
    return '%s; %s' % (said, ' '.join(sorted(names)))


def call_winreg(binding):
    c = winreg.winreg(binding, lp, creds)
    handle = c.OpenHKLM(None, security.SEC_FLAG_MAXIMUM_ALLOWED)
    version = c.GetVersion(handle)
    c.CloseKey(handle)
    return 'version %d' % version


def call_drsuapi(binding):
    c = drsuapi.drsuapi(binding, lp, creds)
    handle = drs_utils.drs_DsBind(c)[0]
    ask = drsuapi.DsGetDCInfoRequest1()
    ask.domain_name = domain
    ask.level = 1
    return ' '.join(dc.netbios_name for dc in c.DsGetDomainControllerInfo(handle, 1, ask)[1].array)


http_auth = 'basic'
if sys.argv[1].startswith('--http='):
    http_auth = sys.argv.pop(1)[len('--http='):]
tls = 'true'
if sys.argv[1] == '--plain':
    tls = 'false'
    del sys.argv[1]
conf, proxy, user, password, domain, host = sys.argv[1:7]
lp = param.LoadParm()
lp.load(conf)
creds = credentials.Credentials()
creds.guess(lp)
creds.set_username(user)
creds.set_password(password)
creds.set_domain(domain)
creds.set_kerberos_state(credentials.DONT_USE_KERBEROS)
for what in sys.argv[7:]:
    name, port, flags = what.split(':')
    binding = 'ncacn_http:%s[%s,RpcProxy=%s,HttpUseTls=%s,HttpAuthOption=%s%s]' % (
        host, port, proxy, tls, http_auth, ',' + flags if flags else '')
    print('%s %s: %s' % (name, flags, globals()['call_' + name](binding)), flush=True)
