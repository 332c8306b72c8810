//! The colours of curves, wherever they are drawn.

/// Red, green and blue of curves in their order, readable on light and dark ground alike. With red-green blindness the first
/// three differ from each other, and the last three, but not all six.
pub const PALETTE: [[u8; 3]; 6] = [
    [0x3b, 0x82, 0xc4],
    [0xdb, 0x7c, 0x26],
    [0x2f, 0xa0, 0x6b],
    [0xc2, 0x4d, 0x83],
    [0x8a, 0x6f, 0xd1],
    [0x9a, 0x8b, 0x4f],
];
