//! Default values that depend on the command and on the model that it trains. Each command has one typed function for
//! them, [`Configuration::defaults`]; the command line, its help and models made on demand all use it.

use crate::cli::{
    args::{DataArgs, RunArgs},
    effect::summary_keys,
};
use anyhow::{Context, Result};
use clap::Args;
use model::ModelSize;
use serde::Serialize;
use std::path::Path;
use toml::Table;

/// The trained model, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// One of the named sizes.
    Size(ModelSize),
    /// Any other model.
    Published {
        /// Whether only adapters are trained.
        adapters: bool,
    },
}

/// The configuration of a command that trains.
pub trait Configuration: Args + Serialize {
    /// The default values of all flags.
    fn defaults(kind: ModelKind) -> Self;

    /// The trained model, if a flag names it.
    fn trained(&self) -> Option<&Path>;

    /// Whether only adapters are trained.
    fn has_adapters(&self) -> bool;

    /// The flags of the run.
    fn run_mut(&mut self) -> &mut RunArgs;

    /// The flags of the problems.
    fn data_mut(&mut self) -> &mut DataArgs;
}

/// The defaults of a command that trains, without its type.
pub struct Defaults {
    pub(crate) command: &'static str,
    /// As the flags declare them.
    pub(crate) declared: fn() -> Table,
    pub(crate) of: fn(ModelKind) -> Table,
    pub(crate) summary_keys: fn() -> Vec<String>,
}

impl Defaults {
    /// Those of the command with this name and configuration.
    pub(crate) const fn new<C: Configuration>(command: &'static str) -> Self {
        fn written(config: impl Configuration) -> Table {
            table(&config).expect("flags are numbers, texts and switches")
        }
        Self {
            command,
            declared: || written(declared::<C>()),
            of: |kind| written(C::defaults(kind)),
            summary_keys: summary_keys::<C>,
        }
    }
}

/// Flags with the defaults of their declarations.
pub fn declared<G: Args>() -> G {
    let flags = G::augment_args(clap::Command::new("")).mut_args(|flag| flag.env(None::<&str>));
    G::from_arg_matches(&flags.get_matches_from([""])).expect("every flag that is needed has a default")
}

/// A configuration by key, as `config.toml` has it.
///
/// # Errors
/// A configuration that cannot be written as TOML.
pub fn table(config: &impl Serialize) -> Result<Table> {
    let text = toml::to_string(config).context("cannot write the configuration")?;
    Ok(text.parse()?)
}
