import TestSupport
import Testing

/// `scripts/deps` on a package database of the test's own (DPKG_ADMINDIR, dpkg-query(1)); apt-get is a script that tells.
@Suite(.enabled(if: Parts.isCI || Programs.has("dpkg-query"), "needs dpkg")) struct DepsTests {
    private static let setUp = """
        D=$(mktemp -d)
        trap 'rm -r $D' EXIT
        mkdir -p $D/db/updates $D/db/info $D/bin
        printf '#!/bin/sh\\necho "apt-get $*" >>%s/apt\\n' $D >$D/bin/apt-get
        printf '#!/bin/sh\\nwhile [ "$1" != env ]; do shift; done; exec "$@"\\n' >$D/bin/sudo
        chmod 755 $D/bin/*
        touch $D/apt
        # installed [PROVIDER=PACKAGE…]: all of the purpose's packages, those named by what provides them.
        installed() {
            local package provider provided architecture
            architecture=$(dpkg --print-architecture)
            for package in $($REPOSITORY/scripts/deps --list $PURPOSE); do
                provided='' provider=$package
                case " $* " in *"=$package "*)
                    provider=$(tr ' ' '\\n' <<<"$*" | sed -n "s/=$package\\$//p")
                    provided=$package ;;
                esac
                [ "$provider" != none ] || continue
                printf 'Package: %s\\nStatus: install ok installed\\nArchitecture: %s\\nVersion: 1\\n' $provider \\
                    ${ARCHITECTURE:-$architecture}
                printf 'Maintainer: x <x@example.org>\\nDescription: x\\n%s\\n' "${provided:+Provides: other, $provided (= 1)
        }"
            done >$D/db/status
        }
        deps() { PATH=$D/bin:$PATH DPKG_ADMINDIR=$D/db $REPOSITORY/scripts/deps "$@"; }

        """

    @Test func `a package that another one provides is there, so nothing is asked of the network`() async throws {
        let result = try await runBash(
            Self.setUp + """
                PURPOSE=test
                installed libelf1t64=libelf1 gcc-14=gcc-aarch64-linux-gnu
                deps $PURPOSE
                cat $D/apt
                """)
        #expect(result.status == 0, result.all)
        #expect(result.stdout == "" && result.stderr == "", result.all)
    }

    @Test func `installs what is missing, and no more`() async throws {
        let result = try await runBash(
            Self.setUp + """
                PURPOSE=test
                installed none=libelf1 none=flex
                deps $PURPOSE
                grep -o 'install --.*' $D/apt
                """)
        #expect(result.status == 0, result.all)
        #expect(result.stderr == "deps: installing flex libelf1\n", result.all)
        #expect(result.stdout == "install --no-install-recommends flex libelf1\n", result.all)
    }

    @Test func `another architecture's packages do not count`() async throws {
        let result = try await runBash(
            Self.setUp + """
                PURPOSE=run ARCHITECTURE=hurd-i386
                installed
                deps $PURPOSE
                """)
        #expect(result.stderr.hasPrefix("deps: installing u-boot-tools mtools "), result.all)
    }

    @Test func `who only builds packages is spared the tests' tools`() async throws {
        let result = try await runBash(
            """
            deps=$REPOSITORY/scripts/deps
            comm -12 <($deps --list deb | sort) \\
              <(printf '%s\\n' atftp gcc-arm-linux-gnueabihf qemu-system-arm qemu-system-x86 shellcheck tshark | sort)
            comm -23 <($deps --list build | sort) <($deps --list deb | sort)
            comm -23 <($deps --list demo | sort) <($deps --list test | sort)
            $deps --list run test | sort | uniq -d
            $deps wrong || echo status $?
            """)
        #expect(result.stdout == "status 64\n", result.all)
        #expect(result.stderr == "deps: error: 'wrong' is not a purpose; see scripts/deps --help\n", result.all)
    }
}
