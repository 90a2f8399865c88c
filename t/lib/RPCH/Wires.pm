package RPCH::Wires;

# A whole virtual connection, in which the test plays all parties but the proxies, and whose channels are
# replaced step by step. A successor goes to the same proxy (R2) or to that of another machine (R1), which
# has other settings. The ends have these names:
#
#   in, out, in2, out2   the client's channels, and their successors
#   il, ol, il2, ol2     legs: at a native server, or connected by the test to the endpoint's socket
#   tcp                  the connection of the endpoint to its target

use strict;
use warnings;
use Carp qw(croak);
use Test::More ();
use RPCH::PDU qw(rts rts_raw describe %RTS FD_CLIENT FD_SERVER FD_OUT_PROXY);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu);
use RPCH::States;
use RPCH::Test;
use parent -norequire, 'RPCH::States';

# Settings of the proxy of first channels, /rpc/, and of the proxy of successors, /small/.
my %FIRST = (window => 262_144, timeout => 120_000, lifetime => 1 << 30);
my %SECOND = (window => 8_192, timeout => 240_000, lifetime => 131_072);
# Windows of client and server.
my %WINDOW = ('CONN/A1' => 65_536, 'CONN/B3' => 65_536, 'IN_R1/B2' => 60_000,
              'OUT_R1/A3' => 50_000, 'OUT_R2/A3' => 50_000);
my %WINDOW_OF_ENDPOINT = ('CONN/B3' => 262_144, 'IN_R1/B2' => 262_144);

my $native;     # one server for all connections
sub native { return $native ||= server(manual => 1) }

sub make {
    my ($class, %arg) = @_;
    my $tls = delete $arg{tls};
    my $c = ($tls ? \&client : \&plain)->(raw => 1, target => native()->target, %arg);
    my %cookie = (vc => $c->{vc}, in => $c->{in_cookie}, out => $c->{out_cookie},
                  map { $_ => RPCH::Client::cookie() } qw(new_in new_out));
    return bless { c => $c, end => {}, cookie => \%cookie, mark => mark(), role => 'wires', state => $arg{target} // 'native',
                   sent => {}, window => {}, at => { in => 0, out => 0 }, tls => $tls }, $class;
}

