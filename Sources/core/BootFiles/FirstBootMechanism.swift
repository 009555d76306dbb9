/// How an image takes its first-boot settings from its boot partition.
///
/// `custom.toml` of Raspberry Pi OS is none of them: only the `init=…/firstboot` program reads it, and that one writes a
/// new disk id, resizes partitions and then reboots by `reboot -f 2` into what the firmware calls partition 2, past
/// U-Boot; so it does not run on a card of ours (``KernelCommandLine/relocated()`` removes it).
package enum FirstBootMechanism: Hashable, Sendable, Codable {
    /// A shell script that systemd runs once, as Raspberry Pi Imager 1.8 does it; for any image with systemd that mounts
    /// its boot partition there.
    case firstrun(bootMountPoint: String)
    /// cloud-init's NoCloud data source (Ubuntu's images, Raspberry Pi OS from Trixie on).
    case cloudInit
    /// `sysconf.txt` of Debian's images for the Pi: a host name, and a key of root's.
    case sysconf
    /// Nothing but files of the boot partition and words of the command line.
    case none
}

/// What is to be changed on an image's boot partition.
package struct BootPartitionEdit: Hashable, Sendable {
    /// The files to write, by their path on the boot partition, with `/` between folders.
    package var files: [String: [UInt8]]
    /// Words for the kernel's command line.
    package var addedWords: [String]
    /// Words that are to go from the kernel's command line before others are added: a whole word, or `name=` for all
    /// words that begin so.
    package var removedWords: [String]

    /// This change.
    package init(files: [String: [UInt8]] = [:], addedWords: [String] = [], removedWords: [String] = []) {
        (self.files, self.addedWords, self.removedWords) = (files, addedWords, removedWords)
    }

    /// The command line with this change.
    package func applied(to commandLine: KernelCommandLine) -> KernelCommandLine {
        commandLine.removing { word in
            removedWords.contains { word == $0 || ($0.hasSuffix("=") && word.hasPrefix($0)) }
        }.adding(addedWords)
    }
}

/// `text` as one word of a POSIX shell, whatever is in it (XCU 2.2.2): in single quotes nothing means anything but the
/// single quote itself. A NUL, which no shell can hold, is left out.
package func shellQuoted(_ text: String) -> String {
    let safe = text.unicodeScalars.map { scalar -> String in
        switch scalar {
        case "'": "'\\''"
        case "\0": ""
        default: String(scalar)
        }
    }
    return "'\(safe.joined())'"
}

/// 64-bit FNV-1a in 16 hexadecimal digits: tells contents apart, protects nothing.
func digest(_ bytes: some Sequence<UInt8>) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
