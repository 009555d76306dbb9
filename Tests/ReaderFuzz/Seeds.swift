import FlashPlan
import TFTP

extension FuzzedReader {
    /// Texts that the reader takes, to begin with.
    package var seeds: [[UInt8]] {
        switch self {
        case .packet:
            let options = [("tsize", "0"), ("blksize", "1468"), ("windowsize", "32"), ("timeout", "5")].map {
                Packet.Option(name: $0.0, value: $0.1)
            }
            return [
                Packet.readRequest(Packet.Request(path: "02:00:00:00:00:01/img@1f-90000001", options: options)),
                .writeRequest(Packet.Request(path: "02:00:00:00:00:01/REPORT")),
                .data(block: 0x1234, payload: Array(0..<100)), .acknowledgement(block: 0xfffe),
                .error(.diskFull, message: "a message"), .optionAcknowledgement(options),
            ].map(\.encoded)
        case .report:
            return [
                """
                rpi_report=1
                rpi_job=\(Self.plan.job.hex)
                rpi_state=ok
                rpi_chunks=2
                rpi_written=0x8
                rpi_same=1
                rpi_fetched=10
                rpi_retries=0
                rpi_bad_count=0
                rpi_card=0badcafe-01
                rpi_script=5
                rpi_board=rpi_arm64
                ver=U-Boot 2025.01
                serial#=00000000deadbeef

                """,
                """
                rpi_report=1
                rpi_job=\(Self.plan.job.hex)
                rpi_state=failed
                rpi_code=lost_write
                rpi_reason=the card does not hold what was written
                rpi_chunks=1
                rpi_written=8
                rpi_same=0
                rpi_fetched=10
                rpi_retries=3
                rpi_bad_count=1
                rpi_bad_chunk=2
                rpi_bad_lba=0x22000

                """,
            ].map { Array($0.utf8) }
        case .inventory:
            return [
                """
                mac,ip,server,gpio,name,tags,reset_hold_ms,reset_command,console
                # the bench
                b8:27:eb:3d:60:b9,192.0.2.51,bench1,17,camera,"rack1 slow",200,,/dev/ttyUSB0@9600
                dc:a6:32:00:00:01,192.0.2.52,bench1,gpiochip0:4,,,,"switch ""off""
                switch on",
                dc-a6-32-00-00-02,192.0.2.53,192.0.2.1,GPIO17,door,rack2,,,

                """,
                "sep=,\r\nMAC,IP,server,gpio\r\nb827eb3d60b9,192.0.2.51,bench1,17\r\n,,,\r\n",
            ].map { Array($0.utf8) }
        case .cmdline:
            return [
                "console=serial0,115200 console=tty1 root=PARTUUID=0badcafe-02 rootfstype=ext4 rootwait quiet "
                    + "init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
                "root=LABEL=writable console=serial1 \"dyndbg=file a +p\" sdhci.debug_quirks2=4 resize\r\n# more\n",
                "init=/usr/lib/raspi-config/init_resize.sh resume=/dev/mmcblk0p3\n",
            ].map { Array($0.utf8) }
        case .fstab:
            return [
                """
                proc            /proc           proc    defaults          0       0
                PARTUUID=0badcafe-01  /boot/firmware  vfat    defaults          0       2
                PARTUUID=0badcafe-02  /               ext4    defaults,noatime  0       1

                """,
                """
                LABEL=writable\t/\text4\tdefaults\t0 1
                /dev/mmcblk0p1 /boot vfat ro,nofail 0 2
                UUID=5a3f2b1c-0000-4000-8000-00805f9b34fb / ext4 x-systemd.growfs 0 1
                /dev/disk/by-path/platform-3f202000.mmc-part1 /mnt\\040a auto noauto
                UUID=1234-ABCD /boot/firmware vfat ro,nofail

                """,
            ].map { Array($0.utf8) }
        case .config:
            return [
                """
                # a comment
                [pi4]
                arm_boost=1
                kernel=vmlinuz
                [all]
                os_prefix=current/
                initramfs initrd.img followkernel
                cmdline=cmdline.txt
                dtoverlay=vc4-kms-v3d,cma-512
                include usercfg.txt

                """, "kernel=kernel8.img\nauto_initramfs=1\n[cm4]\notg_mode=1\n[board-type=0x14]\nkernel=x\n",
            ].map { Array($0.utf8) }
        case .console:
            return [
                "U-Boot 2025.01\r\n\u{1b}[1;32mgreen\u{1b}[0m\rover\u{8}\u{8}\n\u{7}bell\n\u{202e}turned\n".utf8.map {
                    $0
                },
                [0x1b, 0x5b, 0x33, 0x1b, 0xff, 0xc3, 0x28, 0x0a, 0x00, 0x0d, 0x0d, 0x0a],
            ]
        }
    }

    /// Words that chance would not find.
    package var words: [String] {
        switch self {
        case .packet: ["octet", "netascii", "mail", "tsize", "blksize", "windowsize", "timeout", "rollover", "65464"]
        case .report:
            [
                "rpi_report=", "rpi_job=", "rpi_state=", "rpi_code=", "rpi_reason=", "rpi_chunks=", "rpi_written=",
                "rpi_same=", "rpi_fetched=", "rpi_retries=", "rpi_bad_count=", "rpi_bad_chunk=", "rpi_bad_lba=", "0x",
                "ffffffff", "ok", "failed", Self.plan.job.hex,
            ]
        case .inventory:
            [
                "mac", "server", "gpio", "reset_command", "console", "gpiochip0:", "sep=", "\"\"", "\u{feff}",
                "192.0.2.9",
            ]
        case .cmdline:
            [
                "root=", "console=serial0", "console=serial1", "init=/", "/raspberrypi-sys-mods/firstboot",
                "init_resize", "resize", "sdhci.debug_quirks2=4", "PARTUUID=", "/dev/mmcblk0p",
            ]
        case .fstab:
            [
                "PARTUUID=0badcafe-0", "UUID=1234-ABCD", "UUID=5a3f2b1c-0000-4000-8000-00805f9b34fb", "LABEL=",
                "/dev/mmcblk0p", "/dev/disk/by-uuid/", "/dev/disk/by-partuuid/", "/dev/nvme0n1p", "-part",
                "x-systemd.growfs", "nofail", "\\040",
            ]
        case .config:
            [
                "[all]", "[pi3]", "[pi4]", "[none]", "kernel=", "os_prefix=", "cmdline=", "initramfs ", "include ",
                "auto_initramfs=1", "ramfsfile=", "upstream_kernel=", "dtoverlay=", "dtparam=",
            ]
        case .console: ["\u{1b}[", "\u{1b}]", "\u{9b}", "\u{2028}", "\u{200f}", "\u{e000}"]
        }
    }
}
