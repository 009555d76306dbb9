package import Configuration
import DiskLayout
import Yams

/// First-boot settings as Raspberry Pi's imager offers them: a file of `--customize`, read strictly.
///
/// docs/customize.md has the keys. Any text may hold the placeholders of ``PlaceholderValues``; values without one are
/// checked when the file is read, the others once it is known what they stand for.
package struct Customization: Hashable, Sendable {
    /// The file's name, for messages.
    package let file: String
    var hostname: Text?
    var user: User?
    var ssh: SSH?
    var wifi: WiFi?
    var timezone: Text?
    var keyboard: Text?
    var language: Text?
    var bootFiles: [BootFile] = []
    var addedWords: [Text] = []
    var removedWords: [Text] = []

    /// A value as the file has it.
    struct Text: Hashable, Sendable {
        var raw: String
        /// The key's path: `user.name`.
        var key: String
        var position: ConfigurationError.Position?
    }
    struct User: Hashable, Sendable {
        var name: Text
        var passwordHash: Text
    }
    struct SSH: Hashable, Sendable {
        var position: ConfigurationError.Position?
        var enabled: Flag?
        var passwordAuthentication: Flag?
        var authorizedKeys: [Text] = []
    }
    struct Flag: Hashable, Sendable {
        var value: Bool
        var position: ConfigurationError.Position?
    }
    struct WiFi: Hashable, Sendable {
        var position: ConfigurationError.Position?
        var ssid: Text
        var password: Text?
        var psk: Text?
        var country: Text
        var hidden: Bool
    }
    struct BootFile: Hashable, Sendable {
        var path: Text
        var content: Text?
        var source: Text?
    }

    /// Reads `yaml`.
    ///
    /// - Parameter file: its name, for messages.
    /// - Throws: ``ConfigurationError`` with the place of the first mistake.
    package init(yaml: String, file: String) throws(ConfigurationError) {
        self.file = file
        guard let root = try ConfigurationFile.compose(yaml, file) else { return }
        let reader = Reader(file: file)
        let keys = try reader.mapping(
            root, "", ["hostname", "user", "ssh", "wifi", "locale", "boot_files", "cmdline"])
        hostname = try reader.text(keys, "hostname")
        if let node = keys["user"] {
            let keys = try reader.mapping(node, "user", ["name", "password_hash"])
            user = User(
                name: try reader.required(keys, "user.name", node),
                passwordHash: try reader.required(keys, "user.password_hash", node))
        }
        if let node = keys["ssh"] {
            let keys = try reader.mapping(node, "ssh", ["enabled", "password_authentication", "authorized_keys"])
            ssh = SSH(
                position: node.position, enabled: try reader.flag(keys, "ssh.enabled"),
                passwordAuthentication: try reader.flag(keys, "ssh.password_authentication"),
                authorizedKeys: try reader.list(keys, "ssh.authorized_keys"))
        }
        if let node = keys["wifi"] {
            let keys = try reader.mapping(node, "wifi", ["ssid", "password", "psk", "country", "hidden"])
            wifi = WiFi(
                position: node.position, ssid: try reader.required(keys, "wifi.ssid", node),
                password: try reader.text(keys, "wifi.password"), psk: try reader.text(keys, "wifi.psk"),
                country: try reader.required(keys, "wifi.country", node),
                hidden: try reader.flag(keys, "wifi.hidden")?.value ?? false)
            if wifi?.password != nil, let psk = wifi?.psk {
                throw ConfigurationError(
                    file: file, position: psk.position, reason: "wifi has a password and a psk; must be one of them")
            }
        }
        if let node = keys["locale"] {
            let keys = try reader.mapping(node, "locale", ["timezone", "keyboard", "language"])
            timezone = try reader.text(keys, "locale.timezone")
            keyboard = try reader.text(keys, "locale.keyboard")
            language = try reader.text(keys, "locale.language")
        }
        for node in try reader.nodes(keys["boot_files"], "boot_files") {
            let keys = try reader.mapping(node, "boot_files", ["path", "content", "source"])
            let bootFile = BootFile(
                path: try reader.required(keys, "boot_files.path", node),
                content: try reader.text(keys, "boot_files.content", mayBeEmpty: true),
                source: try reader.text(keys, "boot_files.source"))
            guard (bootFile.content == nil) != (bootFile.source == nil) else {
                throw ConfigurationError(
                    file: file, position: node.position,
                    reason: "a boot file must have either content or source: its text, or the file to copy")
            }
            bootFiles.append(bootFile)
        }
        if let node = keys["cmdline"] {
            let keys = try reader.mapping(node, "cmdline", ["add", "remove"])
            addedWords = try reader.list(keys, "cmdline.add")
            removedWords = try reader.list(keys, "cmdline.remove")
        }
        _ = try settings(nil)
    }

    /// Whether what is made differs from target to target.
    package var hasPlaceholders: Bool { texts.contains { $0.raw.contains("{{") } }

    var texts: [Text] {
        let settings = [
            hostname, user?.name, user?.passwordHash, wifi?.ssid, wifi?.password, wifi?.psk, wifi?.country, timezone,
            keyboard, language,
        ]
        // With their types: Swift 6.2 takes too long to find them.
        let keys: [Text] = ssh?.authorizedKeys ?? []
        let files: [Text] = bootFiles.flatMap { [$0.path, $0.content, $0.source].compactMap(\.self) }
        return settings.compactMap(\.self) + keys + addedWords + removedWords + files
    }

    /// The paths of the files that `source` names, as written: relative ones are relative to the customization's folder.
    ///
    /// - Throws: ``ConfigurationError`` where a value is not usable.
    package func sources(values: PlaceholderValues) throws(ConfigurationError) -> [String] {
        try settings(values).bootFiles.compactMap(\.source)
    }

    /// What is to be written to the image's boot partition, always the same for the same values.
    ///
    /// - Parameters:
    ///   - form: what the image understands.
    ///   - values: what the placeholders stand for.
    ///   - sources: the contents of the files of ``sources(values:)``.
    /// - Throws: ``ConfigurationError`` where a value is not usable, or where `form` cannot express a setting.
    package func files(
        for form: FirstBootMechanism, values: PlaceholderValues, sources: [String: [UInt8]] = [:]
    ) throws(ConfigurationError) -> BootPartitionEdit {
        let settings = try settings(values)
        var edit: BootPartitionEdit
        switch form {
        case .firstrun(let mountPoint):
            guard CustomizationRules.isMountPoint(mountPoint) else {
                throw ConfigurationError(
                    file: file, position: nil,
                    reason:
                        "the image mounts its boot partition at '\(sanitized(mountPoint, limit: 120))'; firstrun.sh needs an "
                        + "absolute path of letters, digits, '/', '_', '-' and '.'")
            }
            edit = settings.hasFirstBoot ? firstRun(settings, boot: mountPoint) : BootPartitionEdit()
        case .cloudInit: edit = settings.hasFirstBoot ? cloudInit(settings) : BootPartitionEdit()
        case .sysconf: edit = try sysconf(settings)
        case .none:
            if let (key, position) = firstBootSettings.first {
                throw ConfigurationError(
                    file: file, position: position,
                    reason: "\(key) cannot be set, for the image has no first-boot settings; it must have systemd and "
                        + "mount its boot partition (firstrun.sh), have cloud-init, or be Debian's with sysconf.txt")
            }
            edit = BootPartitionEdit()
        }
        for (bootFile, own) in zip(settings.bootFiles, bootFiles) {
            guard !edit.files.keys.contains(where: { $0.lowercased() == bootFile.path.lowercased() }) else {
                throw ConfigurationError(
                    file: file, position: own.path.position,
                    reason:
                        "boot_files.path '\(sanitized(bootFile.path, limit: 120))' is there already: another boot file, or what "
                        + "the first-boot settings are written to")
            }
            if let source = bootFile.source {
                guard let content = sources[source] else {
                    throw ConfigurationError(
                        file: file, position: own.source?.position,
                        reason: "boot_files.source '\(sanitized(source, limit: 120))' was not read")
                }
                edit.files[bootFile.path] = content
            } else {
                edit.files[bootFile.path] = Array((bootFile.content ?? "").utf8)
            }
        }
        edit.removedWords += settings.removedWords
        edit.addedWords += settings.addedWords
        return edit
    }

    /// The settings that only a first-boot form can express, and where they stand.
    var firstBootSettings: [(key: String, position: ConfigurationError.Position?)] {
        var all: [(key: String, position: ConfigurationError.Position?)] = []
        if let hostname { all.append(("hostname", hostname.position)) }
        if let user { all.append(("user", user.name.position)) }
        if let enabled = ssh?.enabled { all.append(("ssh.enabled", enabled.position)) }
        if let password = ssh?.passwordAuthentication {
            all.append(("ssh.password_authentication", password.position))
        }
        if let key = ssh?.authorizedKeys.first { all.append(("ssh.authorized_keys", key.position)) }
        if let wifi { all.append(("wifi", wifi.position)) }
        for text in [timezone, keyboard, language].compactMap(\.self) { all.append((text.key, text.position)) }
        return all
    }

    func sysconf(_ settings: Settings) throws(ConfigurationError) -> BootPartitionEdit {
        for (key, position) in firstBootSettings {
            switch key {
            case "hostname", "ssh.authorized_keys": continue
            // Debian's images run it anyway.
            case "ssh.enabled" where settings.sshEnabled == true: continue
            default:
                throw ConfigurationError(
                    file: file, position: position,
                    reason: "\(key) cannot be set in this image; Debian's sysconf.txt takes hostname, and one key of "
                        + "ssh.authorized_keys for root")
            }
        }
        var text = ""
        if let hostname = settings.hostname { text += "hostname=\(hostname)\n" }
        if let key = settings.authorizedKeys.first {
            guard settings.authorizedKeys.count == 1, !key.contains("#") else {
                throw ConfigurationError(
                    file: file, position: ssh?.authorizedKeys.last?.position,
                    reason: "ssh.authorized_keys has \(settings.authorizedKeys.count) keys; Debian's sysconf.txt takes "
                        + "one, without '#'")
            }
            text += "root_authorized_key=\(key)\n"
        }
        guard !text.isEmpty else { return BootPartitionEdit() }
        return BootPartitionEdit(files: ["sysconf.txt": Array(text.utf8)])
    }

    // MARK: Values

    /// The settings with the values of placeholders; with nil, only what has no placeholder is checked and the result
    /// means nothing.
    func settings(_ values: PlaceholderValues?) throws(ConfigurationError) -> Settings {
        var settings = Settings()
        settings.hostname = try checked(hostname, values, CustomizationRules.hostname)
        if let user {
            settings.user = Settings.User(
                name: try checked(user.name, values, CustomizationRules.userName),
                passwordHash: try checked(user.passwordHash, values, CustomizationRules.passwordHash))
        }
        settings.sshEnabled = ssh?.enabled?.value
        settings.passwordAuthentication = ssh?.passwordAuthentication?.value
        for key in ssh?.authorizedKeys ?? [] {
            settings.authorizedKeys.append(try checked(key, values, CustomizationRules.authorizedKey))
        }
        if let wifi {
            settings.wifi = Settings.WiFi(
                ssid: try checked(wifi.ssid, values, CustomizationRules.ssid),
                password: try checked(wifi.password, values, CustomizationRules.wifiPassword),
                psk: try checked(wifi.psk, values, CustomizationRules.psk),
                country: try checked(wifi.country, values, CustomizationRules.country), isHidden: wifi.hidden)
        }
        settings.timezone = try checked(timezone, values, CustomizationRules.timezone)
        settings.keyboard = try checked(keyboard, values, CustomizationRules.keyboard)
        settings.language = try checked(language, values, CustomizationRules.language)
        for bootFile in bootFiles {
            settings.bootFiles.append(
                Settings.BootFile(
                    path: try checked(bootFile.path, values, CustomizationRules.bootPath),
                    content: try checked(bootFile.content, values) { _ in nil },
                    source: try checked(bootFile.source, values, CustomizationRules.sourcePath)))
        }
        for word in addedWords { settings.addedWords.append(try checked(word, values, CustomizationRules.addedWord)) }
        for word in removedWords { settings.removedWords.append(try checked(word, values, CustomizationRules.word)) }
        return settings
    }

    func checked(
        _ text: Text?, _ values: PlaceholderValues?, _ rule: (String) -> String?
    ) throws(ConfigurationError) -> String? {
        guard let text else { return nil }
        return try checked(text, values, rule) as String
    }

    /// The text with its placeholders' values, if it keeps `rule`, which returns what is wrong.
    func checked(
        _ text: Text, _ values: PlaceholderValues?, _ rule: (String) -> String?
    ) throws(ConfigurationError) -> String {
        var value = ""
        var rest = text.raw[...]
        var hasPlaceholder = false
        while let start = rest.firstRange(of: "{{") {
            hasPlaceholder = true
            value += rest[..<start.lowerBound]
            let behind = rest[start.upperBound...]
            guard let end = behind.firstRange(of: "}}") else {
                throw error(text, "has a '{{' without '}}'; placeholders are \(Self.placeholders)")
            }
            let name = behind[..<end.lowerBound]
            guard PlaceholderValues.names.contains(String(name)) else {
                throw error(
                    text,
                    "has the unknown placeholder '{{\(sanitized(name, limit: 40))}}'; must be one of \(Self.placeholders)"
                )
            }
            if let values {
                guard let replacement = values[String(name)], !replacement.isEmpty else {
                    throw error(text, "needs {{\(name)}}, which is empty in the target's row of the inventory")
                }
                value += replacement
            }
            rest = behind[end.upperBound...]
        }
        value += rest
        if values == nil, hasPlaceholder { return value }
        if let reason = rule(value) { throw error(text, reason) }
        return value
    }

    static let placeholders = PlaceholderValues.names.map { "{{\($0)}}" }.joined(separator: ", ")

    func error(_ text: Text, _ reason: String) -> ConfigurationError {
        ConfigurationError(file: file, position: text.position, reason: "\(text.key) \(reason)")
    }
}
