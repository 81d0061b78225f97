//! gzip by hand: a plain stream, and one that grows a thousandfold.

/// RFC 1952: deflate, no flags, no time.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// gzip without compression (RFC 1952, stored blocks).
pub(super) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).expect("a block has at most 65535 bytes");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

/// The start of a gzip stream with one dynamic Huffman block, after which every two zero bits stand for 258 copies of a
/// space: literal `' '` and end-of-block have long codes, length 258 and distance 1 one bit each.
pub(super) fn bomb_start() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(1, 1); // last block
    bits.put(2, 2); // dynamic codes
    bits.put(286 - 257, 5);
    bits.put(0, 5); // one distance code
    bits.put(18 - 4, 4);
    // Code lengths for the code length alphabet, in its own order: 18 and 1 get one bit... and 2 two.
    let lengths = [(18_usize, 1_u32), (1, 2), (2, 2)];
    let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1];
    for symbol in order {
        let length = lengths.iter().find(|(known, _)| *known == symbol).map_or(0, |(_, length)| *length);
        bits.put(length, 3);
    }
    // Canonical codes: 18 -> 0, 1 -> 10, 2 -> 11 (sent from the first bit on).
    let zeros = |bits: &mut Bits, count: u32| {
        let mut left = count;
        while left > 0 {
            let run = left.min(138);
            bits.put(0, 1);
            bits.put(run - 11, 7);
            left -= run;
        }
    };
    let one = |bits: &mut Bits| {
        bits.put(1, 1);
        bits.put(0, 1);
    };
    let two = |bits: &mut Bits| {
        bits.put(1, 1);
        bits.put(1, 1);
    };
    zeros(&mut bits, 32);
    two(&mut bits); // ' ' (32)
    zeros(&mut bits, 223); // 33..=255
    two(&mut bits); // end of block (256)
    zeros(&mut bits, 28); // 257..=284
    one(&mut bits); // length 258 (285)
    one(&mut bits); // distance 1
    // One space: codes are 285 -> 0, 32 -> 10, 256 -> 11. The open bits of the last byte are zeros,
    // which already repeat it.
    bits.put(1, 1);
    bits.put(0, 1);
    [HEADER.to_vec(), bits.bytes].concat()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if value >> bit & 1 == 1
                && let Some(last) = self.bytes.last_mut()
            {
                *last |= 1 << (self.used % 8);
            }
            self.used += 1;
        }
    }
}
