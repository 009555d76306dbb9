# rpiflash. `make help` prints the index of targets: the lines with two hashes below.
# Everything that is made goes to build/ and .build/. Nothing here needs root, but apt-get in scripts/deps.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What you may set: make recovery-image BOARD=rpi_4_32b SERVER_IP=192.168.1.10
BOARD ?= rpi_arm64
# make deps: what for, of scripts/deps --help; more than one in quotes.
DEPS ?= build
SERVER_IP ?=
# The keys that sign what a card runs; made if there are none and you are root. KEYS= makes a card that runs every plan.
KEYS ?= /etc/rpiflash/keys
# More options for rpiflash-gen recovery-image, e.g. RECOVERY_OPTIONS='--from-image raspios.img --card-size 16GB'
RECOVERY_OPTIONS ?=
PREFIX ?= /usr/local
DESTDIR ?=
# make deb: the version of the packages, by default that of the program; the boards whose U-Boot is packed.
DEB_VERSION ?=
DEB_BOARDS ?= rpi_arm64 qemu_arm64
# make test-release: which release, by default the other one of Debian 12 and 13; SHORT=--short as CI does it.
RELEASE ?=
SHORT ?=
# make debs: for which releases and architectures.
DEBS ?= bookworm/amd64 bookworm/arm64 trixie/amd64 trixie/arm64
# make install: what builds for another system, as packaging/debs does; packages strip the programs themselves.
SWIFT ?= swift
SWIFT_FLAGS ?=
INSTALL_PROGRAM ?= install -s

# Programs that run without Swift, and look for libraries nowhere but where the system has them.
# Hardened as Debian's own are: Swift's linker does neither unasked (lintian: hardening-no-relro).
# lld comes with Swift. GNU ld, which Swift takes where there is no gold (Debian 13), leaves relro out of a program of this size.
STATIC := -c release --static-swift-stdlib --disable-local-rpath -Xswiftc -use-ld=lld -Xlinker -z -Xlinker relro -Xlinker -z -Xlinker now

