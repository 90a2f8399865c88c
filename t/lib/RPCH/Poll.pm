package RPCH::Poll;

# One select() loop for all connections of a test, of clients and of server doubles. A test says what it
# waits for, and all connections are served until this has come or the time is over.

use strict;
use warnings;
use Carp qw(croak);
use Time::HiRes ();
use Exporter 'import';

our @EXPORT_OK = qw(wait_for turn);
our $TIMEOUT = $ENV{RPCH_TIMEOUT} || 60;    # seconds to wait for one event, however busy the machine is

our $PACE = 0.05;                             # seconds between two looks at what no peer tells, such as a log

my %peers;

sub add    { $peers{ 0 + $_[0] } = $_[0] }
sub remove { delete $peers{ 0 + $_[0] } }

# Waits until COND returns true, and returns that. Dies after $TIMEOUT, with WHAT in its message.
sub wait_for {
    my ($what, $cond, $timeout) = @_;
    my $end = Time::HiRes::time() + ($timeout // $TIMEOUT);
    while (1) {
        my $r = $cond->();
        return $r if $r;
        my $left = $end - Time::HiRes::time();
        croak "timed out waiting for $what; " . join('; ', map { $_->state } values %peers)
            if $left <= 0;
        turn($left < $PACE ? $left : $PACE);
    }
}

# Serves all peers once; waits for at most SECONDS for an event.
sub turn {
    my ($seconds) = @_;
    my ($r, $w) = ('', '');
    for my $p (my @all = values %peers) {
        my $fd = $p->{fd};
        vec($r, $fd, 1) = 1 if $p->wants_read;
        vec($w, $fd, 1) = 1 if $p->wants_write;
        $seconds = 0 if $p->buffered;
    }
    my ($rr, $ww) = ($r, $w);
    my $n = select $rr, $ww, undef, $seconds;
    ($rr, $ww) = ('', '') if $n < 0;
    for my $p (my @all = values %peers) {
        next if !defined $p->{fd};      # an event of another peer has closed it
        $p->can_write if vec $ww, $p->{fd}, 1;
        $p->can_read if defined $p->{fd} && $p->wants_read && (vec($rr, $p->{fd}, 1) || $p->buffered);
    }
}

package RPCH::Peer;

# One end of a byte stream, plain or TLS. Subclasses override received().

use strict;
use warnings;
use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Socket::IP;
use IO::Socket::SSL;
use Time::HiRes ();

sub new {
    my ($class, %arg) = @_;
    my $fh = $arg{fh};
    $fh->blocking(0);
    binmode $fh;
    my $self = bless { in => '', out => '', reading => 1, total_in => 0, total_out => 0, %arg,
                       fd => fileno $fh, tls => $fh->isa('IO::Socket::SSL') }, $class;
    RPCH::Poll::add($self);
    return $self;
}

# Connects, and does the handshake of TLS, before it returns. FROM is the address to connect from.
sub dial {
    my ($class, %arg) = @_;
    my $fh = IO::Socket::IP->new(PeerHost => $arg{host} // '127.0.0.1', PeerPort => $arg{port},
                                 Timeout => $RPCH::Poll::TIMEOUT, GetAddrInfoFlags => 0,
                                 $arg{from} ? (LocalHost => $arg{from}) : ())
        or die "cannot connect to port $arg{port}: $@\n";
    setsockopt $fh, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), $arg{rcvbuf} if $arg{rcvbuf};
    $fh->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
    if (my $tls = $arg{tls}) {
        $fh = IO::Socket::SSL->start_SSL($fh, SSL_verifycn_scheme => 'http', %$tls)
            or die "TLS: $SSL_ERROR\n";
    }
    return $class->new(%arg, fh => $fh);
}

sub put {
    my ($self, $bytes) = @_;
    $self->{out} .= $bytes;
    $self->can_write if !$self->{hold};
    return $self;
}

# Sends BYTES in pieces of these sizes, each by a write of its own. The last size repeats.
sub dribble {
    my ($self, $bytes, @sizes) = @_;
    while (length $bytes) {
        my $n = @sizes > 1 ? shift @sizes : $sizes[0];
        $self->put(substr $bytes, 0, $n, '');
        $self->flush;
    }
    return $self;
}

# Waits until all that was put is written.
sub flush {
    my ($self) = @_;
    RPCH::Poll::wait_for("$self->{name} to be written",
                         sub { $self->{error} || $self->{closed} || !length $self->{out} });
    return $self;
}

sub wants_read  { my $s = shift; return $s->{reading} && !$s->{eof} && !$s->{closed} }
sub wants_write { my $s = shift; return length $s->{out} && !$s->{hold} && !$s->{error} && !$s->{closed} }
sub buffered    { my $s = shift; return $s->{tls} && $s->wants_read && $s->{fh}->pending }

# Stops reading, so that the peer gets back-pressure; with 0, reads again.
sub stop_reading { my ($s, $off) = @_; $s->{reading} = !($off // 1); return $s }
# Stops writing and keeps the bytes that are put; with 0, writes again.
sub hold { my ($s, $on) = @_; $s->{hold} = $on // 1; $s->can_write if !$s->{hold}; return $s }

sub can_read {
    my ($self) = @_;
    my $n = sysread $self->{fh}, my $bytes, 65536;
    if ($n) {
        $self->{in} .= $bytes;
        $self->{total_in} += $n;
        $self->received;
    }
    elsif (defined $n) { $self->{eof} = 1; $self->received }
    elsif (!$self->again) { $self->{eof} = 1; $self->{error} = "$!"; $self->received }
}

sub can_write {
    my ($self) = @_;
    while (length $self->{out} && !$self->{closed}) {
        local $SIG{PIPE} = 'IGNORE';
        # A TLS write that has to wait must be repeated with the same bytes
        my $n = syswrite $self->{fh}, $self->{out}, length $self->{out} > 16384 ? 16384 : length $self->{out};
        if (defined $n) { $self->{total_out} += $n; substr $self->{out}, 0, $n, ''; next }
        return if $self->again;
        $self->{error} = "$!";
        $self->{out} = '';
    }
}

sub again {
    my ($self) = @_;
    return 1 if $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR};
    return $self->{tls} && ($SSL_ERROR == SSL_WANT_READ || $SSL_ERROR == SSL_WANT_WRITE);
}

sub received { }

sub wait_eof {
    my ($self, $timeout) = @_;
    RPCH::Poll::wait_for("$self->{name} to be closed", sub { $self->{eof} }, $timeout);
    return 1;
}

sub close {
    my ($self) = @_;
    return if $self->{closed}++;
    RPCH::Poll::remove($self);
    delete $self->{fd};
    $self->{tls} ? $self->{fh}->close(SSL_no_shutdown => 0) : close $self->{fh};
}

# Closes without TLS's close_notify, as when a process ends.
sub vanish {
    my ($self) = @_;
    return if $self->{closed}++;
    RPCH::Poll::remove($self);
    delete $self->{fd};
    $self->{tls} ? $self->{fh}->close(SSL_no_shutdown => 1) : CORE::close $self->{fh};
}

# Closes so that the other end gets a reset.
sub reset {
    my ($self) = @_;
    setsockopt $self->{fh}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'ii', 1, 0;
    return $self->vanish;
}

sub state {
    my ($self) = @_;
    return sprintf '%s: %d in, %d out waiting%s', $self->{name}, length $self->{in},
        length $self->{out}, $self->{eof} ? ', eof' : '';
}

1;
