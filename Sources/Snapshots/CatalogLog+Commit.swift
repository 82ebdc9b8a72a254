import StoreCore
import Synchronization

/// One of the commits that share a number.
protocol CatalogCommit: AnyObject, Sendable {
    /// Applies the change; where it throws, the editor stays as it was. Returns whether it succeeded.
    func run(on editor: inout CatalogEditor) -> Bool
    /// Resumes the caller with what the last run gave, or with `error` where that run needed the number to be created.
    func finish(_ error: (any Error)?)
}

final class CatalogCommitMember<T: Sendable>: CatalogCommit {
    private let change: @Sendable (inout CatalogEditor) throws -> T
    private let continuation: CheckedContinuation<T, any Error>
    /// Of the last run.
    private let result = Mutex<Result<T, any Error>?>(nil)

    init(
        change: @escaping @Sendable (inout CatalogEditor) throws -> T, continuation: CheckedContinuation<T, any Error>
    ) {
        self.change = change
        self.continuation = continuation
    }

    func run(on editor: inout CatalogEditor) -> Bool {
        var changed = editor
        do {
            let value = try change(&changed)
            editor = changed
            result.withLock { $0 = .success(value) }
            return true
        } catch {
            result.withLock { $0 = .failure(error) }
            return false
        }
    }

    func finish(_ error: (any Error)?) {
        switch (result.withLock { $0 }, error) {
        case (.failure(let own), _): continuation.resume(throwing: own)
        case (_, let error?): continuation.resume(throwing: error)
        case (.success(let value), nil): continuation.resume(returning: value)
        case (nil, nil): preconditionFailure("a commit ended before it ran")
        }
    }
}

extension CatalogLog {
    func enqueue(_ member: any CatalogCommit) {
        let mustRun = queue.withLock { queue in
            queue.members.append(member)
            defer { queue.isRunning = true }
            return !queue.isRunning
        }
        // A task of its own: the group belongs to all its members, and must not end with the first one's task.
        if mustRun { Task { await runGroups() } }
    }

    private func runGroups() async {
        while let group = takeGroup() {
            var failure: (any Error)?
            do { try await commit(group) } catch { failure = error }
            for member in group { member.finish(failure) }
        }
    }
    private func takeGroup() -> [any CatalogCommit]? {
        queue.withLock { queue in
            guard !queue.members.isEmpty else {
                queue.isRunning = false
                return nil
            }
            defer { queue.members = [] }
            return queue.members
        }
    }

    private func commit(_ group: [any CatalogCommit]) async throws {
        let operation = OperationID.random()
        _ = try await log.commit(operation) { base, isCurrent in
            let base = base ?? CatalogVersion()
            var editor = CatalogEditor(base.state, now: time.now())
            let failures = group.count { !$0.run(on: &editor) }
            // "No" and "it is so already" are said of the newest state only.
            if !isCurrent, failures > 0 || !editor.hasChanges { return .lookFirst }
            guard editor.hasChanges else { return .nothing }
            return .write(try await draft(editor, on: base, operation))
        }
    }

    private func draft(
        _ editor: CatalogEditor, on base: CatalogVersion, _ operation: OperationID
    ) async throws -> VersionDraft<CatalogVersion> {
        var version = base
        version.state = editor.state
        version.tail.formUnion(editor.changed)
        version.recentOperations = (base.recentOperations + [operation]).suffix(Limits.recentOperationsMax)
        let renews = editor.renewsPages && !version.pages.isEmpty
        if version.mustFold || renews {
            let (folded, made) = try version.folded(with: keys, all: renews)
            try await upload(made)
            version = folded
        }
        return VersionDraft(version: version, bytes: try version.sealed(with: keys))
    }
}
