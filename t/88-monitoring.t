# The samples of conf/monitoring/: the commands of Nagios and Icinga say what is so, and Prometheus has what its
# rules ask for, and alerts of what is wrong, and of nothing else.

use strict;
use warnings;
use File::Spec;
use HTTP::Tiny;
use IO::Socket::IP;
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Text::ParseWords qw(shellwords);
use RPCH::Demo;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Needs qw(missing program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $root = vars('serverroot');
my ($crt, $key) = map { "$root/conf/server.$_" } qw(crt key);
my %text = map { m{([^/]+)$} ? ($1 => slurp($_)) : () } glob 'conf/monitoring/*';
is(join(' ', sort keys %text), 'icinga2.conf nagios.cfg prometheus.yml rpcproxy.rules.yml', 'there are samples');

# A server that answers calls, and one that will go down.
my $demo = RPCH::Demo->new;
my $second = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 64) or die "cannot listen: $@\n";
my ($second_port, $store) = ($second->sockport, refused_port());
put("$root/monitoring.secret", 'f' x 32);
chmod 0600, "$root/monitoring.secret";
my $conf = <<"CONF" . status_conf();
RpcHealthCheck connect interval=1 timeout=20
RpcSharedStore redis://127.0.0.1:$store
RpcSharedStoreSecret $root/monitoring.secret
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $root/conf/users
Require valid-user
RpcRequireTLS off
RpcValidPorts "exch1.example.com:6001;exch2.example.com:6001"
RpcBackend exch1.example.com ncacn_ip_tcp:127.0.0.1[$demo->{port}]
RpcBackend exch2.example.com ncacn_ip_tcp:127.0.0.1[$second_port]
</Location>
CONF
my $tls = RPCH::Root::free_ports(1);
my $httpd = RPCH::Httpd->new(conf => <<"CONF")->start;
$conf
Listen 127.0.0.1:$tls
<VirtualHost 127.0.0.1:$tls>
SSLEngine on
SSLCertificateFile $crt
SSLCertificateKeyFile $key
</VirtualHost>
CONF
my $status = RPCH::Status->new(port => $httpd->{port});

# ---- commands ----

