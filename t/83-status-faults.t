# Faults of a running site: each is found on the status page alone, in its list of failures or its tables, and in
# one line of the error log alone: who, from where, to what, and why.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::Poll qw(turn wait_for);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu);
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $native = server(host => '127.0.0.2', echo => 1);
my $silent = tcp_server(host => '127.0.0.4', quiet => 1);
my $gone = RPCH::Root::free_ports(1);
my ($users, $groups) = (vars('serverroot') . '/conf/users', vars('serverroot') . "/conf/groups-faults-$$");
put($groups, "mail: alice\n");
END { unlink $groups if $groups }
# No name server is asked for the dead name
my $world = RPCH::Preload->new // plan(skip_all => 'no compiler');
$world->name('nowhere.contoso.test', 'none');
my $lib = modules();
my $httpd = RPCH::Httpd->new(conf => "LoadModule authz_groupfile_module $lib/mod_authz_groupfile.so\nRpcHealthCheck connect interval=1\n" . status_conf()
    . join('', map { <<"CONF" } ['rpc', 'valid-user'], ['group', 'group mail'], ['full', "valid-user\nRpcMaxChannelsPerUser 2"], ['slow', "valid-user\nRpcSetupTimeout 5"]));
<Location /$_->[0]/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
AuthGroupFile $groups
Require $_->[1]
RpcRequireTLS off
RpcValidPorts "*.contoso.test:6001"
RpcBackend native.contoso.test ncacn_http:127.0.0.2[$native->{port}]
RpcBackend silent.contoso.test ncacn_http:127.0.0.4[$silent->{port}]
RpcBackend down.contoso.test ncacn_http:127.0.0.3[$gone]
RpcAllowInterfaces 6001 epm
</Location>
CONF
$world->start($httpd);
my $status = RPCH::Status->new(port => $httpd->{port});
my %BOB = (user => 'bob', password => 'hidden');
my $from = 100;
sub to { my ($name, $path, %more) = @_; return plain(port => $httpd->{port}, target => "$name.contoso.test:6001", path => "/$path/rpcproxy.dll", from => "127.0.0.$from", %more) }

# What a page for people has in the cells of the row that CHECK likes, by the names of the columns.
sub rows {
    my ($section) = $status->html =~ /<h2 id="$_[0]">(.*?)<\/section>/s;
    return map {
        my $row = $_;
        +{ map { my ($name, $cell) = /data-label="([^"]+)">(.*?)<\/t[dh]>/s; ($name // '') => ($cell // '') =~ s/<[^>]*>//gr }
           split /(?=<t[dh] )/, $row }
    } split /<tr role="row">/, $section // '';
}
sub found {
    my ($section, $check) = @_;
    my $found;
    eval { wait_for("a row of $section", sub { turn(0.05); ($found) = grep { $check->($_) } rows($section); $found }) };
    return $found;
}

my @open;
my $half = sub { my $c = to('native', 'slow'); push @open, $c; $c->open_in->put($c->b1) };
my @cases = (
    # what; how; user, target (without .contoso.test:6001), reason, and what says why; how the line of the log begins
    ['a server that is down', sub { to('down', 'rpc')->out_status }, 'alice', 'down', 'connect-failed', qr/127\.0\.0\.3 port $gone: the server cannot be reached: Connection refused/, 'RPC0002'],
    ['a full limit', sub { push @open, to('native', 'full', %BOB)->connect; to('native', 'full', %BOB)->out_status }, 'bob', 'native', 'too-many-of-user', qr/RpcMaxChannelsPerUser/, 'RPC000\d'],
    ['a refused group', sub { to('native', 'group', %BOB)->out_status }, 'bob', 'native', 'not-authorized', qr/Require/, 'RPC0001'],
    ['a wrong password', sub { to('native', 'rpc', %BOB, password => 'wrong')->out_status }, 'bob', 'native', 'not-authenticated', qr/password|authenticat/i, 'RPC0001'],
    ['a dead name', sub { to('nowhere', 'rpc')->out_status }, 'alice', 'nowhere', 'resolve-failed', qr/nowhere\.contoso\.test/, 'RPC0002'],
    ['a firewall refusal', sub { my $c = to('native', 'rpc')->connect; push @open, $c; $c->in->put(bind_pdu(call => 3)) }, 'alice', 'native', 'interface-refused', qr/bind to .* refused/, 'RPC0005'],
    ['a half that never came', $half, 'alice', 'native', 'setup-timeout', qr/nothing came for 5 seconds; the OUT half is missing/, 'RPC0002'],
    ['a silent server', sub { my $c = to('silent', 'slow'); push @open, $c; $c->open_in->put($c->b1); $c->open_out->put($c->a1) }, 'alice', 'silent', 'setup-timeout', qr/nothing came for 5 seconds; both halves are here, so the server is silent/, 'RPC0002'],
);
# Some take their time; each has an address of its own
for my $case (@cases) {
    $from++;
    $case->[1]->();
    push @$case, "127.0.0.$from";
}
for my $case (@cases) {
    my ($what, undef, $user, $target, $reason, $why, $id, $address) = @$case;
    my $row = found(failures => sub { ($_[0]{Reason} // '') eq $reason && $_[0]{Address} eq $address });
    is_deeply([@$row{qw(User Address Target)}], [$user, $address, "$target.contoso.test:6001"], "$what: the page says who wanted what");
    like($row->{Why} // '', $why, "$what: and why not");
    ok($httpd->logs(qr/^(?=[^\n]*$id: )(?=[^\n]*\b$reason\b)(?=[^\n]*user "$user")(?=[^\n]*\b\Q$address\E\b)(?=[^\n]*$target\.contoso\.test:6001)[^\n]*$why/m), "$what: so does one line of the log")
        or diag join "\n", grep { /$address/ } split /\n/, $httpd->log;
}
# Of a connection that ends, the half that ends later does not say that the other is missing
{
    my $ends = qr/^[^\n]*RPC0002: (?=[^\n]*\Q$cases[-1][-1]\E\b)[^\n]*/m;
    ok($httpd->logs(qr/$ends.*?$ends/s), 'a silent server: both halves end');
    my @claims = grep { /half is missing/ } $httpd->log =~ /$ends/g;
    is_deeply(\@claims, [], '... and neither is told to miss the other');
}
# What lasts is in the tables, whether a client asks or not
my $server = found(servers => sub { ($_[0]{Server} // '') eq "127.0.0.3[$gone]" && $_[0]{State} eq 'down' });
like($server->{'Last error'} // '', qr/Connection refused/, 'the server is down in the table of servers, and why');
my $limit = found(limits => sub { ($_[0]{Limit} // '') eq 'RpcMaxChannelsPerUser' });
like($limit->{Used}, qr/\d/, 'a limit has what is used');
$_->close for @open;
done_testing;
