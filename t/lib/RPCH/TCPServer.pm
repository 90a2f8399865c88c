package RPCH::TCPServer;

# A DCE/RPC server over plain TCP (ncacn_ip_tcp), as Samba is: it accepts binds and echoes requests.
# It ignores RTS PDUs and counts them.

use strict;
use warnings;
use IO::Socket::IP;
use RPCH::Poll qw(wait_for);
use parent -norequire, 'RPCH::Peer';

# ARG: host, port, quiet (answers nothing), stalled (reads nothing), raw (leaves all bytes in {in}), tls
# (hash for IO::Socket::SSL).
sub new {
    my ($class, %arg) = @_;
    my $host = $arg{host} // '127.0.0.1';
    my $fh = IO::Socket::IP->new(LocalHost => $host, LocalPort => $arg{port} // 0, Listen => 1024, ReuseAddr => 1,
                                 GetAddrInfoFlags => 0) or die "cannot listen on $host: $@\n";
    my $self = $class->SUPER::new(%arg, fh => $fh, tls_of_peers => $arg{tls}, name => 'TCP server', new => [], all => []);
    $self->{port} = $fh->sockport;
    return $self;
}

# The client is another process, so a handshake may wait.
sub can_read {
    my ($self) = @_;
    my $class = $self->{raw} ? 'RPCH::Peer' : 'RPCH::TCPServer::Connection';
    while (my $fh = $self->{fh}->accept) {
        my $tls = $self->{tls_of_peers};
        next if $tls && !IO::Socket::SSL->start_SSL($fh, SSL_server => 1, %$tls);
        $fh->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
        my $c = $class->new(fh => $fh, server => $self, got => [], rts => 0, name => 'TCP connection', reading => !$self->{stalled});
        push @{ $self->{new} }, $c;
        push @{ $self->{all} }, $c;
    }
}

sub connections { return scalar @{ $_[0]{all} } }

sub connection {
    my ($self) = @_;
    wait_for('a TCP connection', sub { @{ $self->{new} } });
    return shift @{ $self->{new} };
}

sub close {
    my ($self) = @_;
    $_->close for @{ $self->{all} };
    return $self->SUPER::close;
}

package RPCH::TCPServer::Connection;

use strict;
use warnings;
use RPCH::PDU qw(cut is_rts);
use RPCH::RPC qw(bind_ack_pdu response_pdu rpc_parse BIND REQUEST);
use parent -norequire, 'RPCH::Peer';

sub received {
    my ($self) = @_;
    while (defined(my $pdu = cut(\$self->{in}))) {
        if (is_rts($pdu)) { $self->{rts}++; next }
        push @{ $self->{got} }, $pdu;
        next if $self->{server}{quiet};
        my $p = rpc_parse($pdu);
        $self->put(bind_ack_pdu(call => $p->{call})) if $p->{ptype} == BIND;
        $self->put(response_pdu($p->{stub}, call => $p->{call})) if $p->{ptype} == REQUEST;
    }
    return;
}

1;
