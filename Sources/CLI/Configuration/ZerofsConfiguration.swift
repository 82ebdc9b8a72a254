import Cleaner
import Logging
import NBD
import ObjectStorage
import S3
import StoreCore
import Volumes

/// zerofs.toml, read. A fresh value holds every default; `Setting.all` says how each field is written.
struct ZerofsConfiguration: Equatable, Sendable {
    struct Store: Equatable, Sendable {
        var url = ""
        var endpoint: String?
        var region: String?
        var profile: String?
        var accessKeyID: String?
        var secretAccessKey: String?
        var pathStyle: Bool?
        var caFile: String?
        var sendsChecksum = false
        var connections: UInt64 = 64
        var connectTimeout = Duration.seconds(5)
        var idleTimeout = Duration.seconds(15)
        var retryDeadline = Duration.seconds(60)
    }
    struct Keys: Equatable, Sendable {
        var keyFile: String?
        var passphraseFile: String?
        var allowsCoreDumps = false
    }
    struct Data: Equatable, Sendable {
        var directory = ""
        var isJournaled = true
        var journalBytes: UInt64 = 1 << 30
        var diskCacheBytes: UInt64 = 4 << 30
    }
    struct Cache: Equatable, Sendable {
        var memoryBytes: UInt64 = 256 << 20
        var mapBytes: UInt64 = 64 << 20
    }
    struct Write: Equatable, Sendable {
        var bufferBytes: UInt64 = 256 << 20
        var uploads: UInt64 = 8
        var uploadDelay = Duration.seconds(5)
        var flushes: UInt64 = 4
        /// Zero waits for ever.
        var storeDeadline = Duration.zero
        var recordBytes = UInt64(Limits.recordBlocksDefault * blockBytes)
        /// Zero stores blocks as they are.
        var compressionLevel: UInt64 = 1
    }
    struct NBD: Equatable, Sendable {
        static let listenDefault = "127.0.0.1:10809"
        /// nil where nothing was said: the default address, unless a socket is named.
        var listen: [String]?
        var socket: String?
        var afterCrash = AfterCrash.local
    }
    struct TLS: Equatable, Sendable {
        var mode = TLSMode.off
        var certificateFile: String?
        var keyFile: String?
        var caFile: String?
        var crlFile: String?
        var pskFile: String?
        var exemptsSocket = false
    }
    struct Control: Equatable, Sendable {
        var socket: String?
        var listen: String?
    }

    var durability = Durability.store
    var logLevel = Logger.Level.info
    var store = Store()
    var keys = Keys()
    var data = Data()
    var cache = Cache()
    var write = Write()
    var nbd = NBD()
    var tls = TLS()
    /// In the order of the file.
    var exports: [ExportRule] = []
    var control = Control()
    var retention = Duration.zero
}

extension ZerofsConfiguration {
    /// Where the server answers commands, unless told otherwise.
    var controlSocket: String { control.socket ?? "\(data.directory)/control.sock" }

    var engineSettings: EngineSettings {
        var settings = EngineSettings(dataDirectory: data.directory)
        settings.volume.durability = durability
        settings.volume.isJournaled = data.isJournaled
        settings.volume.journalBytes = data.journalBytes
        settings.volume.writeBufferBytes = Int(write.bufferBytes)
        settings.volume.uploadDelay = write.uploadDelay
        settings.volume.flushesInFlightMax = Int(write.flushes)
        settings.volume.storeDeadline = write.storeDeadline == .zero ? nil : write.storeDeadline
        settings.volume.recordBlocks = Int(write.recordBytes) / blockBytes
        settings.volume.compressionLevel = write.compressionLevel == 0 ? nil : Int32(write.compressionLevel)
        settings.afterCrash = nbd.afterCrash
        settings.snapshotsTakeOvers = true
        settings.uploadsInFlightMax = Int(write.uploads)
        settings.memoryCacheBytes = Int(cache.memoryBytes)
        settings.mapCacheBytes = Int(cache.mapBytes)
        settings.diskCacheBytes = data.diskCacheBytes
        settings.gc.retention = retention
        return settings
    }
}
