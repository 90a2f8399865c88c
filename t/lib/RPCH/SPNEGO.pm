package RPCH::SPNEGO;

# SPNEGO of a client (RFC 4178): the wrapper of NTLM in HTTP's Negotiate, in DER, right or wrong.

use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(der neg_init neg_resp mech_list read_resp);

our %OID = (spnego => '2b0601050502', ntlm => '2b06010401823702020a', krb5 => '2a864886f712010202',
            ms_krb5 => '2a864882f712010202');
my %NAME = reverse %OID;
my @STATE = qw(accept-completed accept-incomplete reject request-mic);

sub der {
    my ($tag, $content) = @_;
    my $n = length $content;
    return pack('C', $tag) . ($n < 0x80 ? pack 'C', $n : $n < 0x100 ? pack 'C C', 0x81, $n : pack 'C n', 0x82,
        $n) . $content;
}

sub field { my ($number, $tag, $content) = @_; return der(0xa0 + $number, der($tag, $content)) }

# The bytes that mechListMIC signs.
sub mech_list { return der(0x30, join '', map { der(0x06, pack 'H*', $OID{$_} // $_) } @_) }

# NegTokenInit. OPT: mechs (names or OIDs in hex), token, mic, bare (without the frame of GSSAPI).
sub neg_init {
    my (%opt) = @_;
    my $fields = der(0xa0, mech_list(@{ $opt{mechs} }));
    $fields .= field(2, 0x04, $opt{token}) if defined $opt{token};
    $fields .= field(3, 0x04, $opt{mic}) if defined $opt{mic};
    my $init = der(0xa0, der(0x30, $fields));
    return $opt{bare} ? $init : der(0x60, der(0x06, pack 'H*', $OID{spnego}) . $init);
}

# NegTokenResp. OPT: state (number), mech, token, mic.
sub neg_resp {
    my (%opt) = @_;
    my $fields = '';
    $fields .= field(0, 0x0a, chr $opt{state}) if defined $opt{state};
    $fields .= field(1, 0x06, pack 'H*', $OID{ $opt{mech} }) if defined $opt{mech};
    $fields .= field(2, 0x04, $opt{token}) if defined $opt{token};
    $fields .= field(3, 0x04, $opt{mic}) if defined $opt{mic};
    return der(0xa1, der(0x30, $fields));
}

# The next element: its tag, its content, and the bytes behind it.
sub next_element {
    my ($bytes) = @_;
    my ($tag, $n) = unpack 'C C', $bytes;
    my $at = 2;
    if ($n & 0x80) {
        my $more = $n & 0x7f;
        $n = hex unpack 'H*', substr $bytes, 2, $more;
        $at += $more;
    }
    die "DER is cut off\n" if $at + $n > length $bytes;
    return ($tag, substr($bytes, $at, $n), substr $bytes, $at + $n);
}

# Reads a NegTokenResp: {state, mech, token, mic}, without the fields that it does not have.
sub read_resp {
    my ($bytes) = @_;
    my ($tag, $inner, $rest) = next_element($bytes);
    die "no NegTokenResp\n" if $tag != 0xa1 || length $rest;
    my ($sequence, $fields) = next_element($inner);
    die "no sequence\n" if $sequence != 0x30;
    my %out;
    while (length $fields) {
        ($tag, $inner, $fields) = next_element($fields);
        my (undef, $value) = next_element($inner);
        $out{ (qw(state mech token mic))[$tag - 0xa0] } = $value;
    }
    $out{state} = $STATE[ord $out{state}] if defined $out{state};
    $out{mech} = $NAME{ unpack 'H*', $out{mech} } if defined $out{mech};
    return \%out;
}

1;
