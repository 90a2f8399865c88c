# Two Sambas on two addresses behind one name, through the endpoint: one stops while calls are
# under way, and comes back.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(needs);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_pdu request_pdu rpc_parse BIND_ACK RESPONSE);
use RPCH::Samba;
use RPCH::Test;

use constant { CLIENTS => 6, AVOIDED => 70, INQ_IF_IDS => 0 };

needs(qw(python3-samba samba-common-bin));
my $first = RPCH::Samba->start;
my $second = RPCH::Samba->start(address => $first->{address} =~ s/\d+$/2/r);

my $users = vars('serverroot') . '/conf/users';
my $httpd = RPCH::Httpd->new(conf => "<Location /rpc/rpcproxy.dll>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\n"
    . "AuthUserFile $users\nRequire valid-user\nRpcRequireTLS off\nRpcValidPorts files:1024\nRpcBackend files "
    . "ncacn_ip_tcp:$first->{address}\[$first->{ports}{samr}] ncacn_ip_tcp:$second->{address}\[$second->{ports}{samr}]\n</Location>\n")->start;

sub client_of { return plain(port => $httpd->{port}, target => 'files:1024') }

# TCP connections to a Samba, as the system counts them (its bind_ack names no address).
sub connections_to {
    my ($samba) = @_;
    my $remote = sprintf '%08X:%04X', unpack('V', pack 'C4', split /\./, $samba->{address}), $samba->{ports}{samr};
    open my $fh, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!\n";
    return scalar grep { (split)[2] eq $remote && (split)[3] eq '01' } <$fh>;
}

# Binds to the management interface. Returns which Samba has a new connection afterwards.
sub binds {
    my ($c) = @_;
    my @before = map { connections_to($_) } $first, $second;
    my $ack = eval { $c->connect; rpc_parse($c->call(bind_pdu(call => 1))) };
    return "no bind_ack: $@" if !$ack || $ack->{ptype} != BIND_ACK;
    my @now = map { connections_to($_) } $first, $second;
    return join ' and ', grep { $now[$_ - 1] > $before[$_ - 1] } 1, 2;
}
my $call = 1;
sub ask { my ($c) = @_; $c->send(request_pdu(INQ_IF_IDS, '', call => $c->{asked} = ++$call)); return }
sub answered {
    my ($c) = @_;
    my $answer = eval { rpc_parse($c->recv // die "closed\n") };
    return $answer && $answer->{ptype} == RESPONSE && $answer->{call} == $c->{asked} && length $answer->{stub} > 20;
}

my @clients = map { client_of() } 1 .. CLIENTS;
is_deeply([map { binds($_) } @clients], [(1) x CLIENTS], 'the first serves all');
ask($_) for @clients;
is(scalar(grep { answered($_) } @clients), CLIENTS, 'and answers');

ask($_) for @clients;
$first->stop;
is(scalar(grep { answered($_) || eval { $_->out->wait_eof; 1 } } @clients), CLIENTS, 'it goes: calls are answered, or their connections end');
$_->close for @clients;
@clients = map { client_of() } 1 .. CLIENTS;
is_deeply([map { binds($_) } @clients], [(2) x CLIENTS], 'who comes again is served by the second, the first time');
ask($_) for @clients;
is(scalar(grep { answered($_) } @clients), CLIENTS, 'which answers');
my $where = "$first->{address} port $first->{ports}{samr}";
ok($httpd->logs(qr/\Q$where\E: the server cannot be reached: Connection refused; the next server is tried/), 'the log tells');

my $again = RPCH::Samba->start(low => $first->{low});
SKIP: {
    skip 'Samba has taken other ports', 2 if $again->{ports}{samr} != $first->{ports}{samr};
    my $c;
    wait_for('the first to serve again', sub { $c = client_of(); my $is = binds($c); $is eq '1' || do { $c->close; turn(0.2); 0 } }, AVOIDED);
    ask($_) for $c, @clients;
    ok(answered($c), 'it comes back, and is the first again');
    is(scalar(grep { answered($_) } @clients), CLIENTS, 'who went to the second stays there');
    $c->close;
}
my $says = $again->python('s4_call.py', "$again->{dir}/client.conf", '127.0.0.1:' . vars('tlsport'), RPCH::Samba::user(), RPCH::Samba::PASSWORD,
                          RPCH::Samba::DOMAIN, $again->{address}, "mgmt:$again->{ports}{samr}:");
like($says, qr/^mgmt : [1-9]\d* interfaces$/m, "Samba's own client agrees that it is there");
$_->close for @clients;

done_testing;
