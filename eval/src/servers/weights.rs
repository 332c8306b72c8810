//! The folders through which weights get to servers, and the trial that shows whether they arrive. Asks no server.

use super::probe::Gap;
use crate::models::policy::{Adapter, Policy};
use anyhow::{Context, Result};
use clap::ValueEnum;
use model::{Transformer, merged, perturbed, perturbed_adapters, save_adapters, save_model};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process, time,
};

/// The name of the adapter on the servers.
pub(super) const ADAPTER: &str = "rl-policy";

/// How trained weights get to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightUpdate {
    /// As a folder with the whole model
    Weights,
    /// As a folder with a LoRA adapter of the model that the server was started with
    Adapter,
    /// Not at all: the server has one model
    Fixed,
}

/// Weights that a server can take.
pub(super) enum Payload {
    /// The whole model.
    Model(Box<Transformer>),
    /// An adapter of it.
    Adapter(Adapter),
}

impl Payload {
    /// What a policy sends: its adapter, if that is asked for and it has one, or the whole of it.
    pub(super) fn of(policy: &Policy, adapter: bool) -> Option<Self> {
        match adapter {
            true => policy.adapter.clone().map(Self::Adapter),
            false => Some(Self::Model(Box::new(policy.model.clone()))),
        }
    }

    /// Writes it into a new folder, with the policy's tokenizer. A tied output matrix is written once more under its own name, for servers
    /// of a model that has both.
    fn write(&self, folder: &Path, policy: &Policy) -> Result<()> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        match self {
            Self::Model(model) => {
                save_model(folder, &model.untied())?;
                policy.tokenizer.save(folder)
            }
            Self::Adapter(Adapter::Trained(model)) => save_adapters(folder, model, ""),
            Self::Adapter(Adapter::Saved(from)) => {
                let files = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
                for file in files {
                    let path = file?.path();
                    fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))
                        .with_context(|| format!("cannot copy {}", path.display()))?;
                }
                Ok(())
            }
        }
    }
}

/// Weights that make other log-probabilities than those of the policy, to see whether a server takes what it is sent.
pub(super) struct Trial {
    pub(super) payload: Payload,
    /// The model that writes with them.
    pub(super) model: Transformer,
}

impl Trial {
    /// Of what a policy sends, so different that the mean log-probability of a token of some texts changes by about 1 nat, or by `times` as
    /// much; `None` of an adapter in a file, which is none that is being trained.
    pub(super) fn of(policy: &Policy, payload: &Payload, texts: &[&[u32]], times: f64) -> Option<Self> {
        let with = |strength: f64| match payload {
            Payload::Model(model) => {
                let model = perturbed(model, strength);
                Some(Self { payload: Payload::Model(Box::new(model.clone())), model })
            }
            Payload::Adapter(Adapter::Trained(model)) => {
                let trained = perturbed_adapters(model, strength);
                let model = merged(&trained);
                Some(Self { payload: Payload::Adapter(Adapter::Trained(Box::new(trained))), model })
            }
            Payload::Adapter(Adapter::Saved(_)) => None,
        };
        let first = if matches!(payload, Payload::Adapter(_)) { 0.01 } else { 0.1 };
        let mut strength = first;
        loop {
            let trial = with(strength)?;
            if Gap::between(&policy.model, &trial.model, texts).mean() >= times || strength > 100.0 * first {
                return Some(trial);
            }
            strength *= 1.5;
        }
    }
}

/// A folder for the weights of this process, removed in the end.
pub(super) struct WeightFolder {
    path: PathBuf,
    /// Whether this process has made the folder that it lies in.
    has_made_parent: bool,
    count: usize,
    last: Option<PathBuf>,
}

impl WeightFolder {
    /// A folder of this process in another one; nothing is made yet.
    pub(super) fn within(parent: &Path) -> Self {
        let now = time::SystemTime::now().duration_since(time::UNIX_EPOCH).unwrap_or_default();
        let path = parent.join(format!("{}-{}", now.as_secs(), process::id()));
        Self { path, has_made_parent: false, count: 0, last: None }
    }

    /// Writes weights into a new folder and removes the last one; its full path.
    pub(super) fn write(&mut self, payload: &Payload, policy: &Policy) -> Result<PathBuf> {
        self.count += 1;
        let has_parent = self.path.parent().is_some_and(Path::exists);
        self.has_made_parent |= !has_parent;
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make {}", self.path.display()))?;
        let path = fs::canonicalize(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?
            .join(format!("{}", self.count));
        payload.write(&path, policy)?;
        if let Some(last) = self.last.replace(path.clone()) {
            let _ = fs::remove_dir_all(last);
        }
        Ok(path)
    }
}

impl Drop for WeightFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        // The folder of the flag too, if it was not there before; another run's weights keep it.
        if let Some(parent) = self.path.parent().filter(|_| self.has_made_parent) {
            let _ = fs::remove_dir(parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::reward_model::tests::policy;

    #[test]
    fn the_last_weights_are_kept_and_all_are_removed_in_the_end_but_not_a_folder_that_was_there() {
        let place = tempfile::tempdir().unwrap();
        let policy = policy();
        let payload = Payload::of(&policy, false).unwrap();
        for was_there in [false, true] {
            let parent = place.path().join("weights");
            if was_there {
                fs::create_dir(&parent).unwrap();
            }
            let mut folder = WeightFolder::within(&parent);
            let written = [(); 3].map(|()| folder.write(&payload, &policy).unwrap());
            assert_eq!(written.each_ref().map(|path| path.exists()), [false, false, true]);
            drop(folder);
            assert_eq!(parent.exists(), was_there);
        }
    }
}
