//! A body larger than SQS carries, sent in parts.
//!
//! The function that faces the internet may write to the queue and to nothing else, so a large body goes through the queue too: first
//! its parts, then the event that says how many there are. Only when all of them are on the queue does the sender get its 2xx.

use crate::message::{Body, EventMessage, Message, MessageError, PartMessage};
use crate::{MAX_BODY_BYTES, MAX_MESSAGE_BYTES};
use clawbridge_packed::Packed;

/// Bytes of a packed body in one part: two chunks of what a DynamoDB item holds, and below [`MAX_MESSAGE_BYTES`] in base64.
pub const PART_BYTES: usize = 700 * 1024;

/// More parts than [`MAX_BODY_BYTES`] can need.
pub const MAX_PARTS: u32 = (MAX_BODY_BYTES / PART_BYTES) as u32 + 1;

/// The messages that carry `event` (whose own `body` is replaced) with the body `packed`, in the order in which they must be sent.
///
/// # Errors
/// [`MessageError::Malformed`], see [`Message::encode`].
pub fn event_messages(event: EventMessage, packed: Packed) -> Result<Vec<String>, MessageError> {
    // Base64 makes four bytes of three; 16 KiB is room for everything else in the message.
    if packed.bytes.len() / 3 * 4 + 16 * 1024 < MAX_MESSAGE_BYTES {
        let inline = Message::Event(EventMessage { body: Body::inline(packed), ..event }).encode()?;
        return Ok(vec![inline]);
    }
    let mut messages = Vec::with_capacity(packed.bytes.len() / PART_BYTES + 2);
    let mut parts = 0;
    for piece in packed.bytes.chunks(PART_BYTES) {
        let part = PartMessage { nonce: event.nonce.clone(), index: parts, data: piece.to_vec() };
        messages.push(Message::Part(part).encode()?);
        parts += 1;
    }
    let head =
        EventMessage { body: Body::Parts { encoding: packed.encoding, parts, bytes: packed.bytes.len() }, ..event };
    messages.push(Message::Event(head).encode()?);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_clock::Timestamp;
    use clawbridge_packed::Encoding;

    fn event() -> EventMessage {
        EventMessage {
            nonce: "req-1".into(),
            source: "github".into(),
            r#type: "push".into(),
            delivery_id: "d".into(),
            received_at: Timestamp::from_millis(0),
            headers: Vec::new(),
            body: Body::Parts { encoding: Encoding::Plain, parts: 0, bytes: 0 },
            hops: 0,
            deferrals: 0,
            trace: None,
        }
    }

    /// Bytes that do not compress: a linear congruential generator.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn bodies_of_every_size_fit_their_messages_and_come_back_whole() {
        for len in
            [0, 1, 511, 512, 700 * 1024, 770_000, 774_000, 780_000, 786_432, 1_048_576, 4_700_000, MAX_BODY_BYTES]
        {
            let body = noise(len);
            let texts = event_messages(event(), Packed::pack(&body)).expect("encode");
            assert!(texts.iter().all(|text| text.len() <= MAX_MESSAGE_BYTES), "{len}");
            let (head, pieces) = texts.split_last().expect("at least the event");
            let Message::Event(head) = Message::decode(head).expect("decode") else {
                panic!("the last message is the event")
            };
            let packed = match head.body {
                Body::Inline { encoding, data } => Packed { encoding, bytes: data },
                Body::Parts { encoding, parts, bytes } => {
                    assert_eq!(parts as usize, pieces.len());
                    assert!(parts <= MAX_PARTS);
                    let data: Vec<Vec<u8>> = pieces
                        .iter()
                        .enumerate()
                        .map(|(place, text)| match Message::decode(text).expect("decode") {
                            Message::Part(part) if part.index as usize == place && part.nonce == "req-1" => part.data,
                            other => panic!("not part {place}: {other:?}"),
                        })
                        .collect();
                    let joined = data.concat();
                    assert_eq!(joined.len(), bytes);
                    Packed { encoding, bytes: joined }
                }
            };
            assert_eq!(packed.unpack(MAX_BODY_BYTES).expect("unpack"), body, "{len}");
        }
    }

    #[test]
    fn a_large_body_that_compresses_is_one_message() {
        let body = "{\"amount\": 1}".repeat(400_000);
        assert_eq!(event_messages(event(), Packed::pack(body.as_bytes())).expect("encode").len(), 1);
    }
}
