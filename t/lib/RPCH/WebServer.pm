package RPCH::WebServer;

# A web server that answers each request as the test says. ANSWER gets {method, uri, headers, length, n,
# connection}: n is the number of the request on its connection, from 1, and connection a hash that is
# kept with the connection. It returns the bytes to send, or nothing.

use strict;
use warnings;
use IO::Socket::IP;
use IO::Socket::SSL;
use RPCH::PDU qw(rts);
use parent -norequire, 'RPCH::Peer';

# ARG: answer, host, fh (a socket that listens, instead of one of its own), tls (hash for IO::Socket::SSL, or
# nothing), greeting (bytes for each connection).
sub new {
    my ($class, %arg) = @_;
    my $fh = $arg{fh} // IO::Socket::IP->new(LocalHost => $arg{host} // '127.0.0.1', LocalPort => 0, Listen => 64) or die "cannot listen: $@\n";
    my $self = $class->SUPER::new(%arg, fh => $fh, tls_of_peers => $arg{tls}, name => 'web server', peers => []);
    $self->{port} = $fh->sockport;
    return $self;
}

# The client is another process, so a blocking TLS handshake is possible.
sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) {
        my $tls = $self->{tls_of_peers};
        next if $tls && !IO::Socket::SSL->start_SSL($fh, SSL_server => 1, Timeout => $RPCH::Poll::TIMEOUT, %$tls);
        push @{ $self->{peers} }, my $peer = RPCH::WebServer::Peer->new(fh => $fh, server => $self, name => 'web client', n => 0);
        $peer->put($self->{greeting}) if defined $self->{greeting};
    }
    return;
}

sub close {
    my ($self) = @_;
    $_->close for @{ $self->{peers} };
    return $self->SUPER::close;
}

# An answer with these header lines; without a Content-Length among them it has no body.
sub answer {
    my ($status, $body, @headers) = @_;
    push @headers, 'Content-Length: ' . length $body if !grep { /^Content-Length:/i } @headers;
    return join("\r\n", "HTTP/1.1 $status", @headers) . "\r\n\r\n" . $body;
}

# The answer of an RPC proxy to an echo request.
sub echo { return answer('200 Success', rts('Echo'), 'Content-Type: application/rpc') }

package RPCH::WebServer::Peer;

use strict;
use warnings;
use parent -norequire, 'RPCH::Peer';

sub received {
    my ($self) = @_;
    $self->skip;    # the next head may come together with the end of a body
    while (!$self->{request} && $self->{in} =~ s/\A(\S+) (\S+) (.*?)\r\n\r\n//s) {
        my ($method, $uri, $headers) = ($1, $2, $3);
        my ($length) = $headers =~ /^Content-Length: (\d+)/mi;
        $self->{request} = { method => $method, uri => $uri, headers => $headers, length => $length // 0, n => ++$self->{n},
                             connection => $self->{notes} //= {} };
        $self->{left} = $self->{request}{length};
        my $bytes = $self->{server}{answer}->($self->{request}, $self);
        $self->put($bytes) if defined $bytes;
        $self->skip;
    }
    $self->close if $self->{eof};
    return;
}

# Discards the body, up to the next request.
sub skip {
    my ($self) = @_;
    return if !$self->{request};
    my $n = length $self->{in} < $self->{left} ? length $self->{in} : $self->{left};
    substr $self->{in}, 0, $n, '';
    $self->{left} -= $n;
    delete $self->{request} if !$self->{left};
    return;
}

1;
