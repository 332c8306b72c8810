//! The study as data: what `study.toml` declares, and the commands that a part of it takes. Independent of results, and of how commands
//! are executed.
//!
//! - `declared.rs`, `claim.rs`, `verdicts.rs`: the types of `study.toml`; [`Study::declared`] has it as it is compiled in
//! - `setup.rs`: flags of the command line and the profile that they choose, as a [`Setup`]
//! - `words.rs`: names in braces in a line of flags
//! - `steps.rs`: the commands of one run and its evaluation, given what is already there
//! - `time.rs`: how long runs take, by those that are finished

mod claim;
mod declared;
mod setup;
mod steps;
#[cfg(test)]
mod tests;
mod time;
mod verdicts;
mod words;

pub use claim::{Among, Claim, Expect, MeasureName, Operand, Part, Says, Sum, Temperatures};
pub use declared::{
    Also, Checkpoint, ClassBy, Curves, Exhibit, Keeps, Kind, Profile, Reference, Row, Run, Scale, Setting, StandIn,
    Study,
};
pub use setup::{Folder, Setup, SetupArgs};
pub use steps::{Begins, Collect, Disk, Step};
pub use time::{Expected, Times, append_time};
pub use verdicts::{Comparable, Verdicts};
