#!/usr/bin/python3
"""Calls of impacket through the proxy, one per name, on one virtual connection each.

imp_call.py [--http=ntlm] URL HTTP_USER HTTP_PASSWORD RPC_USER RPC_PASSWORD DOMAIN HOST NAME:PORT:LEVEL...
NAME is mgmt, epm (where samr is), epm_drsuapi, samr, winreg, or alter (samr, then lsarpc beside it, then samr again); LEVEL is the authentication level of DCE/RPC, 0 for none.
HTTP is authenticated by Basic, unless another way is named.
"""
import sys

from impacket import http
from impacket.dcerpc.v5 import drsuapi, epm, lsat, mgmt, rrp, samr, transport


def connect(url, host, port, level):
    t = transport.DCERPCTransportFactory('ncacn_http:%s[%s]' % (host, port))
    t.set_rpc_proxy_url(url)
    t.set_credentials(http_user, http_password, domain)
    t.set_auth_type(http_auth)
    dce = t.get_dce_rpc()
    if level:
        dce.set_credentials(rpc_user, rpc_password, domain)
        dce.set_auth_level(level)
    dce.connect()
    return dce


def call_mgmt(dce):
    dce.bind(mgmt.MSRPC_UUID_MGMT)
    for _ in range(20):
        count = mgmt.hinq_if_ids(dce)['if_id_vector']['count']
    return '%d interfaces' % count


def call_epm(dce, interface=samr.MSRPC_UUID_SAMR):
    return epm.hept_map(host, interface, protocol='ncacn_ip_tcp', dce=dce)


def call_epm_drsuapi(dce):
    return call_epm(dce, drsuapi.MSRPC_UUID_DRSUAPI)


def call_samr(dce):
    dce.bind(samr.MSRPC_UUID_SAMR)
    handle = samr.hSamrConnect(dce)['ServerHandle']
    for _ in range(20):
        found = samr.hSamrEnumerateDomainsInSamServer(dce, handle)['Buffer']['Buffer']
    names = ' '.join(sorted(e['Name'] for e in found))
    samr.hSamrCloseHandle(dce, handle)
    return names


def call_alter(dce):
    dce.bind(samr.MSRPC_UUID_SAMR)
    handle = samr.hSamrConnect(dce)['ServerHandle']
    try:
        dce.alter_ctx(lsat.MSRPC_UUID_LSAT)
        said = 'lsarpc granted'
    except Exception as e:
        said = 'lsarpc refused: %s' % e
    found = samr.hSamrEnumerateDomainsInSamServer(dce, handle)['Buffer']['Buffer']
    return '%s; %s' % (said, ' '.join(sorted(e['Name'] for e in found)))


def call_winreg(dce):
    dce.bind(rrp.MSRPC_UUID_RRP)
    handle = rrp.hOpenLocalMachine(dce)['phKey']
    version = rrp.hBaseRegGetVersion(dce, handle)['lpdwVersion']
    key = rrp.hBaseRegOpenKey(dce, handle, 'SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion')['phkResult']
    rrp.hBaseRegCloseKey(dce, key)
    return 'version %d' % version


http_auth = http.AUTH_BASIC
if sys.argv[1] == '--http=ntlm':
    http_auth = http.AUTH_NTLM
    del sys.argv[1]
url, http_user, http_password, rpc_user, rpc_password, domain, host = sys.argv[1:8]
for what in sys.argv[8:]:
    name, port, level = what.split(':')
    dce = connect(url, host, port, int(level))
    print('%s %s: %s' % (name, level, globals()['call_' + name](dce)), flush=True)
    dce.disconnect()
