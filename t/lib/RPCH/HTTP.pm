package RPCH::HTTP;

# One HTTP connection of a client: requests of any shape, interim and final answers, and
# PDUs in the body of an answer.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use RPCH::Poll qw(wait_for);
use RPCH::PDU qw(cut);
use parent -norequire, 'RPCH::Peer';

# Sends the header of a request. OPT: length, user and password (Basic), headers (lines), version,
# no_auth, agent. head() and body() read the answer.
sub request {
    my ($self, $method, $uri, %opt) = @_;
    my $version = $opt{version} // '1.1';
    my @head = ("$method $uri HTTP/$version", 'Host: ' . ($opt{host} // 'localhost'),
                'Accept: application/rpc', 'User-Agent: MSRPC', 'Cache-Control: no-cache',
                'Pragma: No-cache', 'Connection: Keep-Alive');
    push @head, "Content-Length: $opt{length}" if defined $opt{length};
    push @head, 'Authorization: Basic ' . encode_base64("$opt{user}:$opt{password}", '')
        if defined $opt{user};
    push @head, @{ $opt{headers} || [] };
    $self->{head} = undef;
    $self->{interim} = [];
    $self->put(join("\r\n", @head) . "\r\n\r\n");
    return $self;
}

# The header of the final answer: {status, reason, line, version, headers}. undef when the connection
# was closed instead.
sub head {
    my ($self, $timeout) = @_;
    wait_for("an answer on $self->{name}", sub { $self->{head} || $self->{eof} }, $timeout);
    return $self->{head};
}

# Waits for "100 Continue".
sub continued {
    my ($self) = @_;
    wait_for("100 Continue on $self->{name}",
             sub { @{ $self->{interim} } || $self->{head} || $self->{eof} });
    return $self->{interim}[0];
}

sub received {
    my ($self) = @_;
    while (!$self->{head} && $self->{in} =~ s/\A(.*?)\r\n\r\n//s) {
        my ($line, @fields) = split /\r\n/, $1;
        my ($version, $status, $reason) = $line =~ m{^HTTP/(\d\.\d) (\d{3}) ?(.*)};
        my %headers;
        for (@fields) {
            my ($name, $value) = /^([^:]+):\s*(.*?)\s*$/ or next;
            $headers{ lc $name } = exists $headers{ lc $name } ? "$headers{ lc $name }, $value" : $value;
        }
        my $head = { line => $line, version => $version // '', status => $status // 0,
                     reason => $reason // '', headers => \%headers };
        if ($head->{status} >= 100 && $head->{status} < 200) { push @{ $self->{interim} }, $line }
        else { $self->{head} = $head }
    }
    $self->{on_input}->($self) if $self->{head} && $self->{on_input};
    return;
}

# Returns N bytes of the body, or fewer if it ends before. Without N: as many as Content-Length says, or
# all chunks as they are.
sub body {
    my ($self, $n) = @_;
    my $headers = defined $n ? {} : $self->head->{headers};
    $n //= $headers->{'content-length'};
    my $chunked = ($headers->{'transfer-encoding'} // '') eq 'chunked';
    wait_for("a body on $self->{name}", sub {
        $self->{eof} || defined $n && length $self->{in} >= $n || $chunked && $self->{in} =~ /(?:^|\r\n)0\r\n\r\n\z/;
    });
    return substr $self->{in}, 0, defined $n && $n < length $self->{in} ? $n : length $self->{in}, '';
}

# The next PDU of the body; undef when the connection ends before it.
sub pdu {
    my ($self, $timeout) = @_;
    my $pdu;
    wait_for("a PDU on $self->{name}",
             sub { return 1 if $self->{head} && defined($pdu = cut(\$self->{in})); $self->{eof} },
             $timeout);
    return $pdu;
}

# The status line of the answer at PORT to alice's request without a body, or "closed".
sub status_line {
    my ($class, $port, $method, $uri, %opt) = @_;
    my $http = $class->dial(port => $port, name => "$method $uri")
        ->request($method, $uri, user => 'alice', password => 'secret', length => 0, %opt);
    my $head = $http->head;
    $http->close;
    return $head ? $head->{line} : 'closed';
}

1;
