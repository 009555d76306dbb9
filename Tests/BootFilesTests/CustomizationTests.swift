import BootFiles
import Testing

struct CustomizationTests {
    @Test func `all settings are read`() {
        #expect(error(Sample.everything, .cloudInit) == "")
        #expect(error("", .some(.none)) == "")
    }

    @Test(arguments: [
        ("hostnam: x", "lab.yaml:1:1: unknown key 'hostnam'; must be one of hostname, user, ssh, "),
        ("- x", "lab.yaml:1:1: file must be a mapping"),
        ("hostname: a\nhostname: b", "lab.yaml:1:1: key 'hostname' is there more than once"),
        (
            "user:\n  name: lab\n  pasword: x",
            "lab.yaml:3:3: unknown key 'user.pasword'; must be one of name, password_hash"
        ),
        ("user: {name: lab}", "lab.yaml:1:7: user.password_hash is missing"),
        ("hostname: [a]", "lab.yaml:1:11: hostname must be a text; "),
        ("hostname: {{name}}", "lab.yaml:1:11: hostname must be a text; one that begins with '{'"),
        ("hostname:", "lab.yaml:1:10: hostname is empty; leave the key out"),
        ("ssh:\n  enabled: yes", "lab.yaml:2:12: ssh.enabled is 'yes'; must be true or false"),
        ("ssh: {authorized_keys: x}", "lab.yaml:1:24: ssh.authorized_keys must be a list"),
        ("wifi: {ssid: a, password: 12345678}", "lab.yaml:1:7: wifi.country is missing"),
        (
            "wifi: {ssid: a, country: DE, password: 12345678, psk: \(Sample.psk)}",
            "lab.yaml:1:55: wifi has a password and a psk; must be one of them"
        ),
        ("boot_files: [{path: a}]", "lab.yaml:1:14: a boot file must have either content or source"),
        (
            "boot_files: [{path: a, content: b, source: c}]",
            "lab.yaml:1:14: a boot file must have either content or source"
        ),
        ("hostname: 'x", "lab.yaml:1:13: "),
    ]) func `a mistake in the file is refused with its place`(yaml: String, message: String) {
        #expect(error(yaml).hasPrefix(message))
    }

