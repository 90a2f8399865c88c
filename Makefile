# mod_rpcproxy: see README. All that is built lands in build/.
#
#   make                 the modules, rpcping, rpcdemo, in build/
#   make run             a demonstration proxy on https://localhost:8443
#   make test            the whole suite
#   make test-browser    the status page in a real browser
#   make test-guards     beside mod_evasive, AppArmor and SELinux
#   make bench           beside HAProxy, with bounds; make bench-all: every MPM, plain HTTP, and more
#   make check           the order of the house: who includes, needs and cites what; long lines
#   make lint            spelling, shell and Perl: codespell, shellcheck, perlcritic
#   make ci-matrix       all that can be tried, one after the other, with a table (tools/matrix.sh)
#   make sanitize        the suite again under AddressSanitizer and UBSan; SANITIZER=thread or
#                        memcheck, FILES="t/FILE.t ...": see tools/sanitize.sh
#   make fuzz            codecs and state machines against libFuzzer, see fuzz/fuzz.mk
#   make install         modules, rpcping, manual pages and samples; PREFIX, DESTDIR, uninstall
#   make doc             the manual as HTML, in build/doc
#   make deb             Debian packages;  make deb-test  tries them in a clean root
#   make CC=clang SAN=address,undefined BUILD=build/asan
#                        another compiler, sanitizers, another folder

BUILD    ?= build
APXS     ?= $(firstword $(shell command -v apxs apxs2) /usr/bin/apxs)
OPT      ?= -O2 -g
SAN      ?=
DESTDIR  ?=
PREFIX   ?= /usr

apxs      = $(shell $(APXS) -q $(1) 2>/dev/null)
sysinc    = $(patsubst -I%,-isystem %,$(1))
WARN     := -Wall -Wextra -Werror -Wmissing-prototypes -Wshadow -Wno-unused-parameter
BASE_CF   = -std=gnu11 -I. -I$(BUILD) $(WARN) $(OPT) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) \
            -fPIC -fvisibility=hidden -pthread $(CPPFLAGS) $(CFLAGS)
ALL_CF    = $(BASE_CF) $(APR_CF)
ALL_LD    = $(if $(SAN),-fsanitize=$(SAN)) -pthread $(LDFLAGS)
APR_CF   := $(call sysinc,$(shell apr-1-config --includes --cppflags 2>/dev/null) \
                          $(shell apu-1-config --includes 2>/dev/null))
APR_LD   := $(shell apr-1-config --link-ld --libs 2>/dev/null) $(shell apu-1-config --link-ld 2>/dev/null)
HTTPD_CF := -isystem $(call apxs,INCLUDEDIR)
HTTPD     = $(call apxs,SBINDIR)/$(call apxs,PROGNAME)
LIBEXEC   = $(call apxs,LIBEXECDIR)
SYSCONF   = $(call apxs,SYSCONFDIR)
# Debian's a2enmod looks there; empty where httpd has no such folder.
MODS_AVAILABLE = $(wildcard $(SYSCONF)/mods-available)
place     = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" LIBEXEC="$(LIBEXEC)" SYSCONF="$(SYSCONF)" \
            MODS_AVAILABLE="$(MODS_AVAILABLE)" BUILD="$(BUILD)" tools/install.sh

