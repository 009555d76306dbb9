import Foundation
import SystemPackage
import TestSupport
import Testing

/// `rpiflash-gen board`, by which `uboot/build` and other scripts read a board's profile.
@Suite struct BoardCommandTests {
    /// A profile that is written otherwise than the tracked ones: quotes, comments, another order, a list over lines.
    private static let profile = """
        # A comment.
        fragments:
          - common
          - "arm64"
        name: 'own'   # the name
        defconfig: own_defconfig
        arch: arm64
        cross_compile: aarch64-linux-gnu-
        device_trees: [bcm2837-rpi-3-b, 'bcm2711-rpi-4-b',
          bcm2711-rpi-400]
        kernel_device_tree: image
        boot_command: booti
        kernels: [kernel8.img]
        initramfs: []
        serial0: ttyS0
        serial1: ttyAMA0
        usb_ethernet: true
        pi_firmware: no
        """

    private func board(_ arguments: String) async throws -> CommandResult {
        try await runBash(
            """
            D=$(mktemp -d); trap 'rm -r $D' EXIT
            printf '%s\\n' "$PROFILE" >$D/own.yaml
            $GEN board --boards $D \(arguments)
            """, ["PROFILE": Self.profile])
    }

    @Test(arguments: [
        ("name", "own\n"), ("fragments", "common\narm64\n"),
        ("device_trees", "bcm2837-rpi-3-b\nbcm2711-rpi-4-b\nbcm2711-rpi-400\n"), ("initramfs", ""),
        ("serial1", "ttyAMA0\n"), ("usb_ethernet", "true\n"), ("pi_firmware", "false\n"),
    ])
    func `a value is read as YAML, a list is one word a line`(key: String, output: String) async throws {
        let result = try await board("own \(key)")
        #expect(result.status == 0 && result.stderr == "", result.all)
        #expect(result.stdout == output)
    }

    @Test func `the whole profile has every key of the file, as text and as JSON`() async throws {
        // Without a system it is U-Boot's.
        let keys = Self.profile.matches(of: /(?m)^([a-z0-9_]+):/).map { String($0.output.1) } + ["system"]
        let text = try await board("own")
        #expect(text.status == 0, text.all)
        #expect(Set(text.stdout.matches(of: /(?m)^([a-z0-9_]+):/).map { String($0.output.1) }) == Set(keys))
        #expect(text.stdout.contains("\nfragments: common arm64\n"))
        let json = try await board("own --json")
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(json.stdout.utf8)) as? [String: Any], json.all)
        #expect(Set(object.keys) == Set(keys + ["version"]))
        #expect(object["fragments"] as? [String] == ["common", "arm64"])
        #expect(object["pi_firmware"] as? Bool == false)
    }

    @Test(
        arguments: [
            ("other name", 1, "other"), ("own colour", 64, "colour"), ("own name --json", 64, "leave out the key"),
            ("../own name", 1, "../own"), ("", 64, "<board>"),
        ] as [(String, Int32, String)])
    func `what cannot be shown is named`(arguments: String, status: Int32, part: String) async throws {
        let result = try await board(arguments)
        #expect(result.status == status && result.stdout == "", result.all)
        #expect(result.stderr.contains(part), result.all)
    }

    @Test func `uboot-build says which board there is not, and what it needs to read one`() async throws {
        let unknown = try await runBash("$REPOSITORY/uboot/build --config-only none")
        #expect(unknown.status == 1, unknown.all)
        #expect(unknown.stderr.contains("none") && unknown.stderr.contains("qemu_arm64"), unknown.all)
        let unbuilt = try await runBash("RPIFLASH_BIN=/nowhere $REPOSITORY/uboot/build --config-only qemu_arm64")
        #expect(unbuilt.status == 1, unbuilt.all)
        #expect(
            unbuilt.stderr.contains("no rpiflash-gen, which reads the board's profile, in /nowhere; run make build"),
            unbuilt.all)
    }
}
