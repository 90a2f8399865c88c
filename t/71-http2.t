# In HTTP/2 a connection does not belong to one user. For NTLM and for channels the client is told to use
# HTTP/1.1 (HTTP_1_1_REQUIRED), as IIS does, and it repeats the request. The client is curl.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Needs qw(missing modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Root;
use RPCH::Test;

# The library of a sanitizer is preloaded for httpd only, because curl hangs with it.
sub curl { local $ENV{LD_PRELOAD} = ''; return scalar qx(curl -s -S --max-time 20 @_ 2>&1) }

my $modules = modules();
plan(skip_all => 'prefork has no HTTP/2') if vars('mpm') eq 'prefork';
plan(skip_all => 'no mod_http2, or no curl that knows HTTP/2') if missing('mod_http2.so') || curl('-V') !~ /HTTP2/;

my $root = vars('serverroot');
my $server = server();
my $tls_port = RPCH::Root::free_ports(1);
my $h = RPCH::Httpd->new;
put("$h->{dir}/smbpasswd", smbpasswd_line(alice => 'secret'));
put("$h->{dir}/page", "page\n");

sub ntlm {
    my ($path, $more) = @_;
    return "<Location $path>\nAuthType NTLM\nAuthName here\nAuthNtlmUserFile $h->{dir}/smbpasswd\nAuthNtlmNegotiate On\n"
         . "Require valid-user\n" . ($more // '') . "</Location>\n";
}

my $channels = "SetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1024-65535\n";
$h->configure("LoadModule http2_module $modules/mod_http2.so\nProtocols h2 h2c http/1.1\nLogLevel auth_ntlm:info rpcproxy:info\n"
    . "AliasMatch ^/in/ $h->{dir}/page\n<Directory $h->{dir}>\nRequire all granted\n</Directory>\n"
    . ntlm('/in/ntlm') . ntlm('/in/both', "AuthNtlmBasicProvider file\nAuthUserFile $root/conf/users\n") . ntlm('/rpc/ntlm', $channels)
    . "<Location /rpc/basic>\nAuthType Basic\nAuthName rpc\nAuthUserFile $root/conf/users\nRequire valid-user\n$channels</Location>\n"
    . RPCH::Httpd->tls_host($tls_port))->start;

# The version and the status of the last answer, with TLS or without (--http2-prior-knowledge).
my $tls = "--cacert $root/conf/server.crt --http2 https://localhost:$tls_port";
my $plain = "--http2-prior-knowledge http://127.0.0.1:$h->{port}";
sub last_of { my ($where, $path, @args) = @_; return curl("-o /dev/null -w '%{http_version} %{http_code}' @args $where$path") }

is(last_of($tls, '/in/none'), '2 200', 'HTTP/2 is there');
is(last_of($plain, '/in/none'), '2 200', 'without TLS, too');

# ---- NTLM ----
my $token = encode_base64(RPCH::NTLM->new->negotiate, '');
for (['TLS', $tls], ['plain', $plain]) {
    my ($name, $where) = @$_;
    is(last_of($where, '/in/ntlm'), '1.1 401', "$name: NTLM is offered over HTTP/1.1, whither the client goes by itself");
    is(last_of($where, '/in/ntlm', '--ntlm -u alice:secret'), '1.1 200', "$name: and logs on");
    is(last_of($where, '/in/ntlm', '--ntlm -u alice:wrong'), '1.1 401', "$name: with a wrong password it does not");
    is(last_of($where, '/in/ntlm', "-H 'Authorization: $_ $token'"), '1.1 401', "$name: a message, $_, is carried over")
        for qw(NTLM Negotiate);
}
like(curl("-i -H 'Authorization: NTLM $token' $plain/in/ntlm"), qr/^WWW-Authenticate: NTLM \S{50}/mi, 'and answered by a challenge');
unlike(curl("-i $plain/in/ntlm"), qr{^HTTP/2}m, 'nothing is answered over HTTP/2');
is(last_of($tls, '/in/both', '-u alice:secret --basic'), '2 200', 'Basic may stay');
is(last_of($tls, '/in/both', '-u alice:wrong --basic'), '2 401', 'with a wrong password, too');
like(curl("-i $tls/in/both"), qr{\AHTTP/1\.1 401.*^WWW-Authenticate: NTLM.*^WWW-Authenticate: Basic}sm,
    'who has chosen nothing is offered all over HTTP/1.1');
ok($h->logs(qr/:info\].* NTLM is neither offered nor accepted here: over HTTP\/2 a connection does not belong to one user/), 'the log says why');
{
    my $before = () = $h->log =~ /over HTTP\/2 a connection does not/g;
    my $three = join ' ', map { "-o /dev/null https://localhost:$tls_port/in/both" } 1 .. 3;
    is(curl("--cacert $root/conf/server.crt --http2 -u alice:secret --basic -w '%{http_version} %{num_connects},' $three"), '2 1,2 0,2 0,',
        'three requests on one connection');
    is((() = $h->log =~ /over HTTP\/2 a connection does not/g) - $before, 1, 'have one line');
}

# ---- channels ----
my $target = '127.0.0.1:' . $server->{port};
put("$h->{dir}/in", 'x' x 100);
is(last_of($tls, "/rpc/basic?$target", "-X RPC_IN_DATA -u alice:secret --data-binary \@$h->{dir}/in"), '1 503',
    'a channel comes back over HTTP/1.1, where what this one sends is no PDU: an RPC error');
is(last_of($plain, "/rpc/basic?$target", "-X RPC_OUT_DATA -u alice:secret --data-binary \@$h->{dir}/in"), '1 503', 'without TLS, too');
ok($h->logs(qr/:info\].* RPC_IN_DATA over HTTP\/2: a channel needs HTTP\/1\.1, and the client is told so/), 'the log says why');
is(last_of($tls, "/rpc/basic?$target", '-X RPC_IN_DATA -u alice:secret'), '2 200', 'an echo may stay');
is(last_of($tls, "/rpc/ntlm?$target", '-X RPC_IN_DATA --ntlm -u alice:secret'), '1.1 200', 'with NTLM it comes back, too');

my @bad = grep { /exit signal|:(?:error|crit|alert|emerg)\]/ } $h->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died, and nothing is an error');
$server->close;
done_testing;