put("$root/monitoring.netrc", "machine localhost login alice password secret\n");
my $rpcping = File::Spec->rel2abs('build/rpcping');
# Runs a command of the samples, with the paths and the port of this test. Its exit status and its line.
sub run {
    my (@command) = @_;
    s{^/usr/bin/rpcping$}{$rpcping}, s{^/etc/\w+/rpcping\.netrc$}{$root/monitoring.netrc}, s{^443$}{$tls}, s{^mail\.example\.com$}{localhost},
        s{^https://mail\.example\.com$}{https://localhost:$tls} for @command;
    splice @command, 1, 0, '--cacert', $crt if $command[0] eq $rpcping;
    delete local $ENV{LD_PRELOAD};
    open my $out, '-|', @command or die "$command[0]: $!\n";
    my $line = <$out> // '';
    close $out;
    return ($? >> 8) . " $line";
}

# Nagios: macros are replaced, and a shell takes the line apart.
my %command = $text{'nagios.cfg'} =~ /^ +command_name +(\S+)\n +command_line +(.*)$/mg;
my %service = map { my ($name, @args) = split /!/; $name => \@args } $text{'nagios.cfg'} =~ /^ +check_command +(.*)$/mg;
is_deeply([sort keys %service], [sort keys %command], 'Nagios: each command has a service');
sub nagios {
    my ($name, %change) = @_;
    my @args = @{ $service{$name} };
    my $line = $command{$name} =~ s/\$ARG(\d)\$/$args[$1 - 1]/gr =~ s/\$HOSTNAME\$/mail.example.com/r =~ s/\$HOSTADDRESS\$/127.0.0.1/r;
    $line =~ s/\Q$_\E/$change{$_}/ for keys %change;
    return run(shellwords($line));
}
# Icinga 2: the arguments with an order come last.
my ($ping) = $text{'icinga2.conf'} =~ /^object CheckCommand "rpcping" \{\n(.*?)^\}/ms or die 'no command rpcping';
my %vars = $ping =~ /^ +vars\.(\w+) = "(.*)"$/mg;
my @fixed = map { /"([^"]+)"/g } $ping =~ /command = \[(.*)\]/;
my %option = $ping =~ /^ +"(--[\w-]+)" = "\$(\w+)\$"$/mg;
my @placed = map { $_->[0] } sort { $a->[1] <=> $b->[1] } map { [/value = "\$(\w+)\$"/, /order = (\d)/] } $ping =~ /= \{(.*?)\}/gs;
sub icinga {
    my ($target) = @_;
    my %value = (%vars, rpcping_url => 'https://mail.example.com', rpcping_target => $target);
    return run(@fixed, (map { ($_ => $value{ $option{$_} }) } sort keys %option), map { $value{$_} // "no $_" } @placed);
}
my ($http_regex, $http_uri) = map { $text{'icinga2.conf'} =~ /vars\.$_ = "(.*)"/ } qw(http_expect_body_regex http_uri);

ok($status->awaits(sub { 2 == grep { $_->{configured} && $_->{checks} } @{ $_[0]{servers} } }), 'both servers have been looked at');
like(nagios('check_rpc'), qr/^0 RPC OK: exch1\.example\.com:6001 by localhost, /, 'Nagios: rpcping says that all works');
like(icinga('exch1.example.com:6001'), qr/^0 RPC OK: /, 'Icinga: so it does');
my $check_http = !missing('monitoring-plugins-basic');
SKIP: {
    skip 'no check_http (Debian: monitoring-plugins-basic)', 1 if !$check_http;
    like(nagios('check_rpc_servers'), qr/^0 HTTP OK: /, 'Nagios: all servers are there');
}
my %samples = $status->samples;
is((grep { /^rpcproxy_server_up/ && $samples{$_} == 1 } keys %samples), 2, 'as the page says');
is(slurp('conf/monitoring/nagios.cfg') =~ / -r '(.*?)'/ ? "$http_regex $http_uri" : '', join(' ', $text{'nagios.cfg'} =~ / -r '(.*?)'/, $text{'nagios.cfg'} =~ / -u (\S+)/),
   'Icinga looks for the same as Nagios');
$second->close;
ok($status->awaits(sub { grep { $_->{port} == $second_port && $_->{state} eq 'down' } @{ $_[0]{servers} } }), 'a server goes down') or diag $status->get('?format=json')->{content};
SKIP: {
    skip 'no check_http (Debian: monitoring-plugins-basic)', 1 if !$check_http;
    like(nagios('check_rpc_servers'), qr/^2 HTTP CRITICAL/, 'Nagios: one is not there');
}
like(nagios('check_rpc', exch1 => 'exch2'), qr/^2 RPC CRITICAL: exch2\.example\.com:6001 by localhost: /, 'Nagios: nor has it a call');
like(icinga('exch2.example.com:6001'), qr/^2 RPC CRITICAL: /, 'Icinga: so it has not');

# ---- Prometheus ----

is(join('', $text{'prometheus.yml'} =~ /metrics_path: (.*)\n.*\n +format: \[(.*)\]/), '/rpc-statusopenmetrics', 'Prometheus asks for this page');
my $rules = $text{'rpcproxy.rules.yml'};
my $page = $status->get('?format=openmetrics')->{content};
my @names = do { my %seen; sort grep { !$seen{$_}++ } $rules =~ /\b(rpcproxy_\w+)/g };
cmp_ok(scalar @names, '>=', 10, 'the rules have names');
like($page, qr/^$_[ {]/m, "$_ is there") for @names;
for my $matcher ($rules =~ /\b(reason=~?"[^"]+")/g) {
    my ($how, $what) = $matcher =~ /(=~?)"(.*)"/;
    my @unknown = grep { my $one = $_; $page !~ /reason="$one"/ } split /\|/, $what;
    is("@unknown", '', "reasons of $matcher");
}
is(join(' ', grep { $page !~ /\{[^}]*$_="/ } grep { !/instance/ } map { /\$labels\.(\w+)/g } $rules), '', 'and so are the labels');

SKIP: {
    my $promtool = program('promtool') or skip 'no promtool (Debian: prometheus)', 3;
    like(scalar qx($promtool check config conf/monitoring/prometheus.yml 2>&1), qr/SUCCESS: \S+ is valid.*SUCCESS: \d+ rules/s, 'promtool takes the configuration, and its rules');
    # Twenty minutes of a machine that has every fault, and of one where all is well.
    my @series = (
        ['up{job="rpcproxy",INSTANCE}', '0x20', '1x20'],
        ['rpcproxy_server_up{INSTANCE,server="a[6001]"}', '0x20', '1x20'],
        ['rpcproxy_server_up{INSTANCE,server="drained[6001]"}', '0x20', '0x20'],
        ['rpcproxy_server_draining{INSTANCE,server="a[6001]"}', '0x20', '0x20'],
        ['rpcproxy_server_draining{INSTANCE,server="drained[6001]"}', '1x20', '1x20'],
        ['rpcproxy_server_connect_failures_total{INSTANCE,server="a[6001]"}', '0+5x20', '0+0.1x20'],
        ['rpcproxy_server_connects_total{INSTANCE,server="a[6001]"}', '0+5x20', '0+100x20'],
        ['rpcproxy_limit{INSTANCE,limit="channels"}', '100x20', '100x20'],
        ['rpcproxy_limit_used{INSTANCE,limit="channels"}', '90x20', '50x20'],
        ['rpcproxy_requests_refused_total{INSTANCE,reason="too-many-channels"}', '0+60x20', '0+1x20'],
        ['rpcproxy_requests_refused_total{INSTANCE,reason="not-authenticated"}', '0+120x20', '0+10x20'],
        ['rpcproxy_requests_refused_total{INSTANCE,reason="method"}', '0+600x20', '0+600x20'],
        ['rpcproxy_setup_seconds_bucket{INSTANCE,role="out",le="1.0"}', '0x20', '0+60x20'],
        ['rpcproxy_setup_seconds_bucket{INSTANCE,role="out",le="10.0"}', '0+60x20', '0+60x20'],
        ['rpcproxy_setup_seconds_bucket{INSTANCE,role="out",le="+Inf"}', '0+60x20', '0+60x20'],
        ['rpcproxy_channels_begun_total{INSTANCE,role="in"}', '0+60x20', '0+60x20'],
        ['rpcproxy_channels_ended_total{INSTANCE,reason="bad-pdu"}', '0+6x20', '0+1x20'],
        ['rpcproxy_channels_ended_total{INSTANCE,reason="client-closed"}', '0+54x20', '0+60x20'],
        ['rpcproxy_binds_refused_total{INSTANCE}', '0+120x20', '0+1x20'],
        ['rpcproxy_store_up{INSTANCE,store="s"}', '0x20', '1x20'],
    );
    my %labels = (RpcProxyAway => 'job: rpcproxy', RpcServerDown => 'server: "a[6001]"', RpcServerFlapping => 'server: "a[6001]"', RpcLimitNear => 'limit: channels',
                  RpcRequestsRefused => 'reason: too-many-channels', RpcStoreAway => 'store: s');
    my $tests = '';
    my @alerts;
    while ($rules =~ /- alert: (\w+)\n(?:.*\n)*?.*\{severity: (\w+)\}\n.*\n +summary: "(.*)"\n/g) {
        my ($name, $severity, $summary) = ($1, $2, $3);
        push @alerts, $name;
        my %value = (instance => 'ill', map { /^(\w+): "?(.*?)"?$/ } $labels{$name} // ());
        $summary =~ s/\{\{ \$labels\.(\w+) \}\}/$value{$1}/g;
        $tests .= "      - {eval_time: 20m, alertname: $name, exp_alerts: [{exp_labels: {severity: $severity, instance: ill"
                . (defined $labels{$name} ? ", $labels{$name}" : '') . "}, exp_annotations: {summary: \"$summary\"}}]}\n";
    }
    is(scalar @alerts, scalar(() = $rules =~ /- alert:/g), 'a test for each of ' . @alerts . ' alerts');
    my $series = join '', map { my $s = $_; map { "      - {series: '" . $s->[0] =~ s/INSTANCE/instance="$_->[0]"/r . "', values: '$s->[ $_->[1] ]'}\n" } ['ill', 1], ['well', 2] } @series;
    put("$root/rules.test.yml", "rule_files: [" . File::Spec->rel2abs('conf/monitoring/rpcproxy.rules.yml') . "]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n"
        . "    input_series:\n$series    alert_rule_test:\n$tests");
    my $said = qx($promtool test rules $root/rules.test.yml 2>&1);
    like($said, qr/SUCCESS/, 'each alert is for what is wrong, and for nothing else') or diag $said;
}

# ---- Prometheus itself, with the sample, reads the page; it asks nobody but this machine ----
SKIP: {
    my $prometheus = program('prometheus') or skip 'no prometheus (Debian: prometheus)', 1;
    my ($dir, $port) = ("$root/prometheus-$$", RPCH::Root::free_ports(1));
    mkdir $dir or die "$dir: $!\n";
    put("$dir/rpcproxy.rules.yml", $rules);
    put("$dir/prometheus.yml", "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        . $text{'prometheus.yml'} =~ s/scheme: https/scheme: http/r =~ s/targets: \[.*\]/targets: ["127.0.0.1:$httpd->{port}"]/r);
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        delete $ENV{LD_PRELOAD};
        open STDOUT, '>', "$dir/log" or POSIX::_exit(1);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
        exec $prometheus, "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$port", '--log.level=warn' or POSIX::_exit(127);
    }
    put("$dir/prometheus.pid", "$pid\n");      # by which the run ends it if this test does not
    my $http = HTTP::Tiny->new(timeout => 20);
    my $ask = sub { my ($what) = @_; my $r = $http->get("http://127.0.0.1:$port/api/v1/$what"); return $r->{success} ? decode_json($r->{content})->{data} : {} };
    my $value = sub { my ($query) = @_; my ($one) = @{ $ask->("query?query=$query")->{result} // [] }; return $one ? $one->{value}[1] : 'none' };
    my $becomes = sub { my ($query, $wanted) = @_; return eval { wait_for($query, sub { turn(0.1); $value->($query) eq $wanted }) } || diag($query . ' is ' . $value->($query) . "\n" . slurp("$dir/log")) && 0 };
    ok($becomes->('up{job="rpcproxy"}', 1), 'Prometheus: the page is up');
    is($value->('rpcproxy_limit{limit="channels"}'), $samples{'rpcproxy_limit{limit="channels"}'}, 'a limit');
    ok($becomes->(qq(rpcproxy_server_up{server="127.0.0.1[$second_port]"}), 0), 'a server that is down');
    is($value->(qq(rpcproxy_server_up{server="127.0.0.1[$demo->{port}]"})), 1, 'and one that is not');
    ok($becomes->('rpcproxy_store_up', 0), 'a store that is away');
    # One more reason to refuse, which is counted
    is(plain(port => $httpd->{port}, target => 'other.example.com:6001')->out_status, 503, 'a client is refused');
    ok($becomes->('rpcproxy_requests_refused_total{reason="target-refused"}', { $status->samples }->{'rpcproxy_requests_refused_total{reason="target-refused"}'}), 'which it sees');
    my ($target) = @{ $ask->('targets')->{activeTargets} };
    is_deeply([@$target{qw(health lastError)}], ['up', ''], 'it finds no fault with the format');
    ok(eval { wait_for('the rules', sub { turn(0.1); my @all = map { @{ $_->{rules} } } @{ $ask->('rules')->{groups} // [] }; @all && !grep { $_->{health} ne 'ok' } @all }) }, 'and can compute all rules');
    kill TERM => $pid;
    waitpid $pid, 0;
    system 'rm', '-rf', $dir;
}
done_testing;
