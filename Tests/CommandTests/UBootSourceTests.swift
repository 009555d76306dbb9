import Foundation
import SystemPackage
import TestSupport
import Testing

/// Which U-Boot goes on a card: `scripts/debian-parts source`, `uboot/versions` and `uboot/patches`. apt is a double that
/// has the archives of one version of a package that is made here.
@Suite struct UBootSourceTests {
    private static let script = Parts.repository.appending("scripts/debian-parts").string

    /// Runs `debian-parts source demo SRC …`; SRC has `text` with the line of the source, patched where that could be done.
    private func fetch(_ versions: String, patch: String = "one\n") async throws -> CommandResult {
        let folder = Parts.scratch("rpiflash-uboot-source").appending(UUID().uuidString)
        return try await runScript(
            """
            mkdir -p $D/{bin,archive,make/demo-1.0,make/debian/patches}
            cd $D/make
            echo one >demo-1.0/text
            tar -cJf ../archive/demo_1.0.orig.tar.xz demo-1.0
            printf '%s\\n' '--- a/text' '+++ b/text' '@@ -1 +1 @@' "-${PATCH%$'\\n'}" '+two' >debian/patches/first.patch
            printf '# a comment\\nfirst.patch\\n' >debian/patches/series
            tar -cJf ../archive/demo_1.0-3.debian.tar.xz debian
            cat >$D/bin/apt-get <<'APT'
            #!/bin/bash
            case "$*" in
                *" update") exit 0 ;;
                *" --tar-only demo=1.0-3") cp $D/archive/*.orig.* . ;;
                *" --diff-only demo=1.0-3") cp $D/archive/*.debian.* . ;;
                *) echo "E: Can not find version" >&2; exit 100 ;;
            esac
            APT
            printf '#!/bin/sh\\necho Version: 1.0-3\\n' >$D/bin/apt-cache
            chmod +x $D/bin/*
            PATH=$D/bin:$PATH RPIFLASH_BUILD=$D/build \(Self.script) source demo $D/build/src \(versions)
            cat $D/build/src/text $D/build/src/.debian-version
            """, ["D": folder.string, "PATCH": patch], seconds: 60)
    }

    @Test func `takes a version that was tried, with Debian's patches`() async throws {
        let result = try await fetch("trixie 1.0-3")
        #expect(result.status == 0, Comment(rawValue: result.text))
        #expect(result.stdout == "two\n1.0-3\n")
    }

    @Test func `goes on to the next version where one cannot be had`() async throws {
        let result = try await fetch("trixie 1.0-2+deb13u1 sid 1.0-3")
        #expect(result.status == 0, Comment(rawValue: result.text))
        #expect(result.stdout == "two\n1.0-3\n")
        #expect(result.stderr.contains("debian-parts: trixie has no demo 1.0-2+deb13u1 to fetch; it lists 1.0-3"))
    }

    @Test func `takes no other version, and says which there is`() async throws {
        let result = try await fetch("trixie 1.0-2")
        #expect(result.status == 1, Comment(rawValue: result.text))
        #expect(result.stderr.contains("debian-parts: trixie has no demo 1.0-2 to fetch; it lists 1.0-3"))
        #expect(result.stderr.contains("error: none of the versions of demo that were asked for can be fetched"))
    }

    @Test func `a patch of Debian's that does not apply is a failure`() async throws {
        let result = try await fetch("trixie 1.0-3", patch: "three\n")
        #expect(result.status == 1, Comment(rawValue: result.text))
        #expect(result.stderr.contains("error: the source of demo 1.0-3 could not be unpacked"))
    }

    @Test func `every patch says its licence and what upstream has, and every tried version has a suite`() throws {
        let patches = Parts.repository.appending("uboot/patches").string
        for name in try FileManager.default.contentsOfDirectory(atPath: patches) {
            let text = try String(contentsOfFile: "\(patches)/\(name)", encoding: .utf8)
            let header = text.components(separatedBy: "\ndiff --git ")[0]
            #expect(header.contains(/^Subject: .+\nLicence: GPL-2.0-or-later.*\nUpstream: .+\n/), "\(name)")
        }
        let versions = try String(
            contentsOfFile: Parts.repository.appending("uboot/versions").string, encoding: .utf8
        ).split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(!versions.isEmpty)
        #expect(versions.allSatisfy { $0.wholeMatch(of: /[a-z]+ [0-9][A-Za-z0-9.+~-]*/) != nil }, "\(versions)")
    }
}
