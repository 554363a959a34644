# SPDX-License-Identifier: MIT
# Nothing here recurses, every object knows its headers, and all that is made lies in $(B)/.
MAKEFLAGS += --no-builtin-rules --no-builtin-variables
SHELL = /bin/sh
Q := $(if $(V),,@)
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

VERSION	:= 0.1.0
B	?= build
CC	= gcc
CLANG	?= clang-14
MUSL_CC	?= musl-gcc
CFLAGS	?= -O2 -g
PREFIX	?= /usr
BINDIR	?= $(PREFIX)/bin
LIBDIR	?= $(PREFIX)/lib/mvm
MANDIR	?= $(PREFIX)/share/man
UNITDIR	?= $(PREFIX)/lib/systemd/system
SHAREDIR ?= $(PREFIX)/share/mvm
SUDO	:= $(if $(filter 0,$(shell id -u)),,sudo -E)
-include config.mk

help:
	@sed -n 's/^## //p' Makefile

## make            build the tools and manuals
## make demo       a real microVM from nothing to `uname -a`, in a network namespace of its own
## make test       what CI runs: check, e2e and node
## make check      ring 1: units and tools, natively
## make e2e        ring 2: real guests on this machine
## make node       ring 3: the same and systemd, in the node VM
## make lint | san | fuzz | bench | mutants
## make install | uninstall   with PREFIX, DESTDIR
## make deps       install what the build and the tests need
## make clean

# The packages, and pkg-config's answers: made by sh/deps, after which make reads itself again.
ifneq ($(filter-out help clean uninstall,$(or $(MAKECMDGOALS),all)),)
include $(B)/deps.mk
endif
$(B)/deps.mk: sh/deps
	@mkdir -p $(@D)
	sh/deps build
	$(Q)sh/deps --print-make >$@.new && mv $@.new $@
$(B)/deps-%.ok: sh/deps
	@mkdir -p $(@D)
	sh/deps $*
	@touch $@

WARN := -Wall -Wextra -Wshadow -Wformat=2 -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wconversion \
	-Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wpointer-arith -Wnull-dereference -Wimplicit-fallthrough -Wswitch-enum $(if $(CI),-Werror)
HARD := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE -fno-common \
	-ftrivial-auto-var-init=zero $(if $(SAN),,-D_FORTIFY_SOURCE=3)
DEFS := -D_GNU_SOURCE -Ilib -DMVM_VERSION='"$(VERSION)"'
ALL_CFLAGS = -std=gnu11 $(WARN) $(HARD) $(SAN) -ffile-prefix-map=$(CURDIR)=. $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN) $(LDFLAGS)

