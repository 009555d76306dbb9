import Glibc
package import TFTP

/// What a server hands out, and takes, for one target.
package struct ServedFolder: Hashable, Sendable {
    /// Where a file that is handed out lies.
    package enum Source: Hashable, Sendable {
        /// In the job's folder, under the name that is asked for; no link is followed.
        case folder
        /// An open file, wherever it lies; nothing else is opened, so no right to it is needed.
        case open(SharedFile)
    }

    /// The target's folder in the TFTP root: its MAC address, lower case with colons.
    package let folder: String
    /// What may be read, by the name that is asked for as `<folder>/<name>`.
    package let files: [String: Source]
    /// Names of ``files`` of which parts may be read too, by names in hexadecimal without 0x, in sectors of 512 bytes:
    /// - `<folder>/<name>@<start>+<count>`: at least one sector, none behind the file's last whole one;
    /// - `<folder>/<name>@<start>-<mask>`: pieces of 64 sectors, one behind the other. The mask's first bit, the highest of
    ///   its first digit, is for the piece at the start, the next one for the next; at most ``mostPieces``, at least one of
    ///   them set. A piece that goes beyond the file's last whole sector ends there.
    package let ranged: Set<String>
    /// The one of ``files`` that a target asks for first; nil where there is none. What it uploaded before it asks for that
    /// belongs to another try, and does not stand in the way of what it uploads then.
    package let entry: String?
    /// The target's IPv4 address, dotted. Who has another address must have the MAC address that the folder is named by.
    package let address: String
    /// What is known of the window that the target takes.
    package let windows: WindowMemory

    package init(
        folder: String, files: [String: Source], ranged: Set<String> = [], entry: String? = nil, address: String,
        windows: WindowMemory = WindowMemory()
    ) {
        self.folder = folder
        self.entry = entry
        self.files = files
        self.ranged = ranged
        self.address = address
        self.windows = windows
    }

    /// A job whose files all lie in its folder.
    package init(folder: String, files: Set<String>, address: String) {
        self.init(
            folder: folder, files: Dictionary(uniqueKeysWithValues: files.map { ($0, .folder) }), address: address)
    }

    /// Length of a piece in sectors: 32 KiB, as in a flash plan's table of pieces (docs/plan-protocol.md).
    package static let pieceSectors: UInt64 = 64
    /// How many pieces a mask can have: 16 MiB, the longest chunk of a flash plan.
    package static let mostPieces = 512
    /// Names of the files that a target may upload; no other name is ever taken.
    package static let uploads: Set<String> = ["OK", "FAILED", "REPORT", "CHALLENGE"]
    /// The longest upload in bytes: 64 KiB.
    package static let longestUpload = 64 << 10
}

/// An open file that a job hands out. Closed with its last reference.
package final class SharedFile: Hashable, Sendable {
    let descriptor: Int32

    /// A file of its own on what `descriptor` has open; nil where there is no room for one more.
    package init?(duplicating descriptor: Int32) {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return nil }
        self.descriptor = copy
    }

    deinit { close(descriptor) }

    package static func == (a: SharedFile, b: SharedFile) -> Bool { a === b }
    package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

extension MonotonicInstant {
    /// The present one.
    package static var now: MonotonicInstant {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}

/// What happened on a server, and when.
package struct TimedTransferEvent: Hashable, Sendable {
    /// What.
    package let event: TransferEvent
    /// When: for what a packet brought about, when it was read.
    package let instant: MonotonicInstant
    /// What is known of the window that the target takes, where the end of a transfer may have told something about it.
    package let windows: WindowMemory?

    package init(_ event: TransferEvent, at instant: MonotonicInstant, windows: WindowMemory? = nil) {
        (self.event, self.instant, self.windows) = (event, instant, windows)
    }
}

/// Why a server cannot serve.
package enum TFTPServerError: Error, Hashable, Sendable {
    /// Another program has the port.
    case addressInUse(String)
    /// The port is below 1024 and this process may not bind it.
    case notPermitted(String)
    /// This host does not have the address.
    case noSuchAddress(String)
    /// The root cannot be opened.
    case root(String, reason: String)
    /// Anything else the system said.
    case failed(String, reason: String)
}

extension TFTPServerError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .addressInUse(let address): "another program has UDP \(address)"
        case .notPermitted(let address):
            "may not bind UDP \(address); run as root or give the program the capability cap_net_bind_service"
        case .noSuchAddress(let address): "cannot bind UDP \(address); this host does not have the address"
        case .root(let root, let reason): "cannot open the TFTP root \(root): \(reason)"
        case .failed(let address, let reason): "cannot serve on UDP \(address): \(reason)"
        }
    }
}
