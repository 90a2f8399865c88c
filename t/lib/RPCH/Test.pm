package RPCH::Test;

# What every test file uses: clients and servers at the ports of this run, and tests of what httpd writes
# to its logs.

use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(dirname);
use File::Spec;
use MIME::Base64 qw(decode_base64);
use Test::More ();
use Time::HiRes ();
use RPCH::Client;
use RPCH::PDU qw(describe);
use RPCH::Poll qw(turn wait_for);
use RPCH::Server;
use RPCH::TCPServer;

our @EXPORT = qw(vars build_dir client plain http open_v1 server tcp_server mark logged not_logged accessed same_pdu dies
                 lines_since is_answer is_rpc_error have_ipv6 refused_port);

# Ends a test file that hangs.
$SIG{ALRM} = sub { die "the file took too long\n" };
alarm($ENV{RPCH_ALARM} || 300);
$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { exit 1 } for qw(INT TERM);     # so that servers of the test end with the test

my $vars;
sub vars { $vars ||= saved_vars(); return @_ ? $vars->{ $_[0] } : $vars }

# Apache::Test's configuration of this run.
sub saved_vars {
    my $root = $ENV{RPCH_ROOT} or die "run the tests by t/TEST\n";
    require "$root/conf/apache_test_config.pm";
    return apache_test_config->new->{vars};
}

# The folder of the module that is tested, and of what was built with it.
sub build_dir { return dirname(File::Spec->rel2abs($ENV{RPCPROXY_SO} || 'build/mod_rpcproxy.so', vars('top_dir'))) }

my $tls;
sub tls { return $tls ||= { SSL_ca_file => vars('serverroot') . '/conf/server.crt', SSL_hostname => 'localhost' } }

# A client of the TLS host, or of the plain one.
sub client { return RPCH::Client->new(port => vars('tlsport'), tls => tls(), user => 'alice', password => 'secret', @_) }
sub plain  { return RPCH::Client->new(port => vars('plainport'), user => 'alice', password => 'secret', @_) }

# A bare HTTP connection: http('tls'), http('plain') or http('main').
sub http {
    my ($which, %opt) = @_;
    my %port = (tls => 'tlsport', plain => 'plainport', main => 'port');
    return RPCH::HTTP->dial(port => vars($port{$which}), tls => $which eq 'tls' ? tls() : undef,
                            name => "$which connection", %opt);
}

# A client of version 1 that has opened PATH, and its leg at SERVER, which the test plays.
sub open_v1 {
    my ($port, $server, $path, %opt) = @_;
    @$server{qw(manual new)} = (1, []);
    my $v1 = RPCH::HTTP->dial(port => $port, name => 'v1 client');
    $v1->request('RPC_CONNECT', $path, user => 'alice', password => 'secret', %opt);
    my $leg = $server->leg;
    $leg->put('ncacn_http/1.0');
    $v1->head;
    $server->{manual} = 0;
    $leg->{server} = { manual => 1 };
    return ($v1, $leg);
}

sub server     { return RPCH::Server->new(@_) }
sub tcp_server { return RPCH::TCPServer->new(@_) }

sub have_ipv6 {
    return IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) ? 1 : 0;
}

# A port of 127.0.0.1 at which nobody listens as long as the test runs: a socket that is bound holds it.
my @bound;
sub refused_port {
    push @bound, IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Type => Socket::SOCK_STREAM()) || die "no port: $@\n";
    return $bound[-1]->sockport;
}

# The present end of a log, as a mark for the functions below.
sub mark { my ($log) = @_; return -s log_file($log) || 0 }
sub log_file { my ($log) = @_; return vars('serverroot') . '/logs/' . ($log // 'error_log') }

sub lines_since {
    my ($mark, $log) = @_;
    open my $fh, '<', log_file($log) or return;
    seek $fh, $mark, 0;
    return grep { /\n\z/ } <$fh>;
}

# Tests that a line of the error log behind MARK matches, and waits for that line. Returns the line.
sub logged {
    my ($mark, $re, $name, $log) = @_;
    my $end = Time::HiRes::time() + $RPCH::Poll::TIMEOUT;
    my $line;
    do {
        ($line) = grep { $_ =~ $re } lines_since($mark, $log);
        turn(0.02) if !defined $line;
    } until defined $line || Time::HiRes::time() > $end;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::ok(defined $line, $name)
        or Test::More::diag("no line like $re in\n", lines_since($mark, $log));
    return $line;
}

sub not_logged {
    my ($mark, $re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @found = grep { $_ =~ $re } lines_since($mark);
    return Test::More::ok(!@found, $name) || Test::More::diag(@found);
}

# The same for the access log.
sub accessed { my ($mark, $re, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return logged($mark, $re, $name, 'access_log') }

# Tests that two PDUs are the same byte for byte.
sub same_pdu {
    my ($got, $want, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::ok(1, $name) if defined $got && $got eq $want;
    return Test::More::is(defined $got ? unpack('H*', $got) : undef, unpack('H*', $want), $name)
        || Test::More::diag('got ' . describe($got) . ', wanted ' . describe($want));
}

# Tests the status of an answer.
sub is_answer {
    my ($head, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::is($head ? $head->{status} : 'closed', $status, $name);
}

# Tests an answer with the RPC error CODE byte for byte (2.1.2.1.3): the status line, EEInfo in both
# places, the end. LOCATION: the detection location in the record.
sub is_rpc_error {
    my ($ch, $code, $name, $location) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $head = $ch->head or return Test::More::fail("$name: closed without an answer");
    my ($reason, $eeinfo) = split /, EEInfo: /, $head->{line};
    Test::More::is($reason, "HTTP/1.0 503 RPC Error: $code", $name);
    Test::More::is($ch->body, "RPC EEInfo:$eeinfo\r\n", "$name: the body repeats it");
    Test::More::cmp_ok(length $head->{reason}, '<=', 1024, "$name: within 1,024 bytes");
    my $record = decode_base64($eeinfo);
    my $time = unpack 'Q<', substr $record, 40, 8, "\0" x 8;
    Test::More::cmp_ok(abs($time / 10_000_000 - 11_644_473_600 - time), '<', 60, "$name: of now");
    # Type serialization 1, a pointer, no parameters, no next record, no computer name
    my $want = pack 'H16 V2 V3 v2 V2 Q< V2 v4', '01100800cccccccc', 48, 0, 0x20000, 0, 0, 2, 2, 0, 0,
                    0, 0x0e, hex $code, $location // 0, 0, 0, 0;
    Test::More::is(unpack('H*', $record), unpack('H*', $want), "$name: EEInfo");
    return Test::More::ok(eval { $ch->wait_eof }, "$name: the connection is closed");
}

# The message with which CODE dies, or ''.
sub dies { my ($code) = @_; return eval { $code->(); 1 } ? '' : $@ }

1;
