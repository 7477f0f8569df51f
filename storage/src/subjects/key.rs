//! One subject's key, and what is sealed with it.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use purser_events::StreamId;
use zeroize::Zeroizing;

use crate::record::{Opening, StoredRecord};

/// A key for XChaCha20-Poly1305; wiped when dropped.
pub struct SubjectKey(Box<Zeroizing<[u8; SubjectKey::LEN]>>);

impl SubjectKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// Bytes of a nonce, which is drawn for each payload.
    pub const NONCE_LEN: usize = 24;

    /// Bytes that a sealed payload has more than what was sealed: the nonce in front and a tag behind.
    pub const OVERHEAD: usize = SubjectKey::NONCE_LEN + 16;

    /// A key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SubjectKey::LEN]) -> SubjectKey {
        SubjectKey(Box::new(Zeroizing::new(bytes)))
    }

    /// Seals a payload: its stream, type and layout are sealed with it.
    pub(crate) fn seal(
        &self,
        nonce: [u8; SubjectKey::NONCE_LEN],
        stream: StreamId,
        layout_number: u16,
        layout_version: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let place = place(stream, layout_number, layout_version);
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: payload, aad: &place });
        let sealed = sealed.expect("payloads are far shorter than what the cipher takes");
        [&nonce[..], &sealed].concat()
    }

    /// Opens a record's payload, which is sealed; notes whether that went well.
    pub(crate) fn open(&self, record: &mut StoredRecord) {
        let place = place(record.header.stream, record.layout_number, record.layout_version);
        let opened = record.payload().split_first_chunk().and_then(|(nonce, sealed)| {
            let nonce: &[u8; SubjectKey::NONCE_LEN] = nonce;
            self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &place }).ok()
        });
        record.opening = opened.map_or(Opening::WrongKey, Opening::Opened);
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(**self.0))
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// Where a payload belongs: stream kind and id, event type and layout version, as in its frame.
fn place(stream: StreamId, layout_number: u16, layout_version: u16) -> [u8; 21] {
    let mut place = [0; 21];
    place[0] = stream.kind as u8;
    place[1..17].copy_from_slice(stream.id.as_bytes());
    place[17..19].copy_from_slice(&layout_number.to_le_bytes());
    place[19..].copy_from_slice(&layout_version.to_le_bytes());
    place
}
