package RPCH::States;

# Brings the inbound proxy, the outbound proxy or the server role of the endpoint process into any state
# of 3.2.3 (fig. 27), 3.2.4 (fig. 28) or 3.2.5 (fig. 29), over plain HTTP. The test plays all other
# parties. A proxy has only one half of a virtual connection, because the other does not concern it.
#
# The ends by name: client, successor (HTTP channels), leg (at a native server); of the endpoint
# in, out, in_next, out_next, out_old (legs) and tcp (the connection to its target).

use strict;
use warnings;
use Carp qw(croak);
use IO::Socket::UNIX;
use RPCH::Client;
use RPCH::Preface qw(preface secret_of);
use RPCH::PDU qw(rts rts_raw names describe %RTS);
use RPCH::Poll qw(wait_for);
use RPCH::RPC qw(request_pdu);
use RPCH::Test;

# The names of all PDUs that have been sent in a state that allows them.
our %legal;

my ($native, $target);      # servers, kept for all setups
sub native { return $native ||= server(manual => 1) }
sub target { return $target ||= tcp_server(quiet => 1) }

# How each state is reached: from which state, and by which steps. '' is the beginning.
my %STEP = (
    inbound => {
        Open_Start => ['', sub { $_[0]{end}{client} = $_[0]{c}->open_in }],
        B3W => [Open_Start => sub { my $s = shift; $s->put(client => 'CONN/B1')->leg('CONN/B2') }],
        Wait_B2 => [Open_Start => sub { my $s = shift; $s->put(client => 'IN_R1/A1')->leg('IN_R1/A2') }],
        Opened => [B3W => sub { my $s = shift; $s->put(leg => 'CONN/B3')->flows('client', 'leg') }],
        Opened_A5W => [Opened => sub {
            my $s = shift;
            $s->{end}{successor} = $s->{c}->open_in;
            $s->put(successor => 'IN_R2/A1')->get(leg => 'IN_R2/A2');
        }],
    },
    outbound => {
        # A larger Content-Length than clients announce, so that the client can send more than it should
        Open_Start => ['', sub { $_[0]{end}{client} = $_[0]{c}->open_out(length => 100_000) }],
        C1W => [Open_Start => sub { my $s = shift; $s->put(client => 'CONN/A1')->leg('CONN/A2')->get(client => 'CONN/A3') }],
        A11W => [Open_Start => sub { my $s = shift; $s->put(client => 'OUT_R1/A3')->leg('OUT_R1/A4') }],
        Opened => [C1W => sub { my $s = shift; $s->put(leg => 'CONN/C1')->get(client => 'CONN/C2') }],
        B1OrC1W => [Opened => sub {
            my $s = shift;
            $s->{end}{successor} = $s->{c}->open_out(length => 100_000);
            $s->put(successor => 'OUT_R2/A3')->get(leg => 'OUT_R2/A4');
        }],
        B1W => [B1OrC1W => sub { my $s = shift; $s->put(successor => 'OUT_R2/C1')->log_says('-> B1W') }],
        R2C1W => [B1OrC1W => sub {
            my $s = shift;
            $s->put(leg => 'OUT_R2/B1')->get(client => 'OUT_R2/B3')->done_with('client');
        }],
    },
    endpoint => {
        Open_Start => ['', sub { $_[0]->dial('newcomer') }],
        A2W => ['', sub { my $s = shift; $s->dial('in')->put(in => 'CONN/B2')->connected }],
        B2W => ['', sub { my $s = shift; $s->dial('out')->put(out => 'CONN/A2')->connected }],
        Opened => [A2W => sub {
            my $s = shift;
            $s->dial('out')->put(out => 'CONN/A2')->get(out => 'CONN/C1')->get(in => 'CONN/B3');
        }],
        A6W => [Opened => sub { my $s = shift; $s->dial('in_next')->put(in_next => 'IN_R1/A2')->get(out => 'IN_R1/A3') }],
        # A6 has no answer, so the test waits for the next PDU on the leg
        Opened_B1W => [A6W => sub { my $s = shift; $s->put(in => 'IN_R1/A6')->flows('in', 'tcp') }],
        Opened_A4W => [Opened => sub {
            my $s = shift;      # pings use up nearly all of the lifetime
            $s->put(out => 'PingTrafficSentNotify', bytes => (1 << 30) - 100_000)->get(out => 'OUT_R1/A1');
        }],
        Opened_A8W => [Opened_A4W => sub {
            my $s = shift;
            $s->dial('out_next')->put(out_next => 'OUT_R1/A4')->get(out => 'OUT_R1/A5');
        }],
        Opened_R2A8W => [Opened_A4W => sub { my $s = shift; $s->put(out => 'OUT_R2/A4')->get(out => 'OUT_R2/A5') }],
        Opened_after_R1 => [Opened_A8W => sub {
            my $s = shift;
            $s->put(in => 'OUT_R1/A8')->get(out => 'OUT_R1/A9');
            @{ $s->{end} }{qw(out_old out)} = delete @{ $s->{end} }{qw(out out_next)};
            @{ $s->{cookie} }{qw(out new_out)} = ($s->{cookie}{new_out}, RPCH::Client::cookie());
        }],
    },
);