# Opens a virtual connection through the proxies to the native server. ARG: other (a RPCH::Httpd),
# windows, tls.
sub proxied {
    my ($class, %arg) = @_;
    my %windows = %{ delete $arg{windows} // {} };
    my $other = delete $arg{other};
    my $s = $class->make(%arg);
    @$s{qw(windows other)} = (\%windows, $other);
    my ($c, $end) = @$s{qw(c end)};
    $end->{in} = $c->open_in;
    $end->{out} = $c->open_out;
    $s->put(out => 'CONN/A1')->put(in => 'CONN/B1');
    @$end{qw(il ol)} = native()->pair;
    $_->pdu for @$end{qw(il ol)};
    $s->put(ol => 'CONN/C1')->put(il => 'CONN/B3');
    $end->{out}->pdu for 1 .. 2;
    $s->{window}{ol} = $arg{path} ? $SECOND{window} : $FIRST{window};
    return $s;
}

# Does the same with an endpoint as the server, and a TCP server behind it.
sub behind {
    my ($class, %arg) = @_;
    my ($tcp, $other) = delete @arg{qw(tcp other)};
    my $s = $class->make(%arg);
    $s->{other} = $other;
    my ($c, $end) = @$s{qw(c end)};
    $end->{in} = $c->open_in;
    $end->{out} = $c->open_out;
    $s->{windows} = { map { $_ => 262_144 } qw(CONN/A1 OUT_R1/A3 OUT_R2/A3) };   # without acknowledgements
    $s->put(out => 'CONN/A1')->put(in => 'CONN/B1');
    $end->{tcp} = $tcp->connection;
    $s->take('out') for 1 .. 2;
    return $s;
}

# Opens a virtual connection by legs that the test itself connects to the endpoint's socket, which is in the
# folder RUN.
sub legs {
    my ($class, %arg) = @_;
    my ($tcp, $run) = delete @arg{qw(tcp run)};
    my $windows = { %WINDOW_OF_ENDPOINT, %{ delete $arg{windows} // {} } };
    my $s = $class->make(target => "tcp.contoso.test:$tcp->{port}", %arg);
    @$s{qw(played lifetime windows run)} = ($tcp->{port}, $FIRST{lifetime}, $windows, $run);
    $s->put(il => 'CONN/B2')->put(ol => 'CONN/A2');
    $s->{end}{tcp} = $tcp->connection;
    $s->{end}{ol}->pdu;
    $s->{end}{il}->pdu;
    return $s;
}

# The end with this name. A leg is accepted when its end is first asked for.
sub end {
    my ($s, $name) = @_;
    return $s->{end}{$name} if $s->{end}{$name};
    croak "no end $name" if $name !~ /l\d?\z/;
    $s->dial($name, port => $s->{played}) if $s->{played};
    return $s->{end}{$name} ||= native()->leg;
}

# The bytes that PDU NAME must have in this virtual connection. Other PDUs have short names, as in a
# TABLE below.
sub sample {
    my ($s, $name, %over) = @_;
    return request_pdu($1, "RPC PDU $name") if $name =~ /^[pq](\d+)$/;
    return request_pdu($1, $name . 'x' x (976 - length $name)) if $name =~ /^[PQ](\d+)$/;
    if ($name =~ /!(.*)/) {     # a value is wrong
        $over{$1} = 'w' x 16;
        $name = $`;
    }
    my $way = $name =~ m{^(?:IN_|CONN/B)} ? 'in' : 'out';
    # So many bytes that the endpoint asks for a successor
    return rts($name, bytes => $s->{lifetime} - ($s->{lifetime} == 1 << 30 ? 1 << 18 : 8192)) if $name eq 'PingTrafficSentNotify';
    my $settings = $name =~ /^CONN/ ? \%FIRST : \%SECOND;
    my %value = (%$settings, vc => $s->{cookie}{vc}, channel => $s->{cookie}{$way}, old => $s->{cookie}{$way},
                 new => $s->{cookie}{"new_$way"}, keepalive => 300_000, group => $s->{c}{group}, address => '127.0.0.1',
                 window => $s->{windows}{$name} // $WINDOW{$name} // $settings->{window}, %over);
    return rts($name, map { $_ => $value{$_} } map { /:(\w+)/ ? $1 : () } @{ $RTS{$name} });
}

# An acknowledgement as this leg sends or receives it. COOKIE is "next" for the channel of the successor,
# "no" for no channel, else the present channel is meant. Acknowledgements of hops 1 and 4 have a
# destination.
sub ack {
    my ($s, $end, $received, $available, $cookie) = @_;
    my $way = $end =~ /^i/ ? 'in' : 'out';
    my %cookie = ('' => $s->{cookie}{$way}, next => $s->{cookie}{"new_$way"}, no => 'n' x 16);
    my $ack = { received => $received, available => $available, channel => $cookie{ $cookie // '' } };
    my $far = !$s->{played} && $way eq ($s->{putting} ? 'out' : 'in');
    return rts('FlowControlAck', ack => $ack) if !$far;
    return rts('FlowControlAckWithDestination', ack => $ack, destination => $s->{putting} ? FD_OUT_PROXY : FD_CLIENT);
}

# The PDUs that a word of a TABLE stands for at this end.
sub words {
    my ($s, $end, $word) = @_;
    return map { $s->sample("$1$_") } $2 .. $4 if $word =~ /^([pqPQ])(\d+)(\.\.\1(\d+))$/;
    return $s->ack($end, split /:/, $1) if $word =~ /^ack:(.*)/;
    # This PDU is not subject to windows, so all PDUs that were sent before it and are allowed arrive first
    return rts_raw(0x0002, [D => $end =~ /^i/ && !$s->{played} ? FD_SERVER : FD_CLIENT], [PT => $word =~ s/\D+//r || 0])
        if $word =~ /^mark\d*\z/;
    # The acknowledgement that the outbound proxy sends when channels change
    return $s->ack($end, $s->{sent}{ol} // 0, $s->{window}{ol}, 'next') if $word eq 'FlowControlAck';
    return $s->sample($word);
}

sub put {
    my ($s, $end, $word, %over) = @_;
    local $s->{putting} = 1;
    my $pdus = %over ? $s->sample($word, %over) : join '', $s->words($end, $word);
    $s->{sent}{$end} += length $pdus if $word =~ /^[pqPQ]\d/;
    return $s->read_by_proxy($end, $pdus) if $word =~ m{^ack|^IN_R1/B2};
    $s->end($end)->put($pdus);
    return $s;
}

# Sends a PDU that opens or widens a window, and waits until it has been read, because the PDUs that
# it allows are sent on another connection.
sub read_by_proxy {
    my ($s, $end, $pdu) = @_;
    my $way = $end =~ /^i/ ? 'in' : 'out';
    my $other = !$s->{played} && $s->{ $end =~ /2/ ? 'to' : 'at' }{$way} ? $s->{other} : undef;
    my $before = $other ? length $other->log : mark();
    my $line = $s->{played} ? qr/leg: FlowControlAck/
             : qr{bound channel in \S+: (?:FlowControlAck\S*|IN_R1/B2) from the server};
    $s->end($end)->put($pdu);
    wait_for("the proxy of $end", sub {
        turn(0.002);
        return $other ? substr($other->log, $before) =~ $line : grep { $_ =~ $line } lines_since($before);
    });
    return $s;
}

# Sends the request of a successor, to the same proxy or to the other one.
sub open {
    my ($s, $name, $form, %over) = @_;
    my ($c, $way) = ($s->{c}, $name =~ s/\d$//r);
    my $at = $s->{to}{$way} = $form eq 'R1' ? !$s->{at}{$way} : $s->{at}{$way};
    my $method = "open_$way";
    my @length = $way eq 'out' ? (length => 120) : ();
    $s->{end}{$name} = $c->$method(@length, uri => "/small/rpcproxy.dll?$c->{target}",
                                   dial => $at ? { port => $s->{other}{port}, tls => undef } : {}, %over);
    return $s->{end}{$name};
}

# A client of another user that knows the cookies of this virtual connection.
sub bob {
    my ($s, $end, $form) = @_;
    return $s->dial($end, port => $s->{played}, user => 'bob') if $s->{played};
    local @{ $s->{c} }{qw(user password)} = qw(bob hidden);
    return $s->open($end, $form);
}

# Runs TABLE. A row has the PDUs that the ends send, and after -> the PDUs that must come at the ends,
# exactly these and no others. p1, q1, ... are RPC PDUs, P1..P8 stands for eight of them with 1,000
# bytes each. "!old" after a name means a wrong value. See words() for "ack:RECEIVED:AVAILABLE:COOKIE"
# and "mark". Instead of a PDU an end can do "open", also as the other user "bob", "close" or
# "silent"; what comes can also be "closed", or the answers "200" and "refused".
sub play {
    my ($s, $name, $table) = @_;
    my ($form) = $name =~ /(R[12])/;
    for my $row (grep { /\S/ } split /\n/, $table) {
        $row =~ s/^\s+|\s*(?:#.*)?$//g;
        my ($put, $get) = map { [map { [split ' '] } split /,/] } split /->/, $row;
        for (@$put) {
            my ($end, $pdu) = @$_;
            if ($pdu eq 'open')       { $s->open($end, $form) }
            elsif ($pdu eq 'bob')     { $s->bob($end, $form) }
            elsif ($pdu eq 'silent')  { $s->silent($end, $name) }
            elsif ($pdu eq 'close')   { delete($s->{end}{$end})->close }
            else                      { $s->put($end, $pdu) }
        }
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        for (@{ $get // [] }) {
            next if eval { $s->arrives("$name: $_->[1] at $_->[0]", @$_); 1 };
            Test::More::fail("$name: $row");
            Test::More::diag($@);
            return;
        }
        my $more = $s->unasked;
        Test::More::is($more, '', "$name: nothing else after $row") if $more;
    }
    return 1;
}

sub arrives {
    my ($s, $label, $end, $pdu) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    if ($pdu eq 'closed') {
        Test::More::ok(eval { $s->{end}{$end}->wait_eof }, $label) or Test::More::diag $@;
        return delete($s->{end}{$end})->close;
    }
    return Test::More::is(answer($s->{end}{$end}), "HTTP/1.1 200 Success|application/rpc|$SECOND{lifetime}", $label)
        if $pdu eq '200';
    if ($pdu =~ /^refused:?(\w*)/) {
        my $ch = delete $s->{end}{$end};
        return is_rpc_error($ch, $1 || '6c0', $label) && $ch->close;
    }
    my $wrong = grep { my $got = $s->take($end) // ''; $got ne $_ && diff($got, $_) } $s->words($end, $pdu);
    return Test::More::ok(!$wrong, $label);
}

sub diff {
    my @text = map { describe($_) . ' ' . unpack 'H160', $_ } @_;
    Test::More::diag("got $text[0]\nwanted $text[1]");
    return 1;
}

# The next PDU that comes at an end.
sub take {
    my ($s, $end) = @_;
    my $pdu = $s->end($end)->pdu;
    $s->{took}{$end} += length($pdu // '');
    return $pdu;
}

sub answer {
    my $head = $_[0]->head or return 'closed';
    return join '|', $head->{line}, map { $_ // '' } @{ $head->{headers} }{qw(content-type content-length)};
}

# The bytes that have come and that no row has expected.
sub unasked {
    my ($s) = @_;
    turn(0);
    my @more;
    for my $name (sort keys %{ $s->{end} }) {
        my $end = $s->{end}{$name};
        push @more, map { "$name: " . describe($_) } @{ $end->{got} // [] }, length $end->{in} ? $end->{in} : ();
    }
    return join ', ', @more;
}

# Checks that a successor of the OUT channel is not answered yet. Its proxy has read all that was sent
# before, because it has read an acknowledgement for no channel that was sent behind it.
sub silent {
    my ($s, $end, $name) = @_;
    $s->put($s->{end}{ol2} ? 'ol2' : 'ol', 'ack:0:0:no');
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    return Test::More::is($s->{end}{$end}{total_in}, 0, "$name: nothing on $end before it is its turn");
}

# Notes that the successor has taken the place of its predecessor.
sub replaced {
    my ($s, $way) = @_;
    my ($end, $cookie) = @$s{qw(end cookie)};
    $end->{$way} = delete $end->{"${way}2"} if $end->{"${way}2"};
    $s->{took}{$way} = delete $s->{took}{"${way}2"} // 0;
    my $leg = $way eq 'in' ? 'il' : 'ol';
    if ($end->{"${leg}2"}) {
        $end->{$leg} = delete $end->{"${leg}2"};
        $s->{sent}{$leg} = delete $s->{sent}{"${leg}2"};
        $s->{window}{$leg} = $SECOND{window};
        $s->{lifetime} = $SECOND{lifetime} if $leg eq 'ol';
    }
    $s->{at}{$way} = delete $s->{to}{$way} // 0;
    @$cookie{ $way, "new_$way" } = ($cookie->{"new_$way"}, RPCH::Client::cookie());
    return $s;
}

1;
