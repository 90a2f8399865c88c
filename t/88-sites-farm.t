# All sites of conf/sites/ beside each other on two machines behind HAProxy, as conf/sites/farm.conf and
# conf/haproxy/haproxy.cfg set them up, tried by real clients; then IPv6 alone.

use strict;
use warnings;
use HTTP::Tiny;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::FreeRDP;
use RPCH::Front;
use RPCH::Gateway;
use RPCH::Httpd;
use RPCH::Needs qw(missing needs needs_modules program);
use RPCH::NTLM;
use RPCH::Poll qw(wait_for turn);
use RPCH::Redis;
use RPCH::Root;
use RPCH::RPC qw(contexts_pdu request_pdu rpc_parse);
use RPCH::Samba;
use RPCH::Status qw(status_conf);
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(headers include proxy proxy_http remoteip rewrite));
needs(qw(haproxy python3-impacket python3-samba samba-common-bin), RPCH::FreeRDP::PACKAGES);
plan(skip_all => 'libnss-wrapper is not there') if missing('libnss-wrapper');

my ($MAIL, $LEGACY, $RDG, $RPC, $AUTO) = my @NAMES = map { "$_.example.com" } qw(mail legacy rdg rpc autodiscover);
my $root = vars('serverroot');
my $users = "$root/conf/users";
my $user = RPCH::Samba::user();

put("$root/sites-farm.cnf", "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\nCN=$MAIL\n[ext]\nsubjectAltName="
    . join(',', 'IP:127.0.0.1', map { "DNS:$_" } @NAMES) . "\nbasicConstraints=critical,CA:TRUE\n");
my ($crt, $key) = ("$root/sites-farm.crt", "$root/sites-farm.key");
qx(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config $root/sites-farm.cnf -keyout $key -out $crt 2>&1);
is($?, 0, 'a certificate for all sites, on both sides');
put("$root/sites-farm.smbpasswd", map { RPCH::NTLM::smbpasswd_line(@$_) } [alice => 'secret'], [$user => RPCH::Samba::PASSWORD]);
chmod 0640, "$root/sites-farm.smbpasswd";
chown 0, scalar getgrnam(vars('group')), "$root/sites-farm.smbpasswd" if $> == 0;
put("$root/sites-farm.secret", 'f' x 32);
chmod 0600, "$root/sites-farm.secret";
mkdir "$root/sites-farm-autodiscover" or die "sites-farm-autodiscover: $!\n";
chmod 0755, "$root/sites-farm-autodiscover";
put("$root/sites-farm-autodiscover/autodiscover.xml", slurp('conf/autodiscover/autodiscover.xml'));

# ---- what is behind ----

# Pages of all servers. And one httpd that is Exchange's own RPC proxy and that of the gateway, by the names that
# they are asked by; its endpoint is the mailbox server of 2007 and a global catalog, in front of Samba.
my @seen;
my $pages = RPCH::WebServer->new(answer => sub {
    my ($request) = @_;
    my ($host) = $request->{headers} =~ /^Host: (\S+)/mi;
    push @seen, "$request->{method} $host$request->{uri}";
    return RPCH::WebServer::answer('200 OK', 'a page');
});
my $samba = RPCH::Samba->start(low => 49_200);
my ($mailbox, $catalog) = map { $samba->{address} =~ s/\d+$/$_/r } 88, 89;
my $target = tcp_server(quiet => 1);
my $behind_at = RPCH::Root::free_ports(1);
my $to_samba = "ncacn_ip_tcp:$samba->{address}\[$samba->{ports}{samr}]";
my $behind = RPCH::Httpd->new(conf => <<"CONF")->start;
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
RpcEndpointListen $mailbox:6001 $to_samba
RpcEndpointListen $mailbox:6002 $to_samba
RpcEndpointListen $catalog:6004 $to_samba
Listen 127.0.0.1:$behind_at
<VirtualHost 127.0.0.1:$behind_at>
SSLEngine on
SSLCertificateFile $crt
SSLCertificateKeyFile $key
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:$pages->{port}/ nocanon
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $root/sites-farm.smbpasswd
AuthNtlmPinnedConnections On
AuthNtlmTargets $MAIL $RDG
AuthNtlmBasicProvider file
AuthUserFile $users
Require valid-user
RpcValidPorts "$MAIL:6001;localhost:3388"
RpcBackend $MAIL $to_samba
RpcBackend localhost:3388 ncacn_ip_tcp:127.0.0.1[$target->{port}]
</Location>
</VirtualHost>
CONF

