//! Frames in and out: RFC 6455 as far as API Gateway speaks it, with its limits.
//!
//! Text only, no extensions. A limit is checked as soon as a frame's header is there, so that what is too large is never read.

use std::io::Cursor;

use bytes::{Buf as _, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The largest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;
/// How many bytes are read at once, at least.
const READ: usize = 4096;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// One whole message.
    Text(String),
    /// A ping with its payload, which a pong repeats.
    Ping(Bytes),
    Pong,
    /// The client closes; code and reason if it gave any.
    Close(Option<(u16, String)>),
}

/// Why the gateway ends a connection over what the client sent: the code of its close frame, and the reason in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

const BINARY: Refusal = Refusal { code: 1003, reason: "Binary frames are not supported" };
const FRAME_TOO_LARGE: Refusal = Refusal { code: 1009, reason: "Frame too large" };
const MESSAGE_TOO_LARGE: Refusal = Refusal { code: 1009, reason: "Message too large" };
const NOT_UTF_8: Refusal = Refusal { code: 1007, reason: "Not UTF-8" };

const fn protocol_error(reason: &'static str) -> Refusal {
    Refusal { code: 1002, reason }
}

/// Makes messages of bytes, however they are cut.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// The frames so far of a message that is not whole.
    partial: Option<BytesMut>,
    frame_limit: usize,
    message_limit: usize,
}

impl Decoder {
    pub(super) fn new(frame_limit: usize, message_limit: usize) -> Self {
        Self { buffer: BytesMut::new(), partial: None, frame_limit, message_limit }
    }

