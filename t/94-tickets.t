# Trouble tickets: a site has a fault, the user tells what happens, and the manual's page "Troubleshooting" has
# to lead from the user's words, by what the log or a program says, to the cure. The programs and the log are
# real ones, and the cure is tried.

use strict;
use warnings;
use Test::More;
use IO::Socket::IP;
use RPCH::Demo;
use RPCH::File qw(put slurp);
use RPCH::FreeRDP;
use RPCH::Httpd;
use RPCH::Manual qw(rows);
use RPCH::Needs qw(missing);
use RPCH::NTLM;
use RPCH::Poll qw(turn);
use RPCH::Preload;
use RPCH::Root;
use RPCH::Test;

my $root = vars('serverroot');
my $conf = "$root/conf";
my $build = build_dir();
my $page = slurp('doc/troubleshooting.md');
my $demo = RPCH::Demo->new;
my $server = server(echo => 1);
my $down = refused_port();

# ---- a site with many faults: for each a location with the fault and one that is cured ----

my $basic = "AuthType Basic\nAuthName rpc\nAuthUserFile $conf/users";
my $valid = "$basic\nRequire valid-user";
my $tcp = "ncacn_ip_tcp:127.0.0.1[$demo->{port}]";
my $good = "$valid\nRpcValidPorts \"exch1:6001-6002;exch1:6004\"\nRpcBackend exch1 $tcp";
put("$root/tickets.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => 'secret'));
my $ntlm = "AuthType NTLM\nAuthName rpc\nAuthNtlmUserFile $root/tickets.smbpasswd\nRequire valid-user";
my %site = (
    good     => $good,
    group    => $good =~ s/Require valid-user/Require user bob/r,
    form     => $good =~ s/"exch1:6001-6002;exch1:6004"/exch1.example.com:6001-6002/r,
    down     => $good =~ s/\Q$tcp\E/ncacn_http:127.0.0.1[$down]/r,
    tcp      => $good =~ s/\Q$tcp\E/ncacn_http:127.0.0.1[$demo->{port}]/r,
    book     => "$good\nRpcProfile exchange",
    book2    => "$good\nRpcProfile exchange\nRpcNspiProtocolSequences ncacn_http:6004",
    busy     => "$valid\nRpcValidPorts exch1:6001\nRpcBackend exch1 ncacn_http:127.0.0.1[$server->{port}]\nRpcMaxChannelsPerUser 2",
    busy2    => "$valid\nRpcValidPorts exch1:6001\nRpcBackend exch1 ncacn_http:127.0.0.1[$server->{port}]\nRpcMaxChannelsPerUser 200",
    session  => "$valid\nRpcValidPorts exch1:6001\nRpcBackend exch1 ncacn_http:127.0.0.1[$server->{port}]\nRpcMaxSessionTime 1",
    ntlm     => "$ntlm\nRpcValidPorts exch1:6001\nRpcBackend exch1 $tcp",
    office   => "$good\nAuthNtlmFailures 2 601",
    moved    => $good =~ s/127\.0\.0\.1/localhost/r . "\nRpcTargetNetworks 192.0.2.0/24",
    unnamed  => "$valid\nRpcValidPorts new.example.com:6001",
    level    => "$good\nRpcMinAuthLevel connect",
    vain     => "$good\nRpcMaxFailedTargets 1 60",
    desktop  => "$ntlm\nRpcValidPorts rdg.example.com:3388",
);
my $plain = RPCH::Root::free_ports(1);
my $sections = join '', map { "<Location /$_/rpcproxy.dll>\nSetHandler rpcproxy\n$site{$_}\n</Location>\n" } sort keys %site;
my $httpd = RPCH::Httpd->new(conf => <<"CONF");
Listen 127.0.0.1:$plain
@{[ RPCH::Httpd->tls_lines ]}
<VirtualHost 127.0.0.1:$plain>
SSLEngine off
</VirtualHost>
$sections
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
$site{desktop}
</Location>
CONF
# No name server is asked for names that are not there
my $world = RPCH::Preload->new // plan(skip_all => 'no compiler');
$world->name($_, 'none') for qw(example.com mail.invalid);
$world->start($httpd);

# rpcping to the site NAME as alice: its exit status and what it says.
sub ping {
    my ($name, @more) = @_;
    my @url = grep { m{://} } @more;
    my @target = grep { /^[\w.]+:\d+$/ } @more;
    my @options = grep { !m{://|^[\w.]+:\d+$} } @more;
    push @options, '-u', 'alice:secret' if !grep { $_ eq '-u' } @options;
    push @options, '--cacert', "$conf/server.crt" if !grep { $_ eq 'untrusted' } @options;
    my $command = join ' ', "$build/rpcping -t 20 --path=/$name/rpcproxy.dll", (grep { $_ ne 'untrusted' } @options), $url[0] // "https://localhost:$httpd->{port}", $target[0] // 'exch1:6001';
    my $said = $world->within(sub { scalar qx($command 2>&1) });
    return ($? >> 8, $said);
}
sub cured { my ($name, @more) = @_; my ($status, $said) = ping($name, @more); return is($status, 0, 'the cure works') || diag $said }

# From the USER's words to a section of the page; from what was SAID to a row; in the row the CURE.
sub leads {
    my ($ticket, $user, $heading, $row, $said, $cure) = @_;
    my ($way) = grep { $_->[0] =~ $user } map { [split / \| /] } $page =~ /^\| (.*) \|$/mg;
    my $anchor = lc $heading =~ s/[^\w -]//gr =~ s/ /-/gr;
    ok($way && $way->[1] =~ /\(#\Q$anchor\E\)/, "$ticket: the user's words lead to \"$heading\"");
    my ($found) = grep { "@$_[0, 1]" =~ $row } rows($page, $heading);
    return fail("$ticket: no row $row") if !$found;
    # what the row quotes was really said
    my @quoted = map { /"([^"]+)"/g } @$found[0, 1];
    my @ids = "@$found[0, 1]" =~ /\b(RPC\d{4}|AH\d{5})\b/g;
    my @tokens = grep { defined } "@$found[0, 1]" =~ /\bRPC000[1235] ([a-z-]+)|reason=([a-z-]+)|\b(6[abc][0-9a-f])\b/g;
    ok((grep { index($said, $_) >= 0 } @tokens ? @tokens : (@quoted, @ids)), "$ticket: the row has what was said") or diag "@$found\n$said";
    return like($found->[-1], $cure, "$ticket: and the cure");
}
sub line {
    my ($re) = @_;
    return ($httpd->log =~ /^(.*?$re.*)$/m)[0] if $httpd->logs($re);
    diag "no line $re in\n", grep { !/:debug\]/ } split /^/m, $httpd->log;
    return '';
}

my ($AGAIN, $TRYING) = ('Outlook asks for the password again and again', 'Outlook says "trying to connect"');

# 1 "Since I am in another department Outlook asks for my password, and never takes it."
{
    my ($status, $said) = ping('group');
    is($status, 4, 'ticket 1: rpcping stops at authentication');
    leads('ticket 1, Require', qr/asks for the password again/, $AGAIN, qr/RPC0001 not-authorized/, line(qr/RPC0001: RPC_IN_DATA refused: not-authorized: .*user "alice"/), qr/Require/);
    cured('good');
}
# 2 "It asks for the password since I have changed it."
{
    ping('good', '-u', 'alice:old');
    leads('ticket 2, a saved password', qr/asks for the password again/, $AGAIN, qr/AH01617/, line(qr/AH01617: user alice: authentication failure .*Password Mismatch/), qr/saved password/);
}
# 3 "Outlook says: trying to connect."
{
    my ($status) = ping('form');
    is($status, 6, 'ticket 3: rpcping stops at the virtual connection');
    leads('ticket 3, another form of the name', qr/trying to connect/, $TRYING, qr/target-refused/, line(qr/RPC0001: RPC_IN_DATA refused: target-refused: exch1:6001 is not in RpcValidPorts, nearest is exch1\.example\.com/), qr/RpcValidPorts/);
}
# 4 "Nobody gets mail since the night."
{
    ping('down');
    leads('ticket 4, a server that is down', qr/trying to connect/, $TRYING, qr/connect-failed/, line(qr/RPC0002: .* to exch1:6001 of user "alice" ended: connect-failed/), qr/start it/);
}
# 5 "The program says 1722."
{
    my (undef, $said) = ping('tcp');
    like($said, qr/6ba|6c0/, 'ticket 5: a number');
    leads('ticket 5, a server of ncacn_ip_tcp', qr/trying to connect/, $TRYING, qr/server-refused, or protocol-error/, line(qr/RPC0002: .* to exch1:6001 of user "alice" ended: (?:server-refused|protocol-error)/), qr/ncacn_ip_tcp/);
    cured('good');
}
# 6 "Mail works, but I cannot look up names."
{
    my ($status, $said) = ping('book', '-I', 'nspi', 'exch1:6004');
    is($status, 7, 'ticket 6: rpcping stops at the bind');
    leads('ticket 6, the address book', qr/address book/, 'Only a part works', qr/RPC0005/, line(qr/RPC0005: channel to exch1:6004 of user "alice": bind to nspi .* refused: interface-refused/), qr/RpcNspiProtocolSequences/);
    my (undef, $after) = ping('book2', '-I', 'nspi', 'exch1:6004');
    like($after, qr/the server does not offer it/, 'with the cure the server is asked, which has no address book in this test');
}
# 7 "It says 1723, server too busy, but only for me."
{
    my $c = RPCH::Client->new(port => $httpd->{port}, tls => RPCH::Test::tls(), user => 'alice', password => 'secret', path => '/busy/rpcproxy.dll', target => 'exch1:6001')->connect;
    my (undef, $said) = ping('busy');
    like($said, qr/6bb/, 'ticket 7: 6bb');
    leads('ticket 7, a limit', qr/1722, 1723/, 'Numbers', qr/1723.*6bb/, $said, qr/too-many/);
    leads('ticket 7, which one', qr/for another user/, 'Only some users', qr/RPC0001 too-many-of-user/, line(qr/RPC000[12]: .*too-many-of-user/), qr/RpcMaxChannelsPerUser/);
    $c->close;
}
# 8 "My session ends, always after the same time."
{
    my $c = RPCH::Client->new(port => $httpd->{port}, tls => RPCH::Test::tls(), user => 'alice', password => 'secret', path => '/session/rpcproxy.dll', target => 'exch1:6001');
    eval { $c->connect };       # which may be over already, on a busy machine
    leads('ticket 8, RpcMaxSessionTime', qr/works for a while/, 'Sessions that end', qr/session-over/, line(qr/RPC0003: .*reason=session-over/), qr/what it is for/);
    $c->close;
}
# 9 "From home Outlook shows a warning of a certificate, and does not connect."
for my $case (['untrusted', qr/SSL certificate problem/, qr/--cacert/, 3, "https://localhost:$httpd->{port}"],
              ['the wrong scheme', qr/this scheme is not offered/, qr/the scheme/, 4, '-a', 'ntlm'],
              ['plain HTTP', qr/the user is not allowed, the proxy demands TLS/, qr/tls-required/, 4, "http://localhost:$plain"],
              ['the wrong port', qr/is this an https port\?/, qr/https/, 5, "http://localhost:$httpd->{port}"]) {
    my ($name, $says, $cure, $layer, @how) = @$case;
    my ($status, $said) = ping('good', $name eq 'untrusted' ? 'untrusted' : (), @how);
    is($status, $layer, "ticket 9, $name: rpcping stops at layer $layer") or diag $said;
    my ($row) = grep { my ($quoted) = $_->[1] =~ /"([^"]+)"/; defined $quoted && $quoted =~ $says } rows($page, 'What rpcping says');
    ok($row && (grep { index($said, $_) >= 0 } $row->[1] =~ /"([^"]+)"/g), "ticket 9, $name: the row has its words") or diag $said;
    like("@{$row // []}", qr/^$layer .*$cure/, "ticket 9, $name: the layer, and the cure");
}
{
    my ($status, $said) = ping('nowhere');
    is($status, 5, 'ticket 9, another path: rpcping stops at the echo');
    my ($row) = grep { $_->[1] =~ /no RPC proxy/ && index($said, ($_->[1] =~ /"([^"]+)"/)[0]) >= 0 } rows($page, 'What rpcping says');
    like("@{$row // []}", qr/SetHandler|ServerName/, 'ticket 9, another path: the cure') or diag $said;
}
# 10 "The Remote Desktop client ends at once."
SKIP: {
    skip 'no FreeRDP', 3 if missing(RPCH::FreeRDP::CLIENT);
    my $freerdp = RPCH::FreeRDP->start($httpd->{port}, undef, undef, 'rpc');
    ok($freerdp->logs(qr/tsg_check failure/), 'ticket 10: it has failed') or diag $freerdp->log;
    leads('ticket 10, localhost', qr/Remote Desktop/, "FreeRDP's words", qr/RPC0001 target-refused/, $freerdp->log . line(qr/target-refused: localhost:3388/), qr/localhost:3388/);
    like($freerdp->log, qr/error! Status Code: 503|http_response_recv: Retries exceeded/, 'ticket 10: in the words that the page has');
}
# 11 "My script says: Basic authentication failed."
SKIP: {
    skip 'no impacket', 4 if missing('python3-impacket');
    my $call = sub { return scalar qx(LD_PRELOAD= timeout 60 /usr/bin/python3 t/partners/imp_call.py https://127.0.0.1:$httpd->{port}/good/rpcproxy.dll alice secret u p $_[0] exch1 mgmt:6001:0 2>&1) };
    my $said = $call->('OTHER');
    leads('ticket 11, the form of a name', qr/impacket script/, 'Words of Samba and impacket', qr/Basic authentication failed/, $said, qr/DOMAIN\\user/);
    line(qr/AH01618: user OTHER\\\\alice not found/);
    like($call->('RPCSRV'), qr/^mgmt 0: [1-9]\d* interfaces$/m, 'ticket 11: in the form that the file has it works');
}
# 12 "httpd does not start since I have added a line."
{
    my $h = RPCH::Httpd->new(conf => "RpcMaxChannels many\n");
    my ($status, $said) = $h->configtest;
    isnt($status, 0, 'ticket 12: configtest refuses it');
    my ($row) = grep { $_->[0] =~ /RPC0078/ } rows($page, 'httpd does not start');
    ok($row && $said =~ /RPC0078: .*expected/s, 'ticket 12: in the words that the page has') or diag $said;
    ($status, $said) = RPCH::Httpd->new(conf => "<Location /x>\nSetHandler rpcproxy\n</Location>\n")->configtest;
    like($said, qr/RPC0091/, 'and a warning that it has');
}
my ($OTHERS, $PART) = ('Only some users', 'Only a part works');

# 13 "In our branch office nobody gets in since this morning. At home it works."
{
    ping('office', '-u', "$_:old") for qw(carl dora erik);
    leads('ticket 13, an office', qr/works here, and not from another place/, $OTHERS, qr/RPC0114/, line(qr/RPC0114: AuthNtlmFailures: blocked try .* failures of the address/), qr/old password saved, RPC0115/);
    line(qr/RPC0115: AuthNtlmFailures: failed try from 127\.0\.0\.1, user "carl"/);
}
# 14 "Mail works, but I cannot open my colleague's calendar."
{
    ping('good', 'exch2:6001');
    leads('ticket 14, another mailbox', qr/another mailbox/, $PART, qr/a colleague's calendar/, line(qr/RPC0001: .* target-refused: exch2:6001 is not in RpcValidPorts/), qr/that server in RpcValidPorts/);
}
# 15 "My tool for accounts works in the office only."
{
    my ($status) = ping('book', '-I', 'samr');
    is($status, 7, 'ticket 15: rpcping stops at the bind');
    my $line = line(qr/RPC0005: channel to exch1:6001 of user "alice": bind to samr .* refused: interface-refused/);
    leads('ticket 15, a tool', qr/works here, and not from another place/, $OTHERS, qr/one tool/, $line, qr/#only-a-part-works/);
    leads('ticket 15, its interface', qr/or a tool/, $PART, qr/works in the office/, $line, qr/RpcAllowInterfaces/);
}
# 16 "Outlook says: trying to connect, since the mail server has been moved."
{
    ping('moved');
    leads('ticket 16, another network', qr/trying to connect/, $TRYING, qr/address-refused/, line(qr/RPC0002: .* to exch1:6001 of user "alice" ended: address-refused/), qr/RpcTargetNetworks/);
}
# 17 "I have a mailbox on the new server, and Outlook does not connect."
{
    ping('unnamed', 'new.example.com:6001');
    leads('ticket 17, a name', qr/trying to connect/, $TRYING, qr/resolve-failed/, line(qr/RPC0002: .* to new\.example\.com:6001 of user "alice" ended: resolve-failed/), qr/hosts/);
}
# 18 "The program shows: 5, access is denied."
{
    ping('level');
    line(qr/RPC0005: channel to exch1:6001 of user "alice": .* refused: level-refused/);
    my ($row) = grep { $_->[0] =~ /^5, access is denied/ } rows($page, 'Numbers');
    like("@{$row // []}", qr/level-refused/, 'ticket 18, a number: the row has the reason');
    like($page =~ s/\s+/ /gr, qr/\[Reasons\]\(reasons\.md\) has each reason, with what to do/, 'ticket 18: from where a link leads');
    my ($reason) = slurp('doc/reasons.md') =~ /^\| level-refused \| (.*) \|$/m;
    like($reason, qr/RpcMinAuthLevel/, 'ticket 18: to the cure');
}
# 19 "From the hotel nothing goes."
for my $case (['a name that is not there', 2, 'https://mail.invalid'], ['nobody listens', 2, "https://localhost:$down"],
              ['a certificate for another name', 3, "https://mail.localhost:$httpd->{port}"]) {
    my ($name, $layer, $url) = @$case;
    my ($status, $said) = ping('good', $url);
    is($status, $layer, "ticket 19, $name: rpcping stops at layer $layer") or diag $said;
    my ($row) = grep { $_->[0] =~ /^$layer / && grep { index($said, $_) >= 0 } $_->[1] =~ /"([^"]+)"/g } rows($page, 'What rpcping says');
    ok($row, "ticket 19, $name: a row has its words") or diag $said;
}
# 20 "After I have tried some servers nothing is let through any more."
{
    ping('vain', '-u', 'bob:hidden', 'exch7:6001');
    leads('ticket 20, RpcMaxFailedTargets', qr/for another user/, $OTHERS, qr/RPC0004/, line(qr/RPC0004: user "bob" at 127\.0\.0\.1 has asked for 1 targets in vain/), qr/the lines before/);
}
# 21 "httpd does not start" for three reasons.
{
    my $modules = slurp("$conf/modules.conf");
    my $configtest = sub {
        my ($loaded, $lines) = @_;
        put("$root/tickets.conf", "Include $conf/mpm-@{[ vars('mpm') ]}.conf\n${loaded}ServerName localhost\nServerRoot $root\nListen 127.0.0.1:@{[ RPCH::Root::free_ports(1) ]}\n$lines\n");
        return scalar qx(@{[ vars('httpd') ]} -t -f $root/tickets.conf 2>&1);
    };
    my $taken = RPCH::Root::free_ports(1);
    my $listener = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $taken, Listen => 1) or die "port $taken: $@\n";
    for my $case (['the module is not enabled', $modules =~ s/^LoadModule (?:rpcproxy|auth_ntlm)_module.*\n//mgr, 'RpcValidPorts exch1:6001', qr/a2enmod rpcproxy/],
                  ['nor mod_proxy', $modules, "<Location /x>\nSetHandler rpcproxy\nRpcValidPorts exch1:6001\nRpcBackend exch1 https://cas.example.com\n</Location>", qr/a2enmod proxy/],
                  ['a port that is taken', $modules, "RpcEndpointListen 127.0.0.1:$taken ncacn_ip_tcp:127.0.0.1[$demo->{port}]", qr/another program/]) {
        my ($name, $loaded, $lines, $cure) = @$case;
        my $said = $configtest->($loaded, $lines);
        my ($row) = grep { my $row = $_; $row->[-1] =~ $cure && grep { index($said, $_) >= 0 } $row->[0] =~ /"([^"]+)"/g, $row->[0] =~ /\b(RPC\d+)/g } rows($page, 'httpd does not start');
        ok($row, "ticket 21, $name: the row has what was said, and the cure") or diag $said;
    }
    close $listener;
}
# 22 "Last night we were all thrown out at once."
{
    my $c = RPCH::Client->new(port => $httpd->{port}, tls => RPCH::Test::tls(), user => 'alice', password => 'secret', path => '/busy2/rpcproxy.dll', target => 'exch1:6001')->connect;
    $httpd->signal('TERM');
    leads('ticket 22, a stop', qr/works for a while/, 'Sessions that end', qr/reason=shutdown/, line(qr/RPC0003: .*reason=shutdown/), qr/upgrading\.md/);
    $c->close;
}
$server->close;
done_testing;
