//! Flags that several commands share, and configuration files. Independent of the commands.

pub mod args;
pub mod config_file;
pub mod defaults;
pub mod effect;
