/// Usable values, placeholders replaced.
struct Settings {
    struct User {
        var name: String
        var passwordHash: String
    }
    struct WiFi {
        var ssid: String
        var password: String?
        var psk: String?
        var country: String
        var isHidden: Bool
    }
    struct BootFile {
        var path: String
        var content: String?
        var source: String?
    }
    var hostname: String?
    var user: User?
    var sshEnabled: Bool?
    var passwordAuthentication: Bool?
    var authorizedKeys: [String] = []
    var wifi: WiFi?
    var timezone: String?
    var keyboard: String?
    var language: String?
    var bootFiles: [BootFile] = []
    var addedWords: [String] = []
    var removedWords: [String] = []

    /// Whether anything is to be set by the system itself.
    var hasFirstBoot: Bool {
        hostname != nil || user != nil || sshEnabled != nil || passwordAuthentication != nil || !authorizedKeys.isEmpty
            || wifi != nil || timezone != nil || keyboard != nil || language != nil
    }
}