# ---- two machines behind HAProxy ----

my $redis = RPCH::Redis->new;
my $hashes = "AuthNtlmUserFile $root/sites-farm.smbpasswd";     # for the provider "file": winbindd wants root
sub site { return RPCH::Httpd->site(@_) }
my %tls = map { $_ . '_CERTIFICATE' => $crt, $_ . '_KEY' => $key } qw(EXCHANGE EXCHANGE2007 RDGATEWAY SAMBA AUTODISCOVER);
sub of { my ($prefix, %value) = @_; return map { $_ => $value{$_} // $tls{$_} } keys %value, grep { /^${prefix}_/ } keys %tls }
my $exchange2007 = site('exchange2007.conf', of(EXCHANGE2007 =>
    EXCHANGE2007 => "https://localhost:$behind_at", EXCHANGE2007_CA => $crt, EXCHANGE2007_USERS => $users,
    EXCHANGE2007_ADDRESS => $mailbox, EXCHANGE2007_CATALOGS => "$catalog $catalog"));
my @sites = (
    site('samba.conf', of(SAMBA => SAMBA_ADDRESS => $samba->{address}, SAMBA_USERS => $users)),
    site('exchange.conf', of(EXCHANGE => EXCHANGE => "https://localhost:$behind_at", EXCHANGE_CA => $crt, EXCHANGE_ALIASES => 'owa.example.com')),
    site('exchange2007.conf', of(EXCHANGE2007 =>
        EXCHANGE2007 => "https://localhost:$behind_at", EXCHANGE2007_CA => $crt, EXCHANGE2007_NTLM => 'file',
        EXCHANGE2007_ADDRESS => $mailbox, EXCHANGE2007_CATALOGS => $catalog))
        =~ s{^( +AuthNtlmProvider .*)}{$1\n$hashes}mr,
    site('rdgateway.conf', of(RDGATEWAY => RDGATEWAY => "https://localhost:$behind_at", RDGATEWAY_CA => $crt)),
    site('autodiscover.conf', of(AUTODISCOVER => AUTODISCOVER_USERS => $users, AUTODISCOVER_FOLDER => "$root/sites-farm-autodiscover")),
);
my $farm = site('farm.conf', FARM_STORE => $redis->url, FARM_SECRET => "$root/sites-farm.secret", FARM_DIRECT => '127.0.0.9');

# An httpd that listens at these addresses. configtest has nothing to say.
sub httpd {
    my ($name, $addresses, @conf) = @_;
    my $at = RPCH::Root::free_ports(1);
    my $conf = join '', (map { "Listen $_:$at\n" } @$addresses), "ServerTokens Prod\n", status_conf(), map { s/<VirtualHost \*:443>/<VirtualHost *:$at>/r } @conf;
    my $httpd = RPCH::Httpd->new(limits => '', conf => $conf);
    $httpd->{https} = $at;
    is(join(' ', $httpd->configtest), "0 Syntax OK\n", "$name: configtest has nothing to say");
    return $httpd;
}
my $v6 = have_ipv6();
my @own = ('127.0.0.1', $v6 ? '[::1]' : ());
httpd('samba.conf alone, with NTLM', \@own, site('samba.conf', of(SAMBA => SAMBA_ADDRESS => $samba->{address}, SAMBA_NTLM => 'file')) =~ s{^( +AuthNtlmProvider .*)}{$1\n$hashes}mr);
httpd('exchange2007.conf alone', \@own, $exchange2007);
my @machines = map { httpd("machine $_, all sites", \@own, @sites, $farm)->start } 1, 2;

my $front = RPCH::Front->new('https');
my $at = $front->{port}{https};
{
    my $cfg = slurp('conf/haproxy/haproxy.cfg');
    is(qx(haproxy -c -f conf/haproxy/haproxy.cfg 2>&1), "Configuration file is valid\n", 'HAProxy takes its sample as it is');
    # Its addresses; and what only root may do is left out.
    $cfg =~ s/^ +(?:log|user|group|maxconn) .*\n//mg;
    $cfg =~ s/^ +bind +\K.*/join ',', map { "$_:$at" } '127.0.0.1', $v6 ? '::1' : ()/me or die 'no bind';
    # A busy machine may be late with many handshakes: here only connections that are refused count.
    $cfg =~ s/fall \K3/1000/ or die 'no fall';
    my @ports = map { $_->{https} } @machines;
    is($cfg =~ s/^ +server +\w+ \K10\.0\.0\.\d:443$/'127.0.0.1:' . shift @ports/gme, 2, 'which has two machines');
    $front->start($cfg, program('haproxy'), '-db', '-f', "$front->{dir}/conf");
}

# ---- clients ----

# Names are looked up in a file.
put("$root/sites-farm.hosts", "127.0.0.1 @NAMES\n");
sub named { my ($run) = @_; local @ENV{qw(LD_PRELOAD NSS_WRAPPER_HOSTS)} = ('libnss_wrapper.so', "$root/sites-farm.hosts"); return $run->() }
# What a command prints; the doubles of this process serve it meanwhile.
sub said {
    my ($command) = @_;
    my $out = named(sub { open(my $fh, '-|', "$command 2>&1") or die "$command: $!\n"; $fh });
    $out->blocking(0);
    my ($said, $n) = ('', undef);
    wait_for($command, sub { turn(0.01); $n = sysread $out, $said, 65_536, length $said; defined $n && !$n }, 60);
    close $out;
    return $said;
}
sub curl { my ($args) = @_; return said("curl -s -m 50 --cacert $crt -w ' %{http_code}\\n' $args") }
sub rpcping { my ($host, $target, $more) = @_; return said("build/rpcping --cacert $crt -u alice:secret " . ($more // '') . " https://$host:$at $target") }

for my $page ([$MAIL, '/owa/', '/ecp/', '/mapi/emsmdb', '/public/x'], [$RDG, '/RDWeb/Pages/'],
              [$LEGACY, '/owa/', '/exchange/alice/', '/exchweb/img/a.gif', '/oma', '/public/Ordner%20%C3%A4/?Cmd=contents', '/EWS/Exchange.asmx',
               '/OAB/0b1c/oab.xml', '/autodiscover/autodiscover.xml', '/unifiedmessaging/service.asmx', '/Microsoft-Server-ActiveSync?Cmd=Ping&User=alice']) {
    my ($host, @uris) = @$page;
    @seen = ();
    is(curl(join ' ', map { "'https://$host:$at$_'" } @uris), "a page 200\n" x @uris, "$host has these pages");
    is_deeply(\@seen, [map { "GET $host:$at$_" } @uris], 'as they are');
}
@seen = ();
is(curl("-X SEARCH -d '<x/>' https://$LEGACY:$at/exchange/alice/Inbox"), "a page 200\n", 'a method of WebDAV');
like($seen[0], qr{^SEARCH }, 'goes on as it is');
like(curl("'https://$_->[0]:$at$_->[1]'"), qr/ 404$/, "$_->[0]: $_->[1] is not there") for [$LEGACY, '/{ecp/,exadmin/,rpc/}'], [$RPC, '/{owa/,}'];
like(curl("-o /dev/null -w '%{redirect_url}\n' https://$LEGACY:$at/"), qr{^https://$LEGACY:$at/owa/$}m, 'the root of 2007 leads to OWA');
like(curl("-u alice:secret -d '<x/>' https://$AUTO:$at/autodiscover/autodiscover.xml"), qr{<Type>EXPR</Type>.* 200$}s, 'Autodiscover answers for itself');
my $echo = "-u alice:secret -X RPC_IN_DATA -H 'Content-Length: 0'";
is(curl(join ' ', $echo, map { "-o /dev/null https://$_:$at/rpc/rpcproxy.dll" } $MAIL, $RDG, $RPC), " 200\n" x 3, 'echoes by Basic');
is(curl(join ' ', "--ntlm $echo", map { "-o /dev/null https://$_:$at/rpc/rpcproxy.dll" } $MAIL, $LEGACY), " 200\n" x 2, 'echoes by NTLM');

my $OK = qr/^ *call +ok /m;
like(rpcping($MAIL, "$MAIL:6001"), $OK, 'rpcping: Exchange behind its own proxy');
like(rpcping($LEGACY, $_, '-a ntlm'), $OK, "rpcping: 2007, $_") for qw(exch1:6001 exch1.example.com:6002 exch1:6004 gc2.example.com:6004);
like(rpcping($LEGACY, 'gc1:6001', '-a ntlm'), qr/6ba/, 'rpcping: a catalog has no port 6001');
like(rpcping($RPC, "dc1:$samba->{ports}{samr}"), $OK, 'rpcping: a domain controller');

my @rpc = ($user, RPCH::Samba::PASSWORD, RPCH::Samba::DOMAIN);
sub impacket { my ($args, $host, @what) = @_; return named(sub { $samba->python('imp_call.py', @$args, @rpc, $host, @what) }) }
like(impacket(['--http=ntlm', "https://$LEGACY:$at/rpc/rpcproxy.dll", 'alice', 'secret'], 'exch1', map { "mgmt:$_:0" } 6001, 6004),
     qr/\A(?:mgmt 0: [1-9]\d* interfaces\n){2}\z/, 'impacket: 2007');
my $said = impacket(["https://$RPC:$at/rpc/rpcproxy.dll", 'alice', 'secret'], 'dc1', "samr:$samba->{ports}{samr}:6",
                    $samba->has_mapper ? 'epm:135:0' : (), "winreg:$samba->{ports}{winreg}:6");
like($said, qr/^samr 6: Builtin RPCSRV$/m, 'impacket: a domain controller');
like($said, qr/abstract_syntax_not_supported/, 'which keeps its registry to itself');
SKIP: {
    skip 'no endpoint mapper: port 135 is for root', 1 if !$samba->has_mapper;
    like($said, qr/^epm 0: ncacn_ip_tcp:.*\[$samba->{ports}{samr}\]$/m, 'but not its endpoint mapper');
}
put("$samba->{dir}/sites.conf", slurp("$samba->{dir}/client.conf") =~ s/(tls cafile = ).*/$1$crt/r =~ s/^tls priority.*\n//mr);
like($samba->python('s4_call.py', "$samba->{dir}/sites.conf", "127.0.0.1:$at", @rpc, 'dc1', "samr:$samba->{ports}{samr}:seal"),
     qr/^samr seal: Builtin RPCSRV$/m, "Samba's client, which knows the address only, and has no setting for TLS");
{
    local $ENV{NSS_WRAPPER_HOSTS} = "$root/sites-farm.hosts";
    my $freerdp = RPCH::FreeRDP->start($at, 'libnss_wrapper.so', undef, 'rpc', $RDG);
    my $gateway;
    ok(eval {
        wait_for('a connection, or the end', sub { turn(0.02); @{ $target->{new} } || !$freerdp->running });
        my $c = $target->connection;
        $gateway = RPCH::Gateway->new(sub { shift @{ $c->{got} } }, sub { $c->put(@_) });
        $gateway->called($gateway->SEND_TO_SERVER);
    }, 'FreeRDP: the tunnel is open') or diag $@, $freerdp->log;
}

# ---- the farm ----

sub status { my ($i) = @_; return RPCH::Status->new(port => $machines[$i]{port}, http => HTTP::Tiny->new(timeout => 20, local_address => '127.0.0.9')) }
sub dialled {
    my ($from) = @_;
    return client(port => $at, from => $from, tls => { SSL_ca_file => $crt, SSL_hostname => $RPC }, target => "dc1:$samba->{ports}{samr}");
}
# The machines that have connections of this address.
sub at_machines { my ($address, @of) = @_; return grep { grep { $_->{address} eq $address } @{ status($_)->json->{connections} } } @of }
my $SAMR = ['12345778-1234-abcd-ef00-0123456789ac', 1];
sub opened {
    my ($c) = @_;
    return eval { $c->open_in(host => $RPC); $c->open_out(host => $RPC); $c->send_a1->send_b1->opened; $c->call(contexts_pdu([$SAMR])); 1 } || diag($@) && 0;
}
my %machine;
my @clients = map { dialled("127.0.77.$_") } 1 .. 8, 1;
ok(opened($_), 'a virtual connection') for @clients;
for my $i (1 .. 8) {
    my @at = at_machines("127.0.77.$i", 0, 1);
    is(scalar @at, 1, "the connections of a client's address are at one machine, which knows the address");
    push @{ $machine{ $at[0] } }, $i;
}
is(join(' ', sort keys %machine), '0 1', 'and those of others at others');
ok(status(0)->awaits(sub { my ($j) = @_; 2 == @{ $j->{farm}{machines} } }), 'the machines know of each other') or diag status(0)->get('?format=json')->{content};
$_->close for @clients;
$machines[0]->stop;
wait_for('the end of a machine', sub { turn(0.02); !IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $machines[0]{https}) });
my $moved = dialled("127.0.77.$machine{0}[0]");
ok(opened($moved), 'the other machine serves all when one is gone');
is(join(' ', at_machines("127.0.77.$machine{0}[0]", 1)), 1, 'and knows whom');
$moved->close;

# ---- IPv6 ----

SKIP: {
    skip 'no IPv6', 1 if !$v6;
    is(curl("--connect-to '$MAIL:$at:[::1]:$at' https://$MAIL:$at/owa/"), "a page 200\n", 'HAProxy and all sites: dual stack');
    my $server = server(host => '::1', echo => 1);
    my $six = RPCH::WebServer->new(host => '::1', tls => { SSL_cert_file => $crt, SSL_key_file => $key }, answer => sub { return RPCH::WebServer::answer('200 OK', "from $_[0]{uri}") });
    my $only = httpd('IPv6 alone', ['[::1]'], site('exchange2007.conf', of(EXCHANGE2007 =>
        EXCHANGE2007 => "https://[::1]:$six->{port}", EXCHANGE2007_CA => $crt, EXCHANGE2007_USERS => $users,
        EXCHANGE2007_ADDRESS => '::1', EXCHANGE2007_CATALOGS => "::1 $server->{port}")) =~ s/\[\]/[$server->{port}]/gr)->start;
    is(curl("--connect-to '$LEGACY:443:[::1]:$only->{https}' https://$LEGACY/owa/"), "from /owa/ 200\n", 'IPv6 alone: a page');
    for my $target ('exch1:6001', 'gc1:6004') {
        my $c = client(host => '::1', port => $only->{https}, tls => { SSL_ca_file => $crt, SSL_hostname => $LEGACY }, target => $target);
        my $stub = eval { $c->open_in(host => $LEGACY); $c->open_out(host => $LEGACY); $c->send_a1->send_b1->opened; $c->call(contexts_pdu([['afa8bd80-7d8a-11c9-bef4-08002b102989', 1]])); rpc_parse($c->call(request_pdu(1, 'six')))->{stub} };
        is($stub, 'six', "IPv6 alone: RPC to $target") or diag $@;
        $c->close;
    }
    $_->close for $server, $six;
}
unlike($_->log, qr/protocol-error|bad-pdu|upstream-answer|\[(?:crit|emerg|alert)\]/, 'nothing was taken for an error') for @machines, $behind;
$_->close for $pages, $target;
done_testing;
