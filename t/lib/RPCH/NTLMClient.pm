package RPCH::NTLMClient;

# The client's half of NTLM ([MS-NLMP] 3.1), right or wrong in whatever a test wants to be wrong.

use strict;
use warnings;
use Digest::MD5 qw(md5);
use Digest::SHA ();
use Encode qw(encode decode);
use MIME::Base64 qw(encode_base64 decode_base64);

# NT hashes of the tests' passwords, so that nobody here needs MD4.
our %NT_HASH = (secret => '878D8014606CDA29677A44EFA1353FC7', hidden => '77E2ECB23C9565F1685608016EBEA9B8');

use constant { UNICODE => 0x1, OEM => 0x2, REQUEST_TARGET => 0x4, SIGN => 0x10, NTLM => 0x200, ALWAYS_SIGN => 0x8000,
               EXTENDED => 0x80000, TARGET_INFO => 0x800000, KEY_EXCH => 0x40000000, K128 => 0x20000000 };

sub hmac_md5 {
    my ($key, $data) = @_;
    $key .= "\0" x (64 - length $key);
    return md5(($key ^ "\x5c" x 64) . md5(($key ^ "\x36" x 64) . $data));
}
sub utf16 { return encode('UTF-16LE', $_[0]) }

# ARG: user, domain, password; what is wrong with it, see authenticate().
sub new { my ($class, %arg) = @_; return bless { user => 'alice', domain => '', password => 'secret', %arg }, $class }

sub negotiate {
    my ($self, %over) = @_;
    my $flags = $over{flags} // (UNICODE | OEM | REQUEST_TARGET | NTLM | ALWAYS_SIGN | EXTENDED | K128);
    return $self->{negotiate} = pack('a8 V V', "NTLMSSP\0", 1, $flags) . ($over{rest} // pack('(v v V)2', 0, 0, 32, 0, 0, 32));
}

# What the server says: flags, nonce, and pairs by number.
sub take_challenge {
    my ($self, $bytes) = @_;
    my ($signature, $type, $nlen, undef, $nat, $flags, $nonce, undef, undef, $ilen, undef, $iat) =
        unpack 'a8 V v v V V a8 V V v v V', $bytes;
    die "no challenge\n" if $signature ne "NTLMSSP\0" || $type != 2;
    my $info = substr $bytes, $iat, $ilen;
    my (%pair, $rest);
    for ($rest = $info; length $rest; ) {
        my ($id, $len) = unpack 'v v', $rest;
        last if !$id;
        $pair{$id} = substr $rest, 4, $len;
        $rest = substr $rest, 4 + $len;
    }
    return $self->{challenge} = { bytes => $bytes, flags => $flags, nonce => $nonce, pairs => \%pair,
                                  target => substr($bytes, $nat, $nlen) };
}

# tls-server-end-point of a certificate in DER, hashed with ALGORITHM.
sub binding {
    my ($der, $algorithm) = @_;
    my $data = 'tls-server-end-point:' . Digest::SHA->new($algorithm // 256)->add($der)->digest;
    return md5(pack('V5', 0, 0, 0, 0, length $data) . $data);
}

# OVER: mic => 0 (none), 'wrong', 'zero'; binding (16 bytes); time (seconds off); flags; oem;
# nt (the response itself); user, domain, password; pairs (text, instead of all).
sub authenticate {
    my ($self, %over) = @_;
    my %a = (mic => 1, oem => 0, time => 0, %$self, %over);
    my ($c, $mic) = ($self->{challenge}, $a{mic});
    my $name = $a{oem} ? sub { $_[0] } : \&utf16;
    my $time = pack 'Q<', unpack('Q<', $c->{pairs}{7}) + $a{time} * 10_000_000;
    my $pairs = $a{pairs} // join '', (map { pack 'v v/a', $_, $c->{pairs}{$_} } grep { $_ != 7 } sort { $a <=> $b } keys %{ $c->{pairs} }),
        pack('v v/a', 7, $time), $mic ? pack('v v V', 6, 4, 2) : (), defined $a{binding} ? pack('v v/a', 10, $a{binding}) : (), pack('V', 0);
    my $key = hmac_md5(pack('H*', $NT_HASH{ $a{password} } // 'f' x 32), utf16(uc $a{user}) . utf16($a{domain}));
    my $blob = pack('C C x6 a8 a8 x4', 1, 1, $time, 'nonce..!') . $pairs . "\0" x 4;
    my $proof = hmac_md5($key, $c->{nonce} . $blob);
    my @fields = ("\0" x 24, $a{nt} // $proof . $blob, $name->($a{domain}), $name->($a{user}), $name->('WS'), '');
    my $head = $mic ? 88 : 64;
    my ($at, $descriptors, $body) = ($head, '', '');
    for (@fields) { $descriptors .= pack 'v v V', length, length, $at + length $body; $body .= $_ }
    my $flags = $a{flags} // (($c->{flags} & ~(UNICODE | OEM)) | ($a{oem} ? OEM : UNICODE));
    my $message = pack('a8 V', "NTLMSSP\0", 3) . $descriptors . pack('V', $flags) . ($mic ? pack('a8 x16', "\6\1\0\0\0\0\0\x0f") : '') . $body;
    return $message if !$mic || $mic eq 'zero';
    my $value = hmac_md5(hmac_md5($key, $proof), $self->{negotiate} . $c->{bytes} . $message);
    substr $message, 72, 16, $mic eq 'wrong' ? $value ^ ("\1" x 16) : $value;
    $self->{session_key} = hmac_md5($key, $proof);
    return $message;
}

sub header { my ($scheme, $message) = @_; return "Authorization: $scheme " . encode_base64($message, '') }

# The token in the answer's WWW-Authenticate of that scheme, or undef.
sub token {
    my ($head, $scheme) = @_;
    my ($text) = grep { defined } map { /^\Q$scheme\E (\S+)$/ ? $1 : undef } split /\n|,\s*(?=[A-Z])/, $head->{headers}{'www-authenticate'} // '';
    return defined $text ? decode_base64($text) : undef;
}

1;
