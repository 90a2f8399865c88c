# The status page in a real browser (Debian: chromium), idle and busy, on a telephone and on a wide screen, light
# and dark: nothing has to be scrolled sideways, what is to be read can be read, what is to be touched can be
# touched, and the keyboard reaches all of it. Not part of the suite, since a browser is large: make test-browser.

use strict;
use warnings;
use JSON::PP qw(decode_json encode_json);
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Needs qw(program);
use RPCH::RPC qw(bind_pdu);
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $chromium = program(qw(chromium chromium-browser google-chrome)) or plan skip_all => 'no browser (Debian: chromium)';
my $dir = vars('serverroot') . "/browser-$$";
mkdir $dir or die "$dir: $!\n";

# What the browser says of URL: the page as it stands at the end, and what it has written about it.
sub browse {
    my ($url, @options) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        delete @ENV{qw(LD_PRELOAD DBUS_SESSION_BUS_ADDRESS)};
        $ENV{HOME} = $dir;
        open STDOUT, '>', "$dir/out" or POSIX::_exit(1);
        open STDERR, '>', "$dir/err" or POSIX::_exit(1);
        # It asks nobody but this machine
        exec 'timeout', '120', $chromium, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
            '--disable-sync', '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', "--user-data-dir=$dir/profile", '--enable-logging=stderr',
            @options, $url or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    is($?, 0, 'the browser runs') or diag slurp("$dir/err");
    return (slurp("$dir/out"), slurp("$dir/err"));
}

my $native = server(host => '127.0.0.2', echo => 1);
my $gone = RPCH::Root::free_ports(1);
my $long = 'mailbox-server-number-seventeen.exchange.branch-office.contoso.test';
my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location(<<"CONF") . status_conf())->start;
RpcValidPorts "*.contoso.test:1024-65535"
RpcBackend gone.contoso.test ncacn_http:127.0.0.3[$gone]
RpcBackend *.contoso.test:6001 ncacn_http:127.0.0.2[$native->{port}]
RpcAllowInterfaces 6001 epm
CONF
my $status = RPCH::Status->new(port => $httpd->{port});
sub to { my ($target, %more) = @_; return plain(port => $httpd->{port}, target => $target, %more) }

my %page = (idle => $status->html);
my @there = map { to("$long:6001")->connect } 1 .. 3;
$there[0]->in->put(bind_pdu(call => 3));
to('gone.contoso.test:6002')->out_status;
to('other.test:6001')->out_status;
to("$long:6001", password => 'wrong')->out_status;
ok($status->awaits(sub { @{ $_[0]{connections} } == 3 && @{ $_[0]{failures} } >= 4 }), 'a busy server');
$page{busy} = $status->html;

# ---- as it comes ----
for my $case (['1280,900', 'wide'], ['500,900', 'narrow']) {
    my ($size, $name) = @$case;
    my ($dom, $said) = browse($status->url, "--window-size=$size", "--screenshot=$dir/$name.png", '--dump-dom');
    ok(-s "$dir/$name.png" > 10_000 && slurp("$dir/$name.png") =~ /^\x89PNG/, "$name: a picture of it");
    unlike($said, qr/CONSOLE/, "$name: the browser finds no fault") or diag $said;
    my $text = $dom =~ s/<[^>]*>//gr;
    ok($text =~ /RPC over HTTP on .*alice.*\Q$long\E:6001.*connect-failed/s, "$name: and shows it");
}

