# What a configuration with proxies behind this one has to say, and whom it is told to.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::Test;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm));

my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http proxy_balancer slotmem_shm);
my $POLICY = "RpcRequireTLS off\nRpcValidPorts *:6001";
my $VERIFY = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile " . vars('serverroot') . "/conf/server.crt\n";
sub section { my (@lines) = @_; return join "\n", '<Location /rpc/rpcproxy.dll>', @lines, '</Location>', '' }

sub refused {
    my ($re, $name, @lines) = @_;
    my ($status, $out) = RPCH::Httpd->new(conf => join "\n", @lines)->configtest;
    return ok($status && $out =~ $re, $name) || diag "$status $out";
}
sub taken {
    my ($name, @lines) = @_;
    my ($status, $out) = RPCH::Httpd->new(conf => join "\n", @lines)->configtest;
    return ok(!$status, $name) || diag $out;
}
my $https = section('SetHandler rpcproxy', 'RpcBackend * https://cas.example.com');
my $cas = "<Proxy balancer://cas>\nBalancerMember https://cas.example.com\n";
my $to_cas = section('SetHandler rpcproxy', 'RpcBackend * balancer://cas');
refused(qr/RpcBackend: a URL needs mod_proxy and mod_proxy_http: add LoadModule/, 'a URL without mod_proxy', $https);
refused(qr/RpcBackend https:\S+ in line \d+ of \S+: add SSLProxyEngine on/, 'https without SSLProxyEngine', $LOAD, $https);
refused(qr/nobody would verify the certificate there: add SSLProxyVerify require/, 'https without SSLProxyVerify', $LOAD, 'SSLProxyEngine on', $https);
refused(qr/nobody would verify/, 'members of a balancer', $LOAD, "$cas SSLProxyEngine on\n</Proxy>", $to_cas);
refused(qr/nobody would verify/, 'ProxyPass', $LOAD, 'SSLProxyEngine on', section('ProxyPass https://cas.example.com/rpc', $POLICY));
refused(qr/expected the same path as in the first/, 'URLs with different paths', $LOAD, section('RpcBackend * http://a/x http://b/y'));
refused(qr/a balancer:\/\/ stands alone/, 'a balancer and more', $LOAD, section('RpcBackend * balancer://a http://b'));
sub silent {
    my ($name, @lines) = @_;
    my ($status, $out) = RPCH::Httpd->new(conf => join "\n", @lines)->configtest;
    return is("$status $out", "0 Syntax OK\n", $name);
}
silent('a section for RD Gateway needs no RpcValidPorts', $LOAD, $VERIFY, $https =~ s{/rpc/rpcproxy.dll}{/remoteDesktopGateway/}r);
taken('SSLProxyVerify none is an answer', $LOAD, 'SSLProxyEngine on', 'SSLProxyVerify none', $https);
taken('SSLProxyVerify in the section of the balancer', $LOAD, "$cas SSLProxyEngine on\n$VERIFY\n</Proxy>", $to_cas);
taken('no TLS, nothing to verify', $LOAD, section('RpcBackend * http://cas.example.com'));
taken('a ProxyPass that is not ours', $LOAD, 'SSLProxyEngine on', "<Location /owa>\nProxyPass https://cas.example.com/owa\n</Location>");

done_testing;
