//! Writes GGUF files, right ones and wrong ones.
use super::*;

/// A metadata value to write, or raw bytes that claim to be one.
pub enum Put {
    Uint(u32),
    Float(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<&'static str>),
    Ints(Vec<i32>),
    Raw(Vec<u8>),
}

/// A tensor table entry: name, sizes innermost first, type, offset.
pub type Row = (&'static str, Vec<u64>, u32, u64);

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn array(out: &mut Vec<u8>, kind: u32, count: usize) {
    out.extend(9_u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}

impl Put {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uint(n) => out.extend([4, *n].map(u32::to_le_bytes).as_flattened()),
            Self::Float(x) => out.extend([6, x.to_bits()].map(u32::to_le_bytes).as_flattened()),
            Self::Bool(flag) => {
                out.extend(7_u32.to_le_bytes());
                out.push(u8::from(*flag));
            }
            Self::Text(value) => {
                out.extend(8_u32.to_le_bytes());
                text(out, value);
            }
            Self::Texts(values) => {
                array(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::Ints(values) => {
                array(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Raw(bytes) => out.extend(bytes),
        }
    }
}

/// A file of `metadata`, `rows` and `data` bytes of zeros.
pub fn bytes(metadata: &[(&str, Put)], rows: &[Row], data: usize) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((rows.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        value.write(&mut out);
    }
    for (name, sizes, kind, offset) in rows {
        text(&mut out, name);
        out.extend((sizes.len() as u32).to_le_bytes());
        sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + data, 0);
    out
}

/// [`Gguf::open`] of a file with this content.
pub fn open(bytes: &[u8]) -> Result<Gguf> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(path)
}
