# The order of checks: TLS before a password, and Require again whenever the query has changed.

use strict;
use warnings;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::RPC qw(bind_pdu);
use RPCH::Test;

my $modules = needs_modules(qw(rewrite));

my ($allowed, $refused) = (server(echo => 1), server(echo => 1));
my ($good, $bad) = map { $_->target } $allowed, $refused;
my $root = vars('serverroot');
my $site = "$root/order-$$";
mkdir $site;

my $httpd = RPCH::Httpd->new;
my $hashes = "$httpd->{dir}/smbpasswd";
open my $fh, '>', $hashes or die $!;
print $fh smbpasswd_line(alice => 'secret');
close $fh;
chmod 0644, $hashes;

sub section {
    my ($path, $auth, @lines) = @_;
    return join "\n", "<Location $path>", 'SetHandler rpcproxy', $auth, 'RpcValidPorts "127.0.0.1:1024-65535"', @lines, "</Location>\n";
}
my $basic = "AuthType Basic\nAuthName rpc\nAuthUserFile $root/conf/users";
my $ntlm = "AuthType NTLM\nAuthName rpc\nAuthNtlmUserFile $hashes\nAuthNtlmTargets any";
my $valid = 'Require valid-user';
my $target = "<RequireAll>\n$valid\nRequire rpc-target $good\n</RequireAll>";
my $off = 'RpcRequireTLS off';
sub rewrite { my ($to, $flags) = @_; return "RewriteEngine On\nRewriteCond %{QUERY_STRING} $good\nRewriteRule . $to $flags" }

$httpd->configure(join '', <<"CONF",
LoadModule rewrite_module $modules/mod_rewrite.so
<Directory $site>
    Require all granted
</Directory>
DocumentRoot $site
RewriteEngine On
RewriteCond %{QUERY_STRING} $good
RewriteRule ^/server/(.*) /server/\$1?$bad
CONF
    section('/tls/basic', $basic, $valid), section('/tls/ntlm', $ntlm, $valid),
    section('/tls/nobody', 'AuthType None', 'Require all granted', 'RpcAllowAnonymous On'),
    section('/straight', $basic, $target, $off),
    section('/forbidden', $basic, $target, $off, 'AuthzSendForbiddenOnFailure On'),
    section('/within', $basic, $target, $off, rewrite("/within/rpcproxy.dll?$bad", '')),
    section('/chain', $basic, $target, $off, rewrite("/within/rpcproxy.dll?$good", '')),
    section('/back', $basic, $target, $off, 'RewriteEngine On', "RewriteCond %{QUERY_STRING} ^other",
        "RewriteRule . /back/rpcproxy.dll?$good"),
    section('/across', $basic, $valid, $off, rewrite("/straight/rpcproxy.dll?$bad", '')),
    section('/server', $basic, $target, $off),
    section('/expr', $basic, qq{<RequireAll>\n$valid\nRequire expr "reqenv('RPC_TARGET') == '$good'"\n</RequireAll>}, $off, rewrite("/expr/rpcproxy.dll?$bad", '')),
    section('/open', "AuthType None", "Require rpc-target $good", $off, 'RpcAllowAnonymous On', rewrite("/open/rpcproxy.dll?$bad", '')),
    section('/interface', $basic, $off,
        "<RequireAny>\n<RequireAll>\n$valid\nRequire rpc-target $good\n</RequireAll>\n"
        . "<RequireAll>\n$valid\nRequire rpc-target $bad\nRequire rpc-interface mgmt\n</RequireAll>\n</RequireAny>",
        rewrite("/interface/rpcproxy.dll?$bad", '')));
$httpd->start;

sub at {
    my ($method, $uri, %opt) = @_;
    my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => $uri)->request($method, $uri, length => 0, %opt);
    my $head = $http->head;
    $http->close;
    return $head;
}

# ---- TLS before passwords ----
for my $kind (qw(basic ntlm nobody)) {
    for my $method (qw(RPC_IN_DATA RPC_OUT_DATA RPC_CONNECT GET POST)) {
        for my $length ($method =~ /_DATA/ ? (0, 4, 76) : 0) {
            my $before = length $httpd->log;
            my $head = at($method, "/tls/$kind/rpcproxy.dll?exch1:6001", length => $length);
            my $name = "$method of $length bytes to AuthType $kind over plain HTTP";
            is($head->{status}, 403, "$name: 403 at once");
            is($head->{headers}{'www-authenticate'}, undef, 'nobody is asked for a password');
            like(substr($httpd->log, $before), qr/:warn\] .*\Q$method\E refused: tls-required: the client uses plain HTTP, but RpcRequireTLS.* client 127\.0\.0\.1, target/,
                'and the log says why');
        }
    }
}
my @reasons = $httpd->log('access_log') =~ / 403 .* (\S+)$/mg;
is_deeply([grep { $_ ne 'tls-required' } @reasons], [], 'RPC_REASON is tls-required');

# The probe of a load balancer leaves no line at level warn; another method does
for my $method (qw(GET HEAD OPTIONS POST)) {
    my $mark = length $httpd->log;
    is(at($method, '/straight/rpcproxy.dll', user => 'alice', password => 'secret')->{status}, 405, "$method: 405");
    ok($httpd->logs(qr/rpcproxy:@{[ $method eq 'POST' ? 'warn' : 'info' ]}\].* $method refused: method: /), 'and its line');
    unlike(substr($httpd->log, $mark), qr/:warn\]/, 'which is none at warn') if $method ne 'POST';
}

# ---- the query changes ----
sub channel { my ($path, $target) = @_; return plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => $target) }

is(channel('straight', $good)->out_status, 200, 'a target that Require rpc-target names');
is(channel('straight', $bad)->out_status, 401, 'and one that it does not');
is(channel('forbidden', $bad)->out_status, 403, 'AuthzSendForbiddenOnFailure: a user who is known is answered 403');
is(at('RPC_IN_DATA', "/forbidden/rpcproxy.dll?$bad")->{status}, 401, 'and nobody 401');
is(at('RPC_IN_DATA', '/straight/rpcproxy.dll', user => 'alice', password => 'secret')->{status}, 200, 'Require rpc-target grants an echo without a target');
my $before = $refused->connections;
is(channel($_, $good)->out_status, 401, "$_: an allowed query that a RewriteRule makes a refused one") for qw(within chain across server expr);
is(channel('open', $good)->out_status, 403, 'the same where nobody logs in');
is($refused->connections, $before, 'nothing has come there');
is(channel('back', $bad)->out_status, 401, 'refused before a rule is asked');
like($httpd->log, qr/:warn\] .*refused: not-authorized.*target \Q$bad\E/, 'the log has the target that was refused');

# Require rpc-interface that is true for the second query only
my $c = channel('interface', $good)->connect;
$c->send(bind_pdu(interface => 'a4f1db00-ca47-1067-b31f-00dd010662da', version => 0));
ok($httpd->logs(qr/channel to \Q$bad\E of user "alice": bind to emsmdb .* refused: interface-refused/),
    'an interface that is refused behind the second query alone');
$c->close;

unlike($httpd->log, qr/exit signal|:(?:crit|alert|emerg)\]/, 'no child has died');
$_->close for $allowed, $refused;
done_testing;