    @Test(arguments: [
        ("hostname: -a", "hostname is '-a'; must be "), ("hostname: a.b", "hostname is 'a.b'; "),
        ("hostname: a_b", "hostname is 'a_b'; "), ("hostname: \"a\\nb\"", "hostname is 'a\\x0ab'; "),
        ("hostname: \(String(repeating: "a", count: 64))", "hostname is "),
        ("user: {name: Lab, password_hash: x}", "user.name is 'Lab'; must be 1 to 32 of a-z"),
        ("user: {name: root, password_hash: x}", "user.name is 'root'; "),
        ("user: {name: 1a, password_hash: x}", "user.name is '1a'; "),
        ("user: {name: \"a b\", password_hash: x}", "user.name is 'a b'; "),
        ("ssh: {authorized_keys: [ssh-ed25519]}", "ssh.authorized_keys has 'ssh-ed25519'; must be a line of a .pub"),
        ("ssh: {authorized_keys: ['ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA x']}", "ssh.authorized_keys has 'ssh-rsa "),
        ("ssh: {authorized_keys: ['ssh-ed25519 AAAA']}", "ssh.authorized_keys has 'ssh-ed25519 AAAA'; "),
        ("ssh: {authorized_keys: [\"\(Sample.key)\\nx\"]}", "ssh.authorized_keys has "),
        ("ssh: {authorized_keys: ['command=\"x\" \(Sample.key)']}", "ssh.authorized_keys has "),
        (
            "ssh: {authorized_keys: ['-----BEGIN OPENSSH PRIVATE KEY-----']}",
            "ssh.authorized_keys has a private key; must be the line of its .pub file"
        ),
        (
            "wifi: {ssid: \"\(String(repeating: "é", count: 17))\", country: DE}",
            "wifi.ssid has 34 bytes; must have 1 to 32"
        ),
        ("wifi: {ssid: \"a\\0\", country: DE}", "wifi.ssid has 2 bytes; "),
        ("wifi: {ssid: a, country: de}", "wifi.country is 'de'; must be a country of ISO 3166"),
        ("wifi: {ssid: a, country: UK}", "wifi.country is 'UK'; "),
        ("wifi: {ssid: a, country: DE, password: 1234567}", "wifi.password has 7 bytes; must be 8 to 63 ASCII"),
        ("wifi: {ssid: a, country: DE, password: äöüäöü}", "wifi.password has 12 bytes; "),
        ("wifi: {ssid: a, country: DE, password: \(Sample.psk)}", "wifi.password has 64 bytes; "),
        ("wifi: {ssid: a, country: DE, psk: 0123}", "wifi.psk has 4 bytes; must be 64 hexadecimal digits"),
        ("locale: {timezone: ../../etc/passwd}", "locale.timezone is '../../etc/passwd'; "),
        ("locale: {timezone: /UTC}", "locale.timezone is '/UTC'; "),
        ("locale: {timezone: 'Europe/$(id)'}", "locale.timezone is "),
        ("locale: {keyboard: 'de\"'}", "locale.keyboard is 'de\"'; "),
        ("locale: {language: de_DE}", "locale.language is 'de_DE'; must be a locale in UTF-8"),
        ("locale: {language: 'x|y.UTF-8'}", "locale.language is "),
        ("boot_files: [{path: /etc/x, content: a}]", "boot_files.path is '/etc/x'; must be a path below"),
        ("boot_files: [{path: a/../b, content: a}]", "boot_files.path is 'a/../b'; "),
        ("boot_files: [{path: a//b, content: a}]", "boot_files.path is 'a//b'; "),
        ("boot_files: [{path: 'a:b', content: a}]", "boot_files.path is 'a:b'; must be a name that FAT takes"),
        ("boot_files: [{path: 'a.', content: a}]", "boot_files.path is 'a.'; "),
        ("boot_files: [{path: \"a\\tb\", content: a}]", "boot_files.path is 'a\\x09b'; "),
        ("boot_files: [{path: CMDLINE.TXT, content: a}]", "boot_files.path is cmdline.txt; change its words by "),
        ("cmdline: {add: ['a b']}", "cmdline.add has 'a b'; must be one word"),
        ("cmdline: {add: ['a\"b c']}", "cmdline.add has 'a\"b c'; "),
        ("cmdline: {add: [\"a\\nb\"]}", "cmdline.add has "),
        ("cmdline: {add: [root=/dev/sda1]}", "cmdline.add has 'root=/dev/sda1'; root= is set by the boot script"),
        ("cmdline: {add: ['a\\b']}", "cmdline.add has 'a\\b'; must not have a '\\'"),
        ("cmdline: {remove: ['a b']}", "cmdline.remove has 'a b'; "),
    ]) func `a value that cannot be is refused when the file is read`(yaml: String, message: String) {
        #expect(error(yaml).drop { $0 != " " }.dropFirst().hasPrefix(message), "\(error(yaml))")
    }

    /// Made by libcrypt of Debian 12.
    @Test(arguments: [
        Sample.sha512, "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        "$y$j9T$abcdefgh12345678$5sAznj4WEIGgyua2AXu2NRSCMeWB3V6LpE45tV7hHM8",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$6$rounds=5000$abc$yvk.Ln2iQ9WE8ZR5heHDQ31n3tpO3n6t5DfEYtoGBb9C3OU2LVWCNQ6q8UEoC7x8ogVqlfipLvFQJyJ4U8JAf.",
    ]) func `password hashes of crypt are taken, and nothing that differs from one`(hash: String) {
        func message(_ hash: String) -> String { error("user: {name: lab, password_hash: '\(hash)'}") }
        #expect(message(hash) == "")
        for wrong in [String(hash.dropLast()), hash + "a", hash + ":", "secret", "$1$" + hash.dropFirst(3), "$6$$"] {
            #expect(message(wrong).hasPrefix("lab.yaml:1:34: user.password_hash is not a crypt(5) hash"))
            #expect(!message(wrong).contains(hash.suffix(20)), "a secret is not shown")
        }
    }

    @Test(arguments: [
        (
            "hostname: \"{{nam}}\"",
            "lab.yaml:1:11: hostname has the unknown placeholder '{{nam}}'; must be one of {{name}}, "
        ),
        ("hostname: \"x{{name\"", "lab.yaml:1:11: hostname has a '{{' without '}}'"),
        (
            "boot_files: [{path: a, content: '{{ name }}'}]",
            "lab.yaml:1:33: boot_files.content has the unknown placeholder"
        ),
    ]) func `a placeholder that is none is refused when the file is read`(yaml: String, message: String) {
        #expect(error(yaml).hasPrefix(message))
    }

    @Test func `placeholders stand for the target's row`() throws {
        let yaml = """
            hostname: "{{name}}"
            boot_files:
              - {path: "{{name}}.txt", content: "{{mac}} {{ip}} {{server}}{{name}}"}
            cmdline: {add: ["lab.ip={{ip}}"]}
            """
        let result = try edit(yaml, .sysconf)
        #expect(result.text("sysconf.txt") == "hostname=camera-1\n")
        #expect(result.text("camera-1.txt") == "b8:27:eb:3d:60:b9 192.168.1.51 bench1camera-1")
        #expect(result.addedWords == ["lab.ip=192.168.1.51"])
        #expect(try Customization(yaml: yaml, file: "").hasPlaceholders)
        #expect(try !Customization(yaml: "hostname: a", file: "").hasPlaceholders)
    }