sub roles  { return qw(inbound outbound endpoint) }
sub states { my ($class, $role) = @_; return sort keys %{ $STEP{$role} } }

# Brings a ROLE into STATE, with new cookies. ARG is for the client.
sub reach {
    my ($class, $role, $state, %arg) = @_;
    my $host = $role eq 'endpoint' ? 'tcp.contoso.test:' . target()->{port} : native()->target;
    my $c = plain(target => $host, raw => 1, %arg);
    my %cookie = (vc => $c->{vc}, map({ $_ => RPCH::Client::cookie() } qw(new_in new_out)),
                  in => $c->{in_cookie}, out => $c->{out_cookie});
    my $s = bless { role => $role, state => $state, c => $c, end => {}, cookie => \%cookie, mark => mark() }, $class;
    $s->advance($state);
    return $s;
}

sub advance {
    my ($s, $state) = @_;
    my ($before, $step) = @{ $STEP{ $s->{role} }{$state} || croak "no state $state of the $s->{role} role" };
    $s->advance($before) if $before;
    $s->{mark} = mark();
    $step->($s);
    return $s;
}

# Values for the PDU NAME that fit this setup, so that only the state decides whether it is allowed.
sub sample {
    my ($s, $name, %over) = @_;
    return request_pdu(3, 'an RPC PDU') if $name eq 'RPC';
    my $way = $name =~ m{^(?:IN_|CONN/B)} || $name =~ /^FlowControlAck/ && $s->{role} eq 'inbound' ? 'in' : 'out';
    my %value = (vc => $s->{cookie}{vc}, channel => $s->{cookie}{$way}, old => $s->{cookie}{$way},
                 new => $s->{cookie}{"new_$way"}, window => 65536, timeout => 120_000, lifetime => 1 << 30,
                 keepalive => 300_000, group => $s->{c}{group}, address => '127.0.0.1', bytes => 20,
                 destination => 3, ack => { received => 0, available => 65536, channel => $s->{cookie}{$way} }, %over);
    my @needed = map { /:(\w+)/ ? $1 : () } @{ $RTS{$name} };
    return rts($name, map { $_ => $value{$_} } @needed);
}

# Sends a PDU that this state allows.
sub put {
    my ($s, $end, $name, %over) = @_;
    $s->{end}{$end}->put($s->sample($name, %over));
    $legal{$name} = 1;
    return $s;
}

# Expects that the next PDU at this end is a NAME.
sub get {
    my ($s, $end, $name) = @_;
    my $pdu = $s->{end}{$end}->pdu;
    croak "$s->{role} $s->{state}: expected $name at $end, got " . describe($pdu)
        if !grep { $_ eq $name } defined $pdu ? names($pdu) : ();
    $legal{$name} = 1;
    return $s;
}

# Notes that these PDUs have been sent in a state that allows them.
sub belongs { my ($s, @names) = @_; $legal{$_} = 1 for @names; return $s }

# log_says() looks at the lines from here on.
sub now { my ($s) = @_; $s->{mark} = mark(); return $s }

# Expects a leg at the server, with this first PDU.
sub leg {
    my ($s, $name) = @_;
    $s->{end}{leg} = native()->leg;
    return $name ? $s->get(leg => $name) : $s;
}

# Expects that the endpoint connects to its target, as it does when one half is there.
sub connected { my ($s) = @_; $s->{end}{tcp} = target()->connection; return $s }

# Expects exactly these PDUs, byte for byte and with nothing between them.
sub arrive {
    my ($s, $end, @want) = @_;
    for my $want (@want) {
        my $pdu = $s->{end}{$end}->pdu;
        next if defined $pdu && $pdu eq $want;
        croak "$s->{role} $s->{state}: expected " . describe($want) . " at $end, got " . describe($pdu);
    }
    return $s;
}

# Expects this PDU byte for byte, with all its values; get() looks only at its name.
sub sees {
    my ($s, $end, $name, %value) = @_;
    return $s->arrive($end, rts($name, %value))->belongs($name);
}

