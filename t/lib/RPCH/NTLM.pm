package RPCH::NTLM;

# A client of NTLM ([MS-NLMP]) that can do everything right, or any one thing wrong. One object is one
# login: negotiate(), then challenge() with the message of the server, then authenticate(). ask() and
# login() carry these messages over an HTTP connection. MD4 is written out here, because not every
# OpenSSL has it.

use strict;
use warnings;
use Carp qw(croak);
use Digest::MD5 qw(md5);
use Digest::SHA ();
use Encode qw(encode decode);
use Exporter 'import';
use MIME::Base64 qw(encode_base64 decode_base64);
use Time::HiRes ();

our @EXPORT_OK = qw(md4 hmac_md5 rc4 nt_hash smbpasswd_line end_point_binding peer_der filetime);

# NegotiateFlags (2.2.2.5)
use constant {
    UNICODE => 0x1, OEM => 0x2, REQUEST_TARGET => 0x4, SIGN => 0x10, NTLM => 0x200, ANONYMOUS => 0x800,
    WITH_DOMAIN => 0x1000, WITH_WORKSTATION => 0x2000, ALWAYS_SIGN => 0x8000, EXTENDED => 0x80000,
    TARGET_INFO => 0x800000, VERSION => 0x2000000, KEY_128 => 0x20000000, KEY_EXCH => 0x40000000,
};
# AvId (2.2.2.1)
my @AV = qw(eol nb_computer nb_domain dns_computer dns_domain dns_tree flags timestamp single_host target bindings);
my %AV = map { $AV[$_] => $_ } 0 .. $#AV;
my $WINDOWS_10 = pack 'C C v x3 C', 10, 0, 19041, 15;

# ARG: user, password, domain and workstation are texts. The other choices are:
#   oem          names have one byte a character, and are not in Unicode
#   version      0: messages without a Version field
#   names        NEGOTIATE shows domain and workstation
#   flags, no_flags  NegotiateFlags to set, and to leave out, in NEGOTIATE
#   mic          1: a MIC; 0: no MIC, and none announced; or 'wrong', 'zero', 'missing' (announced, but
#                the message has no place for it), 'unpromised' (right, but not announced)
#   binding      MsvAvChannelBindings, 16 bytes; undef: none
#   target       MsvAvTargetName, text; undef: none
#   late         seconds by which the timestamp is ahead of the clock
#   pairs        AV pairs to append, [id, value]
#   key_exch     1: a session key that the client chooses; 'flag': only the flag, without a key
#   v1           an NTLMv1 response
#   anonymous    no user and no response
#   hash         the NT hash, instead of a password
sub new {
    my ($class, %arg) = @_;
    return bless { user => 'alice', password => 'secret', domain => '', workstation => 'CLIENT', version => 1,
                   mic => 1, late => 0, pairs => [], flags => 0, no_flags => 0, %arg }, $class;
}

# ---- arithmetic ----

sub rotate { my ($v, $n) = @_; return ($v << $n | $v >> 32 - $n) & 0xffffffff }

