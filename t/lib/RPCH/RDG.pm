package RPCH::RDG;

# A double of a Remote Desktop Gateway that speaks HTTP ([MS-TSGU] 2.2.10 and 3.3): RDG_OUT_DATA and
# RDG_IN_DATA, which the client's RDG-Connection-Id makes a pair, or a WebSocket. It opens every tunnel and
# every channel, and keeps what comes through the channel.

use strict;
use warnings;
use Exporter 'import';
use RPCH::Poll qw(wait_for);
use RPCH::TCPServer;
use parent -norequire, 'RPCH::TCPServer';

our @EXPORT_OK = qw(packet packets chunk frame HANDSHAKE TUNNEL_CREATE TUNNEL_AUTH CHANNEL_CREATE DATA);

use constant { HANDSHAKE => 1, TUNNEL_CREATE => 4, TUNNEL_AUTH => 6, CHANNEL_CREATE => 8, DATA => 10 };
use constant SEED => 'x' x 10;      # what a gateway sends before its first packet

# The body of the answer, whose type is the next greater one: no error, and what the client has to know.
my %ANSWER = (
    HANDSHAKE()      => pack('V C C v v', 0, 1, 0, 0, 0),
    TUNNEL_CREATE()  => pack('v V v v V V', 0, 0, 3, 0, 7, 0x3f),
    TUNNEL_AUTH()    => pack('V v v', 0, 0, 0),
    CHANNEL_CREATE() => pack('V v v V', 0, 1, 0, 1),
);

sub packet { my ($type, $body) = @_; return pack('v x2 V', $type, 8 + length $body) . $body }

# Cuts complete packets off: [TYPE, BODY] of each.
sub packets {
    my ($in) = @_;
    my @all;
    while (length $$in >= 8) {
        my ($type, $size) = unpack 'v x2 V', $$in;
        last if $size < 8 || length $$in < $size;
        push @all, [$type, substr substr($$in, 0, $size, ''), 8];
    }
    return @all;
}

sub chunk { my ($bytes) = @_; return sprintf("%x\r\n", length $bytes) . "$bytes\r\n" }
# Of a WebSocket; a client's has a mask (RFC 6455, 5.2).
sub frame {
    my ($bytes, $mask) = @_;
    my $n = length $bytes;
    my $head = pack 'C C', 0x82, ($mask ? 0x80 : 0) | ($n < 126 ? $n : 126);
    $head .= pack 'n', $n if $n >= 126;
    return $mask ? $head . $mask . masked($bytes, $mask) : $head . $bytes;
}
sub masked { my ($bytes, $mask) = @_; return $bytes ^ substr $mask x (1 + length($bytes) / 4), 0, length $bytes }

# ARG: who, a sub that gets the fields of a request and returns the user, or undef and what to put into
# WWW-Authenticate. A connection is its user's from then on.
sub new { my ($class, %arg) = @_; return $class->SUPER::new(%arg, raw => 1, tunnels => {}) }

sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) {
        $fh->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
        push @{ $self->{all} }, RPCH::RDG::Peer->new(fh => $fh, gateway => $self, name => 'connection to the gateway');
    }
    return;
}

# The tunnel of which a channel has been opened since forget(): {user (by way), calls (types of packets), heard,
# out (the peer)}.
sub tunnel {
    my ($self) = @_;
    my $has_channel = sub { return grep { $_ == CHANNEL_CREATE } @{ $_[0]{calls} } };
    my $found;
    wait_for('a channel', sub { ($found) = grep { $has_channel->($_) } values %{ $self->{tunnels} }; $found });
    return $found;
}
sub forget { my ($self) = @_; $self->{tunnels} = {}; return }

# Sends bytes of the target.
sub say { my ($self, $tunnel, $bytes) = @_; return $tunnel->{out}->send(packet(DATA, pack 'v/a*', $bytes)) }

package RPCH::RDG::Peer;

use strict;
use warnings;
use Digest::SHA qw(sha1_base64);
use parent -norequire, 'RPCH::Peer';

sub received {
    my ($self) = @_;
    while (!$self->{way} && $self->{in} =~ s/\A(\S+) (\S+) (.*?\r\n)\r\n//s) { $self->asked($1, $3) }
    $self->unwrap if $self->{way};
    $self->call(@$_) for RPCH::RDG::packets(\($self->{bytes} //= ''));
    $self->close if $self->{eof};
    return;
}

sub asked {
    my ($self, $method, $fields) = @_;
    my ($user, $challenge) = $self->{gateway}{who} ? $self->{gateway}{who}->($fields) : ('');
    $user //= $self->{user};
    return $self->put("HTTP/1.1 401 Who\r\nWWW-Authenticate: $challenge\r\nContent-Length: 0\r\n\r\n") if !defined $user;
    $self->{user} = $user;
    return $self->put("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") if $method eq 'RDG_IN_DATA' && $fields =~ /^Content-Length: 0\r/mi;
    my ($id) = $fields =~ /^RDG-Connection-Id: (\S+)/mi;
    my $tunnel = $self->{tunnel} = $self->{gateway}{tunnels}{ $id // '' } //= { calls => [], heard => '' };
    my ($key) = $fields =~ /^Sec-WebSocket-Key: (\S+)/mi;
    my $way = $self->{way} = defined $key ? 'socket' : $method eq 'RDG_OUT_DATA' ? 'out' : 'in';
    $tunnel->{user}{$way} = $user;
    $tunnel->{out} = $self if $way ne 'in';
    return $self->put("HTTP/1.1 200 OK\r\nX-User: $user\r\n\r\n" . ($way eq 'out' ? RPCH::RDG::SEED : '')) if $way ne 'socket';
    my $accept = sha1_base64("${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11") . '=';
    return $self->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-User: $user\r\nSec-WebSocket-Accept: $accept\r\n\r\n");
}

# Chunks and frames are taken off.
sub unwrap {
    my ($self) = @_;
    while ($self->{way} eq 'in' && $self->{in} =~ /\A([0-9a-f]+)\r\n/i && length $self->{in} >= $+[0] + hex($1) + 2) {
        my ($from, $n) = ($+[0], hex $1);
        $self->{bytes} .= substr substr($self->{in}, 0, $from + $n + 2, ''), $from, $n;
    }
    while ($self->{way} eq 'socket' && length $self->{in} >= 6) {
        my ($opcode, $n) = unpack 'C C', $self->{in};
        my $at = ($n &= 0x7f) == 126 ? 4 : 2;
        $n = unpack 'x2 n', $self->{in} if $at == 4;
        last if length $self->{in} < $at + 4 + $n;
        my $frame = substr $self->{in}, 0, $at + 4 + $n, '';
        my $bytes = RPCH::RDG::masked(substr($frame, $at + 4), substr $frame, $at, 4);
        $self->{bytes} .= $bytes if ($opcode & 0xf) <= 2;
    }
    return;
}

sub call {
    my ($self, $type, $body) = @_;
    my $tunnel = $self->{tunnel};
    push @{ $tunnel->{calls} }, $type;
    $tunnel->{heard} .= unpack 'v/a*', $body if $type == RPCH::RDG::DATA;
    $tunnel->{out}->send(RPCH::RDG::packet($type + 1, $ANSWER{$type})) if $ANSWER{$type};
    return;
}

sub send { my ($self, $packet) = @_; return $self->put($self->{way} eq 'socket' ? RPCH::RDG::frame($packet) : $packet) }

1;
