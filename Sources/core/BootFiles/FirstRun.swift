/// The shell script that sets up a system at its first boot.
///
/// All values stand quoted in variables at its beginning; what follows is the same for all.
func firstRun(_ settings: Settings, boot: String) -> BootPartitionEdit {
    let words = [
        "systemd.run=\(boot)/firstrun.sh", "systemd.run_success_action=reboot",
        "systemd.unit=kernel-command-line.target",
    ]
    var script = """
        #!/bin/sh
        # Sets this system up at its first boot, then takes itself away. Made by rpiflash from a customization.
        # RPIFLASH_ROOT is empty but in a test. Whatever fails is left out: a script that fails would end in a power-off.
        root=${RPIFLASH_ROOT-}
        boot=$root\(shellQuoted(boot))

        """
    func set(_ name: String, _ value: String?) { if let value { script += "\(name)=\(shellQuoted(value))\n" } }
    set("hostname", settings.hostname)
    set("user", settings.user?.name ?? (settings.authorizedKeys.isEmpty ? nil : ""))
    set("password_hash", settings.user?.passwordHash)
    set("authorized_keys", settings.authorizedKeys.isEmpty ? nil : settings.authorizedKeys.joined(separator: "\n"))
    set("password_authentication", settings.passwordAuthentication.map { $0 ? "yes" : "no" })
    set("wifi_country", settings.wifi?.country)
    set("wifi_connection", settings.wifi.map(networkManagerConnection))
    set("wifi_supplicant", settings.wifi.map(supplicantConfiguration))
    set("timezone", settings.timezone)
    set("keyboard", settings.keyboard)
    set("language", settings.language)
    script += Block.start
    if settings.hostname != nil { script += Block.hostname }
    if settings.user != nil { script += Block.user }
    if !settings.authorizedKeys.isEmpty { script += Block.authorizedKeys }
    if settings.passwordAuthentication != nil { script += Block.passwordAuthentication }
    switch settings.sshEnabled {
    case true: script += Block.enableSSH
    case false: script += Block.disableSSH
    case nil: break
    }
    if settings.wifi != nil { script += Block.wifi }
    if settings.timezone != nil { script += Block.timezone }
    if settings.keyboard != nil { script += Block.keyboard }
    if settings.language != nil { script += Block.language }
    script += """

        # Once only.
        sed -i\(words.map { " -e \(shellQuoted("1s| \($0.replacing(".", with: "\\."))||"))" }.joined()) "$boot/cmdline.txt"
        rm -f "$boot/firstrun.sh"
        sync
        exit 0

        """
    // One that the vendor's imager had put there would run as well.
    let own = words[0]
    let others = ["/boot", "/boot/firmware"].map { "systemd.run=\($0)/firstrun.sh" }.filter { $0 != own }
    return BootPartitionEdit(
        files: ["firstrun.sh": Array(script.utf8)], addedWords: regulatoryDomain(settings.wifi) + words,
        removedWords: (settings.wifi == nil ? [] : [regulatoryDomainKey]) + others)
}

/// Without its country the Pi's Wi-Fi stays off, and this word works on every image.
private let regulatoryDomainKey = "cfg80211.ieee80211_regdom="

private func regulatoryDomain(_ wifi: Settings.WiFi?) -> [String] {
    wifi.map { ["\(regulatoryDomainKey)\($0.country)"] } ?? []
}

extension BootPartitionEdit {
    /// The words that tell the kernel the country of the Wi-Fi.
    mutating func setCountry(of wifi: Settings.WiFi?) {
        guard let wifi else { return }
        removedWords.append(regulatoryDomainKey)
        addedWords += regulatoryDomain(wifi)
    }
}