GUEST_CMD := cmd/mvm-guestd.c
LIB_SRC	  := $(sort $(wildcard lib/*/*.c))
CMD_SRC	  := $(filter-out $(GUEST_CMD),$(sort $(wildcard cmd/*.c)))
TEST_SRC  := $(sort $(wildcard tests/unit/test_*.c))
AID_SRC	  := $(sort $(wildcard tests/node/node-*.c tests/fc-api/*.c tests/aid/*.c))
FUZZ_SRC  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
TOOLS	  := $(CMD_SRC:cmd/%.c=$(B)/bin/%) $(B)/bin/mvm
GUEST	  := $(B)/lib/mvm/mvm-guestd
SCRIPTS	  := $(patsubst sh/%,$(B)/lib/mvm/%,$(filter-out sh/mvm sh/deps sh/demo,$(wildcard sh/*)))
TESTS	  := $(TEST_SRC:tests/unit/%.c=$(B)/unit/%)
AIDS	  := $(foreach s,$(AID_SRC),$(B)/test/$(basename $(notdir $(s))))
MAN	  := $(patsubst docs/%.scd.in,$(B)/man/%,$(wildcard docs/*.scd.in))
UNITS	  := $(wildcard units/mvm* units/run-mvm*)
obj	   = $(patsubst %.c,$(B)/obj/%.o,$(1))

.PHONY: help all check e2e node test lint san fuzz bench mutants demo install uninstall clean deps \
	headers cases layers
all: $(TOOLS) $(GUEST) $(SCRIPTS) $(MAN)
deps: $(B)/deps.mk $(B)/deps-test.ok $(B)/deps-lint.ok

$(B)/obj/%.o: %.c $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(DEFS) $(PKG_CFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(B)/libmvm.a: $(call obj,$(LIB_SRC))
	$(Q)rm -f $@.new && ar rcsD $@.new $^ && mv $@.new $@
$(B)/bin/%: $(B)/obj/cmd/%.o $(B)/libmvm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -o $@
$(B)/bin/mvm: sh/mvm
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@
$(B)/lib/mvm/%: sh/%
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@
$(B)/unit/%: $(B)/obj/tests/unit/%.o $(B)/obj/tests/unit/tap.o $(B)/libmvm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -o $@

# The guest's agent: one static binary of lib/base and lib/guest alone.
STATIC_CC = $(MUSL_CC) -static $(DEFS) -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH) \
	-std=gnu11 -Wall -Wextra -O2 -fno-common -ffunction-sections -fdata-sections \
	-Wl,--gc-sections -s -ffile-prefix-map=$(CURDIR)=.
BASE_SRC  := $(sort $(wildcard lib/base/*.c))
GUEST_SRC := $(GUEST_CMD) $(BASE_SRC) $(sort $(wildcard lib/guest/*.c))
$(GUEST): $(GUEST_SRC) $(wildcard lib/base/*.h lib/guest/*.h) $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)$(STATIC_CC) $(GUEST_SRC) -o $@

# Test aids, one source file each; what runs in the node VM or in a guest is static, and one is
# loaded into other programs.
OTHER_AIDS := tests/node/node-agent.c tests/aid/frame.c tests/aid/hurry.c
$(B)/test/node-agent: tests/node/node-agent.c tests/node/node-frame.h $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)$(STATIC_CC) $< -o $@
$(B)/test/frame: tests/aid/frame.c $(BASE_SRC) $(wildcard lib/base/*.h) $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)$(STATIC_CC) $< $(BASE_SRC) -o $@
$(B)/test/hurry: tests/aid/hurry.c $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(DEFS) -std=gnu11 $(WARN) $(CFLAGS) -fPIC -shared $< -o $@
define aid
$(B)/test/$(basename $(notdir $(1))): $(call obj,$(1)) $(B)/libmvm.a
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) $$^ $$(PKG_LIBS) -o $$@
endef
$(foreach s,$(filter-out $(OTHER_AIDS),$(AID_SRC)),$(eval $(call aid,$(s))))

# The option table of the tool becomes the manual's OPTIONS, where the manual asks for it.
$(B)/man/%: docs/%.scd.in $(TOOLS)
	@mkdir -p $(@D)
	$(Q)if grep -q '^@USAGE@$$' $<; then $(B)/bin/$(basename $*) --help=scd; fi | \
		sed -e '/^@USAGE@$$/{r /dev/stdin' -e 'd;}' $< | SOURCE_DATE_EPOCH=0 scdoc >$@
.SECONDARY:

headers: $(patsubst %.h,$(B)/%.h.ok,$(wildcard lib/*/*.h))
$(B)/%.h.ok: %.h $(B)/deps.mk
	@mkdir -p $(@D)
	$(Q)echo '#include "$(<:lib/%=%)"' | $(CC) $(DEFS) $(PKG_CFLAGS) $(ALL_CFLAGS) -x c -fsyntax-only - && touch $@

# The guest of the tests and of the demo.
IMAGE := $(B)/test/image/mvm-image.json
$(IMAGE): $(GUEST) sh/guest-image
	@mkdir -p $(@D)
	$(Q)sh/guest-image --guestd $(GUEST) --out $(@D)

