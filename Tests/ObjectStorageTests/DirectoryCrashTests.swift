import Foundation
import Glibc
import ObjectStorage
import StoreCore
import Testing

@Suite struct KilledWhileCreating {
    private static let bytes = [UInt8](repeating: 0xa5, count: 3 << 20)

    /// Several creations are under way at any moment, so that the kill hits some of them half done.
    @Test(arguments: 1...3)
    func objectsAreWholeAndLeftoversAreSwept(round: Int) async throws {
        try await withTemporaryDirectory { path in
            await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, round = round as Int] in
                let store = try await DirectoryStore(path: path)
                await withTaskGroup(of: Void.self) { group in
                    for worker in 0..<4 {
                        group.addTask {
                            do {
                                for number in 0... {
                                    let key = ObjectKey("log/\(worker)/\(UInt64(number).hex)")
                                    _ = try await store.create(key, Self.bytes)
                                    // The kill comes soon after, while the others write.
                                    if worker == 0, number == 2 * round { kill(getpid(), SIGKILL) }
                                }
                            } catch { return }
                        }
                    }
                }
            }
            let store = try await DirectoryStore(path: path)
            #expect(try FileManager.default.contentsOfDirectory(atPath: path + "/.tmp") == [])
            var objects = 0
            try await store.forEachObject(prefix: "") { object in
                let bytes = try await store.get(object.key)
                #expect(bytes == Self.bytes && object.byteCount == UInt64(bytes.count))
                objects += 1
            }
            // What was answered before the kill is there.
            #expect(objects >= 2 * round + 1)
            for number in 0...2 * round {
                #expect(try await store.head(ObjectKey("log/0/\(UInt64(number).hex)")) != nil)
            }
        }
    }
}
