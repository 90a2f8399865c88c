#!/usr/bin/perl
# The reference of the directives, doc/mod_*.md, is the one source of what is said of a directive.
#
#   tools/manual.pl help               a header with HELP_<Directive>, the text of `httpd -L`
#   tools/manual.pl check BUILD HTTPD  holds the manual against the modules in BUILD, by `httpd -L`
#
# A directive without an entry does not compile, since its HELP_ is missing; the check finds the others:
# an entry whose directive does not exist, another context or module, a field that is missing, and a
# variable of requests that doc/variables.md does not explain, or the other way round.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin qw($Bin);
use lib $Bin;
use Check qw(fault faults text_of);

my @FIELDS = qw(Description Syntax Default Context Override Status Module Compatibility);
my %CONTEXT = (
    'server config'                             => qr/only outside <Directory>/,
    'server config, virtual host, directory'    => qr/anywhere/,
);
# The entries of all pages: { name, file, text, the fields }.
sub entries {
    my @entries;
    for my $file (glob 'doc/mod_*.md') {
        my ($head, @parts) = split /^## (?=(?:Rpc|AuthNtlm)\w+$)/m, text_of($file);
        for my $part (@parts) {
            my ($name, $text) = split /\n/, $part, 2;
            push @entries, { name => $name, file => $file, text => $text, $text =~ /^- \*\*(\w+):\*\* (.*)$/mg };
        }
    }
    return @entries;
}

# The description, with the range and the default.
sub help_of {
    my ($entry) = @_;
    my ($range) = $entry->{Syntax} =~ /` \((.* to .*)\)$/;
    my ($none, $default) = $entry->{Default} =~ /^(none, |none$)?(.*)$/;
    $default =~ s/^`\Q$entry->{name}\E (.*)`$/$1/;
    return $entry->{Description} . ($range ? " ($range)" : '')
        . (!length $default ? '' : $none ? "; by default $default" : "; default $default");
}

sub help {
    print "/* Made from doc/mod_*.md by tools/manual.pl. A directive that has no HELP_ here has no entry there. */\n";
    for my $entry (entries()) {
        my $help = help_of($entry) =~ s/(["\\])/\\$1/gr;
        print "#define HELP_$entry->{name} \"$help\"\n";
    }
    return;
}

# What `httpd -L` says of our directives: name => { module, help, allowed }.
sub known {
    my ($build, $httpd) = @_;
    my $dir = tempdir(CLEANUP => 1);
    chomp(my $modules = qx(@{[ $ENV{APXS} || 'apxs' ]} -q LIBEXECDIR));
    my @load = grep { -e $_->[1] } map { [$_, "$modules/mod_$_.so"] } qw(mpm_event authn_core authz_core proxy);
    chomp(my $here = qx(pwd));
    my $top = $build =~ m{^/} ? $build : "$here/$build";
    push @load, map { [$_, "$top/mod_$_.so"] } qw(rpcproxy auth_ntlm rpc_backend_auth);
    open my $out, '>', "$dir/httpd.conf" or die "$dir: $!\n";
    print $out "ServerRoot $dir\nServerName localhost\nErrorLog /dev/null\n", map { "LoadModule $_->[0]_module $_->[1]\n" } @load;
    close $out or die "$dir: $!\n";
    my $said = qx($httpd -f $dir/httpd.conf -L 2>&1);
    my %known;
    while ($said =~ /^((?:Rpc|AuthNtlm)\w+) \(mod_(\w+)\.c\)\n\t(.*)\n\t(.*)$/mg) {
        $known{$1} = { module => "mod_$2", help => $3, allowed => $4 };
    }
    keys %known > 20 or die "httpd -L knows too few directives:\n$said\n";
    return \%known;
}

sub check_entry {
    my ($entry, $known) = @_;
    my $at = "$entry->{file}: $entry->{name}";
    $known or return fault("$at: no module has this directive");
    $entry->{$_} or return fault("$at: the field $_ is missing") for @FIELDS;
    fault("$at: Module is $known->{module}") if $entry->{Module} ne $known->{module};
    my $context = $CONTEXT{ $entry->{Context} };
    fault("$at: Context is \"$entry->{Context}\", httpd -L says: $known->{allowed}") if !$context || $known->{allowed} !~ $context;
    fault("$at: httpd -L says: $known->{help}") if $known->{help} ne help_of($entry);
    fault("$at: no example") if $entry->{text} !~ /^```apache.*?^[^\n]*\b\Q$entry->{name}\E\b/ms;
    return;
}

# The variables of requests, RPC_..., but for the names of methods and of a filter.
sub check_variables {
    my %set = map { $_ => 1 } map { text_of($_) =~ /"(RPC_[A-Z]+)"/g } grep { -e } glob('*.c httpd/*.c');
    delete @set{qw(RPC_CONNECT)};
    my %explained = map { $_ => 1 } text_of('doc/variables.md') =~ /^## (RPC_[A-Z]+)$/mg;
    fault("doc/variables.md: $_ is missing") for grep { !$explained{$_} } sort keys %set;
    fault("doc/variables.md: no source sets $_") for grep { !$set{$_} } sort keys %explained;
    return;
}

sub check {
    my $known = known(@_);
    my %seen;
    for my $entry (entries()) {
        fault("$entry->{file}: $entry->{name} has two entries") if $seen{ $entry->{name} }++;
        check_entry($entry, $known->{ $entry->{name} });
    }
    fault("the manual: no entry for $_") for grep { !$seen{$_} } sort keys %$known;
    check_variables();
    return;
}

my ($action, @args) = @ARGV;
my %do = (help => \&help, check => \&check);
die "usage: $0 help | check BUILD HTTPD\n" if !$action || !$do{$action};
$do{$action}->(@args);
exit(faults() ? 1 : 0);
