import BootFiles
import Configuration
import DiskLayout
import Foundation
import Subprocess
import SystemPackage

/// Values that are right; none opens anything.
enum Sample {
    static let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF4RDz8qO+6SwzEGjV/DKtselZt4r4EdwR34dP9mrnWU lab bench"
    static let otherKey =
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIHtMw12QXLTZX1GNEGShBAFwmJDM9TBQEtz8VyrKskpOa/r6STYtLJG0LkrileqN8ECthfWkfSy0wIvb/LEjtU="
    static let sha512 =
        "$6$Ab./9$XvVSX8bB6Ovyvftat1MMyBlNYUJIa1lV2r6LT6kaY3Iu8zFZApjjwrY0nADV2Lvn8Io9D14i5.3lV96A1hRRe/"
    static let psk = String(repeating: "0123456789abcdef", count: 4)
    static let values = PlaceholderValues(
        name: "camera-1", mac: "b8:27:eb:3d:60:b9", ip: "192.168.1.51", server: "bench1")
    /// All settings, with values that a shell or a YAML parser could stumble over.
    static let everything = """
        hostname: "pi-{{name}}"
        user:
          name: lab
          password_hash: \(sha512)
        ssh:
          enabled: true
          password_authentication: false
          authorized_keys:
            - \(key)
            - \(otherKey) o'brien "$(reboot)" `x`
        wifi:
          ssid: "Caf\\u00e9 'x' $(id) \\"q\\""
          password: "  a\\\\b 'c' \\"d\\" $(id) `e`"
          country: DE
          hidden: true
        locale:
          timezone: Europe/Berlin
          keyboard: de
          language: de_DE.UTF-8
        boot_files:
          - path: lab/info.txt
            content: |
              {{name}} {{mac}} {{ip}} {{server}}
        cmdline:
          add: [quiet, 'dyndbg="file drivers/usb/* +p"']
          remove: [console=tty1]

        """
}

/// What the file's error says, "" where it is read.
func error(_ yaml: String, _ form: FirstBootMechanism? = nil, _ values: PlaceholderValues = Sample.values) -> String {
    do throws(ConfigurationError) {
        let customization = try Customization(yaml: yaml, file: "lab.yaml")
        if let form { _ = try customization.files(for: form, values: values) }
        return ""
    } catch {
        return error.description
    }
}

func edit(_ yaml: String, _ form: FirstBootMechanism, sources: [String: [UInt8]] = [:]) throws -> BootPartitionEdit {
    try Customization(yaml: yaml, file: "lab.yaml").files(for: form, values: Sample.values, sources: sources)
}

extension BootPartitionEdit {
    func text(_ path: String) -> String? { files[path].map { String(decoding: $0, as: UTF8.self) } }
}

/// A temporary folder, deleted when it goes.
final class Folder: Sendable {
    let path: FilePath

    init() throws {
        path = FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-files-\(UUID().uuidString)")
        try FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }

    func write(_ name: String, _ text: String, executable: Bool = false) throws {
        let file = path.appending(name)
        try FileManager.default.createDirectory(
            atPath: file.removingLastComponent().string, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: file.string))
        if executable { try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.string) }
    }

    /// nil where there is no such file.
    func read(_ name: String) -> String? { try? String(contentsOfFile: path.appending(name).string, encoding: .utf8) }

    func mode(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path.appending(name).string)[.posixPermissions] as? Int
    }
}

/// Runs a shell with nothing in its environment but `environment`; exit status, then what it printed.
func shell(
    _ shell: String, _ arguments: [String], _ environment: [String: String] = ["PATH": "/usr/bin:/bin"]
) async throws -> (status: Int32, output: String) {
    var variables: [Environment.Key: String] = [:]
    for (name, value) in environment { variables[Environment.Key(stringLiteral: name)] = value }
    let result = try await run(
        .path(FilePath("/bin").appending(shell)), arguments: Arguments(arguments), environment: .custom(variables),
        output: .string(limit: 1 << 20), error: .combinedWithOutput)
    let status: Int32 =
        switch result.terminationStatus {
        case .exited(let code): code
        case .signaled(let signal): 128 + signal
        }
    return (status, result.standardOutput)
}
