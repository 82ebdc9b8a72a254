import Foundation
import StoreCore
import XMLCoder

// The XML that S3 answers with: decoded from untrusted bytes, whose number the transfer has bounded.

/// The body of an error.
struct ErrorMessage: Decodable {
    var code: String?
    var message: String?
    /// The bucket's region, where the request went to another one's endpoint.
    var region: String?
    var endpoint: String?

    enum CodingKeys: String, CodingKey {
        case code = "Code"
        case message = "Message"
        case region = "Region"
        case endpoint = "Endpoint"
    }
}

/// A page of ListObjectsV2.
struct ListMessage: Decodable {
    struct Entry: Decodable {
        var key: String
        var lastModified: String?
        var size: String

        enum CodingKeys: String, CodingKey {
            case key = "Key"
            case lastModified = "LastModified"
            case size = "Size"
        }
    }
    var entries: [Entry]
    var isTruncated: String
    var continuationToken: String?
    var encodingType: String?

    enum CodingKeys: String, CodingKey {
        case entries = "Contents"
        case isTruncated = "IsTruncated"
        case continuationToken = "NextContinuationToken"
        case encodingType = "EncodingType"
    }
}

/// What DeleteObjects could not delete.
struct DeleteMessage: Decodable {
    struct Refusal: Decodable {
        var key: String?
        var code: String?
        var message: String?

        enum CodingKeys: String, CodingKey {
            case key = "Key"
            case code = "Code"
            case message = "Message"
        }
    }
    var refusals: [Refusal]

    enum CodingKeys: String, CodingKey {
        case refusals = "Error"
    }
}

enum ServerXML {
    /// - Throws: `unavailable`, because a body that is no such message may come right the next time.
    static func decode<Message: Decodable>(
        _ type: Message.Type, root: String, from body: [UInt8]
    ) throws(StorageError) -> Message {
        guard String(validating: body, as: UTF8.self) != nil, let opening = XMLGuard.rootName(body) else {
            throw StorageError(.unavailable, "the server's answer is no XML that S3 would send")
        }
        guard opening == root else {
            throw StorageError(.unavailable, "the server answered with <\(opening)> where <\(root)> was expected")
        }
        do {
            return try XMLDecoder().decode(type, from: Data(body))
        } catch {
            // The decoder's error quotes the document; its kind is enough.
            throw StorageError(.unavailable, "the server's <\(root)> cannot be read")
        }
    }

    static func escape(_ text: String) -> String {
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": output += "&amp;"
            case "<": output += "&lt;"
            case ">": output += "&gt;"
            case "\"": output += "&quot;"
            case "\u{0}"..."\u{1f}": output += "&#\(scalar.value);"
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }
}
