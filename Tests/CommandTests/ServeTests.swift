import Foundation
import SystemPackage
import TestSupport
import Testing

/// The built program as a service, and flashes that use it. Two targets: cam at 127.0.0.1, dog at 127.0.0.2.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct ServeTests {
    private static let dog = "52:54:00:12:34:57"

    /// Runs a script with two targets; nothing may be left in the TFTP root.
    private static func run(
        _ behaviour: String, _ script: String, exits status: Int32 = 0,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> (LoopbackFixture, CommandResult) {
        let place = try await LoopbackFixture(behaviour)
        let row = "\(dog),127.0.0.2,localhost,,dog,env MAC=\(dog) IP=127.0.0.2 WORK=dog bash \(place.folder)/reset\n"
        try place.write("targets.csv", place.text("targets.csv") + row)
        let result = try await place.run(
            """
            FLASH="$RPIFLASH flash --no-wait --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --runs $D/runs"
            FLASH+=" --store $D/store --service $D/serve.sock"
            # start [PORT [LOG]]: a service; $serve is its process.
            start() {
                $RPIFLASH serve --root $TFTP --listen 127.0.0.1:${1:-$PORT} --socket $D/serve.sock 2>${2:-$D/serve.err} &
                serve=$!
                trap 'kill -KILL $serve 2>/dev/null || true' EXIT
                until [ -S $D/serve.sock ]; do kill -0 $serve; sleep 0.02; done
            }
            \(script)
            """, exits: status, sourceLocation: sourceLocation)
        return (place, result)
    }

    @Test func `two flashes at once use one service, which SIGTERM ends with 0`() async throws {
        // Each goes on only when the other has its plan too.
        let (place, result) = try await Self.run(
            "plan; touch $D/has-$MAC; until [ $(ls $D/has-* | wc -l) = 2 ]; do sleep 0.02; done; flash",
            """
            start
            $FLASH $IMG cam 2>$D/cam.err & cam=$!
            $FLASH $IMG dog 2>$D/dog.err & dog=$!
            wait $cam; wait $dog
            kill -TERM $serve; status=0; wait $serve || status=$?
            echo "service $status"
            [ ! -e $D/serve.sock ]
            """)
        let lines = result.stdout.split(separator: "\n").map(String.init)
        #expect(lines.count == 3 && lines.last == "service 0", result.all)
        for (name, address) in [("cam", "127.0.0.1"), ("dog", "127.0.0.2")] {
            #expect(lines.contains { $0.hasPrefix("\(name) (") && $0.contains("\(address)): flashed and proven") })
            #expect(
                place.stable(place.text("\(name).err")).contains(
                    "rpiflash: serving D/tftp on the rpiflash service (D/serve.sock)\n"), "\(place.text("\(name).err"))"
            )
        }
        let log = place.text("serve.err")
        for (mac, address) in [(LoopbackFixture.mac, "127.0.0.1"), (Self.dog, "127.0.0.2")] {
            #expect(log.contains("rpiflash: \(mac): job for \(address), from process "), "\(log)")
            #expect(log.contains("rpiflash: \(mac): took OK, 8 bytes\n"), "\(log)")
            #expect(log.contains("rpiflash: \(mac): job is over\n"), "\(log)")
        }
        #expect(log.hasSuffix("rpiflash: SIGTERM: cleaning up\nrpiflash: ended\n"), "\(log)")
    }

    @Test func `a target gets nothing of another target's job`() async throws {
        let (place, _) = try await Self.run(
            """
            plan
            for name in flash.scr chunk-1; do
                curl -s --interface 127.0.0.2 -o got/stolen "tftp://127.0.0.1:$PORT/$MAC/$name" && echo $name >>$D/stolen || true
            done
            flash
            """,
            "start; $FLASH $IMG cam")
        #expect(place.text("stolen") == "")
        #expect(place.text("serve.err").contains("refused 127.0.0.2 the file "), "\(place.text("serve.err"))")
    }

    @Test func `SIGHUP ends a service at once without a job, else after the last one`() async throws {
        let (place, result) = try await Self.run(
            "plan; touch $D/asked; until [ -e $D/go ]; do sleep 0.02; done; flash",
            """
            start
            kill -HUP $serve; wait $serve
            start $PORT $D/second.err
            $FLASH $IMG cam & flash=$!
            until [ -e $D/asked ]; do sleep 0.02; done
            kill -HUP $serve
            until grep -q SIGHUP $D/second.err; do sleep 0.02; done
            kill -0 $serve
            touch $D/go
            wait $flash
            wait $serve
            """)
        #expect(result.stdout.contains("flashed and proven"), result.all)
        #expect(place.text("serve.err").hasSuffix("rpiflash: SIGHUP: ending when no job is left\nrpiflash: ended\n"))
        #expect(place.text("second.err").hasSuffix("job is over\nrpiflash: ended\n"), "\(place.text("second.err"))")
    }

    /// The place of the socket is held by a listener whose queue is full: the service has the UDP port, and waits.
    @Test func `SIGHUP that comes while the service begins to listen means what it always does`() async throws {
        let (place, result) = try await Self.run(
            "",
            """
            python3 -c '
            import os, socket, sys, time
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.bind(sys.argv[1])
            s.listen(0)
            first = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            first.connect(sys.argv[1])
            open(sys.argv[2] + "/full", "w").close()
            while not os.path.exists(sys.argv[2] + "/go"): time.sleep(0.02)' $D/serve.sock $D & full=$!
            until [ -e $D/full ]; do kill -0 $full; sleep 0.02; done
            $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/serve.sock 2>$D/serve.err & serve=$!
            until grep -qi ":$(printf %04x $PORT) " /proc/net/udp; do kill -0 $serve; sleep 0.02; done
            kill -HUP $serve
            until grep -q SIGHUP $D/serve.err; do kill -0 $serve; sleep 0.02; done
            touch $D/go
            wait $full
            status=0; wait $serve || status=$?
            echo "service $status"
            """)
        #expect(result.stdout == "service 0\n", result.all)
        let log = place.text("serve.err")
        #expect(log.hasPrefix("rpiflash: SIGHUP: ending when no job is left\n"), "\(log)")
        #expect(log.hasSuffix("rpiflash: ended\n") && !log.contains("cleaning up"), "\(log)")
    }

    @Test func `a second service on the same socket or port is refused, the first goes on`() async throws {
        let (place, result) = try await Self.run(
            "flash",
            """
            start
            status=0; $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$UP --socket $D/serve.sock || status=$?
            [ $status = 9 ]
            status=0; $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/other.sock || status=$?
            [ $status = 9 ]
            status=0; $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$UP --socket $D/none/serve.sock || status=$?
            [ $status = 9 ]
            $FLASH $IMG dog 2>/dev/null
            """)
        let lines = place.stable(result.stderr).split(separator: "\n")
        #expect(lines.first == "rpiflash: an rpiflash service listens on D/serve.sock already", result.all)
        #expect(lines.count == 3 && lines[1].contains("127.0.0.1:PORT"), result.all)
        #expect(
            lines.last == "rpiflash: there is no folder D/none for the socket; make it or give --socket", result.all)
        #expect(result.stdout.contains("dog (\(Self.dog), 127.0.0.2): flashed and proven"), result.all)
    }

    @Test func `socket activation: both sockets come from systemd, and stay`() async throws {
        let (place, result) = try await Self.run(
            "flash",
            """
            cat >$D/activate.py <<'END'
            import fcntl, os, socket, sys
            port, path, *command = sys.argv[1:]
            datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagram.bind(("127.0.0.1", int(port)))
            control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            control.bind(path)
            control.listen(8)
            for number, s in enumerate([fcntl.fcntl(d, fcntl.F_DUPFD, 10) for d in (datagram.fileno(), control.fileno())]):
                os.dup2(s, 3 + number)
            os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
            os.execv(command[0], command)
            END
            # Neither the port nor the socket that the options name.
            python3 $D/activate.py $PORT $D/serve.sock $RPIFLASH serve --root $TFTP --socket $D/none/x --listen 192.0.2.1 2>$D/serve.err &
            serve=$!
            trap 'kill -KILL $serve 2>/dev/null || true' EXIT
            until grep -q 'serving ' $D/serve.err; do kill -0 $serve; sleep 0.02; done
            $FLASH $IMG cam
            kill -TERM $serve; wait $serve
            [ -S $D/serve.sock ]
            """)
        #expect(
            place.stable(result.stderr).contains("serving D/tftp on the rpiflash service (D/serve.sock)\n"), result.all)
        #expect(place.text("serve.err").contains("jobs come through systemd's socket\n"), "\(place.text("serve.err"))")
    }

    @Test func `9 - a service that is killed in the middle of a flash`() async throws {
        let (_, result) = try await Self.run(
            "plan; touch $D/asked",
            """
            start
            # Else bash tells of its end.
            disown $serve
            $FLASH $IMG cam & flash=$!
            until [ -e $D/asked ]; do sleep 0.02; done
            kill -KILL $serve
            wait $flash
            """, exits: 9)
        #expect(result.errorLines.last == "rpiflash: the rpiflash service ended; see its log", result.all)
        #expect(result.stdout == "")
    }

    @Test func `9 - a service with another TFTP root, and what is no service`() async throws {
        let (place, result) = try await Self.run(
            "",
            """
            start
            mkdir $D/else
            status=0; $FLASH --tftp-root $D/else $IMG cam || status=$?
            [ $status = 9 ]
            python3 -c '
            import socket, sys
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.bind(sys.argv[1])
            s.listen(1)
            s.accept()[0].close()' $D/mute.sock & mute=$!
            until [ -S $D/mute.sock ]; do sleep 0.02; done
            status=0; $FLASH --service $D/mute.sock $IMG cam || status=$?
            wait $mute
            exit $status
            """, exits: 9)
        let lines = place.stable(result.stderr).split(separator: "\n").filter {
            !$0.contains("preparing the image") && !$0.contains("to be changed for the card")
        }
        #expect(
            lines == [
                "rpiflash: the rpiflash service serves D/tftp, not D/else; give --tftp-root D/tftp",
                "rpiflash: what listens on D/mute.sock is not an rpiflash service",
            ], result.all)
        #expect(place.resets == 0)
    }
}
