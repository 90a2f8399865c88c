# Each limit counts one user under all spellings of the name, and never counts two users as one: the
# channels of a user, failed targets, wrong passwords. The same holds for addresses of clients.
# base/who.h and t/unit/who_test.c have the spellings.

use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha1_base64);
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test;

# The provider accepts each of these names, as an LDAP directory would. The last three are other users
# than alice, unless domains do not count.
my @ALICE = ('alice', 'ALICE', 'alice  ', "\xef\xbd\x81lice", "al\xc2\xadice", "alice\xe2\x80\x8b");
my @ELSEWHERE = ('CORP\\alice', 'alice@a.test', 'alice@b.test');
my $server = server(echo => 1);
my $gone = RPCH::Root::free_ports(1);
my $libexec = modules();

my $serial = 0;
sub location {
    my ($path, @conf) = @_;
    return "<Location /$path>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile users\nRequire valid-user\n"
         . join('', map { "$_\n" } 'RpcRequireTLS off', 'RpcValidPorts 127.0.0.1:1-65535',
                'AuthNtlmFailures 1000 ' . (3600 + ++$serial), @conf) . "</Location>\n";
}

my $httpd = RPCH::Httpd->new;
open my $users, '>', "$httpd->{dir}/users" or die "users: $!\n";
print $users map { "$_:{SHA}" . sha1_base64('secret') . "=\n" } @ALICE, @ELSEWHERE, 'bob';
close $users;
my $anonymous = "SetHandler rpcproxy\nRpcAllowAnonymous on\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1-65535\n";
$httpd->configure("LoadModule remoteip_module $libexec/mod_remoteip.so\nRemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.99\n"
    . location('channels', 'RpcMaxChannelsPerUser 2')
    . location('omit', 'RpcMaxChannelsPerUser 2', 'AuthNtlmOmitDomain On')
    . location('targets', 'RpcMaxFailedTargets 1 3600')
    . location('omit-targets', 'RpcMaxFailedTargets 1 3599', 'AuthNtlmOmitDomain On')
    . location('guesses', 'AuthNtlmFailures 1 3611')
    . location('omit-guesses', 'AuthNtlmFailures 1 3613', 'AuthNtlmOmitDomain On')
    . "<Location /address>\n${anonymous}RpcMaxChannelsPerAddress 2\n</Location>\n"
    . "<Location /address-targets>\n${anonymous}RpcMaxFailedTargets 1 3598\n</Location>\n")->start;

sub client_of {
    my ($path, $user, %arg) = @_;
    return plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => $server->target,
                 user => $user, password => 'secret', %arg);
}

# The answer to an OUT channel: "200", "401" or the RPC error.
sub answer {
    my ($c) = @_;
    $c->open_out;
    $c->send_a1;
    wait_for('an answer', sub { turn(0.01); $c->out->head });
    my $status = $c->out->head->{status};
    return $status == 503 ? 'RPC error ' . (($c->out->head->{reason} // '') =~ /RPC Error: (\w+)/ ? $1 : '?') : $status;
}

sub asks {
    my $c = client_of(@_);
    my $answer = answer($c);
    $c->out->close;
    return $answer;
}

# Asks for a target that fails. The failure is counted a moment after the answer.
sub spends {
    my ($path, $user, $address, %arg) = @_;
    my $name = join '\\\\+', map { quotemeta } split /\\/, $user // '';      # logs escape a backslash twice
    my $lines = sub { scalar(() = $httpd->log =~ /user "$name" at \Q$address\E has asked for 1 targets in vain/g) };
    my $before = $lines->();
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(asks($path, $user, target => "127.0.0.1:$gone", %arg), 'RPC error 6ba', "RpcMaxFailedTargets, $path: " . ($user // $address) . ' asks in vain');
    return wait_for('the budget to be spent', sub { turn(0.01); $lines->() > $before });
}

# The client is behind a proxy that tells its address.
sub as { my ($address) = @_; return (from => '127.0.0.99', headers => ["X-Client: $address"]) }

# ---- channels of a user ----
for (['channels', 'alice', \@ALICE, ['bob', @ELSEWHERE]], ['omit', 'CORP\\alice', [@ALICE, @ELSEWHERE], ['bob']]) {
    my ($path, $who, $same, $others) = @$_;
    my $c = client_of($path, $who)->connect;
    for my $name (@$same) {
        my $again = client_of($path, $name);
        is(answer($again), 'RPC error 6bb', qq{RpcMaxChannelsPerUser, $path: "$name" has its channel already});
        $again->out->close;
    }
    $c->close;
    ok($httpd->logs(qr/:warn\].*RPC_OUT_DATA channel to \S+ of user "ALICE" ended: too-many-of-user/), 'logged as it was sent');
    for my $name (@$others) {
        my $other = client_of($path, $name);
        is(answer($other), 200, qq{RpcMaxChannelsPerUser, $path: "$name" is another});
        $other->out->close;
    }
}

# ---- failed targets ----
for (['targets', 'alice', \@ALICE, ['bob', @ELSEWHERE]], ['omit-targets', 'CORP\\alice', [@ALICE, @ELSEWHERE], ['bob']]) {
    my ($path, $who, $same, $others) = @$_;
    spends($path, $who, '127.0.0.1');
    is(asks($path, $_), 'RPC error 6ba', qq{nothing is left for "$_"}) for @$same;
    is(asks($path, $_), 200, qq{"$_" is another}) for @$others;
}

# ---- wrong passwords ----
for (['guesses', 'alice', \@ALICE, ['bob', @ELSEWHERE]], ['omit-guesses', 'CORP\\alice', [@ALICE, @ELSEWHERE], ['bob']]) {
    my ($path, $who, $same, $others) = @$_;
    is(asks($path, $who, password => 'guess', from => '127.0.3.1'), 401, qq{AuthNtlmFailures, $path: a wrong password for "$who"});
    is(asks($path, $_, from => '127.0.3.2'), 401, qq{"$_" is blocked}) for @$same;
    is(asks($path, $_, from => '127.0.3.2'), 200, qq{"$_" is another}) for @$others;
}

# ---- addresses: IPv4 in all its forms, and IPv6 by networks of 64 bits ----
for (['192.0.2.1', ['::ffff:192.0.2.1', '64:ff9b::192.0.2.1', '2002:c000:201::5'], ['192.0.2.2', '64:ff9b::192.0.2.5', '2001:db8::1']],
     ['2001:db8:0:1::1', ['2001:db8:0:1:ffff::'], ['2001:db8:0:2::1', '192.0.2.3']]) {
    my ($first, $same, $others) = @$_;
    my $c = client_of('address', undef, as($first));
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1->opened;
    is(asks('address', undef, as($_)), 'RPC error 6bb', "RpcMaxChannelsPerAddress: $_ is $first") for @$same;
    is(asks('address', undef, as($_)), 200, "$_ is another") for @$others;
    $c->close;
    spends('address-targets', undef, $first, as($first));
    is(asks('address-targets', undef, as($_)), 'RPC error 6ba', "nothing is left for $_") for @$same;
    is(asks('address-targets', undef, as($_)), 200, "$_ is another") for @$others;
}

done_testing;