# RFC 1320
sub md4 {
    my ($text) = @_;
    my @place = (0 .. 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    my @shift = ([3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]);
    my @add = (0, 0x5a827999, 0x6ed9eba1);
    my @mix = (sub { $_[0] & $_[1] | ~$_[0] & $_[2] }, sub { $_[0] & $_[1] | $_[0] & $_[2] | $_[1] & $_[2] },
               sub { $_[0] ^ $_[1] ^ $_[2] });
    my @state = (0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
    my $padded = $text . "\x80" . "\0" x ((55 - length $text) % 64) . pack 'Q<', 8 * length $text;
    for my $block (unpack '(a64)*', $padded) {
        my @x = unpack 'V16', $block;
        my ($a, $b, $c, $d) = @state;
        for my $i (0 .. 47) {
            my $round = int $i / 16;
            my $sum = $a + ($mix[$round]->($b, $c, $d) & 0xffffffff) + $x[$place[$i]] + $add[$round];
            ($a, $b, $c, $d) = ($d, rotate($sum & 0xffffffff, $shift[$round][$i % 4]), $b, $c);
        }
        my @new = ($a, $b, $c, $d);
        @state = map { $state[$_] + $new[$_] & 0xffffffff } 0 .. 3;
    }
    return pack 'V4', @state;
}

sub hmac_md5 {
    my ($text, $key) = @_;
    $key .= "\0" x (64 - length $key);
    return md5(($key ^ "\x5c" x 64) . md5(($key ^ "\x36" x 64) . $text));
}

sub rc4 {
    my ($key, $text) = @_;
    my @key = unpack 'C*', $key;
    my @s = 0 .. 255;
    my ($i, $j, $out) = (0, 0, '');
    for my $n (0 .. 255) {
        $j = ($j + $s[$n] + $key[$n % @key]) & 255;
        @s[$n, $j] = @s[$j, $n];
    }
    $j = 0;
    for my $byte (unpack 'C*', $text) {
        $i = ($i + 1) & 255;
        $j = ($j + $s[$i]) & 255;
        @s[$i, $j] = @s[$j, $i];
        $out .= chr($byte ^ $s[($s[$i] + $s[$j]) & 255]);
    }
    return $out;
}

# DES of one block under 7 bytes of key: triple DES with one key, which every openssl has.
sub des {
    my ($key, $block) = @_;
    my $bits = unpack 'B*', $key;
    my $hex = join '', map { unpack 'H2', pack 'B8', "${_}0" } $bits =~ /(.{7})/g;
    my $octal = join '', map { sprintf '\\%03o', $_ } unpack 'C*', $block;
    my $out = qx(printf '$octal' | openssl enc -des-ede3 -K $hex$hex$hex -nopad | od -An -tx1);
    $out =~ s/\s//g;
    length $out == 16 or croak "openssl: no DES: $out";
    return pack 'H*', $out;
}

sub utf16 { return encode('UTF-16LE', $_[0]) }
# Upper case as Windows makes it: each character becomes one character.
sub upper { return join '', map { length(uc) == 1 ? uc : $_ } split //, $_[0] }
sub filetime { return int((($_[0] // Time::HiRes::time()) + 11_644_473_600) * 10_000_000) }

sub nt_hash { return md4(utf16($_[0])) }

# A line of smbpasswd(5).
sub smbpasswd_line {
    my ($user, $password, $flags) = @_;
    return sprintf "%s:1000:%s:%s:[%-11s]:LCT-00000000:\n", encode('UTF-8', $user), 'X' x 32,
        uc unpack('H*', nt_hash($password)), $flags // 'U';
}

# tls-server-end-point (RFC 5929) of a certificate in DER, as MsvAvChannelBindings has it.
sub end_point_binding {
    my ($der, $hash) = @_;
    my $data = 'tls-server-end-point:' . Digest::SHA->new($hash // 256)->add($der)->digest;
    return md5(pack('x16 V', length $data) . $data);
}

# The certificate that a connection has shown.
sub peer_der {
    my ($http) = @_;
    my $pem = Net::SSLeay::PEM_get_string_X509($http->{fh}->peer_certificate);
    $pem =~ s/-----[^-]+-----//g;
    return decode_base64($pem);
}

# ---- messages ----

sub text { my ($self, $text) = @_; return $self->{oem} ? encode('cp1252', $text) : utf16($text) }

sub client_flags {
    my ($self) = @_;
    my $flags = ($self->{oem} ? OEM : UNICODE) | REQUEST_TARGET | NTLM | ALWAYS_SIGN | EXTENDED | KEY_128;
    $flags |= VERSION if $self->{version};
    $flags |= KEY_EXCH if $self->{key_exch};
    return ($flags | $self->{flags}) & ~$self->{no_flags};
}

# NEGOTIATE_MESSAGE (2.2.1.1). Its names are always OEM.
sub negotiate {
    my ($self) = @_;
    my @names = $self->{names} ? map { encode('cp1252', uc $self->{$_}) } qw(domain workstation) : ('', '');
    my $flags = $self->client_flags;
    $flags |= WITH_DOMAIN if length $names[0];
    $flags |= WITH_WORKSTATION if length $names[1];
    my $at = 32 + ($self->{version} ? 8 : 0);
    my $head = pack 'a8 V V', "NTLMSSP\0", 1, $flags;
    for (@names) {
        $head .= pack 'v v V', length, length, length() ? $at : 0;
        $at += length;
    }
    return $self->{negotiate} = join '', $head, $self->{version} ? $WINDOWS_10 : (), @names;
}

# 2.2.1.2: {flags, nonce, name, info (text by name of its pair), pairs ([id, value]), version}
sub read_challenge {
    my ($bytes) = @_;
    my ($signature, $type, $length, $offset, $flags, $nonce) = unpack 'a8 V v x2 V V a8', $bytes;
    croak 'no CHALLENGE' if length $bytes < 48 || $signature ne "NTLMSSP\0" || $type != 2;
    my ($info_length, $info_offset) = unpack 'x40 v x2 V', $bytes;
    croak 'a field outside the CHALLENGE'
        if $offset + $length > length $bytes || $info_offset + $info_length > length $bytes;
    my $name = substr $bytes, $offset, $length;
    my @pairs = pairs(substr $bytes, $info_offset, $info_length);
    my %info;
    for (@pairs) {
        my ($id, $value) = @$_;
        $info{ $AV[$id] // $id } = $id == $AV{timestamp} ? unpack('Q<', $value) : decode('UTF-16LE', $value);
    }
    return { flags => $flags, nonce => $nonce, name => $flags & UNICODE ? decode('UTF-16LE', $name) : $name,
             info => \%info, pairs => \@pairs, version => $flags & VERSION ? substr($bytes, 48, 8) : undef };
}

# Reads AV pairs up to MsvAvEOL, which has to be there.
sub pairs {
    my ($bytes) = @_;
    my @pairs;
    while (length $bytes) {
        my ($id, $value) = unpack 'v v/a', $bytes;
        return @pairs if $id == $AV{eol};
        push @pairs, [$id, $value];
        substr $bytes, 0, 4 + length $value, '';
    }
    croak 'AV pairs without an end';
}

sub challenge {
    my ($self, $bytes) = @_;
    $self->{sent} = read_challenge($bytes);
    $self->{challenge} = $bytes;
    return $self->{sent};
}

sub promises_mic { my ($self) = @_; return $self->{mic} && $self->{mic} ne 'unpromised' }

sub answer_pairs {
    my ($self) = @_;
    my @pairs = @{ $self->{sent}{pairs} };
    push @pairs, [$AV{flags}, pack 'V', 2] if $self->promises_mic;
    push @pairs, [$AV{bindings}, $self->{binding}] if defined $self->{binding};
    push @pairs, [$AV{target}, utf16($self->{target})] if defined $self->{target};
    push @pairs, @{ $self->{pairs} };
    return join '', (map { pack 'v v/a*', @$_ } @pairs), "\0" x 4;
}

# Makes NTLMv2_RESPONSE (3.3.2), and keeps the session key.
sub response {
    my ($self) = @_;
    my $hash = $self->{hash} // nt_hash($self->{password});
    return $self->v1_response($hash) if $self->{v1};
    my $key = hmac_md5(utf16(upper($self->{user}) . $self->{domain}), $hash);
    my $time = ($self->{sent}{info}{timestamp} // filetime()) + $self->{late} * 10_000_000;
    my $nonce = join '', map { chr int rand 256 } 1 .. 8;
    my $blob = pack('C C x6 Q< a8 x4', 1, 1, $time, $nonce) . $self->answer_pairs . "\0" x 4;
    my $proof = hmac_md5($self->{sent}{nonce} . $blob, $key);
    $self->{session_key} = hmac_md5($proof, $key);
    return $proof . $blob;
}

# Makes the NTLMv1 response (3.3.1).
sub v1_response {
    my ($self, $hash) = @_;
    $self->{session_key} = md4($hash);
    return join '', map { des($_, $self->{sent}{nonce}) } unpack '(a7)3', $hash . "\0" x 5;
}

# The session key that the client chooses, encrypted with the other key (3.1.5.1.2).
sub exchange {
    my ($self) = @_;
    return '' if !$self->{key_exch} || $self->{key_exch} eq 'flag';
    my $chosen = join '', map { chr int rand 256 } 1 .. 16;
    my $under = rc4($self->{session_key}, $chosen);
    $self->{session_key} = $chosen;
    return $under;
}

# AUTHENTICATE_MESSAGE (2.2.1.3).
sub authenticate {
    my ($self) = @_;
    my ($user, $domain, $workstation) = map { $self->text($self->{$_}) } qw(user domain workstation);
    my $nt = $self->{anonymous} ? '' : $self->response;
    my $lm = $self->{anonymous} ? "\0" : "\0" x 24;
    ($user, $domain) = ('', '') if $self->{anonymous};
    my $place = $self->{mic} && $self->{mic} ne 'missing';
    my $front = 64 + ($self->{version} || $place ? 8 : 0) + ($place ? 16 : 0);
    my @fields = ($lm, $nt, $domain, $user, $workstation, $self->{anonymous} ? '' : $self->exchange);
    my $flags = $self->client_flags | ($self->{anonymous} ? ANONYMOUS : 0);
    my ($head, $at) = (pack('a8 V', "NTLMSSP\0", 3), $front);
    for (@fields) {
        $head .= pack 'v v V', length, length, $at;
        $at += length;
    }
    $head .= pack 'V', $flags | TARGET_INFO;
    $head .= $self->{version} ? $WINDOWS_10 : "\0" x 8 if $front > 64;
    return $self->{authenticate} = $self->sealed(join '', $head, $place ? "\0" x 16 : (), @fields);
}

# Adds the MIC of the three messages.
sub sealed {
    my ($self, $message) = @_;
    return $message if !$self->{mic} || $self->{mic} eq 'missing' || $self->{mic} eq 'zero' || $self->{anonymous};
    my $mic = hmac_md5($self->{negotiate} . $self->{challenge} . $message, $self->{session_key});
    substr($mic, 7, 1) ^= "\x10" if $self->{mic} eq 'wrong';
    substr $message, 72, 16, $mic;
    return $message;
}

# The signature of the first message, by 'client' or 'server' (3.4.4.2): SPNEGO's mechListMIC.
sub signature {
    my ($self, $by, $data) = @_;
    my $direction = $by eq 'client' ? 'client-to-server' : 'server-to-client';
    my ($sign, $seal) = map { md5("$self->{session_key}session key to $direction $_ key magic constant\0") }
                        qw(signing sealing);
    my $mac = substr hmac_md5(pack('V', 0) . $data, $sign), 0, 8;
    $mac = rc4($seal, $mac) if $self->{key_exch};
    return pack 'V a8 V', 1, $mac, 0;
}

# ---- over HTTP ----

# Sends one request with a message and reads the answer to its end: {status, headers, body, token}. The
# status is 'closed' when there is no answer. OPT: the options of RPCH::HTTP's request, method, scheme.
sub ask {
    my ($http, $uri, $message, %opt) = @_;
    my $scheme = delete $opt{scheme} // 'NTLM';
    my @headers = @{ delete $opt{headers} || [] };
    push @headers, "Authorization: $scheme " . encode_base64($message, '') if defined $message;
    $http->request(delete $opt{method} // 'GET', $uri, %opt, headers => \@headers);
    my $head = $http->head or return { status => 'closed', headers => {}, body => '' };
    my %answer = (status => $head->{status}, headers => $head->{headers}, body => $http->body);
    my ($token) = ($head->{headers}{'www-authenticate'} // '') =~ m{\b\Q$scheme\E ([A-Za-z0-9+/]+=*)};
    $answer{token} = decode_base64($token) if defined $token;
    return \%answer;
}

# The first leg of a login. Returns the answer, whose challenge has been read.
sub knock {
    my ($self, $http, $uri, %opt) = @_;
    my $answer = ask($http, $uri, $self->negotiate, %opt);
    $self->challenge($answer->{token}) if defined $answer->{token};
    return $answer;
}

# Both legs of a login. Returns the answer to the second, or to the first when that has no challenge.
sub login {
    my ($self, $http, $uri, %opt) = @_;
    my $answer = $self->knock($http, $uri, %opt);
    return $answer if !defined $answer->{token};
    return ask($http, $uri, $self->authenticate, %opt);
}

1;
