/// A board as its boot script knows it: what `uboot/boards/<name>.yaml` says of starting a kernel.
package struct BootBoard: Hashable, Sendable {
    /// The board profile's name, which a target reports as `rpi_board`.
    package let name: String
    /// Kernel names that are looked for after the one that config.txt names, in order.
    package let kernels: [String]
    /// initramfs names that are looked for last, in order.
    package let initramfs: [String]
    /// The kernels that it can start.
    package let kernelForm: KernelForm
    /// The machines that it is for, by the device tree that U-Boot's `fdtfile` names; empty: a machine without one.
    package let deviceTrees: [String]

    /// What U-Boot's command starts.
    package enum KernelForm: Hashable, Sendable {
        /// `booti`: an arm64 Image, plain or gzip'd.
        case arm64
        /// `bootz`: an arm zImage.
        case arm
    }

    /// 64-bit Pis. Source of the device trees: U-Boot, board/raspberrypi/rpi/rpi.c.
    package static let rpiArm64 = BootBoard(
        name: "rpi_arm64", kernels: ["kernel8.img", "vmlinuz", "Image"], initramfs: ["initramfs8", "initrd.img"],
        kernelForm: .arm64,
        deviceTrees: [
            "bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus", "bcm2837-rpi-3-a-plus", "bcm2837-rpi-cm3",
            "bcm2837-rpi-zero-2", "bcm2711-rpi-4-b", "bcm2711-rpi-400", "bcm2711-rpi-cm4",
        ])
    /// The Pi 3 with 32-bit kernels.
    package static let rpi3 = BootBoard(
        name: "rpi_3_32b", kernels: ["kernel7.img", "vmlinuz", "zImage"], initramfs: ["initramfs7", "initrd.img"],
        kernelForm: .arm,
        deviceTrees: ["bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus", "bcm2837-rpi-3-a-plus", "bcm2837-rpi-cm3"])
    /// The Pi 4 with 32-bit kernels.
    package static let rpi4 = BootBoard(
        name: "rpi_4_32b", kernels: ["kernel7l.img", "vmlinuz", "zImage"], initramfs: ["initramfs7l", "initrd.img"],
        kernelForm: .arm, deviceTrees: ["bcm2711-rpi-4-b", "bcm2711-rpi-400", "bcm2711-rpi-cm4"])
    /// The virtual target.
    package static let qemuArm64 = BootBoard(
        name: "qemu_arm64", kernels: ["kernel8.img", "vmlinuz", "Image"], initramfs: ["initramfs8", "initrd.img"],
        kernelForm: .arm64, deviceTrees: [])

    /// All boards, the default one first.
    package static let all = [rpiArm64, rpi3, rpi4, qemuArm64]

    /// Its machines: each device tree's, or the one without.
    var machines: [String?] { deviceTrees.isEmpty ? [nil] : deviceTrees.map { "\($0).dtb" } }
}

/// What a kernel's file begins with, as far as it tells whether U-Boot starts it.
package enum KernelKind: Hashable, Sendable {
    /// An arm64 Image. Source: Linux, Documentation/arch/arm64/booting.rst.
    case arm64
    /// An arm zImage. Source: Linux, arch/arm/boot/compressed/head.S.
    case arm
    /// gzip (RFC 1952), of whatever.
    case gzip
    /// Something that neither `booti` nor `bootz` starts; what it is.
    case other(String)
    /// Nothing that is known.
    case unknown

    /// - Parameter start: the first bytes of the file, 64 or more where it has them.
    package init(_ start: [UInt8]) {
        func has(_ bytes: [UInt8], at offset: Int = 0) -> Bool { start.dropFirst(offset).starts(with: bytes) }
        // Linux, drivers/firmware/efi/libstub/zboot-header.S; it is an EFI program as an Image may be, so first.
        if has(Array("MZ".utf8)), has(Array("zimg".utf8), at: 4) {
            self = .other("compressed for EFI (zboot)")
        } else if has([0x41, 0x52, 0x4d, 0x64], at: 0x38) {
            self = .arm64
        } else if has([0x18, 0x28, 0x6f, 0x01], at: 0x24) {
            self = .arm
        } else if has([0x1f, 0x8b]) {
            self = .gzip
        } else if let name = Self.others.first(where: { has($0.magic) })?.name {
            self = .other(name)
        } else {
            self = .unknown
        }
    }

    /// U-Boot's image_decomp_type (boot/image.c) knows more than our configuration can unpack; lz4's frames and lzma it can.
    private static let others: [(magic: [UInt8], name: String)] = [
        ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "compressed with xz"),
        ([0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd"),
        ([0x02, 0x21, 0x4c, 0x18], "compressed with lz4's legacy format"),
        ([0x89, 0x4c, 0x5a, 0x4f], "compressed with lzo"),
        ([0x42, 0x5a, 0x68], "compressed with bzip2"),
        ([0x27, 0x05, 0x19, 0x56], "a uImage"),
        ([0xd0, 0x0d, 0xfe, 0xed], "a FIT image"),
        ([0x7f, 0x45, 0x4c, 0x46], "an ELF file"),
    ]

    /// Why a board's U-Boot does not start it: what it is; nil where it starts it, or nothing is known of it.
    package func obstacle(on form: BootBoard.KernelForm) -> String? {
        switch (self, form) {
        case (.other(let name), _): name
        case (.arm, .arm64): "a 32-bit zImage"
        case (.arm64, .arm): "a 64-bit Image"
        case (.gzip, .arm): "compressed with gzip"
        default: nil
        }
    }
}
