//! End-to-end claims; see `tests/`.
