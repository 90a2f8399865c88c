package RPCH::Records;

# An HTTP connection whose client makes the records of TLS 1.2 itself, for records that no library sends. A
# library shakes hands, and the keys follow from the secret that it tells.

use strict;
use warnings;
use Crypt::AuthEnc::GCM qw(gcm_encrypt_authenticate gcm_decrypt_verify);
use Digest::SHA qw(hmac_sha256);
use IO::Socket::INET;
use IO::Socket::SSL;
use Net::SSLeay;
use RPCH::HTTP;
use parent -norequire, 'RPCH::HTTP';

use constant { ALERT => 21, HANDSHAKE => 22, DATA => 23 };
use constant CIPHERS => 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256';

# ARG: port, name, rcvbuf.
sub dial {
    my ($class, %arg) = @_;
    my $tcp = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $arg{port}) or die "port $arg{port}: $@\n";
    setsockopt $tcp, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), $arg{rcvbuf} if $arg{rcvbuf};
    my $raw = IO::Socket::INET->new_from_fd(fileno $tcp, '+<') or die "dup: $!\n";
    my $tls = IO::Socket::SSL->start_SSL($tcp, SSL_version => 'TLSv1_2', SSL_cipher_list => CIPHERS, SSL_verify_mode => SSL_VERIFY_NONE)
        or die "TLS: $SSL_ERROR\n";
    $raw->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
    return $class->new(%arg, fh => $raw, keys_of($tls->_get_ssl_object), raw_in => '', alerts => [], session => $tls);
}

# The keys and the beginnings of the nonces (RFC 5246, 5 and 6.3). The handshake's last messages had number 0.
sub keys_of {
    my ($ssl) = @_;
    my $master = Net::SSLeay::SESSION_get_master_key(Net::SSLeay::get_session($ssl));
    my $seed = 'key expansion' . Net::SSLeay::get_server_random($ssl) . Net::SSLeay::get_client_random($ssl);
    my $a = hmac_sha256($seed, $master);
    my $block = hmac_sha256($a . $seed, $master) . hmac_sha256(hmac_sha256($a, $master) . $seed, $master);
    my ($ours, $theirs, $our_iv, $their_iv) = unpack 'a16 a16 a4 a4', $block;
    return (ours => { key => $ours, iv => $our_iv, number => 0 }, theirs => { key => $theirs, iv => $their_iv, number => 0 });
}

# A record of AES-GCM (RFC 5288).
sub record {
    my ($self, $type, $content) = @_;
    my $to = $self->{ours};
    my $number = pack 'Q>', ++$to->{number};
    my $head = pack 'C n', $type, 0x303;
    my ($sealed, $tag) = gcm_encrypt_authenticate('AES', $to->{key}, $to->{iv} . $number, $number . $head . pack('n', length $content), $content);
    return $head . pack 'n/a*', $number . $sealed . $tag;
}

# The content of a record that has come.
sub opened {
    my ($self, $type, $sealed) = @_;
    my $from = $self->{theirs};
    my $head = pack 'Q> C n n', ++$from->{number}, $type, 0x303, length($sealed) - 24;
    my ($nonce, $text, $tag) = unpack 'a8 a' . (length($sealed) - 24) . ' a16', $sealed;
    return gcm_decrypt_verify('AES', $from->{key}, $from->{iv} . $nonce, $head, $text, $tag) // die "$self->{name}: a record is damaged\n";
}

# Sends bytes as they are, which may be records.
sub put_raw { my ($self, @records) = @_; return $self->SUPER::put(join '', @records) }

# Sends BYTES in records of this size, that of {piece}, or as large as any.
sub put {
    my ($self, $bytes, $size) = @_;
    $size //= $self->{piece} // 16_384;
    return $self->put_raw(map { $self->data($_) } unpack "(a$size)*", $bytes);
}

sub data    { my ($self, $bytes) = @_; return $self->record(DATA, $bytes) }
sub alert   { my ($self, $level, $code) = @_; return $self->record(ALERT, pack 'CC', $level, $code) }
sub warning { my ($self, $code) = @_; return $self->alert(1, $code) }

# The smallest ClientHello, which begins another handshake.
sub hello {
    my ($self) = @_;
    my $body = pack('n a32 C', 0x303, 'r' x 32, 0) . pack('n/a* C/a*', pack('n', 0x3b), "\0");
    return $self->record(HANDSHAKE, pack('C C n', 1, 0, length $body) . $body);
}

sub can_read {
    my ($self) = @_;
    my $n = sysread $self->{fh}, my $bytes, 65_536;
    return if !defined $n && $self->again;
    $self->{eof} = 1 if !$n;
    $self->{raw_in} .= $bytes if $n;
    while (length $self->{raw_in} >= 5 && length $self->{raw_in} >= 5 + (my $size = unpack 'x3 n', $self->{raw_in})) {
        my $type = ord $self->{raw_in};
        my $content = $self->opened($type, substr $self->{raw_in}, 5, $size);
        substr $self->{raw_in}, 0, 5 + $size, '';
        if ($type == DATA) { $self->{in} .= $content; $self->{total_in} += length $content }
        elsif ($type == ALERT) { push @{ $self->{alerts} }, unpack 'x C', $content }
    }
    return $self->received;
}

sub close { my ($self) = @_; $self->SUPER::close; return $self->{session}->close(SSL_no_shutdown => 1) }

1;
