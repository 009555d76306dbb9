import FlashEvents
import FlashPlan
import Foundation
import Inventory
import Synchronization
import SystemPackage
import TFTP
import Testing

@testable import Flashing

/// What a server does that has keys, and what a row may insist on.
@Suite struct SigningTests {
    private static let signer = ScriptSigner(keys: ["bench-1"]) { script, name in
        Array("signed \(name): \(script)".utf8)
    }
    private static let number = String(repeating: "0123456789abcdef", count: 4)

    private static func insisting() throws -> Target {
        let csv = "mac,ip,server,gpio,name,require_signed\nb8:27:eb:3d:60:b9,192.0.2.51,bench1,17,camera,yes\n"
        return try #require(try Inventory(csv: csv.utf8, file: "targets.csv").targets.first)
    }

    private static func challenge(_ job: String) -> TransferEvent {
        .uploaded(name: "CHALLENGE", content: Array("rpi_challenge=\(number)\nrpi_job=\(job)\n".utf8))
    }

    @Test func `a target's challenge of this job is signed while the flash runs, and no other`() async throws {
        let world = try ChunkFlashTests.world().ownServer()
        world.with { $0.signer = Self.signer }
        let path = world.folder.appending("permission")
        world.resets { world in
            #expect(world.state.withLock { $0.served }.contains("permission"))
            #expect(!FileManager.default.fileExists(atPath: path.string))
            let plan = try #require(world.state.withLock { $0.plan })
            #expect(plan.target.map { "\($0)" } == FlashFixture.mac && !plan.needsKeys)
            world.happen(
                ChunkFlashTests.asked + [Self.challenge("0000000000000001"), .activity, Self.challenge(plan.job.hex)]
                    + [.activity, .activity, try ChunkFlashTests.report(world), .ok(ChunkFlashTests.total * 512)])
            world.with {
                $0.onProgress = { progress, world in
                    guard case .reported = progress else { return }
                    let content = try? contents(path)
                    let text = "setenv p_granted \(plan.job.hex)/\(Self.number)/\(FlashFixture.mac)\n"
                    #expect(content == Array("signed permission: \(text)".utf8))
                    world.record("permitted")
                }
            }
        }
        _ = try await world.flash(ChunkFlashTests.request(world))
        #expect(world.calls.contains("permitted"))
        #expect(try names(in: world.root) == [])
    }

    @Test func `an old plan's challenge gets no permission`() async throws {
        let world = try ChunkFlashTests.world().ownServer()
        world.with { $0.signer = Self.signer }
        world.resets { world in
            world.happen(ChunkFlashTests.asked + [Self.challenge("0000000000000001"), .activity])
            world.with {
                $0.onProgress = { progress, world in
                    #expect(!FileManager.default.fileExists(atPath: world.folder.appending("permission").string))
                }
            }
        }
        #expect(try await world.fails(ChunkFlashTests.request(world))?.exitCode == 3)
    }

    @Test func `without a key nothing is signed, and nothing waits for a challenge`() async throws {
        let world = try ChunkFlashTests.world().ownServer()
        world.resets { world in
            #expect(!world.state.withLock { $0.served }.contains("permission"))
            world.happen(ChunkFlashTests.asked + [try ChunkFlashTests.report(world), .ok(ChunkFlashTests.total * 512)])
        }
        _ = try await world.flash(ChunkFlashTests.request(world))
    }

    @Test func `law 6 - a row that insists is refused before the reset where the server cannot sign`() async throws {
        let world = try ChunkFlashTests.world().ownServer()
        let plan = try await world.fails(
            world.request(target: Self.insisting(), delivery: .plan(.normal)))
        #expect(plan?.exitCode == 9)
        #expect(
            plan?.description == "target camera has require_signed in the inventory, and this server has no key; "
                + "make one with rpiflash keys init, or copy the bench's keys to this server")
        world.with { $0.signer = Self.signer }
        let parts = try await world.fails(world.request(target: Self.insisting()))
        #expect(parts?.exitCode == 9)
        #expect(
            parts?.description == "target camera has require_signed in the inventory, and an image in parts cannot be "
                + "signed; leave out --protocol parts")
        #expect(!world.calls.contains { $0.hasPrefix("reset") })
    }

    @Test func `what a card refuses is told, by plan and in parts, with its code`() async throws {
        @Sendable func refusal(_ code: String) -> TransferEvent {
            let text = """
                rpi_report=1
                rpi_job=0000000000000000
                rpi_state=failed
                rpi_code=\(code)
                rpi_reason=the card says why
                rpi_chunks=0
                rpi_written=0
                rpi_same=0
                rpi_fetched=0
                rpi_retries=0
                rpi_bad_count=0

                """
            return .uploaded(name: "REPORT", content: Array(text.utf8))
        }
        let byPlan = try ChunkFlashTests.world().ownServer()
        byPlan.resets { $0.happen(ChunkFlashTests.asked + [refusal("not_signed"), .failed(0)]) }
        let plan = try await byPlan.fails(ChunkFlashTests.request(byPlan))
        #expect(plan?.reportCode == .notSigned && plan?.exitCode == 2)
        #expect(plan?.description.hasSuffix(": the card says why") == true)
        let inParts = try FlashFixture().ownServer()
        inParts.resets {
            $0.happen([
                .opened(file: "rpi_image_parts"), .sent(file: "rpi_image_parts"), refusal("unsigned_parts"), .failed(0),
            ])
        }
        let parts = try await inParts.fails()
        #expect(parts?.reportCode == .unsignedParts && parts?.exitCode == 2)
        // Without a job's number only what the boot script says counts.
        let forged = try ChunkFlashTests.world().ownServer()
        forged.resets { $0.happen(ChunkFlashTests.asked + [refusal("lost_write"), .failed(0)]) }
        #expect(try await forged.fails(ChunkFlashTests.request(forged))?.reportCode == nil)
    }
}