/// A keyfile of NetworkManager (nm-settings-keyfile(5)). Raspberry Pi OS's own `imager_custom set_wlan` writes values as
/// they are, which changes some.
private func networkManagerConnection(_ wifi: Settings.WiFi) -> String {
    // A plain word as it is; all else as the list of its bytes, which nothing is read into.
    let isWord =
        wifi.ssid.utf8.allSatisfy { Byte.isDigit($0) || (0x61...0x7a).contains($0 | 0x20) || $0 == UInt8(ascii: "-") }
        && wifi.ssid.utf8.first.map(Byte.isDigit) == false
    let ssid = isWord ? wifi.ssid : wifi.ssid.utf8.map { "\($0);" }.joined()
    var text = """
        [connection]
        id=preconfigured
        type=wifi

        [wifi]
        mode=infrastructure
        ssid=\(ssid)
        hidden=\(wifi.isHidden)


        """
    if let secret = wifi.psk ?? wifi.password {
        // GKeyFile takes a backslash for an escape and leaves out blanks at the beginning.
        var escaped = secret.replacing("\\", with: "\\\\")
        if escaped.hasPrefix(" ") { escaped = "\\s" + escaped.dropFirst() }
        text += """
            [wifi-security]
            key-mgmt=wpa-psk
            psk=\(escaped)


            """
    }
    return text + """
        [ipv4]
        method=auto

        [ipv6]
        method=auto

        """
}

/// wpa_supplicant.conf(5), for systems without NetworkManager.
private func supplicantConfiguration(_ wifi: Settings.WiFi) -> String {
    // In hexadecimal digits any name is unambiguous; a passphrase ends at the line's last quote.
    let ssid = wifi.ssid.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    let security = wifi.psk.map { "psk=\($0)" } ?? wifi.password.map { "psk=\"\($0)\"" } ?? "key_mgmt=NONE"
    return """
        country=\(wifi.country)
        ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev
        update_config=1
        network={
        \tssid=\(ssid)
        \tscan_ssid=\(wifi.isHidden ? 1 : 0)
        \t\(security)
        }

        """
}

/// The parts of the script; no value stands in them.
private enum Block {
    static let start = #"""

        custom=$root/usr/lib/raspberrypi-sys-mods/imager_custom
        userconf=$root/usr/lib/userconf-pi/userconf
        if touch "$boot/firstrun.log"; then
            exec >"$boot/firstrun.log" 2>&1
        fi

        # Raspberry Pi OS has a tool that also tells raspi-config, but not in every release.
        vendor() {
            [ -x "$custom" ] && "$custom" "$@"
        }

        # A line for a file whose last line may have no end.
        append() {
            if [ -s "$1" ] && [ -n "$(tail -c 1 "$1")" ]; then
                echo >>"$1"
            fi
            printf '%s\n' "$2" >>"$1"
        }

        """#

    static let hostname = #"""

        if ! vendor set_hostname "$hostname"; then
            printf '%s\n' "$hostname" >"$root/etc/hostname"
            if grep -q '^127\.0\.1\.1[[:space:]]' "$root/etc/hosts"; then
                sed -i "s/^\(127\.0\.1\.1[[:space:]][[:space:]]*\).*/\1$hostname/" "$root/etc/hosts"
            else
                append "$root/etc/hosts" "127.0.1.1 $hostname"
            fi
        fi

        """#

    static let user = #"""

