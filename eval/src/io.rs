//! Files, the terminal and the colours of curves: what both programs share for input and output. Independent of models.

pub(crate) mod checksums;
pub(crate) mod http;
pub(crate) mod palette;
pub mod parts;
pub mod terminal;
pub(crate) mod whole_files;
