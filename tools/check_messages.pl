#!/usr/bin/perl
# Has each message an id of its own, and doc/messages.md a row for it? This fails for a call that
# writes a line to the error log, or a message of configtest, without RPCNO(); for an id that two
# messages have, or that is not below RPC_NEXT_NO of base/message_id.h; and for a row that does not
# say what its message says, has no message, or is missing. The row of a message that is gone stays,
# with the level "gone", so its number is not used again.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Check qw(fault faults text_of);

# These pass on lines that have an id already.
my %PASSES_ON = map { $_ => 1 } qw(base/log.c httpd/server_log.c httpd/log_record.c);

my $STRING = qr/"(?:\\.|[^"\\])*"/;
my $PARENS = qr/(\((?:[^()"]|$STRING|(?-1))*\))/;
my $CALL   = qr/\b(?:ap_log_[prc]?error|rpc_log)\s*$PARENS/;

my %message;    # id => { at, level, text }

# What a message says: string literals in a row, where the values of a format are "%".
sub words_of {
    my ($source) = @_;
    my $text = '';
    $text .= defined $1 ? $1 : '%' while $source =~ /\G\s*(?:"((?:\\.|[^"\\])*)"|(?:APR_\w+_FMT|PRI\w+)\b|\\\n)/gc;
    $text =~ s/\\(["\\])/$1/g;
    $text =~ s/%%+|%[-0-9.*]*[a-z]*/%/g;
    return $text;
}

sub take {
    my ($at, $id, $behind) = @_;
    my ($before) = $behind =~ /^([^"]*)/;
    fault("$at: RPC$id stands at $message{$id}{at}, too") if $message{$id};
    $message{$id} = { at => $at, text => words_of(substr $behind, length $before) };
    return;
}

sub level_of {
    my ($call) = @_;
    my %levels = map { lc s/WARN\b/warning/r => 1 } $call =~ /\b(?:APLOG|RPC_LOG)_(EMERG|ALERT|CRIT|ERR|WARN(?:ING)?|NOTICE|INFO|DEBUG)\b/g;
    return join ' ', sort keys %levels;
}

sub calls_of {
    my ($file, $source) = @_;
    while ($source =~ /$CALL/g) {
        my ($call, $at) = ($&, "$file:" . (1 + (substr($source, 0, $-[0]) =~ tr/\n//)));
        next if $call =~ /^rpc_log\(const / || ($PASSES_ON{$file} && $call =~ /"%s(?: \(%" APR_TIME_T_FMT " s ago\))?"|\btext\b/ && $call !~ /RPCNO/);
        my $level = level_of($call);
        my ($id) = $call =~ /\bRPCNO\((\d{4})\)/;
        ($id) = map { $source =~ /#define $_\s+RPCNO\((\d{4})\)/ } $call =~ /\b([A-Z_]+)\b/g if !$id;
        if ($level =~ /^(?:debug)?$/ && $call =~ /DEBUG|TRACE/) {
            fault("$at: lines at debug and trace have no id") if $id;
        }
        elsif ($id) { $message{$id}{level} = $level if $message{$id} && $level !~ / / && $level && $call !~ /_level\(/ }
        elsif ($call !~ /"%s[^"]*",\s*id,/) { fault("$at: this line has no id: RPCNO() of base/message_id.h gives one") }
    }
    return;
}

# What a directive returns goes to whoever has written it.
sub directives_of {
    my ($file, $source) = @_;
    while ($source =~ /^[^\n;{}]*char \*\w+\((?:const )?cmd_parms[^{};]*\)\n\{\n(.*?)^\}/msg) {
        my ($body, $start) = ($1, $-[1]);
        while ($body =~ /\breturn\b((?:[^;"]|$STRING)*);/g) {
            my ($value, $line) = ($1, 1 + (substr($source, 0, $start + $-[0]) =~ tr/\n//));
            fault("$file:$line: this message of configtest has no id: RPCNO() of base/message_id.h gives one")
                if $value =~ /"/ && $value !~ /RPCNO\(|\w_fault\(/;
        }
    }
    return;
}

for my $file (sort glob '*.c */*.c') {
    next if $file =~ m{^(?:t|tools|bench|fuzz|build)/};
    my $source = text_of($file);
    take("$file:" . (1 + (substr($source, 0, $-[0]) =~ tr/\n//)), $1, substr $source, $+[0])
        while $source =~ /\bRPCNO\((\d+)\)/g;
    calls_of($file, $source);
    directives_of($file, $source);
}
keys %message > 100 or die "there are no messages: has their form changed?\n";

# Do the words of a message stand in its row, in their order?
sub is_told {
    my ($message, $row) = @_;
    my $pattern = join '.*', map { quotemeta } grep { /[a-z]/i } map { s/^\s+|\s+$//gr } split /%/, $message;
    return $row =~ /(?:$pattern)/;
}

my ($next) = text_of('base/message_id.h') =~ /#define RPC_NEXT_NO (\d{4})\n/ or die "base/message_id.h: no RPC_NEXT_NO\n";
my %row;
for my $line (split /\n/, text_of('doc/messages.md')) {
    my ($id, $level, $text, $meaning, $cure) = $line =~ /^\| RPC(\d{4}) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/;
    fault("doc/messages.md: \"$line\" is not id, level, message, meaning, what to do") if !$id && $line =~ /^\| *RPC/;
    next if !$id;
    fault("doc/messages.md: RPC$id has two rows") if $row{$id};
    $row{$id} = $level;
    my $message = $message{$id};
    if ($level eq 'gone') { fault("$message->{at}: RPC$id was another message's: take $next") if $message }
    elsif (!$message) { fault("doc/messages.md: there is no message RPC$id; if it is gone, say \"gone\" for its level") }
    else {
        fault("doc/messages.md: the level of RPC$id is $message->{level}") if $message->{level} && $level ne $message->{level};
        fault("doc/messages.md: RPC$id says \"$message->{text}\"") if !is_told($message->{text}, $text);
    }
    fault("doc/messages.md: RPC$id has no meaning, or nothing to do about it") if length $meaning < 9 || length $cure < 8;
}
for my $id (sort keys %message) {
    fault("$message{$id}{at}: RPC$id is not below RPC_NEXT_NO of base/message_id.h, $next") if $id ge $next;
    fault("$message{$id}{at}: RPC$id has no row in doc/messages.md") if !$row{$id};
}
for my $number (1 .. $next - 1) {
    my $id = sprintf '%04d', $number;
    fault("doc/messages.md: RPC$id is missing") if !$row{$id} && !$message{$id};
}
exit(faults() ? 1 : 0);
