import Yams

/// The files of cloud-init's NoCloud data source (https://docs.cloud-init.io, "NoCloud").
func cloudInit(_ settings: Settings) -> BootPartitionEdit {
    var data: [(Node, Node)] = []
    var commands: [[String]] = []
    if let hostname = settings.hostname {
        data.append(("hostname", text(hostname)))
        data.append(("manage_etc_hosts", "true"))
    }
    if let user = settings.user {
        var keys: [(Node, Node)] = [
            ("name", text(user.name)),
            ("groups", text("adm,dialout,cdrom,sudo,audio,video,plugdev,games,users,input,netdev")),
            ("shell", text("/bin/bash")),
            ("lock_passwd", "false"),
            // The one is for a user that is made, the other for one that the image has already.
            ("passwd", text(user.passwordHash)),
            ("hashed_passwd", text(user.passwordHash)),
        ]
        if !settings.authorizedKeys.isEmpty { keys.append(("ssh_authorized_keys", texts(settings.authorizedKeys))) }
        data.append(("users", sequence([mapping(keys)])))
    } else if !settings.authorizedKeys.isEmpty {
        data.append(("ssh_authorized_keys", texts(settings.authorizedKeys)))
    }
    if let password = settings.passwordAuthentication { data.append(("ssh_pwauth", password ? "true" : "false")) }
    if let timezone = settings.timezone { data.append(("timezone", text(timezone))) }
    if let keyboard = settings.keyboard {
        data.append(("keyboard", mapping([("model", text("pc105")), ("layout", text(keyboard))])))
    }
    if let language = settings.language { data.append(("locale", text(language))) }
    switch settings.sshEnabled {
    case true: commands.append(["systemctl", "enable", "--now", "ssh"])
    case false:
        // Ubuntu starts it by its socket; one of the two may not be there.
        commands.append(["sh", "-c", "systemctl disable --now ssh.socket; systemctl disable --now ssh.service; true"])
    case nil: break
    }
    if settings.wifi != nil {
        commands.append(["sh", "-c", "command -v rfkill >/dev/null && rfkill unblock wifi; true"])
        commands.append(["sh", "-c", "command -v nmcli >/dev/null && nmcli radio wifi on; true"])
    }
    if !commands.isEmpty { data.append(("runcmd", sequence(commands.map(texts)))) }

    let userData = "#cloud-config\n" + (data.isEmpty ? "{}\n" : yaml(mapping(data)))
    var files = ["user-data": Array(userData.utf8)]
    if let wifi = settings.wifi {
        var point: [(Node, Node)] = []
        if let secret = wifi.psk ?? wifi.password { point.append(("password", text(secret))) }
        if wifi.isHidden { point.append(("hidden", "true")) }
        // It takes the place of what cloud-init would have done without it: Ethernet by DHCP.
        let network = mapping([
            ("version", "2"),
            ("ethernets", mapping([("eth0", mapping([("dhcp4", "true"), ("optional", "true")]))])),
            (
                "wifis",
                mapping([
                    (
                        "wlan0",
                        mapping([
                            ("dhcp4", "true"), ("optional", "true"),
                            ("access-points", mapping([(text(wifi.ssid), mapping(point))])),
                        ])
                    )
                ])
            ),
        ])
        files["network-config"] = Array(yaml(network).utf8)
    }
    // Another identifier makes cloud-init take the settings anew, the same one does not.
    let id = "rpiflash-" + digest((files["user-data"] ?? []) + (files["network-config"] ?? []))
    files["meta-data"] = Array("instance-id: \(id)\ndsmode: local\n".utf8)
    var edit = BootPartitionEdit(files: files)
    edit.setCountry(of: settings.wifi)
    return edit
}

/// A text in double quotes, which is never anything else.
private func text(_ text: String) -> Node { .scalar(.init(text, Tag(.implicit), .doubleQuoted)) }

private func texts(_ list: [String]) -> Node { sequence(list.map(text)) }

private func sequence(_ nodes: [Node]) -> Node { .sequence(.init(nodes)) }

private func mapping(_ pairs: [(Node, Node)]) -> Node { .mapping(.init(pairs)) }

private func yaml(_ node: Node) -> String {
    do {
        return try Yams.serialize(node: node, width: -1, allowUnicode: true)
    } catch {
        // The emitter fails on broken trees and on texts that are no Unicode; neither can be made here.
        preconditionFailure("\(error)")
    }
}
