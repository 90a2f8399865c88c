#!/usr/bin/python3
"""Makes the database of a private Samba AD domain controller, with its accounts and their keytabs. Nothing is started.

ad_dc.py FOLDER REALM DOMAIN ADDRESS PORT SERVICES < ACCOUNTS (JSON)
PORT is the KDC's; SERVICES are those that will be started ("server services" of smb.conf).
An account: name; password (random); spn and delegate (lists of service principal names); upn; flags (added to userAccountControl). An account with
services gets NAME.keytab, for the first of them, which is its user principal name as well: as client of a KDC it needs that.
"""
import json
import logging
import os
import secrets
import sys

import ldb
import samba.dckeytab                   # gives Net its export_keytab
from samba.auth import system_session
from samba.credentials import Credentials
from samba.net import Net
from samba.param import LoadParm
from samba.provision import provision
from samba.samdb import SamDB

folder, realm, domain, address, port, services = sys.argv[1:]
NORMAL_ACCOUNT, DONT_EXPIRE_PASSWORD = 0x200, 0x10000
AES = '24'                              # otherwise the keytab has RC4 alone


def configure():
    dirs = ['private', 'state', 'cache', 'log', 'pid', 'ncalrpc', 'winbindd', 'ntp', 'bind-dns']
    for name in dirs:
        os.makedirs('%s/%s' % (folder, name), exist_ok=True)
    with open(folder + '/etc/smb.conf', 'w') as conf:
        conf.write('''[global]
    netbios name = ADDC
    realm = %s
    workgroup = %s
    server role = active directory domain controller
    server services = %s
    disable netbios = yes
    interfaces = %s/8
    bind interfaces only = yes
    krb5 port = %s
    kpasswd port = 0
    prefork children = 1
    logging = file
    log file = %s/log/%%m.log
    lock directory = %s
''' % (realm, domain, services, address, port, folder, folder))
        for option, name in (('private dir', 'private'), ('state directory', 'state'), ('cache directory', 'cache'), ('pid directory', 'pid'),
                             ('ncalrpc dir', 'ncalrpc'), ('winbindd socket directory', 'winbindd'), ('ntp signd socket directory', 'ntp'),
                             ('binddns dir', 'bind-dns')):
            conf.write('    %s = %s/%s\n' % (option, folder, name))


def add(sam, lp, account):
    name, services = account['name'], account.get('spn', [])
    sam.newuser(name, account.get('password') or secrets.token_urlsafe(24))
    change = ldb.Message()
    change.dn = sam.search(expression='sAMAccountName=' + name)[0].dn
    values = {'userAccountControl': [str(NORMAL_ACCOUNT | DONT_EXPIRE_PASSWORD | account.get('flags', 0))]}
    upn = account.get('upn') or (services and services[0] + '@' + realm)
    if upn:
        values['userPrincipalName'] = [upn]
    if services:
        values['servicePrincipalName'] = services
        values['msDS-SupportedEncryptionTypes'] = [AES]
    if account.get('delegate'):
        values['msDS-AllowedToDelegateTo'] = account['delegate']
    for key, value in values.items():
        change[key] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, key)
    sam.modify(change)
    if services:
        keytab = '%s/%s.keytab' % (folder, name)
        for service in services:
            Net(Credentials(), lp).export_keytab(keytab=keytab, principal=service)
        os.chmod(keytab, 0o644)         # for httpd's children


provision(logging.getLogger(), system_session(), targetdir=folder, realm=realm, domain=domain, hostname='addc', hostip='127.0.0.1',
          dns_backend='NONE', serverrole='active directory domain controller', dom_for_fun_level=4, useeadb=True, batch_mode=True, lp=LoadParm())
configure()
lp = LoadParm()
lp.load(folder + '/etc/smb.conf')
sam = SamDB(url=folder + '/private/sam.ldb', session_info=system_session(), lp=lp)
for account in json.load(sys.stdin):
    add(sam, lp, account)
