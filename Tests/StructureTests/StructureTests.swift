import Foundation
import Testing

/// The layers of Sources and what each may import: docs/design.md, Modules.
///
/// programs -> jobs -> core; host -> core, c, LinuxHost. Package.swift says what a module may import, the files say what it
/// does import: both are held to the rule.
struct StructureTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private enum Layer: String, CaseIterable {
        case c, core, host, jobs, programs
    }

    /// What several commands ask for, what programs print, and what plugs host modules into jobs.
    private static let programLibraries: Set<String> = ["CommandOptions", "CommandOutput", "Wiring"]

    /// Host modules that are built on others than LinuxHost.
    private static let hostModules: [String: Set<String>] = [
        "OSImage": ["FDisk", "HostTools"],
        "ImageStore": ["HostTools", "OSImage"],
        "RunRecords": ["TargetConsole"],
        "TFTPService": ["TFTPServer"],
    ]

    /// What reaches files, sockets, clocks or programs: not for core.
    private static let effects: Set<String> = [
        "Dispatch", "Foundation", "Glibc", "NIOCore", "NIOHTTP1", "NIOPosix", "Subprocess", "SystemPackage",
    ]
    /// What reaches devices, sockets or programs: not for jobs.
    private static let devices: Set<String> = ["Dispatch", "NIOCore", "NIOHTTP1", "NIOPosix", "Subprocess"]

    /// The layer of each module, by the folder that it is in.
    private static func modules() throws -> [String: Layer] {
        var modules: [String: Layer] = [:]
        for layer in Layer.allCases {
            let folder = root.appending(path: "Sources/\(layer.rawValue)")
            for module in try FileManager.default.contentsOfDirectory(atPath: folder.path())
            where !module.hasPrefix(".") {
                modules[module] = layer
            }
        }
        return modules
    }

    /// Why a module may not use another one; nil where it may.
    private static func objection(_ module: String, _ other: String, _ modules: [String: Layer]) -> String? {
        guard let layer = modules[module], module != other else { return nil }
        guard let otherLayer = modules[other] else {
            if layer == .core, effects.contains(other) { return "core has no files, sockets or clocks" }
            if layer == .jobs, devices.contains(other) { return "a job reaches no device, socket or program" }
            return nil
        }
        let mayUse =
            switch layer {
            case .programs: otherLayer != .c && (otherLayer != .programs || programLibraries.contains(other))
            case .jobs: otherLayer == .core || other == "LinuxHost"
            case .host:
                otherLayer == .core || otherLayer == .c || other == "LinuxHost"
                    || hostModules[module]?.contains(other) == true
            case .core: otherLayer == .core
            case .c: otherLayer == .c
            }
        return mayUse ? nil : "\(layer) -> \(otherLayer)"
    }

    @Test func `the picture of the layers shows types that are declared in them`() throws {
        let picture = try String(
            contentsOf: Self.root.appending(path: "docs/pictures/layers.svg"), encoding: .utf8)
        let boxes = picture.matches(of: /data-layer="(\w+)"[^>]*>(\w+)</)
        #expect(Set(boxes.map(\.output.1)) == ["core", "host", "jobs", "programs"])
        for box in boxes {
            let declaration = try Regex("(?:struct|enum|class|actor|protocol) \(box.output.2)\\b")
            let sources = FileManager.default.enumerator(
                at: Self.root.appending(path: "Sources/\(box.output.1)"), includingPropertiesForKeys: nil)
            let isDeclared = try #require(sources).contains { file in
                guard let file = file as? URL, file.pathExtension == "swift" else { return false }
                return (try? String(contentsOf: file, encoding: .utf8))?.firstMatch(of: declaration) != nil
            }
            #expect(isDeclared, "\(box.output.2) is not declared in \(box.output.1)")
        }
    }

    @Test func `every folder of Sources is a layer`() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.root.appending(path: "Sources").path())
        #expect(Set(folders.filter { !$0.hasPrefix(".") }) == Set(Layer.allCases.map(\.rawValue)))
    }

    @Test func `Package.swift keeps the rule of the layers`() throws {
        let modules = try Self.modules()
        let package = try String(contentsOf: Self.root.appending(path: "Package.swift"), encoding: .utf8)
        let targets = package.matches(
            of: /\.(?:executableTarget|systemLibrary|target)\(\s*name: "([^"]+)"((?:[^()]|\([^()]*\))*)\)/)
        var seen: Set<String> = []
        for target in targets {
            let (name, text) = (String(target.output.1), String(target.output.2))
            guard let layer = modules[name] else {
                #expect(text.contains("path: \"Tests/"), "\(name) is in no layer")
                continue
            }
            seen.insert(name)
            #expect(text.contains("path: \"Sources/\(layer.rawValue)/\(name)\""), "\(name) is elsewhere")
            guard let list = text.firstMatch(of: /dependencies: \[([^\]]*)\]/) else { continue }
            for dependency in list.output.1.matches(of: /"([^"]+)"/) {
                let reason = Self.objection(name, String(dependency.output.1), modules)
                #expect(reason == nil, "\(name) depends on \(dependency.output.1): \(reason ?? "")")
            }
        }
        #expect(seen == Set(modules.keys))
    }

    @Test func `no file imports against the rule of the layers`() throws {
        let modules = try Self.modules()
        var files = 0
        for (module, layer) in modules {
            let folder = Self.root.appending(path: "Sources/\(layer.rawValue)/\(module)")
            let all = try FileManager.default.subpathsOfDirectory(atPath: folder.path())
            for path in all where path.hasSuffix(".swift") {
                files += 1
                let text = try String(contentsOf: folder.appending(path: path), encoding: .utf8)
                for line in text.matches(of: /(?m)^(?:@\w+ )*(?:\w+ )?import (?:\w+ )??([\w]+)/) {
                    let reason = Self.objection(module, String(line.output.1), modules)
                    #expect(reason == nil, "\(module)/\(path) imports \(line.output.1): \(reason ?? "")")
                }
            }
        }
        #expect(files > 150)
    }

    /// What is easily done wrong is done in one file.
    private static let onePlace = [
        // A record of readdir ends with its name: its last field, read as it is declared, reads beyond it.
        "readdir(": "host/LinuxHost/Folder.swift"
    ]

    @Test(arguments: onePlace)
    func `what is easily done wrong is done in one file`(text: String, place: String) throws {
        let sources = Self.root.appending(path: "Sources")
        let paths = try FileManager.default.subpathsOfDirectory(atPath: sources.path()).filter { path in
            path.hasSuffix(".swift") && !path.hasPrefix("c/")
        }
        let users = try paths.filter {
            try String(contentsOf: sources.appending(path: $0), encoding: .utf8).contains(text)
        }
        #expect(users == [place])
    }
}
