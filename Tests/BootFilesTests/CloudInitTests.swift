import BootFiles
import Testing
import Yams

struct CloudInitTests {
    @Test func `user data says what was set, whatever stands in it`() throws {
        let result = try edit(Sample.everything, .cloudInit)
        let text = try #require(result.text("user-data"))
        #expect(text.hasPrefix("#cloud-config\n"))
        let data = try #require(try Yams.load(yaml: text) as? [String: Any])
        #expect(data["hostname"] as? String == "pi-camera-1")
        #expect(data["ssh_pwauth"] as? Bool == false)
        #expect(data["timezone"] as? String == "Europe/Berlin")
        #expect(data["locale"] as? String == "de_DE.UTF-8")
        #expect(data["keyboard"] as? [String: String] == ["model": "pc105", "layout": "de"])
        let user = try #require((data["users"] as? [[String: Any]])?.first)
        #expect(user["name"] as? String == "lab")
        #expect(user["passwd"] as? String == Sample.sha512)
        #expect(user["lock_passwd"] as? Bool == false)
        #expect(
            user["ssh_authorized_keys"] as? [String]
                == [Sample.key, "\(Sample.otherKey) o'brien \"$(reboot)\" `x`"])
        let commands = try #require(data["runcmd"] as? [[String]])
        #expect(commands.first == ["systemctl", "enable", "--now", "ssh"])
        #expect(commands.count == 3)
    }

    @Test func `the network's name and password are what was set, whatever stands in them`() throws {
        let result = try edit(Sample.everything, .cloudInit)
        let text = try #require(result.text("network-config"))
        let data = try #require(try Yams.load(yaml: text) as? [String: Any])
        #expect(data["version"] as? Int == 2)
        let wlan = try #require((data["wifis"] as? [String: Any])?["wlan0"] as? [String: Any])
        let points = try #require(wlan["access-points"] as? [String: [String: Any]])
        let point = try #require(points["Caf\u{e9} 'x' $(id) \"q\""])
        #expect(point["password"] as? String == #"  a\b 'c' "d" $(id) `e`"#)
        #expect(point["hidden"] as? Bool == true)
        #expect((data["ethernets"] as? [String: Any])?.keys.sorted() == ["eth0"])
        #expect(result.addedWords.first == "cfg80211.ieee80211_regdom=DE")
    }

    @Test(arguments: ["yes", "null", "0x10", "1e3", "~", "on"])
    func `a name that yaml would take for something else stays a text`(ssid: String) throws {
        let result = try edit("wifi: {ssid: '\(ssid)', psk: \(Sample.psk), country: US}", .cloudInit)
        let text = try #require(result.text("network-config"))
        let node = try #require(try Yams.compose(yaml: text))
        let points = try #require(node["wifis"]?["wlan0"]?["access-points"]?.mapping)
        #expect(points.keys.map(\.string) == [ssid])
        #expect(points.keys.map(\.tag) == [Tag(.str)])
        #expect(points.values.first?["password"]?.string == Sample.psk)
    }

    @Test func `the same settings are the same instance, others are another`() throws {
        func metaData(_ yaml: String) throws -> String? { try edit(yaml, .cloudInit).text("meta-data") }
        let first = try #require(try metaData(Sample.everything))
        let fields = try #require(try Yams.load(yaml: first) as? [String: String])
        #expect(fields["dsmode"] == "local")
        #expect(fields["instance-id"]?.hasPrefix("rpiflash-") == true)
        #expect(fields["instance-id"]?.count == 25)
        #expect(try metaData(Sample.everything) == first)
        #expect(try metaData(Sample.everything.replacing("pi-", with: "po-")) != first)
        #expect(try metaData(Sample.everything.replacing("hidden: true", with: "hidden: false")) != first)
        #expect(try edit(Sample.everything, .cloudInit) == edit(Sample.everything, .cloudInit))
    }

    @Test func `keys without a user are the image's own user's`() throws {
        let result = try edit("ssh: {authorized_keys: ['\(Sample.key)']}", .cloudInit)
        let text = try #require(result.text("user-data"))
        let data = try #require(try Yams.load(yaml: text) as? [String: [String]])
        #expect(data == ["ssh_authorized_keys": [Sample.key]])
        #expect(result.files.keys.sorted() == ["meta-data", "user-data"])
    }
}
