import Foundation
import SystemPackage
import TestSupport
import Testing

/// Flashes by plan, and what shows and keeps prepared images.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct PlanCommandTests {
    /// Checks with other programs than ours that what the target fetched is what the plan's lines say.
    private static let checkChunks = """
        grep -a '^p_number=' $D/got/flash.scr | while read -r line; do
            eval "$line"
            case $p_encoding in gzip) gunzip <$D/got/$p_file ;; raw) cat $D/got/$p_file ;; esac >$D/chunk
            [ $(stat -c %s $D/chunk) = $((p_sectors * 512)) ]
            [ "$(sha256sum <$D/chunk)" = "$p_sha256  -" ]
            cmp $D/chunk <(tail -c +$((p_lba * 512 + 1)) $RAW | head -c $((p_sectors * 512)))
        done

        """

    @Test(arguments: ["", "--full"])
    func `0 - proven by plan: chunks are the image's sectors, the report fits`(options: String) async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            "$FLASH --no-wait \(options) $IMG cam; RAW=$IMG; " + Self.checkChunks, exits: 0)
        let bytes = LoopbackFixture.written
        #expect(
            result.stdout.hasPrefix(
                "cam (52:54:00:12:34:56, 127.0.0.1): flashed and proven, \(bytes) bytes (\(bytes) written, \(bytes) loaded) in "
            ), result.all)
        #expect(
            result.stderr.contains(
                "rpiflash: the target reported OK with \(bytes) bytes, exactly what was to be on its card\n"),
            result.all)
        #expect(place.resets == 1)
    }

    @Test(
        arguments: [
            ("xz", "xz -1 -k -c $IMG >$D/os.x"), ("gz", "gzip -1 -c $IMG >$D/os.x"),
            ("zst", "zstd -q -c $IMG >$D/os.x"),
            ("bz2", "bzip2 -1 -c $IMG >$D/os.x"), ("zip", "cd $D; zip -q -1 os.zip os.img; mv os.zip os.x"),
        ])
    func `a compressed image is taken as it is`(kind: String, pack: String) async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            (\(pack)); sha256sum $D/os.x >$D/before
            $FLASH --verbose --no-wait $D/os.x cam
            sha256sum --quiet -c $D/before; RAW=$IMG
            """ + "\n" + Self.checkChunks, exits: 0)
        #expect(result.stderr.contains("rpiflash: preparing the image: "), result.all)
    }

    @Test(
        arguments: [
            ("plan; put OK $((sectors * 512))", 4, "target cam reported OK, but proves nothing: it uploaded no REPORT"),
            (
                "plan; job=0123456789abcdef; report 0 $sectors; put OK $((sectors * 512))", 4,
                "target cam reported OK, but is not proven: the target's REPORT is about job 0123456789abcdef; must be about"
            ),
            (
                "plan; report 0 $((sectors - 1)); put OK $((sectors * 512 - 512))", 4,
                "target cam reported OK, but is not proven: target reported 10239 sectors; must be 10240"
            ),
            (
                "plan; report 0 $sectors; put OK $((sectors * 512 - 512))", 4,
                "target cam reported OK, but is not proven: target reported 5242368 bytes in OK; must be 5242880"
            ),
            (
                "plan; report 0 9 rpi_state=failed rpi_bad_count=1 rpi_bad_chunk=1 rpi_bad_lba=0x4001 "
                    + "rpi_code=not_loaded 'rpi_reason=chunk-1 did not load'; put FAILED 4608",
                2,
                "target cam reported FAILED, 4608 of 5242880 bytes are on its card: chunk 1 of 3 at LBA 16385: chunk-1 did not load"
            ),
        ] as [(String, Int32, String)])
    func `law 2 - 2, 4 - by plan: no proof, no success`(behaviour: String, status: Int32, message: String) async throws
    {
        let place = try await LoopbackFixture(behaviour)
        let result = try await place.run("$FLASH --no-wait $IMG cam", exits: status)
        #expect(result.errorLines.last?.hasPrefix("rpiflash: \(message)") == true, result.all)
        #expect(result.stdout == "")
    }

    @Test func `verify-only writes nothing: sectors that were written are no proof, chunks that differ are named`()
        async throws
    {
        let good = try await LoopbackFixture(
            "plan; grep -aq '^setenv p_mode verify$' got/flash.scr; report 0 $sectors; put OK $((sectors * 512))")
        let result = try await good.run("$FLASH --no-wait --verify-only $IMG cam", exits: 0)
        #expect(result.stdout.contains("): verified and proven, 5242880 bytes (0 written, 0 loaded) in "), result.all)

        let writes = try await LoopbackFixture("plan; report 1 $((sectors - 1)); put OK $((sectors * 512))")
        let written = try await writes.run("$FLASH --no-wait --verify-only $IMG cam", exits: 4)
        #expect(written.errorLines.last?.contains("target reported 1 sectors written; must be 0") == true, written.all)

        let differs = try await LoopbackFixture(
            "plan; report 0 9 rpi_state=failed rpi_bad_count=2 rpi_bad_chunk=2 rpi_bad_lba=0x6000 "
                + "rpi_code=differs 'rpi_reason=0x2 chunks differ, the first is 2 at sector 0x6000'; put FAILED 4608")
        let failed = try await differs.run("$FLASH --no-wait --verify-only $IMG cam", exits: 2)
        #expect(
            failed.errorLines.last?.hasSuffix(
                ": 2 of 3 chunks differ from the image, the first is chunk 2 at LBA 24576")
                == true, failed.all)
    }

    // MARK: plan

    @Test func `plan tells what would be done, and a flash after it starts at once`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            # A file that changed less than 2 s before it was read is not known again by its times.
            sleep 2.1
            $RPIFLASH plan $IMG --card $D/card.yaml --store $D/store --rate 1MiB/s --chunks
            $FLASH --no-wait $IMG cam 2>$D/err >/dev/null
            """, exits: 0)
        let lines = place.stable(result.stdout).split(separator: "\n").map(String.init)
        #expect(lines[0] == "image        D/os.img, 9437184 bytes (9.0 MiB)", result.all)
        #expect(lines[1].wholeMatch(of: /id           [0-9a-f]{64}/) != nil, result.all)
        #expect(lines.contains("partition 1  unknown, 4194304 bytes (4.0 MiB) of 4.0 MiB used"), result.all)
        #expect(lines.contains("chunks       3"), result.all)
        #expect(lines.contains("written      at most 5242880 bytes (5.0 MiB)"), result.all)
        #expect(lines.contains { $0.hasPrefix("time         sending takes at most 5.1 s at 1.0 MiB/s") }, result.all)
        #expect(lines.contains("card         fits D/card.yaml"), result.all)
        #expect(lines.suffix(4).first?.hasPrefix("CHUNK  CARD PARTITION  OFFSET  SECTORS") == true, result.all)
        // Law 3: partition 2's first sector is the last chunk.
        #expect(lines.last?.wholeMatch(of: /3 +2 +0 +1 +\d+ +(?:raw|gzip) +[0-9a-f]{64}/) != nil, result.all)
        #expect(!place.text("err").contains("preparing"), "\(place.text("err"))")
    }

    @Test func `plan says that an image does not fit, and ends with 7`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            "make_image 8192 16384; $RPIFLASH plan $IMG --card $D/card.yaml --store $D/store", exits: 7, image: false)
        #expect(place.stable(result.stdout).hasSuffix("card         does not fit D/card.yaml\n"), result.all)
        #expect(result.errorLines.last?.contains("must be at most that: ") == true, result.all)
        let json = try await place.run(
            "$RPIFLASH plan $IMG --card $D/card.yaml --store $D/store --json", exits: 7, image: false)
        let object = try JSON.object(json.stdout)
        guard case .object(let card)? = object["card"] else {
            Issue.record(json.all)
            return
        }
        #expect(card["fits"] == .bool(false))
        try await place.refuses(
            "$RPIFLASH plan $D/none.img --store $D/store", status: 7, "D/none.img: image does not exist", image: false)
    }

    // MARK: images

    @Test func `images lists, measures and removes, by as much of an id as is needed`() async throws {
        let place = try await LoopbackFixture()
        let made = try await place.run(
            """
            $RPIFLASH images --store $D/store
            $RPIFLASH plan $IMG --store $D/store >/dev/null
            cp $IMG $D/other.img; printf 'another' | dd of=$D/other.img bs=1 seek=5000000 conv=notrunc status=none
            $RPIFLASH plan $D/other.img --store $D/store >/dev/null
            $RPIFLASH images list --store $D/store --json >$D/list.json
            $RPIFLASH images --store $D/store
            $RPIFLASH images size --store $D/store
            """, exits: 0)
        let lines = place.stable(made.stdout).split(separator: "\n").map(String.init)
        try #require(lines.count == 5, made.all)
        let header = "ID +NAME +IMAGE +USED +CHUNKS +DISK +FROM"
        #expect(try lines[0].wholeMatch(of: Regex(header)) != nil && lines[1].wholeMatch(of: Regex(header)) != nil)
        #expect(
            lines[2].wholeMatch(of: /[0-9a-f]{12}  os\.img +9\.0 MiB  5\.0 MiB  3 +\d+\.\d MiB  D\/os\.img/) != nil,
            made.all)
        #expect(lines[3].wholeMatch(of: /[0-9a-f]{12}  other\.img .* D\/other\.img/) != nil, made.all)
        #expect(lines[4].wholeMatch(of: /D\/store: \d+ bytes \(\d+\.\d MiB\)/) != nil, made.all)
        guard case .array(let images)? = try JSON.object(place.text("list.json"))["images"],
            case .object(let first)? = images.first, case .string(let id)? = first["id"]
        else {
            Issue.record("\(place.text("list.json"))")
            return
        }
        #expect(first["name"] == .string("os.img") && first["damaged"] == .bool(false))

        try await place.refuses(
            "$RPIFLASH images remove zz --store $D/store", status: 9, "image store D/store has no image zz")
        let other = String(lines[3].prefix(12))
        // One that is not known: the other stays too.
        try await place.refuses(
            "$RPIFLASH images remove \(other) zz --store $D/store", status: 9, "image store D/store has no image zz")
        let result = try await place.run(
            """
            $RPIFLASH images remove \(other) --store $D/store
            $RPIFLASH images remove \(id.prefix(12)) \(id) --store $D/store
            $RPIFLASH images list --store $D/store --json
            """, exits: 0)
        let left = result.stdout.split(separator: "\n")
        #expect(left.count == 3 && left[0].hasSuffix(" (other.img)"), result.all)
        #expect(left[1] == "removed \(id) (os.img)", result.all)
        #expect(left[2] == #"{"images":[],"version":1}"#, result.all)
    }

    @Test func `images refuses an id that several have`() async throws {
        let place = try await LoopbackFixture()
        // Damaged ones are listed and can be removed too.
        let made = try await place.run(
            """
            for end in 0 1; do mkdir -p $D/store/images/\(String(repeating: "a", count: 63))$end; done
            $RPIFLASH images --store $D/store
            """, exits: 0)
        #expect(made.stdout.split(separator: "\n").count == 3 && made.stdout.contains("(damaged)"), made.all)
        try await place.refuses(
            "$RPIFLASH images remove aaa --store $D/store", status: 9,
            "2 images of image store D/store have ids that start with 'aaa'; must be one: give more of it")
        _ = try await place.run(
            "$RPIFLASH images remove \(String(repeating: "a", count: 63))0 --store $D/store; $RPIFLASH images remove a --store $D/store",
            exits: 0)
    }
}

/// A JSON value, as a program that reads ours would have it.
enum JSON: Decodable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .string(text)
        } else if let array = try? value.decode([JSON].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    static func object(_ text: some StringProtocol) throws -> [String: JSON] {
        try JSONDecoder().decode([String: JSON].self, from: Data(text.utf8))
    }
}
