# What rpcping says about each cause of a failure. rpcdemo is the server behind the endpoint.

use strict;
use warnings;
use Test::More;
use File::Spec;
use RPCH::Demo;
use RPCH::Test;

my $build = File::Spec->rel2abs('build');
my $cert = vars('serverroot') . '/conf/server.crt';
my $url = 'https://localhost:' . vars('tlsport');

# The exit status and the output of one run of rpcping.
sub ping {
    my (@args) = @_;
    my $text = qx($build/rpcping --cacert $cert @args 2>&1);
    return ($? >> 8, $text);
}
sub says {
    my ($args, $status, $re, $name) = @_;
    my ($got, $text) = ping(@$args);
    is($got, $status, "$name: exit status") or diag $text;
    like($text, $re, "$name: in words");
    unlike($text, qr/EEInfo/, "$name: no base64 for people");
    return;
}

my $demo = RPCH::Demo->new;
my $port = $demo->{port};
my $free = refused_port();

my @alice = qw(-u alice:secret);
says([@alice, $url, "tcp.contoso.test:$port"], 0, qr/mgmt/, 'all works');
says([@alice, $url, "127.0.0.1:$free"], 6, qr/6ba.*unavailable.*tried to connect to the server and could not/i, 'nobody listens');
{
    my ($got, $text) = ping(@alice, '--path=/narrow/rpcproxy.dll', $url, 'exch9:6001');
    is($got, 6, 'a target that is not allowed: exit status') or diag $text;
    like($text, qr/6ba.*unavailable/i, 'in words');
    unlike($text, qr/tried to connect/, 'nobody tried to connect to it');
}
says([@alice, $url, 'exch9'], 1, qr/port/, 'no port');
says(['-u', 'alice:wrong', $url, "127.0.0.1:$free"], 4, qr/password is wrong/, 'a wrong password');

done_testing;
