# fuzz.mk: part of the top Makefile, which includes it behind UNITS.
#
#   make fuzz                 each target for FUZZ_TIME seconds, from fuzz/corpus
#   make fuzz FUZZ=proxy      one target
#   make unit                 replays fuzz/corpus and fuzz/regressions, without clang
#
# An input that fails lands in fuzz/regressions/NAME, to be committed with its cure; what only
# finds new paths lands in build/fuzz/found/NAME.

FUZZ_ALL  := $(patsubst fuzz/%_fuzz.c,%,$(wildcard fuzz/*_fuzz.c))
FUZZ      ?= $(FUZZ_ALL)
FUZZ_TIME ?= 60
FUZZ_CC   ?= clang
FUZZ_LEN_codec    := 2048
FUZZ_LEN_rts      := 256
FUZZ_LEN_tls      := 401
FUZZ_LEN_proxy    := 900
FUZZ_LEN_endpoint := 900

FUZZ_SAN   := address,undefined
FUZZ_CF     = -std=gnu11 $(WARN) -O2 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
              -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -pthread $(APR_CF) -I.
# Loop and connections are the fakes', streams are what the fakes open.
FUZZ_CORE  := $(filter-out io/loop target/connect,$(CORE))
FUZZ_FAKES := $(patsubst %.c,%,$(wildcard fuzz/fake_*.c fuzz/script.c))
FUZZ_LD     = -Wl,--wrap=rpc_stream_open $(APR_LD) $(WHO_LD) -lssl -lcrypto -lm
FUZZ_DIR   := $(BUILD)/fuzz
# Their inputs are scripts, see fuzz/script.h.
FUZZ_SCRIPTS := proxy endpoint

UNITS += $(FUZZ_ALL:%=$(FUZZ_DIR)/%_replay)

$(FUZZ_DIR)/instrumented/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CF) -MMD -MP -c -o $@ $<
$(FUZZ_DIR)/plain/%.o: fuzz/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) -MMD -MP -c -o $@ $<
$(FUZZ_DIR)/plain/%_replay.o: fuzz/replay.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) '-DFUZZ_NAME="$*"' -MMD -MP -c -o $@ $<

# A target is NAME_fuzz.c and what else is named NAME_*.c.
define fuzz_target
$(1)_FUZZ_C := $$(patsubst fuzz/%.c,%,$$(wildcard fuzz/$(1)_*.c))
$$(FUZZ_DIR)/$(1)_fuzz: $$(patsubst %,$$(FUZZ_DIR)/instrumented/%.o,$$($(1)_FUZZ_C:%=fuzz/%) \
		$$(FUZZ_FAKES) $$(FUZZ_CORE) $$(NTLM) $$(if $$(filter $(1),$$(FUZZ_SCRIPTS)),fuzz/mutator))
	$$(FUZZ_CC) -fsanitize=fuzzer,$$(FUZZ_SAN) -pthread -o $$@ $$^ $$(FUZZ_LD)
$$(FUZZ_DIR)/$(1)_replay: $$(patsubst %,$$(FUZZ_DIR)/plain/%.o,$$($(1)_FUZZ_C) $(1)_replay \
		$$(FUZZ_FAKES:fuzz/%=%)) $$(FUZZ_CORE:%=$$(BUILD)/%.o) $$(NTLM_O)
	$$(CC) $$(ALL_LD) -o $$@ $$^ $$(FUZZ_LD)
endef
$(foreach name,$(FUZZ_ALL),$(eval $(call fuzz_target,$(name))))

# A unit test on the fakes' stage.
$(BUILD)/unit/relay_test: t/unit/relay_test.c $(FUZZ_FAKES:fuzz/%=$(FUZZ_DIR)/plain/%.o) \
		$(FUZZ_CORE:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	$(CC) $(ALL_CF) -MMD -MP -o $@ $(filter-out %.h,$^) $(ALL_LD) $(FUZZ_LD)

.PHONY: fuzz $(FUZZ_ALL:%=fuzz-%)
.SECONDARY: $(foreach name,$(FUZZ_ALL),$(FUZZ_DIR)/$(name)_fuzz $(FUZZ_DIR)/plain/$(name)_replay.o)
fuzz:
	tools/deps.sh fuzz
	$(MAKE) $(FUZZ:%=fuzz-%)
$(FUZZ_ALL:%=fuzz-%): fuzz-%: $(FUZZ_DIR)/%_fuzz
	@mkdir -p $(FUZZ_DIR)/found/$* fuzz/regressions/$*
	$(FUZZ_DIR)/$*_fuzz -max_total_time=$(FUZZ_TIME) -max_len=$(or $(FUZZ_LEN_$*),4096) -timeout=30 \
	    -print_final_stats=1 -verbosity=0 -artifact_prefix=fuzz/regressions/$*/ \
	    $(if $(wildcard fuzz/$*.dict),-dict=fuzz/$*.dict) \
	    $(FUZZ_DIR)/found/$* fuzz/corpus/$*

-include $(wildcard $(FUZZ_DIR)/plain/*.d $(FUZZ_DIR)/instrumented/*.d $(FUZZ_DIR)/instrumented/*/*.d)