    @Test(arguments: [nil, ""])
    func `a placeholder without a value is refused`(name: String?) {
        #expect(
            error("hostname: \"pi{{name}}\"", .sysconf, PlaceholderValues(name: name))
                == "lab.yaml:1:11: hostname needs {{name}}, which is empty in the target's row of the inventory")
    }

    @Test func `what a placeholder makes of a value is checked like the value`() {
        #expect(
            error("hostname: \"{{name}}\"", .cloudInit, PlaceholderValues(name: "$(id)"))
                .hasPrefix("lab.yaml:1:11: hostname is '$(id)'; must be 1 to 63"))
        #expect(
            error("boot_files: [{path: '{{name}}', content: a}]", .some(.none), PlaceholderValues(name: "../x"))
                .hasPrefix("lab.yaml:1:21: boot_files.path is '../x'; "))
    }

    @Test func `boot files come from the customization or from files`() throws {
        let yaml = "boot_files: [{path: a/b.bin, source: x.bin}, {path: config.txt, content: ''}]"
        #expect(try Customization(yaml: yaml, file: "").sources(values: Sample.values) == ["x.bin"])
        let result = try edit(yaml, .none, sources: ["x.bin": [0, 255]])
        #expect(result == BootPartitionEdit(files: ["a/b.bin": [0, 255], "config.txt": []]))
        #expect(error(yaml, .some(.none)) == "lab.yaml:1:38: boot_files.source 'x.bin' was not read")
    }

    @Test(arguments: [
        ("boot_files: [{path: a, content: a}, {path: A, content: b}]", FirstBootMechanism.none),
        ("hostname: a\nboot_files: [{path: User-Data, content: a}]", .cloudInit),
        ("hostname: a\nboot_files: [{path: firstrun.sh, content: a}]", .firstrun(bootMountPoint: "/boot")),
    ]) func `two things for one file are refused`(yaml: String, form: FirstBootMechanism) {
        #expect(error(yaml, form).contains("boot_files.path "))
        #expect(error(yaml, form).contains(" is there already: "))
    }

    @Test(arguments: ["hostname: a", "ssh: {enabled: false}", "locale: {keyboard: de}", "wifi: {ssid: a, country: DE}"])
    func `an image without first-boot settings takes files and words alone`(yaml: String) throws {
        #expect(error(yaml, .some(.none)).contains(" cannot be set, for the image has no first-boot settings; "))
        let result = try edit("cmdline: {add: [a], remove: [b, c=]}", .none)
        #expect(result == BootPartitionEdit(addedWords: ["a"], removedWords: ["b", "c="]))
        #expect(result.applied(to: KernelCommandLine("b x c=1 c cc=2\n")).text == "x c cc=2 a\n")
    }

    @Test(arguments: [
        FirstBootMechanism.firstrun(bootMountPoint: "/boot"), .cloudInit, .sysconf, .none,
    ]) func `nothing is written where nothing is set`(form: FirstBootMechanism) throws {
        #expect(try edit("", form) == BootPartitionEdit())
    }

    @Test func `debian's images take a host name and one key`() throws {
        let result = try edit("hostname: a\nssh: {enabled: true, authorized_keys: ['\(Sample.key)']}", .sysconf)
        #expect(
            result
                == BootPartitionEdit(files: [
                    "sysconf.txt": Array("hostname=a\nroot_authorized_key=\(Sample.key)\n".utf8)
                ]))
    }

    @Test(arguments: [
        ("user: {name: lab, password_hash: \(Sample.sha512)}", "user cannot be set in this image"),
        ("locale: {timezone: UTC}", "locale.timezone cannot be set in this image"),
        ("wifi: {ssid: a, country: DE}", "wifi cannot be set in this image"),
        ("ssh: {enabled: false}", "ssh.enabled cannot be set in this image"),
        ("ssh: {authorized_keys: ['\(Sample.key)', '\(Sample.otherKey)']}", "ssh.authorized_keys has 2 keys; "),
        ("ssh: {authorized_keys: ['\(Sample.key) #1']}", "ssh.authorized_keys has 1 keys; "),
    ]) func `what debian's images do not take is refused by name`(yaml: String, message: String) {
        #expect(error(yaml, .sysconf).contains(message))
    }
}