# Checks that an RPC PDU is passed on.
sub flows {
    my ($s, $from, $to) = @_;
    my $pdu = request_pdu(1, 'through' . ++$s->{serial});
    $s->{end}{$from}->put($pdu);
    return $s->arrive($to, $pdu);
}

# Checks that the proxy still holds what FROM has sent: an RTS PDU that is sent later overtakes it and
# arrives first.
sub stalls {
    my ($s, $from, $to) = @_;
    my $marker = rts_raw(0x42, [D => $to eq 'client' ? 0 : 2], [PT => ++$s->{serial}]);
    $s->{end}{$from}->put($marker);
    return $s->arrive($to, $marker);
}

# Waits until all has happened that can happen without the test: meanwhile other channels, on all
# threads, are served many times.
my @others;
sub flows_elsewhere {
    my ($s) = @_;
    @others = map { RPCH::States->reach(inbound => 'Opened') } 1 .. 8 if !@others;
    for (1 .. 5) { $_->flows(qw(client leg)) for @others }
    return $s;
}

# Checks that an answer of the endpoint's target comes over this leg.
sub answers {
    my ($s, $to) = @_;
    my $pdu = request_pdu(2, 'an answer' . ++$s->{serial});
    $s->{end}{tcp}->put($pdu);
    return $s->arrive($to, $pdu);
}

# Expects a log line, for events that no peer sees.
sub log_has {
    my ($s, $mark, $re) = @_;
    local $RPCH::Poll::PACE = 0.005;    # thousands of tests wait for a line
    wait_for("$re in the log", sub { grep { $_ =~ $re } lines_since($mark) });
    return $s;
}
sub log_says { my ($s, $text) = @_; return $s->log_has($s->{mark}, qr/\Q$text\E/) }

# A leg to the endpoint process, as the proxies of this module open it.
sub dial {
    my ($s, $name, %over) = @_;
    my ($path) = glob +($s->{run} // vars('serverroot') . '/run') . '/rpcproxy.sock*';
    my ($server) = $path =~ /(\d+)$/ or die "no socket of the endpoint\n";
    my %preface = (secret => secret_of($server), user => 'alice', vhost => 'localhost:' . vars('plainport'), target => $s->{c}{target},
                   host => '127.0.0.1', port => target()->{port}, networks => 'loopback', sources => '', %over);
    my $fh = IO::Socket::UNIX->new(Peer => $path) or die "endpoint: $!\n";
    $s->{end}{$name} = RPCH::States::Leg->new(fh => $fh, server => { manual => 1 }, got => [], name => "$name leg");
    $s->{end}{$name}->put(preface(%preface));
    return $s;
}

# Checks that this end is closed and nothing more has come. The other ends may continue.
sub done_with {
    my ($s, $end) = @_;
    my $peer = delete $s->{end}{$end};
    $peer->wait_eof;
    my $answered = ($peer->{head} // { status => 0 })->{status};
    croak "$s->{role} $s->{state}: more at $end: " . unpack 'H40', $peer->{in} if $answered == 200 && length $peer->{in};
    $peer->close;
    return $s;
}

# Pings may come before the last PDU.
sub last_of {
    my ($s, $end, $name) = @_;
    my $peer = $s->{end}{$end};
    my $last;
    while (defined(my $pdu = $peer->pdu)) { $last = $pdu }
    croak "$s->{role} $s->{state}: the last at $end is " . describe($last) if !grep { $_ eq $name } names($last // '');
    return $s->done_with($end);
}

# Checks that all ends are closed.
sub gone {
    my ($s) = @_;
    $_->wait_eof for values %{ $s->{end} };
    return 1;
}

sub close {
    my ($s) = @_;
    $_->close for values %{ $s->{end} };
    return;
}

package RPCH::States::Leg;

# A leg as a proxy sees it: the banner comes before the first PDU.

use strict;
use warnings;
use RPCH::Server;
use parent -norequire, 'RPCH::Leg';

sub received {
    my ($self) = @_;
    return if !$self->{eof} && !$self->{banner} && length $self->{in} < 14;
    $self->{banner} = substr $self->{in}, 0, 14, '' if !$self->{banner};
    return $self->SUPER::received;
}

package RPCH::TCPServer::Connection;

# The next PDU at the endpoint's target, in the way of a leg.
sub pdu {
    my ($self, $timeout) = @_;
    RPCH::Poll::wait_for("a PDU on $self->{name}", sub { @{ $self->{got} } || $self->{eof} }, $timeout);
    return shift @{ $self->{got} };
}

1;
