#!/usr/bin/perl
# usage: man_page.pl CHAPTER SECTION. Writes a chapter of doc/ as a manual page, in the macros of man(7). The first
# line of the chapter names the page, its field Description says what that is.
#
# It knows of Markdown what these chapters use, and dies at anything else: headings, paragraphs, lists, code,
# links. An entry of a directive becomes a section with its syntax; a list item that begins with code and a
# colon becomes a tagged paragraph.
use strict;
use warnings;
use FindBin qw($Bin);
use Time::Piece;
use lib $Bin;
use Check qw(text_of);

use constant COLUMNS => 78;

my ($source, $section) = @ARGV;
die "usage: $0 CHAPTER SECTION\n" if !$section;
my %SECTION_OF = (rpcping => 1);        # that of the modules is 8
my @PAGES = qw(rpcping mod_auth_ntlm mod_rpc_backend_auth mod_rpcproxy);
my @FIELDS = qw(Syntax Default Context Compatibility);

# Each line that stands between blank ones, and code as a whole.
sub blocks_of {
    my ($text) = @_;
    my @blocks;
    while ($text =~ /\G\n*(?:```\w* ?\w*\n((?s:.*?))^```\n|((?:^ {4}.*\n|\n(?= {4}))+)|((?:^(?!```).+\n)+))/mgc) {
        push @blocks, defined $1 ? { code => $1 } : defined $2 ? { code => $2 =~ s/^ {4}//mgr } : { text => $3 };
    }
    $text =~ /\G\s*\z/g or die "$source: no block: " . substr($text, pos($text) // 0, 60) . "\n";
    return @blocks;
}

sub escaped {
    my ($text) = @_;
    my %as = ('\\' => '\\e', '-' => '\\-', '`' => '\\(ga', "'" => '\\(aq', '~' => '\\(ti', '^' => '\\(ha');
    return $text =~ s/([\\`'~^-])/$as{$1}/gr;
}
sub code { return '\\fB' . escaped($_[0]) . '\\fR' }
sub prose { return $_[0] =~ s/\\/\\e/gr }

# [the text](target): a page of its own, or a chapter, which is named. Within the page the text is enough.
sub link_to {
    my ($text, $target) = @_;
    my ($chapter) = $target =~ m{^([\w-]+)\.md} or return $target =~ /^#/ ? $text : "$text ($target)";
    my $page = $chapter =~ /^mod_/ ? 8 : $SECTION_OF{$chapter} or return "$text (" . $target =~ s/#.*//r . ')';
    my $name = "\\fB$chapter\\fR($page)";
    return $text eq $chapter ? $name : "$text, $name";
}

sub inline {
    my ($text) = @_;
    $text =~ s/\[([^\]]+)\]\(([^)]+)\)/link_to($1, $2)/ge;
    my @parts = split /(`[^`]+`|\*\*.+?\*\*|\*\w[^*]*\*)/, $text;
    return join '', map {
        /^`(.+)`$/ ? code($1) : /^\*\*(.+)\*\*$/ ? "\\fB" . prose($1) . "\\fR" : /^\*(.+)\*$/ ? "\\fI" . prose($1) . "\\fR" : prose($_)
    } @parts;
}

# Text in lines that are not too long; none looks like a macro.
sub filled {
    my ($text) = @_;
    my @lines = ('');
    for my $word (split ' ', inline($text)) {
        push @lines, '' if length $lines[-1] && length("$lines[-1] $word") > COLUMNS;
        $lines[-1] .= (length $lines[-1] ? ' ' : '') . $word;
    }
    return join '', map { s/^(?=[.'])/\\&/r . "\n" } @lines;
}

sub literal {
    my ($code) = @_;
    my $lines = join '', map { escaped($_) =~ s/^(?=[.'])/\\&/r . "\n" } split /\n/, $code;
    return ".PP\n.RS 4\n.nf\n$lines.fi\n.RE\n";
}

sub item {
    my ($text) = @_;
    return ".TP\n" . filled("`$1`") . filled($2) if $text =~ /^`([^`]+)`: (.*)$/s;
    return ".IP \\(bu 2\n" . filled($text);
}

# The fields of a directive that tell something; its description is its first sentence.
sub entry {
    my ($text) = @_;
    my %field = $text =~ /^- \*\*(\w+):\*\* (.*)$/mg;
    delete $field{Compatibility} if ($field{Compatibility} // '') =~ /^since mod_rpcproxy [\d.]+$/;
    return filled("\u$field{Description}.") . join '', map { ".TP\n$_:\n" . filled($field{$_}) } grep { defined $field{$_} } @FIELDS;
}

sub text {
    my ($text) = @_;
    return ".PP\n" . filled($text) if $text !~ /^(?:- |#|\|)/;
    $text !~ /^\|/ or die "$source: a table has no form here: $text";
    return join '', map { item($_) } split /^- /m, $text =~ s/^- //r;
}

my ($name, $head, $body) = text_of($source) =~ /^# (\S+)\n\n((?:- \*\*.*\n)+)((?s:.*))$/ or die "$source: no name and fields at its top\n";
my %about = $head =~ /^- \*\*([\w ]+):\*\* (.*)$/mg;
my ($version) = text_of("$Bin/../base/version.h") =~ /RPCPROXY_VERSION "(.*)"/;
my ($day) = text_of("$Bin/../debian/changelog") =~ /^ -- .*> +\w+, (\d+ \w+ \d+)/m;
my $date = Time::Piece->strptime($day, '%d %b %Y')->ymd;
my $page = qq(.\\" Made from $source by tools/man_page.pl.\n.TH \U$name\E $section "$date" "mod_rpcproxy $version"\n)
    . ".nh\n.ad l\n.SH NAME\n$name \\- \l$about{Description}\n";
my $in_directives;
for my $block (blocks_of($body)) {
    if (defined $block->{code}) { $page .= literal($block->{code}) }
    elsif ($block->{text} =~ /^## ((?:Rpc|AuthNtlm)\w+)\n\z/) { $page .= ($in_directives++ ? '' : ".SH DIRECTIVES\n") . ".SS $1\n" }
    elsif ($block->{text} =~ /^(##|###) (.*)\n\z/) { $page .= length $1 == 2 ? '.SH ' . uc($2) . "\n" : ".SS $2\n" }
    elsif ($block->{text} =~ /^- \*\*Description/) { $page .= entry($block->{text}) }
    else { $page .= text($block->{text}) }
}
$page .= ".SH SEE ALSO\n" . join(" ,\n", map { ".BR $_ (" . ($SECTION_OF{$_} // 8) . ')' } grep { $_ ne $name } @PAGES) . "\n.PP\n"
    . filled('Names such as access.md are chapters of the manual, which begins with index.md. On Debian it is in '
             . '`/usr/share/doc/libapache2-mod-rpcproxy/manual`.');
print $page =~ s/^(\.S[HS] .*\n)\.PP\n/$1/mgr;
