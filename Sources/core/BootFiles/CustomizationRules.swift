import Configuration

/// What values of a customization must look like. Each returns what is wrong with a value, nil where nothing is; values
/// that are secret are not in it.
enum CustomizationRules {
    static func hostname(_ value: String) -> String? {
        let bytes = Array(value.utf8)
        let good =
            (1...63).contains(bytes.count) && bytes.allSatisfy { isAlphanumeric($0) || $0 == hyphen }
            && bytes.first != hyphen && bytes.last != hyphen
        return good
            ? nil
            : "is '\(sanitized(value, limit: 80))'; must be 1 to 63 letters, digits and '-', not at its ends (RFC 1123)"
    }

    static func userName(_ value: String) -> String? {
        let bytes = Array(value.utf8)
        let good =
            (1...32).contains(bytes.count) && bytes.first.map { isLower($0) || $0 == underscore } == true
            && bytes.allSatisfy { isLower($0) || Byte.isDigit($0) || $0 == underscore || $0 == hyphen }
        guard good else {
            return
                "is '\(sanitized(value, limit: 80))'; must be 1 to 32 of a-z, 0-9, '_' and '-', a letter or '_' first"
        }
        return value == "root" ? "is 'root'; must be a user that is made or renamed" : nil
    }

    /// crypt(5): the methods that Debian's libcrypt takes for new passwords, and the lengths of what they make.
    static func passwordHash(_ value: String) -> String? {
        let wrong =
            "is not a crypt(5) hash; must be one that 'openssl passwd -6' or 'mkpasswd' prints ($6$…, $5$…, $y$…, $2b$…)"
        var parts = value.split(separator: "$", omittingEmptySubsequences: false)[...]
        guard value.utf8.count <= 384, parts.count >= 4, parts.removeFirst().isEmpty, let method = parts.popFirst(),
            let hash = parts.popLast(), !parts.isEmpty,
            (parts + [hash]).allSatisfy({ part in
                part.utf8.allSatisfy { isAlphanumeric($0) || $0 == dot || $0 == slash || $0 == equals || $0 == comma }
            })
        else { return wrong }
        let hasBase64 = hash.utf8.allSatisfy { isAlphanumeric($0) || $0 == dot || $0 == slash }
        let good: Bool
        switch method {
        case "5", "6":
            if parts.count == 2 {
                guard let rounds = parts.removeFirst().dropping(prefix: "rounds="), let count = Int(rounds),
                    (1000...999_999_999).contains(count)
                else { return wrong }
            }
            good =
                parts.count == 1 && (1...16).contains(parts.first?.utf8.count ?? 0)
                && hash.utf8.count == (method == "5" ? 43 : 86)
        case "y", "gy": good = parts.count == 2 && parts.allSatisfy { !$0.isEmpty } && hash.utf8.count == 43
        case "2a", "2b", "2y":
            good =
                parts.count == 1 && parts.first.flatMap { Int($0) }.map((4...31).contains) == true
                && hash.utf8.count == 53
        default: good = false
        }
        return good && hasBase64 ? nil : wrong
    }

    private static let keyTypes: Set = [
        "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
    ]

    /// A line of a .pub file (sshd(8), AUTHORIZED_KEYS FILE FORMAT), without options.
    static func authorizedKey(_ value: String) -> String? {
        if value.contains("PRIVATE KEY") { return "has a private key; must be the line of its .pub file" }
        let fields = value.split(separator: " ", maxSplits: 2)
        guard fields.count >= 2, keyTypes.contains(String(fields[0])), isPlain(value), value.utf8.count <= 8192,
            // The key's own first field is its type, with its length in front (RFC 4253, 6.6).
            let blob = decoded(base64: fields[1]), blob.count > 4 + fields[0].utf8.count,
            blob.starts(with: [0, 0, 0, UInt8(truncatingIfNeeded: fields[0].utf8.count)] + Array(fields[0].utf8))
        else {
            return "has '\(sanitized(value, limit: 40))'; must be a line of a .pub file: 'ssh-ed25519 AAAA… comment'"
        }
        return nil
    }

    static func ssid(_ value: String) -> String? {
        guard (1...32).contains(value.utf8.count), isPlain(value) else {
            return "has \(value.utf8.count) bytes; must have 1 to 32, without control characters"
        }
        return nil
    }

    static func wifiPassword(_ value: String) -> String? {
        let good = (8...63).contains(value.utf8.count) && value.utf8.allSatisfy { (0x20...0x7e).contains($0) }
        return good
            ? nil : "has \(value.utf8.count) bytes; must be 8 to 63 ASCII characters, or use psk for 64 hex digits"
    }

    static func psk(_ value: String) -> String? {
        value.utf8.count == 64 && value.utf8.allSatisfy(Byte.isHexDigit)
            ? nil : "has \(value.utf8.count) bytes; must be 64 hexadecimal digits"
    }

    static func country(_ value: String) -> String? {
        countries.contains(value)
            ? nil : "is '\(sanitized(value, limit: 20))'; must be a country of ISO 3166: DE, GB, US"
    }

    static func timezone(_ value: String) -> String? {
        let parts = value.split(separator: "/", omittingEmptySubsequences: false)
        let good =
            value.utf8.count <= 64
            && parts.allSatisfy { part in
                part.utf8.first.map(isLetter) == true
                    && part.utf8.allSatisfy { isAlphanumeric($0) || $0 == underscore || $0 == hyphen || $0 == plus }
            }
        return good ? nil : "is '\(sanitized(value, limit: 80))'; must be a name of the tz database: Europe/Berlin, UTC"
    }