        first=$(getent passwd 1000 | cut -d: -f1)
        known=$(getent passwd "$user" | cut -d: -f1)
        if [ -x "$userconf" ] && [ -n "$first" ] && { [ "$first" = "$user" ] || [ -z "$known" ]; }; then
            "$userconf" "$user" "$password_hash"
        else
            if [ -n "$known" ]; then
                :
            elif [ -n "$first" ]; then
                group=$(getent group 1000 | cut -d: -f1)
                usermod -l "$user" "$first"
                usermod -m -d "/home/$user" "$user"
                [ "$group" = "$first" ] && groupmod -n "$user" "$group"
                for file in "$root/etc/subuid" "$root/etc/subgid"; do
                    [ -f "$file" ] && sed -i "s/^$first:/$user:/" "$file"
                done
                for file in "$root"/etc/sudoers.d/*; do
                    [ -f "$file" ] && sed -i "s/^$first /$user /" "$file"
                done
            else
                useradd -m -s /bin/bash "$user"
                for group in sudo adm dialout cdrom audio video plugdev games users input render netdev gpio i2c spi; do
                    getent group "$group" >/dev/null && usermod -a -G "$group" "$user"
                done
            fi
            printf '%s:%s\n' "$user" "$password_hash" | chpasswd -e
        fi

        """#

    static let authorizedKeys = #"""

        [ -n "$user" ] || user=$(getent passwd 1000 | cut -d: -f1)
        home=$(getent passwd "$user" | cut -d: -f6)
        if [ -n "$user" ] && [ -n "$home" ]; then
            mkdir -p "$root$home/.ssh"
            append "$root$home/.ssh/authorized_keys" "$authorized_keys"
            chmod 700 "$root$home/.ssh"
            chmod 600 "$root$home/.ssh/authorized_keys"
            chown -R "$user:" "$root$home/.ssh"
        else
            echo "rpiflash: no user for the ssh keys"
        fi

        """#

    static let passwordAuthentication = #"""

        # sshd takes the first of two settings.
        config=$root/etc/ssh/sshd_config
        if [ -f "$config" ]; then
            {
                printf 'PasswordAuthentication %s\n' "$password_authentication"
                cat "$config"
            } >"$config.new" && cat "$config.new" >"$config"
            rm -f "$config.new"
        fi

        """#

    static let enableSSH = #"""

        ls "$root"/etc/ssh/ssh_host_*_key >/dev/null 2>&1 || ssh-keygen -A
        systemctl enable ssh || systemctl enable sshd

        """#

    static let disableSSH = #"""

        systemctl disable ssh || systemctl disable sshd

        """#

    static let wifi = #"""

        if [ -d "$root/etc/NetworkManager" ]; then
            file=$root/etc/NetworkManager/system-connections/preconfigured.nmconnection
            text=$wifi_connection
        else
            file=$root/etc/wpa_supplicant/wpa_supplicant.conf
            text=$wifi_supplicant
        fi
        mkdir -p "${file%/*}"
        rm -f "$file"
        (umask 077 && printf '%s\n' "$text" >"$file")
        vendor set_wlan_country "$wifi_country"
        # Images for all countries come with their radio off.
        state=$root/var/lib/NetworkManager/NetworkManager.state
        [ -f "$state" ] && sed -i 's/^WirelessEnabled=.*/WirelessEnabled=true/' "$state"
        for file in "$root"/var/lib/systemd/rfkill/*:wlan; do
            [ -f "$file" ] && echo 0 >"$file"
        done
        command -v rfkill >/dev/null && rfkill unblock wifi

        """#

    static let timezone = #"""

        if ! vendor set_timezone "$timezone"; then
            if [ -f "$root/usr/share/zoneinfo/$timezone" ]; then
                ln -sf "/usr/share/zoneinfo/$timezone" "$root/etc/localtime"
                printf '%s\n' "$timezone" >"$root/etc/timezone"
            else
                echo "rpiflash: no time zone $timezone"
            fi
        fi

        """#

    static let keyboard = #"""

        if ! vendor set_keymap "$keyboard"; then
            mkdir -p "$root/etc/default"
            cat >"$root/etc/default/keyboard" <<EOF
        XKBMODEL="pc105"
        XKBLAYOUT="$keyboard"
        XKBVARIANT=""
        XKBOPTIONS=""
        BACKSPACE="guess"
        EOF
        fi

        """#

    static let language = #"""

        generated=$root/etc/locale.gen
        if [ -f "$generated" ] && command -v locale-gen >/dev/null; then
            grep -q "^$language " "$generated" || append "$generated" "$language UTF-8"
            locale-gen
        fi
        if [ -d "$root/etc/default" ]; then
            printf 'LANG=%s\n' "$language" >"$root/etc/default/locale"
        else
            printf 'LANG=%s\n' "$language" >"$root/etc/locale.conf"
        fi

        """#
}
