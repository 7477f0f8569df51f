//! As much of Thrift's compact protocol as the metadata of a Parquet file needs: written, never read.

/// The types of fields.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A structure that is being written.
#[derive(Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    /// The number of the last field.
    last: u8,
}

impl Struct {
    /// Adds a number of 32 bits.
    #[must_use]
    pub(super) fn i32(mut self, field: u8, value: i32) -> Struct {
        self.begin(field, I32);
        varint(&mut self.bytes, zigzag(value.into()));
        self
    }

    /// Adds a number of 64 bits.
    #[must_use]
    pub(super) fn i64(mut self, field: u8, value: i64) -> Struct {
        self.begin(field, I64);
        varint(&mut self.bytes, zigzag(value));
        self
    }

    /// Adds a truth value.
    #[must_use]
    pub(super) fn bool(mut self, field: u8, value: bool) -> Struct {
        self.begin(field, if value { TRUE } else { FALSE });
        self
    }

    /// Adds a text.
    #[must_use]
    pub(super) fn text(mut self, field: u8, value: &str) -> Struct {
        self.begin(field, BINARY);
        text(&mut self.bytes, value);
        self
    }

    /// Adds a structure.
    #[must_use]
    pub(super) fn structure(mut self, field: u8, value: Struct) -> Struct {
        self.begin(field, STRUCT);
        self.bytes.extend(value.end());
        self
    }

    /// Adds a list of numbers.
    #[must_use]
    pub(super) fn numbers(mut self, field: u8, values: &[i32]) -> Struct {
        self.list(field, I32, values.len());
        values.iter().for_each(|value| varint(&mut self.bytes, zigzag((*value).into())));
        self
    }

    /// Adds a list of texts.
    #[must_use]
    pub(super) fn texts(mut self, field: u8, values: &[&str]) -> Struct {
        self.list(field, BINARY, values.len());
        values.iter().for_each(|value| text(&mut self.bytes, value));
        self
    }

    /// Adds a list of structures.
    #[must_use]
    pub(super) fn structures(mut self, field: u8, values: impl ExactSizeIterator<Item = Struct>) -> Struct {
        self.list(field, STRUCT, values.len());
        values.for_each(|value| self.bytes.extend(value.end()));
        self
    }

    /// The bytes of all.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }

    /// Field numbers must rise, each by at most 15.
    fn begin(&mut self, field: u8, kind: u8) {
        self.bytes.push((field - self.last) << 4 | kind);
        self.last = field;
    }

    fn list(&mut self, field: u8, kind: u8, len: usize) {
        self.begin(field, LIST);
        match u8::try_from(len) {
            Ok(len @ 0..15) => self.bytes.push(len << 4 | kind),
            Ok(_) | Err(_) => {
                self.bytes.push(0xf0 | kind);
                varint(&mut self.bytes, len as u64);
            }
        }
    }
}

/// Appends a number, seven bits a byte, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

fn zigzag(value: i64) -> u64 {
    (value.unsigned_abs() << 1).wrapping_sub(u64::from(value < 0))
}
