import StoreCore

/// Bytes of replies to options.
enum OptionReplyMessage {
    static func encode(_ option: UInt32, _ type: OptionReply, _ message: String = "") -> [UInt8] {
        encode(option, type, data: ErrorText.cut(message, NBDLimits.stringBytesMax))
    }

    private static func encode(_ option: UInt32, _ type: OptionReply, data: [UInt8]) -> [UInt8] {
        var writer = BigEndianWriter()
        writer.number(Magic.optionReply)
        writer.number(option)
        writer.number(type.rawValue)
        writer.number(UInt32(data.count))
        writer.raw(data)
        return writer.bytes
    }

    static func server(name: String) -> [UInt8] {
        var data = BigEndianWriter()
        data.number(UInt32(name.utf8.count))
        data.text(name)
        return encode(OptionCode.list.rawValue, .server, data: data.bytes)
    }

    static func metaContext(_ option: OptionCode, id: UInt32) -> [UInt8] {
        var data = BigEndianWriter()
        data.number(id)
        data.text(MetaContext.allocation)
        return encode(option.rawValue, .metaContext, data: data.bytes)
    }

    /// All replies to a successful INFO or GO. The block sizes are sent unasked too, because the maximum binds.
    static func infos(_ inquiry: Inquiry, _ description: DeviceDescription, _ flags: TransmissionFlags) -> [UInt8] {
        func wants(_ type: InfoType) -> Bool { inquiry.infoTypes.contains(type.rawValue) }
        func info(_ type: InfoType, _ fill: (inout BigEndianWriter) -> Void) -> [UInt8] {
            var data = BigEndianWriter()
            data.number(type.rawValue)
            fill(&data)
            return encode(inquiry.option.rawValue, .info, data: data.bytes)
        }
        var replies = info(.export) {
            $0.number(description.size)
            $0.number(flags.rawValue)
        }
        if wants(.name) { replies += info(.name) { $0.text(description.name) } }
        if wants(.description) {
            replies += info(.description) { $0.raw(ErrorText.cut(description.summary, NBDLimits.stringBytesMax)) }
        }
        replies += info(.blockSize) {
            $0.number(NBDLimits.blockBytesMin)
            $0.number(NBDLimits.blockBytesPreferred)
            $0.number(UInt32(NBDLimits.payloadBytesMax))
        }
        return replies + encode(inquiry.option.rawValue, .ack)
    }
}
