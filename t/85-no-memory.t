# Memory that runs out: whatever allocation of the module fails, it costs the channel that needed it, with a
# line that says so, and no other; nothing is left over, and no child dies.

use strict;
use warnings;
use Test::More;
use RPCH::Compile qw(library preload);
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Poll qw(turn wait_for);
use RPCH::Status qw(status_conf);
use RPCH::Test;

plan skip_all => "allocations are $ENV{RPCH_SANITIZER}'s" if $ENV{RPCH_SANITIZER};

# Fails allocations of mod_rpcproxy alone, as three numbers in a file say: one in so many; all of strndup(); all
# of realloc() that want so many bytes or more.
my $FAULTS = <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static volatile struct { int32_t failed, one_in, strndup, realloc; } *faults;
static int32_t count;
static uintptr_t start, end;

__attribute__((constructor)) static void open_faults(void)
{
    int fd = open(getenv("FAULTS"), O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    faults = map == MAP_FAILED ? NULL : map;
    close(fd);
}

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
    int i;

    if (!strstr(info->dlpi_name, "mod_rpcproxy.so"))
        return 0;
    for (i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            end = start + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

static int is_ours(void *caller)
{
    static int32_t of;

    if (of != getpid()) {
        dl_iterate_phdr(look, NULL);
        of = getpid();
    }
    return (uintptr_t)caller >= start && (uintptr_t)caller < end;
}

static int fails(void *caller)
{
    if (!faults || !faults->one_in || !is_ours(caller)
        || __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) % faults->one_in)
        return 0;
    __atomic_add_fetch(&faults->failed, 1, __ATOMIC_SEQ_CST);
    return 1;
}

#define CALLER __builtin_return_address(0)
void *malloc(size_t size) { return fails(CALLER) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails(CALLER) ? NULL : __libc_calloc(n, size); }
void *realloc(void *old, size_t size)
{
    return (faults && faults->realloc && size >= (size_t)faults->realloc && is_ours(CALLER)) || fails(CALLER) ? NULL : __libc_realloc(old, size);
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails(CALLER) ? NULL : __libc_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

char *strndup(const char *text, size_t most)
{
    size_t size = strnlen(text, most);
    char *copy = (faults && faults->strndup && is_ours(CALLER)) || fails(CALLER) ? NULL : __libc_malloc(size + 1);

    if (copy)
        copy[size] = '\0';
    return copy ? memcpy(copy, text, size) : NULL;
}
C

my $httpd = RPCH::Httpd->new(limits => "ServerLimit 1\nStartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n", mpm => vars('mpm') eq 'prefork' ? 'worker' : vars('mpm'));
my $dir = $httpd->{dir};
my $library = library("$dir/faults", $FAULTS) or plan(skip_all => 'no compiler');
put("$dir/faults", "\0" x 4096);
chmod 0666, "$dir/faults";
sub faults {
    my ($one_in, %all) = @_;
    open my $fh, '+<', "$dir/faults" or die $!;
    sysseek $fh, 4, 0;
    syswrite $fh, pack 'l3', $one_in, map { $_ // 0 } @all{qw(strndup realloc)};
    return;
}
sub failed { open my $fh, '<', "$dir/faults" or die $!; sysread $fh, my $bytes, 4; return unpack 'l', $bytes }

my ($server, $tls) = (server(echo => 1), RPCH::Root::free_ports(1));
my $ca = vars('serverroot') . '/conf/server.crt';
$httpd->configure(status_conf() . RPCH::Httpd->location("RpcSetupTimeout 1\nRpcFirstPduTimeout 1\nRpcMaxFailedTargets 0 1") . RPCH::Httpd->tls_host($tls) . "RpcMaxUnpairedPerUser 0\n");
{
    local $ENV{LD_PRELOAD} = preload($library);
    local $ENV{FAULTS} = "$dir/faults";
    $httpd->start;
}
my $status = RPCH::Status->new(port => $httpd->{port});
sub session {
    my ($kind) = @_;
    return $kind eq 'plain' ? plain(port => $httpd->{port}, target => $server->target)
         : client(port => $tls, target => $server->target, tls => { SSL_ca_file => $ca, SSL_hostname => 'localhost' });
}
my ($child) = $httpd->children;
sub files { return scalar(() = glob "/proc/$child/fd/*") }

my $lives = session('tls')->connect;
ok($lives->works, 'a virtual connection');
my $before = files();

# ---- no memory for the header of a channel, which httpd has made already ----
for my $kind (qw(plain tls)) {
    faults(0, strndup => 1);
    my $c = session($kind);
    $c->open_out;
    ok(eval { $c->out->wait_eof } && !length $c->out->{in}, "$kind: no memory for a header: the connection is closed");
    faults(0);
    $c->close;
    ok($httpd->logs(qr/rpcproxy:warn\].* RPC_OUT_DATA refused: no-memory: out of memory, so the connection is closed without an answer; user "alice"/),
       "$kind: the log says why, and blames nobody else");
    ok($httpd->logs(qr/^alice "RPC_OUT_DATA \S+ HTTP\/1\.1" 503 .* no-memory$/m, 'access_log'), "$kind: so does RPC_REASON");
}
unlike($httpd->log, qr/other-module/, 'no other module is named');

# ---- nothing of a loop can grow, however many channels it gets ----
{
    faults(0, realloc => 1024);
    my @many = map { session('plain')->connect } 1 .. 40;
    is(scalar(grep { $_->works } @many), 40, 'no memory for more timers: none is needed');
    faults(0);
    $_->close for @many;
}

# ---- no memory now and then, wherever it is needed ----
for my $one_in (2 .. 9, 11, 13, 17, 19, 23, 29) {
    for my $kind (qw(plain tls)) {
        my $c = session($kind);
        faults($one_in);
        eval { $c->connect; $c->works('x' x 20_000) for 1 .. 3 };
        faults(0);
        $c->close;
    }
}
cmp_ok(failed(), '>', 28, 'many allocations have failed');
ok($lives->works, 'the first virtual connection lives');
ok(session($_)->serves, "$_: new ones are served") for qw(plain tls);
ok($status->awaits(sub { $_[0]{channels} == 2 }), 'no other channel is left over') or diag explain $status->json;
ok(eval { wait_for('the files', sub { turn(0.02); files() <= $before + 2 }) }, 'nor a descriptor') or diag files(), " and $before before";
ok(scalar(grep { $_ == $child } $httpd->children), 'no child has died') or diag grep { /exit signal|:(?:crit|alert|emerg)\]/ } $httpd->log =~ /^.*\n/mg;
$lives->close;
$server->close;
done_testing;
