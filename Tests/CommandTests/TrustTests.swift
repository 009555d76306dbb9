import Foundation
import SystemPackage
import TestSupport
import Testing

/// What a command takes from where: nothing from the working folder, and nothing that another user could have written.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct TrustTests {
    /// A folder as somebody else may have prepared it: all that was once taken from the working folder. What is taken of it
    /// shows: in an inventory's command, in a plan, in a boot script.
    private static let trap = """
        mkdir -p $D/trap && cd $D/trap
        mkdir -p recovery_image uboot/boards build/uboot/rpi_arm64 prebuilt
        printf 'mac,ip,server,gpio,name,reset_command\\n\(LoopbackFixture.mac),127.0.0.1,localhost,,trapped,touch %s/ran\\n' $D >targets.csv
        cp -r $REPOSITORY/templates .
        for file in templates/*.cmd; do echo 'echo trapped' >>$file; done
        cp $REPOSITORY/uboot/boards/*.yaml uboot/boards/
        cp -r $REPOSITORY/recovery_image/* recovery_image/
        echo 'uboot_size: 128 MiB' >recovery_image/card.yaml
        echo trapped >build/uboot/rpi_arm64/u-boot.bin

        """

    @Test func `nothing is taken from the working folder`() async throws {
        let place = try await LoopbackFixture("flash; cp got/flash.scr $D/sent")
        let result = try await place.run(
            Self.trap + """
                # Without an inventory of this host there is none.
                status=0; $RPIFLASH reset trapped 2>$D/reset.log || status=$?
                case $status in 6 | 8) ;; *) exit 1 ;; esac
                $RPIFLASH targets >$D/listed 2>&1 || true
                [ ! -e $D/ran ]
                $FLASH --no-wait $IMG cam 2>$D/flash.log
                $GEN bootscr --board rpi_arm64 --text -o - 2>$D/gen.log >$D/script
                $GEN layout 2>/dev/null >$D/layout
                { grep -a -L trapped $D/listed $D/sent $D/script || true; } | wc -l
                grep -c '128 MiB' $D/layout || true
                """, exits: 0)
        #expect(result.stdout.hasSuffix("3\n0\n"), result.all)
        if !FileManager.default.fileExists(atPath: "/etc/rpiflash/targets.csv") {
            #expect(
                place.text("reset.log")
                    == "rpiflash: no inventory: /etc/rpiflash/targets.csv is not there; make one (mac,ip,server,gpio) "
                    + "or give --inventory\n", result.all)
        }
        // What was used instead is named.
        #expect(
            place.text("gen.log").contains("rpiflash-gen: using ")
                && place.text("gen.log").contains("\(Programs.repository)/templates/boot"), result.all)
    }

    @Test func `the log names the card layout and the templates that a flash uses`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            "cp -r $REPOSITORY/templates $D/t; $FLASH --verbose --templates $D/t --no-wait $IMG cam", exits: 0)
        #expect(
            place.stable(result.stderr).contains("rpiflash: card layout: D/card.yaml; templates: D/t\n"), result.all)
    }

    /// The harm, what is asked for, its status, and the file with what is wrong.
    @Test(
        arguments: [
            (
                "chmod o+w $D/targets.csv", "$FLASH $IMG cam", 6, "targets.csv",
                "it may be written by everybody (mode 0646"
            ),
            (
                "chmod 777 $D/sub", "$FLASH --inventory $D/sub/targets.csv $IMG cam", 6, "sub/targets.csv",
                "D/sub may be written by everybody (mode 0777)"
            ),
            (
                "chmod o+w $D/targets.csv", "$RPIFLASH reset --inventory $D/targets.csv cam", 6, "targets.csv",
                "it may be"
            ),
            ("chmod o+w $D/card.yaml", "$FLASH $IMG cam", 9, "card.yaml", "it may be written by everybody"),
            (
                "chmod o+w $D/t/plan/start.cmd", "$FLASH --templates $D/t $IMG cam", 9, "t/plan/start.cmd",
                "it may be written by everybody"
            ),
            (
                "chmod 777 $D/t", "$FLASH --templates $D/t $IMG cam", 9, "t/plan/start.cmd",
                "D/t may be written by everybody"
            ),
            (
                "chmod 777 $D/t", "$GEN bootscr --board rpi_arm64 --templates $D/t -o $D/x", 1, "t/boot/settings.cmd",
                "D/t may be"
            ),
            (
                "chmod o+w $D/b/qemu_arm64.yaml", "$GEN bootscr --board qemu_arm64 --boards $D/b -o $D/x", 1,
                "b/qemu_arm64.yaml", "it may be"
            ),
            ("chmod o+w $D/card.yaml", "$GEN layout --card $D/card.yaml", 1, "card.yaml", "it may be"),
            (
                "chmod o+w $D/u/u-boot.bin", "$GEN recovery-image --board qemu_arm64 --uboot $D/u -o $D/x", 1,
                "u/u-boot.bin", "it may be"
            ),
        ] as [(String, String, Int32, String, String)])
    func `law 6 - what everybody may write is not used`(
        harm: String, command: String, status: Int32, file: String, reason: String
    ) async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            mkdir $D/sub $D/u; cp $D/targets.csv $D/sub/; echo u-boot >$D/u/u-boot.bin
            cp -r $REPOSITORY/templates $D/t; cp -r $REPOSITORY/uboot/boards $D/b
            chmod -R go-w $D/t $D/b $D/u
            \(harm)
            \(command)
            """, exits: status)
        #expect(place.resets == 0)
        #expect(
            place.stable(result.stderr).contains(
                "D/\(file) is not used, as somebody else could have written it: \(reason)"),
            result.all)
        #expect(result.errorLines.count == 1, result.all)
    }

    @Test(.enabled(if: geteuid() == 0, "another user's files need root"))
    func `an inventory of another user or of another group is not used, behind sudo one's own is`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            targets() { $RPIFLASH targets --inventory $D/targets.csv >/dev/null 2>>$D/log && echo taken || echo refused; }
            unset SUDO_UID SUDO_USER
            targets
            chown 20001 $D/targets.csv; targets
            SUDO_UID=20001 SUDO_USER=alice targets
            SUDO_UID=20002 SUDO_USER=bob targets
            chown 0:30001 $D/targets.csv; chmod 664 $D/targets.csv; targets
            chown 0:0 $D/targets.csv; targets
            """, exits: 0)
        #expect(result.stdout == "taken\nrefused\ntaken\nrefused\nrefused\ntaken\n", result.all)
    }
}