    static func keyboard(_ value: String) -> String? {
        let good =
            value.utf8.count <= 32 && value.utf8.first.map(isLower) == true
            && value.utf8.allSatisfy {
                isLower($0) || Byte.isDigit($0) || $0 == underscore || $0 == hyphen || $0 == comma
            }
        return good ? nil : "is '\(sanitized(value, limit: 40))'; must be a layout of XKB: us, de, gb"
    }

    static func language(_ value: String) -> String? {
        var rest = value[...]
        if let at = rest.firstIndex(of: "@") {
            let modifier = rest[rest.index(after: at)...]
            guard !modifier.isEmpty, modifier.utf8.allSatisfy(isLower) else { return wrongLanguage(value) }
            rest = rest[..<at]
        }
        guard rest.hasSuffix(".UTF-8") else { return wrongLanguage(value) }
        rest = rest.dropLast(6)
        if rest == "C" { return nil }
        let parts = rest.split(separator: "_", omittingEmptySubsequences: false)
        let good =
            parts.count == 2 && (2...3).contains(parts[0].utf8.count) && parts[0].utf8.allSatisfy(isLower)
            && parts[1].utf8.count == 2 && parts[1].utf8.allSatisfy { (0x41...0x5a).contains($0) }
        return good ? nil : wrongLanguage(value)
    }

    private static func wrongLanguage(_ value: String) -> String {
        "is '\(sanitized(value, limit: 40))'; must be a locale in UTF-8: de_DE.UTF-8, C.UTF-8"
    }

    static func bootPath(_ value: String) -> String? {
        let parts = value.split(separator: "/", omittingEmptySubsequences: false)
        guard value.utf8.count <= 1024, parts.count <= 16, parts.allSatisfy({ $0 != "" && $0 != "." && $0 != ".." })
        else {
            return "is '\(sanitized(value, limit: 120))'; must be a path below the boot partition's top, without '..'"
        }
        for part in parts {
            guard part.utf16.count <= 255, isPlain(part), !part.contains(where: { "\"*:<>?\\|".contains($0) }),
                part.last != " ", part.last != ".", part.first != " "
            else {
                return
                    "is '\(sanitized(value, limit: 120))'; must be a name that FAT takes: no \" * : < > ? \\ |, no blank or dot at its end"
            }
        }
        return value.lowercased() == "cmdline.txt"
            ? "is cmdline.txt; change its words by cmdline.add and cmdline.remove" : nil
    }

    static func sourcePath(_ value: String) -> String? {
        isPlain(value) && value.utf8.count <= 4096
            ? nil : "is '\(sanitized(value, limit: 120))'; must be the path of a file"
    }

    /// A word of the kernel's command line.
    static func word(_ value: String) -> String? {
        var quoted = false
        for byte in value.utf8 {
            if byte == Byte.quote { quoted.toggle() }
            guard (0x20...0x7e).contains(byte), byte != Byte.space || quoted else { return wrongWord(value) }
        }
        return quoted || value.utf8.count > 512 ? wrongWord(value) : nil
    }

    static func addedWord(_ value: String) -> String? {
        if let reason = word(value) { return reason }
        if value.hasPrefix("root=") {
            return "has '\(sanitized(value, limit: 120))'; root= is set by the boot script, to the card's partition 3"
        }
        // U-Boot's `env import` takes it for the start of an escape.
        return value.contains("\\")
            ? "has '\(sanitized(value, limit: 120))'; must not have a '\\', which U-Boot would take away" : nil
    }

    private static func wrongWord(_ value: String) -> String {
        "has '\(sanitized(value, limit: 120))'; must be one word of up to 512 ASCII characters, blanks only between double quotes"
    }

    static func isMountPoint(_ value: String) -> Bool {
        value.hasPrefix("/") && (2...200).contains(value.utf8.count)
            && value.split(separator: "/", omittingEmptySubsequences: false).dropFirst().allSatisfy { part in
                !part.isEmpty && part != ".." && part != "."
                    && part.utf8.allSatisfy { isAlphanumeric($0) || [underscore, hyphen, dot].contains($0) }
            }
    }

    // MARK: Characters

    private static let hyphen = UInt8(ascii: "-")
    private static let underscore = UInt8(ascii: "_")
    private static let dot = UInt8(ascii: ".")
    private static let slash = UInt8(ascii: "/")
    private static let equals = UInt8(ascii: "=")
    private static let comma = UInt8(ascii: ",")
    private static let plus = UInt8(ascii: "+")

    private static func isLower(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) }
    private static func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }
    private static func isAlphanumeric(_ byte: UInt8) -> Bool { isLetter(byte) || Byte.isDigit(byte) }
    /// Whether a text has no control characters, line separators, or marks that turn the direction of writing.
    private static func isPlain(_ text: some StringProtocol) -> Bool {
        !text.unicodeScalars.contains { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: true
            default: false
            }
        }
    }

    /// RFC 4648; nil where it is not in its one right form.
    private static func decoded(base64 text: some StringProtocol) -> [UInt8]? {
        let digits = Array(text.utf8)
        let padding = digits.reversed().prefix { $0 == equals }.count
        guard !digits.isEmpty, digits.count % 4 == 0, padding <= 2 else { return nil }
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for digit in digits.dropLast(padding) {
            let value: UInt8
            switch digit {
            case 0x41...0x5a: value = digit - 0x41
            case 0x61...0x7a: value = digit - 0x61 + 26
            case 0x30...0x39: value = digit - 0x30 + 52
            case plus: value = 62
            case slash: value = 63
            default: return nil
            }
            buffer = (buffer << 6 | UInt32(value)) & 0xffff
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> bits))
            }
        }
        return bytes
    }

    /// ISO 3166-1, alpha-2.
    private static let countries = Set(
        """
        AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
        CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
        FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
        JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
        MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
        PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
        TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
        """.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init))
}