BUILD := build
BIN := .build/debug
# U-Boot for 32-bit boards has a compiler of its own.
ARM32 := $(if $(filter %_32b,$(BOARD)),deps-arm32)
DEB_ARM32 := $(if $(filter %_32b,$(DEB_BOARDS)),deps-arm32)
BOARDS := $(patsubst uboot/boards/%.yaml,%,$(wildcard uboot/boards/*.yaml))
# Those that Linux flashes.
LINUX_BOARDS := $(patsubst uboot/boards/%.yaml,%,$(shell grep -l '^system: linux' uboot/boards/*.yaml))
# demo.img is the layout pios.
LAYOUTS := pios-2024 pios-trixie debian ubuntu ubuntu-ab buildroot
SCRIPTS := $(shell grep -rlE '^\#!/(usr/bin/env bash|bin/sh)' scripts uboot recovery_image virtual_target .ci packaging Tests/web)

.PHONY: help deps build uboot firmware linux usb-ethernet sandbox peers recovery-image demo-image layout-images userland-image \
    debian-image gpio-bench demo demo-pi3 demo-sandbox demo-linux debian-boot boot-32 boot-older labgrid-tools labgrid-wheel labgrid-check \
    labgrid-protocol labgrid-short labgrid-test labgrid-long labgrid-new-user many system-parts test check docs recording bench \
    bench-tftp bench-flash bench-signed bench-linux pi-test signed-test linux-test fuzz fuzz-images fuzz-readers fuzz-target fuzz-server try-laws power-cuts \
    power-cuts-qemu many-sandboxes upgrade-test install deb debs deb-test test-release clean

help: ## this index
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name text; do \
	    printf '  make %-16s %s\n' "$$name" "$$text"; done
	@echo "BOARD=$(BOARD) (of $(BOARDS)), SERVER_IP=$(SERVER_IP), PREFIX=$(PREFIX)"

deps: ## install the Debian packages that are missing for DEPS (run, build, arm32, demo, deb, tree, debs, test), with sudo when not root
	@scripts/deps $(DEPS)

# What a target needs and no more; nothing is asked of the network where all of it is there.
deps-%:
	@scripts/deps $*

build: deps-build ## the two programs, for development, into .build/debug
	swift build

uboot: build $(ARM32) ## U-Boot for BOARD, into build/uboot/<board>
	@uboot/build $(BOARD)

firmware: deps-build # the Pi's boot firmware, into build/firmware
	@scripts/firmware

usb-ethernet: deps-demo $(BUILD)/usb-ethernet/usb-ethernet # the USB Ethernet of the virtual target's Pis, into build/usb-ethernet

$(BUILD)/usb-ethernet/usb-ethernet: $(wildcard virtual_target/usb-ethernet/*.[ch]) Makefile
	@mkdir -p $(@D)
	gcc -O2 -std=c11 -Wall -Wextra -Werror -o $@ $(filter %.c,$^) $$(pkg-config --cflags --libs libusbredirparser-0.5)

sandbox: deps-demo build $(BUILD)/sandbox/preload.so # the virtual target "sandbox": its U-Boot, what stands between that and this machine
	@uboot/build sandbox

$(BUILD)/sandbox/preload.so: $(wildcard virtual_target/sandbox/*.[ch]) Makefile
	@mkdir -p $(@D)
	gcc -O2 -std=c11 -Wall -Wextra -Werror -shared -fPIC -o $@ $(filter %.c,$^)

peers: deps-test # other TFTP servers, for tests and benchmarks, into build/peers
	@scripts/peers

linux: build deps-linux # the Linux that flashes BOARD (rpi_5, linux_arm64), into build/linux/<board>
	@recovery_image/linux/build $(BOARD)

recovery-image: build $(if $(filter $(BOARD),$(LINUX_BOARDS)),linux,uboot firmware) ## the card that makes a board flashable: build/recovery-<board>.img, .bmap, .img.xz
	@if [ -n "$(KEYS)" ] && ! [ -e "$(KEYS)/current.key" ]; then \
	    $(BIN)/rpiflash keys init --keys "$(KEYS)" || \
	    echo "$(KEYS) has no key, so the card will run every plan; sudo $(BIN)/rpiflash keys init makes one" >&2; \
	fi
	$(BIN)/rpiflash-gen recovery-image --board $(BOARD) $(if $(SERVER_IP),--server-ip $(SERVER_IP)) \
	    $$([ -z "$(KEYS)" ] || ! [ -r "$(KEYS)/current.key" ] || echo --key "$(KEYS)/current.key") \
	    $(RECOVERY_OPTIONS) -o $(BUILD)/recovery-$(BOARD).img

demo-image: deps-demo # the demo's OS image, into build/demo
	@virtual_target/images/demo-image $(BUILD)/demo/demo.img

layout-images: deps-demo # small images laid out as those of Raspberry Pi OS, Debian, Ubuntu and Buildroot, for tests, into build/layouts
	@printf '%s\n' $(LAYOUTS) | xargs -P 2 -I '{}' \
	    virtual_target/images/demo-image --layout '{}' --boot-size 48MiB --rootfs-size 16MiB $(BUILD)/layouts/'{}'.img

userland-image: deps-demo # an OS image of 1 GiB with a Debian userland, a third in use, into build/demo
	@virtual_target/images/demo-image --rootfs-size 952MiB --userland virtual_target/images/userland.list $(BUILD)/demo/userland.img

debian-image: deps-demo # an OS image of a real Debian as on a Pi: systemd, fstab with PARTUUIDs; into build/debian
	@virtual_target/images/debian-image $(BUILD)/debian/debian.img

demo: deps-demo build demo-image ## a whole flash without hardware: card, flash over the network, Linux up from partition 3
	@uboot/build qemu_arm64
	@virtual_target/scenarios/demo

demo-pi3: deps-demo build demo-image firmware usb-ethernet ## the same on a Raspberry Pi 3 as QEMU has it: its own U-Boot, drivers, device tree
	@uboot/build rpi_arm64
	@virtual_target/scenarios/demo --machine pi3

demo-sandbox: build demo-image sandbox ## the same without QEMU and Linux: U-Boot as a process, a flash in 2 seconds
	@virtual_target/scenarios/demo --machine sandbox

demo-linux: build demo-image ## the same on a target that is flashed by Linux, as a Pi 5 is
	@recovery_image/linux/build linux_arm64
	@virtual_target/scenarios/demo --machine linux

debian-boot: deps-demo build debian-image firmware ## a real Debian flashed to the virtual target's card, booted by the Pi's U-Boot on raspi3b
	@uboot/build qemu_arm64
	@uboot/build rpi_arm64
	swift build --build-tests
	RPIFLASH_DEBIAN_IMAGE="$(abspath $(BUILD)/debian/debian.img)" scripts/swift-test --skip-build --filter DebianTests

gpio-bench: deps-test # machines whose GPIO lines are seen, for tests, into build/gpio-bench
	@virtual_target/scenarios/gpio-bench prepare

# Bench.needed of the system tests: where any of it is missing they are all skipped, and in CI fail.
system-parts: build firmware usb-ethernet sandbox peers demo-image # what the tests of the whole system are run with
	@uboot/build qemu_arm64
	@uboot/build rpi_arm64
	@recovery_image/linux/build linux_arm64

test: deps-test build system-parts layout-images gpio-bench ## all tests; those of the whole system run real U-Boot and Linux in QEMU
	swift build --build-tests
	# One after the other: two virtual machines at once would slow each other past their deadlines.
	# Not all 720 at once: together they hold 1,500 files open, and Foundation's Process crashes above 1,350 (it reads beyond
	# the end of what readdir gave, in its list of /proc/self/fd).
	scripts/swift-test --skip-build --skip SystemTests --skip GPIOTests --experimental-maximum-parallelization-width 8
	scripts/swift-test --skip-build --filter GPIOTests
	scripts/swift-test --skip-build --filter SystemTests

test-release: deps-demo deps-tree build demo-image # builds, unit tests and a flash on another Debian release (RELEASE=trixie), in a tree of it; as root
	@uboot/build qemu_arm64
	$(if $(SHORT),swift build --build-tests)
	@scripts/test-release $(SHORT) $(RELEASE)

check: deps-test build ## format and lint of Swift and shell, every board's fragments and boot script
	swift format lint --strict --recursive --parallel Sources Tests Package.swift
	shellcheck $(SCRIPTS)
	@for board in $(filter-out $(LINUX_BOARDS),$(BOARDS)); do \
	    echo "checking fragments and boot script of $$board"; \
	    uboot/build --config-only "$$board"; \
	    $(BIN)/rpiflash-gen bootscr --board "$$board" --text -o $(BUILD)/check-"$$board".cmd; \
	done

docs: build ## what is generated of docs: the commands in reference.md, the card's picture
	@scripts/docs

recording: deps-demo build demo-image ## docs/pictures/flash.svg, a flash of the virtual target as a terminal shows it; as root
	@uboot/build qemu_arm64
	@scripts/recording

bench: deps-test build demo-image peers ## seconds of a whole flash, rpiflash's TFTP server beside atftpd and tftpd-hpa
	@uboot/build qemu_arm64
	@virtual_target/benchmarks/bench

bench-tftp: deps-test build peers firmware ## rpiflash's TFTP server beside atftpd, dnsmasq and tftpd-hpa, with U-Boot and lost packets
	@uboot/build qemu_arm64
	swift build -c release --product tftp-bench-server
	@virtual_target/benchmarks/bench-tftp

bench-signed: deps-test build demo-image sandbox ## what signed plans cost: seconds and bytes, beside plans that are not
	@virtual_target/benchmarks/bench-pair --pair signed --rounds 11

bench-linux: deps-test build demo-image ## a target that Linux flashes beside one that U-Boot flashes: seconds and bytes
	@uboot/build qemu_arm64
	@recovery_image/linux/build linux_arm64
	@virtual_target/benchmarks/bench-pair --pair linux

bench-flash: deps-test build userland-image peers firmware ## whole flashes side by side: in parts, by plan, again; bytes and seconds
	@uboot/build qemu_arm64
	swift build -c release --product rpiflash
	@virtual_target/benchmarks/bench-flash

pi-test: deps-test build system-parts # of the tests those on QEMU's Pis with their own U-Boot and Ethernet
	swift build --build-tests
	scripts/swift-test --skip-build --filter ToLinux.RaspberryPis

signed-test: deps-test build system-parts # signed plans: their tests on the sandbox and on QEMU's virt and Pi 3, and 100 power cuts with lost packets
	swift build --build-tests
	for machine in sandbox virt pi3; do \
	    echo "signed plans on the machine $$machine"; \
	    SIGNED_MACHINE=$$machine scripts/swift-test --skip-build --filter ToProof.SignedPlans || exit; \
	done
	@virtual_target/scenarios/exact-cuts --signed --loss 20 --random 100

linux-test: deps-test build system-parts ## targets that Linux flashes: QEMU's virt and Pi 3, 20 power cuts, eight targets of both kinds
	swift build --build-tests
	for machine in linux pi3linux; do \
	    echo "targets that Linux flashes, machine $$machine"; \
	    LINUX_MACHINE=$$machine scripts/swift-test --skip-build --filter ToLinux.LinuxTargets || exit; \
	done
	@virtual_target/scenarios/power-cuts --machine linux
	@virtual_target/scenarios/many --targets 8 --linux 4

# make fuzz: how much of each.
FUZZ_IMAGES ?= 100000
FUZZ_SECONDS ?= 300
FUZZ_PACKETS ?= 10000000
FUZZ_PLANS ?= 1000
READERS := packet report inventory cmdline fstab config console

fuzz: fuzz-images fuzz-readers fuzz-target fuzz-server ## images, readers, hostile targets and servers: no mutation does harm (FUZZ_IMAGES, FUZZ_SECONDS, FUZZ_PACKETS, FUZZ_PLANS)

fuzz-images: deps-test build # FUZZ_IMAGES mutations of small images with a new seed (100,000: half an hour on two cores)
	swift build --build-tests
	RPIFLASH_FUZZ_COUNT=$(FUZZ_IMAGES) scripts/swift-test --skip-build --filter OSImageTests.FuzzTests

fuzz-readers: deps-build # libFuzzer on what reads packets, reports, inventories and an image's text files, FUZZ_SECONDS for each
	RPIFLASH_LIBFUZZER=1 swift build --scratch-path $(BUILD)/libfuzzer -c release -Xswiftc -sanitize=fuzzer -Xlinker -z -Xlinker muldefs --product reader-fuzzer
	@for reader in $(READERS); do \
	    mkdir -p $(BUILD)/fuzz/"$$reader"; \
	    echo "fuzzing the reader of $$reader for $(FUZZ_SECONDS) s"; \
	    $(BUILD)/libfuzzer/release/reader-fuzzer "$$reader" $(BUILD)/fuzz/"$$reader" -max_total_time=$(FUZZ_SECONDS) -max_len=8192 \
	        -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 2>&1 | grep -v '# Uses:'; \
	done

fuzz-target: deps-test build # a hostile target, FUZZ_PACKETS packets, against the server and the flash behind it
	swift build --product target-fuzzer
	@virtual_target/scenarios/hostile-target --packets $(FUZZ_PACKETS)

fuzz-server: deps-demo build sandbox # a hostile server, FUZZ_PLANS flashes, against the boot script in U-Boot with address sanitizer
	@uboot/build --sanitize sandbox
	@virtual_target/scenarios/hostile-server --plans $(FUZZ_PLANS)

boot-32: deps-arm32 deps-demo build firmware usb-ethernet ## U-Boot with 32 bits on QEMU's Raspberry Pi 2: a flash, and a kernel with 32 bits
	@uboot/build rpi_3_32b
	@virtual_target/images/demo-image --layout debian-armhf --boot-size 48MiB --rootfs-size 16MiB $(BUILD)/layouts/debian-armhf.img
	swift build --build-tests
	RPIFLASH_BOOT_32=1 scripts/swift-test --skip-build --filter SystemTests.Boot32

OLDER_UBOOT ?= bookworm 2023.01+dfsg-2+deb12u3
boot-older: deps-demo build demo-image layout-images firmware ## today's boot script and flash plans on the U-Boot of earlier cards: 2023.01
	@uboot/build --source "$(OLDER_UBOOT)" qemu_arm64
	swift build --build-tests
	RPIFLASH_OLDER_UBOOT='$(abspath $(BUILD))/uboot/$(lastword $(OLDER_UBOOT))/qemu_arm64/u-boot.bin' scripts/swift-test --skip-build \
	    --filter 'SystemTests.To(Linux|Proof).(BootCases|Plans|Flashing|ImageLayouts)'

# Python's virtual environment with what builds, checks and tests the labgrid package, in versions that are pinned.
LABGRID := $(BUILD)/labgrid
$(LABGRID)/venv/.made: labgrid/requirements.txt | deps-labgrid
	python3 -m venv --clear $(LABGRID)/venv
	$(LABGRID)/venv/bin/pip install --quiet --disable-pip-version-check --requirement labgrid/requirements.txt
	@touch $@

labgrid-tools: $(LABGRID)/venv/.made # what builds, checks and tests the Python package for labgrid

labgrid-wheel: $(LABGRID)/venv/.made ## the Python package for labgrid's clients, into build/labgrid/dist
	@scripts/labgrid-wheel

labgrid-check: $(LABGRID)/venv/.made # format, lint and types of the Python package
	cd labgrid && ../$(LABGRID)/venv/bin/ruff format --check . && ../$(LABGRID)/venv/bin/ruff check .
	cd labgrid && MYPYPATH=tests ../$(LABGRID)/venv/bin/mypy rpiflash_client labgrid_rpiflash tests

labgrid-protocol: labgrid-wheel # the labgrid package with a rpiflash that is a fake, in a real labgrid
	@scripts/labgrid-test --fake

labgrid-short: labgrid-wheel build demo-image sandbox # the same, and the real rpiflash with U-Boot as a process; as root
	@scripts/labgrid-test --machine sandbox

labgrid-test: labgrid-wheel deps-demo build demo-image ## rpiflash in labgrid: coordinator, exporters, sshd, two benches with virtual targets; as root
	@uboot/build qemu_arm64
	@scripts/labgrid-test

labgrid-long: labgrid-wheel build demo-image sandbox # 50 kills of any process between a pytest and a card, 16 targets on two servers; as root
	@RPIFLASH_KILLS=50 RPIFLASH_MANY=16 scripts/labgrid-test --machine sandbox -- -s -k test_long

# What pip fetches for a client and a server, for a machine without a network.
$(LABGRID)/wheels/.made: labgrid/pyproject.toml $(LABGRID)/venv/.made
	$(LABGRID)/venv/bin/pip wheel --quiet --disable-pip-version-check --wheel-dir $(@D) 'labgrid>=26,<27' pytest attrs 'setuptools>=77' wheel
	@touch $@

labgrid-new-user: deb labgrid-wheel $(LABGRID)/wheels/.made # docs/labgrid.md typed on two bench servers where the packages are installed; as root
	@scripts/labgrid-test --sshd-only
	@virtual_target/images/demo-image --rootfs-size 112MiB --userland virtual_target/images/ssh.list $(LABGRID)/ssh.img
	@packaging/new-user-labgrid

# The same for what looks at the pages in a browser; the browser is Debian's.
.PHONY: web-tools web-test bench-web
WEB := $(BUILD)/web
$(WEB)/venv/.made: Tests/web/requirements.txt | deps-web
	python3 -m venv --clear $(WEB)/venv
	$(WEB)/venv/bin/pip install --quiet --disable-pip-version-check --requirement Tests/web/requirements.txt
	@touch $@

web-tools: $(WEB)/venv/.made # what tests the pages

web-test: $(WEB)/venv/.made build demo-image sandbox # the pages of rpiflash web in a real browser, and a real flash in them; as root
	@scripts/web-test

bench-web: $(WEB)/venv/.made ## first paint, memory and processor time of the pages: 200 targets, 10,000 runs, 50 watchers
	swift build -c release --product rpiflash
	@RPIFLASH_BIN=.build/release $(WEB)/venv/bin/python Tests/web/bench.py

many: deps-demo build demo-image ## eight virtual targets flashed at once, one of them loses its power
	@uboot/build qemu_arm64
	@virtual_target/scenarios/many

try-laws: deps-demo sandbox ## takes each law's line out of the templates, and sees a test fail; as root
	swift build --build-tests
	scripts/try-laws

power-cuts: deps-demo build sandbox ## power cuts at every sector that a small plan writes, and 1,000 random ones: nothing boots, all is repaired
	@virtual_target/scenarios/exact-cuts --exhaustive --random 1000

power-cuts-qemu: deps-demo build demo-image firmware # 20 power cuts in flashes by plan in QEMU, at random points
	@uboot/build qemu_arm64
	@virtual_target/scenarios/power-cuts

many-sandboxes: deps-demo build demo-image sandbox ## 64 sandboxes flashed at once, 2 % loss, ten of them lose their power; by the flash itself and by the service
	@virtual_target/scenarios/many-sandboxes
	@virtual_target/scenarios/many-sandboxes --service --rounds 10

upgrade-test: deps-demo build firmware ## partition 1 brought up to date from its Linux by ssh, with power cuts (8 of them, 10 minutes)
	@uboot/build qemu_arm64
	@uboot/build rpi_arm64
	@virtual_target/scenarios/upgrade-test

install: deps-build ## the programs, templates, boards and systemd units, below DESTDIR/PREFIX; they run without Swift
	$(SWIFT) build $(STATIC) $(SWIFT_FLAGS) --product rpiflash
	$(SWIFT) build $(STATIC) $(SWIFT_FLAGS) --product rpiflash-gen
	install -d "$(DESTDIR)$(PREFIX)"/{bin,share/rpiflash/{templates/{boot,plan},uboot/boards,web,recovery_image,schema,scripts,virtual_target,labgrid/{labgrid_rpiflash,rpiflash_client}}}
	bin=$$($(SWIFT) build $(STATIC) $(SWIFT_FLAGS) --show-bin-path); \
	    $(INSTALL_PROGRAM) "$$bin"/rpiflash "$$bin"/rpiflash-gen "$(DESTDIR)$(PREFIX)/bin/"
	for folder in templates templates/boot templates/plan; do \
	    install -m 644 "$$folder"/*.* "$(DESTDIR)$(PREFIX)/share/rpiflash/$$folder/"; \
	done
	install -m 644 uboot/boards/*.yaml "$(DESTDIR)$(PREFIX)/share/rpiflash/uboot/boards/"
	install -m 644 recovery_image/*.* "$(DESTDIR)$(PREFIX)/share/rpiflash/recovery_image/"
	chmod 755 "$(DESTDIR)$(PREFIX)/share/rpiflash/recovery_image/upgrade-card.target"
	install -m 644 web/*.* "$(DESTDIR)$(PREFIX)/share/rpiflash/web/"
	install -m 644 docs/schema/*.json "$(DESTDIR)$(PREFIX)/share/rpiflash/schema/"
	install -m 755 scripts/lib.bash "$(DESTDIR)$(PREFIX)/share/rpiflash/scripts/"
	install -m 755 virtual_target/virtual-target "$(DESTDIR)$(PREFIX)/share/rpiflash/virtual_target/"
	install -m 644 virtual_target/card.yaml "$(DESTDIR)$(PREFIX)/share/rpiflash/virtual_target/"
	install -m 644 labgrid/{LICENSE,README.md,pyproject.toml} "$(DESTDIR)$(PREFIX)/share/rpiflash/labgrid/"
	for package in labgrid_rpiflash rpiflash_client; do \
	    install -m 644 labgrid/$$package/{*.py,py.typed} "$(DESTDIR)$(PREFIX)/share/rpiflash/labgrid/$$package/"; \
	done
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	for unit in packaging/rpiflash-{serve,web}*; do \
	    sed 's#/usr/bin/rpiflash#$(PREFIX)/bin/rpiflash#' "$$unit" \
	        >"$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}"; \
	done

deb: deps-deb $(DEB_ARM32) firmware ## Debian packages of this machine's architecture, into build/deb, judged by lintian
	$(SWIFT) build $(STATIC) --product rpiflash-gen
	@bin=$$($(SWIFT) build $(STATIC) --show-bin-path); \
	    for board in $(DEB_BOARDS); do RPIFLASH_BIN="$$bin" uboot/build "$$board"; done
	rm -f $(BUILD)/deb/*.{deb,changes,buildinfo}
	packaging/build $(if $(DEB_VERSION),--version $(DEB_VERSION)) $(DEB_BOARDS)
	lintian --allow-root --fail-on error,warning $(BUILD)/deb/*.deb

debs: deps-debs $(DEB_ARM32) build firmware ## Debian packages for DEBS, cross-built, into build/packages, each used in a tree of its release; as root, on amd64
	@for board in $(DEB_BOARDS); do uboot/build "$$board"; done
	packaging/debs $(if $(DEB_VERSION),--version $(DEB_VERSION)) $(addprefix --for ,$(DEBS)) $(DEB_BOARDS)

deb-test: deps-demo deb demo-image ## the packages installed, used (a new user's whole way), upgraded and purged, on a copy of this system's files
	packaging/test

clean: ## remove all that was made or fetched
	rm -rf $(BUILD) .build