sources   = $(patsubst %.c,%,$(sort $(foreach d,$(1),$(wildcard $(d)/*.c))))
# The protocol, the loop and the roles: compiled without httpd's headers.
CORE     := rpc_channel $(call sources,base wire io shared target firewall proxy endpoint)
# What knows httpd.
GLUE     := mod_rpcproxy $(call sources,httpd)
# The messages of NTLM, and the module that speaks it over HTTP.
NTLM     := $(call sources,ntlm)
AUTH     := auth_ntlm $(call sources,auth)
# RpcBackendAuth: who the user is for the server behind. GSSAPI is MIT's.
DELEGATE := $(call sources,delegate)
DOOR     := rpc_backend_auth delegate/config delegate/answer
# What the modules know of users, addresses and front ends; libutf8proc knows how names are spelled.
WHO      := base/who base/address base/front_fields
WHO_LD   := -lutf8proc
KRB5_CF  := $(call sysinc,$(shell pkg-config --cflags krb5-gssapi krb5))
KRB5_LD  := $(shell pkg-config --libs krb5-gssapi krb5)
WBCLIENT := $(shell pkg-config --libs wbclient 2>/dev/null)
CORE_O   := $(CORE:%=$(BUILD)/%.o)
GLUE_O   := $(GLUE:%=$(BUILD)/%.o)
NTLM_O   := $(NTLM:%=$(BUILD)/%.o)
AUTH_O   := $(AUTH:%=$(BUILD)/%.o)
DELEG_O  := $(patsubst %,$(BUILD)/%.o,$(filter-out $(DOOR),$(DELEGATE)))
DOOR_O   := $(DOOR:%=$(BUILD)/%.o)
CODEC_O  := $(BUILD)/wire/rts.o $(BUILD)/wire/dcerpc.o $(BUILD)/wire/flow.o
PING_O   := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/rpcping*.c) tools/dce.c tools/ndr.c firewall/interfaces.c)
DEMO_O   := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/rpcdemo*.c) tools/dce.c tools/ndr.c firewall/interfaces.c)
MAN      := $(patsubst doc/%.md,$(BUILD)/man/%.8,$(wildcard doc/mod_*.md)) $(BUILD)/man/rpcping.1
UNITS    := $(patsubst t/unit/%.c,$(BUILD)/unit/%,$(wildcard t/unit/*_test.c))

.PHONY: all module tools man load units unit check test test-browser test-guards mixing sanitize run bench bench-all \
        deps install uninstall deb deb-test doc lint ci-matrix clean
all: module tools man

include fuzz/fuzz.mk

module: $(BUILD)/mod_rpcproxy.so $(BUILD)/mod_auth_ntlm.so $(BUILD)/mod_rpc_backend_auth.so
man: $(MAN)
tools: $(BUILD)/rpcping $(BUILD)/rpcdemo
load: $(BUILD)/rpcload $(BUILD)/rpcserver $(BUILD)/firewall_cost $(BUILD)/full/mod_rpcproxy.so

$(GLUE_O) $(AUTH_O) $(DOOR_O): ALL_CF += $(HTTPD_CF)
$(DELEG_O) $(DOOR_O) $(BUILD)/unit/delegate_test: ALL_CF += $(KRB5_CF)
$(BUILD)/auth/provider_winbind.o: ALL_CF += $(if $(WBCLIENT),-DHAVE_WBCLIENT \
    $(call sysinc,$(shell pkg-config --cflags wbclient)))
# What `httpd -L` says of directives, from the manual.
$(GLUE_O) $(AUTH_O) $(DOOR_O): | $(BUILD)/base/directive_help.h
$(BUILD)/base/directive_help.h: $(wildcard doc/mod_*.md) tools/manual.pl
	@mkdir -p $(@D)
	tools/manual.pl help > $@.new && mv $@.new $@
# The manual pages are chapters of the manual.
$(MAN): tools/man_page.pl tools/Check.pm base/version.h debian/changelog
$(BUILD)/man/%.8: doc/%.md
	@mkdir -p $(@D)
	tools/man_page.pl $< 8 > $@.new && mv $@.new $@
$(BUILD)/man/%.1: doc/%.md
	@mkdir -p $(@D)
	tools/man_page.pl $< 1 > $@.new && mv $@.new $@
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) -MMD -MP -c -o $@ $<
$(BUILD)/tools/%.o: tools/%.c
	@mkdir -p $(@D)
	$(CC) $(BASE_CF) -MMD -MP -c -o $@ $<

$(BUILD)/mod_rpcproxy.so: $(CORE_O) $(GLUE_O)
	$(CC) $(ALL_LD) -shared -o $@ $^ $(WHO_LD) -lhiredis -lssl -lcrypto -lm -ldl
# For t/83-status-many.t: the same, with a full table of connections.
$(BUILD)/full/mod_rpcproxy.so: t/partners/full_board.c $(CORE_O) $(GLUE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) $(ALL_LD) -shared -Wl,--wrap=rpc_board_create -o $@ $^ $(WHO_LD) -lhiredis -lssl -lcrypto -lm -ldl
$(BUILD)/mod_auth_ntlm.so: $(AUTH_O) $(NTLM_O) $(WHO:%=$(BUILD)/%.o)
	$(CC) $(ALL_LD) -shared -o $@ $^ $(WBCLIENT) $(WHO_LD) -lssl -lcrypto
$(BUILD)/mod_rpc_backend_auth.so: $(DOOR_O) $(DELEG_O) $(WHO:%=$(BUILD)/%.o) $(BUILD)/base/thread.o
	$(CC) $(ALL_LD) -shared -o $@ $^ $(KRB5_LD) $(WHO_LD)
$(BUILD)/rpcping: $(PING_O) $(CODEC_O)
	$(CC) $(ALL_LD) -o $@ $^ -lcurl -lssl -lcrypto
$(BUILD)/rpcdemo: $(DEMO_O) $(CODEC_O)
	$(CC) $(ALL_LD) -o $@ $^
$(BUILD)/bench/%.o: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(BASE_CF) -MMD -MP -c -o $@ $<
$(BUILD)/rpcload: $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/rpcload*.c bench/bench_rpc.c)) $(CODEC_O)
	$(CC) $(ALL_LD) -o $@ $^ -lssl -lcrypto
$(BUILD)/rpcserver: $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/rpcserver*.c bench/bench_rpc.c)) $(CODEC_O)
	$(CC) $(ALL_LD) -o $@ $^
$(BUILD)/bench/firewall_cost.o: BASE_CF += $(APR_CF)
$(BUILD)/firewall_cost: $(BUILD)/bench/firewall_cost.o $(BUILD)/bench/bench_rpc.o $(CORE_O)
	$(CC) $(ALL_LD) -o $@ $^ $(APR_LD) $(WHO_LD) -lssl -lcrypto -lm
$(BUILD)/unit/%: t/unit/%.c $(CORE_O) $(NTLM_O) $(DELEG_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) -MMD -MP -o $@ $< $(CORE_O) $(NTLM_O) $(DELEG_O) $(ALL_LD) $(APR_LD) $(WHO_LD) $(KRB5_LD) -lssl -lcrypto -lm

units: $(UNITS)
unit: units
	prove -e '' $(UNITS)

check: $(CORE_O) $(GLUE_O) $(NTLM_O) $(AUTH_O) $(DELEG_O) $(DOOR_O) $(BUILD)/rpcping module man
	awk -f tools/check_includes.awk *.[ch] */*.[ch]
	awk -f tools/check_lines.awk *.[ch] */*.[ch] t/*/*.[ch]
	tools/check_circles.sh $(filter %.o,$^)
	tools/check_api.pl $(call apxs,INCLUDEDIR) *.[ch] httpd/*.[ch] auth/*.[ch] delegate/*.[ch]
	tools/check_citations.pl
	tools/check_reasons.pl
	tools/check_messages.pl
	tools/check_release.pl
	APXS=$(APXS) tools/manual.pl check $(BUILD) $(HTTPD)
	CC="$(CC)" BUILD=$(BUILD) APXS=$(APXS) HTTPD=$(HTTPD) prove -e '' t/unit/check_test.sh t/unit/release_test.sh

lint:
	tools/deps.sh lint
	tools/lint.sh
	prove -e '' t/unit/lint_test.sh

# STEPS names some of them.
ci-matrix:
	tools/matrix.sh $(STEPS)

deps:
	tools/deps.sh all

# Packages may only now be installed, so what is asked of apxs above is asked anew.
run:
	tools/deps.sh run
	$(MAKE) all
	tools/run.sh

test:
	tools/deps.sh test
	$(MAKE) -j$(shell nproc) all load units
	$(MAKE) unit check
	tools/test.sh

# Users of NTLM on one proxy in front of another, ten thousand requests: never mixed.
mixing: all
	tools/deps.sh test
	RPCH_REQUESTS=10000 perl t/TEST t/88-upstream-users.t

# The status page in a browser, which is too large for the suite: 350 MB.
test-browser: all
	tools/deps.sh browser
	perl t/TEST t/browser/status.t

# What doc/neighbours.md says of mod_evasive, AppArmor and SELinux, whose policy takes a minute to install.
test-guards: all
	tools/deps.sh guards
	perl t/TEST t/guards/neighbours.t

sanitize:
	tools/deps.sh test
	tools/deps.sh sanitize
	SANITIZER="$(SANITIZER)" FILES="$(FILES)" tools/sanitize.sh

bench bench-all:
	tools/deps.sh bench
	$(MAKE) all load
	bench/run.pl $(if $(findstring all,$@),-a)

install: all
	$(place) install
uninstall:
	@$(place) uninstall

# The manual as HTML, by pandoc.
doc:
	@tools/manual_html.sh $(BUILD)/doc

# Debian packages, in $(BUILD)/deb.
deb:
	tools/deps.sh deb
	tools/deb.sh $(BUILD)/deb

# The packages in a clean root: installed, upgraded under load, removed, purged. As root.
deb-test: deb
	tools/deb_test.sh $(BUILD)/deb

clean:
	rm -rf $(BUILD)

-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d)