# ---- how it looks: each page in a frame as wide as a screen, which a script measures ----
my $script = <<'SCRIPT';
const luminance = c => { const [r, g, b] = c.map(x => { x /= 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 }); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const colour = text => { const n = text.match(/[\d.]+/g).map(Number); return n.length === 4 && n[3] === 0 ? null : n.slice(0, 3) };
function measure(frame) {
    const d = frame.contentDocument, w = frame.contentWindow, faults = [];
    const name = e => e.tagName + (e.className ? '.' + e.className : '') + ' ' + e.textContent.trim().slice(0, 30);
    const behind = e => { for (; e; e = e.parentElement) { const c = colour(w.getComputedStyle(e).backgroundColor); if (c) return c } return [255, 255, 255] };
    const sideways = when => {
        if (d.documentElement.scrollWidth > w.innerWidth) faults.push(when + ': scrolls sideways, ' + d.documentElement.scrollWidth + ' of ' + w.innerWidth);
        for (const s of d.querySelectorAll('section')) if (s.scrollWidth > s.clientWidth + 1) faults.push(when + ': a section scrolls: ' + s.getAttribute('aria-labelledby') + ' ' + s.scrollWidth + ' of ' + s.clientWidth);
    };
    sideways('as it comes');
    for (const e of d.querySelectorAll('details')) e.open = true;
    sideways('all opened');
    for (const e of d.querySelectorAll('body *')) {
        const box = e.getBoundingClientRect(), own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!box.width || !box.height || box.right < 0) continue;
        if (own && e.tagName !== 'OPTION') {
            const a = luminance(colour(w.getComputedStyle(e).color)), b = luminance(behind(e));
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) faults.push('contrast ' + contrast.toFixed(1) + ': ' + name(e));
            if (parseFloat(w.getComputedStyle(e).fontSize) < 12) faults.push('small: ' + name(e));
        }
        if (/^(INPUT|SELECT|BUTTON|SUMMARY)$/.test(e.tagName) && e.type !== 'hidden' && box.height < 24) faults.push('hard to touch: ' + name(e) + ' ' + box.height);
    }
    let reached = 0;
    for (const e of d.querySelectorAll('a[href], input:not([type=hidden]), select, button, summary')) {
        if (!e.getClientRects().length) continue;
        e.focus();
        if (d.activeElement !== e) faults.push('no focus: ' + name(e)); else reached++;
    }
    return { faults, reached, width: w.innerWidth, cards: w.getComputedStyle(d.querySelector('tr td') || d.body).display };
}
addEventListener('load', () => {
    const all = { dark: matchMedia('(prefers-color-scheme: dark)').matches };
    for (const f of document.querySelectorAll('iframe')) all[f.id] = measure(f);
    document.body.textContent = 'MEASURED' + JSON.stringify(all) + 'END';
});
SCRIPT
my @frames = (['idle-phone', 'idle', 390], ['busy-phone', 'busy', 390], ['idle-wide', 'idle', 1280], ['busy-wide', 'busy', 1280]);
sub escaped { my ($text) = @_; return $text =~ s/&/&amp;/gr =~ s/"/&quot;/gr }
put("$dir/frames.html", "<!DOCTYPE html><meta charset=\"utf-8\"><body>"
    . join('', map { "<iframe id=\"$_->[0]\" width=\"$_->[2]\" height=\"800\" style=\"border:0\" srcdoc=\"" . escaped($page{ $_->[1] }) . '"></iframe>' } @frames) . "<script>$script</script>");
for my $case (['light', 1], ['dark', 0]) {
    my ($scheme, $number) = @$case;
    my ($dom) = browse("file://$dir/frames.html", '--window-size=1400,900', "--blink-settings=preferredColorScheme=$number", '--dump-dom');
    my ($measured) = $dom =~ /MEASURED(.*)END/s;
    ok(defined $measured, "$scheme: measured") or diag($dom), next;
    my $all = decode_json($measured =~ s/&lt;/</gr =~ s/&gt;/>/gr =~ s/&amp;/&/gr);
    is($all->{dark} ? 'dark' : 'light', $scheme, "$scheme: as the browser wishes");
    for my $frame (map { $_->[0] } @frames) {
        my $one = $all->{$frame};
        is_deeply($one->{faults}, [], "$scheme, $frame: nothing is hard to see or to reach") or diag join "\n", @{ $one->{faults} };
        cmp_ok($one->{reached}, '>=', 15, "$scheme, $frame: the keyboard reaches what there is");
    }
    is_deeply([map { $all->{$_}{width} } 'busy-phone', 'busy-wide'], [390, 1280], "$scheme: on both screens");
    is_deeply([map { $all->{$_}{cards} } 'busy-phone', 'busy-wide'], ['flex', 'table-cell'], "$scheme: a row is a card on a narrow one");
}
$_->close for @there;
system 'rm', '-rf', $dir;
done_testing;
