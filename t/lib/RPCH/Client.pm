package RPCH::Client;

# A client of RPC over HTTP v2 (3.2.2): IN and OUT channels, acknowledgements as specified, and
# each step as a method of its own, for tests that deviate from the specification.

use strict;
use warnings;
use Carp qw(croak);
use Test::More ();
use RPCH::Poll qw(wait_for);
use RPCH::PDU qw(rts decode is_rts cut describe FD_CLIENT FD_OUT_PROXY FD_SERVER);
use RPCH::Flow;
use RPCH::HTTP;
use RPCH::RPC qw(request_pdu rpc_parse);

use constant GIB => 1 << 30;

my $serial = 0;
sub cookie { return pack 'a4 N N n n', 'ck' . chr(65 + rand 26) . chr(65 + rand 26), $$, ++$serial, rand 65536, rand 65536 }

# ARG: port, tls (hash for IO::Socket::SSL, or nothing), target, user, password, path, version,
# headers, window, acks (0: never), obey (0: ignores the IN window), length_in, host.
sub new {
    my ($class, %arg) = @_;
    return bless { path => '/rpc/rpcproxy.dll', version => '1.1', window => 65536, acks => 1,
                   obey => 1, length_in => GIB, keepalive => 300_000, vc => cookie(),
                   in_cookie => cookie(), out_cookie => cookie(), group => cookie(), got => [],
                   acks_in => [], %arg }, $class;
}

sub dial {
    my ($self, $name, %opt) = @_;
    return RPCH::HTTP->dial(port => $self->{port}, host => $self->{host}, from => $self->{from}, tls => $self->{tls},
                            name => $name, %opt);
}

# The request options of this client.
sub options {
    my ($self, %over) = @_;
    return (version => $self->{version}, headers => $self->{headers}, user => $self->{user},
            password => $self->{password}, %over);
}
sub uri { my $self = shift; return $self->{path} . (defined $self->{target} ? "?$self->{target}" : '') }

sub in  { return $_[0]{in} }
sub out { return $_[0]{out} }

sub open_in {
    my ($self, %over) = @_;
    my $ch = $self->{in} = delete $over{connection} || $self->dial('IN channel', %{ $over{dial} || {} });
    return $ch->request('RPC_IN_DATA', $over{uri} // $self->uri,
                        $self->options(length => $self->{length_in}, %over));
}