# --- tests -------------------------------------------------------------------------------------
RING = MVM_BIN=$(abspath $(B))/bin MVM_BUILD=$(abspath $(B)) MVM_TEST_STRICT=1 tests/ring
REPLAY := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/replay/%)
check: all $(TESTS) $(AIDS) $(REPLAY) headers $(B)/deps-test.ok
	$(SUDO) env $(RING) check $(TESTS) tests/fuzz/replay.t $(sort $(wildcard tests/bats/*.bats))
e2e: all $(AIDS) $(IMAGE) $(B)/deps-test.ok
	$(SUDO) env $(RING) e2e tests/fc-api/qemu.t $(sort $(wildcard tests/e2e/*.bats))
# In the node: the tree as installed, beside it the guests' image and the tests. Of tests/e2e what depends on
# systemd and the control groups; the rest has run where there is more time (docs/adr/004).
NODE_TREE  := $(abspath $(B))/node-tree
NODE_TESTS := tests/e2e/faults.bats tests/e2e/lifecycle.bats $(sort $(wildcard tests/node/*.bats))
node: all $(AIDS) $(IMAGE) $(B)/deps-test.ok
	$(Q)rm -rf $(NODE_TREE)
	$(Q)$(MAKE) --no-print-directory install DESTDIR=$(NODE_TREE) PREFIX=/usr >/dev/null
	$(Q)mkdir -p $(NODE_TREE)/usr/share/mvm/tests
	$(Q)cp -r $(dir $(IMAGE)) $(NODE_TREE)/usr/share/mvm/image
	$(Q)cp -r tests/bats tests/e2e tests/node $(NODE_TREE)/usr/share/mvm/tests
	$(Q)install -D $(B)/test/frame $(NODE_TREE)/usr/share/mvm/tests/aid/frame
	$(Q)install -D $(B)/test/inject $(NODE_TREE)/usr/share/mvm/tests/aid/inject
	$(SUDO) env $(RING) node $(NODE_TESTS)
test:
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory e2e
	$(MAKE) --no-print-directory node
cases: # after a run of the rings: take the case names that were seen as the list to compare with
	MVM_BUILD=$(abspath $(B)) tests/ring --accept check e2e node
demo: all $(IMAGE)
	$(SUDO) env MVM_BUILD=$(abspath $(B)) sh/demo
mutants: $(B)/deps-test.ok
	tests/mutants/run
bench: all $(AIDS)
	$(SUDO) env MVM_BUILD=$(abspath $(B)) tests/bench/run
san:
	$(MAKE) --no-print-directory B=build/san SAN='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' CFLAGS='-O1 -g' check

# Every fuzz target is built twice: with libFuzzer, and with a plain main that replays the corpus.
$(B)/replay/%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay.o $(B)/libmvm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -o $@
FUZZ_CC = $(CLANG) $(DEFS) $(PKG_CFLAGS) -std=gnu11 -g -O1 -fno-sanitize-recover=all
$(B)/fuzz/obj/%.o: %.c $(B)/deps.mk $(B)/deps-lint.ok
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@
$(B)/fuzz/%: $(B)/fuzz/obj/tests/fuzz/fuzz_%.o $(LIB_SRC:%.c=$(B)/fuzz/obj/%.o)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $^ $(PKG_LIBS) -o $@
FUZZ_SECONDS ?= 60
fuzz: $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/fuzz/%)
	$(Q)for t in $^; do n=$${t##*/}; mkdir -p $(B)/corpus/$$n; \
		$$t -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(B)/corpus/$$n tests/fuzz/corpus/$$n || exit 1; done

# --- lint --------------------------------------------------------------------------------------
C_FILES = $(LIB_SRC) $(wildcard lib/*/*.h cmd/*.c tests/*/*.c tests/*/*.h)
SH_FILES = $(shell grep -lE '^\#!.*\b(sh|bash)$$' $(wildcard sh/* tests/* tests/*/* .ci/run) 2>/dev/null)
lint: layers $(B)/deps-lint.ok
	clang-format-14 --dry-run -Werror $(C_FILES)
	shellcheck $(SH_FILES)
	shellcheck -s bash $(wildcard tests/*/*.bash) $(wildcard tests/*/*.bats)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
		--suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches $(DEFS) lib cmd
	@+$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc)) $(TIDY)
# clang-tidy takes seconds for a file; what it has seen and what has not changed since, it skips.
TIDY := $(patsubst %.c,$(B)/tidy/%.ok,$(LIB_SRC) $(CMD_SRC) $(GUEST_CMD))
$(B)/tidy/%.ok: %.c $(B)/obj/%.o .clang-tidy $(B)/deps-lint.ok
	@mkdir -p $(@D)
	clang-tidy-14 --quiet --warnings-as-errors='*' $< -- $(DEFS) $(PKG_CFLAGS) -std=gnu11
	@touch $@
layers:
	tests/lint/layers
	tests/lint/banned

# --- install -----------------------------------------------------------------------------------
install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d \
		$(DESTDIR)$(PREFIX)/lib/modules-load.d
	install -m 755 $(TOOLS) $(DESTDIR)$(BINDIR)
	install -m 755 $(GUEST) $(SCRIPTS) $(DESTDIR)$(LIBDIR)
	install -m 644 $(MAN) $(DESTDIR)$(MANDIR)/man8
	install -m 644 $(filter %.service %.slice %.target %.timer %.socket %.mount,$(UNITS)) $(DESTDIR)$(UNITDIR)
	install -m 644 units/mvm.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/mvm.conf
	install -m 644 units/mvm.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/mvm.conf
	install -m 644 units/mvm.modules $(DESTDIR)$(PREFIX)/lib/modules-load.d/mvm.conf
uninstall:
	rm -f $(patsubst cmd/%.c,$(DESTDIR)$(BINDIR)/%,$(CMD_SRC)) $(DESTDIR)$(BINDIR)/mvm
	rm -f $(patsubst docs/%.scd.in,$(DESTDIR)$(MANDIR)/man8/%,$(wildcard docs/*.scd.in))
	rm -f $(patsubst units/%,$(DESTDIR)$(UNITDIR)/%,$(filter %.service %.slice %.target %.timer %.socket %.mount,$(UNITS)))
	rm -f $(DESTDIR)$(PREFIX)/lib/sysusers.d/mvm.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/mvm.conf \
		$(DESTDIR)$(PREFIX)/lib/modules-load.d/mvm.conf
	rm -rf $(DESTDIR)$(LIBDIR)
clean:
	rm -rf $(B)

-include $(shell find $(B)/obj $(B)/fuzz/obj -name '*.d' 2>/dev/null)