    /// Where the client's bytes go.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// The next message or control frame. `None`: more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Refusal> {
        while let Some((header, payload)) = self.frame()? {
            match header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Incoming::Ping(payload.freeze()))),
                OpCode::Control(Control::Pong) => return Ok(Some(Incoming::Pong)),
                OpCode::Control(_) => return close_payload(&payload).map(|close| Some(Incoming::Close(close))),
                OpCode::Data(_) => {
                    let mut message = self.partial.take().unwrap_or_default();
                    message.unsplit(payload);
                    if header.is_final {
                        let text = String::from_utf8(message.into()).map_err(|_| NOT_UTF_8)?;
                        return Ok(Some(Incoming::Text(text)));
                    }
                    self.partial = Some(message);
                }
            }
        }
        Ok(None)
    }

    /// The next frame with its payload unmasked, taken from the buffer when it is whole.
    fn frame(&mut self) -> Result<Option<(FrameHeader, BytesMut)>, Refusal> {
        let mut cursor = Cursor::new(&self.buffer[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| protocol_error("Unknown opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        self.check(&header, length)?;
        // Within the limits, so it fits.
        let length = usize::try_from(length).map_err(|_| FRAME_TOO_LARGE)?;
        if self.buffer.len() - head < length {
            self.buffer.reserve(head + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(head);
        let mut payload = self.buffer.split_to(length);
        let mask = header.mask.ok_or(protocol_error("Not masked"))?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Some((header, payload)))
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Refusal> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol_error("No extension was agreed on"));
        }
        if header.mask.is_none() {
            return Err(protocol_error("Not masked"));
        }
        let so_far = self.partial.as_ref().map(BytesMut::len);
        match (header.opcode, so_far) {
            (OpCode::Control(_), _) if !header.is_final || length > MAX_CONTROL => {
                return Err(protocol_error("Control frame in pieces or too large"));
            }
            (OpCode::Control(_), _) => return Ok(()),
            (OpCode::Data(Data::Binary), _) => return Err(BINARY),
            (OpCode::Data(Data::Continue), None) => return Err(protocol_error("Nothing to continue")),
            (OpCode::Data(Data::Text), Some(_)) => return Err(protocol_error("The message before is not whole")),
            (OpCode::Data(_), _) => {}
        }
        if length > self.frame_limit as u64 {
            return Err(FRAME_TOO_LARGE);
        }
        if length > self.message_limit.saturating_sub(so_far.unwrap_or(0)) as u64 {
            return Err(MESSAGE_TOO_LARGE);
        }
        Ok(())
    }
}

/// Code and reason of a close frame (RFC 6455, 5.5.1).
fn close_payload(payload: &[u8]) -> Result<Option<(u16, String)>, Refusal> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(protocol_error("Close code in half")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !CloseCode::from(code).is_allowed() {
        return Err(protocol_error("Close code not to be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| NOT_UTF_8)?;
    Ok(Some((code, reason.to_owned())))
}

/// A text message, in frames of at most `frame_limit` bytes of payload each.
pub(super) fn message(payload: &[u8], frame_limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    let mut opcode = Data::Text;
    let mut rest = payload;
    loop {
        let (part, left) = rest.split_at(rest.len().min(frame_limit.max(1)));
        append(OpCode::Data(opcode), left.is_empty(), part, &mut out);
        if left.is_empty() {
            return out;
        }
        (opcode, rest) = (Data::Continue, left);
    }
}

pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(OpCode::Control(Control::Pong), true, payload, &mut out);
    out
}

/// A close frame; without a code it is empty.
pub(super) fn close(code: Option<(u16, &str)>) -> Vec<u8> {
    let payload = code.map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()).unwrap_or_default();
    let mut out = Vec::new();
    append(OpCode::Control(Control::Close), true, &payload, &mut out);
    out
}

fn append(opcode: OpCode, is_final: bool, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    // Writing to memory does not fail.
    let _written = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const CONTINUE: OpCode = OpCode::Data(Data::Continue);

    /// A frame as a client sends it.
    fn masked(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut out = Vec::new();
        header.format(payload.len() as u64, &mut out).unwrap();
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// Everything that `bytes` say, up to a refusal, with frames of 10 and messages of 15 bytes at most.
    fn decode(bytes: &[u8]) -> (Vec<Incoming>, Option<u16>) {
        let mut decoder = Decoder::new(10, 15);
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.buffer().extend_from_slice(&[*byte]);
            match decoder.next() {
                Ok(Some(incoming)) => seen.push(incoming),
                Ok(None) => {}
                Err(refusal) => return (seen, Some(refusal.code)),
            }
        }
        (seen, None)
    }

    #[test]
    fn messages_come_whole_with_control_frames_in_between() {
        let bytes = [
            masked(TEXT, true, b"one"),
            masked(TEXT, false, "zw\u{f6}".as_bytes().split_at(3).0),
            masked(OpCode::Control(Control::Ping), true, b"p"),
            masked(CONTINUE, false, "zw\u{f6}".as_bytes().split_at(3).1),
            masked(OpCode::Control(Control::Pong), true, b""),
            masked(CONTINUE, true, b""),
            masked(OpCode::Control(Control::Close), true, b"\x03\xe8bye"),
        ]
        .concat();
        let expected = vec![
            Incoming::Text("one".to_owned()),
            Incoming::Ping(Bytes::from_static(b"p")),
            Incoming::Pong,
            Incoming::Text("zw\u{f6}".to_owned()),
            Incoming::Close(Some((1000, "bye".to_owned()))),
        ];
        assert_eq!(decode(&bytes), (expected, None));
    }

    #[test]
    fn what_the_gateway_does_not_take_ends_the_connection_with_the_code_for_it() {
        let mut unmasked = Vec::new();
        append(TEXT, true, b"x", &mut unmasked);
        let mut compressed = masked(TEXT, true, b"x");
        compressed[0] |= 0x40;
        let close = |payload: &[u8]| masked(OpCode::Control(Control::Close), true, payload);
        let cases = [
            ("a binary frame", masked(OpCode::Data(Data::Binary), true, b"x"), 1003),
            ("a frame over the limit", masked(TEXT, true, &[b'a'; 11]), 1009),
            (
                "a message over the limit",
                [masked(TEXT, false, &[b'a'; 10]), masked(CONTINUE, true, &[b'a'; 6])].concat(),
                1009,
            ),
            ("text that is none", masked(TEXT, true, b"\xff"), 1007),
            ("no mask", unmasked, 1002),
            ("compression", compressed, 1002),
            ("an unknown opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
            ("a continuation of nothing", masked(CONTINUE, true, b"x"), 1002),
            ("a message in a message", [masked(TEXT, false, b"x"), masked(TEXT, true, b"y")].concat(), 1002),
            ("a ping in pieces", masked(OpCode::Control(Control::Ping), false, b"x"), 1002),
            ("a long ping", masked(OpCode::Control(Control::Ping), true, &[b'a'; 126]), 1002),
            ("half a code", close(b"\x03"), 1002),
            ("a code for internal use", close(&1005_u16.to_be_bytes()), 1002),
            ("a reason that is no text", close(b"\x03\xe8\xff"), 1007),
        ];
        for (what, bytes, code) in cases {
            assert_eq!(decode(&bytes), (Vec::new(), Some(code)), "{what}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_its_payload_comes() {
        let mut decoder = Decoder::new(32 * 1024, 128 * 1024);
        decoder.buffer().extend_from_slice(&masked(TEXT, true, &vec![b'a'; 32 * 1024 + 1])[..8]);
        assert_eq!(decoder.next(), Err(FRAME_TOO_LARGE));
    }

    #[test]
    fn an_outgoing_message_is_split_into_frames() {
        assert_eq!(message(b"", 4), [0x81, 0]);
        assert_eq!(message(b"abcd", 4), *b"\x81\x04abcd");
        assert_eq!(message(b"abcdefghi", 4), *b"\x01\x04abcd\x00\x04efgh\x80\x01i");
        assert_eq!(close(None), [0x88, 0]);
        assert_eq!(close(Some((1001, "x"))), [0x88, 3, 3, 0xe9, b'x']);
        assert_eq!(pong(b"p"), [0x8a, 1, b'p']);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_seen, _refused) = decode(&bytes);
        }

        #[test]
        fn any_text_arrives_as_it_was_sent(text in ".{0,400}", at in any::<prop::sample::Index>()) {
            let mut decoder = Decoder::new(4096, 4096);
            let at = at.index(text.len() + 1);
            let bytes = [masked(TEXT, false, &text.as_bytes()[..at]), masked(CONTINUE, true, &text.as_bytes()[at..])].concat();
            decoder.buffer().extend_from_slice(&bytes);
            prop_assert_eq!(decoder.next(), Ok(Some(Incoming::Text(text))));
        }
    }
}