sub open_out {
    my ($self, %over) = @_;
    my $ch = $self->{out} = delete $over{connection} || $self->dial('OUT channel', %{ $over{dial} || {} });
    $self->watch_out($ch) if !$self->{raw};
    return $ch->request('RPC_OUT_DATA', $over{uri} // $self->uri, $self->options(length => 76, %over));
}

sub a1 {
    my ($self, %over) = @_;
    return rts('CONN/A1', vc => $self->{vc}, channel => $self->{out_cookie},
               window => $self->{window}, %over);
}
sub b1 {
    my ($self, %over) = @_;
    return rts('CONN/B1', vc => $self->{vc}, channel => $self->{in_cookie}, lifetime => GIB,
               keepalive => $self->{keepalive}, group => $self->{group}, %over);
}
sub send_a1 { my $self = shift; $self->{out}->put($self->a1(@_)); return $self }
sub send_b1 { my $self = shift; $self->{in}->put($self->b1(@_)); return $self }

# Opens the virtual connection: both requests, A1, B1, 200, A3, C2.
sub connect {
    my ($self, %opt) = @_;
    $self->open_in;
    $self->open_out(%opt);
    $self->send_a1->send_b1;
    return $self->opened;
}

# Opens it at a server that the test plays, which announces WINDOW in B3. Returns the legs, IN and OUT.
# The client has not yet read the answers.
sub open_by_hand {
    my ($self, $server, $window) = @_;
    $self->open_in;
    $self->open_out;
    $self->send_a1->send_b1;
    my ($in, $out) = $server->pair;
    my $b2 = $in->expect('CONN/B2');
    $out->expect('CONN/A2');
    $out->put(rts('CONN/C1', window => $b2->{window}, timeout => 120_000));
    $in->put(rts('CONN/B3', window => $window));
    return ($in, $out);
}

sub opened {
    my ($self) = @_;
    my $head = $self->{out}->head or croak 'OUT channel closed without an answer';
    croak "OUT channel: $head->{line}" if $head->{status} != 200;
    $self->{a3} = $self->expect('CONN/A3');
    $self->{c2} = $self->expect('CONN/C2');
    $self->{sender} = RPCH::Flow->sender($self->{c2}{window});
    $self->{receiver} = RPCH::Flow->receiver($self->{window}, $self->{out_cookie});
    return $self;
}

# Cuts the bytes of an OUT channel into PDUs. Acknowledgements for the IN channel take effect at once;
# all other PDUs wait in {got}.
sub watch_out {
    my ($self, $ch) = @_;
    $ch->{on_input} = sub {
        while (!$self->{raw} && $ch->{head}{status} == 200 && defined(my $pdu = cut(\$ch->{in}))) {
            my $ack = decode('FlowControlAckWithDestination', $pdu);
            if (!$ack) { push @{ $ch->{queue} || $self->{got} }, $pdu; next }
            push @{ $self->{acks_in} }, $pdu;
            $self->{sender}->acked($ack->{ack})
                if $self->{sender} && $ack->{ack}{channel} eq $self->{in_cookie};
        }
    };
    return;
}

# The next PDU from the proxy, RTS PDUs included; undef at the end of the channel.
sub next_pdu {
    my ($self, $timeout) = @_;
    wait_for('a PDU on the OUT channel', sub { @{ $self->{got} } || $self->{out}{eof} }, $timeout);
    return shift @{ $self->{got} };
}

# The next PDU must be this RTS PDU. Returns its values.
sub expect {
    my ($self, $name) = @_;
    my $pdu = $self->next_pdu;
    return defined $pdu && decode($name, $pdu) || croak "expected $name on the OUT channel, got " . (defined $pdu ? describe($pdu) : 'its end');
}

# Sends an RPC PDU, waiting for the window.
sub send {
    my ($self, $pdu) = @_;
    my $size = length $pdu;
    wait_for('the IN window', sub { $self->{sender}->may_send($size) || $self->{in}{eof} }) if $self->{obey};
    $self->{sender}->sent($size);
    $self->{in}->put($pdu);
    return $self;
}

# The next RPC PDU, which is acknowledged as specified; undef at the end of the channel. With
# {follow} channels are replaced meanwhile.
sub recv {
    my ($self, $timeout) = @_;
    while (defined(my $pdu = $self->next_pdu($timeout))) {
        if (is_rts($pdu)) { $self->follow($pdu) if $self->{follow}; next }
        $self->consumed(length $pdu);
        return $pdu;
    }
    return;
}

sub consumed {
    my ($self, $size) = @_;
    $self->{receiver}->received($size);
    my $ack = $self->{receiver}->consumed($size);
    $self->send_ack($ack) if $ack && $self->{acks};
    return;
}

sub send_ack {
    my ($self, $ack) = @_;
    $self->{in}->put(rts('FlowControlAckWithDestination', destination => FD_OUT_PROXY, ack => $ack));
    return;
}

# Sends an RPC PDU and returns the next one that the server sends.
sub call { my ($self, $pdu) = @_; $self->send($pdu); return $self->recv }

# Makes a call with STUB, by default another one each time. True when the server echoes it.
my $calls = 0;
sub works {
    my ($self, $stub) = @_;
    $stub //= 'call ' . ++$calls;
    my $answer = eval { rpc_parse($self->call(request_pdu(1, $stub)) // return 0) };
    Test::More::note($@) if !$answer;
    return $answer && $answer->{stub} eq $stub;
}

# Opens the virtual connection, makes such a call and closes it. True when the call was answered.
sub serves {
    my ($self) = @_;
    my $works = eval { $self->connect->works };
    Test::More::note($@) if !defined $works;
    $self->close;
    return $works;
}

# Opens only the OUT channel, sends A1 and closes. Returns the status of the answer.
sub out_status {
    my ($self) = @_;
    $self->open_out;
    $self->send_a1;
    my $head = $self->out->head;
    $self->close;
    return $head ? $head->{status} : 'none';
}

# Begins to replace the IN channel (doc/protocol.md, "Recycling"): sends the new request and A1.
# After A4 the test calls finish_in().
sub replace_in {
    my ($self, %over) = @_;
    my $old = $self->{in};
    $self->{new_in_cookie} = cookie();
    my $new = $self->open_in(%over);
    $new->put(rts('IN_R1/A1', vc => $self->{vc}, old => $self->{in_cookie}, new => $self->{new_in_cookie}));
    @$self{qw(in new_in)} = ($old, $new);
    return $new;
}

sub finish_in {
    my ($self) = @_;
    my $pdu = $self->next_pdu;
    return $self->switch_in(decode('IN_R1/A4', $pdu) || decode('IN_R2/A4', $pdu) || croak 'expected A4, got ' . describe($pdu));
}

sub switch_in {
    my ($self, $a4) = @_;
    $self->{in}->put(rts('IN_R1/A5', new => $self->{new_in_cookie}));
    @$self{qw(old_in in in_cookie)} = ($self->{in}, delete $self->{new_in}, delete $self->{new_in_cookie});
    $self->{sender} = RPCH::Flow->sender($a4->{window} // $self->{sender}{window});
    return $a4;
}

# Begins to replace the OUT channel (doc/protocol.md, "Recycling") when A2 has come: sends the new
# request and A3.
sub replace_out {
    my ($self, %over) = @_;
    my $old = $self->{out};
    $self->{new_out_cookie} = cookie();
    my $new = $self->open_out(length => 120, %over);
    $new->put(rts('OUT_R1/A3', vc => $self->{vc}, old => $self->{out_cookie},
                  new => $self->{new_out_cookie}, window => $self->{window}));
    @$self{qw(out new_out)} = ($old, $new);
    return $new;
}

# After A3: waits for A6 and continues in the form that it names, R1 or R2, which is returned.
sub finish_out {
    my ($self) = @_;
    my $pdu = $self->next_pdu;
    my $form = decode('OUT_R1/A6', $pdu) ? 'OUT_R1' : decode('OUT_R2/A6', $pdu) ? 'OUT_R2'
             : croak 'expected A6, got ' . describe($pdu);
    $self->{new_out}->put(rts('OUT_R2/C1')) if $form eq 'OUT_R2';
    $self->{in}->put(rts("$form/A7", new => $self->{new_out_cookie}));
    $self->expect($form eq 'OUT_R1' ? 'OUT_R1/A10' : 'OUT_R2/B3');
    return $self->switch_out($form);
}

sub switch_out {
    my ($self, $form) = @_;
    $self->{new_out}->put(rts('OUT_R1/A11')) if $form eq 'OUT_R1';
    @$self{qw(old_out out out_cookie)} = ($self->{out}, delete $self->{new_out}, delete $self->{new_out_cookie});
    $self->{receiver} = RPCH::Flow->receiver($self->{window}, $self->{out_cookie});
    return $form;
}

# Does what the specification says for one RTS PDU of a replacement, while data flows. {follow} is code
# that gets 'in' or 'out' and returns the options of the next request. {replaced} counts the
# replacements of each form.
sub follow {
    my ($self, $pdu) = @_;
    my $form = decode('OUT_R1/A10', $pdu) || decode('OUT_R1/A6', $pdu) ? 'OUT_R1' : 'OUT_R2';
    if (decode('OUT_R1/A2', $pdu)) {
        $self->replace_out($self->{follow}->('out'))->{queue} = [];
    }
    elsif (decode("$form/A6", $pdu)) {
        $self->{new_out}->put(rts('OUT_R2/C1')) if $form eq 'OUT_R2';
        $self->{in}->put(rts("$form/A7", new => $self->{new_out_cookie}));
    }
    elsif (decode($form eq 'OUT_R1' ? 'OUT_R1/A10' : 'OUT_R2/B3', $pdu)) {
        $self->switch_out($form);
        $self->{old_out}->close;
        push @{ $self->{got} }, @{ delete $self->{out}{queue} };
        $self->{replaced}{$form}++;
    }
    elsif (my $a4 = decode('IN_R1/A4', $pdu) || decode('IN_R2/A4', $pdu)) {
        $self->switch_in($a4);
        $self->{old_in}->flush->close;
        $self->{replaced}{ $a4->{window} ? 'IN_R1' : 'IN_R2' }++;
    }
    else { croak 'not part of a replacement: ' . describe($pdu) }
    return;
}

sub close {
    my ($self) = @_;
    $_ && $_->close for @$self{qw(in out new_in new_out old_in old_out)};
    return;
}

1;
